/* Files, folders, patterns, locks, and what the log prints off a terminal. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "scratch.h"

#define LARGE (4 << 20)

/* Bytes without a period that a block could hide. */
static char *large_bytes(void) {
    char *data = malloc(LARGE);
    for (int64_t i = 0; i < LARGE; i++) data[i] = (char)(i * 2654435761u >> 15);
    return data;
}

static void assert_holds(const char *path, const char *text) {
    char *data;
    int64_t size;
    assert_done(kd_file_read(&data, &size, path, 1 << 20));
    assert_string_equal(data, text);
    assert_int_equal(size, strlen(text));
    free(data);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static void a_source_is_read_by_place(void **state) {
    (void)state;
    kd_source source;
    char bytes[4] = "____";
    assert_done(kd_source_open(&source, scratch_text("source", "hello")));
    assert_int_equal(source.size, 5);
    assert_done(kd_source_read(bytes, &source, 2, 3));
    assert_memory_equal(bytes, "llo_", 4);
    assert_done(kd_source_read(bytes, &source, 5, 0));
    assert_fails(kd_source_read(bytes, &source, 3, 4), KD_EFORMAT, "source: ends at or before byte 5, it had 5 bytes");
    kd_source_close(&source);
    kd_source_close(&source);
    assert_done(kd_source_open(&source, scratch_text("empty", "")));
    assert_int_equal(source.size, 0);
    kd_source_close(&source);
}

static void a_source_that_shrinks_or_fails_is_an_error_and_no_signal(void **state) {
    (void)state;
    kd_source source;
    char bytes[8192];
    memset(bytes, 'x', sizeof bytes);
    const char *path = scratch_file("shrinks", bytes, sizeof bytes);
    assert_done(kd_source_open(&source, path));
    assert_done(kd_source_read(bytes, &source, 0, sizeof bytes));
    assert_int_equal(truncate(path, 100), 0);
    assert_fails(kd_source_read(bytes, &source, 0, sizeof bytes), KD_EFORMAT,
                 "shrinks: ends at or before byte 100, it had 8192 bytes when it was opened");
    assert_fails(kd_source_read(bytes, &source, 4096, 1), KD_EFORMAT, "shrinks: ends at or before byte 4096");
    assert_fails(kd_source_read(bytes, &source, -1, 1), KD_EIO, "shrinks: cannot read at byte -1: Invalid argument");
    kd_source_close(&source);
}

static void a_folder_or_a_pipe_is_no_source(void **state) {
    (void)state;
    kd_source source;
    char *data;
    int64_t size;
    const char *pipe = in_scratch("pipe");
    assert_fails(kd_source_open(&source, scratch), KD_EIO, scratch, "is a folder");
    kd_source_close(&source);
    assert_fails(kd_file_read(&data, &size, scratch, 10), KD_EIO, scratch, "is a folder");
    assert_fails(kd_source_open(&source, in_scratch("absent")), KD_EIO, "absent: cannot open: No such file");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_fails(kd_source_open(&source, pipe), KD_EIO, "pipe: is not a regular file");
    unlink(pipe);
}

static void a_file_is_read_up_to_its_limit(void **state) {
    (void)state;
    char *data;
    int64_t size;
    const char *path = scratch_text("limit", "12345");
    assert_done(kd_file_read(&data, &size, path, 5));
    assert_int_equal(size, 5);
    assert_string_equal(data, "12345");
    free(data);
    assert_fails(kd_file_read(&data, &size, path, 4), KD_EFORMAT, path, "larger than 4 bytes");
    assert_null(data);
    assert_done(kd_file_read(&data, &size, scratch_text("limit", ""), 0));
    assert_string_equal(data, "");
    free(data);
}

static void a_file_that_says_it_has_no_bytes_is_read_to_its_end(void **state) {
    (void)state;
    char *data;
    int64_t size;
    if (!kd_exists("/proc/self/maps")) skip();
    assert_done(kd_file_read(&data, &size, "/proc/self/maps", 1 << 24));
    assert_true(size > 100);
    assert_int_equal(data[size], 0);
    free(data);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static void a_file_is_replaced_whole(void **state) {
    (void)state;
    const char *path = scratch_text("state.json", "old");
    assert_done(kd_file_replace(path, "newer", 5));
    assert_holds(path, "newer");
    assert_false(kd_exists(in_scratch("state.json.tmp")));
}

static void a_failed_replacement_leaves_the_old_and_no_rest(void **state) {
    (void)state;
    const char *folder = in_scratch("taken");
    assert_done(kd_make_folders(in_scratch("taken/inside")));
    assert_fails(kd_file_replace(folder, "new", 3), KD_EIO, "taken.tmp: cannot be renamed");
    assert_true(kd_is_folder(in_scratch("taken/inside")));
    assert_false(kd_exists(in_scratch("taken.tmp")));
    assert_fails(kd_file_replace(in_scratch("absent/x"), "new", 3), KD_EIO, "absent/x.tmp: cannot create");
}

static void a_full_disk_is_named_with_its_offset(void **state) {
    (void)state;
    if (!kd_exists("/dev/full")) skip();
    kd_writer writer;
    assert_done(kd_writer_open(&writer, "/dev/full"));
    assert_fails(kd_writer_put(&writer, "x", 1), KD_EIO, "/dev/full: cannot write at byte 0: No space left");
    kd_writer_close(&writer);
    assert_fails(kd_file_write("/dev/full", "x", 1), KD_EIO, "/dev/full: cannot write at byte 0: No space left");
}

/* Leaves the writer before a full pipe for a while. */
static void *read_pipe(void *path) {
    char *data = NULL;
    int64_t size;
    int held;
    do held = open(path, O_RDONLY);
    while (held < 0);
    for (double begun = kd_now(); kd_now() < begun + 0.02;) sched_yield();
    if (kd_file_read(&data, &size, path, LARGE) || size != LARGE) {
        free(data);
        data = NULL;
    }
    close(held);
    return data;
}

static void do_nothing(int sign) { (void)sign; }

/* A pipe takes 64 KiB at a time, and signals interrupt both ends. */
static void short_writes_and_signals_lose_nothing(void **state) {
    (void)state;
    const char *path = in_scratch("slow");
    struct sigaction handler = {.sa_handler = do_nothing}, before;
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    char *data = large_bytes();
    pthread_t reader;
    void *got;
    kd_writer writer;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sigaction(SIGALRM, &handler, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_pipe, (void *)(uintptr_t)path), 0);
    assert_done(kd_writer_open(&writer, path));
    assert_done(kd_writer_put(&writer, data, LARGE - 50));
    for (int64_t i = LARGE - 50; i < LARGE; i++) {  /* now the reader waits, and is disturbed */
        for (double begun = kd_now(); kd_now() < begun + 0.0002;) sched_yield();
        assert_int_equal(pthread_kill(reader, SIGALRM), 0);
        assert_done(kd_writer_put(&writer, data + i, 1));
    }
    assert_int_equal(writer.written, LARGE);
    assert_done(kd_writer_sync(&writer));
    assert_done(kd_writer_close(&writer));
    assert_int_equal(pthread_join(reader, &got), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_non_null(got);
    assert_memory_equal(got, data, LARGE);
    free(got);
    free(data);
}

static void a_copy_is_byte_for_byte(void **state) {
    (void)state;
    char *data = large_bytes();
    const char *from = scratch_file("from", data, LARGE - 3), *to = scratch_text("to", "longer before? no");
    uint64_t a, b;
    int64_t size;
    assert_done(kd_copy_file(to, from));
    assert_done(kd_file_hash(&a, &size, from));
    assert_done(kd_file_hash(&b, &size, to));
    assert_int_equal(size, LARGE - 3);
    assert_true(a == b);
    assert_true(a == kd_hash(data, LARGE - 3));
    data[LARGE / 2] ^= 1;
    assert_true(a != kd_hash(data, LARGE - 3));
    assert_fails(kd_copy_file(in_scratch("./from"), from), KD_EARG, "are the same file");
    assert_done(kd_file_hash(&b, &size, from));  /* it is as it was */
    assert_true(a == b);
    free(data);
}

/* ---- folders ----------------------------------------------------------------------------------------------- */

static void folders_are_made_on_the_way(void **state) {
    (void)state;
    assert_done(kd_make_folders(in_scratch("a/b//c/")));
    assert_true(kd_is_folder(in_scratch("a/b/c")));
    assert_done(kd_make_folders(in_scratch("a/b/c")));
    scratch_text("a/file", "");
    assert_fails(kd_make_folders(in_scratch("a/file/x")), KD_EIO, "a/file: exists and is not a folder");
    assert_done(kd_sync_folder(in_scratch("a")));
    assert_fails(kd_sync_folder(in_scratch("a/file")), KD_EIO, "a/file");
}

static void a_tree_is_removed_and_links_are_not_followed(void **state) {
    (void)state;
    assert_done(kd_make_folders(in_scratch("tree/x/y")));
    assert_done(kd_make_folders(in_scratch("kept")));
    scratch_text("kept/precious", "1");
    scratch_text("tree/x/y/file", "1");
    scratch_text("tree/.hidden", "1");
    assert_int_equal(symlink("../kept", in_scratch("tree/link")), 0);
    assert_done(kd_remove_tree(in_scratch("tree")));
    assert_false(kd_exists(in_scratch("tree")));
    assert_holds(in_scratch("kept/precious"), "1");
    assert_done(kd_remove_tree(in_scratch("tree")));
    assert_int_equal(symlink("kept", in_scratch("link")), 0);
    assert_done(kd_remove_tree(in_scratch("link")));
    assert_done(kd_remove_tree(in_scratch("kept/precious")));
    assert_true(kd_is_folder(in_scratch("kept")));
}

static void a_folder_is_listed_in_order(void **state) {
    (void)state;
    static const char *const wanted[] = {".c", "A", "B", "a", "aa"};
    static const char *const made[] = {"list/aa", "list/.c", "list/B", "list/a", "list/A"};
    kd_paths names;
    assert_done(kd_make_folders(in_scratch("list")));
    for (int i = 0; i < 5; i++) scratch_text(made[i], "");
    assert_done(kd_list_folder(&names, in_scratch("list")));
    assert_int_equal(names.count, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(names.path[i], wanted[i]);
    kd_paths_free(&names);
    assert_fails(kd_list_folder(&names, in_scratch("absent")), KD_EIO, "absent: cannot open folder");
    kd_paths_free(&names);
}

static void paths_are_joined(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}, {"a", "/b", "/b"}, {"a", "", "a/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *joined = kd_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        free(joined);
    }
}

/* ---- patterns ---------------------------------------------------------------------------------------------- */

static void make_forest(void) {
    static const char *const file[] = {"g/b.md", "g/a.md", "g/x.c", "g/.hid.md", "g/d1/a.md", "g/d1/d2/deep.md",
                                       "g/.git/config.md", "g/d3/z[1].md"};
    assert_done(kd_make_folders(in_scratch("g/d1/d2")));
    assert_done(kd_make_folders(in_scratch("g/.git")));
    assert_done(kd_make_folders(in_scratch("g/d3")));
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) scratch_text(file[i], "");
    if (symlink("..", in_scratch("g/d3/loop"))) assert_true(kd_exists(in_scratch("g/d3/loop")));
    if (symlink("x.c", in_scratch("g/link.c"))) assert_true(kd_exists(in_scratch("g/link.c")));
}

/* The pattern, below the scratch folder, names these files, separated by spaces. */
static void assert_names(const char *pattern, const char *wanted) {
    char got[2000] = "";
    kd_paths paths = {0};
    assert_done(kd_glob(&paths, in_scratch(pattern)));
    for (int64_t i = 0; i < paths.count; i++) {
        strcat(got, i ? " " : "");
        strcat(got, paths.path[i] + strlen(scratch) + 1);
    }
    kd_paths_free(&paths);
    assert_string_equal(got, wanted);
}

static void a_pattern_names_files_in_order(void **state) {
    (void)state;
    make_forest();
    assert_names("g/*.md", "g/a.md g/b.md");
    assert_names("g/[ab].md", "g/a.md g/b.md");
    assert_names("g/?.c", "g/x.c");
    assert_names("g/*/a.md", "g/d1/a.md");
    assert_names("g/*.c", "g/link.c g/x.c");
    assert_names("g/x.c", "g/x.c");
    assert_names("*/x.c", "g/x.c");
}

static void two_stars_cross_folders(void **state) {
    (void)state;
    make_forest();
    assert_names("g/**/*.md", "g/a.md g/b.md g/d1/a.md g/d1/d2/deep.md g/d3/z[1].md");
    assert_names("g/**/d2/*.md", "g/d1/d2/deep.md");
    assert_names("g/**/**/a.md", "g/a.md g/d1/a.md");
    assert_names("g/d1/**", "g/d1/a.md g/d1/d2/deep.md");
    assert_names("**/x.c", "g/x.c");
}

static void hidden_files_are_named_only_by_name(void **state) {
    (void)state;
    make_forest();
    assert_names("g/.hid.md", "g/.hid.md");
    assert_names("g/.h*", "g/.hid.md");
    assert_names("g/.git/**/*.md", "g/.git/config.md");
}

static void links_to_folders_are_entered_only_by_name(void **state) {
    (void)state;
    make_forest();
    kd_paths paths = {0};
    assert_names("g/d3/loop/x.c", "g/d3/loop/x.c");
    assert_fails(kd_glob(&paths, in_scratch("g/d3/*/x.c")), KD_EIO, "no file matches");
    kd_paths_free(&paths);
}

static void a_name_that_exists_is_no_pattern(void **state) {
    (void)state;
    make_forest();
    assert_names("g/d3/z[1].md", "g/d3/z[1].md");
}

static void a_pattern_without_a_file_is_an_error(void **state) {
    (void)state;
    make_forest();
    kd_paths paths = {0};
    assert_fails(kd_glob(&paths, in_scratch("g/*.txt")), KD_EIO, "g/*.txt: no file matches");
    assert_fails(kd_glob(&paths, in_scratch("absent/**/x")), KD_EIO, "absent/**/x: no file matches");
    assert_fails(kd_glob(&paths, in_scratch("g/absent.md")), KD_EIO, "no file matches");
    assert_fails(kd_glob(&paths, in_scratch("g/d1")), KD_EIO, "g/d1: is a folder");
    assert_fails(kd_glob(&paths, in_scratch("g/*1")), KD_EIO, "no file matches");
    kd_paths_free(&paths);
}

static void patterns_append(void **state) {
    (void)state;
    make_forest();
    kd_paths paths = {0};
    assert_done(kd_glob(&paths, in_scratch("g/x.c")));
    assert_done(kd_glob(&paths, in_scratch("g/**/a.md")));
    assert_int_equal(paths.count, 3);
    assert_string_equal(paths.path[0] + strlen(scratch), "/g/x.c");
    assert_string_equal(paths.path[1] + strlen(scratch), "/g/a.md");
    assert_string_equal(paths.path[2] + strlen(scratch), "/g/d1/a.md");
    kd_paths_free(&paths);
}

/* ---- locks ------------------------------------------------------------------------------------------------- */

static void a_lock_is_held_once_and_names_its_holder(void **state) {
    (void)state;
    char pid[64], *text;
    int64_t size;
    int first, second;
    const char *path = scratch_text("lock", "12345678 somewhere else, long ago\n");
    assert_done(kd_lock_open(&first, path));
    snprintf(pid, sizeof pid, "held by process %d on ", (int)getpid());
    assert_fails(kd_lock_open(&second, path), KD_EBUSY, path, pid);
    assert_int_equal(second, -1);
    assert_done(kd_file_read(&text, &size, path, 1000));
    assert_int_equal(strtol(text, NULL, 10), getpid());
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
    free(text);
    kd_lock_close(second);
    kd_lock_close(first);
    assert_done(kd_lock_open(&second, path));
    kd_lock_close(second);
}

/* ---- the log ----------------------------------------------------------------------------------------------- */

static int saved_stderr;

static void capture(void) {
    int fd = open(in_scratch("stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static void release(void) {
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
}

static void off_a_terminal_progress_is_one_plain_line_at_the_end(void **state) {
    (void)state;
    kd_progress progress;
    capture();
    kd_log_level(KD_INFO);
    kd_progress_open(&progress, 200);
    for (int i = 1; i <= 150; i++) kd_progress_set(&progress, i, "loss 1.5");
    kd_warn("line %d", 7);
    kd_progress_close(&progress);
    kd_info("done");
    release();
    assert_holds(in_scratch("stderr"), "kedge: warning: line 7\nkedge: 75%  150/200  0s, 0s left  loss 1.5\nkedge: done\n");
}

static void the_level_says_what_is_printed(void **state) {
    (void)state;
    kd_progress progress;
    capture();
    kd_log_level(KD_WARN);
    kd_info("not this");
    kd_progress_open(&progress, 1);
    kd_progress_set(&progress, 1, "nor this");
    kd_progress_close(&progress);
    kd_warn("this");
    kd_log_level(KD_QUIET);
    kd_warn("not this either");
    release();
    assert_holds(in_scratch("stderr"), "kedge: warning: this\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_is_read_by_place),
        cmocka_unit_test(a_source_that_shrinks_or_fails_is_an_error_and_no_signal),
        cmocka_unit_test(a_folder_or_a_pipe_is_no_source),
        cmocka_unit_test(a_file_is_read_up_to_its_limit),
        cmocka_unit_test(a_file_that_says_it_has_no_bytes_is_read_to_its_end),
        cmocka_unit_test(a_file_is_replaced_whole),
        cmocka_unit_test(a_failed_replacement_leaves_the_old_and_no_rest),
        cmocka_unit_test(a_full_disk_is_named_with_its_offset),
        cmocka_unit_test(short_writes_and_signals_lose_nothing),
        cmocka_unit_test(a_copy_is_byte_for_byte),
        cmocka_unit_test(folders_are_made_on_the_way),
        cmocka_unit_test(a_tree_is_removed_and_links_are_not_followed),
        cmocka_unit_test(a_folder_is_listed_in_order),
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(a_pattern_names_files_in_order),
        cmocka_unit_test(two_stars_cross_folders),
        cmocka_unit_test(hidden_files_are_named_only_by_name),
        cmocka_unit_test(links_to_folders_are_entered_only_by_name),
        cmocka_unit_test(a_name_that_exists_is_no_pattern),
        cmocka_unit_test(a_pattern_without_a_file_is_an_error),
        cmocka_unit_test(patterns_append),
        cmocka_unit_test(a_lock_is_held_once_and_names_its_holder),
        cmocka_unit_test(off_a_terminal_progress_is_one_plain_line_at_the_end),
        cmocka_unit_test(the_level_says_what_is_printed),
    };
    return cmocka_run_group_tests_name("files", tests, scratch_open, scratch_close);
}
