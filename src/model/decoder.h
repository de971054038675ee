/* A model that reads on: sequences of tokens grow, and what attention needs of them is kept.
 *
 * A token's results depend on the tokens before it in its sequence and on nothing else: not on how many are read at once, on the
 * other sequences, or on threads, in any bit. With a float32 cache they are those of kd_model_forward on one document. */
#ifndef KD_DECODER_H
#define KD_DECODER_H

#include "nn/nn.h"
#include "config.h"

typedef struct kd_decoder_options {
    int64_t length;        /* the most tokens of a sequence */
    int64_t sequences;     /* at once */
    bool bf16_cache;       /* values, and keys before they are rotated, are kept as bf16; otherwise float32 */
} kd_decoder_options;

typedef struct kd_decoder kd_decoder;

/* Weights are read where they lie, from maps of the folder's files, as float32, bf16 or f16; a device that is not the host gets copies.
 * KD_ENOTSUP for a length beyond a sliding window. */
kd_status kd_decoder_open(kd_decoder **out, kd_ctx *ctx, const kd_config *config, const char *folder, const kd_decoder_options *options);
void kd_decoder_close(kd_decoder *decoder);  /* NULL is allowed */

/* Bytes of keys and values of a sequence that is as long as can be. */
int64_t kd_decoder_sequence_bytes(const kd_config *config, const kd_decoder_options *options);

/* Bytes: of weights in maps and copies, of a sequence's cache for each of its tokens, of everything else. */
typedef struct kd_decoder_memory { int64_t mapped, copied, cache_token, activations; } kd_decoder_memory;
kd_decoder_memory kd_decoder_memory_use(const kd_decoder *decoder);

/* The tokens that a sequence holds. */
int64_t kd_decoder_held(const kd_decoder *decoder, int64_t sequence);
/* Their first `count` become what sequence `to` holds. */
kd_status kd_decoder_copy(kd_decoder *decoder, int64_t to, int64_t from, int64_t count);

/* A stretch of tokens that one sequence reads, and what is wanted after each of them. */
typedef struct kd_feed {
    int64_t sequence;
    int64_t from;               /* they stand behind its first `from` tokens, at most those it holds; others are forgotten */
    const int32_t *token;       /* [count], count >= 1 */
    int64_t count;
    const int32_t *target;      /* [count] a token whose likelihood as the next one is wanted, -1: none is; NULL: none at all */
    kd_likelihood *likelihood;  /* [count] of those that have a target */
    int64_t tops;               /* so many of the likeliest next tokens are wanted after tokens that have a target, and after the last */
    kd_likely *top;             /* [count, tops], likeliest first, of equals the lowest id first */
    float *logits;              /* [V] after the last token; NULL: not wanted */
} kd_feed;

/* Feeds are of different sequences. KD_EARG naming feed and token. */
kd_status kd_decoder_read(kd_decoder *decoder, const kd_feed *feed, int64_t feeds);

#endif
