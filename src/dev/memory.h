/* What the system says about memory. */
#ifndef KD_MEMORY_H
#define KD_MEMORY_H

#include <stdint.h>

/* Bytes that this process can still have without swapping: what the machine has free, or less where a control group or
 * ulimit -v says so. 0 when the system does not say. */
int64_t kd_memory_available(void);

/* Bytes of memory that the machine has; 0 when the system does not say. */
int64_t kd_memory_total(void);

/* Bytes of this process that are in memory now, and the most there ever were; 0 when the system does not say. */
int64_t kd_memory_resident(void);
int64_t kd_memory_peak(void);

#endif
