/* A pack's files, one of them at a time changed: what is taken has every window full, and every token a tokenizer has.
 * The first byte says which file the others are: store.json, pack.json, a shard, or the segments, whose hash is not asked. */
#include "data/pack.h"
#include "data/pack_json.h"
#include "data/store.h"
#include "format/json.h"
#include "fuzz.h"

enum { T = 16 };

static kd_tokenizer tokenizer;
static char folder[400];

static const char *inside(const char *name) {
    static char path[500];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static kd_dataset_options options_of(const char *const *pattern) {
    return (kd_dataset_options){.pattern = pattern, .patterns = 1, .part = "train", .ingest = {.tokenizer = &tokenizer},
                                .window = {.window = T, .mask = KD_MASK_ANCHOR, .tag = true, .interleave = true}};
}

static void write_file(const char *name, const void *data, size_t size) {
    FILE *file = fopen(inside(name), "wb");
    FUZZ_ASSERT(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

/* A pack of three documents of two sources. */
static void make(void) {
    static const char text[] = "{\"text\": \"a first document of some length\", \"meta\": {\"redpajama_set_name\": \"RedPajamaC4\"}}\n"
                               "{\"text\": \"b\"}\n{\"input_ids\": [65, 66, 67, 68], \"loss_mask\": [0, 1, 1, 1]}\n";
    char file[512];
    const char *pattern = fuzz_file("a.jsonl", (const uint8_t *)text, sizeof text - 1);
    kd_pack pack;
    snprintf(file, sizeof file, "%s", pattern);
    snprintf(folder, sizeof folder, "%s/pack", fuzz_folder);
    pattern = file;
    kd_pack_options options = {.folder = folder, .part = {options_of(&pattern), {.patterns = 0}}, .shard = 1 << 20};
    FUZZ_ASSERT(!kd_tokenizer_open(&tokenizer, "bytes") && !kd_pack_make(&pack, &options));
    kd_pack_close(&pack);
}

static void check_windows(const kd_windows *w) {
    for (int64_t i = 0; i < w->count && i < 8; i++) {
        kd_plan plan;
        if (kd_windows_plan(&plan, w, i, i % 2)) continue;
        FUZZ_ASSERT(plan.T == T);
        for (int64_t t = 0; t < T; t++) FUZZ_ASSERT(plan.token[t] >= 0 && plan.token[t] < 259 && plan.target[t] >= -1 && plan.target[t] < 259);
        kd_plan_free(&plan);
    }
}

static void try_pack(const char *name, const uint8_t *data, size_t size) {
    char *kept;
    int64_t kept_size;
    const char *pattern = folder;
    kd_dataset_options options = options_of(&pattern);
    kd_dataset d;
    json_t *root;
    char *text;
    FUZZ_ASSERT(!kd_file_read(&kept, &kept_size, inside(name), 1 << 20));
    write_file(name, data, size);
    if (strstr(name, ".json") && !kd_json_parse(&root, (const char *)data, (int64_t)size, name)) {  /* with a seal of its own */
        json_object_del(root, "seal");
        FUZZ_ASSERT(json_is_array(root) || !kd_json_seal(root, name));
        FUZZ_ASSERT(!kd_json_print(&text, root, JSON_COMPACT, name));
        write_file(name, text, strlen(text));
        free(text);
        json_decref(root);
    }
    if (!kd_dataset_open(&d, &options)) {
        check_windows(&d.windows);
        kd_dataset_close(&d);
    }
    write_file(name, kept, (size_t)kept_size);
    free(kept);
}

static void try_segments(const uint8_t *data, size_t size) {
    kd_dataset_options options = options_of(NULL);
    kd_corpus corpus;
    kd_windows w;
    int64_t count, *first;
    kd_segment *segment;
    if (kd_pack_read_segments(&count, &first, &segment, fuzz_file("segments", data, size))) return;
    FUZZ_ASSERT(!kd_store_open(&corpus, inside("tokens/train"), &tokenizer, false));
    if (!kd_windows_restore(&w, &corpus, &options.window, count, first, segment)) {
        check_windows(&w);
        kd_windows_close(&w);
    }
    kd_corpus_close(&corpus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*folder) make();
    if (size < 1) return 0;
    switch (data[0] % 4) {
    case 0: try_pack("tokens/train/store.json", data + 1, size - 1); break;
    case 1: try_pack("pack.json", data + 1, size - 1); break;
    case 2: try_pack("tokens/train/tokens-00001.safetensors", data + 1, size - 1); break;
    case 3: try_segments(data + 1, size - 1); break;
    }
    return 0;
}
