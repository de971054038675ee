/* Two batches: while one is encoded the other is read. What a batch holds does not depend on threads, and documents are
 * handed on in their order by the thread that called. */
#include "ingest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "format/jsonl.h"

#define BATCH_BYTES ((int64_t)4 << 20)
enum { BATCH_DOCUMENTS = 8192, SHOWN = 3 };

/* A document, or a bad line. */
typedef struct item {
    int64_t text, size;          /* its text in the batch; or */
    int64_t first, count;        /* its ids: in `given` where given_ids, else in what `thread` encoded */
    int64_t thread;
    int64_t source;              /* its source's name in the batch's text */
    kd_origin origin;
    int64_t read;
    bool given_ids, bad;
} item;

typedef struct batch {
    char *text;
    int64_t size, room;
    item *item;
    int64_t items, item_room;
    kd_ids given;
    uint8_t *loss;               /* [given.room] */
    int64_t loss_room;
} batch;

typedef struct ingest {
    const kd_paths *paths;
    const kd_ingest_options *options;
    kd_encoder **encoder;        /* [threads] */
    kd_ids *encoded;             /* [threads] of the batch that is encoded */
    int64_t threads;
    batch batch[2];
    int now;                     /* the batch that is encoded; the other one is read */
    kd_reader *reader;           /* of file `file`, or NULL: it is to be opened */
    int64_t file, read, line, part;
    int32_t follows;             /* what a packed row says comes next, if the last item may go on there; else -1 */
    int64_t bad_lines;           /* shown so far */
    char *last_bad;              /* what the reader said of the last bad line */
    kd_status status;            /* what ended reading, kept until everything before it is handed on */
    char *message;
    kd_ingest_counts counts;
} ingest;

/* ---- reading ----------------------------------------------------------------------------------------------- */

static kd_status put_text(int64_t *at, batch *b, const char *text, int64_t size) {
    KD_TRY(kd_grow(&b->text, &b->room, b->size + size + 1, 1));
    *at = b->size;
    memcpy(b->text + b->size, text, (size_t)size);
    b->text[b->size + size] = 0;
    b->size += size + 1;
    return KD_OK;
}

static kd_status new_item(item **out, ingest *in, batch *b) {
    KD_TRY(kd_grow(&b->item, &b->item_room, b->items + 1, sizeof *b->item));
    *out = &b->item[b->items++];
    **out = (item){.origin = {(int32_t)in->file, (int32_t)in->part, in->line}, .read = in->read};
    return KD_OK;
}

/* Ids as they are given, at the end of the batch's; the last item grows where they go on with it. */
static kd_status put_ids(ingest *in, batch *b, const kd_document *d) {
    const int32_t bos = in->options->tokenizer->bos;
    const int64_t vocabulary = in->options->tokenizer->vocabulary;
    int64_t skip = d->ids && bos >= 0 && d->id[0] == bos;
    item *last = b->items ? &b->item[b->items - 1] : NULL, *i = NULL;
    bool joined = d->row_first && in->follows >= 0 && bos >= 0 && !skip && d->ids && d->id[0] == in->follows && last &&
                  last->given_ids && !strcmp(b->text + last->source, d->source);
    for (int64_t k = 0; k < d->ids; k++)
        if (d->id[k] >= vocabulary)
            return kd_fail(KD_EFORMAT, "%s:%lld: input_ids has %d, the tokenizer has %lld ids", in->paths->path[in->file],
                           (long long)d->line, (int)d->id[k], (long long)vocabulary);
    if (joined) {
        i = last;
        i->read = in->read;
    } else {
        KD_TRY(new_item(&i, in, b));
        KD_TRY(put_text(&i->source, b, d->source, (int64_t)strlen(d->source)));
        i->given_ids = true;
        i->first = b->given.count;
    }
    int64_t count = d->ids - skip;
    KD_TRY(kd_ids_reserve(&b->given, count));
    KD_TRY(kd_grow(&b->loss, &b->loss_room, b->given.count + count, 1));
    memcpy(b->given.id + b->given.count, d->id + skip, (size_t)count * sizeof *d->id);
    if (d->loss) memcpy(b->loss + b->given.count, d->loss + skip, (size_t)count);
    else memset(b->loss + b->given.count, 1, (size_t)count);
    b->given.count += count;
    i->count += count;
    in->follows = d->next;
    return KD_OK;
}

static kd_status put_document(ingest *in, batch *b, const kd_document *d) {
    in->part = d->line == in->line ? in->part + 1 : 0;
    in->line = d->line;
    if (!d->text) return put_ids(in, b, d);
    item *i;
    in->follows = -1;
    KD_TRY(new_item(&i, in, b));
    KD_TRY(put_text(&i->text, b, d->text, d->size));
    i->size = d->size;
    return put_text(&i->source, b, d->source, (int64_t)strlen(d->source));
}

/* A line that may be left out: the reader stands behind it. A reader that says the same thing twice does not. */
static kd_status leave_out(ingest *in, batch *b, kd_status status) {
    if (status != KD_EFORMAT || !in->options->skip_bad_lines) return status;
    if (in->last_bad && !strcmp(in->last_bad, kd_message())) return status;
    free(in->last_bad);
    in->last_bad = strdup(kd_message());
    if (!in->last_bad) return kd_fail(KD_ENOMEM, "out of memory");
    if (++in->bad_lines <= SHOWN) kd_warn("left out: %s", kd_message());
    in->follows = -1;
    item *i;
    KD_TRY(new_item(&i, in, b));
    i->bad = true;
    return KD_OK;
}

/* The next document or bad line of the file that is open; *more false at its end. */
static kd_status read_one(ingest *in, batch *b, bool *more) {
    kd_document d;
    kd_status status = kd_reader_next(in->reader, &d, more);
    if (!status && !*more) return KD_OK;
    in->read++;
    if (!status) status = put_document(in, b, &d);
    if (status) status = leave_out(in, b, status);
    *more = true;
    return status;
}

/* What an earlier run has read of the file is read once more and forgotten. */
static kd_status skip_read(ingest *in, batch *b) {
    bool more = true;
    while (more && in->read < in->options->read) {
        KD_TRY(read_one(in, b, &more));
        b->items = b->size = b->given.count = 0;
    }
    if (!more) return kd_fail(KD_EFORMAT, "%s: has changed since it was read", in->paths->path[in->file]);
    in->follows = -1;
    return KD_OK;
}

static kd_status open_file(ingest *in, batch *b) {
    in->read = in->line = 0;
    KD_TRY(kd_reader_open(&in->reader, in->paths->path[in->file]));
    return in->file == in->options->file ? skip_read(in, b) : KD_OK;
}

static bool full(const batch *b) { return b->size + 4 * b->given.count >= BATCH_BYTES || b->items >= BATCH_DOCUMENTS; }

static kd_status fill_batch(ingest *in, batch *b) {
    while (!full(b) && in->file < in->paths->count) {
        bool more;
        if (!in->reader) KD_TRY(open_file(in, b));
        KD_TRY(read_one(in, b, &more));
        if (more) continue;
        kd_reader_close(in->reader);
        in->reader = NULL;
        in->follows = -1;
        in->file++;
    }
    return KD_OK;
}

/* A document that may go on with the next row is not handed on yet: it is the first of the next batch. */
static kd_status take_over(batch *b, batch *before) {
    const item *last = &before->item[before->items - 1];
    const char *source = before->text + last->source;
    KD_TRY(kd_grow(&b->item, &b->item_room, 1, sizeof *b->item));
    KD_TRY(kd_ids_reserve(&b->given, last->count));
    KD_TRY(kd_grow(&b->loss, &b->loss_room, last->count, 1));
    b->item[0] = *last;
    b->item[0].first = 0;
    KD_TRY(put_text(&b->item[0].source, b, source, (int64_t)strlen(source)));
    memcpy(b->given.id, before->given.id + last->first, (size_t)last->count * sizeof *b->given.id);
    memcpy(b->loss, before->loss + last->first, (size_t)last->count);
    b->given.count = last->count;
    b->items = 1;
    before->items--;
    return KD_OK;
}

/* Fills the batch that is not encoded now. A failure is kept: what was read before it is still to be handed on. */
static void read_ahead(ingest *in, batch *b, batch *before) {
    b->size = b->items = b->given.count = 0;
    if (in->status) return;
    if (in->follows >= 0) in->status = take_over(b, before);
    if (!in->status) in->status = fill_batch(in, b);
    if (in->status) in->message = strdup(kd_message());
}

/* ---- encoding, and handing on ------------------------------------------------------------------------------ */

static kd_status encode(ingest *in, batch *b, item *i, int64_t thread) {
    if (i->bad || i->given_ids) return KD_OK;
    kd_ids *ids = &in->encoded[thread];
    i->thread = thread;
    i->first = ids->count;
    KD_TRY(kd_encode(ids, in->encoder[thread], b->text + i->text, i->size,
                     in->options->parse_specials ? 0 : KD_ENCODE_SPECIALS_AS_TEXT));
    i->count = ids->count - i->first;
    return KD_OK;
}

/* Task 0 reads the next batch. */
static kd_status work(void *arg, int64_t task, int64_t thread) {
    ingest *in = arg;
    batch *b = &in->batch[in->now];
    if (task) return encode(in, b, &b->item[task - 1], thread);
    read_ahead(in, &in->batch[1 - in->now], b);
    return KD_OK;
}

static kd_status hand_on(ingest *in, const batch *b, kd_ingest_sink *sink, void *arg) {
    kd_ingest_counts *counts = &in->counts;
    for (int64_t k = 0; k < b->items; k++) {
        const item *i = &b->item[k];
        if (i->bad) counts->bad_lines++;
        else if (!i->count) counts->empty++;
        if (i->bad || !i->count) continue;
        counts->documents++;
        counts->bytes += i->given_ids ? 4 * i->count : i->size;
        const int32_t *id = (i->given_ids ? b->given.id : in->encoded[i->thread].id) + i->first;
        KD_TRY(sink(arg, &(kd_ingested){id, i->given_ids ? b->loss + i->first : NULL, i->count, b->text + i->source, i->origin,
                                        i->read, *counts}));
    }
    return KD_OK;
}

static kd_status open_ingest(ingest *in) {
    in->threads = kd_pool_threads(in->options->pool);
    KD_TRY(kd_new(&in->encoder, in->threads, sizeof *in->encoder));
    KD_TRY(kd_new(&in->encoded, in->threads, sizeof *in->encoded));
    for (int64_t t = 0; t < in->threads; t++) KD_TRY(kd_encoder_new(&in->encoder[t], in->options->tokenizer));
    return KD_OK;
}

static void close_ingest(ingest *in) {
    for (int64_t t = 0; in->encoder && t < in->threads; t++) kd_encoder_free(in->encoder[t]);
    for (int64_t t = 0; in->encoded && t < in->threads; t++) free(in->encoded[t].id);
    free(in->encoder);
    free(in->encoded);
    for (int k = 0; k < 2; k++) {
        batch *b = &in->batch[k];
        free(b->text);
        free(b->item);
        free(b->given.id);
        free(b->loss);
    }
    kd_reader_close(in->reader);
    free(in->last_bad);
    free(in->message);
}

/* Bytes of the first `files` files. One that cannot be looked at counts nothing: reading it will say why. */
static int64_t bytes_of(const kd_paths *paths, int64_t files) {
    int64_t bytes = 0;
    struct stat about;
    for (int64_t f = 0; f < files; f++)
        if (!stat(paths->path[f], &about)) bytes += about.st_size;
    return bytes;
}

/* Called while nothing is read. */
static void tell(const ingest *in, kd_ingest_progress *p, int64_t *known) {
    while (*known < in->file) {
        p->read += bytes_of(&(kd_paths){in->paths->path + *known, 1}, 1);
        ++*known;
    }
    kd_ingest_progress now = *p;
    now.file = in->file;
    now.read += in->reader ? kd_reader_at(in->reader) : 0;
    now.counts = in->counts;
    in->options->progress(in->options->progress_arg, &now);
}

kd_status kd_ingest(kd_ingest_counts *counts, const kd_paths *paths, const kd_ingest_options *options, kd_ingest_sink *sink,
                    void *arg) {
    ingest in = {.paths = paths, .options = options, .file = options->file, .follows = -1, .counts = options->counted};
    kd_ingest_progress progress = {.files = paths->count};
    int64_t known = 0;  /* files whose bytes are in progress.read */
    kd_status status;
    KD_GO(open_ingest(&in));
    if (options->progress) progress.bytes = bytes_of(paths, paths->count);
    read_ahead(&in, &in.batch[0], NULL);
    for (batch *b = &in.batch[0]; b->items; b = &in.batch[in.now]) {
        for (int64_t t = 0; t < in.threads; t++) in.encoded[t].count = 0;
        KD_GO(kd_pool_run(options->pool, work, &in, 1 + b->items));
        KD_GO(hand_on(&in, b, sink, arg));
        if (options->progress) tell(&in, &progress, &known);
        in.now = 1 - in.now;
    }
    if (options->progress && !in.status) tell(&in, &progress, &known);
    if (in.bad_lines > SHOWN) kd_warn("%lld bad lines were left out in all", (long long)in.bad_lines);
    status = in.status;
    if (status) kd_message_set(in.message ? in.message : "out of memory");
done:
    *counts = in.counts;
    close_ingest(&in);
    return status;
}
