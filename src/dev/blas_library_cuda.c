/* cuBLASLt is not linked: programs with CUDA start where there is neither a GPU nor this library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "blas_cuda.h"

static void *library;

/* What this uses of it is the same in both versions. */
static void open_library(void) {
    static const char *const name[] = {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13",
                                       "/usr/local/cuda/lib64/libcublasLt.so.12"};
    for (size_t i = 0; i < sizeof name / sizeof *name && !library; i++) library = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
}

void *kd_blas_symbol(const char *name) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_library);
    void *symbol = library ? dlsym(library, name) : NULL;
    if (!library)
        kd_fail(KD_ENOTSUP, "matrix products: neither libcublasLt.so.13 nor .12 can be opened: install cuBLAS, or say where it is with "
                            "LD_LIBRARY_PATH");
    else if (!symbol) kd_fail(KD_ENOTSUP, "matrix products: this cuBLASLt has no %s", name);
    return symbol;
}
