/* A model on several ranks: what each has, and how its sums go on over ranks.
 *
 * The ranks of `sequence` share each window: whole leaves, and whole heads in attention. A window's sums are merged over them
 * as soon as a phase has passed, and each rank keeps a shard of the sum, merged over its windows. The ranks of `data` have
 * windows of their own. Theirs are summed at the end of a step, once; with zero >= 2 with every window, so that no more of the gradient than is
 * owned outlives its phase. Either way the shards that are left are the pieces that ranks own (parts.h). */
#include <stdlib.h>

#include "model_state.h"
#include "nn/nn_ops.h"

/* A tied head's gradient stands behind the flat order, where an untied one stands in it: right after the norm's. */
kd_phase kd_phase_head(const kd_model *m) {
    return (kd_phase){m->layout.at[KD_P_NORM], m->C + m->V * m->C, kd_part_norm(&m->own), 2};
}

static kd_phase phase_of(const kd_model *m, int64_t part) {
    kd_range r = kd_part_whole(&m->own, part);
    return (kd_phase){r.at, r.count, part, 1};
}

kd_phase kd_phase_mlp(const kd_model *m, int64_t layer) { return phase_of(m, kd_part_rest(layer)); }
kd_phase kd_phase_qkv(const kd_model *m, int64_t layer) { return phase_of(m, kd_part_attention(layer)); }

static bool power_of_two(int64_t n) { return !(n & (n - 1)); }

kd_status kd_model_share(kd_model *m) {
    const kd_model_options *o = &m->options;
    if (!o->sequence || !o->data) KD_TRY(kd_comm_self(&m->alone));
    m->sequence = o->sequence ? o->sequence : m->alone;
    m->data = o->data ? o->data : m->alone;
    m->world = o->world ? o->world : kd_comm_size(m->data) == 1 ? m->sequence : m->data;
    int64_t size = kd_comm_size(m->sequence), rank = kd_comm_rank(m->sequence), data = kd_comm_size(m->data);
    if (kd_comm_size(m->world) != size * data || kd_comm_rank(m->world) != kd_comm_rank(m->data) * size + rank)
        return kd_fail(KD_EARG, "rank %lld of %lld is not rank %lld of %lld of the data and %lld of %lld of the sequence",
                       (long long)kd_comm_rank(m->world), (long long)kd_comm_size(m->world), (long long)kd_comm_rank(m->data),
                       (long long)data, (long long)rank, (long long)size);
    if (size * data > 1 && m->ctx->isa >= KD_ISA_SM80)
        return kd_fail(KD_ENOTSUP, "several ranks on device %s: their moves are between the memories of hosts",
                       m->ctx->device->name);
    m->zero = size * data > 1 ? o->zero : 0;
    if (m->zero >= 3 && !o->world)  /* weights come while others move */
        return kd_fail(KD_EARG, "zero 3 needs a communicator of all ranks beside those of sequence and data");
    m->own = kd_parts_of(&m->layout, size * data, kd_comm_rank(m->world));
    if (!power_of_two(size) || (o->training && o->leaves % size))
        return kd_fail(KD_EARG, "%lld ranks do not share %lld leaves: a power of two that divides them does", (long long)size, (long long)o->leaves);
    if (!power_of_two(data) || (data > 1 && m->zero < 2 && !power_of_two(o->windows)))
        return kd_fail(KD_EARG, "%lld ranks with %lld windows each: both are powers of two where there are several, with zero 2 and 3 the ranks alone",
                       (long long)data, (long long)o->windows);
    m->t0 = rank * o->window / size, m->T = (rank + 1) * o->window / size - m->t0;
    m->leaves = o->training ? o->leaves / size : 1, m->leaf0 = rank * m->leaves;
    return KD_OK;
}

int64_t kd_model_window(const kd_model *m, int64_t i) {
    int64_t data = kd_comm_size(m->data), rank = kd_comm_rank(m->data);
    return m->zero >= 2 ? i * data + rank : rank * m->options.windows + i;
}

float *kd_window_sum(const kd_model *m, int64_t at, int64_t window, kd_phase p) {
    return m->zero >= 2 ? m->leaf[0] + at - p.at : m->slot[kd_tree_depth(window)] + at;
}

/* Window sums before `window` that it completes are added up: slot[depth - 1] += slot[depth], [count] at `at` of each. */
static kd_status merge(kd_model *m, int64_t at, int64_t count, int64_t depth, int64_t merges) {
    for (; merges > 0 && count > 0; merges--, depth--)
        KD_TRY(kd_add(m->ctx, kd_f32(m->slot[depth - 1] + at), kd_f32(m->slot[depth] + at), count));
    return KD_OK;
}

/* x: this rank's shard of a window's sum of a part, of the ranks that share the window; zero < 2: in its slot. */
static kd_status keep(kd_model *m, int64_t part, float *x, int64_t window) {
    int64_t depth = kd_tree_depth(window), merges = kd_tree_merges(window), data = kd_comm_size(m->data);
    kd_range whole = kd_part_whole(&m->own, part), shard = kd_rank_range(whole.count, kd_comm_size(m->sequence), kd_comm_rank(m->sequence));
    if (m->zero < 2) return merge(m, whole.at + shard.at, shard.count, depth, merges);
    KD_TRY(kd_reduce_scatter(m->ctx, m->data, "gradients", x, shard.count, m->room));
    x += kd_rank_range(shard.count, data, kd_comm_rank(m->data)).at;
    kd_slice own = kd_part_piece(&m->own, part);
    if (own.count == 0) return KD_OK;
    if (merges == 0) return kd_copy(m->ctx, kd_f32(m->slot[depth] + own.own), kd_f32(x), own.count);
    KD_TRY(kd_add(m->ctx, kd_f32(m->slot[depth - 1] + own.own), kd_f32(x), own.count));
    return merge(m, own.own, own.count, depth - 1, merges - 1);
}

kd_status kd_phase_reduce(kd_model *m, kd_phase p, int64_t window) {
    int64_t size = kd_comm_size(m->sequence);
    if (m->ctx->measuring || (size == 1 && m->zero < 2)) return KD_OK;
    for (int64_t part = p.part; part < p.part + p.parts; part++) {
        kd_range whole = kd_part_whole(&m->own, part);
        float *x = kd_window_sum(m, whole.at, window, p);
        KD_TRY(kd_reduce_scatter(m->ctx, m->sequence, "gradients", x, whole.count, m->room));
        KD_TRY(keep(m, part, x + kd_rank_range(whole.count, size, kd_comm_rank(m->sequence)).at, window));
    }
    return KD_OK;
}

kd_status kd_embedding_reduce(kd_model *m, float *x, int64_t window) {
    return m->ctx->measuring ? KD_OK : keep(m, KD_PART_EMBED, x, window);
}

kd_status kd_gradient_reduce(kd_model *m, int64_t windows) {
    int64_t depth = kd_tree_depth(windows) - 1, T = m->options.window, data = kd_comm_size(m->data), own = m->options.windows * T;
    for (int64_t part = 0; part <= kd_part_head(&m->own); part++) {
        kd_range whole = kd_part_whole(&m->own, part), shard = kd_rank_range(whole.count, kd_comm_size(m->sequence), kd_comm_rank(m->sequence));
        kd_slice piece = kd_part_piece(&m->own, part);
        int64_t at = m->zero >= 2 ? piece.own : whole.at + shard.at;
        KD_TRY(merge(m, at, m->zero >= 2 ? piece.count : shard.count, depth, depth));
        if (m->zero < 2) KD_TRY(kd_reduce_scatter(m->ctx, m->data, "gradients", m->slot[0] + at, shard.count, m->room));
    }
    for (int64_t i = 0; i < m->options.windows; i++) KD_TRY(kd_losses_share(m, kd_model_window(m, i), 1));
    if (data == 1) return KD_OK;
    if (m->zero < 2)
        return kd_comm_gather_equal(m->data, "losses", m->losses, m->losses + kd_comm_rank(m->data) * own, own * (int64_t)sizeof *m->losses);
    for (int64_t i = 0; i < m->options.windows; i++)
        KD_TRY(kd_comm_gather_equal(m->data, "losses", m->losses + i * data * T, m->losses + kd_model_window(m, i) * T, T * (int64_t)sizeof *m->losses));
    return KD_OK;
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
