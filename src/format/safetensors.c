/* Reading safetensors. A header is believed after every bound is checked: tensors tile the data without hole or
 * overlap, so no byte of a file is outside what the table names. Writing is in safetensors_write.c. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "json.h"

#define HEADER_LIMIT 100000000 /* bytes; the limit of the reference implementation */

static const struct { const char *name; int64_t size; } dtype_table[KD_DTYPES] = {
    [KD_F64] = {"F64", 8}, [KD_F32] = {"F32", 4}, [KD_F16] = {"F16", 2}, [KD_BF16] = {"BF16", 2},
    [KD_I64] = {"I64", 8}, [KD_I32] = {"I32", 4}, [KD_I16] = {"I16", 2}, [KD_I8] = {"I8", 1},
    [KD_U64] = {"U64", 8}, [KD_U32] = {"U32", 4}, [KD_U16] = {"U16", 2}, [KD_U8] = {"U8", 1},
    [KD_BOOL] = {"BOOL", 1},
};

const char *kd_dtype_name(kd_dtype dtype) { return (unsigned)dtype < KD_DTYPES ? dtype_table[dtype].name : NULL; }
int64_t kd_dtype_size(kd_dtype dtype) { return (unsigned)dtype < KD_DTYPES ? dtype_table[dtype].size : 0; }

/* ---- one header -------------------------------------------------------------------------------------------- */

/* The header as JSON, and where the data begins. */
static kd_status read_header(json_t **header, int64_t *data_start, const kd_source *file) {
    const char *path = file->path;
    if (file->size < 8)
        return kd_fail(KD_EFORMAT, "%s: %lld bytes, not even a header's length", path, (long long)file->size);
    unsigned char length[8];
    KD_TRY(kd_source_read(length, file, 0, 8));
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--) size = size << 8 | length[i];
    if (size > HEADER_LIMIT)
        return kd_fail(KD_EFORMAT, "%s: header of %llu bytes, at most %d are believed", path, (unsigned long long)size,
                       HEADER_LIMIT);
    if ((int64_t)size > file->size - 8)
        return kd_fail(KD_EFORMAT, "%s: header of %lld bytes in a file of %lld", path, (long long)size,
                       (long long)file->size);
    *data_start = 8 + (int64_t)size;
    char *text;
    kd_status status;
    KD_TRY(kd_new(&text, (int64_t)size, 1));
    KD_GO(kd_source_read(text, file, 8, (int64_t)size));
    int64_t end = (int64_t)size;
    while (end > 0 && text[end - 1] == ' ') end--;
    if (end < 2 || text[0] != '{' || text[end - 1] != '}')
        KD_GO(kd_fail(KD_EFORMAT, "%s: the header is not one {...} padded with spaces", path));
    status = kd_json_parse(header, text, end, path);
done:
    free(text);
    return status;
}

static kd_status check_metadata(const json_t *metadata, const char *path) {
    if (!json_is_object(metadata)) return kd_fail(KD_EFORMAT, "%s: __metadata__ is not an object", path);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
        if (!json_is_string(value)) return kd_fail(KD_EFORMAT, "%s: __metadata__: %s is not a string", path, key);
    return KD_OK;
}

/* An array of at most limit numbers that are whole and not negative. */
static kd_status read_numbers(int64_t *out, int64_t *count, int64_t limit, const json_t *array, const char *path,
                              const char *name, const char *what) {
    if (!json_is_array(array)) return kd_fail(KD_EFORMAT, "%s: tensor %s: %s is not a list", path, name, what);
    *count = (int64_t)json_array_size(array);
    if (*count > limit)
        return kd_fail(KD_EFORMAT, "%s: tensor %s: %s has %lld numbers, at most %lld are read", path, name, what,
                       (long long)*count, (long long)limit);
    for (int64_t i = 0; i < *count; i++) {
        const json_t *value = json_array_get(array, (size_t)i);
        if (!json_is_integer(value))
            return kd_fail(KD_EFORMAT, "%s: tensor %s: %s[%lld] is not an integer", path, name, what, (long long)i);
        out[i] = json_integer_value(value);
        if (out[i] < 0)
            return kd_fail(KD_EFORMAT, "%s: tensor %s: %s[%lld] is %lld", path, name, what, (long long)i, (long long)out[i]);
    }
    return KD_OK;
}

static kd_status read_dtype(kd_dtype *out, const json_t *value, const char *path, const char *name) {
    if (!json_is_string(value)) return kd_fail(KD_EFORMAT, "%s: tensor %s: dtype is not a string", path, name);
    const char *text = json_string_value(value);
    for (int dtype = 0; dtype < KD_DTYPES; dtype++) {
        if (strcmp(text, dtype_table[dtype].name) == 0 && strlen(text) == json_string_length(value)) {
            *out = (kd_dtype)dtype;
            return KD_OK;
        }
    }
    return kd_fail(KD_EFORMAT, "%s: tensor %s: unknown dtype %.40s", path, name, text);
}

/* Elements of a shape; KD_EFORMAT when elements or bytes leave int64. */
static kd_status count_elements(kd_tensor *tensor, int64_t *bytes) {
    tensor->count = 1;
    for (int64_t i = 0; i < tensor->rank; i++)
        KD_TRY(kd_size_multiply(&tensor->count, tensor->count, tensor->shape[i]));
    return kd_size_multiply(bytes, tensor->count, kd_dtype_size(tensor->dtype));
}

/* The file's data begins at data_start and ends with the file. name is borrowed. */
static kd_status read_entry(kd_tensor *tensor, const char *name, const json_t *entry, const kd_source *file,
                            int64_t data_start) {
    const char *path = file->path;
    int64_t size = file->size - data_start;
    *tensor = (kd_tensor){.file = file, .path = path};
    const json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!dtype || !shape || !offsets || json_object_size(entry) != 3)
        return kd_fail(KD_EFORMAT, "%s: tensor %s: not exactly dtype, shape and data_offsets", path, name);
    int64_t offset[2], offset_count, bytes;
    KD_TRY(read_dtype(&tensor->dtype, dtype, path, name));
    KD_TRY(read_numbers(tensor->shape, &tensor->rank, KD_RANK, shape, path, name, "shape"));
    KD_TRY(read_numbers(offset, &offset_count, 2, offsets, path, name, "data_offsets"));
    if (offset_count != 2 || offset[0] > offset[1] || offset[1] > size)
        return kd_fail(KD_EFORMAT, "%s: tensor %s: data_offsets [%lld, %lld] in %lld bytes of data", path, name,
                       offset_count > 0 ? (long long)offset[0] : -1, offset_count > 1 ? (long long)offset[1] : -1,
                       (long long)size);
    kd_status status = count_elements(tensor, &bytes);
    if (status) return kd_fail_prefix(status, "%s: tensor %s", path, name);
    if (bytes != offset[1] - offset[0])
        return kd_fail(KD_EFORMAT, "%s: tensor %s: %lld bytes, its shape needs %lld", path, name,
                       (long long)(offset[1] - offset[0]), (long long)bytes);
    tensor->at = data_start + offset[0];
    tensor->name = strdup(name);
    return tensor->name ? KD_OK : kd_fail(KD_ENOMEM, "%s: out of memory", path);
}

static int64_t data_end(const kd_tensor *tensor) { return tensor->at + tensor->count * kd_dtype_size(tensor->dtype); }

/* By place; an empty tensor stands before the one that begins where it is. */
static int by_place(const void *a, const void *b) {
    const kd_tensor *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (data_end(x) > data_end(y)) - (data_end(x) < data_end(y));
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const kd_tensor *)a)->name, ((const kd_tensor *)b)->name);
}

static void sort(kd_tensor *tensor, int64_t count, int (*order)(const void *, const void *)) {
    if (count > 0) qsort(tensor, (size_t)count, sizeof *tensor, order);
}

static kd_status check_tiling(kd_tensor *tensor, int64_t count, const kd_source *file, int64_t data_start) {
    sort(tensor, count, by_place);
    int64_t end = data_start;
    for (int64_t i = 0; i < count; i++) {
        if (tensor[i].at != end)
            return kd_fail(KD_EFORMAT, "%s: tensor %s: begins at byte %lld of the data, %s byte %lld", file->path,
                           tensor[i].name, (long long)(tensor[i].at - data_start),
                           tensor[i].at < end ? "overlapping what ends at" : "leaving a hole from",
                           (long long)(end - data_start));
        end = data_end(&tensor[i]);
    }
    if (end != file->size)
        return kd_fail(KD_EFORMAT, "%s: the tensors end at byte %lld of %lld bytes of data", file->path,
                       (long long)(end - data_start), (long long)(file->size - data_start));
    return KD_OK;
}

/* ---- tables of tensors ------------------------------------------------------------------------------------- */

/* Opens the next file and appends its tensors; room for the file is there. */
static kd_status add_file(kd_tensors *tensors, const char *path) {
    kd_source *file = &tensors->file[tensors->files];
    kd_status status = KD_OK;
    json_t *header = NULL, *entry;
    const char *name;
    int64_t data_start = 0, first = tensors->count;
    KD_TRY(kd_source_open(file, path));
    tensors->files++;
    KD_GO(read_header(&header, &data_start, file));
    kd_tensor *larger = realloc(tensors->tensor, ((size_t)first + json_object_size(header)) * sizeof *larger + 1);
    if (!larger) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory: %zu tensors", path, json_object_size(header));
        goto done;
    }
    tensors->tensor = larger;
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            KD_GO(check_metadata(entry, path));
            if (tensors->files > 1) continue;
            KD_GO(kd_json_print(&tensors->metadata, entry, JSON_COMPACT, path));
        } else {
            KD_GO(read_entry(&tensors->tensor[tensors->count], name, entry, file, data_start));
            tensors->count++;
        }
    }
    status = check_tiling(tensors->tensor + first, tensors->count - first, file, data_start);
done:
    json_decref(header);
    return status;
}

kd_status kd_tensors_open(kd_tensors *tensors, const char *path) {
    *tensors = (kd_tensors){0};
    kd_status status = kd_new(&tensors->file, 1, sizeof *tensors->file);
    if (!status) status = add_file(tensors, path);
    if (status) kd_tensors_close(tensors);
    else sort(tensors->tensor, tensors->count, by_name);
    return status;
}

void kd_tensors_close(kd_tensors *tensors) {
    for (int64_t i = 0; i < tensors->count; i++) free(tensors->tensor[i].name);
    for (int64_t i = 0; i < tensors->files; i++) kd_source_close(&tensors->file[i]);
    free(tensors->tensor);
    free(tensors->file);
    free(tensors->metadata);
    *tensors = (kd_tensors){0};
}

const kd_tensor *kd_tensors_find(const kd_tensors *tensors, const char *name) {
    kd_tensor key = {.name = (char *)(uintptr_t)name};
    if (tensors->count == 0) return NULL;
    return bsearch(&key, tensors->tensor, (size_t)tensors->count, sizeof key, by_name);
}

/* ---- folders with an index --------------------------------------------------------------------------------- */

/* A shard is named by an index that anybody may have written: it stays in the folder. */
static bool stays_inside(const char *shard) {
    return *shard && !strchr(shard, '/') && !strstr(shard, "..") && strcmp(shard, ".") != 0;
}

/* The names of the shards, each once, as keys of an object. */
static kd_status read_shards(json_t **out, json_t *map, const char *path) {
    const char *name;
    json_t *value;
    *out = json_object();
    if (!*out) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    if (!json_is_object(map) || json_object_size(map) == 0)
        return kd_fail(KD_EFORMAT, "%s: \"weight_map\" is not an object with tensors", path);
    json_object_foreach(map, name, value) {
        const char *shard = NULL;
        KD_TRY(kd_json_maybe_string(&shard, map, name, path));
        if (!shard) return kd_fail(KD_EFORMAT, "%s: tensor %s: no shard", path, name);
        if (!stays_inside(shard))
            return kd_fail(KD_EFORMAT, "%s: tensor %s: shard %.200s is not a file of this folder", path, name, shard);
        if (json_object_set_new(*out, shard, json_true())) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    }
    return KD_OK;
}

static kd_status check_index(const kd_tensors *tensors, json_t *map, const char *path) {
    for (int64_t i = 1; i < tensors->count; i++)
        if (strcmp(tensors->tensor[i - 1].name, tensors->tensor[i].name) == 0)
            return kd_fail(KD_EFORMAT, "%s: tensor %s is in %s and in %s", path, tensors->tensor[i].name,
                           tensors->tensor[i - 1].path, tensors->tensor[i].path);
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        const char *shard = json_string_value(value);
        const kd_tensor *tensor = kd_tensors_find(tensors, name);
        if (!tensor) return kd_fail(KD_EFORMAT, "%s: tensor %s is not in %s", path, name, shard);
        const char *slash = strrchr(tensor->path, '/'), *file = slash ? slash + 1 : tensor->path;
        if (strcmp(file, shard) != 0)
            return kd_fail(KD_EFORMAT, "%s: tensor %s is in %s and not in %s", path, name, file, shard);
    }
    for (int64_t i = 0; i < tensors->count; i++)
        if (!json_object_get(map, tensors->tensor[i].name))
            return kd_fail(KD_EFORMAT, "%s: tensor %s of %s is not in the map", path, tensors->tensor[i].name,
                           tensors->tensor[i].path);
    return KD_OK;
}

static kd_status open_index(kd_tensors *tensors, const char *folder, const char *index_path) {
    json_t *index = NULL, *shards = NULL, *value;
    const char *shard;
    kd_status status = KD_OK;
    KD_GO(kd_json_load(&index, index_path));
    json_t *map = json_object_get(index, "weight_map");
    KD_GO(read_shards(&shards, map, index_path));
    KD_GO(kd_new(&tensors->file, (int64_t)json_object_size(shards), sizeof *tensors->file));
    json_object_foreach(shards, shard, value) {
        char *path = kd_path_join(folder, shard);
        status = !path ? kd_fail(KD_ENOMEM, "%s: out of memory", folder)
               : !kd_exists(path) ? kd_fail(KD_EIO, "%s: shard %s is missing", index_path, shard)
               : add_file(tensors, path);
        free(path);
        if (status) goto done;
    }
    sort(tensors->tensor, tensors->count, by_name);
    status = check_index(tensors, map, index_path);
done:
    json_decref(shards);
    json_decref(index);
    return status;
}

kd_status kd_tensors_open_stem(kd_tensors *tensors, const char *folder, const char *stem) {
    char name[64];
    *tensors = (kd_tensors){0};
    kd_status status;
    snprintf(name, sizeof name, "%s.safetensors.index.json", stem);
    char *index = kd_path_join(folder, name);
    name[strlen(stem) + sizeof ".safetensors" - 1] = 0;
    char *single = kd_path_join(folder, name);
    if (!index || !single) status = kd_fail(KD_ENOMEM, "%s: out of memory", folder);
    else if (kd_exists(index)) status = open_index(tensors, folder, index);
    else if (kd_exists(single)) status = kd_tensors_open(tensors, single);
    else status = kd_fail(KD_EIO, "%s: neither %s nor %s.index.json", folder, name, name);
    if (status) kd_tensors_close(tensors);
    free(index);
    free(single);
    return status;
}

kd_status kd_tensors_open_folder(kd_tensors *tensors, const char *folder) { return kd_tensors_open_stem(tensors, folder, "model"); }

/* ---- elements ---------------------------------------------------------------------------------------------- */

#define BLOCK 1024 /* elements: a count that the compiler knows, so that it widens by vectors */
#define READ 8192  /* elements read at once */

#define WIDEN_BLOCK(type, out_type, expression)                                                                   \
    do {                                                                                                          \
        type block[BLOCK];                                                                                        \
        out_type wide[BLOCK];                                                                                     \
        memcpy(block, data, (size_t)n * sizeof(type));                                                            \
        memset(block + n, 0, (size_t)(BLOCK - n) * sizeof(type));                                                 \
        for (int i = 0; i < BLOCK; i++) {                                                                         \
            type x = block[i];                                                                                    \
            wide[i] = (expression);                                                                               \
        }                                                                                                         \
        memcpy(out, wide, (size_t)n * sizeof(out_type));                                                          \
    } while (0)

static kd_status check_range(const kd_tensor *tensor, int64_t from, int64_t count) {
    if (from < 0 || count < 0 || from > tensor->count || count > tensor->count - from)
        return kd_fail(KD_EARG, "%s: tensor %s: %lld elements from %lld of %lld", tensor->path, tensor->name,
                       (long long)count, (long long)from, (long long)tensor->count);
    return KD_OK;
}

kd_status kd_tensor_read(void *out, const kd_tensor *tensor, int64_t from, int64_t count) {
    KD_TRY(check_range(tensor, from, count));
    int64_t size = kd_dtype_size(tensor->dtype);
    return kd_source_read(out, tensor->file, tensor->at + from * size, count * size);
}

/* At most READ elements into raw; *count is how many. */
static kd_status read_some(char *raw, int64_t *count, const kd_tensor *tensor, int64_t from, int64_t left) {
    *count = left < READ ? left : READ;
    return kd_tensor_read(raw, tensor, from, *count);
}

/* n <= BLOCK elements. */
static kd_status widen_f32(float *out, const char *data, int64_t n, const kd_tensor *tensor) {
    switch (tensor->dtype) {
    case KD_F64: WIDEN_BLOCK(double, float, (float)x); break;
    case KD_F16: WIDEN_BLOCK(uint16_t, float, kd_f16_widen(x)); break;
    case KD_BF16: WIDEN_BLOCK(uint16_t, float, kd_bf16_widen(x)); break;
    default:
        return kd_fail(KD_EFORMAT, "%s: tensor %s: %s is not a floating-point type", tensor->path, tensor->name,
                       kd_dtype_name(tensor->dtype));
    }
    return KD_OK;
}

static kd_status widen_i64(int64_t *out, const char *data, int64_t n, const kd_tensor *tensor) {
    switch (tensor->dtype) {
    case KD_I64: WIDEN_BLOCK(int64_t, int64_t, x); break;
    case KD_I32: WIDEN_BLOCK(int32_t, int64_t, x); break;
    case KD_I16: WIDEN_BLOCK(int16_t, int64_t, x); break;
    case KD_I8: WIDEN_BLOCK(int8_t, int64_t, x); break;
    case KD_U64: WIDEN_BLOCK(uint64_t, int64_t, (int64_t)x); break;
    case KD_U32: WIDEN_BLOCK(uint32_t, int64_t, x); break;
    case KD_U16: WIDEN_BLOCK(uint16_t, int64_t, x); break;
    case KD_U8: WIDEN_BLOCK(uint8_t, int64_t, x); break;
    default:
        return kd_fail(KD_EFORMAT, "%s: tensor %s: %s is not an integer type", tensor->path, tensor->name,
                       kd_dtype_name(tensor->dtype));
    }
    for (int64_t i = 0; tensor->dtype == KD_U64 && i < n; i++)
        if (out[i] < 0)
            return kd_fail(KD_EFORMAT, "%s: tensor %s: %llu does not fit", tensor->path, tensor->name,
                           (unsigned long long)out[i]);
    return KD_OK;
}

kd_status kd_tensor_read_f32(float *out, const kd_tensor *tensor, int64_t from, int64_t count) {
    if (tensor->dtype == KD_F32) return kd_tensor_read(out, tensor, from, count);
    KD_TRY(check_range(tensor, from, count));
    char raw[READ * 8];
    for (int64_t got; count > 0; from += got, count -= got) {
        KD_TRY(read_some(raw, &got, tensor, from, count));
        for (int64_t at = 0, n; at < got; at += n, out += n) {
            n = got - at < BLOCK ? got - at : BLOCK;
            KD_TRY(widen_f32(out, raw + at * kd_dtype_size(tensor->dtype), n, tensor));
        }
    }
    return KD_OK;
}

kd_status kd_tensor_read_i64(int64_t *out, const kd_tensor *tensor, int64_t from, int64_t count) {
    KD_TRY(check_range(tensor, from, count));
    char raw[READ * 8];
    for (int64_t got; count > 0; from += got, count -= got) {
        KD_TRY(read_some(raw, &got, tensor, from, count));
        for (int64_t at = 0, n; at < got; at += n, out += n) {
            n = got - at < BLOCK ? got - at : BLOCK;
            KD_TRY(widen_i64(out, raw + at * kd_dtype_size(tensor->dtype), n, tensor));
        }
    }
    return KD_OK;
}
