/* The exact rotation: one table of float32 cosines and sines of double angles, shared by all layers. */
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "dev/op.h"

typedef struct table_args { float *table; const double *inv_freq; int64_t E, positions; } table_args;

enum { TABLE_ROWS = 256 };  /* positions a task fills */

static kd_status fill_rows(void *opaque, int64_t task, int64_t thread) {
    const table_args *a = opaque;
    (void)thread;
    int64_t half = a->E / 2, end = (task + 1) * TABLE_ROWS < a->positions ? (task + 1) * TABLE_ROWS : a->positions;
    for (int64_t p = task * TABLE_ROWS; p < end; p++)
        for (int64_t e = 0; e < half; e++) {
            double angle = (double)p * a->inv_freq[e];  /* exact: 24 bits by 24 bits */
            a->table[p * a->E + e] = (float)cos(angle);
            a->table[p * a->E + half + e] = (float)sin(angle);
        }
    return KD_OK;
}

static kd_status fill_table(kd_ctx *ctx, const void *opaque, void *workspace) {
    const table_args *a = opaque;
    (void)workspace;
    return kd_pool_run(ctx->pool, fill_rows, (void *)a, (a->positions + TABLE_ROWS - 1) / TABLE_ROWS);
}

static const kd_variant rope_table_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, fill_table}};
static KD_OP(rope_table, rope_table_variants);

kd_status kd_rope_init(kd_rope *rope, kd_ctx *ctx, const double *inv_freq, int64_t E, int64_t positions) {
    *rope = (kd_rope){0};
    if (E < 2 || E > 256 || E % 2) return kd_fail(KD_EARG, "rope: head size %lld is not even in 2..256", (long long)E);
    if (positions < 1 || positions >= 1 << 24)
        return kd_fail(KD_EARG, "rope: %lld positions, the limit is 2^24", (long long)positions);
    rope->E = E;
    rope->positions = positions;
    void *table = NULL;
    kd_status status;
    KD_GO(kd_new(&rope->inv_freq, E / 2, sizeof *rope->inv_freq));
    for (int64_t e = 0; e < E / 2; e++) rope->inv_freq[e] = inv_freq[e];
    KD_GO(ctx->device->alloc(ctx, &table, kd_arena_bytes(positions * E, sizeof *rope->table)));
    rope->table = table;
    KD_GO(kd_op_run(ctx, &rope_table, &(table_args){rope->table, rope->inv_freq, E, positions}));
done:
    if (status) kd_rope_free(rope, ctx);
    return status;
}

void kd_rope_free(kd_rope *rope, kd_ctx *ctx) {
    if (rope->table) ctx->device->release(ctx, rope->table, kd_arena_bytes(rope->positions * rope->E, sizeof *rope->table));
    free(rope->inv_freq);
    *rope = (kd_rope){0};
}
