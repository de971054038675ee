/* How long the documents of windows are: what attention costs depends on it. Classes of lengths, each up to a power of two. */
#ifndef KD_LENGTHS_H
#define KD_LENGTHS_H

#include "kedge.h"

enum { KD_LENGTH_CLASSES = 25, KD_LENGTHS_KEPT = 64 };  /* windows have fewer than 2^24 tokens */

typedef struct kd_length_class {
    double pairs, tokens;           /* of its documents; the anchor's pairs are theirs */
    double length;                  /* the sum of length * pairs: over pairs the length that a pair is in, by the mean */
    int64_t count;
    int64_t kept[KD_LENGTHS_KEPT];  /* the lengths of the last of them */
} kd_length_class;

/* Class k: documents of more than 2^(k-1) and at most 2^k tokens. */
typedef struct kd_lengths { kd_length_class class[KD_LENGTH_CLASSES]; } kd_lengths;

void kd_lengths_add(kd_lengths *lengths, int64_t length, bool anchor);
void kd_lengths_add_plan(kd_lengths *lengths, const kd_plan *plan);
double kd_lengths_pairs(const kd_lengths *lengths);
double kd_lengths_tokens(const kd_lengths *lengths);
/* Adds the documents of another; of both some are kept. */
void kd_lengths_merge(kd_lengths *lengths, const kd_lengths *other);

#endif
