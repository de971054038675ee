/* The plainest way to say it: documents one after another, each token once. Nothing is shared with src/attn/plan.c. */
#include "data/sight.h"

#include <stdlib.h>
#include <string.h>

void kd_sight_free(kd_sight *s) {
    free(s->owner);
    free(s->token);
    free(s->first);
    free(s->last);
    *s = (kd_sight){0};
}

static void put(kd_sight *s, int32_t token, int64_t owner) {
    s->token[s->T] = token;
    s->owner[s->T++] = (int32_t)owner;
}

/* The tokens of one chunk; before a document's first, its BOS and tag. */
static void put_chunk(kd_sight *s, const kd_plan_options *o, const kd_piece *piece, const kd_chunk *chunk, bool first, int64_t owner) {
    bool bos = o->mask == KD_MASK_ANCHOR ? o->anchor_is_bos : o->lead_bos;
    if (first && bos) put(s, o->bos, owner);
    for (int64_t i = 0; first && i < piece->tag_count; i++) put(s, piece->tag[i], owner);
    for (int64_t i = 0; i < chunk->count; i++) put(s, chunk->token[i], owner);
}

/* Mask full stores tokens as the window has them, the others document by document. seen [pieces]. */
static void put_all(kd_sight *s, bool *seen, const kd_plan_options *o, const kd_piece *piece, int64_t pieces, const kd_chunk *chunk,
                    int64_t chunks) {
    bool as_window = o->mask == KD_MASK_FULL;
    for (int64_t n = 0; n < (as_window ? 1 : pieces); n++)
        for (int64_t c = 0; c < chunks; c++) {
            int64_t p = chunk[c].piece;
            if (!as_window && p != n) continue;
            put_chunk(s, o, &piece[p], &chunk[c], !seen[p], p);
            seen[p] = true;
        }
}

/* Documents are numbered as they are stored; one without a token is none. number [pieces]. */
static void number_documents(kd_sight *s, int64_t *number, int64_t pieces) {
    for (int64_t n = 0; n < pieces; n++) number[n] = -1;
    for (int64_t t = 0; t < s->T; t++) {
        if (s->owner[t] < 0) continue;
        int64_t *n = &number[s->owner[t]];
        if (*n < 0) {
            *n = s->N++;
            s->first[*n] = t;
        }
        s->last[*n] = t;
        s->owner[t] = (int32_t)*n;
    }
}

/* Under another mask than the window was laid out for: full is one document; a shared anchor that nobody may see is one of its own. */
static void regard_as(kd_sight *s, kd_mask mask, bool anchor) {
    if (mask == KD_MASK_FULL) {
        for (int64_t t = 0; t < s->T; t++) s->owner[t] = 0;
        s->N = 1, s->first[0] = 0, s->last[0] = s->T - 1;
    } else if (mask == KD_MASK_DOCUMENT && anchor) {
        s->owner[0] = (int32_t)s->N;
        s->first[s->N] = s->last[s->N] = 0;
        s->N++;
    }
}

kd_status kd_sight_init(kd_sight *s, const kd_plan_options *o, kd_mask mask, const kd_piece *piece, int64_t pieces, const kd_chunk *chunk,
                        int64_t chunks) {
    bool anchor = o->mask == KD_MASK_ANCHOR && !o->anchor_is_bos, *seen = NULL;
    int64_t T = kd_plan_tokens(o, piece, pieces, chunk, chunks), *number = NULL;
    kd_status status;
    *s = (kd_sight){0};
    if (T < 1) return kd_fail(KD_EARG, "a window without a token");
    KD_GO(kd_new(&s->owner, T, sizeof *s->owner));
    KD_GO(kd_new(&s->token, T, sizeof *s->token));
    KD_GO(kd_new(&s->first, pieces + 1, sizeof *s->first));
    KD_GO(kd_new(&s->last, pieces + 1, sizeof *s->last));
    KD_GO(kd_new(&seen, pieces, sizeof *seen));
    KD_GO(kd_new(&number, pieces, sizeof *number));
    if (anchor) put(s, o->bos, -1);
    put_all(s, seen, o, piece, pieces, chunk, chunks);
    number_documents(s, number, pieces);
    regard_as(s, mask, anchor);
done:
    free(number);
    free(seen);
    if (status) kd_sight_free(s);
    return status;
}

kd_status kd_sight_open(kd_sight *s, const kd_windows *windows, kd_mask mask, int64_t index, bool shuffled) {
    kd_window_parts parts;
    *s = (kd_sight){0};
    KD_TRY(kd_windows_parts(&parts, windows, index, shuffled));
    kd_status status = kd_sight_init(s, &windows->plan, mask, parts.piece, parts.pieces, parts.chunk, parts.chunks);
    kd_window_parts_free(&parts);
    return status;
}

kd_status kd_sight_matches(const kd_sight *s, const kd_plan *plan) {
    if (plan->T != s->T)
        return kd_fail(KD_ENUMERIC, "the plan has %lld tokens, the window's documents have %lld", (long long)plan->T, (long long)s->T);
    for (int64_t t = 0; t < s->T; t++)
        if (plan->token[t] != s->token[t])
            return kd_fail(KD_ENUMERIC, "the plan has token %d at %lld, the window's documents have %d there", (int)plan->token[t],
                           (long long)t, (int)s->token[t]);
    return KD_OK;
}

static bool is_touched(const kd_sight *s, int64_t t, kd_touch touch) {
    int64_t n = s->owner[t];
    if (touch.kind == KD_TOUCH_TOKEN) return t == touch.token;
    if (n < 0) return touch.kind == KD_TOUCH_ANCHOR;
    if (touch.kind == KD_TOUCH_EVEN) return n % 2 == 0;
    if (touch.kind == KD_TOUCH_ODD) return n % 2 == 1;
    return touch.kind == KD_TOUCH_LATER && (n % 2 == 1 || s->N == 1) && 2 * t > s->first[n] + s->last[n];
}

void kd_touch_mark(bool *touched, const kd_sight *s, kd_touch touch) {
    for (int64_t t = 0; t < s->T; t++) touched[t] = is_touched(s, t, touch);
}

/* A document's first touched token, T if there is none; then its last token whose output moves and is learned from, -1 if there is none. */
typedef struct span { int64_t from, until; } span;

static void find_spans(span *x, const kd_sight *s, const bool *touched, const bool *trained, bool anchor) {
    for (int64_t n = 0; n < s->N; n++) x[n] = (span){s->T, -1};
    for (int64_t t = s->T - 1; t >= 0; t--)
        if (s->owner[t] >= 0 && touched[t]) x[s->owner[t]].from = t;
    for (int64_t t = 0; t < s->T; t++)
        if (s->owner[t] >= 0 && (anchor || t >= x[s->owner[t]].from) && (!trained || trained[t])) x[s->owner[t]].until = t;
}

kd_status kd_sight_reach(const kd_reach *reach, const kd_sight *s, const bool *touched, const bool *trained) {
    bool anchor = s->owner[0] < 0 && touched[0], any = anchor, learned = false;
    span *of;
    KD_TRY(kd_new(&of, s->N, sizeof *of));
    find_spans(of, s, touched, trained, anchor);
    for (int64_t n = 0; n < s->N; n++) {
        any |= of[n].from < s->T;
        learned |= of[n].until >= 0;
    }
    for (int64_t t = 0; t < s->T; t++) {
        int64_t n = s->owner[t];
        const span x = n < 0 ? (span){s->T, -1} : of[n];
        reach->output[t] = anchor || t >= x.from;
        reach->gradient[t] = anchor || (n < 0 ? any : x.from < s->T);
        /* Where a token sees itself alone, the weight of that is 1 whatever it is. */
        reach->must[t] = n < 0 ? learned : t <= x.until && s->first[n] < s->last[n];
    }
    free(of);
    return KD_OK;
}
