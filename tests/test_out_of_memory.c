/* Places of each command that ask for memory, or for a thread, are refused: once, and from then on. The command
 * then ends with one clear line and leaves nothing half-made, or did not need it. Runs it under fault_shim.so.
 * Of a command's places at most 32 are taken (KEDGE_SEED=N: which; KEDGE_FAULTS=places: all), of each the first request, and a third of those
 * are refused for good too. KEDGE_FAULTS=all refuses every request. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fault_shim.h"
#include "scratch.h"
#include "train/checkpoint.h"

enum { WORKERS = 2, REQUESTS = 1 << 16, SHOWN = 12 };

typedef struct command {
    const char *argv[24];  /* behind "kedge"; @ stands for the scratch folder */
    const char *before;    /* the folder that becomes `out` first, or NULL */
    const char *result;    /* what a success must have made as the undisturbed command did */
} command;

static bool all_of_them, all_places;
static char kedge[PATH_MAX], shim[PATH_MAX + 16];

/* Runs the command in scratch/<place>; its exit status as of waitpid. memory 0: nothing is refused. */
static int run(const command *c, const char *place, long memory, bool forever, const char *stacks) {
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        static char text[24][700];
        char number[24], *argv[26] = {kedge};
        int count = 1;
        for (; c->argv[count - 1]; count++) {
            const char *from = c->argv[count - 1], *at = strchr(from, '@');
            snprintf(text[count], sizeof text[count], "%.*s%s%s", at ? (int)(at - from) : (int)strlen(from), from, at ? scratch : "",
                     at ? at + 1 : "");
            argv[count] = text[count];
        }
        if (chdir(in_scratch(place)) || !freopen("stdout", "w", stdout) || !freopen("stderr", "w", stderr)) _exit(99);
        snprintf(number, sizeof number, "%ld", memory);
        if (memory) setenv("FAULT_MEMORY", number, 1);
        if (forever) setenv("FAULT_FOREVER", "1", 1);
        if (stacks) setenv("FAULT_STACKS", stacks, 1);
        setenv("LD_PRELOAD", shim, 1);
        alarm(30);
        execv(kedge, argv);
        _exit(98);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    return code;
}

static char *path_in(const char *place, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", place, name);
    return kd_path_join(scratch, path);
}

/* Of these only that they are there: they say how long it took. */
static bool is_timed(const char *path) { return strstr(path, "/probe.json") || strstr(path, "/report.html") ||
                                        strstr(path, "/result.json"); }

/* A tree of files as one hash; *halves: names that a save gives to what is not whole. Metrics have times in them. */
static uint64_t tree_hash(const char *path, int64_t *halves) {
    if (!kd_is_folder(path)) {
        uint64_t hash;
        int64_t size;
        return kd_exists(path) && !is_timed(path) && !kd_file_hash(&hash, &size, path) ? hash : 0;
    }
    kd_paths names;
    uint64_t all = 1;
    assert_done(kd_list_folder(&names, path));
    for (int64_t i = 0; i < names.count; i++) {
        char *below = kd_path_join(path, names.path[i]);
        *halves += strstr(names.path[i], ".tmp") || strstr(names.path[i], ".del");
        uint64_t pair[] = {all, kd_hash(names.path[i], (int64_t)strlen(names.path[i])), tree_hash(below, halves)};
        all = kd_hash(pair, sizeof pair);
        free(below);
    }
    kd_paths_free(&names);
    return all;
}

static void copy_tree(const char *to, const char *from) {
    kd_paths names;
    assert_done(kd_make_folders(to));
    assert_done(kd_list_folder(&names, from));
    for (int64_t i = 0; i < names.count; i++) {
        char *a = kd_path_join(to, names.path[i]), *b = kd_path_join(from, names.path[i]);
        if (kd_is_folder(b)) copy_tree(a, b);
        else assert_done(kd_copy_file(a, b));
        free(b);
        free(a);
    }
    kd_paths_free(&names);
}

static void prepare(const command *c, const char *place) {
    char *out = path_in(place, "out"), *before = c->before ? kd_path_join(scratch, c->before) : NULL;
    assert_done(kd_remove_tree(out));
    assert_done(kd_make_folders(in_scratch(place)));
    if (before) copy_tree(out, before);
    free(before);
    free(out);
}

/* What was printed is compared without its numbers: what is free differs from run to run, and may be unknown, -1. */
static uint64_t result_of(const command *c, const char *place) {
    int64_t halves = 0, size, kept = 0;
    char *path = path_in(place, c->result), *text;
    uint64_t hash;
    if (strcmp(c->result, "stdout")) {
        hash = tree_hash(path, &halves);
    } else {
        assert_done(kd_file_read(&text, &size, path, 1 << 20));
        for (int64_t i = 0; i < size; i++)
            if (!strchr("-0123456789", text[i])) text[kept++] = text[i];
        hash = kd_hash(text, kept);
        free(text);
    }
    free(path);
    return hash;
}

/* The last line of what the command said. */
static void last_line(char line[300], const char *place) {
    char *path = path_in(place, "stderr"), *text;
    int64_t size;
    assert_done(kd_file_read(&text, &size, path, 1 << 20));
    while (size > 0 && text[size - 1] == '\n') text[--size] = 0;
    char *from = strrchr(text, '\n');
    snprintf(line, 300, "%s", from ? from + 1 : text);
    free(text);
    free(path);
}

/* What is wrong with how it ended, or NULL. */
static const char *judge(const command *c, const char *place, int code, bool forever, uint64_t wanted, const char *line) {
    if (WIFSIGNALED(code)) return WTERMSIG(code) == SIGALRM ? "hangs" : "crashes";
    if (WEXITSTATUS(code) == 0 && result_of(c, place) != wanted) return "says it succeeded and did not";
    if (WEXITSTATUS(code) > 1) return "does not end with 0 or 1";
    if (WEXITSTATUS(code) == 1 && (strncmp(line, "kedge: ", 7) || (!strstr(line, "memory") && !strstr(line, "thread"))))
        return "does not say that memory was out";
    char *out = path_in(place, "out"), *folder = NULL;
    int64_t halves = 0, step;
    tree_hash(out, &halves);
    kd_status status = c->before ? kd_checkpoint_newest(&folder, &step, out) : KD_OK;
    free(folder);
    free(out);
    if (status || (c->before && !folder)) return "leaves no checkpoint";
    return halves && !forever ? "leaves something half-made" : NULL;
}

/* One worker's share of the requests; the number of cases that went wrong. */
static int work(const command *c, int worker, const long *request, int64_t count, uint64_t wanted) {
    char place[32], line[300];
    int wrong = 0;
    snprintf(place, sizeof place, "worker-%d", worker);
    for (int64_t i = worker; i < count; i += WORKERS) {
        for (int forever = 0; forever < (all_of_them || i / WORKERS % 3 == 0 ? 2 : 1); forever++) {
            prepare(c, place);
            int code = run(c, place, request[i], forever, NULL);
            last_line(line, place);
            const char *bad = judge(c, place, code, forever, wanted, line);
            if (bad && wrong++ < SHOWN)
                print_error("%s: request %ld%s refused: %s (%d): %s\n", c->argv[0], request[i], forever ? " and all after it" : "", bad,
                            code,
                            line);
        }
    }
    return wrong;
}

static void refuse_memory(const command *c) {
    static long request[REQUESTS];
    int64_t count = 0, wrong = 0;
    pid_t worker[WORKERS];
    prepare(c, "whole");
    int code = run(c, "whole", 0, false, in_scratch("stacks"));
    if (code) {
        char line[300];
        last_line(line, "whole");
        fail_msg("%s without a fault: %d: %s", c->argv[0], code, line);
    }
    uint64_t wanted = result_of(c, "whole");
    FILE *file = fopen(in_scratch("stacks"), "r");
    while (count < REQUESTS && fscanf(file, "%ld", &request[count]) == 1) count++;
    fclose(file);
    assert_true(count > 20);
    if (!all_places && !all_of_them) {
        int64_t kept = 0, seed = getenv("KEDGE_SEED") ? atoll(getenv("KEDGE_SEED")) : 1, every = (count + 31) / 32;
        for (int64_t i = 0; i < count; i++)
            if ((i + seed) % every == 0) request[kept++] = request[i];
        count = kept;
    }
    if (all_of_them) {
        int64_t last = request[count - 1];
        for (count = 0; count < last; count++) request[count] = count + 1;
    }
    fflush(stdout);
    for (int i = 0; i < WORKERS; i++) {
        worker[i] = fork();
        assert_true(worker[i] >= 0);
        if (!worker[i]) {
            int bad = work(c, i, request, count, wanted);
            fflush(NULL);
            _exit(bad > 100 ? 100 : bad);
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(waitpid(worker[i], &code, 0), worker[i]);
        wrong += WIFEXITED(code) ? WEXITSTATUS(code) : 1;
    }
    print_message("%s: %lld requests refused\n", c->argv[0], (long long)count);
    if (wrong) fail_msg("%lld cases went wrong", (long long)wrong);
}

#define COMMAND(name, made, from, ...)                                                                            \
    static void name(void **state) {                                                                              \
        static const command c = {.argv = {__VA_ARGS__}, .before = from, .result = made};                         \
        (void)state;                                                                                              \
        refuse_memory(&c);                                                                                        \
    }

COMMAND(train_without_memory, "out/step-2", NULL, "train", "@/run.yaml", "--quiet")
COMMAND(resume_without_memory, "out/step-2", "begun", "train", "@/run.yaml", "--quiet", "--resume")
COMMAND(init_without_memory, "out", NULL, "init", "out", "--config", "@/config.json")
COMMAND(info_without_memory, "stdout", NULL, "info", "@/begun/step-1")
COMMAND(info_of_a_file_without_memory, "stdout", NULL, "info", "@/begun/step-1/model.safetensors", "--json")
COMMAND(info_of_a_pack_without_memory, "stdout", NULL, "info", "@/packed")
COMMAND(export_without_memory, "out", NULL, "export", "@/begun/step-1", "out", "--dtype", "bf16", "--shard-size", "4K")
COMMAND(pack_without_memory, "out/pack", NULL, "pack", "@/run.yaml", "--quiet")
COMMAND(tokenize_without_memory, "stdout", NULL, "tokenize", "--tokenizer", "@/tokenizer.json", "--json", "--threads", "2", "@/a.jsonl")
COMMAND(plan_without_memory, "stdout", NULL, "plan", "@/run.yaml", "--json", "--no-time")
COMMAND(generate_without_memory, "stdout", NULL, "generate", "--model", "@/begun/step-1", "--prompt", "ab", "--max-tokens", "4", "--temperature", "1",
        "--top-p", "0.9", "--stop", "xy", "--threads", "2")

COMMAND(probe_without_memory, "out", NULL, "probe", "--model", "@/begun/step-1", "--random", "--text", "@/a.jsonl", "--texts", "1",
        "--length", "8",
        "--lengths", "4,12", "--shifts", "0,64,1024", "--precisions", "bf16,exact", "--threads", "2", "--out", "out")
COMMAND(probe_of_a_dump_without_memory, "out", NULL, "probe", "--dump", "@/dump.safetensors", "--json", "--threads", "2", "--out", "out")

COMMAND(hellaswag_without_memory, "out", NULL, "eval", "hellaswag", "--model", "@/begun/step-1", "--data", "@/hellaswag.jsonl", "--shots",
        "1",
        "--train", "@/hellaswag.jsonl", "--limit", "1", "--batch", "2", "--threads", "2", "--out", "out")
COMMAND(mmlu_without_memory, "out", NULL, "eval", "mmlu", "--model", "@/begun/step-1", "--data", "@/mmlu.jsonl", "--dev", "@/mmlu.jsonl",
        "--shots",
        "1", "--batch", "2", "--threads", "2", "--out", "out")
COMMAND(longbench_without_memory, "out", NULL, "eval", "longbench", "--model", "@/begun/step-1", "--data", "@/longbench", "--config",
        "@/longbench",
        "--batch", "2", "--threads", "2", "--out", "out")
COMMAND(longbench_scored_without_memory, "stdout", NULL, "eval", "longbench", "--score", "@/pred")
COMMAND(ppl_without_memory, "out", NULL, "eval", "ppl", "--model", "@/begun/step-1", "--text", "@/a.jsonl", "--lengths", "8,16", "--stride",
        "7", "--batch",
        "2", "--threads", "2", "--out", "out")
COMMAND(ppl_of_a_pack_without_memory, "stdout", NULL, "eval", "ppl", "--model", "@/begun/step-1", "--pack", "@/packed", "--batch", "2",
        "--threads", "2")
COMMAND(ruler_written_without_memory, "out", NULL, "eval", "ruler", "--write", "out", "--tokenizer", "bytes", "--tasks",
        "niah_multikey_1,niah_multikey_2,vt,cwe,fwe", "--lengths", "2K", "--samples", "1", "--essays", "@/a.jsonl", "--templates", "@/ruler")
COMMAND(ruler_without_memory, "out", NULL, "eval", "ruler", "--model", "@/begun/step-1", "--tasks", "qa_1,qa_2", "--squad",
        "@/squad.json", "--hotpot", "@/hotpot.json", "--lengths", "440,480", "--samples", "1", "--batch", "2", "--threads", "2", "--out", "out")
COMMAND(ruler_of_files_without_memory, "stdout", NULL, "eval", "ruler", "--checkpoints", "@/begun", "--data", "@/samples", "--lengths", "64",
        "--batch", "2", "--threads", "2")
COMMAND(retention_without_memory, "out", NULL, "eval", "retention", "--checkpoints", "@/begun", "--base", "@/begun/step-1", "--length", "8",
        "--hellaswag", "@/hellaswag.jsonl", "--mmlu", "@/mmlu.jsonl", "--most-loss", "1", "--batch", "2", "--threads", "2", "--out", "out")
COMMAND(report_without_memory, "out", NULL, "report", "@/begun", "-o", "out.html")
COMMAND(tables_without_memory, "stdout", NULL, "compare", "--layout", "table7", "--paper", "slimpajama-64k", "@/results")

/* What evaluations read. */
static void write_benchmarks(void) {
    scratch_text("hellaswag.jsonl", "{\"activity_label\": \"A\", \"ctx_a\": \"a\", \"ctx_b\": \"b\", \"endings\": [\"c\", \"d\", \"e\", "
                                    "\"f\"], \"label\": 1}\n{\"activity_label\": \"B\", \"ctx_a\": \"a\", \"ctx_b\": \"b\", \"endings\": "
                                    "[\"c\", \"d\", \"e\", \"f\"], \"label\": \"2\"}\n");
    scratch_text("mmlu.jsonl", "{\"question\": \"q\", \"subject\": \"anatomy\", \"choices\": [\"a\", \"b\", \"c\", \"d\"], \"answer\": "
                               "0}\n");
    assert_done(kd_make_folders(in_scratch("longbench")));
    scratch_text("longbench/dataset2prompt.json", "{\"samsum\": \"{context}{input}\"}");
    scratch_text("longbench/dataset2maxlen.json", "{\"samsum\": 4}");
    scratch_text("longbench/samsum.jsonl", "{\"input\": \"x\", \"context\": \"a context that is longer than what this small model can see "
                                           "at once: it is cut\", \"answers\": [\"a b\"], \"length\": 5, \"all_classes\": null}\n");
    assert_done(kd_make_folders(in_scratch("samples")));
    scratch_text("samples/vt.jsonl", "{\"index\": 3, \"input\": \"VAR A = 1\", \"outputs\": [\"A\"], \"length\": 40, \"answer_prefix\": \" so\"}\n");
    scratch_text("squad.json", "{\"data\": [{\"paragraphs\": [{\"context\": \"One was here.\", \"qas\": [{\"question\": \"Who?\", "
                               "\"is_impossible\": false, \"answers\": [{\"text\": \"One\"}]}]}]}]}");
    scratch_text("hotpot.json", "[{\"question\": \"Who?\", \"answer\": \"One\", \"context\": [[\"A\", [\"One was here.\"]]]}]");
    assert_done(kd_make_folders(in_scratch("ruler/scripts/data/synthetic")));
    scratch_text("ruler/scripts/data/template.py", "Templates = {'base': '{task_template}'}\n");
    scratch_text("ruler/scripts/data/synthetic/niah.py", "needle = 'Of {key} {value}.'\nhaystack = 'Straw.'\n");
    scratch_text("ruler/scripts/data/synthetic/variable_tracking.py", "haystack = 'Hay.'\n");
    scratch_text("ruler/scripts/data/synthetic/qa.py", "DOCUMENT_PROMPT = '{i} {document}'\n");
    scratch_text("ruler/scripts/data/synthetic/constants.py",
                 "TASKS = {'niah': {'template': 'a {context}', 'answer_prefix': ' So'}, 'variable_tracking': {'template': 'b {context}', "
                 "'answer_prefix': ' So'}, 'common_words_extraction': {'template': 'c {context}', 'answer_prefix': ' So'}, "
                 "'freq_words_extraction': {'template': 'd {context}', 'answer_prefix': ' So'}, 'qa': {'template': 'e {context}', "
                 "'answer_prefix': ' So'}}\n");
    assert_done(kd_make_folders(in_scratch("pred")));
    scratch_text("pred/trec.jsonl", "{\"pred\": \"red\", \"answers\": [\"red\"], \"all_classes\": [\"red\", \"blue\"], \"length\": 5}\n");
}

/* A folder `begun` with one step of the run, and `packed`. */
static int open_scratch(void **state) {
    static const command begin = {.argv = {"train", "@/run.yaml", "--quiet", "--set", "steps=1", "--set", "output=@/begun"}};
    static const command evaluate = {.argv = {"eval", "hellaswag", "--model", "@/begun/step-1", "--data", "@/hellaswag.jsonl", "--out",
                                              "@/results"}};
    static const command keep = {.argv = {"eval", "retention", "--checkpoints", "@/begun", "--base", "@/begun/step-1", "--hellaswag",
                                          "@/hellaswag.jsonl"}};
    static const command pack = {.argv = {"pack", "@/run.yaml", "--quiet", "--out", "@/packed"}};
    char text[1024], line[300];
    scratch_in_memory();
    if (scratch_open(state)) return -1;
    kd_log_level(KD_QUIET);
    if (kd_copy_file(in_scratch("tokenizer.json"), "tests/fuzz/corpus/tokenizer/all")) return -1;
    if (kd_copy_file(in_scratch("dump.safetensors"), "tests/golden/dump_small.safetensors")) return -1;
    scratch_text("a.jsonl", "{\"text\": \"a text that is long enough for a window or two\"}\n{\"text\": \"and another one\"}\n");
    scratch_text("config.json", "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 8, "
                 "\"num_hidden_layers\": 1, \"num_attention_heads\": 1, \"num_key_value_heads\": 1, \"vocab_size\": 259, "
                 "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": true}");
    snprintf(text, sizeof text, "model: {init: {config: %s}}\ntokenizer: bytes\ndata: {train: [%s], valid: [%s]}\nwindow: 16\n"
             "recompute: layer\nthreads: 2\nleaves: 1\nbatch: {windows: 1}\nsteps: 2\nsave: {every: 1}\noutput: out\n",
             in_scratch("config.json"), in_scratch("a.jsonl"), in_scratch("a.jsonl"));
    scratch_text("run.yaml", text);
    prepare(&begin, "whole");
    int code = run(&begin, "whole", 0, false, NULL);
    if (!code) code = run(&pack, "whole", 0, false, NULL);
    write_benchmarks();
    if (!code) code = run(&evaluate, "whole", 0, false, NULL);
    if (!code) code = run(&keep, "whole", 0, false, NULL);
    last_line(line, "whole");
    if (code) print_error("%s\n", line);
    return code ? -1 : 0;
}

static void shim_is_not_mixed_with_sanitizers(void **state) {
    (void)state;
    print_message("skipped: memory that is refused: a sanitizer is in the shim's place\n");
    skip();
}

int main(int argc, char **argv) {
    (void)argc;
    char here[700];
    const char *slash = strrchr(argv[0], '/');
    if (SANITIZED) {
        const struct CMUnitTest none[] = {cmocka_unit_test(shim_is_not_mixed_with_sanitizers)};
        return cmocka_run_group_tests_name("out of memory", none, NULL, NULL);
    }
    const char *faults = getenv("KEDGE_FAULTS");
    all_of_them = faults && !strcmp(faults, "all");
    all_places = faults && !strcmp(faults, "places");
    snprintf(here, sizeof here, "%.*s", (int)(slash - argv[0]), argv[0]);
    if (!realpath(here, kedge)) return 1;
    snprintf(shim, sizeof shim, "%s/fault_shim.so", kedge);
    strcpy(strrchr(kedge, '/'), "/kedge");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_without_memory),          cmocka_unit_test(resume_without_memory),
        cmocka_unit_test(init_without_memory),           cmocka_unit_test(info_without_memory),
        cmocka_unit_test(info_of_a_file_without_memory), cmocka_unit_test(export_without_memory),
        cmocka_unit_test(plan_without_memory),           cmocka_unit_test(pack_without_memory),
        cmocka_unit_test(tokenize_without_memory),       cmocka_unit_test(info_of_a_pack_without_memory),
        cmocka_unit_test(generate_without_memory),
        cmocka_unit_test(probe_without_memory),          cmocka_unit_test(probe_of_a_dump_without_memory),
        cmocka_unit_test(hellaswag_without_memory),      cmocka_unit_test(mmlu_without_memory),
        cmocka_unit_test(longbench_without_memory),      cmocka_unit_test(longbench_scored_without_memory),
        cmocka_unit_test(ppl_without_memory),            cmocka_unit_test(ppl_of_a_pack_without_memory),
        cmocka_unit_test(ruler_written_without_memory),  cmocka_unit_test(ruler_without_memory),
        cmocka_unit_test(ruler_of_files_without_memory), cmocka_unit_test(retention_without_memory),
        cmocka_unit_test(report_without_memory),         cmocka_unit_test(tables_without_memory),
    };
    return cmocka_run_group_tests_name("out of memory", tests, open_scratch, scratch_close);
}
