/* JSON lines: a line that is taken is JSON to the reader of trees too, with the same text, or the same ids. */
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

static void check_text(const json_t *root, const kd_document *document) {
    const json_t *text = json_object_get(root, "text");
    FUZZ_ASSERT(kd_utf8_invalid(document->text, document->size) < 0 && !document->id && document->next == -1);
    FUZZ_ASSERT(json_string_length(text) == (size_t)document->size);
    FUZZ_ASSERT(!memcmp(json_string_value(text), document->text, (size_t)document->size));
}

/* The document is the line's ids from `at` on. */
static void check_ids(const json_t *root, const kd_document *document, int64_t at) {
    const json_t *ids = json_object_get(root, "input_ids"), *labels = json_object_get(root, "labels");
    const json_t *mask = json_object_get(root, "loss_mask");
    FUZZ_ASSERT(document->id && !json_object_get(root, "text"));
    FUZZ_ASSERT(at + document->ids <= (int64_t)json_array_size(ids));
    for (int64_t i = 0; i < document->ids; i++) {
        FUZZ_ASSERT(json_integer_value(json_array_get(ids, (size_t)(at + i))) == document->id[i] && document->id[i] >= 0);
        if (!document->loss) continue;
        const json_t *value = json_array_get(json_is_array(labels) ? labels : mask, (size_t)(at + i));
        bool target = json_is_array(labels) ? json_integer_value(value) >= 0 : json_is_true(value) || json_number_value(value) == 1;
        FUZZ_ASSERT(document->loss[i] == target);
    }
    FUZZ_ASSERT(document->next == -1 || json_integer_value(labels) == document->next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_reader *reader;
    kd_document document;
    bool more = true;
    int64_t last = 0, length, at = 0;  /* at: tokens of the line that have come */
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
        FUZZ_ASSERT(document.line > last || (document.line == last && document.id));
        if (document.line > last) at = 0;
        last = document.line;
        const char *line = line_of(&length, data, size, last);
        json_t *root;
        if (kd_json_parse(&root, line, length, "line")) {  /* it knows more reasons to refuse: ranges, U+0000 in a key */
            FUZZ_ASSERT(strstr(kd_message(), "beyond") || strstr(kd_message(), "U+0000 in a key"));
            continue;
        }
        if (document.text) check_text(root, &document);
        else check_ids(root, &document, at);
        at += document.ids;
        json_decref(root);
    }
    kd_reader_close(reader);
    return 0;
}
