/* Fuzz target: statistics, lists of leaks and texts read into rooms of any size while leases come and go. What is cut is the
 * beginning of what is whole; the text's numbers are the struct's. Rooms stand in memory of their very size. */
#include "input.h"

#include <stddef.h>

enum { LEASES = 16, TEXT = 1 << 17 };

static millpond_lease leases[LEASES];
static char whole[TEXT];

#define FIELD(name, suffix) {"millpond_buffer_" #name suffix "{", offsetof(millpond_stats, name)}

static const struct {
    const char *line;
    size_t at;
} fields[] = {
    FIELD(allocations, "_total"), FIELD(gets, "_total"), FIELD(puts, "_total"), FIELD(in_use, ""), FIELD(oversized, "_total"),
    FIELD(discarded, "_total"), FIELD(hits, "_total"), FIELD(live_bytes, ""), FIELD(requested_bytes, ""), FIELD(waste_bytes, ""),
    FIELD(peak_live_bytes, ""), FIELD(retained_buffers, ""), FIELD(retained_bytes, ""), FIELD(limit_bytes, ""),
    FIELD(detached, "_total"), FIELD(leaked, "_total"), FIELD(lost, "_total"), FIELD(trimmed_bytes, "_total"),
    FIELD(created, "_total"), FIELD(destroyed, "_total"), FIELD(double_puts, "_total"), FIELD(stale_uses, "_total"),
    FIELD(foreign_puts, "_total"), FIELD(overruns, "_total"), FIELD(exhausted, "_total"),
};

static void read_text(input *in, millpond_pool pool) {
    const millpond_stats stats = reconciled(pool);
    size_t len = 0, cut = 0;
    WORKS(millpond_pool_prometheus(pool, whole, TEXT, &len));
    EXPECT(len < TEXT && strlen(whole) == len);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i) {
        const char *const line = strstr(whole, fields[i].line), *last = line ? strchr(line, '\n') : NULL;
        uint64_t number;
        EXPECT(last != NULL);
        memcpy(&number, (const char *)&stats + fields[i].at, sizeof number);
        while (*last != ' ')
            --last;
        EQUAL(strtoull(last + 1, NULL, 10), number);
    }
    const size_t room = (size_t)take_word(in, 2) % (len + 2);
    char *const buffer = room ? malloc(room) : NULL;
    WORKS(millpond_pool_prometheus(pool, buffer, room, &cut));
    EQUAL(cut, len);
    if (room)
        EXPECT(strlen(buffer) == (room > len ? len : room - 1) && strncmp(buffer, whole, strlen(buffer)) == 0);
    free(buffer);
}

static void read_struct(input *in, millpond_pool pool) {
    const millpond_stats stats = reconciled(pool);
    const size_t size = take_byte(in) * 2;
    const size_t room = size < sizeof(size_t) ? sizeof(size_t) : size;
    uint8_t *const part = malloc(room);
    memset(part, 0xEE, room);
    memcpy(part, &size, sizeof size);
    const millpond_status status = millpond_pool_stats(pool, (millpond_stats *)(void *)part);
    if (status == MILLPOND_OK) {
        const size_t known = size < sizeof stats ? size : sizeof stats;
        EXPECT(memcmp(part + sizeof size, (const uint8_t *)&stats + sizeof size, known - sizeof size) == 0);
    } else {
        GIVES(MILLPOND_ERR_INVALID_ARGUMENT, status);
        EXPECT(size < sizeof stats && all_bytes(part + sizeof size, room - sizeof size, 0xEE));
    }
    free(part);
}

static void read_leaks(input *in, millpond_pool pool) {
    static millpond_leak all[LEASES + 1];
    size_t count = 0, cut = 0;
    WORKS(millpond_pool_leaks(pool, all, LEASES + 1, &count));
    EQUAL(count, reconciled(pool).in_use);
    const size_t room = take_byte(in) % (LEASES + 1);
    millpond_leak *const list = room ? malloc(room * sizeof *list) : NULL;
    WORKS(millpond_pool_leaks(pool, list, room, &cut));
    EQUAL(cut, count);
    for (size_t i = 0; i < room && i < count; ++i) {
        EXPECT(list[i].id == all[i].id && list[i].len == all[i].len && strcmp(list[i].site, all[i].site) == 0);
        EXPECT(strlen(list[i].site) < MILLPOND_SITE_MAX && list[i].capacity >= list[i].len);
    }
    free(list);
}

static void read_classes(input *in, millpond_pool pool) {
    const millpond_stats stats = reconciled(pool);
    millpond_class_stats of_class = MILLPOND_CLASS_STATS_INIT;
    size_t count = 0;
    uint64_t retained = 0, gets = 0;
    WORKS(millpond_pool_class_count(pool, &count));
    for (size_t i = 0; i < count; ++i) {
        WORKS(millpond_pool_class_stats(pool, i, &of_class));
        EQUAL(of_class.gets, of_class.puts + of_class.in_use + of_class.detached + of_class.leaked);
        EQUAL(of_class.retained_bytes, of_class.retained_buffers * of_class.size);
        retained += of_class.retained_bytes;
        gets += of_class.gets;
    }
    EQUAL(retained, stats.retained_bytes);
    AT_MOST(gets, stats.gets);
    GIVES(MILLPOND_ERR_INVALID_ARGUMENT, millpond_pool_class_stats(pool, count + (size_t)take_word(in, 8) % (SIZE_MAX / 2), &of_class));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const checks[] = {"on", "sites", "full", "on"};
    input in = {data, data + size};
    millpond_pool_options options = MILLPOND_POOL_OPTIONS_INIT;
    millpond_pool pool;
    char name[MILLPOND_NAME_MAX + 1] = {0};
    /* A name that the text has to escape. */
    for (size_t i = 0; i <= take_byte(&in) % 8u; ++i)
        name[i] = " \"\\{}a=,"[take_byte(&in) % 8];
    options.name = name;
    options.check = checks[take_byte(&in) % 4];
    options.max_bytes = 1 << 22;
    options.thread_cache_bytes = take_byte(&in) & 1 ? MILLPOND_ZERO : 0;
    WORKS(millpond_pool_new(&options, &pool));
    memset(leases, 0, sizeof leases);
    for (int calls = 0; in.at < in.end && calls < 120; ++calls) {
        const uint8_t what = take_byte(&in);
        millpond_lease *const lease = &leases[what / 8 % LEASES];
        size_t bytes;
        switch (what % 8) {
        case 0: case 1: case 2:
            if (lease->id) {
                WORKS(millpond_put(pool, lease->id));
                lease->id = 0;
            } else if (millpond_get(pool, (size_t)take_word(&in, 2) * (what & 64 ? 40 : 1), lease) != MILLPOND_OK) {
                lease->id = 0;
            }
            break;
        case 3: WORKS(millpond_pool_trim(pool, &bytes)); break;
        case 4: read_text(&in, pool); break;
        case 5: read_struct(&in, pool); break;
        case 6: read_leaks(&in, pool); break;
        default: read_classes(&in, pool);
        }
    }
    for (int i = 0; i < LEASES; ++i)
        if (leases[i].id)
            WORKS(millpond_put(pool, leases[i].id));
    read_classes(&in, pool);
    EQUAL(reconciled(pool).in_use, 0);
    WORKS(millpond_pool_free(pool));
    return 0;
}
