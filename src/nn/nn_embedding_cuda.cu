/* Token embeddings on CUDA: rows of a table, and rows added to one in the order of the tokens, which are the definition's bits. */
#include "nn_gpu.cuh"

enum { THREADS = 128 };

/* ---- forward -------------------------------------------------------------------------------------------------------------------- */

/* A block for a row. */
template <kd_view_type OUT, kd_view_type IN, int N>
static __global__ void __launch_bounds__(THREADS) gather_rows(kd_embedding_args a, int32_t *fault)
{
    for (int64_t m = blockIdx.x; m < a.M; m += gridDim.x) {
        const int32_t token = a.token[m];
        if (token < 0 || token >= a.V) {
            if (threadIdx.x == 0) nn_note(fault, KD_CUDA_BAD_TOKEN, m, token);
            continue;
        }
        for (int64_t c = (int64_t)threadIdx.x * N; c < a.C; c += THREADS * N) {
            float x[N];
            nn_read<IN>(x, a.in.data, token * a.C + c);
            nn_write<OUT>(a.out.data, m * a.C + c, x);
        }
    }
}

template <kd_view_type OUT, kd_view_type IN> static kd_status gather(kd_ctx *ctx, const kd_embedding_args *a)
{
    constexpr int N = OUT == KD_VIEW_F32 && IN == KD_VIEW_F32 ? 4 : 8;
    bool packs = a->C % N == 0 && nn_aligned(a->out.data, 16) && nn_aligned(a->in.data, 16);
    void (*kernel)(kd_embedding_args, int32_t *) = packs ? gather_rows<OUT, IN, N> : gather_rows<OUT, IN, 1>;
    KD_LAUNCH(kernel, nn_blocks(a->M, NN_MANY), THREADS, 0, ctx->cuda->stream, *a, ctx->cuda->fault);
    return kd_cuda_launched("embedding");
}

template <kd_view_type OUT> static kd_status gather_to(kd_ctx *ctx, const kd_embedding_args *a)
{
    if (a->in.type == KD_VIEW_F32) return gather<OUT, KD_VIEW_F32>(ctx, a);
    return a->in.type == KD_VIEW_BF16 ? gather<OUT, KD_VIEW_BF16>(ctx, a) : gather<OUT, KD_VIEW_F16>(ctx, a);
}

extern "C" kd_status kd_embedding_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_embedding_args *a = (const kd_embedding_args *)args;
    (void)workspace;
    if (a->out.type == KD_VIEW_F32) return gather_to<KD_VIEW_F32>(ctx, a);
    return a->out.type == KD_VIEW_BF16 ? gather_to<KD_VIEW_BF16>(ctx, a) : gather_to<KD_VIEW_F16>(ctx, a);
}

/* ---- backward --------------------------------------------------------------------------------------------------------------------- */

/* Tokens that a launch sees, as bits: which of them are the same as a block's. */
enum { PIECE = 4096, WORDS = PIECE / 32, AHEAD = 4 };

/* The set bits in ascending order. */
typedef struct bits { int word; uint32_t rest; } bits;
GPU int next_bit(bits *b, const uint32_t *same)
{
    while (!b->rest && ++b->word < WORDS) b->rest = same[b->word];
    if (!b->rest) return -1;
    int bit = __ffs((int)b->rest) - 1;
    b->rest &= b->rest - 1;
    return b->word * 32 + bit;
}

/* A block for a token and THREADS * N of its row's columns: if the token has not stood before, this one and those that are the same
 * are added, AHEAD of them on their way at a time. The piece's first token is number `first` of all. */
template <kd_view_type IN, int N>
static __global__ void __launch_bounds__(THREADS) add_rows(kd_embedding_args a, int64_t first, int32_t *fault)
{
    __shared__ uint32_t same[WORDS];
    const int m = blockIdx.x, lane = threadIdx.x % NN_WARP;
    const int64_t begin = (int64_t)blockIdx.y * THREADS * N;
    const int32_t token = a.token[m];
    if (token < 0 || token >= a.V) {
        if (begin == 0 && threadIdx.x == 0) nn_note(fault, KD_CUDA_BAD_TOKEN, first + m, token);
        return;
    }
    const int64_t row = token * a.C - a.at;  /* where it begins in dw, or would */
    if (row + begin >= a.count || row + begin + THREADS * N <= 0) return;
    for (int word = threadIdx.x / NN_WARP; word < WORDS; word += THREADS / NN_WARP) {
        const int other = word * 32 + lane;
        const uint32_t ballot = __ballot_sync(0xffffffffu, other < a.M && a.token[other] == token);
        if (lane == 0) same[word] = ballot;
    }
    __syncthreads();
    bits b = {-1, 0};
    int from[AHEAD];
    from[0] = next_bit(&b, same);
    if (from[0] != m) return;
    const int64_t c = begin + (int64_t)threadIdx.x * N;
    if (c >= a.C || row + c < 0 || row + c >= a.count) return;
    float sum[N], x[N];
    nn_read<KD_VIEW_F32>(sum, a.out.data, row + c);
    nn_pack<N * nn_bytes<IN>> packs[AHEAD];
    do {
#pragma unroll
        for (int k = 1; k < AHEAD; k++) from[k] = next_bit(&b, same);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (from[k] >= 0) packs[k] = nn_load<IN, N>(a.in.data, from[k] * a.C + c);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (from[k] >= 0) {
                nn_widen<IN>(x, packs[k]);
#pragma unroll
                for (int j = 0; j < N; j++) sum[j] += x[j];
            }
        from[0] = next_bit(&b, same);
    } while (from[0] >= 0);
    nn_write<KD_VIEW_F32>(a.out.data, row + c, sum);
}

template <kd_view_type IN> static kd_status add_tokens(kd_ctx *ctx, const kd_embedding_args *a)
{
    bool packs = a->C % 8 == 0 && a->at % 8 == 0 && a->count % 8 == 0 && nn_aligned(a->out.data, 16) && nn_aligned(a->in.data, 16);
    void (*kernel)(kd_embedding_args, int64_t, int32_t *) = packs ? add_rows<IN, 8> : add_rows<IN, 1>;
    for (int64_t m = 0; m < a->M; m += PIECE) {
        kd_embedding_args piece = *a;
        piece.token += m;
        piece.in = kd_at(a->in, m * a->C);
        piece.M = a->M - m < PIECE ? a->M - m : (int64_t)PIECE;
        dim3 grid((unsigned)piece.M, (unsigned)kd_segments(a->C, THREADS * (packs ? 8 : 1)));
        KD_LAUNCH(kernel, grid, THREADS, 0, ctx->cuda->stream, piece, m, ctx->cuda->fault);
        KD_TRY(kd_cuda_launched("embedding backward"));
    }
    return KD_OK;
}

extern "C" kd_status kd_embedding_backward_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_embedding_args *a = (const kd_embedding_args *)args;
    (void)workspace;
    if (a->in.type == KD_VIEW_F32) return add_tokens<KD_VIEW_F32>(ctx, a);
    return a->in.type == KD_VIEW_BF16 ? add_tokens<KD_VIEW_BF16>(ctx, a) : add_tokens<KD_VIEW_F16>(ctx, a);
}
