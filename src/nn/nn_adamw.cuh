/* One element's step of AdamW, whatever its moments are stored as: the definition's operations in the definition's order and so its bits
 * (adamw.c). Products that are subtracted are rounded before, which the compiler would leave out here and there. */
#ifndef KD_NN_ADAMW_CUH
#define KD_NN_ADAMW_CUH

#include "nn_gpu.cuh"

/* The factors of this step: `f` is kd_adamw_prepare's for a norm of 0, that of the clip is made here of the norm on the device. */
GPU kd_adamw_factors nn_adamw_factors(kd_adamw_factors f, double clip, const kd_step_sums *sums)
{
    double factor = clip > 0.0 ? clip / (sums->grad_norm + 1e-6) : 1.0;
    f.clip = factor < 1.0 ? (float)factor : 1.0f;
    return f;
}

GPU void nn_adamw_element(float *w, float *m, float *v, float g, const kd_adamw_factors &f)
{
    g *= f.clip;
    *m = fmaf(g - *m, f.one_beta1, *m);
    *v = fmaf(g * f.one_beta2, g, *v * f.beta2);
    *w = __fmul_rn(*w, f.keep) - __fmul_rn(f.rate, *m / (sqrtf(*v) / f.root + f.eps));
}

#endif
