/* The report: one page. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "probe_write.h"

enum { MOST_MAPS = 4 };  /* curves that are shown head by head */

static void cell_number(kd_text *page, double value) {
    char number[32];
    kd_show_number(number, value);
    kd_page_cell(page, number, false, true);
}

static void show_times(char out[32], double value) {
    char number[32];
    kd_show_factor(number, value);
    snprintf(out, 32, isfinite(value) ? "%.20s\u00d7" : "%.20s", number);
}

/* ---- the head ---------------------------------------------------------------------------------------------- */

static void write_head(kd_text *page, const kd_probe *p) {
    char about[1024], title[192];
    const char *model = kd_only_model(p);
    snprintf(title, sizeof title, "What shifting every position does to attention%s%.100s", model ? ": " : "",
             model ? model : "");
    snprintf(about, sizeof about,
             "All positions of a model are shifted by a constant, d1 or d2, and its attention is compared. RoPE is relative: in "
             "exact arithmetic a shift changes nothing, so that what is seen is rounding. D(d1, d2) is by how much the attention "
             "that a key gets changes, as a mean over the queries that see it, summed over keys, heads and layers; D_j is the part "
             "of key j. D_logit is by how much the first key's logits change, before 1/\u221aE, as a mean over the queries of T "
             "tokens, summed over heads and layers. Figures are means of %lld text%s of %lld tokens.",
             (long long)p->texts, p->texts == 1 ? "" : "s", (long long)p->grid.T);
    kd_page_open(page, title, about);
}

static void tile_d(kd_text *page, const kd_probe *p, const kd_probe_row *r, const char *what) {
    char value[32], sd[32], name[KD_CURVE_NAME], words[192], note[96];
    kd_curve_name(name, p, r->curve);
    kd_show_number(value, r->d.mean);
    kd_show_number(sd, r->d.sd);
    snprintf(words, sizeof words, "D(%lld, %lld), %s", (long long)p->grid.shift[0], (long long)p->grid.against, name);
    snprintf(note, sizeof note, isfinite(r->d.sd) ? "%s; \u00b1 %s between texts" : "%s", what, sd);
    kd_page_tile(page, value, words, note);
}

/* What moves least, and how much less that is. */
static void tile_least(kd_text *page, const kd_probe *p, const kd_probe_row *w, const kd_probe_row *b) {
    char value[32], note[160], most[KD_CURVE_NAME], least[KD_CURVE_NAME];
    if (!b) {
        kd_page_tile(page, "\u2013", "What moves least", "one curve of this model was measured");
        kd_page_tile(page, "\u2013", "Most over least", NULL);
        return;
    }
    tile_d(page, p, b, "moves least");
    kd_curve_name(most, p, w->curve);
    kd_curve_name(least, p, b->curve);
    snprintf(note, sizeof note, "D of %.60s over D of %.60s", most, least);
    show_times(value, b->d.mean > 0 ? w->d.mean / b->d.mean : NAN);
    kd_page_tile(page, value, "Most over least", b->d.mean > 0 ? note : "the least is exactly 0");
}

/* Always eight, which fill their rows. */
static void write_tiles(kd_text *page, const kd_probe_table *t) {
    const kd_probe *p = t->probe;
    const kd_probe_row *w = kd_table_worst(t, NULL);
    char value[32], most[32], note[160], name[KD_CURVE_NAME];
    if (!w) return;
    kd_curve_name(name, p, w->curve);
    kd_page_tiles(page);
    tile_d(page, p, w, kd_is_bf16(w->curve) ? "moves most of bf16's kinds" : "moves most");
    tile_least(page, p, w, kd_table_best(t, w));
    show_times(value, w->first);
    kd_page_tile(page, value, "First key over median key", name);
    show_times(value, w->first_other);
    kd_page_tile(page, value, "First key over largest other", name);
    kd_show_number(value, w->most);
    snprintf(note, sizeof note, "%.90s, of any text", name);
    kd_page_tile(page, value, "Largest change of a logit", note);
    bool grows = isfinite(w->growth);
    if (grows) {
        kd_show_power(value, w->growth);
        snprintf(note, sizeof note, "%.60s, %lld to %lld tokens", name, (long long)p->grid.length[0],
                 (long long)p->grid.length[p->grid.lengths - 1]);
    }
    kd_page_tile(page, grows ? value : "\u2013", "D_logit goes as", grows ? note : NULL);
    kd_show_percent(value, w->sink);
    kd_show_percent(most, w->sink_most);
    snprintf(note, sizeof note, "mean over heads; the largest %s", most);
    kd_page_tile(page, value, "Attention on the first key", isfinite(w->sink) ? note : NULL);
    kd_page_tiles_close(page);
}

/* ---- figures ----------------------------------------------------------------------------------------------- */

/* Whether nothing moved at any pair. */
static bool is_still(const kd_probe *p, const kd_probe_numbers *n) {
    for (int64_t i = 0; i < p->texts * kd_probe_pairs(&p->grid); i++)
        if (n->d[i] != 0) return false;
    return true;
}

/* Curves that log axes cannot show. */
static void note_still(kd_text *page, const kd_probe *p) {
    bool any = false;
    for (int m = 0; m < KD_PROBE_MODES; m++)
        for (int64_t i = 0; i < p->curves; i++) {
            char name[KD_CURVE_NAME];
            if (!p->curve[i].mode[m].d || !is_still(p, &p->curve[i].mode[m])) continue;
            kd_curve_name(name, p, &p->curve[i]);
            kd_text_put(page, any ? ", " : "<p class=\"note\">Logarithmic axes have no 0, so that what does not move is not drawn: ");
            kd_text_escape(page, name);
            kd_text_print(page, " (%s)", kd_probe_mode_names[m]);
            any = true;
        }
    if (any) kd_text_put(page, ".</p>\n");
}

static kd_status write_figure1(kd_text *page, const kd_probe *p) {
    const kd_probe_grid *g = &p->grid;
    kd_page_section(page, "Figure 1: how far attention moves");
    kd_text_put(page, "<p class=\"note\">As in figure 1 of Wang et al. 2024. ");
    if (g->shifts > 2)
        kd_text_print(page, "Shift by shift, against %lld: shifts are not evenly spaced, and where d1 is %lld there is nothing to "
                            "compare. ", (long long)g->against, (long long)g->against);
    kd_text_print(page, "Key by key: between %lld and %lld, the first key at the left", (long long)g->shift[0], (long long)g->against);
    kd_text_put(page, kd_figure1_is_binned(p)
                          ? "; from key 64 on a point is the key that moves most of a run, a 32nd as long as what lies before it, and "
                            "figure1_middle.csv has every key.</p>\n"
                          : ".</p>\n");
    note_still(page, p);
    kd_page_charts(page);
    for (int m = 0; m < KD_PROBE_MODES; m++) KD_TRY(kd_figure1_left(page, p, (kd_probe_mode)m, false));
    KD_TRY(kd_figure1_middle(page, p, false));
    KD_TRY(kd_figure1_right(page, p, false));
    kd_page_charts_close(page);
    return KD_OK;
}

static kd_status write_figure7(kd_text *page, const kd_probe *p) {
    if (p->grid.shifts < 3) return KD_OK;
    kd_page_section(page, "Figure 7: text by text");
    kd_page_charts(page);
    KD_TRY(kd_figure7(page, p, 1, false));
    KD_TRY(kd_figure7(page, p, 0, false));
    kd_page_charts_close(page);
    return KD_OK;
}

typedef kd_status draw_map(kd_text *text, const kd_probe *probe, const kd_probe_curve *curve, bool alone);

static kd_status write_maps(kd_text *page, const kd_probe *p, const char *title, draw_map *draw) {
    kd_page_section(page, title);
    kd_page_charts(page);
    for (int64_t i = 0; i < p->curves && i < MOST_MAPS; i++) KD_TRY(draw(page, p, &p->curve[i], false));
    kd_page_charts_close(page);
    return KD_OK;
}

/* ---- the table --------------------------------------------------------------------------------------------- */

static void write_row(kd_text *page, const kd_probe *p, const kd_probe_row *r) {
    char name[KD_CURVE_NAME], text[96], mean[32], sd[32];
    kd_page_row(page);
    kd_curve_name(name, p, r->curve);
    kd_page_cell(page, name, true, false);
    kd_page_cell(page, kd_probe_mode_names[r->mode], false, false);
    kd_show_number(mean, r->d.mean);
    kd_show_number(sd, r->d.sd);
    snprintf(text, sizeof text, isfinite(r->d.sd) ? "%s \u00b1 %s" : "%s", mean, sd);
    kd_page_cell(page, text, false, true);
    show_times(text, r->ratio);
    kd_page_cell(page, text, false, true);
    show_times(text, r->first);
    kd_page_cell(page, text, false, true);
    show_times(text, r->first_other);
    kd_page_cell(page, text, false, true);
    cell_number(page, r->logit);
    kd_show_fixed(text, r->growth, 2);
    kd_page_cell(page, text, false, true);
    cell_number(page, r->most);
    kd_show_percent(text, r->sink);
    kd_page_cell(page, text, false, true);
    kd_show_percent(text, r->sink_most);
    kd_page_cell(page, text, false, true);
}

static void write_table(kd_text *page, const kd_probe_table *t) {
    static const char *const head[] = {"curve", "mode", "D", "over least", "first/median", "first/largest other", "D_logit",
                                       "exponent", "logit", "sink, mean", "sink, most"};
    const kd_probe_grid *g = &t->probe->grid;
    kd_page_section(page, "All curves");
    kd_page_table(page);
    for (int i = 0; i < 11; i++) kd_page_cell(page, head[i], true, i > 1);
    for (int64_t i = 0; i < t->rows; i++) write_row(page, t->probe, &t->row[i]);
    kd_page_table_close(page);
    kd_text_print(page, "<p class=\"note\">Between %lld and %lld, means over texts. Over least: of the same model and mode, what is exactly 0 left "
                        "aside. First/..: the first key's D_j over the median key's and over the largest of the others. ",
                  (long long)g->shift[0], (long long)g->against);
    if (g->lengths)
        kd_text_print(page, "D_logit: at %lld tokens; exponent: of T, a straight line through logarithms. ", (long long)g->length[g->lengths - 1]);
    kd_text_put(page, "Logit: the largest change of one, with 1/\u221aE. Sink: attention of the queries behind the first key on it.</p>\n");
}

/* ---- settings ---------------------------------------------------------------------------------------------- */

static void join(kd_text *out, const int64_t *value, int64_t count) {
    for (int64_t i = 0; i < count; i++) kd_text_print(out, "%s%lld", i ? " " : "", (long long)value[i]);
    kd_text_put(out, count ? "" : "\u2013");
}

static void join_curves(kd_text *out, const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++) {
        const kd_probe_curve *c = &p->curve[i];
        kd_text_print(out, "%s%s, %s", i ? "; " : "", c->model, c->precision);
        kd_text_print(out, " (%lld layers, %lld heads of %lld", (long long)c->L, (long long)c->H, (long long)c->E);
        char time[32];
        kd_show_time(time, c->seconds);
        kd_text_print(out, ", %s)", time);
    }
}

static kd_status write_settings(kd_text *page, const kd_probe *p) {
    const kd_probe_grid *g = &p->grid;
    double seconds = 0;
    char text[96], time[32];
    kd_text list = {0};
    for (int64_t i = 0; i < p->curves; i++) seconds += p->curve[i].seconds;
    kd_page_section(page, "Settings");
    kd_page_table(page);
    join_curves(&list, p);
    kd_page_fact(page, true, "curves", list.data);
    kd_page_fact(page, false, "texts", p->source);
    snprintf(text, sizeof text, "%lld of %lld tokens", (long long)p->texts, (long long)g->T);
    kd_page_fact(page, false, "measured", text);
    list.size = 0;
    join(&list, g->shift, g->shifts);
    kd_page_fact(page, false, "shifts", list.data);
    snprintf(text, sizeof text, "%lld", (long long)g->against);
    kd_page_fact(page, false, "against", text);
    list.size = 0;
    join(&list, g->length, g->lengths);
    kd_page_fact(page, false, "lengths of D_logit", list.data);
    kd_page_fact(page, false, "mask", p->mask);
    kd_page_fact(page, false, "frame", p->frame);
    kd_show_time(time, seconds);
    kd_page_fact(page, false, "time", time);
    kd_page_table_close(page);
    kd_status status = kd_text_status(&list);
    kd_text_free(&list);
    return status;
}

kd_status kd_probe_page(kd_text *page, const kd_probe *p) {
    kd_probe_table table;
    kd_status status;
    KD_GO(kd_probe_table_open(&table, p));
    write_head(page, p);
    write_tiles(page, &table);
    KD_GO(write_figure1(page, p));
    KD_GO(write_figure7(page, p));
    KD_GO(write_maps(page, p, "Layers and heads", kd_heads_map));
    KD_GO(write_maps(page, p, "The attention sink", kd_sink_map));
    write_table(page, &table);
    kd_page_section(page, "How to read it");
    KD_GO(kd_probe_words(page, &table));
    KD_GO(write_settings(page, p));
    kd_page_close(page, "from probe.json, which has every number.");
    status = kd_text_status(page);
done:
    kd_probe_table_close(&table);
    return status;
}
