/* Attention by heads over several ranks has the bits of attention on one. */
#include "attn_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "par/ulysses.h"

enum { DEADLINE = 60 };

static kd_ctx *ctx;

/* A problem and what all ranks together make of it, as one rank would lay it out. */
typedef struct trial {
    const problem *x;
    float *made;
    int64_t bytes[2];  /* that rank 0 sent, forward and backward */
} trial;

static kd_view from_token(const kd_view *v, int64_t t) {
    kd_view part = *v;
    part.data += t * v->token_stride;
    return part;
}

static kd_status rank_body(void *arg, kd_comm *comm) {
    trial *y = arg;
    const problem *x = y->x;
    int64_t H = x->a.H, G = x->a.G, E = x->a.E, T = x->plan.T, sent;
    kd_ctx *own;
    kd_ulysses u;
    kd_ulysses_kept kept;
    kd_arena arena = {0};
    KD_TRY(kd_ctx_open(&own, 1));
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            arena = (kd_arena){malloc((size_t)arena.used + KD_ALIGN), arena.used + KD_ALIGN, 0};
            memset(arena.base, 0xff, (size_t)arena.size);
        }
        KD_TRY(kd_ulysses_init(&u, comm, T, H, G, E, true, &arena));
        kd_ulysses_keep(&kept, &u, 1, &arena);
    }
    kd_attn a = x->a;
    a.q = from_token(&a.q, u.first), a.k = from_token(&a.k, u.first), a.v = from_token(&a.v, u.first), a.dout = from_token(&a.dout, u.first);
    a.lse = NULL;
    const int64_t heads[] = {H, 0, H, G, G};
    kd_view *out[] = {&a.o, NULL, &a.dq, &a.dk, &a.dv};
    for (int part = 0; part < PARTS; part++)
        if (out[part]) *out[part] = kd_view_heads(y->made + x->out.from[part] + u.first * heads[part] * E, heads[part], E);
    sent = kd_comm_sent(comm);
    KD_TRY(kd_ulysses_forward(own, &u, &a, &kept));
    if (kd_comm_rank(comm) == 0) y->bytes[0] = kd_comm_sent(comm) - sent, sent = kd_comm_sent(comm);
    KD_TRY(kd_ulysses_backward(own, &u, &a, &kept));
    if (kd_comm_rank(comm) == 0) y->bytes[1] = kd_comm_sent(comm) - sent;
    memcpy(y->made + x->out.from[PART_LSE] + kd_comm_rank(comm) * u.q_heads * T, kept.lse, (size_t)(u.q_heads * T) * sizeof(float));
    free(arena.base);
    kd_ctx_close(own);
    return KD_OK;
}

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {411}},
    {.mask = KD_MASK_DOCUMENT, .N = 5, .length = {200, 1, 90, 7, 150}},
    {.mask = KD_MASK_DOCUMENT, .own_bos = true, .reset = true, .N = 4, .length = {33, 260, 5, 64}},
    {.mask = KD_MASK_ANCHOR, .N = 6, .length = {120, 2, 300, 16, 1, 61}},
    {.mask = KD_MASK_ANCHOR, .reset = true, .cuts = 2, .N = 4, .length = {180, 99, 20, 131}},
};

static void compare(const problem *x, int64_t ranks) {
    trial y = {.x = x, .made = oracle_new(x->out.from[PARTS], sizeof(float))};
    memset(y.made, 0xff, (size_t)x->out.from[PARTS] * sizeof(float));
    if (kd_comm_threads(ranks, DEADLINE, rank_body, &y)) fail_msg("%lld ranks: %s", (long long)ranks, kd_message());
    for (int part = 0; part < PARTS; part++)
        if (memcmp(y.made + x->out.from[part], x->out.f + x->out.from[part], (size_t)(x->out.from[part + 1] - x->out.from[part]) * sizeof(float)))
            fail_msg("%lld ranks, H %lld, G %lld: %s differs", (long long)ranks, (long long)x->a.H, (long long)x->a.G, part_name[part]);
    free(y.made);
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
        }
        problem_free(&x);
    }
}

static void bytes_are_those_of_the_formula(void **state) {
    (void)state;
    problem x;
    problem_init(&x, ctx, &(window){.mask = KD_MASK_FULL, .N = 1, .length = {512}}, 8, 2, 32, KD_FRAME_DOCUMENT, 2);
    problem_run(&x, first_variant());
    for (int64_t P = 2; P <= 8; P *= 2) {
        trial y = {.x = &x, .made = oracle_new(x.out.from[PARTS], sizeof(float))};
        assert_int_equal(kd_comm_threads(P, DEADLINE, rank_body, &y), KD_OK);
        int64_t T = x.plan.T, H = 8, KV = P > 2 ? P : 2;
        assert_int_equal(T % P, 0);
        /* And the 8 bytes a rank with which all agree that attention went well. */
        int64_t formula = 4 * (T / P) * 32 * (2 * H + 2 * KV) * (P - 1) / P;
        assert_int_equal(y.bytes[0], formula + 8 * (P - 1));
        assert_int_equal(y.bytes[1], formula + 8 * (P - 1));
        free(y.made);
    }
    problem_free(&x);
}

static kd_status refused_body(void *arg, kd_comm *comm) {
    const int64_t *n = arg;
    kd_ulysses u;
    kd_arena arena = {0};
    return kd_ulysses_init(&u, comm, n[0], n[1], n[2], 32, true, &arena);
}

static void ranks_that_do_not_fit_are_refused(void **state) {
    (void)state;
    const int64_t wrong[][4] = {{4, 64, 6, 6}, {4, 3, 8, 8}, {4, 64, 12, 2}, {4, 64, 24, 3}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kd_comm_threads(wrong[i][0], DEADLINE, refused_body, (void *)&wrong[i][1]), KD_EARG);
        assert_non_null(strstr(kd_message(), "4 ranks do not fit"));
    }
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
        cmocka_unit_test(bytes_are_those_of_the_formula),
        cmocka_unit_test(ranks_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
