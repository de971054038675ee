/* CSV: what is taken, written again as fields, reads as the same records. */
#include "format/csv.h"
#include "format/text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_csv csv, again;
    kd_text text = {0};
    bool more = true;
    int64_t records = 0;
    kd_status status = KD_OK;
    kd_csv_init(&csv, (const char *)data, (int64_t)size, "x.csv");
    for (; !(status = kd_csv_next(&csv, &more)) && more; records++) {
        FUZZ_ASSERT(csv.fields > 0 && csv.first > 0 && csv.first <= (int64_t)size);
        for (int64_t i = 0; i < csv.fields; i++) {
            if (i) kd_text_put(&text, ",");
            if (*csv.field[i]) kd_text_field(&text, csv.field[i]);
            else kd_text_put(&text, "\"\"");  /* a record of one empty field is no empty line */
        }
        kd_text_put(&text, "\n");
    }
    if (status) {
        FUZZ_ASSERT(status == KD_EFORMAT);
        fuzz_refused("x.csv:");
        kd_csv_free(&csv);
        kd_text_free(&text);
        return 0;
    }
    kd_csv_free(&csv);
    kd_csv_init(&csv, (const char *)data, (int64_t)size, "x.csv");
    kd_csv_init(&again, text.data ? text.data : "", text.size, "again.csv");
    for (int64_t r = 0; r < records; r++) {
        FUZZ_ASSERT(!kd_csv_next(&csv, &more) && more);
        FUZZ_ASSERT(!kd_csv_next(&again, &more) && more && again.fields == csv.fields);
        for (int64_t i = 0; i < csv.fields; i++) FUZZ_ASSERT(!strcmp(csv.field[i], again.field[i]));
    }
    FUZZ_ASSERT(!kd_csv_next(&again, &more) && !more);
    kd_csv_free(&csv);
    kd_csv_free(&again);
    kd_text_free(&text);
    return 0;
}
