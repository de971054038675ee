/* Maps of tensors: the driver's cuTensorMapEncodeTiled, found through the runtime so that the program starts without a driver. */
#include "gpu_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

_Static_assert(sizeof(gpu_map) == sizeof(CUtensorMap), "a gpu_map is a CUtensorMap");

typedef CUresult encode_tiled(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *,
                              const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

kd_status gpu_map_init(gpu_map *map, gpu_map_type type, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                       const uint32_t *box, gpu_map_swizzle swizzle) {
    static const CUtensorMapSwizzle swizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
    static const cuuint32_t every[] = {1, 1, 1, 1, 1};
    if (rank < 1 || rank > 5) return kd_fail(KD_EARG, "gpu_map_init: %d dimensions, of 1 to 5", rank);
    void *symbol = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found);
#else
    cudaError_t code = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &symbol, cudaEnableDefault, &found);
#endif
    if (code != cudaSuccess || found != cudaDriverEntryPointSuccess)
        return kd_fail(KD_ENOTSUP, "the CUDA driver has no cuTensorMapEncodeTiled");
    CUtensorMap encoded;
    CUresult refused = ((encode_tiled *)symbol)(
        &encoded, type == GPU_MAP_F32 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_UINT16, (cuuint32_t)rank,
        (void *)base, dims, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[swizzle],
        CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (refused != CUDA_SUCCESS)
        return kd_fail(KD_EARG, "cuTensorMapEncodeTiled: error %d for %d dimensions, the innermost of %llu numbers, of which a box has %u",
                       (int)refused, rank, (unsigned long long)dims[0], box[0]);
    __builtin_memcpy(map, &encoded, sizeof encoded);
    return KD_OK;
}
