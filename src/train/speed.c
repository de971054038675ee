#include "speed.h"

#include <math.h>

kd_work kd_work_count(const kd_config *c, int64_t window, int64_t windows, int64_t micro, kd_recompute recompute, double parameters,
                      double devices) {
    double C = (double)c->C, F = (double)c->F, L = (double)c->L, V = (double)c->V, HE = (double)(c->H * c->E), GE = (double)(c->G * c->E);
    double tokens = (double)window * (double)windows, passes = (double)((windows + micro - 1) / micro), again = recompute == KD_RECOMPUTE_NONE ? 0 : 1;
    double attention = C * (2 * HE + 2 * GE), mlp = 3 * C * F;
    double layer = 9 * C + 3 * F + 2 * (HE + GE);  /* two norms, two residuals, SwiGLU, rotations */
    kd_work w = {.parameters = parameters};
    w.products = tokens * (6 * (L * (attention + mlp) + C * V) + again * 2 * ((L - 1) * attention + L * 2 * C * F));
    w.forward = 4 * HE * (L + again * (L - 1));
    w.backward = 10 * HE * L;
    w.numbers = tokens * (L * layer * (3 + again) + 4 * V);
    w.sent = ((2 + again) * L * (2 * HE + 2 * GE) * tokens / devices + 3 * parameters * passes) * (devices - 1) / devices;
    return w;
}

static double rate_at(const kd_speed_curve *c, double length) {
    int64_t i = 0;
    while (i < c->count && c->length[i] < length) i++;
    if (i == 0) return c->rate[0];
    if (i == c->count) return c->rate[i - 1];
    double at = log(length / c->length[i - 1]) / log(c->length[i] / c->length[i - 1]);
    return c->rate[i - 1] + at * (c->rate[i] - c->rate[i - 1]);
}

kd_seconds kd_speed_seconds(const kd_speed *s, const kd_work *w, const kd_lengths *lengths, double share) {
    kd_seconds t = {.products = w->products / s->products, .numbers = w->numbers / s->numbers, .update = w->parameters / s->update};
    for (int k = 0; k < KD_LENGTH_CLASSES; k++) {
        const kd_length_class *c = &lengths->class[k];
        if (!(c->pairs > 0)) continue;
        double length = c->length / c->pairs;
        t.attention += share * c->pairs * (w->forward / rate_at(&s->forward, length) + w->backward / rate_at(&s->backward, length));
    }
    t.products /= s->devices;
    t.attention /= s->devices;
    t.numbers /= s->devices;
    t.update /= s->devices;
    if (s->devices > 1 && s->link > 0) t.sent = w->sent / s->link;
    t.all = t.products + t.attention + t.numbers + t.update + t.sent;
    return t;
}
