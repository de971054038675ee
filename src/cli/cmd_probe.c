/* kedge probe */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "probe_ask.h"

/* Whether --out can be written, or made in what is there of its path: before measuring, which may take hours, and is not refused
 * for it then. */
static kd_status check_out(const char *folder) {
    char *path = strdup(folder);
    if (!path) return kd_fail(KD_ENOMEM, "%s: out of memory", folder);
    for (char *slash; !kd_exists(path) && (slash = strrchr(path, '/')); *slash = 0) {}
    const char *there = kd_exists(path) ? path : *folder == '/' ? "/" : ".";
    kd_status status = !kd_is_folder(there) ? kd_fail(KD_EIO, "%s: %s is not a folder", folder, there)
                     : access(there, W_OK | X_OK) ? kd_fail_errno(KD_EIO, "%s: cannot write into %s", folder, there) : KD_OK;
    free(path);
    return status;
}

typedef struct place { const char *out; bool json; } place;

static kd_status before(void *arg) {
    const place *p = arg;
    if (!p->out) return kd_fail(KD_ECONFIG, "--out is missing: the folder that pictures and numbers go into");
    return check_out(p->out);
}

static kd_status tell(void *arg, const kd_probe *probe, const kd_probe_limits *limits) {
    const place *p = arg;
    return kd_probe_tell(probe, p->out, p->json, limits);
}

int kd_cmd_probe(int argc, char **argv) {
    place to = {.json = false};
    kd_probe_ask o = {.command = "probe", .against = 16, .frame = "window", .source.seed = 1, .before = before, .tell = tell, .arg = &to};
    const kd_option option[] = {
        {"--model", KD_LIST, &o.model, "DIR", "a Hugging Face folder; may be given several times, for several in one picture"},
        {"--random", KD_FLAG, &o.random, NULL, "a fresh model of the same shape (Kaiming uniform) beside each"},
        {"--dump", KD_LIST, &o.dump, "FILE", "instead: queries and keys that another stack wrote (examples/dump_qk.py); several are several texts"},
        {"--text", KD_LIST, &o.source.text, "FILE", "what is read: JSON lines, a text each, or plain text, cut into pieces; random tokens "
                                                    "unless given. May be given several times"},
        {"--pack", KD_TEXT, &o.source.pack, "DIR", "or the training windows of a pack, their first tokens"},
        {"--mask", KD_TEXT, &o.source.mask, "NAME", "of a pack's windows: full or document; as packed unless given"},
        {"--tokenizer", KD_TEXT, &o.source.tokenizer, "DIR", "of the texts; the model's own unless given"},
        {"--no-bos", KD_FLAG, &o.source.no_bos, NULL, "no BOS (EOS where there is none) in front of a text"},
        {"--texts", KD_INTEGER, &o.source.texts, "N", "so many must be there; up to 8 of what there is unless given"},
        {"--length", KD_INTEGER, &o.length, "N", "tokens of a text; 1K unless given"},
        {"--shifts", KD_TEXT, &o.shifts, "LIST", "how far positions move, as in 0,16,128K; 0 and --against are always among them"},
        {"--against", KD_INTEGER, &o.against, "N", "d2 of figure 1"},
        {"--lengths", KD_TEXT, &o.lengths, "LIST", "T of D_logit; beyond --length texts must be longer"},
        {"--precisions", KD_TEXT, &o.precisions, "LIST", "of exact, f32-angle, split, f16-store, bf16-store, bf16, bf16-eager; bf16,bf16-store,"
                                                         "f32-angle,exact unless given"},
        {"--frame", KD_TEXT, &o.frame, "NAME", "positions that rotations use: window, as elsewhere, or document"},
        {"--preset", KD_TEXT, &o.preset, "NAME", "paper: 50 texts of 4096 tokens, its shifts, lengths to 8192, random models; what is given beside it "
                                                 "counts"},
        {"--seed", KD_INTEGER, &o.source.seed, "N", "of random models and tokens"},
        {"--max-d", KD_TEXT, &o.most_d, "X", "exit code 1 when D of any curve is above it at any shift"},
        {"--max-logit", KD_TEXT, &o.most_logit, "X", "or the change of any logit"},
        {"--out", KD_TEXT, &to.out, "DIR", "where report.html, probe.json, SVG and CSV files go"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--json", KD_FLAG, &to.json, NULL, "one object a curve on stdout, instead of the table"},
    };
    const kd_usage usage = {"probe", "--model DIR --out DIR [options]",
                            "What low precision does to a model's rotary positions: how far attention moves when all positions are shifted by the "
                            "same number, which in exact arithmetic changes nothing. Makes figures 1 and 7 of arXiv 2411.13476 for any checkpoint, at "
                            "any precision of the ladder: propagated through the network, and isolated, with queries and keys of the unshifted run. "
                            "Layers are read one at a time, so a model may be larger than memory.",
                            "  kedge probe --model models/llama-2-7b --text texts.jsonl --out probe\n"
                            "  kedge probe --model models/llama-2-7b --text texts.jsonl --preset paper --out probe\n"
                            "  kedge probe --model runs/a/step-2000 --model runs/b/step-2000 --random --text book.txt --out probe\n"
                            "  kedge probe --dump q.safetensors --max-d 1e-3 --out probe\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    return kd_exit_code(kd_probe_ask_run(&o));
}
