/* What the tasks qa_1 and qa_2 ask: questions, their documents, and others among which these are hidden. */
#ifndef KD_RULER_QUESTIONS_H
#define KD_RULER_QUESTIONS_H

#include "format/json.h"
#include "format/text.h"

typedef struct kd_ruler_question {
    char *query;
    char **answer;           /* [answers] each of them is right */
    int64_t *own;            /* [owns] places of documents: what the answer is in, and for HotpotQA its distractors */
    int64_t *more;           /* [mores] what is of the same article */
    int64_t answers, owns, mores;
} kd_ruler_question;

typedef struct kd_ruler_questions {
    char **document;         /* [documents] */
    kd_ruler_question *question;
    int64_t documents, questions, room, document_room;
    uint64_t hash;           /* of the file; 0: made */
} kd_ruler_questions;

/* SQuAD v2 (or v1.1): {"data": [{"paragraphs": [{"context", "qas": [{"question", "is_impossible", "answers": [{"text"}]}]}]}]}. Impossible
 * questions are left out; documents are the different contexts, sorted. KD_EFORMAT naming the place. Free with kd_ruler_questions_close. */
kd_status kd_ruler_questions_squad(kd_ruler_questions *questions, const char *path);
/* HotpotQA: [{"question", "answer", "context": [[title, [sentences]], ...]}, ...]. */
kd_status kd_ruler_questions_hotpot(kd_ruler_questions *questions, const char *path);
/* Made, with the structure of the one or of the other (second): articles of people and towns that never were. Of every name and title
 * there is one. */
kd_status kd_ruler_questions_made(kd_ruler_questions *questions, bool second);
void kd_ruler_questions_close(kd_ruler_questions *questions);

/* For those who fill them: the next document, the next question; texts are copied. KD_ENOMEM. */
kd_status kd_ruler_document_add(kd_ruler_questions *questions, const char *text, int64_t size);
kd_status kd_ruler_question_add(kd_ruler_question **out, kd_ruler_questions *questions, const char *query, int64_t answers, int64_t owns,
                                int64_t mores);

/* Appends the places of n documents to hide a question among: its own, others of its article, then any, in an order that seed and
 * question settle: those of a smaller n are the first of a larger. From n = documents on all of them, again and again, as RULER has it.
 * n >= owns. */
void kd_ruler_question_documents(int64_t *place, const kd_ruler_questions *questions, int64_t question, int64_t n, uint64_t seed);

#endif
