/* Inside the simulator: threads of a kernel as fibers, the blocks that are resident, what is under way.
 *
 *   simt_schedule.cc     fibers, which runs next, blocks, faults and deadlocks
 *   simt_warp.cc         what lanes of a warp do together, and tensor cores of one warp
 *   simt_barriers.cc     barriers of a block, mbarriers, turns between blocks
 *   simt_copy_engine.cc  asynchronous copies
 *   simt_warpgroup.cc    wgmma
 *   simt_races.cc        accesses to shared memory that nothing orders (RACES=1)
 *   simt_runtime.cc      CUDA's runtime: memory, streams, events, launches
 *   simt_cublas.cc       the part of cuBLASLt that kedge uses */
#ifndef KD_SIMT_BLOCK_H
#define KD_SIMT_BLOCK_H

#include <stddef.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

extern "C" {
#include "dev/gpu_map.h"
}
#include "simt.h"

enum {
    SIMT_SHARED = 232448,          /* bytes that a block can have */
    SIMT_STATIC_AT = 0x39000,      /* where __shared__ variables appear among its 18-bit addresses */
    SIMT_MULTIPROCESSORS = 4,      /* blocks resident at once */
    SIMT_REGISTERS = 65536
};

struct simt_block_state;

/* What a thread waits for: said in reports of deadlocks. */
enum simt_wait_kind { SIMT_RUNS, SIMT_MEETS, SIMT_BARRIER, SIMT_MBAR, SIMT_TURN, SIMT_BULK, SIMT_GROUP, SIMT_DONE };

struct simt_copy { void *to; const void *from; bool there; int group; };         /* cp.async */
struct simt_accumulators { float *at; std::vector<float> value; int pending; };  /* of wgmma under way; `at` holds NaN meanwhile */

struct simt_fiber : simt_thread {
    simt_block_state *of;
    int number, warp, lane;
    void *stack_pointer;
    char *stack;
    void *fake_stack;                    /* the address sanitizer's */
    simt_wait_kind waits;
    const char *waits_in;                /* name of what it called */
    const void *waits_on;
    int64_t waits_value;
    int atomics;                         /* since it last waited */
    int predicate, predicate_kind;       /* of __syncthreads_count and its like */
    std::vector<simt_copy> copies;
    int copy_group;
    int bulk_group, bulk_read_group[64], bulk_done_group[64];  /* operations under way of the youngest groups, by number % 64 */
    std::vector<uint32_t> unfenced;      /* 16-byte pieces of shared memory that stmatrix wrote, not yet fenced for the asynchronous view */
    std::vector<int> unfenced_mbars;     /* initialized, not yet fenced */
    std::vector<simt_accumulators> accumulators;
    int64_t wgmma_issued, wgmma_committed;
    std::vector<int64_t> wgmma_groups;   /* operations issued up to the end of each committed group that is not waited for */
    bool wgmma_fenced;
};

/* Lanes of a warp, or threads of a warpgroup, that meet: the last to come acts for all. */
struct simt_meeting {
    const char *what;
    void (*act)(simt_fiber **lane, void **argument, int count);
    unsigned mask;                       /* of a warp */
    int arrived;
    simt_fiber *lane[128];
    void *argument[128];
};
struct simt_warp_state { unsigned alive; std::vector<simt_meeting *> meetings; };
struct simt_wgmma_op {
    simt_wgmma op;
    int issued;
    float *d[128];
    uint32_t a[128][4];
    uint64_t sum;                        /* of what the operands in shared memory were when the last thread had issued it */
};
struct simt_warpgroup {
    simt_meeting meeting;
    std::deque<simt_wgmma_op *> ops;     /* issued, not performed */
    int64_t first;                       /* number of ops[0] */
    int registers;
};
struct simt_barrier { int need, arrived; std::vector<simt_fiber *> came; };
struct simt_mbar { uint64_t *at; int expected, pending; int64_t bytes, phase; bool fenced; };

struct simt_block_state {
    bool active;
    int64_t number;
    std::vector<simt_fiber> fibers;
    int threads, alive;
    std::vector<simt_fiber *> ready;
    size_t ready_first;                  /* [0, ready_first) have been taken */
    char *stacks;
    char *shared;                        /* dynamic, SIMT_SHARED bytes from a multiple of 1024 */
    int shared_bytes;
    std::vector<char> statics;           /* thread-local memory while another block runs */
    std::vector<uint16_t> unfenced;      /* [shared 16-byte pieces] 1 + the thread whose stmatrix wrote it, 0: none, or fenced */
    std::vector<simt_warp_state> warps;
    std::vector<simt_warpgroup> groups;
    simt_barrier barrier[16];
    std::vector<simt_mbar> mbars;
    int under_way;                       /* copies that still touch its shared memory */
    struct simt_races *races;            /* with RACES=1 */
};

/* What happens later: performed in the order of issue, or at random. */
struct simt_later {
    simt_block_state *block;             /* NULL: no longer needs its shared memory */
    virtual simt_later *perform() = 0;   /* what is to happen after that, or NULL; the caller deletes this */
    virtual ~simt_later() {}
};

/* ---- simt_schedule.cc */
extern bool simt_random;
uint64_t simt_draw(uint64_t below);
simt_fiber *simt_self();
/* Stops this thread until simt_wake; others run. */
void simt_wait(simt_wait_kind kind, const char *what, const void *on, int64_t value);
void simt_wake(simt_fiber *fiber);
void simt_enqueue(simt_later *later);
/* Needs compute capability 9.0. */
void simt_hopper(const char *what);
/* 18-bit address of shared memory of the running block and back; a fault where it is none. */
void *simt_shared_at(simt_block_state *block, uint32_t address, int bytes, const char *what);
uint32_t simt_address_of(simt_block_state *block, const void *memory, int bytes, const char *what);
bool simt_is_shared(simt_block_state *block, const void *memory, int bytes);
/* A fault found by the scheduler itself. Either stops the kernel, and the error stays, as CUDA's do. */
void simt_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool simt_stopped();
void simt_run(const char *name, dim3 grid, dim3 block, size_t shared, simt_call *call);
const char *simt_message();

/* ---- simt_warp.cc */
void simt_meet(const char *what, unsigned mask, void *argument, void (*act)(simt_fiber **, void **, int));
void simt_lane_left(simt_fiber *fiber);
float simt_widen(uint16_t x, bool f16);

/* ---- simt_barriers.cc */
void simt_barriers_clear(simt_block_state *block);
void simt_thread_left(simt_fiber *fiber);
simt_mbar *simt_mbar_at(simt_block_state *block, const uint64_t *bar, const char *what);
void simt_mbar_bytes(simt_block_state *block, int index, int bytes);

/* ---- simt_copy_engine.cc */
void simt_copies_left(simt_fiber *fiber);
/* Fails if a thread's stmatrix wrote this piece and has not fenced it. */
void simt_fenced(simt_block_state *block, uint32_t address, const char *what);

/* ---- simt_warpgroup.cc */
void simt_wgmma_left(simt_fiber *fiber);

/* ---- simt_races.cc: what happens, told in builds with RACES=1 alone */
#if defined(SIMT_RACES)
#define SIMT_RACE(call) simt_race_##call
#else
#define SIMT_RACE(call) (void)0
#endif
void simt_race_start(simt_block_state *block);
void simt_race_access(simt_fiber *by, uint32_t address, int bytes, bool write, const char *what, const void *where);
void simt_race_check(simt_fiber *by, uint32_t address, int bytes, const char *what);  /* reads, and is soon forgotten */
void simt_race_together(simt_fiber **who, int count);                                 /* each sees what all have seen */
void simt_race_comes(simt_fiber *who, int barrier);
void simt_race_complete(simt_block_state *block, int barrier, const std::vector<simt_fiber *> &who, const simt_fiber *last_waits);
void simt_race_atomic(simt_fiber *by, const void *at);
void simt_race_fence(simt_fiber *by);
void simt_race_mbar(simt_block_state *block, int mbar);
void simt_race_arrive(simt_fiber *by, int mbar);
void simt_race_flip(simt_block_state *block, int mbar, int64_t phase);
void simt_race_waited(simt_fiber *by, int mbar);
void simt_race_load(simt_fiber *by, uint32_t address, int bytes, int mbar, int64_t phase);
void simt_race_landed(simt_block_state *block, uint32_t address, int bytes);
void simt_race_copy(simt_fiber *by, uint32_t address, bool lands);
void simt_race_bulk(simt_fiber *by, uint32_t address, int bytes);
void simt_race_bulk_waited(simt_fiber *by, int groups);
void simt_race_wgmma_begin(simt_block_state *block, int group, std::vector<uint32_t> *common);
void simt_race_wgmma(simt_block_state *block, int group, const std::vector<uint32_t> &common, uint32_t address, int64_t number);
void simt_race_wgmma_waited(simt_block_state *block, int group, int64_t done);

/* ---- simt_runtime.cc */
bool simt_global(const void *memory, size_t bytes);  /* whether the device has this memory */
void simt_later_on_stream(std::function<void()> work);
int simt_capability();

#endif
