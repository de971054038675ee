#include "csv.h"

#include <stdlib.h>
#include <string.h>

#include "jsonl.h"

void kd_csv_init(kd_csv *csv, const char *text, int64_t size, const char *name) {
    *csv = (kd_csv){.name = name, .at = text, .end = text + size};
}

void kd_csv_free(kd_csv *csv) {
    free(csv->text);
    free(csv->field);
    free(csv->start);
    *csv = (kd_csv){0};
}

static kd_status fail(const kd_csv *csv, const char *what) {
    return kd_fail(KD_EFORMAT, "%s:%lld: %s", csv->name, (long long)csv->line + 1, what);
}

/* Whether a line ends at csv->at; *size of its end. */
static bool at_line_end(const kd_csv *csv, int64_t *size) {
    bool cr = *csv->at == '\r' && csv->at + 1 < csv->end && csv->at[1] == '\n';
    *size = 1 + cr;
    return cr || *csv->at == '\n';
}

/* One field to text, at *used. */
static kd_status read_field(kd_csv *csv, int64_t *used) {
    bool quoted = csv->at < csv->end && *csv->at == '"';
    int64_t size, opened = csv->line;
    if (quoted) csv->at++;
    for (;; csv->at++) {
        if (csv->at == csv->end) {
            if (!quoted) break;
            csv->line = opened;
            return fail(csv, "a quote is not closed");
        }
        if (quoted && *csv->at == '"') {
            csv->at++;
            if (csv->at == csv->end || *csv->at == ',' || at_line_end(csv, &size)) break;
            if (*csv->at != '"') return fail(csv, "something stands behind a closing quote");
        } else if (!quoted && (*csv->at == ',' || at_line_end(csv, &size))) {
            break;
        }
        if (!*csv->at) return fail(csv, "U+0000");
        csv->line += *csv->at == '\n';
        KD_TRY(kd_grow(&csv->text, &csv->text_room, *used + 2, 1));
        csv->text[(*used)++] = *csv->at;
    }
    KD_TRY(kd_grow(&csv->text, &csv->text_room, *used + 2, 1));
    csv->text[(*used)++] = 0;
    return KD_OK;
}

kd_status kd_csv_next(kd_csv *csv, bool *more) {
    int64_t used = 0, size;
    csv->fields = 0;
    while (csv->at < csv->end && at_line_end(csv, &size)) csv->at += size, csv->line++;
    *more = csv->at < csv->end;
    if (!*more) return KD_OK;
    csv->first = csv->line + 1;
    for (;;) {
        KD_TRY(kd_grow(&csv->start, &csv->start_room, csv->fields + 1, sizeof *csv->start));
        csv->start[csv->fields++] = used;
        KD_TRY(read_field(csv, &used));
        if (csv->at < csv->end && *csv->at == ',') {
            csv->at++;
            continue;
        }
        if (csv->at < csv->end && at_line_end(csv, &size)) csv->at += size, csv->line++;
        break;
    }
    KD_TRY(kd_grow(&csv->field, &csv->field_room, csv->fields, sizeof *csv->field));
    for (int64_t i = 0; i < csv->fields; i++) {
        csv->field[i] = csv->text + csv->start[i];
        if (kd_utf8_invalid(csv->field[i], (int64_t)strlen(csv->field[i])) >= 0)
            return kd_fail(KD_EFORMAT, "%s:%lld: not valid UTF-8", csv->name, (long long)csv->first);
    }
    return KD_OK;
}
