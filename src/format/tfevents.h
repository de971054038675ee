/* TensorBoard's event files: records of TFRecord framing around the protobuf message Event, appended to one file a start.
 * Only what scalars need is written.
 *
 * Sources: tensorflow/core/util/event.proto and framework/summary.proto (field numbers), lib/io/record_writer.h (framing);
 * RFC 3720, appendix B.4 (CRC32C). */
#ifndef KD_TFEVENTS_H
#define KD_TFEVENTS_H

#include "base/error.h"

enum { KD_TFEVENTS_SCALARS = 32, KD_TFEVENTS_TAG = 63 };  /* scalars of a step and letters of a tag, at most */

typedef struct kd_scalar { char tag[KD_TFEVENTS_TAG + 1]; float value; } kd_scalar;

typedef struct kd_tfevents { int fd; int64_t lost; char *path; } kd_tfevents;

/* A new file folder/events.out.tfevents.<seconds>.<host>.<process>.<n>; the folder is made if missing. Readers forget what
 * earlier files of the folder say of steps from `step` on: a run that goes on does them again. time: Unix seconds. */
kd_status kd_tfevents_open(kd_tfevents *events, const char *folder, double time, int64_t step);
/* The scalars of a step, in one record and one write; allocates nothing. The first record that cannot be written is a
 * warning, all are counted in `lost`. A file that was not opened is left alone. */
void kd_tfevents_write(kd_tfevents *events, double time, int64_t step, const kd_scalar *scalar, int64_t count);
void kd_tfevents_close(kd_tfevents *events);

/* The Castagnoli CRC of bytes. */
uint32_t kd_crc32c(const void *data, int64_t size);

#endif
