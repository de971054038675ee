/* A decoder's weights: matrices where they lie in the files, if the device can read them there; what is small, or stored as something
 * else, as float32 copies. */
#include <stdlib.h>
#include <string.h>

#include "decoder_state.h"
#include "weights.h"

static bool in_place(const kd_decoder *d, const kd_tensor *tensor, kd_param kind) {
    bool readable = tensor->dtype == KD_F32 || tensor->dtype == KD_BF16 || tensor->dtype == KD_F16;
    return d->ctx->device->host_may_touch && readable && kd_param_is_matrix(&d->layout, kind);
}

/* Of a copy: matrices keep what they are stored as. */
static kd_view_type type_of(const kd_decoder *d, const kd_tensor *tensor, kd_param kind) {
    if (!kd_param_is_matrix(&d->layout, kind)) return KD_VIEW_F32;
    return tensor->dtype == KD_BF16 ? KD_VIEW_BF16 : tensor->dtype == KD_F16 ? KD_VIEW_F16 : KD_VIEW_F32;
}

static kd_status find(const kd_tensor **out, const kd_decoder *d, const kd_param_place *p, const char *folder) {
    char name[128];
    kd_param_name(name, p->kind, p->layer, d->layout.layered[p->kind]);
    *out = kd_tensors_find(&d->files, name);
    if (!*out) return kd_fail(KD_EFORMAT, "%s: tensor %s is missing", folder, name);
    return kd_weights_check_shape(&d->layout, *out, p->kind);
}

static kd_status copy(const kd_decoder *d, void *to, const kd_tensor *tensor, kd_view_type type, void *stage) {
    int64_t size = kd_type_size(type);
    for (int64_t i = 0; i < tensor->count; i += KD_PIECE) {
        int64_t n = tensor->count - i < KD_PIECE ? tensor->count - i : KD_PIECE;
        if (type == KD_VIEW_F32) KD_TRY(kd_tensor_read_f32(stage, tensor, i, n));
        else KD_TRY(kd_tensor_read(stage, tensor, i, n));
        KD_TRY(d->ctx->device->put(d->ctx, (char *)to + i * size, stage, n * size));
    }
    return KD_OK;
}

/* Every tensor's place; stage NULL: copies are only measured. */
static kd_status place(kd_decoder *d, const char *folder, void *stage) {
    d->mapped = 0;
    for (int64_t i = 0; i < d->layout.tensors; i++) {
        kd_param_place p = kd_layout_tensor(&d->layout, i);
        const kd_tensor *tensor;
        KD_TRY(find(&tensor, d, &p, folder));
        kd_array *w = &d->weight[p.kind * d->L + p.layer];
        w->type = type_of(d, tensor, p.kind);
        int64_t size = kd_type_size(w->type);
        if (in_place(d, tensor, p.kind)) {
            w->data = (char *)d->map[tensor->file - d->files.file] + tensor->at;
            d->mapped += tensor->count * size;
        } else {
            w->data = kd_arena_take(&d->copies, tensor->count, size);
            if (stage) KD_TRY(copy(d, w->data, tensor, w->type, stage));
        }
    }
    return KD_OK;
}

kd_status kd_decoder_weights_open(kd_decoder *d, const char *folder) {
    kd_status status;
    void *stage = NULL;
    KD_GO(kd_tensors_open_folder(&d->files, folder));
    KD_GO(kd_weights_check_strangers(&d->layout, d->tied, &d->files));
    KD_GO(kd_new(&d->weight, KD_PARAM_KINDS * d->L, sizeof *d->weight));
    KD_GO(kd_new(&d->map, d->files.files, sizeof *d->map));
    for (int64_t i = 0; i < d->files.files && d->ctx->device->host_may_touch; i++) KD_GO(kd_source_map(&d->map[i], &d->files.file[i]));
    KD_GO(place(d, folder, NULL));
    KD_GO(kd_ctx_place(d->ctx, &d->copies));
    KD_GO(kd_new(&stage, KD_PIECE, sizeof(float)));
    KD_GO(place(d, folder, stage));
done:
    free(stage);
    return status;
}

void kd_decoder_weights_close(kd_decoder *d) {
    for (int64_t i = 0; d->map && i < d->files.files; i++) kd_source_unmap(d->map[i], &d->files.file[i]);
    kd_ctx_unplace(d->ctx, &d->copies);
    kd_tensors_close(&d->files);
    free(d->map);
    free(d->weight);
}
