/* HellaSwag's files and what is asked of them. Source: Zellers et al. 2019; lm-evaluation-harness, tasks/hellaswag. */
#ifndef KD_HELLASWAG_H
#define KD_HELLASWAG_H

#include "multiple_choice.h"

typedef struct kd_hellaswag_item { char *query, *choice[KD_CHOICES]; int64_t answer; } kd_hellaswag_item;

typedef struct kd_hellaswag {
    kd_hellaswag_item *item;
    int64_t count, room;
    uint64_t hash;             /* of the file */
} kd_hellaswag;

/* JSON lines of {"activity_label", "ctx_a", "ctx_b", "endings": [4], "label": 0 .. 3 or "0" .. "3"}; other members are ignored. */
kd_status kd_hellaswag_open(kd_hellaswag *set, const char *path);
void kd_hellaswag_close(kd_hellaswag *set);

/* The first `limit` items (0: all), each led by `shots` items of train with their endings. These are drawn as the harness does:
 * Random(seed) draws shots + 1 for each item in turn; the item itself, where both are of one file, is none of them, and no more than
 * shots are. KD_ECONFIG if train has too few. Appended. */
kd_status kd_hellaswag_ask(kd_choice_items *items, const kd_hellaswag *set, const kd_hellaswag *train, int64_t shots, uint64_t seed,
                           int64_t limit);

#endif
