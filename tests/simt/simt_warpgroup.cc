/* wgmma: 128 threads issue, and wait for groups of what they issued; it is performed when the last of them waits. Accumulators hold NaN
 * meanwhile. Operands in shared memory must be there when the last thread has issued, and still be the same when it is performed. */
#include "simt_block.h"

#include <stdio.h>

/* ---- what a descriptor points at ------------------------------------------------------------------------------------------- */
struct operand { uint32_t start, lead, stride; int width; uint32_t mask; };  /* width: bytes of a swizzled row; mask: of address bits 7.. */

static operand decode(uint64_t d) {
    static const int widths[] = {16, 128, 64, 32};
    static const uint32_t masks[] = {0, 7, 3, 1};
    if (d >> 49 & 7) simt_fault("wgmma: a descriptor with base offset %d, which is not simulated", (int)(d >> 49 & 7));
    if (d & ~((uint64_t)3 << 62 | (uint64_t)0x3fff << 32 | (uint64_t)0x3fff << 16 | 0x3fff))
        simt_fault("wgmma: descriptor 0x%016llx", (unsigned long long)d);
    return operand{(uint32_t)(d & 0x3fff) << 4, (uint32_t)(d >> 16 & 0x3fff) << 4, (uint32_t)(d >> 32 & 0x3fff) << 4, widths[d >> 62],
                   masks[d >> 62]};
}

/* Where the 16 bytes lie that hold numbers (i..i+7, k) of an MN-major operand, or (i, k..k+7) of a K-major one. */
static uint32_t piece_at(const operand &o, bool turned, int i, int k) {
    uint32_t at = o.start;
    uint32_t mn = (uint32_t)i, kk = (uint32_t)k, w = (uint32_t)o.width;
    if (w == 16) at += turned ? mn / 8 * o.stride + kk / 8 * o.lead + kk % 8 * 16 : mn / 8 * o.stride + mn % 8 * 16 + kk / 8 * o.lead;
    else if (turned) at += mn / (w / 2) * o.lead + kk / 8 * o.stride + kk % 8 * w + mn % (w / 2) / 8 * 16;
    else at += mn / 8 * o.stride + mn % 8 * w + kk / 8 * 16;
    at &= 0x3ffff;
    return at ^ (at >> 7 & o.mask) << 4;
}

/* The operand's count by 16 numbers, bits as they lie, into [count][16]. */
struct order { int group; std::vector<uint32_t> common; int64_t number; };
static void fetch(simt_block_state *block, uint16_t *out, uint64_t descriptor, bool turned, int count, bool check, const order *order) {
    operand o = decode(descriptor);
    for (int i = 0; i < count; i += turned ? 8 : 1)
        for (int k = 0; k < 16; k += turned ? 1 : 8) {
            uint32_t at = piece_at(o, turned, i, k);
            if (check) simt_fenced(block, at, "wgmma");
            if (check && order) SIMT_RACE(wgmma(block, order->group, order->common, at, order->number));
            const uint16_t *piece = (const uint16_t *)simt_shared_at(block, at, 16, "wgmma");
            for (int e = 0; e < 8; e++) out[turned ? (i + e) * 16 + k : i * 16 + k + e] = piece[e];
        }
}

static uint64_t sum_of(const uint16_t *x, int count) {
    uint64_t s = 0xcbf29ce484222325;
    for (int i = 0; i < count; i++) s = (s ^ x[i]) * 0x100000001b3;
    return s;
}

static void fetch_both(simt_block_state *block, const simt_wgmma &op, uint16_t a[64 * 16], uint16_t b[256 * 16], bool check,
                       const order *order) {
    if (!op.a_in_registers) fetch(block, a, op.a, op.a_turned, 64, check, order);
    fetch(block, b, op.b, op.b_turned, op.n, check, order);
}

static uint64_t sum_both(const simt_wgmma &op, const uint16_t *a, const uint16_t *b) {
    return (op.a_in_registers ? 0 : sum_of(a, 64 * 16)) * 31 + sum_of(b, op.n * 16);
}

/* ---- issue ----------------------------------------------------------------------------------------------------------------- */
void gpu_wgmma_fence() {
    simt_hopper("gpu_wgmma_fence");
    simt_self()->wgmma_fenced = true;
}

static simt_warpgroup *group_of(simt_fiber *f) {
    int g = f->number / 128;
    if (f->of->threads < 128 * (g + 1)) simt_fault("wgmma: thread %d is in no whole warpgroup", f->number);
    return &f->of->groups[(size_t)g];
}

static bool same(const simt_wgmma &x, const simt_wgmma &y) {
    return x.n == y.n && x.f16 == y.f16 && x.a_turned == y.a_turned && x.b_turned == y.b_turned && x.a_in_registers == y.a_in_registers &&
           x.accumulate == y.accumulate && x.a == y.a && x.b == y.b;
}

void simt_wgmma_issue(const simt_wgmma &op, float *d, const uint32_t *a) {
    simt_hopper("wgmma");
    simt_fiber *self = simt_self();
    simt_warpgroup *group = group_of(self);
    if (op.n < 8 || op.n > 256 || op.n % 8) simt_fault("wgmma: N = %d", op.n);
    if (!self->wgmma_fenced) simt_fault("wgmma without gpu_wgmma_fence since the thread began, or waited");
    int64_t which = self->wgmma_issued++ - group->first;
    if (which == (int64_t)group->ops.size()) {
        simt_wgmma_op *fresh = new simt_wgmma_op();
        fresh->op = op;
        group->ops.push_back(fresh);
    }
    simt_wgmma_op *at = group->ops[(size_t)which];
    if (!same(at->op, op))
        simt_fault("wgmma: threads of a warpgroup disagree: N %d and %d, A 0x%llx and 0x%llx, B 0x%llx and 0x%llx, accumulate %d and %d",
                   op.n, at->op.n, (unsigned long long)op.a, (unsigned long long)at->op.a, (unsigned long long)op.b,
                   (unsigned long long)at->op.b, op.accumulate, at->op.accumulate);
    int t = self->number % 128;
    at->d[t] = d;
    if (op.a_in_registers) memcpy(at->a[t], a, sizeof at->a[t]);
    simt_accumulators *acc = nullptr;
    for (simt_accumulators &x : self->accumulators) {
        if (x.at == d) acc = &x;
        else if (x.at < d + op.n / 2 && d < x.at + x.value.size()) simt_fault("wgmma: accumulators that overlap others under way");
    }
    if (!acc) {
        self->accumulators.push_back(simt_accumulators{d, std::vector<float>(d, d + op.n / 2), 0});
        acc = &self->accumulators.back();
        memset(d, 0xff, sizeof(float) * (size_t)(op.n / 2));
    }
    if ((int)acc->value.size() != op.n / 2) simt_fault("wgmma: accumulators of N = %d, under way with another N", op.n);
    acc->pending++;
    if (++at->issued == 128) {
        uint16_t both[(64 + 256) * 16];
        order now = {self->number / 128, std::vector<uint32_t>(), group->first + which};
        SIMT_RACE(wgmma_begin(self->of, now.group, &now.common));
        fetch_both(self->of, op, both, both + 64 * 16, true, &now);
        at->sum = sum_both(op, both, both + 64 * 16);
    }
    if (simt_random) simt_pause();
}

void gpu_wgmma_commit() {
    simt_fiber *self = simt_self();
    self->wgmma_groups.push_back(self->wgmma_issued);
    self->wgmma_committed = self->wgmma_issued;
}

/* ---- perform --------------------------------------------------------------------------------------------------------------- */
static simt_accumulators *accumulators(simt_fiber *f, float *d) {
    for (simt_accumulators &x : f->accumulators)
        if (x.at == d) return &x;
    simt_fault("wgmma: accumulators lost");
}

static void perform(simt_fiber **thread, const simt_wgmma_op *x) {
    static float a[64][16], b[16][256], d[64][256];
    static uint16_t raw_a[64 * 16], raw_b[256 * 16];
    const simt_wgmma &op = x->op;
    fetch_both(thread[0]->of, op, raw_a, raw_b, false, nullptr);
    if (sum_both(op, raw_a, raw_b) != x->sum)
        simt_fault("wgmma: its operands in shared memory changed between its issue and its end (A 0x%llx, B 0x%llx)",
                   (unsigned long long)op.a, (unsigned long long)op.b);
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < 16; k++) a[m][k] = simt_widen(raw_a[m * 16 + k], op.f16);
    for (int n = 0; n < op.n; n++)
        for (int k = 0; k < 16; k++) b[k][n] = simt_widen(raw_b[n * 16 + k], op.f16);
    for (int t = 0; t < 128; t++) {
        int row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
        const std::vector<float> &value = accumulators(thread[t], x->d[t])->value;
        for (int j = 0; j < op.n / 2; j++) d[row + j / 2 % 2 * 8][column + j / 4 * 8 + j % 2] = op.accumulate ? value[(size_t)j] : 0;
        if (op.a_in_registers)
            for (int q = 0; q < 4; q++)
                for (int h = 0; h < 2; h++)
                    a[row + q % 2 * 8][column + q / 2 * 8 + h] = simt_widen((uint16_t)(x->a[t][q] >> 16 * h), op.f16);
    }
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < 16; k++) {
            float left = a[m][k], *out = d[m];
            const float *right = b[k];
            for (int n = 0; n < op.n; n++) out[n] += left * right[n];
        }
    for (int t = 0; t < 128; t++) {
        int row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
        simt_accumulators *acc = accumulators(thread[t], x->d[t]);
        for (int j = 0; j < op.n / 2; j++) acc->value[(size_t)j] = d[row + j / 2 % 2 * 8][column + j / 4 * 8 + j % 2];
        if (--acc->pending) continue;
        memcpy(acc->at, acc->value.data(), sizeof(float) * acc->value.size());
        *acc = std::move(thread[t]->accumulators.back());
        thread[t]->accumulators.pop_back();
    }
}

/* The last thread performs what all wait for. Nothing was issued since the last wait: there is nothing to meet for. */
void simt_wgmma_wait(int groups) {
    simt_hopper("gpu_wgmma_wait");
    simt_fiber *self = simt_self();
    simt_warpgroup *group = group_of(self);
    self->wgmma_fenced = false;
    simt_meeting *m = &group->meeting;
    if (m->arrived && m->mask != (unsigned)groups)
        simt_fault("gpu_wgmma_wait<%d> while others of the warpgroup wait for %u", groups, m->mask);
    m->mask = (unsigned)groups;
    m->what = "gpu_wgmma_wait";
    m->lane[self->number % 128] = self;
    if (++m->arrived < 128) {
        simt_wait(SIMT_GROUP, m->what, m, groups);
        return;
    }
    int64_t until = group->first;
    if ((int)self->wgmma_groups.size() > groups) until = self->wgmma_groups[self->wgmma_groups.size() - (size_t)groups - 1];
    for (int t = 0; t < 128; t++) {
        simt_fiber *f = m->lane[t];
        int64_t theirs = (int)f->wgmma_groups.size() > groups ? f->wgmma_groups[f->wgmma_groups.size() - (size_t)groups - 1] : group->first;
        if (theirs != until) simt_fault("gpu_wgmma_wait: threads of a warpgroup have committed different numbers of wgmma");
        if ((int)f->wgmma_groups.size() > groups) f->wgmma_groups.erase(f->wgmma_groups.begin(), f->wgmma_groups.end() - groups);
    }
    while (group->first < until) {
        simt_wgmma_op *op = group->ops.front();
        perform(m->lane, op);
        group->ops.pop_front();
        group->first++;
        delete op;
    }
    SIMT_RACE(wgmma_waited(self->of, self->number / 128, group->first));
    m->arrived = 0;
    for (int t = 0; t < 128; t++)
        if (m->lane[t] != self) simt_wake(m->lane[t]);
    simt_pause();
}

void simt_wgmma_left(simt_fiber *fiber) {
    if (!fiber->accumulators.empty()) simt_fault("the thread ends with wgmma that it has not waited for");
}

/* ---- registers ------------------------------------------------------------------------------------------------------------- */
void simt_registers(int count, bool more) {
    simt_hopper("setmaxnreg");
    simt_fiber *self = simt_self();
    simt_warpgroup *group = group_of(self);
    if (count < 24 || count > 256 || count % 8) simt_fault("setmaxnreg: %d; a multiple of 8 from 24 to 256", count);
    if (more ? count < group->registers : count > group->registers && group->registers % 8 == 0)
        simt_fault("gpu_registers_%s<%d>: the warpgroup has %d", more ? "more" : "fewer", count, group->registers);
    group->registers = count;
}
