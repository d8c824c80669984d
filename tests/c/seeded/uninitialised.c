/* A bug on purpose: valgrind must report the decision on a value that nobody wrote. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    volatile int *const memory = (volatile int *)malloc(sizeof(int) * 4);
    if (!memory)
        return 2;
    if (memory[1] == 42)
        puts("seeded: 42");
    else
        puts("seeded: something else");
    free((void *)memory);
    return 0;
}
