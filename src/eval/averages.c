#include "averages.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

kd_mean kd_mean_of(const double *item, int64_t n) {
    kd_mean m = {.n = n};
    double squares = 0;
    if (n == 0) return m;
    for (int64_t i = 0; i < n; i++) m.mean += item[i];
    m.mean /= (double)n;
    for (int64_t i = 0; i < n; i++) squares += (item[i] - m.mean) * (item[i] - m.mean);
    if (n > 1) m.error = sqrt(squares / (double)(n - 1)) / sqrt((double)n);
    return m;
}

kd_mean kd_mean_by_size(const double *sum, const double *size, int64_t n) {
    kd_mean m = {.n = n};
    double sizes = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        m.mean += sum[i];
        sizes += size[i];
    }
    if (sizes <= 0) return (kd_mean){.n = n};
    m.mean /= sizes;
    for (int64_t i = 0; i < n; i++) squares += (sum[i] - m.mean * size[i]) * (sum[i] - m.mean * size[i]);
    if (n > 1) m.error = sqrt(squares * (double)n / (double)(n - 1)) / sizes;
    return m;
}

/* The variance of all items is taken as the tasks' own, weighted by what they have of it. */
kd_mean kd_mean_pooled(const kd_mean *task, int64_t count) {
    kd_mean m = {0};
    double variance = 0;
    for (int64_t i = 0; i < count; i++) {
        m.n += task[i].n;
        m.mean += task[i].mean * (double)task[i].n;
        variance += (double)(task[i].n - 1) * task[i].error * task[i].error * (double)task[i].n;
    }
    if (m.n == 0) return m;
    m.mean /= (double)m.n;
    if (m.n > count) m.error = sqrt(variance / (double)(m.n - count) / (double)m.n);
    return m;
}

kd_ruler_average kd_ruler_average_of(const double *score, const int64_t *length, int64_t n) {
    const double enough = 85.6;
    kd_ruler_average a = {.effective = -1};
    double weights = (double)(n * (n + 1)) / 2;
    bool holds = true;
    for (int64_t i = 0; i < n; i++) {
        a.mean += score[i] / (double)n;
        a.increasing += score[i] * (double)(i + 1) / weights;
        a.decreasing += score[i] * (double)(n - i) / weights;
        holds &= score[i] >= enough;
        if (holds) a.effective = length[i];
    }
    return a;
}

double kd_round_to(double x, int decimals) {
    char text[400];
    snprintf(text, sizeof text, "%.*f", decimals, x);  /* exact, and to even */
    return strtod(text, NULL);
}
