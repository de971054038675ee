/* JSON trees: what is read prints and reads again as the same, and jansson's own reader sees the same in it. */
#include "format/json.h"
#include "fuzz.h"

/* Where jansson differs on purpose: it takes deeper nesting, and calls -0 an integer. */
static bool differs(const uint8_t *data, size_t size) {
    int64_t depth = 0;
    for (size_t i = 0; i < size; i++) {
        depth += data[i] == '{' || data[i] == '[';
        if (data[i] == '-' && i + 1 < size && data[i + 1] == '0') return true;
    }
    return depth > 64 || (size && memchr(data, 0, size));  /* it overlooks a NUL behind a number */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *root, *back;
    kd_status status = kd_json_parse(&root, (const char *)data, (int64_t)size, "x.json");
    json_t *other = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    FUZZ_ASSERT(!status || status == KD_EFORMAT);
    FUZZ_ASSERT(differs(data, size) || (status ? !other : json_equal(root, other)));
    json_decref(other);
    if (status) {
        FUZZ_ASSERT(!root);
        fuzz_refused("x.json:");
        return 0;
    }
    char *text;
    FUZZ_ASSERT(!kd_json_print(&text, root, JSON_COMPACT, "x.json"));
    FUZZ_ASSERT(!kd_json_parse(&back, text, (int64_t)strlen(text), "y.json"));
    FUZZ_ASSERT(json_equal(root, back));
    json_decref(back);
    json_decref(root);
    free(text);
    return 0;
}
