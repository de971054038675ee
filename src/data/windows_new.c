/* Windows as kedge.h shows them: on the heap, with the documents that they are made of. */
#include <stdlib.h>

#include "data/pack.h"

/* What is handed out is data.windows. */
typedef struct owner { kd_dataset data; } owner;

static owner *owner_of(kd_windows *windows) { return (owner *)((char *)windows - offsetof(owner, data.windows)); }

void kd_windows_free(kd_windows *windows) {
    if (!windows) return;
    kd_dataset_close(&owner_of(windows)->data);
    free(owner_of(windows));
}

int64_t kd_windows_count(const kd_windows *windows) { return windows->count; }
int64_t kd_windows_dropped(const kd_windows *windows) { return windows->dropped; }

/* *most: the largest id. */
static kd_status check_documents(int32_t *most, const int32_t *token, const int64_t *start, int64_t documents) {
    *most = 0;
    if (documents < 0) return kd_fail(KD_EARG, "windows: %lld documents", (long long)documents);
    for (int64_t d = 0; d < documents; d++) {
        if (start[d] < 0 || start[d + 1] < start[d])
            return kd_fail(KD_EARG, "windows: document %lld: tokens %lld to %lld", (long long)d, (long long)start[d],
                           (long long)start[d + 1]);
        for (int64_t t = start[d]; t < start[d + 1]; t++) {
            if (token[t] < 0) return kd_fail(KD_EARG, "windows: token %lld is %d", (long long)t, (int)token[t]);
            if (token[t] > *most) *most = token[t];
        }
    }
    return KD_OK;
}

static kd_status take_documents(kd_corpus *corpus, const int32_t *token, const uint8_t *loss, const int64_t *start, int64_t documents) {
    for (int64_t d = 0; d < documents; d++) {
        if (start[d + 1] == start[d]) continue;
        const kd_ingested document = {.id = token + start[d], .loss = loss ? loss + start[d] : NULL, .count = start[d + 1] - start[d],
                                      .source = "", .origin = {.line = d + 1}};
        KD_TRY(kd_corpus_append(corpus, &document));
    }
    return KD_OK;
}

kd_status kd_windows_new(kd_windows **out, const kd_window_options *options, const int32_t *token, const uint8_t *loss,
                         const int64_t *start, int64_t documents, int32_t bos, int32_t eos) {
    int32_t most;
    owner *o;
    *out = NULL;
    if (options->window < 1 || options->window >= 1 << 24) return kd_fail(KD_EARG, "window: %lld tokens", (long long)options->window);
    if (options->tag) return kd_fail(KD_EARG, "windows: documents without a source have no tags");
    if (options->offset < 0 || options->offset >= 1 << 24 || options->shortest < 0)
        return kd_fail(KD_EARG, "windows: offset %lld, shortest %lld", (long long)options->offset, (long long)options->shortest);
    KD_TRY(check_documents(&most, token, start, documents));
    KD_TRY(kd_new(&o, 1, sizeof *o));
    /* A tokenizer that has these numbers alone: nothing is encoded. */
    const kd_tokenizer ids = {.bos = bos, .eos = eos, .vocabulary = (int64_t)most + 1};
    kd_status status;
    KD_GO(kd_corpus_init(&o->data.corpus, &ids, &(kd_paths){0}));
    KD_GO(take_documents(&o->data.corpus, token, loss, start, documents));
    KD_GO(kd_windows_open(&o->data.windows, &o->data.corpus, NULL, options));
done:
    if (status) kd_windows_free(&o->data.windows);
    else *out = &o->data.windows;
    return status;
}

kd_status kd_windows_of_pack(kd_windows **out, const char *folder, const char *part, const kd_tokenizer *tokenizer,
                             const kd_window_options *options) {
    kd_dataset_options asked = {.part = part, .ingest.tokenizer = tokenizer};
    owner *o;
    *out = NULL;
    if (options) asked.window = *options;
    KD_TRY(kd_new(&o, 1, sizeof *o));
    kd_status status = kd_pack_open(&o->data, folder, &asked);
    if (status) kd_windows_free(&o->data.windows);
    else *out = &o->data.windows;
    return status;
}
