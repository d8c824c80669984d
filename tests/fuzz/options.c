/* Fuzz target: option structs of any size with any values and any texts. A pool is made that is as it was asked for, or the
 * error names the option. All that is passed stands in memory of its very size, so that a byte too far is seen. */
#include "input.h"

static void *exactly(const void *bytes, size_t size) {
    void *const copy = malloc(size ? size : 1);
    EXPECT(copy != NULL);
    if (size)
        memcpy(copy, bytes, size);
    return copy;
}

static size_t take_size(input *in) {
    static const size_t often[] = {0, 1, 63, 64, 65, 128, 4096, 65536, 1 << 20, 2 << 20, 4 << 20, 1 << 30, SIZE_MAX, SIZE_MAX - 1};
    const uint8_t shape = take_byte(in);
    if (shape < 160)
        return often[shape % (sizeof often / sizeof *often)];
    return shape < 220 ? (size_t)take_word(in, 2) * 64 : (size_t)take_word(in, 8);
}

/* A text of the input's bytes, NUL-terminated. */
static char *take_text(input *in, const char *const *often, int count) {
    const uint8_t shape = take_byte(in);
    char text[80];
    size_t len = 0;
    if (shape < 80)
        return NULL;
    if (shape < 160)
        return (char *)exactly(often[shape % count], strlen(often[shape % count]) + 1);
    for (const size_t wanted = take_byte(in) % 72; len < wanted; ++len) {
        text[len] = (char)take_byte(in);
        if (text[len] == 0)
            break;
    }
    text[len] = 0;
    return (char *)exactly(text, len + 1);
}

static void use(millpond_pool pool, const millpond_pool_options *options) {
    static const size_t lengths[] = {0, 1, 511, 512, 70000};
    const size_t alignment = options->alignment ? options->alignment : 64;
    char name[MILLPOND_NAME_MAX + 1];
    size_t count = 0, len = 0;
    uint64_t before = 0;
    WORKS(millpond_pool_name(pool, name, sizeof name, &len));
    EXPECT(len >= 1 && len <= MILLPOND_NAME_MAX && strlen(name) == len);
    if (options->name)
        EXPECT(strcmp(name, options->name) == 0);
    EXPECT(alignment >= 64 && alignment <= 2 << 20 && (alignment & (alignment - 1)) == 0);
    EXPECT(options->on_limit <= MILLPOND_LIMIT_UNPOOLED && options->clear <= MILLPOND_CLEAR_NEVER);
    WORKS(millpond_pool_class_count(pool, &count));
    EXPECT(count >= 1 && count <= 128);
    if (options->classes)
        EQUAL(count, options->class_count);
    for (size_t i = 0; i < count; ++i) {
        millpond_class_stats of_class = MILLPOND_CLASS_STATS_INIT;
        WORKS(millpond_pool_class_stats(pool, i, &of_class));
        EXPECT(of_class.size > before && of_class.size % 64 == 0 && of_class.size <= 1 << 30);
        if (options->classes)
            EQUAL(of_class.size, options->classes[i]);
        before = of_class.size;
    }
    if (options->max_bytes)
        EQUAL(reconciled(pool).limit_bytes, options->max_bytes);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        millpond_lease lease;
        const millpond_status status = millpond_try_get(pool, lengths[i], &lease);
        if (status == MILLPOND_OK) {
            EXPECT((uintptr_t)lease.data % alignment == 0 && lease.len == lengths[i]);
            memset(lease.data, 1, lease.len);
            WORKS(millpond_put(pool, lease.id));
        } else {
            EXPECT(status == MILLPOND_ERR_EXHAUSTED || status == MILLPOND_ERR_NO_MEMORY);
        }
    }
    const millpond_stats stats = reconciled(pool);
    EQUAL(stats.in_use, 0);
    /* What stays in the quarantine of "full" is not held to the limit of what is kept. */
    if (options->max_retained_bytes && !(options->check && strcmp(options->check, "full") == 0))
        AT_MOST(stats.retained_bytes, options->max_retained_bytes == MILLPOND_ZERO ? 0 : options->max_retained_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a", "a pool", "", "tab\t", "\xff\xfe", "p\xc3\xb6\xc3\xb6l"};
    static const char *const checks[] = {"on", "off", "sites", "full", "sample:1", "sample:1000", "sample:", "sample:0", "ON", ""};
    static const size_t sizes[] = {sizeof(millpond_pool_options), 0, 1, 96, 104, 110, sizeof(millpond_pool_options) + 8, 4096};
    input in = {data, data + size};
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool = 7;
    const uint64_t bits = take_word(&in, 2);
    char *const name = take_text(&in, names, 6), *const check = take_text(&in, checks, 10);
    size_t list[140], *classes = NULL;
    options.name = name;
    options.check = check;
    if (bits & 1) {
        options.class_count = take_byte(&in) % 140;
        const size_t step = 64 * (1 + take_byte(&in));
        for (size_t i = 0; i < options.class_count; ++i)
            list[i] = bits & 2 ? take_size(&in) : step * (i + 1);
        classes = (size_t *)exactly(list, options.class_count * sizeof *list);
        options.classes = classes;
    }
    options.class_min = bits & 4 ? take_size(&in) : 0;
    options.class_max = bits & 8 ? take_size(&in) : 0;
    options.max_bytes = bits & 16 ? take_size(&in) : 0;
    options.max_retained_bytes = bits & 32 ? take_size(&in) : 0;
    options.alignment = bits & 64 ? take_size(&in) : 0;
    options.thread_cache_bytes = bits & 128 ? take_size(&in) : 0;
    options.wait_ms = bits & 256 ? take_size(&in) : 0;
    /* Not so often, and not so large: it starts a thread. */
    options.maintain_every_ms = (bits >> 9 & 7) == 7 ? 1000 + take_byte(&in) : 0;
    options.on_limit = (uint32_t)(bits >> 12 & 3);
    options.clear = (uint32_t)(bits >> 14 & 3);
    const size_t shape = take_byte(&in);
    options.struct_size = sizes[shape % 8];
    uint8_t passed[4096] = {0};
    memcpy(passed, &options, sizeof options);
    if (shape >= 128)
        passed[sizeof options + take_byte(&in)] = 1;
    /* The size stands in the first word, which is always there. */
    const size_t room = options.struct_size < sizeof(size_t) ? sizeof(size_t) : options.struct_size;
    void *const struct_passed = exactly(passed, room);
    const int asks_for_more =
        options.struct_size > sizeof options && !all_bytes(passed + sizeof options, options.struct_size - sizeof options, 0);
    const millpond_status status = millpond_pool_new((const millpond_pool_options *)struct_passed, &pool);
    if (status == MILLPOND_OK) {
        EXPECT(options.struct_size >= 104 && !asks_for_more);
        use(pool, &options);
        WORKS(millpond_pool_free(pool));
    } else {
        EXPECT(pool == 7 && (status == MILLPOND_ERR_INVALID_ARGUMENT || status == MILLPOND_ERR_NO_MEMORY));
        EXPECT(millpond_last_error()[0] != 0);
    }
    free(struct_passed);
    free(classes);
    free(name);
    free(check);
    return 0;
}
