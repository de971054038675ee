/* Weights in: Hugging Face folders, the flat arrays of the optimizer in the same form, and fresh ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "weights.h"

kd_status kd_weights_check_shape(const kd_layout *layout, const kd_tensor *tensor, kd_param kind) {
    int64_t rank = layout->columns[kind] ? 2 : 1, want[2] = {layout->rows[kind], layout->columns[kind]};
    if (tensor->rank == rank && tensor->shape[0] == want[0] && (rank == 1 || tensor->shape[1] == want[1])) return KD_OK;
    char have[KD_RANK * 24] = "", need[64];
    for (int64_t i = 0, used = 0; i < tensor->rank; i++)
        used += snprintf(have + used, sizeof have - (size_t)used, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    if (rank == 2) snprintf(need, sizeof need, "%lld, %lld", (long long)want[0], (long long)want[1]);
    else snprintf(need, sizeof need, "%lld", (long long)want[0]);
    return kd_fail(KD_EFORMAT, "%s: tensor %s: its shape is [%s], config.json needs [%s]", tensor->path, tensor->name,
                   have, need);
}

kd_status kd_weights_read(kd_model *m, float *to, const kd_tensor *tensor, int64_t from, int64_t count, float *stage) {
    for (int64_t i = 0; i < count; i += KD_PIECE) {
        int64_t n = count - i < KD_PIECE ? count - i : KD_PIECE;
        KD_TRY(kd_tensor_read_f32(stage, tensor, from + i, n));
        KD_TRY(m->ctx->device->put(m->ctx, to + i, stage, n * (int64_t)sizeof *stage));
    }
    return KD_OK;
}

kd_status kd_weights_check_strangers(const kd_layout *layout, bool tied, const kd_tensors *tensors) {
    bool *known;
    KD_TRY(kd_new(&known, tensors->count, sizeof *known));
    for (int64_t k = 0; k < layout->tensors; k++) {
        kd_param_place p = kd_layout_tensor(layout, k);
        char name[128];
        kd_param_name(name, p.kind, p.layer, layout->layered[p.kind]);
        const kd_tensor *tensor = kd_tensors_find(tensors, name);
        if (tensor) known[tensor - tensors->tensor] = true;
    }
    kd_status status = KD_OK;
    for (int64_t i = 0; i < tensors->count && !status; i++) {
        const char *name = tensors->tensor[i].name, *end = strstr(name, "rotary_emb.inv_freq");
        if (known[i] || (end && !strcmp(end, "rotary_emb.inv_freq")) || (tied && !strcmp(name, "lm_head.weight"))) continue;
        status = kd_fail(KD_EFORMAT, "%s: unknown tensor %s", tensors->tensor[i].path, name);
    }
    free(known);
    return status;
}

/* What of a tensor an array holds, and where: all of it, or what this rank owns. */
static kd_slice slice_of(const kd_model *m, const kd_param_place *p, bool owned) {
    return owned ? kd_parts_tensor(&m->own, p) : (kd_slice){p->at, p->size, p->at};
}

/* n numbers of a tensor to an array in 8 bits, which is `to`; stage [KD_PIECE]. */
static kd_status read_coded(kd_model *m, kd_coded to, bool is_signed, const kd_tensor *tensor, int64_t count, float *stage) {
    float scale[KD_PIECE / KD_CODED_BLOCK];
    uint8_t *code;
    KD_TRY(kd_new(&code, KD_PIECE, 1));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < count && !status; i += KD_PIECE) {
        int64_t n = count - i < KD_PIECE ? count - i : KD_PIECE, blocks = (n + KD_CODED_BLOCK - 1) / KD_CODED_BLOCK;
        KD_GO(kd_tensor_read_f32(stage, tensor, i, n));
        kd_coded_narrow((kd_coded){code, scale}, stage, is_signed, n);
        KD_GO(m->ctx->device->put(m->ctx, to.code + i, code, n));
        KD_GO(m->ctx->device->put(m->ctx, to.scale + i / KD_CODED_BLOCK, scale, blocks * (int64_t)sizeof *scale));
    }
done:
    free(code);
    return status;
}

/* Reads arrays[a], of everything or of what this rank owns, from tensors named <name><suffix[a]>. */
static kd_status load_arrays(kd_model *m, const kd_tensors *tensors, const char *where, const kd_owned *array,
                             const char *const *suffix, int64_t arrays, bool owned) {
    float *stage;
    KD_TRY(kd_new(&stage, KD_PIECE, sizeof *stage));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < m->layout.tensors * arrays; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i % m->layout.tensors);
        int64_t a = i / m->layout.tensors;
        char name[128], full[160];
        kd_param_name(name, p.kind, p.layer, m->layout.layered[p.kind]);
        snprintf(full, sizeof full, "%s%s", name, suffix[a]);
        const kd_tensor *tensor = kd_tensors_find(tensors, full);
        if (!tensor) KD_GO(kd_fail(KD_EFORMAT, "%s: tensor %s is missing", where, full));
        KD_GO(kd_weights_check_shape(&m->layout, tensor, p.kind));
        kd_slice s = slice_of(m, &p, owned);
        if (!array[a].f32) KD_GO(read_coded(m, kd_owned_tensor(array[a].coded, i % m->layout.tensors, s.own), array[a].is_signed, tensor, s.count, stage));
        else KD_GO(kd_weights_read(m, array[a].f32 + s.own, tensor, s.at - p.at, s.count, stage));
    }
done:
    free(stage);
    return status;
}

kd_status kd_model_load(kd_model *m, const char *folder) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open_folder(&tensors, folder));
    kd_status status = kd_weights_check_strangers(&m->layout, m->tied, &tensors);
    if (!status) status = load_arrays(m, &tensors, folder, &(kd_owned){.f32 = m->w}, &(const char *){""}, 1, m->zero >= 3);
    kd_tensors_close(&tensors);
    kd_weights_forget(m);
    return status ? status : kd_weights_round(m);
}

kd_status kd_model_load_owned(kd_model *m, const char *folder, const char *stem, const kd_owned *array, const char *const *suffix,
                              int64_t arrays) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open_stem(&tensors, folder, stem));
    kd_status status = load_arrays(m, &tensors, folder, array, suffix, arrays, true);
    kd_tensors_close(&tensors);
    return status;
}

float kd_fresh_weight(const kd_fresh *fresh, kd_param kind, int64_t columns, int64_t at) {
    if (fresh->kaiming && kind != KD_P_EMBED)
        return (float)((2 * kd_random_uniform(fresh->seed, 0, (uint64_t)at) - 1) / sqrt((double)columns));
    return (float)((fresh->kaiming ? 1 : fresh->range) * kd_random_normal(fresh->seed, 0, (uint64_t)at));
}

typedef struct draw_args {
    float *to;
    const kd_fresh *fresh;
    kd_param kind;
    int64_t at, count, columns;
    float constant;
} draw_args;

enum { DRAW_TASK = 1 << 14 };

static kd_status draw_task(void *opaque, int64_t task, int64_t thread) {
    const draw_args *a = opaque;
    (void)thread;
    int64_t end = (task + 1) * DRAW_TASK < a->count ? (task + 1) * DRAW_TASK : a->count;
    for (int64_t i = task * DRAW_TASK; i < end; i++)
        a->to[i] = a->columns ? kd_fresh_weight(a->fresh, a->kind, a->columns, a->at + i) : a->constant;
    return KD_OK;
}

kd_status kd_weights_draw(kd_model *m, float *to, const kd_layout *layout, const kd_param_place *p, const kd_fresh *fresh,
                          float *stage) {
    bool bias = p->kind == KD_P_Q_BIAS || p->kind == KD_P_K_BIAS || p->kind == KD_P_V_BIAS;
    for (int64_t at = 0; at < p->size; at += KD_PIECE) {
        int64_t n = p->size - at < KD_PIECE ? p->size - at : KD_PIECE;
        draw_args args = {stage, fresh, p->kind, p->at + at, n, layout->columns[p->kind], bias ? 0 : 1};
        KD_TRY(kd_pool_run(m->ctx->pool, draw_task, &args, (n + DRAW_TASK - 1) / DRAW_TASK));
        KD_TRY(m->ctx->device->put(m->ctx, to + at, stage, n * (int64_t)sizeof *stage));
    }
    return KD_OK;
}

kd_status kd_model_init(kd_model *m, const kd_config *config, int64_t seed) {
    const kd_fresh fresh = {.range = config->init_range, .seed = (uint64_t)seed};
    float *stage;
    KD_TRY(kd_new(&stage, KD_PIECE, sizeof *stage));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < m->layout.tensors && !status; i++) {
        kd_param_place p = kd_layout_tensor(&m->layout, i);
        kd_slice s = slice_of(m, &p, m->zero >= 3);
        const kd_param_place part = {p.kind, p.layer, s.at, s.count};
        status = kd_weights_draw(m, m->w + s.own, &m->layout, &part, &fresh, stage);
    }
    free(stage);
    kd_weights_forget(m);
    return status ? status : kd_weights_round(m);
}
