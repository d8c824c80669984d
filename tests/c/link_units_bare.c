/* The half of link_units that asks for no call sites. */
#define MILLPOND_NO_SITES
#include <millpond.h>

#ifdef __cplusplus
extern "C++" {
#endif
millpond_status bare_get(millpond_pool pool, size_t len, millpond_lease *out_lease);
millpond_status bare_put(millpond_pool pool, uint64_t lease_id);
#ifdef __cplusplus
}
#endif

millpond_status bare_get(millpond_pool pool, size_t len, millpond_lease *out_lease) {
    return millpond_get(pool, len, out_lease);
}

millpond_status bare_put(millpond_pool pool, uint64_t lease_id) {
    return millpond_put(pool, lease_id);
}
