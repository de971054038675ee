/* Products by cuBLASLt: descriptors and an algorithm for each kind of product, made once and kept.
 *
 * cuBLASLt's matrices are column-major: a row-major matrix is its transpose there, and out^T = right^T left^T. So its A is right, its B
 * is left, its m are columns, its n rows. */
#include "blas_cuda.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* The functions that are used, by name. */
#define FUNCTIONS(X)                                                                                                                \
    X(Create) X(Destroy) X(MatmulDescCreate) X(MatmulDescDestroy) X(MatmulDescSetAttribute) X(MatrixLayoutCreate)                   \
    X(MatrixLayoutDestroy) X(MatrixLayoutSetAttribute) X(MatmulPreferenceCreate) X(MatmulPreferenceDestroy)                         \
    X(MatmulPreferenceSetAttribute) X(MatmulAlgoGetHeuristic) X(MatmulAlgoConfigGetAttribute) X(Matmul)

/* What products must have in common to be made alike. Compared as bytes. */
typedef struct kind {
    int64_t columns, rows, sum, left_stride;  /* rows and sum: the usual ones */
    int32_t left_turned, right_turned, type, out_type, bias, alignment;
} kind;

typedef struct entry {
    kind kind;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t left, right, out;
    cublasLtMatmulAlgo_t algo;
    struct entry *next;
} entry;

typedef struct kd_blas {
#define X(name) __typeof__(&cublasLt##name) name;
    FUNCTIONS(X)
#undef X
    cublasLtHandle_t handle;
    entry *entries;
} kd_blas;

static kd_status check(const char *what, cublasStatus_t code) {
    if (code == CUBLAS_STATUS_SUCCESS) return KD_OK;
    bool refused = code == CUBLAS_STATUS_NOT_SUPPORTED || code == CUBLAS_STATUS_INVALID_VALUE;
    kd_status status = code == CUBLAS_STATUS_ALLOC_FAILED ? KD_ENOMEM : refused ? KD_ENOTSUP : KD_EIO;
    return kd_fail(status, "matrix products: cuBLASLt: %s: status %d", what, (int)code);
}

/* ---- opening and closing ------------------------------------------------------------------------------------------------------- */

static void drop_entry(kd_blas *b, entry *e) {
    if (e->desc) b->MatmulDescDestroy(e->desc);
    if (e->left) b->MatrixLayoutDestroy(e->left);
    if (e->right) b->MatrixLayoutDestroy(e->right);
    if (e->out) b->MatrixLayoutDestroy(e->out);
    free(e);
}

static void close_blas(kd_cuda *cuda) {
    kd_blas *b = cuda->blas;
    cuda->blas = NULL;
    for (entry *e = b->entries, *next; e; e = next) {
        next = e->next;
        drop_entry(b, e);
    }
    if (b->handle) b->Destroy(b->handle);
    free(b);
}

static kd_status find_functions(kd_blas *b) {
#define X(name)                                                                                                                     \
    *(void **)&b->name = kd_blas_symbol("cublasLt" #name);                                                                          \
    if (!b->name) return KD_ENOTSUP;
    FUNCTIONS(X)
#undef X
    return KD_OK;
}

static kd_status open_blas(kd_cuda *cuda) {
    if (cuda->blas) return KD_OK;
    kd_blas *b;
    KD_TRY(kd_new(&b, 1, sizeof *b));
    kd_status status = find_functions(b);
    if (!status) status = check("opening it", b->Create(&b->handle));
    if (status) {
        free(b);
        return status;
    }
    cuda->blas = b;
    cuda->close_blas = close_blas;
    return KD_OK;
}

/* ---- one kind of product ------------------------------------------------------------------------------------------------------- */

static cudaDataType_t data_type(kd_view_type type) {
    return type == KD_VIEW_F32 ? CUDA_R_32F : type == KD_VIEW_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

static int64_t size_of(kd_view_type type) { return type == KD_VIEW_F32 ? 4 : 2; }

/* A stored matrix, whose rows are cuBLASLt's columns. */
static kd_status layout(kd_blas *b, cublasLtMatrixLayout_t *out, kd_view_type type, int64_t rows, int64_t row, int64_t stride) {
    return check("a layout", b->MatrixLayoutCreate(out, data_type(type), (uint64_t)row, (uint64_t)rows, stride));
}

static kd_status describe(kd_blas *b, entry *e) {
    const kind *k = &e->kind;
    cublasComputeType_t compute = k->type == KD_VIEW_F32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
    cublasOperation_t turned = CUBLAS_OP_T;
    cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t bias_type = data_type((kd_view_type)k->out_type);
    KD_TRY(check("a product", b->MatmulDescCreate(&e->desc, compute, CUDA_R_32F)));
#define SET(name, value)                                                                                                            \
    KD_TRY(check("a product", b->MatmulDescSetAttribute(e->desc, CUBLASLT_MATMUL_DESC_##name, &(value), sizeof(value))))
    if (k->right_turned) SET(TRANSA, turned);
    if (k->left_turned) SET(TRANSB, turned);
    if (k->bias) {
        SET(EPILOGUE, bias);
        SET(BIAS_DATA_TYPE, bias_type);
    }
#undef SET
    KD_TRY(k->right_turned ? layout(b, &e->right, (kd_view_type)k->type, k->columns, k->sum, k->sum)
                           : layout(b, &e->right, (kd_view_type)k->type, k->sum, k->columns, k->columns));
    KD_TRY(k->left_turned ? layout(b, &e->left, (kd_view_type)k->type, k->sum, k->rows, k->left_stride)
                          : layout(b, &e->left, (kd_view_type)k->type, k->rows, k->sum, k->left_stride));
    return layout(b, &e->out, (kd_view_type)k->out_type, k->rows, k->columns, k->columns);
}

/* Whether one block of threads makes each element from the first product to the last. */
static bool in_one_piece(kd_blas *b, const cublasLtMatmulAlgo_t *algo) {
    int32_t pieces = 1;
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t written;
    b->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &pieces, sizeof pieces, &written);
    b->MatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &reduction, sizeof reduction, &written);
    return pieces <= 1 && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* The best of those that do not share out the sum. No attribute tells of blocks that share it without saying so (stream-K), but they
 * need memory for what they hand over: so those without a workspace come first. */
static kd_status choose(kd_blas *b, entry *e) {
    enum { CANDIDATES = 32 };
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    cublasLtMatmulPreference_t wish;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE, alignment = (uint32_t)e->kind.alignment;
    uint64_t workspace = KD_BLAS_WORKSPACE;
    int count = 0;
    KD_TRY(check("a preference", b->MatmulPreferenceCreate(&wish)));
    kd_status status;
#define SET(name, value)                                                                                                            \
    KD_GO(check("a preference", b->MatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof(value))))
    SET(MAX_WORKSPACE_BYTES, workspace);
    SET(REDUCTION_SCHEME_MASK, reductions);
    SET(MIN_ALIGNMENT_A_BYTES, alignment);
    SET(MIN_ALIGNMENT_B_BYTES, alignment);
    SET(MIN_ALIGNMENT_C_BYTES, alignment);
    SET(MIN_ALIGNMENT_D_BYTES, alignment);
#undef SET
    KD_GO(check("an algorithm", b->MatmulAlgoGetHeuristic(b->handle, e->desc, e->right, e->left, e->out, e->out, wish, CANDIDATES, found,
                                                          &count)));
    status = kd_fail(KD_ENOTSUP, "matrix products: cuBLASLt has none for %lldx%lldx%lld, numbers at multiples of %d bytes, in one piece",
                     (long long)e->kind.rows, (long long)e->kind.columns, (long long)e->kind.sum, (int)alignment);
    for (int pass = 0; pass < 2 && status; pass++)
        for (int i = 0; i < count && status; i++) {
            if (found[i].state || (pass == 0 && found[i].workspaceSize) || !in_one_piece(b, &found[i].algo)) continue;
            e->algo = found[i].algo;
            status = KD_OK;
        }
done:
    b->MatmulPreferenceDestroy(wish);
    return status;
}

/* bias: cuBLASLt chooses by the address too. */
static kd_status set_bias(kd_blas *b, entry *e, const void *bias) {
    if (!bias) return KD_OK;
    return check("a bias", b->MatmulDescSetAttribute(e->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
}

static kd_status entry_of(entry **out, kd_blas *b, const kind *k, const void *bias) {
    for (entry *e = b->entries; e; e = e->next)
        if (!memcmp(&e->kind, k, sizeof *k)) {
            *out = e;
            return set_bias(b, e, bias);
        }
    entry *e;
    KD_TRY(kd_new(&e, 1, sizeof *e));
    e->kind = *k;
    kd_status status = describe(b, e);
    if (!status) status = set_bias(b, e, bias);
    if (!status) status = choose(b, e);
    if (status) {
        drop_entry(b, e);
        return status;
    }
    e->next = b->entries;
    *out = b->entries = e;
    return KD_OK;
}

/* ---- products ------------------------------------------------------------------------------------------------------------------ */

/* The largest power of two, up to 16 bytes, that divides every address and row: what vector and matrix copies ask for. */
static int32_t alignment_of(const kd_blas_product *p) {
    int64_t in = size_of(p->type), out = size_of(p->out_type), right_stride = p->right_turned ? p->sum : p->columns;
    uintptr_t places = (uintptr_t)p->out | (uintptr_t)p->left | (uintptr_t)p->right | (uintptr_t)p->start | (uintptr_t)p->bias;
    uintptr_t all = 16 | places | (uintptr_t)(p->left_stride * in) | (uintptr_t)(right_stride * in) | (uintptr_t)(p->columns * out);
    return (int32_t)(all & -all);
}

static kd_status resize(kd_blas *b, cublasLtMatrixLayout_t of, int64_t rows, int64_t row) {
    uint64_t columns = (uint64_t)rows, within = (uint64_t)row;
    KD_TRY(check("a layout", b->MatrixLayoutSetAttribute(of, CUBLASLT_MATRIX_LAYOUT_ROWS, &within, sizeof within)));
    return check("a layout", b->MatrixLayoutSetAttribute(of, CUBLASLT_MATRIX_LAYOUT_COLS, &columns, sizeof columns));
}

static kd_status run(kd_ctx *ctx, const kd_blas_product *p, const kind *k, void *workspace) {
    kd_blas *b = ctx->cuda->blas;
    float one = 1, beta = p->start ? 1 : 0;
    entry *e;
    KD_TRY(entry_of(&e, b, k, p->bias));
    KD_TRY(p->right_turned ? resize(b, e->right, p->columns, p->sum) : resize(b, e->right, p->sum, p->columns));
    KD_TRY(p->left_turned ? resize(b, e->left, p->sum, p->rows) : resize(b, e->left, p->rows, p->sum));
    KD_TRY(resize(b, e->out, p->rows, p->columns));
    return check("a product", b->Matmul(b->handle, e->desc, &one, p->right, e->right, p->left, e->left, &beta, p->start ? p->start : p->out,
                                        e->out, p->out, e->out, &e->algo, workspace, KD_BLAS_WORKSPACE, ctx->cuda->stream));
}

kd_status kd_blas_multiply(kd_ctx *ctx, const kd_blas_product *p, void *workspace) {
    KD_TRY(open_blas(ctx->cuda));
    kind k = {.columns = p->columns, .rows = p->usual_rows, .sum = p->usual_sum, .left_stride = p->left_stride,
              .left_turned = p->left_turned, .right_turned = p->right_turned, .type = p->type, .out_type = p->out_type,
              .bias = p->bias != NULL, .alignment = alignment_of(p)};
    kd_status status = run(ctx, p, &k, workspace);
    if (status != KD_ENOTSUP || (k.rows == p->rows && k.sum == p->sum)) return status;
    k.rows = p->rows, k.sum = p->sum;  /* what serves the usual size refuses this one */
    return run(ctx, p, &k, workspace);
}
