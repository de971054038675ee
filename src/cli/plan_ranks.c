/* kedge plan of a run file with several ranks: what one of them holds and sends, beside one rank alone. */
#include <stdio.h>

#include "format/axis.h"
#include "format/json.h"
#include "plan.h"

kd_status kd_plan_ranks_open(kd_plan_ranks *r, kd_estimate *rank, const kd_trainer *t, const kd_speed *file) {
    *r = (kd_plan_ranks){.ranks = kd_ranks_of(t->run), .alone = *rank};
    int64_t ranks = r->ranks.sequence * r->ranks.data;
    r->host = file && (file->devices > 1 || file->hosts > 1) ? (int64_t)file->devices : ranks;
    if (kd_ranks_check(&r->ranks, t)) return kd_fail_prefix(KD_ECONFIG, "parallel");
    KD_TRY(kd_ranks_memory(rank, t, &r->ranks));
    r->ranks.recompute = rank->recompute;
    return kd_sent_count(&r->sent, t, &r->ranks, 0, r->host);
}

void kd_plan_ranks_print(const kd_plan_ranks *r) {
    char inside[32], between[32];
    int64_t ranks = r->ranks.sequence * r->ranks.data;
    printf("ranks                  %lld: %lld share a window (%s), %lld such groups; zero %lld; %lld on a host\n", (long long)ranks,
           (long long)r->ranks.sequence, kd_sequence_mode_name(r->ranks.mode), (long long)r->ranks.data, (long long)r->ranks.zero,
           (long long)(r->host < ranks ? r->host : ranks));
    printf("sent by a rank         bytes a step  in a host  to others\n");
    for (int use = 0; use <= KD_SENT_USES; use++) {
        bool all = use == KD_SENT_USES;
        int64_t bytes[2] = {all ? kd_sent_bytes(&r->sent, 0) : r->sent.bytes[use][0], all ? kd_sent_bytes(&r->sent, 1) : r->sent.bytes[use][1]};
        kd_number_format(inside, (double)bytes[0], true);
        kd_number_format(between, (double)bytes[1], true);
        printf("  %-32s %11s %10s\n", all ? "in all" : kd_sent_name((kd_sent_use)use), inside, between);
    }
}

void kd_plan_ranks_print_time(const kd_plan_ranks *r, const kd_seconds *time, const kd_speed *s) {
    char text[32];
    double ranks = (double)(r->ranks.sequence * r->ranks.data), faster = r->alone_time.all / time->all;
    printf("                       alone %s a step: %.0f ranks are %.2f times as fast, %.1f%% of their number",
           kd_plan_duration(text, r->alone_time.all), ranks, faster, 100 * faster / ranks);
    printf(s->inside > 0 || s->between > 0 ? "\n" : "; what is sent takes no time here: --machine FILE knows links\n");
}

json_t *kd_plan_sent(const kd_sent *sent) {
    json_t *uses = json_object();
    for (int use = 0; use < KD_SENT_USES && uses; use++)
        if (json_object_set_new(uses, kd_sent_name((kd_sent_use)use),
                                json_pack("{s:I, s:I}", "inside", (json_int_t)sent->bytes[use][0], "between", (json_int_t)sent->bytes[use][1]))) {
            json_decref(uses);
            return NULL;
        }
    return uses;
}

json_t *kd_plan_ranks_json(const kd_plan_ranks *r, bool timed) {
    json_t *alone = json_pack("{s:s, s:o}", "recompute", r->alone.recompute == KD_RECOMPUTE_NONE ? "none" : "layer", "memory",
                              kd_plan_memory(&r->alone));
    if (alone && timed && json_object_set_new(alone, "seconds_per_step", json_real(r->alone_time.all))) {
        json_decref(alone);
        return NULL;
    }
    return json_pack("{s:I, s:I, s:s, s:I, s:I, s:o, s:o}", "sequence", (json_int_t)r->ranks.sequence, "data", (json_int_t)r->ranks.data, "mode",
                     kd_sequence_mode_name(r->ranks.mode), "zero", (json_int_t)r->ranks.zero, "host", (json_int_t)r->host, "sent",
                     kd_plan_sent(&r->sent), "alone", alone);
}
