/* Scores by words, classes and numbers. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "letters.h"
#include "scores.h"

/* ---- F1 ------------------------------------------------------------------------------------------------------------- */

typedef struct word { const int32_t *c; int64_t n; } word;
typedef struct words { kd_letters letters; word *word; int64_t count; } words;

static void close_words(words *w) {
    kd_letters_free(&w->letters);
    free(w->word);
}

static bool is_article(const int32_t *c, int64_t n) {
    return (n == 1 && c[0] == 'a') || (n == 2 && c[0] == 'a' && c[1] == 'n') || (n == 3 && c[0] == 't' && c[1] == 'h' && c[2] == 'e');
}

/* Articles that stand as a word of \w become a space. */
static void remove_articles(kd_letters *l) {
    for (int64_t at = 0; at < l->n;) {
        int64_t end = at;
        while (end < l->n && kd_letter_word(l->c[end])) end++;
        if (is_article(l->c + at, end - at))
            for (int64_t i = at; i < end; i++) l->c[i] = ' ';
        at = end > at ? end : at + 1;
    }
}

static int by_letters(const void *a, const void *b) {
    const word *x = a, *y = b;
    int order = memcmp(x->c, y->c, (size_t)(x->n < y->n ? x->n : y->n) * sizeof *x->c);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* The normalised words, sorted. */
static kd_status open_words(words *w, const char *text) {
    *w = (words){0};
    KD_TRY(kd_letters_lower(&w->letters, text, (int64_t)strlen(text)));
    kd_letters *l = &w->letters;
    int64_t kept = 0;
    for (int64_t i = 0; i < l->n; i++)
        if (l->c[i] >= 0x80 || !ispunct(l->c[i])) l->c[kept++] = l->c[i];
    l->n = kept;
    remove_articles(l);
    KD_TRY(kd_new(&w->word, l->n / 2 + 1, sizeof *w->word));
    for (int64_t at = 0; at < l->n;) {
        int64_t end = at;
        while (end < l->n && !kd_letter_space(l->c[end])) end++;
        if (end > at) w->word[w->count++] = (word){l->c + at, end - at};
        at = end + (end == at);
    }
    if (w->count) qsort(w->word, (size_t)w->count, sizeof *w->word, by_letters);
    return KD_OK;
}

kd_status kd_score_f1(double *score, const char *answer, const char *truth) {
    words a = {0}, b = {0};
    kd_status status;
    KD_GO(open_words(&a, answer));
    KD_GO(open_words(&b, truth));
    int64_t common = 0;
    for (int64_t i = 0, j = 0; i < a.count && j < b.count;) {
        int order = by_letters(&a.word[i], &b.word[j]);
        common += order == 0;
        i += order <= 0, j += order >= 0;
    }
    double precision = common ? (double)common / (double)a.count : 0, recall = common ? (double)common / (double)b.count : 0;
    *score = common ? 2 * precision * recall / (precision + recall) : 0;
done:
    close_words(&a);
    close_words(&b);
    return status;
}

/* ---- classes and numbers ---------------------------------------------------------------------------------------------- */

/* The official code removes from the list that it walks, so that what follows a removed class is passed over; and it removes the first
 * that is equal. */
kd_status kd_score_classification(double *score, const char *answer, const char *truth, const char *const *classes, int64_t count) {
    const char **named;
    int64_t n = 0;
    *score = 0;
    KD_TRY(kd_new(&named, count, sizeof *named));
    for (int64_t i = 0; i < count; i++)
        if (strstr(answer, classes[i])) named[n++] = classes[i];
    for (int64_t i = 0; i < n; i++) {
        if (!strstr(truth, named[i]) || !strcmp(truth, named[i])) continue;
        int64_t first = 0;
        while (strcmp(named[first], named[i])) first++;
        memmove(named + first, named + first + 1, (size_t)(--n - first) * sizeof *named);
    }
    for (int64_t i = 0; i < n && *score == 0; i++)
        if (!strcmp(named[i], truth)) *score = 1.0 / (double)n;
    free(named);
    return KD_OK;
}

kd_status kd_score_count(double *score, const char *answer, const char *truth) {
    size_t length = strlen(truth);
    int64_t numbers = 0, right = 0;
    for (const char *p = answer; *p;) {
        size_t digits = strspn(p, "0123456789");
        numbers += digits > 0;
        right += digits == length && digits > 0 && !memcmp(p, truth, length);
        p += digits ? digits : 1;
    }
    *score = numbers ? (double)right / (double)numbers : 0;
    return KD_OK;
}

kd_status kd_score_retrieval(double *score, const char *answer, const char *truth) {
    static const char lead[] = "Paragraph ";
    char id[64];
    size_t digits = 0;
    const char *p = strstr(truth, lead);
    while (p && !(digits = strspn(p + sizeof lead - 1, "0123456789"))) p = strstr(p + 1, lead);
    if (!p || digits >= sizeof id) return kd_fail(KD_EFORMAT, "\"%s\" is not \"Paragraph N\"", truth);
    snprintf(id, sizeof id, "%.*s", (int)digits, p + sizeof lead - 1);
    return kd_score_count(score, answer, id);
}

/* ---- RULER ---------------------------------------------------------------------------------------------------------- */

kd_status kd_ruler_answer(char **out, const char *answer) {
    const char *text;
    int64_t size;
    *out = NULL;
    kd_text_strip(&text, &size, answer, (int64_t)strlen(answer));
    char *copy = strndup(text, (size_t)size);
    if (!copy) return kd_fail(KD_ENOMEM, "out of memory");
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20) *p = '\n';
    kd_text_strip(&text, &size, copy, size);
    *out = strndup(text, (size_t)size);
    free(copy);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status lower_text(char **out, const char *text) {
    kd_letters l;
    int64_t size;
    kd_status status = kd_letters_lower(&l, text, (int64_t)strlen(text));
    if (!status) status = kd_letters_text(out, &size, &l);
    kd_letters_free(&l);
    return status;
}

kd_status kd_score_ruler(double *score, const char *answer, const char *const *reference, int64_t count, bool any) {
    char *text = NULL, *wanted = NULL;
    int64_t found = 0;
    kd_status status;
    *score = 0;
    KD_GO(lower_text(&text, answer));
    for (int64_t i = 0; i < count; i++) {
        free(wanted);
        wanted = NULL;
        KD_GO(lower_text(&wanted, reference[i]));
        found += strstr(text, wanted) != NULL;
    }
    if (count) *score = any ? found > 0 : (double)found / (double)count;
done:
    free(wanted);
    free(text);
    return status;
}
