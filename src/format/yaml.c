/* From libyaml's events to nodes. The typed readers of scalars are in yaml_scalar.c. */
#include "yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH 64
#define KEYS 4096 /* of one map: each is compared with those before it */

typedef struct source {
    yaml_parser_t parser;
    const char *name;
    bool override;         /* lines mean nothing: the text is a command line's */
} source;

static kd_status fail_at(const source *from, const yaml_mark_t *mark, const char *what) {
    if (from->override) return kd_fail(KD_ECONFIG, "%s: %s", from->name, what);
    return kd_fail(KD_ECONFIG, "%s:%d:%d: %s", from->name, (int)mark->line + 1, (int)mark->column + 1, what);
}

static kd_status fail_parser(const source *from) {
    const yaml_parser_t *parser = &from->parser;
    char what[256];
    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return kd_fail(KD_ENOMEM, "%s: out of memory", from->name);
    case YAML_READER_ERROR:  /* the text is not UTF-8, or holds a control character: there is no mark yet */
        return kd_fail(KD_ECONFIG, "%s: byte %lld: %s", from->name, (long long)parser->problem_offset, parser->problem);
    default:
        snprintf(what, sizeof what, "%s%s%s", parser->context ? parser->context : "", parser->context ? ", " : "",
                 parser->problem ? parser->problem : "not YAML");
        return fail_at(from, &parser->problem_mark, what);
    }
}

/* The next event, which the caller deletes. What the house does not read is refused here. */
static kd_status next(source *from, yaml_event_t *event) {
    if (!yaml_parser_parse(&from->parser, event)) {
        memset(event, 0, sizeof *event);
        return fail_parser(from);
    }
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    case YAML_DOCUMENT_START_EVENT:
        tag = event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end
            ? (const yaml_char_t *)"" : NULL;
        break;
    case YAML_ALIAS_EVENT:
        return fail_at(from, &event->start_mark, "aliases (*name) are not read here; put a text with * in quotes");
    default:
        break;
    }
    if (anchor)
        return fail_at(from, &event->start_mark, "anchors (&name) are not read here; put a text with & in quotes");
    if (tag) return fail_at(from, &event->start_mark, "tags (!name) are not read here; put a text with ! in quotes");
    return KD_OK;
}

/* ---- nodes ------------------------------------------------------------------------------------------------- */

void kd_yaml_free(kd_yaml *node) {
    if (!node) return;
    for (int64_t i = 0; i < node->count; i++) {
        if (node->key) free(node->key[i]);
        kd_yaml_free(node->child[i]);
    }
    free(node->text);
    free(node->key);
    free(node->key_line);
    free(node->child);
    free(node);
}

static kd_status grow(void *array, int64_t count, size_t element) {
    void *old, *larger;
    memcpy(&old, array, sizeof old);
    larger = realloc(old, (size_t)count * element);
    if (!larger) return kd_fail(KD_ENOMEM, "out of memory: %lld nodes", (long long)count);
    memcpy(array, &larger, sizeof larger);
    return KD_OK;
}

/* Takes key (NULL for a list) and child over when it succeeds. */
static kd_status add(kd_yaml *node, char *key, int key_line, kd_yaml *child) {
    if ((node->count & (node->count - 1)) == 0) {  /* a power of two is full: double it */
        int64_t room = node->count ? 2 * node->count : 1;
        KD_TRY(grow(&node->child, room, sizeof *node->child));
        if (node->kind == KD_YAML_MAP) {
            KD_TRY(grow(&node->key, room, sizeof *node->key));
            KD_TRY(grow(&node->key_line, room, sizeof *node->key_line));
        }
    }
    if (key) {
        node->key[node->count] = key;
        node->key_line[node->count] = key_line;
    }
    node->child[node->count++] = child;
    return KD_OK;
}

static int64_t find(const kd_yaml *map, const char *key) {
    for (int64_t i = 0; map->kind == KD_YAML_MAP && i < map->count; i++)
        if (strcmp(map->key[i], key) == 0) return i;
    return -1;
}

kd_yaml *kd_yaml_get(const kd_yaml *map, const char *key) {
    int64_t i = map ? find(map, key) : -1;
    return i < 0 ? NULL : map->child[i];
}

static kd_status copy_scalar(char **out, const source *from, const yaml_event_t *event) {
    const char *value = (const char *)event->data.scalar.value;
    if (strlen(value) != event->data.scalar.length) return fail_at(from, &event->start_mark, "U+0000 in a text");
    *out = strdup(value);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "%s: out of memory", from->name);
}

static kd_status build(kd_yaml **out, source *from, yaml_event_t *event, int depth);

/* One "key: value"; event is the key's, in use again for the value. */
static kd_status build_member(kd_yaml *map, source *from, yaml_event_t *event, int depth) {
    char *key = NULL;
    kd_yaml *child = NULL;
    kd_status status = KD_OK;
    yaml_mark_t mark = event->start_mark;
    if (event->type != YAML_SCALAR_EVENT) return fail_at(from, &mark, "a key must be a plain word");
    KD_GO(copy_scalar(&key, from, event));
    if (!*key) {
        status = fail_at(from, &mark, "an empty key");
        goto done;
    }
    if (map->count >= KEYS) {
        status = fail_at(from, &mark, "a map of more than 4096 keys");
        goto done;
    }
    int64_t first = find(map, key);
    if (first >= 0) {
        char what[256];
        if (from->override) snprintf(what, sizeof what, "%.100s: repeated key", key);
        else snprintf(what, sizeof what, "%.100s: repeated key, first in line %d", key, map->key_line[first]);
        status = fail_at(from, &mark, what);
        goto done;
    }
    yaml_event_delete(event);
    KD_GO(next(from, event));
    KD_GO(build(&child, from, event, depth));
    KD_GO(add(map, key, from->override ? 0 : (int)mark.line + 1, child));
    return KD_OK;
done:
    free(key);
    kd_yaml_free(child);
    return status;
}

/* The node that begins with event; the event is deleted or replaced by the node's last. */
static kd_status build(kd_yaml **out, source *from, yaml_event_t *event, int depth) {
    kd_yaml *node = NULL, *child = NULL;
    kd_status status = KD_OK;
    *out = NULL;
    if (depth > DEPTH) return fail_at(from, &event->start_mark, "nested deeper than 64");
    KD_GO(kd_new(&node, 1, sizeof *node));
    node->line = from->override ? 0 : (int)event->start_mark.line + 1;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = KD_YAML_SCALAR;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        KD_GO(copy_scalar(&node->text, from, event));
    } else {
        bool map = event->type == YAML_MAPPING_START_EVENT;
        node->kind = map ? KD_YAML_MAP : KD_YAML_LIST;
        for (;;) {
            yaml_event_delete(event);
            KD_GO(next(from, event));
            if (event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT) break;
            if (map) {
                KD_GO(build_member(node, from, event, depth + 1));
            } else {
                KD_GO(build(&child, from, event, depth + 1));
                KD_GO(add(node, NULL, 0, child));
                child = NULL;
            }
        }
    }
    *out = node;
    return KD_OK;
done:
    kd_yaml_free(child);
    kd_yaml_free(node);
    return status;
}

/* ---- documents --------------------------------------------------------------------------------------------- */

static kd_status parse(kd_yaml **out, const char *text, int64_t size, const char *name, bool override) {
    source from = {.name = name, .override = override};
    yaml_event_t event = {0};
    kd_status status = KD_OK;
    kd_yaml *root = NULL;
    *out = NULL;
    if (!yaml_parser_initialize(&from.parser)) return kd_fail(KD_ENOMEM, "%s: out of memory", name);
    yaml_parser_set_input_string(&from.parser, (const unsigned char *)text, (size_t)size);
    yaml_parser_set_encoding(&from.parser, YAML_UTF8_ENCODING);
    for (bool end = false; !end;) {
        yaml_event_delete(&event);
        KD_GO(next(&from, &event));
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_STREAM_END_EVENT:
            end = true;
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (root) {
                status = fail_at(&from, &event.start_mark, "a second document");
                goto done;
            }
            break;
        default:
            KD_GO(build(&root, &from, &event, 1));
        }
    }
    if (!root) {  /* nothing but comments: a null, as an empty value is */
        KD_GO(kd_new(&root, 1, sizeof *root));
        root->line = override ? 0 : 1;
        KD_GO(kd_new(&root->text, 1, 1));
    }
    *out = root;
    root = NULL;
done:
    kd_yaml_free(root);
    yaml_event_delete(&event);
    yaml_parser_delete(&from.parser);
    return status;
}

kd_status kd_yaml_parse(kd_yaml **out, const char *text, int64_t size, const char *name) {
    return parse(out, text, size, name, false);
}

/* ---- overrides --------------------------------------------------------------------------------------------- */

static bool is_null(const kd_yaml *node) {
    return node->kind == KD_YAML_SCALAR && !node->quoted &&
           (!*node->text || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

/* The map that path, a list of keys without the last one, leads to; missing ones are made. */
static kd_status descend(kd_yaml **out, kd_yaml *root, char *path, const char *assignment) {
    kd_yaml *map = root;
    for (char *key = path;;) {
        if (is_null(map)) {
            map->kind = KD_YAML_MAP;
            free(map->text);
            map->text = NULL;
        }
        if (map->kind != KD_YAML_MAP)
            return kd_fail(KD_ECONFIG, "%s: %s is not a map", assignment, map == root ? "the file" : path);
        char *dot = strchr(key, '.');
        if (!dot) break;
        if (key > path) key[-1] = '.';  /* so that path names the map in the message */
        *dot = 0;
        kd_yaml *child = kd_yaml_get(map, key);
        if (!child) {
            char *copy = strdup(key);
            kd_status status = copy ? kd_new(&child, 1, sizeof *child) : kd_fail(KD_ENOMEM, "%s: out of memory", key);
            if (!status) {
                child->kind = KD_YAML_MAP;
                status = add(map, copy, 0, child);
            }
            if (status) {
                free(copy);
                kd_yaml_free(child);
                return status;
            }
        }
        map = child;
        key = dot + 1;
    }
    *out = map;
    return KD_OK;
}

kd_status kd_yaml_set(kd_yaml *root, const char *assignment) {
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return kd_fail(KD_ECONFIG, "%s: an override is written key=value", assignment);
    kd_status status = KD_OK;
    kd_yaml *value = NULL, *map = NULL;
    char *key = NULL, *path = strndup(assignment, (size_t)(equals - assignment));
    if (!path) return kd_fail(KD_ENOMEM, "%s: out of memory", assignment);
    if (path[0] == '.' || equals[-1] == '.' || strstr(path, "..")) {
        status = kd_fail(KD_ECONFIG, "%s: an empty key", assignment);
        goto done;
    }
    KD_GO(parse(&value, equals + 1, (int64_t)strlen(equals + 1), assignment, true));
    const char *dot = strrchr(path, '.');
    key = strdup(dot ? dot + 1 : path);
    if (!key) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", assignment);
        goto done;
    }
    KD_GO(descend(&map, root, path, assignment));
    int64_t i = find(map, key);
    if (i >= 0) {
        kd_yaml_free(map->child[i]);
        map->child[i] = value;
        map->key_line[i] = 0;
    } else {
        KD_GO(add(map, key, 0, value));
        key = NULL;
    }
    value = NULL;
done:
    kd_yaml_free(value);
    free(key);
    free(path);
    return status;
}
