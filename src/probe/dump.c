#include "dump.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "format/json.h"
#include "format/jsonl.h"
#include "tally.h"

enum { MOST_HEADS = 1 << 20, MOST_TOKENS = 1 << 24 };

/* ---- opening ----------------------------------------------------------------------------------------------------- */

typedef char tensor_name[64];

static void name_tensor(tensor_name to, int64_t layer, char which, int64_t shift) {
    snprintf(to, sizeof(tensor_name), "layers.%lld.%c.%lld", (long long)layer, which, (long long)shift);
}

/* "layers.3.q.16"; false: another name. A number is spelt in one way, so that no tensor is taken twice. */
static bool parse_name(const char *name, int64_t *layer, int64_t *shift) {
    char *end;
    tensor_name spelt;
    if (strncmp(name, "layers.", 7)) return false;
    *layer = strtoll(name + 7, &end, 10);
    if (end[0] != '.' || (end[1] != 'q' && end[1] != 'k') || end[2] != '.') return false;
    *shift = strtoll(end + 3, NULL, 10);
    name_tensor(spelt, *layer, end[1], *shift);
    return *layer >= 0 && *shift >= 0 && !strcmp(name, spelt);
}

static int ascending(const void *x, const void *y) {
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* Layers and shifts that names speak of. */
static kd_status find_shifts(kd_dump *d) {
    KD_TRY(kd_new(&d->shift, d->tensors.count, sizeof *d->shift));
    for (int64_t i = 0; i < d->tensors.count; i++) {
        int64_t layer, shift;
        const char *name = d->tensors.tensor[i].name;
        if (!parse_name(name, &layer, &shift))
            return kd_fail(KD_EFORMAT, "%s: tensor %s: names are layers.LAYER.q.SHIFT and layers.LAYER.k.SHIFT", d->path, name);
        if (layer >= d->tensors.count) return kd_fail(KD_EFORMAT, "%s: tensor %s: layers below it are missing", d->path, name);
        d->L = layer >= d->L ? layer + 1 : d->L;
        d->shift[i] = shift;
    }
    qsort(d->shift, (size_t)d->tensors.count, sizeof *d->shift, ascending);
    for (int64_t i = 0; i < d->tensors.count; i++)
        if (!d->shifts || d->shift[i] != d->shift[d->shifts - 1]) d->shift[d->shifts++] = d->shift[i];
    if (d->shifts >= 2) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: queries and keys at two shifts at least are needed, it has %lld", d->path, (long long)d->shifts);
}

static kd_status find(const kd_tensor **out, const kd_dump *d, int64_t layer, char which, int64_t shift) {
    tensor_name name;
    name_tensor(name, layer, which, shift);
    *out = kd_tensors_find(&d->tensors, name);
    return *out ? KD_OK : kd_fail(KD_EFORMAT, "%s: tensor %s is missing", d->path, name);
}

static kd_status check_shape(const kd_dump *d, const kd_tensor *t, int64_t heads) {
    if (t->rank != 3)
        return kd_fail(KD_EFORMAT, "%s: tensor %s: it has %lld dimensions, [heads, tokens, head size] are 3", d->path, t->name, (long long)t->rank);
    if (t->dtype != KD_F64 && t->dtype != KD_F32 && t->dtype != KD_F16 && t->dtype != KD_BF16)
        return kd_fail(KD_EFORMAT, "%s: tensor %s is %s: F64, F32, F16 or BF16 is needed", d->path, t->name, kd_dtype_name(t->dtype));
    if (t->shape[0] == heads && t->shape[1] == d->T && t->shape[2] == d->E) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: tensor %s: its shape is [%lld, %lld, %lld], the first tensor's makes it [%lld, %lld, %lld]", d->path, t->name,
                   (long long)t->shape[0], (long long)t->shape[1], (long long)t->shape[2], (long long)heads, (long long)d->T, (long long)d->E);
}

static kd_status check_tensors(kd_dump *d) {
    const kd_tensor *q, *k;
    KD_TRY(find(&q, d, 0, 'q', d->shift[0]));
    KD_TRY(find(&k, d, 0, 'k', d->shift[0]));
    d->H = q->shape[0], d->T = q->shape[1], d->E = q->shape[2], d->G = k->shape[0];
    KD_TRY(check_shape(d, q, d->H));
    KD_TRY(check_shape(d, k, d->G));
    if (d->H < 1 || d->H > MOST_HEADS || d->T < 1 || d->T > MOST_TOKENS || d->G < 1 || d->H % d->G || d->E < 2 || d->E > 4096)
        return kd_fail(KD_EFORMAT, "%s: %lld query heads on %lld key heads of %lld, %lld tokens", d->path, (long long)d->H, (long long)d->G,
                       (long long)d->E, (long long)d->T);
    for (int64_t l = 0; l < d->L; l++)
        for (int64_t s = 0; s < d->shifts; s++) {
            KD_TRY(find(&q, d, l, 'q', d->shift[s]));
            KD_TRY(find(&k, d, l, 'k', d->shift[s]));
            KD_TRY(check_shape(d, q, d->H));
            KD_TRY(check_shape(d, k, d->G));
        }
    return KD_OK;
}

/* More than measuring holds at once, in bytes: no sum of sizes below can leave int64. */
static kd_status check_size(const kd_dump *d) {
    int64_t all = d->H * d->E;
    kd_status status;
    KD_GO(kd_size_multiply(&all, all, d->T + KD_DRIFT_KEYS));
    KD_GO(kd_size_multiply(&all, all, d->shifts));
    KD_GO(kd_size_multiply(&all, all, 64));
done:
    return status ? kd_fail_prefix(status, "%s", d->path) : KD_OK;
}

/* What fits of a text, in whole characters, on one line. */
static void put_words(char *to, size_t size, const char *text) {
    snprintf(to, size, "%s", text);
    int64_t cut = kd_utf8_invalid(to, (int64_t)strlen(to));
    if (cut >= 0) to[cut] = 0;
    kd_text_plain(to);
}

/* Metadata are text, whatever they say. */
static kd_status read_metadata(kd_dump *d) {
    json_t *root = NULL;
    const char *scale = NULL, *model = NULL, *precision = NULL;
    kd_status status = KD_OK;
    d->scale = 1 / sqrt((double)d->E);
    if (!d->tensors.metadata) return KD_OK;
    KD_GO(kd_json_parse(&root, d->tensors.metadata, (int64_t)strlen(d->tensors.metadata), d->path));
    KD_GO(kd_json_maybe_string(&scale, root, "scale", d->path));
    KD_GO(kd_json_maybe_string(&model, root, "model", d->path));
    KD_GO(kd_json_maybe_string(&precision, root, "precision", d->path));
    if (model) put_words(d->model, sizeof d->model, model);
    if (precision) put_words(d->precision, sizeof d->precision, precision);
    if (scale) {
        char *end;
        d->scale = kd_number_parse(scale, &end);
        if (end == scale || *end || !(d->scale > 0 && isfinite(d->scale)))
            status = kd_fail(KD_EFORMAT, "%s: metadata scale \"%.40s\": a positive number", d->path, scale);
    }
done:
    json_decref(root);
    return status;
}

kd_status kd_dump_open(kd_dump *d, const char *path) {
    kd_status status;
    *d = (kd_dump){.path = path};
    KD_GO(kd_tensors_open(&d->tensors, path));
    KD_GO(find_shifts(d));
    KD_GO(check_tensors(d));
    KD_GO(check_size(d));
    KD_GO(read_metadata(d));
done:
    if (status) kd_dump_close(d);
    return status;
}

void kd_dump_close(kd_dump *d) {
    kd_tensors_close(&d->tensors);
    free(d->shift);
    *d = (kd_dump){0};
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/* One document of T tokens. */
typedef struct measured {
    kd_plan plan;
    int64_t start[2], base[KD_PROBE_BASES];
    kd_turned *turned;
    float *memory, *rows;     /* rows [G, T, E]: keys as they are read */
    double *sums;
    kd_drift drift;
    kd_tally tally;
} measured;

static void measured_free(measured *m) {
    kd_tally_free(&m->tally);
    free(m->turned);
    free(m->memory);
    free(m->rows);
    free(m->sums);
}

static kd_status measured_init(measured *m, const kd_dump *d, const kd_probe *p) {
    int64_t queries = d->H * d->T * d->E, keys = d->G * kd_drift_groups(d->T) * d->E * KD_DRIFT_KEYS;
    kd_status status;
    *m = (measured){.plan = {.T = d->T, .N = 1}, .start = {0, d->T}, .base = {0, kd_probe_main_pair(&p->grid)}};
    m->plan.start = m->start;
    KD_GO(kd_new(&m->turned, d->shifts, sizeof *m->turned));
    KD_GO(kd_new(&m->memory, d->shifts * (queries + keys), sizeof *m->memory));
    KD_GO(kd_new(&m->rows, d->G * d->T * d->E, sizeof *m->rows));
    for (int64_t s = 0; s < d->shifts; s++)
        m->turned[s] = (kd_turned){m->memory + s * (queries + keys), m->memory + s * (queries + keys) + queries, NULL};
    m->drift = (kd_drift){.plan = &m->plan, .turned = m->turned, .shifts = d->shifts, .base = m->base, .bases = KD_PROBE_BASES, .H = d->H,
                          .G = d->G, .W = d->E, .scale = d->scale};
    KD_GO(kd_drift_sums(&m->sums, &m->drift, d->T));
    KD_GO(kd_tally_init(&m->tally, d->L, d->H, d->T, d->shifts, KD_PROBE_BASES, m->base[1]));
    kd_tally_clear(&m->tally, &m->plan);
done:
    if (status) measured_free(m);
    return status;
}

static kd_status read(float *to, const kd_dump *d, int64_t layer, char which, int64_t shift) {
    const kd_tensor *t;
    KD_TRY(find(&t, d, layer, which, shift));
    KD_TRY(kd_tensor_read_f32(to, t, 0, t->count));
    for (int64_t i = 0; i < t->count; i++)
        if (!isfinite(to[i])) return kd_fail(KD_ENUMERIC, "%s: tensor %s: element %lld is %g", d->path, t->name, (long long)i, (double)to[i]);
    return KD_OK;
}

kd_status kd_probe_dump(kd_probe_curve *curve, kd_ctx *ctx, const kd_probe *p, const kd_dump *d, int64_t text) {
    measured m;
    kd_status status = measured_init(&m, d, p);
    if (status) return kd_fail_prefix(status, "%s", d->path);
    for (int64_t l = 0; l < d->L; l++) {
        for (int64_t s = 0; s < d->shifts; s++) {
            KD_GO(read(m.turned[s].query, d, l, 'q', d->shift[s]));
            KD_GO(read(m.rows, d, l, 'k', d->shift[s]));
            kd_turned_keys(m.turned[s].key, m.rows, d->G, d->T, d->E);
        }
        KD_GO(kd_drift_run(ctx, &m.drift));
        kd_tally_add(&m.tally, &m.drift, l);
    }
    status = kd_tally_finish(curve, KD_PROPAGATED, p, text, &m.tally);
done:
    measured_free(&m);
    return status;
}
