/* A whole model as a subject of the mask's check: tokens are changed, what its last layer gives and the gradient at its input are looked
 * at. */
#include <stdlib.h>
#include <string.h>

#include "mask_check.h"

enum { ROWS = 256 };

typedef kd_status get_rows(void *out, kd_model *model, int64_t from, int64_t count);

static kd_status hash_rows(uint64_t *hash, kd_mask_model *x, get_rows *get) {
    int64_t bytes = kd_model_row_bytes(x->model), count = kd_stretch_count(x->subject.tokens);
    for (int64_t at = 0; at < count; at += ROWS) {
        int64_t n = count - at < ROWS ? count - at : ROWS;
        KD_TRY(get(x->stage, x->model, at, n));
        for (int64_t i = 0; i < n; i++) hash[at + i] = kd_hash((const char *)x->stage + i * bytes, bytes);
    }
    return KD_OK;
}

/* Another token that the window has, the next that differs: it is in the vocabulary, and has an embedding of its own. */
static int32_t other_token(const kd_plan *plan, int64_t t) {
    for (int64_t i = 1; i < plan->T; i++) {
        int32_t token = plan->token[(t + i) % plan->T];
        if (token != plan->token[t]) return token;
    }
    return plan->token[t] ? plan->token[t] - 1 : 1;
}

static kd_status run(kd_mask_subject *self, const bool *touched, uint64_t *output, uint64_t *gradient) {
    kd_mask_model *x = (kd_mask_model *)self;
    kd_plan plan = *x->plan;
    const kd_plan *one = &plan;
    plan.token = x->token;
    for (int64_t t = 0; t < plan.T; t++) x->token[t] = touched && touched[t] ? other_token(x->plan, t) : x->plan->token[t];
    KD_TRY(kd_model_forward(x->model, &one, 1, 0));
    KD_TRY(hash_rows(output, x, kd_model_output_rows));
    KD_TRY(kd_model_backward(x->model, 1));
    return hash_rows(gradient, x, kd_model_gradient_rows);
}

kd_status kd_mask_model_open(kd_mask_model *x, kd_model *model, kd_comm *comm, const kd_plan *plan) {
    kd_status status;
    *x = (kd_mask_model){.model = model, .plan = plan,
                         .subject = {.run = run, .comm = comm && kd_comm_size(comm) > 1 ? comm : NULL, .tokens = kd_model_tokens(model),
                                     .coarse = kd_model_type(model) != KD_VIEW_F32}};
    KD_GO(kd_new(&x->token, plan->T, sizeof *x->token));
    KD_GO(kd_new(&x->trained, plan->T, sizeof *x->trained));
    KD_GO(kd_new(&x->stage, ROWS, kd_model_row_bytes(model)));
    for (int64_t t = 0; t < plan->T; t++) x->trained[t] = plan->target[t] >= 0;
    x->subject.trained = x->trained;
done:
    if (status) kd_mask_model_close(x);
    return status;
}

void kd_mask_model_close(kd_mask_model *x) {
    free(x->token);
    free(x->trained);
    free(x->stage);
    *x = (kd_mask_model){0};
}
