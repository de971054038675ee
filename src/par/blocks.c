#include "blocks.h"

#include <stdlib.h>
#include <string.h>

#include "dev/ctx.h"

kd_stretch kd_block(const kd_sequence *s, int64_t block) {
    int64_t n = s->blocks * kd_comm_size(s->comm);
    return (kd_stretch){block * s->T / n, (block + 1) * s->T / n};
}

int64_t kd_block_most(const kd_sequence *s) {
    int64_t n = s->blocks * kd_comm_size(s->comm);
    return (s->T + n - 1) / n;
}

int64_t kd_block_of(const kd_sequence *s, int64_t rank, int64_t i) {
    if (s->deal) return s->deal[rank * s->blocks + i].block;
    return i ? 2 * kd_comm_size(s->comm) - 1 - rank : rank;
}

int64_t kd_block_row(const kd_sequence *s, int64_t rank, int64_t i) {
    int64_t row = 0;
    for (int64_t j = 0; j < i; j++) row += kd_stretch_count(kd_block(s, kd_block_of(s, rank, j)));
    return row;
}

/* The rank that computes a block. */
static int64_t rank_of(const kd_sequence *s, int64_t block) {
    for (int64_t i = 0; i < s->blocks * kd_comm_size(s->comm); i++)
        if (kd_block_of(s, i / s->blocks, i % s->blocks) == block) return i / s->blocks;
    return -1;
}

/* ---- the deal -------------------------------------------------------------------------------------------------------- */

static int64_t pairs_of(const kd_sequence *s, const kd_plan *plan, int64_t block) {
    kd_stretch rows = kd_block(s, block);
    return kd_stretch_pairs(plan, rows, (kd_stretch){0, rows.to});
}

static int costliest(const void *x, const void *y) {
    const kd_dealt *a = x, *b = y;
    return a->pairs != b->pairs ? (a->pairs < b->pairs) - (a->pairs > b->pairs) : (a->block > b->block) - (a->block < b->block);
}

static int ascending(const void *x, const void *y) {
    int64_t a = ((const kd_dealt *)x)->block, b = ((const kd_dealt *)y)->block;
    return (a > b) - (a < b);
}

/* The second half of the memory holds the blocks in order of their cost. */
void kd_blocks_deal(kd_sequence *s, const kd_plan *plan) {
    int64_t size = kd_comm_size(s->comm), n = s->blocks * size;
    kd_dealt *by_cost = s->deal + n;
    for (int64_t b = 0; b < n; b++) by_cost[b] = (kd_dealt){b, pairs_of(s, plan, b)};
    qsort(by_cost, (size_t)n, sizeof *by_cost, costliest);
    for (int64_t i = 0; i < n; i++) s->deal[i].block = -1;
    for (int64_t b = 0; b < n; b++) {
        int64_t rank = -1, least = 0, at = 0;
        for (int64_t r = 0; r < size; r++) {
            int64_t sum = 0, has = 0;
            for (; has < s->blocks && s->deal[r * s->blocks + has].block >= 0; has++) sum += s->deal[r * s->blocks + has].pairs;
            if (has < s->blocks && (rank < 0 || sum < least)) rank = r, least = sum, at = has;
        }
        s->deal[rank * s->blocks + at] = by_cost[b];
    }
    for (int64_t r = 0; r < size; r++) qsort(s->deal + r * s->blocks, (size_t)s->blocks, sizeof *s->deal, ascending);
}

int64_t kd_blocks_pairs(const kd_sequence *s, const kd_plan *plan) {
    int64_t sum = 0;
    for (int64_t i = 0; i < s->blocks; i++) sum += s->H * pairs_of(s, plan, kd_block_of(s, kd_comm_rank(s->comm), i));
    return sum;
}

/* ---- tokens to rows, and back ---------------------------------------------------------------------------------------- */

typedef struct cargoes {
    const kd_sequence *s;
    const kd_cargo *item;
    int64_t n;
    bool out;               /* tokens to rows */
} cargoes;

static int64_t width_of(const cargoes *all) {
    int64_t width = 0;
    for (int64_t i = 0; i < all->n; i++) width += all->item[i].heads * all->s->E;
    return width;
}

/* Tokens before this rank's block i in the packed exchange, where those of one rank stand together. */
static int64_t packed_at(const kd_sequence *s, int64_t i) {
    int64_t first = kd_comm_rank(s->comm) * s->blocks, rank = rank_of(s, first + i), tokens = 0;
    for (int64_t j = 0; j < s->blocks; j++) {
        int64_t other = rank_of(s, first + j);
        if (other < rank || (other == rank && j < i)) tokens += kd_stretch_count(kd_block(s, first + j));
    }
    return tokens;
}

/* Block i of this rank's tokens, to or from the packed exchange. */
static kd_status pack_tokens(void *opaque, int64_t i, int64_t thread) {
    const cargoes *all = opaque;
    const kd_sequence *s = all->s;
    kd_stretch block = kd_block(s, kd_comm_rank(s->comm) * s->blocks + i);
    int64_t t = block.from - s->first, count = kd_stretch_count(block);
    float *packed = (all->out ? s->send : s->recv) + packed_at(s, i) * width_of(all);
    (void)thread;
    for (int64_t j = 0; j < all->n; j++) {
        const kd_cargo *item = &all->item[j];
        int64_t row = item->heads * s->E;
        if (all->out) kd_rows_pack(packed, row, item->tokens, t, count, 0, item->heads, s->E);
        else kd_rows_unpack(item->tokens, t, count, 0, item->heads, packed, row, s->E);
        packed += count * row;
    }
    return KD_OK;
}

/* The same of block i of those that it computes. */
static kd_status pack_rows(void *opaque, int64_t i, int64_t thread) {
    const cargoes *all = opaque;
    const kd_sequence *s = all->s;
    int64_t rank = kd_comm_rank(s->comm), at = kd_block_row(s, rank, i), count = kd_block_row(s, rank, i + 1) - at;
    float *packed = (all->out ? s->recv : s->send) + at * width_of(all);
    (void)thread;
    for (int64_t j = 0; j < all->n; j++) {
        int64_t row = all->item[j].heads * s->E;
        float *rows = all->item[j].rows + at * row;
        memcpy(all->out ? rows : packed, all->out ? packed : rows, (size_t)(count * row) * sizeof(float));
        packed += count * row;
    }
    return KD_OK;
}

/* Blocks between two ranks are ascending on either side. */
static kd_status reorder(kd_ctx *ctx, const kd_sequence *s, const char *what, bool out, const kd_cargo *item, int64_t n) {
    cargoes all = {s, item, n, out};
    int64_t rank = kd_comm_rank(s->comm), width = width_of(&all);
    kd_move move = kd_sequence_move(s, what, 0);
    for (int64_t i = 0; i < s->blocks; i++) {
        int64_t own = rank * s->blocks + i, computed = kd_block_of(s, rank, i), at = kd_block_row(s, rank, i);
        (out ? kd_move_send : kd_move_take)(&move, rank_of(s, own), packed_at(s, i) * width, kd_stretch_count(kd_block(s, own)) * width);
        (out ? kd_move_take : kd_move_send)(&move, computed / s->blocks, at * width, (kd_block_row(s, rank, i + 1) - at) * width);
    }
    KD_TRY(kd_pool_run(ctx->pool, out ? pack_tokens : pack_rows, &all, s->blocks));
    KD_TRY(kd_comm_exchange(s->comm, &move));
    return kd_pool_run(ctx->pool, out ? pack_rows : pack_tokens, &all, s->blocks);
}

kd_status kd_blocks_to_rows(kd_ctx *ctx, const kd_sequence *s, const char *what, const kd_cargo *cargo, int64_t n) {
    return reorder(ctx, s, what, true, cargo, n);
}

kd_status kd_blocks_to_tokens(kd_ctx *ctx, const kd_sequence *s, const char *what, const kd_cargo *cargo, int64_t n) {
    return reorder(ctx, s, what, false, cargo, n);
}
