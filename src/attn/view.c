/* Views whose rows have no gaps. */
#include "kedge.h"

#include <stddef.h>

kd_view kd_view_heads(float *data, int64_t heads, int64_t E) { return (kd_view){data, heads * E, E, KD_VIEW_F32, NULL}; }

kd_view kd_view_half(uint16_t *half, kd_view_type type, int64_t heads, int64_t E) { return (kd_view){NULL, heads * E, E, type, half}; }
