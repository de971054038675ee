#include "train/run_schema.h"

#include <stddef.h>
#include <string.h>

/* A pair is read into beta1 and the double behind it; words of enums are stored as int. */
_Static_assert(offsetof(kd_run_file, beta2) == offsetof(kd_run_file, beta1) + sizeof(double), "betas are neighbours");
_Static_assert(sizeof(kd_mask) == sizeof(int) && sizeof(kd_separator) == sizeof(int) &&
               sizeof(kd_schedule) == sizeof(int) && sizeof(kd_recompute) == sizeof(int) &&
               sizeof(kd_frame) == sizeof(int) && sizeof(kd_precision) == sizeof(int) && sizeof(kd_dtype) == sizeof(int) &&
               sizeof(kd_sequence_mode) == sizeof(int) && sizeof(kd_view_type) == sizeof(int), "enums are ints");

#define WORDS(name, ...) static const kd_run_word name[] = {__VA_ARGS__, {NULL, 0, false}}

WORDS(ARCHES, {"llama", 0, 0}, {"mistral", 0, 0}, {"qwen2", 0, 0});
WORDS(SCALINGS, {"none", 0, 0}, {"default", 0, 0}, {"linear", 0, 0}, {"dynamic", 0, 0}, {"ntk", 0, 0}, {"llama3", 0, 0},
      {"yarn", 0, 0}, {"longrope", 0, 0});
WORDS(TRUNCATES, {"true", KD_YES, 0}, {"false", KD_NO, 0});
WORDS(SLIDINGS, {"lift", true, 0});
WORDS(PRECISIONS, {"exact", KD_PRECISION_EXACT, 0}, {"f32-angle", KD_PRECISION_F32_ANGLE, 0}, {"split", KD_PRECISION_SPLIT, 0},
      {"f16-store", KD_PRECISION_F16_STORE, 0}, {"bf16-store", KD_PRECISION_BF16_STORE, 0}, {"bf16", KD_PRECISION_BF16, 0},
      {"bf16-eager", KD_PRECISION_BF16_EAGER, 0});
WORDS(FRAMES, {"window", KD_FRAME_WINDOW, 0}, {"document", KD_FRAME_DOCUMENT, 0});
WORDS(UPSAMPLES, {"source", true, 0}, {"corpus", false, 0});
WORDS(SPECIALS, {"text", false, 0}, {"parse", true, 0});
WORDS(BAD_LINES, {"stop", false, 0}, {"skip", true, 0});
WORDS(MASKS, {"full", KD_MASK_FULL, 0}, {"document", KD_MASK_DOCUMENT, 0}, {"anchor", KD_MASK_ANCHOR, 0});
WORDS(POSITIONS, {"running", false, 0}, {"reset", true, 0});
WORDS(TRAINED, {"ignore", false, 0}, {"predict", true, 0});
WORDS(SEPARATORS, {"bos", KD_SEPARATE_BOS, 0}, {"eos", KD_SEPARATE_EOS, 0}, {"both", KD_SEPARATE_BOTH, 0},
      {"none", KD_SEPARATE_NONE, 0});
WORDS(ANCHOR_FORMS, {"shared", false, 0}, {"bos", true, 0});
WORDS(LONG_DOCUMENTS, {"continue", false, 0}, {"truncate", true, 0});
WORDS(SCHEDULES, {"constant", KD_CONSTANT, 0}, {"linear", KD_LINEAR, 0}, {"cosine", KD_COSINE, 0});
WORDS(DECAYS, {"matrices", false, 0}, {"all", true, 0});
WORDS(DTYPES, {"f32", KD_VIEW_F32, 0}, {"bf16", KD_VIEW_BF16, 0}, {"f16", KD_VIEW_F16, 1});
WORDS(MOMENT_DTYPES, {"f32", false, 0}, {"i8", true, 0});
WORDS(EXPORT_DTYPES, {"f32", KD_F32, 0}, {"bf16", KD_BF16, 0}, {"f16", KD_F16, 0});
WORDS(RECOMPUTES, {"auto", KD_RECOMPUTE_AUTO, 0}, {"layer", KD_RECOMPUTE_LAYER, 0}, {"none", KD_RECOMPUTE_NONE, 0});
WORDS(SEQUENCE_MODES, {"ulysses", KD_SEQUENCE_ULYSSES, 0}, {"allgather", KD_SEQUENCE_ALLGATHER, 0}, {"zigzag", KD_SEQUENCE_ZIGZAG, 0},
      {"zigzag-bf16", KD_SEQUENCE_ZIGZAG_BF16, 0});

#define AT(field) .offset = offsetof(kd_run_file, field)
#define LISTS "longrope's lists are read from the checkpoint's config.json alone"
#define NOWHERE .offset = KD_RUN_NOWHERE

const kd_run_row kd_run_schema[] = {
    {"model.path", KD_RUN_TEXT, NULL, AT(model_path),
     .group = "the model",
     .about = "a Hugging Face folder on this machine: config.json, model.safetensors, tokenizer files; or:"},
    {"model.init.arch", KD_RUN_TEXT, NULL, AT(init_arch), .word = ARCHES,
     .about = "a fresh model of this family, with random weights"},
    {"model.init.preset", KD_RUN_TEXT, NULL, AT(init_preset),
     .about = "its size; kedge help init names them"},
    {"model.init.config", KD_RUN_TEXT, NULL, AT(init_config),
     .about = "a config.json instead of family and preset"},
    {"model.init.seed", KD_RUN_INTEGER, "1", AT(init_seed), .range = "[0, inf)", .within = "model.init",
     .about = "of the random weights"},
    {"model.sliding_window", KD_RUN_SWITCH, NULL, AT(lift_sliding_window), .word = SLIDINGS,
     .about = "lift: a checkpoint whose tokens see fewer tokens than a window has loses that limit"},
    {"model.rope.theta", KD_RUN_NUMBER, NULL, AT(rope.theta), .range = "(0, inf)",
     .group = "rotary positions",
     .about = "base of the rotary frequencies; the checkpoint's unless given"},
    {"model.rope.scaling.type", KD_RUN_TEXT, NULL, AT(rope_scaling), .word = SCALINGS,
     .about = "how rotary frequencies are stretched; the checkpoint's unless given"},
    {"model.rope.scaling.factor", KD_RUN_NUMBER, NULL, AT(rope.factor), .range = "[1, inf)",
     .about = "by how much"},
    {"model.rope.scaling.low_freq_factor", KD_RUN_NUMBER, NULL, AT(rope.low_freq_factor), .range = "(0, inf)",
     .about = "llama3: wavelengths above context/this are stretched by the whole factor"},
    {"model.rope.scaling.high_freq_factor", KD_RUN_NUMBER, NULL, AT(rope.high_freq_factor), .range = "(0, inf)",
     .about = "llama3: wavelengths below context/this stay"},
    {"model.rope.scaling.original_max_position_embeddings", KD_RUN_NUMBER, NULL, AT(rope.original), .range = "[2, inf)",
     .about = "llama3, yarn, longrope: the context before it was stretched"},
    {"model.rope.scaling.attention_factor", KD_RUN_NUMBER, NULL, AT(rope.attention_factor), .range = "(0, inf)",
     .about = "yarn, longrope: of rotated queries and keys; what the factor implies unless given"},
    {"model.rope.scaling.beta_fast", KD_RUN_NUMBER, NULL, AT(rope.beta_fast), .range = "(0, inf)",
     .about = "yarn: pairs that turn more often than this in the original context stay"},
    {"model.rope.scaling.beta_slow", KD_RUN_NUMBER, NULL, AT(rope.beta_slow), .range = "(0, inf)",
     .about = "yarn: pairs that turn less often are stretched by the whole factor"},
    {"model.rope.scaling.mscale", KD_RUN_NUMBER, NULL, AT(rope.mscale), .range = "(0, inf)",
     .about = "yarn: with mscale_all_dim makes the attention factor"},
    {"model.rope.scaling.mscale_all_dim", KD_RUN_NUMBER, NULL, AT(rope.mscale_all_dim), .range = "(0, inf)",
     .about = "yarn: see mscale"},
    {"model.rope.scaling.truncate", KD_RUN_WORD, NULL, AT(rope_truncate), .word = TRUNCATES,
     .about = "yarn: whether the range between the betas ends at whole pairs"},
    {"model.rope.scaling.short_factor", KD_RUN_LIST, NULL, NOWHERE, .refused = LISTS},
    {"model.rope.scaling.long_factor", KD_RUN_LIST, NULL, NOWHERE, .refused = LISTS},
    {"model.rope.precision", KD_RUN_WORD, "exact", AT(precision), .word = PRECISIONS,
     .about = "how queries and keys are rotated and kept, from exact to what others do: f32-angle: float32 angles; split: pairs of "
              "bf16; f16-store, bf16-store: rounded when rotated; bf16: rotated in bf16; bf16-eager: logits and probabilities in "
              "bf16 too, slow; with bf16 activations f16-store unless given"},
    {"model.rope.frame", KD_RUN_WORD, "document", AT(frame), .word = FRAMES,
     .about = "where rotation counts positions from; document: a document's bits do not depend on its place"},
    {"tokenizer", KD_RUN_TEXT, NULL, AT(tokenizer), .required = true,
     .group = "texts and tokens",
     .about = "a folder with tokenizer.json; or bytes: 256 bytes, BOS 256, EOS 257, padding 258"},
    {"data.train", KD_RUN_LIST, NULL, AT(train), .required = true,
     .about = "files or patterns; * stays in a folder, ** crosses folders; *.jsonl and *.jsonl.zst hold one {\"text\": ...} or "
              "{\"input_ids\": ...} a line, *.idx is Megatron's, any other file is one document; or the folder of a pack"},
    {"data.valid", KD_RUN_LIST, NULL, AT(valid),
     .about = "the same, for validation; none: no validation"},
    {"data.pack", KD_RUN_TEXT, NULL, AT(pack),
     .about = "folder that kedge pack makes of them; kedge train then reads it instead"},
    {"data.mixture", KD_RUN_SHARES, NULL, AT(mixture), .range = "[0, inf)",
     .about = "share of each source in the tokens, as {Book: 0.05, C4: 0.2}: relative, other sources are left out; none: as the "
              "files are"},
    {"data.tokens", KD_RUN_SIZE, "0", AT(data_tokens), .range = "[0, inf)",
     .about = "tokens of a pass, about; 0: as many as the shares allow"},
    {"data.upsample.shorter_than", KD_RUN_SIZE, NULL, AT(upsample_below), .range = "[1, inf)",
     .about = "length upsampling: of the documents with fewer tokens only some are kept"},
    {"data.upsample.keep", KD_RUN_NUMBER, "0.1", AT(upsample_keep), .range = "[0, 1]", .within = "data.upsample",
     .about = "the chance of each"},
    {"data.upsample.per", KD_RUN_SWITCH, "source", AT(upsample_every_source), .word = UPSAMPLES, .within = "data.upsample",
     .about = "whether sources keep the shares that they had before it; a mixture says them itself"},
    {"data.shortest", KD_RUN_INTEGER, "1", AT(window.shortest), .range = "[1, inf)",
     .about = "tokens of the shortest document, and of the shortest rest of one that goes on in the next window"},
    {"data.specials", KD_RUN_SWITCH, "text", AT(parse_specials), .word = SPECIALS,
     .about = "what <s> in a document is: three characters, or parsed as the special token"},
    {"data.bad_lines", KD_RUN_SWITCH, "stop", AT(skip_bad_lines), .word = BAD_LINES,
     .about = "whether a line that is no record stops everything, or is counted and left out"},
    {"data.shard", KD_RUN_SIZE, "16M", AT(store_shard), .range = "[1, inf)",
     .about = "kedge pack: tokens of a file of the token store"},
    {"window", KD_RUN_SIZE, NULL, AT(window.window), .range = "[2, 16777216)", .required = true,
     .group = "windows",
     .about = "tokens in a window, anchor, BOS and tags counted; K is 1024"},
    {"mask", KD_RUN_WORD, "anchor", AT(window.mask), .word = MASKS,
     .about = "what a token sees: full: all before it; document: its own document; anchor: its own document and the window's first token"},
    {"positions", KD_RUN_SWITCH, "running", AT(window.reset), .word = POSITIONS,
     .about = "running over the window, or reset in each document"},
    {"offset", KD_RUN_SIZE, "0", AT(window.offset), .range = "[0, 8388608]",
     .about = "added to every position: what large ones do to a precision; with frame document or precision exact nearly nothing"},
    {"interleave", KD_RUN_BOOL, "false", AT(window.interleave),
     .about = "cuts documents into chunks and shuffles them over the window"},
    {"tag", KD_RUN_BOOL, "false", AT(window.tag),
     .about = "leads each document with the name of its domain"},
    {"boundary", KD_RUN_SWITCH, "ignore", AT(window.predict_boundary), .word = TRAINED,
     .about = "whether a document's last token is trained on what follows it; with mask full: predict unless given"},
    {"separator", KD_RUN_WORD, "bos", AT(window.separator), .word = SEPARATORS,
     .about = "what stands at the ends of documents"},
    {"anchor_form", KD_RUN_SWITCH, "shared", AT(window.anchor_is_bos), .word = ANCHOR_FORMS,
     .about = "one anchor for the window, or a BOS at position 0 in each document"},
    {"first", KD_RUN_SWITCH, "ignore", AT(window.predict_first), .word = TRAINED,
     .about = "whether a BOS is trained on its document's first token; with mask full: predict unless given"},
    {"long_documents", KD_RUN_SWITCH, "continue", AT(window.truncate), .word = LONG_DOCUMENTS,
     .about = "what happens to a document that a window cuts: it goes on in the next window, or the rest is dropped"},
    {"batch.windows", KD_RUN_INTEGER, "8", AT(batch_windows), .range = "[1, 16777216)",
     .group = "steps",
     .about = "windows in an optimizer step"},
    {"batch.micro", KD_RUN_INTEGER, "1", AT(micro), .range = "[1, 16777216)",
     .about = "windows at once: memory, not results"},
    {"optim.lr", KD_RUN_NUMBER, "2e-5", AT(lr), .range = "[0, inf)",
     .about = "learning rate of AdamW"},
    {"optim.betas", KD_RUN_PAIR, "[0.9, 0.95]", AT(beta1), .range = "[0, 1)",
     .about = "decay of its first and second moment"},
    {"optim.eps", KD_RUN_NUMBER, "1e-8", AT(eps), .range = "(0, inf)",
     .about = "added to the root of the second moment"},
    {"optim.weight_decay", KD_RUN_NUMBER, "0.1", AT(weight_decay), .range = "[0, inf)",
     .about = "a step takes lr times this of each weight"},
    {"optim.clip", KD_RUN_NUMBER, "1.0", AT(clip), .range = "[0, inf)",
     .about = "largest norm of the gradient; 0: any"},
    {"optim.schedule", KD_RUN_WORD, "constant", AT(schedule), .word = SCHEDULES,
     .about = "of the learning rate, after warm-up"},
    {"optim.warmup", KD_RUN_INTEGER, "0", AT(warmup), .range = "[0, inf)",
     .about = "steps of linear warm-up"},
    {"optim.decay", KD_RUN_SWITCH, "matrices", AT(decay_all), .word = DECAYS,
     .about = "which tensors decay"},
    {"steps", KD_RUN_INTEGER, NULL, AT(steps), .range = "[1, inf)", .required = true,
     .about = "optimizer steps of the run"},
    {"seed", KD_RUN_INTEGER, "1", AT(seed), .range = "[0, inf)",
     .about = "of the data's order"},
    {"dtype.weights", KD_RUN_WORD, "f32", AT(weights), .word = DTYPES,
     .group = "computing",
     .about = "what is multiplied with; bf16: copies of float32 weights, which are updated and saved; needs device: cuda and bf16 "
              "activations"},
    {"dtype.activations", KD_RUN_WORD, "f32", AT(activations), .word = DTYPES,
     .about = "what layers hand on, and its gradient; as the weights"},
    {"dtype.moments", KD_RUN_SWITCH, "f32", AT(moments_coded), .word = MOMENT_DTYPES,
     .about = "of AdamW; i8: in blocks of 256 with a scale each, of one rank; checkpoints hold them as float32 either way"},
    {"device", KD_RUN_TEXT, "host", AT(device),
     .about = "where the run computes: host, cuda, or cuda:N for the GPU of number N; results differ between devices, not from run to run"},
    {"threads", KD_RUN_INTEGER, "0", AT(threads), .range = "[0, 4096]",
     .about = "0: one for each core; the results do not depend on it"},
    {"recompute", KD_RUN_WORD, "auto", AT(recompute), .word = RECOMPUTES,
     .about = "what the forward keeps for the backward: only the inputs of layers, or all; memory, not results"},
    {"leaves", KD_RUN_INTEGER, "8", AT(leaves), .range = "[1, 4096]",
     .about = "partial sums of a gradient: a power of two, at most window; part of what the bits depend on"},
    {"parallel.sequence", KD_RUN_INTEGER, "1", AT(sequence_ranks), .range = "[1, 4096]",
     .group = "several ranks",
     .about = "ranks that share each window: a power of two that divides leaves and, with mode ulysses, heads; memory and time, "
              "not results"},
    {"parallel.data", KD_RUN_INTEGER, "1", AT(data_ranks), .range = "[1, 4096]",
     .about = "ranks, or groups of ranks, with windows of their own: a power of two of them and, with zero 1, of windows each"},
    {"parallel.zero", KD_RUN_INTEGER, "1", AT(zero), .range = "[1, 3]",
     .about = "what each rank has a shard of alone: 1: moments, 2: gradients too, 3: weights too; memory and time, not results"},
    {"parallel.mode", KD_RUN_WORD, "ulysses", AT(mode), .word = SEQUENCE_MODES,
     .about = "how they share attention: ulysses: by heads, results as of one rank; allgather: by queries, also for more ranks than heads, "
              "the forward as of one rank; zigzag: a ring, zigzag-bf16: its parts rounded to bf16, to compare"},
    {"parallel.deadline", KD_RUN_INTEGER, "600", AT(deadline), .range = "[1, 1000000]",
     .about = "seconds that a rank waits for another before the job ends, to be run again"},
    {"offload.state", KD_RUN_TEXT, NULL, AT(offload_state),
     .group = "memory on disk and host",
     .about = "folder for a file that the moments lie in instead of memory; host, of a run on a GPU: the host's memory, for float32 weights "
              "beside bf16 ones too; memory and time, not results"},
    {"offload.activations", KD_RUN_TEXT, NULL, AT(offload_activations),
     .about = "folder for a file that the inputs of layers lie in, of which recompute: layer computes the rest again; host, of a run on a "
              "GPU: the host's memory, copied while other layers run"},
    {"save.every", KD_RUN_INTEGER, "100", AT(save_every), .range = "[0, inf)",
     .group = "what is kept",
     .about = "steps between checkpoints; the last step is always saved; 0: it alone"},
    {"save.keep", KD_RUN_INTEGER, "2", AT(save_keep), .range = "[1, inf)",
     .about = "checkpoints that stay"},
    {"save.shard", KD_RUN_SIZE, NULL, AT(save_shard), .range = "[1, inf)",
     .about = "most bytes of a file of weights or moments, K, M or G may end it; none: one file"},
    {"export.every", KD_RUN_INTEGER, "0", AT(export_every), .range = "[0, inf)", .within = "export",
     .about = "steps between exports of the weights alone, counted back from the last step; 0: none"},
    {"export.last", KD_RUN_INTEGER, "0", AT(export_last), .range = "[0, inf)", .within = "export",
     .about = "only the last so many of them; 0: all. They stay"},
    {"export.dtype", KD_RUN_WORD, "f32", AT(export_dtype), .word = EXPORT_DTYPES, .within = "export",
     .about = "of the exported weights"},
    {"export.shard", KD_RUN_SIZE, NULL, AT(export_shard), .range = "[1, inf)",
     .about = "most bytes of an exported file, K, M or G may end it; none: one file"},
    {"eval.every", KD_RUN_INTEGER, "100", AT(eval_every), .range = "[0, inf)",
     .group = "validation, and where it all goes",
     .about = "steps between validations; 0: before the first and after the last step alone"},
    {"eval.windows", KD_RUN_INTEGER, "4", AT(eval_windows), .range = "[1, inf)",
     .about = "windows of a validation"},
    {"check.mask", KD_RUN_BOOL, "true", AT(check_mask),
     .about = "whether a run begins by touching tokens of its first window, to see that nothing moves in documents that may not see them; it takes "
              "a small part of a step, and a leak stops the run (kedge check mask looks closer)"},
    {"output", KD_RUN_TEXT, NULL, AT(output), .required = true,
     .about = "folder for run.yaml, metrics.jsonl and step-N/, each a Hugging Face folder"},
};
const int64_t kd_run_rows = sizeof kd_run_schema / sizeof *kd_run_schema;

static int64_t find_key(const kd_yaml *map, const char *key, size_t size) {
    for (int64_t i = 0; map->kind == KD_YAML_MAP && i < map->count; i++)
        if (!strncmp(map->key[i], key, size) && !map->key[i][size]) return i;
    return -1;
}

const kd_yaml *kd_run_node(const kd_yaml *node, const char *key, int *line) {
    for (*line = 0;;) {
        size_t size = strcspn(key, ".");
        if (node->kind == KD_YAML_SCALAR && !strcmp(key, "type")) return node;
        int64_t i = find_key(node, key, size);
        if (i < 0) return NULL;
        *line = node->key_line[i];
        node = node->child[i];
        if (!key[size]) return node;
        key += size + 1;
    }
}

bool kd_run_has(const kd_yaml *tree, const kd_run_row *row) {
    int line;
    if (kd_run_node(tree, row->key, &line)) return true;
    return row->absent && (!row->within || kd_run_node(tree, row->within, &line));
}
