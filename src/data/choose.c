#include "data/choose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* The top byte keeps these streams away from other users of the same seed. */
static const uint64_t THIN_STREAM = (uint64_t)0xD2 << 56, SHARE_STREAM = (uint64_t)0xD3 << 56;

static double draw(const kd_corpus *c, int64_t document, uint64_t seed, uint64_t stream) {
    const kd_origin *o = &c->origin[document];
    const uint64_t key[3] = {c->file_key[o->file], (uint64_t)o->line, (uint64_t)o->part};
    return kd_random_uniform(seed, stream, kd_hash(key, sizeof key));
}

static int64_t length_of(const kd_corpus *c, int64_t document) { return c->start[document + 1] - c->start[document]; }

static void tally(kd_choice *choice, const kd_corpus *c) {
    for (int64_t s = 0; s < c->sources; s++) {
        kd_source_tally *source = &choice->source[s];
        *source = (kd_source_tally){.planned = source->planned};
    }
    for (int64_t d = 0; d < c->documents; d++) {
        kd_source_tally *source = &choice->source[c->source[d]];
        source->documents[choice->fate[d]]++;
        source->tokens[choice->fate[d]] += length_of(c, d);
    }
}

/* ---- the shares that are asked for ------------------------------------------------------------------------- */

/* Documents of no source are named, too. */
static const char *name_of(const kd_corpus *c, int64_t source) { return *c->source_name[source] ? c->source_name[source] : KD_NO_SOURCE; }

static kd_status fail_source(const kd_corpus *c, const char *name) {
    char known[400] = "";
    for (int64_t s = 0; s < c->sources && strlen(known) < 300; s++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%.60s", s ? ", " : "",
                 name_of(c, s));
    return kd_fail(KD_ECONFIG, "data.mixture: no document is of source %s; there are %s", name, known);
}

static kd_status plan_mixture(kd_choice *choice, const kd_corpus *c, const kd_choice_options *o) {
    double sum = 0;
    for (int64_t s = 0; s < c->sources; s++) choice->source[s].planned = 0;
    for (int64_t i = 0; i < o->shares; i++) {
        int64_t s = 0;
        while (s < c->sources && strcmp(name_of(c, s), o->source[i])) s++;
        if (s == c->sources && o->share[i] > 0) return fail_source(c, o->source[i]);
        if (s < c->sources) choice->source[s].planned = o->share[i];
        sum += o->share[i];
    }
    if (!(sum > 0)) return kd_fail(KD_ECONFIG, "data.mixture: all shares are 0");
    for (int64_t s = 0; s < c->sources; s++) choice->source[s].planned /= sum;
    return KD_OK;
}

/* The shares that sources have among documents that are not too short; thinned: after upsampling. */
static void plan_as_is(kd_choice *choice, const kd_corpus *c, bool thinned) {
    double sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t s = 0; s < c->sources; s++) {
            kd_source_tally *source = &choice->source[s];
            double tokens = (double)(source->tokens[KD_FATE_KEPT] + (thinned ? 0 : source->tokens[KD_FATE_THINNED]));
            if (pass) source->planned = sum > 0 ? tokens / sum : 0;
            else sum += tokens;
        }
}

/* ---- choosing ---------------------------------------------------------------------------------------------- */

static void judge_lengths(kd_choice *choice, const kd_corpus *c, const kd_choice_options *o) {
    for (int64_t d = 0; d < c->documents; d++) {
        int64_t length = length_of(c, d);
        choice->fate[d] = length < o->shortest                                                   ? KD_FATE_TOO_SHORT
                          : length < o->shorter_than && draw(c, d, o->seed, THIN_STREAM) >= o->keep ? KD_FATE_THINNED
                                                                                                   : KD_FATE_KEPT;
    }
}

/* Lengths of one class differ by less than a factor of two. */
enum { CLASSES = 48 };

static int class_of(int64_t length) {
    int class = 0;
    while (class < CLASSES - 1 && length >> (class + 1)) class++;
    return class;
}

/* The tokens of the whole: asked for, or as many as the scarcest source allows. */
static kd_status plan_total(double *total, const kd_choice *choice, const kd_corpus *c, int64_t tokens) {
    *total = tokens > 0 ? (double)tokens : INFINITY;
    for (int64_t s = 0; s < c->sources && tokens <= 0; s++) {
        const kd_source_tally *source = &choice->source[s];
        if (source->planned <= 0) continue;
        double most = (double)source->tokens[KD_FATE_KEPT] / source->planned;
        if (most == 0)
            return kd_fail(KD_ECONFIG, "source %s has no token left for its share of %.3g%%", name_of(c, s), 100 * source->planned);
        if (most < *total) *total = most;
    }
    return KD_OK;
}

/* A source keeps `ratio` of its tokens, in each class of lengths: a document is kept if a point drawn within it lies before
 * what the ratio of all tokens so far leaves room for. What was too much or too little is made up for by the ones that
 * follow, so that a class is never more than a document away from its share, and kept documents stand evenly in the
 * corpus. One balance for all lengths would not do: after a long document it stays closed for the long ones, and short
 * ones take their place (a twentieth of a source then keeps a third too few of its long documents). */
static kd_status keep_shares(kd_choice *choice, const kd_corpus *c, const kd_choice_options *o) {
    double total, *balance;
    KD_TRY(plan_total(&total, choice, c, o->tokens));
    KD_TRY(kd_new(&balance, c->sources * CLASSES, sizeof *balance));
    for (int64_t d = 0; d < c->documents; d++) {
        const kd_source_tally *source = &choice->source[c->source[d]];
        if (choice->fate[d] != KD_FATE_KEPT) continue;
        if (source->planned == 0) {
            choice->fate[d] = KD_FATE_NO_SHARE;
            continue;
        }
        double ratio = source->planned * total / (double)source->tokens[KD_FATE_KEPT], length = (double)length_of(c, d);
        double *left = &balance[c->source[d] * CLASSES + class_of(length_of(c, d))];
        *left += ratio * length;
        bool keep = ratio >= 1 || draw(c, d, o->seed, SHARE_STREAM) * length < *left;
        if (keep) *left -= length;
        else choice->fate[d] = KD_FATE_OVER_SHARE;
    }
    free(balance);
    return KD_OK;
}

kd_status kd_choice_init(kd_choice *choice, const kd_corpus *c, const kd_choice_options *o) {
    kd_status status;
    *choice = (kd_choice){0};
    KD_GO(kd_new(&choice->fate, c->documents, sizeof *choice->fate));
    KD_GO(kd_new(&choice->source, c->sources, sizeof *choice->source));
    for (int64_t s = 0; s < c->sources; s++) choice->source[s].planned = -1;
    judge_lengths(choice, c, o);
    tally(choice, c);
    bool same_shares = o->shorter_than > 0 && o->every_source;
    if (o->shares) KD_GO(plan_mixture(choice, c, o));
    else if (same_shares || o->tokens > 0) plan_as_is(choice, c, !same_shares);
    if (o->shares || same_shares || o->tokens > 0) KD_GO(keep_shares(choice, c, o));
    tally(choice, c);
    int64_t left = 0;
    for (int64_t s = 0; s < c->sources; s++) left += choice->source[s].documents[KD_FATE_KEPT];
    if (!left && c->documents)
        status = kd_fail(KD_ECONFIG, "none of %lld documents is left by data.shortest, data.upsample and data.mixture",
                         (long long)c->documents);
done:
    if (status) kd_choice_free(choice);
    return status;
}

void kd_choice_free(kd_choice *choice) {
    free(choice->fate);
    free(choice->source);
    *choice = (kd_choice){0};
}
