/* Checkpoints on disk: damage anywhere is found and named, the one before is used, and nothing of others is removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "scratch.h"
#include "train/checkpoint.h"

enum { FILES = 7 };

static const char *const file_name[FILES] = {
    "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
    "optimizer.safetensors", "run.yaml", "trainer_state.json",
};

/* Files whose sizes and bytes follow from the step; one of them is empty. */
static kd_status fill(void *arg, const char *folder) {
    int64_t step = *(const int64_t *)arg;
    char data[4000];
    for (int64_t f = 0; f < FILES; f++) {
        int64_t size = f == 5 ? 0 : 100 + f * 600;
        for (int64_t i = 0; i < size; i++) data[i] = (char)kd_random_bits((uint64_t)step, (uint64_t)f, (uint64_t)i);
        char *path = kd_path_join(folder, file_name[f]);
        kd_status status = kd_file_write(path, data, size);
        free(path);
        KD_TRY(status);
    }
    return KD_OK;
}

static kd_status refuse(void *arg, const char *folder) {
    KD_TRY(fill(arg, folder));
    return kd_fail(KD_EIO, "a reason of its own");
}

static const char *output(void) { return in_scratch("out"); }

static void save(int64_t step) { assert_done(kd_checkpoint_save(output(), step, fill, &step)); }

static const char *inside(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "out/%s", name);
    return in_scratch(path);
}

/* Whatever is wrong with step 2, its verification names the place and step 1 is the one to use. */
static void assert_found(const char *named) {
    char *folder;
    int64_t step;
    kd_status status = kd_checkpoint_verify(inside("step-2"));
    if (!status) fail_msg("%s: damage is not found", named);
    if (!strstr(kd_message(), named)) fail_msg("\"%s\" does not name %s", kd_message(), named);
    assert_done(kd_checkpoint_newest(&folder, &step, output()));
    assert_int_equal(step, 1);
    free(folder);
}

static int begin(void **state) {
    scratch_in_memory();
    if (scratch_open(state)) return -1;
    kd_log_level(KD_QUIET);
    save(1);
    save(2);
    return 0;
}

static void a_flipped_bit_is_found_wherever_it_is(void **state) {
    (void)state;
    for (int64_t f = 0; f <= FILES; f++) {
        const char *name = f < FILES ? file_name[f] : "manifest.json";
        char *data, path[256];
        int64_t size;
        snprintf(path, sizeof path, "out/step-2/%s", name);
        assert_done(kd_file_read(&data, &size, in_scratch(path), 1 << 20));
        /* Every bit of the manifest; of the others the ends and a random sample. */
        for (int64_t i = 0; i < size * 8; i++) {
            if (f < FILES && i > 64 && i < size * 8 - 64 && kd_random_bits(7, (uint64_t)f, (uint64_t)i) % 64) continue;
            data[i / 8] = (char)(data[i / 8] ^ 1 << i % 8);
            scratch_file(path, data, size);
            assert_found(name);
            data[i / 8] = (char)(data[i / 8] ^ 1 << i % 8);
        }
        scratch_file(path, data, size);
        free(data);
    }
    assert_done(kd_checkpoint_verify(inside("step-2")));
}

static void a_truncation_and_a_byte_too_many_are_found(void **state) {
    (void)state;
    for (int64_t f = 0; f <= FILES; f++) {
        const char *name = f < FILES ? file_name[f] : "manifest.json";
        char *data, path[256];
        int64_t size;
        snprintf(path, sizeof path, "out/step-2/%s", name);
        assert_done(kd_file_read(&data, &size, in_scratch(path), 1 << 20));
        for (int64_t cut = 0; cut <= size + 1; cut++) {  /* data has a NUL behind its last byte */
            if (cut == size || (cut > 16 && cut < size - 16)) continue;
            scratch_file(path, data, cut);
            assert_found(name);
        }
        scratch_file(path, data, size);
        free(data);
    }
    assert_done(kd_checkpoint_verify(inside("step-2")));
}

static void a_missing_file_and_a_stranger_are_found(void **state) {
    (void)state;
    for (int64_t f = 0; f <= FILES; f++) {
        const char *name = f < FILES ? file_name[f] : "manifest.json";
        char path[256];
        snprintf(path, sizeof path, "step-2/%s", name);
        assert_int_equal(rename(inside(path), in_scratch("aside")), 0);
        assert_found(name);
        assert_int_equal(rename(in_scratch("aside"), inside(path)), 0);
    }
    scratch_text("out/step-2/tokenizer.json", "{}");
    assert_found("tokenizer.json");
    assert_int_equal(unlink(inside("step-2/tokenizer.json")), 0);
    scratch_text("out/step-2/.DS_Store", "what file managers leave");
    assert_done(kd_checkpoint_verify(inside("step-2")));
}

static void a_file_of_another_step_is_found(void **state) {
    (void)state;
    for (int64_t f = 0; f <= FILES; f++) {
        const char *name = f < FILES ? file_name[f] : "manifest.json";
        char to[256], from[256];
        if (f == 5) continue;  /* empty in both */
        snprintf(to, sizeof to, "step-2/%s", name);
        snprintf(from, sizeof from, "step-1/%s", name);
        assert_done(kd_copy_file(in_scratch("aside"), inside(to)));
        assert_done(kd_copy_file(inside(to), inside(from)));
        assert_found(f < FILES ? name : "step-2/");
        assert_done(kd_copy_file(inside(to), in_scratch("aside")));
    }
    assert_done(kd_checkpoint_verify(inside("step-2")));
}

static void a_save_that_fails_says_why_and_leaves_what_was_there(void **state) {
    (void)state;
    int64_t step = 2;
    char *folder;
    assert_fails(kd_checkpoint_save(output(), step, refuse, &step), KD_EIO, "a reason of its own");
    assert_false(kd_exists(inside("step-2.tmp")));
    assert_done(kd_checkpoint_newest(&folder, &step, output()));
    assert_int_equal(step, 2);
    free(folder);
}

static void the_same_bytes_are_left_and_others_are_replaced(void **state) {
    (void)state;
    struct stat before, after;
    assert_int_equal(stat(inside("step-2"), &before), 0);
    save(2);
    assert_int_equal(stat(inside("step-2"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    scratch_text("out/step-2/config.json", "broken");
    save(2);
    assert_done(kd_checkpoint_verify(inside("step-2")));
    int64_t other = 3;
    assert_done(kd_checkpoint_save(output(), 2, fill, &other));
    assert_done(kd_checkpoint_verify(inside("step-2")));
    assert_false(kd_exists(inside("step-2.del")));
    assert_false(kd_exists(inside("step-2.tmp")));
}

static void only_leftovers_of_a_save_are_removed(void **state) {
    static const char *const ours[] = {"step-7.tmp", "step-8.del", "step-3.tmp"};
    static const char *const theirs[] = {"step-7.tmp.bak", "step-best.tmp", "step-.tmp", "step-7-copy", "notes.tmp", "step-0x7.del",
                                         "mystep-7.tmp", "step-7.tmpx"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        assert_int_equal(mkdir(inside(ours[i]), 0777), 0);
        snprintf(path, sizeof path, "out/%s/config.json", ours[i]);
        scratch_text(path, "half");
    }
    for (size_t i = 0; i < 8; i++) assert_int_equal(mkdir(inside(theirs[i]), 0777), 0);
    scratch_text("out/step-9.tmp", "a file, not a folder");
    save(3);
    for (size_t i = 0; i < 3; i++) assert_false(kd_exists(inside(ours[i])));
    for (size_t i = 0; i < 8; i++) assert_true(kd_exists(inside(theirs[i])));
    assert_true(kd_exists(inside("step-9.tmp")));
    int64_t step = 9;
    assert_fails(kd_checkpoint_save(output(), step, fill, &step), KD_EIO, "step-9.tmp", "File exists");
    assert_true(kd_exists(inside("step-9.tmp")));
    /* A link is removed, what it leads to is not. */
    assert_int_equal(mkdir(in_scratch("precious"), 0777), 0);
    scratch_text("precious/data", "not ours");
    assert_int_equal(symlink(in_scratch("precious"), inside("step-4.tmp")), 0);
    save(4);
    assert_true(kd_exists(in_scratch("precious/data")));
}

static void pruning_leaves_the_newest_and_what_lies_ahead(void **state) {
    (void)state;
    for (int64_t step = 3; step <= 6; step++) save(step);
    assert_done(kd_checkpoint_prune(output(), 5, 2));
    const bool kept[] = {false, false, false, true, true, true};
    for (int64_t step = 1; step <= 6; step++) {
        char name[32];
        snprintf(name, sizeof name, "step-%lld", (long long)step);
        assert_int_equal(kd_exists(inside(name)), kept[step - 1]);
    }
}

static void none_that_verifies_is_an_error_and_none_at_all_is_not(void **state) {
    char *folder;
    int64_t step;
    (void)state;
    for (int64_t i = 1; i <= 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "out/step-%lld/config.json", (long long)i);
        scratch_text(path, "broken");
    }
    assert_fails(kd_checkpoint_newest(&folder, &step, output()), KD_EFORMAT, "none of its 2 checkpoints");
    assert_null(folder);
    assert_done(kd_checkpoint_newest(&folder, &step, in_scratch("nothing")));
    assert_null(folder);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, begin, scratch_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        FACT(a_flipped_bit_is_found_wherever_it_is),
        FACT(a_truncation_and_a_byte_too_many_are_found),
        FACT(a_missing_file_and_a_stranger_are_found),
        FACT(a_file_of_another_step_is_found),
        FACT(a_save_that_fails_says_why_and_leaves_what_was_there),
        FACT(the_same_bytes_are_left_and_others_are_replaced),
        FACT(only_leftovers_of_a_save_are_removed),
        FACT(pruning_leaves_the_newest_and_what_lies_ahead),
        FACT(none_that_verifies_is_an_error_and_none_at_all_is_not),
    };
    return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
