#include "hellaswag.h"

#include <stdlib.h>
#include <string.h>

#include "json_lines.h"
#include "python_random.h"

/* A number, or a digit as text. */
static kd_status read_label(int64_t *label, const json_t *row, const char *place) {
    const json_t *value = json_object_get(row, "label");
    const char *text = json_string_value(value);
    *label = -1;
    if (json_is_integer(value)) *label = json_integer_value(value);
    else if (text && text[0] >= '0' && text[0] < '0' + KD_CHOICES && !text[1]) *label = text[0] - '0';
    else if (text && !*text)
        return kd_fail(KD_EFORMAT, "%s: \"label\" is empty: the test split has no answers, the validation split does", place);
    if (*label >= 0 && *label < KD_CHOICES) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: \"label\" is %s: 0 to 3", place, value ? "something else" : "missing");
}

static kd_status read_item(kd_hellaswag_item *item, const json_t *row, const char *place) {
    const char *activity, *a, *b;
    const json_t *endings;
    KD_TRY(kd_json_text(&activity, row, "activity_label", place));
    KD_TRY(kd_json_text(&a, row, "ctx_a", place));
    KD_TRY(kd_json_text(&b, row, "ctx_b", place));
    KD_TRY(kd_json_texts(&endings, row, "endings", KD_CHOICES, place));
    KD_TRY(read_label(&item->answer, row, place));
    KD_TRY(kd_hellaswag_query(&item->query, activity, a, b));
    for (int k = 0; k < KD_CHOICES; k++)
        KD_TRY(kd_hellaswag_clean(&item->choice[k], json_string_value(json_array_get(endings, (size_t)k))));
    return KD_OK;
}

kd_status kd_hellaswag_open(kd_hellaswag *set, const char *path) {
    kd_json_lines lines;
    json_t *row = NULL;
    kd_status status;
    *set = (kd_hellaswag){0};
    KD_TRY(kd_json_lines_open(&lines, path));
    set->hash = lines.hash;
    for (;;) {
        KD_GO(kd_json_lines_next(&row, &lines));
        if (!row) break;
        KD_GO(kd_grow(&set->item, &set->room, set->count + 1, sizeof *set->item));
        set->item[set->count] = (kd_hellaswag_item){0};
        KD_GO(read_item(&set->item[set->count++], row, lines.place));
        json_decref(row);
        row = NULL;
    }
    if (!set->count) status = kd_fail(KD_EFORMAT, "%s: no items in it", path);
done:
    json_decref(row);
    kd_json_lines_close(&lines);
    if (status) kd_hellaswag_close(set);
    return status;
}

void kd_hellaswag_close(kd_hellaswag *set) {
    for (int64_t i = 0; i < set->count; i++) {
        free(set->item[i].query);
        for (int k = 0; k < KD_CHOICES; k++) free(set->item[i].choice[k]);
    }
    free(set->item);
    *set = (kd_hellaswag){0};
}

static kd_status copy(char **out, const char *text) {
    *out = strdup(text);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status ask_one(kd_choice_items *items, const kd_hellaswag *set, const kd_hellaswag *train, const int64_t *drawn, int64_t shots,
                         int64_t i) {
    const kd_hellaswag_item *from = &set->item[i];
    kd_choice_item *item = kd_choice_items_next(items);
    kd_text context = {0};
    char key[64];
    if (!item) return kd_fail(KD_ENOMEM, "out of memory");
    snprintf(key, sizeof key, "hellaswag/%lld", (long long)i);
    for (int64_t k = 0, taken = 0; k <= shots && taken < shots; k++) {
        const kd_hellaswag_item *shot = &train->item[drawn[k]];
        if (train->hash == set->hash && drawn[k] == i) continue;
        kd_text_print(&context, "%s %s\n\n", shot->query, shot->choice[shot->answer]);
        taken++;
    }
    kd_text_put(&context, from->query);
    item->context = context.data;  /* freed with the items */
    item->answer = from->answer;
    KD_TRY(kd_text_status(&context));
    if (!item->context) KD_TRY(copy(&item->context, ""));
    KD_TRY(copy(&item->key, key));
    for (int k = 0; k < KD_CHOICES; k++) KD_TRY(copy(&item->choice[k], from->choice[k]));
    return KD_OK;
}

kd_status kd_hellaswag_ask(kd_choice_items *items, const kd_hellaswag *set, const kd_hellaswag *train, int64_t shots, uint64_t seed,
                           int64_t limit) {
    kd_python_random random;
    int64_t *drawn = NULL, count = limit && limit < set->count ? limit : set->count;
    kd_status status = KD_OK;
    if (shots && train->count <= shots)
        return kd_fail(KD_ECONFIG, "%lld shots are drawn out of more than so many items, there are %lld", (long long)shots,
                       (long long)train->count);
    KD_TRY(kd_new(&drawn, shots + 1, sizeof *drawn));
    kd_python_seed(&random, seed);
    for (int64_t i = 0; i < count; i++) {
        if (shots) KD_GO(kd_python_sample(drawn, &random, train->count, shots + 1));
        KD_GO(ask_one(items, set, train, drawn, shots, i));
    }
done:
    free(drawn);
    return status;
}
