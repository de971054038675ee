/* kedge train */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cli.h"
#include "train/train.h"

static volatile sig_atomic_t stopped_by;
static struct timespec stopped_at;

/* The first signal asks the loop to finish its step and save; the next ends the process at once. Within a second it is
 * the same request: timeout(1), terminals and launchers send one to the process and one to its group. */
static void on_signal(int number) {
    struct timespec now;
    int kept = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (stopped_by && (now.tv_sec - stopped_at.tv_sec) * 1000 + (now.tv_nsec - stopped_at.tv_nsec) / 1000000 >= 1000)
        _exit(128 + number);
    if (!stopped_by) stopped_at = now;
    stopped_by = number;
    errno = kept;
}

static void catch_signals(void) {
    static const int asks[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    for (int i = 0; i < 3; i++) sigaddset(&action.sa_mask, asks[i]);
    for (int i = 0; i < 3; i++) sigaction(asks[i], &action, NULL);
    signal(SIGXFSZ, SIG_IGN);  /* a file size limit is an error of write(), not the end */
    signal(SIGPIPE, SIG_IGN);
}

int kd_cmd_train(int argc, char **argv) {
    kd_list set = {.count = 0};
    kd_train_options options = {.stop = &stopped_by};
    bool all_speak = false;
    const kd_option option[] = {
        {"--set", KD_LIST, &set, "a.b=c", "overrides a key of the run file; may be given several times"},
        {"--resume", KD_FLAG, &options.resume, NULL, "goes on from the newest checkpoint in the output folder"},
        {"--quiet", KD_FLAG, &options.quiet, NULL, "warnings and errors only"},
        {"--log-ranks", KD_FLAG, &all_speak, NULL, "every rank of a job speaks, not the first alone"},
    };
    const kd_usage usage = {
        "train", "RUN.yaml [options]",
        "Trains a model on documents packed into windows, as the run file says; kedge help run-file shows one and names "
        "every key. The output folder receives run.yaml, metrics.jsonl, tb/ for TensorBoard, window.svg (the first "
        "window's mask), report.html and step-N/, each a Hugging Face folder with the training state beside the weights.\n\n"
        "SIGTERM, SIGUSR1 or Ctrl-C: the step is finished and saved, exit code 75, 75 or 130; --resume goes on bit for bit. A "
        "second signal, a second later or more, ends the process at once with 128 and its number. After a crash or a kill "
        "--resume goes on from the last whole checkpoint.\n\n"
        "It trains on as many ranks as parallel.sequence times parallel.data says: the results have the same bits. torchrun, or whoever "
        "sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, starts them, or mpirun and srun in a build with MPI (make MPI=1). A rank "
        "that is lost or silent ends the job with exit code 75.",
        "  kedge train run.yaml\n"
        "  kedge train run.yaml --set mask=document --set output=runs/document\n"
        "  kedge train run.yaml --resume\n"
        "  torchrun --nproc-per-node 2 --no-python kedge train run.yaml --set parallel.sequence=2\n"
        "  mpirun -n 2 kedge train run.yaml --set parallel.sequence=2\n",
        option, sizeof option / sizeof *option};
    const char *path = NULL;
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, &path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "train: which run file? kedge train RUN.yaml"));
    if (!kd_exists(path))
        return kd_exit_code(kd_fail(KD_EIO, "%s: no such run file; kedge help run-file shows one to begin with", path));

    kd_run_file run;
    status = kd_run_file_open(&run, path, set.text, set.count);
    if (status) return kd_exit_code(status);
    if (options.quiet) kd_log_level(KD_WARN);
    catch_signals();
    bool speaks = true;
    status = kd_comm_launched(&options.world, run.sequence_ranks * run.data_ranks, (double)run.deadline);
    if (!status) {
        speaks = all_speak || kd_comm_rank(options.world) == 0;
        if (!speaks) kd_log_level(KD_QUIET);
        status = kd_train(&run, &options);
    }
    int code = speaks ? kd_exit_code(status) : kd_code_of(status);
    kd_comm_free(options.world);
    kd_run_file_close(&run);
    return status == KD_EAGAIN && stopped_by == SIGINT ? KD_EXIT_INTERRUPTED : code;
}
