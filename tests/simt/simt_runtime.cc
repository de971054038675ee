/* CUDA's runtime on the host: one device whose memory is the host's, filled with NaN when it is given out. What is enqueued is kept, and
 * runs, in the order in which it was enqueued, when somebody waits for anything: so a result that is read without waiting is not there yet.
 */
#include "simt_block.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <functional>
#include <map>

struct CUstream_st { int unused; };
struct CUevent_st { double at; bool recorded; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  /* of all that follows */
static std::deque<std::function<void()>> queue;
static std::map<const char *, size_t> device_memory, pinned_memory;
static std::map<const void *, int> dynamic_shared;        /* what cudaFuncSetAttribute allowed a kernel */
static cudaError_t last_error, sticky;
static std::string last_fault;
static thread_local int current_device;

static const size_t TOTAL = (size_t)16 << 30;

int simt_capability() {
    const char *text = getenv("KEDGE_SIMT_CAPABILITY");
    return text && atoi(text) == 80 ? 80 : 90;
}

static bool holds(const std::map<const char *, size_t> &memory, const void *at, size_t bytes) {
    auto after = memory.upper_bound((const char *)at);
    if (after == memory.begin()) return false;
    --after;
    return (const char *)at + bytes <= after->first + after->second;
}
bool simt_global(const void *at, size_t bytes) { return holds(device_memory, at, bytes); }

static double now() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void drain() {
    while (!queue.empty()) {
        std::function<void()> next = std::move(queue.front());
        queue.pop_front();
        next();
    }
}

static cudaError_t noted(cudaError_t error) {
    if (error) last_error = error;
    return error;
}

struct locked {
    locked() { pthread_mutex_lock(&lock); }
    ~locked() { pthread_mutex_unlock(&lock); }
};

/* Everything that waits, waits for everything. */
static cudaError_t wait_all() {
    locked l;
    drain();
    return noted(sticky);
}

/* ---- launches -------------------------------------------------------------------------------------------------------------- */
void simt_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t, simt_call *call) {
    locked l;
    size_t threads = (size_t)block.x * block.y * block.z;
    auto allowed = dynamic_shared.find(kernel);
    size_t most = allowed == dynamic_shared.end() ? 49152 : (size_t)allowed->second;
    if (!grid.x || !grid.y || !grid.z || !threads || threads > 1024 || block.z > 64 || grid.y > 65535 || grid.z > 65535 ||
        grid.x > 0x7fffffff || shared > most || sticky) {
        delete call;
        noted(sticky ? sticky : cudaErrorInvalidConfiguration);
        return;
    }
    queue.push_back([=]() {
        if (!sticky) {
            simt_run(name, grid, block, shared, call);
            if (simt_stopped()) {
                sticky = last_error = cudaErrorLaunchFailure;
                last_fault = simt_message();
            }
        }
        delete call;
    });
}

void simt_later_on_stream(std::function<void()> work) {
    locked l;
    queue.push_back([=]() { if (!sticky) work(); });
}

extern "C" {

const char *simt_forget_fault(void) {
    static std::string told;
    locked l;
    drain();
    told = last_fault;
    last_fault.clear();
    sticky = last_error = cudaSuccess;
    return told.c_str();
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
    locked l;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || value > SIMT_SHARED) return noted(cudaErrorInvalidValue);
    dynamic_shared[kernel] = value;
    return cudaSuccess;
}

/* ---- the device ------------------------------------------------------------------------------------------------------------ */
cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    locked l;
    return device ? noted(cudaErrorInvalidDevice) : cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    locked l;
    if (device) return noted(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "simulated");
    p->totalGlobalMem = TOTAL;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerMultiprocessor = SIMT_SHARED + 1024;
    p->sharedMemPerBlockOptin = SIMT_SHARED;
    p->totalConstMem = 65536;
    p->regsPerBlock = p->regsPerMultiprocessor = SIMT_REGISTERS;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = simt_capability() / 10;
    p->minor = simt_capability() % 10;
    p->multiProcessorCount = SIMT_MULTIPROCESSORS;
    p->concurrentKernels = p->unifiedAddressing = p->canMapHostMemory = p->cooperativeLaunch = p->asyncEngineCount = 1;
    p->memoryBusWidth = 64;
    p->l2CacheSize = 1 << 20;
    p->maxThreadsPerMultiProcessor = 2048;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error) return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrClockRate: case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) { return wait_all(); }
cudaError_t cudaDeviceReset(void) { return wait_all(); }
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) { return cudaRuntimeGetVersion(version); }

/* ---- memory ---------------------------------------------------------------------------------------------------------------- */
static size_t taken() {
    size_t sum = 0;
    for (auto &m : device_memory) sum += m.second;
    return sum;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    locked l;
    *total = TOTAL;
    *available = TOTAL - taken();
    return cudaSuccess;
}

/* From a multiple of 256, of no more than was asked for: the address sanitizer sees what lies beyond. */
static cudaError_t take(std::map<const char *, size_t> *memory, void **out, size_t bytes) {
    *out = nullptr;
    if (!bytes) return cudaSuccess;
    if (bytes > TOTAL - taken() || posix_memalign(out, 256, bytes)) return noted(cudaErrorMemoryAllocation);
    (*memory)[(const char *)*out] = bytes;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    locked l;
    cudaError_t error = take(&device_memory, memory, bytes);
    if (*memory && bytes < (size_t)1 << 30) memset(*memory, 0xff, bytes);
    return error;
}
cudaError_t cudaFree(void *memory) {
    locked l;
    drain();
    if (memory && !device_memory.erase((const char *)memory)) return noted(cudaErrorInvalidValue);
    free(memory);
    return noted(sticky);
}
cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t) { return cudaMalloc(memory, bytes); }
cudaError_t cudaFreeAsync(void *memory, cudaStream_t) { return cudaFree(memory); }
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    locked l;
    return take(&pinned_memory, memory, bytes);
}
cudaError_t cudaMallocHost(void **memory, size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }
cudaError_t cudaFreeHost(void *memory) {
    locked l;
    drain();
    if (memory && !pinned_memory.erase((const char *)memory)) return noted(cudaErrorInvalidValue);
    free(memory);
    return cudaSuccess;
}

/* Whether each side is what the kind says. */
static bool sides(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    bool to_device = simt_global(to, bytes), from_device = simt_global(from, bytes);
    return kind == cudaMemcpyDefault || (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                                         from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
}

/* Pinned memory is read when the copy runs, other memory of the host at once. */
static cudaError_t copy_later(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    if (!bytes) return cudaSuccess;
    if (!sides(to, from, bytes, kind)) return noted(cudaErrorInvalidValue);
    if (!simt_global(from, bytes) && !holds(pinned_memory, from, bytes)) {
        std::vector<char> now_there((const char *)from, (const char *)from + bytes);
        queue.push_back([=]() { if (!sticky) memcpy(to, now_there.data(), bytes); });
    } else queue.push_back([=]() { if (!sticky) memmove(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t) {
    locked l;
    return copy_later(to, from, bytes, kind);
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return error ? error : wait_all();
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              enum cudaMemcpyKind kind, cudaStream_t) {
    locked l;
    if (width > to_pitch || width > from_pitch) return noted(cudaErrorInvalidValue);
    for (size_t i = 0; i < height; i++) {
        cudaError_t error = copy_later((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width, kind);
        if (error) return error;
    }
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    locked l;
    if (bytes && !simt_global(memory, bytes)) return noted(cudaErrorInvalidValue);
    queue.push_back([=]() { if (!sticky && bytes) memset(memory, value, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemset(void *memory, int value, size_t bytes) { return cudaMemsetAsync(memory, value, bytes, nullptr); }

/* ---- streams and events: one queue, whose order serves all streams --------------------------------------------------------- */
cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    *stream = new CUstream_st();
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    cudaError_t error = wait_all();
    delete stream;
    return error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return wait_all(); }
cudaError_t cudaStreamQuery(cudaStream_t) { return wait_all(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) { return event ? cudaSuccess : cudaErrorInvalidResourceHandle; }

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new CUevent_st();
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    cudaError_t error = wait_all();
    delete event;
    return error;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    locked l;
    queue.push_back([=]() {
        event->at = now();
        event->recorded = true;
    });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return wait_all(); }
cudaError_t cudaEventQuery(cudaEvent_t) { return wait_all(); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    locked l;
    if (!start->recorded || !end->recorded) return noted(cudaErrorInvalidResourceHandle);
    *milliseconds = (float)(1e3 * (end->at - start->at));
    return cudaSuccess;
}

/* ---- the driver, errors ---------------------------------------------------------------------------------------------------- */
void cuTensorMapEncodeTiled(void);

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned, unsigned long long,
                                             enum cudaDriverEntryPointQueryResult *result) {
    bool known = !strcmp(symbol, "cuTensorMapEncodeTiled");
    *function = known ? (void *)cuTensorMapEncodeTiled : nullptr;
    if (result) *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError(void) {
    locked l;
    return last_error;
}
cudaError_t cudaGetLastError(void) {
    locked l;
    cudaError_t error = last_error;
    last_error = sticky;
    return error;
}

static const struct { cudaError_t error; const char *name, *text; } errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};
const char *cudaGetErrorName(cudaError_t error) {
    for (auto &e : errors)
        if (e.error == error) return e.name;
    return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t error) {
    for (auto &e : errors)
        if (e.error == error) return e.text;
    return "unrecognized error code";
}

}
