/* Every weight, read once: NaN, infinity, the largest of all, and tensors that hold nothing but zeros. A thread holds a piece of a
 * tensor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "folder_check.h"

enum { PIECE = 1 << 18, MOST = 16 };  /* numbers; lines */

typedef struct seen { int64_t nan, infinite, first; double most; } seen;  /* first: the first number that is not finite, -1 */

typedef struct scan { const kd_tensors *tensors; seen *seen; float *stage; } scan;

static bool is_read(kd_dtype dtype) { return dtype == KD_F64 || dtype == KD_F32 || dtype == KD_F16 || dtype == KD_BF16; }

static void look(seen *s, const float *x, int64_t at, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        if (size <= 3.402823466e38f) {  /* which NaN and infinity are not */
            s->most = size > s->most ? size : s->most;
            continue;
        }
        if (s->first < 0) s->first = at + i;
        s->nan += isnan(x[i]) != 0;
        s->infinite += isnan(x[i]) == 0;
    }
}

static kd_status scan_tensor(void *opaque, int64_t task, int64_t thread) {
    const scan *x = opaque;
    const kd_tensor *tensor = &x->tensors->tensor[task];
    float *stage = x->stage + thread * PIECE;
    seen *s = &x->seen[task];
    s->first = -1;
    for (int64_t at = 0; at < tensor->count && is_read(tensor->dtype); at += PIECE) {
        int64_t n = tensor->count - at < PIECE ? tensor->count - at : PIECE;
        KD_TRY(kd_tensor_read_f32(stage, tensor, at, n));
        look(s, stage, at, n);
    }
    return KD_OK;
}

static kd_status tell(kd_findings *f, const scan *x) {
    int64_t bad = 0, most = -1;
    double numbers = 0;
    for (int64_t i = 0; i < x->tensors->count; i++) {
        const kd_tensor *t = &x->tensors->tensor[i];
        const seen *s = &x->seen[i];
        numbers += is_read(t->dtype) ? (double)t->count : 0;
        if (s->nan + s->infinite > 0 && bad++ < MOST)
            KD_TRY(kd_find(f, KD_FINDING_FAILURE, "weights", "%s holds %lld NaN and %lld infinite, the first at %lld", t->name,
                           (long long)s->nan, (long long)s->infinite, (long long)s->first));
        else if (is_read(t->dtype) && s->most == 0 && t->count > 0 && t->rank > 1 && s->first < 0)
            KD_TRY(kd_find(f, KD_FINDING_WARNING, "weights", "%s is all zeros", t->name));
        if (most < 0 || s->most > x->seen[most].most) most = i;
    }
    if (bad > MOST) KD_TRY(kd_find(f, KD_FINDING_FAILURE, "weights", "and %lld more tensors hold NaN or infinity", (long long)bad - MOST));
    if (most < 0) return KD_OK;
    const char *name = x->tensors->tensor[most].name;
    double largest = x->seen[most].most;
    if (largest > 65504)
        KD_TRY(kd_find(f, KD_FINDING_WARNING, "weights", "%s holds %g: float16 ends at 65504", name, largest));
    if (bad) return KD_OK;
    return kd_find(f, KD_FINDING_OK, "weights", "%.2fM numbers, all finite; the largest is %g, in %s", numbers * 1e-6, largest, name);
}

kd_status kd_folder_scan(kd_findings *f, const kd_tensors *tensors, kd_pool *pool) {
    scan x = {.tensors = tensors};
    kd_status status;
    KD_GO(kd_new(&x.seen, tensors->count, sizeof *x.seen));
    KD_GO(kd_new(&x.stage, kd_pool_threads(pool) * PIECE, sizeof *x.stage));
    status = kd_pool_run(pool, scan_tensor, &x, tensors->count);
    if (status && status != KD_ENOMEM) status = kd_find(f, KD_FINDING_FAILURE, "weights", "%s", kd_message());
    else if (!status) status = tell(f, &x);
done:
    free(x.stage);
    free(x.seen);
    return status;
}
