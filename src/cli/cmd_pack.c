/* kedge pack */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "data/pack_report.h"
#include "format/json.h"
#include "pack_upstream.h"
#include "train/run_file.h"

/* The bar of one part: its files' bytes are what is known before they are read. */
typedef struct part_bar { kd_progress bar; const char *part; } part_bar;

static void show_progress(void *arg, const kd_ingest_progress *p) {
    part_bar *b = arg;
    char note[128];
    if (!b->bar.open) {
        kd_progress_open(&b->bar, p->bytes);
        kd_progress_parts(&b->bar);
    }
    snprintf(note, sizeof note, "%s: %lld of %lld files, %lld documents, %.1f MB of text", b->part, (long long)p->file, (long long)p->files,
             (long long)p->counts.documents, (double)p->counts.bytes * 1e-6);
    kd_progress_set(&b->bar, p->read, note);
}

static kd_status report(const kd_pack *pack, const char *folder, bool as_json) {
    kd_pack_report report;
    kd_text table = {0};
    json_t *root = NULL;
    char *json = NULL;
    KD_TRY(kd_pack_report_init(&report, pack));
    kd_status status;
    KD_GO(kd_pack_report_write(&report, folder));
    KD_GO(kd_pack_report_table(&table, &report));
    if (as_json) KD_GO(kd_pack_report_json(&root, &report));
    if (as_json) KD_GO(kd_json_print(&json, root, JSON_INDENT(1), "output"));
    if (as_json) puts(json);
    else fputs(table.data, stdout);
done:
    free(json);
    json_decref(root);
    kd_text_free(&table);
    kd_pack_report_close(&report);
    return status;
}

static kd_status make(const kd_run_file *run, const char *folder, bool verify, bool quiet, bool as_json) {
    kd_tokenizer tokenizer;
    kd_pool *pool = NULL;
    kd_pack pack = {0};
    part_bar bar[KD_PARTS] = {0};
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
        bar[p].part = kd_part_names[p];
        options.part[p].ingest.progress = show_progress;
        options.part[p].ingest.progress_arg = &bar[p];
    }
    status = kd_pack_make(&pack, &options);
    for (int p = 0; p < KD_PARTS; p++) kd_progress_close(&bar[p].bar);
    if (!status) status = report(&pack, folder, as_json);
done:
    kd_pack_close(&pack);
    kd_pool_free(pool);
    kd_tokenizer_close(&tokenizer);
    return status;
}

int kd_cmd_pack(int argc, char **argv) {
    const char *path = NULL, *folder = NULL, *upstream = NULL;
    kd_list set = {0};
    bool verify = false, quiet = false, as_json = false, done;
    int64_t count;
    const kd_option option[] = {
        {"--out", KD_TEXT, &folder, "DIR", "where the pack goes: data.pack unless given, else output/pack"},
        {"--set", KD_LIST, &set, "KEY=VALUE", "overrides a key of the run file; may be given several times"},
        {"--verify", KD_FLAG, &verify, NULL, "read tokens that are kept, and check their hashes"},
        {"--upstream", KD_TEXT, &upstream, "NAME", "flash or flex: the rows that AnchorContext's code makes, as JSON lines, to --out or stdout"},
        {"--json", KD_FLAG, &as_json, NULL, "the report as one JSON object instead of a table"},
        {"--quiet", KD_FLAG, &quiet, NULL, "no progress bar"},
    };
    const kd_usage usage = {"pack", "RUN.yaml [options]",
                            "Tokenises the documents of a run file, chooses among them by mixture and length, and fills windows: a\n"
                            "folder that kedge train reads at once. Packing again with another window, mask or mixture keeps the\n"
                            "tokens; a pack that was killed goes on where it was. Says what became of every token: a table here, and\n"
                            "report.html, report.json and report.csv in the folder.",
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
    status = folder ? make(&run, folder, verify, quiet, as_json) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) kd_info("%s: packed; %s/report.html shows it", folder, folder);
    free(inside);
    kd_run_file_close(&run);
    return kd_exit_code(status);
}
