/* Needles in a haystack: sentences that give a key's value, hidden among essays, noise, or sentences of the same form. */
#include <string.h>

#include "python_random.h"
#include "ruler_draft.h"

static const char *const type_names[] = {[KD_RULER_WORDS] = "words", [KD_RULER_NUMBERS] = "numbers", [KD_RULER_UUIDS] = "uuids"};

enum { LOWEST = 1000000, NUMBERS = 9000000 };  /* seven digits */

/* The n-th of a sample, no two of which are equal. */
static void draw(char out[KD_RULER_KEY], kd_ruler_type type, uint64_t seed, uint64_t stream, int64_t n) {
    if (type == KD_RULER_WORDS) {
        kd_ruler_key(out, (int64_t)kd_random_permute(seed, stream, (uint64_t)n, (uint64_t)kd_ruler_keys()));
    } else if (type == KD_RULER_NUMBERS) {
        snprintf(out, KD_RULER_KEY, "%lld", LOWEST + (long long)kd_random_permute(seed, stream, (uint64_t)n, NUMBERS));
    } else {  /* RFC 9562, version 4 */
        uint64_t a = kd_random_bits(seed, stream, 2 * (uint64_t)n), b = kd_random_bits(seed, stream, 2 * (uint64_t)n + 1);
        a = (a & ~0xf000ull) | 0x4000;
        b = (b & 0x3fffffffffffffffull) | 0x8000000000000000ull;
        snprintf(out, KD_RULER_KEY, "%08llx-%04llx-%04llx-%04llx-%012llx", (unsigned long long)(a >> 32),
                 (unsigned long long)(a >> 16 & 0xffff), (unsigned long long)(a & 0xffff), (unsigned long long)(b >> 48),
                 (unsigned long long)(b & 0xffffffffffffull));
    }
}

static kd_status write_needle(kd_text *out, const kd_ruler_job *job, int64_t key, int64_t value) {
    const kd_ruler_task *task = job->maker->task;
    uint64_t seed = job->maker->source->options.seed;
    char key_text[KD_RULER_KEY], value_text[KD_RULER_KEY];
    draw(key_text, task->key, seed, kd_ruler_stream(job, KD_RULER_FOR_KEYS), key);
    draw(value_text, task->value, seed, kd_ruler_stream(job, KD_RULER_FOR_VALUES), value);
    const kd_field field[] = {{"type_needle_v", type_names[task->value], -1}, {"key", key_text, -1}, {"value", value_text, -1}};
    return kd_ruler_fill(out, job->maker->source->wording.text[KD_RULER_TEXT_NEEDLE], field, 3);
}

/* Values of the same key follow each other; then a shuffle that is the same in every sample. */
static kd_status write_needles(kd_ruler_draft *d, const kd_ruler_job *job, int64_t order[KD_RULER_NEEDLES_MOST]) {
    const kd_ruler_task *task = job->maker->task;
    int64_t needles = task->keys * task->values;
    kd_python_random r;
    for (int64_t i = 0; i < needles; i++) {
        order[i] = i;
        d->needle[i].size = 0;
        KD_TRY(write_needle(&d->needle[i], job, i / task->values, i));
        KD_TRY(kd_text_status(&d->needle[i]));
    }
    kd_python_seed(&r, job->maker->source->options.seed);
    kd_python_shuffle(&r, order, needles, sizeof *order);
    return KD_OK;
}

/* Lines of noise, or distractors with keys and values behind those of the needles; needle i stands before the line place[needles-1-i]. */
static kd_status write_lines(kd_ruler_draft *d, const kd_ruler_job *job, int64_t lines, const int64_t *order, int64_t needles) {
    const kd_ruler_task *task = job->maker->task;
    int64_t place[KD_RULER_NEEDLES_MOST], next = 0;
    kd_ruler_places(place, job, lines, needles);
    for (int64_t i = 0; i < lines; i++) {
        if (i) kd_text_put(&d->context, "\n");
        for (; next < needles && place[next] == i; next++) {
            kd_text_put(&d->context, d->needle[order[needles - 1 - next]].data);
            kd_text_put(&d->context, "\n");
        }
        if (task->haystack == KD_RULER_NOISE) kd_text_put(&d->context, job->maker->source->wording.text[KD_RULER_TEXT_NOISE]);
        else KD_TRY(write_needle(&d->context, job, task->keys + i, task->keys * task->values + i));
    }
    return KD_OK;
}

static void write_essays(kd_ruler_draft *d, const kd_ruler_job *job, int64_t words, const int64_t *order, int64_t needles) {
    int64_t place[KD_RULER_NEEDLES_MOST];
    const char *needle[KD_RULER_NEEDLES_MOST];
    kd_ruler_places(place, job, KD_RULER_DEPTHS, needles);
    for (int64_t i = 0; i < needles; i++) {
        place[i] = kd_ruler_depth(place[i]);
        needle[i] = d->needle[order[i]].data;
    }
    kd_ruler_essays_hide(&d->context, &job->maker->source->essays, words, needle, place, needles);
}

/* "a, b, c, and d". */
static void write_query(kd_ruler_draft *d, const kd_ruler_job *job) {
    const kd_ruler_task *task = job->maker->task;
    uint64_t seed = job->maker->source->options.seed;
    char text[KD_RULER_KEY];
    for (int64_t i = 0; i < task->queries; i++) {
        int64_t key = (int64_t)kd_random_permute(seed, kd_ruler_stream(job, KD_RULER_FOR_QUERIES), (uint64_t)i, (uint64_t)task->keys);
        draw(text, task->key, seed, kd_ruler_stream(job, KD_RULER_FOR_KEYS), key);
        kd_ruler_expect(d, text, task->values, false);
        kd_text_put(&d->query, i == 0 ? "" : i + 1 == task->queries ? ", and " : ", ");
        kd_text_put(&d->query, text);
        for (int64_t v = 0; v < task->values; v++) {
            draw(text, task->value, seed, kd_ruler_stream(job, KD_RULER_FOR_VALUES), key * task->values + v);
            kd_ruler_output(d, text);
            kd_ruler_expect(d, text, 1, true);
        }
    }
}

kd_status kd_ruler_write_niah(kd_ruler_draft *d, const kd_ruler_job *job, int64_t size) {
    const kd_ruler_task *task = job->maker->task;
    int64_t order[KD_RULER_NEEDLES_MOST], needles = task->keys * task->values;
    KD_TRY(write_needles(d, job, order));
    if (task->haystack == KD_RULER_ESSAYS) write_essays(d, job, size, order, needles);
    else KD_TRY(write_lines(d, job, size, order, needles));
    write_query(d, job);
    return KD_OK;
}
