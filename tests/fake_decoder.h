/* A decoder without a model, in the place of the library's: what follows is a function of the tokens before it. It counts what it reads.
 */
#ifndef KD_TEST_FAKE_DECODER_H
#define KD_TEST_FAKE_DECODER_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/random.h"
#include "model/decoder.h"

enum { FAKE_V = KD_BYTES_VOCABULARY };

struct kd_decoder {
    kd_decoder_options options;
    int32_t *token;   /* [sequences, length] */
    int64_t *held;    /* [sequences] */
    int64_t read, reads, copies, most;
    bool broken;
};

/* Prompts that begin with EOS and a number n speak script n from byte count - 2 on. */
static const char *fake_script[8];

static void fake_logits(float logits[FAKE_V], const int32_t *token, int64_t count) {
    uint64_t hash = kd_hash(token, count * (int64_t)sizeof *token);
    for (int64_t v = 0; v < FAKE_V; v++) logits[v] = (float)(kd_random_normal(hash, 1, (uint64_t)v) * 2) - (v == KD_BYTES_EOS ? 4.f : 0.f);
    if (token[0] != KD_BYTES_EOS || count < 2 || token[1] >= 8 || !fake_script[token[1]]) return;
    int64_t at = count - 2, size = (int64_t)strlen(fake_script[token[1]]);
    logits[at < size ? (unsigned char)fake_script[token[1]][at] : KD_BYTES_EOS] = 30;
}

/* As kd_likelihoods has it. */
static void fake_likelihoods(kd_likelihood *l, kd_likely *top, int64_t tops, const float *logits, int32_t target) {
    double most = -INFINITY, sum = 0;
    bool taken[FAKE_V] = {false};
    for (int64_t v = 0; v < FAKE_V; v++) most = logits[v] > most ? logits[v] : most;
    for (int64_t v = 0; v < FAKE_V; v++) sum += exp(logits[v] - most);
    if (l && target >= 0) *l = (kd_likelihood){logits[target] - most - log(sum), logits[target] == most};
    for (int64_t i = 0; i < tops; i++) {
        int64_t best = -1;
        for (int64_t v = 0; v < FAKE_V; v++)
            if (!taken[v] && (best < 0 || logits[v] > logits[best])) best = v;
        taken[best] = true;
        top[i] = (kd_likely){(int32_t)best, logits[best] - most - log(sum)};
    }
}

kd_status kd_decoder_open(kd_decoder **out, kd_ctx *ctx, const kd_config *config, const char *folder, const kd_decoder_options *options) {
    (void)ctx, (void)config, (void)folder;
    KD_TRY(kd_new(out, 1, sizeof **out));
    (*out)->options = *options;
    KD_TRY(kd_new(&(*out)->token, options->sequences * options->length, sizeof(int32_t)));
    return kd_new(&(*out)->held, options->sequences, sizeof(int64_t));
}

void kd_decoder_close(kd_decoder *d) {
    if (!d) return;
    free(d->token);
    free(d->held);
    free(d);
}

int64_t kd_decoder_held(const kd_decoder *d, int64_t sequence) { return d->held[sequence]; }

kd_status kd_decoder_copy(kd_decoder *d, int64_t to, int64_t from, int64_t count) {
    if (to == from || count < 1 || count > d->held[from]) return kd_fail(KD_EARG, "copy of %lld tokens of %lld", (long long)count, (long long)d->held[from]);
    memcpy(d->token + to * d->options.length, d->token + from * d->options.length, (size_t)count * sizeof *d->token);
    d->held[to] = count;
    d->copies++;
    return KD_OK;
}

static kd_status fake_read(kd_decoder *d, const kd_feed *f) {
    int32_t *token = d->token + f->sequence * d->options.length;
    float logits[FAKE_V];
    if (f->count < 1 || f->from < 0 || f->from > d->held[f->sequence] || f->from + f->count > d->options.length)
        return kd_fail(KD_EARG, "tokens %lld .. %lld of a sequence that holds %lld", (long long)f->from, (long long)(f->from + f->count),
                       (long long)d->held[f->sequence]);
    for (int64_t k = 0; k < f->count; k++) {
        token[f->from + k] = f->token[k];
        fake_logits(logits, token, f->from + k + 1);
        bool wanted = f->target && f->target[k] >= 0, last = k == f->count - 1;
        fake_likelihoods(wanted ? &f->likelihood[k] : NULL, f->top + k * f->tops, wanted || last ? f->tops : 0, logits, wanted ? f->target[k] : -1);
        if (last && f->logits) memcpy(f->logits, logits, sizeof logits);
    }
    d->held[f->sequence] = f->from + f->count;
    return KD_OK;
}

kd_status kd_decoder_read(kd_decoder *d, const kd_feed *feed, int64_t feeds) {
    int64_t all = 0;
    if (d->broken) return kd_fail(KD_EIO, "the decoder is broken");
    for (int64_t i = 0; i < feeds; i++) {
        for (int64_t j = 0; j < i; j++)
            if (feed[j].sequence == feed[i].sequence) return kd_fail(KD_EARG, "two feeds of one sequence");
        KD_TRY(fake_read(d, &feed[i]));
        all += feed[i].count;
    }
    if (all > KD_BLOCK) return kd_fail(KD_EARG, "%lld tokens at once", (long long)all);
    d->read += all;
    d->reads++;
    d->most = all > d->most ? all : d->most;
    return KD_OK;
}

#endif
