/* Packing. What looks odd here is so on purpose: it is theirs. */
#include "data/upstream.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

struct kd_upstream {
    kd_upstream_options options;
    kd_upstream_take *take;
    void *context;
    kd_upstream_counts counts;
    int64_t window;           /* ids that are packed: W, or W - 1 where the anchor comes later and is minded */
    int32_t *id;              /* [W + 3] a place for flex's anchor, then `count` ids of the row that is made */
    int64_t count;
    int64_t *end;             /* [room] a place for flex's anchor, then where the row's `ends` segments end */
    int64_t *number;          /* [room] */
    int64_t ends, room;
    int32_t *position, *document, *rotary;  /* [seq_length] */
    int64_t documents;        /* raw: of this batch */
    int64_t packed;           /* tokenized: packed rows that have begun, */
    bool open, full;          /* whether one is, and whether its window is full */
};

static bool is_flex(const kd_upstream *u) { return u->options.engine == KD_UPSTREAM_FLEX; }

kd_status kd_upstream_open(kd_upstream **out, const kd_upstream_options *o, kd_upstream_take *take, void *context) {
    kd_upstream *u;
    kd_status status;
    *out = NULL;
    if (o->seq_length < 1 || o->seq_length > INT32_MAX - 3)
        return kd_fail(KD_EARG, "upstream: a window of %lld tokens", (long long)o->seq_length);
    if (o->anchor < 0) return kd_fail(KD_EARG, "upstream: anchor %d: the tokenizer needs a BOS or an EOS", (int)o->anchor);
    if (o->batch < 1) return kd_fail(KD_EARG, "upstream: a batch of %lld documents", (long long)o->batch);
    KD_TRY(kd_new(&u, 1, sizeof *u));
    u->options = *o;
    u->take = take;
    u->context = context;
    u->window = o->seq_length + 1 - (is_flex(u) && o->mode == KD_UPSTREAM_TOKENIZED);
    u->room = 256;
    KD_GO(kd_new(&u->id, o->seq_length + 4, sizeof *u->id));
    KD_GO(kd_new(&u->end, u->room, sizeof *u->end));
    KD_GO(kd_new(&u->number, u->room, sizeof *u->number));
    KD_GO(kd_new(&u->position, o->seq_length, sizeof *u->position));
    KD_GO(kd_new(&u->document, o->seq_length, sizeof *u->document));
    KD_GO(kd_new(&u->rotary, o->seq_length, sizeof *u->rotary));
    *out = u;
done:
    if (status) kd_upstream_close(u);
    return status;
}

void kd_upstream_close(kd_upstream *u) {
    if (!u) return;
    free(u->id);
    free(u->end);
    free(u->number);
    free(u->position);
    free(u->document);
    free(u->rotary);
    free(u);
}

kd_upstream_counts kd_upstream_count(const kd_upstream *u) { return u->counts; }

/* ---- a row that is made ------------------------------------------------------------------------------------ */

static void append(kd_upstream *u, const int32_t *id, int64_t count) {
    memcpy(u->id + 1 + u->count, id, (size_t)count * sizeof *id);
    u->count += count;
}

/* Room for one more end, the anchor's and the last one of a row besides. */
static kd_status reserve_end(kd_upstream *u) {
    if (u->ends + 3 <= u->room) return KD_OK;
    int64_t room = 2 * u->room;
    int64_t *end = realloc(u->end, (size_t)room * sizeof *end);
    if (end) u->end = end;
    int64_t *number = end ? realloc(u->number, (size_t)room * sizeof *number) : NULL;
    if (!number) return kd_fail(KD_ENOMEM, "out of memory: %lld ends of documents in a row", (long long)room);
    u->number = number;
    u->room = room;
    return KD_OK;
}

/* A segment ends here. */
static kd_status mark(kd_upstream *u) {
    KD_TRY(reserve_end(u));
    u->end[1 + u->ends++] = u->count;
    return KD_OK;
}

static void clear(kd_upstream *u) { u->count = u->ends = 0; }

/* Ends at or behind the window's go. */
static void drop_ends(kd_upstream *u) {
    int64_t kept = 0;
    for (int64_t i = 0; i < u->ends; i++)
        if (u->end[1 + i] < u->window) u->end[1 + kept++] = u->end[1 + i];
    u->ends = kept;
}

/* What the training step reads out of the ends. A segment's number is looked up one place late: with flex, whose first end
 * is the anchor's, that is right, with flash it is not. */
static void derive(kd_upstream *u, const int64_t *end, int64_t ends) {
    int64_t T = u->options.seq_length;
    for (int64_t i = 0; i < T; i++) {
        u->position[i] = u->rotary[i] = (int32_t)i;
        u->document[i] = 0;
    }
    for (int64_t k = 0; k + 1 < ends; k++) {
        int64_t to = end[k + 1] < T ? end[k + 1] : T;
        for (int64_t i = end[k]; i < to; i++) {
            u->position[i] = (int32_t)(i - end[k]);
            u->document[i] = (int32_t)u->number[k];
        }
        if (!is_flex(u) && end[k] < T) u->rotary[end[k]] = 0;
    }
}

/* The window's ids as a row. */
static kd_status give(kd_upstream *u) {
    bool flex = is_flex(u);
    int32_t *id = u->id + !flex;
    int64_t *end = u->end + !flex, length = u->window + flex;
    for (int64_t i = 1; flex && i <= u->window; i++)
        if (u->id[i] == u->options.anchor)
            return kd_fail(KD_EFORMAT, "upstream: row %lld: token %lld is the anchor, id %d, inside a document: it stops at this",
                           (long long)u->counts.rows, (long long)i, (int)u->options.anchor);
    u->id[0] = u->options.anchor;
    u->end[0] = 1;
    for (int64_t i = 0; i < u->ends; i++) {
        u->number[i] = i + flex;
        u->end[1 + i] += flex;
    }
    derive(u, end, u->ends + flex);
    kd_upstream_row row = {
        .index = u->counts.rows++,
        .kept = length == u->options.seq_length + 1,
        .input = id,
        .target = id + 1,
        .eos = end,
        .doc = u->number,
        .eoses = u->ends + flex,
        .docs = u->ends,
        .position = u->position,
        .document = u->document,
        .rotary = u->rotary,
    };
    u->counts.kept += row.kept;
    return u->take(u->context, &row);
}

/* ---- raw documents ----------------------------------------------------------------------------------------- */

static kd_status give_raw(kd_upstream *u) {
    u->counts.overflow += u->count - u->window;
    drop_ends(u);
    if (u->ends) u->end[1 + u->ends++] = u->window;
    kd_status status = give(u);
    clear(u);
    return status;
}

static void drop_unfinished(kd_upstream *u) {
    u->counts.unfinished += u->count;
    u->documents = 0;
    clear(u);
}

static kd_status put_raw(kd_upstream *u, const int32_t *id, int64_t count) {
    if (u->documents == u->options.batch) drop_unfinished(u);
    u->documents++;
    if (count <= 2) {
        u->counts.skipped += count;
        return KD_OK;
    }
    while (count > 0) {
        int64_t space = u->window - u->count, chunk = count < space ? count : space;
        bool led = id[0] == u->options.anchor;
        if (!is_flex(u) && !led) append(u, &u->options.anchor, 1);
        bool strip = is_flex(u) && led;
        append(u, id + strip, chunk - strip);
        KD_TRY(mark(u));
        if (u->count >= u->window) KD_TRY(give_raw(u));
        id += chunk;
        count -= chunk;
    }
    return KD_OK;
}

/* ---- packed rows ------------------------------------------------------------------------------------------- */

static kd_status finish_row(kd_upstream *u) {
    if (!u->open) return KD_OK;
    u->open = false;
    if (u->count < u->window)
        return kd_fail(KD_EFORMAT, "upstream: packed row %lld: %lld ids for a window of %lld: it stops at rows that are not longer",
                       (long long)u->packed, (long long)u->count, (long long)u->window);
    drop_ends(u);
    u->end[1 + u->ends++] = u->window;
    return give(u);
}

static kd_status put_segment(kd_upstream *u, const int32_t *id, int64_t count) {
    if (count <= 2) {
        u->counts.skipped += count;
        return KD_OK;
    }
    bool led = id[0] == u->options.anchor, strip = is_flex(u) && led;
    int64_t lead = !is_flex(u) && !led, space = u->window - u->count;
    id += strip;
    count -= strip;
    int64_t taken = lead + count < space ? count : space - lead;
    if (space > 0) {
        if (lead) append(u, &u->options.anchor, 1);
        append(u, id, taken);
        KD_TRY(mark(u));
    } else {
        taken = 0;
    }
    u->full = space < lead + count;
    u->counts.cut += count - taken;
    return KD_OK;
}

kd_status kd_upstream_put(kd_upstream *u, const int32_t *id, int64_t count, bool row_first) {
    if (u->options.mode == KD_UPSTREAM_RAW) return put_raw(u, id, count);
    kd_status status = KD_OK;
    if (row_first || !u->open) {
        status = finish_row(u);
        clear(u);
        u->packed++;
        u->open = true;
        u->full = false;
    }
    if (u->full) {
        u->counts.cut += count;
        return status;
    }
    kd_status put = put_segment(u, id, count);
    return status ? status : put;
}

kd_status kd_upstream_finish(kd_upstream *u) {
    if (u->options.mode == KD_UPSTREAM_RAW) {
        drop_unfinished(u);
        return KD_OK;
    }
    kd_status status = finish_row(u);
    clear(u);
    return status;
}
