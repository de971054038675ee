/* Every number of a probe as one object. What is not finite is null. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "format/jsonl.h"
#include "probe_write.h"

#define FORMAT "kedge probe"
enum { VERSION = 1 };

/* What cannot be made is NULL and makes what holds it NULL: memory was out. */
static json_t *list(const double *value, int64_t count) {
    json_t *out = json_array();
    for (int64_t i = 0; i < count && out; i++)
        if (json_array_append_new(out, isfinite(value[i]) ? json_real(value[i]) : json_null())) {
            json_decref(out);
            out = NULL;
        }
    return out;
}

/* null where there is nothing. */
static json_t *matrix(const double *value, int64_t rows, int64_t columns) {
    if (!value || !columns) return json_null();
    json_t *out = json_array();
    for (int64_t i = 0; i < rows && out; i++)
        if (json_array_append_new(out, list(value + i * columns, columns))) {
            json_decref(out);
            out = NULL;
        }
    return out;
}

static json_t *wholes(const int64_t *value, int64_t count) {
    json_t *out = json_array();
    for (int64_t i = 0; i < count && out; i++)
        if (json_array_append_new(out, json_integer(value[i]))) {
            json_decref(out);
            out = NULL;
        }
    return out;
}

/* A folder's name may be any bytes. */
static json_t *words(const char *text) {
    if (!text) return json_null();
    return json_string(kd_utf8_invalid(text, (int64_t)strlen(text)) < 0 ? text : "unknown");
}

static json_t *numbers(const kd_probe *p, const kd_probe_curve *c, const kd_probe_numbers *n) {
    int64_t pairs = kd_probe_pairs(&p->grid);
    if (!n->d) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "d", matrix(n->d, p->texts, pairs), "d_signed",
                     matrix(n->d_signed, p->texts, pairs), "rows", matrix(n->rows, p->texts, pairs), "largest_logit_change",
                     matrix(n->most, p->texts, pairs), "first_over_median", matrix(n->first, p->texts, pairs),
                     "first_over_largest_other", matrix(n->first_other, p->texts, pairs), "d_logit",
                     matrix(n->logit, p->texts, p->grid.lengths), "d_by_key", n->key ? list(n->key, p->grid.T) : json_null(),
                     "d_by_head", matrix(n->head, c->L, c->H));
}

static json_t *curve(const kd_probe *p, const kd_probe_curve *c) {
    return json_pack("{s:o, s:o, s:b, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "model", words(c->model), "precision", words(c->precision),
                     "random", c->random, "layers", (json_int_t)c->L, "heads", (json_int_t)c->H, "head_size", (json_int_t)c->E,
                     "seconds", isfinite(c->seconds) ? c->seconds : 0, "sink", matrix(c->sink, c->L, c->H),
                     kd_probe_mode_names[KD_PROPAGATED], numbers(p, c, &c->mode[KD_PROPAGATED]), kd_probe_mode_names[KD_ISOLATED],
                     numbers(p, c, &c->mode[KD_ISOLATED]));
}

/* A pair of d and its like has the index base * shifts + s: between shift[0] (base 0) or `against` (base 1) and shift[s]. */
static kd_status make(json_t **out, const kd_probe *p) {
    json_t *curves = json_array();
    for (int64_t i = 0; i < p->curves && curves; i++)
        if (json_array_append_new(curves, curve(p, &p->curve[i]))) {
            json_decref(curves);
            curves = NULL;
        }
    *out = json_pack("{s:s, s:i, s:s, s:I, s:I, s:o, s:I, s:o, s:I, s:o, s:o, s:o, s:o}", "format", FORMAT, "version", VERSION,
                     "kedge", KD_VERSION, "texts", (json_int_t)p->texts, "tokens", (json_int_t)p->grid.T, "shifts",
                     wholes(p->grid.shift, p->grid.shifts), "against", (json_int_t)p->grid.against, "lengths",
                     wholes(p->grid.length, p->grid.lengths), "longest", (json_int_t)p->grid.longest, "mask", words(p->mask),
                     "frame", words(p->frame), "source", words(p->source), "curves", curves);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory: probe.json");
}

kd_status kd_probe_json(kd_text *text, const kd_probe *p) {
    json_t *root = NULL;
    char *json = NULL;
    kd_status status;
    KD_GO(make(&root, p));
    KD_GO(kd_json_print(&json, root, JSON_COMPACT, "probe.json"));
    kd_text_put(text, json);
    KD_GO(kd_text_status(text));
done:
    free(json);
    json_decref(root);
    return status;
}
