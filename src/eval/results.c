#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "letters.h"
#include "results_write.h"

#define MOST ((int64_t)4 << 30)  /* bytes of answers.jsonl */

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

json_t *kd_json_of_text(const char *text, int64_t size) {
    json_t *out = json_stringn(text, (size_t)size);
    kd_letters letters = {0};
    char *valid = NULL;
    if (!out && !kd_letters_open(&letters, text, size) && !kd_letters_text(&valid, &size, &letters))
        out = json_stringn(valid, (size_t)size);
    free(valid);
    kd_letters_free(&letters);
    return out;
}

/* ---- settings ----------------------------------------------------------------------------------------------------------- */

static kd_status each_leaf(kd_text *key, const json_t *object, kd_leaf *leaf, void *opaque) {
    const char *name;
    json_t *value;
    int64_t size = key->size;
    json_object_foreach((json_t *)object, name, value) {
        kd_text_print(key, "%s%s", size ? "." : "", name);
        KD_TRY(kd_text_status(key));
        KD_TRY(json_is_object(value) ? each_leaf(key, value, leaf, opaque) : leaf(opaque, key->data, value));
        key->size = size;
        key->data[size] = 0;
    }
    return KD_OK;
}

kd_status kd_each_leaf(const json_t *object, kd_leaf *leaf, void *opaque) {
    kd_text key = {0};
    kd_status status = each_leaf(&key, object, leaf, opaque);
    kd_text_free(&key);
    return status;
}

kd_status kd_leaf_text(kd_text *text, const json_t *value) {
    char *words;
    if (json_is_string(value)) kd_text_put(text, json_string_value(value));
    else {
        KD_TRY(kd_json_print(&words, value, JSON_ENCODE_ANY, "settings"));
        kd_text_put(text, words);
        free(words);
    }
    return kd_text_status(text);
}

typedef struct comparison { const kd_results *results; const json_t *other; bool backwards; } comparison;

static const json_t *leaf_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    const char *dot = strchr(key, '.');
    if (value || !dot) return value;
    char *name = strndup(key, (size_t)(dot - key));
    const json_t *inner = name ? json_object_get(object, name) : NULL;
    free(name);
    return json_is_object(inner) ? leaf_of(inner, dot + 1) : NULL;
}

static kd_status differs(void *opaque, const char *key, const json_t *value) {
    const comparison *c = opaque;
    const json_t *other = leaf_of(c->other, key), *pair[2] = {c->backwards ? value : other, c->backwards ? other : value};
    kd_text text[2] = {{0}, {0}};
    kd_status status = KD_OK;
    if (other && json_equal(other, value)) return KD_OK;
    for (int i = 0; i < 2; i++)
        if (pair[i]) KD_GO(kd_leaf_text(&text[i], pair[i]));
    status = kd_fail(KD_ECONFIG, "%s holds answers of other settings: %s is %.80s there, %.80s here; name another folder",
                     c->results->folder, key,
                     text[0].data ? text[0].data : "not set", text[1].data ? text[1].data : "not set");
done:
    kd_text_free(&text[0]);
    kd_text_free(&text[1]);
    return status;
}

/* An earlier evaluation's settings are compared with these, others are written. */
static kd_status settle(kd_results *r) {
    char *path = kd_path_join(r->folder, "settings.json"), *text = NULL;
    json_t *before = NULL;
    kd_status status;
    if (!path) KD_GO(no_memory());
    if (kd_exists(path)) {
        KD_GO(kd_json_load(&before, path));
        KD_GO(kd_each_leaf(r->settings, differs, &(comparison){r, before, false}));
        KD_GO(kd_each_leaf(before, differs, &(comparison){r, r->settings, true}));
        goto done;
    }
    if (kd_exists(r->path)) KD_GO(kd_fail(KD_ECONFIG, "%s: answers.jsonl without settings.json; name another folder", r->folder));
    KD_GO(kd_json_print(&text, r->settings, JSON_INDENT(2), path));
    status = kd_file_replace(path, text, (int64_t)strlen(text));
done:
    json_decref(before);
    free(text);
    free(path);
    return status;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------ */

static kd_status read_answer(kd_results *r, const char *text, int64_t size, int64_t line) {
    json_t *answer;
    KD_TRY(kd_json_parse_line(&answer, text, size, r->path, line));
    const char *key = json_string_value(json_object_get(answer, "key"));
    kd_status status = KD_OK;
    if (!key) status = kd_fail(KD_EFORMAT, "%s:%lld: no \"key\"", r->path, (long long)line);
    else if (json_object_get(r->answers, key))
        status = kd_fail(KD_EFORMAT, "%s:%lld: a second answer to %.100s", r->path, (long long)line, key);
    else if (json_object_set(r->answers, key, answer)) status = no_memory();
    json_decref(answer);
    return status;
}

/* Whole lines are read; *whole bytes of them. What a kill or a full disk left behind the last of them is cut off. */
static kd_status read_answers(kd_results *r) {
    char *data;
    int64_t size, line = 0, at = 0;
    kd_status status = KD_OK;
    KD_TRY(kd_file_read(&data, &size, r->path, MOST));
    while (at < size) {
        const char *end = memchr(data + at, '\n', (size_t)(size - at));
        if (!end) break;
        KD_GO(read_answer(r, data + at, end - (data + at), ++line));
        at = end + 1 - data;
    }
    r->found = line;
    if (at == size) goto done;
    kd_warn("%s:%lld: the line is cut short, it is asked again", r->path, (long long)line + 1);
    if (truncate(r->path, at)) status = kd_fail_errno(KD_EIO, "%s: cannot be cut", r->path);
done:
    free(data);
    return status;
}

static kd_status open_folder(kd_results *r, const char *folder) {
    kd_status status;
    char *lock = kd_path_join(folder, ".lock");
    r->folder = strdup(folder);
    r->path = kd_path_join(folder, "answers.jsonl");
    if (!lock || !r->folder || !r->path) KD_GO(no_memory());
    KD_GO(kd_make_folders(folder));
    status = kd_lock_open(&r->lock, lock);
    if (status) {
        r->lock = -1;
        status = kd_fail_prefix(status, "%s is being written", folder);
        goto done;
    }
    KD_GO(settle(r));
    if (kd_exists(r->path)) KD_GO(read_answers(r));
    r->fd = open(r->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (r->fd < 0) status = kd_fail_errno(KD_EIO, "%s: cannot be written", r->path);
done:
    free(lock);
    return status;
}

kd_status kd_results_open(kd_results **out, const char *folder, const json_t *settings) {
    kd_results *r;
    *out = NULL;
    KD_TRY(kd_new(&r, 1, sizeof *r));
    *r = (kd_results){.lock = -1, .fd = -1, .settings = json_deep_copy(settings), .answers = json_object()};
    kd_status status = r->settings && r->answers ? KD_OK : no_memory();
    if (!status && folder) status = open_folder(r, folder);
    if (status) kd_results_close(r);
    else *out = r;
    return status;
}

void kd_results_close(kd_results *r) {
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    kd_lock_close(r->lock);
    json_decref(r->answers);
    json_decref(r->settings);
    free(r->path);
    free(r->folder);
    free(r);
}

const json_t *kd_results_find(const kd_results *r, const char *key) { return json_object_get(r->answers, key); }
int64_t kd_results_found(const kd_results *r) { return r->found; }

/* In one write, so that a kill leaves at most one line cut short. */
static kd_status append(kd_results *r, const char *line, int64_t size) {
    for (int64_t at = 0; at < size;) {
        ssize_t written = write(r->fd, line + at, (size_t)(size - at));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return kd_fail_errno(KD_EIO, "%s: an answer could not be written", r->path);
        at += written;
    }
    return KD_OK;
}

kd_status kd_results_add(kd_results *r, const char *key, json_t *answer) {
    json_t *row = json_pack("{s:s}", "key", key);
    char *text = NULL;
    kd_status status = KD_OK;
    if (!row || !answer || json_object_update(row, answer)) KD_GO(no_memory());
    if (json_object_get(r->answers, key)) KD_GO(kd_fail(KD_EARG, "a second answer to %.100s", key));
    if (r->folder) {
        KD_GO(kd_json_print(&text, row, JSON_COMPACT, r->path));
        int64_t size = (int64_t)strlen(text);
        text[size] = '\n';  /* in the place of the ending NUL */
        KD_GO(append(r, text, size + 1));
    }
    if (json_object_set(r->answers, key, row)) status = no_memory();
done:
    free(text);
    json_decref(answer);
    json_decref(row);
    return status;
}
