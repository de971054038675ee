/* What leaves a rank in a step, move by move as src/model, src/par and the optimizer make them. */
#include "nn/nn_ops.h"
#include "par/shards.h"
#include "ranks.h"

static const char *const use_name[KD_SENT_USES] = {"attention", "embedding", "gradients", "weights", "losses", "verdicts"};

const char *kd_sent_name(kd_sent_use use) { return use_name[use]; }

int64_t kd_sent_bytes(const kd_sent *sent, int link) {
    int64_t all = 0;
    for (int use = 0; use < KD_SENT_USES; use++) all += sent->bytes[use][link];
    return all;
}

/* Some of all ranks: member i is rank first + i * stride, and `own` is the one that is counted. */
typedef struct group { int64_t size, own, first, stride; } group;

typedef struct counter {
    kd_sent *sent;
    const kd_config *config;
    const kd_ranks *ranks;
    kd_layout layout;
    group all, sequence, data;
    int64_t host, T, tokens;   /* a window's tokens, and how many of them this rank has */
    int64_t windows, micros;   /* of this rank */
} counter;

enum { FLOAT = sizeof(float) };

static void to_one(counter *c, kd_sent_use use, const group *g, int64_t member, int64_t bytes) {
    int64_t own = g->first + g->own * g->stride, other = g->first + member * g->stride;
    if (member != g->own) c->sent->bytes[use][own / c->host != other / c->host] += bytes;
}

static void to_all(counter *c, kd_sent_use use, const group *g, int64_t bytes, int64_t times) {
    for (int64_t i = 0; i < g->size; i++) to_one(c, use, g, i, bytes * times);
    c->sent->moves[use] += g->size > 1 ? times : 0;
}

/* This rank's shard of n floats to all: kd_gather_shards. */
static void gather(counter *c, kd_sent_use use, const group *g, int64_t n, int64_t times) {
    to_all(c, use, g, kd_rank_range(n, g->size, g->own).count * FLOAT, times);
}

/* kd_reduce_scatter of n floats: with the partner of each bit the half that is not kept. */
static void reduce_scatter(counter *c, const group *g, int64_t n, int64_t times) {
    for (int64_t bit = 1; bit < g->size; bit *= 2, c->sent->moves[KD_SENT_GRADIENTS] += times)
        to_one(c, KD_SENT_GRADIENTS, g, g->own ^ bit, kd_rank_range(n, 2 * bit, (g->own ^ bit) & (2 * bit - 1)).count * FLOAT * times);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

static int64_t tokens_of(const counter *c, int64_t rank) {
    return (rank + 1) * c->T / c->sequence.size - rank * c->T / c->sequence.size;
}

/* Floats of a token: `there` to the rank of the heads, `back` to the rank of the token. */
static void heads_exchange(counter *c, int64_t there, int64_t back, int64_t times) {
    to_all(c, KD_SENT_ATTENTION, &c->sequence, c->tokens * there * FLOAT, times);
    for (int64_t i = 0; i < c->sequence.size; i++) to_one(c, KD_SENT_ATTENTION, &c->sequence, i, tokens_of(c, i) * back * FLOAT * times);
    c->sent->moves[KD_SENT_ATTENTION] += times;
    to_all(c, KD_SENT_VERDICTS, &c->sequence, 8, times);
}

/* Keys and values to all, forward and again backward, a few heads at a time; their gradients to the token's rank. Queries and
 * outputs to the ranks of their blocks and back, and their gradients: each rank computes as much of each other's as of its own, as if
 * the deal were even. */
static void all_gather(counter *c, int64_t forwards, int64_t backwards) {
    int64_t q = 2 * c->config->H * c->config->E * FLOAT, kv = 2 * c->config->G * c->config->E * FLOAT, both = forwards + backwards;
    int64_t steps = kd_segments(c->config->G, kd_ranks_heads(c->ranks, c->config));
    for (int64_t i = 0; i < c->sequence.size; i++)
        to_one(c, KD_SENT_ATTENTION, &c->sequence, i, c->tokens * (kv + q / c->sequence.size) * both + tokens_of(c, i) * kv * backwards);
    c->sent->moves[KD_SENT_ATTENTION] += (steps + 2) * both + steps * backwards;
    to_all(c, KD_SENT_VERDICTS, &c->sequence, 8, both);
}

/* Chunk i of 2P: its tokens, and the rank that computes it. */
static int64_t chunk_tokens(const counter *c, int64_t i) {
    int64_t chunks = 2 * c->sequence.size;
    return (i + 1) * c->T / chunks - i * c->T / chunks;
}
static int64_t chunk_rank(const counter *c, int64_t i) { return i < c->sequence.size ? i : 2 * c->sequence.size - 1 - i; }

/* Tokens go to their chunks' ranks and back; keys and values go round the ring, backward with their gradients, which are home after
 * as many steps as there are ranks. */
static void ring(counter *c, int64_t forwards, int64_t backwards) {
    int64_t P = c->sequence.size, own = c->sequence.own, both = forwards + backwards;
    int64_t q = c->config->H * c->config->E * FLOAT, kv = 2 * c->config->G * c->config->E * FLOAT;
    for (int64_t i = 0; i < 2 * P; i++) {
        if (i / 2 == own) to_one(c, KD_SENT_ATTENTION, &c->sequence, chunk_rank(c, i), chunk_tokens(c, i) * (q * both + kv * forwards));
        if (chunk_rank(c, i) == own) to_one(c, KD_SENT_ATTENTION, &c->sequence, i / 2, chunk_tokens(c, i) * (q * both + kv * backwards));
    }
    for (int64_t step = 0; step < P; step++) {
        int64_t owner = (own - step + P) % P, load = (chunk_tokens(c, owner) + chunk_tokens(c, 2 * P - 1 - owner)) * kv;
        to_one(c, KD_SENT_ATTENTION, &c->sequence, (own + 1) % P, load * (step + 1 < P ? both + backwards : backwards));
    }
    c->sent->moves[KD_SENT_ATTENTION] += 2 * both + (P - 1) * both + P * backwards;
    to_all(c, KD_SENT_VERDICTS, &c->sequence, 8, both);
}

static void count_attention(counter *c) {
    int64_t P = c->sequence.size, L = c->config->L, E = c->config->E;
    int64_t again = c->ranks->recompute == KD_RECOMPUTE_NONE ? 0 : L - 1;
    int64_t q = c->config->H / P * E, kv = (P < c->config->G ? c->config->G / P : 1) * E;
    if (P == 1) return;
    switch (c->ranks->mode) {
    case KD_SEQUENCE_ULYSSES:
        heads_exchange(c, q + 2 * kv, q, (L + again) * c->windows);
        heads_exchange(c, q, q + 2 * kv, L * c->windows);
        break;
    case KD_SEQUENCE_ALLGATHER:
        all_gather(c, (L + again) * c->windows, L * c->windows);
        break;
    default:
        ring(c, (L + again) * c->windows, L * c->windows);
        break;
    }
}

/* A rank's tokens' gradients to all that have the chain, block by block. */
static void count_embedding(counter *c) {
    for (int64_t i = 0; i < c->sequence.size && c->sequence.size > 1; i++) {
        to_one(c, KD_SENT_EMBEDDING, &c->sequence, i, c->tokens * c->config->C * FLOAT * c->windows);
        c->sent->moves[KD_SENT_EMBEDDING] += kd_segments(tokens_of(c, i), KD_BLOCK) * c->windows;
    }
}

/* ---- sums of a step --------------------------------------------------------------------------------------------------- */

/* Floats of the phases of src/model/backward.c: the head with the last norm; of each layer what stands from the output projection
 * on, and what stands before it. */
typedef struct phases { int64_t head, mlp, qkv; } phases;

static phases phases_of(const counter *c) {
    const kd_layout *l = &c->layout;
    int64_t qkv = l->at[KD_P_O] - l->layers_at;
    return (phases){c->config->C + c->config->V * c->config->C, l->layer_stride - qkv, qkv};
}

static void reduce_phases(counter *c, const group *g, int64_t times) {
    phases p = phases_of(c);
    reduce_scatter(c, g, p.head, times);
    reduce_scatter(c, g, p.mlp, times * c->config->L);
    reduce_scatter(c, g, p.qkv, times * c->config->L);
}

static void count_gradients(counter *c) {
    int64_t embedding = c->config->V * c->config->C;
    phases p = phases_of(c);
    if (c->ranks->zero > 1) {  /* over all ranks, for each window: nothing whole stays */
        reduce_phases(c, &c->all, c->windows);
        reduce_scatter(c, &c->data, embedding, c->windows);
        return;
    }
    if (c->sequence.size > 1) {
        reduce_phases(c, &c->sequence, c->windows);
        gather(c, KD_SENT_GRADIENTS, &c->sequence, p.head, 1);
        gather(c, KD_SENT_GRADIENTS, &c->sequence, p.mlp, c->config->L);
        gather(c, KD_SENT_GRADIENTS, &c->sequence, p.qkv, c->config->L);
    }
    int64_t count = c->layout.count + (c->config->tied ? embedding : 0);
    reduce_scatter(c, &c->data, count, 1);
    gather(c, KD_SENT_GRADIENTS, &c->data, count, 1);
}

/* After the update; or, in shards, each layer for the forward and for the backward of each micro-batch, the embedding for the
 * one and the head for the other. */
static void count_weights(counter *c) {
    phases p = phases_of(c);
    if (c->ranks->zero < 3) {
        gather(c, KD_SENT_WEIGHTS, &c->all, c->layout.count, 1);
        return;
    }
    gather(c, KD_SENT_WEIGHTS, &c->all, c->config->V * c->config->C, c->micros);
    gather(c, KD_SENT_WEIGHTS, &c->all, p.head, c->micros);
    gather(c, KD_SENT_WEIGHTS, &c->all, c->layout.layer_stride, 2 * c->config->L * c->micros);
}

static void count_losses(counter *c) {
    to_all(c, KD_SENT_LOSSES, &c->sequence, c->tokens * (int64_t)sizeof(double), c->windows);
    to_all(c, KD_SENT_LOSSES, &c->data, c->T * c->windows * (int64_t)sizeof(double), 1);
}

/* Windows, metrics and whether to stop; targets and pairs (train.c). */
static void count_verdicts(counter *c) {
    to_all(c, KD_SENT_VERDICTS, &c->all, 8, 3);
    to_all(c, KD_SENT_VERDICTS, &c->data, 16, 1);
}

kd_status kd_sent_count(kd_sent *sent, const kd_trainer *t, const kd_ranks *s, int64_t rank, int64_t host) {
    int64_t place = rank % s->sequence, micro = t->run->micro;
    *sent = (kd_sent){0};
    counter c = {.sent = sent, .config = &t->config, .ranks = s, .host = host, .T = t->run->window.window,
                 .all = {s->sequence * s->data, rank, 0, 1}, .sequence = {s->sequence, place, rank - place, 1},
                 .data = {s->data, rank / s->sequence, place, s->sequence}};
    KD_TRY(kd_layout_init(&c.layout, &t->config));
    c.tokens = tokens_of(&c, place);
    c.windows = t->run->batch_windows / s->data;
    c.micros = (c.windows + micro - 1) / micro;
    count_attention(&c);
    count_embedding(&c);
    count_gradients(&c);
    count_weights(&c);
    count_losses(&c);
    if (c.all.size > 1) count_verdicts(&c);
    return KD_OK;
}
