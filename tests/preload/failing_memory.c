/*
 * Goes before the C library (LD_PRELOAD) and refuses memory to one library of the process, the one whose path contains what
 * aim() was told, on the thread that set the plan: all that the library asks for directly, by malloc and its like, mmap, and
 * mprotect that makes memory usable. Whoever else asks, the interpreter above all, is served.
 *
 * Python calls the functions by ctypes, Node by loading this file as an addon.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static uintptr_t first, last;
static const char *wanted;
static __thread int planned;
static __thread int64_t left;
static __thread int for_good;
static __thread int64_t asked_count, refused_count;

static int look_at(struct dl_phdr_info *library, size_t size, void *data) {
    (void)size;
    (void)data;
    if (strstr(library->dlpi_name, wanted) == NULL) {
        return 0;
    }
    for (int part = 0; part < library->dlpi_phnum; ++part) {
        const ElfW(Phdr) *header = &library->dlpi_phdr[part];
        if (header->p_type == PT_LOAD && (header->p_flags & PF_X) != 0) {
            first = library->dlpi_addr + header->p_vaddr;
            last = first + header->p_memsz;
            return 1;
        }
    }
    return 0;
}

/* Chooses the library by a part of its path. Returns whether the library is loaded. */
int failing_memory_aim(const char *part) {
    wanted = part;
    return dl_iterate_phdr(look_at, NULL);
}

/* Refuses the calling thread's request number `after` (from 0), or from it on all. */
void failing_memory_begin(int64_t after, int keeps_on) {
    left = after;
    for_good = keeps_on;
    asked_count = refused_count = 0;
    planned = 1;
}

/* Serves everybody again. Returns how many requests were refused. */
int64_t failing_memory_end(void) {
    planned = 0;
    return refused_count;
}

/* Returns how many requests of the library the last plan saw. */
int64_t failing_memory_asked(void) {
    return asked_count;
}

static int refuses(const void *caller) {
    uintptr_t place = (uintptr_t)caller;
    if (!planned || place < first || place >= last) {
        return 0;
    }
    ++asked_count;
    if (left > 0) {
        --left;
        return 0;
    }
    if (left < 0 && !for_good) {
        return 0;
    }
    left = -1;
    ++refused_count;
    errno = ENOMEM;
    return 1;
}

#define REFUSED() refuses(__builtin_return_address(0))

void *malloc(size_t size) {
    return REFUSED() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return REFUSED() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    return REFUSED() ? NULL : __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
    return REFUSED() ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return REFUSED() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *made = REFUSED() ? NULL : __libc_memalign(alignment, size);
    if (made == NULL) {
        return ENOMEM;
    }
    *block = made;
    return 0;
}

static void *map(void *address, size_t len, int protection, int flags, int file, off_t offset) {
    return (void *)syscall(SYS_mmap, address, len, protection, flags, file, offset);
}

void *mmap(void *address, size_t len, int protection, int flags, int file, off_t offset) {
    return REFUSED() ? MAP_FAILED : map(address, len, protection, flags, file, offset);
}

void *mmap64(void *address, size_t len, int protection, int flags, int file, off_t offset) {
    return REFUSED() ? MAP_FAILED : map(address, len, protection, flags, file, offset);
}

int mprotect(void *address, size_t len, int protection) {
    /* To take access away needs no memory, at most another entry in the table of mappings. */
    if (REFUSED()) {
        return -1;
    }
    return (int)syscall(SYS_mprotect, address, len, protection);
}

/* The addon: only what it calls is declared, weakly, for it is not there under Python. */
typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
typedef struct napi_callback_info__ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
#pragma weak napi_create_function
#pragma weak napi_set_named_property
#pragma weak napi_get_cb_info
#pragma weak napi_get_value_int64
#pragma weak napi_get_value_string_utf8
#pragma weak napi_create_int64
int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
int napi_set_named_property(napi_env, napi_value, const char *, napi_value);
int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
int napi_get_value_int64(napi_env, napi_value, int64_t *);
int napi_get_value_string_utf8(napi_env, napi_value, char *, size_t, size_t *);
int napi_create_int64(napi_env, int64_t, napi_value *);

static napi_value number(napi_env env, int64_t value) {
    napi_value made = NULL;
    napi_create_int64(env, value, &made);
    return made;
}

static napi_value call_aim(napi_env env, napi_callback_info info) {
    static char part[256];
    napi_value given[1];
    size_t count = 1, len = 0;
    napi_get_cb_info(env, info, &count, given, NULL, NULL);
    napi_get_value_string_utf8(env, given[0], part, sizeof part, &len);
    return number(env, failing_memory_aim(part));
}

static napi_value call_begin(napi_env env, napi_callback_info info) {
    napi_value given[2];
    size_t count = 2;
    int64_t after = 0, keeps_on = 0;
    napi_get_cb_info(env, info, &count, given, NULL, NULL);
    napi_get_value_int64(env, given[0], &after);
    napi_get_value_int64(env, given[1], &keeps_on);
    napi_value made = number(env, 0);
    failing_memory_begin(after, keeps_on != 0);
    return made;
}

static napi_value call_end(napi_env env, napi_callback_info info) {
    (void)info;
    return number(env, failing_memory_end());
}

static napi_value call_asked(napi_env env, napi_callback_info info) {
    (void)info;
    return number(env, failing_memory_asked());
}

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
    static const struct {
        const char *name;
        napi_callback call;
    } functions[] = {{"aim", call_aim}, {"begin", call_begin}, {"end", call_end}, {"asked", call_asked}};
    for (size_t place = 0; place < sizeof functions / sizeof functions[0]; ++place) {
        napi_value function = NULL;
        napi_create_function(env, functions[place].name, (size_t)-1, functions[place].call, NULL, &function);
        napi_set_named_property(env, exports, functions[place].name, function);
    }
    return exports;
}
