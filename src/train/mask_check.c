#include "mask_check.h"

#include <stdio.h>
#include <stdlib.h>

const char *kd_mask_verdict_name(kd_mask_verdict verdict) {
    static const char *const name[] = {"holds", "LEAK", "BLIND"};
    return name[verdict];
}

/* ---- what is touched ------------------------------------------------------------------------------------------------ */

int64_t kd_touches_start(kd_touch *touch, const kd_sight *s) {
    int64_t count = 0;
    if (s->owner[0] < 0) touch[count++] = (kd_touch){KD_TOUCH_ANCHOR, 0};
    if (s->N > 1) touch[count++] = (kd_touch){KD_TOUCH_EVEN, 0};
    touch[count++] = (kd_touch){KD_TOUCH_LATER, 0};
    return count;
}

int64_t kd_touches_each(kd_touch *touch, const kd_sight *s, int64_t documents) {
    int64_t count = kd_touches_start(touch, s), most = documents < s->N ? documents : s->N;
    if (s->N > 1) touch[count++] = (kd_touch){KD_TOUCH_ODD, 0};
    for (int64_t i = 0; i < most; i++) {
        int64_t n = most > 1 ? i * (s->N - 1) / (most - 1) : 0;
        touch[count++] = (kd_touch){KD_TOUCH_TOKEN, s->first[n]};
        if (s->last[n] > s->first[n]) touch[count++] = (kd_touch){KD_TOUCH_TOKEN, s->last[n]};
    }
    return count;
}

/* "documents 0, 2, .. 6": from `first` on in twos. */
static void name_series(char out[48], int64_t first, int64_t N) {
    int64_t last = first + (N - 1 - first) / 2 * 2;
    if (last == first) snprintf(out, 48, "document %lld", (long long)first);
    else if (last == first + 2) snprintf(out, 48, "documents %lld, %lld", (long long)first, (long long)last);
    else snprintf(out, 48, "documents %lld, %lld, .. %lld", (long long)first, (long long)first + 2, (long long)last);
}

static void name_touch(char out[80], const kd_sight *s, kd_touch touch) {
    char series[48];
    name_series(series, touch.kind != KD_TOUCH_EVEN && s->N > 1, s->N);
    if (touch.kind == KD_TOUCH_TOKEN) snprintf(out, 80, "document %d, token %lld", (int)s->owner[touch.token], (long long)touch.token);
    else if (touch.kind == KD_TOUCH_ANCHOR) snprintf(out, 80, "the anchor");
    else snprintf(out, 80, "%s%s", touch.kind == KD_TOUCH_LATER ? "later half of " : "", series);
}

static void count_touched(kd_mask_row *row, const kd_sight *s, const bool *touched) {
    row->documents = row->tokens = 0;
    for (int64_t t = 0; t < s->T; t++) row->tokens += touched[t];
    for (int64_t n = 0; n < s->N; n++) {
        bool any = false;
        for (int64_t t = s->first[n]; t <= s->last[n] && !any; t++) any = s->owner[t] == n && touched[t];
        row->documents += any;
    }
}

/* ---- what moves ------------------------------------------------------------------------------------------------------ */

/* Of this rank's tokens; may, must: what may move, and what must, [T]. */
static kd_moved count_moved(const uint64_t *before, const uint64_t *after, const bool *may, const bool *must, kd_stretch tokens) {
    kd_moved m = {0};
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        bool moved = before[t - tokens.from] != after[t - tokens.from];
        m.inside += must[t] && moved;
        m.inside_of += must[t];
        m.outside += !may[t] && moved;
        m.outside_of += !may[t];
    }
    return m;
}

static bool blind(const kd_moved *m, bool coarse) { return m->inside_of > 0 && (coarse ? m->inside == 0 : 2 * m->inside < m->inside_of); }

static kd_mask_verdict judge(const kd_mask_row *r, bool coarse) {
    if (r->output.outside || r->gradient.outside) return KD_MASK_LEAKS;
    return blind(&r->output, coarse) || blind(&r->gradient, coarse) ? KD_MASK_IS_BLIND : KD_MASK_HOLDS;
}

static kd_status add_ranks(kd_mask_row *r, kd_comm *comm) {
    int64_t sum[] = {r->output.inside, r->output.inside_of, r->output.outside, r->output.outside_of,
                     r->gradient.inside, r->gradient.inside_of, r->gradient.outside, r->gradient.outside_of};
    if (comm) KD_TRY(kd_comm_sum(comm, "the mask's check", sum, 8));
    r->output = (kd_moved){sum[0], sum[1], sum[2], sum[3]};
    r->gradient = (kd_moved){sum[4], sum[5], sum[6], sum[7]};
    return KD_OK;
}

/* Hashes of outputs and gradients, as they are and as a touch leaves them; flags of the window. */
typedef struct room { uint64_t *before[2], *after[2]; bool *touched; kd_reach reach; } room;

static kd_status check_one(kd_mask_row *row, const room *r, kd_mask_subject *x, const kd_sight *sight, kd_touch touch) {
    row->touch = touch;
    name_touch(row->touched, sight, touch);
    kd_touch_mark(r->touched, sight, touch);
    count_touched(row, sight, r->touched);
    kd_status status = kd_sight_reach(&r->reach, sight, r->touched, x->trained);
    if (x->comm) status = kd_comm_agree(x->comm, "the mask's check", status);
    KD_TRY(status);
    KD_TRY(x->run(x, r->touched, r->after[0], r->after[1]));
    row->output = count_moved(r->before[0], r->after[0], r->reach.output, r->reach.output, x->tokens);
    row->gradient = count_moved(r->before[1], r->after[1], r->reach.gradient, r->reach.must, x->tokens);
    KD_TRY(add_ranks(row, x->comm));
    row->verdict = judge(row, x->coarse);
    return KD_OK;
}

static kd_status make_room(room *r, int64_t T, int64_t count) {
    uint64_t *hash;
    bool *flag;
    KD_TRY(kd_new(&hash, 4 * count, sizeof *hash));
    for (int i = 0; i < 2; i++) r->before[i] = hash + i * count, r->after[i] = hash + (2 + i) * count;
    KD_TRY(kd_new(&flag, 4 * T, sizeof *flag));
    r->touched = flag;
    r->reach = (kd_reach){flag + T, flag + 2 * T, flag + 3 * T};
    return KD_OK;
}

kd_status kd_mask_check(kd_mask_row *row, kd_mask_subject *x, const kd_sight *sight, const kd_touch *touch, int64_t touches) {
    room r = {0};
    kd_status status = make_room(&r, sight->T, kd_stretch_count(x->tokens));
    if (x->comm) status = kd_comm_agree(x->comm, "the mask's check", status);
    if (status) goto done;
    KD_GO(x->run(x, NULL, r.before[0], r.before[1]));
    for (int64_t i = 0; i < touches; i++) KD_GO(check_one(&row[i], &r, x, sight, touch[i]));
done:
    free(r.before[0]);
    free(r.touched);
    return status;
}

kd_status kd_mask_judge(const kd_mask_row *row, int64_t rows, const char *what) {
    for (int64_t i = 0; i < rows; i++) {
        const kd_mask_row *r = &row[i];
        if (r->verdict == KD_MASK_LEAKS)
            return kd_fail(KD_ENUMERIC, "%s: the mask leaks: touching %s moved the outputs of %lld tokens and the gradients of %lld that "
                                        "may not see it", what, r->touched, (long long)r->output.outside, (long long)r->gradient.outside);
        if (r->verdict == KD_MASK_IS_BLIND)
            return kd_fail(KD_ENUMERIC, "%s: the mask hides too much: touching %s moved the outputs of %lld tokens of %lld that see it, "
                                        "the gradients of %lld of %lld", what, r->touched, (long long)r->output.inside,
                           (long long)r->output.inside_of, (long long)r->gradient.inside, (long long)r->gradient.inside_of);
    }
    return KD_OK;
}
