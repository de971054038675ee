#include "paper_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml.h"
#include "results_write.h"

const int64_t kd_paper_lengths[KD_PAPER_LENGTHS] = {131072, 65536, 32768, 16384, 8192, 4096};

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

double kd_paper_mean_of(kd_paper_mean m) { return m.count ? m.sum / (double)m.count : NAN; }

static void add(kd_paper_mean *m, double value, int64_t count) {
    if (!isfinite(value)) return;
    m->sum += value * (double)count;
    m->count += count;
}

void kd_paper_runs_free(kd_paper_runs *runs) {
    for (int64_t i = 0; i < runs->count; i++) {
        free(runs->run[i].folder);
        free(runs->run[i].name);
        json_decref(runs->run[i].seen);
    }
    free(runs->run);
    json_decref(runs->first);
    *runs = (kd_paper_runs){0};
}

/* ---- the run that a model is of --------------------------------------------------------------------------------------------- */

/* The path without its last part, "." where that is all; on the heap. */
static kd_status above(char **out, const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    while (end > 0 && path[end - 1] != '/') end--;
    while (end > 1 && path[end - 1] == '/') end--;
    *out = end ? strndup(path, end) : strdup(".");
    return *out ? KD_OK : no_memory();
}

static bool ends_with(const char *path, const char *name, bool begins) {
    size_t end = strlen(path), from;
    while (end > 1 && path[end - 1] == '/') end--;
    for (from = end; from > 0 && path[from - 1] != '/'; from--) {}
    size_t size = strlen(name);
    return end - from >= size && !strncmp(path + from, name, size) && (begins || end - from == size);
}

/* run/step-N, run/export/step-N: run; another folder: itself. */
static kd_status run_of(char **out, const char *model) {
    char *inner;
    if (!ends_with(model, "step-", true)) {
        *out = strdup(model);
        return *out ? KD_OK : no_memory();
    }
    KD_TRY(above(out, model));
    if (!ends_with(*out, "export", false)) return KD_OK;
    inner = *out;
    kd_status status = above(out, inner);
    free(inner);
    return status;
}

static bool says(const kd_yaml *root, const char *key, const char *word) {
    const kd_yaml *node = kd_yaml_get(root, key);
    return node && node->kind == KD_YAML_SCALAR && node->text && !strcmp(node->text, word);
}

static void read_method(kd_paper_run *run, const kd_yaml *root, const char *path) {
    const kd_yaml *mask = kd_yaml_get(root, "mask"), *window = kd_yaml_get(root, "window");
    bool reset = says(root, "positions", "reset"), tag = says(root, "tag", "true"), interleaved = says(root, "interleave", "true");
    bool anchor = says(root, "mask", "anchor");
    if (window) kd_yaml_size(&run->window, window, "window", path);
    run->method = KD_PAPER_METHODS;
    if (reset + tag + interleaved <= 1) {
        if (says(root, "mask", "full") && !reset && !tag && !interleaved) run->method = KD_PAPER_FULL;
        if (says(root, "mask", "document") && !tag)
            run->method = reset ? KD_PAPER_INTRA_RESET : interleaved ? KD_PAPER_INTRA_INTERLEAVED : KD_PAPER_INTRA;
        if (anchor && !reset) run->method = tag ? KD_PAPER_ANCHOR_TAG : interleaved ? KD_PAPER_ANCHOR_INTERLEAVED : KD_PAPER_ANCHOR;
    }
    if (run->method < KD_PAPER_METHODS) snprintf(run->words, sizeof run->words, "%s", kd_paper_method_names[run->method]);
    else
        snprintf(run->words, sizeof run->words, "%.20s%s%s%s", mask && mask->text ? mask->text : "?", reset ? " + reset" : "",
                 tag ? " + tag" : "",
                 interleaved ? " + interleaved" : "");
}

/* run.yaml of the checkpoint or of the run; a model without one is untrained as far as is known. */
static kd_status read_run_file(kd_paper_run *run, const char *model) {
    const char *folder[] = {model, run->folder};
    snprintf(run->words, sizeof run->words, "%s", kd_paper_method_names[KD_PAPER_UNTRAINED]);
    for (int i = 0; i < 2; i++) {
        char *path = kd_path_join(folder[i], "run.yaml"), *text = NULL;
        kd_yaml *root = NULL;
        int64_t size;
        kd_status status = path ? KD_OK : no_memory();
        bool there = path && kd_exists(path);
        if (there) status = kd_file_read(&text, &size, path, 1 << 20);
        if (there && !status) status = kd_yaml_parse(&root, text, size, path);
        if (root && root->kind == KD_YAML_MAP) read_method(run, root, path);
        kd_yaml_free(root);
        free(text);
        free(path);
        if (status || there) return status;
    }
    return KD_OK;
}

/* Where the folder is no longer here there is no shape. */
static kd_status read_shape(kd_paper_run *run, const char *model) {
    kd_paper_shape *s = &run->shape;
    char *path = kd_path_join(model, "config.json");
    json_t *config = NULL;
    kd_status status = path ? KD_OK : no_memory();
    if (status || !kd_exists(path)) goto done;
    KD_GO(kd_json_load(&config, path));
    const struct { const char *key; int64_t *to; } field[] = {{"hidden_size", &s->hidden}, {"num_hidden_layers", &s->layers},
                                                              {"num_attention_heads", &s->heads}, {"num_key_value_heads", &s->groups},
                                                              {"intermediate_size", &s->feed}, {"vocab_size", &s->vocabulary}};
    for (int i = 0; i < 6; i++) KD_GO(kd_json_maybe_int(field[i].to, NULL, config, field[i].key, path));
    if (!s->groups) s->groups = s->heads;
    run->has_shape = true;
done:
    json_decref(config);
    free(path);
    return status;
}

static kd_status find_run(kd_paper_run **out, kd_paper_runs *runs, const char *model) {
    char *folder;
    KD_TRY(run_of(&folder, model));
    for (int64_t i = 0; i < runs->count; i++) {
        *out = &runs->run[i];
        if (strcmp((*out)->folder, folder)) continue;
        free(folder);
        return KD_OK;
    }
    if (kd_grow(&runs->run, &runs->room, runs->count + 1, sizeof *runs->run)) {
        free(folder);
        return no_memory();
    }
    *out = &runs->run[runs->count++];
    const char *slash = strrchr(folder, '/');
    **out = (kd_paper_run){.folder = folder, .name = strdup(slash && slash[1] ? slash + 1 : folder), .seen = json_object()};
    if (!(*out)->name || !(*out)->seen) return no_memory();
    KD_TRY(read_run_file(*out, model));
    return read_shape(*out, model);
}

/* ---- scores ----------------------------------------------------------------------------------------------------------------- */

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Whether a length is the column's: the paper's 4K are 4,000 tokens. */
static bool is_length(int64_t length, int64_t column) { return llabs(length - column) * 20 < column; }

/* The mean of a length over the tasks that count, NAN if one is missing; *length of the column. */
static double ruler_mean(const json_t *rows, const char *key, int64_t tasks) {
    double sum = 0;
    int64_t count = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *task = json_string_value(json_object_get(row, "task"));
        if (!task || !strcmp(task, "average") || (tasks == 11 && (!strcmp(task, "niah_multikey_3") || !strcmp(task, "cwe")))) continue;
        sum += number(row, key);
        count++;
    }
    return count == tasks ? sum / (double)count : NAN;
}

static void add_ruler(kd_paper_run *run, kd_text *notes, const json_t *result, const char *path, int64_t tasks, int64_t checkpoints) {
    const json_t *rows = json_object_get(json_object_get(result, "tables"), "ruler"),
        *lengths = json_object_get(json_object_get(result, "settings"), "lengths");
    for (size_t i = 0; i < json_array_size(lengths); i++) {
        char key[32];
        int64_t length = json_integer_value(json_array_get(lengths, i));
        snprintf(key, sizeof key, "%lld", (long long)length);
        double mean = ruler_mean(rows, key, tasks);
        if (isnan(mean)) kd_text_print(notes, "%s: not %lld tasks of RULER at %lld\n", path, (long long)tasks, (long long)length);
        for (int k = 0; k < KD_PAPER_LENGTHS; k++)
            if (is_length(length, kd_paper_lengths[k])) add(&run->ruler[k], mean, checkpoints);
    }
}

static void add_scores(kd_paper_run *run, kd_text *notes, const json_t *result, const char *path, int64_t tasks, int64_t checkpoints) {
    const char *task = json_string_value(json_object_get(result, "task"));
    const json_t *scores = json_object_get(result, "scores");
    if (!strcmp(task, "ruler")) add_ruler(run, notes, result, path, tasks, checkpoints);
    else if (!strcmp(task, "hellaswag")) add(&run->hellaswag, 100 * number(scores, "acc_norm"), checkpoints);
    else if (!strcmp(task, "mmlu")) add(&run->mmlu, 100 * number(scores, "acc"), checkpoints);
    else if (!strcmp(task, "longbench")) {
        for (int g = 0; g < KD_LB_GROUPS; g++) add(&run->group[g], number(scores, kd_longbench_groups[g].key), checkpoints);
        add(&run->average, number(scores, "average"), checkpoints);
    }
}

/* ---- a result --------------------------------------------------------------------------------------------------------------- */

typedef struct difference { const json_t *other; kd_text *notes; const char *path; bool found; } difference;

static kd_status differs(void *opaque, const char *key, const json_t *value) {
    difference *d = opaque;
    if (d->found || !strncmp(key, "subject.", 8) || !strcmp(key, "run") || !strcmp(key, "last")) return KD_OK;
    const json_t *other = json_object_get(d->other, key);
    d->found = other && !json_equal(other, value);
    if (d->found) kd_text_print(d->notes, "%s: another %s than the first result of this task: not the same evaluation\n", d->path, key);
    return KD_OK;
}

static kd_status compare_settings(kd_paper_runs *runs, kd_text *notes, const char *task, const json_t *settings, const char *path) {
    if (!runs->first) runs->first = json_object();
    const json_t *first = json_object_get(runs->first, task);
    if (first) return kd_each_leaf(settings, differs, &(difference){first, notes, path, false});
    return json_object_set(runs->first, task, (json_t *)settings) ? no_memory() : KD_OK;
}

/* A mean over checkpoints names its run; the model of one of them lies beside it. */
static kd_status model_of(char **model, const json_t *result, const char *path) {
    const char *name = json_string_value(json_object_get(json_object_get(json_object_get(result, "settings"), "subject"), "model"));
    kd_paths names = {0};
    kd_status status = KD_OK;
    *model = name ? strdup(name) : NULL;
    if (name) return *model ? KD_OK : no_memory();
    char *folder = NULL;
    if (kd_is_folder(path)) folder = strdup(path);
    else KD_GO(above(&folder, path));
    if (!folder) KD_GO(no_memory());
    KD_GO(kd_list_folder(&names, folder));
    for (int64_t i = 0; i < names.count && !*model; i++) {
        json_t *inner;
        if (strncmp(names.path[i], "step-", 5)) continue;
        char *one = kd_path_join(folder, names.path[i]);
        if (!one) KD_GO(no_memory());
        status = kd_results_load(&inner, one);
        free(one);
        if (status == KD_ENOMEM) goto done;
        if (status) {  /* another folder of that name */
            status = KD_OK;
            continue;
        }
        name = json_string_value(json_object_get(json_object_get(json_object_get(inner, "settings"), "subject"), "model"));
        *model = name ? strdup(name) : NULL;
        if (name && !*model) status = no_memory();
        json_decref(inner);
        if (status) goto done;
    }
    if (!*model) status = kd_fail(KD_EFORMAT, "%s: results of no model: settings.subject.model is missing", path);
done:
    kd_paths_free(&names);
    free(folder);
    return status;
}

kd_status kd_paper_runs_add(kd_paper_runs *runs, kd_text *notes, const char *path, int64_t tasks) {
    json_t *result = NULL;
    kd_paper_run *run = NULL;
    char *model = NULL;
    kd_text key = {0};
    kd_status status;
    KD_GO(kd_results_load(&result, path));
    const char *task = json_string_value(json_object_get(result, "task"));
    int64_t steps = (int64_t)json_array_size(json_object_get(json_object_get(result, "tables"), "steps")), checkpoints = steps ? steps : 1;
    KD_GO(model_of(&model, result, path));
    KD_GO(find_run(&run, runs, model));
    kd_text_print(&key, "%s %s", task, steps ? "mean" : model);
    KD_GO(kd_text_status(&key));
    if (json_object_get(run->seen, key.data)) KD_GO(kd_fail(KD_ECONFIG, "%s: a second result of %s for %s", path, task, model));
    if (json_object_set_new(run->seen, key.data, json_true())) KD_GO(no_memory());
    KD_GO(compare_settings(runs, notes, task, json_object_get(result, "settings"), path));
    add_scores(run, notes, result, path, tasks, checkpoints);
done:
    kd_text_free(&key);
    free(model);
    json_decref(result);
    return status;
}
