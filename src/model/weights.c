/* Weights in and out: Hugging Face folders, and the flat arrays of the optimizer in the same form. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "format/safetensors.h"
#include "model_state.h"

enum { PIECE = 1 << 20 };  /* floats staged on the host at once */

/* Files beside the weights that belong to the tokenizer or to generation: copied byte for byte. */
static const char *const companions[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
};

static kd_status check_shape(const kd_layout *layout, const kd_tensor *tensor, kd_param kind) {
    int64_t rank = layout->columns[kind] ? 2 : 1, want[2] = {layout->rows[kind], layout->columns[kind]};
    if (tensor->rank == rank && tensor->shape[0] == want[0] && (rank == 1 || tensor->shape[1] == want[1])) return KD_OK;
    char have[128] = "", need[64];
    for (int64_t i = 0, used = 0; i < tensor->rank; i++)
        used += snprintf(have + used, sizeof have - (size_t)used, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    if (rank == 2) snprintf(need, sizeof need, "%lld, %lld", (long long)want[0], (long long)want[1]);
    else snprintf(need, sizeof need, "%lld", (long long)want[0]);
    return kd_fail(KD_EFORMAT, "%s: tensor %s: its shape is [%s], config.json needs [%s]", tensor->path, tensor->name,
                   have, need);
}

static kd_status load_tensor(kd_model *m, float *to, const kd_tensor *tensor, float *stage) {
    for (int64_t i = 0; i < tensor->count; i += PIECE) {
        int64_t n = tensor->count - i < PIECE ? tensor->count - i : PIECE;
        KD_TRY(kd_tensor_read_f32(stage, tensor, i, n));
        KD_TRY(m->ctx->device->put(m->ctx, to + i, stage, n * (int64_t)sizeof *stage));
    }
    return KD_OK;
}

/* Tensors on disk that nobody asked for would be silently dropped weights. */
static kd_status check_strangers(const kd_model *m, const kd_tensors *tensors) {
    for (int64_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->tensor[i].name, *end = strstr(name, "rotary_emb.inv_freq");
        if ((end && !strcmp(end, "rotary_emb.inv_freq")) || (m->tied && !strcmp(name, "lm_head.weight"))) continue;
        bool known = false;
        for (int64_t k = 0; k < m->layout.tensors && !known; k++) {
            kd_param_place p = kd_layout_tensor(&m->layout, k);
            char want[128];
            kd_param_name(want, p.kind, p.layer, m->layout.layered[p.kind]);
            known = !strcmp(want, name);
        }
        if (!known) return kd_fail(KD_EFORMAT, "%s: unknown tensor %s", tensors->tensor[i].path, name);
    }
    return KD_OK;
}

/* Reads arrays[a] from tensors named <name><suffix[a]>. */
static kd_status load_arrays(kd_model *m, const kd_tensors *tensors, const char *where, float *const *array,
                             const char *const *suffix, int64_t arrays) {
    float *stage;
    KD_TRY(kd_new(&stage, PIECE, sizeof *stage));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < m->layout.tensors * arrays; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i % m->layout.tensors);
        int64_t a = i / m->layout.tensors;
        char name[128], full[160];
        kd_param_name(name, p.kind, p.layer, m->layout.layered[p.kind]);
        snprintf(full, sizeof full, "%s%s", name, suffix[a]);
        const kd_tensor *tensor = kd_tensors_find(tensors, full);
        if (!tensor) KD_GO(kd_fail(KD_EFORMAT, "%s: tensor %s is missing", where, full));
        KD_GO(check_shape(&m->layout, tensor, p.kind));
        KD_GO(load_tensor(m, array[a] + p.at, tensor, stage));
    }
done:
    free(stage);
    return status;
}

kd_status kd_model_load(kd_model *m, const char *folder) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open_folder(&tensors, folder));
    kd_status status = check_strangers(m, &tensors);
    if (!status) status = load_arrays(m, &tensors, folder, &m->w, &(const char *){""}, 1);
    kd_tensors_close(&tensors);
    return status;
}

kd_status kd_model_load_flat(kd_model *m, const char *path, float *const *array, const char *const *suffix,
                             int64_t arrays) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open(&tensors, path));
    kd_status status = load_arrays(m, &tensors, path, array, suffix, arrays);
    kd_tensors_close(&tensors);
    return status;
}

kd_status kd_model_save_flat(kd_model *m, const char *path, const float *const *array, const char *const *suffix,
                             int64_t arrays) {
    int64_t count = m->layout.tensors * arrays;
    kd_tensor_spec *spec = NULL;
    char (*name)[160] = NULL;
    float *stage = NULL;
    kd_tensors_writer writer = {0};
    bool open = false;
    kd_status status;
    KD_GO(kd_new(&spec, count, sizeof *spec));
    KD_GO(kd_new(&name, count, sizeof *name));
    KD_GO(kd_new(&stage, PIECE, sizeof *stage));
    for (int64_t i = 0; i < count; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i % m->layout.tensors);
        char plain[128];
        kd_param_name(plain, p.kind, p.layer, m->layout.layered[p.kind]);
        snprintf(name[i], sizeof name[i], "%s%s", plain, suffix[i / m->layout.tensors]);
        spec[i] = (kd_tensor_spec){name[i], KD_F32, m->layout.columns[p.kind] ? 2 : 1,
                                   {m->layout.rows[p.kind], m->layout.columns[p.kind]}};
    }
    KD_GO(kd_tensors_create(&writer, path, spec, count, NULL, 0));
    open = true;
    for (int64_t i = 0; i < count; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i % m->layout.tensors);
        for (int64_t at = 0; at < p.size; at += PIECE) {
            int64_t bytes = (p.size - at < PIECE ? p.size - at : PIECE) * (int64_t)sizeof *stage;
            KD_GO(m->ctx->device->get(m->ctx, stage, array[i / m->layout.tensors] + p.at + at, bytes));
            KD_GO(kd_tensors_put(&writer, stage, bytes));
        }
    }
    open = false;
    KD_GO(kd_tensors_finish(&writer));
done:
    if (status && open) kd_tensors_abandon(&writer);
    free(stage);
    free(name);
    free(spec);
    return status;
}

static kd_status save_config(const kd_config *config, const char *folder) {
    char *text = NULL, *path = kd_path_join(folder, "config.json");
    int64_t size;
    kd_status status = path ? kd_config_print(&text, &size, config, "float32") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_file_write(path, text, size);
    free(text);
    free(path);
    return status;
}

static kd_status copy_companion(const char *folder, const char *from, const char *name) {
    char *to = kd_path_join(folder, name), *source = kd_path_join(from, name);
    kd_status status = to && source ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    if (!status && kd_exists(source)) status = kd_copy_file(to, source);
    free(source);
    free(to);
    return status;
}

kd_status kd_model_save(kd_model *m, const kd_config *config, const char *folder, const char *from) {
    char *path = kd_path_join(folder, "model.safetensors");
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    const float *w = m->w;
    kd_status status = kd_model_save_flat(m, path, &w, &(const char *){""}, 1);
    free(path);
    if (!status) status = save_config(config, folder);
    for (size_t i = 0; i < sizeof companions / sizeof *companions && from && !status; i++)
        status = copy_companion(folder, from, companions[i]);
    return status;
}

typedef struct init_args { float *to; uint64_t seed; int64_t at, count; double range; float constant; bool random; } init_args;

enum { INIT_TASK = 1 << 14 };

static kd_status init_task(void *opaque, int64_t task, int64_t thread) {
    const init_args *a = opaque;
    (void)thread;
    int64_t end = (task + 1) * INIT_TASK < a->count ? (task + 1) * INIT_TASK : a->count;
    for (int64_t i = task * INIT_TASK; i < end; i++)
        a->to[i] = a->random ? (float)(a->range * kd_random_normal(a->seed, 0, (uint64_t)(a->at + i))) : a->constant;
    return KD_OK;
}

kd_status kd_model_init(kd_model *m, const kd_config *config, int64_t seed) {
    float *stage;
    KD_TRY(kd_new(&stage, PIECE, sizeof *stage));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < m->layout.tensors; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i);
        bool bias = p.kind == KD_P_Q_BIAS || p.kind == KD_P_K_BIAS || p.kind == KD_P_V_BIAS;
        for (int64_t at = 0; at < p.size; at += PIECE) {
            int64_t n = p.size - at < PIECE ? p.size - at : PIECE;
            init_args args = {stage, (uint64_t)seed, p.at + at, n, config->init_range, bias ? 0 : 1,
                              kd_param_is_matrix(&m->layout, p.kind)};
            KD_GO(kd_pool_run(m->ctx->pool, init_task, &args, (n + INIT_TASK - 1) / INIT_TASK));
            KD_GO(m->ctx->device->put(m->ctx, m->w + p.at + at, stage, n * (int64_t)sizeof *stage));
        }
    }
done:
    free(stage);
    return status;
}
