/* The report as one HTML page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/pack_report.h"
#include "data/window_view.h"
#include "format/page.h"

/* ---- figures ----------------------------------------------------------------------------------------------- */

static double percent(int64_t part, int64_t whole) { return 100 * kd_share(part, whole); }

static void tile_count(kd_text *page, int64_t value, const char *name, const char *note) {
    char number[32];
    if (value < 100000) snprintf(number, sizeof number, "%lld", (long long)value);
    else kd_show_number(number, (double)value);
    kd_page_tile(page, number, name, note);
}

static void write_tiles(kd_text *page, const kd_part_report *r) {
    const kd_windows_report *w = &r->windows;
    char note[96], number[32], other[32];
    kd_page_tiles(page);
    snprintf(note, sizeof note, "%lld of them chosen", (long long)r->all.chosen.documents);
    bool all = r->all.chosen.documents == r->all.there.documents;
    tile_count(page, r->all.there.documents, "Documents", all ? "all of them chosen" : note);
    kd_show_number(number, (double)r->all.chosen.tokens);
    snprintf(note, sizeof note, "%s of them chosen", number);
    tile_count(page, r->all.there.tokens, "Tokens", all ? NULL : note);
    kd_number_format(number, (double)w->tokens, true);
    snprintf(note, sizeof note, "of %s tokens", number);
    tile_count(page, w->count, "Windows", note);
    snprintf(number, sizeof number, "%.2f%%", percent(r->all.packed.tokens, r->all.chosen.tokens));
    kd_show_number(other, (double)r->all.packed.tokens);
    snprintf(note, sizeof note, "%s tokens of text", other);
    kd_page_tile(page, number, "Of what was chosen, in windows", note);
    kd_show_fixed(number, kd_share(w->shares, w->count), 1);
    snprintf(note, sizeof note, "%lld to %lld", (long long)w->least, (long long)w->most);
    kd_page_tile(page, number, "Documents in a window", note);
    snprintf(note, sizeof note, "one stands in %lld window%s", (long long)w->widest, w->widest == 1 ? "" : "s");
    tile_count(page, w->cut, "Documents that a window cuts", note);
    kd_show_number(number, w->visible[KD_MASK_DOCUMENT]);
    kd_show_number(other, w->visible[KD_MASK_FULL]);
    snprintf(note, sizeof note, "of its document; %s with full attention", other);
    kd_page_tile(page, number, "Tokens that a token sees", note);
    snprintf(number, sizeof number, "%.3g\u00d7", kd_report_speed_up(w, KD_MASK_ANCHOR));
    snprintf(note, sizeof note, "AnchorAttention against full; inside documents %.3g\u00d7", kd_report_speed_up(w, KD_MASK_DOCUMENT));
    kd_page_tile(page, number, "Less attention to compute", note);
    kd_page_tiles_close(page);
}

/* ---- charts ------------------------------------------------------------------------------------------------ */

/* Charts show so many sources, the largest. */
enum { MOST_CHARTED = 32 };

static int64_t charted(const kd_part_report *r) { return r->sources < MOST_CHARTED ? r->sources : MOST_CHARTED; }

/* Shares by source, in the corpus and in the windows, and what was planned. */
static kd_status chart_shares(kd_text *page, const kd_part_report *r, bool tokens) {
    static const char *const series[] = {"corpus", "windows", "planned"};
    const int64_t n = charted(r);
    const char **name = NULL;
    double *value = NULL;
    kd_status status;
    KD_GO(kd_new(&name, n, sizeof *name));
    KD_GO(kd_new(&value, 3 * n, sizeof *value));
    for (int64_t s = 0; s < n; s++) {
        const kd_source_report *source = &r->source[s];
        name[s] = kd_source_title(source);
        value[s] = tokens ? percent(source->there.tokens, r->all.there.tokens) : percent(source->there.documents, r->all.there.documents);
        value[n + s] = tokens ? percent(source->packed.tokens, r->all.packed.tokens) : percent(source->packed.documents, r->all.packed.documents);
        value[2 * n + s] = source->planned < 0 ? NAN : 100 * source->planned;
    }
    bool planned = tokens && r->all.planned >= 0;
    const kd_bars bars = {tokens ? "Share of tokens" : "Share of documents", n < r->sources ? "%, the largest sources" : "%", name, value, n, series, planned ? 3 : 2, planned};
    status = kd_page_bars(page, &bars);
done:
    free(value);
    free(name);
    return status;
}

/* "< 512", "512", "1K" ... "128K +" */
static void name_lengths(char name[KD_LENGTHS][32], const char *list[KD_LENGTHS]) {
    for (int i = 0; i < KD_LENGTHS; i++) {
        kd_number_format(name[i], (double)kd_length_from(i), true);
        if (!i) strcpy(name[i], "< 512");
        if (i + 1 == KD_LENGTHS) strcat(name[i], " +");
        list[i] = name[i];
    }
}

static kd_status chart_lengths(kd_text *page, const kd_part_report *r, bool tokens, bool chosen) {
    static const char *const series[] = {"corpus", "chosen"};
    char name[KD_LENGTHS][32];
    const char *list[KD_LENGTHS];
    double value[2 * KD_LENGTHS];
    name_lengths(name, list);
    for (int i = 0; i < KD_LENGTHS; i++) {
        const kd_amount *a = &r->all.before[i], *b = &r->all.after[i];
        value[i] = tokens ? percent(a->tokens, r->all.there.tokens) : percent(a->documents, r->all.there.documents);
        value[KD_LENGTHS + i] = tokens ? percent(b->tokens, r->all.chosen.tokens) : percent(b->documents, r->all.chosen.documents);
    }
    const kd_bars bars = {tokens ? "Tokens by the length of their document" : "Documents by length", "%", list, value, KD_LENGTHS,
                          chosen ? series : NULL, chosen ? 2 : 1, false};
    return kd_page_bars(page, &bars);
}

/* Of each source's tokens, how many are in documents of which length. */
static kd_status map_lengths(kd_text *page, const kd_part_report *r, bool chosen) {
    char name[KD_LENGTHS][32];
    const char *list[KD_LENGTHS], **row = NULL;
    double *value = NULL;
    kd_status status;
    name_lengths(name, list);
    KD_GO(kd_new(&row, charted(r), sizeof *row));
    KD_GO(kd_new(&value, charted(r) * KD_LENGTHS, sizeof *value));
    for (int64_t s = 0; s < charted(r); s++) {
        const kd_source_report *source = &r->source[s];
        row[s] = kd_source_title(source);
        for (int i = 0; i < KD_LENGTHS; i++)
            value[s * KD_LENGTHS + i] = chosen ? percent(source->after[i].tokens, source->chosen.tokens)
                                               : percent(source->before[i].tokens, source->there.tokens);
    }
    const kd_heat_map map = {chosen ? "Lengths by source, chosen" : "Lengths by source, corpus", "of each source's tokens", "length of the document",
                             row, list, value, charted(r), KD_LENGTHS, "%"};
    status = kd_page_heat_map(page, &map);
done:
    free(value);
    free(row);
    return status;
}

static kd_status write_charts(kd_text *page, const kd_part_report *r) {
    bool chosen = r->all.chosen.documents != r->all.there.documents;
    kd_page_charts(page);
    KD_TRY(chart_shares(page, r, true));
    KD_TRY(chart_shares(page, r, false));
    KD_TRY(chart_lengths(page, r, true, chosen));
    KD_TRY(chart_lengths(page, r, false, chosen));
    KD_TRY(map_lengths(page, r, false));
    if (chosen) KD_TRY(map_lengths(page, r, true));
    kd_page_charts_close(page);
    return KD_OK;
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

/* In groups of three digits. */
static void cell_count(kd_text *page, int64_t value) {
    char digits[32], number[48];
    int count = snprintf(digits, sizeof digits, "%lld", (long long)value), at = 0;
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0) number[at++] = ',';
        number[at++] = digits[i];
    }
    number[at] = 0;
    kd_page_cell(page, number, false, true);
}

static void cell_share(kd_text *page, double share) {
    char number[32];
    if (share < 0) strcpy(number, "\u2013");
    else snprintf(number, sizeof number, "%.2f", 100 * share);
    kd_page_cell(page, number, false, true);
}

static void write_source(kd_text *page, const kd_source_report *s, const kd_source_report *all) {
    kd_page_row(page);
    kd_page_cell(page, kd_source_title(s), true, false);
    cell_count(page, s->there.documents);
    cell_count(page, s->there.tokens);
    cell_share(page, kd_share(s->there.tokens, all->there.tokens));
    cell_share(page, s->planned);
    cell_share(page, kd_share(s->chosen.tokens, all->chosen.tokens));
    cell_share(page, kd_share(s->packed.tokens, all->packed.tokens));
    cell_share(page, kd_share(s->packed.documents, all->packed.documents));
}

static void write_sources(kd_text *page, const kd_part_report *r) {
    static const char *const head[] = {"source", "documents", "tokens", "corpus %", "planned %", "chosen %", "windows %", "documents %"};
    kd_page_table(page);
    for (int i = 0; i < 8; i++) kd_page_cell(page, head[i], true, i > 0);
    for (int64_t s = 0; s < r->sources; s++) write_source(page, &r->source[s], &r->all);
    write_source(page, &r->all, &r->all);
    kd_page_table_close(page);
    kd_text_put(page, "<p class=\"note\">Shares are of tokens: of the whole corpus, as planned, of the documents that were chosen, of the text in "
                      "windows; the last column is the share of documents in windows.</p>\n");
}

static void write_place(kd_text *page, const char *what, const kd_amount *a, const kd_amount *of) {
    kd_page_row(page);
    kd_page_cell(page, what, true, false);
    cell_count(page, a->documents);
    cell_count(page, a->tokens);
    cell_share(page, kd_share(a->tokens, of->tokens));
}

/* Every token of the corpus, once. */
static void write_places(kd_text *page, const kd_part_report *r) {
    kd_page_table(page);
    kd_page_cell(page, "where the corpus' tokens are", true, false);
    kd_page_cell(page, "documents", true, true);
    kd_page_cell(page, "tokens", true, true);
    kd_page_cell(page, "%", true, true);
    write_place(page, "in windows", &r->all.packed, &r->all.there);
    for (int i = 0; i < KD_LOSSES; i++)
        if (r->all.lost[i].documents) write_place(page, kd_loss_words[i], &r->all.lost[i], &r->all.there);
    kd_page_table_close(page);
    if (!r->counts.empty && !r->counts.bad_lines) return;
    kd_text_print(page, "<p class=\"note\">Not counted above: %lld documents without a token, %lld bad lines.</p>\n",
                  (long long)r->counts.empty, (long long)r->counts.bad_lines);
}

static void write_kinds(kd_text *page, const kd_windows_report *w) {
    static const char *const words[KD_TOKEN_KINDS] = {"anchors", "BOS", "tags", "text", "EOS"};
    kd_page_table(page);
    kd_page_cell(page, "what windows hold", true, false);
    kd_page_cell(page, "tokens", true, true);
    kd_page_cell(page, "%", true, true);
    for (int k = 0; k < KD_TOKEN_KINDS; k++) {
        if (!w->kind[k]) continue;
        kd_page_row(page);
        kd_page_cell(page, words[k], true, false);
        cell_count(page, w->kind[k]);
        cell_share(page, kd_share(w->kind[k], w->count * w->tokens));
    }
    kd_page_table_close(page);
}

static void write_masks(kd_text *page, const kd_windows_report *w) {
    static const char *const mask[] = {"full", "document", "anchor"};
    char number[32];
    kd_page_table(page);
    kd_page_cell(page, "mask", true, false);
    kd_page_cell(page, "a token sees", true, true);
    kd_page_cell(page, "pairs", true, true);
    kd_page_cell(page, "less to compute", true, true);
    for (int m = 0; m < 3; m++) {
        kd_page_row(page);
        kd_page_cell(page, mask[m], true, false);
        kd_show_number(number, w->visible[m]);
        kd_page_cell(page, number, false, true);
        kd_show_number(number, w->pairs[m]);
        kd_page_cell(page, number, false, true);
        snprintf(number, sizeof number, "%.3g\u00d7", kd_report_speed_up(w, (kd_mask)m));
        kd_page_cell(page, number, false, true);
    }
    kd_page_table_close(page);
}

/* ---- the page ---------------------------------------------------------------------------------------------- */

/* The first window as it is trained on, or read by validation. */
static kd_status write_window(kd_text *page, const kd_windows *windows, bool train) {
    kd_window_view view;
    KD_TRY(kd_window_view_open(&view, windows, 0, train));
    kd_text_put(page, "<div>\n");
    kd_page_section(page, "The first window");
    kd_text_put(page, "<figure>");
    kd_status status = kd_window_draw_svg(page, &view, false);
    kd_text_put(page, "</figure>\n</div>\n");
    kd_window_view_free(&view);
    return status;
}

static kd_status write_part(kd_text *page, const kd_part_report *r) {
    bool train = !strcmp(r->name, kd_part_names[KD_PART_TRAIN]);
    kd_page_section(page, train ? "Training" : "Validation");
    write_tiles(page, r);
    kd_page_section(page, train ? "Training: sources" : "Validation: sources");
    write_sources(page, r);
    kd_page_section(page, train ? "Training: shares and lengths" : "Validation: shares and lengths");
    KD_TRY(write_charts(page, r));
    kd_page_charts(page);
    KD_TRY(write_window(page, r->from, train));
    kd_text_put(page, "<div>\n");
    kd_page_section(page, "Tokens and what they see");
    write_places(page, r);
    kd_text_put(page, "<br>\n");
    write_kinds(page, &r->windows);
    kd_text_put(page, "<br>\n");
    write_masks(page, &r->windows);
    kd_text_put(page, "</div>\n");
    kd_page_charts_close(page);
    return kd_text_status(page);
}

/* The title is the same wherever the pack lies. */
kd_status kd_pack_report_page(kd_text *page, const kd_pack_report *report) {
    char about[160] = "", title[64], size[32];
    kd_number_format(size, report->parts ? (double)report->part[0].windows.tokens : 0, true);
    snprintf(title, sizeof title, "A pack of windows of %s tokens", size);
    for (int64_t p = 0; p < report->parts; p++)
        snprintf(about + strlen(about), sizeof about - strlen(about), "%s%s: %lld windows", p ? ", " : "", report->part[p].name,
                 (long long)report->part[p].windows.count);
    kd_page_open(page, title, about);
    for (int64_t p = 0; p < report->parts; p++) KD_TRY(write_part(page, &report->part[p]));
    kd_page_close(page, "from report.json, which has every number. A document's length is its tokens, without BOS, tag and EOS.");
    return kd_text_status(page);
}
