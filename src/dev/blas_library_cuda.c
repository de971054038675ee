/* cuBLASLt is not linked: programs with CUDA start where there is neither a GPU nor this library. */
#include <dlfcn.h>

#include "blas_cuda.h"

/* What is used of it is the same in both versions. Opening it again counts, and finds it open. */
static void *library(void) {
    static const char *const name[] = {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13",
                                       "/usr/local/cuda/lib64/libcublasLt.so.12"};
    void *found = NULL;
    for (size_t i = 0; i < sizeof name / sizeof *name && !found; i++) found = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
    return found;
}

void *kd_blas_symbol(const char *name) {
    void *from = library(), *symbol = from ? dlsym(from, name) : NULL;
    if (!from)
        kd_fail(KD_ENOTSUP, "matrix products: neither libcublasLt.so.13 nor .12 can be opened: install cuBLAS, or say where it is with "
                            "LD_LIBRARY_PATH");
    else if (!symbol) kd_fail(KD_ENOTSUP, "matrix products: this cuBLASLt has no %s", name);
    return symbol;
}
