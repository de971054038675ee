#include "data/pack_json.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"

static bool anchor(const kd_window_options *o) { return o->mask == KD_MASK_ANCHOR && !o->anchor_is_bos; }

static bool bos(const kd_window_options *o) {
    return o->mask == KD_MASK_ANCHOR ? o->anchor_is_bos : (o->separator & KD_SEPARATE_BOS) != 0;
}

json_t *kd_pack_filling(const kd_window_options *o) {
    return json_pack("{s:I, s:b, s:b, s:b, s:b, s:s, s:I}", "window", (json_int_t)o->window, "anchor", anchor(o), "bos", bos(o), "eos",
                     (o->separator & KD_SEPARATE_EOS) != 0, "tag", o->tag, "long_documents", o->truncate ? "truncate" : "continue",
                     "shortest", (json_int_t)(o->shortest ? o->shortest : 1));
}

kd_status kd_pack_filled(kd_window_options *o, const json_t *filling, const char *folder) {
    bool anchor = false, bos = false, eos = false, tag = false;
    const char *rest = NULL;
    KD_TRY(kd_json_int(&o->window, filling, "window", folder));
    KD_TRY(kd_json_int(&o->shortest, filling, "shortest", folder));
    KD_TRY(kd_json_maybe_bool(&anchor, NULL, filling, "anchor", folder));
    KD_TRY(kd_json_maybe_bool(&bos, NULL, filling, "bos", folder));
    KD_TRY(kd_json_maybe_bool(&eos, NULL, filling, "eos", folder));
    KD_TRY(kd_json_maybe_bool(&tag, NULL, filling, "tag", folder));
    KD_TRY(kd_json_maybe_string(&rest, filling, "long_documents", folder));
    o->mask = anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT;
    o->separator = (bos ? KD_SEPARATE_BOS : 0) | (eos ? KD_SEPARATE_EOS : 0);
    o->tag = tag;
    o->truncate = rest && !strcmp(rest, "truncate");
    return KD_OK;
}

json_t *kd_pack_choosing(const kd_choice_options *o) {
    if (!o->shares && !o->shorter_than && !o->tokens) return json_null();
    json_t *mixture = o->shares ? json_object() : json_null();
    for (int64_t i = 0; i < o->shares; i++)
        if (json_object_set_new(mixture, o->source[i], json_real(o->share[i]))) {
            json_decref(mixture);
            return NULL;
        }
    json_t *upsample = o->shorter_than ? json_pack("{s:I, s:f, s:s}", "shorter_than", (json_int_t)o->shorter_than, "keep", o->keep,
                                                   "per", o->every_source ? "source" : "corpus")
                                       : json_null();
    return json_pack("{s:o, s:I, s:o, s:I}", "mixture", mixture, "tokens", (json_int_t)o->tokens, "upsample", upsample, "seed",
                     (json_int_t)o->seed);
}

/* What in a run file decides a key of the filling, or of the choosing. */
typedef struct decider { const char *key, *keys; } decider;

static const decider fills[] = {
    {"window", "window"},       {"anchor", "mask and anchor_form"}, {"bos", "mask, anchor_form and separator"},
    {"eos", "separator"},       {"tag", "tag"},                     {"long_documents", "long_documents"},
    {"shortest", "data.shortest"},
};
static const decider chooses[] = {
    {"mixture", "data.mixture"}, {"tokens", "data.tokens"}, {"upsample", "data.upsample"}, {"seed", "seed"},
};

static kd_status fail_differs(const char *folder, const char *keys, const json_t *then, const json_t *now) {
    char *a = then ? json_dumps(then, JSON_ENCODE_ANY | JSON_COMPACT) : NULL, *b = now ? json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    kd_status status = kd_fail(KD_ECONFIG, "%s: packed with another %s (%.100s, here %.100s): kedge pack again, which keeps the tokens, or "
                               "name %s/tokens/train as data.train, whose windows are filled anew", folder, keys, a ? a : "none",
                               b ? b : "none", folder);
    free(a);
    free(b);
    return status;
}

static kd_status compare(const json_t *then, const json_t *now, const decider *decides, size_t count, const char *folder) {
    for (size_t i = 0; i < count; i++) {
        const json_t *a = json_object_get(then, decides[i].key), *b = json_object_get(now, decides[i].key);
        if (!a || !b || !json_equal(a, b)) return fail_differs(folder, decides[i].keys, a, b);
    }
    return KD_OK;
}

kd_status kd_pack_check(const json_t *filling, const json_t *choosing, const kd_dataset_options *o, const char *folder) {
    json_t *now = kd_pack_filling(&o->window), *chosen = kd_pack_choosing(&o->choice);
    kd_status status = now && chosen ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = compare(filling, now, fills, sizeof fills / sizeof *fills, folder);
    /* A run that says nothing of mixtures takes the pack's. */
    if (!status && !json_is_null(chosen)) status = compare(choosing, chosen, chooses, sizeof chooses / sizeof *chooses, folder);
    json_decref(now);
    json_decref(chosen);
    return status;
}
