#include "ruler_fit.h"

typedef struct point { int64_t size, tokens; } point;

/* Where a straight line meets the budget less half the slack. With one point the line goes through the origin. */
static int64_t aim(const kd_ruler_fit *f, const point *in, const point *out, bool has_in, bool has_out) {
    double goal = (double)(f->budget - f->slack / 2);
    point a = has_in ? *in : (point){0, 0}, b = has_out ? *out : (point){0, 0};
    if (has_in && !has_out) b = a, a = (point){0, 0};
    if (b.tokens <= a.tokens || b.size <= a.size) return has_out ? (a.size + b.size) / 2 : 2 * b.size + 1;
    double size = (double)a.size + (goal - (double)a.tokens) * (double)(b.size - a.size) / (double)(b.tokens - a.tokens);
    return size >= (double)f->most ? f->most : size <= (double)f->least ? f->least : (int64_t)size;
}

kd_status kd_ruler_fit_find(int64_t *size, int64_t *tokens, kd_ruler_fit *f) {
    point in = {f->least - 1, 0}, out = {f->most + 1, 0}, last = {0, 0};
    bool has_in = false, has_out = false;
    int64_t next = f->guess < f->least ? f->least : f->guess > f->most ? f->most : f->guess;
    f->probes = 0;
    while (out.size - in.size > 1) {
        last.size = next;
        KD_TRY(f->cost(f->opaque, last.size, &last.tokens));
        f->probes++;
        if (last.tokens <= f->budget) {
            in = last;
            has_in = true;
            if (f->budget - last.tokens <= f->slack) break;
        } else {
            out = last;
            has_out = true;
            if (last.size == f->least)
                return kd_fail(KD_ECONFIG, "its shortest prompt has %lld tokens with its answer, %lld are allowed: leave it out (--tasks) or ask for longer ones", (long long)last.tokens,
                               (long long)f->budget);
        }
        next = f->probes % 4 == 0 && has_in && has_out ? in.size + (out.size - in.size) / 2 : aim(f, &in, &out, has_in, has_out);
        if (next <= in.size) next = in.size + 1;
        if (next >= out.size) next = out.size - 1;
    }
    if (last.size != in.size) KD_TRY(f->cost(f->opaque, in.size, &in.tokens));
    *size = in.size;
    *tokens = in.tokens;
    return KD_OK;
}
