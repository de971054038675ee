#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml.h"
#include "help.h"

static const kd_option *find(const kd_usage *u, const char *name, size_t length) {
    for (int64_t i = 0; i < u->options; i++)
        if (strlen(u->option[i].name) == length && !strncmp(u->option[i].name, name, length)) return &u->option[i];
    return NULL;
}

static kd_status unknown(const kd_usage *u, const char *name) {
    const char *known[64];
    int64_t count = 0;
    for (; count < u->options && count < 63; count++) known[count] = u->option[count].name;
    known[count++] = "--help";
    const char *near = kd_nearest(name, known, count);
    if (near) return kd_fail(KD_ECONFIG, "%s: unknown option %s, did you mean %s?", u->command, name, near);
    return kd_fail(KD_ECONFIG, "%s: unknown option %s; kedge %s --help lists them", u->command, name, u->command);
}

/* A whole number that may end in K, M or G; returns what is behind it, NULL where there is none. */
static const char *read_integer(int64_t *out, const char *text) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    int64_t unit = *end == 'K' ? 1024 : *end == 'M' ? 1 << 20 : *end == 'G' ? 1 << 30 : 1;
    if (errno || end == text || number > INT64_MAX / unit || number < INT64_MIN / unit) return NULL;
    *out = number * unit;
    return end + (unit > 1);
}

kd_status kd_options_integers(int64_t *out, int64_t most, int64_t *count, const char *command, const char *option, const char *text) {
    const char *colon = command ? ": " : "";
    *count = 0;
    for (const char *at = text;; at++) {
        if (*count == most) return kd_fail(KD_ECONFIG, "%s%s%s: more than %lld numbers", command ? command : "", colon, option, (long long)most);
        at = read_integer(&out[*count], at);
        if (!at || (*at && *at != ','))
            return kd_fail(KD_ECONFIG, "%s%s%s %s: whole numbers, as in 0,16,128K", command ? command : "", colon, option, text);
        ++*count;
        if (!*at) return KD_OK;
    }
}

static kd_status store(const kd_usage *u, const kd_option *o, const char *value) {
    if (o->kind == KD_TEXT) *(const char **)o->to = value;
    if (o->kind == KD_LIST) {
        kd_list *list = o->to;
        if (list->count == (int64_t)(sizeof list->text / sizeof *list->text))
            return kd_fail(KD_ECONFIG, "%s: too many %s: %d are taken", u->command, o->name, (int)(sizeof list->text / sizeof *list->text));
        list->text[list->count++] = value;
    }
    if (o->kind == KD_INTEGER) {
        const char *end = read_integer(o->to, value);
        if (!end || *end)
            return kd_fail(KD_ECONFIG, "%s: %s %s: not a whole number (K, M and G may end it)", u->command, o->name, value);
    }
    return KD_OK;
}

kd_status kd_options_read(const kd_usage *u, int argc, char **argv, const char **positional, int64_t most,
                          int64_t *count, bool *done) {
    *count = 0;
    *done = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {  /* first, while variables hold their defaults */
        bool json = !strcmp(argv[i], KD_HELP_JSON);
        if (!json && strcmp(argv[i], "--help") && strcmp(argv[i], "-h")) continue;
        *done = true;
        if (json) return kd_help_json_usage(u);
        kd_help_print(u);
        return KD_OK;
    }
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        if (ended || word[0] != '-' || !word[1]) {
            if (*count == most) return kd_fail(KD_ECONFIG, "%s: \"%s\" is one argument too many; usage: kedge %s %s", u->command, word, u->command, u->synopsis);
            positional[(*count)++] = word;
            continue;
        }
        if (!strcmp(word, "--")) {
            ended = true;
            continue;
        }
        const kd_option *o = find(u, word, equals ? (size_t)(equals - word) : strlen(word));
        if (!o) return unknown(u, word);
        if (o->kind == KD_FLAG) {
            if (equals) return kd_fail(KD_ECONFIG, "%s: %s takes no value", u->command, o->name);
            *(bool *)o->to = true;
            continue;
        }
        if (!equals && i + 1 == argc) return kd_fail(KD_ECONFIG, "%s: %s needs %s", u->command, o->name, o->value);
        KD_TRY(store(u, o, equals ? equals + 1 : argv[++i]));
    }
    return KD_OK;
}

int kd_exit_code(kd_status status) {
    if (status) fprintf(stderr, "kedge: %s\n", kd_message());
    return kd_code_of(status);
}

int kd_code_of(kd_status status) {
    switch (status) {
        case KD_OK: return KD_EXIT_OK;
        case KD_ECONFIG: return KD_EXIT_USAGE;
        case KD_EAGAIN:
        case KD_ELOST: return KD_EXIT_AGAIN;
        default: return KD_EXIT_FAILED;
    }
}
