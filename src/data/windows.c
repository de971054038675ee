#include "data/windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "data/interleave.h"

/* The top byte keeps the streams of the order, one for each pass, away from other users of the same seed. */
static const uint64_t ORDER_STREAM = (uint64_t)0xD0 << 56;

static bool ends_with_eos(const kd_windows *w) { return w->options.separator & KD_SEPARATE_EOS; }

static bool shared_anchor(const kd_windows *w) { return w->plan.mask == KD_MASK_ANCHOR && !w->plan.anchor_is_bos; }

/* Whether every document has a BOS of its own. */
static bool leads(const kd_windows *w) {
    return w->plan.mask == KD_MASK_ANCHOR ? w->plan.anchor_is_bos : w->plan.lead_bos;
}

static int64_t text_length(const kd_windows *w, int64_t document) {
    return w->corpus->start[document + 1] - w->corpus->start[document] + ends_with_eos(w);
}

static int64_t tag_length(const kd_windows *w, int64_t source) { return w->tag_start[source + 1] - w->tag_start[source]; }

/* ---- packing ----------------------------------------------------------------------------------------------- */

/* Fills count, dropped, truncated, and first and segment where they are there: without them it measures them.
 * Returns the number of segments, those of the last partial window included. */
static int64_t pack(kd_windows *w) {
    int64_t room = w->options.window - shared_anchor(w), space = room, text = 0, segments = 0;
    w->count = w->truncated = 0;
    for (int64_t d = 0; d < w->corpus->documents; d++) {
        int64_t length = text_length(w, d), head = leads(w) + tag_length(w, w->corpus->source[d]);
        for (int64_t from = 0; from < length;) {
            int64_t count = space <= head ? 0 : space - head < length - from ? space - head : length - from;
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

/* The tag of a source is its name; a document of unknown source, "", has none. */
static kd_status encode_tags(kd_windows *w) {
    const kd_corpus *c = w->corpus;
    kd_encoder *encoder = NULL;
    kd_ids ids = {0};
    kd_status status;
    KD_GO(kd_encoder_new(&encoder, &c->tokenizer));
    KD_GO(kd_new(&w->tag_start, c->sources + 1, sizeof *w->tag_start));
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
    if (w->plan.bos < 0 && (leads(w) || shared_anchor(w)))
        return kd_fail(KD_ECONFIG, "the tokenizer has neither BOS nor EOS, %s needs one",
                       w->options.mask == KD_MASK_ANCHOR ? "mask: anchor" : "separator: bos");
    if (w->corpus->tokenizer.eos < 0 && ends_with_eos(w))
        return kd_fail(KD_ECONFIG, "the tokenizer has no EOS, separator: eos and both need one");
    return KD_OK;
}

static kd_status check_room(const kd_windows *w) {
    int64_t tag = 0;
    for (int64_t s = 0; s < w->corpus->sources; s++)
        if (tag_length(w, s) > tag) tag = tag_length(w, s);
    int64_t least = shared_anchor(w) + leads(w) + tag + 1;
    if (w->options.window >= least) return KD_OK;
    return kd_fail(KD_ECONFIG, "window: %lld: anchor, BOS, the longest tag and one token of text need %lld",
                   (long long)w->options.window, (long long)least);
}

kd_status kd_windows_open(kd_windows *w, const kd_corpus *corpus, const kd_window_options *options) {
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
    };
    kd_status status;
    KD_GO(check_specials(w));
    KD_GO(encode_tags(w));
    KD_GO(check_room(w));
    int64_t segments = pack(w);
    if (!w->count) {
        status = kd_fail(KD_ECONFIG, "%lld documents of %lld tokens in all: not one window of %lld; name more files or a smaller window",
                         (long long)corpus->documents, (long long)corpus->tokens, (long long)options->window);
        goto done;
    }
    KD_GO(kd_new(&w->first, w->count + 1, sizeof *w->first));
    KD_GO(kd_new(&w->segment, segments, sizeof *w->segment));
    pack(w);
done:
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

/* ---- plans ------------------------------------------------------------------------------------------------- */

/* A chunk and what it is sorted by. */
typedef struct sortable { double key; kd_chunk chunk; } sortable;

/* Equal keys stay as they were: by document, and chunks of one document in text order. */
static int by_key(const void *left, const void *right) {
    const sortable *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    if (a->chunk.piece != b->chunk.piece) return a->chunk.piece < b->chunk.piece ? -1 : 1;
    return a->chunk.token < b->chunk.token ? -1 : a->chunk.token > b->chunk.token;
}

static int32_t text_token(const kd_windows *w, int64_t document, int64_t at) {
    int64_t start = w->corpus->start[document];
    if (start + at == w->corpus->start[document + 1]) return w->corpus->tokenizer.eos;
    int32_t id;
    kd_corpus_read(&id, w->corpus, start + at, 1);
    return id;
}

static void read_text(int32_t *token, const kd_windows *w, const kd_segment *s) {
    int64_t start = w->corpus->start[s->document] + s->from, end = w->corpus->start[s->document + 1];
    int64_t plain = end - start < s->count ? end - start : s->count;
    kd_corpus_read(token, w->corpus, start, plain);
    if (plain < s->count) token[plain] = w->corpus->tokenizer.eos;
}

/* The document's share in this window; `space` is what the window has left for it.
 * next is the document's own next token even where `truncate` drops it: the text does go on with it, and a target that is
 * never an input costs nothing. A segment without text has nothing that could predict: no next token. */
static kd_piece piece_of(const kd_windows *w, const kd_segment *s, int64_t space) {
    int64_t source = w->corpus->source[s->document], tag = tag_length(w, source);
    bool goes_on = s->count && s->from + s->count < text_length(w, s->document);
    return (kd_piece){
        .tag = tag ? w->tag + w->tag_start[source] : NULL,
        .tag_count = s->count || tag < space - leads(w) ? tag : space - leads(w),
        .next = goes_on ? text_token(w, s->document, s->from + s->count) : -1,
    };
}

/* Appends the chunks of one segment, whose text is `token`. */
static int64_t cut(sortable *out, const kd_windows *w, const kd_segment *s, int64_t piece, const int32_t *token) {
    if (!w->options.interleave || !s->count) {  /* a document that did not fit stays at the window's end */
        *out = (sortable){INFINITY, {piece, token, s->count}};
        return 1;
    }
    kd_interleave x = kd_interleave_share(w->options.seed, s->document, s->from, s->count);
    for (int64_t k = 0; k < x.parts; k++)
        out[k] = (sortable){x.key[k], {piece, token + x.cut[k], x.cut[k + 1] - x.cut[k]}};
    return x.parts;
}

void kd_window_parts_free(kd_window_parts *parts) {
    free(parts->token);
    free(parts->piece);
    free(parts->chunk);
    *parts = (kd_window_parts){0};
}

static kd_status part_window(kd_window_parts *p, const kd_windows *w, int64_t window) {
    const kd_segment *segment = w->segment + w->first[window];
    int64_t pieces = w->first[window + 1] - w->first[window];
    int64_t space = w->options.window - shared_anchor(w);
    int32_t *at;
    sortable *sorted = NULL;
    kd_status status;
    KD_GO(kd_new(&p->token, w->options.window, sizeof *p->token));
    KD_GO(kd_new(&p->piece, pieces, sizeof *p->piece));
    KD_GO(kd_new(&sorted, pieces * KD_INTERLEAVE_PARTS, sizeof *sorted));
    KD_GO(kd_new(&p->chunk, pieces * KD_INTERLEAVE_PARTS, sizeof *p->chunk));
    at = p->token;
    p->pieces = pieces;
    for (int64_t s = 0; s < pieces; s++) {
        p->piece[s] = piece_of(w, &segment[s], space);
        space -= leads(w) + p->piece[s].tag_count + segment[s].count;
        read_text(at, w, &segment[s]);
        p->chunks += cut(sorted + p->chunks, w, &segment[s], s, at);
        at += segment[s].count;
    }
    if (w->options.interleave) qsort(sorted, (size_t)p->chunks, sizeof *sorted, by_key);
    for (int64_t c = 0; c < p->chunks; c++) p->chunk[c] = sorted[c].chunk;
done:
    free(sorted);
    if (status) kd_window_parts_free(p);
    return status;
}

kd_status kd_windows_parts(kd_window_parts *parts, const kd_windows *w, int64_t index, bool shuffled) {
    *parts = (kd_window_parts){0};
    if (index < 0) return kd_fail(KD_EARG, "window %lld: the first is 0", (long long)index);
    int64_t pass = index / w->count, window = index % w->count;
    if (shuffled)
        window = (int64_t)kd_random_permute(w->options.seed, ORDER_STREAM | (uint64_t)pass, (uint64_t)window,
                                            (uint64_t)w->count);
    return part_window(parts, w, window);
}

kd_status kd_windows_plan(kd_plan *plan, const kd_windows *w, int64_t index, bool shuffled) {
    kd_window_parts parts;
    *plan = (kd_plan){0};
    KD_TRY(kd_windows_parts(&parts, w, index, shuffled));
    kd_status status = kd_plan_init(plan, &w->plan, parts.piece, parts.pieces, parts.chunk, parts.chunks);
    kd_window_parts_free(&parts);
    return status;
}
