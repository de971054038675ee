#include "excerpts.h"

#include <stdlib.h>

#include "base/arena.h"

static kd_status check(int64_t n, int64_t most, int64_t step) {
    if (n >= 0 && most >= 1 && step >= 1) return KD_OK;
    return kd_fail(KD_EARG, "windows of %lld tokens, %lld further each, over %lld", (long long)most, (long long)step, (long long)n);
}

kd_status kd_excerpts_rolling(kd_excerpt **out, int64_t *count, int64_t n, int64_t most, int64_t context) {
    int64_t step = most - context + 1, done = n < most ? n : most;
    *out = NULL, *count = 0;
    KD_TRY(check(n, context, step));
    if (n == 0) return KD_OK;
    KD_TRY(kd_new(out, 1 + (n - done + step - 1) / step, sizeof **out));
    (*out)[(*count)++] = (kd_excerpt){-1, done, 0};
    while (done < n) {
        int64_t end = n - done < step ? n : done + step;
        (*out)[(*count)++] = (kd_excerpt){end - most - 1, end, done};
        done = end;
    }
    return KD_OK;
}

kd_status kd_excerpts_sliding(kd_excerpt **out, int64_t *count, int64_t n, int64_t length, int64_t stride, bool bos, bool truncate) {
    *out = NULL, *count = 0;
    if (truncate && n > length) n = length;
    if (truncate) stride = length;
    KD_TRY(check(n, length, stride));
    if (stride > length) return kd_fail(KD_EARG, "windows of %lld tokens every %lld leave some out", (long long)length, (long long)stride);
    KD_TRY(kd_new(out, n / stride + 1, sizeof **out));
    for (int64_t begin = 0, done = 0; done < n; begin += stride) {
        int64_t end = begin + length < n ? begin + length : n;
        (*out)[(*count)++] = (kd_excerpt){begin, end, done == begin && !bos ? done + 1 : done};
        done = end;
    }
    return KD_OK;
}
