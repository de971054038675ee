/* The run file: what is accepted, what is refused and how that is said, and that it prints as it was read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "train/run_schema.h"

/* The keys that must be there; further lines of a test begin at line 6. */
#define NEEDED "model: {path: m}\ntokenizer: bytes\ndata: {train: [a.jsonl]}\nwindow: 4K\nsteps: 10\n"
#define WITHOUT_MODEL "tokenizer: bytes\ndata: {train: [a.jsonl]}\nwindow: 4K\nsteps: 10\noutput: o\n"
#define RUN NEEDED "output: o\n"

static char path[600];

static int open_folder(void **state) {
    if (scratch_open(state)) return -1;
    snprintf(path, sizeof path, "%s/run.yaml", scratch);
    return 0;
}

static kd_status open_with(kd_run_file *run, const char *text, const char *const *set, int64_t sets) {
    assert_int_equal(kd_file_write(path, text, (int64_t)strlen(text)), KD_OK);
    return kd_run_file_open(run, path, set, sets);
}

/* Opens or fails the test. */
static kd_run_file accept_with(const char *text, const char *const *set, int64_t sets) {
    kd_run_file run;
    if (open_with(&run, text, set, sets)) fail_msg("%s", kd_message());
    return run;
}

static kd_run_file accept(const char *text) { return accept_with(text, NULL, 0); }

/* The file is refused with this message, "FOLDER/" left out. */
static void refuse_with(const char *text, const char *const *set, int64_t sets, kd_status status, const char *message) {
    kd_run_file run;
    kd_status got = open_with(&run, text, set, sets);
    if (!got) fail_msg("accepted, expected: %s", message);
    const char *said = kd_message();
    if (!strncmp(said, scratch, strlen(scratch))) said += strlen(scratch) + 1;
    assert_string_equal(said, message);
    assert_int_equal(got, status);
    assert_null(run.tree);
}

static void refuse(const char *text, const char *message) { refuse_with(text, NULL, 0, KD_ECONFIG, message); }
static void later(const char *text, const char *message) { refuse_with(text, NULL, 0, KD_ENOTSUP, message); }

static void refuse_set(const char *set, const char *message) {
    refuse_with(RUN, &set, 1, KD_ECONFIG, message);
}

/* ---- accepted ---------------------------------------------------------------------------------------------- */

static const char EVERYTHING[] =
    "model:\n"
    "  path: models/llama-2-7b\n"
    "  rope: {theta: 5.0e+6, scaling: none, precision: exact, frame: window}\n"
    "tokenizer: bytes\n"
    "data:\n"
    "  train: [\"corpus/train/**/*.jsonl.zst\", 'b \"quoted\\path\"']\n"
    "  valid: [\"v\\x01 \\x85 \\u2028 \\u00e9.jsonl\"]\n"
    "window: 64K\n"
    "mask: anchor\n"
    "positions: reset\n"
    "interleave: true\n"
    "tag: true\n"
    "boundary: predict\n"
    "separator: both\n"
    "anchor_form: bos\n"
    "first: predict\n"
    "long_documents: truncate\n"
    "batch: {windows: 16, micro: 2}\n"
    "optim: {lr: 3e-5, betas: [0.8, 0.99], eps: 1e-7, weight_decay: 0.05, clip: 0.7, schedule: cosine, warmup: 20, decay: all}\n"
    "steps: 2000\n"
    "seed: 12345678901234\n"
    "dtype: {weights: f32, moments: f32, activations: f32}\n"
    "recompute: layer\n"
    "leaves: 4\n"
    "parallel: {sequence: 1, data: 1, zero: 1, mode: zigzag-bf16}\n"
    "save: {every: 50, keep: 3}\n"
    "export: {every: 10, last: 5, dtype: bf16, shard: 5G}\n"
    "eval: {every: 25, windows: 2}\n"
    "threads: 2\n"
    "output: runs/x\n";

static void check_everything(const kd_run_file *run) {
    assert_string_equal(run->model_path, "models/llama-2-7b");
    assert_true(run->rope_theta_given && run->rope.theta == 5e6);
    assert_string_equal(run->rope_scaling, "none");
    assert_int_equal(run->frame, KD_FRAME_WINDOW);
    assert_string_equal(run->tokenizer, "bytes");
    assert_int_equal(run->train.count, 2);
    assert_string_equal(run->train.text[0], "corpus/train/**/*.jsonl.zst");
    assert_string_equal(run->train.text[1], "b \"quoted\\path\"");
    assert_string_equal(run->valid.text[0], "v\x01 \xc2\x85 \xe2\x80\xa8 \xc3\xa9.jsonl");
    const kd_window_options *w = &run->window;
    assert_int_equal(w->window, 65536);
    assert_int_equal(w->mask, KD_MASK_ANCHOR);
    assert_true(w->reset && w->interleave && w->tag && w->predict_boundary && w->anchor_is_bos && w->predict_first);
    assert_true(w->truncate);
    assert_int_equal(w->separator, KD_SEPARATE_BOTH);
    assert_true(w->seed == 12345678901234 && run->seed == 12345678901234);
    assert_true(run->batch_windows == 16 && run->micro == 2);
    assert_true(run->lr == 3e-5 && run->beta1 == 0.8 && run->beta2 == 0.99 && run->eps == 1e-7);
    assert_true(run->weight_decay == 0.05 && run->clip == 0.7 && run->warmup == 20 && run->decay_all);
    assert_int_equal(run->schedule, KD_COSINE);
    assert_int_equal(run->recompute, KD_RECOMPUTE_LAYER);
    assert_int_equal(run->mode, KD_SEQUENCE_ZIGZAG_BF16);
    assert_true(run->steps == 2000 && run->leaves == 4 && run->threads == 2);
    assert_true(run->save_every == 50 && run->save_keep == 3 && run->eval_every == 25 && run->eval_windows == 2);
    assert_true(run->export_every == 10 && run->export_last == 5 && run->export_dtype == KD_BF16);
    assert_true(run->export_shard == (int64_t)5 << 30);
    assert_string_equal(run->output, "runs/x");
}

static void every_key_arrives_in_its_place(void **state) {
    (void)state;
    kd_run_file run = accept(EVERYTHING);
    check_everything(&run);
    kd_run_file_close(&run);
}

static void absent_keys_have_the_defaults_of_the_documentation(void **state) {
    (void)state;
    kd_run_file run = accept(RUN);
    assert_null(run.init_arch);
    assert_null(run.rope_scaling);
    assert_false(run.rope_theta_given);
    assert_int_equal(run.frame, KD_FRAME_DOCUMENT);
    assert_int_equal(run.valid.count, 0);
    const kd_window_options *w = &run.window;
    assert_int_equal(w->window, 4096);
    assert_int_equal(w->mask, KD_MASK_ANCHOR);
    assert_int_equal(w->separator, KD_SEPARATE_BOS);
    assert_false(w->reset || w->interleave || w->tag || w->anchor_is_bos || w->truncate);
    assert_false(w->predict_boundary || w->predict_first);
    assert_true(run.batch_windows == 8 && run.micro == 1 && run.lr == 2e-5 && run.beta1 == 0.9 && run.beta2 == 0.95);
    assert_true(run.eps == 1e-8 && run.weight_decay == 0.1 && run.clip == 1 && run.warmup == 0 && !run.decay_all);
    assert_int_equal(run.schedule, KD_CONSTANT);
    assert_int_equal(run.recompute, KD_RECOMPUTE_AUTO);
    assert_true(run.seed == 1 && w->seed == 1 && run.leaves == 8 && run.save_every == 100 && run.save_keep == 2);
    assert_true(run.eval_every == 100 && run.eval_windows == 4 && run.threads == 0);
    kd_run_file_close(&run);
}

static void a_full_window_predicts_every_token_unless_told_otherwise(void **state) {
    (void)state;
    kd_run_file run = accept(RUN "mask: full\n");
    assert_true(run.window.predict_boundary && run.window.predict_first);
    kd_run_file_close(&run);
    run = accept(RUN "mask: full\nboundary: ignore\nfirst: ignore\n");
    assert_false(run.window.predict_boundary || run.window.predict_first);
    kd_run_file_close(&run);
    run = accept(RUN "mask: full\nseparator: eos\n");
    assert_true(run.window.predict_boundary && !run.window.predict_first);
    kd_run_file_close(&run);
}

static void one_text_is_a_list_of_one(void **state) {
    (void)state;
    kd_run_file run = accept("model: {path: m}\ntokenizer: bytes\ndata: {train: x.jsonl}\nwindow: 8\nsteps: 1\noutput: o\n");
    assert_int_equal(run.train.count, 1);
    assert_string_equal(run.train.text[0], "x.jsonl");
    kd_run_file_close(&run);
}

static void rope_scaling_is_a_word_or_a_map(void **state) {
    (void)state;
    kd_run_file run = accept(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: llama3, factor: 8, low_freq_factor: 1, "
                                           "high_freq_factor: 4, original_max_position_embeddings: 8192}}}\n");
    assert_string_equal(run.rope_scaling, "llama3");
    assert_true(run.rope.factor == 8 && run.rope.low_freq_factor == 1 && run.rope.high_freq_factor == 4);
    assert_true(run.rope.original == 8192);
    kd_run_file_close(&run);
    run = accept(WITHOUT_MODEL "model: {path: m, rope: {scaling: linear}}\n");
    assert_string_equal(run.rope_scaling, "linear");
    assert_true(run.rope.factor == 0 && !run.rope_numbers_given);
    kd_run_file_close(&run);
    run = accept(WITHOUT_MODEL "model: {path: m, rope: {scaling: default}}\n");
    assert_string_equal(run.rope_scaling, "none");
    kd_run_file_close(&run);
}

static void a_set_overrides_before_anything_is_checked(void **state) {
    (void)state;
    const char *const set[] = {"optim.lr=1e-3", "window=2M", "data.train=[p, q]", "mask=document", "output=o2"};
    kd_run_file run = accept_with(NEEDED "optim: {lr: wrong}\n", set, 5);
    assert_true(run.lr == 1e-3);
    assert_int_equal(run.window.window, 2 << 20);
    assert_int_equal(run.train.count, 2);
    assert_int_equal(run.window.mask, KD_MASK_DOCUMENT);
    assert_string_equal(run.output, "o2");
    kd_run_file_close(&run);
}

/* ---- printed ----------------------------------------------------------------------------------------------- */

static char *print(const kd_run_file *run) {
    char *text;
    assert_int_equal(kd_run_file_print(&text, run), KD_OK);
    return text;
}

/* Prints the same again when it is read back. */
static void check_round_trip(const char *text) {
    kd_run_file run = accept(text), again;
    char *once = print(&run), *twice;
    again = accept(once);
    twice = print(&again);
    assert_string_equal(once, twice);
    assert_memory_equal(&run.window, &again.window, sizeof run.window);
    kd_run_file_close(&run);
    kd_run_file_close(&again);
    free(once);
    free(twice);
}

static void what_is_printed_reads_back_as_the_same_values(void **state) {
    (void)state;
    kd_run_file run = accept(EVERYTHING);
    char *text = print(&run);
    kd_run_file_close(&run);
    run = accept(text);
    check_everything(&run);
    free(text);
    kd_run_file_close(&run);

    check_round_trip(RUN);
    check_round_trip(RUN "mask: full\nseparator: none\n");
    check_round_trip(WITHOUT_MODEL "model: {init: {arch: llama, preset: demo}}\n");
    check_round_trip(WITHOUT_MODEL "model: {init: {config: c.json, seed: 4}, rope: {scaling: {type: linear, factor: 1.1}}}\n");
    check_round_trip(WITHOUT_MODEL "model: {path: m, sliding_window: lift, rope: {scaling: {type: yarn, factor: 8, beta_fast: 16, "
                     "beta_slow: 2, truncate: false, attention_factor: 1.2, mscale: 1, mscale_all_dim: 0.7}}}\n");
}

static void the_print_is_plain_yaml_in_the_schemas_order(void **state) {
    (void)state;
    kd_run_file run = accept(RUN "optim: {lr: 0.1, eps: 1.0000000000000002}\n");
    char *text = print(&run);
    const char head[] = "model:\n  path: \"m\"\n  rope:\n    precision: exact\n    frame: document\ntokenizer: \"bytes\"\n"
                        "data:\n  train: [\"a.jsonl\"]\n  tokens: 0\n  shortest: 1\n  specials: text\n  bad_lines: stop\n  shard: 16777216\n"
                        "window: 4096\nmask: anchor\n";
    assert_memory_equal(text, head, sizeof head - 1);
    assert_non_null(strstr(text, "\noptim:\n  lr: 0.1\n  betas: [0.9, 0.95]\n  eps: 1.0000000000000002\n"));
    assert_non_null(strstr(text, "\nparallel:\n  sequence: 1\n"));
    free(text);
    kd_run_file_close(&run);
}

/* ---- refused ----------------------------------------------------------------------------------------------- */

static void an_unknown_key_names_the_nearest(void **state) {
    (void)state;
    refuse(RUN "optim: {lrr: 1}\n", "run.yaml:7: optim.lrr: unknown key, did you mean lr?");
    refuse(RUN "maks: full\n", "run.yaml:7: maks: unknown key, did you mean mask?");
    refuse(RUN "lr: 1e-5\n", "run.yaml:7: lr: unknown key, did you mean optim.lr?");
    refuse(RUN "xyzzy: 1e-5\n", "run.yaml:7: xyzzy: unknown key");
    refuse(RUN "optim.lr: 1\n", "run.yaml:7: optim.lr: unknown key: groups are maps here, dots are for --set");
    refuse(RUN "optim: 3\n", "run.yaml:7: optim: a map of keys belongs here");
    refuse(RUN "mask: full\nmask: full\n", "run.yaml:8:1: mask: repeated key, first in line 7");
    refuse("- a\n", "run.yaml:1: a map of keys belongs here");
}

static void every_key_with_a_choice_says_what_it_means(void **state) {
    (void)state;
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const kd_run_row *row = &kd_run_schema[i];
        if (row->offset != KD_RUN_NOWHERE && !row->about) fail_msg("%s says nothing", row->key);
        if (row->later && row->about) fail_msg("%s is not in this build and says something", row->key);
    }
}

static void missing_keys_are_named_together(void **state) {
    (void)state;
    refuse("", "run.yaml: missing: model.path or model.init, tokenizer, data.train, window, steps, output "
               "(kedge help run-file shows a whole one)");
    refuse("steps: 3\nwindow: 8\ndata: {valid: x}\nmodel: {path: m}\n",
           "run.yaml: missing: tokenizer, data.train, output (kedge help run-file shows a whole one)");
    refuse(NEEDED "output:\n", "run.yaml:6: output: no value");
    refuse("data: {train: []}\n", "run.yaml:1: data.train: an empty list");
}

static void a_value_of_the_wrong_type_is_named_with_its_line(void **state) {
    (void)state;
    kd_run_file run;
    const char *const wrong[] = {"window: {a: 3}\n", "steps: 1.5\n", "optim: {lr: high}\n", "tag: yes\n", "steps: \"3\"\n"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(open_with(&run, wrong[i], NULL, 0), KD_ECONFIG);
        assert_non_null(strstr(kd_message(), "run.yaml:1: "));
    }
    refuse("output: [a]\n", "run.yaml:1: output: a list where one text belongs");
    refuse("data: {train: {a: 1}}\n", "run.yaml:1: data.train: a map where a list of texts belongs");
    refuse("data: {train: [a,\n  [b]]}\n", "run.yaml:2: data.train: a list where one text belongs");
    refuse("optim: {betas: 0.9}\n", "run.yaml:1: optim.betas: two numbers belong here, as in [0.9, 0.95]");
}

static void a_value_out_of_range_is_named_with_its_line(void **state) {
    (void)state;
    refuse("window: 1\n", "run.yaml:1: window: 1 is outside [2, 16777216)");
    refuse("window: 16M\n", "run.yaml:1: window: 16777216 is outside [2, 16777216)");
    refuse("steps: 0\n", "run.yaml:1: steps: 0 is outside [1, inf)");
    refuse("seed: -1\n", "run.yaml:1: seed: -1 is outside [0, inf)");
    refuse("optim: {lr: -1e-5}\n", "run.yaml:1: optim.lr: -1e-05 is outside [0, inf)");
    refuse("optim: {betas: [0.9, 1]}\n", "run.yaml:1: optim.betas: 1 is outside [0, 1)");
    refuse("optim: {eps: 0}\n", "run.yaml:1: optim.eps: 0 is outside (0, inf)");
    refuse("optim: {clip: -1}\n", "run.yaml:1: optim.clip: -1 is outside [0, inf)");
    refuse("save: {keep: 0}\n", "run.yaml:1: save.keep: 0 is outside [1, inf)");
    refuse("leaves: 8192\n", "run.yaml:1: leaves: 8192 is outside [1, 4096]");
    refuse(RUN "leaves: 12\n", "run.yaml:7: leaves: 12 is not a power of two");
    refuse(RUN "export: {last: 5}\n", "run.yaml:7: export: every, how often, is missing");
    refuse(RUN "batch: {windows: 2, micro: 3}\n", "run.yaml:7: batch.micro: 3 windows at once, the batch has 2");
}

static void an_unknown_word_names_the_nearest_or_all(void **state) {
    (void)state;
    refuse("mask: anchr\n", "run.yaml:1: mask: unknown word anchr, did you mean anchor?");
    refuse("mask: 7\n", "run.yaml:1: mask: unknown word 7, known are full, document, anchor");
    refuse("model: {init: {arch: lama}}\n", "run.yaml:1: model.init.arch: unknown word lama, did you mean llama?");
}

static void every_precision_has_its_word(void **state) {
    (void)state;
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
        char text[512];
        snprintf(text, sizeof text, "%smodel: {path: m, rope: {precision: %s}}\n", WITHOUT_MODEL, kd_precision_name(p));
        kd_run_file run = accept(text);
        assert_int_equal(run.precision, p);
        kd_run_file_close(&run);
    }
}

static void what_is_not_in_this_build_is_said(void **state) {
    (void)state;
    later("dtype: {weights: f16}\n", "run.yaml:1: dtype.weights: f16: not in this build yet");
    refuse("dtype: {moments: bf16}\n", "run.yaml:1: dtype.moments: unknown word bf16, known are f32, i8");
    refuse("parallel: {zero: 4}\n", "run.yaml:1: parallel.zero: 4 is outside [1, 3]");
    refuse("model: {rope: {precision: bf17}}\n",
           "run.yaml:1: model.rope.precision: unknown word bf17, did you mean bf16?");
}

static void devices_and_their_types(void **state) {
    (void)state;
    kd_run_file run = accept(RUN);
    assert_string_equal(run.device, "host");
    assert_true(kd_run_on_host(&run) && run.weights == KD_VIEW_F32 && run.activations == KD_VIEW_F32 && run.precision == KD_PRECISION_EXACT);
    kd_run_file_close(&run);
    run = accept(RUN "device: cuda\n");
    assert_true(!kd_run_on_host(&run) && run.weights == KD_VIEW_F32 && run.precision == KD_PRECISION_EXACT);
    kd_run_file_close(&run);
    run = accept(RUN "device: cuda:1\ndtype: {weights: bf16, activations: bf16, moments: f32}\n");
    assert_string_equal(run.device, "cuda:1");
    assert_true(run.weights == KD_VIEW_BF16 && run.activations == KD_VIEW_BF16);
    assert_int_equal(run.precision, KD_PRECISION_F16_STORE);
    char *text = print(&run);
    assert_non_null(strstr(text, "    precision: f16-store\n"));
    assert_non_null(strstr(text, "\ndtype:\n  weights: bf16\n  activations: bf16\n  moments: f32\ndevice: \"cuda:1\"\n"));
    free(text);
    kd_run_file_close(&run);
    check_round_trip(RUN "device: cuda:1\ndtype: {weights: bf16, activations: bf16}\n");
    run = accept(WITHOUT_MODEL "model: {path: m, rope: {precision: split}}\ndevice: cuda\ndtype: {weights: bf16, activations: bf16}\n");
    assert_int_equal(run.precision, KD_PRECISION_SPLIT);
    kd_run_file_close(&run);
    later(RUN "dtype: {weights: bf16, activations: bf16}\n", "run.yaml:7: dtype.weights: bf16 weights and activations need device: cuda");
    later(RUN "device: cuda\ndtype: {weights: bf16}\n", "run.yaml:8: dtype.weights: weights and activations are both f32, or both bf16");
    later(RUN "device: cuda\ndtype: {activations: bf16}\n", "run.yaml:8: dtype.activations: weights and activations are both f32, or both bf16");
    run = accept(RUN "device: cuda\ndtype: {moments: i8}\noffload: {state: host, activations: host}\n");
    assert_true(run.moments_coded && !strcmp(run.offload_state, KD_PLACE_HOST) && !strcmp(run.offload_activations, KD_PLACE_HOST));
    kd_run_file_close(&run);
    later(RUN "offload: {state: host}\n", "run.yaml:7: offload.state: host: of a run on a GPU; a folder's path takes a file (./host names one of that name)");
    later(RUN "device: cuda\noffload: {activations: /tmp/x}\n",
          "run.yaml:8: offload.activations: /tmp/x: a GPU's memory does not lie in files: host is what there is");
    later(RUN "dtype: {moments: i8}\nparallel: {data: 2}\nbatch: {windows: 2}\n", "run.yaml:7: dtype.moments: i8: of one rank alone");
    later(RUN "device: cuda\nparallel: {data: 2}\nbatch: {windows: 2}\n", "run.yaml:7: device: cuda: several ranks compute on hosts alone");
}

static void what_cannot_go_together_is_refused(void **state) {
    (void)state;
    refuse(RUN "first: predict\n", "run.yaml:7: first: predict: a shared anchor leads all documents and cannot predict one; "
                                   "anchor_form: bos can");
    refuse(RUN "mask: full\nanchor_form: bos\n", "run.yaml:8: anchor_form: bos: a form of mask: anchor alone");
    refuse(RUN "mask: document\nseparator: eos\nfirst: predict\n",
           "run.yaml:9: first: predict: no BOS leads a document with this separator");
    refuse(WITHOUT_MODEL "model:\n  path: m\n  init: {config: c}\n",
           "run.yaml:8: model.init: model.path is there too: a model is loaded or made, not both");
    refuse(WITHOUT_MODEL "model: {init: {arch: llama}}\n",
           "run.yaml:6: model.init: arch and preset, or config, are needed");
    refuse(WITHOUT_MODEL "model: {init: {config: c, preset: p}}\n",
           "run.yaml:6: model.init.config: arch and preset say the same: one or the other");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {factor: 2}}}\n",
           "run.yaml:6: model.rope.scaling.factor: a number of another type than none");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: linear, low_freq_factor: 2}}}\n",
           "run.yaml:6: model.rope.scaling.low_freq_factor: a number of another type than linear");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: longrope, long_factor: [1, 2]}}}\n",
           "run.yaml:6: model.rope.scaling.long_factor: longrope's lists are read from the checkpoint's config.json alone");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: yarn, beta_fast: 2}}}\n",
           "run.yaml:6: model.rope.scaling.factor: missing: yarn has all its numbers, or none: as the checkpoint says");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: dynamic, factor: 2, truncate: true}}}\n",
           "run.yaml:6: model.rope.scaling.truncate: a number of another type than dynamic");
    refuse(WITHOUT_MODEL "model: {path: m, sliding_window: keep}\n",
           "run.yaml:6: model.sliding_window: unknown word keep, known are lift");
    refuse(WITHOUT_MODEL "model: {path: m, rope: {scaling: {type: llama3, factor: 2}}}\n",
           "run.yaml:6: model.rope.scaling.low_freq_factor: missing: llama3 has all its numbers, or none: as the "
           "checkpoint says");
}

static void a_message_about_a_set_names_it(void **state) {
    (void)state;
    refuse_set("optim.lr=-1", "--set optim.lr=-1: optim.lr: -1 is outside [0, inf)");
    refuse_set("optim.lrr=1", "--set optim.lrr=1: optim.lrr: unknown key, did you mean lr?");
    refuse_set("optim={lrr: 1}", "--set optim={lrr: 1}: optim.lrr: unknown key, did you mean lr?");
    refuse_set("maks=full", "--set maks=full: maks: unknown key, did you mean mask?");
    refuse_set("first=predict", "--set first=predict: first: predict: a shared anchor leads all documents and cannot predict "
                                "one; anchor_form: bos can");
    refuse_set("steps=", "--set steps=: steps (override): an empty value is not an integer");
    refuse_set("steps", "--set: steps: an override is written key=value");
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_key_arrives_in_its_place),
        cmocka_unit_test(absent_keys_have_the_defaults_of_the_documentation),
        cmocka_unit_test(a_full_window_predicts_every_token_unless_told_otherwise),
        cmocka_unit_test(one_text_is_a_list_of_one),
        cmocka_unit_test(rope_scaling_is_a_word_or_a_map),
        cmocka_unit_test(a_set_overrides_before_anything_is_checked),
        cmocka_unit_test(what_is_printed_reads_back_as_the_same_values),
        cmocka_unit_test(the_print_is_plain_yaml_in_the_schemas_order),
        cmocka_unit_test(an_unknown_key_names_the_nearest),
        cmocka_unit_test(every_key_with_a_choice_says_what_it_means),
        cmocka_unit_test(missing_keys_are_named_together),
        cmocka_unit_test(a_value_of_the_wrong_type_is_named_with_its_line),
        cmocka_unit_test(a_value_out_of_range_is_named_with_its_line),
        cmocka_unit_test(an_unknown_word_names_the_nearest_or_all),
        cmocka_unit_test(every_precision_has_its_word),
        cmocka_unit_test(devices_and_their_types),
        cmocka_unit_test(what_is_not_in_this_build_is_said),
        cmocka_unit_test(what_cannot_go_together_is_refused),
        cmocka_unit_test(a_message_about_a_set_names_it),
    };
    return cmocka_run_group_tests_name("run file", test, open_folder, scratch_close);
}
