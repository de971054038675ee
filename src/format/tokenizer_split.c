/* Pre-tokenizers: a text is cut step by step, and each piece goes through the steps behind before the next is looked for;
 * what comes out at the end are words. */
#include "tokenizer_model.h"

static kd_status run_step(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first);

/* ---- Split ------------------------------------------------------------------------------------------------- */

/* Matches and what lies between them, put together as the behavior says. */
typedef struct cutter {
    kd_encoder *encoder;
    int64_t step;
    const char *text;
    bool first;
    bool have, have_match;    /* a piece that may grow, and whether it is a match */
    int64_t begin, end;
} cutter;

static kd_status emit(const cutter *c, int64_t begin, int64_t end) {
    return begin < end ? run_step(c->encoder, c->step + 1, c->text + begin, end - begin, c->first && begin == 0) : KD_OK;
}

static kd_status flush(cutter *c) {
    bool have = c->have;
    c->have = false;
    return have ? emit(c, c->begin, c->end) : KD_OK;
}

static kd_status give(cutter *c, const kd_splitter *splitter, int64_t begin, int64_t end, bool match) {
    if (splitter->invert) match = !match;
    bool grows = false;
    switch (splitter->behavior) {
    case KD_SPLIT_ISOLATED: return emit(c, begin, end);
    case KD_SPLIT_REMOVED: return match ? KD_OK : emit(c, begin, end);
    case KD_SPLIT_CONTIGUOUS: grows = match == c->have_match; break;
    case KD_SPLIT_PREVIOUS: grows = match && !c->have_match; break;
    case KD_SPLIT_NEXT: grows = !match && c->have_match; break;
    }
    if (c->have && grows) {
        c->end = end;
    } else {
        KD_TRY(flush(c));
        c->begin = begin;
        c->end = end;
        c->have = true;
    }
    c->have_match = match;
    return KD_OK;
}

static kd_status run_pattern(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first) {
    const kd_splitter *splitter = &encoder->model->parts.splitter[step];
    cutter c = {.encoder = encoder, .step = step, .text = text, .first = first};
    kd_search search = {.text = text, .size = size};
    kd_match match;
    int64_t done = 0;
    for (;;) {
        KD_TRY(kd_finder_next(&match, &splitter->finder, &search, encoder));
        if (!match.found) break;
        if (done != match.begin) KD_TRY(give(&c, splitter, done, match.begin, false));
        KD_TRY(give(&c, splitter, match.begin, match.end, true));
        done = match.end;
    }
    if (done != size) KD_TRY(give(&c, splitter, done, size, false));
    return flush(&c);
}

/* Where every piece is a match of a known pattern and goes on alone. */
static kd_status run_scan(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first) {
    enum kd_scan_kind scan = encoder->model->parts.splitter[step].finder.scan;
    const char *end = text + size;
    bool words = step + 1 == encoder->model->parts.splitters;
    for (const char *p = text, *next; p < end; p = next) {
        next = kd_scan_word(encoder, scan, p, end);
        if (words) KD_TRY(kd_word_add(encoder, p, next - p));
        else KD_TRY(run_step(encoder, step + 1, p, next - p, first && p == text));
    }
    return KD_OK;
}

/* ---- Metaspace, ByteLevel ---------------------------------------------------------------------------------- */

static bool begins_with(const char *text, int64_t size, const char *with, int64_t with_size) {
    return size >= with_size && !memcmp(text, with, (size_t)with_size);
}

static kd_status run_metaspace(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first) {
    const kd_splitter *splitter = &encoder->model->parts.splitter[step];
    kd_text *to = &encoder->step[step];
    to->size = 0;
    to->failed = false;
    bool marked = *text == ' ' || begins_with(text, size, splitter->mark, splitter->size);
    if (!marked && (splitter->prepend == KD_PREPEND_ALWAYS || (splitter->prepend == KD_PREPEND_FIRST && first)))
        kd_text_add(to, splitter->mark, splitter->size);
    for (const char *end = text + size, *space; text < end; text = space + 1) {
        space = memchr(text, ' ', (size_t)(end - text));
        kd_text_add(to, text, (space ? space : end) - text);
        if (!space) break;
        kd_text_add(to, splitter->mark, splitter->size);
    }
    KD_TRY(kd_text_status(to));
    if (!splitter->cut) return run_step(encoder, step + 1, to->data, to->size, first);
    /* MergedWithNext: every mark begins a piece. */
    int64_t begin = 0;
    for (int64_t at = splitter->size; at < to->size; at++) {
        if (!begins_with(to->data + at, to->size - at, splitter->mark, splitter->size)) continue;
        if (at > begin) KD_TRY(run_step(encoder, step + 1, to->data + begin, at - begin, first && begin == 0));
        begin = at;
    }
    return run_step(encoder, step + 1, to->data + begin, to->size - begin, first && begin == 0);
}

static kd_status run_bytes(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first) {
    const kd_splitter *splitter = &encoder->model->parts.splitter[step];
    if (splitter->space && *text != ' ') {
        kd_text *to = &encoder->step[step];
        to->size = 0;
        to->failed = false;
        kd_text_add(to, " ", 1);
        kd_text_add(to, text, size);
        KD_TRY(kd_text_status(to));
        text = to->data;
        size = to->size;
    }
    if (!splitter->cut) return run_step(encoder, step + 1, text, size, first);
    return encoder->model->force_pattern ? run_pattern(encoder, step, text, size, first) : run_scan(encoder, step, text, size, first);
}

static kd_status run_step(kd_encoder *encoder, int64_t step, const char *text, int64_t size, bool first) {
    const kd_parts *parts = &encoder->model->parts;
    if (step == parts->splitters) return kd_word_add(encoder, text, size);
    const kd_splitter *splitter = &parts->splitter[step];
    switch (splitter->kind) {
    case KD_SPLIT_METASPACE: return run_metaspace(encoder, step, text, size, first);
    case KD_SPLIT_BYTES: return run_bytes(encoder, step, text, size, first);
    default: break;
    }
    /* The known patterns leave nothing between their matches. */
    bool scans = splitter->finder.scan && splitter->behavior == KD_SPLIT_ISOLATED && !encoder->model->force_pattern;
    return scans ? run_scan(encoder, step, text, size, first) : run_pattern(encoder, step, text, size, first);
}

kd_status kd_split(kd_encoder *encoder, const char *text, int64_t size, bool first) {
    return size ? run_step(encoder, 0, text, size, first) : KD_OK;
}
