/* A model on several ranks: what each has, and how its sums go on over ranks.
 *
 * The ranks of `sequence` share each window: whole leaves, and whole heads in attention. A window's sums are merged over them
 * as soon as a phase has passed, and each rank keeps a shard of the sum, merged over its windows. The ranks of `data` have
 * windows of their own, consecutive ones. At the end of a step all of it comes to all. */
#include <stdlib.h>

#include "model_state.h"
#include "nn/nn_ops.h"

/* A tied head's gradient stands behind the flat order, where an untied one stands in it: right after the norm's. */
kd_phase kd_phase_head(const kd_model *m) { return (kd_phase){m->layout.at[KD_P_NORM], m->C + m->V * m->C}; }

kd_phase kd_phase_mlp(const kd_model *m, int64_t layer) {
    int64_t at = m->layout.at[KD_P_O] + layer * m->layout.layer_stride, end = m->layout.layers_at + (layer + 1) * m->layout.layer_stride;
    return (kd_phase){at, end - at};
}

kd_phase kd_phase_qkv(const kd_model *m, int64_t layer) {
    int64_t at = m->layout.at[KD_P_INPUT_NORM] + layer * m->layout.layer_stride;
    return (kd_phase){at, kd_phase_mlp(m, layer).at - at};
}

static bool power_of_two(int64_t n) { return !(n & (n - 1)); }

kd_status kd_model_share(kd_model *m) {
    const kd_model_options *o = &m->options;
    if (!o->sequence || !o->data) KD_TRY(kd_comm_self(&m->alone));
    m->sequence = o->sequence ? o->sequence : m->alone;
    m->data = o->data ? o->data : m->alone;
    int64_t size = kd_comm_size(m->sequence), rank = kd_comm_rank(m->sequence), data = kd_comm_size(m->data);
    if (!power_of_two(size) || (o->training && o->leaves % size))
        return kd_fail(KD_EARG, "%lld ranks do not share %lld leaves: a power of two that divides them does", (long long)size, (long long)o->leaves);
    if (data > 1 && (!power_of_two(data) || !power_of_two(o->windows)))
        return kd_fail(KD_EARG, "%lld ranks with %lld windows each: both are powers of two where there are several", (long long)data,
                       (long long)o->windows);
    m->t0 = rank * o->window / size, m->T = (rank + 1) * o->window / size - m->t0;
    m->leaves = o->training ? o->leaves / size : 1, m->leaf0 = rank * m->leaves;
    return KD_OK;
}

kd_status kd_window_merge(kd_model *m, int64_t at, int64_t count, int64_t window) {
    int64_t depth = kd_tree_depth(window), merges = kd_tree_merges(window);
    for (int64_t k = 0; k < merges && count > 0; k++, depth--)
        KD_TRY(kd_add(m->ctx, m->slot[depth - 1] + at, m->slot[depth] + at, count));
    return KD_OK;
}

kd_status kd_phase_reduce(kd_model *m, kd_phase p, int64_t window) {
    int64_t size = kd_comm_size(m->sequence);
    if (size == 1 || m->ctx->measuring) return KD_OK;
    KD_TRY(kd_reduce_scatter(m->ctx, m->sequence, "gradients", m->slot[kd_tree_depth(window)] + p.at, p.count, m->room));
    kd_range own = kd_rank_range(p.count, size, kd_comm_rank(m->sequence));
    return kd_window_merge(m, p.at + own.at, own.count, window);
}

static kd_status gather_phase(kd_model *m, kd_phase p) { return kd_gather_shards(m->sequence, "gradients", m->slot[0] + p.at, p.count); }

kd_status kd_gradient_gather(kd_model *m) {
    int64_t windows = m->options.windows, data = kd_comm_size(m->data);
    if (kd_comm_size(m->sequence) > 1) {
        KD_TRY(gather_phase(m, kd_phase_head(m)));
        for (int64_t l = 0; l < m->L; l++) {
            KD_TRY(gather_phase(m, kd_phase_mlp(m, l)));
            KD_TRY(gather_phase(m, kd_phase_qkv(m, l)));
        }
    }
    KD_TRY(kd_losses_share(m, kd_comm_rank(m->data) * windows, windows));
    if (data == 1) return KD_OK;
    KD_TRY(kd_comm_gather_equal(m->data, "losses", m->losses, m->losses + kd_comm_rank(m->data) * windows * m->options.window,
                                windows * m->options.window * (int64_t)sizeof *m->losses));
    KD_TRY(kd_reduce_scatter(m->ctx, m->data, "gradients", m->slot[0], m->gradient_count, m->room));
    return kd_gather_shards(m->data, "gradients", m->slot[0], m->gradient_count);
}

kd_status kd_losses_share(kd_model *m, int64_t first, int64_t count) {
    int64_t size = kd_comm_size(m->sequence), T = m->options.window, *at;
    if (size == 1 || m->ctx->measuring) return KD_OK;
    KD_TRY(kd_new(&at, 2 * size, sizeof *at));
    for (int64_t r = 0; r < size; r++) {
        at[r] = r * T / size * (int64_t)sizeof *m->losses;
        at[size + r] = (r + 1) * T / size * (int64_t)sizeof *m->losses - at[r];
    }
    kd_status status = KD_OK;
    for (int64_t j = first; j < first + count && !status; j++) status = kd_comm_gather(m->sequence, "losses", m->losses + j * T, at, at + size);
    free(at);
    return status;
}
