/* JSON lines: a line that is taken is JSON to the reader of trees too, with the same text. */
#include "format/json.h"
#include "format/jsonl.h"
#include "fuzz.h"

/* Line number `wanted` of the data. */
static const char *line_of(int64_t *size, const uint8_t *data, size_t total, int64_t wanted) {
    const char *line = (const char *)data, *end = line + total;
    for (;; wanted--) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        *size = (newline ? newline : end) - line;
        if (wanted == 1) return line;
        line = newline + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_reader *reader;
    kd_document document;
    bool more = true;
    int64_t last = 0, length;
    FUZZ_ASSERT(!kd_reader_open(&reader, fuzz_file("x.jsonl", data, size)));
    while (more) {
        kd_status status = kd_reader_next(reader, &document, &more);
        if (status) {
            FUZZ_ASSERT(status == KD_EFORMAT);
            fuzz_refused("x.jsonl:");
            more = true;
            continue;
        }
        if (!more) break;
        FUZZ_ASSERT(document.line > last && kd_utf8_invalid(document.text, document.size) < 0);
        last = document.line;
        const char *line = line_of(&length, data, size, last);
        json_t *root;
        if (kd_json_parse(&root, line, length, "line")) {  /* it knows more reasons to refuse: ranges, U+0000 in a key */
            FUZZ_ASSERT(strstr(kd_message(), "beyond") || strstr(kd_message(), "U+0000 in a key"));
            continue;
        }
        const json_t *text = json_object_get(root, "text");
        FUZZ_ASSERT(json_string_length(text) == (size_t)document.size);
        FUZZ_ASSERT(!memcmp(json_string_value(text), document.text, (size_t)document.size));
        json_decref(root);
    }
    kd_reader_close(reader);
    return 0;
}
