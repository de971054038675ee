#include "paper_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "paper_runs.h"

/* ---- columns ---------------------------------------------------------------------------------------------------------------- */

#define HEAD {"run", -1}, {"attention", -1}, {"window", -1}, {"checkpoints", 0}
enum { HEADS = 4 };

static const kd_table_column ruler_columns[] = {HEAD, {"128K", 2}, {"64K", 2}, {"32K", 2}, {"16K", 2}, {"8K", 2}, {"4K", 2}};
static const kd_table_column short_columns[] = {HEAD, {"LongBench ICL", 2}, {"HellaSwag", 2}, {"MMLU", 2}};
static const kd_table_column group_columns[] = {HEAD, {"ICL", 2}, {"code", 2}, {"multi-doc QA", 2}, {"single-doc QA", 2},
                                                {"summarization", 2},
                                                {"synthetic", 2}, {"average", 2}};

static const struct { const kd_table_column *column; int64_t figures; const char *title; } layouts[KD_PAPER_LAYOUTS] = {
    {ruler_columns, 6, "Table 5: RULER by length"},
    {ruler_columns, 6, "Table 6: RULER by length, other models"},
    {short_columns, 3, "Table 7: short and medium contexts"},
    {group_columns, 7, "Table 12: LongBench by group"},
};

/* The figures of a run in the layout's columns. */
static void figures_of(kd_paper_mean out[KD_PAPER_FIGURES], const kd_paper_run *r, kd_paper_layout layout) {
    static const kd_longbench_group order[KD_LB_GROUPS] = {KD_LB_FEW_SHOT, KD_LB_CODE, KD_LB_MULTI_DOC, KD_LB_SINGLE_DOC,
                                                           KD_LB_SUMMARIZATION, KD_LB_SYNTHETIC};
    if (layout <= KD_PAPER_TABLE6) memcpy(out, r->ruler, sizeof r->ruler);
    else if (layout == KD_PAPER_TABLE7) {
        out[0] = r->group[KD_LB_FEW_SHOT];
        out[1] = r->hellaswag;
        out[2] = r->mmlu;
    } else {
        for (int g = 0; g < KD_LB_GROUPS; g++) out[g] = r->group[order[g]];
        out[KD_LB_GROUPS] = r->average;
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static bool same_shape(const kd_paper_shape *a, const kd_paper_shape *b) {
    return a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads && a->groups == b->groups && a->feed == b->feed &&
           a->vocabulary == b->vocabulary;
}

/* Why the paper's figures cannot stand beside the run's; NULL: they can. */
static const char *apart(const kd_paper_run *r, const kd_paper_set *set) {
    if (r->method >= KD_PAPER_METHODS || (r->method == KD_PAPER_UNTRAINED && set->layout != KD_PAPER_TABLE7))
        return "the paper has no such training";
    if (!r->has_shape) return "its model is not here to be compared";
    if (!same_shape(&r->shape, set->shape)) return "its model is another";
    if (set->window && r->method != KD_PAPER_UNTRAINED && r->window != set->window) return "its window is another";
    for (int i = 0; i < KD_PAPER_FIGURES; i++)
        if (set->figure[r->method][i]) return NULL;
    return "the paper has no such row";
}

static void put_window(kd_table *table, int64_t window) {
    char text[32];
    if (window && window % 1024 == 0) snprintf(text, sizeof text, "%lldK", (long long)window / 1024);
    else snprintf(text, sizeof text, "%lld", (long long)window);
    kd_table_words(table, window ? text : NULL);
}

static void put_paper(kd_paper_table *out, const kd_paper_run *r, const kd_paper_set *set) {
    const char *why = apart(r, set);
    if (why) {
        kd_text_print(&out->notes, "no figures of the paper beside %s: %s\n", r->name, why);
        return;
    }
    kd_table_words(&out->table, "  the paper");
    kd_table_words(&out->table, kd_paper_method_names[r->method]);
    put_window(&out->table, r->method == KD_PAPER_UNTRAINED ? 0 : set->window);
    kd_table_words(&out->table, NULL);
    for (int64_t i = 0; i < layouts[set->layout].figures; i++) {
        double figure = set->figure[r->method][i];
        kd_table_number(&out->table, figure ? figure : NAN);
    }
}

static bool put_run(kd_paper_table *out, const kd_paper_run *r, const kd_paper_options *o) {
    kd_paper_mean figure[KD_PAPER_FIGURES] = {{0}};
    int64_t checkpoints = 0;
    figures_of(figure, r, o->layout);
    for (int i = 0; i < KD_PAPER_FIGURES; i++)
        if (figure[i].count > checkpoints) checkpoints = figure[i].count;
    if (!checkpoints) return false;
    kd_table_words(&out->table, r->name);
    kd_table_words(&out->table, r->words);
    put_window(&out->table, r->window);
    kd_table_number(&out->table, (double)checkpoints);
    for (int64_t i = 0; i < layouts[o->layout].figures; i++) kd_table_number(&out->table, kd_paper_mean_of(figure[i]));
    if (o->beside) put_paper(out, r, o->beside);
    return true;
}

/* In the order of the paper's rows, the shorter window first; of equals as they were given. */
static int by_method(const kd_paper_run *a, const kd_paper_run *b) {
    if (a->window != b->window) return a->window < b->window ? -1 : 1;
    return (int)a->method - (int)b->method;
}

static void sort(kd_paper_runs *runs) {
    for (int64_t i = 1; i < runs->count; i++) {
        kd_paper_run own = runs->run[i];
        int64_t k = i;
        for (; k > 0 && by_method(&own, &runs->run[k - 1]) < 0; k--) runs->run[k] = runs->run[k - 1];
        runs->run[k] = own;
    }
}

static void put_notes(kd_paper_table *out, const kd_paper_options *o, int64_t tasks) {
    kd_text_print(&out->notes, "figures are in percent, means over the checkpoints of a run that results were given of\n");
    if (o->layout <= KD_PAPER_TABLE6)
        kd_text_print(&out->notes, "RULER: mean of %lld tasks%s; the paper's 4K are 4,000 tokens, its rows means over five checkpoints\n",
                      (long long)tasks,
                      tasks == 11 ? ", without niah_multikey_3 and cwe" : "");
    if (o->layout == KD_PAPER_TABLE7)
        kd_text_put(&out->notes, "HellaSwag: acc_norm; MMLU: all questions; the paper does not say its settings\n");
    if (o->beside)
        kd_text_print(&out->notes, "the paper: %s; beside runs of a model of that shape, that window and training; that the data are the "
                                   "same is --paper's word\n",
                      o->beside->about);
}

/* ---- files ------------------------------------------------------------------------------------------------------------------ */

static kd_status add_path(kd_paper_table *out, kd_paper_runs *runs, const char *path, int64_t tasks) {
    bool has = true;
    kd_paths names = {0};
    kd_status status = KD_OK;
    int64_t found = 0;
    if (kd_is_folder(path)) {
        KD_TRY(kd_holds(&has, path, KD_RESULT_FILE));
        KD_TRY(kd_list_folder(&names, path));
    }
    for (int64_t i = 0; i < names.count; i++) has &= strncmp(names.path[i], "step-", 5) != 0;  /* a mean over checkpoints: they are taken */
    if (has) {
        kd_paths_free(&names);
        return kd_paper_runs_add(runs, &out->notes, path, tasks);
    }
    for (int64_t i = 0; i < names.count; i++) {
        char *inner = kd_path_join(path, names.path[i]);
        if (!inner) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
        has = false;
        if (kd_is_folder(inner)) status = kd_holds(&has, inner, KD_RESULT_FILE);
        if (!status && has) status = kd_paper_runs_add(runs, &out->notes, inner, tasks);
        found += has;
        free(inner);
        if (status) goto done;
    }
    if (!found) status = kd_fail(KD_EIO, "%s: no result.json in it, nor one level below: results of kedge eval --out are wanted", path);
done:
    kd_paths_free(&names);
    return status;
}

kd_status kd_paper_table_open(kd_paper_table *out, const char *const *path, int64_t paths, const kd_paper_options *o) {
    kd_paper_runs runs = {0};
    int64_t tasks = o->tasks ? o->tasks : o->layout == KD_PAPER_TABLE5 ? 11 : 13, rows = 0;
    kd_status status = KD_OK;
    *out = (kd_paper_table){.notes = {0}};
    kd_table_open(&out->table, kd_paper_layout_names[o->layout], layouts[o->layout].title, layouts[o->layout].column,
                  HEADS + layouts[o->layout].figures);
    for (int64_t i = 0; i < paths; i++) KD_GO(add_path(out, &runs, path[i], tasks));
    sort(&runs);
    for (int64_t i = 0; i < runs.count; i++) rows += put_run(out, &runs.run[i], o);
    if (!rows) KD_GO(kd_fail(KD_ECONFIG, "compare: none of these results is of what %s shows", kd_paper_layout_names[o->layout]));
    put_notes(out, o, tasks);
    KD_GO(kd_table_status(&out->table));
    status = kd_text_status(&out->notes);
done:
    kd_paper_runs_free(&runs);
    return status;
}

void kd_paper_table_close(kd_paper_table *t) {
    kd_table_close(&t->table);
    kd_text_free(&t->notes);
}
