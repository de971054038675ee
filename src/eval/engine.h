/* Questions to a model, answered together: likelihoods of given tokens, and tokens generated one after another.
 *
 * Several sequences are read at once, prompts in pieces between the steps of answers that are under way; what a question has in common
 * with one that was answered before is not read again. An answer does not depend on that, in any bit: only on its question. */
#ifndef KD_ENGINE_H
#define KD_ENGINE_H

#include "format/tokenizer.h"
#include "model/decoder.h"

/* How a token is drawn from what follows: at temperature 0 the likeliest, of equals the lowest id. Otherwise from the logits over
 * temperature, of the top_k likeliest (0: all), of these the fewest whose probabilities sum to top_p or more (1: all). The n-th token is a
 * function of seed, n and the logits. */
typedef struct kd_sampling { double temperature; int64_t top_k; double top_p; uint64_t seed; } kd_sampling;

typedef enum kd_finish { KD_FINISH_LENGTH, KD_FINISH_STOP, KD_FINISH_EOS } kd_finish;  /* as many as were asked for; a stop string or token; EOS */

enum { KD_STOP_TOKENS = 64 };

typedef struct kd_question {
    const int32_t *token;      /* [count] the prompt, count >= 1, with all that leads it; count + most - 1 <= the engine's length */
    int64_t count;
    int64_t scored;            /* likelihoods of its last so many tokens are wanted, each given all before it: at most count - 1 */
    int64_t tops;              /* and so many of the likeliest tokens at each of these places and of generated ones */
    int64_t most;              /* tokens to generate; 0: none */
    kd_sampling sampling;
    const char *const *stop;   /* [stops] the answer's text ends before the first of these strings */
    int64_t stops;
    const int32_t *stop_token; /* [stop_tokens] the answer ends before such a token; at most KD_STOP_TOKENS */
    int64_t stop_tokens;
    bool past_eos;             /* EOS is a token like others */
    int64_t least;             /* EOS and stop_tokens cannot come among the first so many tokens */
    /* Unless NULL: hears each piece of the answer's text as soon as nothing can change it; a failure ends the answer with that status. */
    kd_status (*heard)(void *opaque, const char *text, int64_t size);
    void *opaque;
} kd_question;

typedef struct kd_answer {
    kd_status status;          /* and message, unless KD_OK */
    char *message;
    kd_likelihood *likelihood; /* [scored] */
    kd_likely *top;            /* [scored + ids.count, tops] */
    kd_ids ids;                /* generated; the EOS or stop token that ended them is not among them */
    double *log;               /* [ids.count] ln p of each, from the logits as they are, whatever the temperature */
    char *text;                /* what they say, special tokens left out, up to a stop string; NULL where most is 0 */
    int64_t text_size;
    kd_finish finish;
    int64_t reused;            /* tokens of the prompt that were not read again */
} kd_answer;
void kd_answer_free(kd_answer *answer);

typedef struct kd_engine kd_engine;

/* Decoder, config and tokenizer are borrowed; the tokenizer may be NULL where nobody generates text. EOS is the tokenizer's and the config's;
 * of ids that are no token of the tokenizer none is generated. */
kd_status kd_engine_open(kd_engine **out, kd_decoder *decoder, const kd_config *config, const kd_decoder_options *options,
                         const kd_tokenizer *tokenizer);
void kd_engine_close(kd_engine *engine);     /* questions under way are ended with KD_EAGAIN */

/* All of them, as many at once as there are sequences, in any order; answer [count]. A failure of one question is in its answer; the
 * call fails for the engine's own reasons. */
kd_status kd_engine_answer(kd_engine *engine, const kd_question *question, kd_answer *answer, int64_t count);

/* Piece by piece, for a server; one thread. The question, and what it points to, lives until done is called, which gets the answer to
 * keep. */
typedef struct kd_ticket { kd_question question; void (*done)(struct kd_ticket *ticket, kd_answer *answer); void *opaque; } kd_ticket;
kd_status kd_engine_submit(kd_engine *engine, kd_ticket *ticket);      /* KD_EARG for a question that cannot be asked */
void kd_engine_cancel(kd_engine *engine, kd_ticket *ticket);           /* done is called, with KD_EAGAIN */
kd_status kd_engine_step(kd_engine *engine, bool *idle);               /* one block of tokens; idle: there is nothing to do */

#endif
