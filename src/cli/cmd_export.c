/* kedge export */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "data/pack.h"
#include "data/store.h"
#include "format/megatron.h"
#include "model/model.h"
#include "train/checkpoint.h"

static kd_status choose_dtype(kd_dtype *dtype, const char *name) {
    static const struct { const char *name; kd_dtype dtype; } known[] = {{"f32", KD_F32}, {"bf16", KD_BF16}, {"f16", KD_F16}};
    *dtype = KD_WEIGHTS_AS_STORED;
    for (int i = 0; name && i < 3; i++)
        if (!strcmp(name, known[i].name)) *dtype = known[i].dtype;
    if (name && *dtype == KD_WEIGHTS_AS_STORED)
        return kd_fail(KD_ECONFIG, "export: --dtype %s: it is one of f32, bf16, f16", name);
    return KD_OK;
}

/* A checkpoint is believed only when its manifest is. */
static kd_status check_source(const char *from) {
    bool checkpoint;
    KD_TRY(kd_holds(&checkpoint, from, "manifest.json"));
    return checkpoint ? kd_checkpoint_verify(from) : KD_OK;
}

/* Of a pack its training documents. */
static kd_status export_tokens(const char *to, const char *from, bool eos) {
    char *inside = kd_path_join(from, "tokens/train");
    bool pack = false;
    int64_t flags = 0;
    kd_status status = inside ? kd_holds(&pack, from, KD_PACK_FILE) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_store_export_megatron(&flags, to, pack ? inside : from, eos);
    free(inside);
    if (flags) kd_warn("%lld tokens that are no targets are ordinary tokens in %s", (long long)flags, to);
    return status;
}

int kd_cmd_export(int argc, char **argv) {
    const char *folder[2] = {NULL, NULL}, *dtype = NULL;
    kd_weights_form form = {KD_WEIGHTS_AS_STORED, 0};
    int64_t count, positions = 0;
    bool eos = false;
    const kd_option option[] = {
        {"--dtype", KD_TEXT, &dtype, "NAME", "f32, bf16 or f16; as stored unless given"},
        {"--shard-size", KD_INTEGER, &form.shard_bytes, "SIZE", "no file is larger, as in 5G; one file unless given"},
        {"--positions", KD_INTEGER, &positions, "N", "max_position_embeddings, as in 64K: how long a text other programs let the model read; as the "
                                                     "model says unless given"},
        {"--eos", KD_FLAG, &eos, NULL, "x.idx: an EOS behind each document"},
    };
    const kd_usage usage = {"export", "FROM TO [options]",
                            "Writes a model or a checkpoint of a run as a plain Hugging Face folder: weights, config.json and the\n"
                            "tokenizer's files, without the training state. TO is missing or empty. Or the documents of a pack or a token store "
                            "as Megatron's x.idx and x.bin.",
                            "  kedge export runs/anchor/step-2000 models/anchor --dtype bf16 --shard-size 5G --positions 64K\n"
                            "  kedge export packs/64k corpus.idx --eos\n",
                            option, sizeof option / sizeof *option};
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, folder, 2, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (count < 2) return kd_exit_code(kd_fail(KD_ECONFIG, "export: from where to where? kedge export FROM TO"));
    if (form.shard_bytes < 0) return kd_exit_code(kd_fail(KD_ECONFIG, "export: --shard-size is less than 0"));
    if (positions < 0) return kd_exit_code(kd_fail(KD_ECONFIG, "export: --positions is less than 0"));
    if (kd_megatron_named(folder[1])) {
        status = export_tokens(folder[1], folder[0], eos);
    } else {
        status = choose_dtype(&form.dtype, dtype);
        if (!status) status = check_source(folder[0]);
        if (!status) status = kd_model_export(folder[1], folder[0], &form, positions);
    }
    if (!status) kd_info("%s: written from %s", folder[1], folder[0]);
    return kd_exit_code(status);
}
