/* Races in shared memory, in builds with RACES=1: kernels are compiled as for the thread sanitizer, whose calls at every load and store
 * come here. A pair of accesses to the same two bytes, one of them a write, must be ordered by what CUDA promises: __syncthreads,
 * __syncwarp, named barriers, mbarriers, atomics on shared memory; a shuffle or a product of a warp orders nothing. Each thread has a
 * vector clock, and so has what runs beside threads: wgmma of each warpgroup, loads of the copy engine by mbarrier, bulk stores by issuing
 * thread. What wgmma and the copy engine read must have been fenced by the thread that wrote it. Races between blocks are not looked for.
 */
#include "simt_block.h"

#if defined(SIMT_RACES)

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#include <map>

enum { PIECE = 2, PIECES = 0x40000 / PIECE, MBARS = 64, BULKS = 32 };
enum { QUIET, LOADING, COPYING };  /* the copy engine's load, cp.async: under way into a piece */

struct access_of { uint32_t who, when; };
struct piece {
    access_of write, read;              /* who: 1 + its number, 0: none */
    uint32_t readers;                   /* 1 + place in `readers` of more than one, 0: none */
    uint32_t flight;
};

struct simt_races {
    int threads, groups, clocks;        /* threads, warpgroups, mbarriers, bulk stores: who has a clock */
    std::vector<std::vector<uint32_t>> clock;           /* [threads][clocks] */
    std::vector<std::vector<uint32_t>> barrier;         /* [16] what those who came had seen */
    std::vector<std::vector<uint32_t>> arrived, done;   /* of mbarriers: in this phase; when the last one was complete */
    std::vector<std::vector<uint32_t>> fences;          /* [threads] when each fenced for the asynchronous view */
    std::map<int, int> bulk_of;                         /* thread -> its place among the bulk stores */
    std::map<const void *, std::vector<uint32_t>> atomics;
    std::vector<piece> pieces;
    std::vector<std::vector<access_of>> readers;
};

static void join(std::vector<uint32_t> &into, const std::vector<uint32_t> &from) {
    for (size_t i = 0; i < into.size(); i++) into[i] = into[i] > from[i] ? into[i] : from[i];
}

void simt_race_start(simt_block_state *b) {
    delete b->races;
    simt_races *r = b->races = new simt_races();
    r->threads = b->threads;
    r->groups = (int)b->groups.size();
    r->clocks = r->threads + r->groups + MBARS + BULKS;
    r->clock.assign((size_t)r->threads, std::vector<uint32_t>((size_t)r->clocks, 0));
    for (int i = 0; i < r->threads; i++) r->clock[(size_t)i][(size_t)i] = 1;
    r->barrier.assign(16, std::vector<uint32_t>((size_t)r->clocks, 0));
    r->fences.resize((size_t)r->threads);
    r->pieces.assign(PIECES, piece());
}

/* ---- saying so ------------------------------------------------------------------------------------------------------------- */
static std::string name_of(const simt_races *r, uint32_t who) {
    char text[64];
    int n = (int)who - 1;
    if (n < r->threads) snprintf(text, sizeof text, "thread %d", n);
    else if (n < r->threads + r->groups) snprintf(text, sizeof text, "wgmma of warpgroup %d", n - r->threads);
    else if (n < r->threads + r->groups + MBARS) snprintf(text, sizeof text, "a load on mbarrier %d", n - r->threads - r->groups);
    else snprintf(text, sizeof text, "a bulk store");
    return text;
}

/* The line of the program, where addr2line finds it. */
static std::string line_at(const void *where) {
    Dl_info about;
    char command[512], text[256] = "";
    if (!where || !dladdr(where, &about) || !about.dli_fbase) return "";
    snprintf(command, sizeof command, "addr2line -e /proc/%d/exe 0x%lx 2>/dev/null", (int)getpid(),
             (unsigned long)((const char *)where - 1 - (const char *)about.dli_fbase));
    if (FILE *pipe = popen(command, "r")) {
        if (!fgets(text, sizeof text, pipe)) text[0] = 0;
        pclose(pipe);
    }
    text[strcspn(text, "\n")] = 0;
    return text[0] && text[0] != '?' ? std::string(" at ") + text : "";
}

static void tell(const simt_races *r, const char *what, bool write, uint32_t address, uint32_t other, bool other_wrote, const void *where) {
    simt_fault("race: %s%s %s shared address 0x%x, which %s %s, with nothing that orders them", what, line_at(where).c_str(),
               write ? "writes" : "reads", address, name_of(r, other).c_str(), other_wrote ? "writes" : "reads");
}

/* ---- one access ------------------------------------------------------------------------------------------------------------ */
static bool seen(const std::vector<uint32_t> &clock, access_of a, uint32_t self) {
    return !a.who || a.who == self || clock[a.who - 1] >= a.when;
}

/* By one whose clock this is; then noted as `as`'s, unless that is nobody's. */
static void touch(simt_races *r, const std::vector<uint32_t> &clock, uint32_t self, access_of as, uint32_t address, int bytes, bool write,
                  const char *what, const void *where) {
    for (uint32_t i = address / PIECE; i <= (address + (uint32_t)bytes - 1) / PIECE && i < PIECES; i++) {
        piece *p = &r->pieces[i];
        if (p->flight)
            simt_fault("race: %s%s %s shared address 0x%x, into which a copy is under way", what, line_at(where).c_str(),
                       write ? "writes" : "reads", i * PIECE);
        if (!seen(clock, p->write, self)) tell(r, what, write, i * PIECE, p->write.who, true, where);
        if (write) {
            if (!seen(clock, p->read, self)) tell(r, what, true, i * PIECE, p->read.who, false, where);
            if (p->readers)
                for (access_of a : r->readers[p->readers - 1])
                    if (!seen(clock, a, self)) tell(r, what, true, i * PIECE, a.who, false, where);
        }
        if (!as.who) continue;
        if (write) {
            p->write = as;
            p->read.who = 0;
            if (p->readers) r->readers[p->readers - 1].clear();
        } else if (!p->read.who || p->read.who == as.who || seen(clock, p->read, self)) p->read = as;
        else {
            if (!p->readers) {
                r->readers.push_back(std::vector<access_of>());
                p->readers = (uint32_t)r->readers.size();
            }
            std::vector<access_of> &all = r->readers[p->readers - 1];
            size_t at = 0;
            while (at < all.size() && all[at].who != as.who) at++;
            if (at == all.size()) all.push_back(as);
            all[at] = as;
        }
    }
}

static access_of mine(const simt_races *r, int thread) { return access_of{(uint32_t)thread + 1, r->clock[(size_t)thread][(size_t)thread]}; }

void simt_race_access(simt_fiber *f, uint32_t address, int bytes, bool write, const char *what, const void *where) {
    simt_races *r = f->of->races;
    touch(r, r->clock[(size_t)f->number], (uint32_t)f->number + 1, mine(r, f->number), address, bytes, write, what, where);
}

void simt_race_check(simt_fiber *f, uint32_t address, int bytes, const char *what) {
    simt_races *r = f->of->races;
    touch(r, r->clock[(size_t)f->number], (uint32_t)f->number + 1, access_of{0, 0}, address, bytes, false, what, nullptr);
}

/* What the asynchronous view reads was fenced by the thread that wrote it, before what made the reader see it. */
static void need_fence(const simt_races *r, const std::vector<uint32_t> &clock, uint32_t address, int bytes, const char *what) {
    for (uint32_t i = address / PIECE; i <= (address + (uint32_t)bytes - 1) / PIECE && i < PIECES; i++) {
        access_of w = r->pieces[i].write;
        if (!w.who || (int)w.who > r->threads) continue;
        bool fenced = false;
        for (uint32_t f : r->fences[w.who - 1]) fenced |= f >= w.when && clock[w.who - 1] > f;
        if (!fenced)
            simt_fault("%s reads shared address 0x%x, which thread %d wrote without gpu_fence_async behind", what, i * PIECE,
                       (int)w.who - 1);
    }
}

/* ---- what orders ----------------------------------------------------------------------------------------------------------- */
static void tick(simt_races *r, int thread) { r->clock[(size_t)thread][(size_t)thread]++; }

void simt_race_together(simt_fiber **who, int count) {
    simt_races *r = who[0]->of->races;
    std::vector<uint32_t> all((size_t)r->clocks, 0);
    for (int i = 0; i < count; i++) join(all, r->clock[(size_t)who[i]->number]);
    for (int i = 0; i < count; i++) {
        r->clock[(size_t)who[i]->number] = all;
        tick(r, who[i]->number);
    }
}

void simt_race_comes(simt_fiber *f, int barrier) {
    simt_races *r = f->of->races;
    join(r->barrier[(size_t)barrier], r->clock[(size_t)f->number]);
    tick(r, f->number);
}

/* Who waits goes on from here, seeing what all had seen; the last to come may wait too. */
void simt_race_complete(simt_block_state *b, int barrier, const std::vector<simt_fiber *> &who, const simt_fiber *last_waits) {
    simt_races *r = b->races;
    for (simt_fiber *f : who)
        if (f == last_waits || (f->waits == SIMT_BARRIER && f->waits_value == barrier))
            join(r->clock[(size_t)f->number], r->barrier[(size_t)barrier]);
    r->barrier[(size_t)barrier].assign((size_t)r->clocks, 0);
}

void simt_race_atomic(simt_fiber *f, const void *at) {
    if (!simt_is_shared(f->of, at, 1)) return;
    simt_races *r = f->of->races;
    std::vector<uint32_t> &clock = r->clock[(size_t)f->number], &kept = r->atomics[at];
    if (kept.empty()) kept.assign((size_t)r->clocks, 0);
    join(clock, kept);
    join(kept, clock);
}

void simt_race_fence(simt_fiber *f) {
    simt_races *r = f->of->races;
    r->fences[(size_t)f->number].push_back(r->clock[(size_t)f->number][(size_t)f->number]);
    tick(r, f->number);
}

/* ---- mbarriers and loads --------------------------------------------------------------------------------------------------- */
static size_t mbar_clock(const simt_races *r, int mbar) { return (size_t)(r->threads + r->groups + mbar % MBARS); }

void simt_race_mbar(simt_block_state *b, int mbar) {
    simt_races *r = b->races;
    if (mbar >= MBARS) simt_fault("RACES=1: more than %d mbarriers", (int)MBARS);
    r->arrived.resize((size_t)mbar + 1, std::vector<uint32_t>((size_t)r->clocks, 0));
    r->done.resize((size_t)mbar + 1, std::vector<uint32_t>((size_t)r->clocks, 0));
}
void simt_race_arrive(simt_fiber *f, int mbar) {
    simt_races *r = f->of->races;
    join(r->arrived[(size_t)mbar], r->clock[(size_t)f->number]);
    tick(r, f->number);
}
void simt_race_flip(simt_block_state *b, int mbar, int64_t phase) {
    simt_races *r = b->races;
    r->arrived[(size_t)mbar][mbar_clock(r, mbar)] = (uint32_t)phase;
    r->done[(size_t)mbar] = r->arrived[(size_t)mbar];
}
void simt_race_waited(simt_fiber *f, int mbar) { join(f->of->races->clock[(size_t)f->number], f->of->races->done[(size_t)mbar]); }

void simt_race_load(simt_fiber *f, uint32_t address, int bytes, int mbar, int64_t phase) {
    simt_races *r = f->of->races;
    access_of as = {(uint32_t)mbar_clock(r, mbar) + 1, (uint32_t)phase + 1};
    touch(r, r->clock[(size_t)f->number], (uint32_t)f->number + 1, as, address, bytes, true, "gpu_tma_load", nullptr);
    for (uint32_t i = address / PIECE; i < (address + (uint32_t)bytes) / PIECE; i++) r->pieces[i].flight = LOADING;
}
void simt_race_landed(simt_block_state *b, uint32_t address, int bytes) {
    for (uint32_t i = address / PIECE; i < (address + (uint32_t)bytes) / PIECE; i++) b->races->pieces[i].flight = QUIET;
}

void simt_race_copy(simt_fiber *f, uint32_t address, bool lands) {
    simt_races *r = f->of->races;
    if (lands) simt_race_landed(f->of, address, 16);
    simt_race_access(f, address, 16, true, "gpu_copy16", nullptr);
    if (!lands)
        for (uint32_t i = address / PIECE; i < (address + 16) / PIECE; i++) r->pieces[i].flight = COPYING;
}

/* ---- bulk stores and wgmma ------------------------------------------------------------------------------------------------- */
static size_t bulk_clock(simt_races *r, int thread) {
    auto known = r->bulk_of.find(thread);
    if (known == r->bulk_of.end()) {
        if (r->bulk_of.size() == BULKS) simt_fault("RACES=1: more than %d threads issue bulk stores", (int)BULKS);
        known = r->bulk_of.insert(std::make_pair(thread, (int)r->bulk_of.size())).first;
    }
    return (size_t)(r->threads + r->groups + MBARS + known->second);
}
void simt_race_bulk(simt_fiber *f, uint32_t address, int bytes) {
    simt_races *r = f->of->races;
    access_of as = {(uint32_t)bulk_clock(r, f->number) + 1, (uint32_t)f->bulk_group + 1};
    const std::vector<uint32_t> &clock = r->clock[(size_t)f->number];
    touch(r, clock, (uint32_t)f->number + 1, as, address, bytes, false, "a bulk store", nullptr);
    need_fence(r, clock, address, bytes, "a bulk store");
}
void simt_race_bulk_waited(simt_fiber *f, int groups) {
    simt_races *r = f->of->races;
    if (f->bulk_group - groups > 0) {
        uint32_t &known = r->clock[(size_t)f->number][bulk_clock(r, f->number)];
        if (known < (uint32_t)(f->bulk_group - groups)) known = (uint32_t)(f->bulk_group - groups);
    }
}

/* What every thread of the warpgroup has seen. */
void simt_race_wgmma_begin(simt_block_state *b, int group, std::vector<uint32_t> *common) {
    simt_races *r = b->races;
    *common = r->clock[(size_t)group * 128];
    for (int t = 1; t < 128; t++) {
        const std::vector<uint32_t> &other = r->clock[(size_t)(group * 128 + t)];
        for (size_t i = 0; i < common->size(); i++)
            if (other[i] < (*common)[i]) (*common)[i] = other[i];
    }
}
void simt_race_wgmma(simt_block_state *b, int group, const std::vector<uint32_t> &common, uint32_t address, int64_t number) {
    simt_races *r = b->races;
    uint32_t who = (uint32_t)(r->threads + group) + 1;
    touch(r, common, who, access_of{who, (uint32_t)number + 1}, address, 16, false, "wgmma", nullptr);
    need_fence(r, common, address, 16, "wgmma");
}
void simt_race_wgmma_waited(simt_block_state *b, int group, int64_t done) {
    simt_races *r = b->races;
    for (int t = 0; t < 128; t++) r->clock[(size_t)(group * 128 + t)][(size_t)(r->threads + group)] = (uint32_t)done;
}

/* ---- loads and stores of threads: the calls that the compiler makes -------------------------------------------------------- */
static inline void plain(const void *at, int bytes, bool write, const void *where) {
    simt_fiber *f = simt_self();
    if (!f || !f->of || !f->of->races || !simt_is_shared(f->of, at, bytes)) return;
    simt_race_access(f, simt_address_of(f->of, at, bytes, "an access"), bytes, write, "the thread", where);
}

extern "C" {
void __tsan_init(void) {}
#define X(n)                                                                                                       \
    void __tsan_read##n(void *at) { plain(at, n, false, __builtin_return_address(0)); }                            \
    void __tsan_write##n(void *at) { plain(at, n, true, __builtin_return_address(0)); }
X(1) X(2) X(4) X(8) X(16)
#undef X
#define X(n)                                                                                                       \
    void __tsan_unaligned_read##n(void *at) { plain(at, n, false, __builtin_return_address(0)); }                  \
    void __tsan_unaligned_write##n(void *at) { plain(at, n, true, __builtin_return_address(0)); }
X(2) X(4) X(8) X(16)
#undef X
void __tsan_read_range(void *at, size_t bytes) { plain(at, (int)bytes, false, __builtin_return_address(0)); }
void __tsan_write_range(void *at, size_t bytes) { plain(at, (int)bytes, true, __builtin_return_address(0)); }
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
}

#endif
