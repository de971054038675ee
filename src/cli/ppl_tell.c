#include "ppl_tell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- tables ----------------------------------------------------------------------------------------------------------------- */

static const kd_table_column columns[] = {{"length", 0}, {"texts", 0}, {"windows", 0}, {"tokens", 0}, {"loss", 4}, {"perplexity", 4},
                                          {"by windows", 4}};
static const kd_table_column rolling_columns[] = {{"length", 0}, {"texts", 0}, {"windows", 0}, {"tokens", 0}, {"loss", 4},
                                                  {"perplexity", 4},
                                                  {"by words", 4}, {"by bytes", 4}, {"bits a byte", 4}};
static const kd_table_column position_columns[] = {{"length", 0}, {"from", 0}, {"tokens", 0}, {"loss", 4}};

static void fill(kd_table *table, kd_table *positions, const kd_ppl_score *s, bool rolling) {
    kd_table_number(table, (double)s->length);
    kd_table_number(table, (double)s->texts);
    kd_table_number(table, (double)s->windows);
    kd_table_number(table, (double)s->all.tokens);
    kd_table_number(table, s->all.tokens ? s->all.nats / (double)s->all.tokens : NAN);
    kd_table_number(table, kd_ppl_tokens(s));
    if (rolling) {
        kd_table_number(table, kd_ppl_of(s->all.nats, s->words));
        kd_table_number(table, kd_ppl_of(s->all.nats, s->bytes));
        kd_table_number(table, kd_ppl_bits(s->all.nats, s->bytes));
    } else {
        kd_table_number(table, kd_ppl_by_windows(s));
    }
    for (int64_t b = 0; b < KD_PPL_BUCKETS; b++) {
        if (!s->bucket[b].tokens) continue;
        kd_table_number(positions, (double)s->length);
        kd_table_number(positions, (double)kd_ppl_bucket_from(b));
        kd_table_number(positions, (double)s->bucket[b].tokens);
        kd_table_number(positions, s->bucket[b].nats / (double)s->bucket[b].tokens);
    }
}

static json_t *real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

/* Of the longest; with several lengths each with its length behind its name, too. */
static kd_status flatten(json_t *out, const kd_ppl_score *s, bool rolling, bool last, bool several) {
    const struct { const char *name; double value; } row[] = {
        {"loss", s->all.tokens ? s->all.nats / (double)s->all.tokens : NAN},
        {"perplexity", kd_ppl_tokens(s)},
        {rolling ? NULL : "perplexity_windows", kd_ppl_by_windows(s)},
        {rolling ? "word_perplexity" : NULL, kd_ppl_of(s->all.nats, s->words)},
        {rolling ? "byte_perplexity" : NULL, kd_ppl_of(s->all.nats, s->bytes)},
        {rolling ? "bits_per_byte" : NULL, kd_ppl_bits(s->all.nats, s->bytes)},
    };
    bool failed = false;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char name[64];
        if (!row[i].name) continue;
        if (last) failed |= json_object_set_new(out, row[i].name, real(row[i].value)) != 0;
        snprintf(name, sizeof name, "%s_%lld", row[i].name, (long long)s->length);
        if (several) failed |= json_object_set_new(out, name, real(row[i].value)) != 0;
    }
    if (last) failed |= json_object_set_new(out, "tokens", json_integer(s->all.tokens)) != 0;
    return failed ? no_memory() : KD_OK;
}

/* ---- charts ----------------------------------------------------------------------------------------------------------------- */

typedef struct charts {
    kd_series series[64];
    char name[64][32];
    double x[64][KD_PPL_BUCKETS], y[64][KD_PPL_BUCKETS], length[64], perplexity[64];
    kd_series lengths;
    kd_chart chart[2];
    int64_t count;
} charts;

static void draw(charts *c, const kd_ppl_score *score, int64_t lengths) {
    for (int64_t k = 0; k < lengths; k++) {
        int64_t n = 0;
        for (int64_t b = 0; b < KD_PPL_BUCKETS; b++) {
            if (!score[k].bucket[b].tokens) continue;
            c->x[k][n] = b ? 1.5 * (double)kd_ppl_bucket_from(b) : 8;  /* in the bucket's middle */
            c->y[k][n++] = score[k].bucket[b].nats / (double)score[k].bucket[b].tokens;
        }
        snprintf(c->name[k], sizeof c->name[k], "%lld tokens", (long long)score[k].length);
        c->series[k] = (kd_series){lengths > 1 ? c->name[k] : NULL, c->x[k], c->y[k], n, KD_SERIES_POINTS, (int)k};
        c->length[k] = (double)score[k].length;
        c->perplexity[k] = kd_ppl_tokens(&score[k]);
    }
    c->chart[c->count++] = (kd_chart){"Loss by position", {.label = "tokens seen before a token", .scale = KD_LOG2_SCALE},
                                      {.label = "nats per token"},
                                      c->series, lengths};
    if (lengths < 2) return;
    c->lengths = (kd_series){NULL, c->length, c->perplexity, lengths, KD_SERIES_POINTS, 0};
    c->chart[c->count++] = (kd_chart){"Perplexity by length", {.label = "tokens of a window", .scale = KD_TOKENS_SCALE},
                                      {.label = "perplexity"},
                                      &c->lengths, 1};
}

/* ---- YaRN's CSV ------------------------------------------------------------------------------------------------------------- */

static kd_status write_lengths(const kd_ppl_told *told, const kd_ppl_score *score) {
    kd_text csv = {0};
    char number[64];
    for (int64_t k = 0; k < told->options->lengths; k++) kd_text_print(&csv, ",%lld", (long long)score[k].length);
    kd_text_put(&csv, "\n");
    kd_text_field(&csv, told->model);
    for (int64_t k = 0; k < told->options->lengths; k++) {
        kd_figure_print(number, kd_ppl_by_windows(&score[k]));
        kd_text_print(&csv, ",%s", number);
    }
    kd_text_put(&csv, "\n");
    kd_status status = kd_text_status(&csv);
    if (!status) status = kd_folder_replace(told->out, "lengths.csv", csv.data, csv.size);
    kd_text_free(&csv);
    return status;
}

/* ---- all of it -------------------------------------------------------------------------------------------------------------- */

kd_status kd_ppl_tell(kd_results *results, const kd_ppl_told *told) {
    const kd_ppl_options *o = told->options;
    bool rolling = o->way == KD_PPL_ROLLING;
    kd_table table, positions;
    kd_ppl_score *score = NULL;
    charts *c = NULL;
    json_t *flat = json_object();
    const kd_table *tables[] = {&table, &positions};
    kd_status status;
    kd_table_open(&table, "lengths", "Perplexity", rolling ? rolling_columns : columns, rolling ? 9 : 7);
    kd_table_open(&positions, "positions", "Loss by how many tokens are seen before a token", position_columns, 4);
    KD_GO(kd_new(&score, o->lengths, sizeof *score));
    KD_GO(kd_new(&c, 1, sizeof *c));
    for (int64_t k = 0; k < o->lengths; k++) {
        KD_GO(kd_ppl_score_of(&score[k], results, &told->given->texts, o, k));
        fill(&table, &positions, &score[k], rolling);
        KD_GO(flatten(flat, &score[k], rolling, k == o->lengths - 1, o->lengths > 1));
    }
    KD_GO(kd_table_status(&table));
    KD_GO(kd_table_status(&positions));
    draw(c, score, o->lengths);
    if (told->out && o->lengths > 1 && !rolling) KD_GO(write_lengths(told, score));
    const kd_outcome outcome = {"ppl", "Perplexity", told->about, flat, tables, 2, c->chart, c->count, NULL, 0, told->seconds};
    status = kd_eval_tell(results, &outcome, told->json);
done:
    json_decref(flat);
    free(c);
    free(score);
    kd_table_close(&table);
    kd_table_close(&positions);
    return status;
}
