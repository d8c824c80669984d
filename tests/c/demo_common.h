/* What the demo programs in C and C++ share: the list of files, hashing, progress, measuring, the JSON they print.
 * A program includes it after its own feature macros. Compiles as C11 and C++17. */
#ifndef MILLPOND_DEMO_COMMON_H
#define MILLPOND_DEMO_COMMON_H

#include <millpond.h>

#include <openssl/evp.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE = 64, DIGEST = 32 };

/* Ends the program: the demo has no use for a run that lost something. */
static inline void die(const char *what, const char *why) {
    fprintf(stderr, "demo_tree: %s: %s\n", what, why);
    exit(1);
}

static inline void need(millpond_status status, const char *what) {
    if (status != MILLPOND_OK)
        die(what, millpond_last_error());
}

static inline double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline long minor_faults(void) {
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static inline long peak_rss_kib(void) {
    char line[256];
    long kib = 0;
    FILE *const status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (status)
        fclose(status);
    return kib;
}

/* The paths of the list, one NUL-terminated string after the other. */
struct demo_list {
    char *text;
    size_t length, count;
};

static inline struct demo_list read_list(const char *path) {
    struct demo_list list = {NULL, 0, 0};
    struct stat info;
    FILE *const file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0)
        die(path, "cannot be read");
    list.text = (char *)malloc((size_t)info.st_size + 1);
    if (!list.text)
        die(path, "no memory");
    list.length = fread(list.text, 1, (size_t)info.st_size, file);
    fclose(file);
    list.text[list.length] = 0;
    for (size_t i = 0; i < list.length; ++i)
        if (list.text[i] == '\n') {
            list.text[i] = 0;
            ++list.count;
        }
    return list;
}

/* One pass over the tree: what was measured and hashed so far. */
struct demo_run {
    int dir;
    unsigned long long files, bytes, bytes_in_all;
    int progress;
    double start, last_progress, seconds;
    long faults;
    EVP_MD_CTX *one, *all;
};

static inline void hash_start(EVP_MD_CTX *context) {
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        die("SHA-256", "libcrypto refuses");
}

static inline struct demo_run begin_run(const char *dir, const struct demo_list *list) {
    struct demo_run run;
    const char *const progress = getenv("MILLPOND_PROGRESS");
    memset(&run, 0, sizeof run);
    run.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run.dir < 0)
        die(dir, "is no directory");
    run.progress = progress && strcmp(progress, "1") == 0;
    if (run.progress) {
        struct stat info;
        for (const char *path = list->text; path < list->text + list->length; path += strlen(path) + 1)
            if (fstatat(run.dir, path, &info, 0) == 0)
                run.bytes_in_all += (unsigned long long)info.st_size;
    }
    run.one = EVP_MD_CTX_new();
    run.all = EVP_MD_CTX_new();
    hash_start(run.all);
    run.faults = minor_faults();
    run.start = seconds_now();
    return run;
}

/* Opens a file of the list and tells its size. */
static inline int open_file(const struct demo_run *run, const char *path, size_t *size) {
    struct stat info;
    const int file = openat(run->dir, path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info) != 0)
        die(path, "cannot be opened");
    *size = (size_t)info.st_size;
    return file;
}

/* Reads the file into memory of its size, closes it and adds it to the digest. */
static inline void read_and_hash(struct demo_run *run, int file, const char *path, void *memory, size_t size) {
    unsigned char digest[DIGEST], length[8];
    unsigned int digest_length = 0;
    for (size_t done = 0; done < size;) {
        const ssize_t got = read(file, (char *)memory + done, size - done);
        if (got <= 0)
            die(path, "cannot be read to its end");
        done += (size_t)got;
    }
    close(file);
    for (int i = 0; i < 8; ++i)
        length[i] = (unsigned char)((unsigned long long)size >> (8 * i));
    hash_start(run->one);
    if (EVP_DigestUpdate(run->one, memory, size) != 1 || EVP_DigestFinal_ex(run->one, digest, &digest_length) != 1 ||
        EVP_DigestUpdate(run->all, path, strlen(path) + 1) != 1 ||
        EVP_DigestUpdate(run->all, length, sizeof length) != 1 ||
        EVP_DigestUpdate(run->all, digest, sizeof digest) != 1)
        die("SHA-256", "libcrypto refuses");
    ++run->files;
    run->bytes += size;
    if (run->progress && (seconds_now() - run->last_progress >= 0.05 || run->bytes == run->bytes_in_all)) {
        run->last_progress = seconds_now();
        fprintf(stderr, "P %llu %llu\n", run->bytes, run->bytes_in_all);
        run->progress = run->bytes != run->bytes_in_all;
    }
}

/* Stops the clock; to be called when the second thread has given everything back. */
static inline void end_run(struct demo_run *run) {
    run->seconds = seconds_now() - run->start;
    run->faults = minor_faults() - run->faults;
    close(run->dir);
}

#define DEMO_STATS(F)                                                                                                  \
    F(allocations) F(gets) F(puts) F(in_use) F(oversized) F(discarded) F(hits) F(live_bytes) F(requested_bytes)         \
    F(waste_bytes) F(peak_live_bytes) F(retained_buffers) F(retained_bytes) F(limit_bytes) F(detached) F(leaked)        \
    F(lost) F(trimmed_bytes) F(created) F(destroyed) F(double_puts) F(stale_uses) F(foreign_puts) F(overruns)          \
    F(exhausted)

static inline int reconciles(const millpond_stats *s) {
    return s->gets == s->puts + s->in_use + s->detached + s->leaked &&
           s->created - s->destroyed == s->in_use + s->retained_buffers;
}

static inline int pool_reconciles(millpond_pool pool) {
    millpond_stats stats = MILLPOND_STATS_INIT;
    return millpond_pool_stats(pool, &stats) == MILLPOND_OK && reconciles(&stats);
}

/* Prints the run; pool is 0 for the plain one. */
static inline void print_run(struct demo_run *run, const char *language, const char *mode, millpond_pool pool) {
    unsigned char digest[DIGEST];
    unsigned int length = 0;
    if (EVP_DigestFinal_ex(run->all, digest, &length) != 1)
        die("SHA-256", "libcrypto refuses");
    printf("{\"language\":\"%s\",\"mode\":\"%s\",\"files\":%llu,\"bytes\":%llu,\"digest\":\"", language, mode, run->files,
           run->bytes);
    for (unsigned int i = 0; i < length; ++i)
        printf("%02x", digest[i]);
    printf("\",\"seconds\":%.3f,\"minor_faults\":%ld,\"peak_rss_kib\":%ld", run->seconds, run->faults, peak_rss_kib());
    if (pool) {
        millpond_stats stats = MILLPOND_STATS_INIT;
        need(millpond_pool_stats(pool, &stats), "statistics");
        const char *comma = "";
        printf(",\"stats\":{");
#define PRINT(NAME)                                                                                                    \
    printf("%s\"" #NAME "\":%llu", comma, (unsigned long long)stats.NAME);                                             \
    comma = ",";
        DEMO_STATS(PRINT)
#undef PRINT
        printf("},\"reconciled\":%s", reconciles(&stats) && stats.in_use == 0 ? "true" : "false");
    }
    printf("}\n");
    EVP_MD_CTX_free(run->one);
    EVP_MD_CTX_free(run->all);
}

static inline void print_quoted(const char *text) {
    putchar('"');
    for (; *text; ++text) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* Prints one violation; they are separated by the comma that *separator holds after the first. */
static inline void print_violation(const char **separator, const char *name, const char *expected, int caught,
                                   const char *code, const char *message) {
    printf("%s{\"name\":\"%s\",\"expected\":\"%s\",\"caught\":%s,\"code\":\"%s\",\"message\":", *separator, name, expected,
           caught ? "true" : "false", code);
    print_quoted(message);
    putchar('}');
    *separator = ",";
}

/* Prints what came of a violation that should have been refused with MILLPOND_ERR_<expected>. */
static inline void print_refusal(const char **separator, const char *name, const char *expected, millpond_status status,
                                 const char *message) {
    const char *const code = millpond_status_name(status);
    const int caught = status != MILLPOND_OK && strcmp(code + strlen("MILLPOND_ERR_"), expected) == 0;
    print_violation(separator, name, expected, caught, code, status == MILLPOND_OK ? "no error came" : message);
}

#endif
