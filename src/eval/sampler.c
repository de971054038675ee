#include "sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/random.h"

static const uint64_t STREAM = (uint64_t)0xE0 << 56;

kd_status kd_sampler_open(kd_sampler *s, int64_t V) {
    *s = (kd_sampler){.V = V};
    return kd_new(&s->candidate, V, sizeof *s->candidate);
}

void kd_sampler_close(kd_sampler *s) {
    free(s->candidate);
    *s = (kd_sampler){0};
}

kd_status kd_sampling_check(const kd_sampling *s) {
    if (!(s->temperature >= 0) || !isfinite(s->temperature)) return kd_fail(KD_EARG, "temperature %g: 0 or more", s->temperature);
    if (s->top_k < 0) return kd_fail(KD_EARG, "top_k %lld: 0 or more", (long long)s->top_k);
    if (!(s->top_p >= 0 && s->top_p <= 1)) return kd_fail(KD_EARG, "top_p %g: 0 to 1", s->top_p);
    return KD_OK;
}

/* ---- candidates ------------------------------------------------------------------------------------------------------- */

static bool is_banned(int32_t token, const int32_t *banned, int64_t bans) {
    for (int64_t i = 0; i < bans; i++)
        if (banned[i] == token) return true;
    return false;
}

/* In order of their ids. */
static kd_status gather(int64_t *count, kd_sampler *s, const float *logits, int64_t most, const int32_t *banned, int64_t bans) {
    int64_t kept = 0;
    for (int64_t v = 0; v < most; v++) {
        if (isnan(logits[v]) || logits[v] == INFINITY)
            return kd_fail(KD_ENUMERIC, "the logit of token %lld is %g", (long long)v, (double)logits[v]);
        if (logits[v] == -INFINITY || is_banned((int32_t)v, banned, bans)) continue;
        s->candidate[kept++] = (kd_candidate){(int32_t)v, logits[v], 0};
    }
    *count = kept;
    return kept ? KD_OK : kd_fail(KD_ENUMERIC, "no token is left that could be next");
}

/* Likelier first, of equals the lowest id. */
static bool before(const kd_candidate *a, const kd_candidate *b) {
    return a->logit != b->logit ? a->logit > b->logit : a->token < b->token;
}

static int by_likelihood(const void *x, const void *y) { return before(x, y) ? -1 : before(y, x); }

static int by_token(const void *x, const void *y) {
    const kd_candidate *a = x, *b = y;
    return (a->token > b->token) - (a->token < b->token);
}

static void exchange(kd_candidate *a, kd_candidate *b) {
    kd_candidate other = *a;
    *a = *b;
    *b = other;
}

/* The k likeliest come to stand in front, in any order: Hoare's selection. */
static void select_likeliest(kd_candidate *c, int64_t count, int64_t k) {
    for (int64_t low = 0, high = count - 1; low < high;) {
        kd_candidate pivot = c[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot)) i++;
            while (before(&pivot, &c[j])) j--;
            if (i <= j) exchange(&c[i++], &c[j--]);
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else return;
    }
}

static double weigh(kd_candidate *c, int64_t count, double temperature) {
    double sum = 0, most = -INFINITY;
    for (int64_t i = 0; i < count; i++) most = c[i].logit > most ? c[i].logit : most;
    for (int64_t i = 0; i < count; i++) sum += c[i].weight = exp(((double)c[i].logit - most) / temperature);
    return sum;
}

/* The fewest whose weights sum to p * sum or more. Those too light to be among them are left out before sorting: all of them together
 * weigh less than (1 - p) * sum. */
static int64_t select_nucleus(kd_candidate *c, int64_t count, double p, double sum) {
    double lightest = (1 - p) * sum / (double)count, reached = 0;
    int64_t kept = 0, n = 0;
    for (int64_t i = 0; i < count; i++)
        if (c[i].weight >= lightest) exchange(&c[kept++], &c[i]);
    if (!kept) kept = count;
    qsort(c, (size_t)kept, sizeof *c, by_likelihood);
    while (n < kept && (n == 0 || reached < p * sum)) reached += c[n++].weight;
    return n;
}

kd_status kd_sample(int32_t *token, kd_sampler *s, const float *logits, int64_t most, const kd_sampling *sampling, int64_t n,
                    const int32_t *banned, int64_t bans) {
    kd_candidate *c = s->candidate;
    int64_t count, i = 0;
    KD_TRY(gather(&count, s, logits, most < s->V ? most : s->V, banned, bans));
    int64_t all = count;
    if (sampling->temperature == 0) {
        for (int64_t j = 1; j < count; j++) i = c[j].logit > c[i].logit ? j : i;
        *token = c[i].token;
        return KD_OK;
    }
    if (sampling->top_k && sampling->top_k < count) {
        select_likeliest(c, count, sampling->top_k);
        count = sampling->top_k;
    }
    double sum = weigh(c, count, sampling->temperature);
    if (sampling->top_p < 1) count = select_nucleus(c, count, sampling->top_p, sum);
    if (count < all || sampling->top_p < 1) qsort(c, (size_t)count, sizeof *c, by_token);
    sum = 0;
    for (int64_t j = 0; j < count; j++) sum += c[j].weight;
    double left = kd_random_uniform(sampling->seed, STREAM, (uint64_t)n) * sum;
    while (i < count - 1 && left >= c[i].weight) left -= c[i++].weight;
    while (i > 0 && c[i].weight == 0) i--;  /* rounding may lead beyond the last that has any weight */
    *token = c[i].token;
    return KD_OK;
}
