/* cuBLASLt's product on the host: column-major, sums in float32 in the order of the sum, rounded once. One algorithm, which serves
 * everything, needs no workspace and does not share out the sum; the kernels it stands for read whole pieces of the alignment that was
 * asked for. */
#include "simt_block.h"

#include "cublasLt.h"

struct simt_blas { int unused; };
struct simt_blas_wish { int unused; };
struct simt_blas_matrix { cudaDataType_t type; uint64_t rows, columns; int64_t lead; };
struct simt_blas_product {
    cublasOperation_t turn_a, turn_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    cudaDataType_t bias_type;
    bool bias_typed;
};

static size_t size_of(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

static float read(const void *from, int64_t at, cudaDataType_t type) {
    if (type == CUDA_R_32F) return ((const float *)from)[at];
    return simt_widen(((const uint16_t *)from)[at], type == CUDA_R_16F);
}

static void write(void *to, int64_t at, cudaDataType_t type, float x) {
    if (type == CUDA_R_32F) ((float *)to)[at] = x;
    else ((uint16_t *)to)[at] = type == CUDA_R_16F ? gpu_f16(x) : gpu_bf16(x);
}

static bool lies_on_device(const void *memory, const simt_blas_matrix &m) {
    return simt_global(memory, (((m.columns - 1) * (size_t)m.lead) + m.rows) * size_of(m.type));
}

static cublasStatus_t product(const simt_blas_product &p, float alpha, const void *a, const simt_blas_matrix &al, const void *b,
                              const simt_blas_matrix &bl, float beta, const void *c, const simt_blas_matrix &cl, void *d,
                              const simt_blas_matrix &dl) {
    int64_t m = (int64_t)dl.rows, n = (int64_t)dl.columns, k = (int64_t)(p.turn_a ? al.rows : al.columns);
    std::vector<float> left((size_t)(m * k)), sum((size_t)m);
    for (int64_t q = 0; q < k; q++)
        for (int64_t i = 0; i < m; i++) left[(size_t)(q * m + i)] = read(a, p.turn_a ? i * al.lead + q : q * al.lead + i, al.type);
    for (int64_t j = 0; j < n; j++) {
        for (float &s : sum) s = 0;
        for (int64_t q = 0; q < k; q++) {
            float right = read(b, p.turn_b ? q * bl.lead + j : j * bl.lead + q, bl.type);
            const float *column = &left[(size_t)(q * m)];
            for (int64_t i = 0; i < m; i++) sum[(size_t)i] += column[i] * right;
        }
        for (int64_t i = 0; i < m; i++) {
            float x = alpha * sum[(size_t)i];
            if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) x += read(p.bias, i, p.bias_typed ? p.bias_type : dl.type);
            if (beta != 0) x += beta * read(c, j * cl.lead + i, cl.type);
            write(d, j * dl.lead + i, dl.type, x);
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new simt_blas();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale) {
    if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC) || scale != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *desc = new simt_blas_product{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F, false};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t bytes) {
    if (bytes != (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : 4)) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: memcpy(&desc->turn_a, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: memcpy(&desc->turn_b, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: memcpy(&desc->epilogue, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: memcpy(&desc->bias, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        memcpy(&desc->bias_type, value, bytes);
        desc->bias_typed = true;
        break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t columns,
                                          int64_t lead) {
    *layout = new simt_blas_matrix{type, rows, columns, lead};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                size_t bytes) {
    if (bytes != (attribute == CUBLASLT_MATRIX_LAYOUT_TYPE ? 4 : 8)) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: memcpy(&layout->type, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_ROWS: memcpy(&layout->rows, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_COLS: memcpy(&layout->columns, value, bytes); break;
    case CUBLASLT_MATRIX_LAYOUT_LD: memcpy(&layout->lead, value, bytes); break;
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *wish) {
    *wish = new simt_blas_wish();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t wish) {
    delete wish;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *, size_t bytes) {
    return bytes == (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

/* Shapes that belong together, of types that cuBLASLt has: 16 bits of one kind into itself or float32, float32 into float32. */
static cublasStatus_t allowed(const simt_blas_product *p, const simt_blas_matrix *a, const simt_blas_matrix *b, const simt_blas_matrix *c,
                              const simt_blas_matrix *d) {
    uint64_t m = p->turn_a ? a->columns : a->rows, k = p->turn_a ? a->rows : a->columns;
    uint64_t k_too = p->turn_b ? b->columns : b->rows, n = p->turn_b ? b->rows : b->columns;
    if (!m || !n || !k || k != k_too || d->rows != m || d->columns != n || c->rows != m || c->columns != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (a->lead < (int64_t)a->rows || b->lead < (int64_t)b->rows || c->lead < (int64_t)m || d->lead < (int64_t)m)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (a->type != b->type || c->type != d->type || (d->type != a->type && d->type != CUDA_R_32F)) return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int asked, cublasLtMatmulHeuristicResult_t found[], int *count) {
    *count = 0;
    cublasStatus_t status = allowed(desc, a, b, c, d);
    if (status || asked < 1) return status ? status : CUBLAS_STATUS_INVALID_VALUE;
    found[0] = cublasLtMatmulHeuristicResult_t();
    found[0].algo.data[0] = 1;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *, cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes, size_t *written) {
    int32_t x = attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? 1 : 0;
    if (bytes != sizeof x) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &x, sizeof x);
    *written = sizeof x;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algo, void *, size_t, cudaStream_t) {
    cublasStatus_t status = allowed(desc, a_layout, b_layout, c_layout, d_layout);
    if (status) return status;
    if (algo && algo->data[0] != 1) return CUBLAS_STATUS_INVALID_VALUE;
    simt_blas_product p = *desc;
    simt_blas_matrix al = *a_layout, bl = *b_layout, cl = *c_layout, dl = *d_layout;
    float scale = *(const float *)alpha, keep = *(const float *)beta;
    size_t bias_bytes = dl.rows * size_of(p.bias_typed ? p.bias_type : dl.type);
    if (!lies_on_device(a, al) || !lies_on_device(b, bl) || !lies_on_device(d, dl) || (keep != 0 && !lies_on_device(c, cl)) ||
        (p.epilogue == CUBLASLT_EPILOGUE_BIAS && !simt_global(p.bias, bias_bytes)))
        return CUBLAS_STATUS_INVALID_VALUE;
    simt_later_on_stream([=]() { product(p, scale, a, al, b, bl, keep, c, cl, d, dl); });
    return CUBLAS_STATUS_SUCCESS;
}

/* In place of dev/blas_library_cuda.c. */
void *kd_blas_symbol(const char *name) {
#define X(f) if (!strcmp(name, #f)) return (void *)f;
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute)
    X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy) X(cublasLtMatrixLayoutSetAttribute) X(cublasLtMatmulPreferenceCreate)
    X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic)
    X(cublasLtMatmulAlgoConfigGetAttribute) X(cublasLtMatmul)
#undef X
    kd_fail(KD_ENOTSUP, "matrix products: the simulated cuBLASLt has no %s", name);
    return nullptr;
}

}
