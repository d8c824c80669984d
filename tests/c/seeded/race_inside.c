/* The library writes one struct for two threads at once: ThreadSanitizer must see what is done inside the library. */
#include "../check.h"

#include <pthread.h>

static millpond_lease found;

static void *look(void *argument) {
    WORKS(millpond_lease_lookup(*(const uint64_t *)argument, &found));
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    millpond_lease lease;
    const millpond_pool pool = new_pool("raced");
    WORKS(millpond_get(pool, 1000, &lease));
    for (int t = 0; t < 2; ++t)
        CHECK(pthread_create(&threads[t], NULL, look, &lease.id) == 0);
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
    WORKS(millpond_put(pool, lease.id));
    return report("race_inside");
}
