#include "probe_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "base/random.h"
#include "data/pack.h"
#include "text_source.h"

/* ---- plans ----------------------------------------------------------------------------------------------------- */

/* A text under full attention, led by bos unless that is negative; token has what follows it. */
static kd_status plan_text(kd_plan *plan, const int32_t *token, int64_t T, int32_t bos) {
    const kd_plan_options options = {.mask = KD_MASK_FULL, .lead_bos = bos >= 0, .bos = bos};
    return kd_plan_init_even(plan, &options, token, T - (bos >= 0), T);
}

static kd_status add_text(kd_probe_plans *p, const int32_t *token, int64_t T, int64_t longest, int32_t bos) {
    KD_TRY(plan_text(&p->plan[p->count], token, T, bos));
    if (p->is_longer) KD_TRY(plan_text(&p->longer[p->count], token, longest, bos));
    p->count++;
    return KD_OK;
}

/* The first T tokens of a window, in the order in which they are stored: document by document. */
static void cut(kd_plan *plan, int64_t T) {
    plan->T = T;
    while (plan->N > 0 && plan->start[plan->N - 1] >= T) plan->N--;
    plan->start[plan->N] = T;
}

/* ---- sources --------------------------------------------------------------------------------------------------- */

/* A folder without tokenizer.json whose vocabulary is that of `bytes` was made by kedge init. */
static kd_status open_tokenizer(kd_tokenizer *tokenizer, const kd_probe_source *s, const kd_config *config, const char *folder) {
    bool has = false;
    if (s->tokenizer) return kd_tokenizer_open(tokenizer, s->tokenizer);
    KD_TRY(kd_holds(&has, folder, "tokenizer.json"));
    if (!has && config->V != KD_BYTES_VOCABULARY)
        return kd_fail(KD_ECONFIG, "%s has no tokenizer.json: name one with --tokenizer", folder);
    return kd_tokenizer_open(tokenizer, has ? folder : "bytes");
}

static int32_t bos_of(const kd_probe_source *s, const kd_tokenizer *tokenizer) {
    return s->no_bos ? -1 : tokenizer->bos >= 0 ? tokenizer->bos : tokenizer->eos;
}

/* A document of JSON lines is one text, a plain file as many as it is long. */
static kd_status take(kd_probe_plans *p, const kd_probe_source *s, bool plain, const kd_ids *ids, int64_t T, int64_t longest,
                      int32_t bos) {
    int64_t need = longest - (bos >= 0);
    for (int64_t at = 0; at + need <= ids->count && p->count < s->texts_most; at += need) {
        KD_TRY(add_text(p, ids->id + at, T, longest, bos));
        if (!plain) break;
    }
    return KD_OK;
}

static kd_status read_texts(kd_probe_plans *p, const kd_probe_source *s, const kd_config *config, const char *folder, int64_t T,
                            int64_t longest) {
    kd_tokenizer tokenizer = {0};
    kd_encoder *encoder = NULL;
    kd_text_source from = {0};
    kd_ids ids = {0};
    int64_t seen = 0, most = 0;
    kd_status status;
    KD_GO(open_tokenizer(&tokenizer, s, config, folder));
    KD_GO(kd_encoder_new(&encoder, &tokenizer));
    KD_GO(kd_text_source_open(&from, s->text.text, s->text.count, false, false));
    int32_t bos = bos_of(s, &tokenizer);
    for (bool more = true; p->count < s->texts_most;) {
        kd_given given;
        KD_GO(kd_text_source_next(&given, &from, &more));
        if (!more) break;
        ids.count = 0;
        status = kd_encode(&ids, encoder, given.text, given.size, KD_ENCODE_SPECIALS_AS_TEXT);
        if (status) KD_GO(kd_fail_prefix(status, "%s:%lld", given.path, (long long)given.line));
        seen++;
        most = ids.count > most ? ids.count : most;
        KD_GO(take(p, s, !from.reader, &ids, T, longest, bos));
    }
    if (p->count < s->texts)
        status = kd_fail(KD_ECONFIG, "%lld of %lld texts of %lld tokens in %s%s: the longest of %lld has %lld", (long long)p->count,
                         (long long)s->texts, (long long)longest, s->text.text[0], s->text.count > 1 ? " and others" : "", (long long)seen,
                         (long long)most + (bos >= 0));
    snprintf(p->source, sizeof p->source, "%s%s", s->text.text[0], s->text.count > 1 ? " and others" : "");
done:
    free(ids.id);
    kd_text_source_close(&from);
    kd_encoder_free(encoder);
    kd_tokenizer_close(&tokenizer);
    return status;
}

static kd_status add_window(kd_probe_plans *p, const kd_windows *windows, int64_t i, int64_t T, int64_t longest) {
    KD_TRY(kd_windows_plan(&p->plan[i], windows, i, false));
    cut(&p->plan[i], T);
    if (p->is_longer) {
        KD_TRY(kd_windows_plan(&p->longer[i], windows, i, false));
        cut(&p->longer[i], longest);
    }
    p->count++;
    return KD_OK;
}

static kd_status read_pack(kd_probe_plans *p, const kd_probe_source *s, const kd_config *config, const char *folder, int64_t T,
                           int64_t longest) {
    kd_tokenizer tokenizer = {0};
    kd_dataset data = {0};
    kd_status status;
    KD_GO(open_tokenizer(&tokenizer, s, config, folder));
    const kd_dataset_options options = {.pattern = &s->pack, .patterns = 1, .part = "train", .ingest = {.tokenizer = &tokenizer}};
    KD_GO(kd_pack_open(&data, s->pack, &options));
    kd_windows *w = &data.windows;
    bool anchor = w->options.mask == KD_MASK_ANCHOR, full = s->mask && !strcmp(s->mask, "full");
    if (s->mask && strcmp(s->mask, anchor ? "anchor" : full ? "full" : "document"))
        KD_GO(kd_fail(KD_ECONFIG, "--mask %s: %s was packed %s a shared anchor: it is %s", s->mask, s->pack, anchor ? "with" : "without",
                      anchor ? "anchor" : "document or full"));
    if (full) w->plan.mask = KD_MASK_FULL;
    p->mask = anchor ? "anchor" : full ? "full" : "document";
    if (w->count < s->texts || w->options.window < longest)
        KD_GO(kd_fail(KD_ECONFIG, "%s has %lld windows of %lld tokens, %lld of %lld are asked for", s->pack, (long long)w->count,
                      (long long)w->options.window, (long long)s->texts, (long long)longest));
    for (int64_t i = 0; i < w->count && i < s->texts_most; i++) KD_GO(add_window(p, w, i, T, longest));
    snprintf(p->source, sizeof p->source, "windows of %s", s->pack);
done:
    kd_dataset_close(&data);
    kd_tokenizer_close(&tokenizer);
    return status;
}

static kd_status draw_tokens(kd_probe_plans *p, const kd_probe_source *s, const kd_config *config, int64_t T, int64_t longest) {
    int64_t texts = s->texts ? s->texts : s->texts_most;
    int32_t *token, bos = s->no_bos ? -1 : (int32_t)(config->bos >= 0 ? config->bos : config->eos);
    kd_status status = kd_new(&token, longest, sizeof *token);
    for (int64_t i = 0; i < texts && !status; i++) {
        for (int64_t t = 0; t < longest; t++)
            token[t] = (int32_t)(kd_random_bits((uint64_t)s->seed, 1 + (uint64_t)i, (uint64_t)t) % (uint64_t)config->V);
        status = add_text(p, token, T, longest, bos);
    }
    snprintf(p->source, sizeof p->source, "random tokens, seed %lld", (long long)s->seed);
    free(token);
    return status;
}

kd_status kd_probe_plans_open(kd_probe_plans *p, const kd_probe_source *s, const kd_config *config, const char *folder, int64_t T,
                              int64_t longest) {
    kd_status status;
    *p = (kd_probe_plans){.mask = "full", .is_longer = longest > T};
    KD_GO(kd_new(&p->plan, s->texts_most + 1, sizeof *p->plan));
    KD_GO(kd_new(&p->longer, s->texts_most + 1, sizeof *p->longer));
    if (s->pack) status = read_pack(p, s, config, folder, T, longest);
    else if (s->text.count) status = read_texts(p, s, config, folder, T, longest);
    else status = draw_tokens(p, s, config, T, longest);
done:
    if (status) kd_probe_plans_close(p);
    return status;
}

void kd_probe_plans_close(kd_probe_plans *p) {
    for (int64_t i = 0; p->plan && p->longer && i <= p->count; i++) {  /* the one that failed too */
        kd_plan_free(&p->plan[i]);
        kd_plan_free(&p->longer[i]);
    }
    free(p->plan);
    free(p->longer);
    *p = (kd_probe_plans){0};
}
