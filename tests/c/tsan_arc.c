/* Makes ThreadSanitizer see how Arc counts. The last owner of an Arc subtracts with release and then runs an acquire fence;
 * ThreadSanitizer knows no fences, and Rust's own remedy (a load instead) needs a standard library built for it. Linked with
 * --wrap, this turns the subtraction into one that also acquires: what the fence does, and nothing else in the library
 * subtracts with release. Not instrumented itself. */
#include <stdint.h>

enum { RELEASE = 3, ACQUIRE_RELEASE = 4 };

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *counter, uint64_t by, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *counter, uint64_t by, int order);

uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *counter, uint64_t by, int order) {
    return __real___tsan_atomic64_fetch_sub(counter, by, order == RELEASE ? ACQUIRE_RELEASE : order);
}
