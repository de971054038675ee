#include "answer_text.h"

#include <stdlib.h>
#include <string.h>

enum {
    CONTEXT = 8,  /* tokens of the prompt: a word's first token says a space only behind another */
    OPEN = 4,     /* bytes, and so tokens, after which an unfinished character is none */
};

static kd_status decode(kd_text *out, kd_answer_text *t, int64_t from, int64_t end) {
    out->size = t->raw.size = 0;
    KD_TRY(kd_decode(&t->raw, t->tokenizer, t->ids.id + from, end - from, true));
    kd_text_add_lossy(out, t->raw.data ? t->raw.data : "", t->raw.size);
    return kd_text_status(out);
}

static kd_status push(kd_answer_text *t, int32_t id) {
    KD_TRY(kd_ids_reserve(&t->ids, 1));
    t->ids.id[t->ids.count++] = id;
    return KD_OK;
}

kd_status kd_answer_text_open(kd_answer_text *t, const kd_tokenizer *tokenizer, const int32_t *prompt, int64_t count,
                              const char *const *stop, int64_t stops) {
    *t = (kd_answer_text){.tokenizer = tokenizer, .stop = stop, .stops = stops};
    for (int64_t i = 0; i < stops; i++) t->longest = (int64_t)strlen(stop[i]) > t->longest ? (int64_t)strlen(stop[i]) : t->longest;
    for (int64_t i = count < CONTEXT ? 0 : count - CONTEXT; i < count; i++) {
        KD_TRY(push(t, prompt[i]));
        kd_status status = decode(&t->window, t, t->ids.count - 1, t->ids.count);
        if (status == KD_EFORMAT) t->ids.count = 0;  /* an id that is no token: what is behind it is read alone */
        else if (status) return status;
    }
    t->read = t->ids.count;
    return decode(&t->before, t, 0, t->read);
}

void kd_answer_text_close(kd_answer_text *t) {
    free(t->ids.id);
    kd_text_free(&t->before);
    kd_text_free(&t->window);
    kd_text_free(&t->raw);
    kd_text_free(&t->text);
    *t = (kd_answer_text){0};
}

/* ---- stop strings ------------------------------------------------------------------------------------------------------ */

static int64_t find(const char *text, int64_t size, const char *word, int64_t length) {
    for (int64_t i = 0; i + length <= size; i++) {
        const char *at = memchr(text + i, word[0], (size_t)(size - length - i + 1));
        if (!at) return -1;
        i = at - text;
        if (!memcmp(at, word, (size_t)length)) return i;
    }
    return -1;
}

/* The first that ends in what is new. */
static void look_for_stops(kd_answer_text *t, int64_t old) {
    int64_t from = old - t->longest + 1 > 0 ? old - t->longest + 1 : 0, first = -1;
    for (int64_t i = 0; i < t->stops; i++) {
        int64_t at = find(t->text.data + from, t->text.size - from, t->stop[i], (int64_t)strlen(t->stop[i]));
        if (at >= 0 && (first < 0 || from + at < first)) first = from + at;
    }
    if (first < 0) return;
    t->stopped = true;
    t->text.size = first;
    t->text.data[first] = 0;
}

int64_t kd_answer_text_settled(const kd_answer_text *t, bool ended) {
    int64_t size = t->text.size, held = 0;
    for (int64_t i = 0; i < t->stops && !ended && !t->stopped; i++) {
        int64_t length = (int64_t)strlen(t->stop[i]) - 1;
        for (int64_t n = length < size ? length : size; n > held; n--)
            if (!memcmp(t->text.data + size - n, t->stop[i], (size_t)n)) held = n;
    }
    return size - held;
}

/* ---- text ---------------------------------------------------------------------------------------------------------------- */

/* What two texts of UTF-8 have in common: whole characters. */
static int64_t common(const kd_text *a, const kd_text *b) {
    int64_t n = 0;
    while (n < a->size && n < b->size && a->data[n] == b->data[n]) n++;
    while (n > 0 && n < b->size && ((unsigned char)b->data[n] & 0xc0) == 0x80) n--;
    return n;
}

static bool ends_open(const kd_text *text) { return text->size >= 3 && !memcmp(text->data + text->size - 3, KD_REPLACEMENT, 3); }

/* What ids up to `end` say is the text's from now on. */
static kd_status take(kd_answer_text *t, int64_t end) {
    int64_t old = t->text.size, known = common(&t->before, &t->window);
    kd_text_add(&t->text, t->window.size ? t->window.data + known : "", t->window.size - known);
    KD_TRY(kd_text_status(&t->text));
    t->from = t->read;
    t->read = end;
    if (t->text.size > old) look_for_stops(t, old);
    return decode(&t->before, t, t->from, t->read);
}

/* Where characters stay open for longer than they have bytes, the ids before the last few are taken, if those behind them change
 * nothing about what they say. */
static kd_status take_stale(kd_answer_text *t) {
    kd_text whole = t->window;
    int64_t end = t->ids.count - OPEN;
    t->window = (kd_text){0};
    kd_status status = decode(&t->window, t, t->from, end);
    bool final = !status && t->window.size <= whole.size && (!t->window.size || !memcmp(t->window.data, whole.data, (size_t)t->window.size));
    kd_text_free(&whole);
    return status || !final ? status : take(t, end);
}

kd_status kd_answer_text_add(kd_answer_text *t, int32_t id) {
    if (t->stopped) return KD_OK;
    KD_TRY(push(t, id));
    kd_status status = decode(&t->window, t, t->from, t->ids.count);
    if (status == KD_EFORMAT) {  /* this id alone can be no token */
        t->ids.count--;
        return KD_OK;
    }
    KD_TRY(status);
    if (!ends_open(&t->window)) return take(t, t->ids.count);
    return t->ids.count - t->read > 2 * OPEN ? take_stale(t) : KD_OK;
}

kd_status kd_answer_text_end(kd_answer_text *t) {
    if (t->stopped || t->read == t->ids.count) return KD_OK;
    KD_TRY(decode(&t->window, t, t->from, t->ids.count));
    return take(t, t->ids.count);
}
