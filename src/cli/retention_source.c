#include "retention_source.h"

#include <stdlib.h>

#include "data/pack.h"
#include "data/store.h"
#include "eval.h"

/* Documents whole: windows of a pack are looked through to what they were cut from. */
static kd_status open_corpus(kd_dataset *data, const kd_dataset_options *o) {
    bool pack = false, store = false;
    *data = (kd_dataset){0};
    if (o->patterns == 1 && kd_is_folder(o->pattern[0])) {
        KD_TRY(kd_holds(&pack, o->pattern[0], KD_PACK_FILE));
        KD_TRY(kd_holds(&store, o->pattern[0], KD_STORE_FILE));
    }
    if (pack) return kd_pack_open(data, o->pattern[0], o);
    if (store) return kd_store_open(&data->corpus, o->pattern[0], o->ingest.tokenizer, false);
    return kd_corpus_read_files(&data->corpus, &o->ingest, o->pattern, o->patterns);
}

static kd_status read_document(kd_retention_items *items, const kd_corpus *corpus, int64_t document, int32_t *id, uint8_t *loss) {
    int64_t from = corpus->start[document], count = corpus->start[document + 1] - from;
    if (count > items->length) count = items->length;
    KD_TRY(kd_corpus_read(id, loss, corpus, from, count));
    return kd_retention_add_document(items, id, loss, count);
}

/* Evenly over the documents that have two tokens: files of one kind may stand together. */
static kd_status read_documents(kd_retention_items *items, const kd_corpus *corpus, int64_t most) {
    int64_t *long_enough = NULL, count = 0;
    int32_t *id = NULL;
    uint8_t *loss = NULL;
    kd_status status;
    KD_GO(kd_new(&long_enough, corpus->documents + 1, sizeof *long_enough));
    KD_GO(kd_new(&id, items->length, sizeof *id));
    KD_GO(kd_new(&loss, items->length, 1));
    for (int64_t d = 0; d < corpus->documents; d++)
        if (corpus->start[d + 1] - corpus->start[d] >= 2) long_enough[count++] = d;
    if (!most || most > count) most = count;
    for (int64_t i = 0; i < most; i++) KD_GO(read_document(items, corpus, long_enough[i * count / most], id, loss));
done:
    free(loss);
    free(id);
    free(long_enough);
    return status;
}

static uint64_t hash_of(const kd_retention_items *items, int64_t *scored) {
    uint64_t hash = 0;
    *scored = 0;
    for (int64_t i = 0; i < items->texts.count; i++) {
        const kd_ppl_text *text = &items->texts.text[i];
        hash = hash * 31 + kd_hash(text->id, text->count * (int64_t)sizeof *text->id) + kd_hash(text->silent, text->count);
        for (int64_t t = 0; t < text->count; t++) *scored += !text->silent[t];
    }
    return hash;
}

const char *kd_retention_name(const kd_retention_source *s) {
    return s->pack ? kd_name_of_path(s->pack) : s->text.count ? kd_name_of_path(s->text.text[0]) : "data.valid";
}

kd_status kd_retention_texts(kd_retention_items *items, uint64_t *hash, const kd_retention_source *s, const kd_tokenizer *tokenizer,
                             kd_pool *pool) {
    const bool own = !s->pack && !s->text.count;
    kd_dataset_options options = kd_run_data(s->run, true, false, tokenizer, pool);
    kd_dataset data = {0};
    int64_t scored;
    kd_status status;
    if (own && !options.patterns)
        return kd_fail(KD_ECONFIG, "retention: the run has no data.valid: which texts? --text FILE or --pack DIR");
    if (s->text.count) options.pattern = s->text.text, options.patterns = s->text.count;
    if (s->pack) options.pattern = &s->pack, options.patterns = 1;
    if (!own) options.ingest = (kd_ingest_options){.tokenizer = tokenizer, .pool = pool};
    options.window = (kd_window_options){.window = 0};  /* of a pack as they were filled */
    status = open_corpus(&data, &options);
    if (status) status = own ? kd_fail_prefix(status, s->run->pack ? "data.pack" : "data.valid") : status;
    if (!status) status = read_documents(items, &data.corpus, s->documents);
    if (!status) *hash = hash_of(items, &scored);
    if (!status && !scored)
        status = kd_fail(KD_ECONFIG, "retention: %s: no document of two tokens or more that is to be predicted", kd_retention_name(s));
    kd_dataset_close(&data);
    return status;
}
