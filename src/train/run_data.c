/* What a run file says about its data, as the data layer takes it. */
#include "train/run_file.h"

kd_dataset_options kd_run_data(const kd_run_file *run, bool valid, bool to_pack, const kd_tokenizer *tokenizer, kd_pool *pool) {
    const kd_strings *files = valid ? &run->valid : &run->train;
    const bool packed = run->pack && !to_pack;
    kd_dataset_options options = {
        .pattern = packed ? (const char *const *)&run->pack : (const char *const *)files->text,
        .patterns = packed ? 1 : files->count,
        .part = valid ? "valid" : "train",
        .ingest = {.tokenizer = tokenizer, .pool = pool, .parse_specials = run->parse_specials, .skip_bad_lines = run->skip_bad_lines},
        .choice = {.shortest = run->window.shortest, .seed = (uint64_t)run->seed},
        .window = run->window,
    };
    if (valid) return options;  /* a validation is of the files as they are */
    options.choice.source = (const char *const *)run->mixture.source;
    options.choice.share = run->mixture.share;
    options.choice.shares = run->mixture.count;
    options.choice.tokens = run->data_tokens;
    options.choice.shorter_than = run->upsample_below;
    options.choice.keep = run->upsample_keep;
    options.choice.every_source = run->upsample_every_source;
    return options;
}
