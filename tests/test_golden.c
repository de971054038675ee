/* Parity with Hugging Face transformers in float32, on the files of tools/gen_golden.py: logits, loss, every gradient, ten
 * AdamW steps, and packed windows with every mask. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "format/safetensors.h"
#include "train/optimizer.h"

static const char *const folders[] = {"llama-plain", "llama-grouped", "llama-linear", "qwen2", "mistral",
                                      "rope-dynamic", "rope-yarn", "rope-longrope"};
static const char *const packed_folders[] = {"llama-grouped", "qwen2", "rope-yarn"};
static const char *const packed_masks[] = {"document", "reset", "interleaved", "anchor", "anchor_reset", "anchor_tag",
                                           "anchor_interleaved"};

typedef struct fixture {
    kd_ctx *ctx;
    kd_config config;
    kd_model *model;
    kd_tensors expected;
} fixture;

static void open_fixture(fixture *f, const char *name, const char *expected, const kd_device *device, int64_t T,
                         kd_recompute recompute, kd_frame frame) {
    char path[256];
    *f = (fixture){0};
    snprintf(path, sizeof path, "tests/golden/%s", name);
    assert_done(kd_ctx_open_on(&f->ctx, device, 2));
    assert_done(kd_config_open(&f->config, path));
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 8, .frame = frame, .recompute = recompute, .training = true};
    assert_done(kd_model_open(&f->model, f->ctx, &f->config, &options));
    assert_done(kd_model_load(f->model, path));
    snprintf(path, sizeof path, "tests/golden/%s/%s", name, expected);
    assert_done(kd_tensors_open(&f->expected, path));
}

static void close_fixture(fixture *f) {
    kd_tensors_close(&f->expected);
    kd_model_close(f->model);
    kd_config_close(&f->config);
    kd_ctx_close(f->ctx);
}

static const kd_tensor *want(const fixture *f, const char *name) {
    const kd_tensor *tensor = kd_tensors_find(&f->expected, name);
    if (!tensor) fail_msg("golden tensor %s is missing", name);
    return tensor;
}

static int32_t *ids(const fixture *f, const char *name, int64_t *count) {
    const kd_tensor *tensor = want(f, name);
    int64_t *wide = malloc((size_t)tensor->count * sizeof *wide);
    int32_t *id = malloc((size_t)tensor->count * sizeof *id);
    assert_done(kd_tensor_read_i64(wide, tensor, 0, tensor->count));
    for (int64_t i = 0; i < tensor->count; i++) id[i] = (int32_t)wide[i];
    free(wide);
    *count = tensor->count;
    return id;
}

static double number(const fixture *f, const char *name, int64_t i) {
    double value;
    const kd_tensor *tensor = want(f, name);
    assert_int_equal(tensor->dtype, KD_F64);
    assert_done(kd_tensor_read(&value, tensor, i, 1));
    return value;
}

static float *floats(const kd_tensor *tensor) {
    float *x = malloc((size_t)tensor->count * sizeof *x);
    assert_done(kd_tensor_read_f32(x, tensor, 0, tensor->count));
    return x;
}

/* max|difference| / max|expected| of all logits; row order[t] of the expected is the model's token t. */
static double logit_error(fixture *f, const char *name, int64_t T, const int64_t *order) {
    int64_t V = f->config.V;
    float *expected = floats(want(f, name)), *row = malloc((size_t)(KD_BLOCK * V) * sizeof *row);
    double worst = 0, most = 0;
    for (int64_t t = 0; t < T; t += KD_BLOCK) {
        int64_t n = T - t < KD_BLOCK ? T - t : KD_BLOCK;
        assert_done(kd_model_logits(f->model, row, t, n));
        for (int64_t i = 0; i < n * V; i++) {
            double e = expected[(order ? order[t + i / V] : t + i / V) * V + i % V];
            worst = fmax(worst, fabs(row[i] - e));
            most = fmax(most, fabs(e));
        }
    }
    free(row);
    free(expected);
    return worst / most;
}

/* |d|/|g| of the gradient named `prefix` + the tensor's name, over all that the file holds; returns how many. */
static int64_t gradient_errors(fixture *f, const char *prefix, double *worst) {
    const kd_layout *layout = kd_model_layout(f->model);
    int64_t seen = 0;
    *worst = 0;
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        char name[128], full[256];
        kd_param_name(name, p.kind, p.layer, layout->layered[p.kind]);
        snprintf(full, sizeof full, "%s%s", prefix, name);
        const kd_tensor *tensor = kd_tensors_find(&f->expected, full);
        if (!tensor) continue;
        assert_int_equal(tensor->count, p.size);
        float *expected = floats(tensor), *g = malloc((size_t)p.size * sizeof *g);
        assert_done(f->ctx->device->get(f->ctx, g, kd_model_gradient(f->model) + p.at, p.size * (int64_t)sizeof *g));
        double d = 0, n = 0;
        for (int64_t k = 0; k < p.size; k++) d += pow(g[k] - expected[k], 2), n += pow(expected[k], 2);
        if (!(sqrt(d) <= 1e-4 * sqrt(n))) fail_msg("%s: |d|/|g| is %g", full, sqrt(d / n));
        *worst = fmax(*worst, sqrt(d / n));
        free(g);
        free(expected);
        seen++;
    }
    return seen;
}

static double mean_loss(fixture *f, const kd_plan *plan) {
    double *loss = malloc((size_t)plan->T * sizeof *loss), sum = 0, targets = 0;
    assert_done(f->ctx->device->get(f->ctx, loss, kd_model_losses(f->model), plan->T * (int64_t)sizeof *loss));
    for (int64_t t = 0; t < plan->T; t++)
        if (plan->target[t] >= 0) sum += loss[t], targets++;
    free(loss);
    return sum / targets;
}

static float scale_of(const kd_plan *plan) {
    int64_t targets = 0;
    for (int64_t t = 0; t < plan->T; t++) targets += plan->target[t] >= 0;
    return 1 / (float)targets;
}

static kd_plan plain_plan(const fixture *f) {
    int64_t T, n;
    int32_t *token = ids(f, "tokens", &T), *target = ids(f, "targets", &n);
    kd_plan plan;
    kd_chunk chunk = {0, token, T, NULL};
    kd_piece piece = {.next = -1};
    assert_done(kd_plan_init(&plan, &(kd_plan_options){.mask = KD_MASK_FULL}, &piece, 1, &chunk, 1));
    memcpy(plan.target, target, (size_t)T * sizeof *target);
    free(target);
    free(token);
    return plan;
}

static int64_t golden_T(const char *name, const char *file, const char *tensor) {
    char path[256];
    kd_tensors expected;
    snprintf(path, sizeof path, "tests/golden/%s/%s", name, file);
    assert_done(kd_tensors_open(&expected, path));
    int64_t T = kd_tensors_find(&expected, tensor)->count;
    kd_tensors_close(&expected);
    return T;
}

static void check_plain(const char *name, const kd_device *device, kd_recompute recompute) {
    fixture f;
    open_fixture(&f, name, "expected.safetensors", device, golden_T(name, "expected.safetensors", "tokens"), recompute,
                 KD_FRAME_WINDOW);
    kd_plan plan = plain_plan(&f);
    const kd_plan *one = &plan;
    double worst;
    assert_done(kd_model_forward(f.model, &one, 1, 0));
    double logits = logit_error(&f, "logits", plan.T, NULL);
    assert_done(kd_model_backward(f.model, scale_of(&plan)));
    assert_done(kd_model_gradient_finish(f.model, 1));
    double loss = fabs(mean_loss(&f, &plan) - number(&f, "loss", 0));
    int64_t seen = gradient_errors(&f, "grad.", &worst);
    print_message("%-14s %-5s logits %.1e  loss %.1e  gradients %.1e\n", name, device->name, logits, loss, worst);
    assert_true(logits <= 2e-5);
    assert_true(loss <= 1e-6);
    assert_int_equal(seen, kd_model_layout(f.model)->tensors);
    kd_plan_free(&plan);
    close_fixture(&f);
}

static void logits_loss_and_gradients_agree_with_transformers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) check_plain(folders[i], &kd_device_host, KD_RECOMPUTE_NONE);
}

static void the_same_holds_when_layers_are_computed_again(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) check_plain(folders[i], &kd_device_host, KD_RECOMPUTE_LAYER);
}

static void the_same_holds_where_the_host_may_not_touch_the_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) check_plain(folders[i], &kd_device_guard, KD_RECOMPUTE_LAYER);
}

static void ten_adamw_steps_agree_with_torch(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        fixture f;
        open_fixture(&f, folders[i], "expected.safetensors", &kd_device_host,
                     golden_T(folders[i], "expected.safetensors", "tokens"), KD_RECOMPUTE_LAYER, KD_FRAME_WINDOW);
        kd_plan plan = plain_plan(&f);
        const kd_plan *one = &plan;
        kd_optimizer optimizer;
        kd_adamw adamw = {1e-3, 0.9, 0.95, 1e-8, 0.1, 1.0, 0};
        double worst = 0, worst_norm = 0;
        assert_done(kd_optimizer_open(&optimizer, f.ctx, f.model, &(kd_optimizer_options){0}));
        for (int64_t step = 0; step < 10; step++) {
            kd_step_sums sums;
            assert_done(kd_model_forward(f.model, &one, 1, 0));
            assert_done(kd_model_backward(f.model, scale_of(&plan)));
            assert_done(kd_model_gradient_finish(f.model, 1));
            assert_done(kd_optimizer_step(&optimizer, &sums, f.model, &adamw, plan.T));
            double loss = sums.loss * scale_of(&plan), norm = number(&f, "adamw_grad_norms", step);
            worst = fmax(worst, fabs(loss - number(&f, "adamw_losses", step)));
            worst_norm = fmax(worst_norm, fabs(sums.grad_norm - norm) / norm);
        }
        print_message("%-14s ten losses %.1e  norms %.1e\n", folders[i], worst, worst_norm);
        assert_true(worst <= 1e-5);
        assert_true(worst_norm <= 1e-5);
        kd_optimizer_close(&optimizer);
        kd_plan_free(&plan);
        close_fixture(&f);
    }
}

/* A window of the golden file rebuilt as pieces and chunks; order[] is the window index of each stored token. */
typedef struct window {
    int64_t T, pieces, chunks, order[512];
    kd_piece piece[16];
    kd_chunk chunk[64];
    int32_t tag[16][8], *tokens, *targets, *positions, *document, *role;
} window;

static int32_t *field(const fixture *f, const char *mask, const char *what, int64_t *T) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", mask, what);
    return ids(f, name, T);
}

static void read_window(window *w, const fixture *f, const char *mask) {
    *w = (window){0};
    w->tokens = field(f, mask, "tokens", &w->T);
    w->targets = field(f, mask, "targets", &w->T);
    w->positions = field(f, mask, "positions", &w->T);
    w->document = field(f, mask, "document", &w->T);
    w->role = field(f, mask, "role", &w->T);
    for (int64_t t = 0; t < w->T; t++) {
        int64_t n = w->document[t];
        if (n < 0) continue;
        if (n >= w->pieces) w->pieces = n + 1;
        w->piece[n].tag = w->tag[n];
        if (w->role[t] == 1) w->tag[n][w->piece[n].tag_count++] = w->tokens[t];
        if (w->role[t] != 2) continue;
        w->piece[n].next = w->targets[t];  /* the last one stays */
        if (t && w->role[t - 1] == 2 && w->document[t - 1] == n) w->chunk[w->chunks - 1].count++;
        else w->chunk[w->chunks++] = (kd_chunk){n, w->tokens + t, 1, NULL};
    }
    int64_t to = 0;
    for (int64_t n = -1; n < w->pieces; n++)
        for (int64_t t = 0; t < w->T; t++)
            if (w->document[t] == n) w->order[to++] = t;
}

static void free_window(window *w) {
    free(w->tokens), free(w->targets), free(w->positions), free(w->document), free(w->role);
}

static void check_packed(const char *folder, const char *mask, kd_frame frame) {
    fixture f;
    char name[128];
    window w;
    snprintf(name, sizeof name, "%s.tokens", mask);
    open_fixture(&f, folder, "expected_packed.safetensors", &kd_device_host,
                 golden_T(folder, "expected_packed.safetensors", name), KD_RECOMPUTE_LAYER, frame);
    read_window(&w, &f, mask);
    bool anchor = !strncmp(mask, "anchor", 6);
    kd_plan_options options = {.mask = anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT, .reset = strstr(mask, "reset") != NULL,
                               .lead_bos = !anchor, .bos = w.tokens[0]};
    kd_plan plan;
    assert_done(kd_plan_init(&plan, &options, w.piece, w.pieces, w.chunk, w.chunks));
    assert_int_equal(plan.T, w.T);
    for (int64_t t = 0; t < w.T; t++) {
        assert_int_equal(plan.token[t], w.tokens[w.order[t]]);
        assert_int_equal(plan.position[t], w.positions[w.order[t]]);
        assert_int_equal(plan.target[t], w.targets[w.order[t]]);
    }
    const kd_plan *one = &plan;
    double worst;
    assert_done(kd_model_forward(f.model, &one, 1, 0));
    snprintf(name, sizeof name, "%s.logits", mask);
    double logits = logit_error(&f, name, plan.T, w.order);
    assert_done(kd_model_backward(f.model, scale_of(&plan)));
    assert_done(kd_model_gradient_finish(f.model, 1));
    snprintf(name, sizeof name, "%s.loss", mask);
    double loss = fabs(mean_loss(&f, &plan) - number(&f, name, 0));
    snprintf(name, sizeof name, "%s.grad.", mask);
    int64_t seen = gradient_errors(&f, name, &worst);
    print_message("%-14s %-18s %-8s logits %.1e  loss %.1e  gradients %.1e\n", folder, mask,
                  frame == KD_FRAME_WINDOW ? "window" : "document", logits, loss, worst);
    assert_true(logits <= 2e-5);
    assert_true(loss <= 1e-6);
    assert_int_equal(seen, 3);
    kd_plan_free(&plan);
    free_window(&w);
    close_fixture(&f);
}

static void check_every_mask(kd_frame frame) {
    for (size_t i = 0; i < sizeof packed_folders / sizeof *packed_folders; i++)
        for (size_t k = 0; k < sizeof packed_masks / sizeof *packed_masks; k++)
            check_packed(packed_folders[i], packed_masks[k], frame);
}

static void packed_windows_agree_with_every_mask(void **state) {
    (void)state;
    check_every_mask(KD_FRAME_WINDOW);
}

static void they_agree_too_when_rotated_by_document(void **state) {
    (void)state;
    check_every_mask(KD_FRAME_DOCUMENT);
}

/* Two libraries' powf: a unit in the last place. */
static void check_frequencies(const char *what, const kd_rope_config *rope, int64_t E, int64_t length, const double *expected) {
    double inv_freq[KD_ROPE_PAIRS], worst = 0;
    int64_t same = 0;
    kd_rope_frequencies(inv_freq, rope, E, length);
    for (int64_t e = 0; e < E / 2; e++) {
        double off = fabs(inv_freq[e] - expected[e]) / expected[e];
        worst = fmax(worst, off);
        same += off == 0;
        if (!(off <= 1.2e-7)) fail_msg("%s: pair %lld: %.9g, transformers has %.9g", what, (long long)e, inv_freq[e], expected[e]);
    }
    print_message("%-14s length %6lld: %3lld of %3lld the same, worst %.1e\n", what, (long long)length, (long long)same,
                  (long long)E / 2, worst);
}

static void every_rope_type_has_the_frequencies_of_transformers_at_every_length(void **state) {
    (void)state;
    json_t *list, *row;
    size_t i;
    bool seen[KD_ROPE_TYPES] = {[KD_ROPE_NTK] = true};  /* config.json has no such type */
    assert_done(kd_json_load(&list, "tests/golden/rope_frequencies.json"));
    json_array_foreach(list, i, row) {
        const json_t *config = json_object_get(row, "config"), *frequencies = json_object_get(row, "inv_freq");
        int64_t E, length;
        double expected[KD_ROPE_PAIRS], factor = json_number_value(json_object_get(row, "attention_factor"));
        kd_rope_config rope;
        assert_done(kd_json_int(&E, row, "head", "row"));
        assert_done(kd_json_int(&length, row, "length", "row"));
        assert_done(kd_rope_parse(&rope, config, E, json_integer_value(json_object_get(config, "max_position_embeddings")), "row"));
        for (int64_t e = 0; e < E / 2; e++) expected[e] = (float)json_number_value(json_array_get(frequencies, (size_t)e));
        check_frequencies(kd_rope_type_name(rope.type), &rope, E, length, expected);
        if (!(fabs(kd_rope_attention_factor(&rope) - factor) <= 1e-15 * factor))
            fail_msg("%s: attention factor %.17g, not %.17g", kd_rope_type_name(rope.type), kd_rope_attention_factor(&rope), factor);
        seen[rope.type] = true;
    }
    for (int type = 0; type < KD_ROPE_TYPES; type++) assert_true(seen[type]);
    json_decref(list);
}

static void inverse_frequencies_are_those_of_transformers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[256];
        kd_config config;
        kd_tensors expected;
        double want_freq[KD_ROPE_PAIRS];
        snprintf(path, sizeof path, "tests/golden/%s", folders[i]);
        assert_done(kd_config_open(&config, path));
        snprintf(path, sizeof path, "tests/golden/%s/expected.safetensors", folders[i]);
        assert_done(kd_tensors_open(&expected, path));
        float *expected_freq = floats(kd_tensors_find(&expected, "inv_freq"));
        for (int64_t e = 0; e < config.E / 2; e++) want_freq[e] = expected_freq[e];
        check_frequencies(folders[i], &config.rope, config.E, kd_tensors_find(&expected, "tokens")->count, want_freq);
        free(expected_freq);
        kd_tensors_close(&expected);
        kd_config_close(&config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rope_type_has_the_frequencies_of_transformers_at_every_length),
        cmocka_unit_test(inverse_frequencies_are_those_of_transformers),
        cmocka_unit_test(logits_loss_and_gradients_agree_with_transformers),
        cmocka_unit_test(the_same_holds_when_layers_are_computed_again),
        cmocka_unit_test(the_same_holds_where_the_host_may_not_touch_the_memory),
        cmocka_unit_test(ten_adamw_steps_agree_with_torch),
        cmocka_unit_test(packed_windows_agree_with_every_mask),
        cmocka_unit_test(they_agree_too_when_rotated_by_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
