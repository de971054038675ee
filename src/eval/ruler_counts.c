/* Words to be counted: a numbered list in which ten words stand more often than all others (cwe), and a text of code words whose counts
 * fall with the square of their rank (fwe). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "python_random.h"
#include "ruler_draft.h"

enum { COMMON = 10 };

/* ---- common words ------------------------------------------------------------------------------------------------------------- */

/* Below this length RULER's lists have each seldom word once, from it on three times. */
enum { SHORT = 4096 };

/* How many words a sample's are chosen from: the real ones, and as many invented ones as the length may need, at three tokens and more
 * for each place in the list. */
int64_t kd_ruler_words_of(const kd_ruler_maker *m) {
    const kd_ruler_words *w = &m->source->words;
    int64_t most = m->length / (m->length < SHORT ? 3 : 10) + 40;
    return most < w->real ? w->real : most < w->count ? most : w->count;
}

/* A sample's order of them. */
static const char *word_at(const kd_ruler_job *job, int64_t i) {
    const kd_ruler_source *s = job->maker->source;
    int64_t most = kd_ruler_words_of(job->maker);
    return s->words.word[kd_random_permute(s->options.seed, kd_ruler_stream(job, KD_RULER_FOR_VALUES), (uint64_t)i, (uint64_t)most)];
}

static kd_status room_for(kd_ruler_draft *d, int64_t n) { return kd_grow(&d->place, &d->place_room, n, sizeof *d->place); }

/* "1. one 2. two ..." of words first .. first+count-1 of this sample's order, the first ten more often. */
static kd_status write_list(kd_text *out, kd_ruler_draft *d, const kd_ruler_job *job, int64_t first, int64_t count, int64_t often,
                            int64_t seldom) {
    const kd_ruler_source *source = job->maker->source;
    int64_t total = COMMON * often + (count - COMMON) * seldom, n = 0;
    kd_python_random r;
    KD_TRY(room_for(d, total));
    for (int64_t i = 0; i < count; i++) {
        for (int64_t k = 0; k < (i < COMMON ? often : seldom); k++) d->place[n++] = first + i;
    }
    kd_python_seed(&r, source->options.seed);
    kd_python_shuffle(&r, d->place, n, sizeof *d->place);
    for (int64_t i = 0; i < n; i++) {
        char number[32];
        kd_text_add(out, number, snprintf(number, sizeof number, i ? " %lld. " : "%lld. ", (long long)i + 1));
        kd_text_put(out, word_at(job, d->place[i]));
    }
    return KD_OK;
}

/* The example has words of its own, the first of the order. */
kd_status kd_ruler_write_common(kd_ruler_draft *d, const kd_ruler_job *job, int64_t size) {
    const kd_ruler_maker *m = job->maker;
    bool is_short = m->length < SHORT;
    int64_t example = is_short ? 20 : 40, often = is_short ? 6 : 30;
    d->scratch.size = 0;
    KD_TRY(write_list(&d->scratch, d, job, 0, example, is_short ? 3 : 10, is_short ? 1 : 3));
    KD_TRY(kd_text_status(&d->scratch));
    const char *wrapper = m->source->wording.text[KD_RULER_TEXT_WRAPPER], *place = strstr(wrapper, "{task_template}");
    kd_text_add(&d->before, wrapper, place - wrapper);
    KD_TRY(kd_ruler_fill_task(&d->before, m, &d->scratch, NULL, false));
    kd_text_put(&d->before, place + strlen("{task_template}"));
    KD_TRY(kd_ruler_fill_task(&d->before, m, &d->scratch, NULL, true));
    for (int64_t i = 0; i < COMMON; i++) kd_text_print(&d->before, " %lld. %s", (long long)i + 1, word_at(job, i));
    kd_text_put(&d->before, "\n");
    KD_TRY(write_list(&d->context, d, job, example, size, often, is_short ? 1 : 3));
    for (int64_t i = 0; i < COMMON; i++) {
        kd_ruler_output(d, word_at(job, example + i));
        kd_ruler_expect(d, word_at(job, example + i), often, true);
    }
    return KD_OK;
}

/* ---- code words --------------------------------------------------------------------------------------------------------------- */

/* Euler and Maclaurin: 20 terms, and what is behind them but for 1e-16 or so. */
static double zeta(double s) {
    const double n = 20;
    double sum = pow(n, 1 - s) / (s - 1) + pow(n, -s) / 2 + s * pow(n, -s - 1) / 12 - s * (s + 1) * (s + 2) * pow(n, -s - 3) / 720 +
                 s * (s + 1) * (s + 2) * (s + 3) * (s + 4) * pow(n, -s - 5) / 30240;
    for (int k = 1; k < 20; k++) sum += pow(k, -s);
    return sum;
}

void kd_ruler_coded_counts(int64_t *count, int64_t n, int64_t vocabulary, double alpha) {
    double all = zeta(alpha);
    for (int64_t k = 1; k <= vocabulary; k++) count[k - 1] = (int64_t)((double)n * pow((double)k, -alpha) / all);
}

static int by_code(const void *a, const void *b) { return strcmp(a, b); }

/* Different words, sorted, then in an order that depends on the seed alone. */
static kd_status draw_codes(kd_ruler_draft *d, const kd_ruler_job *job, int64_t count) {
    uint64_t seed = job->maker->source->options.seed;
    kd_draws draws = {seed, kd_ruler_stream(job, KD_RULER_FOR_VALUES), 0};
    kd_python_random r;
    bool again = true;
    KD_TRY(kd_grow(&d->code, &d->code_room, count, sizeof *d->code));
    while (again) {
        for (int64_t i = 0; i < count; i++) kd_ruler_code(d->code[i], &draws);
        qsort(d->code, (size_t)count, sizeof *d->code, by_code);
        again = false;
        for (int64_t i = 1; i < count; i++) again |= !strcmp(d->code[i - 1], d->code[i]);
    }
    kd_python_seed(&r, seed);
    kd_python_shuffle(&r, d->code, count, sizeof *d->code);
    return KD_OK;
}

int64_t kd_ruler_vocabulary(const kd_ruler_maker *m) { return (m->length - m->generate) / 50; }

kd_status kd_ruler_write_coded(kd_ruler_draft *d, const kd_ruler_job *job, int64_t size) {
    int64_t vocabulary = kd_ruler_vocabulary(job->maker), n = 0;
    kd_python_random r;
    KD_TRY(draw_codes(d, job, vocabulary));
    KD_TRY(room_for(d, vocabulary + size));
    int64_t *count = d->place, *word = d->place + vocabulary;
    kd_ruler_coded_counts(count, size, vocabulary, 2.0);
    for (int64_t i = 0; i < vocabulary; i++)
        for (int64_t k = 0; k < count[i]; k++) word[n++] = i;
    kd_python_seed(&r, job->maker->source->options.seed);
    kd_python_shuffle(&r, word, n, sizeof *word);
    for (int64_t i = 0; i < n; i++) {
        if (i) kd_text_put(&d->context, " ");
        kd_text_put(&d->context, word[i] ? d->code[word[i]] : "...");  /* the first is noise */
    }
    for (int64_t i = 1; i < 4; i++) {
        kd_ruler_output(d, d->code[i]);
        kd_ruler_expect(d, d->code[i], count[i], true);
    }
    return KD_OK;
}
