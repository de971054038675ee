/* What another stack wrote of its attention, as one safetensors file: for every layer l and shift d tensors
 *   layers.l.q.d [H, T, E], layers.l.k.d [G, T, E]   queries and keys as its attention multiplies them, turned at positions d, d+1, ..
 * F64, F32, F16 or BF16, and no others; l and d from 0, without leading zeros. Metadata, all optional: "scale" (of logits, 1/sqrt(E)
 * unless given), "model", "precision". */
#ifndef KD_DUMP_H
#define KD_DUMP_H

#include "format/safetensors.h"
#include "probe.h"

typedef struct kd_dump {
    kd_tensors tensors;
    const char *path;          /* borrowed */
    int64_t L, H, G, T, E;
    int64_t *shift, shifts;    /* ascending */
    double scale;
    char model[128], precision[64];  /* "" where the metadata do not say */
} kd_dump;

/* Every tensor must be there with its shape, at two shifts at least. KD_EFORMAT naming file and tensor, KD_EIO, KD_ENOMEM. Free
 * with kd_dump_close. */
kd_status kd_dump_open(kd_dump *dump, const char *path);
void kd_dump_close(kd_dump *dump);

/* The numbers of text `text` of a curve, first mode. The probe's T and shifts are the dump's. KD_ENUMERIC where a tensor holds
 * NaN or infinity; KD_EIO, KD_ENOMEM. Finite tensors whose logits are not give NaN. */
kd_status kd_probe_dump(kd_probe_curve *curve, kd_ctx *ctx, const kd_probe *probe, const kd_dump *dump, int64_t text);

#endif
