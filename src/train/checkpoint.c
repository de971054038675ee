#define _GNU_SOURCE
#include "checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "format/json.h"

#define MANIFEST "manifest.json"

/* step-123 to 123; anything else, step-123.tmp included, to -1. */
static int64_t step_of(const char *name) {
    if (strncmp(name, "step-", 5) || !name[5] || strspn(name + 5, "0123456789") != strlen(name + 5)) return -1;
    return strtoll(name + 5, NULL, 10);
}

static bool is_leftover(const char *name) {
    size_t length = strlen(name);
    return !strncmp(name, "step-", 5) && length > 4 && (!strcmp(name + length - 4, ".tmp") || !strcmp(name + length - 4, ".del"));
}

static kd_status remove_leftovers(const char *output) {
    kd_paths names = {0};
    kd_status status = kd_list_folder(&names, output);
    for (int64_t i = 0; i < names.count && !status; i++) {
        if (!is_leftover(names.path[i])) continue;
        char *path = kd_path_join(output, names.path[i]);
        status = path ? kd_remove_tree(path) : kd_fail(KD_ENOMEM, "out of memory");
        free(path);
    }
    kd_paths_free(&names);
    return status;
}

static kd_status manifest_row(json_t *files, const char *folder, const char *name) {
    char *path = kd_path_join(folder, name), hex[20];
    uint64_t hash;
    int64_t size;
    kd_status status = path ? kd_file_hash(&hash, &size, path) : kd_fail(KD_ENOMEM, "out of memory");
    free(path);
    if (status) return status;
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
    json_t *row = json_pack("{s:I, s:s}", "size", (json_int_t)size, "xxh3", hex);
    return json_object_set_new(files, name, row) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static kd_status write_manifest(const char *folder, int64_t step) {
    kd_paths names = {0};
    json_t *files = json_object(), *manifest = json_pack("{s:s, s:I, s:o}", "kedge", KD_VERSION, "step", (json_int_t)step,
                                                         "files", files);
    char *text = NULL, *path = kd_path_join(folder, MANIFEST);
    kd_status status = manifest && path ? kd_list_folder(&names, folder) : kd_fail(KD_ENOMEM, "out of memory");
    for (int64_t i = 0; i < names.count && !status; i++) status = manifest_row(files, folder, names.path[i]);
    if (!status) status = kd_json_print(&text, manifest, JSON_INDENT(1) | JSON_SORT_KEYS, path);
    if (!status) status = kd_file_write(path, text, (int64_t)strlen(text));
    kd_paths_free(&names);
    json_decref(manifest);
    free(text);
    free(path);
    return status;
}

static kd_status move(const char *to, const char *from) {
    return rename(from, to) ? kd_fail_errno(KD_EIO, "%s: rename to %s", from, to) : KD_OK;
}

kd_status kd_checkpoint_save(const char *output, int64_t step, kd_checkpoint_fill *fill, void *arg) {
    char name[32], aside[40], old[40];
    snprintf(name, sizeof name, "step-%lld", (long long)step);
    snprintf(aside, sizeof aside, "%s.tmp", name);
    snprintf(old, sizeof old, "%s.del", name);
    char *final = kd_path_join(output, name), *half = kd_path_join(output, aside), *gone = kd_path_join(output, old);
    bool made = false;
    kd_status status;
    if (!final || !half || !gone) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(remove_leftovers(output));
    KD_GO(kd_make_folders(half));
    made = true;
    KD_GO(fill(arg, half));
    KD_GO(write_manifest(half, step));
    KD_GO(kd_sync_folder(half));
    if (kd_exists(final)) KD_GO(move(gone, final));
    KD_GO(move(final, half));
    made = false;
    KD_GO(kd_sync_folder(output));
    if (kd_exists(gone)) kd_remove_tree(gone);  /* committed: what is left goes with the next save */
done:
    if (status && made) {
        char message[1024];
        snprintf(message, sizeof message, "%s", kd_message());
        kd_remove_tree(half);
        kd_message_set(message);
    }
    free(gone);
    free(half);
    free(final);
    return status;
}

static kd_status verify_file(const char *folder, const char *name, const json_t *row) {
    if (strchr(name, '/')) return kd_fail(KD_EFORMAT, "%s: manifest names \"%s\"", folder, name);
    char *path = kd_path_join(folder, name), hex[20];
    int64_t size, want;
    uint64_t hash;
    kd_status status;
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    KD_GO(kd_json_int(&want, row, "size", path));
    KD_GO(kd_file_hash(&hash, &size, path));
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
    const char *said = json_string_value(json_object_get(row, "xxh3"));
    if (size != want)
        status = kd_fail(KD_EFORMAT, "%s: %lld bytes, the manifest says %lld", path, (long long)size, (long long)want);
    else if (!said || strcmp(said, hex))
        status = kd_fail(KD_EFORMAT, "%s: its hash is %s, the manifest says %s", path, hex, said ? said : "nothing");
done:
    free(path);
    return status;
}

kd_status kd_checkpoint_verify(const char *folder) {
    char *path = kd_path_join(folder, MANIFEST);
    json_t *manifest = NULL;
    kd_status status = path ? kd_json_load(&manifest, path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) {
        json_t *files = json_object_get(manifest, "files"), *row;
        const char *name;
        if (!json_is_object(files) || !json_object_size(files)) status = kd_fail(KD_EFORMAT, "%s: it names no files", path);
        json_object_foreach(files, name, row) {
            if (!status) status = verify_file(folder, name, row);
        }
    }
    json_decref(manifest);
    free(path);
    return status;
}

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps that have a folder, newest first; free(). */
static kd_status list_steps(int64_t **step, int64_t *count, const char *output) {
    kd_paths names = {0};
    *step = NULL;
    *count = 0;
    if (!kd_is_folder(output)) return KD_OK;
    KD_TRY(kd_list_folder(&names, output));
    kd_status status = kd_new(step, names.count, sizeof **step);
    for (int64_t i = 0; i < names.count && !status; i++)
        if (step_of(names.path[i]) >= 0) (*step)[(*count)++] = step_of(names.path[i]);
    kd_paths_free(&names);
    if (!status && *count) qsort(*step, (size_t)*count, sizeof **step, newest_first);
    return status;
}

static char *step_folder(const char *output, int64_t step) {
    char name[32];
    snprintf(name, sizeof name, "step-%lld", (long long)step);
    return kd_path_join(output, name);
}

kd_status kd_checkpoint_newest(char **folder, int64_t *step, const char *output) {
    int64_t *steps, count;
    *folder = NULL;
    KD_TRY(list_steps(&steps, &count, output));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < count && !*folder && !status; i++) {
        char *path = step_folder(output, steps[i]);
        if (!path) {
            status = kd_fail(KD_ENOMEM, "out of memory");
        } else if (kd_checkpoint_verify(path)) {
            kd_warn("checkpoint %s is not used: %s", path, kd_message());
            free(path);
        } else {
            *folder = path;
            *step = steps[i];
        }
    }
    free(steps);
    if (!status && count && !*folder)
        status = kd_fail(KD_EFORMAT, "%s: none of its %lld checkpoints can be used", output, (long long)count);
    return status;
}

kd_status kd_checkpoint_prune(const char *output, int64_t step, int64_t keep) {
    int64_t *steps, count;
    KD_TRY(list_steps(&steps, &count, output));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        if (steps[i] > step || keep-- > 0) continue;
        char *path = step_folder(output, steps[i]), *gone = NULL;
        if (path && asprintf(&gone, "%s.del", path) < 0) gone = NULL;
        status = path && gone ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
        if (!status) status = move(gone, path);
        if (!status) status = kd_remove_tree(gone);
        free(gone);
        free(path);
    }
    free(steps);
    return status;
}
