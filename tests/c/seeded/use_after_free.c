/* A bug on purpose: AddressSanitizer and valgrind must report the read. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    volatile char *const memory = (volatile char *)malloc(100);
    if (!memory)
        return 2;
    memory[5] = 1;
    free((void *)memory);
    printf("seeded: %d\n", memory[5]);
    return 0;
}
