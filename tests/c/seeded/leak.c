/* A bug on purpose: LeakSanitizer and valgrind must report the lost block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void lose(void) {
    char *volatile memory = (char *)malloc(12345);
    if (memory)
        memset(memory, 1, 12345);
    memory = NULL;
}

int main(void) {
    lose();
    puts("seeded: lost");
    return 0;
}
