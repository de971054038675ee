/* Asynchronous copies: cp.async, and the copy engine with maps of tensors. What is copied to shared memory holds NaN from the call until
 * the copy is performed; what is copied from it is read when the copy is performed. A store is two steps: shared memory is read, and later
 * global memory written. */
#include "simt_block.h"

#include <cuda.h>

/* ---- cp.async: performed by the thread that waits -------------------------------------------------------------------------- */
void gpu_copy16(void *shared, const void *global, bool there) {
    simt_fiber *self = simt_self();
    uint32_t address = simt_address_of(self->of, shared, 16, "gpu_copy16");
    if (address % 16 || (uintptr_t)global % 16) simt_fault("gpu_copy16: shared address 0x%x, global %p: multiples of 16", address, global);
    if (there && !simt_global(global, 16)) simt_fault("gpu_copy16: %p is not memory of the device", global);
    SIMT_RACE(copy(self, address, false));
    memset(shared, 0xff, 16);
    self->copies.push_back(simt_copy{shared, global, there, self->copy_group});
}

void gpu_copy_commit() { simt_self()->copy_group++; }

void simt_copy_wait(int groups) {
    simt_fiber *self = simt_self();
    size_t kept = 0;
    for (size_t i = 0; i < self->copies.size(); i++) {
        simt_copy c = self->copies[i];
        if (c.group >= self->copy_group - groups) self->copies[kept++] = c;
        else {
            SIMT_RACE(copy(self, simt_address_of(self->of, c.to, 16, "gpu_copy_wait"), true));
            if (c.there) memcpy(c.to, c.from, 16);
            else memset(c.to, 0, 16);
        }
    }
    self->copies.resize(kept);
    if (simt_random) simt_pause();
}

void simt_copies_left(simt_fiber *fiber) {
    if (!fiber->copies.empty()) simt_fault("the thread ends with %d copies of 16 bytes not waited for", (int)fiber->copies.size());
}

/* ---- the asynchronous view of shared memory -------------------------------------------------------------------------------- */
void gpu_fence_async() {
    simt_fiber *self = simt_self();
    for (uint32_t piece : self->unfenced)
        if (self->of->unfenced[piece] == self->number + 1) self->of->unfenced[piece] = 0;
    self->unfenced.clear();
    SIMT_RACE(fence(self));
}

void simt_fenced(simt_block_state *block, uint32_t address, const char *what) {
    int writer = block->unfenced[address / 16 & 0x3fff];
    if (writer) simt_fault("%s reads shared address 0x%x, which thread %d wrote without gpu_fence_async behind", what, address, writer - 1);
}

/* ---- maps ------------------------------------------------------------------------------------------------------------------ */
struct tensor {
    uint32_t mark;
    uint8_t bytes, rank, swizzle, is_float;  /* of a number; bytes of the swizzle / 32 */
    char *base;
    uint32_t dims[5];
    uint64_t strides[4];
    uint16_t box[5];
};
static_assert(sizeof(tensor) <= sizeof(gpu_map), "a map holds a tensor");
static const uint32_t TENSOR_MARK = 0x74656e73;

extern "C" CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *base, const cuuint64_t *dims,
                                           const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *every, CUtensorMapInterleave,
                                           CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
    tensor t = tensor();
    t.mark = TENSOR_MARK;
    switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT16: case CU_TENSOR_MAP_DATA_TYPE_FLOAT16: case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: t.bytes = 2; break;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32: t.is_float = 1; t.bytes = 4; break;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32: t.bytes = 4; break;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
    if (rank < 1 || rank > 5 || !base || (uintptr_t)base % 16) return CUDA_ERROR_INVALID_VALUE;
    t.rank = (uint8_t)rank;
    t.base = (char *)base;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 1 || dims[i] >= (uint64_t)1 << 32 || box[i] < 1 || box[i] > 256 || every[i] != 1) return CUDA_ERROR_INVALID_VALUE;
        if (i && (strides[i - 1] % 16 || strides[i - 1] >= (uint64_t)1 << 40)) return CUDA_ERROR_INVALID_VALUE;
        t.dims[i] = (uint32_t)dims[i];
        t.box[i] = (uint16_t)box[i];
        if (i) t.strides[i - 1] = strides[i - 1];
    }
    int row = t.box[0] * t.bytes;
    static const uint8_t spans[] = {0, 1, 2, 4};
    t.swizzle = spans[swizzle];
    if (row % 16 || (t.swizzle && row > 32 * t.swizzle)) return CUDA_ERROR_INVALID_VALUE;
    if (t.swizzle && row != 32 * t.swizzle) return CUDA_ERROR_NOT_SUPPORTED;  /* shorter rows: where they then lie is not simulated */
    memset((void *)map, 0, sizeof *map);
    memcpy((void *)map, &t, sizeof t);
    return CUDA_SUCCESS;
}

static tensor read_map(const gpu_map *map, int rank, const char *what) {
    tensor t;
    memcpy((void *)&t, (const void *)map, sizeof t);
    if (t.mark != TENSOR_MARK) simt_fault("%s: this is no map of a tensor", what);
    if (t.rank != rank) simt_fault("%s: a map of %d dimensions", what, t.rank);
    uint64_t last = (uint64_t)t.dims[0] * t.bytes;
    for (int i = 1; i < rank; i++) last += (uint64_t)(t.dims[i] - 1) * t.strides[i - 1];
    if (!simt_global(t.base, last))
        simt_fault("%s: the map's %llu bytes from %p are not all memory of the device", what, (unsigned long long)last, t.base);
    return t;
}

static int box_bytes(const tensor &t) {
    int bytes = t.bytes;
    for (int i = 0; i < t.rank; i++) bytes *= t.box[i];
    return bytes;
}

/* Bits 4.. of an address XORed with bits 7..: 1, 2 or 3 of them for 32, 64 or 128 bytes. */
static uint32_t swizzled(uint32_t address, int swizzle) {
    uint32_t mask = swizzle == 4 ? 7 : swizzle == 2 ? 3 : swizzle == 1 ? 1 : 0;
    return address ^ (address >> 7 & mask) << 4;
}

/* Calls visit(number in global memory or NULL where out of bounds, shared address). */
template <class F> static void visit_box(const tensor &t, uint32_t shared, const int *at, F visit) {
    int i[5] = {0, 0, 0, 0, 0}, total = box_bytes(t) / t.bytes;
    for (int n = 0; n < total; n++) {
        bool inside = true;
        char *p = t.base;
        for (int d = 0; d < t.rank; d++) {
            int64_t x = (int64_t)at[d] + i[d];
            inside &= x >= 0 && x < (int64_t)t.dims[d];
            p += x * (d ? (int64_t)t.strides[d - 1] : t.bytes);
        }
        visit(inside ? p : nullptr, swizzled(shared + (uint32_t)(n * t.bytes), t.swizzle));
        for (int d = 0; d < t.rank && ++i[d] == t.box[d]; d++) i[d] = 0;
    }
}

/* ---- loads ----------------------------------------------------------------------------------------------------------------- */
struct load final : simt_later {
    tensor t;
    uint32_t shared;
    int at[5], bar;
    simt_later *perform() override {
        simt_block_state *b = block;
        const tensor &map = t;
        visit_box(map, shared, at, [&](const char *from, uint32_t address) {
            char *to = (char *)simt_shared_at(b, address, map.bytes, "gpu_tma_load");
            if (from) memcpy(to, from, map.bytes);
            else memset(to, 0, map.bytes);
        });
        SIMT_RACE(landed(b, shared, box_bytes(t)));
        simt_mbar_bytes(b, bar, box_bytes(t));
        return nullptr;
    }
};

void simt_tma_load(int rank, void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z, int w) {
    simt_hopper("gpu_tma_load");
    simt_block_state *b = simt_self()->of;
    tensor t = read_map(map, rank, "gpu_tma_load");
    uint32_t address = simt_address_of(b, shared, box_bytes(t), "gpu_tma_load");
    if (address % 128) simt_fault("gpu_tma_load: shared address 0x%x, no multiple of 128", address);
    simt_mbar *m = simt_mbar_at(b, bar, "gpu_tma_load");
    if (!m->fenced) simt_fault("gpu_tma_load: the mbarrier was initialized without gpu_mbar_fence_init behind");
    SIMT_RACE(load(simt_self(), address, box_bytes(t), (int)(m - b->mbars.data()), m->phase));
    load *l = new load();
    l->t = t;
    l->shared = address;
    l->bar = (int)(m - b->mbars.data());
    int at[5] = {x, y, z, w, 0};
    memcpy(l->at, at, sizeof at);
    memset(shared, 0xff, (size_t)box_bytes(l->t));
    l->block = b;
    b->under_way++;
    simt_enqueue(l);
    if (simt_random) simt_pause();
}

/* ---- stores: shared memory is read, then global memory written; a thread's groups of them ---------------------------------- */
struct write final : simt_later {
    std::vector<std::pair<char *, std::vector<char>>> pieces;
    bool add;
    simt_fiber *fiber;
    simt_block_state *of;
    int64_t block_number;
    int group;
    simt_later *perform() override {
        for (auto &piece : pieces) {
            if (!add) memcpy(piece.first, piece.second.data(), piece.second.size());
            for (size_t i = 0; add && i < piece.second.size(); i += 4) {
                float x, y;
                memcpy(&x, piece.first + i, 4);
                memcpy(&y, piece.second.data() + i, 4);
                x += y;
                memcpy(piece.first + i, &x, 4);
            }
        }
        if (of->active && of->number == block_number) {
            fiber->bulk_done_group[group % 64]--;
            if (fiber->waits == SIMT_BULK) simt_wake(fiber);
        }
        return nullptr;
    }
};

struct store final : simt_later {
    tensor t;            /* t.rank 0: `bytes` in one piece at t.base */
    uint32_t shared;
    int at[5], bytes, group;
    bool add;
    simt_fiber *fiber;
    write *made;         /* not yet handed on */
    ~store() override { delete made; }
    simt_later *perform() override {
        simt_block_state *b = block;
        write *w = made = new write();
        w->block = nullptr;
        w->add = add;
        w->fiber = fiber;
        w->of = b;
        w->block_number = b->number;
        w->group = group;
        auto take = [&](char *to, uint32_t address, int count) {
            if (!to) return;
            simt_fenced(b, address, "a copy to global memory");
            const char *from = (const char *)simt_shared_at(b, address, count, "a copy to global memory");
            w->pieces.push_back(std::make_pair(to, std::vector<char>(from, from + count)));
        };
        if (!t.rank) for (int i = 0; i < bytes; i += 16) take(t.base + i, shared + (uint32_t)i, 16);
        else visit_box(t, shared, at, [&](char *to, uint32_t address) { take(to, address, t.bytes); });
        fiber->bulk_read_group[group % 64]--;
        if (fiber->waits == SIMT_BULK) simt_wake(fiber);
        made = nullptr;
        return w;
    }
};

static void enqueue_store(store *s) {
    simt_fiber *self = simt_self();
    s->fiber = self;
    s->group = self->bulk_group;
    s->block = self->of;
    self->of->under_way++;
    self->bulk_read_group[s->group % 64]++;
    self->bulk_done_group[s->group % 64]++;
    simt_enqueue(s);
    if (simt_random) simt_pause();
}

void simt_tma_store(int rank, bool add, const gpu_map *map, const void *shared, int x, int y, int z) {
    simt_hopper("gpu_tma_store");
    tensor t = read_map(map, rank, "gpu_tma_store");
    if (add && !t.is_float) simt_fault("gpu_tma_add3: a map of float32 is needed");
    uint32_t address = simt_address_of(simt_self()->of, shared, box_bytes(t), "gpu_tma_store");
    if (address % 128) simt_fault("gpu_tma_store: shared address 0x%x, no multiple of 128", address);
    SIMT_RACE(bulk(simt_self(), address, box_bytes(t)));
    store *s = new store();
    s->t = t;
    s->add = add;
    s->shared = address;
    int at[5] = {x, y, z, 0, 0};
    memcpy(s->at, at, sizeof at);
    enqueue_store(s);
}

static void bulk(void *global, const void *shared, int bytes, bool add, const char *what) {
    simt_hopper(what);
    uint32_t address = simt_address_of(simt_self()->of, shared, bytes, what);
    if (address % 16 || (uintptr_t)global % 16 || bytes <= 0 || bytes % 16)
        simt_fault("%s: shared address 0x%x, global %p, %d bytes: multiples of 16", what, address, global, bytes);
    if (!simt_global(global, (size_t)bytes)) simt_fault("%s: %d bytes at %p are not all memory of the device", what, bytes, global);
    SIMT_RACE(bulk(simt_self(), address, bytes));
    store *s = new store();
    s->shared = address;
    s->t.base = (char *)global;
    s->bytes = bytes;
    s->add = add;
    enqueue_store(s);
}
void gpu_bulk_add_f32(float *global, const float *shared, int bytes) { bulk(global, shared, bytes, true, "gpu_bulk_add_f32"); }
void gpu_bulk_store(void *global, const void *shared, int bytes) { bulk(global, shared, bytes, false, "gpu_bulk_store"); }

void gpu_bulk_commit() {
    simt_fiber *self = simt_self();
    self->bulk_group++;
    if (self->bulk_done_group[self->bulk_group % 64]) simt_fault("gpu_bulk_commit: 64 groups under way");
}

void simt_bulk_wait(int groups, bool read) {
    simt_fiber *self = simt_self();
    const int *under_way = read ? self->bulk_read_group : self->bulk_done_group;
    for (;;) {
        int left = 0;
        for (int g = self->bulk_group - groups - 1; g >= 0 && g > self->bulk_group - 64; g--) left += under_way[g % 64];
        if (!left) {
            SIMT_RACE(bulk_waited(self, groups));
            return;
        }
        simt_wait(SIMT_BULK, read ? "gpu_bulk_wait_read" : "gpu_bulk_wait", nullptr, groups);
    }
}
