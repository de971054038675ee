/* Essays of nobody: sentences of a small grammar, the same everywhere. */
#include <string.h>

#include "draws.h"
#include "ruler_essays.h"

static const char *const person[] = {
    "teacher", "baker", "doctor", "neighbour", "sailor", "painter", "farmer", "clerk", "gardener", "printer", "student", "carpenter",
    "librarian", "driver", "nurse", "builder", "tailor", "miner", "singer", "lawyer", "engineer", "shepherd", "watchmaker", "cook"};
static const char *const thing[] = {
    "idea", "letter", "promise", "question", "mistake", "plan", "habit", "book", "tool", "story", "bargain", "rule", "drawing", "answer",
    "machine", "song", "recipe", "map", "lesson", "rumour", "contract", "diary", "wager", "theory", "proverb", "signal", "calendar"};
static const char *const place[] = {
    "the village", "the harbour", "the old school", "the market", "the workshop", "a small town", "the railway station", "the city",
    "the island", "the valley", "my street", "the factory", "the library", "the mountains", "a foreign country", "the kitchen",
    "the theatre", "the north"};
static const char *const quality[] = {
    "good", "simple", "strange", "quiet", "useful", "patient", "careless", "gentle", "expensive", "modest", "difficult", "ordinary", "bold",
    "careful", "forgotten", "clever", "slow", "generous", "doubtful", "lasting", "early", "unfinished", "stubborn", "practical"};
static const char *const matter[] = {
    "work", "money", "friendship", "time", "luck", "patience", "memory", "trade", "weather", "learning", "silence", "travel", "craft",
    "courage", "taste", "attention", "health", "sleep", "language", "music", "bread", "argument", "fashion", "history"};
static const char *const deed[] = {
    "mended", "lost", "explained", "sold", "remembered", "carried", "found", "hid", "copied", "finished", "doubted", "borrowed", "improved",
    "gave away", "wrote down", "refused", "examined", "praised", "dropped", "kept"};
static const char *const season[] = {"in spring", "one winter", "in the summer", "late in autumn", "before the holidays", "on a Sunday",
                                     "after the war", "early in the morning", "at night", "in those years", "for a whole month",
                                     "not long ago"};

/* P person, T thing, L place, Q quality, M matter, D deed, S season; other letters are small or begin a sentence's first word. */
static const char *const frame[] = {
    "[S] a [P] in [L] [D] a [Q] [T], and nobody asked why.",
    "What people say about [M] is seldom [Q], but what they do about it is.",
    "The [P] whom I knew best [D] every [T] twice.",
    "There is a [Q] kind of [M] that only a [P] can teach.",
    "When I came to [L], I thought that [M] was a matter of [M].",
    "It takes a [Q] [P] to see that a [T] is not yet a [T].",
    "I once [D] a [T] [S] and have been thinking about [M] ever since.",
    "Why does a [P] who has [D] so much still speak of [M]?",
    "My friend, who was a [P], used to say that a [Q] [T] is worth more than a [Q] one.",
    "In [L] they have little [M] and a great deal of [M].",
    "A [T] that somebody [D] [S] is often the only thing that is left of [M].",
    "You cannot have [M] without [M], and you can have neither without a [Q] [T].",
    "Perhaps the [P] was right, and the [T] was only [Q].",
    "Every [T] looks [Q] from a distance, even from [L].",
    "So the [P] [D] the [T], went back to [L], and said nothing more of [M].",
    "If [M] were easy, every [P] in [L] would have some.",
    "[S] it seemed to me that a [Q] [P] needs [M] less than a [Q] one.",
    "Nobody in [L] had [D] such a [T] before, or at least nobody said so.",
    "It is a mistake to think of [M] as a [T].",
    "The more I read about [M], the more [Q] the [P] from [L] appears to me.",
    "Of course a [Q] [T] costs something, and usually it costs [M].",
    "She [D] the [T] because the [P] had [D] another.",
    "They told the [P] that [M] begins where [M] ends.",
    "But a [T] is not [Q] because a [P] [D] it.",
    "Most of what is written about [M] was written in [L] by a [Q] [P].",
    "I do not know whether the [T] was [Q], and I do not mind.",
    "He was a [Q] [P] and had [D] more than one [T] [S].",
    "The second thing that one learns about [M] is how [Q] it looks in [L].",
    "Give a [P] enough [M], and the [T] will take care of itself.",
    "All this happened in [L], where a [T] is still a [T].",
};

#define PICK(list) list[kd_draw_below(d, sizeof(list) / sizeof *(list))]

static const char *pick(char kind, kd_draws *d) {
    switch (kind) {
        case 'P': return PICK(person);
        case 'T': return PICK(thing);
        case 'L': return PICK(place);
        case 'Q': return PICK(quality);
        case 'M': return PICK(matter);
        case 'D': return PICK(deed);
        default: return PICK(season);
    }
}

/* "a" becomes "an" before a vowel that is spoken as one: of these words "useful" alone is none. */
static void put_word(kd_text *text, const char *word) {
    bool vowel = strchr("aeio", word[0]) || !strncmp(word, "unf", 3);
    int64_t n = text->size;
    bool article = n >= 2 && text->data[n - 1] == ' ' && (text->data[n - 2] | 32) == 'a' && (n == 2 || text->data[n - 3] == ' ');
    if (vowel && article) {
        text->data[n - 1] = 'n';
        kd_text_put(text, " ");
    }
    kd_text_put(text, word);
}

static int64_t words_of(const kd_text *text, int64_t from) {
    int64_t words = 1;
    for (int64_t i = from; i < text->size; i++) words += text->data[i] == ' ';
    return words;
}

void kd_ruler_prose(kd_text *text, int64_t first, int64_t words) {
    for (int64_t i = first, have = 0; have < words && !text->failed; i++) {
        kd_draws draws = {0x5a7, 0, 16 * (uint64_t)i}, *d = &draws;
        if (i > first) kd_text_put(text, " ");
        int64_t from = text->size;
        for (const char *at = PICK(frame); *at; at++) {
            if (*at == '[') {
                put_word(text, pick(at[1], d));
                at += 2;
            } else kd_text_add(text, at, 1);
        }
        if (text->failed) return;
        if (text->data[from] >= 'a') text->data[from] = (char)(text->data[from] - 'a' + 'A');
        have += words_of(text, from);
    }
}
