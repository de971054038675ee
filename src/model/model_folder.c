/* A model that reads windows of any length up to one: what kedge.h shows of models. */
#include <stdlib.h>
#include <string.h>

#include "model_state.h"

kd_status kd_model_new(kd_model **out, kd_ctx *ctx, const char *folder, int64_t window, kd_frame frame, kd_precision precision) {
    const kd_model_options options = {.window = window, .windows = 1, .micro = 1, .leaves = 1, .frame = frame, .precision = precision};
    kd_config config;
    *out = NULL;
    if (!kd_precision_name(precision)) return kd_fail(KD_EARG, "model: there is no precision %d", (int)precision);
    if ((unsigned)frame > KD_FRAME_DOCUMENT) return kd_fail(KD_EARG, "model: there is no frame %d", (int)frame);
    KD_TRY(kd_config_open(&config, folder));
    kd_status status = KD_OK;
    if (config.sliding_window && config.sliding_window < window)
        KD_GO(kd_fail(KD_ENOTSUP, "%s: a window of %lld tokens: the checkpoint lets a token see %lld", folder, (long long)window,
                      (long long)config.sliding_window));
    KD_GO(kd_model_open(out, ctx, &config, &options));
    KD_GO(kd_model_load(*out, folder));
    (*out)->count = 0;  /* what was measured was no window */
done:
    kd_config_close(&config);
    if (status) kd_model_free(*out), *out = NULL;
    return status;
}

void kd_model_free(kd_model *model) {
    if (model) kd_plan_free(&model->read);
    kd_model_close(model);
}

int64_t kd_model_vocabulary(const kd_model *model) { return model->V; }

/* The plan in a window of T: what is missing are documents of one token, which nobody sees. */
static kd_status fill_up(kd_plan *out, const kd_plan *plan, int64_t T) {
    int64_t more = T - plan->T, N = plan->N + more;
    const int32_t first = plan->T ? plan->token[0] : 0;
    kd_status status;
    *out = (kd_plan){.T = T, .N = N, .anchors = plan->anchors};
    KD_GO(kd_new(&out->start, N + 1, sizeof *out->start));
    KD_GO(kd_new(&out->base, N, sizeof *out->base));
    int32_t **array[] = {&out->position, &out->target, &out->token, &out->depth};
    const int32_t *from[] = {plan->position, plan->target, plan->token, plan->depth}, rest[] = {0, -1, first, 0};
    for (int i = 0; i < 4; i++) {
        KD_GO(kd_new(array[i], T, sizeof **array));
        if (plan->T) memcpy(*array[i], from[i], (size_t)plan->T * sizeof **array[i]);
        for (int64_t t = plan->T; t < T; t++) (*array[i])[t] = rest[i];
    }
    memcpy(out->start, plan->start, (size_t)(plan->N + 1) * sizeof *out->start);
    if (plan->N) memcpy(out->base, plan->base, (size_t)plan->N * sizeof *out->base);
    for (int64_t n = plan->N; n < N; n++) out->start[n + 1] = out->start[n] + 1;
done:
    if (status) kd_plan_free(out);
    return status;
}

kd_status kd_model_read(kd_model *m, const kd_plan *plan) {
    kd_plan filled;
    if (plan->T < 1 || plan->T > m->options.window)
        return kd_fail(KD_EARG, "a window of %lld tokens, the model is laid out for %lld", (long long)plan->T,
                       (long long)m->options.window);
    m->count = 0;
    KD_TRY(fill_up(&filled, plan, m->options.window));
    kd_plan_free(&m->read);
    m->read = filled;
    m->reads[0] = &m->read;
    kd_status status = kd_model_forward(m, m->reads, 1, 0);
    m->read_tokens = status ? 0 : plan->T;
    if (status) m->count = 0;
    return status;
}

kd_status kd_model_token_losses(kd_model *m, double *loss) {
    if (!m->count) return kd_fail(KD_EARG, "losses: the model has read no window");
    KD_TRY(kd_model_loss(m));
    return m->ctx->device->get(m->ctx, loss, m->losses, m->read_tokens * (int64_t)sizeof *loss);
}
