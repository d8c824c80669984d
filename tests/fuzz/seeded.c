/* A target with a bug: an input that begins with "m" writes one byte behind a lease. */
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    millpond_lease lease;
    WORKS(millpond_get(millpond_default_pool(), 100, &lease));
    lease.data[size > 0 && data[0] == 'm' ? 100 : 99] = 1;
    WORKS(millpond_put(millpond_default_pool(), lease.id));
    return 0;
}
