/* One of the two halves of a program: this one with call sites. The other is link_units_bare.c. */
#include "check.h"

millpond_status bare_get(millpond_pool pool, size_t len, millpond_lease *out_lease);
millpond_status bare_put(millpond_pool pool, uint64_t lease_id);

int main(void) {
    /* The names are macros here; the functions behind them can still be pointed to. */
    millpond_status (*const get)(millpond_pool, size_t, millpond_lease *) = &millpond_get;
    millpond_status (*const put)(millpond_pool, uint64_t) = &millpond_put;
    const millpond_pool pool = new_pool("units");
    millpond_lease lease;
    WORKS(get(pool, 10, &lease));
    WORKS(bare_put(pool, lease.id));
    WORKS(bare_get(pool, 10, &lease));
    WORKS(put(pool, lease.id));
    WORKS((millpond_get)(pool, 10, &lease));
    WORKS((millpond_put)(pool, lease.id));
    /* A macro evaluates its arguments once. */
    millpond_lease leases[2];
    int next = 0;
    WORKS(millpond_get(pool, 10, &leases[next++]));
    WORKS(millpond_try_get(pool, 10, &leases[next++]));
    CHECK(next == 2);
    WORKS(millpond_put(pool, leases[--next].id));
    WORKS(millpond_put_used(pool, leases[--next].id, 0));
    CHECK(next == 0);
    check_reconciled(pool);
    WORKS(millpond_pool_free(pool));
    return report("link_units");
}
