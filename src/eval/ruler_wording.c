#include "ruler_wording.h"

#include <stdlib.h>
#include <string.h>

static const char *const own[KD_RULER_TEXT_COUNT] = {
    [KD_RULER_TEXT_NIAH] = "Somewhere in the following text locker {type_needle_v} are mentioned. Take note of each of them, because at "
                           "the end you are asked for some of the {type_needle_v}.\n{context}\n"
                           "Which locker {type_needle_v} does the text mention for {query}?",
    [KD_RULER_TEXT_NIAH_PREFIX] = " The locker {type_needle_v} that the text mentions for {query} are",
    [KD_RULER_TEXT_NIAH_ONE] = "Somewhere in the following text a locker {type_needle_v} is mentioned. Take note of it, because at the end "
                               "you are asked for the {type_needle_v}.\n{context}\n"
                               "Which locker {type_needle_v} does the text mention for {query}?",
    [KD_RULER_TEXT_NIAH_ONE_PREFIX] = " The locker {type_needle_v} that the text mentions for {query} is",
    [KD_RULER_TEXT_CHAINS] = "In the following text some lines set a variable, to a number or to another variable. Keep track of who has "
                             "which number.\n\n{context}\nQuestion: Which variables of this text have got the number {query}?",
    [KD_RULER_TEXT_CHAINS_PREFIX] = " Answer: Following the lines of this text, {num_v} variables have got the number {query}, namely: ",
    [KD_RULER_TEXT_COMMON] = "This is a list of words with numbers in front. A few of its words come up far more often than all others; "
                             "remember those.\n{context}\nQuestion: Which 10 words come up most often in this list?",
    [KD_RULER_TEXT_COMMON_PREFIX] = " Answer: The 10 words that come up most often in this list are:",
    [KD_RULER_TEXT_CODED] = "The following text is written in code words. Count how often each one is used and name the three that are "
                            "used most. {context}\n"
                            "Question: Leave the dots '...' out and explain nothing. Which three code words are used most often in this "
                            "text?",
    [KD_RULER_TEXT_CODED_PREFIX] = " Answer: The three code words that are used most often in this text are:",
    [KD_RULER_TEXT_QA] = "Use these documents to answer a question. Reply with the bare answer and nothing around it.\n\n"
                         "The documents:\n\n{context}\n\n"
                         "Use the documents above to answer the question. Reply with the bare answer and nothing around it.\n\n"
                         "Question: {query}",
    [KD_RULER_TEXT_QA_PREFIX] = " Answer:",
    [KD_RULER_TEXT_NEEDLE] = "Among the locker {type_needle_v}, the one of {key} is {value}.",
    [KD_RULER_TEXT_NOISE] = "Snow is cold. Bees like clover. Rivers run downhill. So it goes. Night follows day.",
    [KD_RULER_TEXT_CHAINS_NOISE] = "Snow is cold. Bees like clover. Rivers run downhill. So it goes. Night follows day.",
    [KD_RULER_TEXT_DOCUMENT] = "[Document {i}]\n{document}",
    [KD_RULER_TEXT_WRAPPER] = "{task_template}",
    [KD_RULER_TEXT_WRAPPER_ONE] = "{task_template}",
};

void kd_ruler_wording_close(kd_ruler_wording *wording) {
    for (int i = 0; i < KD_RULER_TEXT_COUNT; i++) free(wording->text[i]);
    free(wording->source);
    *wording = (kd_ruler_wording){0};
}

static kd_status copy_own(kd_ruler_wording *w) {
    kd_text all = {0};
    w->source = strdup("kedge");
    bool whole = w->source != NULL;
    for (int i = 0; i < KD_RULER_TEXT_COUNT; i++) {
        w->text[i] = strdup(own[i]);
        whole &= w->text[i] != NULL;
        kd_text_put(&all, own[i]);
    }
    kd_status status = whole ? kd_text_status(&all) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) w->hash = kd_hash(all.data, all.size);
    kd_text_free(&all);
    return status;
}

kd_status kd_ruler_wording_own(kd_ruler_wording *wording) {
    *wording = (kd_ruler_wording){0};
    kd_status status = copy_own(wording);
    if (status) kd_ruler_wording_close(wording);
    return status;
}

kd_status kd_ruler_fill(kd_text *out, const char *format, const kd_field *field, int64_t fields) {
    for (const char *at = format; *at;) {
        size_t plain = strcspn(at, "{}");
        kd_text_add(out, at, (int64_t)plain);
        at += plain;
        if (!*at) break;
        if (at[0] == at[1]) {  /* {{ and }} */
            kd_text_add(out, at, 1);
            at += 2;
            continue;
        }
        size_t size = strcspn(at + 1, "{}");
        if (*at == '}' || at[1 + size] != '}') return kd_fail(KD_EFORMAT, "\"%.60s\": a lone brace", format);
        const kd_field *f = NULL;
        for (int64_t i = 0; i < fields && !f; i++)
            if (strlen(field[i].name) == size && !memcmp(field[i].name, at + 1, size)) f = &field[i];
        if (!f) return kd_fail(KD_EFORMAT, "\"%.60s\": {%.*s} is no field of this text", format, (int)(size < 40 ? size : 40), at + 1);
        kd_text_add(out, f->value, f->size < 0 ? (int64_t)strlen(f->value) : f->size);
        at += size + 2;
    }
    return KD_OK;
}
