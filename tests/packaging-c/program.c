/* What a user of the installed library writes first. */
#include <millpond.h>

#include <stdio.h>
#include <string.h>

int main(void) {
    millpond_lease lease;
    if (strcmp(millpond_version(), MILLPOND_VERSION) != 0)
        return 2;
    if (millpond_get(millpond_default_pool(), 1000, &lease) != MILLPOND_OK) {
        fprintf(stderr, "%s\n", millpond_last_error());
        return 1;
    }
    memset(lease.data, 1, lease.len);
    if (millpond_put(millpond_default_pool(), lease.id) != MILLPOND_OK)
        return 1;
    if (millpond_put(millpond_default_pool(), lease.id) != MILLPOND_ERR_DOUBLE_PUT)
        return 1;
    printf("c: %s\n", millpond_last_error());
    return 0;
}
