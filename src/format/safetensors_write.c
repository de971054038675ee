/* Writing safetensors: the header from the descriptions, then the data as it comes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "jsonl.h"
#include "safetensors.h"

/* Takes value over. */
static kd_status set(json_t *object, const char *key, json_t *value, const char *path) {
    return json_object_set_new(object, key, value) ? kd_fail(KD_ENOMEM, "%s: out of memory", path) : KD_OK;
}

/* jansson says no to memory that is out and to wrong text alike, so text is looked at before. */
static kd_status check_text(const char *text, const char *path) {
    if (kd_utf8_invalid(text, (int64_t)strlen(text)) < 0) return KD_OK;
    return kd_fail(KD_EARG, "%s: \"%s\" is not UTF-8", path, text);
}

/* {"dtype", "shape", "data_offsets"}; *offset moves behind the tensor. */
static kd_status describe(json_t *header, const kd_tensor_spec *spec, int64_t *offset, const char *path) {
    if (!*spec->name || strcmp(spec->name, "__metadata__") == 0 || json_object_get(header, spec->name))
        return kd_fail(KD_EARG, "%s: tensor \"%s\": an empty, reserved or repeated name", path, spec->name);
    if (spec->rank < 0 || spec->rank > KD_RANK || (unsigned)spec->dtype >= KD_DTYPES)
        return kd_fail(KD_EARG, "%s: tensor %s: rank %lld, dtype %d", path, spec->name, (long long)spec->rank,
                       (int)spec->dtype);
    KD_TRY(check_text(spec->name, path));
    int64_t count = 1, bytes, end;
    kd_status status = KD_OK;
    json_t *shape = json_array();
    for (int64_t i = 0; i < spec->rank && !status; i++) {
        status = kd_size_multiply(&count, count, spec->shape[i]);
        if (!status && json_array_append_new(shape, json_integer(spec->shape[i])))
            status = kd_fail(KD_ENOMEM, "out of memory");
    }
    if (!status) status = kd_size_multiply(&bytes, count, kd_dtype_size(spec->dtype));
    if (!status && __builtin_add_overflow(*offset, bytes, &end))
        status = kd_fail(KD_EARG, "its data does not fit behind byte %lld", (long long)*offset);
    if (status) {
        json_decref(shape);
        return kd_fail_prefix(status == KD_ENOMEM ? status : KD_EARG, "%s: tensor %s", path, spec->name);
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I,I]}", "dtype", kd_dtype_name(spec->dtype), "shape", shape,
                              "data_offsets", (json_int_t)*offset, (json_int_t)end);
    if (!entry) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    *offset = end;
    return set(header, spec->name, entry, path);
}

/* The whole header as text; free() it. */
static kd_status write_header(char **text, int64_t *bytes, const char *path, const kd_tensor_spec *spec, int64_t count,
                              const char *const *metadata, int64_t pairs) {
    kd_status status = KD_OK;
    json_t *header = json_object(), *about = json_object();
    *text = NULL;
    *bytes = 0;
    KD_GO(set(about, "format", json_string("pt"), path));
    for (int64_t i = 0; i < pairs; i++) {
        KD_GO(check_text(metadata[2 * i], path));
        KD_GO(check_text(metadata[2 * i + 1], path));
        KD_GO(set(about, metadata[2 * i], json_string(metadata[2 * i + 1]), path));
    }
    KD_GO(set(header, "__metadata__", json_incref(about), path));
    for (int64_t i = 0; i < count; i++) KD_GO(describe(header, &spec[i], bytes, path));
    status = kd_json_print(text, header, JSON_COMPACT, path);
done:
    json_decref(about);
    json_decref(header);
    return status;
}

kd_status kd_tensors_create(kd_tensors_writer *writer, const char *path, const kd_tensor_spec *spec, int64_t count,
                            const char *const *metadata, int64_t pairs) {
    *writer = (kd_tensors_writer){.file = {.fd = -1}};
    char *text = NULL;
    int64_t bytes;
    kd_status status = KD_OK;
    KD_GO(write_header(&text, &bytes, path, spec, count, metadata, pairs));
    int64_t size = (int64_t)strlen(text), padded = (size + 7) / 8 * 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    if (__builtin_add_overflow(8 + padded, bytes, &writer->total)) {
        status = kd_fail(KD_EARG, "%s: %lld bytes of data do not fit behind the header", path, (long long)bytes);
        goto done;
    }
    KD_GO(kd_writer_open(&writer->file, path));
    KD_GO(kd_writer_put(&writer->file, length, 8));
    KD_GO(kd_writer_put(&writer->file, text, size));
    KD_GO(kd_writer_put(&writer->file, "       ", padded - size));
done:
    free(text);
    return status;
}

kd_status kd_tensors_put(kd_tensors_writer *writer, const void *data, int64_t bytes) {
    if (bytes < 0 || bytes > writer->total - writer->file.written)
        return kd_fail(KD_EARG, "%s: %lld bytes at byte %lld of %lld", writer->file.path, (long long)bytes,
                       (long long)writer->file.written, (long long)writer->total);
    return kd_writer_put(&writer->file, data, bytes);
}

kd_status kd_tensors_finish(kd_tensors_writer *writer) {
    if (writer->file.written != writer->total)
        return kd_fail(KD_EARG, "%s: %lld bytes written, the header promises %lld", writer->file.path,
                       (long long)writer->file.written, (long long)writer->total);
    KD_TRY(kd_writer_sync(&writer->file));
    return kd_writer_close(&writer->file);
}

void kd_tensors_abandon(kd_tensors_writer *writer) {
    if (!writer->file.path) return;
    unlink(writer->file.path);
    close(writer->file.fd);
    free(writer->file.path);
    *writer = (kd_tensors_writer){.file = {.fd = -1}};
}
