/* A window's tokens in blocks that are dealt out among ranks, for attention alone: the model's own order is the window's, and a rank's
 * tokens are s->blocks whole blocks. They are brought into the order of the deal, and back, in one packed exchange. Private to src/par. */
#ifndef KD_BLOCKS_H
#define KD_BLOCKS_H

#include "sequence_ways.h"

kd_stretch kd_block(const kd_sequence *s, int64_t block);
/* The most tokens that a block has. */
int64_t kd_block_most(const kd_sequence *s);
/* Block i of those that a rank computes, ascending: as s->deal says, or in zigzag order where there is none. */
int64_t kd_block_of(const kd_sequence *s, int64_t rank, int64_t i);
/* Rows before a rank's block i; i = s->blocks: all that it computes. */
int64_t kd_block_row(const kd_sequence *s, int64_t rank, int64_t i);

/* s->deal [P, blocks] for this plan: costliest blocks first, each to the rank with the fewest pairs that has not its number yet. */
void kd_blocks_deal(kd_sequence *s, const kd_plan *plan);

/* Query/key pairs of the blocks that this rank computes, over all heads. */
int64_t kd_blocks_pairs(const kd_sequence *s, const kd_plan *plan);

/* A tensor in both orders. */
typedef struct kd_cargo {
    const kd_view *tokens;  /* [count, heads, E] */
    float *rows;            /* [rows, heads, E] */
    int64_t heads;
} kd_cargo;

/* Tokens to rows, or back, of n tensors. send and recv have room for the tokens and the rows of all. */
kd_status kd_blocks_to_rows(kd_ctx *ctx, const kd_sequence *s, const char *what, const kd_cargo *cargo, int64_t n);
kd_status kd_blocks_to_tokens(kd_ctx *ctx, const kd_sequence *s, const char *what, const kd_cargo *cargo, int64_t n);

#endif
