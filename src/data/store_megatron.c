/* A token store as a Megatron dataset. */
#include <stdlib.h>

#include "data/store.h"
#include "format/megatron.h"

static kd_status put_documents(kd_megatron_writer *writer, int64_t *flags, const kd_corpus *c, bool eos) {
    int64_t longest = 0;
    int32_t *id = NULL;
    uint8_t *loss = NULL;
    kd_status status;
    for (int64_t d = 0; d < c->documents; d++)
        if (c->start[d + 1] - c->start[d] > longest) longest = c->start[d + 1] - c->start[d];
    KD_GO(kd_new(&id, longest + 1, sizeof *id));
    KD_GO(kd_new(&loss, longest, 1));
    for (int64_t d = 0; d < c->documents; d++) {
        int64_t count = c->start[d + 1] - c->start[d];
        KD_GO(kd_corpus_read(id, loss, c, c->start[d], count));
        for (int64_t i = 0; i < count; i++) *flags += !loss[i];
        if (eos) id[count++] = c->tokenizer.eos;
        KD_GO(kd_megatron_put(writer, id, count));
    }
done:
    free(id);
    free(loss);
    return status;
}

kd_status kd_store_export_megatron(int64_t *flags, const char *path, const char *folder, bool eos) {
    kd_megatron_writer *writer = NULL;
    kd_corpus c;
    kd_status status;
    *flags = 0;
    KD_TRY(kd_store_open(&c, folder, NULL, false));
    if (eos && c.tokenizer.eos < 0) KD_GO(kd_fail(KD_ECONFIG, "%s: its tokenizer has no EOS", folder));
    KD_GO(kd_megatron_create(&writer, path, c.tokenizer.vocabulary));
    KD_GO(put_documents(writer, flags, &c, eos));
    KD_GO(kd_megatron_finish(writer));
done:
    kd_megatron_free(writer);
    kd_corpus_close(&c);
    return status;
}
