/* kedge check rope: the probe with a threshold. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "format/jsonl.h"
#include "probe/probe_summary.h"
#include "probe_ask.h"

/* D of a head, mean over layers and heads. Measured (docs/numerics.md): between shifts 0 and 16 of a trained model bf16 1.4e-2 to
 * 2.2e-2, of a random one 2.3e-3; float32 angles 3.5e-5, exact ones 1.4e-6. */
#define MAX_D "3e-4"

typedef struct options { bool json; } options;

/* One mode of one curve, at the pair of shifts that moves most. */
typedef struct worst { const kd_probe_curve *curve; kd_probe_mode mode; int64_t pair; double d, logit; bool holds; } worst;

static worst find_worst(const kd_probe *p, const kd_probe_curve *c, kd_probe_mode mode, const kd_probe_limits *limits) {
    worst w = {.curve = c, .mode = mode};
    int64_t pairs = kd_probe_pairs(&p->grid);
    for (int64_t pair = 0; pair < pairs; pair++) {
        double d = kd_over_texts(p, c->mode[mode].d, pairs, pair).mean / (double)(c->L * c->H);
        double logit = kd_over_texts(p, c->mode[mode].most, pairs, pair).max;
        if (d > w.d) w.d = d, w.pair = pair;
        if (logit > w.logit) w.logit = logit;
    }
    w.holds = w.d <= limits->d && w.logit <= limits->logit;
    return w;
}

static void shifts_of(long long shift[2], const kd_probe *p, int64_t pair) {
    const kd_probe_grid *g = &p->grid;
    shift[0] = (long long)(pair / g->shifts ? g->against : g->shift[0]);
    shift[1] = (long long)g->shift[pair % g->shifts];
}

static const char *plain(const char *model) { return kd_utf8_invalid(model, (int64_t)strlen(model)) < 0 ? model : "unknown"; }

static void print_limit(double limit) {
    if (isfinite(limit)) printf("  %9.3g", limit);
    else printf("  %9s", "-");
}

static void print_heading(int model) {
    printf("%-*s  %-28s  %-10s  %-15s  %9s  %9s  %9s  %9s  verdict\n", model, "model", "precision", "mode", "between shifts", "D a head",
           "at most",
           "logit", "at most");
}

static void print_worst(const kd_probe *p, const worst *w, const kd_probe_limits *limits, int model) {
    long long shift[2];
    char between[48];
    shifts_of(shift, p, w->pair);
    snprintf(between, sizeof between, "%lld and %lld", shift[0], shift[1]);
    printf("%-*s  %-28s  %-10s  %-15s  %9.3g", model, w->curve->model, w->curve->precision, kd_probe_mode_names[w->mode], between, w->d);
    print_limit(limits->d);
    printf("  %9.3g", w->logit);
    print_limit(limits->logit);
    printf("  %s\n", w->holds ? "holds" : "MOVES");
}

static json_t *limit_json(double limit) { return isfinite(limit) ? json_real(limit) : json_null(); }

static json_t *worst_json(const kd_probe *p, const worst *w, const kd_probe_limits *limits) {
    long long shift[2];
    shifts_of(shift, p, w->pair);
    return json_pack("{s:s, s:s, s:s, s:[I, I], s:f, s:o, s:f, s:o, s:b}", "model", plain(w->curve->model), "precision",
                     w->curve->precision, "mode",
                     kd_probe_mode_names[w->mode], "shifts", (json_int_t)shift[0], (json_int_t)shift[1], "d_a_head", w->d, "d_at_most",
                     limit_json(limits->d), "largest_logit_change", w->logit, "logit_at_most", limit_json(limits->logit), "holds", w->holds);
}

static kd_status fail(const kd_probe *p, const worst *w, const kd_probe_limits *limits) {
    long long shift[2];
    shifts_of(shift, p, w->pair);
    bool d = !(w->d <= limits->d);
    return kd_fail(KD_ENUMERIC, "%s, %s, %s: %s is %.3g, above %.3g: positions that move by the same number change attention",
                   w->curve->model, w->curve->precision, kd_probe_mode_names[w->mode], d ? "D a head" : "the largest change of a logit", d ? w->d : w->logit,
                   d ? limits->d : limits->logit);
}

static kd_status tell(void *arg, const kd_probe *p, const kd_probe_limits *limits) {
    const options *o = arg;
    worst first = {.holds = true};
    json_t *rows = json_array();
    int width = 5;
    KD_TRY(kd_probe_check_finite(p));
    for (int64_t i = 0; i < p->curves; i++) width = (int)strlen(p->curve[i].model) > width ? (int)strlen(p->curve[i].model) : width;
    bool bad = !rows;
    if (!o->json) print_heading(width);
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++) {
            if (!p->curve[i].mode[m].d) continue;
            worst w = find_worst(p, &p->curve[i], m, limits);
            if (first.holds) first = w;
            if (!o->json) print_worst(p, &w, limits, width);
            bad |= json_array_append_new(rows, worst_json(p, &w, limits)) != 0;
        }
    if (!o->json) printf("D: how far attention moves when all positions do by the same number, which exactly is 0; mean over layers and "
                         "heads, %lld text%s of %lld tokens (%s)\n", (long long)p->texts, p->texts == 1 ? "" : "s",
                         (long long)p->grid.T, p->source);
    if (o->json && !bad)
        KD_TRY(kd_check_print_json(json_pack("{s:s, s:b, s:I, s:I, s:O}", "check", "rope", "holds", first.holds, "texts",
                                             (json_int_t)p->texts, "tokens", (json_int_t)p->grid.T, "rows", rows)));
    json_decref(rows);
    if (bad) return kd_fail(KD_ENOMEM, "out of memory");
    return first.holds ? KD_OK : fail(p, &first, limits);
}

int kd_check_rope(int argc, char **argv) {
    options o = {.json = false};
    kd_probe_ask ask = {.command = "check rope", .against = 16, .length = 512, .frame = "window", .shifts = "0,16,1K",
                        .precisions = "exact", .source.seed = 1, .most_d = MAX_D, .tell = tell, .arg = &o};
    const kd_option option[] = {
        {"--dump", KD_LIST, &ask.dump, "FILE", "queries and keys that another stack wrote (examples/dump_qk.py); several are several "
                                               "texts"},
        {"--model", KD_LIST, &ask.model, "DIR", "or a Hugging Face folder, as kedge computes it; may be given several times"},
        {"--precision", KD_TEXT, &ask.precisions, "LIST", "of a model: exact, f32-angle, split, f16-store, bf16-store, bf16, bf16-eager"},
        {"--max-d", KD_TEXT, &ask.most_d, "X", "D of a head, mean over layers and heads: more is a failure; the default lies between "
                                               "float32 and bf16"},
        {"--max-logit", KD_TEXT, &ask.most_logit, "X", "the largest change of a logit; any unless given, as it grows with queries and "
                                                       "keys"},
        {"--text", KD_LIST, &ask.source.text, "FILE", "what a model reads; random tokens unless given"},
        {"--tokenizer", KD_TEXT, &ask.source.tokenizer, "DIR", "of the text; the model's own unless given"},
        {"--length", KD_INTEGER, &ask.length, "N", "tokens that a model reads"},
        {"--shifts", KD_TEXT, &ask.shifts, "LIST", "how far a model's positions move; a dump has its own"},
        {"--frame", KD_TEXT, &ask.frame, "NAME", "positions that a model's rotations use: window, as elsewhere, or document, where "
                                                 "nothing moves"},
        {"--threads", KD_INTEGER, &ask.threads, "N", "one for each core unless given"},
        {"--json", KD_FLAG, &o.json, NULL, "one JSON object"},
    };
    const kd_usage usage = {
        "check rope", "--dump FILE | --model DIR [options]",
        "Whether rotary positions are precise: all positions are moved by the same number, which changes nothing in exact arithmetic, "
        "and attention must stay where it is. What was measured is printed beside the threshold. By default float32 rotation near the "
        "beginning of a text holds, bf16 does not; float32 angles at positions beyond 100K do not either. kedge probe shows more of the "
        "same measurement.",
        "  kedge check rope --dump qk.safetensors\n"
        "  kedge check rope --model models/llama-3-8b --precision f32-angle,bf16\n"
        "  kedge check rope --model models/llama-3-8b --text book.txt --shifts 0,16,128K --json\n",
        option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    return kd_exit_code(kd_probe_ask_run(&ask));
}
