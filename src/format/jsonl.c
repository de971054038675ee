/* Lines out of a growing buffer: as much memory as the longest line takes, whatever the file. */
#include "jsonl.h"

#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "megatron.h"
#include "record.h"

#define READ ((int64_t)256 << 10)  /* bytes asked for at once */
#define LIMIT ((int64_t)1 << 30)   /* bytes of the longest line or plain file */

struct kd_reader {
    char *path;
    kd_input *input;
    bool lines;               /* JSON lines; otherwise the file is one document */
    kd_megatron *megatron;    /* NULL: neither this */
    char *name;               /* the source of its documents */
    char suffix[32];          /* the source of a plain file */
    char *buffer;             /* [room], and one byte for a NUL */
    int64_t room;
    int64_t begin, end;       /* what is read and not given out */
    int64_t line;             /* the last one given out */
    bool at_end;              /* the input has no more */
    bool given;               /* the one document of a plain file */
    kd_record record;         /* the line given out last, */
    int64_t span;             /* and which of its documents comes next */
    kd_record_memory memory;
};

static bool ends_with(const char *text, size_t size, const char *suffix) {
    size_t tail = strlen(suffix);
    return size >= tail && memcmp(text + size - tail, suffix, tail) == 0;
}

/* What the name says: JSON lines or one document, and that document's source. */
static void judge_name(kd_reader *reader, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t size = strlen(name);
    if (ends_with(name, size, ".zst")) size -= 4;
    reader->lines = ends_with(name, size, ".jsonl") || ends_with(name, size, ".json");
    size_t dot = size;
    while (dot > 0 && name[dot - 1] != '.') dot--;
    if (dot > 1 && size - dot < sizeof reader->suffix) memcpy(reader->suffix, name + dot, size - dot);
}

static kd_status open_megatron(kd_reader *reader, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    reader->name = strndup(name, strlen(name) - 4);
    if (!reader->name) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    return kd_megatron_open(&reader->megatron, path);
}

kd_status kd_reader_open(kd_reader **out, const char *path) {
    kd_reader *reader;
    *out = NULL;
    KD_TRY(kd_new(&reader, 1, sizeof *reader));
    kd_status status = KD_OK;
    if (kd_megatron_named(path)) {
        KD_GO(open_megatron(reader, path));
        *out = reader;
        return KD_OK;
    }
    judge_name(reader, path);
    reader->path = strdup(path);
    if (!reader->path) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    reader->room = 2 * READ;
    KD_GO(kd_new(&reader->buffer, reader->room + 1, 1));
    KD_GO(kd_input_open(&reader->input, path));
    *out = reader;
done:
    if (status) kd_reader_close(reader);
    return status;
}

int64_t kd_reader_at(const kd_reader *reader) { return reader->input ? kd_input_at(reader->input) : 0; }

void kd_reader_close(kd_reader *reader) {
    if (!reader) return;
    kd_input_close(reader->input);
    kd_megatron_close(reader->megatron);
    free(reader->name);
    free(reader->buffer);
    kd_record_memory_free(&reader->memory);
    free(reader->path);
    free(reader);
}

/* More bytes behind reader->end; at_end when there are none. Moves what is pending to the front. */
static kd_status fill(kd_reader *reader) {
    int64_t pending = reader->end - reader->begin, got;
    if (reader->begin > 0) memmove(reader->buffer, reader->buffer + reader->begin, (size_t)pending);
    reader->begin = 0;
    reader->end = pending;
    if (pending >= LIMIT)
        return kd_fail(KD_EFORMAT, "%s:%lld: longer than 1 GiB", reader->path, (long long)reader->line + 1);
    if (reader->room - pending < READ) {
        int64_t room = 2 * reader->room;
        char *larger = realloc(reader->buffer, (size_t)room + 1);
        if (!larger) return kd_fail(KD_ENOMEM, "%s: out of memory: %lld bytes", reader->path, (long long)room + 1);
        reader->buffer = larger;
        reader->room = room;
    }
    KD_TRY(kd_input_read(reader->buffer + reader->end, &got, reader->input, reader->room - reader->end));
    reader->end += got;
    reader->at_end = got == 0;
    return KD_OK;
}

/* The next line without its newline, or *line = NULL at the end. Valid until the next call. */
static kd_status next_line(kd_reader *reader, char **line, int64_t *size) {
    *line = NULL;
    *size = 0;
    for (int64_t seen = 0;;) {
        int64_t pending = reader->end - reader->begin;
        char *first = reader->buffer + reader->begin;
        char *newline = pending > seen ? memchr(first + seen, '\n', (size_t)(pending - seen)) : NULL;
        if (!newline && !reader->at_end) {
            seen = pending;
            KD_TRY(fill(reader));
            continue;
        }
        if (pending == 0) return KD_OK;
        *line = first;
        *size = newline ? newline - first : pending;
        reader->begin += *size + (newline != NULL);
        reader->line++;
        return KD_OK;
    }
}

static bool is_blank(const char *line, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

static bool has_mark(const char *text, int64_t size) { return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0; }

/* The record's documents of ids, one a call. */
static bool next_span(kd_reader *reader, kd_document *document) {
    const kd_record *r = &reader->record;
    if (reader->span >= r->spans) return false;
    const kd_record_span *span = &r->span[reader->span];
    *document = (kd_document){
        .source = span->source,
        .line = reader->line,
        .id = r->id + span->start,
        .ids = span->end - span->start,
        .loss = r->loss ? r->loss + span->start : NULL,
        .row_first = r->row && reader->span == 0,
        .next = reader->span == r->spans - 1 ? r->next : -1,
    };
    reader->span++;
    return true;
}

static kd_status read_record(bool *more, kd_reader *reader) {
    char *line;
    int64_t size;
    *more = false;
    reader->record = (kd_record){0};
    reader->span = 0;
    do {
        KD_TRY(next_line(reader, &line, &size));
        if (!line) return KD_OK;
    } while (is_blank(line, size));
    if (reader->line == 1 && has_mark(line, size))
        return kd_fail(KD_EFORMAT, "%s:1: begins with a byte order mark", reader->path);
    int64_t bad = kd_utf8_invalid(line, size);
    if (bad >= 0)
        return kd_fail(KD_EFORMAT, "%s:%lld: byte %lld: not valid UTF-8", reader->path, (long long)reader->line,
                       (long long)bad + 1);
    kd_record record;
    kd_status status = kd_record_parse(&record, line, size, &reader->memory);
    if (status) return kd_fail_prefix(status, "%s:%lld", reader->path, (long long)reader->line);
    reader->record = record;
    *more = true;
    return KD_OK;
}

static kd_status next_record(kd_reader *reader, kd_document *document, bool *more) {
    while (!next_span(reader, document)) {  /* a row may have no document */
        KD_TRY(read_record(more, reader));
        if (!*more) return KD_OK;
        const kd_record *r = &reader->record;
        if (!r->text) continue;
        *document = (kd_document){.text = r->text, .size = r->size, .source = r->source, .line = reader->line, .next = -1};
        return KD_OK;
    }
    *more = true;
    return KD_OK;
}

static kd_status next_file(kd_reader *reader, kd_document *document, bool *more) {
    if (reader->given) return KD_OK;
    while (!reader->at_end) KD_TRY(fill(reader));
    reader->given = true;
    int64_t size = reader->end - reader->begin, bad = kd_utf8_invalid(reader->buffer, size);
    if (has_mark(reader->buffer, size)) return kd_fail(KD_EFORMAT, "%s: begins with a byte order mark", reader->path);
    if (bad >= 0) return kd_fail(KD_EFORMAT, "%s: byte %lld: not valid UTF-8", reader->path, (long long)bad);
    reader->buffer[size] = 0;
    *document = (kd_document){.text = reader->buffer, .size = size, .source = reader->suffix, .line = 1, .next = -1};
    *more = true;
    return KD_OK;
}

static kd_status next_megatron(kd_reader *reader, kd_document *document, bool *more) {
    document->line = ++reader->line;
    KD_TRY(kd_megatron_next(&document->id, &document->ids, more, reader->megatron));
    document->source = reader->name;
    if (*more) document->text = NULL;
    return KD_OK;
}

kd_status kd_reader_next(kd_reader *reader, kd_document *document, bool *more) {
    *document = (kd_document){.text = "", .source = "", .next = -1};
    *more = false;
    if (reader->megatron) return next_megatron(reader, document, more);
    return reader->lines ? next_record(reader, document, more) : next_file(reader, document, more);
}
