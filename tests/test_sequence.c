/* Attention over several ranks, in every mode, beside attention on one. */
#include "attn_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "par/sequence.h"

enum { DEADLINE = 60, RANKS_MOST = 8 };

static kd_ctx *ctx;

/* A problem and what all ranks together make of it, as one rank would lay it out. */
typedef struct trial {
    const problem *x;
    kd_sequence_mode mode;
    int64_t threads;                /* of a rank; 0: 1 */
    float *made;
    int64_t bytes[RANKS_MOST][2];   /* that each sent, forward and backward */
    int64_t away[RANKS_MOST];       /* its tokens that others compute */
} trial;

static kd_view from_token(const kd_view *v, int64_t t) {
    kd_view part = *v;
    part.data += t * v->token_stride;
    return part;
}

/* lse of a rank's heads and tokens, [heads, tokens], into [H, T]. */
static void collect_lse(const trial *y, const float *lse, int64_t h0, int64_t heads, kd_stretch tokens) {
    int64_t T = y->x->plan.T, n = kd_stretch_count(tokens);
    for (int64_t h = 0; h < heads; h++)
        memcpy(y->made + y->x->out.from[PART_LSE] + (h0 + h) * T + tokens.from, lse + h * n, (size_t)n * sizeof(float));
}

/* The blocks of queries that a rank computes, in modes that have some. */
static kd_stretch block_of(const kd_sequence *s, int64_t rank, int64_t size, int64_t i) {
    int64_t n = s->blocks * size, block = s->deal ? s->deal[rank * s->blocks + i].block : i ? n - 1 - rank : rank;
    return (kd_stretch){block * s->T / n, (block + 1) * s->T / n};
}

static void collect(const trial *y, const kd_sequence *s, const kd_sequence_kept *kept, int64_t rank, int64_t size) {
    if (size == 1 || y->mode == KD_SEQUENCE_ULYSSES) {
        collect_lse(y, kept->lse, rank * s->H / size, s->H / size, (kd_stretch){0, s->T});
        return;
    }
    for (int64_t i = 0, at = 0; i < s->blocks; i++) {
        kd_stretch rows = block_of(s, rank, size, i);
        collect_lse(y, kept->lse + at * s->H, 0, s->H, rows);
        at += kd_stretch_count(rows);
    }
}

/* Tokens of this rank's own that others compute; as many of others' it computes itself if blocks are equal. */
static int64_t tokens_away(const kd_sequence *s, int64_t rank, int64_t size) {
    int64_t away = s->count;
    for (int64_t i = 0; i < s->blocks; i++)
        away -= kd_stretch_count(kd_stretch_both(block_of(s, rank, size, i), (kd_stretch){s->first, s->first + s->count}));
    return away;
}

static kd_status run_rank(trial *y, kd_ctx *own, kd_comm *comm, kd_arena *arena) {
    const problem *x = y->x;
    int64_t H = x->a.H, G = x->a.G, E = x->a.E, T = x->plan.T, sent, rank = kd_comm_rank(comm), size = kd_comm_size(comm);
    kd_sequence s;
    kd_sequence_kept kept;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            *arena = (kd_arena){malloc((size_t)arena->used + KD_ALIGN), arena->used + KD_ALIGN, 0};
            memset(arena->base, 0xff, (size_t)arena->size);
        }
        KD_TRY(kd_sequence_init(&s, y->mode, comm, T, H, G, E, true, arena));
        kd_sequence_keep(&kept, &s, 1, arena);
    }
    kd_attn a = x->a;
    a.q = from_token(&a.q, s.first), a.k = from_token(&a.k, s.first), a.v = from_token(&a.v, s.first), a.dout = from_token(&a.dout, s.first);
    a.lse = NULL;
    const int64_t heads[] = {H, 0, H, G, G};
    kd_view *out[] = {&a.o, NULL, &a.dq, &a.dk, &a.dv};
    for (int part = 0; part < PARTS; part++)
        if (out[part]) *out[part] = kd_view_heads(y->made + x->out.from[part] + s.first * heads[part] * E, heads[part], E);
    sent = kd_comm_sent(comm);
    KD_TRY(kd_sequence_forward(own, &s, &a, &kept));
    y->bytes[rank][0] = kd_comm_sent(comm) - sent, sent = kd_comm_sent(comm);
    if (s.keeps_inputs && size > 1) a.q.data = a.k.data = a.v.data = NULL;
    KD_TRY(kd_sequence_backward(own, &s, &a, &kept));
    y->bytes[rank][1] = kd_comm_sent(comm) - sent;
    if (size > 1 && y->mode != KD_SEQUENCE_ULYSSES) y->away[rank] = tokens_away(&s, rank, size);
    collect(y, &s, &kept, rank, size);
    return KD_OK;
}

static kd_status rank_body(void *arg, kd_comm *comm) {
    trial *y = arg;
    kd_ctx *own;
    kd_arena arena = {0};
    KD_TRY(kd_ctx_open(&own, y->threads ? y->threads : 1));
    kd_status status = run_rank(y, own, comm, &arena);
    free(arena.base);
    kd_ctx_close(own);
    return status;
}

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {411}},
    {.mask = KD_MASK_DOCUMENT, .N = 5, .length = {200, 1, 90, 7, 150}},
    {.mask = KD_MASK_DOCUMENT, .own_bos = true, .reset = true, .N = 4, .length = {33, 260, 5, 64}},
    {.mask = KD_MASK_ANCHOR, .N = 6, .length = {120, 2, 300, 16, 1, 61}},
    {.mask = KD_MASK_ANCHOR, .reset = true, .cuts = 2, .N = 4, .length = {180, 99, 20, 131}},
};
enum { WINDOWS = sizeof windows / sizeof *windows };

static trial run_trial(const problem *x, kd_sequence_mode mode, int64_t ranks, int64_t threads) {
    trial y = {.x = x, .mode = mode, .threads = threads, .made = oracle_new(x->out.from[PARTS], sizeof(float))};
    memset(y.made, 0xff, (size_t)x->out.from[PARTS] * sizeof(float));
    if (kd_comm_threads(ranks, DEADLINE, rank_body, &y))
        fail_msg("%s, %lld ranks: %s", kd_sequence_mode_name(mode), (long long)ranks, kd_message());
    return y;
}

static bool same_part(const problem *x, const float *a, const float *b, enum part part) {
    return !memcmp(a + x->out.from[part], b + x->out.from[part], (size_t)(x->out.from[part + 1] - x->out.from[part]) * sizeof(float));
}

/* Parts o .. last have the bits of x->out.f. */
static void compare_up_to(const problem *x, kd_sequence_mode mode, int64_t ranks, enum part last) {
    trial y = run_trial(x, mode, ranks, 1);
    for (int part = 0; part <= (int)last; part++)
        if (!same_part(x, y.made, x->out.f, part))
            fail_msg("%s, %lld ranks, H %lld, G %lld: %s differs", kd_sequence_mode_name(mode), (long long)ranks, (long long)x->a.H,
                     (long long)x->a.G, part_name[part]);
    free(y.made);
}

static void compare(const problem *x, int64_t ranks) { compare_up_to(x, KD_SEQUENCE_ULYSSES, ranks, PART_DV); }

/* The largest difference to the definition, x->out.d, over a part's largest number. */
static double part_distance(const problem *x, const float *made, enum part part) {
    double most = 0, size = 0;
    for (int64_t i = x->out.from[part]; i < x->out.from[part + 1]; i++) {
        double difference = fabs((double)made[i] - x->out.d[i]);
        if (!(difference <= most)) most = difference;  /* a NaN stays */
        size = fmax(size, fabs(x->out.d[i]));
    }
    return most / size;
}

static void every_mask_and_grouping_has_the_same_bits(void **state) {
    (void)state;
    const int64_t groups[][2] = {{8, 8}, {8, 4}, {8, 2}, {8, 1}, {16, 2}, {6, 2}};
    for (int g = 0; g < 6; g++)
        for (int w = 0; w < 5; w++) {
            problem x;
            int64_t H = groups[g][0], G = groups[g][1];
            problem_init(&x, ctx, &windows[w], H, G, 32, w % 2 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT, 2);
            problem_run(&x, first_variant());
            for (int64_t ranks = 1; ranks <= 8; ranks *= 2)
                if (H % ranks == 0 && (ranks <= G || H / ranks != 3)) compare(&x, ranks);
            problem_free(&x);
        }
}

static void every_precision_has_the_same_bits(void **state) {
    (void)state;
    for (kd_precision p = KD_PRECISION_EXACT; p <= KD_PRECISION_BF16_EAGER; p++) {
        problem x;
        problem_init(&x, ctx, &windows[3], 8, 2, 32, KD_FRAME_WINDOW, 2);
        problem_set_precision(&x, p, 2048);
        if (problem_is_served(&x, first_variant())) {
            problem_run(&x, first_variant());
            compare(&x, 4);
            compare_up_to(&x, KD_SEQUENCE_ALLGATHER, 4, PART_DQ);
        }
        problem_free(&x);
    }
}

/* More ranks than heads, and numbers of ranks that divide nothing. */
static void allgather_has_the_bits_of_one_rank_but_for_dk_and_dv(void **state) {
    (void)state;
    const struct { int64_t H, G, ranks; } fit[] = {{4, 4, 2}, {8, 2, 2}, {2, 1, 8}, {4, 2, 3}, {3, 3, 5}, {16, 8, 2}, {1, 1, 7}, {6, 2, 1}};
    for (size_t i = 0; i < sizeof fit / sizeof *fit; i++)
        for (int w = 0; w < WINDOWS; w++) {
            problem x;
            problem_init(&x, ctx, &windows[w], fit[i].H, fit[i].G, 32, w % 2 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT, 2);
            problem_run(&x, first_variant());
            problem_define(&x);
            trial y = run_trial(&x, KD_SEQUENCE_ALLGATHER, fit[i].ranks, 1);
            for (int part = 0; part < PART_DK; part++)
                if (!same_part(&x, y.made, x.out.f, part))
                    fail_msg("%lld ranks, window %d: %s differs", (long long)fit[i].ranks, w, part_name[part]);
            for (int part = PART_DK; part < PARTS; part++) assert_true(part_distance(&x, y.made, part) < 5e-6);
            free(y.made);
            problem_free(&x);
        }
}

static void zigzag_is_the_definition_but_for_rounding(void **state) {
    (void)state;
    const struct { int64_t H, G, ranks; } fit[] = {{4, 4, 2}, {4, 2, 4}, {2, 1, 8}, {4, 2, 3}, {3, 3, 5}, {2, 2, 1}};
    for (size_t i = 0; i < sizeof fit / sizeof *fit; i++)
        for (int w = 0; w < WINDOWS; w++) {
            problem x;
            problem_init(&x, ctx, &windows[w], fit[i].H, fit[i].G, 32, w % 2 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT, 2);
            problem_run(&x, first_variant());
            problem_define(&x);
            trial exact = run_trial(&x, KD_SEQUENCE_ZIGZAG, fit[i].ranks, 1), rounded = run_trial(&x, KD_SEQUENCE_ZIGZAG_BF16, fit[i].ranks, 1);
            for (int part = 0; part < PARTS; part++) {
                double a = part_distance(&x, exact.made, part), b = part_distance(&x, rounded.made, part);
                if (!(a < 5e-6)) fail_msg("%lld ranks, window %d: %s is off by %g", (long long)fit[i].ranks, w, part_name[part], a);
                if (!(b < 0.02)) fail_msg("%lld ranks, window %d, bf16: %s is off by %g", (long long)fit[i].ranks, w, part_name[part], b);
                if (part == PART_LSE) assert_true(same_part(&x, exact.made, rounded.made, part));  /* it is not rounded */
                else assert_true(fit[i].ranks == 1 ? same_part(&x, exact.made, x.out.f, part) : b > 5e-4);
            }
            free(exact.made);
            free(rounded.made);
            problem_free(&x);
        }
}

/* A row that is of one part alone is that part, rounded. */
static void parts_are_rounded_to_bf16_once(void **state) {
    (void)state;
    problem x;
    const window blocks = {.mask = KD_MASK_DOCUMENT, .N = 8, .length = {32, 32, 32, 32, 32, 32, 32, 32}};
    problem_init(&x, ctx, &blocks, 2, 1, 32, KD_FRAME_DOCUMENT, 2);
    problem_run(&x, first_variant());
    trial y = run_trial(&x, KD_SEQUENCE_ZIGZAG_BF16, 4, 1);  /* a document is a block */
    for (int64_t i = 0; i < x.out.from[1]; i++) assert_true(y.made[i] == kd_bf16_widen(kd_bf16_round(x.out.f[i])));
    free(y.made);
    problem_free(&x);
}

static void every_mode_gives_the_same_bits_twice_and_with_more_threads(void **state) {
    (void)state;
    for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) {
        problem x;
        problem_init(&x, ctx, &windows[3], 4, 2, 32, KD_FRAME_WINDOW, 2);
        trial one = run_trial(&x, mode, 4, 1), two = run_trial(&x, mode, 4, 2);
        assert_memory_equal(one.made, two.made, (size_t)x.out.from[PARTS] * sizeof(float));
        free(one.made);
        free(two.made);
        problem_free(&x);
    }
}

static void bytes_are_those_of_the_formula(void **state) {
    (void)state;
    problem x;
    enum { T = 512, H = 8, G = 2, E = 32 };
    problem_init(&x, ctx, &(window){.mask = KD_MASK_FULL, .N = 1, .length = {T}}, H, G, E, KD_FRAME_DOCUMENT, 2);
    for (int64_t P = 2; P <= 8; P *= 2) {
        trial y[KD_SEQUENCE_MODES];
        for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) y[mode] = run_trial(&x, mode, P, 1);
        /* And the 8 bytes a rank with which all agree that attention went well. */
        int64_t KV = P > G ? P : G, agree = 8 * (P - 1), token = 4 * (T / P) * E;
        for (int64_t r = 0; r < P; r++) {
            int64_t ulysses = token * (2 * H + 2 * KV) * (P - 1) / P, kv = token * 2 * G;
            /* Zigzag computes one of the two halves at home on rank 0, and where 3r is 2P-1 or 2P-2. */
            int64_t away = 2 - (r == 0) - (3 * r == 2 * P - 1 || 3 * r == 2 * P - 2);
            assert_int_equal(y[KD_SEQUENCE_ZIGZAG].away[r], away * (T / P) / 2);
            int64_t zigzag = 4 * E * y[KD_SEQUENCE_ZIGZAG].away[r] * (2 * H + 2 * G), dealt = 4 * E * y[KD_SEQUENCE_ALLGATHER].away[r] * 2 * H;
            for (int back = 0; back < 2; back++) {
                assert_int_equal(y[KD_SEQUENCE_ULYSSES].bytes[r][back], ulysses + agree);
                assert_int_equal(y[KD_SEQUENCE_ALLGATHER].bytes[r][back], kv * (back ? 2 : 1) * (P - 1) + dealt + agree);
                assert_int_equal(y[KD_SEQUENCE_ZIGZAG].bytes[r][back], kv * (back ? 2 * P - 1 : P - 1) + zigzag + agree);
                assert_int_equal(y[KD_SEQUENCE_ZIGZAG_BF16].bytes[r][back], y[KD_SEQUENCE_ZIGZAG].bytes[r][back]);
            }
        }
        for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) free(y[mode].made);
    }
    problem_free(&x);
}

/* What each rank has to do of a window, without doing it. */
typedef struct share { const kd_plan *plan; kd_sequence_mode mode; int64_t pairs[RANKS_MOST]; } share;

static kd_status share_body(void *arg, kd_comm *comm) {
    share *y = arg;
    kd_sequence s;
    kd_arena arena = {0};
    KD_TRY(kd_sequence_init(&s, y->mode, comm, y->plan->T, 8, 2, 32, false, &arena));
    arena = (kd_arena){oracle_new(arena.used, 1), arena.used, 0};
    KD_TRY(kd_sequence_init(&s, y->mode, comm, y->plan->T, 8, 2, 32, false, &arena));
    y->pairs[kd_comm_rank(comm)] = kd_sequence_pairs(&s, y->plan);
    free(arena.base);
    return KD_OK;
}

/* The busiest rank's pairs over the mean. */
static double imbalance(const window *w, kd_sequence_mode mode, int64_t ranks) {
    kd_plan plan;
    int64_t sum = 0, most = 0;
    window_plan(&plan, w);
    share y = {.plan = &plan, .mode = mode};
    assert_int_equal(kd_comm_threads(ranks, DEADLINE, share_body, &y), KD_OK);
    for (int64_t r = 0; r < ranks; r++) sum += y.pairs[r], most = y.pairs[r] > most ? y.pairs[r] : most;
    assert_int_equal(sum, 8 * kd_plan_pairs(&plan));  /* each pair once */
    kd_plan_free(&plan);
    return (double)most * (double)ranks / (double)sum;
}

static void work_is_shared_evenly(void **state) {
    (void)state;
    const window full = {.mask = KD_MASK_FULL, .N = 1, .length = {8192}};
    const window packed = {.mask = KD_MASK_ANCHOR, .N = 12, .length = {330, 1900, 12, 700, 1200, 88, 410, 2100, 640, 31, 250, 530}};
    for (int64_t P = 1; P <= 8; P *= 2) {
        for (int w = 0; w < WINDOWS; w++) assert_true(imbalance(&windows[w], KD_SEQUENCE_ULYSSES, P) == 1);
        assert_true(imbalance(&full, KD_SEQUENCE_ULYSSES, P) == 1);
        assert_true(imbalance(&full, KD_SEQUENCE_ZIGZAG, P) < 1.001);
        assert_true(imbalance(&full, KD_SEQUENCE_ALLGATHER, P) < 1.001);
        assert_true(imbalance(&packed, KD_SEQUENCE_ULYSSES, P) == 1);
        assert_true(imbalance(&packed, KD_SEQUENCE_ALLGATHER, P) < 1.06);
        for (int w = 0; w < WINDOWS; w++)
            for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) assert_true(imbalance(&windows[w], mode, P) >= 1);
    }
}

/* The last rank cannot keep a query as float16; all hear of it, and none waits. */
static void what_one_rank_cannot_compute_all_refuse(void **state) {
    (void)state;
    for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) {
        problem x;
        problem_init(&x, ctx, &windows[0], 4, 2, 32, KD_FRAME_DOCUMENT, 2);
        problem_set_precision(&x, KD_PRECISION_F16_STORE, 2048);
        x.a.q.data[400 * x.a.q.token_stride + 3 * 32] = 1e6f;
        trial y = {.x = &x, .mode = mode, .made = oracle_new(x.out.from[PARTS], sizeof(float))};
        assert_int_equal(kd_comm_threads(4, DEADLINE, rank_body, &y), KD_ENUMERIC);
        assert_non_null(strstr(kd_message(), "token 400"));
        free(y.made);
        problem_free(&x);
    }
}

typedef struct refusal { kd_sequence_mode mode; int64_t T, H, G; } refusal;

static kd_status refused_body(void *arg, kd_comm *comm) {
    const refusal *x = arg;
    kd_sequence s;
    return kd_sequence_init(&s, x->mode, comm, x->T, x->H, x->G, 32, true, &(kd_arena){0});
}

static void ranks_that_do_not_fit_are_refused(void **state) {
    (void)state;
    refusal wrong[] = {{KD_SEQUENCE_ULYSSES, 64, 6, 6}, {KD_SEQUENCE_ULYSSES, 3, 8, 8}, {KD_SEQUENCE_ULYSSES, 64, 12, 2},
                       {KD_SEQUENCE_ULYSSES, 64, 24, 3}, {KD_SEQUENCE_ALLGATHER, 3, 8, 8}, {KD_SEQUENCE_ZIGZAG, 7, 8, 8}};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(kd_comm_threads(4, DEADLINE, refused_body, &wrong[i]), KD_EARG);
        assert_non_null(strstr(kd_message(), "4 ranks do not fit"));
    }
    assert_int_equal(kd_comm_threads(4, DEADLINE, refused_body, &(refusal){KD_SEQUENCE_MODES, 64, 8, 8}), KD_EARG);
}

static int setup(void **state) {
    (void)state;
    return kd_ctx_open(&ctx, 1) ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mask_and_grouping_has_the_same_bits),
        cmocka_unit_test(every_precision_has_the_same_bits),
        cmocka_unit_test(allgather_has_the_bits_of_one_rank_but_for_dk_and_dv),
        cmocka_unit_test(zigzag_is_the_definition_but_for_rounding),
        cmocka_unit_test(parts_are_rounded_to_bf16_once),
        cmocka_unit_test(every_mode_gives_the_same_bits_twice_and_with_more_threads),
        cmocka_unit_test(bytes_are_those_of_the_formula),
        cmocka_unit_test(work_is_shared_evenly),
        cmocka_unit_test(what_one_rank_cannot_compute_all_refuse),
        cmocka_unit_test(ranks_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
