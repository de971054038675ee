/* kedge help run-file: a run file to begin with, and every key, from the schema that reads it. */
#include "help.h"
#include "train/run_schema.h"

#include <stdlib.h>

static const char about[] =
    "Says what kedge train does, in strict YAML: an unknown or repeated key stops the run and names the nearest known one. "
    "Paths are relative to the folder in which the command runs. --set KEY=VALUE overrides a key on the command line.\n\n"
    "A whole run file:\n"
    "\n"
    "    model: {path: models/small}    # kedge init models/small --preset 10m\n"
    "    tokenizer: bytes\n"
    "    data:\n"
    "      train: [\"corpus/train/**/*.jsonl.zst\"]\n"
    "      valid: [\"corpus/validation/**/*.jsonl.zst\"]\n"
    "    window: 16K\n"
    "    mask: anchor\n"
    "    batch: {windows: 1}\n"
    "    optim: {lr: 1e-3, warmup: 10}\n"
    "    steps: 100\n"
    "    output: runs/anchor-16k\n\n"
    "Keys are written with dots here: optim.lr is lr inside the map optim.";

/* "full | document | anchor; about (default anchor)" */
static void describe(FILE *out, const kd_run_row *row) {
    const char *before = "";
    for (const kd_run_word *w = row->word; w && w->text; w++) {
        if (w->later) continue;
        fprintf(out, "%s%s", before, w->text);
        before = " | ";
    }
    fprintf(out, "%s%s", row->word ? "; " : "", row->about);
    if (row->required) fputs(" (required)", out);
    else if (row->absent) fprintf(out, " (default %s)", row->absent);
}

kd_status kd_help_run_file(void) {
    printf("usage: kedge train RUN.yaml [--set KEY=VALUE ...]\n\n");
    kd_help_text(stdout, about);
    printf("\nkeys:\n");
    for (int64_t i = 0; i < kd_run_rows; i++) {
        if (!kd_run_schema[i].about) continue;
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        if (!out) return kd_fail(KD_ENOMEM, "out of memory");
        describe(out, &kd_run_schema[i]);
        bool whole = !fclose(out);
        if (whole) kd_help_row(stdout, kd_run_schema[i].key, 22, text);
        free(text);
        if (!whole) return kd_fail(KD_ENOMEM, "out of memory");
    }
    return KD_OK;
}
