/* Attention of sequences that grow: keys and values of tokens once read are kept, and every new token sees all before it.
 *
 * A cache of one layer and sequence is [tokens/128][G] tiles of KD_CACHE_TILE tokens and a key/value head, as the kernels read them: keys
 * [8][Ep][16], token 16i + j in column j of group i; values [Ep/16][128][16]; Ep is E padded to 16. float32 caches keep rotated keys; bf16
 * ones keep them as they come, and they are rotated exactly whenever they are read, so that rounding does not depend on the position. */
#ifndef KD_CACHE_H
#define KD_CACHE_H

#include "attn.h"

enum { KD_CACHE_TILE = 128, KD_CACHE_GROUP = 16 };

/* Numbers of the keys, or of the values, of so many tokens. */
int64_t kd_cache_numbers(int64_t tokens, int64_t G, int64_t E);

/* Tokens that a sequence reads: they come behind its first `from` ones. */
typedef struct kd_reading {
    void *key, *value;       /* of its cache, room for at least from + count tokens; what lay behind `from` is overwritten */
    int64_t from, count;
    int64_t row;             /* where they begin in q, k, v, o */
} kd_reading;

typedef struct kd_extend {
    const kd_reading *reading;  /* [readings] on the host, of different caches; their rows do not overlap */
    int64_t readings;
    int64_t room;               /* tokens that a cache has room for at most, a multiple of KD_CACHE_TILE */
    kd_view_type type;          /* f32 or bf16 */
    const float *turn;          /* bf16: kd_cache_turns' */
    const kd_rope *rope;        /* of precision exact, positions 0 .. room-1 at least as far as tokens go */
    const kd_plan *plan;        /* one document of at least as many tokens at positions from 0: what a token's place is */
    int64_t H, G, E;
    float scale;                /* 0: 1/sqrt(E) */
    const float *q, *k, *v;     /* [rows, H, E], [rows, G, E], not rotated */
    float *o;                   /* [rows, H, E] */
} kd_extend;

/* k and v go into the caches, o [rows,H,E] is overwritten. With a float32 cache a row has the bits of kd_attn_forward's, whatever is read
 * beside it or before. */
kd_status kd_attn_extend(kd_ctx *ctx, const kd_extend *extend);
extern const kd_op kd_attn_extend_op;  /* args: const kd_extend * */

/* Cosines and sines for keys as a bf16 cache has them: turn [room/16][E/2][2][16], kd_cache_turns_count numbers. */
int64_t kd_cache_turns_count(int64_t room, int64_t E);
kd_status kd_cache_turns(kd_ctx *ctx, float *turn, const kd_rope *rope, int64_t room);

/* The first `count` tokens of a cache to another one. */
kd_status kd_cache_copy(kd_ctx *ctx, const kd_extend *shape, void *to_key, void *to_value, const void *key, const void *value,
                        int64_t count);

/* ---- for the variants ----------------------------------------------------------------------------------------------- */

static inline int64_t kd_cache_width(int64_t E) { return (E + 15) / 16 * 16; }
/* Where head g's tile that has token t begins. */
static inline int64_t kd_cache_at(const kd_extend *x, int64_t g, int64_t t) {
    return (t / KD_CACHE_TILE * x->G + g) * KD_CACHE_TILE * kd_cache_width(x->E);
}
/* In that tile, element e of token t's key and of its value. */
static inline int64_t kd_cache_key(int64_t Ep, int64_t t, int64_t e) {
    return (t % KD_CACHE_TILE / KD_CACHE_GROUP * Ep + e) * KD_CACHE_GROUP + t % KD_CACHE_GROUP;
}
static inline int64_t kd_cache_value(int64_t t, int64_t e) {
    return (e / KD_CACHE_GROUP * KD_CACHE_TILE + t % KD_CACHE_TILE) * KD_CACHE_GROUP + e % KD_CACHE_GROUP;
}
float kd_extend_scale(const kd_extend *x);

/* The key, turned unless the cache is bf16, and the value of every new token of head g into the cache (cache.c). What follows them in
 * their group of values is zero: the kernels multiply it by zero. */
void kd_cache_write(const kd_extend *x, const kd_reading *r, int64_t g);

int64_t kd_attn_extend_workspace_avx2(const kd_ctx *ctx, const void *args);
int64_t kd_attn_extend_workspace_avx512(const kd_ctx *ctx, const void *args);
kd_status kd_attn_extend_avx2(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_extend_avx512(kd_ctx *ctx, const void *args, void *workspace);

#endif
