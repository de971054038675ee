/* The figures. One walk over documents and segments, which both come in document order. */
#include "data/pack_report.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *const kd_loss_names[KD_LOSSES] = {"too_short", "thinned", "over_share", "no_share", "short_rests", "truncated", "dropped"};
const char *const kd_loss_words[KD_LOSSES] = {
    "too short", "thinned by upsampling", "over the source's share", "source without a share", "short rests", "truncated",
    "last, partial window",
};
const char *const kd_token_kind_names[KD_TOKEN_KINDS] = {"anchor", "bos", "tag", "text", "eos"};

int64_t kd_length_from(int64_t bin) { return bin ? (int64_t)256 << bin : 0; }

int64_t kd_length_bin(int64_t tokens) {
    int64_t bin = 0;
    while (bin + 1 < KD_LENGTHS && tokens >= kd_length_from(bin + 1)) bin++;
    return bin;
}

double kd_share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : 0; }

double kd_report_speed_up(const kd_windows_report *w, kd_mask mask) {
    return w->pairs[mask] > 0 ? w->pairs[KD_MASK_FULL] / w->pairs[mask] : 1;
}

const char *kd_source_title(const kd_source_report *source) { return *source->name ? source->name : KD_NO_SOURCE; }

/* ---- one document's share of a window ---------------------------------------------------------------------- */

/* The walk over windows: where the next segment stands. */
typedef struct walk {
    const kd_windows *windows;
    kd_windows_report *out;
    int64_t window, segment;     /* the window being read, and the next segment */
    int64_t place;               /* tokens before it in the window */
    double seen[3];              /* tokens seen by tokens of text, summed */
} walk;

/* 1 + 2 + ... + n. */
static double triangle(int64_t n) { return (double)n * ((double)n + 1) / 2; }

/* Tokens numbered from .. to-1 see that number plus `more`, summed. */
static double sum_seen(int64_t from, int64_t to, int64_t more) {
    return triangle(to - 1) - triangle(from - 1) + (double)(to - from) * (double)more;
}

/* The tokens of the segment at hand, by kind; returns how many there are. */
static int64_t count_kinds(int64_t kind[KD_TOKEN_KINDS], const walk *at, const kd_segment *s) {
    const kd_windows *w = at->windows;
    int64_t source = w->corpus->source[s->document], space = w->options.window - at->place;
    int64_t tag = w->tag_start[source + 1] - w->tag_start[source], bos = kd_windows_head(w, source) - tag;
    int64_t stored = w->corpus->start[s->document + 1] - w->corpus->start[s->document] - s->from;
    kind[KD_TOKEN_BOS] = bos;  /* a window that has room for nothing is closed */
    kind[KD_TOKEN_TAG] = tag < space - bos ? tag : space - bos;
    kind[KD_TOKEN_TEXT] = s->count < stored ? s->count : stored;
    kind[KD_TOKEN_EOS] = s->count - kind[KD_TOKEN_TEXT];
    return bos + kind[KD_TOKEN_TAG] + s->count;
}

static void begin_window(walk *at) {
    at->place = kd_windows_anchors(at->windows);
    at->out->kind[KD_TOKEN_ANCHOR] += at->place;
    for (int m = 0; m < 3; m++) at->out->pairs[m] += triangle(at->place);
}

static void end_window(walk *at) {
    const kd_windows *w = at->windows;
    int64_t shares = w->first[at->window + 1] - w->first[at->window];
    at->out->shares += shares;
    if (!at->window || shares < at->out->least) at->out->least = shares;
    if (shares > at->out->most) at->out->most = shares;
    at->window++;
    at->place = 0;
}

/* Adds the next segment; returns its tokens of text. */
static int64_t add_segment(walk *at) {
    const kd_segment *s = &at->windows->segment[at->segment++];
    kd_windows_report *out = at->out;
    int64_t kind[KD_TOKEN_KINDS] = {0};
    if (!at->place) begin_window(at);
    int64_t tokens = count_kinds(kind, at, s), head = kind[KD_TOKEN_BOS] + kind[KD_TOKEN_TAG];
    for (int k = 0; k < KD_TOKEN_KINDS; k++) out->kind[k] += kind[k];
    int64_t first = at->place > 0, text = kind[KD_TOKEN_TEXT];  /* the window's first token is another document's */
    out->pairs[KD_MASK_FULL] += triangle(at->place + tokens) - triangle(at->place);
    out->pairs[KD_MASK_DOCUMENT] += triangle(tokens);
    out->pairs[KD_MASK_ANCHOR] += triangle(tokens) + (double)(first * tokens);
    at->seen[KD_MASK_FULL] += sum_seen(at->place + head, at->place + head + text, 1);
    at->seen[KD_MASK_DOCUMENT] += sum_seen(head, head + text, 1);
    at->seen[KD_MASK_ANCHOR] += sum_seen(head, head + text, 1 + first);
    at->place += tokens;
    if (at->segment == at->windows->first[at->window + 1]) end_window(at);
    return text;
}

/* ---- documents --------------------------------------------------------------------------------------------- */

static void add(kd_amount *amount, int64_t tokens) {
    amount->documents++;
    amount->tokens += tokens;
}

/* Why what follows the last whole window of a document that was chosen is in none. `packed` tokens of it are. */
static kd_loss cause_of_rest(const kd_windows *w, int64_t packed, int64_t rest) {
    if (packed && w->options.truncate) return KD_LOSS_TRUNCATED;
    if (packed && rest + kd_windows_end_with_eos(w) < w->options.shortest) return KD_LOSS_SHORT_RESTS;
    return KD_LOSS_DROPPED;
}

static void add_chosen(kd_source_report *source, walk *at, int64_t document, int64_t length) {
    const kd_windows *w = at->windows;
    const int64_t segments = w->first[w->count], full = length + kd_windows_end_with_eos(w);
    int64_t packed = 0, shares = 0;
    bool cut = false;
    add(&source->chosen, length);
    add(&source->after[kd_length_bin(length)], length);
    while (at->segment < segments && w->segment[at->segment].document == document) {
        const kd_segment *s = &w->segment[at->segment];
        shares += s->count > 0;
        cut |= s->count > 0 && s->from + s->count < full;
        packed += add_segment(at);
    }
    if (packed) add(&source->packed, packed);
    if (packed < length) add(&source->lost[cause_of_rest(w, packed, length - packed)], length - packed);
    at->out->cut += cut;
    if (shares > at->out->widest) at->out->widest = shares;
}

static const kd_loss loss_of_fate[KD_FATES] = {
    [KD_FATE_TOO_SHORT] = KD_LOSS_TOO_SHORT,
    [KD_FATE_THINNED] = KD_LOSS_THINNED,
    [KD_FATE_OVER_SHARE] = KD_LOSS_OVER_SHARE,
    [KD_FATE_NO_SHARE] = KD_LOSS_NO_SHARE,
};

static void add_documents(kd_part_report *r, walk *at, const kd_corpus *c, const kd_choice *choice) {
    for (int64_t d = 0; d < c->documents; d++) {
        kd_source_report *source = &r->source[c->source[d]];
        int64_t length = c->start[d + 1] - c->start[d];
        kd_fate fate = choice ? choice->fate[d] : KD_FATE_KEPT;
        add(&source->there, length);
        add(&source->before[kd_length_bin(length)], length);
        if (fate == KD_FATE_KEPT) add_chosen(source, at, d, length);
        else add(&source->lost[loss_of_fate[fate]], length);
    }
    assert(at->segment == at->windows->first[at->windows->count]);
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

static void join(kd_amount *to, const kd_amount *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        to[i].documents += from[i].documents;
        to[i].tokens += from[i].tokens;
    }
}

static void sum_sources(kd_part_report *r) {
    r->all = (kd_source_report){.name = "all", .planned = -1};
    for (int64_t s = 0; s < r->sources; s++) {
        const kd_source_report *source = &r->source[s];
        if (source->planned >= 0) r->all.planned = 1;
        join(&r->all.there, &source->there, 1);
        join(&r->all.chosen, &source->chosen, 1);
        join(&r->all.packed, &source->packed, 1);
        join(r->all.lost, source->lost, KD_LOSSES);
        join(r->all.before, source->before, KD_LENGTHS);
        join(r->all.after, source->after, KD_LENGTHS);
    }
}

static int by_tokens(const void *left, const void *right) {
    const kd_source_report *a = left, *b = right;
    if (a->there.tokens != b->there.tokens) return a->there.tokens > b->there.tokens ? -1 : 1;
    return strcmp(a->name, b->name);
}

kd_status kd_part_report_init(kd_part_report *r, const char *name, const kd_corpus *c, const kd_choice *choice, const kd_windows *w) {
    *r = (kd_part_report){.name = name, .counts = c->counts, .sources = c->sources, .from = w};
    r->windows = (kd_windows_report){.count = w->count, .tokens = w->options.window};
    walk at = {.windows = w, .out = &r->windows};
    KD_TRY(kd_new(&r->source, c->sources, sizeof *r->source));
    for (int64_t s = 0; s < c->sources; s++) {
        r->source[s].name = c->source_name[s];
        r->source[s].planned = choice ? choice->source[s].planned : -1;
    }
    add_documents(r, &at, c, choice);
    for (int m = 0; m < 3; m++) {
        int64_t text = r->windows.kind[KD_TOKEN_TEXT];
        r->windows.visible[m] = text ? at.seen[m] / (double)text : 0;
    }
    sum_sources(r);
    qsort(r->source, (size_t)r->sources, sizeof *r->source, by_tokens);
    return KD_OK;
}

void kd_part_report_close(kd_part_report *r) {
    free(r->source);
    *r = (kd_part_report){0};
}

kd_status kd_pack_report_init(kd_pack_report *report, const kd_pack *pack) {
    *report = (kd_pack_report){0};
    for (kd_part part = 0; part < KD_PARTS; part++) {
        const kd_dataset *d = &pack->part[part];
        if (!d->corpus.documents) continue;
        kd_status status = kd_part_report_init(&report->part[report->parts], kd_part_names[part], &d->corpus,
                                               d->choice.fate ? &d->choice : NULL, &d->windows);
        if (status) {
            kd_pack_report_close(report);
            return status;
        }
        report->parts++;
    }
    return KD_OK;
}

void kd_pack_report_close(kd_pack_report *report) {
    for (int64_t p = 0; p < report->parts; p++) kd_part_report_close(&report->part[p]);
    report->parts = 0;
}
