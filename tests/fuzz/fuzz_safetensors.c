/* safetensors: every tensor of a file that is taken can be read, and together they are the file's data. */
#include "format/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_tensors tensors;
    kd_status status = kd_tensors_open(&tensors, fuzz_file("x.safetensors", data, size));
    if (status) {
        FUZZ_ASSERT(status == KD_EFORMAT && !tensors.tensor && !tensors.file);
        fuzz_refused("x.safetensors");
        return 0;
    }
    int64_t bytes = 0;
    for (int64_t i = 0; i < tensors.count; i++) {
        const kd_tensor *tensor = &tensors.tensor[i];
        bytes += tensor->count * kd_dtype_size(tensor->dtype);
        FUZZ_ASSERT(kd_tensors_find(&tensors, tensor->name) == tensor);
        int64_t *wide = malloc((size_t)tensor->count * sizeof *wide + 1);
        float *real = malloc((size_t)tensor->count * sizeof *real + 1);
        FUZZ_ASSERT(wide && real);
        bool taken = !kd_tensor_read_i64(wide, tensor, 0, tensor->count);
        taken |= !kd_tensor_read_f32(real, tensor, 0, tensor->count);
        FUZZ_ASSERT(taken || tensor->dtype == KD_BOOL || tensor->dtype == KD_U64);
        free(wide);
        free(real);
    }
    uint64_t header;  /* its length is the file's first word */
    memcpy(&header, data, sizeof header);
    FUZZ_ASSERT(8 + (int64_t)header + bytes == (int64_t)size);
    kd_tensors_close(&tensors);
    return 0;
}
