/* What lanes of a warp do together: the last to come acts for all. Tensor cores of one warp. */
#include "simt_block.h"

#include <time.h>

/* ---- meetings -------------------------------------------------------------------------------------------------------------- */
static void act_and_wake(simt_warp_state *warp, size_t which) {
    simt_meeting *m = warp->meetings[which];
    m->act(m->lane, m->argument, m->arrived);
    warp->meetings.erase(warp->meetings.begin() + (ptrdiff_t)which);
    for (int i = 0; i < m->arrived; i++)
        if (m->lane[i]->waits == SIMT_MEETS) simt_wake(m->lane[i]);
    delete m;
}

void simt_meet(const char *what, unsigned mask, void *argument, void (*act)(simt_fiber **, void **, int)) {
    simt_fiber *self = simt_self();
    simt_warp_state *warp = &self->of->warps[(size_t)self->warp];
    if (!(mask >> self->lane & 1)) simt_fault("%s: lane %d calls with the mask 0x%08x, in which it is not", what, self->lane, mask);
    size_t which = 0;
    while (which < warp->meetings.size() && warp->meetings[which]->mask != mask) which++;
    if (which == warp->meetings.size()) {
        simt_meeting *fresh = new simt_meeting();
        fresh->what = what;
        fresh->act = act;
        fresh->mask = mask;
        warp->meetings.push_back(fresh);
    }
    simt_meeting *m = warp->meetings[which];
    if (m->act != act) simt_fault("lane %d calls %s while lanes of its warp wait in %s", self->lane, what, m->what);
    m->lane[m->arrived] = self;
    m->argument[m->arrived] = argument;
    if (++m->arrived == __builtin_popcount(mask & warp->alive)) {
        act_and_wake(warp, which);
        simt_pause();
    } else simt_wait(SIMT_MEETS, what, m, 0);
}

/* A lane that is gone is waited for no longer. */
void simt_lane_left(simt_fiber *fiber) {
    simt_warp_state *warp = &fiber->of->warps[(size_t)fiber->warp];
    warp->alive &= ~(1u << fiber->lane);
    for (size_t i = 0; i < warp->meetings.size();) {
        if (warp->meetings[i]->arrived && warp->meetings[i]->arrived == __builtin_popcount(warp->meetings[i]->mask & warp->alive)) {
            act_and_wake(warp, i);
            i = 0;
        } else i++;
    }
}

static void all_of_them(const char *what, int count) {
    if (count != 32) simt_fault("%s: %d lanes of the warp are left, all 32 take part", what, count);
}

/* ---- votes, shuffles ------------------------------------------------------------------------------------------------------- */
static void act_sync(simt_fiber **lane, void **, int count) {
    (void)lane, (void)count;
    SIMT_RACE(together(lane, count));
}
void simt_sync_warp(unsigned mask) { simt_meet("__syncwarp", mask, nullptr, act_sync); }
unsigned simt_active() { return 1u << simt_self()->lane; }

struct shuffle { uint64_t value, out; int kind, which, width; };
static void act_shuffle(simt_fiber **lane, void **argument, int count) {
    int at[32];
    for (int i = 0; i < 32; i++) at[i] = -1;
    for (int i = 0; i < count; i++) at[lane[i]->lane] = i;
    for (int i = 0; i < count; i++) {
        shuffle *s = (shuffle *)argument[i];
        int l = lane[i]->lane, first = l & ~(s->width - 1), from = l;
        switch (s->kind) {
        case 0: from = first + (s->which & (s->width - 1)); break;
        case 1: from = l - s->which < first ? l : l - s->which; break;
        case 2: from = l + s->which >= first + s->width ? l : l + s->which; break;
        case 3: from = (l ^ s->which) >= first + s->width ? l : l ^ s->which; break;
        }
        if (at[from] < 0) simt_fault("__shfl_sync: lane %d reads lane %d, which does not take part", l, from);
        s->out = ((shuffle *)argument[at[from]])->value;
    }
}
uint64_t simt_shuffle(unsigned mask, uint64_t value, int kind, int which, int width) {
    shuffle s = {value, 0, kind, which, width};
    simt_meet("__shfl_sync", mask, &s, act_shuffle);
    return s.out;
}

struct vote { int predicate; unsigned out; };
static void act_vote(simt_fiber **lane, void **argument, int count) {
    unsigned all = 0;
    for (int i = 0; i < count; i++) all |= (unsigned)(((vote *)argument[i])->predicate != 0) << lane[i]->lane;
    for (int i = 0; i < count; i++) ((vote *)argument[i])->out = all;
}
unsigned simt_ballot(unsigned mask, int predicate) {
    vote v = {predicate, 0};
    simt_meet("a vote", mask, &v, act_vote);
    return v.out;
}

struct reduction { uint64_t value; int kind; };
static void act_reduce(simt_fiber **, void **argument, int count) {
    uint64_t out = ((reduction *)argument[0])->value;
    for (int i = 1; i < count; i++) {
        uint64_t x = ((reduction *)argument[i])->value;
        switch (((reduction *)argument[i])->kind) {
        case 0: out = (unsigned)(out + x); break;
        case 1: out = x > out ? x : out; break;
        case 2: out = x < out ? x : out; break;
        case 3: out |= x; break;
        case 4: out &= x; break;
        case 5: out = (int)(unsigned)x > (int)(unsigned)out ? x : out; break;
        case 6: out = (int)(unsigned)x < (int)(unsigned)out ? x : out; break;
        }
    }
    for (int i = 0; i < count; i++) ((reduction *)argument[i])->value = out;
}
uint64_t simt_reduce(unsigned mask, uint64_t value, int kind) {
    reduction r = {value, kind};
    simt_meet("__reduce_sync", mask, &r, act_reduce);
    return r.value;
}

/* The same lane each time, as the hardware has it; which one, a kernel cannot know. */
static void act_elect(simt_fiber **lane, void **argument, int count) {
    all_of_them("gpu_one_of_warp", count);
    int chosen = simt_random ? lane[0]->warp * 7 % 32 : 0;
    for (int i = 0; i < count; i++) *(bool *)argument[i] = lane[i]->lane == chosen;
}
bool gpu_one_of_warp() {
    simt_hopper("gpu_one_of_warp");
    bool one = false;
    simt_meet("gpu_one_of_warp", 0xffffffff, &one, act_elect);
    return one;
}

long long clock64() {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* ---- 16-bit numbers -------------------------------------------------------------------------------------------------------- */
uint16_t gpu_bf16(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  /* cvt gives this one NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float gpu_widen_f16(uint16_t x) {
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, rest = x & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | rest << 13);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | rest << 13);
    float small = (float)rest * 0x1p-24f;
    return sign ? -small : small;
}

uint16_t gpu_f16(float x) {
    uint32_t bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  /* 65520 and beyond */
    if (size < 0x38800000) return (uint16_t)(sign | (uint32_t)lrintf(__uint_as_float(size) * 0x1p24f));  /* subnormal: multiples of 2^-24 */
    return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
}

float simt_widen(uint16_t x, bool f16) { return f16 ? gpu_widen_f16(x) : gpu_widen_bf16(x); }

/* ---- tensor cores of a warp ------------------------------------------------------------------------------------------------ */
struct mma { float *d; const uint32_t *a, *b; };
static void mma_of(simt_fiber **lane, void **argument, int count, bool f16) {
    all_of_them("mma.sync", count);
    float a[16][16], b[16][8], d[16][8];
    for (int i = 0; i < 32; i++) {
        const mma *x = (const mma *)argument[i];
        int r = lane[i]->lane / 4, c = lane[i]->lane % 4 * 2;
        for (int h = 0; h < 2; h++) {
            for (int q = 0; q < 4; q++) a[r + q % 2 * 8][c + q / 2 * 8 + h] = simt_widen((uint16_t)(x->a[q] >> 16 * h), f16);
            for (int q = 0; q < 2; q++) b[c + q * 8 + h][r] = simt_widen((uint16_t)(x->b[q] >> 16 * h), f16);
        }
        for (int q = 0; q < 4; q++) d[r + q / 2 * 8][c + q % 2] = x->d[q];
    }
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++) d[m][n] += a[m][k] * b[k][n];
    for (int i = 0; i < 32; i++) {
        const mma *x = (const mma *)argument[i];
        int r = lane[i]->lane / 4, c = lane[i]->lane % 4 * 2;
        for (int q = 0; q < 4; q++) x->d[q] = d[r + q / 2 * 8][c + q % 2];
    }
}
static void act_mma_bf16(simt_fiber **lane, void **argument, int count) { mma_of(lane, argument, count, false); }
static void act_mma_f16(simt_fiber **lane, void **argument, int count) { mma_of(lane, argument, count, true); }
void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    mma x = {d, a, b};
    simt_meet("gpu_mma_bf16", 0xffffffff, &x, act_mma_bf16);
}
void gpu_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    mma x = {d, a, b};
    simt_meet("gpu_mma_f16", 0xffffffff, &x, act_mma_f16);
}

/* ldmatrix and stmatrix. */
struct matrices { uint32_t *d; void *row; };
static void move_matrices(simt_fiber **lane, void **argument, int count, bool turned, bool store) {
    all_of_them(store ? "gpu_store_matrix4" : "gpu_load_matrix4", count);
    uint16_t *row[32];
    matrices *of[32];
    for (int i = 0; i < 32; i++) {
        matrices *x = (matrices *)argument[i];
        of[lane[i]->lane] = x;
        row[lane[i]->lane] = (uint16_t *)x->row;
        uint32_t address = simt_address_of(lane[i]->of, x->row, 16, store ? "gpu_store_matrix4" : "gpu_load_matrix4");
        if (address % 16)
            simt_fault("gpu_%s_matrix4: lane %d gives shared address 0x%x, no multiple of 16", store ? "store" : "load", lane[i]->lane,
                       address);
        SIMT_RACE(access(lane[i], address, 16, store, store ? "gpu_store_matrix4" : "gpu_load_matrix4", nullptr));
        if (store) {
            lane[i]->of->unfenced[address / 16] = (uint16_t)(lane[i]->number + 1);
            lane[i]->unfenced.push_back(address / 16);
        }
    }
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++)
            for (int h = 0; h < 2; h++) {
                int r = l / 4, c = l % 4 * 2 + h;
                uint16_t *at = turned ? &row[8 * m + c][r] : &row[8 * m + r][c];
                if (store) *at = (uint16_t)(of[l]->d[m] >> 16 * h);
                else of[l]->d[m] = (of[l]->d[m] & ~(0xffffu << 16 * h)) | (uint32_t)*at << 16 * h;
            }
}
static void act_load(simt_fiber **lane, void **argument, int count) { move_matrices(lane, argument, count, false, false); }
static void act_load_t(simt_fiber **lane, void **argument, int count) { move_matrices(lane, argument, count, true, false); }
static void act_store(simt_fiber **lane, void **argument, int count) { move_matrices(lane, argument, count, false, true); }
static void act_store_t(simt_fiber **lane, void **argument, int count) { move_matrices(lane, argument, count, true, true); }
void gpu_load_matrix4(uint32_t d[4], const void *row) {
    matrices x = {d, const_cast<void *>(row)};
    simt_meet("gpu_load_matrix4", 0xffffffff, &x, act_load);
}
void gpu_load_matrix4_t(uint32_t d[4], const void *row) {
    matrices x = {d, const_cast<void *>(row)};
    simt_meet("gpu_load_matrix4_t", 0xffffffff, &x, act_load_t);
}
void gpu_store_matrix4(void *row, const uint32_t d[4]) {
    simt_hopper("gpu_store_matrix4");
    matrices x = {const_cast<uint32_t *>(d), row};
    simt_meet("gpu_store_matrix4", 0xffffffff, &x, act_store);
}
void gpu_store_matrix4_t(void *row, const uint32_t d[4]) {
    simt_hopper("gpu_store_matrix4_t");
    matrices x = {const_cast<uint32_t *>(d), row};
    simt_meet("gpu_store_matrix4_t", 0xffffffff, &x, act_store_t);
}
