/* The modes in one table, plain attention, and what modes share. */
#include "sequence_ways.h"

#include <string.h>

static const struct { const char *name; const kd_sequence_way *way; } modes[KD_SEQUENCE_MODES] = {
    [KD_SEQUENCE_ULYSSES] = {"ulysses", &kd_ulysses_way},
    [KD_SEQUENCE_ALLGATHER] = {"allgather", &kd_allgather_way},
    [KD_SEQUENCE_ZIGZAG] = {"zigzag", &kd_zigzag_way},
    [KD_SEQUENCE_ZIGZAG_BF16] = {"zigzag-bf16", &kd_zigzag_bf16_way},
};

const char *kd_sequence_mode_name(kd_sequence_mode mode) { return mode < KD_SEQUENCE_MODES ? modes[mode].name : NULL; }

/* ---- on one rank --------------------------------------------------------------------------------------------------- */

static kd_status plain_init(kd_sequence *s, bool backward, kd_arena *arena) {
    (void)backward, (void)arena;
    s->kept_lse = s->H * s->T;
    return KD_OK;
}

static kd_status plain_forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_attn own = *a;
    (void)s;
    own.lse = kept->lse;
    return kd_attn_forward(ctx, &own);
}

static kd_status plain_backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_attn own = *a;
    (void)s;
    own.lse = kept->lse;
    return kd_attn_backward(ctx, &own);
}

static int64_t plain_pairs(kd_sequence *s, const kd_plan *plan) { return s->H * kd_plan_pairs(plan); }

static const kd_sequence_way plain_way = {plain_init, plain_forward, plain_backward, plain_pairs};

/* ---- any ----------------------------------------------------------------------------------------------------------- */

kd_status kd_sequence_init(kd_sequence *s, kd_sequence_mode mode, kd_comm *comm, int64_t T, int64_t H, int64_t G, int64_t E, bool backward,
                           kd_arena *arena) {
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm);
    *s = (kd_sequence){.comm = comm, .T = T, .H = H, .G = G, .E = E};
    if (!kd_sequence_mode_name(mode)) return kd_fail(KD_EARG, "there is no sequence mode %d", (int)mode);
    if (T < size) return kd_fail(KD_EARG, "%lld ranks do not fit %lld tokens", (long long)size, (long long)T);
    s->first = kd_first_token(s, rank), s->count = kd_tokens_of(s, rank);
    s->counts = kd_arena_take(arena, 8 * size, sizeof *s->counts);
    s->way = size > 1 ? modes[mode].way : &plain_way;
    return s->way->init(s, backward, arena);
}

void kd_sequence_keep(kd_sequence_kept *kept, const kd_sequence *s, int64_t windows, kd_arena *arena) {
    kept->q = kd_arena_take(arena, windows * s->kept_q, sizeof(float));
    kept->k = kd_arena_take(arena, windows * s->kept_kv, sizeof(float));
    kept->v = kd_arena_take(arena, windows * s->kept_kv, sizeof(float));
    kept->o = kd_arena_take(arena, windows * s->kept_q, sizeof(float));
    kept->lse = kd_arena_take(arena, windows * s->kept_lse, sizeof(float));
}

kd_sequence_kept kd_sequence_kept_of(const kd_sequence_kept *kept, const kd_sequence *s, int64_t window) {
    int64_t q = window * s->kept_q, kv = window * s->kept_kv;
    return (kd_sequence_kept){kept->q + q, kept->k + kv, kept->v + kv, kept->o + q, kept->lse + window * s->kept_lse};
}

kd_status kd_sequence_forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    return s->way->forward(ctx, s, a, kept);
}

kd_status kd_sequence_backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    return s->way->backward(ctx, s, a, kept);
}

int64_t kd_sequence_pairs(kd_sequence *s, const kd_plan *plan) { return s->way->pairs(s, plan); }

/* ---- what modes share ------------------------------------------------------------------------------------------------ */

static float *row_of(const kd_view *rows, int64_t t, int64_t head) { return rows->data + t * rows->token_stride + head * rows->head_stride; }

void kd_rows_pack(float *packed, int64_t stride, const kd_view *rows, int64_t t, int64_t count, int64_t head, int64_t heads, int64_t E) {
    for (int64_t i = 0; i < count; i++, packed += stride)
        for (int64_t h = 0; h < heads; h++) memcpy(packed + h * E, row_of(rows, t + i, head + h), (size_t)E * sizeof(float));
}

void kd_rows_unpack(const kd_view *rows, int64_t t, int64_t count, int64_t head, int64_t heads, const float *packed, int64_t stride, int64_t E) {
    for (int64_t i = 0; i < count; i++, packed += stride)
        for (int64_t h = 0; h < heads; h++) memcpy(row_of(rows, t + i, head + h), packed + h * E, (size_t)E * sizeof(float));
}

kd_move kd_sequence_move(const kd_sequence *s, const char *what, int second) {
    int64_t size = kd_comm_size(s->comm), *at = s->counts + second * 4 * size;
    memset(at, 0, (size_t)(4 * size) * sizeof *at);
    return (kd_move){what, s->send, s->recv, at, at + size, at + 2 * size, at + 3 * size};
}

/* The arrays are the sequence's own. */
static void append(const int64_t *at, const int64_t *bytes, int64_t rank, int64_t from, int64_t floats) {
    if (bytes[rank] == 0) ((int64_t *)at)[rank] = from * (int64_t)sizeof(float);
    ((int64_t *)bytes)[rank] += floats * (int64_t)sizeof(float);
}

void kd_move_send(const kd_move *move, int64_t rank, int64_t at, int64_t floats) { append(move->send_at, move->send_bytes, rank, at, floats); }
void kd_move_take(const kd_move *move, int64_t rank, int64_t at, int64_t floats) { append(move->recv_at, move->recv_bytes, rank, at, floats); }
