#include "choices.h"

#include <stdlib.h>
#include <string.h>

#include "letters.h"

/* Every `what` in text becomes `by`, left to right. */
static void replace(char *text, const char *what, const char *by) {
    size_t from = strlen(what), to = strlen(by);  /* to <= from */
    char *out = text;
    for (char *at = text; *at;) {
        bool here = !strncmp(at, what, from);
        memmove(out, here ? by : at, here ? to : 1);
        out += here ? to : 1;
        at += here ? from : 1;
    }
    *out = 0;
}

/* From each "[" to the next "]" on its line, both included. */
static void remove_tags(char *text) {
    char *out = text;
    for (char *at = text; *at;) {
        size_t inside = *at == '[' ? 1 + strcspn(at + 1, "]\n") : 0;
        if (inside && at[inside] == ']') at += inside + 1;
        else *out++ = *at++;
    }
    *out = 0;
}

kd_status kd_hellaswag_clean(char **out, const char *text) {
    const char *from;
    int64_t size;
    kd_text_strip(&from, &size, text, (int64_t)strlen(text));
    *out = strndup(from, (size_t)size);
    if (!*out) return kd_fail(KD_ENOMEM, "out of memory");
    replace(*out, " [title]", ". ");
    remove_tags(*out);
    replace(*out, "  ", " ");
    return KD_OK;
}

kd_status kd_hellaswag_query(char **out, const char *activity, const char *ctx_a, const char *ctx_b) {
    kd_letters letters = {0};
    kd_text text = {0};
    char *capital = NULL;
    int64_t size;
    kd_status status;
    *out = NULL;
    KD_GO(kd_letters_capitalize(&letters, ctx_b, (int64_t)strlen(ctx_b)));
    KD_GO(kd_letters_text(&capital, &size, &letters));
    kd_text_print(&text, "%s: %s %s", activity, ctx_a, capital);
    KD_GO(kd_text_status(&text));
    KD_GO(kd_hellaswag_clean(out, text.data));
done:
    kd_text_free(&text);
    free(capital);
    kd_letters_free(&letters);
    return status;
}

void kd_mmlu_block(kd_text *text, const kd_mmlu_item *item, bool solved) {
    const char *question;
    int64_t size;
    kd_text_strip(&question, &size, item->question, (int64_t)strlen(item->question));
    kd_text_add(text, question, size);
    for (int i = 0; i < KD_MMLU_CHOICES; i++) kd_text_print(text, "\n%c. %s", 'A' + i, item->choice[i]);
    kd_text_put(text, "\nAnswer:");
    if (solved) kd_text_print(text, " %c\n\n", 'A' + (int)item->answer);
}

static int64_t characters(const char *text) {
    int64_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

int64_t kd_choice_best(const double *loglikelihood, const char *const *choice, int64_t count, kd_choice_norm norm) {
    int64_t best = 0;
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        double length = norm == KD_CHOICE_SUM ? 1 : norm == KD_CHOICE_CHARACTERS ? (double)characters(choice[i]) : (double)strlen(choice[i]);
        double value = loglikelihood[i] / length;
        if (i > 0 && !(value > most)) continue;
        best = i;
        most = value;
    }
    return best;
}
