/* Attention out of caches: the bits of the window's attention however a sequence is read, whoever is read beside it, and whatever lay
 * in its cache before. */
#include "nn_test.h"

#include <math.h>

#include "attn/cache.h"
#include "sanitized.h"

enum { T = 400, ROOM = 512, LAYOUTS = 6 };

typedef struct shape { int64_t H, G, E; } shape;
static const shape shapes[] = {{4, 4, 64}, {8, 2, 128}, {6, 3, 20}, {2, 1, 256}, {9, 1, 96}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* One sequence of T tokens, and what attention makes of it. */
typedef struct sequence {
    kd_extend x;
    kd_rope rope;
    kd_plan plan;
    float *q, *k, *v, *o;
    int64_t numbers;
} sequence;

static kd_ctx *ctx;

static void sequence_open(sequence *s, shape y, kd_view_type type) {
    double inv_freq[KD_HEAD_MOST / 2];
    const kd_plan_options full = {.mask = KD_MASK_FULL};
    int32_t *token = nn_take(T * 4);
    *s = (sequence){.numbers = kd_cache_numbers(ROOM, y.G, y.E)};
    for (int64_t e = 0; e < y.E / 2; e++) inv_freq[e] = (float)pow(10000, -2.0 * (double)e / (double)y.E);
    assert_int_equal(kd_rope_init(&s->rope, ctx, inv_freq, y.E, ROOM + 1), KD_OK);
    assert_int_equal(kd_plan_init_even(&s->plan, &full, token, T, T), KD_OK);
    s->q = nn_random(T * y.H * y.E, 3), s->k = nn_random(T * y.G * y.E, 3), s->v = nn_random(T * y.G * y.E, 1), s->o = nn_floats(T * y.H * y.E);
    s->x = (kd_extend){.room = ROOM, .type = type, .rope = &s->rope, .plan = &s->plan, .H = y.H, .G = y.G, .E = y.E};
    if (type == KD_VIEW_F32) return;
    float *turn = nn_floats(kd_cache_turns_count(ROOM, y.E));
    assert_int_equal(kd_cache_turns(ctx, turn, &s->rope, ROOM), KD_OK);
    s->x.turn = turn;
}

static void sequence_close(sequence *s) {
    kd_rope_free(&s->rope, ctx);
    kd_plan_free(&s->plan);
}

/* Caches of bytes that are NaN. */
static void *fresh_cache(const sequence *s) { return memset(nn_take(s->numbers * 4), 0xff, (size_t)s->numbers * 4); }

static bool run(const kd_variant *variant, const kd_extend *x) {
    if (!kd_isa_serves(ctx->isa, variant->isa)) return false;
    assert_int_equal(kd_ctx_reserve(ctx, variant->workspace(ctx, x)), KD_OK);
    memset(ctx->scratch, 0xff, (size_t)ctx->scratch_bytes);
    assert_int_equal(kd_op_run_variant(ctx, variant, x), KD_OK);
    return true;
}

/* Reads the sequence in pieces of these sizes, over and over, to o; the first piece twice, with other tokens the first time. */
static bool read_in(float *o, const sequence *s, const kd_variant *variant, const int64_t *sizes, int64_t count) {
    kd_reading r = {.key = fresh_cache(s), .value = fresh_cache(s)};
    kd_extend x = s->x;
    x.reading = &r, x.readings = 1;
    for (int64_t i = 0, n = 0; n < T; i = (i + 1) % count, n += r.count) {
        r.from = n;
        r.count = sizes[i] < T - n ? sizes[i] : T - n;
        x.q = s->q + n * x.H * x.E, x.k = s->k + n * x.G * x.E, x.v = s->v + n * x.G * x.E, x.o = o + n * x.H * x.E;
        if (n == 0) x.k = s->q, x.q = s->k;  /* forgotten */
        if (n == 0 && x.H == x.G && !run(variant, &x)) return false;
        x.q = s->q + n * x.H * x.E, x.k = s->k + n * x.G * x.E;
        if (!run(variant, &x)) return false;
    }
    return true;
}

static const int64_t sizes[LAYOUTS][5] = {{T}, {1}, {5}, {193, 1, 2, 60, 1}, {128}, {300, 4, 3, 2, 1}};
static const int64_t counts[LAYOUTS] = {1, 1, 1, 5, 1, 5};

static const kd_variant *variant_of(kd_isa isa) {
    for (int64_t i = 0; i < kd_attn_extend_op.count; i++)
        if (kd_attn_extend_op.variant[i].isa == isa && kd_isa_serves(ctx->isa, isa)) return &kd_attn_extend_op.variant[i];
    return NULL;
}

static void a_float32_cache_gives_the_bits_of_the_window(void **state) {
    (void)state;
    for (int n = 0; n < SHAPES; n++)
        for (kd_isa isa = KD_ISA_AVX2; isa <= KD_ISA_AVX512; isa++) {
            sequence s;
            if (!variant_of(isa)) continue;
            kd_isa best = ctx->isa;
            sequence_open(&s, shapes[n], KD_VIEW_F32);
            int64_t HE = s.x.H * s.x.E, GE = s.x.G * s.x.E;
            const kd_attn a = {.plan = &s.plan, .rope = &s.rope, .frame = KD_FRAME_DOCUMENT, .H = s.x.H, .G = s.x.G, .E = s.x.E,
                               .q = {s.q, HE, s.x.E, 0, 0}, .k = {s.k, GE, s.x.E, 0, 0}, .v = {s.v, GE, s.x.E, 0, 0},
                               .o = {s.o, HE, s.x.E, 0, 0}, .lse = nn_floats(T * s.x.H)};
            ctx->isa = isa;
            assert_int_equal(kd_attn_forward(ctx, &a), KD_OK);
            for (int l = 0; l < (SANITIZED ? 4 : LAYOUTS); l++) {
                float *o = nn_floats(T * HE);
                assert_true(read_in(o, &s, variant_of(isa), sizes[l], counts[l]));
                nn_assert_same(o, s.o, T * HE * 4);
            }
            ctx->isa = best;
            sequence_close(&s);
            nn_drop();
        }
}

/* Against the definition, and all ways of reading and instruction sets among themselves, bit for bit. */
static void a_bf16_cache_is_near_the_definition_and_one(void **state) {
    (void)state;
    for (int n = 0; n < SHAPES; n++) {
        sequence s;
        sequence_open(&s, shapes[n], KD_VIEW_BF16);
        int64_t HE = s.x.H * s.x.E;
        float *first = NULL;
        assert_true(read_in(s.o, &s, variant_of(KD_ISA_REF), sizes[0], counts[0]));
        for (kd_isa isa = KD_ISA_AVX2; isa <= KD_ISA_AVX512; isa++)
            for (int l = 0; l < (SANITIZED ? 4 : LAYOUTS) && variant_of(isa); l++) {
                float *o = nn_floats(T * HE);
                assert_true(read_in(o, &s, variant_of(isa), sizes[l], counts[l]));
                if (first) nn_assert_same(o, first, T * HE * 4);
                else first = o;
                for (int64_t i = 0; i < T * HE; i++)
                    if (!(fabsf(o[i] - s.o[i]) < 3e-6f)) fail_msg("shape %d, number %lld: %g, not %g", n, (long long)i, o[i], s.o[i]);
            }
        sequence_close(&s);
        nn_drop();
    }
}

/* Three sequences of different lengths in one call, in any order, are each as they are alone. */
static void neighbours_do_not_matter(void **state) {
    (void)state;
    static const int64_t from[3] = {0, 130, 17}, count[3] = {200, 1, 3};
    for (int64_t i = 0; i < kd_attn_extend_op.count; i++) {
        const kd_variant *variant = &kd_attn_extend_op.variant[i];
        if (!kd_isa_serves(ctx->isa, variant->isa)) continue;
        sequence s;
        sequence_open(&s, shapes[1], KD_VIEW_F32);
        int64_t HE = s.x.H * s.x.E, GE = s.x.G * s.x.E, rows = 204;
        float *alone = nn_floats(rows * HE), *together = nn_floats(rows * HE);
        for (int pass = 0; pass < 2; pass++) {
            kd_reading r[3];
            kd_extend x = s.x;
            x.reading = r;
            for (int64_t j = 0, row = 0; j < 3; row += count[j++]) {
                r[j] = (kd_reading){fresh_cache(&s), fresh_cache(&s), 0, from[j], 0};
                x.q = s.q, x.k = s.k, x.v = s.v, x.o = nn_floats(T * HE);
                x.readings = 1, x.reading = &r[j];
                if (from[j]) assert_true(run(variant, &x));
                r[j].from = from[j], r[j].count = count[j];
                x.q = s.q + row * HE, x.k = s.k + row * GE, x.v = s.v + row * GE, x.o = alone + row * HE;
                if (pass == 0) assert_true(run(variant, &x));
                r[j].row = row;
            }
            const kd_reading turned[3] = {r[2], r[0], r[1]};
            x = s.x;
            x.reading = turned, x.readings = 3, x.q = s.q, x.k = s.k, x.v = s.v, x.o = together;
            if (pass == 1) assert_true(run(variant, &x));
        }
        nn_assert_same(together, alone, rows * HE * 4);
        sequence_close(&s);
        nn_drop();
    }
}

static void what_is_out_of_range_is_refused(void **state) {
    (void)state;
    sequence s;
    sequence_open(&s, shapes[0], KD_VIEW_F32);
    kd_reading r = {fresh_cache(&s), fresh_cache(&s), T - 1, 2, 0};
    kd_extend x = s.x;
    x.reading = &r, x.readings = 1, x.q = s.q, x.k = s.k, x.v = s.v, x.o = s.o;
    assert_int_equal(kd_attn_extend(ctx, &x), KD_EARG);
    assert_non_null(strstr(kd_message(), "tokens 399..401 of a cache for 512, 513 positions, 400 places"));
    r.count = 1;
    assert_int_equal(kd_attn_extend(ctx, &x), KD_OK);
    x.type = KD_VIEW_F16;
    assert_int_equal(kd_attn_extend(ctx, &x), KD_EARG);
    x.type = KD_VIEW_F32, x.G = 3;
    assert_int_equal(kd_attn_extend(ctx, &x), KD_EARG);
    sequence_close(&s);
    nn_drop();
}

static int open_ctx(void **state) {
    (void)state;
    ctx = nn_open(2);
    return 0;
}

static int close_ctx(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_float32_cache_gives_the_bits_of_the_window),
        cmocka_unit_test(a_bf16_cache_is_near_the_definition_and_one),
        cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(what_is_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
