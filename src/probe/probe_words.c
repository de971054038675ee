/* What the numbers say, in sentences that are made from them: each has the words for more, for less and for nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe_write.h"

enum { PHRASE = 64 };

/* "812 times as much as", "as much as", "9 times less than". */
static void compare(char out[PHRASE], double ratio) {
    char number[32];
    if (ratio > 0.95 && ratio < 1.05) {
        snprintf(out, PHRASE, "as much as");
        return;
    }
    kd_show_factor(number, ratio < 1 ? 1 / ratio : ratio);
    snprintf(out, PHRASE, ratio < 1 ? "%s times less than" : "%s times as much as", number);
}

/* Of a's D over b's; false where that is no number. */
static bool compare_rows(char out[PHRASE], const kd_probe_row *a, const kd_probe_row *b) {
    double ratio = a->d.mean / b->d.mean;
    if (!(ratio > 0) || !isfinite(ratio)) return false;
    compare(out, ratio);
    return true;
}

static const kd_probe_row *find(const kd_probe_table *t, int64_t number, kd_probe_mode mode) {
    for (int64_t i = 0; i < t->rows; i++)
        if (t->row[i].number == number && t->row[i].mode == mode) return &t->row[i];
    return NULL;
}

/* What others are measured against: exact rotation where it was measured, else what moves least. */
static const kd_probe_row *reference(const kd_probe_table *t, const kd_probe_row *w) {
    for (int64_t i = 0; i < t->rows; i++) {
        const kd_probe_row *r = &t->row[i];
        if (r != w && r->mode == w->mode && !strcmp(r->curve->model, w->curve->model) && !strcmp(r->curve->precision, "exact")) return r;
    }
    return kd_table_best(t, w);
}

/* ---- sentences --------------------------------------------------------------------------------------------- */

static void say_precision(kd_text *s, const kd_probe_table *t, const kd_probe_row *w, const char *name) {
    const kd_probe_row *r = reference(t, w);
    char phrase[PHRASE], other[KD_CURVE_NAME], value[32], less[32];
    kd_number_format(value, w->d.mean, false);
    if (!r) {
        kd_text_print(s, "%s%s: D is %s%s.", name, w->d.mean > 0 ? " moves attention" : " does not move attention",
                      w->d.mean > 0 ? "" : "exactly ", value);
        return;
    }
    kd_curve_name(other, t->probe, r->curve);
    kd_number_format(less, r->d.mean, false);
    if (compare_rows(phrase, w, r)) kd_text_print(s, "%s moves attention %s %s: D is %s and %s.", name, phrase, other, value, less);
    else if (w->d.mean > 0) kd_text_print(s, "%s moves attention, D is %s; %s does not move it at all.", name, value, other);
    else if (r->d.mean > 0) kd_text_print(s, "%s does not move attention at all; %s does, D is %s.", name, other, less);
    else kd_text_print(s, "Neither %s nor %s moves attention: D is exactly 0.", name, other);
}

static void say_first_key(kd_text *s, const kd_probe_row *w) {
    char median[PHRASE], other[PHRASE];
    if (!(w->d.mean > 0)) return;
    if (!(w->first > 0)) {
        kd_text_put(s, isnan(w->first) ? "The median key does not move at all, so that nothing can be said of the first key against it."
                                       : "The first key does not move.");
        return;
    }
    compare(median, w->first);
    kd_text_print(s, "The first key moves %s the median key", median);
    if (w->first_other > 0) {
        compare(other, w->first_other);
        kd_text_print(s, " and %s the one that moves most of the others", other);
    }
    kd_text_put(s, ".");
}

static void say_growth(kd_text *s, const kd_probe_table *t, const kd_probe_row *w) {
    const kd_probe_grid *g = &t->probe->grid;
    char power[32];
    if (!isfinite(w->growth)) return;
    kd_show_power(power, w->growth);
    kd_text_print(s, "From %lld to %lld tokens D_logit of the first key %s %s.", (long long)g->length[0],
                  (long long)g->length[g->lengths - 1],
                  w->growth > 0.05 ? "grows as" : w->growth < -0.05 ? "falls as" : "stays about the same:", power);
}

/* Training amplifies it, or does not. */
static void say_random(kd_text *s, const kd_probe_table *t, const kd_probe_row *w) {
    const kd_probe_curve *c = w->curve;
    for (int64_t i = 0; i < t->rows && !c->random; i++) {
        const kd_probe_row *r = &t->row[i];
        char phrase[PHRASE];
        if (!r->curve->random || r->mode != w->mode || strcmp(r->curve->precision, c->precision)) continue;
        if (r->curve->L != c->L || r->curve->H != c->H || r->curve->E != c->E) continue;
        if (!compare_rows(phrase, r, w)) {
            if (w->d.mean > 0) kd_text_put(s, "A random model of the same shape does not move.");
            return;
        }
        kd_text_print(s, "A random model of the same shape moves %s this one", phrase);
        if (r->first > 0) {
            compare(phrase, r->first);
            kd_text_print(s, "; there the first key moves %s the median key", phrase);
        }
        kd_text_put(s, ".");
        return;
    }
}

static void say_isolated(kd_text *s, const kd_probe_table *t, const kd_probe_row *w) {
    const kd_probe_row *alone = w->mode == KD_PROPAGATED ? find(t, w->number, KD_ISOLATED) : NULL;
    char phrase[PHRASE];
    if (alone && compare_rows(phrase, alone, w))
        kd_text_print(s, "Rotation alone, without what later layers make of it, moves %s the whole network.", phrase);
}

static void say_far(kd_text *s, const kd_probe_table *t, const kd_probe_row *w, const char *name) {
    const kd_probe_grid *g = &t->probe->grid;
    char phrase[PHRASE];
    if (!(w->far > 0)) return;
    compare(phrase, w->far);
    kd_text_print(s, "Between %lld and %lld %s moves %s between %lld and %lld.", (long long)g->shift[0],
                  (long long)g->shift[g->shifts - 1], name, phrase, (long long)g->shift[0], (long long)g->against);
}

/* The row of a model that the far shift moves most, where that is another one than `w`. */
static void say_farthest(kd_text *s, const kd_probe_table *t, const kd_probe_row *w) {
    const kd_probe_row *most = w;
    char name[KD_CURVE_NAME];
    for (int64_t i = 0; i < t->rows; i++) {
        const kd_probe_row *r = &t->row[i];
        if (r->mode == w->mode && !strcmp(r->curve->model, w->curve->model) && r->far > 2 && !(r->far <= most->far)) most = r;
    }
    if (most == w) return;
    kd_curve_name(name, t->probe, most->curve);
    say_far(s, t, most, name);
}

static int64_t largest(const double *value, int64_t count) {
    int64_t most = 0;
    for (int64_t i = 1; i < count; i++)
        if (value[i] > value[most]) most = i;
    return most;
}

static void say_heads(kd_text *s, const kd_probe_row *w) {
    const kd_probe_curve *c = w->curve;
    const double *head = c->mode[w->mode].head;
    int64_t count = c->L * c->H, most = head ? largest(head, count) : 0;
    double sum = 0;
    for (int64_t h = 0; h < count && head; h++) sum += head[h];
    if (!(sum > 0)) return;
    kd_text_print(s, "Head %lld of layer %lld moves most, %.1f%% of D; were all alike, it would be %.1f%%.", (long long)(most % c->H),
                  (long long)(most / c->H), 100 * head[most] / sum, 100 / (double)count);
}

static void say_sink(kd_text *s, const kd_probe_row *w) {
    const kd_probe_curve *c = w->curve;
    if (!isfinite(w->sink)) return;
    int64_t most = largest(c->sink, c->L * c->H);
    kd_text_print(s, "Queries give the first key %.1f%% of their attention on average; in head %lld of layer %lld, %.1f%%.", 100 * w->sink,
                  (long long)(most % c->H), (long long)(most / c->H), 100 * w->sink_most);
}

/* Ends a sentence; one that was not made is none. */
static void put(kd_text *page, kd_text *s) {
    if (!s->size) return;
    kd_text_put(page, "<li>");
    kd_text_escape(page, s->data);
    kd_text_put(page, "</li>\n");
    s->size = 0;
}

static void put_list(kd_text *page, kd_text *s, const kd_probe_table *t, const kd_probe_row *w) {
    char name[KD_CURVE_NAME];
    kd_curve_name(name, t->probe, w->curve);
    kd_text_put(page, "<ul>\n");
    say_precision(s, t, w, name);
    put(page, s);
    say_first_key(s, w);
    put(page, s);
    say_growth(s, t, w);
    put(page, s);
    say_far(s, t, w, name);
    put(page, s);
    say_farthest(s, t, w);
    put(page, s);
    say_random(s, t, w);
    put(page, s);
    say_isolated(s, t, w);
    put(page, s);
    say_heads(s, w);
    put(page, s);
    say_sink(s, w);
    put(page, s);
    kd_text_put(page, "</ul>\n");
}

/* Of trained models; of random ones where there are no others. */
kd_status kd_probe_words(kd_text *page, const kd_probe_table *t) {
    const kd_probe *p = t->probe;
    const kd_probe_row *any = kd_table_worst(t, NULL);
    kd_text s = {0};
    for (int64_t i = 0; i < p->curves; i++) {
        const char *model = p->curve[i].model;
        const kd_probe_row *w = kd_table_worst(t, model);
        bool done = !w || (w->curve->random && !any->curve->random);
        for (int64_t k = 0; k < i; k++) done |= !strcmp(p->curve[k].model, model);
        if (!done) put_list(page, &s, t, w);
    }
    kd_status status = kd_text_status(&s);
    kd_text_free(&s);
    return status;
}
