/* A file's bytes in order, plain or out of zstd (by the suffix .zst). */
#ifndef KD_INPUT_H
#define KD_INPUT_H

#include "base/file.h"

typedef struct kd_input kd_input;

kd_status kd_input_open(kd_input **out, const char *path);

/* Some bytes, at most size: *got is 0 only at the end. zstd: concatenated and skippable frames are read; an unfinished
 * frame, a wrong checksum, a window above 128 MiB or a file of zero bytes is KD_EFORMAT "path: byte N: what", the fault
 * at or behind byte N of the file. After a failure the same failure is repeated. */
kd_status kd_input_read(char *out, int64_t *got, kd_input *input, int64_t size);
/* Bytes of the file, as it lies on disk, that were read. */
int64_t kd_input_at(const kd_input *input);
void kd_input_close(kd_input *input);

#endif
