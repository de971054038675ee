#include "axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The nearest of 1, 2 and 5 times a power of ten, by ratio. */
static double nice(double x) {
    double power = pow(10, floor(log10(x))), part = x / power;
    return power * (part < sqrt(2) ? 1 : part < sqrt(10) ? 2 : part < sqrt(50) ? 5 : 10);
}

/* "1.50" -> "1.5", "2e-05" -> "2e-5". */
static void trim(char *s) {
    char *e = strchr(s, 'e'), *dot = strchr(s, '.');
    if (e) {
        char *digits = e + 2;
        while (digits[0] == '0' && digits[1]) memmove(digits, digits + 1, strlen(digits));
        if (e[1] == '+') memmove(e + 1, e + 2, strlen(e + 1));
    } else if (dot) {
        char *last = s + strlen(s) - 1;
        while (*last == '0') *last-- = 0;
        if (last == dot) *last = 0;
    }
}

void kd_number_format(char out[32], double value, bool binary) {
    static const char *const suffix[] = {"", "K", "M", "G", "T"};
    double unit = binary ? 1024 : 1000, size = fabs(value);
    int k = 0;
    if (!isfinite(value)) {
        snprintf(out, 32, "%s", isnan(value) ? "-" : value > 0 ? "infinite" : "-infinite");
        return;
    }
    if (size > 0 && size < 1e-3) {
        snprintf(out, 32, "%.3g", value);
        trim(out);
        return;
    }
    while (size >= unit * (binary ? 1 : 0.9995) && k < 4) size /= unit, k++;
    int decimals = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
    if (k) decimals = size >= 100 ? 0 : size >= 10 ? 1 : 2;
    snprintf(out, 24, "%s%.*f", value < 0 ? "-" : "", decimals, size);
    trim(out);
    strcat(out, suffix[k]);
}

static void add(kd_ticks *t, double value, const char *label) {
    if (t->count == KD_TICKS) return;
    t->at[t->count] = value;
    snprintf(t->label[t->count++], 32, "%s", label);
}

/* Every label of an axis with the same decimals, and one unit: K, M, G or a power of ten. */
static void add_linear(kd_ticks *t, double step) {
    static const char *const suffix[] = {"", "K", "M", "G", "T"};
    double most = fmax(fabs(t->min), fabs(t->max)), unit = 1;
    int k = 0;
    while (most / unit >= 9999 && k < 4) unit *= 1000, k++;
    if (most < 1e-3) {
        t->exponent = (int)floor(log10(most) + 1e-9);
        unit = pow(10, t->exponent);
    }
    int decimals = (int)fmax(0, ceil(-log10(step / unit) - 1e-6));
    for (double i = ceil(t->min / step - 1e-6); i * step <= t->max + step * 1e-6; i++) {
        char label[32];
        snprintf(label, sizeof label, "%.*f%s", decimals, i * step / unit, suffix[k]);
        add(t, i * step, i == 0 ? "0" : label);
    }
}

static void linear(kd_ticks *t, double lo, double hi, int64_t wanted, bool snug, bool whole) {
    if (lo == hi || hi - lo < 1e-9 * fmax(fabs(lo), fabs(hi))) {
        double room = whole || lo == 0 ? 1 : fabs(lo) * 0.1;
        lo -= room;
        hi += room;
    }
    double step = nice((hi - lo) / (double)wanted);
    if (whole) step = fmax(1, step);
    t->min = snug ? lo : step * floor(lo / step + 1e-6);
    t->max = snug ? hi : step * ceil(hi / step - 1e-6);
    add_linear(t, step);
}

static void tokens(kd_ticks *t, double lo, double hi, int64_t wanted) {
    t->min = lo;
    t->max = hi > lo ? hi : lo + 1;
    double step = fmax(1, exp2(round(log2((t->max - t->min) / (double)wanted))));
    for (double i = ceil(t->min / step); i * step <= t->max && t->count < KD_TICKS; i++) {
        char label[32];
        kd_number_format(label, i * step, true);
        add(t, i * step, label);
    }
}

static void log_ten(kd_ticks *t, int64_t wanted) {
    double first = floor(log10(t->min)), last = ceil(log10(t->max)), decades = log10(t->max / t->min);
    double skip = fmax(1, ceil(decades / (double)wanted));
    static const double part[] = {1, 2, 5};
    for (double d = first; d <= last; d += skip)
        for (int k = 0; k < (decades <= 3 ? 3 : 1); k++) {
            char label[32];
            double value = part[k] * pow(10, d);
            if (value < t->min * 0.9999 || value > t->max * 1.0001) continue;
            kd_number_format(label, value, false);
            add(t, value, label);
        }
    if (t->count >= 2) return;
    t->count = 0;
    add_linear(t, nice((t->max - t->min) / (double)wanted));
}

static void log_two(kd_ticks *t, int64_t wanted) {
    double first = ceil(log2(t->min) - 1e-9), last = floor(log2(t->max) + 1e-9);
    double skip = fmax(1, ceil((last - first + 1) / (double)wanted));
    for (double d = first; d <= last; d += skip) {
        char label[32];
        kd_number_format(label, exp2(d), true);
        add(t, exp2(d), label);
    }
}

/* As many to the left of the first and to the right of the last as between two. */
static void named(kd_ticks *t, const kd_axis *axis) {
    int64_t skip = (axis->names + KD_TICKS - 1) / KD_TICKS;
    t->scale = KD_LINEAR_SCALE;
    t->min = -0.5;
    t->max = (double)axis->names - 0.5;
    for (int64_t i = 0; i < axis->names; i += skip) add(t, (double)i, axis->name[i]);
}

void kd_ticks_init(kd_ticks *t, const kd_axis *axis, double lo, double hi, int64_t wanted, bool snug) {
    *t = (kd_ticks){.scale = axis->scale};
    if (axis->names > 0) {
        named(t, axis);
        return;
    }
    if (axis->min != 0 || axis->max != 0) {
        lo = lo > hi || axis->min < lo ? axis->min : lo;
        hi = axis->max > hi ? axis->max : hi;
    }
    if (axis->scale == KD_LINEAR_SCALE || axis->scale == KD_TOKENS_SCALE) {
        if (lo > hi) lo = 0, hi = 1;
        if (axis->scale == KD_TOKENS_SCALE) tokens(t, lo, hi, wanted);
        else linear(t, lo, hi, wanted, snug, axis->whole);
        return;
    }
    if (lo > hi || !(lo > 0)) lo = hi = hi > 0 ? hi : 1;
    if (hi / lo < 1.0001) lo /= 1.25, hi *= 1.25;
    double room = snug ? 1 : pow(hi / lo, 0.05);
    t->min = lo / room;
    t->max = hi * room;
    if (axis->scale == KD_LOG_SCALE) log_ten(t, wanted);
    else log_two(t, wanted);
}

double kd_ticks_place(const kd_ticks *t, double value) {
    bool even = t->scale == KD_LINEAR_SCALE || t->scale == KD_TOKENS_SCALE;
    if (!isfinite(value) || (!even && value <= 0)) return NAN;
    double part = even ? (value - t->min) / (t->max - t->min) : log(value / t->min) / log(t->max / t->min);
    return t->from + (t->to - t->from) * part;
}

double kd_ticks_width(const kd_ticks *t) {
    double width = 0;
    for (int64_t i = 0; i < t->count; i++) width = fmax(width, kd_svg_width(t->label[i]));
    return width;
}

void kd_ticks_name(char out[128], const kd_ticks *t, const char *label) {
    if (t->exponent) snprintf(out, 128, "%s%s\u00d7 1e%d", label ? label : "", label && *label ? ", " : "", t->exponent);
    else snprintf(out, 128, "%s", label ? label : "");
}
