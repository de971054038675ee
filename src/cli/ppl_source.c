#include "ppl_source.h"

#include <stdlib.h>
#include <string.h>

#include "data/pack.h"
#include "text_source.h"

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- texts ------------------------------------------------------------------------------------------------------------------ */

static kd_status encode(kd_ids *ids, kd_subject *subject, const kd_given *given) {
    ids->count = 0;
    if (given->text) {
        kd_status status = kd_subject_encode(ids, subject, given->text, given->size, false);
        return status ? kd_fail_prefix(status, "%s:%lld", given->path, (long long)given->line) : KD_OK;
    }
    int64_t skipped = given->ids && given->id[0] == subject->tokenizer.bos;
    KD_TRY(kd_ids_reserve(ids, given->ids));
    for (int64_t i = skipped; i < given->ids; i++) {
        if (given->id[i] >= subject->config.V)
            return kd_fail(KD_EFORMAT, "%s:%lld: token %lld is %d, the model's vocabulary has %lld", given->path, (long long)given->line,
                           (long long)i,
                           (int)given->id[i], (long long)subject->config.V);
        ids->id[ids->count++] = given->id[i];
    }
    return KD_OK;
}

static kd_status take(kd_ppl_given *out, const kd_ids *ids, const kd_given *given) {
    kd_ppl_text *text = kd_ppl_texts_next(&out->texts);
    if (!text) return no_memory();
    KD_TRY(kd_new(&text->id, ids->count, sizeof *text->id));
    memcpy(text->id, ids->id, (size_t)ids->count * sizeof *text->id);
    text->count = ids->count;
    if (!given->text) return KD_OK;
    text->bytes = given->size;
    text->words = kd_ppl_words(given->text, given->size);
    return KD_OK;
}

static kd_status read_texts(kd_ppl_given *out, const kd_ppl_source *s, kd_subject *subject) {
    kd_text_source from;
    kd_given given;
    kd_ids ids = {0};
    int64_t longest = 0;
    bool more = true;
    kd_status status = KD_OK;
    KD_TRY(kd_text_source_open(&from, s->text.text, s->text.count, false, false));
    while (!s->most || out->texts.count < s->most) {
        KD_GO(kd_text_source_next(&given, &from, &more));
        if (!more) break;
        KD_GO(encode(&ids, subject, &given));
        longest = ids.count > longest ? ids.count : longest;
        if (ids.count < s->least || !ids.count) out->shorter++;
        else KD_GO(take(out, &ids, &given));
    }
    if (!out->texts.count)
        status = kd_fail(KD_ECONFIG, "ppl: %s: no text of %lld tokens or more: the longest of %lld has %lld", s->text.text[0],
                         (long long)(s->least ? s->least : 1), (long long)out->shorter, (long long)longest);
done:
    free(ids.id);
    kd_text_source_close(&from);
    return status;
}

/* ---- packs ------------------------------------------------------------------------------------------------------------------ */

/* Document n of a window, behind its own BOS where one leads it anyway. */
static kd_status take_document(kd_ppl_given *out, const kd_plan *plan, int64_t n, const kd_subject *subject, int64_t least) {
    int64_t start = plan->start[n], end = plan->start[n + 1];
    bool led = subject->lead.count && end > start && plan->token[start] == subject->lead.id[0];
    int64_t first = start + led, count = end - first;
    if (count < 1) return KD_OK;
    bool behind = plan->target[end - 1] >= 0;
    if (count + behind < least) {
        out->shorter++;
        return KD_OK;
    }
    for (int64_t t = first; t + 1 < end; t++) out->positions_differ |= plan->position[t + 1] != plan->position[t] + 1;
    kd_ppl_text *text = kd_ppl_texts_next(&out->texts);
    if (!text) return no_memory();
    text->count = count + behind;
    KD_TRY(kd_new(&text->id, text->count, sizeof *text->id));
    KD_TRY(kd_new(&text->silent, text->count, 1));
    for (int64_t i = 0; i < text->count; i++) {
        int64_t before = first + i - 1;
        text->id[i] = first + i < end ? plan->token[first + i] : plan->target[end - 1];
        text->silent[i] = before < start || plan->target[before] != text->id[i];
    }
    return KD_OK;
}

static kd_status read_pack(kd_ppl_given *out, const kd_ppl_source *s, const kd_subject *subject) {
    kd_dataset data = {0};
    const kd_dataset_options options = {.pattern = &s->pack, .patterns = 1, .part = s->part,
                                        .ingest = {.tokenizer = (kd_tokenizer *)&subject->tokenizer}};
    kd_status status;
    KD_GO(kd_pack_open(&data, s->pack, &options));
    for (int64_t i = 0; i < data.windows.count && (!s->most || i < s->most); i++, out->windows++) {
        kd_plan plan;
        KD_GO(kd_windows_plan(&plan, &data.windows, i, false));
        for (int64_t n = 0; n < plan.N && !status; n++) status = take_document(out, &plan, n, subject, s->least);
        kd_plan_free(&plan);
        if (status) goto done;
    }
    if (!out->texts.count)
        status = kd_fail(KD_ECONFIG, "ppl: %s: no document of %lld tokens or more in %lld windows", s->pack,
                         (long long)(s->least ? s->least : 1),
                         (long long)out->windows);
done:
    kd_dataset_close(&data);
    return status;
}

/* ---- both ------------------------------------------------------------------------------------------------------------------- */

kd_status kd_ppl_given_open(kd_ppl_given *out, const kd_ppl_source *s, kd_subject *subject) {
    *out = (kd_ppl_given){.shorter = 0};
    kd_status status = s->pack ? read_pack(out, s, subject) : read_texts(out, s, subject);
    for (int64_t i = 0; i < out->texts.count && !status; i++) {
        const kd_ppl_text *text = &out->texts.text[i];
        out->hash = out->hash * 31 + kd_hash(text->id, text->count * (int64_t)sizeof *text->id);
        if (text->silent) out->hash += kd_hash(text->silent, text->count);
    }
    if (status) kd_ppl_given_close(out);
    return status;
}

void kd_ppl_given_close(kd_ppl_given *given) {
    kd_ppl_texts_free(&given->texts);
    *given = (kd_ppl_given){.shorter = 0};
}
