#include "perplexity.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "letters.h"

kd_ppl_text *kd_ppl_texts_next(kd_ppl_texts *texts) {
    if (kd_grow(&texts->text, &texts->room, texts->count + 1, sizeof *texts->text)) return NULL;
    kd_ppl_text *text = &texts->text[texts->count++];
    *text = (kd_ppl_text){0};
    return text;
}

void kd_ppl_texts_free(kd_ppl_texts *texts) {
    for (int64_t i = 0; i < texts->count; i++) {
        free(texts->text[i].id);
        free(texts->text[i].silent);
    }
    free(texts->text);
    *texts = (kd_ppl_texts){0};
}

/* UTF-8 is read a character at a time: a copy of a book as code points would be four times as large. */
int64_t kd_ppl_words(const char *text, int64_t size) {
    int64_t words = 1;
    bool inside = false;
    for (int64_t at = 0; at < size;) {
        unsigned char c = (unsigned char)text[at];
        int64_t step = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        int32_t letter = c;
        if (step > size - at) step = size - at;
        if (step > 1) letter = c & (0x7f >> step);
        for (int64_t i = 1; i < step; i++) letter = letter << 6 | (text[at + i] & 0x3f);
        bool space = kd_letter_space(letter);
        words += space && !inside;
        inside = space;
        at += step;
    }
    return words;
}

kd_status kd_ppl_windows(kd_excerpt **out, int64_t *count, const kd_ppl_options *o, int64_t k, int64_t tokens, int64_t lead, bool anchor) {
    if (o->way == KD_PPL_ROLLING) return kd_excerpts_rolling(out, count, tokens, o->length[k] - (anchor ? lead : 0), 1);
    if (o->way == KD_PPL_WHOLE) return kd_excerpts_sliding(out, count, tokens, tokens ? tokens : 1, tokens ? tokens : 1, lead > 0, true);
    return kd_excerpts_sliding(out, count, tokens, o->length[k] - lead, o->stride, lead > 0, o->truncate);
}

/* ---- scores ----------------------------------------------------------------------------------------------------------------- */

int64_t kd_ppl_bucket(int64_t before) {
    int64_t bucket = 0;
    for (; before >= 16; before /= 2) bucket++;
    return bucket < KD_PPL_BUCKETS ? bucket : KD_PPL_BUCKETS - 1;
}

int64_t kd_ppl_bucket_from(int64_t bucket) { return bucket ? (int64_t)8 << bucket : 0; }

double kd_ppl_of(double nats, int64_t count) { return count ? exp(nats / (double)count) : NAN; }
double kd_ppl_tokens(const kd_ppl_score *s) { return kd_ppl_of(s->all.nats, s->all.tokens); }
double kd_ppl_by_windows(const kd_ppl_score *s) { return kd_ppl_of(s->window_means, s->windows); }
double kd_ppl_bits(double nats, int64_t bytes) { return bytes ? nats / (double)bytes / log(2) : NAN; }

static bool read_sum(kd_ppl_sum *sum, const json_t *list, size_t i) {
    const json_t *pair = json_array_get(list, i), *nats = json_array_get(pair, 0), *tokens = json_array_get(pair, 1);
    *sum = (kd_ppl_sum){json_number_value(nats), json_integer_value(tokens)};
    return json_is_number(nats) && json_is_integer(tokens) && json_array_size(pair) == 2;
}

static bool add_answer(kd_ppl_score *s, const json_t *answer) {
    const json_t *windows = json_object_get(answer, "windows"), *positions = json_object_get(answer, "positions");
    kd_ppl_sum sum;
    if (!json_is_array(windows) || json_array_size(positions) > KD_PPL_BUCKETS) return false;
    for (size_t i = 0; i < json_array_size(windows); i++) {
        if (!read_sum(&sum, windows, i)) return false;
        s->all.nats += sum.nats;
        s->all.tokens += sum.tokens;
        if (!sum.tokens) continue;  /* a window in which nothing is scored has no mean */
        s->windows++;
        s->window_means += sum.nats / (double)sum.tokens;
    }
    for (size_t i = 0; i < json_array_size(positions); i++) {
        if (!read_sum(&sum, positions, i)) return false;
        s->bucket[i].nats += sum.nats;
        s->bucket[i].tokens += sum.tokens;
    }
    return true;
}

static kd_status add_text(kd_ppl_score *s, const kd_results *results, const kd_ppl_options *o, int64_t k, int64_t text) {
    char key[64];
    snprintf(key, sizeof key, "%lld/%lld", (long long)o->length[k], (long long)text);
    if (add_answer(s, kd_results_find(results, key))) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: no answer with windows and positions", key);
}

kd_status kd_ppl_sum_of(kd_ppl_sum *sum, const kd_results *results, const kd_ppl_options *o, int64_t k, int64_t text) {
    kd_ppl_score score = {.length = o->length[k]};
    KD_TRY(add_text(&score, results, o, k, text));
    *sum = score.all;
    return KD_OK;
}

kd_status kd_ppl_score_of(kd_ppl_score *s, const kd_results *results, const kd_ppl_texts *texts, const kd_ppl_options *o, int64_t k) {
    *s = (kd_ppl_score){.length = o->length[k], .texts = texts->count};
    for (int64_t i = 0; i < texts->count; i++) {
        KD_TRY(add_text(s, results, o, k, i));
        s->words += texts->text[i].words;
        s->bytes += texts->text[i].bytes;
    }
    return KD_OK;
}
