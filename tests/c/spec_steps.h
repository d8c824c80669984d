/* The steps of tests/spec as flatten.py prints them: one per line, a verb and key=value fields between tabs. */
#ifndef SPEC_STEPS_H
#define SPEC_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 16

struct field {
    const char *key;
    const char *value;
    bool used;
};

struct step {
    const char *verb;
    struct field fields[MAX_FIELDS];
    size_t field_count;
    size_t end; /* of a begin: index of its end */
};

struct steps {
    char *text;
    struct step *list;
    size_t count;
};

static void *grown(void *old, size_t bytes) {
    void *bigger = realloc(old, bytes);
    if (!bigger) {
        fputs("spec c: out of memory\n", stderr);
        exit(1);
    }
    return bigger;
}

/* The value of a field, or NULL. Fields nobody asks for are found by unused_field. */
static const char *field(struct step *step, const char *key) {
    for (size_t i = 0; i < step->field_count; ++i) {
        if (strcmp(step->fields[i].key, key) == 0) {
            /* Several threads may run one step. */
            __atomic_store_n(&step->fields[i].used, true, __ATOMIC_RELAXED);
            return step->fields[i].value;
        }
    }
    return NULL;
}

static const char *unused_field(const struct step *step) {
    for (size_t i = 0; i < step->field_count; ++i)
        if (!__atomic_load_n(&step->fields[i].used, __ATOMIC_RELAXED))
            return step->fields[i].key;
    return NULL;
}

/* A number, or `missing` where the field is absent. */
static uint64_t number(struct step *step, const char *key, uint64_t missing) {
    const char *text = field(step, key);
    if (!text)
        return missing;
    char *end;
    const uint64_t value = strtoull(text, &end, 0);
    if (end == text || *end) {
        fprintf(stderr, "spec c: %s=%s is no number\n", key, text);
        exit(1);
    }
    return value;
}

static char *cut(char *text, char at) {
    char *found = strchr(text, at);
    if (!found)
        return NULL;
    *found = 0;
    return found + 1;
}

static struct steps read_steps(FILE *in) {
    struct steps steps = {NULL, NULL, 0};
    size_t length = 0, room = 1 << 16;
    steps.text = grown(NULL, room);
    for (size_t got; (got = fread(steps.text + length, 1, room - length - 1, in)) > 0;) {
        length += got;
        if (room - length < 2)
            steps.text = grown(steps.text, room *= 2);
    }
    steps.text[length] = 0;

    size_t open[32], depth = 0, step_room = 0;
    for (char *line = steps.text, *next; line && *line; line = next) {
        next = cut(line, '\n');
        if (steps.count == step_room)
            steps.list = grown(steps.list, (step_room = step_room * 2 + 64) * sizeof *steps.list);
        struct step *step = &steps.list[steps.count];
        memset(step, 0, sizeof *step);
        char *rest = cut(line, '\t');
        step->verb = line;
        while (rest) {
            char *key = rest;
            rest = cut(key, '\t');
            char *value = cut(key, '=');
            if (!value || step->field_count == MAX_FIELDS) {
                fprintf(stderr, "spec c: line %zu cannot be read: %s\n", steps.count + 1, key);
                exit(1);
            }
            struct field *slot = &step->fields[step->field_count++];
            slot->key = key;
            slot->value = value;
        }
        if (strcmp(step->verb, "begin") == 0 && depth < 32) {
            open[depth++] = steps.count;
        } else if (strcmp(step->verb, "end") == 0 && depth > 0) {
            steps.list[open[--depth]].end = steps.count;
        }
        ++steps.count;
    }
    if (depth != 0 || steps.count == 0) {
        fputs("spec c: the steps end in the middle, or there are none\n", stderr);
        exit(1);
    }
    return steps;
}

#endif
