/* How alike two lines are: Ratcliff and Obershelp's matching blocks as Python's difflib finds them, and what fuzzywuzzy and
 * LongBench make of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "letters.h"
#include "scores.h"

/* A stretch of a and one of b that are still to be matched. */
typedef struct span { int64_t a, a_end, b, b_end; } span;

typedef struct matcher {
    kd_letters a, b;
    int64_t *next, *first;  /* [b.n] the next place of the same letter; [a.n] the first place in b of a's letter; -1: none */
    int64_t *run[2];        /* [b.n + 1] length of the match that ends at a place of b, and of a's letter before */
    span *todo;             /* [a.n + b.n + 1] */
} matcher;

static void close_matcher(matcher *m) {
    kd_letters_free(&m->a);
    kd_letters_free(&m->b);
    free(m->next);
    free(m->first);
    free(m->run[0]);
    free(m->run[1]);
    free(m->todo);
}

typedef struct place { int32_t c; int64_t at; } place;

static int by_letter(const void *x, const void *y) {
    const place *a = x, *b = y;
    return a->c != b->c ? (a->c > b->c) - (a->c < b->c) : (a->at > b->at) - (a->at < b->at);
}

/* Where b has a's letters. In a b of 200 letters or more those that are more than a hundredth of it, and one, are not looked for. */
static void index_letters(matcher *m, place *sorted) {
    enum { LONG = 200 };
    int64_t n = m->b.n;
    for (int64_t i = 0; i < n; i++) sorted[i] = (place){m->b.c[i], i};
    qsort(sorted, (size_t)n, sizeof *sorted, by_letter);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && sorted[end].c == sorted[i].c; end++)
            m->next[sorted[end].at] = end + 1 < n && sorted[end + 1].c == sorted[i].c ? sorted[end + 1].at : -1;
        bool popular = n >= LONG && end - i > n / 100 + 1;
        for (int64_t k = 0; k < m->a.n; k++)
            if (m->a.c[k] == sorted[i].c) m->first[k] = popular ? -1 : sorted[i].at;
    }
}

static kd_status open_matcher(matcher *m, const char *a, const char *b) {
    place *sorted = NULL;
    *m = (matcher){0};
    KD_TRY(kd_letters_open(&m->a, a, (int64_t)strlen(a)));
    KD_TRY(kd_letters_open(&m->b, b, (int64_t)strlen(b)));
    KD_TRY(kd_new(&m->next, m->b.n, sizeof *m->next));
    KD_TRY(kd_new(&m->first, m->a.n, sizeof *m->first));
    for (int i = 0; i < 2; i++) KD_TRY(kd_new(&m->run[i], m->b.n + 1, sizeof *m->run[i]));
    KD_TRY(kd_new(&m->todo, m->a.n + m->b.n + 1, sizeof *m->todo));
    KD_TRY(kd_new(&sorted, m->b.n, sizeof *sorted));
    for (int64_t i = 0; i < m->a.n; i++) m->first[i] = -1;
    if (m->b.n > 0) index_letters(m, sorted);
    free(sorted);
    return KD_OK;
}

/* The longest block of the span, the first in a, then in b, of those; as long as equal letters stand around it. */
static span longest(matcher *m, span s) {
    span best = {s.a, s.a, s.b, s.b};
    int64_t *now = m->run[0], *before = m->run[1], most = 0;
    memset(before, 0, (size_t)(m->b.n + 1) * sizeof *before);
    for (int64_t i = s.a; i < s.a_end; i++) {
        memset(now, 0, (size_t)(m->b.n + 1) * sizeof *now);
        for (int64_t j = m->first[i]; j >= 0 && j < s.b_end; j = m->next[j]) {
            if (j < s.b) continue;
            now[j + 1] = (j > s.b ? before[j] : 0) + 1;
            if (now[j + 1] <= most) continue;
            most = now[j + 1];
            best = (span){i + 1 - most, i + 1, j + 1 - most, j + 1};
        }
        int64_t *swap = now;
        now = before, before = swap;
    }
    while (best.a > s.a && best.b > s.b && m->a.c[best.a - 1] == m->b.c[best.b - 1]) best.a--, best.b--;
    while (best.a_end < s.a_end && best.b_end < s.b_end && m->a.c[best.a_end] == m->b.c[best.b_end]) best.a_end++, best.b_end++;
    return best;
}

kd_status kd_difflib_ratio(double *ratio, int64_t *matches, const char *a, const char *b) {
    matcher m;
    int64_t sum = 0, count = 0;
    kd_status status = open_matcher(&m, a, b);
    if (!status) m.todo[count++] = (span){0, m.a.n, 0, m.b.n};
    while (!status && count > 0) {
        span s = m.todo[--count], block = longest(&m, s);
        int64_t length = block.a_end - block.a;
        if (length == 0) continue;
        sum += length;
        if (s.a < block.a && s.b < block.b) m.todo[count++] = (span){s.a, block.a, s.b, block.b};
        if (block.a_end < s.a_end && block.b_end < s.b_end) m.todo[count++] = (span){block.a_end, s.a_end, block.b_end, s.b_end};
    }
    if (matches) *matches = sum;
    *ratio = m.a.n + m.b.n ? 2.0 * (double)sum / (double)(m.a.n + m.b.n) : 1;
    close_matcher(&m);
    return status;
}

kd_status kd_score_code(double *score, const char *answer, const char *truth) {
    const char *line = answer + strspn(answer, "\n");
    char *chosen = NULL;
    double ratio;
    while (!chosen) {
        size_t length = strcspn(line, "\n");
        chosen = strndup(line, length);
        if (!chosen) return kd_fail(KD_ENOMEM, "out of memory");
        if (!strchr(chosen, '`') && !strchr(chosen, '#') && !strstr(chosen, "//")) break;
        if (line[length]) {
            free(chosen);
            chosen = NULL;
            line += length + 1;
        } else {
            *chosen = 0;  /* no line is code */
        }
    }
    kd_status status = kd_difflib_ratio(&ratio, NULL, chosen, truth);
    bool equal = !strcmp(chosen, truth), empty = !*chosen || !*truth;
    *score = (equal ? 100 : empty ? 0 : rint(100 * ratio)) / 100;
    free(chosen);
    return status;
}
