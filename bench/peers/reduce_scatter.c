/* What it costs that a sum over ranks has the same bits for any number of them: kedge's tree beside MPI's own reduction, which adds in
 * whatever order it likes. Both end with each rank's share of the sum.
 *
 *   make MPI=1
 *   mpicc.openmpi -O2 -Isrc -Iinclude -D_POSIX_C_SOURCE=200809L -o build/reduce_scatter bench/peers/reduce_scatter.c \
 *       build/gcc-openmpi/libkedge.a -ljansson -lyaml -lzstd -lxxhash -lpcre2-8 -lutf8proc -lm -pthread
 *   mpirun.openmpi --oversubscribe -n 2 build/reduce_scatter [millions of floats] */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "par/shards.h"

enum { ROUNDS = 9 };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of the slowest rank, the median of the rounds. */
static double median(double *seconds) {
    MPI_Allreduce(MPI_IN_PLACE, seconds, ROUNDS, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    qsort(seconds, ROUNDS, sizeof *seconds, by_value);
    return seconds[ROUNDS / 2];
}

int main(int argc, char **argv) {
    kd_comm *comm;
    kd_ctx *ctx;
    if (kd_comm_mpi(&comm, 600) || kd_ctx_open(&ctx, 1)) {
        fprintf(stderr, "%s\n", kd_message());
        return 1;
    }
    int64_t size = kd_comm_size(comm), n = (argc > 1 ? atoll(argv[1]) : 16) * 1000000 / size * size;
    float *x = calloc((size_t)n, sizeof *x), *room = calloc((size_t)kd_reduce_room(n, size) + 1, sizeof *room), *own = calloc((size_t)n, sizeof *own);
    double tree[ROUNDS], plain[ROUNDS];
    for (int64_t i = 0; i < n; i++) x[i] = (float)(i % 1000);
    for (int i = 0; i < ROUNDS; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double began = kd_now();
        if (kd_reduce_scatter(ctx, comm, "a sum", x, n, room)) return 1;
        tree[i] = kd_now() - began;
        MPI_Barrier(MPI_COMM_WORLD);
        began = kd_now();
        MPI_Reduce_scatter_block(x, own, (int)(n / size), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        plain[i] = kd_now() - began;
    }
    double a = median(tree), b = median(plain);
    if (kd_comm_rank(comm) == 0)
        printf("%lld ranks, %lld floats: tree %.1f ms, MPI_Reduce_scatter_block %.1f ms: %.2f of it\n", (long long)size, (long long)n, 1e3 * a, 1e3 * b, a / b);
    kd_ctx_close(ctx);
    kd_comm_free(comm);
    return 0;
}
