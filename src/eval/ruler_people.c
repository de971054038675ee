/* Questions that need no file: articles about people who never lived in towns that never stood. A name is never used twice, so that
 * what is asked has one answer, in one document. */
#include <stdlib.h>
#include <string.h>

#include "ruler_essays.h"
#include "ruler_questions.h"
#include "ruler_words.h"

enum { PEOPLE = 4800, NAMES = 8, DOCUMENTS = 3, DISTRACTORS = 4 };

static const char *const given[] = {"Anna", "Boris", "Clara", "David", "Edith", "Felix", "Greta", "Henry", "Irene", "Jacob", "Karen",
                                    "Louis", "Marta", "Nils", "Olga", "Peter", "Rosa", "Simon", "Tessa", "Ulrich", "Vera", "Walter",
                                    "Yvonne", "Zeno"};
static const char *const trade[] = {"botanist", "painter", "geologist", "composer", "surveyor", "architect", "physician", "historian",
                                    "chemist", "printer", "linguist", "astronomer", "sculptor", "poet", "engraver", "mathematician"};
static const char *const goods[] = {"glass", "paper", "wool", "cheese", "clocks", "pottery", "salt", "lace", "knives", "pears", "tiles",
                                    "candles"};

#define PICK(list) list[kd_draw_below(d, sizeof(list) / sizeof *(list))]

/* All that is known of one of them. */
typedef struct person {
    char name[32], town[8], teacher[8], book[KD_RULER_KEY], river[8], founder[8], ship[8], ward[8], firm[8];
    const char *trade, *goods;
} person;

static void capital(char *out, int64_t i) {
    kd_ruler_invent(out, (int64_t)kd_random_permute(3, 0, (uint64_t)i, (uint64_t)kd_ruler_invented()));
    out[0] = (char)(out[0] - 'a' + 'A');
}

static void describe(person *p, int64_t i) {
    kd_draws draws = {3, 1, 16 * (uint64_t)i}, *d = &draws;
    char family[8];
    capital(family, NAMES * i);
    snprintf(p->name, sizeof p->name, "%s %s", PICK(given), family);
    char *const name[] = {p->town, p->teacher, p->river, p->founder, p->ship, p->ward, p->firm};
    for (int k = 0; k < NAMES - 1; k++) capital(name[k], NAMES * i + 1 + k);
    kd_ruler_key(p->book, (int64_t)kd_random_permute(3, 2, (uint64_t)i, (uint64_t)kd_ruler_keys()));
    *strchr(p->book, '-') = ' ';
    p->trade = PICK(trade);
    p->goods = PICK(goods);
}

/* A document of an article; titled: its first line is a title. Each has a sentence or two that say nothing. */
static void write_document(kd_text *out, const person *p, int64_t i, int which, bool titled) {
    out->size = 0;
    if (which == 0) {
        if (titled) kd_text_print(out, "%s\n", p->name);
        kd_text_print(out, "%s was a %s who was born in the town of %s. As a child %s was taught by a neighbour called %s, and at the age "
                           "of twenty took a post on the sailing ship %s. ", p->name, p->trade, p->town, strchr(p->name, ' ') + 1,
                      p->teacher, p->ship);
    } else if (which == 1) {
        if (titled) kd_text_print(out, "The %s\n", p->book);
        kd_text_print(out, "The first book of %s, published by the firm of %s, bears the title The %s. It is about the habits of a family "
                           "in the district of %s and was translated more than once. ", p->name, p->firm, p->book, p->ward);
    } else {
        if (titled) kd_text_print(out, "%s\n", p->town);
        kd_text_print(out, "%s is a town on the river %s. It was founded by a merchant whose name was %s and has been known for its %s "
                           "ever since. ", p->town, p->river, p->founder, p->goods);
    }
    kd_ruler_prose(out, 8 * (3 * i + which), 24);
}

static kd_status add(kd_ruler_questions *s, const char *query, const char *answer, const int64_t *own, int64_t owns, const int64_t *more,
                     int64_t mores) {
    kd_ruler_question *q;
    KD_TRY(kd_ruler_question_add(&q, s, query, 1, owns, mores));
    memcpy(q->own, own, (size_t)owns * sizeof *own);
    if (mores) memcpy(q->more, more, (size_t)mores * sizeof *more);
    q->answer[0] = strdup(answer);
    return q->answer[0] ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

/* SQuAD's: what one document says. */
static kd_status ask_one(kd_ruler_questions *s, const person *p, int64_t i) {
    const struct { int document; const char *format, *about, *answer; } row[] = {
        {0, "In which town was %s born?", p->name, p->town},
        {1, "Which firm published the first book of %s?", p->name, p->firm},
        {2, "On which river does the town of %s lie?", p->town, p->river},
        {0, "By whom was %s taught as a child?", p->name, p->teacher},
        {1, "In which district does the book The %s take place?", p->book, p->ward},
        {2, "Who founded the town of %s?", p->town, p->founder},
        {0, "On which ship did %s take a post?", p->name, p->ship},
    };
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        char query[160];
        int64_t place[DOCUMENTS] = {DOCUMENTS * i + row[k].document};
        for (int n = 0, at = 1; n < DOCUMENTS; n++)
            if (n != row[k].document) place[at++] = DOCUMENTS * i + n;
        snprintf(query, sizeof query, row[k].format, row[k].about);
        KD_TRY(add(s, query, row[k].answer, place, 1, place + 1, DOCUMENTS - 1));
    }
    return KD_OK;
}

/* HotpotQA's: what two documents say together, among eight that are given with them. */
static kd_status ask_two(kd_ruler_questions *s, const person *p, int64_t i) {
    const struct { int first, second; const char *format, *about, *answer; } row[] = {
        {0, 2, "On which river lies the town where %s was born?", p->name, p->river},
        {1, 0, "Who taught the author of The %s as a child?", p->book, p->teacher},
        {0, 2, "Who founded the town where %s was born?", p->name, p->founder},
        {1, 0, "On which ship did the author of The %s take a post?", p->book, p->ship},
    };
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        char query[160];
        int64_t place[2 + 2 * DISTRACTORS] = {DOCUMENTS * i + row[k].first, DOCUMENTS * i + row[k].second};
        for (int n = 0; n < DISTRACTORS; n++) {
            int64_t other = (i + 1 + n) % PEOPLE;
            place[2 + 2 * n] = DOCUMENTS * other + row[k].first;
            place[3 + 2 * n] = DOCUMENTS * other + row[k].second;
        }
        snprintf(query, sizeof query, row[k].format, row[k].about);
        KD_TRY(add(s, query, row[k].answer, place, 2 + 2 * DISTRACTORS, NULL, 0));
    }
    return KD_OK;
}

static kd_status make(kd_ruler_questions *s, bool second, kd_text *text) {
    for (int64_t i = 0; i < PEOPLE; i++) {
        person p;
        describe(&p, i);
        for (int which = 0; which < DOCUMENTS; which++) {
            write_document(text, &p, i, which, second);
            KD_TRY(kd_text_status(text));
            KD_TRY(kd_ruler_document_add(s, text->data, text->size));
        }
        KD_TRY(second ? ask_two(s, &p, i) : ask_one(s, &p, i));
    }
    return KD_OK;
}

kd_status kd_ruler_questions_made(kd_ruler_questions *s, bool second) {
    kd_text text = {0};
    *s = (kd_ruler_questions){0};
    kd_status status = make(s, second, &text);
    kd_text_free(&text);
    if (status) kd_ruler_questions_close(s);
    return status;
}
