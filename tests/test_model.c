/* Same bits: whatever the threads, the windows at once, the ranks, the instruction set, what is kept and where the memory lies. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "base/half.h"
#include "base/random.h"
#include "model/model.h"

enum { T = 300, WINDOWS = 3, MOST_WINDOWS = 6, DEADLINE = 60 };

/* A variation of how, never of what. */
typedef struct way {
    const kd_device *device;
    int64_t threads, micro;
    kd_recompute recompute;
    kd_isa isa;
    int64_t windows;            /* of all ranks */
    kd_comm *sequence, *data, *world;
    int64_t zero;
    kd_sequence_mode mode;
    const char *files;
} way;

static const way usual = {&kd_device_host, 2, 1, KD_RECOMPUTE_LAYER, KD_ISA_AVX512, WINDOWS, NULL, NULL, NULL, 1, KD_SEQUENCE_ULYSSES,
                          NULL};

static kd_config make_config(const char *arch) {
    char *text;
    kd_config config;
    assert_done(kd_config_preset(&text, arch, "tiny", &(kd_tokenizer){.bos = 256, .eos = 257}, 300, T));
    assert_done(kd_config_parse(&config, text, (int64_t)strlen(text), "tiny"));
    free(text);
    return config;
}

/* Documents of 1, 90, 40, ... tokens; the last is cut by the window. */
static kd_plan make_plan(kd_mask mask, uint64_t seed) {
    static const int64_t length[] = {1, 90, 40, 3, 120};
    int32_t token[T];
    kd_piece piece[8];
    kd_chunk chunk[8];
    kd_plan_options options = {.mask = mask, .lead_bos = true, .bos = 256};
    int64_t pieces = 0, used = 0, room = T - (mask == KD_MASK_ANCHOR);
    for (int64_t t = 0; t < T; t++) token[t] = (int32_t)(kd_random_bits(seed, 0, (uint64_t)t) % 256);
    while (room > 0) {
        int64_t lead = mask != KD_MASK_ANCHOR, count = pieces < 5 ? length[pieces] : T;
        if (count > room - lead) count = room - lead;
        piece[pieces] = (kd_piece){.next = token[used + count < T ? used + count : 0]};
        chunk[pieces] = (kd_chunk){pieces, token + used, count, NULL};
        used += count;
        room -= count + lead;
        pieces++;
    }
    kd_plan plan;
    assert_done(kd_plan_init(&plan, &options, piece, pieces, chunk, pieces));
    assert_int_equal(plan.T, T);
    return plan;
}

/* All that the ranks own of the gradient, [count] on the host. */
static void gather_gradient(float *all, kd_ctx *ctx, kd_model *model) {
    const kd_parts *parts = kd_model_parts(model);
    for (int64_t i = 0; i < parts->count; i++) {
        kd_range whole = kd_part_whole(parts, i);
        kd_slice own = kd_part_piece(parts, i);
        assert_done(ctx->device->get(ctx, all + own.at, kd_model_gradient_of(model, own), own.count * (int64_t)sizeof *all));
        if (parts->ranks > 1) assert_done(kd_gather_shards(kd_model_world(model), "a gradient", all + whole.at, whole.count));
    }
}

/* One step's gradient and losses; free both. */
static void run(float **gradient, double **losses, int64_t *count, const char *arch, kd_mask mask, way how) {
    kd_config config = make_config(arch);
    kd_ctx *ctx;
    kd_model *model;
    kd_plan plan[MOST_WINDOWS];
    const kd_plan *view[MOST_WINDOWS];
    int64_t windows = how.windows / (how.data ? kd_comm_size(how.data) : 1);
    assert_done(kd_ctx_open_on(&ctx, how.device, how.threads));
    if (how.isa < ctx->isa) ctx->isa = how.isa;
    kd_model_options options = {.window = T, .windows = windows, .micro = how.micro, .leaves = 8, .frame = KD_FRAME_DOCUMENT,
                                .recompute = how.recompute, .training = true, .sequence = how.sequence, .mode = how.mode, .data = how.data,
                                .world = how.world, .zero = how.zero, .files = how.files};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_done(kd_model_init(model, &config, 5));
    for (int64_t i = 0; i < windows; i++) plan[i] = make_plan(mask, (uint64_t)kd_model_window(model, i)), view[i] = &plan[i];
    for (int64_t first = 0; first < windows; first += how.micro) {
        int64_t n = windows - first < how.micro ? windows - first : how.micro;
        assert_done(kd_model_forward(model, view + first, n, first));
        assert_done(kd_model_backward(model, 1.0f / 700));
    }
    assert_done(kd_model_gradient_finish(model, windows));
    *count = kd_model_layout(model)->count;
    *gradient = malloc((size_t)*count * sizeof **gradient);
    *losses = malloc((size_t)how.windows * T * sizeof **losses);
    gather_gradient(*gradient, ctx, model);
    assert_done(ctx->device->get(ctx, *losses, kd_model_losses(model), how.windows * T * (int64_t)sizeof **losses));
    for (int64_t i = 0; i < windows; i++) kd_plan_free(&plan[i]);
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
}

/* Gradients of windows from .. from+count-1 as one step of their own, added to sum. */
static void add_step(double *sum, int64_t *n, int64_t from, int64_t count) {
    kd_config config = make_config("llama");
    kd_ctx *ctx;
    kd_model *model;
    assert_done(kd_ctx_open(&ctx, 2));
    kd_model_options options = {.window = T, .windows = count, .micro = 1, .leaves = 4, .frame = KD_FRAME_DOCUMENT,
                                .recompute = KD_RECOMPUTE_NONE, .training = true};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_done(kd_model_init(model, &config, 5));
    for (int64_t i = 0; i < count; i++) {
        kd_plan plan = make_plan(KD_MASK_ANCHOR, (uint64_t)(from + i));
        const kd_plan *view = &plan;
        assert_done(kd_model_forward(model, &view, 1, i));
        assert_done(kd_model_backward(model, 1.0f / 300));
        kd_plan_free(&plan);
    }
    assert_done(kd_model_gradient_finish(model, count));
    *n = kd_model_layout(model)->count;
    for (int64_t i = 0; i < *n; i++) sum[i] += kd_model_gradient(model)[i];
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
}

static void the_gradient_of_a_step_is_the_sum_of_its_windows(void **state) {
    (void)state;
    enum { MOST = 1 << 20 };
    double *apart = calloc(MOST, sizeof *apart), *together = calloc(MOST, sizeof *together);
    for (int64_t windows = 1; windows <= 7; windows++) {
        int64_t n;
        double d = 0, all = 0;
        memset(together, 0, MOST * sizeof *together);
        add_step(apart, &n, windows - 1, 1);
        add_step(together, &n, 0, windows);
        for (int64_t i = 0; i < n; i++) d += pow(apart[i] - together[i], 2), all += pow(apart[i], 2);
        assert_true(n <= MOST && all > 0);
        assert_true(sqrt(d / all) < 1e-6);
    }
    free(apart), free(together);
}

static void same_bits(const char *arch, kd_mask mask, way a, way b) {
    float *ga, *gb;
    double *la, *lb;
    int64_t n, m;
    run(&ga, &la, &n, arch, mask, a);
    run(&gb, &lb, &m, arch, mask, b);
    assert_int_equal(n, m);
    assert_memory_equal(la, lb, WINDOWS * T * sizeof *la);
    assert_memory_equal(ga, gb, (size_t)n * sizeof *ga);
    bool alive = false;
    for (int64_t i = 0; i < n && !alive; i++) alive = ga[i] != 0;
    assert_true(alive);
    free(ga), free(gb), free(la), free(lb);
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
    (void)state;
    for (kd_mask mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++)
        for (int64_t threads = 1; threads <= 4; threads++) {
            way b = usual;
            b.threads = threads;
            same_bits("qwen2", mask, usual, b);
        }
}

/* One rank's step, and everything that one rank alone makes of it. */
typedef struct shared_step {
    const char *arch;
    kd_mask mask;
    way how;
    int64_t sequence;  /* ranks that share a window */
    float *gradient;
    double *losses;
} shared_step;

static kd_status run_rank(void *arg, kd_comm *comm) {
    const shared_step *s = arg;
    way how = s->how;
    int64_t rank = kd_comm_rank(comm), n;
    float *gradient;
    double *losses;
    how.threads = 1;
    KD_TRY(kd_comm_split(&how.sequence, comm, rank / s->sequence));
    KD_TRY(kd_comm_split(&how.data, comm, rank % s->sequence));
    how.world = comm;
    run(&gradient, &losses, &n, s->arch, s->mask, how);
    bool same = !memcmp(gradient, s->gradient, (size_t)n * sizeof *gradient) && !memcmp(losses, s->losses, (size_t)how.windows * T * sizeof *losses);
    free(gradient), free(losses);
    kd_comm_free(how.sequence);
    kd_comm_free(how.data);
    return same ? KD_OK : kd_fail(KD_EFORMAT, "rank %lld of %lld, %lld a window, zero %lld: other bits", (long long)rank,
                                  (long long)kd_comm_size(comm), (long long)s->sequence, (long long)how.zero);
}

static void any_number_of_ranks_gives_the_same_bits(void **state) {
    (void)state;
    static const struct { const char *arch; kd_mask mask; int64_t windows, micro; kd_recompute recompute; } cases[] = {
        {"qwen2", KD_MASK_ANCHOR, 4, 1, KD_RECOMPUTE_LAYER}, {"llama", KD_MASK_DOCUMENT, 4, 2, KD_RECOMPUTE_NONE},
        {"llama", KD_MASK_FULL, 3, 2, KD_RECOMPUTE_LAYER}, {"qwen2", KD_MASK_ANCHOR, 6, 2, KD_RECOMPUTE_LAYER},
    };
    for (int i = 0; i < 4; i++) {
        shared_step s = {.arch = cases[i].arch, .mask = cases[i].mask, .how = usual};
        int64_t n;
        s.how.windows = cases[i].windows, s.how.recompute = cases[i].recompute;
        run(&s.gradient, &s.losses, &n, s.arch, s.mask, s.how);
        for (int64_t data = 1; cases[i].windows % data == 0 && data <= 4; data *= 2)
            for (s.sequence = 1; s.sequence <= 4; s.sequence *= 2)
                for (s.how.zero = 1; s.how.zero <= 3; s.how.zero++) {
                    int64_t windows = cases[i].windows / data;
                    if (SANITIZED && s.sequence * data != 4) continue;  /* it takes minutes for all */
                    if (data > 1 && s.how.zero < 2 && (windows & (windows - 1))) continue;
                    s.how.micro = cases[i].micro < windows ? cases[i].micro : windows;
                    if (kd_comm_threads(s.sequence * data, DEADLINE, run_rank, &s)) fail_msg("%s", kd_message());
                }
        free(s.gradient), free(s.losses);
    }
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, int64_t n) {
    double difference = 0, all = 0;
    for (int64_t i = 0; i < n; i++) difference += pow((double)a[i] - b[i], 2), all += pow(b[i], 2);
    return sqrt(difference / all);
}

static kd_status run_mode_rank(void *arg, kd_comm *comm) {
    const shared_step *s = arg;
    way how = s->how;
    int64_t n;
    float *gradient;
    double *losses, most = 0;
    how.threads = 1, how.sequence = comm;
    run(&gradient, &losses, &n, s->arch, s->mask, how);
    double off = distance(gradient, s->gradient, n);
    for (int64_t t = 0; t < WINDOWS * T; t++) most = fmax(most, fabs(losses[t] - s->losses[t]));
    free(gradient), free(losses);
    bool allgather = how.mode == KD_SEQUENCE_ALLGATHER, bf16 = how.mode == KD_SEQUENCE_ZIGZAG_BF16;
    bool good = off > 0 && off < (bf16 ? 2e-2 : 2e-6) && (allgather ? most == 0 : most > 0 && most < (bf16 ? 2e-2 : 1e-5));
    return good ? KD_OK : kd_fail(KD_EFORMAT, "%s, %lld ranks: losses are off by %g, the gradient by %g", kd_sequence_mode_name(how.mode),
                                  (long long)kd_comm_size(comm), most, off);
}

/* More ranks than the four heads too. */
static void other_modes_give_the_losses_and_nearly_the_gradient(void **state) {
    (void)state;
    for (kd_mask mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++) {
        shared_step s = {.arch = mask == KD_MASK_FULL ? "llama" : "qwen2", .mask = mask, .how = usual};
        int64_t n;
        s.how.recompute = mask == KD_MASK_DOCUMENT ? KD_RECOMPUTE_NONE : KD_RECOMPUTE_LAYER;
        s.how.micro = mask == KD_MASK_FULL ? 1 : 2;
        run(&s.gradient, &s.losses, &n, s.arch, s.mask, s.how);
        for (s.how.mode = KD_SEQUENCE_ALLGATHER; s.how.mode < KD_SEQUENCE_MODES; s.how.mode++)
            for (int64_t ranks = 2; ranks <= 8; ranks *= 4)
                if (kd_comm_threads(ranks, DEADLINE, run_mode_rank, &s)) fail_msg("%s", kd_message());
        free(s.gradient), free(s.losses);
    }
}

/* The hidden states and logits of one window, as a bf16 network has them. */
static void bf16_activations_are_bf16_numbers_and_not_for_training(void **state) {
    (void)state;
    kd_config config = make_config("qwen2");
    kd_ctx *ctx;
    kd_model *model;
    kd_plan plan = make_plan(KD_MASK_ANCHOR, 3);
    const kd_plan *view = &plan;
    float *logits[2];
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 4, .training = true, .bf16_activations = true};
    assert_done(kd_ctx_open(&ctx, 2));
    assert_int_equal(kd_model_open(&model, ctx, &config, &options), KD_ENOTSUP);
    options.training = false;
    for (int i = 0; i < 2; i++, options.bf16_activations = false) {
        logits[i] = malloc((size_t)(T * config.V) * sizeof(float));
        assert_done(kd_model_open(&model, ctx, &config, &options));
        assert_done(kd_model_init(model, &config, 5));
        assert_done(kd_model_forward(model, &view, 1, 0));
        assert_done(kd_model_logits(model, logits[i], 0, T));
        kd_model_close(model);
    }
    for (int64_t j = 0; j < T * config.V; j++) assert_true(logits[0][j] == kd_bf16_widen(kd_bf16_round(logits[0][j])));
    double off = distance(logits[0], logits[1], T * config.V);
    assert_true(off > 1e-3 && off < 3e-2);  /* of an ulp of 2^-8: more than the last rounding alone, not another network */
    free(logits[0]), free(logits[1]);
    kd_plan_free(&plan);
    kd_ctx_close(ctx);
    kd_config_close(&config);
}

static void any_number_of_windows_at_once_gives_the_same_bits(void **state) {
    (void)state;
    for (int64_t micro = 2; micro <= WINDOWS; micro++) {
        way b = usual;
        b.micro = micro;
        same_bits("llama", KD_MASK_ANCHOR, usual, b);
    }
}

static void computing_layers_again_gives_the_same_bits(void **state) {
    (void)state;
    way b = usual;
    b.recompute = KD_RECOMPUTE_NONE;
    same_bits("qwen2", KD_MASK_ANCHOR, usual, b);
}

static void a_device_the_host_may_not_touch_gives_the_same_bits(void **state) {
    (void)state;
    way b = usual;
    b.device = &kd_device_guard;
    same_bits("qwen2", KD_MASK_DOCUMENT, usual, b);
}

/* Copied away and back, on a host from memory to memory: in the order in which a GPU's copies go beside its operations. */
static void inputs_of_layers_in_the_hosts_memory_give_the_same_bits(void **state) {
    (void)state;
    for (int guarded = 0; guarded < 2; guarded++) {
        way b = usual;
        b.files = KD_PLACE_HOST;
        b.device = guarded ? &kd_device_guard : &kd_device_host;
        same_bits("qwen2", KD_MASK_ANCHOR, usual, b);
        b.recompute = KD_RECOMPUTE_NONE, b.micro = 2;
        same_bits("llama", KD_MASK_FULL, usual, b);
    }
}

static void avx2_gives_the_bits_of_avx512(void **state) {
    (void)state;
    if (kd_isa_best() < KD_ISA_AVX512) {
        print_message("skipped: avx2_gives_the_bits_of_avx512: this machine has no AVX-512\n");
        skip();
    }
    way b = usual;
    b.isa = KD_ISA_AVX2;
    same_bits("llama", KD_MASK_ANCHOR, usual, b);
    same_bits("qwen2", KD_MASK_FULL, usual, b);
}

/* Logits of the document of `count` tokens that follows `before` others in its window; free(). */
static float *logits_of(kd_mask mask, int64_t before, int64_t count, int64_t *V) {
    int32_t token[T];
    for (int64_t t = 0; t < T; t++) token[t] = (int32_t)((t < before ? 7 * t : 31 * (t - before)) % 256);
    kd_piece piece[2] = {{.next = -1}, {.next = -1}};
    kd_chunk chunk[3] = {{0, token, before, NULL}, {1, token + before, count, NULL}, {0, token, 0, NULL}};
    kd_plan_options options = {.mask = mask, .reset = mask == KD_MASK_ANCHOR, .lead_bos = true, .bos = 256};
    kd_plan plan;
    assert_done(kd_plan_init(&plan, &options, piece, 2, chunk, 2));
    kd_config config = make_config("llama");
    kd_ctx *ctx;
    kd_model *model;
    const kd_plan *view = &plan;
    assert_done(kd_ctx_open(&ctx, 2));
    kd_model_options how = {.window = plan.T, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    assert_done(kd_model_open(&model, ctx, &config, &how));
    assert_done(kd_model_init(model, &config, 5));
    assert_done(kd_model_forward(model, &view, 1, 0));
    *V = config.V;
    float *out = malloc((size_t)(count * config.V) * sizeof *out);
    assert_done(kd_model_logits(model, out, plan.start[1] + (mask != KD_MASK_ANCHOR), count));
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
    kd_plan_free(&plan);
    return out;
}

static void neighbours_and_place_do_not_change_a_documents_logits(void **state) {
    (void)state;
    for (kd_mask mask = KD_MASK_DOCUMENT; mask <= KD_MASK_ANCHOR; mask++) {
        int64_t V;
        float *here = logits_of(mask, 3, 77, &V), *there = logits_of(mask, 141, 77, &V);
        assert_memory_equal(here, there, (size_t)(77 * V) * sizeof *here);
        free(here), free(there);
    }
}

static void a_window_of_another_length_is_refused(void **state) {
    (void)state;
    kd_config config = make_config("llama");
    kd_ctx *ctx;
    kd_model *model;
    kd_plan plan = make_plan(KD_MASK_FULL, 0);
    const kd_plan *view = &plan;
    assert_done(kd_ctx_open(&ctx, 1));
    kd_model_options how = {.window = T + 1, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    assert_done(kd_model_open(&model, ctx, &config, &how));
    assert_int_equal(kd_model_forward(model, &view, 1, 0), KD_EARG);
    assert_non_null(strstr(kd_message(), "300"));
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
    kd_plan_free(&plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_of_a_step_is_the_sum_of_its_windows),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(any_number_of_ranks_gives_the_same_bits),
        cmocka_unit_test(other_modes_give_the_losses_and_nearly_the_gradient),
        cmocka_unit_test(bf16_activations_are_bf16_numbers_and_not_for_training),
        cmocka_unit_test(any_number_of_windows_at_once_gives_the_same_bits),
        cmocka_unit_test(computing_layers_again_gives_the_same_bits),
        cmocka_unit_test(a_device_the_host_may_not_touch_gives_the_same_bits),
        cmocka_unit_test(inputs_of_layers_in_the_hosts_memory_give_the_same_bits),
        cmocka_unit_test(avx2_gives_the_bits_of_avx512),
        cmocka_unit_test(neighbours_and_place_do_not_change_a_documents_logits),
        cmocka_unit_test(a_window_of_another_length_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
