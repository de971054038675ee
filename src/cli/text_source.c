#include "text_source.h"

#include <stdlib.h>
#include <string.h>

#define READ ((int64_t)256 << 10)  /* bytes asked for at once */
#define LIMIT ((int64_t)1 << 30)   /* bytes of the longest text */

static bool ends_with(const char *text, size_t size, const char *suffix) {
    size_t tail = strlen(suffix);
    return size >= tail && !memcmp(text + size - tail, suffix, tail);
}

kd_status kd_text_source_open(kd_text_source *source, const char *const *pattern, int64_t count, bool lines, bool plain) {
    static const char *const alone[] = {"-"};
    *source = (kd_text_source){.lines = lines, .plain = plain};
    kd_status status = KD_OK;
    if (!count) {
        pattern = alone;
        count = 1;
    }
    for (int64_t i = 0; i < count && !status; i++) status = kd_glob(&source->paths, strcmp(pattern[i], "-") ? pattern[i] : "/dev/stdin");
    if (status) kd_text_source_close(source);
    return status;
}

static void close_file(kd_text_source *source) {
    kd_reader_close(source->reader);
    kd_input_close(source->input);
    source->reader = NULL;
    source->input = NULL;
}

void kd_text_source_close(kd_text_source *source) {
    close_file(source);
    kd_paths_free(&source->paths);
    free(source->buffer);
    *source = (kd_text_source){0};
}

static kd_status open_next(kd_text_source *source) {
    const char *path = source->paths.path[source->next++], *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t size = strlen(name), dot;
    if (ends_with(name, size, ".zst")) size -= 4;
    if (!source->plain && (ends_with(name, size, ".jsonl") || ends_with(name, size, ".json"))) return kd_reader_open(&source->reader, path);
    for (dot = size; dot > 0 && name[dot - 1] != '.'; dot--) {}
    memset(source->suffix, 0, sizeof source->suffix);
    if (dot > 1 && size - dot < sizeof source->suffix) memcpy(source->suffix, name + dot, size - dot);
    source->begin = source->end = source->line = 0;
    source->at_end = false;
    return kd_input_open(&source->input, path);
}

/* More bytes behind end; what is pending moves to the front. */
static kd_status fill(kd_text_source *source, const char *path) {
    int64_t pending = source->end - source->begin, got;
    if (source->begin) memmove(source->buffer, source->buffer + source->begin, (size_t)pending);
    source->begin = 0;
    source->end = pending;
    if (pending >= LIMIT) return kd_fail(KD_EFORMAT, "%s:%lld: a text longer than 1 GiB", path, (long long)source->line + 1);
    if (source->room - pending < READ) {
        int64_t room = source->room ? 2 * source->room : 2 * READ;
        char *larger = realloc(source->buffer, (size_t)room);
        if (!larger) return kd_fail(KD_ENOMEM, "%s: out of memory: %lld bytes", path, (long long)room);
        source->buffer = larger;
        source->room = room;
    }
    KD_TRY(kd_input_read(source->buffer + source->end, &got, source->input, source->room - source->end));
    source->end += got;
    source->at_end = got == 0;
    return KD_OK;
}

/* A whole plain file, or a line of it without its newline. */
static kd_status next_plain(kd_given *given, kd_text_source *source, bool *more) {
    const char *path = source->paths.path[source->next - 1], *newline = NULL;
    for (int64_t seen = 0;;) {
        int64_t pending = source->end - source->begin;
        if (source->lines && pending > seen) newline = memchr(source->buffer + source->begin + seen, '\n', (size_t)(pending - seen));
        if (newline || source->at_end) break;
        seen = pending;
        KD_TRY(fill(source, path));
    }
    const char *first = source->buffer + source->begin;
    int64_t size = newline ? newline - first : source->end - source->begin;
    *more = newline || size || (!source->lines && !source->line);  /* an empty file is a text, and has no lines */
    if (!*more) return KD_OK;
    source->begin += size + (newline != NULL);
    *given = (kd_given){first, source->suffix, path, size, ++source->line, NULL, 0};
    return KD_OK;
}

kd_status kd_text_source_next(kd_given *given, kd_text_source *source, bool *more) {
    *given = (kd_given){.text = "", .source = "", .path = ""};
    for (*more = false;;) {
        if (source->reader) {
            kd_document document;
            KD_TRY(kd_reader_next(source->reader, &document, more));
            if (*more) *given = (kd_given){document.text, document.source, source->paths.path[source->next - 1], document.size, document.line,
                                            document.id, document.ids};
        } else if (source->input) {
            KD_TRY(next_plain(given, source, more));
        }
        if (*more) return KD_OK;
        close_file(source);
        if (source->next == source->paths.count) return KD_OK;
        KD_TRY(open_next(source));
    }
}
