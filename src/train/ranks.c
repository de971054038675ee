/* Memory and time of a rank. */
#include "ranks.h"

#include "par/shards.h"

kd_ranks kd_ranks_of(const kd_run_file *run) {
    return (kd_ranks){run->sequence_ranks, run->data_ranks, 1, run->mode, run->recompute, run->leaves};
}

static bool power_of_two(int64_t n) { return n > 0 && !(n & (n - 1)); }

static int64_t windows_of(const kd_ranks *s, const kd_trainer *t) { return t->run->batch_windows / s->data; }

kd_status kd_ranks_check(const kd_ranks *s, const kd_trainer *t) {
    int64_t windows = t->run->batch_windows, P = s->sequence, T = t->run->window.window, H = t->config.H, G = t->config.G;
    if (!power_of_two(P) || !power_of_two(s->data)) return kd_fail(KD_EARG, "ranks are powers of two");
    if (windows % s->data || (s->data > 1 && !power_of_two(windows / s->data)))
        return kd_fail(KD_EARG, "%lld windows a step are not shared by %lld: batch.windows", (long long)windows, (long long)s->data);
    if (s->leaves % P || s->leaves > T)
        return kd_fail(KD_EARG, "%lld leaves of a window of %lld tokens are not shared by %lld", (long long)s->leaves, (long long)T,
                       (long long)P);
    if (s->mode == KD_SEQUENCE_ULYSSES && H % P)
        return kd_fail(KD_EARG, "%lld heads are not shared by %lld ranks, allgather does it", (long long)H, (long long)P);
    if (s->mode == KD_SEQUENCE_ULYSSES && (P <= G ? G % P : P % G || !power_of_two(P / G) || !power_of_two(H / P)))
        return kd_fail(KD_EARG, "%lld key/value heads of %lld heads are not shared by %lld", (long long)G, (long long)H, (long long)P);
    return KD_OK;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

/* Partial sums that the tree over a rank's windows keeps at once. */
static int64_t slots_of(int64_t windows) {
    int64_t slots = 0;
    for (; windows > 0; windows /= 2) slots++;
    return slots;
}

static int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

/* What the walk does not tell yet: gradients and weights in shards. Of gradients the shards of all partial sums and two
 * phases whole, and the room to add a phase up in, not all; of weights the shard, two layers whole, and the embedding or the head. */
static void shard_on_paper(kd_estimate *e, const kd_layout *l, const kd_ranks *s, int64_t windows, int64_t shard, bool tied) {
    int64_t head = l->columns[KD_P_EMBED] * (l->rows[KD_P_EMBED] + 1), phase = greater(head, l->layer_stride);
    int64_t all = l->count + (tied ? l->size[KD_P_EMBED] : 0);
    int64_t whole = kd_reduce_room(all, s->data), room = kd_reduce_room(phase, s->sequence);
    int64_t told = greater(whole, s->mode == KD_SEQUENCE_ULYSSES ? room : 0);  /* the walk of other modes is one rank's */
    e->gradients += (greater(room, s->zero > 1 ? 0 : whole) - told) * (int64_t)sizeof(float);
    if (s->zero > 1) e->gradients += (slots_of(windows) * (shard - all) + 2 * phase) * (int64_t)sizeof(float);
    if (s->zero > 2) e->weights = (shard + 2 * l->layer_stride + head) * (int64_t)sizeof(float);
}

int64_t kd_ranks_heads(const kd_ranks *s, const kd_config *c) {
    int64_t heads = c->H / (2 * s->sequence);
    return heads < 1 ? 1 : heads < c->G ? heads : c->G;
}

/* A rank that gathers has its tokens as one rank has a window of so many; of as many queries outputs, gradients and what is packed;
 * and of all tokens, of some heads, keys and values, their gradients, and parts of these. In a ring, those of two ranks. */
static int64_t gathered_bytes(const kd_ranks *s, const kd_trainer *t) {
    int64_t T = t->run->window.window, own = T / s->sequence, row = t->config.E * (int64_t)sizeof(float);
    if (s->mode == KD_SEQUENCE_ULYSSES) return 0;
    int64_t kv = s->mode == KD_SEQUENCE_ALLGATHER ? T * kd_ranks_heads(s, &t->config) : own * t->config.G;
    return (6 * own * t->config.H + 8 * kv) * row;
}

/* The first window of the run, or as many of its tokens as a rank that gathers has. */
static kd_status scratch_of(kd_estimate *e, kd_model *model, const kd_trainer *t, int64_t T) {
    kd_plan plan;
    KD_TRY(kd_windows_plan(&plan, &t->train.windows, 0, true));
    kd_plan part = plan;
    part.T = T;
    while (part.N > 1 && part.start[part.N - 1] >= T) part.N--;
    part.start[part.N] = T;
    kd_status status = kd_estimate_window(e, model, &part);
    kd_plan_free(&plan);
    return status;
}

kd_status kd_ranks_memory(kd_estimate *e, const kd_trainer *t, const kd_ranks *s) {
    bool heads = s->mode == KD_SEQUENCE_ULYSSES;
    kd_model_options o = kd_trainer_model_options(t);
    kd_comm *sequence = NULL, *data = NULL;
    kd_model *model = NULL;
    kd_status status;
    o.windows = windows_of(s, t);
    o.micro = t->run->micro < o.windows ? t->run->micro : o.windows;
    o.leaves = s->leaves, o.recompute = s->recompute, o.mode = s->mode;
    if (!heads) o.window /= s->sequence, o.leaves /= s->sequence;
    KD_GO(kd_comm_on_paper(&sequence, 0, heads ? s->sequence : 1));
    KD_GO(kd_comm_on_paper(&data, 0, s->data));
    o.sequence = sequence, o.data = data;
    KD_GO(kd_model_measure(&model, t->ctx, &t->config, &o));
    e->scratch = 0;
    e->plans = e->plans / t->run->batch_windows * o.windows;
    KD_GO(scratch_of(e, model, t, o.window));
    const kd_layout *layout = kd_model_layout(model);
    int64_t shard = s->zero > 0 ? kd_rank_range(layout->count, s->sequence * s->data, 0).count : layout->count;
    kd_estimate_model(e, model, shard);
    shard_on_paper(e, layout, s, o.windows, shard, t->config.tied);
    e->activations += gathered_bytes(s, t);
    kd_estimate_total(e);
done:
    kd_model_close(model);
    kd_comm_free(sequence);
    kd_comm_free(data);
    return status;
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

kd_seconds kd_ranks_seconds(const kd_estimate *e, const kd_trainer *t, const kd_ranks *s, const kd_speed *speed, const kd_sent *sent) {
    kd_speed shared = *speed;
    int64_t windows = t->run->batch_windows;
    kd_work work = kd_work_count(&t->config, e->tokens / windows, windows, t->run->micro, e->recompute, (double)e->parameters, 1);
    shared.devices = (double)(s->sequence * s->data);
    shared.link = 0;
    kd_seconds time = kd_speed_seconds(&shared, &work, &e->lengths, e->share);
    int64_t k = 0, moves = 0;
    while (k + 1 < KD_STRETCHES && INT64_C(1) << k < s->sequence) k++;
    if (s->mode == KD_SEQUENCE_ALLGATHER) time.attention *= e->worst[k];
    for (int use = 0; use < KD_SENT_USES; use++) moves += sent->moves[use];
    if (speed->inside > 0) time.sent += (double)kd_sent_bytes(sent, 0) / speed->inside;
    if (speed->between > 0) time.sent += (double)kd_sent_bytes(sent, 1) / speed->between;
    if (speed->inside > 0 || speed->between > 0) time.sent += (double)moves * speed->latency;
    time.all = time.products + time.attention + time.numbers + time.update + time.sent;
    return time;
}
