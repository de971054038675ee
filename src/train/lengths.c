#include "lengths.h"

void kd_lengths_add(kd_lengths *lengths, int64_t length, bool anchor) {
    int64_t k = 0;
    while (k + 1 < KD_LENGTH_CLASSES && length > INT64_C(1) << k) k++;
    kd_length_class *c = &lengths->class[k];
    double n = (double)length, pairs = n * (n + 1) / 2 + (anchor ? n : 0);
    c->pairs += pairs;
    c->tokens += n;
    c->length += n * pairs;
    c->kept[c->count++ % KD_LENGTHS_KEPT] = length;
}

void kd_lengths_add_plan(kd_lengths *lengths, const kd_plan *plan) {
    for (int64_t n = 0; n < plan->N; n++) kd_lengths_add(lengths, plan->start[n + 1] - plan->start[n], plan->anchors > 0);
}

double kd_lengths_pairs(const kd_lengths *lengths) {
    double pairs = 0;
    for (int k = 0; k < KD_LENGTH_CLASSES; k++) pairs += lengths->class[k].pairs;
    return pairs;
}

double kd_lengths_tokens(const kd_lengths *lengths) {
    double tokens = 0;
    for (int k = 0; k < KD_LENGTH_CLASSES; k++) tokens += lengths->class[k].tokens;
    return tokens;
}

void kd_lengths_merge(kd_lengths *lengths, const kd_lengths *other) {
    for (int k = 0; k < KD_LENGTH_CLASSES; k++) {
        kd_length_class *to = &lengths->class[k];
        const kd_length_class *from = &other->class[k];
        int64_t kept = from->count < KD_LENGTHS_KEPT / 2 ? from->count : KD_LENGTHS_KEPT / 2, count = to->count + from->count;
        for (int64_t i = 0; i < kept; i++) to->kept[to->count++ % KD_LENGTHS_KEPT] = from->kept[i];
        if (to->count < count && to->count >= KD_LENGTHS_KEPT) to->count = count;
        to->pairs += from->pairs;
        to->tokens += from->tokens;
        to->length += from->length;
    }
}
