/* The backward pass, layer by layer in reverse; sums over tokens go leaf by leaf into a binary tree.
 *
 * A phase is a stretch of the flat order whose gradients are complete at the same time: the head with the last norm; a
 * layer's MLP, second norm and output projection; its query, key and value projections with the first norm. Leaves are counted
 * from this rank's first; of several ranks that share a window, its sums are merged when the phase has passed (parallel.c). */
#include "model_state.h"
#include "nn/nn_ops.h"

/* Partial sum number `depth` of the leaves: the first stands where the window's own sum will be. */
static float *leaf_sum(const kd_model *m, kd_phase p, int64_t window, int64_t depth) {
    return depth ? m->leaf[depth] : kd_window_sum(m, p.at, window, p);
}

/* Tokens t .. t+B-1 of all at once, and how what they give is added up; tree's sums are of the phase. */
typedef struct block {
    kd_phase p;
    int64_t leaf, window, t, B;
    kd_tree tree;
} block;

/* The tree's sums for leaf `leaf`, or for several of which it is the first. */
static kd_tree tree_of(const kd_model *m, kd_phase p, int64_t window, int64_t leaf, int64_t count) {
    kd_tree tree = {m->options.window, m->options.leaves, m->leaf0 + leaf, count, true, true, 0,
                    {leaf_sum(m, p, window, kd_tree_depth(leaf))}};
    int64_t depth = kd_tree_depth(leaf), last = leaf + count - 1, merges = kd_tree_merges(last) - kd_tree_merges(count - 1);
    for (int64_t k = 0; k < merges; k++) tree.sum[++tree.merges] = leaf_sum(m, p, window, --depth);
    if (last + 1 < m->leaves || kd_comm_size(m->sequence) > 1 || m->zero >= 2) return tree;
    depth = kd_tree_depth(window), merges = kd_tree_merges(window);
    for (int64_t k = 0; k < merges; k++) tree.sum[++tree.merges] = m->slot[--depth] + p.at;
    return tree;
}

/* The gradient of a vector: n floats at `at` of the phase, leaf by leaf of a block. */
typedef struct vector { int64_t at, n; } vector;

/* Where leaf i of the block adds up, begun if the block begins it. */
static kd_status vector_begin(float **sum, kd_model *m, const block *b, vector v, int64_t i) {
    *sum = leaf_sum(m, b->p, b->window, kd_tree_depth(b->leaf + i)) + v.at;
    return b->tree.begins ? kd_zero(m->ctx, kd_f32(*sum), v.n) : KD_OK;
}

static kd_status vector_end(kd_model *m, const block *b, vector v, int64_t i) {
    if (!b->tree.ends) return KD_OK;
    kd_tree tree = tree_of(m, b->p, b->window, b->leaf + i, 1);
    for (int64_t k = 1; k <= tree.merges; k++) KD_TRY(kd_add(m->ctx, kd_f32(tree.sum[k] + v.at), kd_f32(tree.sum[k - 1] + v.at), v.n));
    return KD_OK;
}

/* Leaf i of a block: tokens from .. from+count-1 of the block. */
typedef struct piece { int64_t from, count; } piece;

static piece piece_of(const block *b, int64_t i) {
    if (b->tree.count == 1) return (piece){0, b->B};
    int64_t from = kd_tree_token(&b->tree, i);
    return (piece){from, kd_tree_token(&b->tree, i + 1) - from};
}

/* dx += the gradient through the norm of the block's dh; at: of its weight in the phase. x, rinv, dx are the block's. */
static kd_status norm_backward(kd_model *m, const block *b, int64_t at, kd_array dx, kd_array x, const float *rinv, kd_array w) {
    vector v = {at, m->C};
    for (int64_t i = 0; i < b->tree.count; i++) {
        piece own = piece_of(b, i);
        int64_t row = own.from * m->C;
        float *sum;
        KD_TRY(vector_begin(&sum, m, b, v, i));
        KD_TRY(kd_rmsnorm_backward(m->ctx, kd_at(dx, row), sum, kd_at(m->dh, row), kd_at(x, row), rinv + own.from, w, own.count, m->C));
        KD_TRY(vector_end(m, b, v, i));
    }
    return KD_OK;
}

static kd_status bias_backward(kd_model *m, const block *b, int64_t at, kd_array dy, int64_t N) {
    vector v = {at, N};
    for (int64_t i = 0; i < b->tree.count; i++) {
        piece own = piece_of(b, i);
        float *sum;
        KD_TRY(vector_begin(&sum, m, b, v, i));
        KD_TRY(kd_column_sum(m->ctx, sum, kd_at(dy, own.from * N), own.count, N));
        KD_TRY(vector_end(m, b, v, i));
    }
    return KD_OK;
}

kd_status kd_model_gradient_finish(kd_model *m, int64_t windows) {
    KD_TRY(kd_gradient_reduce(m, windows));
    kd_slice embed = kd_part_piece(&m->own, KD_PART_EMBED), head = kd_part_piece(&m->own, kd_part_head(&m->own));
    if (!m->tied || embed.count == 0) return KD_OK;
    return kd_add(m->ctx, kd_f32(kd_model_gradient_of(m, embed)), kd_f32(kd_model_gradient_of(m, head)), embed.count);
}

typedef kd_status block_backward(kd_model *m, int64_t layer, const block *b, float scale);

/* Leaves that a block holds whole: as many as fit, a power of two; 1 if not even one does. */
static int64_t leaves_at_once(const kd_model *m) {
    int64_t count = 1, longest = kd_segments(m->options.window, m->options.leaves);
    while (count < m->leaves && 2 * count * longest <= m->block) count *= 2;
    return count;
}

/* The first token of a leaf, counted from this rank's first. */
static int64_t leaf_begin(const kd_model *m, int64_t leaf) {
    return (m->leaf0 + leaf) * m->options.window / m->options.leaves - m->t0;
}

static kd_status walk(kd_model *m, kd_phase p, int64_t layer, float scale, block_backward *run) {
    int64_t count = leaves_at_once(m);
    for (int64_t j = 0; j < m->count; j++) {
        for (int64_t leaf = 0; leaf < m->leaves; leaf += count) {
            int64_t begin = leaf_begin(m, leaf), end = leaf_begin(m, leaf + count);
            block b = {p, leaf, m->first + j, 0, 0, tree_of(m, p, m->first + j, leaf, count)};
            for (int64_t t = begin; t < end; t += m->block) {
                b.t = j * m->T + t;
                b.B = kd_block(m, t, end);
                b.tree.begins = t == begin;
                b.tree.ends = t + b.B == end;
                KD_TRY(run(m, layer, &b, scale));
            }
        }
        KD_TRY(kd_phase_reduce(m, p, m->first + j));
    }
    return KD_OK;
}

static kd_status head_block(kd_model *m, int64_t layer, const block *b, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)layer;
    int64_t t = b->t, B = b->B, V = m->V, C = m->C;
    kd_array x = kd_at(kd_layer_input(m, m->L), t * C), dx = kd_at(m->dx, t * C);
    kd_array head = kd_weight(m, m->tied ? KD_P_EMBED : KD_P_LM_HEAD, 0);
    double *losses = m->losses + kd_model_window(m, b->window) * m->options.window + m->t0 + t - (b->window - m->first) * m->T;
    KD_TRY(kd_block_logits(m, t, B));
    KD_TRY(kd_cross_entropy(ctx, losses, m->logits, m->dlogits, m->target + t, scale, B, V));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, m->dlogits, head, false, B, V, C));
    KD_TRY(kd_linear_backward_weight(ctx, &b->tree, C, m->dlogits, m->h, B, V, C));
    KD_TRY(kd_zero(ctx, dx, B * C));
    return norm_backward(m, b, 0, dx, x, m->rinv_last + t, kd_weight(m, KD_P_NORM, 0));
}

/* dx comes in as the gradient of the layer's output and leaves as that of `mid`; dout is attention's. */
static kd_status mlp_block(kd_model *m, int64_t l, const block *b, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)scale;
    const kd_layer_acts *a = kd_acts(m, l);
    const kd_tree *tree = &b->tree;
    int64_t t = b->t, B = b->B, C = m->C, F = m->F, HE = m->H * m->E;
    kd_array dx = kd_at(m->dx, t * C), mid = kd_at(a->mid, t * C), norm = kd_weight(m, KD_P_POST_NORM, l);
    kd_array gate = a->gate.data ? kd_at(a->gate, t * F) : m->gate, up = a->up.data ? kd_at(a->up, t * F) : m->up;
#define AT(kind) (m->layout.at[KD_P_##kind] - m->layout.at[KD_P_O])
    KD_TRY(kd_rmsnorm_forward(ctx, m->h, a->rinv2 + t, mid, norm, m->eps, B, C));
    if (!a->gate.data) {
        KD_TRY(kd_linear_forward(ctx, gate, m->h, kd_weight(m, KD_P_GATE, l), kd_none(), kd_none(), B, F, C));
        KD_TRY(kd_linear_forward(ctx, up, m->h, kd_weight(m, KD_P_UP, l), kd_none(), kd_none(), B, F, C));
    }
    KD_TRY(kd_linear_backward_input(ctx, m->dact, dx, kd_weight(m, KD_P_DOWN, l), false, B, C, F));
    KD_TRY(kd_swiglu_backward(ctx, gate, up, m->act, m->dact, gate, up, B * F));  /* gate, up become their gradients */
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(DOWN), dx, m->act, B, C, F));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(GATE), gate, m->h, B, F, C));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(UP), up, m->h, B, F, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, gate, kd_weight(m, KD_P_GATE, l), false, B, F, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, up, kd_weight(m, KD_P_UP, l), true, B, F, C));
    KD_TRY(norm_backward(m, b, AT(POST_NORM), dx, mid, a->rinv2 + t, norm));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(O), dx, kd_at(a->o, t * HE), B, C, HE));
    return kd_linear_backward_input(ctx, kd_at(m->dout, t * HE), dx, kd_weight(m, KD_P_O, l), false, B, C, HE);
#undef AT
}

/* dx comes in as the gradient of `mid` and leaves as that of the layer's input. */
static kd_status qkv_block(kd_model *m, int64_t l, const block *b, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)scale;
    const kd_layer_acts *a = kd_acts(m, l);
    const kd_tree *tree = &b->tree;
    int64_t t = b->t, B = b->B, C = m->C, HE = m->H * m->E, GE = m->G * m->E;
    kd_array x = kd_at(kd_layer_input(m, l), t * C), norm = kd_weight(m, KD_P_INPUT_NORM, l);
    kd_array dq = kd_at(m->dq, t * HE), dk = kd_at(m->dk, t * GE), dv = kd_at(m->dv, t * GE);
#define AT(kind) (m->layout.at[KD_P_##kind] - m->layout.at[KD_P_INPUT_NORM])
    KD_TRY(kd_rmsnorm_forward(ctx, m->h, a->rinv1 + t, x, norm, m->eps, B, C));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(Q), dq, m->h, B, HE, C));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(K), dk, m->h, B, GE, C));
    KD_TRY(kd_linear_backward_weight(ctx, tree, AT(V), dv, m->h, B, GE, C));
    if (m->layout.size[KD_P_Q_BIAS] > 0) {
        KD_TRY(bias_backward(m, b, AT(Q_BIAS), dq, HE));
        KD_TRY(bias_backward(m, b, AT(K_BIAS), dk, GE));
        KD_TRY(bias_backward(m, b, AT(V_BIAS), dv, GE));
    }
    KD_TRY(kd_linear_backward_input(ctx, m->dh, dq, kd_weight(m, KD_P_Q, l), false, B, HE, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, dk, kd_weight(m, KD_P_K, l), true, B, GE, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, dv, kd_weight(m, KD_P_V, l), true, B, GE, C));
    return norm_backward(m, b, AT(INPUT_NORM), kd_at(m->dx, t * C), x, a->rinv1 + t, norm);
#undef AT
}

static kd_status attention_backward(kd_model *m, int64_t l) {
    int64_t T = m->T, HE = m->H * m->E, GE = m->G * m->E;
    const kd_layer_acts *a = kd_acts(m, l);
    for (int64_t j = 0; j < m->count; j++) {
        kd_attn attn = kd_layer_attn(m, a, j);
        kd_sequence_kept kept = kd_sequence_kept_of(&a->kept, &m->attention, j);
        attn.dout = kd_heads_of(kd_at(m->dout, j * T * HE), m->H, m->E);
        attn.dq = kd_heads_of(kd_at(m->dq, j * T * HE), m->H, m->E);
        attn.dk = kd_heads_of(kd_at(m->dk, j * T * GE), m->G, m->E);
        attn.dv = kd_heads_of(kd_at(m->dv, j * T * GE), m->G, m->E);
        KD_TRY(kd_sequence_backward(m->ctx, &m->attention, &attn, &kept));
    }
    return KD_OK;
}

/* Rows of the embedding are added in token order, window by window: one chain a row. Of several ranks each adds up a shard of
 * the table: what a rank's tokens give comes to all of them when it is its turn. */
static kd_status embedding_backward(kd_model *m) {
    int64_t T = m->options.window, size = kd_comm_size(m->sequence), rank = kd_comm_rank(m->sequence);
    kd_range own = kd_rank_range(m->V * m->C, size, rank);
    for (int64_t j = 0; j < m->count; j++) {
        float *sum = kd_window_sum(m, own.at, m->first + j, (kd_phase){.at = own.at});
        if (own.count > 0) KD_TRY(kd_zero(m->ctx, kd_f32(sum), own.count));
        for (int64_t r = 0; r < size; r++)
            for (int64_t t = r * T / size, end = (r + 1) * T / size; t < end; t += m->block) {
                int64_t B = kd_block(m, t, end);
                kd_array dx = r == rank ? kd_at(m->dx, (j * m->T + t - m->t0) * m->C) : m->dh;
                if (size > 1 && !m->ctx->measuring)
                    KD_TRY(kd_comm_broadcast(m->sequence, "gradients of the embedding", r, dx.data, B * m->C * kd_type_size(dx.type)));
                KD_TRY(kd_embedding_backward(m->ctx, sum, dx, m->window_token + j * T + t, B, m->V, m->C, own.at, own.count));
            }
        KD_TRY(kd_embedding_reduce(m, sum, m->first + j));
    }
    return KD_OK;
}

kd_status kd_model_backward(kd_model *m, float scale) {
    KD_TRY(kd_head_need(m));
    KD_TRY(walk(m, kd_phase_head(m), 0, scale, head_block));
    for (int64_t l = m->L - 1; l >= 0; l--) {
        KD_TRY(kd_layer_need(m, l, l - 1));
        KD_TRY(kd_input_need(m, l, l - 1));
        /* The last layer's activations are still there. */
        if (m->options.recompute == KD_RECOMPUTE_LAYER && l < m->L - 1) KD_TRY(kd_layer_attention(m, l));
        KD_TRY(walk(m, kd_phase_mlp(m, l), l, scale, mlp_block));
        KD_TRY(attention_backward(m, l));
        KD_TRY(walk(m, kd_phase_qkv(m, l), l, scale, qkv_block));
    }
    return embedding_backward(m);
}
