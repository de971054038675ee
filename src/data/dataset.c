#include "data/dataset.h"

#include "data/pack.h"
#include "data/store.h"

kd_status kd_dataset_open(kd_dataset *d, const kd_dataset_options *o) {
    bool pack = false, store = false;
    kd_status status;
    *d = (kd_dataset){0};
    if (o->patterns == 1 && kd_is_folder(o->pattern[0])) {
        KD_GO(kd_holds(&pack, o->pattern[0], KD_PACK_FILE));
        KD_GO(kd_holds(&store, o->pattern[0], KD_STORE_FILE));
    }
    if (pack) return kd_pack_open(d, o->pattern[0], o);
    if (store) KD_GO(kd_store_open(&d->corpus, o->pattern[0], o->ingest.tokenizer, false));
    else KD_GO(kd_corpus_read_files(&d->corpus, &o->ingest, o->pattern, o->patterns));
    KD_GO(kd_choice_init(&d->choice, &d->corpus, &o->choice));
    KD_GO(kd_windows_open(&d->windows, &d->corpus, &d->choice, &o->window));
done:
    if (status) kd_dataset_close(d);
    return status;
}

void kd_dataset_close(kd_dataset *d) {
    kd_windows_close(&d->windows);
    kd_choice_free(&d->choice);
    kd_corpus_close(&d->corpus);
}
