/* Means over items, tasks and lengths, as the harnesses that publish them take them. */
#ifndef KD_AVERAGES_H
#define KD_AVERAGES_H

#include "base/error.h"

/* Of n items: mean, and standard error (sample standard deviation over sqrt(n); 0 for one item). */
typedef struct kd_mean { double mean, error; int64_t n; } kd_mean;
kd_mean kd_mean_of(const double *item, int64_t n);
/* sum over items of `sum`, over that of `size`: the mean over what items have so many of, as tokens of documents. Its error is that of a
 * ratio over items drawn together with their sizes: sqrt(n/(n-1) sum_i (sum_i - mean size_i)^2) / sum_i size_i. Source: Cochran 1977,
 * sections 2.11 and 6.4. 0 for one item. */
kd_mean kd_mean_by_size(const double *sum, const double *size, int64_t n);
/* Of tasks together: by their sizes, with the pooled error of lm-evaluation-harness. */
kd_mean kd_mean_pooled(const kd_mean *task, int64_t count);

/* RULER's, over lengths: the mean; weighted 1..n and n..1; the longest length up to which no score is below 85.6, which is what
 * Llama-2-7B-chat has at 4K, or -1. lengths ascend. */
typedef struct kd_ruler_average { double mean, increasing, decreasing; int64_t effective; } kd_ruler_average;
kd_ruler_average kd_ruler_average_of(const double *score, const int64_t *length, int64_t n);

/* A number to so many decimals, to nearest, ties to even of the double's decimal value: Python's round. */
double kd_round_to(double x, int decimals);

#endif
