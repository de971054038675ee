/* What packs and token stores say of themselves, and whether their files are as they say. */
#include "info_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/pack.h"
#include "data/store.h"
#include "format/chart.h"
#include "format/json.h"
#include "format/page.h"

kd_status kd_info_is_data(bool *yes, const char *folder) {
    KD_TRY(kd_holds(yes, folder, KD_PACK_FILE));
    return *yes ? KD_OK : kd_holds(yes, folder, KD_STORE_FILE);
}

/* Takes value over; NULL: memory was out. */
static kd_status put(json_t *to, const char *key, json_t *value) {
    return json_object_set_new(to, key, value) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static kd_status load(json_t **out, const char *folder, const char *file) {
    char *path = kd_path_join(folder, file);
    kd_status status = path ? kd_json_load(out, path) : kd_fail(KD_ENOMEM, "out of memory");
    free(path);
    return status;
}

/* "complete", or what is wrong with the file. hash NULL: its length alone. */
static kd_status check_file(char out[1200], const char *folder, const char *file, int64_t bytes, const char *hash) {
    char *path = kd_path_join(folder, file), found[20];
    uint64_t h = 0;
    kd_source source;
    int64_t size = 0;
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    kd_status status = hash ? kd_file_hash(&h, &size, path) : kd_source_open(&source, path);
    if (!status && !hash) {
        size = source.size;
        kd_source_close(&source);
    }
    snprintf(found, sizeof found, "%016llx", (unsigned long long)h);
    if (status) snprintf(out, 1200, "%s", kd_message());
    else if (size != bytes) snprintf(out, 1200, "%s: %lld bytes, %lld were written", path, (long long)size, (long long)bytes);
    else if (hash && strcmp(hash, found)) snprintf(out, 1200, "%s: not the bytes that were written", path);
    else snprintf(out, 1200, "complete");
    free(path);
    return status == KD_ENOMEM ? status : KD_OK;
}

/* ---- a token store ----------------------------------------------------------------------------------------- */

static kd_status describe_store(json_t **out, const char *folder) {
    json_t *said = NULL, *row, *list, *identity;
    char state[1200] = "complete";
    int64_t bytes = 0, documents = 0, tokens = 0;
    size_t i;
    *out = NULL;
    KD_TRY(load(&said, folder, KD_STORE_FILE));
    kd_status status = KD_OK;
    list = json_object_get(said, "shards");
    identity = json_object_get(said, "identity");
    if (!json_is_true(json_object_get(said, "complete"))) strcpy(state, "unfinished: kedge pack goes on with it");
    json_array_foreach(list, i, row) {
        const char *file = json_string_value(json_object_get(row, "file"));
        int64_t size = json_integer_value(json_object_get(row, "bytes"));
        bytes += size;
        documents += json_integer_value(json_object_get(row, "documents"));
        tokens += json_integer_value(json_object_get(row, "tokens"));
        if (!strcmp(state, "complete")) KD_GO(check_file(state, folder, file ? file : "?", size, NULL));
    }
    *out = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:O*, s:O*, s:O*, s:O*, s:O*}", "state", state, "documents", (json_int_t)documents, "tokens",
                     (json_int_t)tokens, "shards", (json_int_t)json_array_size(list), "bytes", (json_int_t)bytes, "inputs",
                     (json_int_t)json_array_size(json_object_get(identity, "inputs")), "tokenizer", json_object_get(identity, "tokenizer"),
                     "specials", json_object_get(identity, "specials"), "bad_lines", json_object_get(identity, "bad_lines"), "counts",
                     json_object_get(said, "counts"), "sources", json_object_get(said, "sources"));
    if (!*out) status = kd_fail(KD_ENOMEM, "out of memory");
done:
    json_decref(said);
    return status;
}

/* ---- a pack ------------------------------------------------------------------------------------------------ */

/* A row a source out of report.json, which may be missing. */
static kd_status describe_sources(json_t *to, const json_t *report, const char *part) {
    const json_t *parts = json_object_get(report, "parts");
    json_t *list = json_object_get(json_object_get(parts, part), "sources"), *row, *sources = json_array();
    size_t i;
    json_array_foreach(list, i, row) {
        const json_t *corpus = json_object_get(row, "corpus"), *windows = json_object_get(row, "windows");
        json_t *name = json_object_get(row, "name"), *planned = json_object_get(row, "planned");
        json_t *share = json_object_get(corpus, "share_of_tokens"), *packed = json_object_get(windows, "share_of_tokens");
        if (!name || !share || !packed) continue;
        json_t *short_row = json_pack("{s:O, s:O, s:O?, s:O}", "name", name, "corpus", share, "planned", planned, "windows", packed);
        if (json_array_append_new(sources, short_row)) {
            json_decref(sources);
            return kd_fail(KD_ENOMEM, "out of memory");
        }
    }
    return put(to, "sources", sources);
}

static kd_status describe_part(json_t *to, const char *folder, const char *part, const json_t *said, const json_t *report) {
    char name[64], state[1200];
    const char *hash = json_string_value(json_object_get(said, "xxh3"));
    json_t *row = json_object(), *store = NULL;
    kd_status status = row ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    static const char *const keys[] = {"windows", "segments", "documents", "tokens", "dropped", "truncated", "short_rests", "choice"};
    snprintf(name, sizeof name, "%.16s.safetensors", part);
    if (!status) status = check_file(state, folder, name, json_integer_value(json_object_get(said, "bytes")), hash ? hash : "");
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !status; i++) {
        json_t *value = json_object_get(said, keys[i]);
        if (value && json_object_set(row, keys[i], value)) status = kd_fail(KD_ENOMEM, "out of memory");
    }
    if (!status) status = put(row, "state", json_string(state));
    snprintf(name, sizeof name, "tokens/%.16s", part);
    char *inside = kd_path_join(folder, name);
    if (!status && !inside) status = kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = describe_store(&store, inside);
    if (status && status != KD_ENOMEM && !store) {  /* a store that cannot be read is one that is not complete */
        store = json_pack("{s:s}", "state", kd_message());
        status = KD_OK;
    }
    if (!status) status = put(row, "store", store);
    if (!status) status = describe_sources(row, report, part);
    if (!status) status = put(to, part, json_incref(row));
    free(inside);
    json_decref(row);
    return status;
}

static kd_status describe_pack(json_t **out, const char *folder) {
    json_t *said = NULL, *report = NULL, *part, *parts = json_object();
    const char *name;
    bool reported = false;
    kd_status status = parts ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    *out = NULL;
    if (!status) status = load(&said, folder, KD_PACK_FILE);
    if (!status) status = kd_holds(&reported, folder, "report.json");
    if (!status && reported) status = load(&report, folder, "report.json");
    json_object_foreach(json_object_get(said, "parts"), name, part)
        if (!status) status = describe_part(parts, folder, name, part, report);
    if (!status)
        *out = json_pack("{s:O*, s:O*, s:O*, s:O}", "kedge", json_object_get(said, "kedge"), "tokenizer", json_object_get(said, "tokenizer"),
                         "filling", json_object_get(said, "filling"), "parts", parts);
    if (!status && !*out) status = kd_fail(KD_ENOMEM, "out of memory");
    json_decref(parts);
    json_decref(report);
    json_decref(said);
    return status;
}

/* ---- for people -------------------------------------------------------------------------------------------- */

static long long number(const json_t *of, const char *key) { return json_integer_value(json_object_get(of, key)); }

static void line(const char *key, int indent, const char *words) { printf("%*s%-*s %s\n", indent, "", 22 - indent, key, words); }

static void print_tokenizer(const json_t *tokenizer) {
    char words[160];
    const char *hash = json_string_value(json_object_get(tokenizer, "hash"));
    snprintf(words, sizeof words, "%lld ids, BOS %lld, EOS %lld, hash %.20s", number(tokenizer, "vocabulary"), number(tokenizer, "bos"),
             number(tokenizer, "eos"), hash ? hash : "?");
    line("tokenizer", 0, words);
}

static void print_store(const json_t *store, int indent) {
    char words[1400], bytes[32], tokens[32];
    const char *state = json_string_value(json_object_get(store, "state"));
    const json_t *counts = json_object_get(store, "counts");
    kd_show_bytes(bytes, (double)number(store, "bytes"));
    kd_number_format(tokens, (double)number(store, "tokens"), false);
    if (json_object_get(store, "tokens")) {
        snprintf(words, sizeof words, "%lld documents, %s tokens of %lld files; %lld shard%s, %s", number(store, "documents"), tokens,
                 number(store, "inputs"), number(store, "shards"), number(store, "shards") == 1 ? "" : "s", bytes);
        line("tokens", indent, words);
    }
    if (number(counts, "empty") || number(counts, "bad_lines")) {
        snprintf(words, sizeof words, "%lld empty documents, %lld bad lines", number(counts, "empty"), number(counts, "bad_lines"));
        line("left out", indent, words);
    }
    line("their files", indent, state ? state : "?");
}

static void print_sources(const json_t *sources) {
    size_t i;
    json_t *row;
    if (json_array_size(sources)) printf("  %-20s %9s %9s %9s\n", "share of tokens, %", "corpus", "planned", "windows");
    json_array_foreach((json_t *)sources, i, row) {
        char name[128];
        const json_t *planned = json_object_get(row, "planned");
        const char *source = json_string_value(json_object_get(row, "name"));
        snprintf(name, sizeof name, "%s", source && *source ? source : KD_NO_SOURCE);
        kd_text_plain(name);
        printf("    %-18s %9.2f ", name, 100 * json_number_value(json_object_get(row, "corpus")));
        if (json_is_number(planned)) printf("%9.2f", 100 * json_number_value(planned));
        else printf("%9s", "-");
        printf(" %9.2f\n", 100 * json_number_value(json_object_get(row, "windows")));
    }
}

static kd_status print_part(const char *name, const json_t *part) {
    char words[256], *choice;
    const char *state = json_string_value(json_object_get(part, "state"));
    snprintf(words, sizeof words, "%lld windows, %lld shares of documents", number(part, "windows"), number(part, "segments"));
    line(name, 0, words);
    snprintf(words, sizeof words, "%lld tokens in the last, partial window, %lld truncated, %lld in short rests", number(part, "dropped"),
             number(part, "truncated"), number(part, "short_rests"));
    line("in no window", 2, words);
    const json_t *chosen = json_object_get(part, "choice");
    if (json_is_object(chosen)) {
        KD_TRY(kd_json_print(&choice, chosen, JSON_COMPACT | JSON_REAL_PRECISION(6), "choice"));
        line("chosen by", 2, choice);
        free(choice);
    }
    line("windows' file", 2, state ? state : "?");
    print_store(json_object_get(part, "store"), 2);
    print_sources(json_object_get(part, "sources"));
    return KD_OK;
}

static kd_status print_pack(const json_t *pack) {
    char words[256];
    const json_t *filling = json_object_get(pack, "filling");
    const char *kedge = json_string_value(json_object_get(pack, "kedge")), *rest = json_string_value(json_object_get(filling, "long_documents")), *name;
    json_t *part;
    snprintf(words, sizeof words, "%lld tokens each%s%s%s%s; long documents: %.20s; shortest rest: %lld", number(filling, "window"),
             json_is_true(json_object_get(filling, "anchor")) ? ", an anchor" : "", json_is_true(json_object_get(filling, "bos")) ? ", BOS" : "",
             json_is_true(json_object_get(filling, "tag")) ? ", tags" : "", json_is_true(json_object_get(filling, "eos")) ? ", EOS" : "",
             rest ? rest : "?", number(filling, "shortest"));
    line("pack of windows", 0, words);
    line("made by kedge", 0, kedge ? kedge : "?");
    print_tokenizer(json_object_get(pack, "tokenizer"));
    json_object_foreach(json_object_get(pack, "parts"), name, part) KD_TRY(print_part(name, part));
    return KD_OK;
}

kd_status kd_info_data(const char *folder, bool as_json) {
    bool pack;
    json_t *out = NULL;
    char *text;
    KD_TRY(kd_holds(&pack, folder, KD_PACK_FILE));
    KD_TRY(pack ? describe_pack(&out, folder) : describe_store(&out, folder));
    kd_status status = KD_OK;
    if (as_json) {
        status = kd_json_print(&text, out, JSON_INDENT(2), "output");
        if (!status) puts(text);
        if (!status) free(text);
    } else if (pack) {
        status = print_pack(out);
    } else {
        line("token store", 0, folder);
        print_tokenizer(json_object_get(out, "tokenizer"));
        print_store(out, 0);
    }
    json_decref(out);
    return status;
}
