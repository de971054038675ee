/* The report as a table for a terminal, and as lines for a spreadsheet. */
#include <string.h>

#include "data/pack_report.h"
#include "format/chart.h"

enum { NAME = 20 };

/* ---- the table --------------------------------------------------------------------------------------------- */

/* Cut to NAME columns; what a file calls its source may hold anything. */
static void put_name(kd_text *t, const kd_source_report *source) {
    char name[NAME * 4 + 1];
    const char *title = kd_source_title(source);
    int64_t columns = 0, size = 0;
    for (; title[size] && size < NAME * 4; size++) {
        columns += ((unsigned char)title[size] & 0xc0) != 0x80;
        if (columns > NAME) break;
    }
    snprintf(name, sizeof name, "%.*s", (int)size, title);
    kd_text_plain(name);
    kd_text_print(t, "%s%*s", name, (int)(columns > NAME ? 0 : NAME - columns), "");
}

static void put_share(kd_text *t, double share) {
    if (share < 0) kd_text_print(t, "%9s", "-");
    else kd_text_print(t, "%9.2f", 100 * share);
}

static void put_count(kd_text *t, int64_t value, int width) {
    char number[32];
    if (value < 100000) snprintf(number, sizeof number, "%lld", (long long)value);
    else kd_number_format(number, (double)value, false);
    kd_text_print(t, "%*s", width, number);
}

static void put_source(kd_text *t, const kd_source_report *s, const kd_source_report *all) {
    put_name(t, s);
    put_count(t, s->there.documents, 9);
    put_share(t, kd_share(s->there.documents, all->there.documents));
    put_count(t, s->there.tokens, 9);
    put_share(t, kd_share(s->there.tokens, all->there.tokens));
    put_share(t, s->planned);
    put_share(t, kd_share(s->chosen.tokens, all->chosen.tokens));
    put_share(t, kd_share(s->packed.tokens, all->packed.tokens));
    kd_text_print(t, "%13.2f\n", 100 * kd_share(s->packed.documents, all->packed.documents));
}

static void put_sources(kd_text *t, const kd_part_report *r) {
    kd_text_print(t, "%-*s   in the corpus                       share of tokens, %%      documents, %%\n", NAME, "");
    kd_text_print(t, "%-*s%9s%9s%9s%9s%9s%9s%9s%13s\n", NAME, "source", "documents", "%", "tokens", "%", "planned", "chosen", "windows",
                  "in windows");
    for (int64_t s = 0; s < r->sources; s++) put_source(t, &r->source[s], &r->all);
    if (r->sources > 1) put_source(t, &r->all, &r->all);
}

static void put_loss(kd_text *t, const char *what, const kd_amount *a, const kd_amount *of) {
    kd_text_print(t, "%-26s", what);
    put_count(t, a->documents, 9);
    put_count(t, a->tokens, 9);
    put_share(t, kd_share(a->tokens, of->tokens));
    kd_text_put(t, "\n");
}

static void put_losses(kd_text *t, const kd_part_report *r) {
    kd_text_print(t, "%-26s%9s%9s%9s\n", "where its tokens are", "documents", "tokens", "%");
    put_loss(t, "in windows", &r->all.packed, &r->all.there);
    for (int i = 0; i < KD_LOSSES; i++)
        if (r->all.lost[i].documents) put_loss(t, kd_loss_words[i], &r->all.lost[i], &r->all.there);
    if (r->counts.empty) kd_text_print(t, "%-26s%9lld\n", "empty documents", (long long)r->counts.empty);
    if (r->counts.bad_lines) kd_text_print(t, "%-26s%9lld\n", "bad lines", (long long)r->counts.bad_lines);
}

static void put_lengths(kd_text *t, const char *what, const kd_amount bin[KD_LENGTHS], const kd_amount *of, bool tokens) {
    kd_text_print(t, "%-*s", NAME, what);
    for (int i = 0; i < KD_LENGTHS; i++) {
        double share = tokens ? kd_share(bin[i].tokens, of->tokens) : kd_share(bin[i].documents, of->documents);
        if (bin[i].documents) kd_text_print(t, "%7.1f", 100 * share);
        else kd_text_print(t, "%7s", ".");
    }
    kd_text_put(t, "\n");
}

static void put_histograms(kd_text *t, const kd_part_report *r) {
    bool chosen = r->all.chosen.documents != r->all.there.documents;
    kd_text_print(t, "%-*s", NAME, "length in tokens, %");
    for (int i = 0; i < KD_LENGTHS; i++) {
        char number[32];
        kd_number_format(number, (double)kd_length_from(i), true);
        kd_text_print(t, i ? "%6s+" : "%7s", i ? number : "<512");
    }
    kd_text_put(t, "\n");
    put_lengths(t, "documents", r->all.before, &r->all.there, false);
    if (chosen) put_lengths(t, "  chosen", r->all.after, &r->all.chosen, false);
    put_lengths(t, "tokens", r->all.before, &r->all.there, true);
    if (chosen) put_lengths(t, "  chosen", r->all.after, &r->all.chosen, true);
}

/* "97.9% text, 1.2% tags, 0.01% anchors". */
static void put_kinds(kd_text *t, const kd_windows_report *w) {
    static const char *const words[KD_TOKEN_KINDS] = {"anchors", "BOS", "tags", "text", "EOS"};
    static const kd_token_kind order[] = {KD_TOKEN_TEXT, KD_TOKEN_TAG, KD_TOKEN_BOS, KD_TOKEN_EOS, KD_TOKEN_ANCHOR};
    for (int i = 0; i < KD_TOKEN_KINDS; i++) {
        int64_t n = w->kind[order[i]];
        if (n) kd_text_print(t, "%s%.3g%% %s", i ? ", " : "", 100 * kd_share(n, w->count * w->tokens), words[order[i]]);
    }
}

static void put_windows(kd_text *t, const kd_part_report *r) {
    static const char *const mask[] = {"full", "document", "anchor"};
    const kd_windows_report *w = &r->windows;
    char size[32], text[3][32];
    kd_number_format(size, (double)w->tokens, true);
    for (int m = 0; m < 3; m++) kd_number_format(text[m], w->visible[m], false);
    kd_text_print(t, "%lld windows of %s: ", (long long)w->count, size);
    put_kinds(t, w);
    kd_text_print(t, "\n  %.1f documents in each (%lld to %lld); a window's end cuts %lld; one stands in %lld window%s\n", kd_share(w->shares, w->count),
                  (long long)w->least, (long long)w->most, (long long)w->cut, (long long)w->widest, w->widest == 1 ? "" : "s");
    kd_text_print(t, "  a token of text sees %s tokens with mask %s, %s with %s, %s with %s\n", text[0], mask[0], text[1], mask[1], text[2],
                  mask[2]);
    kd_text_print(t, "  attention against full: document %.3gx less to compute, anchor %.3gx\n", kd_report_speed_up(w, KD_MASK_DOCUMENT),
                  kd_report_speed_up(w, KD_MASK_ANCHOR));
}

kd_status kd_pack_report_table(kd_text *t, const kd_pack_report *report) {
    for (int64_t p = 0; p < report->parts; p++) {
        const kd_part_report *r = &report->part[p];
        kd_text_print(t, "%s%s\n\n", p ? "\n\n" : "", r->name);
        put_sources(t, r);
        kd_text_put(t, "\n");
        put_losses(t, r);
        kd_text_put(t, "\n");
        put_histograms(t, r);
        kd_text_put(t, "\n");
        put_windows(t, r);
    }
    return kd_text_status(t);
}

/* ---- lines for a spreadsheet ------------------------------------------------------------------------------- */

static void put_line(kd_text *t, const char *part, const kd_source_report *s, const char *what, const kd_amount *a, const kd_amount *of) {
    kd_text_print(t, "%s,", part);
    kd_text_field(t, s->name);
    kd_text_print(t, ",%s,%lld,%lld,%.6g,%.6g\n", what, (long long)a->documents, (long long)a->tokens, kd_share(a->documents, of->documents),
                  kd_share(a->tokens, of->tokens));
}

static void put_lines(kd_text *t, const char *part, const kd_source_report *s, const kd_source_report *all) {
    char what[64];
    if (s->planned >= 0) {
        kd_text_print(t, "%s,", part);
        kd_text_field(t, s->name);
        kd_text_print(t, ",planned,,,,%.6g\n", s->planned);
    }
    put_line(t, part, s, "corpus", &s->there, &all->there);
    put_line(t, part, s, "chosen", &s->chosen, &all->chosen);
    put_line(t, part, s, "windows", &s->packed, &all->packed);
    for (int i = 0; i < KD_LOSSES; i++) {
        snprintf(what, sizeof what, "lost:%s", kd_loss_names[i]);
        put_line(t, part, s, what, &s->lost[i], &s->there);
    }
    for (int chosen = 0; chosen < 2; chosen++)
        for (int i = 0; i < KD_LENGTHS; i++) {
            snprintf(what, sizeof what, "%s:%lld", chosen ? "chosen" : "corpus", (long long)kd_length_from(i));
            put_line(t, part, s, what, chosen ? &s->after[i] : &s->before[i], chosen ? &s->chosen : &s->there);
        }
}

kd_status kd_pack_report_csv(kd_text *t, const kd_pack_report *report) {
    kd_text_put(t, "part,source,what,documents,tokens,share_of_documents,share_of_tokens\n");
    for (int64_t p = 0; p < report->parts; p++) {
        const kd_part_report *r = &report->part[p];
        for (int64_t s = 0; s < r->sources; s++) put_lines(t, r->name, &r->source[s], &r->all);
        put_lines(t, r->name, &r->all, &r->all);
    }
    return kd_text_status(t);
}
