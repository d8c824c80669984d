/* Each request for heap memory fails in turn, once and then for good from there on, through the whole of the C interface: the
 * status is MILLPOND_ERR_NO_MEMORY, nothing aborts, and what can be asked without memory is right.
 *
 * The functions of an executable go before those of the libraries, so these stand behind the library's own requests. */
#include "check.h"

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size);

/* Requests until one is refused; below 0: none is. */
static long left = -1;
static int for_good;
static long refused;

static int refuses(void) {
    if (left < 0)
        return 0;
    if (left > 0) {
        --left;
        return 0;
    }
    if (!for_good)
        left = -1;
    ++refused;
    return 1;
}

void *malloc(size_t size) { return refuses() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return refuses() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return refuses() ? NULL : __libc_realloc(block, size); }
void *memalign(size_t align, size_t size) { return refuses() ? NULL : __libc_memalign(align, size); }
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **out, size_t align, size_t size) {
    void *const block = memalign(align, size);
    *out = block ? block : *out;
    return block ? 0 : 12;
}

/* Whether a call worked; otherwise there is no memory for it. */
static int tolerate(millpond_status status) {
    if (status != MILLPOND_OK) {
        const long later = left;
        left = -1;
        GIVES(MILLPOND_ERR_NO_MEMORY, status);
        left = later;
    }
    return status == MILLPOND_OK;
}

/* The wrong use is refused as such, with memory for the message or without. */
static void refuse(millpond_status wanted, millpond_status status) {
    const long later = left;
    left = -1;
    GIVES(wanted, status);
    CHECK(millpond_last_error()[0] != 0);
    left = later;
}

static void live(void) {
    static const size_t lengths[] = {0, 100, 5000, 70000, 20 << 20}, list[] = {512, 4096, 65536};
    enum { COUNT = sizeof lengths / sizeof *lengths };
    static millpond_leak leaks[COUNT];
    static char text[64 << 10];
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_stats stats = MILLPOND_STATS_INIT;
    millpond_class_stats class_stats = MILLPOND_CLASS_STATS_INIT;
    millpond_lease leases[COUNT];
    millpond_detached memory;
    millpond_pool pool = 0;
    size_t count = 0, length = 0, bytes = 0;
    options.name = "starving";
    options.classes = list;
    options.class_count = 3;
    if (!tolerate(millpond_pool_new(&options, &pool)))
        return;
    for (size_t i = 0; i < COUNT; ++i)
        count += (size_t)tolerate(millpond_get(pool, lengths[i], &leases[count]));
    CHECK(millpond_pool_stats(pool, &stats) == MILLPOND_OK && stats.in_use == count);
    CHECK(millpond_pool_class_stats(pool, 1, &class_stats) == MILLPOND_OK && class_stats.size == 4096);
    refuse(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_class_stats(pool, 3, &class_stats));
    if (tolerate(millpond_pool_leaks(pool, leaks, COUNT, &length)))
        CHECK(length == count);
    if (tolerate(millpond_pool_prometheus(pool, text, sizeof text, &length)))
        CHECK(length < sizeof text && strstr(text, "pool=\"starving\""));
    CHECK(millpond_pool_check(pool, text, sizeof text, &length) == MILLPOND_OK && strcmp(text, "on") == 0);
    refuse(MILLPOND_ERR_NULL, millpond_get(pool, 1, NULL));
    refuse(MILLPOND_ERR_INVALID_ARGUMENT, millpond_get(pool, (size_t)-1, &leases[count]));
    if (count > 0 && tolerate(millpond_detach(pool, leases[count - 1].id, &memory))) {
        --count;
        CHECK(millpond_detached_free(memory.id) == MILLPOND_OK);
    }
    while (count > 0) {
        const uint64_t id = leases[--count].id;
        CHECK(millpond_put(pool, id) == MILLPOND_OK);
        refuse(MILLPOND_ERR_DOUBLE_PUT, millpond_put(pool, id));
    }
    CHECK(millpond_pool_maintain(pool, &bytes) == MILLPOND_OK);
    CHECK(millpond_pool_trim(pool, &bytes) == MILLPOND_OK);
    CHECK(millpond_pool_stats(pool, &stats) == MILLPOND_OK && stats.in_use == 0 && stats.retained_buffers == 0);
    CHECK(stats.gets == stats.puts + stats.detached && stats.created == stats.destroyed);
    CHECK(millpond_pool_free(pool) == MILLPOND_OK);
    refuse(MILLPOND_ERR_INVALID_HANDLE, millpond_pool_stats(pool, &stats));
}

int main(void) {
    long points = 0;
    /* For good first: what a request leaves behind for the next ones must not have been given before. */
    for (for_good = 1; for_good >= 0; --for_good) {
        for (long after = 0;; ++after) {
            refused = 0;
            left = after;
            live();
            left = -1;
            if (refused == 0)
                break;
            ++points;
        }
    }
    printf("%ld requests refused in turn\n", points);
    CHECK(points > 60);
    return report("own_no_heap");
}
