/* A decoder opened, and its memory. */
#include "decoder.h"

#include <math.h>
#include <stdlib.h>

#include "decoder_state.h"
#include "dev/memory.h"

static void place_work(kd_decoder *d, kd_arena *arena) {
    int64_t B = KD_BLOCK, head = KD_DECODER_HEAD;
#define TAKE(n) kd_arena_take(arena, (n), sizeof(float))
    d->x = TAKE(B * d->C), d->mid = TAKE(B * d->C), d->h = TAKE(B * d->C);
    d->q = TAKE(B * d->H * d->E), d->k = TAKE(B * d->G * d->E), d->v = TAKE(B * d->G * d->E), d->o = TAKE(B * d->H * d->E);
    d->gate = TAKE(B * d->F), d->up = TAKE(B * d->F), d->rinv = TAKE(B);
    d->picked = TAKE(head * d->C), d->logits = TAKE(head * d->V);
    d->turn = d->options.bf16_cache ? TAKE(kd_cache_turns_count(d->room, d->E)) : NULL;
#undef TAKE
    d->token = kd_arena_take(arena, B, sizeof *d->token);
    d->target = kd_arena_take(arena, head, sizeof *d->target);
    d->likelihood = kd_arena_take(arena, head, sizeof *d->likelihood);
    d->top = kd_arena_take(arena, head * KD_TOPS, sizeof *d->top);
}

static int64_t cache_numbers(const kd_decoder *d) { return kd_cache_numbers(d->room, d->G, d->E); }
static int64_t cache_size(const kd_decoder *d) { return d->options.bf16_cache ? 2 : 4; }

kd_decoder_memory kd_decoder_memory_use(const kd_decoder *d) {
    return (kd_decoder_memory){d->mapped, d->copies.size, 2 * d->L * kd_cache_width(d->E) * d->G * cache_size(d),
                               d->work.size + d->ctx->scratch_bytes};
}

kd_status kd_decoder_sequence_place(kd_decoder *d, int64_t i) {
    kd_decoder_sequence *s = &d->sequence[i];
    if (s->cache.base) return KD_OK;
    kd_arena_take(&s->cache, 2 * d->L * cache_numbers(d), cache_size(d));
    kd_status status = kd_ctx_place(d->ctx, &s->cache);
    if (status) s->cache = (kd_arena){0};
    return status;
}

void *kd_decoder_cache(const kd_decoder *d, int64_t sequence, int64_t layer, bool value) {
    return d->sequence[sequence].cache.base + (2 * layer + value) * cache_numbers(d) * cache_size(d);
}

int64_t kd_decoder_sequence_bytes(const kd_config *c, const kd_decoder_options *o) {
    return 2 * c->L * kd_cache_numbers(o->length, c->G, c->E) * (o->bf16_cache ? 2 : 4);
}

static kd_status check(const kd_config *c, const kd_decoder_options *o) {
    if (o->length < 1 || o->length >= 1 << 24) return kd_fail(KD_EARG, "a sequence of %lld tokens", (long long)o->length);
    if (o->sequences < 1 || o->sequences > 1 << 16) return kd_fail(KD_EARG, "%lld sequences at once", (long long)o->sequences);
    if (c->sliding_window && c->sliding_window < o->length)
        return kd_fail(KD_ENOTSUP, "a sequence of %lld tokens: the checkpoint lets a token see %lld", (long long)o->length,
                       (long long)c->sliding_window);
    /* Weights in maps may be read again and again; caches may not. */
    double need = (double)kd_decoder_sequence_bytes(c, o) * (double)o->sequences;
    if (kd_memory_available() && need > (double)kd_memory_available())
        return kd_fail(KD_ENOMEM, "out of memory: keys and values of %lld sequences of %lld tokens are %.1f GB, %.1f GB are free",
                       (long long)o->sequences, (long long)o->length, need / 1e9, (double)kd_memory_available() / 1e9);
    return KD_OK;
}

static kd_status open_rope(kd_decoder *d, const kd_config *c) {
    double inv_freq[KD_ROPE_PAIRS], factor = kd_rope_attention_factor(&c->rope);
    if (factor != 1) d->scale = (float)(factor * factor / sqrt((double)c->E));
    /* What depends on the length follows the one that is declared, not the data. */
    kd_rope_frequencies(inv_freq, &c->rope, c->E, c->rope.max_positions);
    return kd_rope_init(&d->rope, d->ctx, inv_freq, c->E, d->room + 1);
}

/* Where tokens stand: at 0, 1, 2 and so on. */
static kd_status open_plan(kd_decoder *d) {
    int32_t *token;
    const kd_plan_options one = {.mask = KD_MASK_FULL};
    KD_TRY(kd_new(&token, d->room, sizeof *token));
    kd_status status = kd_plan_init_even(&d->plan, &one, token, d->room, d->room);
    free(token);
    return status;
}

kd_status kd_decoder_open(kd_decoder **out, kd_ctx *ctx, const kd_config *c, const char *folder, const kd_decoder_options *o) {
    kd_decoder *d;
    *out = NULL;
    KD_TRY(kd_new(&d, 1, sizeof *d));
    *d = (kd_decoder){.ctx = ctx, .V = c->V, .C = c->C, .F = c->F, .L = c->L, .H = c->H, .G = c->G, .E = c->E, .eps = (float)c->eps,
                      .tied = c->tied, .options = *o};
    d->room = (o->length + KD_CACHE_TILE - 1) / KD_CACHE_TILE * KD_CACHE_TILE;
    kd_status status;
    KD_GO(check(c, o));
    KD_GO(kd_layout_init(&d->layout, c));
    KD_GO(kd_new(&d->sequence, o->sequences, sizeof *d->sequence));
    KD_GO(kd_new(&d->reading, o->sequences, sizeof *d->reading));
    KD_GO(open_rope(d, c));
    KD_GO(open_plan(d));
    place_work(d, &d->work);
    KD_GO(kd_ctx_place(ctx, &d->work));
    place_work(d, &d->work);
    if (d->turn) KD_GO(kd_cache_turns(ctx, d->turn, &d->rope, d->room));
    KD_GO(kd_decoder_weights_open(d, folder));
    *out = d;
done:
    if (status) kd_decoder_close(d);
    return status;
}

void kd_decoder_close(kd_decoder *d) {
    if (!d) return;
    for (int64_t i = 0; d->sequence && i < d->options.sequences; i++) kd_ctx_unplace(d->ctx, &d->sequence[i].cache);
    kd_decoder_weights_close(d);
    kd_ctx_unplace(d->ctx, &d->work);
    kd_plan_free(&d->plan);
    kd_rope_free(&d->rope, d->ctx);
    free(d->sequence);
    free(d->reading);
    free(d);
}

int64_t kd_decoder_held(const kd_decoder *d, int64_t sequence) { return d->sequence[sequence].held; }

kd_status kd_decoder_copy(kd_decoder *d, int64_t to, int64_t from, int64_t count) {
    if (to < 0 || to >= d->options.sequences || from < 0 || from >= d->options.sequences || to == from)
        return kd_fail(KD_EARG, "sequence %lld to %lld: there are %lld", (long long)from, (long long)to, (long long)d->options.sequences);
    if (count < 0 || count > d->sequence[from].held)
        return kd_fail(KD_EARG, "%lld tokens of a sequence that holds %lld", (long long)count, (long long)d->sequence[from].held);
    const kd_extend shape = {.room = d->room, .type = kd_decoder_type(d), .G = d->G, .E = d->E};
    d->sequence[to].held = 0;
    if (count) KD_TRY(kd_decoder_sequence_place(d, to));
    for (int64_t l = 0; l < d->L && count; l++)
        KD_TRY(kd_cache_copy(d->ctx, &shape, kd_decoder_cache(d, to, l, false), kd_decoder_cache(d, to, l, true),
                             kd_decoder_cache(d, from, l, false), kd_decoder_cache(d, from, l, true), count));
    d->sequence[to].held = count;
    return KD_OK;
}
