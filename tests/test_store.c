/* Token stores and packs: the same bytes whatever the threads and the stops, and the same windows as from files. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/random.h"
#include "data/pack.h"
#include "data/store.h"
#include "scratch.h"

static kd_tokenizer bytes;

/* ---- texts ------------------------------------------------------------------------------------------------------ */

static const char *const sets[] = {"C4", "Book", "Wikipedia"};

/* As in_scratch, valid to the end: of the two files and the pack. */
static const char *lasting(const char *name) {
    static char path[3][600];
    char *to = path[*name == 'a' ? 0 : *name == 'b' ? 1 : 2];
    snprintf(to, sizeof path[0], "%s/%s", scratch, name);
    return to;
}

/* Documents of 0 to some hundred letters, one source after the other. */
static const char *write_corpus(const char *name, int64_t documents, uint64_t seed) {
    FILE *file = fopen(in_scratch(name), "w");
    assert_non_null(file);
    for (int64_t d = 0; d < documents; d++) {
        int64_t size = (int64_t)(kd_random_bits(seed, 1, (uint64_t)d) % 300);
        if (d % 11 == 0) size = 0;
        fprintf(file, "{\"text\": \"");
        for (int64_t i = 0; i < size; i++) fputc('a' + (int)(kd_random_bits(seed, (uint64_t)(2 + d), (uint64_t)i) % 26), file);
        fprintf(file, "\", \"meta\": {\"redpajama_set_name\": \"RedPajama%s\"}}\n", sets[d % 3]);
    }
    assert_int_equal(fclose(file), 0);
    return lasting(name);
}

static kd_ingest_options by(kd_pool *pool) { return (kd_ingest_options){.tokenizer = &bytes, .pool = pool}; }

static kd_status make_store(const char *folder, const char *const *pattern, int64_t patterns, kd_pool *pool, int64_t shard, bool *kept) {
    kd_ingest_options options = by(pool);
    bool ignored;
    return kd_store_make(kept ? kept : &ignored, folder, &options, pattern, patterns, shard);
}

/* One hash of all names and bytes of a folder, the lock left out. */
static uint64_t hash_folder(const char *folder) {
    kd_paths names = {0};
    uint64_t all = 0;
    assert_done(kd_list_folder(&names, folder));
    for (int64_t i = 0; i < names.count; i++) {
        int64_t size;
        uint64_t part[3] = {all, kd_hash(names.path[i], (int64_t)strlen(names.path[i])), 0};
        char *path = kd_path_join(folder, names.path[i]);
        if (strcmp(names.path[i], ".lock")) {
            assert_done(kd_file_hash(&part[2], &size, path));
            all = kd_hash(part, sizeof part);
        }
        free(path);
    }
    kd_paths_free(&names);
    return all;
}

/* ---- stores ----------------------------------------------------------------------------------------------------- */

static void a_store_holds_what_the_files_hold(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 200, 1), write_corpus("b.jsonl", 100, 2)};
    kd_ingest_options options = by(NULL);
    kd_corpus files, store;
    assert_done(kd_corpus_read_files(&files, &options, pattern, 2));
    assert_done(make_store(in_scratch("store"), pattern, 2, NULL, 3000, NULL));
    assert_done(kd_store_open(&store, in_scratch("store"), &bytes, true));
    assert_true(store.shards > 8);
    assert_int_equal(store.documents, files.documents);
    assert_int_equal(store.tokens, files.tokens);
    assert_int_equal(store.counts.empty, files.counts.empty);
    assert_true(store.hash == files.hash);
    assert_memory_equal(store.start, files.start, (size_t)(files.documents + 1) * 8);
    assert_memory_equal(store.source, files.source, (size_t)files.documents * 2);
    assert_memory_equal(store.origin, files.origin, (size_t)files.documents * sizeof *files.origin);
    assert_memory_equal(store.file_key, files.file_key, 16);
    int32_t *a = calloc((size_t)files.tokens, 4), *b = calloc((size_t)files.tokens, 4);
    assert_done(kd_corpus_read(a, NULL, &files, 0, files.tokens));
    assert_done(kd_corpus_read(b, NULL, &store, 0, store.tokens));
    assert_memory_equal(a, b, (size_t)files.tokens * 4);
    free(a);
    free(b);
    kd_corpus_close(&files);
    kd_corpus_close(&store);
}

static void the_bytes_do_not_depend_on_threads(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 300, 3)};
    uint64_t hash[3];
    for (int k = 0; k < 3; k++) {
        kd_pool *pool;
        assert_done(kd_pool_new(&pool, 1 + 2 * k));
        assert_done(kd_remove_tree(in_scratch("store")));
        assert_done(make_store(in_scratch("store"), pattern, 1, pool, 5000, NULL));
        hash[k] = hash_folder(in_scratch("store"));
        kd_pool_free(pool);
    }
    assert_true(hash[0] == hash[1] && hash[0] == hash[2]);
}

/* Another process makes the store and is killed after some time, again and again, until one comes to its end. */
static void a_store_that_is_killed_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 4000, 4)};
    int64_t kills = 0;
    assert_done(kd_remove_tree(in_scratch("store")));
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 4000, NULL));
    uint64_t undisturbed = hash_folder(in_scratch("store"));
    assert_done(kd_remove_tree(in_scratch("store")));
    for (int code = 1, turn = 0; code; turn++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) _exit(make_store(in_scratch("store"), pattern, 1, NULL, 4000, NULL) ? 2 : 0);
        if (turn < 30) {
            usleep((useconds_t)(kd_random_bits(7, 7, (uint64_t)turn) % 15000));
            kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFSIGNALED(code) || code == 0);
        kills += WIFSIGNALED(code);
    }
    assert_true(undisturbed == hash_folder(in_scratch("store")));
    print_message("%lld kills\n", (long long)kills);
}

static void a_store_is_kept_until_something_changes(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 50, 5)};
    bool kept;
    assert_done(kd_remove_tree(in_scratch("store")));
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 4000, &kept));
    assert_false(kept);
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 4000, &kept));
    assert_true(kept);
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 2000, &kept));
    assert_false(kept);
    usleep(20000);
    write_corpus("a.jsonl", 51, 5);
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 2000, &kept));
    assert_false(kept);
    scratch_text("store/mine.txt", "keep me");
    assert_fails(make_store(in_scratch("store"), pattern, 1, NULL, 3000, &kept), KD_ECONFIG, "mine.txt");
    assert_true(kd_exists(in_scratch("store/mine.txt")));
    unlink(in_scratch("store/mine.txt"));
}

static void a_store_of_another_tokenizer_is_refused(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 50, 6)};
    kd_tokenizer other = bytes;
    kd_corpus c;
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 4000, NULL));
    other.hash++;
    assert_fails(kd_store_open(&c, in_scratch("store"), &other, false), KD_ECONFIG, "another tokenizer", "259");
}

static bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Every bit of a shard is in its hash, and every bit of store.json that says something in its seal. */
static void a_flipped_bit_is_found(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 20, 7)};
    static const char *const files[] = {"store/tokens-00001.safetensors", "store/store.json"};
    assert_done(kd_remove_tree(in_scratch("store")));
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 1 << 20, NULL));
    for (int f = 0; f < 2; f++) {
        char *data;
        int64_t size;
        assert_done(kd_file_read(&data, &size, in_scratch(files[f]), 1 << 24));
        for (int64_t i = 0; i < 300; i++) {
            int64_t at = (int64_t)(kd_random_bits(8, 8, (uint64_t)i) % (uint64_t)size);
            data[at] ^= (char)(1 << i % 8);
            scratch_file(files[f], data, size);
            kd_corpus c;
            kd_status status = kd_store_open(&c, in_scratch("store"), &bytes, true);
            if (f == 0 || !blank(data[at]) || !blank((char)(data[at] ^ 1 << i % 8))) assert_int_equal(status, KD_EFORMAT);
            if (!status) kd_corpus_close(&c);
            if (f == 0 && !kd_store_open(&c, in_scratch("store"), &bytes, false)) {  /* then the first read finds it */
                int32_t id;
                assert_fails(kd_corpus_read(&id, NULL, &c, 0, 1), KD_EFORMAT, "tokens-00001.safetensors", "not the bytes");
                kd_corpus_close(&c);
            }
            data[at] ^= (char)(1 << i % 8);
        }
        scratch_file(files[f], data, size);
        free(data);
    }
}

typedef struct told { kd_ingest_progress last; int64_t calls; } told;

static void take_progress(void *arg, const kd_ingest_progress *p) {
    told *t = arg;
    assert_true(p->file >= t->last.file && p->file <= p->files && p->read >= t->last.read && p->read <= p->bytes);
    t->last = *p;
    t->calls++;
}

/* ---- documents that are ids ------------------------------------------------------------------------------------- */

static void ids_keep_their_loss_flags_and_lose_their_bos(void **state) {
    (void)state;
    const char *pattern[] = {scratch_text("ids.jsonl",
        "{\"input_ids\": [256, 65, 66, 67], \"labels\": [-100, -100, 66, 67]}\n"
        "{\"input_ids\": [68, 69], \"loss_mask\": [1, 0]}\n"
        "{\"text\": \"FG\"}\n")};
    kd_ingest_options options = by(NULL);
    kd_corpus files, store;
    int32_t id[7];
    uint8_t loss[7];
    assert_done(kd_corpus_read_files(&files, &options, pattern, 1));
    assert_done(make_store(in_scratch("ids"), pattern, 1, NULL, 1, NULL));
    assert_done(kd_store_open(&store, in_scratch("ids"), &bytes, true));
    assert_true(files.hash == store.hash);
    assert_int_equal(store.shards, 3);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(files.tokens, 7);
        assert_done(kd_corpus_read(id, loss, k ? &store : &files, 0, 7));
        assert_memory_equal(id, ((int32_t[]){65, 66, 67, 68, 69, 70, 71}), 28);
        assert_memory_equal(loss, ((uint8_t[]){0, 1, 1, 1, 0, 1, 1}), 7);
    }
    kd_window_options window = {.window = 8, .mask = KD_MASK_ANCHOR};
    kd_windows w;
    kd_plan plan;
    assert_done(kd_windows_open(&w, &store, NULL, &window));
    assert_done(kd_windows_plan(&plan, &w, 0, false));
    assert_memory_equal(plan.token, ((int32_t[]){256, 65, 66, 67, 68, 69, 70, 71}), 32);
    assert_memory_equal(plan.target, ((int32_t[]){-1, 66, 67, -1, -1, -1, 71, -1}), 32);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    /* What a window cuts off is asked as well: 67 may not be predicted in the first, and 68, of another document, is not. */
    window = (kd_window_options){.window = 2, .mask = KD_MASK_DOCUMENT};
    assert_done(kd_windows_open(&w, &files, NULL, &window));
    files.loss[2] = 0;
    for (int boundary = 0; boundary < 2; boundary++) {
        w.plan.predict_boundary = boundary;
        assert_done(kd_windows_plan(&plan, &w, 0, false));
        assert_memory_equal(plan.target, ((int32_t[]){66, -1}), 8);
        kd_plan_free(&plan);
        assert_done(kd_windows_plan(&plan, &w, 1, false));
        assert_memory_equal(plan.target, ((int32_t[]){boundary ? 68 : -1, -1}), 8);
        kd_plan_free(&plan);
    }
    kd_windows_close(&w);
    kd_corpus_close(&files);
    kd_corpus_close(&store);
}

/* A packed row cuts a document, which goes on in the next row without BOS. */
static void a_document_that_rows_cut_is_joined(void **state) {
    (void)state;
    const char *pattern[] = {scratch_text("rows.jsonl",
        "{\"input_ids\": [256, 65, 256, 66, 67], \"labels\": 68, \"source\": [{\"source\": \"C4\", \"start\": 0, \"end\": 2}, "
        "{\"source\": \"Book\", \"start\": 2, \"end\": 5}]}\n"
        "{\"input_ids\": [68, 69, 256, 70, 71], \"labels\": 256, \"source\": [{\"source\": \"Book\", \"start\": 0, \"end\": 2}, "
        "{\"source\": \"C4\", \"start\": 2, \"end\": 5}]}\n"
        "{\"input_ids\": [256, 72, 256, 73, 74], \"labels\": 75, \"source\": [{\"source\": \"C4\", \"start\": 0, \"end\": 2}, "
        "{\"source\": \"C4\", \"start\": 2, \"end\": 5}]}\n"
        "{\"input_ids\": [75, 76], \"labels\": 77, \"source\": [{\"source\": \"Book\", \"start\": 0, \"end\": 2}]}\n")};
    kd_ingest_options options = by(NULL);
    kd_corpus c;
    int32_t id[12];
    assert_done(kd_corpus_read_files(&c, &options, pattern, 1));
    assert_int_equal(c.documents, 6);
    assert_memory_equal(c.start, ((int64_t[]){0, 1, 5, 7, 8, 10, 12}), 56);
    assert_done(kd_corpus_read(id, NULL, &c, 0, 12));
    for (int i = 0; i < 12; i++) assert_int_equal(id[i], 65 + i);
    kd_corpus_close(&c);
}

static void a_store_goes_to_megatron_and_comes_back(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 60, 11)}, *index[] = {lasting("c.idx"), in_scratch("c.[bi]*")};
    kd_ingest_options options = by(NULL);
    kd_corpus files, back;
    int64_t flags;
    assert_done(make_store(in_scratch("store"), pattern, 1, NULL, 3000, NULL));
    assert_done(kd_corpus_read_files(&files, &options, pattern, 1));
    for (int eos = 0; eos < 2; eos++) {
        assert_done(kd_store_export_megatron(&flags, index[0], in_scratch("store"), eos));
        assert_done(kd_corpus_read_files(&back, &options, index + eos, 1));
        assert_int_equal(flags, 0);
        assert_int_equal(back.documents, files.documents);
        for (int64_t d = 0; d < files.documents; d++) {
            int64_t count = files.start[d + 1] - files.start[d];
            assert_int_equal(back.start[d + 1] - back.start[d], count + eos);
            assert_memory_equal(back.narrow + back.start[d], files.narrow + files.start[d], (size_t)count * 2);
            if (eos) assert_int_equal(back.narrow[back.start[d + 1] - 1], KD_BYTES_EOS);
        }
        assert_string_equal(back.source_name[0], "c");
        assert_int_equal(back.files, 1);
        kd_corpus_close(&back);
    }
    kd_corpus_close(&files);
}

/* Rows that each end within a document, which none of them goes on with, are no reason to hold the whole file. */
static void documents_that_may_go_on_are_not_kept_waiting(void **state) {
    (void)state;
    const char *pattern[] = {lasting("rows.jsonl")};
    told t = {0};
    kd_ingest_options options = by(NULL);
    kd_corpus c;
    FILE *file = fopen(pattern[0], "w");
    assert_non_null(file);
    for (int i = 0; i < 20000; i++)  /* the last two of three rows are one document */
        fprintf(file, "{\"input_ids\": [%s65, 66], \"labels\": 65, \"source\": [{\"source\": \"C4\", \"start\": 0, \"end\": %d}]}\n",
                i % 3 == 2 ? "" : "256, ", i % 3 == 2 ? 2 : 3);
    assert_int_equal(fclose(file), 0);
    options.progress = take_progress;
    options.progress_arg = &t;
    assert_done(kd_corpus_read_files(&c, &options, pattern, 1));
    assert_true(t.calls > 2);
    assert_int_equal(c.documents, 20000 - 6666);
    for (int64_t d = 0; d < c.documents; d++) {
        assert_int_equal(c.start[d + 1] - c.start[d], d % 2 && d + 1 < c.documents ? 4 : 2);
        assert_int_equal(c.origin[d].line, 1 + d / 2 * 3 + d % 2);
    }
    kd_corpus_close(&c);
}

static void an_id_the_tokenizer_does_not_have_is_refused(void **state) {
    (void)state;
    const char *pattern[] = {scratch_text("ids.jsonl", "{\"input_ids\": [1]}\n{\"input_ids\": [1, 259]}\n")};
    kd_ingest_options options = by(NULL);
    kd_corpus c;
    assert_fails(kd_corpus_read_files(&c, &options, pattern, 1), KD_EFORMAT, "ids.jsonl:2:", "259");
    options.skip_bad_lines = true;
    assert_done(kd_corpus_read_files(&c, &options, pattern, 1));
    assert_int_equal(c.documents, 1);
    assert_int_equal(c.counts.bad_lines, 1);
    kd_corpus_close(&c);
}

static void bad_lines_are_counted_when_they_may_be_left_out(void **state) {
    (void)state;
    const char *pattern[] = {scratch_text("bad.jsonl", "{\"text\": \"a\"}\nno\n{\"text\": 3}\n{\"text\": \"b\"}\n{\"text\": \"\\ud800\"}\n"),
                             scratch_file("cut.jsonl.zst", "\x28\xb5\x2f\xfd", 4)};
    kd_ingest_options options = by(NULL);
    kd_corpus c;
    assert_fails(kd_corpus_read_files(&c, &options, pattern, 1), KD_EFORMAT, "bad.jsonl:2:");
    options.skip_bad_lines = true;
    assert_done(kd_corpus_read_files(&c, &options, pattern, 1));
    assert_int_equal(c.documents, 2);
    assert_int_equal(c.counts.bad_lines, 3);
    kd_corpus_close(&c);
    assert_fails(kd_corpus_read_files(&c, &options, pattern, 2), KD_EFORMAT, "cut.jsonl.zst");  /* a broken file is no bad line */
}

static void progress_counts_files_and_their_bytes(void **state) {
    (void)state;
    const char *pattern[] = {write_corpus("a.jsonl", 9000, 1), write_corpus("b.jsonl", 100, 2)};
    int64_t on_disk = 0;
    for (int i = 0; i < 2; i++) {
        int64_t size;
        uint64_t hash;
        assert_done(kd_file_hash(&hash, &size, pattern[i]));
        on_disk += size;
    }
    for (int file = 0; file < 2; file++) {  /* from the beginning, and gone on with in the second file */
        told t = {0};
        kd_ingest_options options = by(NULL);
        kd_corpus c;
        options.progress = take_progress;
        options.progress_arg = &t;
        options.file = file;
        assert_done(kd_corpus_read_files(&c, &options, pattern, 2));
        assert_true(t.calls > 1);
        assert_true(t.last.file == 2 && t.last.files == 2 && t.last.read == on_disk && t.last.bytes == on_disk);
        assert_int_equal(t.last.counts.documents, c.documents);
        kd_corpus_close(&c);
    }
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

static kd_dataset_options part_of(const char *const *pattern, const char *part) {
    return (kd_dataset_options){.pattern = pattern, .patterns = 1, .part = part, .ingest = by(NULL),
                                .window = {.window = 512, .mask = KD_MASK_ANCHOR, .tag = true, .interleave = true, .seed = 9}};
}

static void a_pack_has_the_windows_of_its_files(void **state) {
    (void)state;
    const char *files[] = {write_corpus("a.jsonl", 300, 9)}, *folder[] = {lasting("pack")};
    kd_pack_options options = {.folder = folder[0], .part = {part_of(files, "train"), part_of(files, "valid")}, .shard = 3000};
    kd_dataset_options from_files = part_of(files, "train"), from_pack = part_of(folder, "train");
    kd_pack pack;
    kd_dataset a, b;
    kd_plan one, other;
    assert_done(kd_pack_make(&pack, &options));
    kd_pack_close(&pack);
    assert_done(kd_dataset_open(&a, &from_files));
    assert_done(kd_dataset_open(&b, &from_pack));
    assert_true(a.windows.hash == b.windows.hash);
    assert_int_equal(a.windows.count, b.windows.count);
    for (int64_t i = 0; i < 2 * a.windows.count; i++) {
        assert_done(kd_windows_plan(&one, &a.windows, i, true));
        assert_done(kd_windows_plan(&other, &b.windows, i, true));
        assert_memory_equal(one.token, other.token, 512 * 4);
        assert_memory_equal(one.position, other.position, 512 * 4);
        assert_memory_equal(one.target, other.target, 512 * 4);
        kd_plan_free(&one);
        kd_plan_free(&other);
    }
    kd_dataset_close(&a);
    kd_dataset_close(&b);
}

static void a_pack_that_is_filled_otherwise_names_the_key(void **state) {
    (void)state;
    const char *files[] = {write_corpus("a.jsonl", 300, 9)}, *folder[] = {lasting("pack")};
    kd_pack_options options = {.folder = folder[0], .part = {part_of(files, "train"), {.patterns = 0}}, .shard = 3000};
    kd_dataset_options ask = part_of(folder, "train");
    kd_pack pack;
    kd_dataset d;
    assert_done(kd_pack_make(&pack, &options));
    kd_pack_close(&pack);
    ask.window.window = 1024;
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "another window (512, here 1024)");
    ask = part_of(folder, "train");
    ask.window.mask = KD_MASK_DOCUMENT;
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "another mask and anchor_form");
    ask = part_of(folder, "train");
    ask.window.tag = false;
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "another tag");
    ask = part_of(folder, "train");
    ask.choice.tokens = 100;
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "another data.mixture");
    ask = part_of(folder, "valid");
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "no part valid");
    kd_tokenizer other = bytes;
    other.hash++;
    ask = part_of(folder, "train");
    ask.ingest.tokenizer = &other;
    assert_fails(kd_dataset_open(&d, &ask), KD_ECONFIG, "another tokenizer");
    ask = part_of(folder, "train");  /* what does not change how windows are filled may change */
    ask.window.reset = ask.window.predict_boundary = true;
    ask.window.interleave = false;
    assert_done(kd_dataset_open(&d, &ask));
    kd_dataset_close(&d);
}

static void a_pack_whose_segments_were_changed_is_refused(void **state) {
    (void)state;
    const char *files[] = {write_corpus("a.jsonl", 100, 10)}, *folder[] = {lasting("pack")};
    kd_pack_options options = {.folder = folder[0], .part = {part_of(files, "train"), {.patterns = 0}}, .shard = 3000};
    kd_dataset_options ask = part_of(folder, "train");
    kd_pack pack;
    kd_dataset d;
    char *data;
    int64_t size;
    assert_done(kd_pack_make(&pack, &options));
    int64_t count = pack.part[0].windows.count, *first = pack.part[0].windows.first;
    kd_segment *segment = pack.part[0].windows.segment;
    assert_done(kd_file_read(&data, &size, in_scratch("pack/train.safetensors"), 1 << 24));
    data[size / 2] ^= 1;
    scratch_file("pack/train.safetensors", data, size);
    free(data);
    assert_fails(kd_dataset_open(&d, &ask), KD_EFORMAT, "train.safetensors", "not the bytes");
    /* And with a right hash they are still looked at. */
    for (int64_t s = 0; s < first[count]; s += 7) {
        kd_windows w;
        int64_t *f = calloc((size_t)count + 1, 8);
        kd_segment *g = calloc((size_t)first[count], sizeof *g);
        memcpy(f, first, (size_t)(count + 1) * 8);
        memcpy(g, segment, (size_t)first[count] * sizeof *g);
        g[s].count += s % 2 ? 1 : -1;
        assert_int_equal(kd_windows_restore(&w, &pack.part[0].corpus, &ask.window, count, f, g), KD_EFORMAT);
    }
    kd_pack_close(&pack);
}

/* ---- -------------------------------------------------------------------------------------------------------- */

static int open_all(void **state) {
    scratch_in_memory();
    kd_log_level(KD_QUIET);
    return kd_tokenizer_open(&bytes, "bytes") ? -1 : scratch_open(state);
}

static int close_all(void **state) {
    kd_tokenizer_close(&bytes);
    return scratch_close(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_holds_what_the_files_hold),
        cmocka_unit_test(progress_counts_files_and_their_bytes),
        cmocka_unit_test(the_bytes_do_not_depend_on_threads),
        cmocka_unit_test(a_store_that_is_killed_goes_on_to_the_same_bytes),
        cmocka_unit_test(a_store_is_kept_until_something_changes),
        cmocka_unit_test(a_store_of_another_tokenizer_is_refused),
        cmocka_unit_test(a_flipped_bit_is_found),
        cmocka_unit_test(ids_keep_their_loss_flags_and_lose_their_bos),
        cmocka_unit_test(a_document_that_rows_cut_is_joined),
        cmocka_unit_test(a_store_goes_to_megatron_and_comes_back),
        cmocka_unit_test(documents_that_may_go_on_are_not_kept_waiting),
        cmocka_unit_test(an_id_the_tokenizer_does_not_have_is_refused),
        cmocka_unit_test(bad_lines_are_counted_when_they_may_be_left_out),
        cmocka_unit_test(a_pack_has_the_windows_of_its_files),
        cmocka_unit_test(a_pack_that_is_filled_otherwise_names_the_key),
        cmocka_unit_test(a_pack_whose_segments_were_changed_is_refused),
    };
    return cmocka_run_group_tests_name("store", tests, open_all, close_all);
}
