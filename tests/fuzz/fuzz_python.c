/* Literals of Python files: what is taken is JSON, and written as a Python literal reads as the same. */
#include "eval/ruler_wording.h"
#include "fuzz.h"

/* Strings with all that could be mistaken escaped. */
static void write_string(kd_text *out, const json_t *value) {
    kd_text_put(out, "\"");
    for (const char *c = json_string_value(value); *c; c++) {
        if (*c == '\\' || *c == '"') kd_text_put(out, "\\");
        if (*c == '\n') kd_text_put(out, "\\n");
        else kd_text_add(out, c, 1);
    }
    kd_text_put(out, "\"");
}

static void write_value(kd_text *out, const json_t *value) {
    const char *key;
    json_t *member;
    if (json_is_integer(value)) kd_text_print(out, "%lld", (long long)json_integer_value(value));
    if (json_is_string(value)) write_string(out, value);
    if (!json_is_object(value)) return;
    kd_text_put(out, "{");
    json_object_foreach((json_t *)value, key, member) {
        json_t *name = json_string(key);
        write_string(out, name);
        json_decref(name);
        kd_text_put(out, ": ");
        write_value(out, member);
        kd_text_put(out, ",\n");
    }
    kd_text_put(out, "}");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value, *again;
    kd_text text = {0};
    kd_status status = kd_python_literal_parse(&value, (const char *)data, (int64_t)size, "x.py", "a");
    if (status) {
        FUZZ_ASSERT(status == KD_EFORMAT && !value);
        fuzz_refused("x.py:");
        return 0;
    }
    kd_text_put(&text, "b = 'a = 1'\n\na = ");
    write_value(&text, value);
    FUZZ_ASSERT(!kd_python_literal_parse(&again, text.data, text.size, "again.py", "a") && json_equal(value, again));
    json_decref(value);
    json_decref(again);
    kd_text_free(&text);
    return 0;
}
