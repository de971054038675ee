/* Tensors to files, which the ranks of a job share: each writes some of the files, and they are the same for any number of
 * ranks. Files are written piece by piece; in a round every rank says which piece it writes next, and the owners send theirs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "weights.h"

void kd_weights_sources_close(kd_weights_sources *s) {
    free(s->from);
    free(s->spec);
}

kd_status kd_weights_sources_open(kd_weights_sources *s, int64_t count) {
    *s = (kd_weights_sources){.count = count};
    KD_TRY(kd_new(&s->from, count, sizeof *s->from));
    return kd_new(&s->spec, count, sizeof *s->spec);
}

kd_weights_source *kd_weights_describe(kd_weights_sources *s, int64_t at, const kd_layout *layout, int64_t i, const char *suffix,
                                       kd_dtype dtype) {
    kd_param_place p = kd_layout_tensor(layout, i);
    kd_weights_source *from = &s->from[at];
    char plain[128];
    kd_param_name(plain, p.kind, p.layer, layout->layered[p.kind]);
    snprintf(from->name, sizeof from->name, "%s%s", plain, suffix);
    from->place = p;
    from->count = p.size;
    from->bytes = p.size * kd_dtype_size(dtype);
    s->spec[at] = (kd_tensor_spec){from->name, dtype, layout->columns[p.kind] ? 2 : 1,
                                   {layout->rows[p.kind], layout->columns[p.kind]}};
    return from;
}

/* ---- which tensors a file has --------------------------------------------------------------------------------------- */

/* What a tensor adds to a file at most: its data and its line of the header. */
static int64_t cost(const kd_weights_source *from) { return from->bytes + (int64_t)strlen(from->name) + 128; }

enum { EMPTY_FILE = 64 };  /* bytes of a header without tensors */

/* The end of the file that begins with tensor `first`: greedy, at least one tensor. */
static int64_t file_end(const kd_weights_sources *s, int64_t first, int64_t shard_bytes) {
    int64_t end = first, size = EMPTY_FILE;
    while (end < s->count && (!shard_bytes || end == first || cost(&s->from[end]) <= shard_bytes - size))
        size += cost(&s->from[end++]);
    return end;
}

/* ---- a rank's files, one after another ------------------------------------------------------------------------------- */

typedef struct pen {
    const kd_weights_sources *s;
    const char *folder, *stem;
    int64_t shard_bytes, files, ranks;
    int64_t file, first, end;  /* the one being written, and its tensors */
    int64_t tensor, at;        /* what is next */
    kd_tensors_writer writer;
    char *path;
    bool open;
    float *stage;              /* [KD_PIECE] */
    int64_t *counts;           /* [7][ranks] of rounds */
} pen;

/* Elements at .. at+n-1 of a tensor; n 0: nothing. */
typedef struct piece { int64_t tensor, at, n; } piece;

static void file_name(char name[80], const pen *p, int64_t file) {
    if (p->files == 1) snprintf(name, 80, "%s.safetensors", p->stem);
    else snprintf(name, 80, "%s-%05lld-of-%05lld.safetensors", p->stem, (long long)file + 1, (long long)p->files);
}

static kd_status open_file(pen *p) {
    char name[80];
    file_name(name, p, p->file);
    p->path = kd_path_join(p->folder, name);
    if (!p->path) return kd_fail(KD_ENOMEM, "out of memory");
    p->end = file_end(p->s, p->first, p->shard_bytes);
    p->tensor = p->first, p->at = 0;
    KD_TRY(kd_tensors_create(&p->writer, p->path, p->s->spec + p->first, p->end - p->first, NULL, 0));
    p->open = true;
    return KD_OK;
}

static void skip_files(pen *p, int64_t files) {
    for (; files > 0 && p->file < p->files; files--, p->file++) p->first = file_end(p->s, p->first, p->shard_bytes);
}

static void close_file(pen *p) {
    free(p->path);
    p->path = NULL;
    p->open = false;
}

/* The piece that is to be put next; begins and ends files on the way. */
static kd_status next_piece(piece *next, pen *p) {
    *next = (piece){0};
    while (p->file < p->files) {
        if (!p->open) KD_TRY(open_file(p));
        if (p->tensor < p->end) {
            int64_t left = p->s->from[p->tensor].count - p->at;
            *next = (piece){p->tensor, p->at, left < KD_PIECE ? left : KD_PIECE};
            return KD_OK;
        }
        KD_TRY(kd_tensors_finish(&p->writer));
        close_file(p);
        skip_files(p, p->ranks);
    }
    return KD_OK;
}

/* float32 to two bytes each, in place. */
static kd_status narrow(float *stage, kd_dtype dtype, const kd_weights_source *from, const piece *x) {
    uint16_t *out = (uint16_t *)stage;
    bool half = dtype == KD_F16;
    for (int64_t i = 0; i < x->n; i++) {
        float value = stage[i];
        uint16_t bits = half ? kd_f16_round(value) : kd_bf16_round(value);
        if (isfinite(value) && (bits & 0x7fff) == (half ? 0x7c00 : 0x7f80))
            return kd_fail(KD_ENUMERIC, "tensor %s: element %lld is %g, which does not fit into %s", from->name,
                           (long long)(x->at + i), value, kd_dtype_name(dtype));
        memcpy(&out[i], &bits, sizeof bits);
    }
    return KD_OK;
}

/* The piece, in stage, to its file. */
static kd_status put_piece(pen *p, const piece *x) {
    const kd_weights_source *from = &p->s->from[x->tensor];
    kd_dtype dtype = p->s->spec[x->tensor].dtype;
    bool as_stored = from->stored && from->stored->dtype == dtype;
    kd_status status = dtype != KD_F32 && !as_stored ? narrow(p->stage, dtype, from, x) : KD_OK;
    if (status) return kd_fail_prefix(status, "%s", p->path);
    KD_TRY(kd_tensors_put(&p->writer, p->stage, x->n * kd_dtype_size(dtype)));
    p->at += x->n;
    if (p->at == from->count) p->tensor++, p->at = 0;
    return KD_OK;
}

/* ---- where pieces come from ------------------------------------------------------------------------------------------ */

/* Codes come to the end of the stage: a number is widened before its place is reached. A piece begins with a block. */
static kd_status widen_piece(const pen *p, kd_model *m, const piece *x) {
    const kd_weights_source *from = &p->s->from[x->tensor];
    float scale[KD_PIECE / KD_CODED_BLOCK];
    kd_coded here = {(uint8_t *)p->stage + (sizeof *p->stage - 1) * KD_PIECE, scale};
    KD_TRY(m->ctx->device->get(m->ctx, here.code, from->coded.code + x->at, x->n));
    KD_TRY(m->ctx->device->get(m->ctx, scale, from->coded.scale + x->at / KD_CODED_BLOCK,
                               (x->n + KD_CODED_BLOCK - 1) / KD_CODED_BLOCK * (int64_t)sizeof *scale));
    kd_coded_widen(p->stage, here, from->is_signed, x->n);
    return KD_OK;
}

static kd_status own_piece(const pen *p, kd_model *m, const piece *x) {
    const kd_weights_source *from = &p->s->from[x->tensor];
    if (from->stored && from->stored->dtype == p->s->spec[x->tensor].dtype) return kd_tensor_read(p->stage, from->stored, x->at, x->n);
    if (from->stored) return kd_tensor_read_f32(p->stage, from->stored, x->at, x->n);
    if (from->coded.code) return widen_piece(p, m, x);
    const float *device = from->device ? from->device : from->owned + from->place.at;  /* all of it is owned, by one rank */
    return m->ctx->device->get(m->ctx, p->stage, device + x->at, x->n * (int64_t)sizeof *p->stage);
}

/* What of the piece a rank owns, in the flat order. */
static kd_range owned_by(const kd_model *m, const kd_weights_sources *s, const piece *x, int64_t rank) {
    kd_param_place place = s->from[x->tensor].place;
    place.at += x->at, place.size = x->n;
    return x->n ? kd_parts_tensor_of(&m->own, &place, rank) : (kd_range){0, 0};
}

/* A round: every rank's piece comes to its stage. *any: whether a rank wanted one. */
static kd_status collect(bool *any, pen *p, kd_model *m, const piece *x) {
    const kd_weights_sources *s = p->s;
    int64_t ranks = p->ranks, rank = kd_comm_rank(m->world), bytes = (int64_t)sizeof(float);
    int64_t *send_at = p->counts, *send = send_at + ranks, *take_at = send + ranks, *take = take_at + ranks;
    piece *wanted = (piece *)(take + ranks);
    const float *base = s->from[0].owned;
    KD_TRY(kd_comm_gather_equal(m->world, "pieces to be written", wanted, x, sizeof *x));
    *any = false;
    for (int64_t r = 0; r < ranks; r++) {
        const piece *theirs = &wanted[r];
        kd_range out = owned_by(m, s, theirs, rank), in = owned_by(m, s, x, r);
        kd_param_place place = s->from[theirs->tensor].place;
        kd_slice slice = kd_parts_tensor(&m->own, &place);
        *any |= theirs->n > 0;
        send[r] = out.count * bytes, send_at[r] = out.count ? (s->from[theirs->tensor].owned - base + slice.own + out.at - slice.at) * bytes : 0;
        take[r] = in.count * bytes, take_at[r] = in.count ? (in.at - s->from[x->tensor].place.at - x->at) * bytes : 0;
    }
    return kd_comm_exchange(m->world, &(kd_move){"pieces to be written", base, p->stage, send_at, send, take_at, take});
}

/* A rank that has failed goes on with the rounds, or the others would wait for it. */
static kd_status write_pieces(pen *p, kd_model *m, bool cut) {
    kd_status status = KD_OK;
    for (bool any = true; any;) {
        piece x = {0};
        if (!status) status = next_piece(&x, p);
        any = x.n > 0;
        if (cut) KD_TRY(collect(&any, p, m, &x));
        else if (any) status = own_piece(p, m, &x);
        if (x.n > 0 && !status) status = put_piece(p, &x);
        if (!cut && status) any = false;
    }
    return status;
}

static kd_status write_index(const pen *p) {
    char name[96], file_of[80];
    json_t *map = json_object();
    int64_t total = 0;
    kd_status status = map ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    for (int64_t file = 0, at = 0; file < p->files && !status; file++) {
        file_name(file_of, p, file);
        for (int64_t end = file_end(p->s, at, p->shard_bytes); at < end; at++) {
            total += p->s->from[at].bytes;
            if (json_object_set_new(map, p->s->from[at].name, json_string(file_of))) status = kd_fail(KD_ENOMEM, "out of memory");
        }
    }
    snprintf(name, sizeof name, "%s.safetensors.index.json", p->stem);
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = NULL, *path = kd_path_join(p->folder, name);
    if (!status) status = index && path ? kd_json_print(&text, index, JSON_INDENT(2), path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_file_write(path, text, (int64_t)strlen(text));
    json_decref(index);
    json_decref(map);
    free(text);
    free(path);
    return status;
}

kd_status kd_weights_write_files(kd_model *m, const kd_weights_sources *s, const char *folder, const char *stem, int64_t shard_bytes) {
    int64_t rank = m ? kd_comm_rank(m->world) : 0, ranks = m ? kd_comm_size(m->world) : 1;
    pen p = {.s = s, .folder = folder, .stem = stem, .shard_bytes = shard_bytes, .ranks = ranks};
    for (int64_t at = 0; at < s->count; p.files++) at = file_end(s, at, shard_bytes);
    skip_files(&p, rank);
    kd_status status = kd_new(&p.stage, KD_PIECE, sizeof *p.stage);
    if (!status) status = kd_new(&p.counts, 7 * ranks, sizeof *p.counts);
    if (m) status = kd_comm_agree(m->world, "writing files", status);
    if (!status) {
        status = write_pieces(&p, m, s->from[0].owned && ranks > 1);
        if (status && p.open) kd_tensors_abandon(&p.writer);
        close_file(&p);
        if (!status && rank == 0 && p.files > 1) status = write_index(&p);
        if (m && status != KD_ELOST) status = kd_comm_agree(m->world, "writing files", status);
    }
    free(p.counts);
    free(p.stage);
    return status;
}
