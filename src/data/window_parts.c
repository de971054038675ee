/* Segments to chunks of text in window order, and those to a plan. */
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "data/interleave.h"
#include "data/windows.h"

/* The top byte keeps the streams of the order, one for each pass, away from other users of the same seed. */
static const uint64_t ORDER_STREAM = (uint64_t)0xD0 << 56;

/* A chunk and what it is sorted by. */
typedef struct sortable { double key; kd_chunk chunk; } sortable;

/* Equal keys stay as they were: by document, and chunks of one document in text order. */
static int by_key(const void *left, const void *right) {
    const sortable *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    if (a->chunk.piece != b->chunk.piece) return a->chunk.piece < b->chunk.piece ? -1 : 1;
    return a->chunk.token < b->chunk.token ? -1 : a->chunk.token > b->chunk.token;
}

/* The document's tokens that are stored; an EOS, where asked for, comes behind them. */
static int64_t stored_length(const kd_windows *w, int64_t document) {
    return w->corpus->start[document + 1] - w->corpus->start[document];
}

/* The segment's text, and what follows it in its document, as kd_piece.next; token and loss have room for one more. What
 * follows is the document's own next token even where `truncate` drops it: the text does go on with it, and a target that
 * is never an input costs nothing. A segment without text has nothing that could predict. */
static kd_status read_text(int32_t *token, uint8_t *loss, int32_t *next, const kd_windows *w, const kd_segment *s) {
    int64_t stored = stored_length(w, s->document) - s->from, plain = stored < s->count ? stored : s->count;
    int64_t more = s->count > 0 && s->count < stored;
    KD_TRY(kd_corpus_read(token, loss, w->corpus, w->corpus->start[s->document] + s->from, plain + more));
    *next = -1;
    if (more) *next = loss[plain] ? token[plain] : -2;
    else if (s->count > 0 && s->count == stored && kd_windows_end_with_eos(w)) *next = w->corpus->tokenizer.eos;
    if (plain < s->count) token[plain] = w->corpus->tokenizer.eos, loss[plain] = 1;
    return KD_OK;
}

/* The document's share in this window; `space` is what the window has left for it. */
static kd_piece piece_of(const kd_windows *w, const kd_segment *s, int64_t space) {
    int64_t source = w->corpus->source[s->document], tag = w->tag_start[source + 1] - w->tag_start[source];
    int64_t left = space - (kd_windows_head(w, source) - tag);
    return (kd_piece){.tag = tag ? w->tag + w->tag_start[source] : NULL, .tag_count = s->count || tag < left ? tag : left};
}

/* Appends the chunks of one segment, whose text is `token`. */
static int64_t cut(sortable *out, const kd_windows *w, const kd_segment *s, int64_t piece, const int32_t *token,
                   const uint8_t *loss) {
    if (!w->options.interleave || !s->count) {  /* a document that did not fit stays at the window's end */
        *out = (sortable){INFINITY, {piece, token, s->count, loss}};
        return 1;
    }
    kd_interleave x = kd_interleave_share(w->options.seed, s->document, s->from, s->count);
    for (int64_t k = 0; k < x.parts; k++)
        out[k] = (sortable){x.key[k], {piece, token + x.cut[k], x.cut[k + 1] - x.cut[k], loss + x.cut[k]}};
    return x.parts;
}

void kd_window_parts_free(kd_window_parts *parts) {
    free(parts->token);
    free(parts->loss);
    free(parts->piece);
    free(parts->chunk);
    *parts = (kd_window_parts){0};
}

static kd_status part_window(kd_window_parts *p, const kd_windows *w, int64_t window) {
    const kd_segment *segment = w->segment + w->first[window];
    int64_t pieces = w->first[window + 1] - w->first[window];
    int64_t space = w->options.window - kd_windows_anchors(w), at = 0;
    sortable *sorted = NULL;
    kd_status status;
    KD_GO(kd_new(&p->token, w->options.window + 1, sizeof *p->token));
    KD_GO(kd_new(&p->loss, w->options.window + 1, 1));
    KD_GO(kd_new(&p->piece, pieces, sizeof *p->piece));
    KD_GO(kd_new(&sorted, pieces * KD_INTERLEAVE_PARTS, sizeof *sorted));
    KD_GO(kd_new(&p->chunk, pieces * KD_INTERLEAVE_PARTS, sizeof *p->chunk));
    p->pieces = pieces;
    for (int64_t s = 0; s < pieces; s++) {
        p->piece[s] = piece_of(w, &segment[s], space);
        space -= kd_windows_head(w, w->corpus->source[segment[s].document]) + segment[s].count;
        KD_GO(read_text(p->token + at, p->loss + at, &p->piece[s].next, w, &segment[s]));
        p->chunks += cut(sorted + p->chunks, w, &segment[s], s, p->token + at, p->loss + at);
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
