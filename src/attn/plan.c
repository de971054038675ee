/* The one descriptor: lays out a window for every mask of the paper.
 *
 * Everything is decided in window order first (where a token stands, its position, what it predicts), then documents
 * are joined by a stable sort: after it, interleaved chunks are a contiguous document whose positions jump. */
#include <stdlib.h>

#include "attn.h"

enum role { ROLE_LEAD, ROLE_TAG, ROLE_TEXT };  /* LEAD: a BOS; TAG: a domain tag; TEXT: the document's own */

/* One token in window order. */
typedef struct slot {
    int32_t token, position, target, depth;
    int64_t piece;       /* -1: the shared anchor */
    enum role role;
    bool no_target;      /* nothing is trained to predict it */
} slot;

static bool leads(const kd_plan_options *o) {
    return o->mask == KD_MASK_ANCHOR ? o->anchor_is_bos : o->lead_bos;
}

static bool shared_anchor(const kd_plan_options *o) { return o->mask == KD_MASK_ANCHOR && !o->anchor_is_bos; }

int64_t kd_plan_tokens(const kd_plan_options *o, const kd_piece *piece, int64_t pieces, const kd_chunk *chunk,
                       int64_t chunks) {
    int64_t T = shared_anchor(o);
    for (int64_t n = 0; n < pieces; n++) T += leads(o) + piece[n].tag_count;
    for (int64_t c = 0; c < chunks; c++) T += chunk[c].count;
    return T;
}

static kd_status check(const kd_plan_options *o, const kd_piece *piece, int64_t pieces, const kd_chunk *chunk,
                       int64_t chunks) {
    if (pieces < 0 || chunks < 0) return kd_fail(KD_EARG, "a plan of %lld pieces", (long long)pieces);
    if (o->offset < 0 || o->offset > 1 << 24) return kd_fail(KD_EARG, "an offset of positions of %lld: 0 to 2^24", (long long)o->offset);
    if (o->predict_first && shared_anchor(o))
        return kd_fail(KD_EARG, "first: predict needs a BOS in every document: a shared anchor has no one document");
    for (int64_t n = 0; n < pieces; n++)
        if (piece[n].tag_count < 0) return kd_fail(KD_EARG, "piece %lld: a tag of %lld tokens", (long long)n,
                                                   (long long)piece[n].tag_count);
    for (int64_t c = 0; c < chunks; c++)
        if (chunk[c].piece < 0 || chunk[c].piece >= pieces || chunk[c].count < 0)
            return kd_fail(KD_EARG, "chunk %lld: %lld tokens of piece %lld, there are %lld pieces", (long long)c,
                           (long long)chunk[c].count, (long long)chunk[c].piece, (long long)pieces);
    if (kd_plan_tokens(o, piece, pieces, chunk, chunks) > INT32_MAX)
        return kd_fail(KD_EARG, "a window of %lld tokens: positions are 32-bit",
                       (long long)kd_plan_tokens(o, piece, pieces, chunk, chunks));
    return KD_OK;
}

/* Places every token; `last` [pieces] ends as the slot of each piece's latest text token. */
static int64_t place(slot *at, int64_t *last, int64_t *text, int64_t *count, const kd_plan_options *o,
                     const kd_piece *piece, const kd_chunk *chunk, int64_t chunks) {
    int64_t t = 0;
    if (shared_anchor(o)) at[t++] = (slot){o->bos, 0, -1, 0, -1, ROLE_LEAD, false};
    for (int64_t c = 0; c < chunks; c++) {
        int64_t n = chunk[c].piece;
        if (count[n] < 0) {  /* its first chunk: BOS and tag go before it */
            count[n] = 0;
            if (leads(o)) {
                at[t++] = (slot){o->bos, 0, -1, 0, n, ROLE_LEAD, false};
                count[n]++;
            }
            for (int64_t i = 0; i < piece[n].tag_count; i++, count[n]++)
                at[t++] = (slot){piece[n].tag[i], (int32_t)count[n], -1, 0, n, ROLE_TAG, true};
        }
        for (int64_t i = 0; i < chunk[c].count; i++, t++) {
            bool no_target = chunk[c].loss && !chunk[c].loss[i];
            at[t] = (slot){chunk[c].token[i], (int32_t)count[n]++, -1, (int32_t)text[n]++, n, ROLE_TEXT, no_target};
            if (last[n] >= 0 && !no_target) at[last[n]].target = at[t].token;
            last[n] = t;
        }
    }
    return t;
}

/* slot.position comes in as the index within the document; `t` is the index in the window. */
static int32_t position_of(const slot *s, int64_t t, const kd_plan_options *o) {
    if (s->piece < 0) return 0;
    if (o->anchor_is_bos && o->mask == KD_MASK_ANCHOR && s->role == ROLE_LEAD) return 0;
    if (!o->reset) return (int32_t)t;
    return s->position + shared_anchor(o);
}

static void set_targets(slot *at, int64_t T, const int64_t *last, const kd_plan_options *o, const kd_piece *piece,
                        int64_t pieces) {
    for (int64_t n = 0; n < pieces; n++)
        if (last[n] >= 0) at[last[n]].target = piece[n].next;
    for (int64_t t = 0; t < T; t++) {
        bool next_may = t + 1 < T && !at[t + 1].no_target;
        if (at[t].piece < 0 || at[t].role == ROLE_TAG) {
            /* A tag's last token does not know the text any better than a BOS does. */
            continue;
        } else if (at[t].role == ROLE_LEAD) {
            if (o->predict_first && next_may && at[t + 1].role == ROLE_TEXT && at[t + 1].piece == at[t].piece)
                at[t].target = at[t + 1].token;
        } else if (o->predict_boundary && t == last[at[t].piece] && at[t].target == -1) {
            if (next_may) at[t].target = at[t + 1].token;
        }
    }
}

/* Document-relative positions start at 0 with the document's first token. A BOS at position 0 whose text runs on from
 * elsewhere (anchor_form bos) is the exception: the text decides, and its BOS lies where the window puts it. So a
 * document whose positions are consecutive has the same relative positions wherever it stands. */
static int32_t base_of(const int32_t *position, int64_t count) {
    return position[0] == 0 && count > 1 ? position[1] - 1 : position[0];
}

kd_status kd_plan_init(kd_plan *plan, const kd_plan_options *o, const kd_piece *piece, int64_t pieces,
                       const kd_chunk *chunk, int64_t chunks) {
    *plan = (kd_plan){0};
    KD_TRY(check(o, piece, pieces, chunk, chunks));
    int64_t T = kd_plan_tokens(o, piece, pieces, chunk, chunks);
    int64_t N = o->mask == KD_MASK_FULL ? (T > 0) : pieces;
    slot *at = NULL;
    int64_t *work = NULL;
    kd_status status;
    KD_GO(kd_new(&at, T, sizeof *at));
    KD_GO(kd_new(&work, 3 * pieces + 1, sizeof *work));
    int64_t *last = work, *text = work + pieces, *count = work + 2 * pieces;
    for (int64_t n = 0; n < pieces; n++) last[n] = -1, count[n] = -1;
    int64_t placed = place(at, last, text, count, o, piece, chunk, chunks);
    for (int64_t n = 0; n < pieces; n++)
        if (count[n] < 0 || placed != T) {
            status = kd_fail(KD_EARG, "piece %lld has no chunk", (long long)n);
            goto done;
        }
    set_targets(at, T, last, o, piece, pieces);

    KD_GO(kd_new(&plan->start, N + 1, sizeof *plan->start));
    KD_GO(kd_new(&plan->base, N, sizeof *plan->base));
    KD_GO(kd_new(&plan->position, T, sizeof *plan->position));
    KD_GO(kd_new(&plan->target, T, sizeof *plan->target));
    KD_GO(kd_new(&plan->token, T, sizeof *plan->token));
    KD_GO(kd_new(&plan->depth, T, sizeof *plan->depth));
    plan->T = T;
    plan->anchors = shared_anchor(o);

    /* The stable sort by document: count[] holds each piece's tokens, `text` becomes where the next one goes. */
    plan->start[0] = plan->anchors;
    for (int64_t n = 0; n < pieces; n++) {
        if (o->mask == KD_MASK_FULL) continue;
        plan->start[n + 1] = plan->start[n] + count[n];
        text[n] = plan->start[n];
    }
    if (o->mask == KD_MASK_FULL && N) plan->start[1] = T;
    for (int64_t t = 0; t < T; t++) {
        int64_t to = o->mask == KD_MASK_FULL || at[t].piece < 0 ? t : text[at[t].piece]++;
        plan->token[to] = at[t].token;
        plan->target[to] = at[t].target < 0 ? -1 : at[t].target;
        plan->depth[to] = at[t].depth;
        plan->position[to] = position_of(&at[t], t, o);
    }

    /* A piece of no tokens is no document. */
    for (int64_t n = 0; n < N; n++) {
        int64_t from = plan->start[plan->N], to = plan->start[n + 1];  /* start[n] may hold a later one by now */
        if (to == from) continue;
        plan->base[plan->N] = base_of(plan->position + from, to - from) + o->offset;
        plan->start[++plan->N] = to;
    }
    for (int64_t t = 0; t < T; t++) plan->position[t] += o->offset;
done:
    free(at);
    free(work);
    if (status) kd_plan_free(plan);
    return status;
}

kd_status kd_plan_init_lengths(kd_plan *plan, const kd_plan_options *o, const int32_t *token, const int64_t *length, int64_t N) {
    kd_piece *piece = NULL;
    kd_chunk *chunk = NULL;
    kd_status status;
    *plan = (kd_plan){0};
    KD_GO(kd_new(&piece, N, sizeof *piece));
    KD_GO(kd_new(&chunk, N, sizeof *chunk));
    for (int64_t n = 0; n < N; token += length[n++]) {
        piece[n].next = -1;
        chunk[n] = (kd_chunk){n, token, length[n], NULL};
    }
    status = kd_plan_init(plan, o, piece, N, chunk, N);
done:
    free(piece);
    free(chunk);
    return status;
}

kd_status kd_plan_init_even(kd_plan *plan, const kd_plan_options *o, const int32_t *token, int64_t count, int64_t length) {
    int64_t N = (count + length - 1) / length, *each;
    *plan = (kd_plan){0};
    KD_TRY(kd_new(&each, N, sizeof *each));
    for (int64_t n = 0; n < N; n++) each[n] = n + 1 < N ? length : count - n * length;
    kd_status status = kd_plan_init_lengths(plan, o, token, each, N);
    free(each);
    return status;
}

void kd_plan_free(kd_plan *plan) {
    free(plan->start);
    free(plan->base);
    free(plan->position);
    free(plan->target);
    free(plan->token);
    free(plan->depth);
    *plan = (kd_plan){0};
}

int64_t kd_stretch_pairs(const kd_plan *plan, kd_stretch rows, kd_stretch keys) {
    int64_t pairs = plan->anchors && keys.from == 0 && keys.to > 0 ? kd_stretch_count(rows) : 0;
    for (int64_t n = 0; n < plan->N; n++) {
        kd_stretch key = kd_stretch_of_document(plan, n, keys);
        kd_stretch row = kd_stretch_both(kd_stretch_of_document(plan, n, rows), (kd_stretch){key.from, plan->T});
        /* Rows among the keys see those up to themselves, later ones see all. */
        int64_t among = kd_stretch_count(kd_stretch_both(row, key)), later = kd_stretch_count(row) - among;
        pairs += among * (row.from - key.from + 1) + among * (among - 1) / 2 + later * kd_stretch_count(key);
    }
    return pairs;
}

int64_t kd_plan_pairs(const kd_plan *plan) { return kd_stretch_pairs(plan, (kd_stretch){0, plan->T}, (kd_stretch){0, plan->T}); }
