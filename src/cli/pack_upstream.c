#include "pack_upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "data/upstream.h"
#include "format/jsonl.h"

enum { BATCH = 200 };  /* documents at once, theirs */

typedef struct job {
    kd_upstream_options options;
    kd_tokenizer tokenizer;
    kd_encoder *encoder;
    kd_ids ids;
    kd_upstream *packer;       /* NULL until the first document has said which format it is */
    FILE *file;
    const char *name;
} job;

static kd_status take(void *context, const kd_upstream_row *row) {
    job *j = context;
    kd_text line = {0};
    kd_upstream_print(&line, &j->options, row);
    kd_status status = kd_text_status(&line);
    if (!status && fwrite(line.data, 1, (size_t)line.size, j->file) != (size_t)line.size)
        status = kd_fail_errno(KD_EIO, "%s: cannot write", j->name);
    kd_text_free(&line);
    return status;
}

static kd_status put(job *j, const kd_document *d) {
    kd_upstream_mode mode = d->text ? KD_UPSTREAM_RAW : KD_UPSTREAM_TOKENIZED;
    if (!j->packer) {
        j->options.mode = mode;
        KD_TRY(kd_upstream_open(&j->packer, &j->options, take, j));
    }
    if (j->options.mode != mode) return kd_fail(KD_EFORMAT, "line %lld: texts and packed rows in one run", (long long)d->line);
    if (!d->text) return kd_upstream_put(j->packer, d->id, d->ids, d->row_first);
    j->ids.count = 0;
    KD_TRY(kd_encode(&j->ids, j->encoder, d->text, d->size, KD_ENCODE_SPECIALS));
    return kd_upstream_put(j->packer, j->ids.id, j->ids.count, false);
}

static kd_status read_file(job *j, const char *path) {
    kd_reader *reader;
    KD_TRY(kd_reader_open(&reader, path));
    kd_status status;
    for (bool more = true;;) {
        kd_document d;
        KD_GO(kd_reader_next(reader, &d, &more));
        if (!more) break;
        status = put(j, &d);
        if (status) {
            kd_fail_prefix(status, "%s", path);
            goto done;
        }
    }
done:
    kd_reader_close(reader);
    return status;
}

static void report(const job *j) {
    kd_upstream_counts c = kd_upstream_count(j->packer);
    kd_info("%s, %s: %lld rows, %lld kept; ids lost: %lld in segments of two or less, %lld to anchors, %lld in unfinished windows, %lld "
            "behind the window", j->options.engine == KD_UPSTREAM_FLEX ? "flex" : "flash",
            j->options.mode == KD_UPSTREAM_RAW ? "raw_json" : "tokenized", (long long)c.rows, (long long)c.kept, (long long)c.skipped,
            (long long)c.overflow, (long long)c.unfinished, (long long)c.cut);
}

static kd_status pack(job *j, const kd_run_file *run) {
    kd_paths paths = {0};
    kd_status status;
    KD_GO(kd_tokenizer_open(&j->tokenizer, run->tokenizer));
    KD_GO(kd_encoder_new(&j->encoder, &j->tokenizer));
    j->options.anchor = j->tokenizer.bos >= 0 ? j->tokenizer.bos : j->tokenizer.eos;
    if (j->options.anchor < 0) KD_GO(kd_fail(KD_ECONFIG, "the tokenizer has neither BOS nor EOS, an anchor needs one"));
    KD_GO(kd_ingest_files(&paths, (const char *const *)run->train.text, run->train.count));
    for (int64_t i = 0; i < paths.count; i++) KD_GO(read_file(j, paths.path[i]));
    if (j->packer) KD_GO(kd_upstream_finish(j->packer));
    if (j->packer) report(j);
done:
    kd_paths_free(&paths);
    return status;
}

kd_status kd_pack_upstream(const kd_run_file *run, const char *engine, const char *out) {
    job j = {.options = {.seq_length = run->window.window, .batch = BATCH}, .file = stdout, .name = out ? out : "standard output"};
    kd_status status;
    if (!strcmp(engine, "flex")) j.options.engine = KD_UPSTREAM_FLEX;
    else if (strcmp(engine, "flash")) return kd_fail(KD_ECONFIG, "pack: --upstream %s: it is one of flash, flex", engine);
    if (out && !(j.file = fopen(out, "w"))) return kd_fail_errno(KD_EIO, "%s: cannot be written", out);
    status = pack(&j, run);
    if (out && fclose(j.file) && !status) status = kd_fail_errno(KD_EIO, "%s: cannot write", out);
    kd_upstream_close(j.packer);
    kd_encoder_free(j.encoder);
    free(j.ids.id);
    kd_tokenizer_close(&j.tokenizer);
    return status;
}
