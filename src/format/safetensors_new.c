/* safetensors as kedge.h shows them: on the heap, by number and name; and files that are written in one call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "safetensors.h"

kd_status kd_tensors_new(kd_tensors **out, const char *path) {
    *out = NULL;
    kd_tensors *tensors;
    KD_TRY(kd_new(&tensors, 1, sizeof *tensors));
    kd_status status = (kd_is_folder(path) ? kd_tensors_open_folder : kd_tensors_open)(tensors, path);
    if (status) free(tensors);
    else *out = tensors;
    return status;
}

void kd_tensors_free(kd_tensors *tensors) {
    if (!tensors) return;
    kd_tensors_close(tensors);
    free(tensors);
}

int64_t kd_tensors_count(const kd_tensors *tensors) { return tensors->count; }
const char *kd_tensors_metadata(const kd_tensors *tensors) { return tensors->metadata; }

const kd_tensor *kd_tensors_at(const kd_tensors *tensors, int64_t i) {
    return i >= 0 && i < tensors->count ? &tensors->tensor[i] : NULL;
}

void kd_tensor_describe(kd_tensor_spec *spec, const kd_tensor *tensor) {
    *spec = (kd_tensor_spec){.name = tensor->name, .dtype = tensor->dtype, .rank = tensor->rank};
    memcpy(spec->shape, tensor->shape, sizeof spec->shape);
}

static kd_status write_all(kd_tensors_writer *writer, const kd_tensor_spec *spec, const void *const *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t bytes = kd_dtype_size(spec[i].dtype);
        for (int64_t d = 0; d < spec[i].rank; d++) bytes *= spec[i].shape[d];  /* the header has been written: it fits */
        KD_TRY(kd_tensors_put(writer, data[i], bytes));
    }
    return kd_tensors_finish(writer);
}

kd_status kd_tensors_write(const char *path, const kd_tensor_spec *spec, const void *const *data, int64_t count,
                           const char *const *metadata, int64_t pairs) {
    kd_tensors_writer writer = {.file = {.fd = -1}};
    char *aside;
    kd_status status;
    KD_TRY(kd_new(&aside, (int64_t)strlen(path) + 5, 1));
    sprintf(aside, "%s.tmp", path);
    KD_GO(kd_tensors_create(&writer, aside, spec, count, metadata, pairs));
    KD_GO(write_all(&writer, spec, data, count));
    if (rename(aside, path)) KD_GO(kd_fail_errno(KD_EIO, "%s: cannot be renamed to %s", aside, path));
done:
    kd_tensors_abandon(&writer);
    if (status) unlink(aside);
    free(aside);
    return status;
}
