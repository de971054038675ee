/* Records that are tokenised already: lists of numbers, the spans of documents, and how they fit together. Two dialects:
 * Hugging Face's (labels as a list, or a loss mask) and packed rows (labels is the id behind the row, source is a list of
 * spans; source: FranxYao, Long-Context-Data-Engineering). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record_parse.h"

enum { IGNORED = -100, LARGEST = INT32_MAX - 1 };

static const struct list {
    const char *key;
    int64_t least, most;
    bool flags;            /* true, false, 0.0 and 1.0 are values too */
    const char *what;
} lists[KD_LISTS] = {
    [KD_LIST_IDS] = {"input_ids", 0, LARGEST, false, "an integer from 0 to 2147483646"},
    [KD_LIST_LABELS] = {"labels", 0, LARGEST, false, "-100 or an integer from 0 to 2147483646"},
    [KD_LIST_LOSS_MASK] = {"loss_mask", 0, 1, true, "0 or 1"},
    [KD_LIST_ATTENTION_MASK] = {"attention_mask", 0, 1, true, "0 or 1"},
};

/* Notes the first thing that is wrong. */
__attribute__((format(printf, 3, 4))) static void note(kd_record_parser *p, const char *at, const char *format, ...) {
    va_list values;
    if (*p->odd) return;
    int used = snprintf(p->odd, sizeof p->odd, "byte %lld: ", (long long)(at - p->line) + 1);
    va_start(values, format);
    vsnprintf(p->odd + used, sizeof p->odd - (size_t)used, format, values);
    va_end(values);
}

/* ---- numbers ----------------------------------------------------------------------------------------------- */

static bool is_number(char c) { return c == '-' || (c >= '0' && c <= '9'); }

/* The value of a number that is written whole and has at most ten digits. */
static bool whole_value(int64_t *value, const char *text, int64_t size, bool whole) {
    bool negative = *text == '-';
    if (!whole || size - negative > 10) return false;
    *value = 0;
    for (int64_t i = negative; i < size; i++) *value = 10 * *value + (text[i] - '0');
    if (negative) *value = -*value;
    return true;
}

/* 0.0, 1.00: what a mask of floats is written as. */
static bool flag_value(int64_t *value, const char *text, int64_t size) {
    *value = text[0] - '0';
    if (size < 3 || text[1] != '.') return false;
    for (int64_t i = 2; i < size; i++)
        if (text[i] != '0') return false;
    return true;
}

static bool in_range(const struct list *list, int64_t value) {
    return (value >= list->least && value <= list->most) || (list == &lists[KD_LIST_LABELS] && value == IGNORED);
}

static kd_status read_element(kd_record_parser *p, kd_list which, int depth) {
    const struct list *list = &lists[which];
    kd_ids *ids = &p->memory->list[which];
    const char *first = p->text.at;
    int64_t value = 0;
    bool whole, right = false;
    if (is_number(*first)) {
        if (!kd_scan_number(&whole, &p->text)) return kd_record_fail_scan(p);
        int64_t size = p->text.at - first;
        right = whole_value(&value, first, size, whole) || (list->flags && flag_value(&value, first, size));
        right = right && in_range(list, value);
        if (!right)
            note(p, first, "%s[%lld] is %.*s, not %s", list->key, (long long)ids->count, size > 24 ? 24 : (int)size, first,
                 list->what);
    } else if (list->flags && (kd_scan_name(&p->text, "true") || kd_scan_name(&p->text, "false"))) {
        value = *first == 't';
    } else {
        note(p, first, "%s[%lld] is not %s", list->key, (long long)ids->count, list->what);
        KD_TRY(kd_record_value(p, KD_ELSEWHERE, depth));
    }
    KD_TRY(kd_ids_reserve(ids, 1));
    ids->id[ids->count++] = (int32_t)value;
    return KD_OK;
}

/* The id that follows a row. */
static kd_status read_next(kd_record_parser *p) {
    const char *first = p->text.at;
    int64_t value;
    bool whole;
    if (!kd_scan_number(&whole, &p->text)) return kd_record_fail_scan(p);
    int64_t size = p->text.at - first;
    p->record->row = true;
    if (whole_value(&value, first, size, whole) && value >= 0 && value <= LARGEST) p->record->next = (int32_t)value;
    else note(p, first, "labels is %.*s, not %s", size > 24 ? 24 : (int)size, first, lists[KD_LIST_IDS].what);
    return KD_OK;
}

static kd_status read_list(kd_record_parser *p, kd_list which, int depth) {
    p->memory->list[which].count = 0;
    if (which == KD_LIST_LABELS && is_number(*p->text.at)) return read_next(p);
    p->has[which] = true;
    if (*p->text.at != '[') {
        note(p, p->text.at, "%s is not an array", lists[which].key);
        return kd_record_value(p, KD_ELSEWHERE, depth);
    }
    p->text.at++;
    if (kd_scan_take(&p->text, ']')) return KD_OK;
    do {
        kd_scan_space(&p->text);
        KD_TRY(read_element(p, which, depth + 1));
    } while (kd_scan_take(&p->text, ','));
    return kd_scan_take(&p->text, ']') ? KD_OK : kd_record_fail_expected(p, "a comma or ]");
}

/* ---- spans ------------------------------------------------------------------------------------------------- */

static kd_status read_span(kd_record_parser *p, int depth) {
    kd_record *r = p->record;
    const char *first = p->text.at;
    KD_TRY(kd_grow(&p->memory->span, &p->memory->span_room, r->spans + 1, sizeof *p->memory->span));
    kd_record_span *span = &p->memory->span[r->spans];
    *span = (kd_record_span){.start = -1, .end = -1};
    if (*first != '{') note(p, first, "source[%lld] is not an object", (long long)r->spans);
    KD_TRY(kd_record_value(p, KD_IN_SPAN, depth));
    if (!span->source || span->start < 0 || span->end < 0)
        note(p, first, "source[%lld] has no %s", (long long)r->spans,
             !span->source ? "string \"source\"" : span->start < 0 ? "\"start\" of at least 0" : "\"end\" of at least 0");
    r->spans++;
    return KD_OK;
}

static kd_status read_spans(kd_record_parser *p, int depth) {
    p->record->spans = 0;
    if (*p->text.at != '[') {
        const char *first = p->text.at;
        KD_TRY(kd_record_name(&p->name, p, depth));
        if (!p->name) note(p, first, "source is neither an array nor a string without U+0000");
        return KD_OK;
    }
    p->has_spans = p->record->row = true;
    p->text.at++;
    if (kd_scan_take(&p->text, ']')) return KD_OK;
    do {
        kd_scan_space(&p->text);
        KD_TRY(read_span(p, depth + 1));
    } while (kd_scan_take(&p->text, ','));
    return kd_scan_take(&p->text, ']') ? KD_OK : kd_record_fail_expected(p, "a comma or ]");
}

/* A value that is no place stays -1, which read_span names. */
kd_status kd_record_span_member(bool *known, kd_record_parser *p, const char *key, int64_t size, int depth) {
    kd_record_span *span = &p->memory->span[p->record->spans];
    const char *first = p->text.at;
    bool start = kd_key_is(key, size, "start"), whole;
    int64_t value;
    *known = true;
    if (kd_key_is(key, size, "source")) return kd_record_name(&span->source, p, depth);
    if ((!start && !kd_key_is(key, size, "end")) || !is_number(*first)) {
        *known = false;
        return KD_OK;
    }
    if (!kd_scan_number(&whole, &p->text)) return kd_record_fail_scan(p);
    if (whole_value(&value, first, p->text.at - first, whole)) *(start ? &span->start : &span->end) = value;
    return KD_OK;
}

kd_status kd_record_ids_member(bool *known, kd_record_parser *p, const char *key, int64_t size, int depth) {
    *known = true;
    for (kd_list i = 0; i < KD_LISTS; i++)
        if (kd_key_is(key, size, lists[i].key)) return read_list(p, i, depth);
    if (kd_key_is(key, size, "source")) return read_spans(p, depth);
    *known = false;
    return KD_OK;
}

/* ---- a whole record ---------------------------------------------------------------------------------------- */

static kd_status check_lists(const kd_record_parser *p) {
    const kd_ids *list = p->memory->list, *ids = &list[KD_LIST_IDS], *labels = &list[KD_LIST_LABELS];
    const kd_ids *attention = &list[KD_LIST_ATTENTION_MASK];
    if (p->has[KD_LIST_LABELS] && p->has[KD_LIST_LOSS_MASK])
        return kd_fail(KD_EFORMAT, "a list \"labels\" and \"loss_mask\": one of them is enough");
    for (int i = 0; i < KD_LISTS; i++)
        if (p->has[i] && list[i].count != ids->count)
            return kd_fail(KD_EFORMAT, "%s has %lld values, input_ids %lld", lists[i].key, (long long)list[i].count,
                           (long long)ids->count);
    for (int64_t i = 0; p->has[KD_LIST_LABELS] && i < ids->count; i++)
        if (labels->id[i] != IGNORED && labels->id[i] != ids->id[i])
            return kd_fail(KD_EFORMAT, "labels[%lld] is %d, input_ids[%lld] is %d: labels other than the tokens themselves "
                           "are not supported", (long long)i, (int)labels->id[i], (long long)i, (int)ids->id[i]);
    for (int64_t i = 0; p->has[KD_LIST_ATTENTION_MASK] && i < ids->count; i++)
        if (!attention->id[i])
            return kd_fail(KD_EFORMAT, "attention_mask[%lld] is 0: padding is not supported", (long long)i);
    return KD_OK;
}

/* Documents follow each other without gaps; one without a token is allowed, as an empty text is. */
static kd_status check_spans(const kd_record_parser *p) {
    int64_t at = 0, ids = p->memory->list[KD_LIST_IDS].count;
    for (int64_t i = 0; i < p->record->spans; i++) {
        const kd_record_span *span = &p->memory->span[i];
        if (span->start != at)
            return kd_fail(KD_EFORMAT, "source[%lld] starts at %lld, the one before it ends at %lld", (long long)i,
                           (long long)span->start, (long long)at);
        if (span->end < span->start)
            return kd_fail(KD_EFORMAT, "source[%lld] ends at %lld, before its start %lld", (long long)i,
                           (long long)span->end, (long long)span->start);
        if (span->end > ids)
            return kd_fail(KD_EFORMAT, "source[%lld] ends at %lld, input_ids has %lld values", (long long)i,
                           (long long)span->end, (long long)ids);
        at = span->end;
    }
    if (at != ids)
        return kd_fail(KD_EFORMAT, "input_ids has %lld values, source ends at %lld", (long long)ids, (long long)at);
    return KD_OK;
}

/* record->loss from whichever list says it; NULL if every token is a target. */
static kd_status set_loss(kd_record_parser *p) {
    const kd_ids *labels = &p->memory->list[KD_LIST_LABELS], *mask = &p->memory->list[KD_LIST_LOSS_MASK];
    int64_t count = p->record->ids, targets = 0;
    if (!p->has[KD_LIST_LABELS] && !p->has[KD_LIST_LOSS_MASK]) return KD_OK;
    if (p->memory->loss_room < count) {
        uint8_t *larger = realloc(p->memory->loss, (size_t)count);
        if (!larger) return kd_fail(KD_ENOMEM, "out of memory: %lld bytes of a loss mask", (long long)count);
        p->memory->loss = larger;
        p->memory->loss_room = count;
    }
    for (int64_t i = 0; i < count; i++) {
        p->memory->loss[i] = p->has[KD_LIST_LABELS] ? labels->id[i] != IGNORED : mask->id[i] != 0;
        targets += p->memory->loss[i];
    }
    if (targets < count) p->record->loss = p->memory->loss;
    return KD_OK;
}

kd_status kd_record_ids_finish(kd_record_parser *p) {
    kd_record *r = p->record;
    kd_ids *ids = &p->memory->list[KD_LIST_IDS];
    if (p->has_text) return kd_fail(KD_EFORMAT, "both \"text\" and \"input_ids\"");
    if (*p->odd) return kd_fail(KD_EFORMAT, "%s", p->odd);
    KD_TRY(check_lists(p));
    if (p->has_spans) KD_TRY(check_spans(p));
    KD_TRY(kd_ids_reserve(ids, 1));  /* so that a document without tokens has an address, too */
    KD_TRY(kd_grow(&p->memory->span, &p->memory->span_room, 0 + 1, sizeof *p->memory->span));
    r->id = ids->id;
    r->ids = ids->count;
    KD_TRY(set_loss(p));
    if (!*r->source && p->name) r->source = p->name;
    if (!p->has_spans) {
        p->memory->span[0] = (kd_record_span){r->source, 0, r->ids};
        r->spans = 1;
    }
    r->span = p->memory->span;
    return KD_OK;
}
