/* Tokens read by a decoder: blocks of at most KD_BLOCK of them, of as many sequences as fit, through the layers; then logits of those
 * that something is wanted after. */
#include "decoder_state.h"

/* Tokens of a block: `count` of a feed from its token `from` on, at row `row`. */
typedef struct kd_share { int64_t feed, from, count, row; } kd_share;

typedef struct kd_block_read {
    const kd_feed *feed;
    kd_share share[KD_BLOCK];
    int64_t shares, rows;
} kd_block_read;

static kd_status check_feed(const kd_decoder *d, const kd_feed *feed, int64_t i) {
    const kd_feed *f = &feed[i];
    if (f->sequence < 0 || f->sequence >= d->options.sequences)
        return kd_fail(KD_EARG, "feed %lld: sequence %lld of %lld", (long long)i, (long long)f->sequence, (long long)d->options.sequences);
    if (f->count < 1 || f->from < 0 || f->from > d->sequence[f->sequence].held || f->from + f->count > d->options.length)
        return kd_fail(KD_EARG, "feed %lld: %lld tokens behind %lld of a sequence that holds %lld, at most %lld", (long long)i,
                       (long long)f->count, (long long)f->from, (long long)d->sequence[f->sequence].held, (long long)d->options.length);
    if (f->tops < 0 || f->tops > KD_TOPS || f->tops > d->V)
        return kd_fail(KD_EARG, "feed %lld: the likeliest %lld tokens: at most %lld", (long long)i, (long long)f->tops,
                       (long long)(d->V < KD_TOPS ? d->V : KD_TOPS));
    for (int64_t t = 0; t < f->count; t++) {
        if (f->token[t] < 0 || f->token[t] >= d->V)
            return kd_fail(KD_EARG, "feed %lld: token %d at %lld is outside 0..%lld", (long long)i, f->token[t], (long long)t,
                           (long long)d->V - 1);
        if (f->target && (f->target[t] < -1 || f->target[t] >= d->V))
            return kd_fail(KD_EARG, "feed %lld: target %d at %lld is outside -1..%lld", (long long)i, f->target[t], (long long)t,
                           (long long)d->V - 1);
    }
    return KD_OK;
}

/* ---- the layers ------------------------------------------------------------------------------------------------------------ */

static kd_status linear(kd_decoder *d, float *out, const float *x, kd_param kind, kd_param bias, int64_t l, const float *residual,
                        int64_t rows) {
    kd_array b = bias == KD_PARAM_KINDS ? kd_none() : kd_decoder_weight(d, bias, l);
    return kd_linear_forward(d->ctx, kd_f32(out), kd_f32(x), kd_decoder_weight(d, kind, l), b, kd_f32(residual), rows, d->layout.rows[kind],
                             d->layout.columns[kind]);
}

static kd_status normalise(kd_decoder *d, float *out, const float *x, kd_param kind, int64_t l, int64_t rows) {
    return kd_rmsnorm_forward(d->ctx, kd_f32(out), d->rinv, kd_f32(x), kd_decoder_weight(d, kind, l), d->eps, rows, d->C);
}

static kd_status layer(kd_decoder *d, int64_t l, const kd_extend *extend, int64_t rows) {
    KD_TRY(normalise(d, d->h, d->x, KD_P_INPUT_NORM, l, rows));
    KD_TRY(linear(d, d->q, d->h, KD_P_Q, KD_P_Q_BIAS, l, NULL, rows));
    KD_TRY(linear(d, d->k, d->h, KD_P_K, KD_P_K_BIAS, l, NULL, rows));
    KD_TRY(linear(d, d->v, d->h, KD_P_V, KD_P_V_BIAS, l, NULL, rows));
    KD_TRY(kd_attn_extend(d->ctx, extend));
    KD_TRY(linear(d, d->mid, d->o, KD_P_O, KD_PARAM_KINDS, l, d->x, rows));
    KD_TRY(normalise(d, d->h, d->mid, KD_P_POST_NORM, l, rows));
    KD_TRY(linear(d, d->gate, d->h, KD_P_GATE, KD_PARAM_KINDS, l, NULL, rows));
    KD_TRY(linear(d, d->up, d->h, KD_P_UP, KD_PARAM_KINDS, l, NULL, rows));
    KD_TRY(kd_swiglu_forward(d->ctx, kd_f32(d->gate), kd_f32(d->gate), kd_f32(d->up), rows * d->F));
    return linear(d, d->x, d->gate, KD_P_DOWN, KD_PARAM_KINDS, l, d->mid, rows);
}

static kd_status layers(kd_decoder *d, const kd_block_read *b) {
    for (int64_t i = 0; i < b->shares; i++) {
        const kd_share *s = &b->share[i];
        KD_TRY(d->ctx->device->put(d->ctx, d->token + s->row, b->feed[s->feed].token + s->from, s->count * (int64_t)sizeof *d->token));
    }
    KD_TRY(kd_embedding_forward(d->ctx, kd_f32(d->x), kd_decoder_weight(d, KD_P_EMBED, 0), d->token, b->rows, d->V, d->C));
    for (int64_t l = 0; l < d->L; l++) {
        for (int64_t i = 0; i < b->shares; i++) {
            const kd_share *s = &b->share[i];
            const kd_feed *f = &b->feed[s->feed];
            d->reading[i] = (kd_reading){kd_decoder_cache(d, f->sequence, l, false), kd_decoder_cache(d, f->sequence, l, true),
                                         f->from + s->from, s->count, s->row};
        }
        const kd_extend extend = {.reading = d->reading, .readings = b->shares, .room = d->room, .type = kd_decoder_type(d), .turn = d->turn,
                                  .rope = &d->rope, .plan = &d->plan, .H = d->H, .G = d->G, .E = d->E, .scale = d->scale,
                                  .q = d->q, .k = d->k, .v = d->v, .o = d->o};
        KD_TRY(layer(d, l, &extend, b->rows));
    }
    return KD_OK;
}

/* ---- what is wanted --------------------------------------------------------------------------------------------------------- */

/* Tokens that something is wanted after: feed, token of it, row of the block. */
typedef struct kd_wanted { int64_t feed, token, row; } kd_wanted;

static bool is_last(const kd_feed *f, int64_t token) { return token + 1 == f->count && (f->tops || f->logits); }

static int32_t target_of(const kd_feed *f, int64_t token) { return f->target ? f->target[token] : -1; }

static kd_status give(kd_decoder *d, const kd_feed *feed, const kd_wanted *wanted, int64_t count, int64_t tops) {
    kd_ctx *ctx = d->ctx;
    const kd_device *device = ctx->device;
    int32_t target[KD_DECODER_HEAD];
    bool any_target = false;
    for (int64_t i = 0; i < count; i++) {
        target[i] = target_of(&feed[wanted[i].feed], wanted[i].token);
        any_target |= target[i] >= 0;
        KD_TRY(kd_copy(ctx, kd_f32(d->picked + i * d->C), kd_f32(d->x + wanted[i].row * d->C), d->C));
    }
    KD_TRY(device->put(ctx, d->target, target, count * (int64_t)sizeof *target));
    KD_TRY(normalise(d, d->picked, d->picked, KD_P_NORM, 0, count));
    kd_array head = kd_decoder_weight(d, d->tied ? KD_P_EMBED : KD_P_LM_HEAD, 0);
    KD_TRY(kd_linear_forward(ctx, kd_f32(d->logits), kd_f32(d->picked), head, kd_none(), kd_none(), count, d->V, d->C));
    if (any_target || tops) KD_TRY(kd_likelihoods(ctx, d->likelihood, d->top, tops, d->logits, d->target, count, d->V));
    for (int64_t i = 0; i < count; i++) {
        const kd_feed *f = &feed[wanted[i].feed];
        int64_t t = wanted[i].token;
        if (target[i] >= 0) KD_TRY(device->get(ctx, &f->likelihood[t], &d->likelihood[i], (int64_t)sizeof *d->likelihood));
        if (f->tops) KD_TRY(device->get(ctx, f->top + t * f->tops, d->top + i * tops, f->tops * (int64_t)sizeof *d->top));
        if (is_last(f, t) && f->logits) KD_TRY(device->get(ctx, f->logits, d->logits + i * d->V, d->V * (int64_t)sizeof *d->logits));
    }
    return KD_OK;
}

static kd_status give_all(kd_decoder *d, const kd_block_read *b) {
    kd_wanted wanted[KD_DECODER_HEAD];
    int64_t count = 0, tops = 0;
    for (int64_t i = 0; i < b->shares; i++) {
        const kd_share *s = &b->share[i];
        const kd_feed *f = &b->feed[s->feed];
        for (int64_t t = s->from; t < s->from + s->count; t++) {
            if (target_of(f, t) < 0 && !is_last(f, t)) continue;
            wanted[count++] = (kd_wanted){s->feed, t, s->row + t - s->from};
            if (f->tops > tops) tops = f->tops;
            if (count < KD_DECODER_HEAD) continue;
            KD_TRY(give(d, b->feed, wanted, count, tops));
            count = tops = 0;
        }
    }
    return count ? give(d, b->feed, wanted, count, tops) : KD_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------------------ */

static kd_status read_block(kd_decoder *d, const kd_block_read *b) {
    KD_TRY(layers(d, b));
    KD_TRY(give_all(d, b));
    for (int64_t i = 0; i < b->shares; i++) {
        const kd_feed *f = &b->feed[b->share[i].feed];
        d->sequence[f->sequence].held = f->from + b->share[i].from + b->share[i].count;
    }
    return KD_OK;
}

kd_status kd_decoder_read(kd_decoder *d, const kd_feed *feed, int64_t feeds) {
    if (feeds > d->options.sequences)
        return kd_fail(KD_EARG, "%lld feeds, %lld sequences", (long long)feeds, (long long)d->options.sequences);
    for (int64_t i = 0; i < feeds; i++) {
        KD_TRY(check_feed(d, feed, i));
        for (int64_t j = 0; j < i; j++)
            if (feed[j].sequence == feed[i].sequence)
                return kd_fail(KD_EARG, "feeds %lld and %lld are of one sequence", (long long)j, (long long)i);
    }
    for (int64_t i = 0; i < feeds; i++) {
        KD_TRY(kd_decoder_sequence_place(d, feed[i].sequence));
        d->sequence[feed[i].sequence].held = feed[i].from;  /* until more has been read */
    }
    kd_block_read b = {.feed = feed};
    for (int64_t i = 0, from = 0; i < feeds;) {
        int64_t left = feed[i].count - from, n = KD_BLOCK - b.rows < left ? KD_BLOCK - b.rows : left;
        b.share[b.shares++] = (kd_share){i, from, n, b.rows};
        b.rows += n;
        from += n;
        if (from == feed[i].count) i++, from = 0;
        if (b.rows < KD_BLOCK && i < feeds) continue;
        KD_TRY(read_block(d, &b));
        b.shares = b.rows = 0;
    }
    return KD_OK;
}
