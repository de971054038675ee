/* What a client is answered: JSON, from a request and the engine's answers. */
#ifndef KD_SERVE_REPLY_H
#define KD_SERVE_REPLY_H

#include "serve_request.h"

/* What every id says, as JSON strings and in characters; for all requests. */
typedef struct kd_vocabulary_texts { kd_text json; int64_t *end, *characters; int64_t count; } kd_vocabulary_texts;
/* V: of the model; an id that is no token of the tokenizer says nothing. Free with kd_vocabulary_texts_close, also after a failure. */
kd_status kd_vocabulary_texts_open(kd_vocabulary_texts *texts, const kd_tokenizer *tokenizer, int64_t V);
void kd_vocabulary_texts_close(kd_vocabulary_texts *texts);

/* Of a request: its id, the model's name, the time it came (seconds since 1970). */
typedef struct kd_reply {
    const kd_request *request;
    const kd_ids *prompt;             /* [request->prompts] as they were asked */
    const char *const *prompt_text;   /* [request->prompts] what an echo begins with, for echo */
    const int64_t *prompt_size;
    const char *id, *model;
    int64_t created;
    const kd_vocabulary_texts *texts;
} kd_reply;

/* The whole reply, of answers [request->prompts] which are all KD_OK. */
void kd_reply_put(kd_text *out, const kd_reply *reply, const kd_answer *answer);
/* One event of a stream: a piece of a choice's text; finish NULL: more will come. */
void kd_reply_put_piece(kd_text *out, const kd_reply *reply, int64_t index, const char *text, int64_t size, const char *finish);
/* Its last, with the tokens of all, and the mark that ends it. */
void kd_reply_put_end(kd_text *out, const kd_reply *reply, int64_t answer_tokens);
/* {"error": {...}} with the message. */
void kd_reply_put_error(kd_text *out, unsigned code, const char *message);

/* "stop" or "length". */
const char *kd_reply_finish(kd_finish finish);

#endif
