/* Attention alone as a subject of the mask's check: the run's own kernel, plan, precision and way of sharing a window, of one head. */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/random.h"
#include "mask_check.h"

enum { ROWS = 256 };  /* that are staged on the host at once */
enum { Q, K, V, DOUT };

/* Four numbers of about the variance 1 from 64 random bits: normal ones would take longer than attention does. */
static void draw(float *row, int64_t width, uint64_t stream, int64_t token) {
    for (int64_t i = 0; i < width; i++) {
        static const float unit = 1.7320508f / 32768;
        uint64_t bits = i % 4 ? 0 : kd_random_bits(0x6d61736b, stream, (uint64_t)(token * ((width + 3) / 4) + i / 4));
        for (int64_t k = 0; k < 4 && i % 4 == 0 && i + k < width; k++) row[i + k] = unit * (float)(int16_t)(bits >> 16 * k);
    }
}

static void *data_of(const kd_view *v) { return v->type == KD_VIEW_F32 ? (void *)v->data : (void *)v->half; }

/* All rows of an input; those of touched tokens are others. */
static kd_status fill(kd_mask_attention *x, const kd_view *to, int what, const bool *touched) {
    int64_t width = to->token_stride, size = kd_type_size(to->type), count = kd_stretch_count(x->subject.tokens);
    float *row = x->stage;
    for (int64_t at = 0; at < count; at += ROWS) {
        int64_t n = count - at < ROWS ? count - at : ROWS;
        for (int64_t i = 0; i < n; i++) {
            int64_t t = x->subject.tokens.from + at + i;
            draw(row + i * width, width, (uint64_t)(2 * what + (touched && what != DOUT && touched[t])), t);
        }
        for (int64_t i = 0; size == 2 && i < n * width; i++) {
            uint16_t half = to->type == KD_VIEW_BF16 ? kd_bf16_round(row[i]) : kd_f16_round(row[i]);
            memcpy((char *)x->stage + 2 * i, &half, sizeof half);
        }
        KD_TRY(x->ctx->device->put(x->ctx, (char *)data_of(to) + at * width * size, x->stage, n * width * size));
    }
    return KD_OK;
}

/* Hashes of rows; folded into what is there already. */
static kd_status hash_rows(uint64_t *hash, kd_mask_attention *x, const kd_view *from, bool fold) {
    int64_t bytes = from->token_stride * kd_type_size(from->type), count = kd_stretch_count(x->subject.tokens);
    for (int64_t at = 0; at < count; at += ROWS) {
        int64_t n = count - at < ROWS ? count - at : ROWS;
        KD_TRY(x->ctx->device->get(x->ctx, x->stage, (const char *)data_of(from) + at * bytes, n * bytes));
        for (int64_t i = 0; i < n; i++) {
            uint64_t pair[] = {fold ? hash[at + i] : 0, kd_hash((const char *)x->stage + i * bytes, bytes)};
            hash[at + i] = kd_hash(pair, sizeof pair);
        }
    }
    return KD_OK;
}

static kd_status fill_all(kd_mask_attention *x, const bool *touched) {
    const kd_view *in[] = {[Q] = &x->attn.q, [K] = &x->attn.k, [V] = &x->attn.v, [DOUT] = &x->attn.dout};
    for (int i = 0; i < 4; i++) KD_TRY(fill(x, in[i], i, touched));
    return KD_OK;
}

static kd_status run(kd_mask_subject *self, const bool *touched, uint64_t *output, uint64_t *gradient) {
    kd_mask_attention *x = (kd_mask_attention *)self;
    kd_status status = fill_all(x, touched);
    if (self->comm) status = kd_comm_agree(self->comm, "queries and keys", status);
    KD_TRY(status);
    KD_TRY(kd_sequence_forward(x->ctx, &x->sequence, &x->attn, &x->kept));
    KD_TRY(kd_sequence_backward(x->ctx, &x->sequence, &x->attn, &x->kept));
    KD_TRY(hash_rows(output, x, &x->attn.o, false));
    KD_TRY(hash_rows(gradient, x, &x->attn.dq, false));
    KD_TRY(hash_rows(gradient, x, &x->attn.dk, true));
    return hash_rows(gradient, x, &x->attn.dv, true);
}

/* Measures with an arena without memory, places with one that has it. */
static kd_status place(kd_mask_attention *x, kd_comm *comm, kd_sequence_mode mode, kd_view_type type, kd_arena *arena) {
    kd_attn *a = &x->attn;
    int64_t count = kd_stretch_count(x->subject.tokens);
    kd_view *view[] = {&a->q, &a->k, &a->v, &a->o, &a->dout, &a->dq, &a->dk, &a->dv};
    for (size_t i = 0; i < sizeof view / sizeof *view; i++) {
        void *data = kd_arena_take(arena, count * a->H * a->E, kd_type_size(type));
        *view[i] = type == KD_VIEW_F32 ? kd_view_heads(data, a->H, a->E) : kd_view_half(data, type, a->H, a->E);
    }
    a->position = kd_arena_take(arena, a->plan->T, sizeof *a->position);
    KD_TRY(kd_sequence_init(&x->sequence, mode, comm, a->plan->T, a->H, a->G, a->E, true, arena));
    kd_sequence_keep(&x->kept, &x->sequence, 1, arena);
    return KD_OK;
}

kd_status kd_mask_attention_open(kd_mask_attention *x, kd_ctx *ctx, kd_comm *comm, kd_sequence_mode mode, const kd_plan *plan,
                                 const kd_attn *like, kd_view_type type) {
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), T = plan->T, heads = mode == KD_SEQUENCE_ULYSSES ? size : 1;
    kd_status status;
    *x = (kd_mask_attention){.ctx = ctx, .subject = {.run = run, .comm = size > 1 ? comm : NULL, .tokens = {rank * T / size,
                                                                                                            (rank + 1) * T / size},
                                                     .coarse = type != KD_VIEW_F32}};
    x->attn = (kd_attn){.plan = plan, .rope = like->rope, .frame = like->frame, .precision = like->precision, .H = heads, .G = heads,
                        .E = like->E, .scale = like->scale};
    kd_arena measure = {0};
    KD_GO(place(x, comm, mode, type, &measure));
    KD_GO(kd_new(&x->stage, ROWS * heads * like->E, sizeof(float)));
    x->arena = measure;
    status = kd_ctx_place(ctx, &x->arena);
    if (status) x->arena = (kd_arena){0};
    if (status) goto done;
    KD_GO(place(x, comm, mode, type, &x->arena));
    KD_GO(ctx->device->put(ctx, (int32_t *)(uintptr_t)x->attn.position, plan->position, T * (int64_t)sizeof *plan->position));
done:
    if (status) kd_mask_attention_close(x);
    return status;
}

void kd_mask_attention_close(kd_mask_attention *x) {
    if (x->ctx) kd_ctx_unplace(x->ctx, &x->arena);
    free(x->stage);
    *x = (kd_mask_attention){0};
}
