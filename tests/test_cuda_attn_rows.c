/* What attention's kernels on CUDA read: to the bit what the ladder keeps on the host, out of tables of either kind; and what one pass over
 * the rows makes beside it. */
#include "attn_gpu.h"

#include "attn/attn_cuda_call.h"

enum { H = 4, G = 2, TABLE = 1 << 18 };

/* A call by hand: what attn_cuda.c makes of a problem. */
typedef struct packed {
    problem x;
    kd_rope rope;
    kd_gpu_call c;
    int32_t *rotation;  /* [T] the same as on the device */
} packed;

static void put_rotations(packed *p) {
    int64_t T = p->x.plan.T, bytes = T * (int64_t)sizeof(int32_t);
    p->rotation = oracle_new(T, sizeof *p->rotation);
    for (int64_t t = 0; t < T; t++) p->rotation[t] = p->x.plan.position[t];
    for (int64_t n = 0; n < p->x.plan.N; n++)
        for (int64_t t = p->x.plan.start[n]; t < p->x.plan.start[n + 1]; t++) p->rotation[t] = (int32_t)kd_attn_rotation(&p->x.a, n, t);
    p->c.rotation = gpu_put(gpu, p->rotation, bytes);
    p->c.position = gpu_put(gpu, p->x.plan.position, bytes);
    p->c.origin = p->x.plan.position[0];
}

static void packed_init(packed *p, const window *w, int64_t E, kd_frame frame, kd_precision precision, int64_t positions, int32_t moved,
                        kd_view_type type, int64_t gap, bool plain) {
    *p = (packed){0};
    problem_init(&p->x, host, w, H, G, E, frame, 2);
    problem_set_precision(&p->x, precision, positions);
    problem_move(&p->x, moved, moved);
    gpu_problem_round(&p->x, (kd_view_type[GPU_VIEWS]){type, type, type, type, type, type, type, type});
    gpu_done(kd_rope_init_for(&p->rope, gpu, precision, p->x.rope.inv_freq, E, positions));
    int64_t T = p->x.plan.T, Ep = (E + 63) / 64 * 64, size = plain ? 4 : 2;
    const kd_rung *rung = kd_rung_of(&p->x.a);
    kd_stretch all = {0, T};
    kd_gpu_call *c = &p->c;
    *c = (kd_gpu_call){.rows = (int32_t)T, .keys = (int32_t)T, .H = H, .G = G, .E = (int32_t)E, .Ep = (int32_t)Ep, .scale = 0.125f,
                       .sees_anchor = p->x.plan.anchors, .anchor_row = p->x.plan.anchors, .anchor_kept = kd_anchor_is_kept(&p->x.a),
                       .plain = plain,
                       .bf16_products = rung->bf16_products, .angles = rung->angles, .storage = rung->storage, .table = p->rope.table,
                       .exact = p->rope.exact, .coarse = p->rope.coarse, .fine = p->rope.fine, .stream = gpu->cuda->stream};
    put_rotations(p);
    c->inv_freq = gpu_put(gpu, p->x.rope.inv_freq, E / 2 * (int64_t)sizeof(double));
    c->q = gpu_view(gpu, p->x.q, all, H, E, type, gap);
    c->k = gpu_view(gpu, p->x.k, all, G, E, type, gap);
    c->v = gpu_view(gpu, p->x.v, all, G, E, type, gap);
    c->packed_q = gpu_take(gpu, H * T * Ep * size);
    c->packed_k = gpu_take(gpu, G * T * Ep * size), c->packed_v = gpu_take(gpu, G * T * Ep * size);
    if (rung->storage == KD_STORE_PAIR && !plain) c->q_low = gpu_take(gpu, H * T * Ep * 2), c->k_low = gpu_take(gpu, G * T * Ep * 2);
    c->anchor_logit2 = gpu_take(gpu, H * T * 4), c->anchor_value = gpu_take(gpu, G * Ep * 4);
    c->most = gpu_put(gpu, (int32_t[3]){0}, 12);
    c->unfit = gpu_put(gpu, (int32_t[1]){0}, 4);
    gpu_done(kd_attn_pack_keys(c));
    gpu_done(kd_attn_pack_queries(c, false));
}

static void packed_free(packed *p) {
    kd_rope_free(&p->rope, gpu);
    gpu_drop(gpu);
    free(p->rotation);
    problem_free(&p->x);
}

static float number_of(const void *array, int64_t i, bool plain, bool f16) {
    if (plain) return ((const float *)array)[i];
    return f16 ? kd_f16_widen(((const uint16_t *)array)[i]) : kd_bf16_widen(((const uint16_t *)array)[i]);
}

/* Every number of q or k, and its padding. */
static void check_turned(const packed *p, const void *device, const void *device_low, const double *from, int64_t heads) {
    const kd_gpu_call *c = &p->c;
    const kd_rung *rung = kd_rung_of(&p->x.a);
    int64_t T = p->x.plan.T, E = c->E, Ep = c->Ep, size = c->plain ? 4 : 2;
    void *got = oracle_new(heads * T * Ep, size), *got_low = oracle_new(heads * T * Ep, 2);
    gpu_done(gpu->device->get(gpu, got, device, heads * T * Ep * size));
    if (device_low) gpu_done(gpu->device->get(gpu, got_low, device_low, heads * T * Ep * 2));
    for (int64_t t = 0; t < T; t++) {
        float made[KD_HEAD_MOST], row[KD_HEAD_MOST], in[KD_HEAD_MOST], kept[KD_HEAD_MOST], low[KD_HEAD_MOST] = {0};
        int32_t r = p->rotation[t];
        if (t < p->x.plan.anchors && !c->anchor_kept) continue;
        memcpy(row, kd_rope_row(&p->x.rope, rung->angles, r < 0 ? -r : r, made), (size_t)E * sizeof *row);
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t e = 0; e < E; e++) in[e] = (float)from[(t * heads + h) * E + e];
            kd_rung_turn(kept, low, in, row, r < 0 ? -1 : 1, E, rung);
            for (int64_t e = 0; e < Ep; e++) {
                int64_t at = (h * T + t) * Ep + e;
                float expected = e < E ? kept[e] + (c->plain && rung->storage == KD_STORE_PAIR ? low[e] : 0) : 0;
                float number = number_of(got, at, c->plain, rung->storage == KD_STORE_F16);
                if (memcmp(&number, &expected, sizeof number) && !(number == 0 && expected == 0))
                    fail_msg("%s, token %lld, turned by %d, head %lld, element %lld: %.9g, not %.9g", rung->name, (long long)t, r,
                             (long long)h, (long long)e, number, expected);
                if (device_low) assert_true(number_of(got_low, at, false, false) == (e < E ? low[e] : 0));
            }
        }
    }
    free(got);
    free(got_low);
}

static const window windows[] = {{.mask = KD_MASK_ANCHOR, .N = 3, .length = {40, 1, 93}},
                                 {.mask = KD_MASK_DOCUMENT, .cuts = 2, .N = 2, .length = {70, 33}}};

static void what_is_kept_is_the_hosts_to_the_bit(void **state) {
    (void)state;
    if (!gpu) skip();
    static const struct { int64_t E, positions; int32_t moved; kd_view_type type; int64_t gap; } kind[] = {
        {128, 4000, 0, KD_VIEW_F32, 8},         {128, 4000, 3000, KD_VIEW_BF16, 8},    {64, 4000, -900, KD_VIEW_F16, 24},
        {96, TABLE + 9, 200000, KD_VIEW_F32, 8}, {40, 4000, 17, KD_VIEW_F32, 3},        {6, TABLE + 9, -200000, KD_VIEW_BF16, 1},
        {256, 4000, 100, KD_VIEW_BF16, 16},     {80, TABLE + 9, 99999, KD_VIEW_BF16, 16}, {2, 4000, 5, KD_VIEW_F32, 0}};
    for (int i = 0; i < 9; i++)
        for (kd_precision precision = KD_PRECISION_EXACT; precision < KD_PRECISION_BF16_EAGER; precision++)
            for (int bits = 0; bits < 4; bits++) {
                packed p;
                bool plain = bits & 1 || kd_ladder[precision].storage == KD_STORE_F32;
                packed_init(&p, &windows[i % 2], kind[i].E, bits & 2 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, precision, kind[i].positions,
                            kind[i].moved, kind[i].type, kind[i].gap, plain);
                check_turned(&p, p.c.packed_q, p.c.q_low, p.x.q, H);
                check_turned(&p, p.c.packed_k, p.c.k_low, p.x.k, G);
                packed_free(&p);
            }
}

/* In double from what is kept or as it came; and the largest value's square. */
static void the_anchor_is_met_as_its_frame_says(void **state) {
    (void)state;
    if (!gpu) skip();
    for (int frame = 0; frame < 2; frame++)
        for (kd_precision precision = KD_PRECISION_EXACT; precision < KD_PRECISION_BF16_EAGER; precision++) {
            packed p;
            bool plain = kd_ladder[precision].storage == KD_STORE_F32;
            packed_init(&p, &windows[0], 128, (kd_frame)frame, precision, 4000, 300, KD_VIEW_F32, 8, plain);
            int64_t T = p.x.plan.T, E = 128;
            float *logit2 = oracle_new(H * T, 4), *value = oracle_new(G * p.c.Ep, 4), most;
            int32_t bits[3];
            double largest = 0;
            gpu_done(gpu->device->get(gpu, logit2, p.c.anchor_logit2, H * T * 4));
            gpu_done(gpu->device->get(gpu, value, p.c.anchor_value, G * p.c.Ep * 4));
            gpu_done(gpu->device->get(gpu, bits, p.c.most, 12));
            for (int64_t h = 0; h < H; h++)
                for (int64_t t = 0; t < T; t++) {
                    double q[KD_HEAD_MOST], k[KD_HEAD_MOST];
                    const double *from = p.x.q + (t * H + h) * E, *key = p.x.k + h * G / H * E;
                    if (p.c.anchor_kept) {
                        gpu_naive_keep(q, from, &p.x, p.rotation[t], kd_rung_of(&p.x.a));
                        gpu_naive_keep(k, key, &p.x, p.rotation[0], kd_rung_of(&p.x.a));
                    } else {
                        memcpy(q, from, (size_t)E * sizeof *q);
                        memcpy(k, key, (size_t)E * sizeof *k);
                        gpu_naive_turn(q, &p.x, kd_attn_distance(&p.x.a, t));
                    }
                    double expected = 0.125 * 1.4426950408889634 * gpu_naive_dot(q, k, E), size = 0;
                    for (int64_t e = 0; e < E; e++) size += fabs(q[e] * k[e]);
                    assert_true(fabs(logit2[h * T + t] - expected) <= 1e-6 * size);
                }
            for (int64_t g = 0; g < G; g++)
                for (int64_t e = 0; e < E; e++) assert_true(value[g * p.c.Ep + e] == (float)p.x.v[g * E + e]);
            for (int64_t i = 0; i < T * G; i++) largest = fmax(largest, gpu_naive_dot(p.x.v + i * E, p.x.v + i * E, E));
            memcpy(&most, &bits[1], sizeof most);
            assert_true(fabs(most - largest) <= 1e-5 * largest);
            free(logit2);
            free(value);
            packed_free(&p);
        }
}

/* Beyond 65504, turned or not; but no infinity, nor what is no number. */
static void what_float16_cannot_hold_is_noticed(void **state) {
    (void)state;
    if (!gpu) skip();
    static const struct { float number; bool unfit; } row[] = {
        {65504, false}, {65519, true}, {-1e30f, true}, {INFINITY, false}, {NAN, false}, {3, false}};
    for (int i = 0; i < 6; i++)
        for (int key = 0; key < 2; key++) {
            packed p;
            int32_t unfit;
            packed_init(&p, &windows[1], 128, KD_FRAME_WINDOW, KD_PRECISION_F16_STORE, 4000, 0, KD_VIEW_F32, 8, false);
            const float pair[2] = {row[i].number, 0};
            float *at = (key ? p.c.k.data : p.c.q.data) + 7;  /* of token 0, at position 0 */
            gpu_done(gpu->device->put(gpu, at, pair, 4));
            gpu_done(gpu->device->put(gpu, at + 64, pair + 1, 4));
            gpu_done(kd_attn_pack_keys(&p.c));
            gpu_done(kd_attn_pack_queries(&p.c, false));
            gpu_done(gpu->device->get(gpu, &unfit, p.c.unfit, 4));
            assert_int_equal(unfit != 0, row[i].unfit);
            packed_free(&p);
        }
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(what_is_kept_is_the_hosts_to_the_bit),
        cmocka_unit_test(the_anchor_is_met_as_its_frame_says),
        cmocka_unit_test(what_float16_cannot_hold_is_noticed),
    };
    return cmocka_run_group_tests(test, open_both, close_both);
}
