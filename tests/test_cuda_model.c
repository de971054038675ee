/* A model on a GPU: in float32 near the host's, in bf16 as near as bf16 is, the same bits from run to run; and what it refuses. */
#include <math.h>

#include "base/random.h"
#include "cuda_test.h"
#include "model/model_state.h"
#include "scratch.h"
#include "train/optimizer.h"

enum { T = 90, WINDOWS = 3, STEPS = 10 };

#define SCALE (1.0f / 150)  /* of the losses in a gradient: about a target each */

/* ---- a model ---------------------------------------------------------------------------------------------------------------- */

typedef struct shape { const char *arch; int64_t V; bool tied; int64_t leaves, micro; kd_recompute recompute; kd_mask mask; } shape;

/* Grouped heads; Qwen2 with biases; rows of logits that begin at odd places. */
static const shape shapes[] = {
    {"llama", 264, false, 1, 1, KD_RECOMPUTE_LAYER, KD_MASK_ANCHOR},
    {"llama", 261, true, 4, 2, KD_RECOMPUTE_NONE, KD_MASK_DOCUMENT},
    {"qwen2", 264, true, 4, 1, KD_RECOMPUTE_LAYER, KD_MASK_ANCHOR},
    {"qwen2", 263, false, 1, 2, KD_RECOMPUTE_NONE, KD_MASK_FULL},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static kd_config config_of(const shape *s) {
    char text[1024];
    kd_config config;
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, "
             "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": %lld, \"max_position_embeddings\": 128, "
             "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"initializer_range\": 0.1, \"tie_word_embeddings\": %s, \"torch_dtype\": \"float32\"}",
             s->arch, (long long)s->V, s->tied ? "true" : "false");
    gpu_done(kd_config_parse(&config, text, (int64_t)strlen(text), "config.json"));
    return config;
}

/* Documents of 1, 30, 17 and 3 tokens, and one that the window cuts. */
static kd_plan plan_of(kd_mask mask, uint64_t seed) {
    static const int64_t length[] = {1, 30, 17, 3, T};
    int32_t token[T];
    kd_piece piece[5];
    kd_chunk chunk[5];
    kd_plan_options options = {.mask = mask, .lead_bos = true, .bos = 256};
    int64_t used = 0, room = T - (mask == KD_MASK_ANCHOR), lead = mask != KD_MASK_ANCHOR, pieces = 0;
    for (int64_t t = 0; t < T; t++) token[t] = (int32_t)(kd_random_bits(seed, 0, (uint64_t)t) % 256);
    for (; room > 0; pieces++) {
        int64_t count = length[pieces] < room - lead ? length[pieces] : room - lead;
        piece[pieces] = (kd_piece){.next = token[used + count < T ? used + count : 0]};
        chunk[pieces] = (kd_chunk){pieces, token + used, count, NULL};
        used += count;
        room -= count + lead;
    }
    kd_plan plan;
    gpu_done(kd_plan_init(&plan, &options, piece, pieces, chunk, pieces));
    assert_int_equal(plan.T, T);
    return plan;
}

typedef struct model {
    kd_ctx *ctx;
    kd_config config;
    kd_model *model;
    kd_plan plan[WINDOWS];
    const kd_plan *view[WINDOWS];
    const shape *shape;
    int64_t count;
} model;

/* Weights that no vector of which is ones or zeros, so that every gradient depends on every weight. */
static void put_weights(model *m, bool rounded) {
    const kd_layout *layout = kd_model_layout(m->model);
    float *w = nn_floats(layout->count);
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        bool matrix = kd_param_is_matrix(layout, p.kind);
        bool norm = p.kind == KD_P_NORM || p.kind == KD_P_INPUT_NORM || p.kind == KD_P_POST_NORM;
        for (int64_t k = p.at; k < p.at + p.size; k++) {
            float x = (float)kd_random_normal(11, 0, (uint64_t)k);
            w[k] = matrix ? 0.1f * x : norm ? 1 + 0.2f * x : 0.3f * x;
            if (rounded) w[k] = gpu_as_stored(w[k], KD_VIEW_BF16);
        }
    }
    gpu_done(m->ctx->device->put(m->ctx, kd_model_weights(m->model), w, layout->count * (int64_t)sizeof *w));
    gpu_done(kd_model_weights_changed(m->model, false));
}

/* Takes the context; change: what is different from a model of the shape. */
static void open_model(model *m, kd_ctx *ctx, const shape *s, kd_model_options change, bool rounded) {
    *m = (model){.ctx = ctx, .config = config_of(s), .shape = s};
    kd_model_options o = change;
    o.window = T, o.windows = WINDOWS, o.micro = s->micro, o.leaves = s->leaves, o.frame = KD_FRAME_DOCUMENT, o.recompute = s->recompute;
    gpu_done(kd_model_open(&m->model, ctx, &m->config, &o));
    m->count = kd_model_layout(m->model)->count;
    put_weights(m, rounded);
    for (int64_t i = 0; i < WINDOWS; i++) m->plan[i] = plan_of(s->mask, (uint64_t)i), m->view[i] = &m->plan[i];
}

static const kd_model_options in_float32 = {.training = true};
static const kd_model_options in_bf16 = {.training = true, .weights = KD_VIEW_BF16, .activations = KD_VIEW_BF16,
                                         .precision = KD_PRECISION_F16_STORE};

static void close_model(model *m) {
    for (int64_t i = 0; i < WINDOWS; i++) kd_plan_free(&m->plan[i]);
    kd_model_close(m->model);
    kd_config_close(&m->config);
    kd_ctx_close(m->ctx);
}

static float *get_floats(model *m, const float *from, int64_t n) {
    float *x = nn_floats(n);
    gpu_done(m->ctx->device->get(m->ctx, x, from, n * (int64_t)sizeof *x));
    return x;
}

static void pass(model *m) {
    for (int64_t first = 0; first < WINDOWS; first += m->shape->micro) {
        int64_t n = WINDOWS - first < m->shape->micro ? WINDOWS - first : m->shape->micro;
        gpu_done(kd_model_forward(m->model, m->view + first, n, first));
        gpu_done(kd_model_backward(m->model, SCALE));
    }
    gpu_done(kd_model_gradient_finish(m->model, WINDOWS));
}

/* What a step computes, on the host. */
typedef struct made { double *loss; float *gradient; } made;

static made run(model *m) {
    made out = {.loss = nn_doubles(WINDOWS * T)};
    pass(m);
    out.gradient = get_floats(m, kd_model_gradient(m->model), m->count);
    gpu_done(m->ctx->device->get(m->ctx, out.loss, kd_model_losses(m->model), WINDOWS * T * (int64_t)sizeof *out.loss));
    return out;
}

static kd_ctx *open_host(void) { return nn_open(2); }

static made run_once(kd_ctx *ctx, const shape *s, kd_model_options options) {
    model m;
    open_model(&m, ctx, s, options, false);
    made out = run(&m);
    close_model(&m);
    return out;
}

/* ---- distances ------------------------------------------------------------------------------------------------------------------ */

/* |a - b| / |b| */
static double distance(const float *a, const float *b, int64_t n) {
    double difference = 0, all = 0;
    for (int64_t i = 0; i < n; i++) difference += pow((double)a[i] - b[i], 2), all += pow(b[i], 2);
    return sqrt(difference / all);
}

/* The largest of any tensor, and its name. */
static double worst_tensor(char name[128], const shape *s, const float *a, const float *b) {
    kd_config config = config_of(s);
    kd_layout layout;
    double worst = 0;
    gpu_done(kd_layout_init(&layout, &config));
    for (int64_t i = 0; i < layout.tensors; i++) {
        kd_param_place p = kd_layout_tensor(&layout, i);
        double d = distance(a + p.at, b + p.at, p.size);
        if (d <= worst && worst > 0) continue;
        worst = d;
        kd_param_name(name, p.kind, p.layer, layout.layered[p.kind]);
        if (isnan(d)) break;
    }
    kd_config_close(&config);
    return worst;
}

/* Root of the mean square of what losses differ by. */
static double loss_error(const double *a, const double *b) {
    double sum = 0;
    for (int64_t t = 0; t < WINDOWS * T; t++) sum += pow(a[t] - b[t], 2);
    return sqrt(sum / (WINDOWS * T));
}

/* ---- float32 -------------------------------------------------------------------------------------------------------------------- */

static void in_float32_it_is_near_the_host(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        char name[128] = "";
        made gpu = run_once(gpu_open(), &shapes[i], in_float32), host = run_once(open_host(), &shapes[i], in_float32);
        double loss = loss_error(gpu.loss, host.loss), worst = worst_tensor(name, &shapes[i], gpu.gradient, host.gradient);
        print_message("%s, shape %d: losses are off by %.2g, gradients by %.2g at most (%s)\n", shapes[i].arch, i, loss, worst, name);
        assert_true(loss < 1e-6);
        assert_true(worst < 1e-5);
        nn_drop();
    }
}

/* ---- bf16 ----------------------------------------------------------------------------------------------------------------------- */

/* This GPU's own kernels: neither an older one's nor the plain ones, which serve whatever nothing else does. */
static void attention_in_bf16_is_for_tensor_cores(void **state) {
    (void)state;
    model m;
    open_model(&m, gpu_open(), &shapes[0], in_bf16, false);
    m.model->plan = m.view;
    kd_attn a = kd_layer_attn(m.model, kd_acts(m.model, 0), 0);
    a.dout = a.dq = a.q, a.dk = a.dv = a.k;
    const kd_variant *forward = kd_op_choose(m.ctx, &kd_attn_forward_op, &a), *backward = kd_op_choose(m.ctx, &kd_attn_backward_op, &a);
    assert_true(forward && backward);
    print_message("forward %s, backward %s\n", forward->name, backward->name);
    assert_string_equal(forward->name, kd_isa_name(m.ctx->isa));
    assert_string_equal(backward->name, kd_isa_name(m.ctx->isa));
    close_model(&m);
    nn_drop();
}

/* Losses of a network that computes in float32 and rounds weights and every output to bf16: what bf16 costs a plain implementation. */
static double *naive_losses(const shape *s) {
    model m;
    open_model(&m, open_host(), s, (kd_model_options){.bf16_activations = true, .precision = KD_PRECISION_F16_STORE}, true);
    double *loss = nn_doubles(WINDOWS * T);
    for (int64_t i = 0; i < WINDOWS; i++) {
        gpu_done(kd_model_forward(m.model, m.view + i, 1, i));
        gpu_done(kd_model_loss(m.model));
    }
    gpu_done(m.ctx->device->get(m.ctx, loss, kd_model_losses(m.model), WINDOWS * T * (int64_t)sizeof *loss));
    close_model(&m);
    return loss;
}

static void in_bf16_it_is_as_near_as_bf16_is(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        char name[128] = "";
        made gpu = run_once(gpu_open(), &shapes[i], in_bf16), host = run_once(open_host(), &shapes[i], in_float32);
        double loss = loss_error(gpu.loss, host.loss), naive = loss_error(naive_losses(&shapes[i]), host.loss);
        double worst = worst_tensor(name, &shapes[i], gpu.gradient, host.gradient), all = 0, mean = 0;
        int64_t n = 0;
        for (int64_t t = 0; t < WINDOWS * T; t++) mean += gpu.loss[t] - host.loss[t], n += host.loss[t] != 0;
        kd_config config = config_of(&shapes[i]);
        kd_layout layout;
        gpu_done(kd_layout_init(&layout, &config));
        all = distance(gpu.gradient, host.gradient, layout.count);
        kd_config_close(&config);
        print_message("%s, shape %d: losses are off by %.2g (naive bf16: %.2g), their mean by %.2g, the gradient by %.2g, %s by %.2g\n",
                      shapes[i].arch, i, loss, naive, fabs(mean) / (double)n, all, name, worst);
        assert_true(loss > 0 && loss < 1.5 * naive);
        assert_true(fabs(mean) / (double)n < naive);
        assert_true(all < 3e-2);
        assert_true(worst < 6e-2);
        nn_drop();
    }
}

static void runs_give_the_same_bits(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const shape *s = &shapes[2];
        const kd_model_options *o = bf16 ? &in_bf16 : &in_float32;
        model m;
        open_model(&m, gpu_open(), s, *o, false);
        made first = run(&m), again = run(&m);
        int64_t n = m.count;
        close_model(&m);
        made other = run_once(gpu_open(), s, *o);
        nn_assert_same(again.loss, first.loss, WINDOWS * T * 8);
        nn_assert_same(again.gradient, first.gradient, n * 4);
        nn_assert_same(other.loss, first.loss, WINDOWS * T * 8);
        nn_assert_same(other.gradient, first.gradient, n * 4);
        nn_drop();
    }
}

/* Inputs of layers, and float32 weights beside bf16 ones, in the host's memory. */
static void what_lies_in_the_hosts_memory_changes_no_bit(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        kd_model_options o = bf16 ? in_bf16 : in_float32;
        made near = run_once(gpu_open(), &shapes[2], o);
        o.files = o.masters = KD_PLACE_HOST;
        model m;
        open_model(&m, gpu_open(), &shapes[2], o, false);
        assert_true(kd_model_memory_use(m.model).files > 0);
        made far = run(&m);
        nn_assert_same(far.loss, near.loss, WINDOWS * T * 8);
        nn_assert_same(far.gradient, near.gradient, m.count * 4);
        close_model(&m);
        nn_drop();
    }
}

/* ---- training --------------------------------------------------------------------------------------------------------------------- */

/* Mean losses of steps, the last of them after so many updates; the weights are left in the model. */
static void train(double loss[STEPS], model *m) {
    kd_optimizer optimizer;
    const kd_adamw adamw = {.lr = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    int64_t targets = 0;
    for (int64_t i = 0; i < WINDOWS; i++)
        for (int64_t t = 0; t < T; t++) targets += m->plan[i].target[t] >= 0;
    gpu_done(kd_optimizer_open(&optimizer, m->ctx, m->model, &(kd_optimizer_options){.coded = false}));
    for (int step = 0; step < STEPS; step++) {
        kd_step_sums sums;
        pass(m);
        gpu_done(kd_optimizer_step(&optimizer, &sums, m->model, &adamw, WINDOWS * T));
        assert_int_equal(sums.finite, 1);
        loss[step] = sums.loss / (double)targets;
    }
    kd_optimizer_close(&optimizer);
}

static void train_once(double loss[STEPS], kd_ctx *ctx, const shape *s, kd_model_options options) {
    model m;
    open_model(&m, ctx, s, options, false);
    train(loss, &m);
    if (m.model->w16) {  /* the copies that operations read are the weights, rounded */
        float *w = get_floats(&m, kd_model_weights(m.model), m.count);
        uint16_t *copy = nn_take(m.count * 2);
        gpu_done(ctx->device->get(ctx, copy, m.model->w16, m.count * 2));
        for (int64_t i = 0; i < m.count; i++) assert_int_equal(copy[i], kd_bf16_round(w[i]));
    }
    close_model(&m);
    nn_drop();
}

static void loss_curves_are_the_hosts(void **state) {
    (void)state;
    for (int i = 0; i < SHAPES; i += 2) {
        double host[STEPS], gpu[STEPS], bf16[STEPS];
        kd_ctx *ctx = gpu_open();
        train_once(host, open_host(), &shapes[i], in_float32);
        train_once(gpu, ctx, &shapes[i], in_float32);
        train_once(bf16, gpu_open(), &shapes[i], in_bf16);
        assert_true(host[STEPS - 1] < host[0] - 0.5);
        for (int step = 0; step < STEPS; step++) {
            print_message("%s, step %d: %.4f, the host %.4f, in bf16 %.4f\n", shapes[i].arch, step, gpu[step], host[step], bf16[step]);
            assert_true(fabs(gpu[step] - host[step]) < 1e-4);
            assert_true(fabs(bf16[step] - host[step]) < 2e-2);
        }
    }
}

/* ---- weights and logits ------------------------------------------------------------------------------------------------------------ */

static void what_is_saved_are_the_float32_weights(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const char *folder = in_scratch(bf16 ? "bf16" : "f32");
        model m;
        open_model(&m, gpu_open(), &shapes[2], bf16 ? in_bf16 : in_float32, false);
        gpu_done(kd_make_folders(folder));
        gpu_done(kd_model_save(m.model, &m.config, folder, NULL, NULL));
        float *w = get_floats(&m, kd_model_weights(m.model), m.count);
        model host;
        open_model(&host, open_host(), &shapes[2], (kd_model_options){0}, false);
        gpu_done(kd_model_init(host.model, &host.config, 3));
        gpu_done(kd_model_load(host.model, folder));
        nn_assert_same(kd_model_weights(host.model), w, m.count * 4);

        /* Read back on the GPU, the copies are made again. */
        made before = run(&m);
        gpu_done(kd_model_init(m.model, &m.config, 3));
        gpu_done(kd_model_load(m.model, folder));
        made after = run(&m);
        nn_assert_same(after.loss, before.loss, WINDOWS * T * 8);
        nn_assert_same(after.gradient, before.gradient, m.count * 4);
        close_model(&host);
        close_model(&m);
        nn_drop();
    }
}

static void logits_come_in_blocks(void **state) {
    (void)state;
    const shape *s = &shapes[3];
    model gpu, host;
    open_model(&gpu, gpu_open(), s, in_float32, false);
    open_model(&host, open_host(), s, in_float32, false);
    float *a = nn_floats(2 * T * s->V), *b = nn_floats(2 * T * s->V);
    model *both[] = {&gpu, &host};
    for (int i = 0; i < 2; i++) {
        gpu_done(kd_model_forward(both[i]->model, both[i]->view, 2, 0));
        gpu_done(kd_model_logits(both[i]->model, i ? b : a, 7, 2 * T - 9));
    }
    assert_true(distance(a, b, (2 * T - 9) * s->V) < 1e-5);
    close_model(&gpu);
    close_model(&host);
    nn_drop();
}

/* ---- refused ------------------------------------------------------------------------------------------------------------------------- */

static void a_token_outside_the_vocabulary_is_named(void **state) {
    (void)state;
    model m;
    open_model(&m, gpu_open(), &shapes[0], in_float32, false);
    int32_t kept = m.plan[1].token[40];
    m.plan[1].token[40] = (int32_t)shapes[0].V;
    assert_fails(kd_model_forward(m.model, m.view + 1, 1, 0), KD_EARG, "embedding forward: token 264 at 40 is outside 0..263");
    m.plan[1].token[40] = kept;
    m.plan[1].target[40] = -2;
    assert_fails(kd_model_forward(m.model, m.view + 1, 1, 0), KD_EARG, "cross entropy: token -2 at 40");
    close_model(&m);
    nn_drop();
}

static void bf16_needs_a_gpu_and_both_types(void **state) {
    (void)state;
    const shape *s = &shapes[0];
    kd_ctx *ctx = open_host();
    kd_config config = config_of(s);
    kd_model *none;
    kd_model_options o = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .training = true};
    o.weights = o.activations = KD_VIEW_BF16;
    assert_fails(kd_model_open(&none, ctx, &config, &o), KD_ENOTSUP, "bf16 weights and activations need device: cuda");
    o.weights = KD_VIEW_F32;
    assert_fails(kd_model_open(&none, ctx, &config, &o), KD_ENOTSUP, "weights in f32 with activations in bf16");
    o.weights = o.activations = KD_VIEW_F16;
    assert_fails(kd_model_open(&none, ctx, &config, &o), KD_ENOTSUP, "f16");
    kd_config_close(&config);
    kd_ctx_close(ctx);
}

/* Files are memory of the host. */
static void a_gpu_computes_from_no_files(void **state) {
    (void)state;
    kd_ctx *ctx = gpu_open();
    kd_config config = config_of(&shapes[0]);
    kd_model *none;
    const kd_model_options o = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .training = true, .files = scratch};
    assert_fails(kd_model_open(&none, ctx, &config, &o), KD_ENOTSUP, "memory of device cuda does not lie in files");
    kd_config_close(&config);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_needs_a_gpu_and_both_types),
        cmocka_unit_test(in_float32_it_is_near_the_host),
        cmocka_unit_test(attention_in_bf16_is_for_tensor_cores),
        cmocka_unit_test(in_bf16_it_is_as_near_as_bf16_is),
        cmocka_unit_test(runs_give_the_same_bits),
        cmocka_unit_test(what_lies_in_the_hosts_memory_changes_no_bit),
        cmocka_unit_test(loss_curves_are_the_hosts),
        cmocka_unit_test(what_is_saved_are_the_float32_weights),
        cmocka_unit_test(logits_come_in_blocks),
        cmocka_unit_test(a_token_outside_the_vocabulary_is_named),
        cmocka_unit_test(a_gpu_computes_from_no_files),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
