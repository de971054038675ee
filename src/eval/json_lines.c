#include "json_lines.h"

#include <stdlib.h>
#include <string.h>

#include "format/input.h"

#define MOST ((int64_t)4 << 30)
#define READ ((int64_t)1 << 20)

static kd_status read_all(kd_json_lines *l) {
    kd_input *input;
    int64_t room = 0, got = 1;
    kd_status status = KD_OK;
    KD_TRY(kd_input_open(&input, l->path));
    while (got) {
        KD_GO(kd_grow(&l->data, &room, l->size + READ, 1));
        KD_GO(kd_input_read(l->data + l->size, &got, input, READ));
        l->size += got;
        if (l->size > MOST) KD_GO(kd_fail(KD_EFORMAT, "%s: more than 4 GiB of JSON lines", l->path));
    }
    l->hash = kd_hash(l->data, l->size);
done:
    kd_input_close(input);
    return status;
}

kd_status kd_json_lines_open(kd_json_lines *l, const char *path) {
    *l = (kd_json_lines){.path = strdup(path)};
    kd_status status = l->path ? kd_new(&l->place, (int64_t)strlen(path) + 32, 1) : kd_fail(KD_ENOMEM, "%s: out of memory", path);
    if (!status) status = read_all(l);
    if (status) kd_json_lines_close(l);
    return status;
}

void kd_json_lines_close(kd_json_lines *l) {
    free(l->data);
    free(l->place);
    free(l->path);
    *l = (kd_json_lines){0};
}

static bool is_blank(const char *text, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

kd_status kd_json_lines_next(json_t **object, kd_json_lines *l) {
    *object = NULL;
    while (l->at < l->size) {
        const char *text = l->data + l->at, *end = memchr(text, '\n', (size_t)(l->size - l->at));
        int64_t size = end ? end - text : l->size - l->at;
        l->at += size + 1;
        l->line++;
        if (is_blank(text, size)) continue;
        snprintf(l->place, strlen(l->path) + 32, "%s:%lld", l->path, (long long)l->line);
        KD_TRY(kd_json_parse_line(object, text, size, l->path, l->line));
        if (json_is_object(*object)) return KD_OK;
        json_decref(*object);
        *object = NULL;
        return kd_fail(KD_EFORMAT, "%s: not an object", l->place);
    }
    return KD_OK;
}

static bool is_text(const json_t *value) { return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value); }

kd_status kd_json_text(const char **out, const json_t *object, const char *key, const char *place) {
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    if (!value) return kd_fail(KD_EFORMAT, "%s: \"%s\" is missing", place, key);
    return is_text(value) ? KD_OK : kd_fail(KD_EFORMAT, "%s: \"%s\" is not a text", place, key);
}

kd_status kd_json_texts(const json_t **out, const json_t *object, const char *key, int64_t count, const char *place) {
    const json_t *value = json_object_get(object, key);
    int64_t there = (int64_t)json_array_size(value);
    *out = value;
    if (!value) return kd_fail(KD_EFORMAT, "%s: \"%s\" is missing", place, key);
    bool good = json_is_array(value) && (count ? there == count : there > 0);
    for (int64_t i = 0; good && i < there; i++) good = is_text(json_array_get(value, (size_t)i));
    if (good) return KD_OK;
    if (count) return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a list of %lld texts", place, key, (long long)count);
    return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a list of texts", place, key);
}
