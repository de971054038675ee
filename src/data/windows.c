/* Filling windows. What a window becomes is in window_parts.c. */
#include "data/windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool kd_windows_end_with_eos(const kd_windows *w) { return w->options.separator & KD_SEPARATE_EOS; }

int64_t kd_windows_anchors(const kd_windows *w) { return w->plan.mask == KD_MASK_ANCHOR && !w->plan.anchor_is_bos; }

/* Whether every document has a BOS of its own. */
static bool leads(const kd_windows *w) {
    return w->plan.mask == KD_MASK_ANCHOR ? w->plan.anchor_is_bos : w->plan.lead_bos;
}

int64_t kd_windows_head(const kd_windows *w, int64_t source) {
    return leads(w) + w->tag_start[source + 1] - w->tag_start[source];
}

static int64_t text_length(const kd_windows *w, int64_t document) {
    return w->corpus->start[document + 1] - w->corpus->start[document] + kd_windows_end_with_eos(w);
}

/* Fills count, dropped, truncated and short_rests, and first and segment where they are there: without them it measures
 * them. Returns the number of segments, those of the last partial window included. */
static int64_t pack(kd_windows *w, const kd_choice *choice) {
    int64_t room = w->options.window - kd_windows_anchors(w), space = room, text = 0, segments = 0;
    w->count = w->truncated = w->short_rests = 0;
    for (int64_t d = 0; d < w->corpus->documents; d++) {
        if (choice && choice->fate[d] != KD_FATE_KEPT) continue;
        int64_t length = text_length(w, d), head = kd_windows_head(w, w->corpus->source[d]);
        for (int64_t from = 0; from < length;) {
            int64_t count = space <= head ? 0 : space - head < length - from ? space - head : length - from;
            if (from && length - from < w->options.shortest) {
                w->short_rests += length - from;
                break;
            }
            if (w->segment) w->segment[segments] = (kd_segment){d, from, count};
            segments++;
            from += count;
            text += count;
            space -= count ? head + count : space;
            if (space) continue;
            if (count && w->options.truncate) {
                w->truncated += length - from;
                from = length;
            }
            w->count++;
            if (w->first) w->first[w->count] = segments;
            space = room;
            text = 0;
        }
    }
    w->dropped = text;
    return segments;
}

/* The tag of a source is its name, encoded by itself; a document of unknown source, "", has none. */
static kd_status encode_tags(kd_windows *w) {
    const kd_corpus *c = w->corpus;
    kd_encoder *encoder = NULL;
    kd_ids ids = {0};
    kd_status status;
    KD_GO(kd_new(&w->tag_start, c->sources + 1, sizeof *w->tag_start));
    if (w->options.tag) KD_GO(kd_encoder_new(&encoder, &c->tokenizer));
    for (int64_t s = 0; s < c->sources && w->options.tag; s++) {
        KD_GO(kd_encode(&ids, encoder, c->source_name[s], (int64_t)strlen(c->source_name[s]), KD_ENCODE_SPECIALS_AS_TEXT));
        w->tag_start[s + 1] = ids.count;
    }
    w->tag = ids.id;
done:
    kd_encoder_free(encoder);
    if (status) free(ids.id);
    return status;
}

static kd_status check_specials(const kd_windows *w) {
    if (w->plan.bos < 0 && (leads(w) || kd_windows_anchors(w)))
        return kd_fail(KD_ECONFIG, "the tokenizer has neither BOS nor EOS, %s needs one",
                       w->options.mask == KD_MASK_ANCHOR ? "mask: anchor" : "separator: bos");
    if (w->corpus->tokenizer.eos < 0 && kd_windows_end_with_eos(w))
        return kd_fail(KD_ECONFIG, "the tokenizer has no EOS, separator: eos and both need one");
    return KD_OK;
}

static kd_status check_room(const kd_windows *w) {
    int64_t head = leads(w);
    for (int64_t s = 0; s < w->corpus->sources; s++)
        if (kd_windows_head(w, s) > head) head = kd_windows_head(w, s);
    int64_t least = kd_windows_anchors(w) + head + 1;
    if (w->options.window >= least) return KD_OK;
    return kd_fail(KD_ECONFIG, "window: %lld: anchor, BOS, the longest tag and one token of text need %lld",
                   (long long)w->options.window, (long long)least);
}

static kd_status prepare(kd_windows *w, const kd_corpus *corpus, const kd_window_options *options) {
    *w = (kd_windows){.corpus = corpus, .options = *options};
    const kd_tokenizer *tokenizer = &corpus->tokenizer;
    w->plan = (kd_plan_options){
        .mask = options->mask,
        .reset = options->reset,
        .anchor_is_bos = options->mask == KD_MASK_ANCHOR && options->anchor_is_bos,
        .lead_bos = options->mask != KD_MASK_ANCHOR && options->separator & KD_SEPARATE_BOS,
        .predict_boundary = options->predict_boundary,
        .predict_first = options->predict_first,
        .bos = tokenizer->bos >= 0 ? tokenizer->bos : tokenizer->eos,
        .offset = (int32_t)options->offset,
    };
    KD_TRY(check_specials(w));
    KD_TRY(encode_tags(w));
    return check_room(w);
}

/* The last partial window is no part of it. */
static void set_hash(kd_windows *w) {
    const uint64_t part[4] = {
        w->corpus->hash,
        kd_hash(w->first, (w->count + 1) * (int64_t)sizeof *w->first),
        kd_hash(w->segment, w->first[w->count] * (int64_t)sizeof *w->segment),
        kd_hash(w->tag, w->tag_start[w->corpus->sources] * (int64_t)sizeof *w->tag),
    };
    w->hash = kd_hash(part, sizeof part);
}

static kd_status fail_short(const kd_windows *w, const kd_choice *choice) {
    const kd_corpus *c = w->corpus;
    int64_t documents = 0, tokens = 0;
    char of[64] = " in all";
    for (int64_t d = 0; d < c->documents; d++)
        if (!choice || choice->fate[d] == KD_FATE_KEPT) documents++, tokens += c->start[d + 1] - c->start[d];
    if (documents < c->documents) snprintf(of, sizeof of, " chosen of %lld", (long long)c->documents);
    return kd_fail(KD_ECONFIG, "%lld documents of %lld tokens%s: not one window of %lld; name more files or a smaller window",
                   (long long)documents, (long long)tokens, of, (long long)w->options.window);
}

kd_status kd_windows_open(kd_windows *w, const kd_corpus *corpus, const kd_choice *choice, const kd_window_options *options) {
    kd_status status;
    KD_GO(prepare(w, corpus, options));
    int64_t segments = pack(w, choice);
    if (!w->count) {
        status = fail_short(w, choice);
        goto done;
    }
    KD_GO(kd_new(&w->first, w->count + 1, sizeof *w->first));
    KD_GO(kd_new(&w->segment, segments, sizeof *w->segment));
    pack(w, choice);
    set_hash(w);
done:
    if (status) kd_windows_close(w);
    return status;
}

/* Each window is full, and every segment is some document's. */
static kd_status check_segments(const kd_windows *w) {
    int64_t room = w->options.window - kd_windows_anchors(w);
    for (int64_t i = 0; i < w->count; i++) {
        int64_t space = room;
        if (w->first[i + 1] < w->first[i]) return kd_fail(KD_EFORMAT, "window %lld ends before it begins", (long long)i);
        for (int64_t s = w->first[i]; s < w->first[i + 1]; s++) {
            const kd_segment *g = &w->segment[s];
            bool there = g->document >= 0 && g->document < w->corpus->documents && g->from >= 0 && g->count >= 0 &&
                         g->from <= text_length(w, g->document) && g->count <= text_length(w, g->document) - g->from;
            if (!there || space <= 0)
                return kd_fail(KD_EFORMAT, "window %lld: segment %lld: %lld tokens from token %lld of document %lld: not there",
                               (long long)i, (long long)s, (long long)g->count, (long long)g->from, (long long)g->document);
            space -= g->count ? kd_windows_head(w, w->corpus->source[g->document]) + g->count : space;
        }
        if (space) return kd_fail(KD_EFORMAT, "window %lld: its segments leave %lld tokens of %lld", (long long)i, (long long)space,
                                  (long long)w->options.window);
    }
    return KD_OK;
}

kd_status kd_windows_restore(kd_windows *w, const kd_corpus *corpus, const kd_window_options *options, int64_t count,
                             int64_t *first, kd_segment *segment) {
    kd_status status = prepare(w, corpus, options);
    w->count = count;
    w->first = first;
    w->segment = segment;
    if (!status) status = check_segments(w);
    if (!status) set_hash(w);
    if (status) kd_windows_close(w);
    return status;
}

void kd_windows_close(kd_windows *w) {
    free(w->first);
    free(w->segment);
    free(w->tag);
    free(w->tag_start);
    *w = (kd_windows){0};
}
