/* The report as JSON, and the files beside the pack. */
#include <stdlib.h>
#include <string.h>

#include "data/pack_report.h"
#include "format/json.h"

#define FORMAT "kedge pack report"
enum { VERSION = 1 };

/* What cannot be made is NULL and makes what holds it NULL: memory was out. */
static json_t *amount(const kd_amount *a, const kd_amount *of) {
    return json_pack("{s:I, s:I, s:f, s:f}", "documents", (json_int_t)a->documents, "tokens", (json_int_t)a->tokens, "share_of_documents",
                     kd_share(a->documents, of->documents), "share_of_tokens", kd_share(a->tokens, of->tokens));
}

static json_t *pair(const kd_amount *a) {
    return json_pack("{s:I, s:I}", "documents", (json_int_t)a->documents, "tokens", (json_int_t)a->tokens);
}

static json_t *losses(const kd_source_report *s) {
    json_t *out = json_object();
    for (int i = 0; i < KD_LOSSES; i++)
        if (json_object_set_new(out, kd_loss_names[i], pair(&s->lost[i]))) {
            json_decref(out);
            return NULL;
        }
    return out;
}

static json_t *lengths(const kd_amount bin[KD_LENGTHS]) {
    json_t *list = json_array();
    for (int64_t i = 0; i < KD_LENGTHS; i++) {
        json_t *row = json_pack("{s:I, s:I, s:I}", "from", (json_int_t)kd_length_from(i), "documents", (json_int_t)bin[i].documents, "tokens",
                                (json_int_t)bin[i].tokens);
        if (json_array_append_new(list, row)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *source(const kd_source_report *s, const kd_source_report *all) {
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}}", "name", s->name, "planned",
                     s->planned < 0 ? json_null() : json_real(s->planned), "corpus", amount(&s->there, &all->there), "chosen",
                     amount(&s->chosen, &all->chosen), "windows", amount(&s->packed, &all->packed), "lost", losses(s),
                     "lengths", "corpus", lengths(s->before), "chosen", lengths(s->after));
}

static json_t *by_mask(const double value[3]) {
    return json_pack("{s:f, s:f, s:f}", "full", value[KD_MASK_FULL], "document", value[KD_MASK_DOCUMENT], "anchor", value[KD_MASK_ANCHOR]);
}

static json_t *windows(const kd_windows_report *w) {
    json_t *kinds = json_object();
    for (int k = 0; k < KD_TOKEN_KINDS && kinds; k++)
        if (json_object_set_new(kinds, kd_token_kind_names[k], json_integer(w->kind[k]))) {
            json_decref(kinds);
            kinds = NULL;
        }
    return json_pack("{s:I, s:I, s:o, s:{s:f, s:I, s:I}, s:I, s:I, s:o, s:o, s:{s:f, s:f}}", "count", (json_int_t)w->count, "tokens",
                     (json_int_t)w->tokens, "kinds", kinds, "documents_in_a_window", "mean", kd_share(w->shares, w->count), "least",
                     (json_int_t)w->least, "most", (json_int_t)w->most, "cut_documents", (json_int_t)w->cut, "most_windows_of_a_document",
                     (json_int_t)w->widest, "visible", by_mask(w->visible), "pairs", by_mask(w->pairs), "speed_up", "document",
                     kd_report_speed_up(w, KD_MASK_DOCUMENT), "anchor", kd_report_speed_up(w, KD_MASK_ANCHOR));
}

static json_t *part(const kd_part_report *r) {
    json_t *sources = json_array();
    for (int64_t s = 0; s < r->sources && sources; s++)
        if (json_array_append_new(sources, source(&r->source[s], &r->all))) {
            json_decref(sources);
            sources = NULL;
        }
    return json_pack("{s:{s:I, s:I, s:I, s:I}, s:o, s:o, s:o}", "read", "documents", (json_int_t)r->counts.documents, "bytes",
                     (json_int_t)r->counts.bytes, "empty", (json_int_t)r->counts.empty, "bad_lines", (json_int_t)r->counts.bad_lines,
                     "windows", windows(&r->windows), "sources", sources, "all", source(&r->all, &r->all));
}

kd_status kd_pack_report_json(json_t **out, const kd_pack_report *report) {
    json_t *parts = json_object();
    for (int64_t p = 0; p < report->parts && parts; p++)
        if (json_object_set_new(parts, report->part[p].name, part(&report->part[p]))) {
            json_decref(parts);
            parts = NULL;
        }
    *out = json_pack("{s:s, s:i, s:o}", "format", FORMAT, "version", VERSION, "parts", parts);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory: the report, or a source's name is not UTF-8");
}

/* ---- files ------------------------------------------------------------------------------------------------- */

kd_status kd_pack_report_write(const kd_pack_report *report, const char *folder) {
    json_t *root = NULL;
    char *json = NULL;
    kd_text csv = {0}, page = {0};
    kd_status status;
    KD_GO(kd_pack_report_json(&root, report));
    KD_GO(kd_json_print(&json, root, JSON_INDENT(1), "report.json"));
    KD_GO(kd_pack_report_csv(&csv, report));
    KD_GO(kd_pack_report_page(&page, report));
    KD_GO(kd_folder_replace(folder, "report.json", json, (int64_t)strlen(json)));
    KD_GO(kd_folder_replace(folder, "report.csv", csv.data, csv.size));
    KD_GO(kd_folder_replace(folder, "report.html", page.data, page.size));
done:
    kd_text_free(&page);
    kd_text_free(&csv);
    free(json);
    json_decref(root);
    return status;
}
