/* A bug on purpose: the compilation with warnings as errors must fail. */
#include <millpond.h>

int main(void) {
    uint8_t small = 0;
    size_t large = 300;
    small = large;
    return small;
}
