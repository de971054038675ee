/* Every call of a save fails once, in every way it can: what is on disk afterwards is the old checkpoint or the new one,
 * whole, and the run says which. Runs under fault_shim.so; each case is a forked process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault_shim.h"
#include "scratch.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

/* The shim's, if it is there. */
#pragma weak fault_arm
#pragma weak fault_calls

enum { CALLS = 1024 };

static kd_run_file run;
static kd_train_options options;
static kd_trainer trainer;

/* A model of a few thousand weights whose bits follow from the step. */
static void set_state(int64_t step) {
    float *array[] = {kd_model_weights(trainer.model), trainer.optimizer.m.f32, trainer.optimizer.v.f32};
    int64_t count = kd_model_layout(trainer.model)->count;
    trainer.step = step;
    trainer.optimizer.updates = step * 10;
    for (int64_t a = 0; a < 3; a++)
        for (int64_t i = 0; i < count; i++) array[a][i] = (float)((i * 31 + a * 7 + step) % 1009) / 1009.0f;
}

/* Loads the newest checkpoint; its step, after every bit of its state was compared. */
static int64_t newest_step(void) {
    static float *want[3];
    float *array[] = {kd_model_weights(trainer.model), trainer.optimizer.m.f32, trainer.optimizer.v.f32};
    int64_t count = kd_model_layout(trainer.model)->count, step;
    char *folder;
    assert_done(kd_checkpoint_newest(&folder, &step, run.output));
    assert_non_null(folder);
    set_state(step);
    for (int64_t a = 0; a < 3; a++) {
        if (!want[a]) assert_done(kd_new(&want[a], count, sizeof **want));
        memcpy(want[a], array[a], (size_t)count * sizeof **want);
        memset(array[a], 0, (size_t)count * sizeof **want);
    }
    trainer.step = -1;
    assert_done(kd_trainer_load(&trainer, folder));
    free(folder);
    assert_int_equal(trainer.step, step);
    assert_int_equal(trainer.optimizer.updates, step * 10);
    for (int64_t a = 0; a < 3; a++) assert_memory_equal(array[a], want[a], (size_t)count * sizeof **want);
    return step;
}

static bool has_leftovers(void) {
    kd_paths names;
    bool found = false;
    assert_done(kd_list_folder(&names, run.output));
    for (int64_t i = 0; i < names.count; i++) found |= strstr(names.path[i], ".tmp") || strstr(names.path[i], ".del");
    kd_paths_free(&names);
    return found;
}

/* ---- one save, call by call ---------------------------------------------------------------------------------- */

typedef struct file_call { char name[16], path[256]; } file_call;

/* The state before: step 1 is saved, and the trainer holds step 2. */
static void begin(void) {
    kd_paths names;
    assert_done(kd_list_folder(&names, run.output));
    for (int64_t i = 0; i < names.count; i++) {
        char *path = kd_path_join(run.output, names.path[i]);
        if (strcmp(names.path[i], ".lock")) assert_done(kd_remove_tree(path));
        free(path);
    }
    kd_paths_free(&names);
    set_state(1);
    assert_done(kd_trainer_save(&trainer));
    set_state(2);
}

/* What a save calls, in order. */
static int64_t log_save(file_call list[CALLS]) {
    const char *path = in_scratch("calls");
    char line[512];
    int64_t count = 0;
    long number;
    begin();
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0666);
    fault_arm(0, FAULT_BEFORE, fd);
    kd_status status = kd_trainer_save(&trainer);
    long calls = fault_calls();
    close(fd);
    assert_done(status);
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file)) {
        assert_true(count < CALLS);
        assert_int_equal(sscanf(line, "%ld %15s %255[^\n]", &number, list[count].name, list[count].path), 3);
        count++;
    }
    fclose(file);
    assert_int_equal(calls, count);
    return count;
}

static bool ends_in(const char *path, const char *end) {
    size_t a = strlen(path), b = strlen(end);
    return a >= b && !strcmp(path + a - b, end);
}

static int64_t find(const file_call *list, int64_t count, const char *name, const char *end) {
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(list[i].name, name) && ends_in(list[i].path, end)) return i;
    fail_msg("no %s of %s", name, end);
    return -1;
}

static void files_are_synced_then_renamed_then_the_folder_is_synced(void **state) {
    static file_call list[CALLS];
    (void)state;
    int64_t count = log_save(list), files = 0, moved = find(list, count, "rename", "step-2.tmp");
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, "write") || !strstr(list[i].path, "/step-2.tmp/")) continue;
        bool synced = false;
        assert_true(i < moved);
        for (int64_t k = i + 1; k < moved; k++) {
            if (strcmp(list[k].path, list[i].path)) continue;
            if (!strcmp(list[k].name, "write")) synced = false;
            if (!strcmp(list[k].name, "fsync")) synced = true;
        }
        if (!synced) fail_msg("%s is renamed before it is synced", list[i].path);
        files++;
    }
    assert_true(files >= 6);
    assert_true(find(list, count, "fsync", "step-2.tmp/manifest.json") < find(list, count, "fsync", "step-2.tmp"));
    assert_true(find(list, count, "fsync", "step-2.tmp") < moved);
    assert_true(moved < find(list, count, "fsync", "/out"));
    assert_true(find(list, count, "fsync", "/out") < find(list, count, "rename", "step-1"));
    assert_int_equal(newest_step(), 2);
}

static bool can(fault_way way, const char *name) {
    static const char *const transfers[] = {"read", "write", "pwrite"};
    static const char *const interruptible[] = {"read", "write", "pwrite", "open", "openat", "fsync", "ftruncate", "close"};
    for (size_t i = 0; (way == FAULT_TORN || way == FAULT_SHORT) && i < 3; i++)
        if (!strcmp(transfers[i], name)) return true;
    for (size_t i = 0; way == FAULT_INTERRUPTED && i < 8; i++)
        if (!strcmp(interruptible[i], name)) return true;
    return way <= FAULT_AFTER || way == FAULT_NOSPACE || way == FAULT_IO;
}

static void a_save_that_fails_anywhere_leaves_the_old_or_the_new(void **state) {
    static file_call list[CALLS];
    (void)state;
    int64_t count = log_save(list), committed = find(list, count, "fsync", "/out"), cases = 0;
    for (int64_t k = 1; k <= count; k++) {
        for (fault_way way = 0; way < FAULT_WAYS; way++) {
            if (!can(way, list[k - 1].name)) continue;
            int code;
            begin();
            fflush(stdout);
            pid_t child = fork();
            assert_true(child >= 0);
            if (!child) {
                kd_log_level(KD_QUIET);
                fault_arm(k, way, -1);
                kd_status status = kd_trainer_save(&trainer);
                fault_calls();
                _exit(status ? 1 : 0);
            }
            assert_int_equal(waitpid(child, &code, 0), child);
            bool killed = WIFSIGNALED(code), saved = !killed && WEXITSTATUS(code) == 0;
            int64_t step = newest_step();
            if ((step != 1 && step != 2) || (saved && step != 2) || (!killed && has_leftovers() && k <= committed + 1) ||
                ((way == FAULT_INTERRUPTED || way == FAULT_SHORT || k > committed + 1) && !saved && !killed) || killed != (way <= FAULT_TORN) ||
                (killed && WTERMSIG(code) != SIGKILL))
                fail_msg("call %lld, %s %s, way %d: step %lld, %s%s", (long long)k, list[k - 1].name, list[k - 1].path, (int)way,
                         (long long)step, killed ? "killed" : saved ? "saved" : "failed", has_leftovers() ? ", leftovers" : "");
            set_state(step + 1);
            assert_done(kd_trainer_save(&trainer));
            assert_false(has_leftovers());
            assert_int_equal(newest_step(), step + 1);
            cases++;
        }
    }
    print_message("%lld calls of a save, %lld cases\n", (long long)count, (long long)cases);
}

/* ---- a step that is there already ---------------------------------------------------------------------------- */

static kd_status fill_text(void *text, const char *folder) {
    char *path = kd_path_join(folder, "text");
    kd_status status = kd_file_write(path, text, (int64_t)strlen(text));
    free(path);
    return status;
}

/* The first letter of the text in step 1 if it is whole, or 0. */
static char letter(const char *output) {
    char path[700], *text = NULL, first = 0;
    int64_t size;
    snprintf(path, sizeof path, "%s/step-1", output);
    if (kd_checkpoint_verify(path)) return 0;
    snprintf(path, sizeof path, "%s/step-1/text", output);
    if (!kd_file_read(&text, &size, path, 100)) first = text[0];
    free(text);
    return first;
}

static void a_replacement_that_fails_leaves_what_was_there(void **state) {
    char output[600];
    (void)state;
    snprintf(output, sizeof output, "%s", in_scratch("again"));
    long k = 1;
    for (bool reached = true; reached; k++) {
        for (fault_way way = 0; way < FAULT_WAYS; way++) {
            int code;
            assert_done(kd_remove_tree(output));
            assert_done(kd_checkpoint_save(output, 1, fill_text, "old"));
            fflush(stdout);
            pid_t child = fork();
            if (!child) {
                fault_arm(k, way, -1);
                kd_status status = kd_checkpoint_save(output, 1, fill_text, "new");
                _exit((status ? 1 : 0) + (fault_calls() >= k ? 2 : 0));
            }
            assert_int_equal(waitpid(child, &code, 0), child);
            bool killed = WIFSIGNALED(code), saved = !killed && !(WEXITSTATUS(code) & 1);
            char is = letter(output);
            reached = killed || WEXITSTATUS(code) & 2;
            /* Killed between its two renames it has neither; a run that resumes makes it again. */
            if ((saved && is != 'n') || (!is && !killed)) fail_msg("call %ld, way %d: \"%c\", %s", k, (int)way, is ? is : '-', saved ? "saved" : "failed");
            assert_done(kd_checkpoint_save(output, 1, fill_text, "third"));
            assert_int_equal(letter(output), 't');
        }
    }
    assert_true(k > 30);
}

/* ---- setting up ---------------------------------------------------------------------------------------------- */

static int open_run(void **state) {
    scratch_in_memory();
    if (scratch_open(state)) return -1;
    kd_log_level(KD_WARN);
    char set[3][1100];
    const char *override[] = {set[0], set[1], set[2]};
    snprintf(set[0], sizeof set[0], "output=%s", in_scratch("out"));
    snprintf(set[1], sizeof set[1], "data.train=%s", scratch_text("a.txt", "a text that is long enough for one window"));
    snprintf(set[2], sizeof set[2], "model.init.config=%s",
             scratch_text("config.json", "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 8, "
                          "\"num_hidden_layers\": 1, \"num_attention_heads\": 1, \"num_key_value_heads\": 1, \"vocab_size\": 259, "
                          "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
                          "\"tie_word_embeddings\": true}"));
    const char *path = scratch_text("run.yaml", "model: {init: {seed: 1}}\ntokenizer: bytes\ndata: {}\nwindow: 16\nthreads: 1\n"
                                    "leaves: 1\nbatch: {windows: 1}\nsteps: 9\nsave: {keep: 1}\n");
    kd_status status = kd_run_file_open(&run, path, override, 3);
    if (!status) status = kd_trainer_open(&trainer, &run, &options);
    if (status) print_error("%s\n", kd_message());
    return status ? -1 : 0;
}

static int close_run(void **state) {
    kd_trainer_close(&trainer);
    kd_run_file_close(&run);
    return scratch_close(state);
}

static void shim_is_not_mixed_with_sanitizers(void **state) {
    (void)state;
    print_message("skipped: faults of a save: a sanitizer is in the shim's place\n");
    skip();
}

int main(int argc, char **argv) {
    (void)argc;
    if (!SANITIZED && !fault_arm && !getenv("LD_PRELOAD")) {
        char shim[1024];
        snprintf(shim, sizeof shim, "%.*s/fault_shim.so", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]);
        setenv("LD_PRELOAD", shim, 1);
        execv(argv[0], argv);
        perror(argv[0]);
        return 1;
    }
    if (SANITIZED) {
        const struct CMUnitTest none[] = {cmocka_unit_test(shim_is_not_mixed_with_sanitizers)};
        return cmocka_run_group_tests_name("faults", none, NULL, NULL);
    }
    if (!fault_arm) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_synced_then_renamed_then_the_folder_is_synced),
        cmocka_unit_test(a_save_that_fails_anywhere_leaves_the_old_or_the_new),
        cmocka_unit_test(a_replacement_that_fails_leaves_what_was_there),
    };
    return cmocka_run_group_tests_name("faults", tests, open_run, close_run);
}
