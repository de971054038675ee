#include "run_steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void kd_run_steps_free(kd_run_step *step, int64_t count) {
    for (int64_t i = 0; i < count; i++) free(step[i].folder);
    free(step);
}

static int by_step(const void *a, const void *b) {
    int64_t x = ((const kd_run_step *)a)->step, y = ((const kd_run_step *)b)->step;
    return x < y ? -1 : x > y;
}

/* Folders step-N. */
static kd_status find_in(kd_run_step **step, int64_t *count, const char *folder) {
    kd_paths names;
    kd_status status = KD_OK;
    *step = NULL;
    *count = 0;
    if (!kd_is_folder(folder)) return KD_OK;
    KD_TRY(kd_list_folder(&names, folder));
    KD_GO(kd_new(step, names.count + 1, sizeof **step));
    for (int64_t i = 0; i < names.count; i++) {
        const char *name = names.path[i];
        if (strncmp(name, "step-", 5) || !name[5] || name[5 + strspn(name + 5, "0123456789")]) continue;
        (*step)[*count] = (kd_run_step){atoll(name + 5), kd_path_join(folder, name), NAN};
        if (!(*step)[*count].folder) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
        ++*count;
    }
    qsort(*step, (size_t)*count, sizeof **step, by_step);
done:
    kd_paths_free(&names);
    return status;
}

kd_status kd_run_steps_find(kd_run_step **step, int64_t *count, const char *command, const char *run, int64_t last) {
    char *exports = kd_path_join(run, "export");
    kd_status status = exports ? find_in(step, count, exports) : kd_fail(KD_ENOMEM, "out of memory");
    free(exports);
    if (!status && !*count) {
        free(*step);
        status = find_in(step, count, run);
    }
    if (!status && !*count)
        status = kd_fail(KD_ECONFIG, "%s: --checkpoints %s: neither exports nor checkpoints are there", command, run);
    if (status) return status;
    int64_t more = last && *count > last ? *count - last : 0;
    for (int64_t i = 0; i < more; i++) free((*step)[i].folder);
    *count -= more;
    memmove(*step, *step + more, (size_t)*count * sizeof **step);
    return KD_OK;
}

kd_status kd_run_settings(json_t **out, const char *task, const char *run, int64_t last, const kd_subject *subject, json_t *own) {
    if (own && (json_object_set_new(own, "run", json_string(kd_name_of_path(run))) ||
                json_object_set_new(own, "last", json_integer(last)))) {
        json_decref(own);
        own = NULL;
    }
    KD_TRY(kd_eval_settings(out, task, subject, own));
    json_t *asked = json_object_get(*out, "subject");
    json_object_del(asked, "model");
    json_object_del(asked, "model_hash");
    return KD_OK;
}
