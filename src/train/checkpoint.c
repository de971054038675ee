#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "format/json.h"

#define MANIFEST "manifest.json"

/* step-123 to 123; anything else, step-123.tmp included, to -1. */
static int64_t step_of(const char *name) {
    if (strncmp(name, "step-", 5) || !name[5] || strspn(name + 5, "0123456789") != strlen(name + 5)) return -1;
    return strtoll(name + 5, NULL, 10);
}

/* output/step-N, output/step-N.tmp, output/step-N.del: what a save works with. */
typedef struct places { char *final, *half, *gone; } places;

static char *step_place(const char *output, int64_t step, const char *suffix) {
    char name[40];
    snprintf(name, sizeof name, "step-%lld%s", (long long)step, suffix);
    return kd_path_join(output, name);
}

static void places_free(places *p) {
    free(p->final);
    free(p->half);
    free(p->gone);
}

static kd_status places_init(places *p, const char *output, int64_t step) {
    *p = (places){step_place(output, step, ""), step_place(output, step, ".tmp"), step_place(output, step, ".del")};
    if (p->final && p->half && p->gone) return KD_OK;
    places_free(p);
    return kd_fail(KD_ENOMEM, "out of memory");
}

/* ---- the manifest ------------------------------------------------------------------------------------------- */

/* Its last line is the hash of all bytes before that line, so no byte of it can change unseen. */
enum { SEAL = sizeof " \"xxh3\": \"0123456789abcdef\"\n}\n" - 1 };

static void seal(char line[SEAL + 1], const char *text, int64_t size) {
    snprintf(line, SEAL + 1, " \"xxh3\": \"%016llx\"\n}\n", (unsigned long long)kd_hash(text, size));
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
    json_t *files = json_object(), *manifest = json_pack("{s:s, s:I, s:o, s:s}", "kedge", KD_VERSION, "step",
                                                         (json_int_t)step, "files", files, "xxh3", "0123456789abcdef");
    char *text = NULL, *path = kd_path_join(folder, MANIFEST), line[SEAL + 1];
    kd_status status = manifest && path ? kd_list_folder(&names, folder) : kd_fail(KD_ENOMEM, "out of memory");
    for (int64_t i = 0; i < names.count && !status; i++) status = manifest_row(files, folder, names.path[i]);
    if (!status) status = kd_json_print(&text, manifest, JSON_INDENT(1) | JSON_SORT_KEYS, path);
    if (!status) {
        int64_t size = (int64_t)strlen(text) + 1;  /* with a line break in the place of the ending NUL */
        seal(line, text, size - SEAL);
        memcpy(text + size - SEAL, line, SEAL);
        status = kd_file_write(path, text, size);
    }
    kd_paths_free(&names);
    json_decref(manifest);
    free(text);
    free(path);
    return status;
}

static kd_status read_manifest(json_t **manifest, const char *path) {
    char *text, line[SEAL + 1];
    int64_t size;
    *manifest = NULL;
    KD_TRY(kd_file_read(&text, &size, path, 16 << 20));
    seal(line, text, size > SEAL ? size - SEAL : 0);
    kd_status status = size > SEAL && !memcmp(text + size - SEAL, line, SEAL)
                           ? kd_json_parse(manifest, text, size, path)
                           : kd_fail(KD_EFORMAT, "%s: its last line is not the hash of those before it", path);
    free(text);
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

/* A stranger beside a training state could be read in the place of what was saved: an index of other weights, a
 * tokenizer. Exported weights are the user's, who may add to them. */
static kd_status find_strangers(const char *folder, const json_t *files) {
    kd_paths names = {0};
    if (!json_object_get(files, "trainer_state.json")) return KD_OK;
    KD_TRY(kd_list_folder(&names, folder));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < names.count && !status; i++) {
        const char *name = names.path[i];
        if (name[0] != '.' && strcmp(name, MANIFEST) && !json_object_get(files, name))
            status = kd_fail(KD_EFORMAT, "%s/%s: not in the manifest", folder, name);
    }
    kd_paths_free(&names);
    return status;
}

kd_status kd_checkpoint_verify(const char *folder) {
    char *path = kd_path_join(folder, MANIFEST);
    json_t *manifest = NULL;
    kd_status status = path ? read_manifest(&manifest, path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) {
        json_t *files = json_object_get(manifest, "files"), *row;
        const char *name;
        if (!json_is_object(files) || !json_object_size(files)) status = kd_fail(KD_EFORMAT, "%s: it names no files", path);
        json_object_foreach(files, name, row) {
            if (!status) status = verify_file(folder, name, row);
        }
        if (!status) status = find_strangers(folder, files);
    }
    json_decref(manifest);
    free(path);
    return status;
}

/* ---- saving ------------------------------------------------------------------------------------------------- */

/* step-N.tmp and step-N.del with nothing but digits for N: names that only a save gives, in a folder that the run has
 * locked. What cannot be removed is in nobody's way but its own step's. */
static kd_status remove_leftovers(const char *output) {
    kd_paths names = {0};
    kd_status status = kd_list_folder(&names, output);
    for (int64_t i = 0; i < names.count && !status; i++) {
        char *name = names.path[i], *end = strrchr(name, '.');
        if (!end || (strcmp(end, ".tmp") && strcmp(end, ".del"))) continue;
        char *path = kd_path_join(output, name);
        *end = 0;
        if (!path) status = kd_fail(KD_ENOMEM, "out of memory");
        else if (step_of(name) >= 0 && kd_is_folder(path) && kd_remove_tree(path))
            kd_warn("left by a save that was interrupted, and cannot be removed: %s", kd_message());
        free(path);
    }
    kd_paths_free(&names);
    return status;
}

static kd_status move(const char *to, const char *from) {
    return rename(from, to) ? kd_fail_errno(KD_EIO, "%s: rename to %s", from, to) : KD_OK;
}

/* Cleaning up must not hide why it was needed. */
static void remove_quietly(const char *path) {
    char message[1024];
    snprintf(message, sizeof message, "%s", kd_message());
    kd_remove_tree(path);
    kd_message_set(message);
}

/* Whether final is whole and holds the same files as half, byte for byte. */
static bool same_folder(const char *final, const char *half) {
    char *a = kd_path_join(final, MANIFEST), *b = kd_path_join(half, MANIFEST);
    uint64_t ha, hb;
    int64_t sa, sb;
    bool same = a && b && kd_exists(a) && !kd_file_hash(&ha, &sa, a) && !kd_file_hash(&hb, &sb, b) && ha == hb &&
                sa == sb && !kd_checkpoint_verify(final);
    free(b);
    free(a);
    return same;
}

/* half becomes final; what stood there is final again if that fails. */
static kd_status replace(const places *p) {
    bool was = kd_exists(p->final);
    if (was) KD_TRY(move(p->gone, p->final));
    kd_status status = move(p->final, p->half);
    if (status && was) (void)rename(p->gone, p->final);
    return status;
}

kd_status kd_checkpoint_save(const char *output, int64_t step, kd_checkpoint_fill *fill, void *arg) {
    places p;
    bool made = false;
    kd_status status;
    KD_TRY(places_init(&p, output, step));
    KD_GO(kd_make_folders(output));
    KD_GO(remove_leftovers(output));
    if (mkdir(p.half, 0777)) KD_GO(kd_fail_errno(KD_EIO, "%s: cannot make folder", p.half));
    made = true;
    KD_GO(fill(arg, p.half));
    KD_GO(write_manifest(p.half, step));
    if (same_folder(p.final, p.half)) goto done;
    KD_GO(kd_sync_folder(p.half));
    KD_GO(replace(&p));
    made = false;
    KD_GO(kd_sync_folder(output));
done:
    if (made) remove_quietly(p.half);
    else if (kd_exists(p.gone)) remove_quietly(p.gone);
    places_free(&p);
    return status;
}

/* ---- finding ------------------------------------------------------------------------------------------------ */

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

kd_status kd_checkpoint_newest(char **folder, int64_t *step, const char *output) {
    int64_t *steps, count;
    *folder = NULL;
    KD_TRY(list_steps(&steps, &count, output));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < count && !*folder && !status; i++) {
        char *path = step_place(output, steps[i], "");
        kd_status whole = path ? kd_checkpoint_verify(path) : kd_fail(KD_ENOMEM, "out of memory");
        if (whole == KD_ENOMEM) {  /* says nothing about the checkpoint */
            status = whole;
        } else if (whole) {
            kd_warn("checkpoint %s is not used: %s", path, kd_message());
        } else {
            *folder = path;
            *step = steps[i];
        }
        if (!*folder) free(path);
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
        places p;
        status = places_init(&p, output, steps[i]);
        if (status) break;
        status = move(p.gone, p.final);
        if (!status) status = kd_remove_tree(p.gone);
        places_free(&p);
    }
    free(steps);
    return status;
}
