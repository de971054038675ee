/* Help for programs: the tables that the printed help is made of, as JSON on stdout. What holds others is printed piece by piece, since a
 * command's options are known to the command alone. */
#include <stdlib.h>

#include "format/json.h"
#include "help.h"
#include "train/run_schema.h"

/* Takes value over, NULL included: memory was out. */
static kd_status print(json_t *value) {
    char *text = NULL;
    kd_status status = value ? kd_json_print(&text, value, JSON_COMPACT | JSON_ENCODE_ANY, "help") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) fputs(text, stdout);
    free(text);
    json_decref(value);
    return status;
}

kd_status kd_help_json_text(const char *text) { return print(json_string(text)); }

/* `"key": "text"` of an object, with what stands before it. */
static kd_status member(const char *before, const char *key, const char *text) {
    printf("%s\"%s\":", before, key);
    return kd_help_json_text(text);
}

static const char *const kinds[] = {[KD_FLAG] = "flag", [KD_TEXT] = "text", [KD_INTEGER] = "integer", [KD_LIST] = "list"};

static kd_status print_option(const kd_option *o) {
    char value[128];
    kd_help_default(value, sizeof value, o);
    return print(json_pack("{s:s, s:s, s:s*, s:s*, s:s}", "name", o->name, "kind", kinds[o->kind], "value", o->value, "default",
                           *value ? value : NULL, "help", o->help));
}

kd_status kd_help_json_usage(const kd_usage *u) {
    KD_TRY(member("{", "usage", u->synopsis));
    KD_TRY(member(",", "about", u->about));
    printf(",\"options\":[");
    for (int64_t i = 0; i < u->options; i++) {
        if (i) putchar(',');
        KD_TRY(print_option(&u->option[i]));
    }
    putchar(']');
    if (u->examples) KD_TRY(member(",", "examples", u->examples));
    putchar('}');
    return KD_OK;
}

kd_status kd_help_json_command(const char *name, const char *about, int (*run)(int argc, char **argv)) {
    char *argument[] = {(char *)name, (char *)KD_HELP_JSON, NULL};
    KD_TRY(member("{", "name", name));
    KD_TRY(member(",", "about", about));
    printf(",\"help\":");
    if (run(2, argument)) return kd_fail(KD_EIO, "%s: its help could not be printed", name);
    putchar('}');
    return KD_OK;
}

kd_status kd_help_json_subcommands(const kd_subcommands *c) {
    KD_TRY(member("{", "usage", c->synopsis));
    KD_TRY(member(",", "about", c->about));
    printf(",\"what\":[");
    for (int64_t i = 0; i < c->rows; i++) {
        if (i) putchar(',');
        KD_TRY(kd_help_json_command(c->row[i].name, c->row[i].about, c->row[i].run));
    }
    printf("]}");
    return KD_OK;
}

/* Of what has no words to choose from. */
static const char *const types[] = {
    [KD_RUN_TEXT] = "text", [KD_RUN_LIST] = "text, or a list", [KD_RUN_SHARES] = "map of numbers", [KD_RUN_INTEGER] = "integer",
    [KD_RUN_SIZE] = "size", [KD_RUN_NUMBER] = "number",        [KD_RUN_PAIR] = "two numbers",      [KD_RUN_BOOL] = "true or false",
};

static kd_status print_key(const kd_run_row *row) {
    json_t *words = NULL;
    for (const kd_run_word *w = row->word; w && w->text; w++) {
        if (!words) words = json_array();
        if (!w->later && json_array_append_new(words, json_string(w->text))) {
            json_decref(words);
            return kd_fail(KD_ENOMEM, "out of memory");
        }
    }
    return print(json_pack("{s:s, s:s, s:s*, s:s*, s:o*, s:b, s:s*, s:s*, s:s*}", "key", row->key, "type", words ? "word" : types[row->type],
                           "default", row->absent, "range", row->range, "words", words, "required", row->required, "within", row->within,
                           "refused", row->refused, "about", row->about));
}

kd_status kd_help_json_run_file(void) {
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const char *group = kd_run_schema[i].group;
        if (group) KD_TRY(member(i ? "]},{" : "[{", "group", group));
        fputs(group ? ",\"keys\":[" : ",", stdout);
        KD_TRY(print_key(&kd_run_schema[i]));
    }
    printf("]}]");
    return KD_OK;
}
