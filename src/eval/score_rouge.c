/* ROUGE-L as the package rouge 1.0.1 has it, which is not the paper's: sentences end at every full stop, and what is compared is sets of words. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "letters.h"
#include "scores.h"

enum { DEEPEST = 980 };  /* steps back through a pair of sentences after which Python's recursion ends, and with it the score: 0 */

/* A text as sentences of word numbers. */
typedef struct sentences {
    int32_t *word;            /* [words] */
    int64_t *begin;           /* [count + 1] of sentences in word */
    int64_t words, count;
} sentences;

typedef struct text_word { char *at; int64_t size, place; } text_word;

/* Both texts' words, before they have numbers: those of the second behind those of the first. */
typedef struct reading {
    char *copy[2];
    text_word *word;
    int64_t words;
    sentences *text[2];
} reading;

static void add_word(reading *r, char *at, int64_t size) {
    r->word[r->words] = (text_word){at, size, r->words};
    r->words++;
}

/* A stretch between full stops, not empty: its words, or one empty word. */
static void read_sentence(reading *r, sentences *s, char *text, int64_t size) {
    int64_t before = r->words;
    s->begin[s->count++] = s->words;
    for (int64_t at = 0; at < size;) {
        const char *word;
        int64_t length, end = at;
        /* up to the next white space, whatever its bytes */
        for (int64_t step; end < size; end += step) {
            step = 1;
            while (end + step < size && ((unsigned char)text[end + step] & 0xc0) == 0x80) step++;
            kd_text_strip(&word, &length, text + end, step);
            if (length == 0) {
                if (end > at) break;
                at = end + step;
            }
        }
        if (end > at) add_word(r, text + at, end - at);
        at = end;
    }
    if (r->words == before) add_word(r, text, 0);
    s->words += r->words - before;
}

static kd_status read_text(reading *r, int which, const char *text) {
    sentences *s = r->text[which];
    int64_t size = (int64_t)strlen(text);
    r->copy[which] = strdup(text);
    if (!r->copy[which]) return kd_fail(KD_ENOMEM, "out of memory");
    KD_TRY(kd_new(&s->begin, size + 2, sizeof *s->begin));
    for (char *at = r->copy[which]; *at;) {
        size_t length = strcspn(at, ".");
        if (length) read_sentence(r, s, at, (int64_t)length);
        at += length + (at[length] == '.');
    }
    s->begin[s->count] = s->words;
    return KD_OK;
}

static int by_text(const void *x, const void *y) {
    const text_word *a = x, *b = y;
    int order = memcmp(a->at, b->at, (size_t)(a->size < b->size ? a->size : b->size));
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* Equal words have equal numbers; *different: how many there are. */
static kd_status number_words(reading *r, int64_t *different) {
    *different = 0;
    for (int i = 0; i < 2; i++) KD_TRY(kd_new(&r->text[i]->word, r->text[i]->words, sizeof *r->text[i]->word));
    if (r->words) qsort(r->word, (size_t)r->words, sizeof *r->word, by_text);
    for (int64_t i = 0; i < r->words; i++) {
        if (i > 0 && by_text(&r->word[i - 1], &r->word[i])) ++*different;
        int64_t place = r->word[i].place, first = r->text[0]->words;
        r->text[place >= first]->word[place >= first ? place - first : place] = (int32_t)*different;
    }
    *different += r->words > 0;
    return KD_OK;
}

static void close_sentences(sentences *s) {
    free(s->word);
    free(s->begin);
}

static kd_status open_texts(sentences *a, sentences *b, int64_t *different, const char *first, const char *second) {
    reading r = {.text = {a, b}};
    kd_status status;
    *a = *b = (sentences){0};
    KD_GO(kd_new(&r.word, (int64_t)(strlen(first) + strlen(second)) + 2, sizeof *r.word));
    KD_GO(read_text(&r, 0, first));
    KD_GO(read_text(&r, 1, second));
    KD_GO(number_words(&r, different));
done:
    for (int i = 0; i < 2; i++) free(r.copy[i]);
    free(r.word);
    return status;
}

/* Marks the words of one longest common subsequence of x [n] and y [m]. table [n+1][m+1]. false: too deep. */
static bool mark_common(bool *common, int32_t *table, const int32_t *x, int64_t n, const int32_t *y, int64_t m) {
    int64_t row = m + 1, steps = 0;
    memset(table, 0, (size_t)row * sizeof *table);
    for (int64_t i = 1; i <= n; i++) {
        table[i * row] = 0;
        for (int64_t j = 1; j <= m; j++) {
            int32_t up = table[(i - 1) * row + j], left = table[i * row + j - 1];
            table[i * row + j] = x[i - 1] == y[j - 1] ? table[(i - 1) * row + j - 1] + 1 : up > left ? up : left;
        }
    }
    for (int64_t i = n, j = m; i > 0 && j > 0; steps++) {
        if (x[i - 1] == y[j - 1]) {
            common[x[i - 1]] = true;
            i--, j--;
        } else if (table[(i - 1) * row + j] > table[i * row + j - 1]) {
            i--;
        } else {
            j--;
        }
    }
    return steps <= DEEPEST;
}

static int64_t count_true(const bool *set, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += set[i];
    return sum;
}

static int64_t count_different(bool *set, const sentences *s, int64_t different) {
    memset(set, 0, (size_t)different * sizeof *set);
    for (int64_t i = 0; i < s->words; i++) set[s->word[i]] = true;
    return count_true(set, different);
}

static int64_t longest(const sentences *s) {
    int64_t most = 0;
    for (int64_t i = 0; i < s->count; i++)
        if (s->begin[i + 1] - s->begin[i] > most) most = s->begin[i + 1] - s->begin[i];
    return most;
}

kd_status kd_score_rouge_l(double *score, const char *answer, const char *truth) {
    sentences h, r;
    bool *set = NULL, shallow = true;
    int32_t *table = NULL;
    int64_t different;
    kd_status status;
    *score = 0;
    KD_GO(open_texts(&h, &r, &different, answer, truth));
    if (h.count == 0 || r.count == 0) goto done;
    KD_GO(kd_new(&set, different, sizeof *set));
    KD_GO(kd_new(&table, (longest(&h) + 1) * (longest(&r) + 1), sizeof *table));
    double m = (double)count_different(set, &r, different), n = (double)count_different(set, &h, different);
    memset(set, 0, (size_t)different * sizeof *set);
    for (int64_t i = 0; i < r.count; i++)
        for (int64_t j = 0; j < h.count; j++)
            shallow &= mark_common(set, table, r.word + r.begin[i], r.begin[i + 1] - r.begin[i], h.word + h.begin[j], h.begin[j + 1] - h.begin[j]);
    double shared = (double)count_true(set, different), recall = shared / m, precision = shared / n;
    if (shallow) *score = 2.0 * (precision * recall / (precision + recall + 1e-8));
done:
    free(table);
    free(set);
    close_sentences(&h);
    close_sentences(&r);
    return status;
}
