/* Barriers of a block, mbarriers with transactions, turns between blocks. */
#include "simt_block.h"

/* ---- barriers 0..15 -------------------------------------------------------------------------------------------------------- */
void simt_barriers_clear(simt_block_state *block) {
    for (simt_barrier &b : block->barrier) {
        b.need = b.arrived = 0;
        b.came.clear();
    }
}

/* When as many have come as it needs, those who wait go on. A warp comes as a whole: lanes that stay away are lanes that the hardware would
 * count all the same. */
static void complete_if(simt_block_state *block, int id, const simt_fiber *last_waits) {
    simt_barrier *b = &block->barrier[id];
    if (!b->need || b->arrived < b->need) return;
    unsigned lanes[32] = {0};
    for (simt_fiber *f : b->came) lanes[f->warp] |= 1u << f->lane;
    for (size_t w = 0; w < block->warps.size(); w++)
        if (lanes[w] && block->warps[w].alive & ~lanes[w])
            simt_fault("barrier %d: complete with lanes 0x%08x of warp %d, which has 0x%08x", id, lanes[w], (int)w, block->warps[w].alive);
    (void)last_waits;
    SIMT_RACE(complete(block, id, b->came, last_waits));
    std::vector<simt_fiber *> came;
    came.swap(b->came);
    b->need = b->arrived = 0;
    for (simt_fiber *f : came)
        if (f->waits == SIMT_BARRIER && f->waits_value == id) simt_wake(f);
}

static void come(int id, int threads, bool wait, const char *what) {
    simt_fiber *self = simt_self();
    if (!id && wait && threads == self->of->alive) {
        simt_sync_threads(0, 0);
        return;
    }
    if (id < 1 || id > 15) simt_fault("%s: barrier %d; 1 to 15 are for parts of a block, 0 for all of it", what, id);
    if (threads <= 0 || threads % 32 || threads > (self->of->threads + 31) / 32 * 32)
        simt_fault("%s: barrier %d for %d threads; whole warps of %d", what, id, threads, self->of->threads);
    simt_barrier *b = &self->of->barrier[id];
    if (b->need && b->need != threads) simt_fault("%s: barrier %d for %d threads, others said %d", what, id, threads, b->need);
    for (simt_fiber *f : b->came)
        if (f == self) simt_fault("%s: barrier %d: the thread comes twice in one phase", what, id);
    b->need = threads;
    b->arrived++;
    b->came.push_back(self);
    SIMT_RACE(comes(self, id));
    if (b->arrived < b->need && wait) {
        simt_wait(SIMT_BARRIER, what, b, id);
        return;
    }
    complete_if(self->of, id, wait ? self : nullptr);
    if (wait || simt_random) simt_pause();
}

void gpu_barrier_sync(int id, int threads) { come(id, threads, true, "gpu_barrier_sync"); }
void gpu_barrier_arrive(int id, int threads) { come(id, threads, false, "gpu_barrier_arrive"); }

/* __syncthreads, barrier 0: of all threads that are left. */
static void complete_block(simt_block_state *block) {
    simt_barrier *b = &block->barrier[0];
    int count = 0;
    SIMT_RACE(together(b->came.data(), (int)b->came.size()));
    for (simt_fiber *f : b->came) count += f->predicate != 0;
    for (simt_fiber *f : b->came) {
        f->predicate = f->predicate_kind == 1 ? count : f->predicate_kind == 2 ? count > 0 : count == (int)b->came.size();
        if (f->waits == SIMT_BARRIER && f->waits_value == 0) simt_wake(f);
    }
    b->need = b->arrived = 0;
    b->came.clear();
}

int simt_sync_threads(int kind, int predicate) {
    simt_fiber *self = simt_self();
    simt_barrier *b = &self->of->barrier[0];
    self->predicate_kind = kind;
    self->predicate = predicate;
    b->need = self->of->alive;
    b->came.push_back(self);
    if (++b->arrived < b->need) simt_wait(SIMT_BARRIER, "__syncthreads", b, 0);
    else {
        complete_block(self->of);
        simt_pause();
    }
    return self->predicate;
}

void simt_thread_left(simt_fiber *fiber) {
    simt_barrier *b = &fiber->of->barrier[0];
    if (!b->arrived) return;
    b->need = fiber->of->alive;
    if (b->arrived == b->need) complete_block(fiber->of);
}

/* ---- mbarriers: the 8 bytes hold a number by which the simulator finds the state ------------------------------------------- */
static const uint64_t MBAR_MARK = 0x6d62617272696572;

simt_mbar *simt_mbar_at(simt_block_state *block, const uint64_t *bar, const char *what) {
    uint32_t address = simt_address_of(block, bar, 8, what);
    if (address % 8) simt_fault("%s: mbarrier at shared address 0x%x, no multiple of 8", what, address);
    uint64_t index = *bar ^ MBAR_MARK;
    if (index >= block->mbars.size() || block->mbars[index].at != bar)
        simt_fault("%s: at shared + 0x%x there is no mbarrier: not initialized, or overwritten", what, address);
    SIMT_RACE(check(simt_self(), address, 8, what));
    return &block->mbars[index];
}

static void mbar_flip_if(simt_block_state *block, simt_mbar *m) {
    if (m->pending || m->bytes) return;
    m->phase++;
    m->pending = m->expected;
    SIMT_RACE(flip(block, (int)(m - block->mbars.data()), m->phase));
    for (int i = 0; i < block->threads; i++) {
        simt_fiber *f = &block->fibers[(size_t)i];
        if (f->waits == SIMT_MBAR && f->waits_on == m->at && (m->phase & 1) != f->waits_value) simt_wake(f);
    }
}

void gpu_mbar_init(uint64_t *bar, int arrivals) {
    simt_hopper("gpu_mbar_init");
    simt_fiber *self = simt_self();
    uint32_t address = simt_address_of(self->of, bar, 8, "gpu_mbar_init");
    if (address % 8 || arrivals < 1 || arrivals >= 1 << 20)
        simt_fault("gpu_mbar_init: shared address 0x%x, %d arrivals", address, arrivals);
    *bar = MBAR_MARK ^ self->of->mbars.size();
    self->unfenced_mbars.push_back((int)self->of->mbars.size());
    SIMT_RACE(mbar(self->of, (int)self->of->mbars.size()));
    SIMT_RACE(access(self, address, 8, true, "gpu_mbar_init", nullptr));
    self->of->mbars.push_back(simt_mbar{bar, arrivals, arrivals, 0, 0, false});
}

void gpu_mbar_fence_init() {
    simt_fiber *self = simt_self();
    for (int i : self->unfenced_mbars) self->of->mbars[(size_t)i].fenced = true;
    self->unfenced_mbars.clear();
}

static void mbar_arrive(uint64_t *bar, int bytes, const char *what) {
    simt_fiber *self = simt_self();
    simt_mbar *m = simt_mbar_at(self->of, bar, what);
    if (m->pending < 1) simt_fault("%s: more arrivals than the %d of a phase", what, m->expected);
    if (bytes < 0 || bytes >= 1 << 20) simt_fault("%s: %d bytes", what, bytes);
    m->bytes += bytes;
    m->pending--;
    SIMT_RACE(arrive(self, (int)(m - self->of->mbars.data())));
    mbar_flip_if(self->of, m);
    if (simt_random) simt_pause();
}
void gpu_mbar_expect(uint64_t *bar, int bytes) { mbar_arrive(bar, bytes, "gpu_mbar_expect"); }
void gpu_mbar_arrive(uint64_t *bar) { mbar_arrive(bar, 0, "gpu_mbar_arrive"); }

void simt_mbar_bytes(simt_block_state *block, int index, int bytes) {
    simt_mbar *m = &block->mbars[(size_t)index];
    m->bytes -= bytes;
    mbar_flip_if(block, m);
}

/* Woken, it looks again: a barrier that has meanwhile gone on by two phases looks as if it had not moved, as for the hardware. */
void gpu_mbar_wait(uint64_t *bar, int parity) {
    simt_fiber *self = simt_self();
    if (parity & ~1) simt_fault("gpu_mbar_wait: parity %d", parity);
    if (simt_random) simt_pause();
    for (;;) {
        simt_mbar *m = simt_mbar_at(self->of, bar, "gpu_mbar_wait");
        if ((m->phase & 1) != parity) {
            SIMT_RACE(waited(self, (int)(m - self->of->mbars.data())));
            return;
        }
        simt_wait(SIMT_MBAR, "gpu_mbar_wait", bar, parity);
    }
}

/* ---- turns between blocks -------------------------------------------------------------------------------------------------- */
void gpu_wait_turn(const int32_t *turn, int32_t value) {
    if (simt_random) simt_pause();
    if (*(const volatile int32_t *)turn != value) simt_wait(SIMT_TURN, "gpu_wait_turn", turn, value);
}

/* What the thread's bulk stores write must be in global memory: who waits for the turn would not see it. */
void gpu_pass_turn(int32_t *turn, int32_t value) {
    for (int left : simt_self()->bulk_done_group)
        if (left) simt_fault("gpu_pass_turn while %d bulk stores of the thread are under way", left);
    *turn = value;
    simt_pause();
}
