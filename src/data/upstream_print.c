/* A row as text, in the spelling of Python's json. */
#include "data/upstream.h"

#include <stdio.h>

static void print_list(kd_text *text, const char *key, const int32_t *narrow, const int64_t *wide, int64_t count) {
    char item[32];
    kd_text_print(text, ", \"%s\": [", key);
    for (int64_t i = 0; i < count; i++) {
        int size = snprintf(item, sizeof item, i ? ", %lld" : "%lld", (long long)(narrow ? narrow[i] : wide[i]));
        kd_text_add(text, item, size);
    }
    kd_text_put(text, "]");
}

void kd_upstream_print(kd_text *text, const kd_upstream_options *o, const kd_upstream_row *row) {
    kd_text_print(text, "{\"engine\": \"%s\", \"mode\": \"%s\", \"seq_length\": %lld, \"row\": %lld, \"kept\": %s",
                  o->engine == KD_UPSTREAM_FLEX ? "flex" : "flash", o->mode == KD_UPSTREAM_RAW ? "raw_json" : "tokenized",
                  (long long)o->seq_length, (long long)row->index, row->kept ? "true" : "false");
    print_list(text, "input_ids", row->input, NULL, o->seq_length);
    print_list(text, "target_ids", row->target, NULL, o->seq_length);
    print_list(text, "source_eos", NULL, row->eos, row->eoses);
    print_list(text, "source_doc_ids", NULL, row->doc, row->docs);
    print_list(text, "position_ids", row->position, NULL, o->seq_length);
    print_list(text, "doc_ids", row->document, NULL, o->seq_length);
    print_list(text, "rotary_position_ids", row->rotary, NULL, o->seq_length);
    kd_text_put(text, "}\n");
}
