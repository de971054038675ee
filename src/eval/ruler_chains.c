/* Variable tracking: a chain of variables, each set to the one before it, among noise; an example in front. */
#include <string.h>

#include "ruler_draft.h"

enum { CHAIN = 5, NAME = 8, VALUES = 90000, LOWEST = 10000 };

/* Different names of so many capitals, and the number that they share. */
typedef struct chain { char name[CHAIN][NAME], value[NAME]; } chain;

static void draw_chain(chain *c, kd_draws *draws, int letters) {
    snprintf(c->value, sizeof c->value, "%lld", LOWEST + (long long)kd_draw_below(draws, VALUES));
    for (int i = 0; i < CHAIN;) {
        for (int k = 0; k < letters; k++) c->name[i][k] = (char)('A' + kd_draw_below(draws, 26));
        c->name[i][letters] = 0;
        bool again = false;
        for (int k = 0; k < i; k++) again |= !strcmp(c->name[k], c->name[i]);
        i += !again;
    }
}

/* The lines of the chain in order, each before one of the lines of noise. */
static void write_context(kd_text *out, const char *noise, const chain *c, const int64_t *place, int64_t lines) {
    int next = 0;
    for (int64_t i = 0; i < lines; i++) {
        if (i) kd_text_put(out, "\n");
        for (; next < CHAIN && place[next] == i; next++) {
            if (next) kd_text_print(out, "VAR %s = VAR %s \n", c->name[next], c->name[next - 1]);
            else kd_text_print(out, "VAR %s = %s\n", c->name[next], c->value);
        }
        kd_text_put(out, noise);
    }
}

/* With three-letter names, and answered. */
kd_status kd_ruler_chains_example(kd_ruler_draft *d, const kd_ruler_job *job, int64_t lines) {
    const kd_ruler_source *source = job->maker->source;
    uint64_t stream = kd_ruler_stream(job, KD_RULER_FOR_EXAMPLE);
    kd_draws draws = {source->options.seed, stream, 1000};
    int64_t place[CHAIN];
    kd_text query = {0};
    chain c;
    draw_chain(&c, &draws, 3);
    for (int i = 0, at = 0; i < CHAIN; at++)  /* sorted: every line is taken with the chance that remains */
        if (kd_draw_below(&draws, lines - at) < CHAIN - i) place[i++] = at;
    d->scratch.size = d->within.size = 0;
    write_context(&d->scratch, source->wording.text[KD_RULER_TEXT_CHAINS_NOISE], &c, place, lines);
    kd_text_put(&query, c.value);
    kd_status status = kd_text_status(&query);
    if (!status) status = kd_ruler_fill_task(&d->within, job->maker, &d->scratch, &query, false);
    if (!status) status = kd_ruler_fill_task(&d->within, job->maker, &d->scratch, &query, true);
    for (int i = 0; i < CHAIN; i++) {
        kd_text_put(&d->within, " ");
        kd_text_put(&d->within, c.name[i]);
    }
    kd_text_put(&d->within, "\n");
    kd_text_free(&query);
    return status ? status : kd_text_status(&d->within);
}

kd_status kd_ruler_write_chains(kd_ruler_draft *d, const kd_ruler_job *job, int64_t size) {
    const kd_ruler_source *source = job->maker->source;
    kd_draws draws = {source->options.seed, kd_ruler_stream(job, KD_RULER_FOR_VALUES), 0};
    int64_t place[CHAIN];
    chain c;
    KD_TRY(kd_ruler_chains_example(d, job, job->maker->example));
    do draw_chain(&c, &draws, 5);
    while (strstr(d->within.data, c.value));
    kd_text_put(&d->within, "\n");  /* an empty line behind the example */
    kd_ruler_places(place, job, size, CHAIN);
    write_context(&d->context, source->wording.text[KD_RULER_TEXT_CHAINS_NOISE], &c, place, size);
    kd_text_put(&d->query, c.value);
    kd_ruler_expect(d, c.value, 1, false);
    for (int i = 0; i < CHAIN; i++) {
        kd_ruler_output(d, c.name[i]);
        kd_ruler_expect(d, c.name[i], i + 1 < CHAIN ? 2 : 1, true);
    }
    return KD_OK;
}
