/* In front of CUDA's header of this name. */
#ifndef KD_SIMT_CUDA_RUNTIME_H
#define KD_SIMT_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"
#ifdef __cplusplus
#include "simt.h"
#endif

#endif
