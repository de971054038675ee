/* A machine, or a cluster of them, by published figures: examples/machines. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml.h"
#include "speed.h"

static const struct { const char *key; size_t at; bool needed; } number_row[] = {
    {"devices", offsetof(kd_speed, devices), false}, {"peak", offsetof(kd_speed, peak), true},
    {"products", offsetof(kd_speed, products), true}, {"numbers", offsetof(kd_speed, numbers), true},
    {"update", offsetof(kd_speed, update), true},     {"link", offsetof(kd_speed, link), false},
    {"hosts", offsetof(kd_speed, hosts), false},      {"memory", offsetof(kd_speed, memory), false},
    {"inside", offsetof(kd_speed, inside), false},    {"between", offsetof(kd_speed, between), false},
    {"latency", offsetof(kd_speed, latency), false},
};
static const struct { const char *key; size_t at; } curve_row[] = {
    {"forward", offsetof(kd_speed, forward)}, {"backward", offsetof(kd_speed, backward)}};

#define COUNT(table) (sizeof table / sizeof *table)

static bool is_known(const char *key) {
    for (size_t i = 0; i < COUNT(number_row); i++)
        if (!strcmp(key, number_row[i].key)) return true;
    return !strcmp(key, "name") || !strcmp(key, "attention");
}

static kd_status positive(double *out, const kd_yaml *node, const char *where, const char *path) {
    KD_TRY(kd_yaml_number(out, node, where, path));
    return *out > 0 ? KD_OK : kd_fail(KD_ECONFIG, "%s:%d: %s: %g is not above 0", path, node->line, where, *out);
}

/* {1K: 133e12, 2K: 155e12}: lengths ascend. */
static kd_status read_curve(kd_speed_curve *c, const kd_yaml *map, const char *where, const char *path) {
    if (!map || map->kind != KD_YAML_MAP || map->count < 1 || map->count > KD_SPEED_LENGTHS)
        return kd_fail(KD_ECONFIG, "%s: %s: FLOP/s for 1 to %d lengths of a document, as {1K: 133e12, 16K: 189e12}", path, where, KD_SPEED_LENGTHS);
    for (int64_t i = 0; i < map->count; i++) {
        const kd_yaml key = {.kind = KD_YAML_SCALAR, .line = map->key_line[i], .text = map->key[i]};
        int64_t length;
        KD_TRY(kd_yaml_size(&length, &key, where, path));
        if (length < 1 || (i && (double)length <= c->length[i - 1]))
            return kd_fail(KD_ECONFIG, "%s:%d: %s: %s: lengths ascend from 1", path, map->key_line[i], where, map->key[i]);
        c->length[i] = (double)length;
        KD_TRY(positive(&c->rate[i], map->child[i], where, path));
    }
    c->count = map->count;
    return KD_OK;
}

static kd_status read_tree(kd_speed *s, const kd_yaml *tree, const char *path) {
    const kd_yaml *node;
    if (tree->kind != KD_YAML_MAP) return kd_fail(KD_ECONFIG, "%s: a machine is a map: see examples/machines", path);
    for (int64_t i = 0; i < tree->count; i++)
        if (!is_known(tree->key[i])) return kd_fail(KD_ECONFIG, "%s:%d: %s: unknown key; a machine has name, devices, peak, products, attention, "
                                                    "numbers, update, link, hosts, memory, inside, between and latency", path, tree->key_line[i], tree->key[i]);
    for (size_t i = 0; i < COUNT(number_row); i++) {
        if (!(node = kd_yaml_get(tree, number_row[i].key))) {
            if (number_row[i].needed) return kd_fail(KD_ECONFIG, "%s: %s is missing", path, number_row[i].key);
            continue;
        }
        KD_TRY(positive((double *)((char *)s + number_row[i].at), node, number_row[i].key, path));
    }
    const kd_yaml *attention = kd_yaml_get(tree, "attention");
    for (size_t i = 0; i < COUNT(curve_row); i++) {
        char where[32];
        snprintf(where, sizeof where, "attention.%s", curve_row[i].key);
        node = attention && attention->kind == KD_YAML_MAP ? kd_yaml_get(attention, curve_row[i].key) : NULL;
        KD_TRY(read_curve((kd_speed_curve *)((char *)s + curve_row[i].at), node, where, path));
    }
    if ((node = kd_yaml_get(tree, "name")) && node->kind == KD_YAML_SCALAR) snprintf(s->name, sizeof s->name, "%s", node->text);
    if (!(s->link > 0)) s->link = s->inside / sizeof(float);
    if (!(s->inside > 0)) s->inside = s->link * sizeof(float);
    if (s->devices > 1 && !(s->link > 0)) return kd_fail(KD_ECONFIG, "%s: link is missing: %g devices send each other numbers", path, s->devices);
    return KD_OK;
}

kd_status kd_speed_read(kd_speed *s, const char *path) {
    char *text = NULL;
    int64_t size = 0;
    kd_yaml *tree = NULL;
    kd_status status;
    *s = (kd_speed){.devices = 1};
    snprintf(s->name, sizeof s->name, "%s", path);
    KD_GO(kd_file_read(&text, &size, path, 1 << 20));
    KD_GO(kd_yaml_parse(&tree, text, size, path));
    KD_GO(read_tree(s, tree, path));
done:
    kd_yaml_free(tree);
    free(text);
    return status;
}
