/* The options of commands that ask a model. */
#ifndef KD_SUBJECT_OPTIONS_H
#define KD_SUBJECT_OPTIONS_H

#include "cli.h"
#include "eval/subject.h"

/* As the command line has them; KD_SUBJECT_DEFAULTS at first. */
typedef struct kd_subject_words {
    const char *model, *tokenizer, *anchor, *bos, *cache;
    int64_t length, batch, threads;
} kd_subject_words;

#define KD_SUBJECT_DEFAULTS {.anchor = "auto", .bos = "auto", .cache = "f32"}

/* Rows of a command's table; words: a kd_subject_words. */
#define KD_SUBJECT_OPTIONS(words)                                                                                                          \
    {"--model", KD_TEXT, &(words).model, "DIR", "a Hugging Face folder, or a checkpoint or export of a run"},                              \
    {"--length", KD_INTEGER, &(words).length, "N", "tokens of a prompt and its answer at most; as config.json says unless given"},         \
    KD_SUBJECT_MANNERS(words)
/* Those of commands that say themselves which models they ask, and how much. */
#define KD_SUBJECT_MANNERS(words)                                                                                                          \
    {"--tokenizer", KD_TEXT, &(words).tokenizer, "DIR", "the model's own unless given; `bytes` is one"},                                   \
    {"--anchor", KD_TEXT, &(words).anchor, "WHEN", "auto, on or off: the anchor (BOS, EOS without one) leads every text; auto: where the " \
                                                   "model's run trained with it"},                                                         \
    {"--bos", KD_TEXT, &(words).bos, "WHEN", "auto, on or off: BOS leads texts that no anchor leads; auto: where the tokenizer adds it"},   \
    {"--batch", KD_INTEGER, &(words).batch, "N", "sequences that are read at once; 0: 16, fewer where memory is short"},           \
    {"--cache", KD_TEXT, &(words).cache, "TYPE", "f32 or bf16: how keys and values are kept; bf16 takes half the memory"},                 \
    {"--threads", KD_INTEGER, &(words).threads, "N", "one for each core unless given; results do not depend on it"}

/* KD_ECONFIG naming command and option. Texts are borrowed. */
kd_status kd_subject_options_read(kd_subject_options *out, const kd_subject_words *words, const char *command);

#endif
