/* safetensors: a header of JSON that is believed only after every bound is checked, then raw data.
 * Source: huggingface/safetensors, format description; the strict rules of its Rust reader, and no repeated keys. */
#ifndef KD_SAFETENSORS_H
#define KD_SAFETENSORS_H

#include "base/file.h"

#define KD_RANK 8 /* most dimensions of a tensor: kd_tensor_spec's */

struct kd_tensor {
    char *name;
    kd_dtype dtype;
    int64_t rank, shape[KD_RANK];
    int64_t count;            /* elements */
    const kd_source *file;    /* that it lies in; borrowed */
    int64_t at;               /* byte of that file where its data begins */
    const char *path;         /* the file's, for messages; borrowed */
};

/* One or more open files seen as one table of tensors, sorted by name. */
struct kd_tensors {
    kd_tensor *tensor;
    int64_t count;
    kd_source *file;          /* [files] */
    int64_t files;
    char *metadata;           /* the first file's __metadata__ as JSON text, or NULL */
};

/* One file. KD_EFORMAT naming file, tensor and figures. */
kd_status kd_tensors_open(kd_tensors *tensors, const char *path);
/* A model folder: model.safetensors.index.json with its shards if it is there (the index and the shards must name the same
 * tensors; a shard is named without a folder, links are followed), else model.safetensors. */
kd_status kd_tensors_open_folder(kd_tensors *tensors, const char *folder);
/* The same of files that begin with another name than model. */
kd_status kd_tensors_open_stem(kd_tensors *tensors, const char *folder, const char *stem);
void kd_tensors_close(kd_tensors *tensors);

/* ---- writing: describe every tensor, then give the data in that order ---------------------------------------- */

typedef struct kd_tensors_writer { kd_writer file; int64_t total; } kd_tensors_writer;

/* Writes the header, padded to 8 bytes, with __metadata__ {"format":"pt"} plus the key/value pairs in
 * metadata[2*pairs]. Tensors are laid out in the order given: sizes descending in alignment are the caller's choice. */
kd_status kd_tensors_create(kd_tensors_writer *writer, const char *path, const kd_tensor_spec *spec, int64_t count,
                            const char *const *metadata, int64_t pairs);
kd_status kd_tensors_put(kd_tensors_writer *writer, const void *data, int64_t bytes);
/* Checks that all the data was given, syncs and closes. After a failure anywhere: kd_tensors_abandon. */
kd_status kd_tensors_finish(kd_tensors_writer *writer);
void kd_tensors_abandon(kd_tensors_writer *writer);

#endif
