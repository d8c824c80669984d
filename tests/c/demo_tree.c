/* Reads a directory tree through pooled buffers, hashes every file and hands each lease to a second thread, which puts it.
 *   demo_tree pool|plain DIR LIST     LIST: one path below DIR per line; plain: the same with malloc and free
 *   demo_tree misuse                  provokes each violation of the ownership rules
 * The last line printed is one JSON object. `make demo` runs this program beside its siblings in other languages. */
#define _GNU_SOURCE
#include "demo_common.h"

#include <pthread.h>

/* What is handed over: a lease, or plain memory. */
struct buffer {
    uint64_t lease;
    void *memory;
};

struct queue {
    struct buffer items[QUEUE];
    size_t first, count;
    int closed;
    millpond_pool pool; /* 0: plain memory */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void push(struct queue *queue, struct buffer buffer) {
    pthread_mutex_lock(&queue->lock);
    while (queue->count == QUEUE)
        pthread_cond_wait(&queue->changed, &queue->lock);
    queue->items[(queue->first + queue->count++) % QUEUE] = buffer;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static int pop(struct queue *queue, struct buffer *out) {
    pthread_mutex_lock(&queue->lock);
    while (queue->count == 0 && !queue->closed)
        pthread_cond_wait(&queue->changed, &queue->lock);
    const int got = queue->count > 0;
    if (got) {
        *out = queue->items[queue->first];
        queue->first = (queue->first + 1) % QUEUE;
        --queue->count;
        pthread_cond_signal(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return got;
}

static void *give_back(void *argument) {
    struct queue *const queue = argument;
    struct buffer buffer;
    while (pop(queue, &buffer)) {
        if (queue->pool)
            need(millpond_put(queue->pool, buffer.lease), "put");
        else
            free(buffer.memory);
    }
    return NULL;
}

static millpond_pool new_pool(const char *name, size_t max_bytes) {
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    options.name = name;
    options.max_bytes = max_bytes;
    if (max_bytes)
        options.max_retained_bytes = max_bytes;
    need(millpond_pool_new(&options, &pool), name);
    return pool;
}

static void tree(const char *mode, const char *dir, const char *list_path, millpond_pool pool) {
    const struct demo_list list = read_list(list_path);
    struct queue queue = {.pool = pool, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t second;
    if (pthread_create(&second, NULL, give_back, &queue) != 0)
        die("second thread", "cannot be started");
    struct demo_run run = begin_run(dir, &list);
    for (const char *path = list.text; path < list.text + list.length; path += strlen(path) + 1) {
        struct buffer buffer = {0, NULL};
        size_t size;
        const int file = open_file(&run, path, &size);
        if (pool) {
            millpond_lease lease;
            need(millpond_get(pool, size, &lease), "get");
            buffer.lease = lease.id;
            buffer.memory = lease.data;
        } else if (!(buffer.memory = malloc(size ? size : 1))) {
            die(path, "no memory");
        }
        read_and_hash(&run, file, path, buffer.memory, size);
        push(&queue, buffer);
    }
    pthread_mutex_lock(&queue.lock);
    queue.closed = 1;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    pthread_join(second, NULL);
    end_run(&run);
    print_run(&run, "c", mode, pool);
    free(list.text);
}

static void misuse(void) {
    const millpond_pool pool = new_pool("misuse-c", 0), other = new_pool("other-c", 0), small = new_pool("small-c", 4096);
    const char *comma = "";
    millpond_lease lease, none;
    millpond_leak leak;
    size_t count = 0;
    char text[600];
#define REFUSED(NAME, EXPECTED, CALL)                                                                                  \
    do {                                                                                                               \
        const millpond_status status = (CALL);                                                                         \
        print_refusal(&comma, NAME, EXPECTED, status, millpond_last_error());                                          \
    } while (0)

    printf("{\"language\":\"c\",\"violations\":[");
    need(millpond_get(pool, 1000, &lease), "get");
    need(millpond_put(pool, lease.id), "put");
    REFUSED("second put", "DOUBLE_PUT", millpond_put(pool, lease.id));
    REFUSED("use after put", "USE_AFTER_PUT", millpond_lease_lookup(lease.id, &none));

    need(millpond_get(pool, 1000, &lease), "get");
    REFUSED("put into another pool", "FOREIGN_LEASE", millpond_put(other, lease.id));
    need(millpond_lease_pin(lease.id), "pin");
    REFUSED("put while a view lives", "BUSY", millpond_put(pool, lease.id));
    need(millpond_lease_unpin(lease.id), "unpin");
    lease.data[1000] = (uint8_t)~lease.data[1000];
    REFUSED("write past the end", "OVERRUN", millpond_put(pool, lease.id));

    need(millpond_get(pool, 1000, &lease), "get");
    need(millpond_pool_leaks(pool, &leak, 1, &count), "leaks");
    snprintf(text, sizeof text, "misuse-c: a lease of %zu bytes, got at %s, is still out", leak.len, leak.site);
    print_violation(&comma, "lost lease", "listed by millpond_pool_leaks", count == 1 && leak.id == lease.id,
                    "millpond_pool_leaks", text);
    REFUSED("forged handle", "INVALID_HANDLE", millpond_put(pool, lease.id ^ 1));
    need(millpond_lease_reclaim(pool, lease.id), "reclaim");

    need(millpond_pool_close(other), "close");
    REFUSED("get after close", "CLOSED", millpond_get(other, 1000, &none));
    need(millpond_get(small, 4096, &lease), "get");
    REFUSED("limit reached", "EXHAUSTED", millpond_get(small, 4096, &none));
    need(millpond_put(small, lease.id), "put");
    REFUSED("impossible size", "INVALID_ARGUMENT", millpond_get(pool, SIZE_MAX, &none));
    printf("],\"reconciled\":%s}\n",
           pool_reconciles(pool) && pool_reconciles(other) && pool_reconciles(small) ? "true" : "false");
    need(millpond_pool_free(pool), "free");
    need(millpond_pool_free(other), "free");
    need(millpond_pool_free(small), "free");
}

int main(int argc, char **argv) {
    const char *const mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "misuse") == 0) {
        misuse();
    } else if (argc == 4 && strcmp(mode, "plain") == 0) {
        tree(mode, argv[2], argv[3], 0);
    } else if (argc == 4 && strcmp(mode, "pool") == 0) {
        const millpond_pool pool = new_pool("tree-c", 0);
        tree(mode, argv[2], argv[3], pool);
        need(millpond_pool_free(pool), "free");
    } else {
        fputs("usage: demo_tree pool|plain DIR LIST, demo_tree misuse\n", stderr);
        return 2;
    }
    return 0;
}
