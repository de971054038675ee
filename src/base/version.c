/* What was compiled into the library: a program may have been compiled with another header. */
#include "kedge.h"

#include <string.h>

const char *kd_version(void) { return KD_VERSION; }

int64_t kd_abi(void) { return KD_ABI; }

#define STRUCT(name) {#name, sizeof(name)}
static const struct { const char *name; size_t bytes; } structs[] = {
    STRUCT(kd_plan), STRUCT(kd_plan_options), STRUCT(kd_piece), STRUCT(kd_chunk), STRUCT(kd_rope), STRUCT(kd_view), STRUCT(kd_stretch),
    STRUCT(kd_attn), STRUCT(kd_tensor_spec), STRUCT(kd_window_options),
};

int64_t kd_struct_bytes(const char *name) {
    for (size_t i = 0; i < sizeof structs / sizeof *structs; i++)
        if (!strcmp(name, structs[i].name)) return (int64_t)structs[i].bytes;
    return -1;
}
