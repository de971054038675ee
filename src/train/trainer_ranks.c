/* A run on several ranks: rank = data * S + sequence. All of them make every step; what each has of weights, gradients and
 * moments is parallel.zero's (model/parts.h). All write the weights and moments of checkpoints; rank 0 alone everything else, and speaks. */
#include <stdlib.h>

#include "base/pool.h"
#include "trainer.h"

bool kd_trainer_leads(const kd_trainer *t) { return kd_comm_rank(t->world) == 0; }

kd_status kd_trainer_share(kd_trainer *t) {
    const kd_run_file *run = t->run;
    int64_t size, wanted = run->sequence_ranks * run->data_ranks;
    if (!t->options->world) KD_TRY(kd_comm_self(&t->alone));
    t->world = t->options->world ? t->options->world : t->alone;
    size = kd_comm_size(t->world);
    if (size != wanted)
        return kd_fail(KD_ECONFIG, "parallel: sequence %lld times data %lld are %lld ranks, this job has %lld",
                       (long long)run->sequence_ranks, (long long)run->data_ranks, (long long)wanted, (long long)size);
    if (run->batch_windows % run->data_ranks)
        return kd_fail(KD_ECONFIG, "batch.windows: %lld are not shared by %lld data ranks", (long long)run->batch_windows, (long long)run->data_ranks);
    KD_TRY(kd_comm_split(&t->sequence, t->world, kd_comm_rank(t->world) / run->sequence_ranks));
    return kd_comm_split(&t->data, t->world, kd_comm_rank(t->world) % run->sequence_ranks);
}

kd_status kd_trainer_threads(int64_t *threads, kd_trainer *t) {
    int64_t ranks = 1, place = 0;
    *threads = t->run->threads;
    if (!t->world || kd_comm_size(t->world) == 1) return KD_OK;
    KD_TRY(kd_comm_neighbours(&ranks, &place, t->world));
    kd_info("rank %lld of %lld, %lld of %lld on its host, joined by %s", (long long)kd_comm_rank(t->world),
            (long long)kd_comm_size(t->world), (long long)place, (long long)ranks, kd_comm_backend_name(t->world));
    if (*threads < 1) *threads = kd_cores() > ranks ? kd_cores() / ranks : 1;
    return KD_OK;
}

void kd_trainer_part(kd_trainer *t) {
    kd_comm_free(t->sequence);
    kd_comm_free(t->data);
    kd_comm_free(t->alone);
}

void kd_trainer_count_moves(kd_step_report *r, const kd_trainer *t, int sign) {
    r->sent += sign * kd_comm_sent(t->world);
    r->moving += sign * kd_comm_seconds(t->world);
}

kd_status kd_trainer_agree(const kd_trainer *t, const char *what, kd_status status) {
    if (!t->world || kd_comm_size(t->world) == 1) return status;
    if (status == KD_ELOST || kd_comm_broken(t->world)) return kd_trainer_give_up(t, status);  /* there is nobody to agree with */
    return kd_comm_agree(t->world, what, status);
}

kd_status kd_trainer_give_up(const kd_trainer *t, kd_status status) {
    if (!status || kd_comm_size(t->world) == 1) return status;
    kd_log_level(KD_WARN);
    kd_warn("rank %lld of %lld gives up: %s", (long long)kd_comm_rank(t->world), (long long)kd_comm_size(t->world), kd_message());
    enum { AGAIN = 75, FAILED = 1 };
    kd_comm_abort(t->world, status == KD_ELOST ? AGAIN : FAILED);
    return status;
}
