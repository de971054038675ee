/* Ranks on paper: what they hold and send is what ranks hold and send. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "scratch.h"
#include "train/ranks.h"

enum { DEADLINE = 120, MOST = 8 };

/* A run, and what its ranks do. */
typedef struct row {
    const char *arch;
    int64_t sequence, data, windows, micro;
    const char *more[3];  /* of the run file */
} row;

static const row rows[] = {
    {"llama", 1, 1, 2, 1, {NULL}},
    {"llama", 2, 1, 1, 1, {"recompute=layer"}},
    {"llama", 2, 1, 3, 2, {"recompute=none"}},
    {"qwen2", 1, 2, 4, 1, {"recompute=layer"}},
    {"qwen2", 2, 2, 4, 2, {"recompute=none", "mask=full"}},
    {"mistral", 4, 1, 2, 1, {"recompute=layer", "window=500"}},
    {"llama", 4, 2, 4, 1, {"recompute=layer"}},
    {"llama", 2, 2, 4, 1, {"recompute=layer", "parallel.zero=2"}},
    {"qwen2", 2, 2, 6, 2, {"recompute=none", "parallel.zero=3"}},
    {"mistral", 1, 4, 4, 1, {"recompute=layer", "parallel.zero=3"}},
    {"llama", 4, 1, 2, 1, {"recompute=layer", "parallel.mode=zigzag"}},
    {"qwen2", 8, 1, 2, 1, {"recompute=none", "parallel.mode=allgather", "mask=full"}},
    {"llama", 8, 1, 2, 2, {"recompute=layer", "parallel.mode=allgather"}},
    {"llama", 4, 2, 4, 1, {"recompute=none", "parallel.mode=allgather", "parallel.zero=3"}},
    {"llama", 8, 1, 3, 2, {"recompute=none", "parallel.mode=allgather", "window=500"}},
    {"llama", 8, 1, 2, 1, {"recompute=none", "parallel.mode=zigzag-bf16", "window=500"}},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void open_run(kd_run_file *run, const row *r, int64_t steps) {
    char set[8][600];
    const char *override[11];
    int64_t n = 0;
    const char *text = "model: {init: {arch: llama, preset: tiny}}\ntokenizer: bytes\nwindow: 512\neval: {every: 0}\nsave: {every: 1000}\n";
    snprintf(set[0], sizeof set[0], "model.init.arch=%s", r->arch);
    snprintf(set[1], sizeof set[1], "data.train=[%s]", in_scratch("text"));
    snprintf(set[2], sizeof set[2], "output=%s-%lld-%lld", in_scratch(r->arch), (long long)(r - rows), (long long)steps);
    snprintf(set[3], sizeof set[3], "steps=%lld", (long long)steps);
    snprintf(set[4], sizeof set[4], "parallel.sequence=%lld", (long long)r->sequence);
    snprintf(set[5], sizeof set[5], "parallel.data=%lld", (long long)r->data);
    snprintf(set[6], sizeof set[6], "batch.windows=%lld", (long long)r->windows);
    snprintf(set[7], sizeof set[7], "batch.micro=%lld", (long long)r->micro);
    for (; n < 8; n++) override[n] = set[n];
    for (int i = 0; i < 3 && r->more[i]; i++) override[n++] = r->more[i];
    assert_done(kd_run_file_parse(run, text, (int64_t)strlen(text), "run.yaml", override, n));
}

typedef struct job { kd_run_file run; int64_t sent[MOST]; } job;

static kd_status train(void *arg, kd_comm *comm) {
    job *j = arg;
    const kd_train_options options = {.quiet = true, .world = comm};
    KD_TRY(kd_train(&j->run, &options));
    j->sent[kd_comm_rank(comm)] = kd_comm_sent(comm);
    return KD_OK;
}

/* What each rank sends in a run of so many steps. */
static void run_steps(job *j, const row *r, int64_t steps) {
    open_run(&j->run, r, steps);
    assert_done(kd_comm_threads(r->sequence * r->data, DEADLINE, train, j));
    kd_run_file_close(&j->run);
}

static void prepare(kd_trainer *t, kd_run_file *run, const row *r) {
    *t = (kd_trainer){.run = run, .lock = -1, .metrics.fd = -1};
    open_run(run, r, 1);
    assert_done(kd_trainer_prepare(t, NULL));
}

/* A third step more is a step's bytes: opening and saving are the same. */
static void bytes_are_those_that_ranks_send(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i += SANITIZED ? 3 : 1) {
        const row *r = &rows[i];
        int64_t ranks = r->sequence * r->data;
        job two = {0}, three = {0};
        kd_run_file run;
        run_steps(&two, r, 2);
        run_steps(&three, r, 3);
        kd_trainer t;
        prepare(&t, &run, r);
        kd_ranks how = kd_ranks_of(&run);
        assert_done(kd_ranks_check(&how, &t));
        if (how.recompute == KD_RECOMPUTE_AUTO) how.recompute = KD_RECOMPUTE_NONE;
        for (int64_t rank = 0; rank < ranks; rank++)
            for (int64_t host = 1; host <= ranks; host *= 2) {
                kd_sent sent;
                assert_done(kd_sent_count(&sent, &t, &how, rank, host));
                int64_t inside = kd_sent_bytes(&sent, 0), between = kd_sent_bytes(&sent, 1), real = three.sent[rank] - two.sent[rank];
                double within = how.mode == KD_SEQUENCE_ALLGATHER ? 0.02 : 0;  /* what goes where follows the deal of queries */
                if (fabs((double)(inside + between - real)) > within * (double)real)
                    fail_msg("row %d, rank %lld: %lld bytes planned, %lld sent", i, (long long)rank, (long long)(inside + between),
                             (long long)real);
                assert_true(host > 1 || inside == 0);
                assert_true(host < ranks || between == 0);
            }
        kd_trainer_close(&t);
        kd_run_file_close(&run);
    }
}

#define NEAR(a, b, part) assert_true(fabs((double)(a) - (double)(b)) <= (part) * fabs((double)(b)))

/* ---- memory -------------------------------------------------------------------------------------------------------- */

typedef struct opened { const kd_trainer *t; const kd_ranks *how; kd_model_memory memory; int64_t moments; } opened;

static kd_status open_rank(void *arg, kd_comm *comm) {
    opened *o = arg;
    kd_model_options options = kd_trainer_model_options(o->t);
    kd_comm *sequence, *data;
    kd_ctx *ctx;
    kd_model *model;
    int64_t rank = kd_comm_rank(comm), S = o->how->sequence;
    KD_TRY(kd_ctx_open(&ctx, 1));
    KD_TRY(kd_comm_split(&sequence, comm, rank / S));
    KD_TRY(kd_comm_split(&data, comm, rank % S));
    options.sequence = sequence, options.data = data, options.world = comm;
    KD_TRY(kd_model_open(&model, ctx, &o->t->config, &options));
    if (rank == 0) o->memory = kd_model_memory_use(model), o->moments = kd_optimizer_bytes(model, false);
    kd_model_close(model);
    kd_comm_free(sequence);
    kd_comm_free(data);
    kd_ctx_close(ctx);
    return KD_OK;
}

static void memory_is_what_a_rank_allocates(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        kd_run_file run;
        kd_trainer t;
        prepare(&t, &run, &rows[i]);
        kd_ranks how = kd_ranks_of(&run);
        opened real = {&t, &how, {0}, 0};
        kd_estimate e;
        assert_done(kd_estimate_memory(&e, &t, 2));
        assert_done(kd_ranks_memory(&e, &t, &how));
        assert_done(kd_comm_threads(how.sequence * how.data, DEADLINE, open_rank, &real));
        assert_int_equal(e.weights, real.memory.weights);
        assert_int_equal(e.gradients, real.memory.gradients);
        assert_int_equal(e.activations, real.memory.activations);
        assert_int_equal(e.moments, real.moments);
        kd_trainer_close(&t);
        kd_run_file_close(&run);
    }
}

static void shards_of_more_take_less(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    prepare(&t, &run, &(row){"llama", 2, 4, 8, 1, {"recompute=layer", "model.init.preset=5m"}});
    kd_ranks how = kd_ranks_of(&run);
    kd_estimate sampled, e[4];
    assert_done(kd_estimate_memory(&sampled, &t, 2));
    for (how.zero = 1; how.zero <= 3; how.zero++) {
        e[how.zero] = sampled;
        assert_done(kd_ranks_memory(&e[how.zero], &t, &how));
    }
    int64_t bytes = sampled.parameters * 4, eighth = bytes / 8;
    assert_int_equal(e[1].weights, e[2].weights);
    assert_int_equal(e[2].gradients, e[3].gradients);
    assert_true(e[1].gradients - e[2].gradients > 2 * (bytes - eighth) - 4 * (bytes / 4 + 8 * 4096));
    assert_true(e[3].weights > eighth && e[3].weights < bytes);
    assert_int_equal(e[1].activations, e[3].activations);
    assert_true(e[3].memory < e[2].memory || e[3].memory == e[3].reading);
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

/* ---- what no ranks do yet, by its formula; time -------------------------------------------------------------------------- */

static void shards_and_gathering_send_what_formulas_say(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    prepare(&t, &run, &(row){"llama", 1, 1, 4, 2, {"model.init.preset=5m"}});
    const kd_config *c = &t.config;
    kd_layout l;
    assert_done(kd_layout_init(&l, c));
    double P = 8, T = 512, kv = 2 * (double)(c->G * c->E), parameters = (double)l.count, head = (double)(c->V * c->C), L = (double)c->L;
    kd_ranks s = {8, 1, 3, KD_SEQUENCE_ALLGATHER, KD_RECOMPUTE_LAYER, 8};
    kd_sent sent;
    assert_done(kd_sent_count(&sent, &t, &s, 0, 8));
    /* Four windows: keys and values of 2L - 1 forwards and L backwards to all, L gradients home; queries and their like there and back. */
    double q = (double)(c->H * c->E), own = T / P, F = 2 * L - 1, both = F + L;
    NEAR(sent.bytes[KD_SENT_ATTENTION][0], 4 * 4 * own * (P - 1) * (kv * (both + L) + 2 * q / P * both), 1e-9);
    /* Two micro-batches: every layer forward and backward, but for the two that are there still; the embedding once, as it is the head too. */
    NEAR(sent.bytes[KD_SENT_WEIGHTS][0], 4 * ((4 - 6 / L) * (parameters - head) + head) * (P - 1) / P, 0.1);
    /* Four windows' gradients; the embedding's chain is whole on each rank. */
    NEAR(sent.bytes[KD_SENT_GRADIENTS][0], 4 * 4 * parameters * (P - 1) / P, 0.05);
    s.mode = KD_SEQUENCE_ZIGZAG;
    assert_done(kd_sent_count(&sent, &t, &s, 7, 1));
    /* Round the ring, and queries and their like to chunks and back: the last chunk's rank is rank 0, its own are 7 and 8 of 0..15. */
    NEAR(sent.bytes[KD_SENT_ATTENTION][1], 4 * 4 * own * (kv * ((P - 1) * both + P * L) + 2 * q * both + kv * both), 1e-9);
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

static void a_block_is_never_less_than_one_rank_s(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    kd_estimate e;
    prepare(&t, &run, &(row){"llama", 1, 1, 2, 1, {"mask=full"}});
    assert_done(kd_estimate_memory(&e, &t, 2));
    for (int k = 0; k < 7; k++) NEAR(e.worst[k], 1, 1e-12);  /* of one document the last block has half a rank's share */
    kd_trainer_close(&t);
    kd_run_file_close(&run);
    prepare(&t, &run, &(row){"llama", 1, 1, 1, 1, {"mask=full", "window=4K"}});
    assert_done(kd_estimate_memory(&e, &t, 1));
    NEAR(e.worst[12], 2, 1e-3);  /* as many ranks as tokens: the last token is a block, and sees twice the mean */
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

static void what_is_sent_takes_time_by_its_link(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    kd_estimate e;
    prepare(&t, &run, &(row){"llama", 1, 1, 2, 1, {"mask=full", "recompute=layer"}});
    assert_done(kd_estimate_memory(&e, &t, 2));
    kd_speed speed = {.devices = 1, .peak = 1e9, .products = 1e9, .forward = {1, {1}, {1e9}}, .backward = {1, {1}, {1e9}}, .numbers = 1e9,
                      .update = 1e9};
    kd_sent sent = {.bytes = {{300, 40}, {500, 2}}, .moves = {3, 4}};
    kd_ranks one = {1, 1, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8}, s = {8, 1, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8};
    kd_seconds alone = kd_ranks_seconds(&e, &t, &one, &speed, &sent), time = kd_ranks_seconds(&e, &t, &s, &speed, &sent);
    assert_true(time.sent == 0);
    NEAR(time.all, alone.all / 8, 1e-12);
    NEAR(alone.all, kd_estimate_seconds(&e, &t, &speed).all, 1e-12);
    speed.inside = 100, speed.between = 2, speed.latency = 0.25;
    time = kd_ranks_seconds(&e, &t, &s, &speed, &sent);
    NEAR(time.sent, 8 + 21 + 7 * 0.25, 1e-12);
    s.mode = KD_SEQUENCE_ALLGATHER;
    NEAR(kd_ranks_seconds(&e, &t, &s, &speed, &sent).all, time.all + time.attention * (e.worst[3] - 1), 1e-12);
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

/* ---- what does not fit, what is on paper ------------------------------------------------------------------------------ */

static void ranks_that_do_not_fit_are_told_why(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    prepare(&t, &run, &(row){"llama", 1, 1, 6, 1, {NULL}});
    const struct { kd_ranks how; const char *why; } wrong[] = {
        {{8, 1, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8}, "4 heads are not shared by 8 ranks"},
        {{3, 1, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8}, "powers of two"},
        {{1, 4, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8}, "6 windows a step are not shared by 4"},
        {{1, 2, 1, KD_SEQUENCE_ULYSSES, KD_RECOMPUTE_LAYER, 8}, "6 windows a step are not shared by 2"},
        {{16, 1, 1, KD_SEQUENCE_ALLGATHER, KD_RECOMPUTE_LAYER, 8}, "8 leaves"},
        {{1024, 1, 1, KD_SEQUENCE_ALLGATHER, KD_RECOMPUTE_LAYER, 1024}, "1024 leaves of a window of 512"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_fails(kd_ranks_check(&wrong[i].how, &t), KD_EARG, wrong[i].why);
    kd_ranks gathers = {8, 1, 1, KD_SEQUENCE_ALLGATHER, KD_RECOMPUTE_LAYER, 8};
    assert_done(kd_ranks_check(&gathers, &t));
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

static void nothing_moves_on_paper(void **state) {
    (void)state;
    kd_comm *comm;
    int64_t n = 1;
    assert_done(kd_comm_on_paper(&comm, 3, 8));
    assert_int_equal(kd_comm_rank(comm), 3);
    assert_int_equal(kd_comm_size(comm), 8);
    assert_fails(kd_comm_sum(comm, "targets", &n, 1), KD_ENOTSUP, "targets: rank 3 of 8 is on paper");
    kd_comm_free(comm);
}

static int setup(void **state) {
    if (scratch_open(state)) return -1;
    kd_log_level(KD_QUIET);
    FILE *text = fopen(in_scratch("text"), "wb");
    for (int i = 0; text && i < 20000; i++) fprintf(text, "%d ", i);
    return text ? fclose(text) : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_that_ranks_send),
        cmocka_unit_test(memory_is_what_a_rank_allocates),
        cmocka_unit_test(shards_of_more_take_less),
        cmocka_unit_test(shards_and_gathering_send_what_formulas_say),
        cmocka_unit_test(a_block_is_never_less_than_one_rank_s),
        cmocka_unit_test(what_is_sent_takes_time_by_its_link),
        cmocka_unit_test(ranks_that_do_not_fit_are_told_why),
        cmocka_unit_test(nothing_moves_on_paper),
    };
    return cmocka_run_group_tests_name("ranks", tests, setup, scratch_close);
}
