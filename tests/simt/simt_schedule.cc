/* Fibers and who runs next. Threads of a block start with the last and take turns first come, first served; blocks start in the order of
 * their numbers, SIMT_MULTIPROCESSORS of them resident. Copies under way are performed only when nobody can run. With
 * KEDGE_SIMT_SEED all of that is drawn. */
#include "simt_block.h"

#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK = 512 << 10 };
#else
enum { STACK = 128 << 10 };
#endif

simt_thread *simt_now;
bool simt_random;

static simt_block_state resident[SIMT_MULTIPROCESSORS];
static simt_block_state *running;          /* the block whose memory is in place */
static simt_fiber host;                    /* the scheduler's own context */
static std::deque<simt_later *> later;
static simt_call *call;
static const char *kernel;
static bool stopped;
static char message[4096];
static uint64_t random_state;
static char *thread_local_memory;          /* of the thread that runs the kernel */
static size_t thread_local_bytes;
static const uint64_t CANARY = 0x6b65646765737461;

uint64_t simt_draw(uint64_t below) {
    random_state += 0x9e3779b97f4a7c15;
    uint64_t z = random_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

simt_fiber *simt_self() { return static_cast<simt_fiber *>(simt_now); }
const char *simt_message() { return message; }
bool simt_stopped() { return stopped; }

/* ---- switching ------------------------------------------------------------------------------------------------------------- */
static void fiber_main();

#if defined(__x86_64__)
/* Keeps what a function must keep on the stack, and the stack in *save; continues where `load` was kept. */
extern "C" void simt_switch(void **save, void *load);
asm(".text\n.globl simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nretq\n.size simt_switch,.-simt_switch\n");

static void context_make(simt_fiber *fiber) {
    void **top = (void **)(fiber->stack + STACK);
    *--top = nullptr;  /* as after a call: the stack is 8 off 16 */
    *--top = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber->stack_pointer = top;
}
static void context_switch(simt_fiber *from, simt_fiber *to) { simt_switch(&from->stack_pointer, to->stack_pointer); }
#else
static void context_make(simt_fiber *fiber) {
    if (!fiber->stack_pointer) fiber->stack_pointer = malloc(sizeof(ucontext_t));
    ucontext_t *u = (ucontext_t *)fiber->stack_pointer;
    getcontext(u);
    u->uc_stack.ss_sp = fiber->stack;
    u->uc_stack.ss_size = STACK;
    u->uc_link = nullptr;
    makecontext(u, fiber_main, 0);
}
static void context_switch(simt_fiber *from, simt_fiber *to) {
    if (!from->stack_pointer) from->stack_pointer = malloc(sizeof(ucontext_t));
    swapcontext((ucontext_t *)from->stack_pointer, (ucontext_t *)to->stack_pointer);
}
#endif

#if defined(__SANITIZE_ADDRESS__)
static void *host_bottom;
static size_t host_size;
static void note_host_stack() {
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &host_bottom, &host_size);
    pthread_attr_destroy(&attributes);
}
#else
static void note_host_stack() {}
#endif

static void switch_to(simt_fiber *to, bool leaving) {
    simt_fiber *from = simt_self();
    simt_now = to;
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom = to == &host ? host_bottom : to->stack;
    __sanitizer_start_switch_fiber(leaving ? nullptr : &from->fake_stack, bottom, to == &host ? host_size : (size_t)STACK);
    context_switch(from, to);
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#else
    (void)leaving;
    context_switch(from, to);
#endif
}

/* ---- who runs next --------------------------------------------------------------------------------------------------------- */
static simt_fiber *next_ready(simt_block_state *block) {
    if (block->ready_first == block->ready.size()) {
        block->ready.clear();
        block->ready_first = 0;
        return nullptr;
    }
    if (simt_random) {
        size_t which = block->ready_first + simt_draw(block->ready.size() - block->ready_first);
        std::swap(block->ready[which], block->ready[block->ready_first]);
    } else if (block->ready_first > 4096) {
        block->ready.erase(block->ready.begin(), block->ready.begin() + (ptrdiff_t)block->ready_first);
        block->ready_first = 0;
    }
    return block->ready[block->ready_first++];
}

void simt_wake(simt_fiber *fiber) {
    fiber->waits = SIMT_RUNS;
    fiber->of->ready.push_back(fiber);
}

void simt_wait(simt_wait_kind kind, const char *what, const void *on, int64_t value) {
    simt_fiber *self = simt_self();
    self->waits = kind;
    self->waits_in = what;
    self->waits_on = on;
    self->waits_value = value;
    self->atomics = 0;
    if (kind == SIMT_RUNS) self->of->ready.push_back(self);
    simt_fiber *next = simt_random && !simt_draw(8) ? &host : next_ready(self->of);
    if (next != self) switch_to(next ? next : &host, kind == SIMT_DONE);
}

void simt_pause() { simt_wait(SIMT_RUNS, "pause", nullptr, 0); }

void simt_atomic(const void *at) {
    simt_fiber *self = simt_self();
    (void)at;
    SIMT_RACE(atomic(self, at));
    if (++self->atomics >= (simt_random ? 2 : 64)) simt_pause();
}

void simt_enqueue(simt_later *what) { later.push_back(what); }

static void bring(simt_block_state *block);

static jmp_buf performing;  /* where a fault in a copy goes */

static simt_later *perform_or_stop(simt_later *what) {
    if (setjmp(performing)) return nullptr;
    return what->perform();
}

static void perform_one() {
    size_t which = simt_random ? simt_draw(later.size()) : 0;
    simt_later *what = later[which];
    later.erase(later.begin() + (ptrdiff_t)which);
    if (what->block) bring(what->block);
    simt_later *then = perform_or_stop(what);
    if (what->block) what->block->under_way--;
    delete what;
    if (then) {
        if (then->block) then->block->under_way++;
        later.push_back(then);
    }
}

/* ---- faults ---------------------------------------------------------------------------------------------------------------- */
static void fault_head(char *out, size_t size) {
    simt_fiber *self = simt_self();
    if (self && self != &host)
        snprintf(out, size, "%s: block (%u,%u,%u), thread %d: ", kernel, self->block.x, self->block.y, self->block.z, self->number);
    else snprintf(out, size, "%s: ", kernel ? kernel : "launch");
}

static void fault_note(const char *format, va_list list) {
    if (stopped) return;
    char head[256];
    fault_head(head, sizeof head);
    size_t at = (size_t)snprintf(message, sizeof message, "%s", head);
    vsnprintf(message + at, sizeof message - at, format, list);
    fprintf(stderr, "simulated CUDA: %s\n", message);
    stopped = true;
}

void simt_stop(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fault_note(format, list);
    va_end(list);
}

void simt_fault(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fault_note(format, list);
    va_end(list);
    if (simt_self() == &host) longjmp(performing, 1);
    switch_to(&host, true);
    abort();
}

void simt_hopper(const char *what) {
    if (simt_capability() < 90)
        simt_fault("%s needs compute capability 9.0, the device has %d.%d", what, simt_capability() / 10, simt_capability() % 10);
}

/* ---- memory of a block ----------------------------------------------------------------------------------------------------- */
static int find_thread_local(struct dl_phdr_info *info, size_t, void *) {
    if (info->dlpi_tls_data)
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[i];
            if (p->p_type != PT_TLS) continue;
            thread_local_memory = (char *)info->dlpi_tls_data;
            thread_local_bytes = p->p_memsz;
        }
    return 1;  /* the program itself comes first */
}

/* Puts the block's thread-local memory in place. */
static void bring(simt_block_state *block) {
    if (running == block) return;
    if (running) memcpy(running->statics.data(), thread_local_memory, thread_local_bytes);
    if (block) memcpy(thread_local_memory, block->statics.data(), thread_local_bytes);
    running = block;
}

void *simt_dynamic_shared() { return simt_self()->of->shared; }

static char *statics_base() { return (char *)((uintptr_t)thread_local_memory & ~(uintptr_t)1023); }

bool simt_is_shared(simt_block_state *block, const void *memory, int bytes) {
    const char *p = (const char *)memory;
    return (p >= block->shared && p + bytes <= block->shared + block->shared_bytes) ||
           (p >= thread_local_memory && p + bytes <= thread_local_memory + thread_local_bytes);
}

uint32_t simt_address_of(simt_block_state *block, const void *memory, int bytes, const char *what) {
    if (!simt_is_shared(block, memory, bytes))
        simt_fault("%s: %d bytes at %p are not shared memory; the block has %d bytes at %p", what, bytes, memory, block->shared_bytes,
                   block->shared);
    const char *p = (const char *)memory;
    if (p >= block->shared && p < block->shared + block->shared_bytes) return (uint32_t)(p - block->shared);
    return (uint32_t)(SIMT_STATIC_AT + (p - statics_base()));
}

void *simt_shared_at(simt_block_state *block, uint32_t address, int bytes, const char *what) {
    char *p = address < SIMT_STATIC_AT ? block->shared + address : statics_base() + (address - SIMT_STATIC_AT);
    if (!simt_is_shared(block, p, bytes))
        simt_fault("%s: reads %d bytes at shared address 0x%x; the block has 0x%x bytes", what, bytes, address, block->shared_bytes);
    return p;
}

uint32_t gpu_shared_address(const void *shared) { return simt_address_of(simt_self()->of, shared, 0, "address of shared memory"); }

/* ---- blocks ---------------------------------------------------------------------------------------------------------------- */
static void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    call->run();
    simt_fiber *self = simt_self();
    if (*(uint64_t *)self->stack != CANARY) simt_fault("the stack of %d bytes was too small", (int)STACK);
    simt_copies_left(self);
    simt_wgmma_left(self);
    self->of->alive--;
    self->waits = SIMT_DONE;
    simt_lane_left(self);
    simt_thread_left(self);
    simt_wait(SIMT_DONE, "done", nullptr, 0);
    abort();
}

static void block_start(simt_block_state *b, int64_t number, dim3 grid, dim3 threads, size_t shared) {
    b->active = true;
    b->number = number;
    b->threads = b->alive = (int)(threads.x * threads.y * threads.z);
    if (!b->shared) {
        b->shared = (char *)aligned_alloc(1024, SIMT_SHARED);
        b->stacks = (char *)mmap(nullptr, (size_t)1024 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (!b->shared || b->stacks == MAP_FAILED) { perror("simulated CUDA: no memory for a block"); abort(); }
    }
    b->shared_bytes = (int)shared;
    memset(b->shared, 0xff, shared);
    b->statics.assign(thread_local_bytes, (char)0xff);
    b->unfenced.assign(1 << 14, 0);
    for (simt_warp_state &w : b->warps)
        for (simt_meeting *m : w.meetings) delete m;
    b->warps.clear();
    b->warps.resize((size_t)(b->threads + 31) / 32);
    for (simt_warpgroup &g : b->groups)
        for (simt_wgmma_op *op : g.ops) delete op;
    b->groups.clear();
    b->groups.resize((size_t)(b->threads + 127) / 128);
    for (simt_warpgroup &g : b->groups) g.registers = SIMT_REGISTERS / b->threads / 8 * 8 > 255 ? 255 : SIMT_REGISTERS / b->threads / 8 * 8;
    simt_barriers_clear(b);
    b->mbars.clear();
    SIMT_RACE(start(b));
    b->under_way = 0;
    b->ready.clear();
    b->ready_first = 0;
    if ((int)b->fibers.size() < b->threads) b->fibers.resize((size_t)b->threads);
    for (int i = b->threads - 1; i >= 0; i--) {
        simt_fiber *f = &b->fibers[(size_t)i];
        void *keep = f->stack_pointer;
        *f = simt_fiber();
        f->stack_pointer = keep;
        f->of = b;
        f->number = i;
        f->warp = i / 32;
        f->lane = i % 32;
        f->index = dim3((unsigned)i % threads.x, (unsigned)i / threads.x % threads.y, (unsigned)i / (threads.x * threads.y));
        f->block = dim3((unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y), (unsigned)(number / ((int64_t)grid.x * grid.y)));
        f->threads = threads;
        f->grid = grid;
        f->stack = b->stacks + (size_t)i * STACK;
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(f->stack, STACK);  /* a kernel that was stopped left its frames there */
#endif
        *(uint64_t *)f->stack = CANARY;
        b->warps[(size_t)f->warp].alive |= 1u << f->lane;
        context_make(f);
        b->ready.push_back(f);
    }
}

static void block_end(simt_block_state *b) {
    int asked = 0;
    for (size_t g = 0; g < b->groups.size(); g++) {
        int threads = b->threads - (int)g * 128 < 128 ? b->threads - (int)g * 128 : 128;
        asked += threads * b->groups[g].registers;
    }
    if (b->under_way)
        simt_stop("block %lld ended with %d copies under way that touch its shared memory", (long long)b->number, b->under_way);
    else if (asked > SIMT_REGISTERS) simt_stop("its warpgroups ask for %d registers, there are %d", asked, (int)SIMT_REGISTERS);
    b->active = false;
}

/* Who waits for what, threads in the same place together. */
static void tell_deadlock() {
    std::string text = "nothing can run any more:";
    char line[256];
    for (simt_block_state &b : resident) {
        if (!b.active) continue;
        for (int i = 0; i < b.threads;) {
            simt_fiber *f = &b.fibers[(size_t)i];
            int j = i;
            while (j < b.threads) {
                simt_fiber *g = &b.fibers[(size_t)j];
                if (g->waits != f->waits || g->waits_in != f->waits_in || (f->waits != SIMT_MEETS && g->waits_on != f->waits_on) ||
                    g->waits_value != f->waits_value) break;
                j++;
            }
            if (f->waits != SIMT_DONE && text.size() < 3000) {
                snprintf(line, sizeof line, " block %lld, threads %d..%d wait in %s", (long long)b.number, i, j - 1, f->waits_in);
                text += line;
                line[0] = 0;
                if (f->waits == SIMT_BARRIER) {
                    simt_barrier *r = &b.barrier[f->waits_value];
                    snprintf(line, sizeof line, " (%lld: %d of %d threads have come)", (long long)f->waits_value, r->arrived, r->need);
                } else if (f->waits == SIMT_MBAR) {
                    for (simt_mbar &m : b.mbars)
                        if (m.at == f->waits_on)
                            snprintf(line, sizeof line,
                                     " (shared + 0x%x, parity %lld: in phase %lld, %d of %d arrivals and %lld bytes are missing)",
                                     simt_address_of(&b, m.at, 8, "mbarrier"), (long long)f->waits_value, (long long)m.phase, m.pending,
                                     m.expected, (long long)m.bytes);
                } else if (f->waits == SIMT_TURN)
                    snprintf(line, sizeof line, " (for %lld, it is %d)", (long long)f->waits_value, *(const int32_t *)f->waits_on);
                text += line;
                text += ";";
            }
            i = j;
        }
    }
    simt_stop("%s", text.c_str());
}

static bool turns_come(simt_block_state *b) {
    bool any = false;
    for (int i = 0; i < b->threads; i++) {
        simt_fiber *f = &b->fibers[(size_t)i];
        if (f->waits == SIMT_TURN && *(const volatile int32_t *)f->waits_on == (int32_t)f->waits_value) {
            simt_wake(f);
            any = true;
        }
    }
    return any;
}

void simt_run(const char *name, dim3 grid, dim3 threads, size_t shared, simt_call *what) {
    const char *seed = getenv("KEDGE_SIMT_SEED");
    simt_random = seed && *seed;
    random_state = simt_random ? strtoull(seed, nullptr, 10) : 0;
    dl_iterate_phdr(find_thread_local, nullptr);
    std::vector<char> mine(thread_local_memory, thread_local_memory + thread_local_bytes);
    kernel = name;
    call = what;
    stopped = false;
    message[0] = 0;
    simt_now = &host;
    running = nullptr;
    note_host_stack();
    int64_t blocks = (int64_t)grid.x * grid.y * grid.z, started = 0;
    size_t turn = 0;
    for (;;) {
        bool progress = false, any = false;
        for (size_t i = 0; i < SIMT_MULTIPROCESSORS && !stopped; i++) {
            simt_block_state *b = &resident[(turn + i) % SIMT_MULTIPROCESSORS];
            if (!b->active && started < blocks) {
                block_start(b, started++, grid, threads, shared);
                progress = true;
            }
            if (!b->active) continue;
            any = true;
            bool ready = turns_come(b) || b->ready_first < b->ready.size();
            if (ready) {
                bring(b);
                if (simt_fiber *next = next_ready(b)) switch_to(next, false);
                progress = true;
            }
            if (!stopped && !b->alive) {
                block_end(b);
                progress = true;
            }
            if (!stopped && simt_random && !later.empty() && !simt_draw(4)) {
                perform_one();
                progress = true;
            }
        }
        if (stopped || (!any && started == blocks)) break;
        turn = simt_random ? simt_draw(SIMT_MULTIPROCESSORS) : turn + 1;
        if (progress) continue;
        if (later.empty()) {
            tell_deadlock();
            break;
        }
        perform_one();
    }
    while (!later.empty()) {
        if (stopped) {
            delete later.front();
            later.pop_front();
        } else perform_one();
    }
    for (simt_block_state &b : resident) b.active = false;
    memcpy(thread_local_memory, mine.data(), thread_local_bytes);
    running = nullptr;
    simt_now = nullptr;
    kernel = nullptr;
}
