#include "ruler_tasks.h"

#include <stdio.h>
#include <string.h>

#include "format/yaml.h"

#define NIAH(name, haystack, key, value, keys, values, queries) \
    {"niah_" name, KD_RULER_NIAH, 128, false, KD_RULER_##haystack, KD_RULER_##key, KD_RULER_##value, keys, values, queries, false}

const kd_ruler_task kd_ruler_tasks[KD_RULER_TASKS] = {
    NIAH("single_1", NOISE, WORDS, NUMBERS, 1, 1, 1),
    NIAH("single_2", ESSAYS, WORDS, NUMBERS, 1, 1, 1),
    NIAH("single_3", ESSAYS, WORDS, UUIDS, 1, 1, 1),
    NIAH("multikey_1", ESSAYS, WORDS, NUMBERS, 4, 1, 1),
    NIAH("multikey_2", NEEDLES, WORDS, NUMBERS, 1, 1, 1),
    NIAH("multikey_3", NEEDLES, UUIDS, UUIDS, 1, 1, 1),
    NIAH("multivalue", ESSAYS, WORDS, NUMBERS, 1, 4, 1),
    NIAH("multiquery", ESSAYS, WORDS, NUMBERS, 4, 1, 4),
    {.name = "vt", .kind = KD_RULER_CHAINS, .generate = 30},
    {.name = "cwe", .kind = KD_RULER_COMMON, .generate = 120},
    {.name = "fwe", .kind = KD_RULER_CODED, .generate = 50},
    {.name = "qa_1", .kind = KD_RULER_QA, .generate = 32, .any = true},
    {.name = "qa_2", .kind = KD_RULER_QA, .generate = 32, .any = true, .second = true},
};

int64_t kd_ruler_task_place(const char *name, int64_t size) {
    for (int64_t i = 0; i < KD_RULER_TASKS; i++)
        if ((int64_t)strlen(kd_ruler_tasks[i].name) == size && !memcmp(kd_ruler_tasks[i].name, name, (size_t)size)) return i;
    return -1;
}

static kd_status unknown(const char *name, int64_t size) {
    const char *known[KD_RULER_TASKS];
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(size < 63 ? size : 63), name);
    for (int64_t i = 0; i < KD_RULER_TASKS; i++) known[i] = kd_ruler_tasks[i].name;
    const char *near = kd_nearest(word, known, KD_RULER_TASKS);
    if (near) return kd_fail(KD_ECONFIG, "unknown task \"%s\", did you mean %s?", word, near);
    return kd_fail(KD_ECONFIG, "unknown task \"%s\": known are niah_single_1, _2, _3, niah_multikey_1, _2, _3, niah_multivalue, "
                               "niah_multiquery, vt, cwe, fwe, qa_1, qa_2", word);
}

kd_status kd_ruler_tasks_named(int64_t place[KD_RULER_TASKS], int64_t *count, const char *names) {
    bool wanted[KD_RULER_TASKS] = {false};
    *count = 0;
    for (const char *at = names;; at++) {
        size_t size = strcspn(at, ",");
        bool all = size == 3 && !strncmp(at, "all", 3);
        int64_t i = kd_ruler_task_place(at, (int64_t)size);
        if (i < 0 && !all) return unknown(at, (int64_t)size);
        for (int64_t k = 0; k < KD_RULER_TASKS; k++) wanted[k] |= all || k == i;
        at += size;
        if (!*at) break;
    }
    for (int64_t i = 0; i < KD_RULER_TASKS; i++)
        if (wanted[i]) place[(*count)++] = i;
    return KD_OK;
}
