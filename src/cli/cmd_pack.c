/* kedge pack */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "data/pack.h"
#include "pack_upstream.h"
#include "train/run_file.h"

static void show_progress(void *arg, int64_t files, int64_t bytes) {
    kd_progress *bar = arg;
    char note[64];
    snprintf(note, sizeof note, "%.1f MB of text", (double)bytes * 1e-6);
    kd_progress_set(bar, files, note);
}

static void print_part(const kd_pack *pack, kd_part part) {
    const kd_dataset *d = &pack->part[part];
    if (!d->corpus.documents) return;
    printf("%-6s %lld documents, %lld tokens; %lld windows of %lld, %lld tokens left over\n", kd_part_names[part],
           (long long)d->corpus.documents, (long long)d->corpus.tokens, (long long)d->windows.count, (long long)d->windows.options.window,
           (long long)d->windows.dropped);
}

static kd_status make(const kd_run_file *run, const char *folder, bool verify, bool quiet) {
    kd_tokenizer tokenizer;
    kd_pool *pool = NULL;
    kd_pack pack = {0};
    kd_progress bar = {0};
    kd_status status;
    KD_GO(kd_tokenizer_open(&tokenizer, run->tokenizer));
    KD_GO(kd_pool_new(&pool, run->threads));
    kd_pack_options options = {
        .folder = folder,
        .part = {kd_run_data(run, false, true, &tokenizer, pool), kd_run_data(run, true, true, &tokenizer, pool)},
        .shard = run->store_shard,
        .verify = verify,
    };
    for (int p = 0; p < KD_PARTS && !quiet; p++) {
        options.part[p].ingest.progress = show_progress;
        options.part[p].ingest.progress_arg = &bar;
    }
    if (!quiet) kd_progress_open(&bar, 1);
    status = kd_pack_make(&pack, &options);
    if (!quiet) kd_progress_close(&bar);
    if (status) goto done;
    for (kd_part part = 0; part < KD_PARTS; part++) print_part(&pack, part);
done:
    kd_pack_close(&pack);
    kd_pool_free(pool);
    kd_tokenizer_close(&tokenizer);
    return status;
}

int kd_cmd_pack(int argc, char **argv) {
    const char *path = NULL, *folder = NULL, *upstream = NULL;
    kd_list set = {0};
    bool verify = false, quiet = false, done;
    int64_t count;
    const kd_option option[] = {
        {"--out", KD_TEXT, &folder, "DIR", "where the pack goes: data.pack unless given, else output/pack"},
        {"--set", KD_LIST, &set, "KEY=VALUE", "overrides a key of the run file; may be given several times"},
        {"--verify", KD_FLAG, &verify, NULL, "read tokens that are kept, and check their hashes"},
        {"--upstream", KD_TEXT, &upstream, "NAME", "flash or flex: the rows that AnchorContext's code makes, as JSON lines, to --out or stdout"},
        {"--quiet", KD_FLAG, &quiet, NULL, "no progress bar"},
    };
    const kd_usage usage = {"pack", "RUN.yaml [options]",
                            "Tokenises the documents of a run file, chooses among them by mixture and length, and fills windows: a\n"
                            "folder that kedge train reads at once. Packing again with another window, mask or mixture keeps the\n"
                            "tokens; a pack that was killed goes on where it was.",
                            "  kedge pack run.yaml --out packs/64k\n"
                            "  kedge train run.yaml --set data.pack=packs/64k\n"
                            "  kedge pack run.yaml --out packs/64k --set mask=full\n",
                            option, sizeof option / sizeof *option};
    kd_status status = kd_options_read(&usage, argc, argv, &path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (count < 1) return kd_exit_code(kd_fail(KD_ECONFIG, "pack: which run file? kedge pack RUN.yaml"));
    kd_run_file run;
    char *inside = NULL;
    if (quiet) kd_log_level(KD_WARN);
    status = kd_run_file_open(&run, path, set.text, set.count);
    if (status) return kd_exit_code(status);
    if (upstream) {
        status = kd_pack_upstream(&run, upstream, folder);
        kd_run_file_close(&run);
        return kd_exit_code(status);
    }
    if (!folder) folder = run.pack;
    if (!folder) folder = inside = kd_path_join(run.output, "pack");
    status = folder ? make(&run, folder, verify, quiet) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) kd_info("%s: packed", folder);
    free(inside);
    kd_run_file_close(&run);
    return kd_exit_code(status);
}
