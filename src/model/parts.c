#include "parts.h"

kd_parts kd_parts_of(const kd_layout *l, int64_t ranks, int64_t rank) {
    int64_t attention = l->at[KD_P_O] - l->layers_at;
    return (kd_parts){.count = 2 * l->layers + (l->size[KD_P_LM_HEAD] ? 3 : 2), .ranks = ranks, .rank = rank, .layers = l->layers,
                      .end = l->count, .embed = l->size[KD_P_EMBED], .attention = attention, .rest = l->layer_stride - attention,
                      .norm = l->size[KD_P_NORM], .head = l->size[KD_P_EMBED]};
}

kd_range kd_part_whole(const kd_parts *p, int64_t i) {
    int64_t layer = (i - 1) / 2, layers_end = p->embed + p->layers * (p->attention + p->rest);
    if (i == KD_PART_EMBED) return (kd_range){0, p->embed};
    if (i == kd_part_norm(p)) return (kd_range){layers_end, p->norm};
    if (i == kd_part_head(p)) return (kd_range){layers_end + p->norm, p->head};
    int64_t at = p->embed + layer * (p->attention + p->rest);
    return i == kd_part_rest(layer) ? (kd_range){at + p->attention, p->rest} : (kd_range){at, p->attention};
}

kd_range kd_part_piece_of(const kd_parts *p, int64_t i, int64_t rank) {
    kd_range part = kd_part_whole(p, i), own = kd_rank_range(part.count, p->ranks, rank);
    return (kd_range){part.at + own.at, own.count};
}

static int64_t share(const kd_parts *p, int64_t n) { return kd_rank_range(n, p->ranks, p->rank).count; }

/* Layers are alike, so what lies before a part is known without walking. */
kd_slice kd_part_piece(const kd_parts *p, int64_t i) {
    kd_range piece = kd_part_piece_of(p, i, p->rank);
    int64_t layers = i > kd_part_attention(p->layers - 1) + 1 ? p->layers : i ? (i - 1) / 2 : 0;
    int64_t own = i ? share(p, p->embed) + layers * (share(p, p->attention) + share(p, p->rest)) : 0;
    if (layers < p->layers && i && i == kd_part_rest(layers)) own += share(p, p->attention);
    if (i == kd_part_head(p)) own += share(p, p->norm);
    return (kd_slice){piece.at, piece.count, own};
}

static int64_t part_of(const kd_parts *p, const kd_param_place *place) {
    if (place->kind == KD_P_EMBED) return KD_PART_EMBED;
    if (place->kind == KD_P_NORM) return kd_part_norm(p);
    if (place->kind == KD_P_LM_HEAD) return kd_part_head(p);
    return place->kind < KD_P_O ? kd_part_attention(place->layer) : kd_part_rest(place->layer);
}

kd_range kd_parts_tensor_of(const kd_parts *p, const kd_param_place *place, int64_t rank) {
    kd_range s = kd_part_piece_of(p, part_of(p, place), rank);
    int64_t at = place->at > s.at ? place->at : s.at, end = place->at + place->size < s.at + s.count ? place->at + place->size : s.at + s.count;
    return (kd_range){at, end > at ? end - at : 0};
}

kd_slice kd_parts_tensor(const kd_parts *p, const kd_param_place *place) {
    kd_slice s = kd_part_piece(p, part_of(p, place));
    kd_range r = kd_parts_tensor_of(p, place, p->rank);
    return (kd_slice){r.at, r.count, s.own + r.at - s.at};
}

static int64_t end_of(kd_slice s) { return s.own + s.count; }
int64_t kd_parts_own(const kd_parts *p) { return end_of(kd_part_piece(p, p->count - 1)); }
int64_t kd_parts_own_gradient(const kd_parts *p) { return end_of(kd_part_piece(p, kd_part_head(p))); }
