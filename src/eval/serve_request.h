/* What a client asks for, read from the body of its request: a function of the bytes alone. */
#ifndef KD_SERVE_REQUEST_H
#define KD_SERVE_REQUEST_H

#include "engine.h"

/* Whose words the body has. */
typedef enum kd_form {
    KD_FORM_COMPLETIONS,  /* OpenAI's completions, as lm-evaluation-harness asks for them: "prompt" */
    KD_FORM_VLLM,         /* of PUT /generate: "prompt" */
    KD_FORM_TRTLLM,       /* "prompts" */
    KD_FORM_SGLANG,       /* "text" */
} kd_form;

/* One prompt: a text, or ids. */
typedef struct kd_prompt { char *text; int64_t size; kd_ids ids; } kd_prompt;

typedef struct kd_request {
    kd_form form;
    bool many;                /* prompts came as a list */
    kd_prompt *prompt;
    int64_t prompts;
    int64_t most;             /* tokens to generate; 0: none */
    int64_t logprobs;         /* likeliest tokens beside each; -1: none are asked for, nor likelihoods */
    bool echo, stream, usage; /* usage: a stream ends with it */
    bool plain;               /* nothing leads a text */
    bool seeded, greedy;      /* greedy: "do_sample" is false */
    kd_sampling sampling;     /* seed: where it is seeded */
    char **stop;
    int64_t stops;
    kd_ids stop_token;
    bool past_eos;
    int64_t least;
} kd_request;

enum { KD_REQUEST_PROMPTS = 1024, KD_REQUEST_STOPS = 1024 };

/* Completions, or one of the forms of PUT /generate. KD_EARG naming the field, KD_EFORMAT naming the place of what is no JSON; KD_ENOMEM.
 * A field that is not known is refused, and so is one that asks for what kedge does not do; null is as if it were absent. Free with
 * kd_request_free; there is nothing to free after a failure. */
kd_status kd_request_parse(kd_request *request, bool generate, const char *body, int64_t size);
void kd_request_free(kd_request *request);

/* {"prompt": text, "add_special_tokens": bool}: the text on the heap, whether something leads it (true unless said). */
kd_status kd_request_tokenize(char **text, int64_t *text_size, bool *lead, const char *body, int64_t size);
/* {"tokens": [ids]}; free ids->id. */
kd_status kd_request_detokenize(kd_ids *ids, const char *body, int64_t size);

#endif
