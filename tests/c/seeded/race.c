/* Two threads write into one lease without an order: ThreadSanitizer must report it. */
#include "../check.h"

#include <pthread.h>

static millpond_lease lease;

static void *scribble(void *argument) {
    memset(lease.data, *(const int *)argument, lease.len);
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    int bytes[2] = {1, 2};
    const millpond_pool pool = new_pool("raced");
    WORKS(millpond_get(pool, 1000, &lease));
    for (int t = 0; t < 2; ++t)
        CHECK(pthread_create(&threads[t], NULL, scribble, &bytes[t]) == 0);
    for (int t = 0; t < 2; ++t)
        pthread_join(threads[t], NULL);
    WORKS(millpond_put(pool, lease.id));
    return report("race");
}
