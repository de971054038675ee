#include "data/window_view.h"

#include <stdio.h>
#include <stdlib.h>

static void add(kd_window_view *v, int64_t document, kd_role role, int64_t count) {
    if (count < 1) return;
    int64_t from = v->spans ? v->span[v->spans - 1].from + v->span[v->spans - 1].count : 0;
    v->span[v->spans++] = (kd_span){document, role, from, count, 0};
    v->tags |= role == KD_ROLE_TAG;
}

/* BOS and tag stand before a document's first chunk, as kd_plan_init puts them. seen [pieces]: the document's number + 1. */
static void place(kd_window_view *v, int64_t *seen, const kd_plan_options *o, const kd_piece *piece,
                  const kd_chunk *chunk, int64_t chunks) {
    bool bos = o->mask == KD_MASK_ANCHOR ? o->anchor_is_bos : o->lead_bos;
    if (v->anchor) add(v, -1, KD_ROLE_ANCHOR, 1);
    for (int64_t c = 0; c < chunks; c++) {
        int64_t n = chunk[c].piece, before = v->spans;
        bool first = !seen[n];
        if (first) {
            seen[n] = v->documents + 1;
            add(v, seen[n] - 1, KD_ROLE_BOS, bos);
            add(v, seen[n] - 1, KD_ROLE_TAG, piece[n].tag_count);
        }
        add(v, seen[n] - 1, KD_ROLE_TEXT, chunk[c].count);
        if (v->spans == before) {
            if (first) seen[n] = 0;  /* nothing of it yet */
            continue;
        }
        v->documents += first;
        v->cut |= !first;
    }
}

/* The plan has the tokens of a document one behind the other, in the same order. next [pieces]. */
static void read_positions(kd_window_view *v, int64_t *next, const kd_plan *plan, const int64_t *seen, int64_t pieces) {
    int64_t n = 0;
    for (int64_t p = 0; p < pieces && v->mask != KD_MASK_FULL; p++)
        if (seen[p]) next[seen[p] - 1] = plan->start[n++];
    for (int64_t s = 0; s < v->spans; s++) {
        kd_span *span = &v->span[s];
        int64_t *at = span->document < 0 || v->mask == KD_MASK_FULL ? NULL : &next[span->document];
        span->position = plan->position[at ? *at : span->from];
        if (at) *at += span->count;
    }
}

kd_status kd_window_view_init(kd_window_view *v, const kd_plan_options *o, const kd_piece *piece, int64_t pieces,
                              const kd_chunk *chunk, int64_t chunks) {
    *v = (kd_window_view){.mask = o->mask, .anchor = o->mask == KD_MASK_ANCHOR && !o->anchor_is_bos, .reset = o->reset};
    kd_plan plan = {0};
    int64_t *work = NULL;
    kd_status status;
    KD_GO(kd_plan_init(&plan, o, piece, pieces, chunk, chunks));
    KD_GO(kd_new(&work, 2 * pieces, sizeof *work));
    KD_GO(kd_new(&v->span, 1 + 2 * pieces + chunks, sizeof *v->span));
    v->T = plan.T;
    v->pairs = kd_plan_pairs(&plan);
    place(v, work, o, piece, chunk, chunks);
    read_positions(v, work + pieces, &plan, work, pieces);
done:
    free(work);
    kd_plan_free(&plan);
    if (status) kd_window_view_free(v);
    return status;
}

kd_status kd_window_view_open(kd_window_view *v, const kd_windows *windows, int64_t index, bool shuffled) {
    kd_window_parts parts;
    *v = (kd_window_view){0};
    KD_TRY(kd_windows_parts(&parts, windows, index, shuffled));
    kd_status status = kd_window_view_init(v, &windows->plan, parts.piece, parts.pieces, parts.chunk, parts.chunks);
    kd_window_parts_free(&parts);
    return status;
}

void kd_window_view_free(kd_window_view *v) {
    free(v->span);
    *v = (kd_window_view){0};
}

void kd_window_describe(char out[160], const kd_window_view *v) {
    int64_t chunks = 0;
    for (int64_t s = 0; s < v->spans; s++)
        chunks += v->span[s].document >= 0 && (!s || v->span[s - 1].document != v->span[s].document);
    char cut[40] = "";
    if (v->cut) snprintf(cut, sizeof cut, " in %lld chunks", (long long)chunks);
    double all = (double)v->T * (double)(v->T + 1) / 2;
    snprintf(out, 160, "%lld tokens, %lld document%s%s%s%s; %.3g%% of the pairs of full attention", (long long)v->T,
             (long long)v->documents, v->documents == 1 ? "" : "s", cut, v->anchor ? ", an anchor" : "",
             v->tags ? ", tags" : "", all > 0 ? 100 * (double)v->pairs / all : 0);
}
