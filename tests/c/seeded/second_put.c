/* A bug on purpose: the checks of the test programs must report it and the program must fail. */
#include "../check.h"

int main(void) {
    const millpond_pool pool = new_pool("seeded");
    millpond_lease lease;
    WORKS(millpond_get(pool, 100, &lease));
    WORKS(millpond_put(pool, lease.id));
    WORKS(millpond_put(pool, lease.id));
    return report("seeded/second_put");
}
