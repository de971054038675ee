#include "serve_reply.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "format/pieces.h"

/* ---- texts of ids -------------------------------------------------------------------------------------------------------- */

static int64_t count_characters(const char *text, int64_t size) {
    int64_t count = 0;
    for (int64_t i = 0; i < size; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static kd_status fill(kd_vocabulary_texts *t, const kd_pieces *pieces) {
    kd_text raw = {0}, valid = {0};
    kd_status status = KD_OK;
    for (int64_t id = 0; id < t->count; id++) {
        raw.size = valid.size = 0;
        status = id < pieces->tokenizer->vocabulary ? kd_pieces_put(&raw, pieces, (int32_t)id) : KD_OK;
        if (status && status != KD_EFORMAT) KD_GO(status);
        if (status) raw.size = 0;
        kd_text_add_lossy(&valid, raw.size ? raw.data : "", raw.size);
        kd_text_quote(&t->json, valid.size ? valid.data : "", valid.size);
        t->end[id] = t->json.size;
        t->characters[id] = count_characters(valid.data, valid.size);
    }
    KD_GO(kd_text_status(&valid));
    status = kd_text_status(&t->json);
done:
    kd_text_free(&raw);
    kd_text_free(&valid);
    return status;
}

kd_status kd_vocabulary_texts_open(kd_vocabulary_texts *t, const kd_tokenizer *tokenizer, int64_t V) {
    kd_pieces pieces;
    *t = (kd_vocabulary_texts){.count = V};
    KD_TRY(kd_new(&t->end, V, sizeof *t->end));
    KD_TRY(kd_new(&t->characters, V, sizeof *t->characters));
    kd_status status = kd_pieces_open(&pieces, tokenizer);
    if (!status) status = fill(t, &pieces);
    kd_pieces_close(&pieces);
    return status;
}

void kd_vocabulary_texts_close(kd_vocabulary_texts *t) {
    kd_text_free(&t->json);
    free(t->end);
    free(t->characters);
    *t = (kd_vocabulary_texts){0};
}

static const char *text_of(int64_t *size, const kd_vocabulary_texts *t, int32_t id) {
    int64_t begin = id ? t->end[id - 1] : 0;
    *size = t->end[id] - begin;
    return t->json.data + begin;
}

static void put_token(kd_text *out, const kd_vocabulary_texts *t, int32_t id) {
    int64_t size;
    const char *text = text_of(&size, t, id);
    kd_text_add(out, text, size);
}

/* As many digits as tell it from all others: a client may ask whether two are the same. JSON has no infinity. */
static void put_log(kd_text *out, double log) { kd_text_print(out, "%.17g", isfinite(log) ? log : -1e30); }

/* ---- logprobs ------------------------------------------------------------------------------------------------------------- */

/* The tokens of a choice, their ln p and the likeliest beside them. */
typedef struct choice {
    const kd_ids *prompt, *ids;
    const kd_answer *answer;
    int64_t echoed, count, tops;
} choice;

static int32_t token_at(const choice *r, int64_t i) { return i < r->echoed ? r->prompt->id[i] : r->ids->id[i - r->echoed]; }

/* Nothing is known of what a prompt begins with. */
static bool known_at(const choice *r, int64_t i) { return i >= r->echoed || i > 0; }

static double log_at(const choice *r, int64_t i) {
    return i < r->echoed ? r->answer->likelihood[i - 1].log : r->answer->log[i - r->echoed];
}

static const kd_likely *tops_at(const choice *r, int64_t i) {
    return r->answer->top + (i < r->echoed ? i - 1 : (r->echoed ? r->echoed - 1 : 0) + i - r->echoed) * r->tops;
}

static bool same_text(const kd_vocabulary_texts *t, int32_t a, int32_t b) {
    int64_t a_size, b_size;
    const char *a_text = text_of(&a_size, t, a), *b_text = text_of(&b_size, t, b);
    return a_size == b_size && !memcmp(a_text, b_text, (size_t)a_size);
}

/* The likeliest and the token itself. Of two that say the same the likelier one stays, which comes first. */
static void put_tops(kd_text *out, const choice *r, const kd_vocabulary_texts *t, int64_t i) {
    const kd_likely own = {token_at(r, i), log_at(r, i)}, *top = tops_at(r, i);
    kd_text_put(out, "{");
    for (int64_t n = 0; n <= r->tops; n++) {
        const kd_likely *one = n < r->tops ? &top[n] : &own;
        bool there = false;
        for (int64_t m = 0; m < n && !there; m++) there = top[m].token == one->token || same_text(t, top[m].token, one->token);
        if (there) continue;
        if (n) kd_text_put(out, ",");
        put_token(out, t, one->token);
        kd_text_put(out, ":");
        put_log(out, one->log);
    }
    kd_text_put(out, "}");
}

static void put_logprobs(kd_text *out, const choice *r, const kd_vocabulary_texts *t) {
    int64_t at = 0;
    kd_text_put(out, "{\"tokens\":[");
    for (int64_t i = 0; i < r->count; i++) {
        if (i) kd_text_put(out, ",");
        put_token(out, t, token_at(r, i));
    }
    kd_text_put(out, "],\"token_logprobs\":[");
    for (int64_t i = 0; i < r->count; i++) {
        if (i) kd_text_put(out, ",");
        if (known_at(r, i)) put_log(out, log_at(r, i));
        else kd_text_put(out, "null");
    }
    kd_text_put(out, "],\"top_logprobs\":[");
    for (int64_t i = 0; i < r->count; i++) {
        if (i) kd_text_put(out, ",");
        if (known_at(r, i)) put_tops(out, r, t, i);
        else kd_text_put(out, "null");
    }
    kd_text_put(out, "],\"text_offset\":[");
    for (int64_t i = 0; i < r->count; i++) {
        kd_text_print(out, "%s%lld", i ? "," : "", (long long)at);
        at += t->characters[token_at(r, i)];
    }
    kd_text_put(out, "]}");
}

/* ---- completions -------------------------------------------------------------------------------------------------------------- */

const char *kd_reply_finish(kd_finish finish) { return finish == KD_FINISH_LENGTH ? "length" : "stop"; }

static void put_head(kd_text *out, const kd_reply *r) {
    kd_text_put(out, "{\"id\":");
    kd_text_quote(out, r->id, (int64_t)strlen(r->id));
    kd_text_print(out, ",\"object\":\"text_completion\",\"created\":%lld,\"model\":", (long long)r->created);
    kd_text_quote(out, r->model, (int64_t)strlen(r->model));
}

static void put_usage(kd_text *out, const kd_reply *r, int64_t answer_tokens) {
    int64_t prompt = 0;
    for (int64_t i = 0; i < r->request->prompts; i++) prompt += r->prompt[i].count;
    kd_text_print(out, "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld}", (long long)prompt,
                  (long long)answer_tokens, (long long)(prompt + answer_tokens));
}

static void put_choice(kd_text *out, const kd_reply *r, const kd_answer *a, int64_t i) {
    const kd_request *q = r->request;
    kd_text whole = {0};
    if (q->echo) kd_text_add(&whole, r->prompt_text[i], r->prompt_size[i]);
    if (a->text) kd_text_add(&whole, a->text, a->text_size);
    out->failed |= whole.failed;
    kd_text_print(out, "{\"index\":%lld,\"text\":", (long long)i);
    kd_text_quote(out, whole.data ? whole.data : "", whole.size);
    kd_text_free(&whole);
    kd_text_put(out, ",\"logprobs\":");
    const int64_t echoed = q->echo ? r->prompt[i].count : 0;
    const choice c = {&r->prompt[i], &a->ids, a, echoed, echoed + a->ids.count, q->logprobs};
    if (q->logprobs < 0) kd_text_put(out, "null");
    else put_logprobs(out, &c, r->texts);
    kd_text_print(out, ",\"finish_reason\":\"%s\"}", kd_reply_finish(a->finish));
}

static void put_completions(kd_text *out, const kd_reply *r, const kd_answer *answer) {
    int64_t tokens = 0;
    put_head(out, r);
    kd_text_put(out, ",\"choices\":[");
    for (int64_t i = 0; i < r->request->prompts; i++) {
        if (i) kd_text_put(out, ",");
        put_choice(out, r, &answer[i], i);
        tokens += answer[i].ids.count;
    }
    kd_text_put(out, "],");
    put_usage(out, r, tokens);
    kd_text_put(out, "}");
}

void kd_reply_put(kd_text *out, const kd_reply *r, const kd_answer *answer) {
    const kd_request *q = r->request;
    if (q->form == KD_FORM_COMPLETIONS) {
        put_completions(out, r, answer);
        return;
    }
    bool named = q->form != KD_FORM_TRTLLM, list = q->form == KD_FORM_VLLM || q->form == KD_FORM_TRTLLM || q->many;
    if (q->form == KD_FORM_SGLANG && q->many) named = false;
    kd_text_put(out, named ? "{\"text\":" : "");
    kd_text_put(out, list ? "[" : "");
    for (int64_t i = 0; i < q->prompts; i++) {
        if (i) kd_text_put(out, ",");
        if (q->form == KD_FORM_SGLANG && q->many) kd_text_put(out, "{\"text\":");
        kd_text_quote(out, answer[i].text ? answer[i].text : "", answer[i].text_size);
        if (q->form == KD_FORM_SGLANG && q->many) kd_text_put(out, "}");
    }
    kd_text_put(out, list ? "]" : "");
    kd_text_put(out, named ? "}" : "");
}

/* ---- streams ------------------------------------------------------------------------------------------------------------------- */

void kd_reply_put_piece(kd_text *out, const kd_reply *r, int64_t index, const char *text, int64_t size, const char *finish) {
    kd_text_put(out, "data: ");
    put_head(out, r);
    kd_text_print(out, ",\"choices\":[{\"index\":%lld,\"text\":", (long long)index);
    kd_text_quote(out, text, size);
    kd_text_print(out, ",\"logprobs\":null,\"finish_reason\":%s%s%s}]}\n\n", finish ? "\"" : "", finish ? finish : "null", finish ? "\"" : "");
}

void kd_reply_put_end(kd_text *out, const kd_reply *r, int64_t answer_tokens) {
    if (r->request->usage) {
        kd_text_put(out, "data: ");
        put_head(out, r);
        kd_text_put(out, ",\"choices\":[],");
        put_usage(out, r, answer_tokens);
        kd_text_put(out, "}\n\n");
    }
    kd_text_put(out, "data: [DONE]\n\n");
}

void kd_reply_put_error(kd_text *out, unsigned code, const char *message) {
    kd_text_put(out, "{\"error\":{\"message\":");
    kd_text_quote(out, message, (int64_t)strlen(message));
    kd_text_print(out, ",\"type\":\"%s\",\"code\":%u}}", code < 500 ? "invalid_request_error" : "server_error", code);
}
