#include "ruler_essays.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "letters.h"

/* White space, and NUL, which ends texts, become single spaces between words. */
static kd_status squeeze(kd_text *out, const char *text, int64_t size) {
    kd_letters letters;
    char *plain = NULL;
    int64_t n = 0, bytes;
    KD_TRY(kd_letters_open(&letters, text, size));
    for (int64_t i = 0; i < letters.n; i++) {
        bool space = letters.c[i] == 0 || kd_letter_space(letters.c[i]);
        if (space && (n == 0 || letters.c[n - 1] == ' ')) continue;
        letters.c[n++] = space ? ' ' : letters.c[i];
    }
    letters.n = n && letters.c[n - 1] == ' ' ? n - 1 : n;
    kd_status status = kd_letters_text(&plain, &bytes, &letters);
    kd_letters_free(&letters);
    if (!status) kd_text_add(out, plain, bytes);
    free(plain);
    return status;
}

static int64_t count_words(const char *text, int64_t size) {
    int64_t words = size > 0;
    for (int64_t i = 0; i < size; i++) words += text[i] == ' ';
    return words;
}

static bool ends_sentence(const char *text, int64_t at) {
    while (at > 0 && (text[at - 1] == '"' || text[at - 1] == '\'' || text[at - 1] == ')')) at--;
    return at > 0 && (text[at - 1] == '.' || text[at - 1] == '!' || text[at - 1] == '?');
}

static kd_status find_words(kd_ruler_essays *e) {
    const kd_text *t = &e->text;
    KD_TRY(kd_new(&e->end, e->words, sizeof *e->end));
    KD_TRY(kd_new(&e->sentence, e->words, sizeof *e->sentence));
    e->sentences = 1;
    for (int64_t i = 0, n = 0; i <= t->size && n < e->words; i++) {
        if (i < t->size && t->data[i] != ' ') continue;
        e->end[n++] = i;
        if (i < t->size && n < e->words && ends_sentence(t->data, i)) e->sentence[e->sentences++] = i + 1;
    }
    return KD_OK;
}

static kd_status open_text(kd_ruler_essays *e, const char *text, int64_t size) {
    if (text) KD_TRY(squeeze(&e->text, text, size));
    else kd_ruler_prose(&e->text, 0, e->words);
    KD_TRY(kd_text_status(&e->text));
    int64_t once = e->text.size;
    e->own = count_words(e->text.data, once);
    if (!e->own) return kd_fail(KD_ECONFIG, "the text for essays has no words");
    for (int64_t have = e->own; have < e->words; have += e->own) {
        kd_text copy = {0};  /* what is appended to may move */
        kd_text_add(&copy, e->text.data, once);
        kd_text_put(&e->text, " ");
        if (copy.data) kd_text_add(&e->text, copy.data, once);
        e->text.failed |= copy.failed;
        kd_text_free(&copy);
    }
    KD_TRY(kd_text_status(&e->text));
    return find_words(e);
}

kd_status kd_ruler_essays_open(kd_ruler_essays *essays, const char *text, int64_t size, int64_t words) {
    *essays = (kd_ruler_essays){.words = words};
    kd_status status = open_text(essays, text, size);
    if (status) kd_ruler_essays_close(essays);
    return status;
}

void kd_ruler_essays_close(kd_ruler_essays *essays) {
    kd_text_free(&essays->text);
    free(essays->end);
    free(essays->sentence);
    *essays = (kd_ruler_essays){0};
}

int64_t kd_ruler_depth(int64_t i) { return (int64_t)nearbyint((double)i * 100.0 / (KD_RULER_DEPTHS - 1)); }

int64_t kd_ruler_depth_place(int64_t depth, int64_t sentences) { return (int64_t)((double)sentences * ((double)depth / 100)); }

/* How many sentences begin before the byte `end`. */
static int64_t sentences_before(const kd_ruler_essays *e, int64_t end) {
    int64_t low = 0, high = e->sentences;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (e->sentence[middle] < end) low = middle + 1;
        else high = middle;
    }
    return low;
}

void kd_ruler_essays_hide(kd_text *out, const kd_ruler_essays *e, int64_t words, const char *const *needle, const int64_t *depth,
                          int64_t count) {
    int64_t end = e->end[words - 1], sentences = sentences_before(e, end), from = 0;
    for (int64_t i = 0; i <= count; i++) {
        int64_t to = i < count ? kd_ruler_depth_place(depth[i], sentences) : sentences;
        int64_t begin = from < sentences ? e->sentence[from] : end, stop = to < sentences ? e->sentence[to] - 1 : end;
        if (to > from) kd_text_add(out, e->text.data + begin, stop - begin);
        if (i < count) {
            kd_text_put(out, " ");
            kd_text_put(out, needle[i]);
            kd_text_put(out, " ");
        }
        from = to;
    }
}
