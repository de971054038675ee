/* Reading and checking a run file, by its schema. Printing is in run_print.c. */
#include "train/run_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "train/run_schema.h"

enum { KEY = 128, PLACE = 512, LINE = 512 };

/* A run file while it is read. */
#define MOST ((int64_t)4 << 20) /* bytes of a file */

typedef struct reader {
    kd_run_file *run;
    const char *name;              /* of the file */
    const char *const *override;
    int64_t overrides;
} reader;

/* ---- where a value stands ---------------------------------------------------------------------------------- */

/* Whether one of two dotted keys is the other, or a group around it. */
static bool same_branch(const char *a, size_t a_size, const char *b) {
    size_t b_size = strlen(b), size = a_size < b_size ? a_size : b_size;
    if (strncmp(a, b, size)) return false;
    return a_size == b_size || (a_size > size ? a[size] : b[size]) == '.';
}

/* "run.yaml:12", or "--set optim.lr=x" for a value from an override (line 0), or "run.yaml" for a default. */
static const char *origin(char place[PLACE], const reader *r, const char *key, int line) {
    snprintf(place, PLACE, line > 0 ? "%s:%d" : "%s", r->name, line);
    for (int64_t i = r->overrides - 1; line <= 0 && i >= 0; i--) {
        if (!same_branch(r->override[i], strcspn(r->override[i], "="), key)) continue;
        snprintf(place, PLACE, "--set %s", r->override[i]);
        break;
    }
    return place;
}

/* "run.yaml:12: key: what". */
static kd_status fail_at(const reader *r, const char *key, int line, kd_status status, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static kd_status fail_at(const reader *r, const char *key, int line, kd_status status, const char *format, ...) {
    char place[PLACE], what[LINE];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    return kd_fail(status, "%s: %s: %s", origin(place, r, key, line), key, what);
}

static bool given(const reader *r, const char *key) {
    int line;
    return kd_run_node(r->run->tree, key, &line);
}

/* A refusal of a value that was read, or of a default. */
#define REFUSE(r, key, ...)                                                                                       \
    do {                                                                                                          \
        int refused_line;                                                                                         \
        kd_run_node((r)->run->tree, key, &refused_line);                                                            \
        return fail_at(r, key, refused_line, KD_ECONFIG, __VA_ARGS__);                                            \
    } while (0)

/* ---- values ------------------------------------------------------------------------------------------------ */

/* range is written "[0, 1)". */
static bool in_range(const char *range, double value) {
    if (!range) return true;
    char *end;
    double low = kd_number_parse(range + 1, &end), high = kd_number_parse(end + 1, &end);
    return (*range == '(' ? value > low : value >= low) && (*end == ')' ? value < high : value <= high);
}

static kd_status check_number(const reader *r, const kd_run_row *row, int line, double value) {
    if (!in_range(row->range, value))
        return fail_at(r, row->key, line, KD_ECONFIG, "%.10g is outside %s", value, row->range);
    return KD_OK;
}

static kd_status check_word(int *value, const reader *r, const kd_run_row *row, int line, const char *text) {
    const char *known[16];
    char all[LINE] = "";
    int64_t count = 0;
    for (const kd_run_word *w = row->word; w->text; w++) {
        known[count++] = w->text;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", w->text);
        if (strcmp(w->text, text)) continue;
        *value = w->value;
        return w->later ? fail_at(r, row->key, line, KD_ENOTSUP, "%s: not in this build yet", text) : KD_OK;
    }
    const char *near = kd_nearest(text, known, count);
    if (near) return fail_at(r, row->key, line, KD_ECONFIG, "unknown word %s, did you mean %s?", text, near);
    return fail_at(r, row->key, line, KD_ECONFIG, "unknown word %s, known are %s", text, all);
}

static kd_status check_text(const reader *r, const kd_run_row *row, int line, const kd_yaml *node) {
    if (node->kind != KD_YAML_SCALAR)
        return fail_at(r, row->key, line, KD_ECONFIG, "a %s where one text belongs",
                       node->kind == KD_YAML_LIST ? "list" : "map");
    if (!*node->text || (!node->quoted && (!strcmp(node->text, "~") || !strcmp(node->text, "null"))))
        return fail_at(r, row->key, line, KD_ECONFIG, "no value");
    return KD_OK;
}

static kd_status copy_text(char **out, const char *text) {
    *out = strdup(text);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory: %s", text);
}

static kd_status read_list(kd_strings *list, const reader *r, const kd_run_row *row, int line, kd_yaml *node) {
    bool one = node->kind == KD_YAML_SCALAR;
    if (node->kind == KD_YAML_MAP) return fail_at(r, row->key, line, KD_ECONFIG, "a map where a list of texts belongs");
    if (!one && !node->count) return fail_at(r, row->key, line, KD_ECONFIG, "an empty list");
    int64_t count = one ? 1 : node->count;
    KD_TRY(kd_new(&list->text, count, sizeof *list->text));
    for (int64_t i = 0; i < count; i++) {
        const kd_yaml *item = one ? node : node->child[i];
        KD_TRY(check_text(r, row, one ? line : item->line, item));
        KD_TRY(copy_text(&list->text[list->count], item->text));
        list->count++;
    }
    return KD_OK;
}

static kd_status read_number(double *out, const reader *r, const kd_run_row *row, int line, const kd_yaml *node);

static kd_status read_shares(kd_shares *shares, const reader *r, const kd_run_row *row, int line, kd_yaml *node) {
    if (node->kind != KD_YAML_MAP || !node->count)
        return fail_at(r, row->key, line, KD_ECONFIG, "a map of sources and shares belongs here, as in {Book: 0.05, C4: 0.2}");
    KD_TRY(kd_new(&shares->source, node->count, sizeof *shares->source));
    KD_TRY(kd_new(&shares->share, node->count, sizeof *shares->share));
    for (int64_t i = 0; i < node->count; i++) {
        KD_TRY(read_number(&shares->share[i], r, row, node->key_line[i], node->child[i]));
        KD_TRY(copy_text(&shares->source[shares->count], node->key[i]));
        shares->count++;
    }
    return KD_OK;
}

static kd_status read_number(double *out, const reader *r, const kd_run_row *row, int line, const kd_yaml *node) {
    char place[PLACE];
    const char *name = node->line > 0 ? r->name : origin(place, r, row->key, 0);
    int64_t whole = 0;
    if (row->type == KD_RUN_INTEGER || row->type == KD_RUN_SIZE) {
        KD_TRY((row->type == KD_RUN_SIZE ? kd_yaml_size : kd_yaml_int)(&whole, node, row->key, name));
        if (row->offset != KD_RUN_NOWHERE) memcpy((char *)r->run + row->offset, &whole, sizeof whole);
        *out = (double)whole;
    } else {
        KD_TRY(kd_yaml_number(out, node, row->key, name));
    }
    return check_number(r, row, line, *out);
}

/* Reads a value into its place. */
static kd_status read_value(const reader *r, const kd_run_row *row, int line, kd_yaml *node) {
    void *to = row->offset == KD_RUN_NOWHERE ? NULL : (char *)r->run + row->offset;
    char place[PLACE];
    double number[2];
    int word = 0;
    bool on;
    if (row->later) return fail_at(r, row->key, line, KD_ENOTSUP, "not in this build yet");
    if (row->refused) return fail_at(r, row->key, line, KD_ECONFIG, "%s", row->refused);
    switch (row->type) {
    case KD_RUN_TEXT:
    case KD_RUN_WORD:
    case KD_RUN_SWITCH:
        KD_TRY(check_text(r, row, line, node));
        if (row->word) KD_TRY(check_word(&word, r, row, line, node->text));
        on = word;
        if (!to) break;
        if (row->type == KD_RUN_TEXT) return copy_text(to, node->text);
        memcpy(to, row->type == KD_RUN_WORD ? (void *)&word : (void *)&on,
               row->type == KD_RUN_WORD ? sizeof word : sizeof on);
        break;
    case KD_RUN_LIST:
        return read_list(to, r, row, line, node);
    case KD_RUN_SHARES:
        return read_shares(to, r, row, line, node);
    case KD_RUN_INTEGER:
    case KD_RUN_SIZE:
        return read_number(number, r, row, line, node);
    case KD_RUN_NUMBER:
        KD_TRY(read_number(number, r, row, line, node));
        memcpy(to, number, sizeof *number);
        break;
    case KD_RUN_PAIR:
        if (node->kind != KD_YAML_LIST || node->count != 2)
            return fail_at(r, row->key, line, KD_ECONFIG, "two numbers belong here, as in %s", row->absent);
        for (int i = 0; i < 2; i++) KD_TRY(read_number(&number[i], r, row, line, node->child[i]));
        memcpy(to, number, sizeof number);
        break;
    case KD_RUN_BOOL:
        return kd_yaml_bool(to, node, row->key, node->line > 0 ? r->name : origin(place, r, row->key, 0));
    }
    return KD_OK;
}

/* ---- keys -------------------------------------------------------------------------------------------------- */

static const kd_run_row *find_row(const char *key) {
    for (int64_t i = 0; i < kd_run_rows; i++)
        if (!strcmp(kd_run_schema[i].key, key)) return &kd_run_schema[i];
    return NULL;
}

/* What follows "group." in a row's key, or NULL; every key follows "". */
static const char *within(const kd_run_row *row, const char *group) {
    size_t size = strlen(group);
    if (!size) return row->key;
    return !strncmp(row->key, group, size) && row->key[size] == '.' ? row->key + size + 1 : NULL;
}

static bool is_group(const char *key) {
    for (int64_t i = 0; i < kd_run_rows; i++)
        if (within(&kd_run_schema[i], key)) return true;
    return false;
}

/* Names the nearest key of the same group, or the same key of another group. */
static kd_status fail_unknown(const reader *r, const char *group, const char *word, const char *key, int line) {
    char part[128][KEY];
    const char *known[128] = {0}, *near;
    int64_t count = 0;
    for (int64_t i = 0; i < kd_run_rows && count < 128; i++) {
        const char *rest = within(&kd_run_schema[i], group);
        if (!rest) continue;
        snprintf(part[count], KEY, "%.*s", (int)strcspn(rest, "."), rest);
        known[count] = part[count];
        count++;
    }
    near = kd_nearest(word, known, count);
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const char *dot = strrchr(kd_run_schema[i].key, '.');
        if (dot && !strcmp(dot + 1, word)) near = kd_run_schema[i].key;
    }
    return near ? fail_at(r, key, line, KD_ECONFIG, "unknown key, did you mean %s?", near)
                : fail_at(r, key, line, KD_ECONFIG, "unknown key");
}

static kd_status read_map(const reader *r, const kd_yaml *map, const char *group) {
    for (int64_t i = 0; i < map->count; i++) {
        char key[KEY], type[KEY + 8];
        kd_yaml *child = map->child[i];
        snprintf(key, sizeof key, "%s%s%s", group, *group ? "." : "", map->key[i]);
        snprintf(type, sizeof type, "%s.type", key);
        if (strchr(map->key[i], '.'))
            return fail_at(r, key, map->key_line[i], KD_ECONFIG, "unknown key: groups are maps here, dots are for --set");
        const kd_run_row *row = find_row(key);
        if (!row && child->kind == KD_YAML_SCALAR) row = find_row(type);
        if (row) KD_TRY(read_value(r, row, map->key_line[i], child));
        else if (!is_group(key)) return fail_unknown(r, group, map->key[i], key, map->key_line[i]);
        else if (child->kind == KD_YAML_MAP) KD_TRY(read_map(r, child, key));
        else return fail_at(r, key, map->key_line[i], KD_ECONFIG, "a map of keys belongs here");
    }
    return KD_OK;
}

static kd_status read_tree(const reader *r) {
    const kd_yaml *tree = r->run->tree;
    if (tree->kind == KD_YAML_LIST || (tree->kind == KD_YAML_SCALAR && *tree->text))
        return kd_fail(KD_ECONFIG, "%s:%d: a map of keys belongs here", r->name, tree->line);
    return tree->kind == KD_YAML_MAP ? read_map(r, tree, "") : KD_OK;
}

static kd_status read_defaults(const reader *r) {
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const kd_run_row *row = &kd_run_schema[i];
        if (given(r, row->key) || !kd_run_has(r->run->tree, row)) continue;
        kd_yaml *node = NULL;
        KD_TRY(kd_yaml_parse(&node, row->absent, (int64_t)strlen(row->absent), "default"));
        kd_status status = read_value(r, row, 0, node);
        kd_yaml_free(node);
        KD_TRY(status);
    }
    return KD_OK;
}

/* ---- what no single row can say ---------------------------------------------------------------------------- */

static kd_status check_missing(const reader *r) {
    char missing[LINE] = "";
    if (!given(r, "model.path") && !given(r, "model.init"))
        snprintf(missing, sizeof missing, "model.path or model.init");
    for (int64_t i = 0; i < kd_run_rows; i++) {
        if (!kd_run_schema[i].required || given(r, kd_run_schema[i].key)) continue;
        size_t used = strlen(missing);
        snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", kd_run_schema[i].key);
    }
    return *missing ? kd_fail(KD_ECONFIG, "%s: missing: %s (kedge help run-file shows a whole one)", r->name, missing) : KD_OK;
}

/* Numbers belong to their type; a type has all the numbers that it needs, or none: then they are the checkpoint's. */
static kd_status check_scaling(const reader *r) {
    kd_run_file *run = r->run;
    if (run->rope_scaling && !strcmp(run->rope_scaling, "default")) strcpy(run->rope_scaling, "none");
    const char *type = run->rope_scaling ? run->rope_scaling : "none";
    unsigned bit = 1u << kd_rope_type_find(type);
    char key[KEY];
    for (int64_t i = 0; i < kd_rope_number_count; i++) {
        snprintf(key, sizeof key, "model.rope.scaling.%s", kd_rope_numbers[i].key);
        if (!given(r, key)) continue;
        run->rope_numbers_given = true;
        if (!(kd_rope_numbers[i].allowed & bit)) REFUSE(r, key, "a number of another type than %s", type);
    }
    for (int64_t i = 0; i < kd_rope_number_count && run->rope_numbers_given; i++) {
        snprintf(key, sizeof key, "model.rope.scaling.%s", kd_rope_numbers[i].key);
        if ((kd_rope_numbers[i].needed & bit) && !given(r, key))
            REFUSE(r, key, "missing: %s has all its numbers, or none: as the checkpoint says", type);
    }
    return KD_OK;
}

static kd_status check_model(const reader *r) {
    kd_run_file *run = r->run;
    if (given(r, "model.path") && given(r, "model.init"))
        REFUSE(r, "model.init", "model.path is there too: a model is loaded or made, not both");
    if (given(r, "model.init") && run->init_config && (run->init_arch || run->init_preset))
        REFUSE(r, "model.init.config", "arch and preset say the same: one or the other");
    if (given(r, "model.init") && !run->init_config && (!run->init_arch || !run->init_preset))
        REFUSE(r, "model.init", "arch and preset, or config, are needed");
    return check_scaling(r);
}

/* Files are a host's, and the host's memory is elsewhere for a GPU alone. */
static kd_status check_place(const reader *r, const char *key, const char *place) {
    bool on_host = kd_run_on_host(r->run);
    int line;
    if (!place || on_host == (strcmp(place, KD_PLACE_HOST) != 0)) return KD_OK;
    kd_run_node(r->run->tree, key, &line);
    if (on_host) return fail_at(r, key, line, KD_ENOTSUP, "host: of a run on a GPU; a folder's path takes a file (./host names one of that name)");
    return fail_at(r, key, line, KD_ENOTSUP, "%s: a GPU's memory does not lie in files: host is what there is", place);
}

/* What no device serves. */
static kd_status check_device(const reader *r) {
    const kd_run_file *run = r->run;
    int line;
    if (run->weights != run->activations) {
        const char *key = given(r, "dtype.weights") ? "dtype.weights" : "dtype.activations";
        kd_run_node(run->tree, key, &line);
        return fail_at(r, key, line, KD_ENOTSUP, "weights and activations are both f32, or both bf16");
    }
    if (run->weights == KD_VIEW_BF16 && kd_run_on_host(run)) {
        kd_run_node(run->tree, "dtype.weights", &line);
        return fail_at(r, "dtype.weights", line, KD_ENOTSUP, "bf16 weights and activations need device: cuda");
    }
    if (!kd_run_on_host(run) && run->sequence_ranks * run->data_ranks > 1) {
        kd_run_node(run->tree, "device", &line);
        return fail_at(r, "device", line, KD_ENOTSUP, "%s: several ranks compute on hosts alone", run->device);
    }
    if (run->moments_coded && run->sequence_ranks * run->data_ranks > 1) {
        kd_run_node(run->tree, "dtype.moments", &line);
        return fail_at(r, "dtype.moments", line, KD_ENOTSUP, "i8: of one rank alone");
    }
    KD_TRY(check_place(r, "offload.state", run->offload_state));
    return check_place(r, "offload.activations", run->offload_activations);
}

static kd_status check_windows(const reader *r) {
    const kd_window_options *w = &r->run->window;
    bool anchor = w->mask == KD_MASK_ANCHOR;
    if (w->anchor_is_bos && !anchor) REFUSE(r, "anchor_form", "bos: a form of mask: anchor alone");
    if (w->predict_first && anchor && !w->anchor_is_bos)
        REFUSE(r, "first", "predict: a shared anchor leads all documents and cannot predict one; anchor_form: bos can");
    if (w->predict_first && !anchor && !(w->separator & KD_SEPARATE_BOS))
        REFUSE(r, "first", "predict: no BOS leads a document with this separator");
    return KD_OK;
}

static kd_status check_step(const reader *r) {
    const kd_run_file *run = r->run;
    if (given(r, "data.upsample") && !given(r, "data.upsample.shorter_than"))
        REFUSE(r, "data.upsample", "shorter_than, which documents are short, is missing");
    if (run->micro > run->batch_windows)
        REFUSE(r, "batch.micro", "%lld windows at once, the batch has %lld", (long long)run->micro,
               (long long)run->batch_windows);
    if (given(r, "export") && !given(r, "export.every")) REFUSE(r, "export", "every, how often, is missing");
    if (run->leaves & (run->leaves - 1))
        REFUSE(r, "leaves", "%lld is not a power of two", (long long)run->leaves);
    return KD_OK;
}

/* Values that follow from others. A full window is one text, so there every token has a target unless told otherwise. */
static void derive(const reader *r) {
    kd_window_options *w = &r->run->window;
    bool full = w->mask == KD_MASK_FULL;
    if (!given(r, "boundary")) w->predict_boundary = full;
    if (!given(r, "first")) w->predict_first = full && (w->separator & KD_SEPARATE_BOS);
    w->seed = (uint64_t)r->run->seed;
    r->run->rope_theta_given = given(r, "model.rope.theta");
    /* GPUs multiply 16-bit numbers; float16 keeps 11 bits of what is rotated. */
    if (!given(r, "model.rope.precision") && r->run->activations == KD_VIEW_BF16) r->run->precision = KD_PRECISION_F16_STORE;
}

kd_status kd_run_file_parse(kd_run_file *run, const char *text, int64_t size, const char *name,
                            const char *const *override, int64_t overrides) {
    *run = (kd_run_file){0};
    reader r = {run, name, override, overrides};
    kd_status status;
    KD_GO(kd_yaml_parse(&run->tree, text, size, name));
    for (int64_t i = 0; i < overrides; i++) {
        status = kd_yaml_set(run->tree, override[i]);
        if (status) {
            kd_fail_prefix(status, "--set");
            goto done;
        }
    }
    KD_GO(read_tree(&r));
    KD_GO(check_missing(&r));
    KD_GO(read_defaults(&r));
    KD_GO(check_model(&r));
    derive(&r);
    KD_GO(check_windows(&r));
    KD_GO(check_step(&r));
    KD_GO(check_device(&r));
done:
    if (status) kd_run_file_close(run);
    return status;
}

kd_status kd_run_file_open(kd_run_file *run, const char *path, const char *const *override, int64_t overrides) {
    char *text;
    int64_t size;
    *run = (kd_run_file){0};
    KD_TRY(kd_file_read(&text, &size, path, MOST));
    kd_status status = kd_run_file_parse(run, text, size, path, override, overrides);
    free(text);
    return status;
}

void kd_run_file_close(kd_run_file *run) {
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const kd_run_row *row = &kd_run_schema[i];
        if (row->offset == KD_RUN_NOWHERE) continue;
        void *at = (char *)run + row->offset;
        if (row->type == KD_RUN_TEXT) free(*(char **)at);
        if (row->type != KD_RUN_LIST) continue;
        kd_strings *list = at;
        for (int64_t k = 0; k < list->count; k++) free(list->text[k]);
        free(list->text);
    }
    for (int64_t k = 0; k < run->mixture.count; k++) free(run->mixture.source[k]);
    free(run->mixture.source);
    free(run->mixture.share);
    kd_yaml_free(run->tree);
    *run = (kd_run_file){0};
}
