/* AnchorContext's rows: equal to what its own functions make, to the byte; and where kedge's own windows differ from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/upstream.h"
#include "data/windows.h"
#include "format/jsonl.h"
#include "scratch.h"

/* ---- collecting rows --------------------------------------------------------------------------------------- */

typedef struct rows {
    kd_upstream_options options;
    kd_text text;            /* as lines of JSON */
    int64_t count;
    struct row {             /* the last one: the beginning of its arrays, and its numbers */
        int32_t input[16], target[16], document[16], rotary[16];
        int64_t eoses, docs, end;
        bool kept;
    } last;
} rows;

static kd_status collect(void *context, const kd_upstream_row *row) {
    rows *r = context;
    kd_upstream_print(&r->text, &r->options, row);
    size_t size = (size_t)(r->options.seq_length < 16 ? r->options.seq_length : 16) * 4;
    r->last = (struct row){.eoses = row->eoses, .docs = row->docs, .kept = row->kept, .end = row->eoses ? row->eos[row->eoses - 1] : -1};
    memcpy(r->last.input, row->input, size);
    memcpy(r->last.target, row->target, size);
    memcpy(r->last.document, row->document, size);
    memcpy(r->last.rotary, row->rotary, size);
    r->count++;
    return kd_text_status(&r->text);
}

static kd_upstream *open_packer(rows *r, kd_upstream_engine engine, kd_upstream_mode mode, int64_t seq_length, int32_t anchor) {
    kd_upstream *packer;
    *r = (rows){.options = {engine, mode, seq_length, anchor, 200}};
    assert_done(kd_upstream_open(&packer, &r->options, collect, r));
    return packer;
}

static const char *text_of(const rows *r) { return r->text.data ? r->text.data : ""; }

/* Prints where two texts part, which are too long to show. */
static void expect_text(const char *got, const char *wanted, size_t size, const char *what) {
    size_t i = 0;
    while (i < size && got[i] == wanted[i]) i++;
    if (i < size) fail_msg("%s: byte %zu: ...%.60s... is not ...%.60s...", what, i, got + (i > 20 ? i - 20 : 0), wanted + (i > 20 ? i - 20 : 0));
}

/* ---- by hand ----------------------------------------------------------------------------------------------- */

/* 1 is the anchor, the tens say the document. */
static const int32_t DOCUMENT[4][12] = {
    {1, 10, 11, 12}, {1, 20}, {1, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39}, {1, 40, 41, 42},
};
static const int64_t COUNT[4] = {4, 2, 11, 4};

/* What AnchorContext's functions made of these: a window of 5 tokens for raw documents, of 8 for a packed row. Token 20 is
 * skipped, 36 is lost, 41 and 42 are dropped. */
static const struct { kd_upstream_engine engine; kd_upstream_mode mode; int64_t seq_length; const char *wanted; } by_hand[] = {
    {KD_UPSTREAM_FLASH, KD_UPSTREAM_RAW, 5,
     "{\"engine\": \"flash\", \"mode\": \"raw_json\", \"seq_length\": 5, \"row\": 0, \"kept\": true, \"input_ids\": [1, 10, 11, 12, 1], \"target_ids\": [10, 11, 12, 1, 30], "
     "\"source_eos\": [4, 6], \"source_doc_ids\": [0, 1], \"position_ids\": [0, 1, 2, 3, 0], \"doc_ids\": [0, 0, 0, 0, 0], \"rotary_position_ids\": [0, 1, 2, 3, 0]}\n"
     "{\"engine\": \"flash\", \"mode\": \"raw_json\", \"seq_length\": 5, \"row\": 1, \"kept\": true, \"input_ids\": [1, 31, 32, 33, 34], \"target_ids\": [31, 32, 33, 34, 35], "
     "\"source_eos\": [], \"source_doc_ids\": [], \"position_ids\": [0, 1, 2, 3, 4], \"doc_ids\": [0, 0, 0, 0, 0], \"rotary_position_ids\": [0, 1, 2, 3, 4]}\n"
     "{\"engine\": \"flash\", \"mode\": \"raw_json\", \"seq_length\": 5, \"row\": 2, \"kept\": true, \"input_ids\": [1, 37, 38, 39, 1], \"target_ids\": [37, 38, 39, 1, 40], "
     "\"source_eos\": [4, 6], \"source_doc_ids\": [0, 1], \"position_ids\": [0, 1, 2, 3, 0], \"doc_ids\": [0, 0, 0, 0, 0], \"rotary_position_ids\": [0, 1, 2, 3, 0]}\n"},
    {KD_UPSTREAM_FLEX, KD_UPSTREAM_RAW, 5,
     "{\"engine\": \"flex\", \"mode\": \"raw_json\", \"seq_length\": 5, \"row\": 0, \"kept\": false, \"input_ids\": [1, 10, 11, 12, 30], \"target_ids\": [10, 11, 12, 30, 31], "
     "\"source_eos\": [1, 4, 6, 7], \"source_doc_ids\": [1, 2, 3], \"position_ids\": [0, 0, 1, 2, 0], \"doc_ids\": [0, 1, 1, 1, 2], \"rotary_position_ids\": [0, 1, 2, 3, 4]}\n"
     "{\"engine\": \"flex\", \"mode\": \"raw_json\", \"seq_length\": 5, \"row\": 1, \"kept\": false, \"input_ids\": [1, 33, 34, 35, 36], \"target_ids\": [33, 34, 35, 36, 37], "
     "\"source_eos\": [1], \"source_doc_ids\": [], \"position_ids\": [0, 1, 2, 3, 4], \"doc_ids\": [0, 0, 0, 0, 0], \"rotary_position_ids\": [0, 1, 2, 3, 4]}\n"},
    {KD_UPSTREAM_FLASH, KD_UPSTREAM_TOKENIZED, 8,
     "{\"engine\": \"flash\", \"mode\": \"tokenized\", \"seq_length\": 8, \"row\": 0, \"kept\": true, \"input_ids\": [1, 10, 11, 12, 1, 30, 31, 32], "
     "\"target_ids\": [10, 11, 12, 1, 30, 31, 32, 33], \"source_eos\": [4, 9], \"source_doc_ids\": [0, 1], \"position_ids\": [0, 1, 2, 3, 0, 1, 2, 3], "
     "\"doc_ids\": [0, 0, 0, 0, 0, 0, 0, 0], \"rotary_position_ids\": [0, 1, 2, 3, 0, 5, 6, 7]}\n"},
    {KD_UPSTREAM_FLEX, KD_UPSTREAM_TOKENIZED, 8,
     "{\"engine\": \"flex\", \"mode\": \"tokenized\", \"seq_length\": 8, \"row\": 0, \"kept\": true, \"input_ids\": [1, 10, 11, 12, 30, 31, 32, 33], "
     "\"target_ids\": [10, 11, 12, 30, 31, 32, 33, 34], \"source_eos\": [1, 4, 9], \"source_doc_ids\": [1, 2], \"position_ids\": [0, 0, 1, 2, 0, 1, 2, 3], "
     "\"doc_ids\": [0, 1, 1, 1, 2, 2, 2, 2], \"rotary_position_ids\": [0, 1, 2, 3, 4, 5, 6, 7]}\n"},
};

static void rows_by_hand_are_theirs(void **state) {
    (void)state;
    static const kd_upstream_counts counts[] = {
        {.rows = 3, .kept = 3, .skipped = 2, .overflow = 1, .unfinished = 3},
        {.rows = 2, .kept = 0, .skipped = 2, .unfinished = 4},
        {.rows = 1, .kept = 1, .skipped = 2, .cut = 10},
        {.rows = 1, .kept = 1, .skipped = 2, .cut = 9},
    };
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
        rows r;
        kd_upstream *packer = open_packer(&r, by_hand[i].engine, by_hand[i].mode, by_hand[i].seq_length, 1);
        for (int d = 0; d < 4; d++) assert_done(kd_upstream_put(packer, DOCUMENT[d], COUNT[d], d == 0));
        assert_done(kd_upstream_finish(packer));
        assert_string_equal(text_of(&r), by_hand[i].wanted);
        kd_upstream_counts got = kd_upstream_count(packer);
        assert_int_equal(got.rows, counts[i].rows);
        assert_int_equal(got.kept, counts[i].kept);
        assert_int_equal(got.skipped, counts[i].skipped);
        assert_int_equal(got.overflow, counts[i].overflow);
        assert_int_equal(got.unfinished, counts[i].unfinished);
        assert_int_equal(got.cut, counts[i].cut);
        kd_upstream_close(packer);
        kd_text_free(&r.text);
    }
}

static void it_stops_where_they_stop(void **state) {
    (void)state;
    static const int32_t id[] = {1, 2, 3, 4, 5, 6, 7, 8}, twice[] = {1, 2, 1, 3, 4, 5, 6, 7};
    rows r;
    kd_upstream *packer = open_packer(&r, KD_UPSTREAM_FLASH, KD_UPSTREAM_TOKENIZED, 4, 1);
    assert_done(kd_upstream_put(packer, id, 4, true));
    assert_fails(kd_upstream_put(packer, id, 8, true), KD_EFORMAT, "packed row 1: 4 ids for a window of 5");
    assert_done(kd_upstream_put(packer, id, 2, true));  /* the row before is whole, though */
    assert_int_equal(r.count, 1);
    assert_fails(kd_upstream_finish(packer), KD_EFORMAT, "packed row 3: 0 ids for a window of 5");
    kd_upstream_close(packer);
    kd_text_free(&r.text);
    for (kd_upstream_mode mode = KD_UPSTREAM_TOKENIZED; mode <= KD_UPSTREAM_RAW; mode++) {
        packer = open_packer(&r, KD_UPSTREAM_FLEX, mode, 4, 1);
        kd_status put = kd_upstream_put(packer, twice, 8, true);
        assert_fails(put ? put : kd_upstream_finish(packer), KD_EFORMAT, "row 0: token 2 is the anchor, id 1, inside a document");
        assert_int_equal(r.count, 0);
        kd_upstream_close(packer);
    }
    packer = open_packer(&r, KD_UPSTREAM_FLASH, KD_UPSTREAM_TOKENIZED, 4, 1);
    assert_done(kd_upstream_finish(packer));  /* no row at all is none that is too short */
    kd_upstream_close(packer);
    kd_upstream_close(NULL);
}

static kd_status refuse(void *context, const kd_upstream_row *row) {
    (void)context;
    return kd_fail(KD_EIO, "row %lld is not taken", (long long)row->index);
}

static void options_and_failures_are_passed_on(void **state) {
    (void)state;
    const kd_upstream_options good = {KD_UPSTREAM_FLASH, KD_UPSTREAM_RAW, 4, 1, 200};
    kd_upstream_options o = good;
    kd_upstream *packer;
    assert_fails((o.seq_length = 0, kd_upstream_open(&packer, &o, refuse, NULL)), KD_EARG, "a window of 0 tokens");
    assert_null(packer);
    assert_fails((o = good, o.anchor = -1, kd_upstream_open(&packer, &o, refuse, NULL)), KD_EARG, "anchor -1");
    assert_fails((o = good, o.batch = 0, kd_upstream_open(&packer, &o, refuse, NULL)), KD_EARG, "a batch of 0 documents");
    assert_done(kd_upstream_open(&packer, &good, refuse, NULL));
    assert_fails(kd_upstream_put(packer, DOCUMENT[2], 11, true), KD_EIO, "row 0 is not taken");
    kd_upstream_close(packer);
}

/* Documents without end: more of them in a window than there is room for at first. */
static void a_window_may_hold_many_documents(void **state) {
    (void)state;
    for (int engine = 0; engine < 2; engine++) {
        rows r;
        kd_upstream *packer = open_packer(&r, engine ? KD_UPSTREAM_FLEX : KD_UPSTREAM_FLASH, KD_UPSTREAM_TOKENIZED, 6000, 1);
        for (int d = 0; d < 3100; d++) assert_done(kd_upstream_put(packer, (const int32_t[]){1, 2, 3}, 3, d == 0));
        assert_done(kd_upstream_finish(packer));
        assert_int_equal(r.count, 1);
        assert_int_equal(r.last.docs, engine ? 3000 : 2001);
        assert_int_equal(r.last.eoses, r.last.docs + engine);
        assert_int_equal(r.last.end, 6001);
        kd_upstream_close(packer);
        kd_text_free(&r.text);
    }
}

/* ---- real rows --------------------------------------------------------------------------------------------- */

static const struct { const char *name; int32_t anchor; } tokenizer[] = {
    {"llama2", 1}, {"llama3", 128000}, {"mistral_v3", 1}, {"qwen", 151643},
};

static const char *assets(void) {
    const char *folder = getenv("KEDGE_ASSETS");
    return folder && *folder ? folder : "../shared/assets";
}

static bool have_golden(void) {
    char path[1024];
    snprintf(path, sizeof path, "%s/corpus/golden_packing", assets());
    if (kd_is_folder(path)) return true;
    printf("skipped: no corpus/golden_packing in %s\n", assets());
    return false;
}

/* The lines of an engine and a mode, which stand together; *size their bytes. On the heap of *file. */
static const char *golden(char **file, size_t *size, const char *name, const kd_upstream_options *o) {
    char path[1024], begin[100];
    int64_t bytes;
    snprintf(path, sizeof path, "%s/corpus/golden_packing/%s_anchorcontext_seq1024.jsonl", assets(), name);
    assert_done(kd_file_read(file, &bytes, path, 1 << 24));
    snprintf(begin, sizeof begin, "{\"engine\": \"%s\", \"mode\": \"%s\"", o->engine ? "flex" : "flash", o->mode ? "raw_json" : "tokenized");
    const char *first = strstr(*file, begin), *last = first;
    assert_non_null(first);
    while (*last && !strncmp(last, begin, strlen(begin))) last = strchr(last, '\n') + 1;
    *size = (size_t)(last - first);
    return first;
}

static kd_reader *open_rows(const char *name) {
    char path[1024];
    kd_reader *reader;
    snprintf(path, sizeof path, "%s/corpus/golden_packing/%s_franxyao_chunk2304.jsonl", assets(), name);
    assert_done(kd_reader_open(&reader, path));
    return reader;
}

static void rows_of_packed_rows_are_theirs(void **state) {
    (void)state;
    if (!have_golden()) skip();
    for (int t = 0; t < 4; t++)
        for (kd_upstream_engine engine = KD_UPSTREAM_FLASH; engine <= KD_UPSTREAM_FLEX; engine++) {
            rows r;
            kd_document d;
            kd_upstream *packer = open_packer(&r, engine, KD_UPSTREAM_TOKENIZED, 1024, tokenizer[t].anchor);
            kd_reader *reader = open_rows(tokenizer[t].name);
            for (bool more;;) {
                assert_done(kd_reader_next(reader, &d, &more));
                if (!more) break;
                assert_done(kd_upstream_put(packer, d.id, d.ids, d.row_first));
            }
            assert_done(kd_upstream_finish(packer));
            char *file;
            size_t size;
            const char *wanted = golden(&file, &size, tokenizer[t].name, &r.options);
            assert_int_equal(r.text.size, size);
            expect_text(text_of(&r), wanted, size, tokenizer[t].name);
            assert_int_equal(r.count, 3);
            free(file);
            kd_reader_close(reader);
            kd_upstream_close(packer);
            kd_text_free(&r.text);
        }
}

/* The packed rows are the same documents, joined where a row's end cuts one (all of these rows cut one), without the last
 * ones: as far as they go, the rows of raw documents come out. */
static void rows_of_documents_are_theirs(void **state) {
    (void)state;
    if (!have_golden()) skip();
    for (int t = 0; t < 4; t++)
        for (kd_upstream_engine engine = KD_UPSTREAM_FLASH; engine <= KD_UPSTREAM_FLEX; engine++) {
            rows r;
            kd_document d;
            kd_ids document = {0};
            int64_t label = -1;
            kd_upstream *packer = open_packer(&r, engine, KD_UPSTREAM_RAW, 1024, tokenizer[t].anchor);
            kd_reader *reader = open_rows(tokenizer[t].name);
            for (bool more;;) {
                assert_done(kd_reader_next(reader, &d, &more));
                bool joined = more && d.row_first && label == d.id[0];
                if (!joined && document.count) {
                    assert_done(kd_upstream_put(packer, document.id, document.count, false));
                    document.count = 0;
                }
                if (!more) break;
                assert_done(kd_ids_reserve(&document, d.ids));
                memcpy(document.id + document.count, d.id, (size_t)d.ids * sizeof *d.id);
                document.count += d.ids;
                label = d.next;
            }
            assert_done(kd_upstream_finish(packer));
            char *file;
            size_t size;
            const char *wanted = golden(&file, &size, tokenizer[t].name, &r.options);
            assert_true((size_t)r.text.size <= size);
            expect_text(text_of(&r), wanted, (size_t)r.text.size, tokenizer[t].name);
            assert_true(r.count >= 6);
            free(file);
            free(document.id);
            kd_reader_close(reader);
            kd_upstream_close(packer);
            kd_text_free(&r.text);
        }
}

static int64_t characters(const kd_document *d) {
    int64_t count = 0;
    for (int64_t i = 0; i < d->size; i++) count += ((unsigned char)d->text[i] & 0xc0) != 0x80;
    return count;
}

/* The texts themselves: the first 24 records of the validation set with fewer than 4000 characters. */
static void pack_texts(kd_upstream *packer, const kd_tokenizer *with) {
    char pattern[1024];
    kd_paths paths = {0};
    kd_encoder *encoder;
    kd_ids ids = {0};
    int64_t documents = 0;
    snprintf(pattern, sizeof pattern, "%s/corpus/validation/**/*.jsonl.zst", assets());
    assert_done(kd_glob(&paths, pattern));
    assert_done(kd_encoder_new(&encoder, with));
    for (int64_t i = 0; i < paths.count && documents < 24; i++) {
        kd_reader *reader;
        kd_document d;
        bool more = true;
        assert_done(kd_reader_open(&reader, paths.path[i]));
        while (documents < 24) {
            assert_done(kd_reader_next(reader, &d, &more));
            if (!more) break;
            if (characters(&d) >= 4000) continue;
            ids.count = 0;
            assert_done(kd_encode(&ids, encoder, d.text, d.size, KD_ENCODE_SPECIALS));
            assert_done(kd_upstream_put(packer, ids.id, ids.count, false));
            documents++;
        }
        kd_reader_close(reader);
    }
    assert_int_equal(documents, 24);
    assert_done(kd_upstream_finish(packer));
    kd_encoder_free(encoder);
    free(ids.id);
    kd_paths_free(&paths);
}

static void rows_of_texts_are_theirs(void **state) {
    (void)state;
    if (!have_golden()) skip();
    for (int t = 0; t < 4; t++)
        for (kd_upstream_engine engine = KD_UPSTREAM_FLASH; engine <= KD_UPSTREAM_FLEX; engine++) {
            char folder[1024], *file;
            size_t size;
            kd_tokenizer with;
            snprintf(folder, sizeof folder, "%s/tokenizers/%s", assets(), tokenizer[t].name);
            kd_status status = kd_tokenizer_open(&with, folder);
            if (status == KD_ENOTSUP || status == KD_ECONFIG) {
                printf("skipped: %s\n", kd_message());
                skip();
            }
            assert_done(status);
            rows r;
            kd_upstream *packer = open_packer(&r, engine, KD_UPSTREAM_RAW, 1024, with.bos >= 0 ? with.bos : with.eos);
            pack_texts(packer, &with);
            const char *wanted = golden(&file, &size, tokenizer[t].name, &r.options);
            assert_int_equal(r.text.size, size);
            expect_text(text_of(&r), wanted, size, tokenizer[t].name);
            free(file);
            kd_tokenizer_close(&with);
            kd_upstream_close(packer);
            kd_text_free(&r.text);
        }
}

/* ---- what kedge's own windows do otherwise ----------------------------------------------------------------- */

enum { BOS = 1, FIRST = 1000, MOST = 8192 };  /* token i of the corpus has the id FIRST + i: an id says where it comes from */

typedef struct made { kd_corpus corpus; int64_t document_of[MOST]; } made;

/* Documents of these lengths, BOS not counted. */
static void make_corpus(made *m, const int64_t *length, int64_t documents) {
    static char *name[] = {""};
    kd_corpus *c = &m->corpus;
    *c = (kd_corpus){.tokenizer = {.bos = BOS, .eos = -1, .vocabulary = FIRST + MOST}, .documents = documents, .source_name = name, .sources = 1};
    assert_done(kd_new(&c->start, documents + 1, sizeof *c->start));
    assert_done(kd_new(&c->source, documents, sizeof *c->source));
    assert_done(kd_new(&c->wide, MOST, sizeof *c->wide));
    for (int64_t d = 0; d < documents; d++) {
        c->start[d + 1] = c->start[d] + length[d];
        assert_true(c->start[d + 1] <= MOST);
        for (int64_t i = c->start[d]; i < c->start[d + 1]; i++) m->document_of[i] = d;
    }
    c->tokens = c->start[documents];
    for (int64_t i = 0; i < c->tokens; i++) c->wide[i] = (uint32_t)(FIRST + i);
}

static void free_corpus(made *m) {
    free(m->corpus.start);
    free(m->corpus.source);
    free(m->corpus.wide);
}

/* A document as their tokenizer gives it: BOS, then the text. */
static void put_document(kd_upstream *packer, const made *m, int64_t d, bool row_first, kd_status wanted) {
    int64_t count = m->corpus.start[d + 1] - m->corpus.start[d];
    kd_ids ids = {0};
    assert_done(kd_ids_reserve(&ids, count + 1));
    ids.id[0] = BOS;
    assert_done(kd_corpus_read(ids.id + 1, NULL, &m->corpus, m->corpus.start[d], count));
    assert_string_equal(kd_status_name(kd_upstream_put(packer, ids.id, count + 1, row_first)), kd_status_name(wanted));
    free(ids.id);
}

static kd_upstream *pack_upstream(rows *r, const made *m, kd_upstream_engine engine, int64_t seq_length) {
    kd_upstream *packer = open_packer(r, engine, KD_UPSTREAM_RAW, seq_length, BOS);
    for (int64_t d = 0; d < m->corpus.documents; d++) put_document(packer, m, d, false, KD_OK);
    assert_done(kd_upstream_finish(packer));
    return packer;
}

/* kedge's windows of the same documents: a shared anchor as flex has it, or a BOS for each as flash has it. */
static void pack_default(kd_windows *w, const made *m, kd_upstream_engine engine, int64_t window, bool interleave) {
    kd_window_options o = {.window = window, .mask = KD_MASK_ANCHOR, .anchor_is_bos = engine == KD_UPSTREAM_FLASH, .interleave = interleave, .seed = 5};
    assert_done(kd_windows_open(w, &m->corpus, NULL, &o));
}

static kd_plan plan_of(const kd_windows *w, int64_t index) {
    kd_plan plan;
    assert_done(kd_windows_plan(&plan, w, index, false));
    return plan;
}

/* Which tokens of the corpus are inputs or targets in the windows. */
static void see_windows(bool *seen, const kd_windows *w) {
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan = plan_of(w, i);
        for (int64_t t = 0; t < plan.T; t++) {
            if (plan.token[t] >= FIRST) seen[plan.token[t] - FIRST] = true;
            if (plan.target[t] >= FIRST) seen[plan.target[t] - FIRST] = true;
        }
        kd_plan_free(&plan);
    }
}

/* The same for their rows: a callback. */
static kd_status see_row(void *context, const kd_upstream_row *row) {
    bool *seen = context;
    for (int64_t t = 0; t < 16; t++) {
        if (row->input[t] >= FIRST) seen[row->input[t] - FIRST] = true;
        if (row->target[t] >= FIRST) seen[row->target[t] - FIRST] = true;
    }
    return KD_OK;
}

/* 1. Theirs fills a document's chunks from the window's beginning, whichever document it is. */
static void interleaved_chunks_hold_their_own_documents_tokens(void **state) {
    (void)state;
    static const int64_t length[] = {100, 100, 100, 100};
    static made m;
    kd_windows w;
    make_corpus(&m, length, 4);
    pack_default(&w, &m, KD_UPSTREAM_FLEX, 401, true);
    assert_int_equal(w.count, 1);
    kd_plan plan = plan_of(&w, 0);
    int64_t seen[400] = {0};
    assert_int_equal(plan.N, 4);
    for (int64_t n = 0; n < plan.N; n++)
        for (int64_t i = plan.start[n]; i < plan.start[n + 1]; i++) {
            int64_t token = plan.token[i] - FIRST;
            seen[token]++;
            assert_int_equal(m.document_of[token], m.document_of[plan.token[plan.start[n]] - FIRST]);
            if (i > plan.start[n]) assert_int_equal(plan.token[i], plan.token[i - 1] + 1);
        }
    for (int i = 0; i < 400; i++) assert_int_equal(seen[i], 1);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    free_corpus(&m);
}

/* 2. Theirs makes the same rows, one token too long, and keeps none. */
static void flex_rows_of_raw_documents_are_kept(void **state) {
    (void)state;
    static const int64_t length[] = {5, 6, 20, 9};
    static made m;
    rows r;
    kd_windows w;
    make_corpus(&m, length, 4);
    kd_upstream *packer = open_packer(&r, KD_UPSTREAM_FLEX, KD_UPSTREAM_RAW, 16, BOS);
    for (int64_t d = 0; d < 3; d++) put_document(packer, &m, d, false, KD_OK);
    assert_int_equal(r.count, 1);
    assert_false(r.last.kept);
    pack_default(&w, &m, KD_UPSTREAM_FLEX, 16, false);
    assert_int_equal(w.count, 2);
    kd_plan plan = plan_of(&w, 0);
    assert_int_equal(plan.anchors, 1);
    for (int64_t t = 0; t < 16; t++) {
        assert_int_equal(plan.token[t], r.last.input[t]);
        assert_int_equal(plan.position[t], r.last.rotary[t]);
        /* Where a document ends theirs is trained on the first token of the next one, which it cannot know. */
        if (t > 0 && plan.target[t] >= 0) assert_int_equal(plan.target[t], r.last.target[t]);
    }
    for (int64_t n = 0; n < plan.N; n++)
        for (int64_t i = plan.start[n]; i < plan.start[n + 1]; i++) assert_int_equal(r.last.document[i], n + 1);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    kd_upstream_close(packer);
    kd_text_free(&r.text);
    free_corpus(&m);
}

/* 3. Theirs stops. */
static void packed_rows_as_long_as_the_window_are_packed(void **state) {
    (void)state;
    static const int64_t length[] = {7, 7, 7, 7};  /* with BOS two rows of 16 */
    static made m;
    rows r;
    kd_windows w;
    make_corpus(&m, length, 4);
    kd_upstream *packer = open_packer(&r, KD_UPSTREAM_FLEX, KD_UPSTREAM_TOKENIZED, 16, BOS);
    put_document(packer, &m, 0, true, KD_OK);
    put_document(packer, &m, 1, false, KD_OK);
    put_document(packer, &m, 2, true, KD_EFORMAT);
    put_document(packer, &m, 3, false, KD_OK);
    assert_fails(kd_upstream_finish(packer), KD_EFORMAT, "packed row 2: 14 ids for a window of 16");
    assert_int_equal(r.count, 0);
    pack_default(&w, &m, KD_UPSTREAM_FLEX, 16, false);
    assert_int_equal(w.count, 1);
    assert_int_equal(w.dropped, 28 - 15);
    kd_windows_close(&w);
    kd_upstream_close(packer);
    free_corpus(&m);
}

/* Of the corpus's first `tokens` ids those that are nowhere in a packing: how many, and the first. */
typedef struct lost { int64_t count, first; } lost;

static lost count_lost(const bool *seen, int64_t tokens) {
    lost l = {0, -1};
    for (int64_t i = tokens - 1; i >= 0; i--)
        if (!seen[i]) l = (lost){l.count + 1, i};
    return l;
}

/* In rows of 16 that theirs packs with flash, and in kedge's windows. */
static void find_lost(lost *theirs, lost *ours, const made *m, int64_t tokens) {
    static bool seen[2][MOST];
    const kd_upstream_options o = {KD_UPSTREAM_FLASH, KD_UPSTREAM_RAW, 16, BOS, 200};
    kd_upstream *packer;
    kd_windows w;
    memset(seen, 0, sizeof seen);
    assert_done(kd_upstream_open(&packer, &o, see_row, seen[0]));
    for (int64_t d = 0; d < m->corpus.documents; d++) put_document(packer, m, d, false, KD_OK);
    assert_done(kd_upstream_finish(packer));
    kd_upstream_close(packer);
    pack_default(&w, m, KD_UPSTREAM_FLASH, 16, false);
    see_windows(seen[1], &w);
    kd_windows_close(&w);
    *theirs = count_lost(seen[0], tokens);
    *ours = count_lost(seen[1], tokens);
}

/* 4. Theirs loses the token that the anchor of a continued document pushes out: a document of 40 goes on in the second
 * window with 17 of its tokens, which with an anchor are 18. */
static void no_token_is_lost_to_an_anchor(void **state) {
    (void)state;
    static const int64_t length[] = {40, 60};
    static made m;
    lost theirs, ours;
    make_corpus(&m, length, 2);
    find_lost(&theirs, &ours, &m, 40);
    assert_int_equal(theirs.count, 1);
    assert_int_equal(theirs.first, 16 + 16);
    assert_int_equal(ours.count, 0);
    free_corpus(&m);
}

/* 5. Theirs drops the window that is not full after 200 documents. With their BOS three of these fill a window of 17, so
 * that nothing else is lost: the batch's last two are. */
static void no_window_is_dropped_between_documents(void **state) {
    (void)state;
    static int64_t length[240];
    static made m;
    lost theirs, ours;
    for (int i = 0; i < 240; i++) length[i] = i % 3 == 2 ? 8 : 3;
    make_corpus(&m, length, 240);
    find_lost(&theirs, &ours, &m, m.corpus.start[230]);
    assert_int_equal(theirs.count, 6);
    assert_int_equal(theirs.first, m.corpus.start[198]);
    assert_int_equal(ours.count, 0);
    free_corpus(&m);
}

/* 6. Theirs knows no document in a window that one document fills: with flex all of it is numbered as the anchor. */
static void a_document_that_fills_a_window_is_a_document(void **state) {
    (void)state;
    static const int64_t length[] = {60};
    static made m;
    for (kd_upstream_engine engine = KD_UPSTREAM_FLASH; engine <= KD_UPSTREAM_FLEX; engine++) {
        rows r;
        kd_windows w;
        make_corpus(&m, length, 1);
        kd_upstream *packer = pack_upstream(&r, &m, engine, 16);
        assert_int_equal(r.count, 3);
        assert_int_equal(r.last.docs, 0);
        assert_int_equal(r.last.eoses, engine == KD_UPSTREAM_FLEX);
        for (int64_t t = 0; t < 16; t++) assert_int_equal(r.last.document[t], 0);
        pack_default(&w, &m, engine, 16, false);
        kd_plan plan = plan_of(&w, 2);
        assert_int_equal(plan.N, 1);
        assert_int_equal(plan.anchors, engine == KD_UPSTREAM_FLEX);
        assert_int_equal(plan.start[1] - plan.start[0], plan.T - plan.anchors);
        kd_plan_free(&plan);
        kd_windows_close(&w);
        kd_upstream_close(packer);
        kd_text_free(&r.text);
        free_corpus(&m);
    }
}

/* 7. Theirs numbers the first two documents alike. */
static void the_first_two_documents_are_two(void **state) {
    (void)state;
    static const int64_t length[] = {5, 6, 9};
    static made m;
    rows r;
    kd_windows w;
    make_corpus(&m, length, 3);
    kd_upstream *packer = pack_upstream(&r, &m, KD_UPSTREAM_FLASH, 16);
    assert_int_equal(r.count, 1);
    for (int64_t t = 0; t < 16; t++) assert_int_equal(r.last.document[t], t < 6 + 7 ? 0 : 1);
    pack_default(&w, &m, KD_UPSTREAM_FLASH, 16, false);
    kd_plan plan = plan_of(&w, 0);
    assert_int_equal(plan.N, 3);
    assert_int_equal(plan.start[1], 6);
    assert_int_equal(plan.start[2], 6 + 7);
    for (int64_t t = 0; t < 16; t++) assert_int_equal(plan.token[t], r.last.input[t]);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    kd_upstream_close(packer);
    kd_text_free(&r.text);
    free_corpus(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_by_hand_are_theirs),
        cmocka_unit_test(it_stops_where_they_stop),
        cmocka_unit_test(options_and_failures_are_passed_on),
        cmocka_unit_test(a_window_may_hold_many_documents),
        cmocka_unit_test(rows_of_packed_rows_are_theirs),
        cmocka_unit_test(rows_of_documents_are_theirs),
        cmocka_unit_test(rows_of_texts_are_theirs),
        cmocka_unit_test(interleaved_chunks_hold_their_own_documents_tokens),
        cmocka_unit_test(flex_rows_of_raw_documents_are_kept),
        cmocka_unit_test(packed_rows_as_long_as_the_window_are_packed),
        cmocka_unit_test(no_token_is_lost_to_an_anchor),
        cmocka_unit_test(no_window_is_dropped_between_documents),
        cmocka_unit_test(a_document_that_fills_a_window_is_a_document),
        cmocka_unit_test(the_first_two_documents_are_two),
    };
    return cmocka_run_group_tests_name("upstream", tests, scratch_open, scratch_close);
}
