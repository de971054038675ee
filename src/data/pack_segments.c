/* The segments of a pack's windows as a safetensors file. */
#include <stdlib.h>
#include <string.h>

#include "data/pack_json.h"
#include "format/safetensors.h"

enum { GOES_ON_FROM = 1, GOES_ON_IN = 2 };

/* A cell of the table, as a function of the windows and the segment's place. */
typedef int64_t cell(const kd_windows *w, int64_t s, int64_t place);

static int64_t document_of(const kd_windows *w, int64_t s, int64_t place) { return (void)place, w->segment[s].document; }
static int64_t from_of(const kd_windows *w, int64_t s, int64_t place) { return (void)place, w->segment[s].from; }
static int64_t count_of(const kd_windows *w, int64_t s, int64_t place) { return (void)place, w->segment[s].count; }
static int64_t place_of(const kd_windows *w, int64_t s, int64_t place) { return (void)w, (void)s, place; }

static int64_t flags_of(const kd_windows *w, int64_t s, int64_t place) {
    const kd_segment *g = &w->segment[s];
    int64_t length = w->corpus->start[g->document + 1] - w->corpus->start[g->document] + kd_windows_end_with_eos(w);
    (void)place;
    return (g->from > 0 ? GOES_ON_FROM : 0) | (g->from + g->count < length ? GOES_ON_IN : 0);
}

static kd_status put_column(kd_tensors_writer *writer, const kd_windows *w, cell *value, bool wide) {
    for (int64_t i = 0; i < w->count; i++) {
        int64_t place = kd_windows_anchors(w);
        for (int64_t s = w->first[i]; s < w->first[i + 1]; s++) {
            int64_t v = value(w, s, place);
            uint8_t small = (uint8_t)v;
            KD_TRY(kd_tensors_put(writer, wide ? (void *)&v : (void *)&small, wide ? 8 : 1));
            place += kd_windows_head(w, w->corpus->source[w->segment[s].document]) + w->segment[s].count;
        }
    }
    return KD_OK;
}

kd_status kd_pack_write_segments(const char *path, const kd_windows *w) {
    const int64_t n = w->first[w->count];
    const kd_tensor_spec spec[] = {
        {"first", KD_I64, 1, {w->count + 1}}, {"document", KD_I64, 1, {n}}, {"from", KD_I64, 1, {n}},
        {"count", KD_I64, 1, {n}},            {"place", KD_I64, 1, {n}},    {"flags", KD_U8, 1, {n}},
    };
    kd_tensors_writer writer;
    KD_TRY(kd_tensors_create(&writer, path, spec, 6, NULL, 0));
    kd_status status;
    KD_GO(kd_tensors_put(&writer, w->first, (w->count + 1) * 8));
    KD_GO(put_column(&writer, w, document_of, true));
    KD_GO(put_column(&writer, w, from_of, true));
    KD_GO(put_column(&writer, w, count_of, true));
    KD_GO(put_column(&writer, w, place_of, true));
    KD_GO(put_column(&writer, w, flags_of, false));
    return kd_tensors_finish(&writer);
done:
    kd_tensors_abandon(&writer);
    return status;
}

/* The whole of a tensor on the heap. */
static kd_status read_whole(int64_t **out, int64_t *count, const kd_tensors *tensors, const char *path, const char *name) {
    const kd_tensor *tensor = kd_tensors_find(tensors, name);
    if (!tensor || tensor->dtype != KD_I64 || tensor->rank != 1)
        return kd_fail(KD_EFORMAT, "%s: no tensor %s of I64 [n]", path, name);
    *count = tensor->count;
    KD_TRY(kd_new(out, *count, sizeof **out));
    return kd_tensor_read(*out, tensor, 0, *count);
}

kd_status kd_pack_read_segments(int64_t *count, int64_t **first, kd_segment **segment, const char *path) {
    static const char *const name[] = {"document", "from", "count"};
    int64_t *column[3] = {0}, n[3] = {0}, windows = 0;
    kd_tensors tensors;
    *first = NULL;
    *segment = NULL;
    KD_TRY(kd_tensors_open(&tensors, path));
    kd_status status;
    KD_GO(read_whole(first, &windows, &tensors, path, "first"));
    for (int i = 0; i < 3; i++) KD_GO(read_whole(&column[i], &n[i], &tensors, path, name[i]));
    if (windows < 2 || n[0] != n[1] || n[0] != n[2] || (*first)[0] != 0 || (*first)[windows - 1] != n[0]) {
        status = kd_fail(KD_EFORMAT, "%s: %lld windows of %lld, %lld, %lld segments do not belong together", path,
                         (long long)windows - 1, (long long)n[0], (long long)n[1], (long long)n[2]);
        goto done;
    }
    for (int64_t i = 0; i + 1 < windows; i++)
        if ((*first)[i + 1] < (*first)[i]) {
            status = kd_fail(KD_EFORMAT, "%s: window %lld ends before it begins", path, (long long)i);
            goto done;
        }
    KD_GO(kd_new(segment, n[0], sizeof **segment));
    for (int64_t s = 0; s < n[0]; s++) (*segment)[s] = (kd_segment){column[0][s], column[1][s], column[2][s]};
    *count = windows - 1;
done:
    for (int i = 0; i < 3; i++) free(column[i]);
    kd_tensors_close(&tensors);
    if (status) {
        free(*first);
        free(*segment);
        *first = NULL;
        *segment = NULL;
    }
    return status;
}
