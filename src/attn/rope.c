/* Tables of rotations, shared by all layers: one row a position, or two levels where that would be large. */
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/half.h"
#include "dev/op.h"
#include "ladder.h"

enum {
    TABLE_ROWS = 256,                    /* positions a task fills */
    TABLE_POSITIONS = (1 << 18) + 1,     /* a window of 256K: 128 MiB with heads of 128 */
    FINE = 256,                          /* positions of the finer level */
};

/* ---- the definition ---------------------------------------------------------------------------------------- */

static float bf16(float x) { return kd_bf16_widen(kd_bf16_round(x)); }

void kd_rope_entry(float *cosine, float *sine, kd_angles angles, double inv_freq, int64_t p) {
    double angle = (double)p * inv_freq;  /* exact: 24 bits by 24 bits */
    if (angles != KD_ANGLES_DOUBLE) angle = (float)angle;
    *cosine = (float)cos(angle);
    *sine = (float)sin(angle);
    if (angles == KD_ANGLES_BF16) *cosine = bf16(*cosine), *sine = bf16(*sine);
}

/* ---- two levels -------------------------------------------------------------------------------------------- */

/* cosine and sine turned on by d, |d| <= 1/2: Taylor's sums, off by less than 1e-11. */
static void turn_on(double *cosine, double *sine, double d) {
    double x = d * d, c = *cosine, s = *sine;
    double cd = 1 - x / 2 * (1 - x / 12 * (1 - x / 30 * (1 - x / 56 * (1 - x / 90))));
    double sd = d * (1 - x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72))));
    *cosine = c * cd - s * sd;
    *sine = s * cd + c * sd;
}

/* Float32 angles do not add up, but what their rounding adds to the exact angle is at most half a unit in the last place
 * of 2^24, and known exactly. */
void kd_rope_make(float *row, const kd_rope *rope, kd_angles angles, int64_t p) {
    int64_t half = rope->E / 2;
    for (int64_t e = 0; e < half && !rope->coarse; e++) row[e] = 1, row[e + half] = 0;
    if (!rope->coarse) return;
    const double *high = rope->coarse + p / FINE * rope->E, *low = rope->fine + p % FINE * rope->E;
    for (int64_t e = 0; e < half; e++) {
        double c = high[e] * low[e] - high[e + half] * low[e + half], s = high[e + half] * low[e] + high[e] * low[e + half];
        if (angles != KD_ANGLES_DOUBLE) {
            double angle = (double)p * rope->inv_freq[e];
            turn_on(&c, &s, (float)angle - angle);
        }
        row[e] = (float)c;
        row[e + half] = (float)s;
    }
    for (int64_t e = 0; e < rope->E && angles == KD_ANGLES_BF16; e++) row[e] = bf16(row[e]);
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

/* Fills one of the two: rows of float32, or every step'th row of double. */
typedef struct table_args {
    float *table;
    double *level;
    const double *inv_freq;
    kd_angles angles;
    int64_t E, rows, step;
} table_args;

static kd_status fill_rows(void *opaque, int64_t task, int64_t thread) {
    const table_args *a = opaque;
    (void)thread;
    int64_t half = a->E / 2, end = (task + 1) * TABLE_ROWS < a->rows ? (task + 1) * TABLE_ROWS : a->rows;
    for (int64_t p = task * TABLE_ROWS; p < end; p++)
        for (int64_t e = 0; e < half; e++) {
            int64_t at = p * a->E + e;
            if (a->table) kd_rope_entry(a->table + at, a->table + at + half, a->angles, a->inv_freq[e], p);
            else {
                double angle = (double)(p * a->step) * a->inv_freq[e];
                a->level[at] = cos(angle);
                a->level[at + half] = sin(angle);
            }
        }
    return KD_OK;
}

static kd_status fill_table(kd_ctx *ctx, const void *opaque, void *workspace) {
    const table_args *a = opaque;
    (void)workspace;
    return kd_pool_run(ctx->pool, fill_rows, (void *)a, (a->rows + TABLE_ROWS - 1) / TABLE_ROWS);
}

static const kd_variant rope_table_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, fill_table}};
static KD_OP(rope_table, rope_table_variants);

static int64_t coarse_rows(int64_t positions) { return positions / FINE + 1; }

/* Bytes of each array; 0: it is not there. */
typedef struct sizes { int64_t table, exact, coarse, fine; } sizes;

static sizes sizes_of(kd_precision precision, int64_t E, int64_t positions) {
    if (positions > TABLE_POSITIONS)
        return (sizes){.coarse = kd_arena_bytes(coarse_rows(positions) * E, sizeof(double)),
                       .fine = kd_arena_bytes(FINE * E, sizeof(double))};
    int64_t table = kd_arena_bytes(positions * E, sizeof(float));
    return (sizes){.table = table, .exact = kd_ladder[precision].angles == KD_ANGLES_DOUBLE ? 0 : table};
}

int64_t kd_rope_bytes(kd_precision precision, int64_t E, int64_t positions) {
    sizes s = sizes_of(precision, E, positions);
    return s.table + s.exact + s.coarse + s.fine;
}

/* Where host code serves no operation: it is made on the host, and copied. */
static kd_status put_table(kd_ctx *ctx, void *memory, const table_args *args) {
    table_args a = *args;
    int64_t n = a.rows * a.E, size = a.step ? (int64_t)sizeof(double) : (int64_t)sizeof(float);
    void *host;
    if (ctx->measuring) return KD_OK;
    KD_TRY(kd_new(&host, n, (size_t)size));
    if (a.step) a.level = host;
    else a.table = host;
    kd_status status = fill_table(ctx, &a, NULL);
    if (!status) status = ctx->device->put(ctx, memory, host, n * size);
    free(host);
    return status;
}

static kd_status make(void *out, kd_ctx *ctx, int64_t bytes, table_args a) {
    void *memory;
    if (!bytes) return KD_OK;
    KD_TRY(ctx->device->alloc(ctx, &memory, bytes));
    *(void **)out = memory;
    if (a.step) a.level = memory;
    else a.table = memory;
    if (!kd_op_choose(ctx, &rope_table, &a)) return put_table(ctx, memory, &a);
    return kd_op_run(ctx, &rope_table, &a);
}

kd_status kd_rope_init_for(kd_rope *rope, kd_ctx *ctx, kd_precision precision, const double *inv_freq, int64_t E,
                           int64_t positions) {
    *rope = (kd_rope){0};
    if (E < 2 || E > KD_HEAD_MOST || E % 2)
        return kd_fail(KD_EARG, "rope: head size %lld is not even in 2..256", (long long)E);
    if (positions < 1 || positions > 1 << 24)
        return kd_fail(KD_EARG, "rope: %lld positions, the limit is 2^24", (long long)positions);
    if (!kd_precision_name(precision)) return kd_fail(KD_EARG, "rope: there is no precision %d", (int)precision);
    *rope = (kd_rope){.E = E, .positions = positions, .precision = precision};
    sizes s = sizes_of(precision, E, positions);
    kd_angles angles = kd_ladder[precision].angles;
    kd_status status;
    KD_GO(kd_new(&rope->inv_freq, E / 2, sizeof *rope->inv_freq));
    for (int64_t e = 0; e < E / 2; e++) rope->inv_freq[e] = inv_freq[e];
    const double *f = rope->inv_freq;
    KD_GO(make(&rope->table, ctx, s.table, (table_args){NULL, NULL, f, angles, E, positions, 0}));
    rope->exact = rope->table;
    if (s.exact) rope->exact = NULL;
    KD_GO(make(&rope->exact, ctx, s.exact, (table_args){NULL, NULL, f, KD_ANGLES_DOUBLE, E, positions, 0}));
    KD_GO(make(&rope->coarse, ctx, s.coarse, (table_args){NULL, NULL, f, angles, E, coarse_rows(positions), FINE}));
    KD_GO(make(&rope->fine, ctx, s.fine, (table_args){NULL, NULL, f, angles, E, FINE, 1}));
done:
    if (status) kd_rope_free(rope, ctx);
    return status;
}

kd_status kd_rope_init(kd_rope *rope, kd_ctx *ctx, const double *inv_freq, int64_t E, int64_t positions) {
    return kd_rope_init_for(rope, ctx, KD_PRECISION_EXACT, inv_freq, E, positions);
}

kd_rope kd_rope_still(int64_t E, kd_precision precision) {
    return (kd_rope){.E = E, .positions = INT64_MAX, .precision = precision};
}

void kd_rope_free(kd_rope *rope, kd_ctx *ctx) {
    sizes s = sizes_of(rope->precision, rope->E, rope->positions);
    if (rope->exact && rope->exact != rope->table) ctx->device->release(ctx, rope->exact, s.exact);
    if (rope->table) ctx->device->release(ctx, rope->table, s.table);
    if (rope->coarse) ctx->device->release(ctx, rope->coarse, s.coarse);
    if (rope->fine) ctx->device->release(ctx, rope->fine, s.fine);
    free(rope->inv_freq);
    *rope = (kd_rope){0};
}
