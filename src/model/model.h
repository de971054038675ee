/* Llama, Mistral and Qwen2 as one table of tensors: forward, loss and backward over packed windows.
 *
 * Attention sees a window; everything else sees blocks of tokens (the context's), and the backward's sums over tokens go leaf by
 * leaf: a leaf is a window's tokens divided by `leaves`. Weight gradients accumulate blocks in order inside a leaf, then
 * a binary tree over (window, leaf). So the bits do not depend on threads, nor on how many windows are processed at once, nor
 * on the ranks that share the work: each has whole leaves, and the tree goes on over ranks (parallel.c).
 * The model never dereferences tensor data: it runs the same on every device.
 *
 * In bf16 (options' weights and activations) operations read bf16 copies of float32 weights, and store activations, the residual stream
 * and their gradients in bf16; logits, losses, statistics, the gradients of weights, and the weights that are updated stay float32. */
#ifndef KD_MODEL_H
#define KD_MODEL_H

#include "format/safetensors.h"
#include "nn/nn.h"
#include "par/sequence.h"
#include "parts.h"

typedef enum kd_recompute { KD_RECOMPUTE_AUTO, KD_RECOMPUTE_LAYER, KD_RECOMPUTE_NONE } kd_recompute;

typedef struct kd_model_options {
    int64_t window;          /* T of every plan */
    int64_t windows;         /* in an optimizer step */
    int64_t micro;           /* at once */
    int64_t leaves;          /* a power of two */
    kd_frame frame;
    kd_recompute recompute;  /* layer: the backward computes a layer again from its input; none: everything is kept;
                                auto: none if that fits into half of the memory that is free, else layer */
    bool training;           /* false: no gradients, one layer's activations at a time */
    bool bf16_activations;   /* every operation's output is rounded to bf16, as a bf16 network stores it; computing stays float32. To
                                measure what that does: KD_ENOTSUP with training */
    kd_view_type activations, weights;  /* float32, or both bf16: KD_ENOTSUP on the host, where ranks share a window, with zero >= 2 */
    kd_precision precision;  /* of rotations */
    int64_t positions;       /* that rotations serve; 0: those of a window, window + 1 */
    kd_comm *sequence;       /* ranks that share each window, a power of two of them that divides leaves; NULL: one */
    kd_sequence_mode mode;   /* how they share attention; ulysses unless set */
    kd_comm *data;           /* ranks that have windows of their own, `windows` each: a power of two of them; NULL: one */
    kd_comm *world;          /* all of them: rank = that in data * the size of sequence + that in sequence; NULL: they are those of sequence
                                alone, or of data (zero < 3) */
    const char *files;       /* where the inputs of layers lie: folder for a file; or KD_PLACE_HOST: in the host's memory, copied there and back
                                while other layers run (offload.c); NULL: in memory */
    const char *masters;     /* KD_PLACE_HOST: float32 weights beside bf16 ones lie in the host's memory; NULL: in memory */
    int64_t zero;            /* what each has of its own alone: 2: gradients, 3: weights too; less: neither */
} kd_model_options;

/* Measures, then allocates once: weights (uninitialised), gradients, activations, scratch. */
kd_status kd_model_open(kd_model **out, kd_ctx *ctx, const kd_config *config, const kd_model_options *options);
/* Measures only: nothing but kd_model_layout, kd_model_recompute, kd_model_memory_use, kd_model_scratch and
 * kd_model_close may follow. */
kd_status kd_model_measure(kd_model **out, kd_ctx *ctx, const kd_config *config, const kd_model_options *options);
void kd_model_close(kd_model *model);

const kd_layout *kd_model_layout(const kd_model *model);
const kd_parts *kd_model_parts(const kd_model *model);    /* what of the flat order is this rank's */
kd_comm *kd_model_world(const kd_model *model);
/* The place of this rank's window number i among the step's windows of all ranks: consecutive ones, and with zero >= 2
 * every so-manieth, so that their sum over ranks is the bottom of the tree. */
int64_t kd_model_window(const kd_model *model, int64_t i);
kd_recompute kd_model_recompute(const kd_model *model);   /* what auto became */
/* The device's: all of them [layout->count]; with zero 3 what this rank owns. */
float *kd_model_weights(kd_model *model);
/* After kd_model_gradient_finish, [layout->count] of which what this rank owns is the gradient; with zero >= 2 that alone. */
float *kd_model_gradient(kd_model *model);
/* A slice of what this rank owns. */
float *kd_model_weights_of(kd_model *model, kd_slice slice);
float *kd_model_gradient_of(kd_model *model, kd_slice slice);
/* In bf16 the copies of those weights, which an update makes again (kd_adamw_step); otherwise nothing. */
kd_array kd_model_rounded_of(kd_model *model, kd_slice slice);
/* Weights that were written by the caller, all that this rank owns, come to all that need them; rounded: so are their copies in bf16.
 * Collective. */
kd_status kd_model_weights_changed(kd_model *model, bool rounded);
/* Losses of the step's windows, of all ranks, [data ranks * windows * T] in double, the device's: 0 where a token has no target. After
 * kd_model_loss those of the windows last forwarded, from `first` on; else after kd_model_gradient_finish. */
double *kd_model_losses(kd_model *model);

/* Bytes by use. scratch is address space for the worst window; what a window touches of it is kd_model_scratch. files: what
 * lies in files or in a GPU's host's memory, not counted elsewhere. */
typedef struct kd_model_memory { int64_t weights, gradients, activations, scratch, files; } kd_model_memory;
kd_model_memory kd_model_memory_use(const kd_model *model);
kd_status kd_model_scratch(int64_t *bytes, kd_model *model, const kd_plan *plan);

/* Hidden states of `count` windows (at most micro), kept for what follows. first: the place of the first of them among
 * the step's windows. */
kd_status kd_model_forward(kd_model *model, const kd_plan *const *plan, int64_t count, int64_t first);
/* Per-token losses of the windows last forwarded, without gradients. */
kd_status kd_model_loss(kd_model *model);
/* kd_model_logits (kedge.h) counts this rank's tokens of all the windows last forwarded. */

/* Losses and gradients of the windows last forwarded; the gradient is that of scale * the sum of losses. Micro-batches
 * of a step come in ascending order of `first`. */
kd_status kd_model_backward(kd_model *model, float scale);
/* After the step's last micro-batch, `windows` in all of this rank. All ranks then have all losses, and each the gradient that it owns. */
kd_status kd_model_gradient_finish(kd_model *model, int64_t windows);

/* Query/key pairs that this rank computes of a window in a layer, over all heads. */
int64_t kd_model_pairs(kd_model *model, const kd_plan *plan);

/* ---- rows, for checks (rows.c) ------------------------------------------------------------------------------ */

/* What attention has of the model: rope (borrowed), frame, precision, heads, scale; no plan and no arrays. */
kd_attn kd_model_attn(const kd_model *model);
kd_view_type kd_model_type(const kd_model *model);      /* of activations */
kd_stretch kd_model_tokens(const kd_model *model);      /* of each window, this rank's */
/* Of this rank's tokens from .. from+count-1 of the windows last forwarded, to the host, kd_model_row_bytes each as they are stored: what the last
 * layer gives, after kd_model_forward; and after kd_model_backward the gradient of what the embedding gave. KD_EARG. */
int64_t kd_model_row_bytes(const kd_model *model);
kd_status kd_model_output_rows(void *out, kd_model *model, int64_t from, int64_t count);
kd_status kd_model_gradient_rows(void *out, kd_model *model, int64_t from, int64_t count);

/* ---- weights (weights.c) --------------------------------------------------------------------------------- */

/* Hugging Face folder to weights: every tensor of the table must be there with its shape; others are an error, but
 * rotary_emb.inv_freq, and lm_head.weight where it is tied, are left out. */
kd_status kd_model_load(kd_model *model, const char *folder);
/* What weights are stored as. */
typedef struct kd_weights_form {
    kd_dtype dtype;       /* KD_F32, KD_BF16, KD_F16: rounded to nearest, ties to even; KD_WEIGHTS_AS_STORED: of an export */
    int64_t shard_bytes;  /* no file is larger, unless one tensor alone is; 0: one file */
} kd_weights_form;

#define KD_WEIGHTS_AS_STORED KD_DTYPES

/* Writes a Hugging Face folder (weights_write.c): model.safetensors, or model-00001-of-0000N.safetensors and
 * model.safetensors.index.json, the tensors in the canonical order; config.json, whose dtype says what is stored; and copies
 * the tokenizer's files of `from` (NULL: none) byte for byte. form NULL: float32 in one file. Collective: each rank writes some of the
 * files, which are the same for any number of ranks.
 * KD_ENUMERIC naming tensor and index where a finite weight does not fit into the dtype. */
kd_status kd_model_save(kd_model *model, const kd_config *config, const char *folder, const char *from,
                        const kd_weights_form *form);
/* The same from the files of one folder to another, tensor by tensor out of maps: memory does not grow with the model, and
 * a tensor whose dtype does not change keeps its bytes. Nothing of the training state goes along. `to` is missing or
 * empty; it appears whole or not at all. positions: max_position_embeddings (kd_config_set_positions); 0: as it is. */
kd_status kd_model_export(const char *to, const char *from, const kd_weights_form *form, int64_t positions);
/* Fresh weights: normal with the config's initializer_range, norms 1, biases 0; a function of seed and flat index. */
kd_status kd_model_init(kd_model *model, const kd_config *config, int64_t seed);

/* An array of the device's of what a rank owns (kd_model_parts): float32, or in 8 bits (nn/coded.h), where every tensor begins a block: of
 * one rank alone. */
typedef struct kd_owned { float *f32; kd_coded coded; bool is_signed; } kd_owned;
/* Of an array in 8 bits: tensor i of the table, whose elements lie at `own` of what is owned; and all the scales it has. */
static inline kd_coded kd_owned_tensor(kd_coded all, int64_t i, int64_t own) {
    return (kd_coded){all.code + own, all.scale + own / KD_CODED_BLOCK + i};
}
static inline int64_t kd_owned_scales(const kd_layout *layout, int64_t own) { return own / KD_CODED_BLOCK + layout->tensors + 1; }

/* Such arrays as safetensors files <stem>.safetensors, or in shards as weights are: tensor "<name><suffix[a]>" for every tensor of the
 * table and every array, whole, float32. Collective. The reverse reads what this rank owns and checks names and shapes. */
kd_status kd_model_save_owned(kd_model *model, const char *folder, const char *stem, const kd_owned *array, const char *const *suffix,
                              int64_t arrays, int64_t shard_bytes);
kd_status kd_model_load_owned(kd_model *model, const char *folder, const char *stem, const kd_owned *array, const char *const *suffix,
                              int64_t arrays);

#endif
