/* Cases that others' programs were run on: eval_vectors/, beside the folder that KEDGE_ASSETS names (../shared/assets). Include cmocka.h first. */
#ifndef KD_TEST_EVAL_VECTORS_H
#define KD_TEST_EVAL_VECTORS_H

#include "format/json.h"
#include "scratch.h"

/* An array or object of a file; the test is skipped where the file is not here. json_decref *file. */
static inline json_t *cases_of(json_t **file, const char *name, const char *array) {
    const char *assets = getenv("KEDGE_ASSETS");
    char path[4096];
    snprintf(path, sizeof path, "%s/../eval_vectors/%s.json", assets ? assets : "../shared/assets", name);
    *file = NULL;
    if (!kd_exists(path)) {
        print_message("skipped: %s is not here\n", path);
        skip();
    }
    assert_done(kd_json_load(file, path));
    json_t *cases = json_object_get(*file, array);
    assert_true(json_array_size(cases) + json_object_size(cases) > 0);
    return cases;
}

static inline const char *text_of(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    assert_non_null(text);
    return text;
}

static inline double number_of(const json_t *row, const char *key) {
    assert_true(json_is_number(json_object_get(row, key)));
    return json_number_value(json_object_get(row, key));
}

#endif
