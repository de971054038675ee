/* Weights in shards (ZeRO-3: Rajbhandari et al. 2020): a layer's come from their owners when it is its turn, and while it
 * computes the next one's are on their way. */
#include "model_state.h"

/* A part's pieces from all ranks to `to`. counts [4][ranks]. */
static kd_move move_of(const kd_model *m, int64_t part, float *to, int64_t *counts) {
    int64_t ranks = m->own.ranks, bytes = (int64_t)sizeof(float);
    kd_range whole = kd_part_whole(&m->own, part);
    kd_slice own = kd_part_piece(&m->own, part);
    for (int64_t r = 0; r < ranks; r++) {
        kd_range piece = kd_part_piece_of(&m->own, part, r);
        counts[r] = 0, counts[ranks + r] = own.count * bytes;
        counts[2 * ranks + r] = (piece.at - whole.at) * bytes, counts[3 * ranks + r] = piece.count * bytes;
    }
    return (kd_move){"weights", m->w + own.own, to, counts, counts + ranks, counts + 2 * ranks, counts + 3 * ranks};
}

static kd_status end(kd_gathering *g) {
    for (int i = 0; g->under_way && i < 2; i++) KD_TRY(kd_comm_end(&g->flight[i]));
    g->under_way = false;
    return KD_OK;
}

static kd_status begin(kd_model *m, int64_t layer) {
    kd_gathering *g = &m->gathering[layer % 2];
    KD_TRY(end(g));
    g->layer = layer;
    g->under_way = true;
    for (int i = 0; i < 2; i++) {
        int64_t part = i ? kd_part_rest(layer) : kd_part_attention(layer);
        g->move[i] = move_of(m, part, g->w + (i ? m->own.attention : 0), g->counts + i * 4 * m->own.ranks);
        KD_TRY(kd_comm_begin(&g->flight[i], m->world, &g->move[i]));
    }
    return KD_OK;
}

static bool idle(const kd_model *m) { return m->zero < 3 || m->ctx->measuring; }

kd_status kd_layer_need(kd_model *m, int64_t layer, int64_t next) {
    if (idle(m)) return KD_OK;
    if (m->gathering[layer % 2].layer != layer) KD_TRY(begin(m, layer));
    KD_TRY(end(&m->gathering[layer % 2]));
    return next >= 0 && m->gathering[next % 2].layer != next ? begin(m, next) : KD_OK;
}

/* Nothing of a layer is on its way then: its arrays are free. */
static kd_status gather(kd_model *m, int64_t part, float *to) {
    kd_move move = move_of(m, part, to, m->gathering[0].counts);
    return kd_comm_exchange(m->world, &move);
}

static kd_status table_need(kd_model *m, int64_t part) {
    if (m->table_part == part) return KD_OK;
    m->table_part = part;
    return gather(m, part, m->table);
}

kd_status kd_embedding_need(kd_model *m) { return idle(m) ? KD_OK : table_need(m, KD_PART_EMBED); }

kd_status kd_head_need(kd_model *m) {
    if (idle(m)) return KD_OK;
    if (!m->norm_held) KD_TRY(gather(m, kd_part_norm(&m->own), m->norm));
    m->norm_held = true;
    return table_need(m, m->tied ? KD_PART_EMBED : kd_part_head(&m->own));
}

void kd_weights_forget(kd_model *m) {
    m->table_part = m->gathering[0].layer = m->gathering[1].layer = -1;
    m->norm_held = false;
}

kd_status kd_weights_round(kd_model *m) { return m->w16 ? kd_copy(m->ctx, kd_bf16(m->w16), kd_f32(m->w), m->layout.count) : KD_OK; }

kd_status kd_model_weights_changed(kd_model *m, bool rounded) {
    kd_weights_forget(m);
    for (int64_t part = 0; part < m->own.count && m->own.ranks > 1 && m->zero < 3; part++) {
        kd_range whole = kd_part_whole(&m->own, part);
        KD_TRY(kd_gather_shards(m->world, "weights", m->w + whole.at, whole.count));
    }
    return rounded && m->own.ranks == 1 ? KD_OK : kd_weights_round(m);
}
