/* kedge init */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "format/tokenizer.h"
#include "model/model.h"

static kd_status make_model(const char *folder, const char *text, int64_t size, const char *name, int64_t seed,
                            const kd_tokenizer *ids, const char *tokenizer) {
    kd_config config = {0};
    kd_ctx *ctx = NULL;
    kd_model *model = NULL;
    kd_status status;
    KD_GO(kd_config_parse(&config, text, size, name));
    if (ids->model && config.V < ids->vocabulary)
        KD_GO(kd_fail(KD_ECONFIG, "%s: vocab_size %lld: the tokenizer %s has %lld ids", name, (long long)config.V, tokenizer,
                      (long long)ids->vocabulary));
    KD_GO(kd_ctx_open(&ctx, 0));
    kd_model_options options = {.window = 1, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    KD_GO(kd_model_open(&model, ctx, &config, &options));
    KD_GO(kd_model_init(model, &config, seed));
    KD_GO(kd_make_folders(folder));
    KD_GO(kd_model_save(model, &config, folder, tokenizer, NULL));
    kd_info("%s: %s, %.2fM parameters, seed %lld", folder, config.model_type,
            (double)kd_model_layout(model)->count * 1e-6, (long long)seed);
done:
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
    return status;
}

int kd_cmd_init(int argc, char **argv) {
    const char *arch = "llama", *preset = NULL, *config = NULL, *folder = NULL, *tokenizer = "bytes";
    int64_t seed = 1, vocabulary = 0, window = 65536, count;
    const kd_option option[] = {
        {"--arch", KD_TEXT, &arch, "NAME", "llama, mistral or qwen2"},
        {"--preset", KD_TEXT, &preset, "NAME", "tiny, demo, 5m, 10m or 124m"},
        {"--config", KD_TEXT, &config, "FILE", "a config.json instead of a preset"},
        {"--tokenizer", KD_TEXT, &tokenizer, "DIR", "bytes, or a folder with tokenizer.json, whose files go with the model"},
        {"--vocabulary", KD_INTEGER, &vocabulary, "N", "rows of a preset's embedding; 0: as many as the tokenizer has ids"},
        {"--window", KD_INTEGER, &window, "N", "max_position_embeddings of a preset"},
        {"--seed", KD_INTEGER, &seed, "N", "of the weights"},
    };
    const kd_usage usage = {"init", "DIR --preset NAME | --config FILE [options]",
                            "Writes a fresh model with random weights as a Hugging Face folder: config.json and model.safetensors. The "
                            "same seed gives the same bits.",
                            "  kedge init models/small --preset 10m\n"
                            "  kedge init models/small --preset 5m --tokenizer models/llama-2-7b\n"
                            "  kedge init models/mine --config config.json --seed 7\n",
                            option, sizeof option / sizeof *option};
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, &folder, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!folder) return kd_exit_code(kd_fail(KD_ECONFIG, "init: which folder? kedge init DIR --preset NAME"));
    if (!preset == !config) return kd_exit_code(kd_fail(KD_ECONFIG, "init: one of --preset and --config is needed, as in kedge init %s --preset 10m", folder));
    if (window < 1) return kd_exit_code(kd_fail(KD_ECONFIG, "init: --window %lld: at least 1", (long long)window));
    kd_tokenizer ids;
    status = kd_tokenizer_open(&ids, tokenizer);
    if (!status && vocabulary && vocabulary < ids.vocabulary)
        status = kd_fail(KD_ECONFIG, "init: --vocabulary %lld: the tokenizer %s has %lld ids", (long long)vocabulary, tokenizer,
                         (long long)ids.vocabulary);
    if (!vocabulary) vocabulary = ids.vocabulary;
    if (status) {
        kd_tokenizer_close(&ids);
        return kd_exit_code(status);
    }
    char *existing = kd_path_join(folder, "config.json"), *text = NULL;
    if (existing && kd_exists(existing)) status = kd_fail(KD_ECONFIG, "%s holds a model already: name another folder", folder);
    free(existing);
    int64_t size = 0;
    if (!status && config) status = kd_file_read(&text, &size, config, 16 << 20);
    if (!status && preset) status = kd_config_preset(&text, arch, preset, &ids, vocabulary, window);
    if (!status && preset) size = (int64_t)strlen(text);
    if (!status) status = make_model(folder, text, size, config ? config : preset, seed, &ids, kd_is_folder(tokenizer) ? tokenizer : NULL);
    kd_tokenizer_close(&ids);
    free(text);
    return kd_exit_code(status);
}
