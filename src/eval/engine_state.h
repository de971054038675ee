/* What is behind kd_engine: questions under way, and what sequences hold. For the engine's own files. */
#ifndef KD_ENGINE_STATE_H
#define KD_ENGINE_STATE_H

#include "answer_text.h"
#include "engine.h"
#include "sampler.h"

/* The likelihood of a token that a sequence holds, and the likeliest there, while they are known: who asks again need not wait. */
typedef struct kd_score { kd_likelihood likelihood; kd_likely top; uint8_t known; } kd_score;
enum { KD_SCORE_LIKELIHOOD = 1, KD_SCORE_TOP = 2 };

/* A question under way. */
typedef struct kd_job {
    kd_ticket *ticket;
    const kd_question *question;
    kd_answer answer;
    kd_answer_text words;
    int64_t told;               /* bytes of its text that were heard */
    int64_t top_room;           /* of answer.top */
    struct kd_job *next;        /* of those that wait, in the order in which they came */
    struct kd_slot *behind;     /* waits until this slot holds `until` tokens or has another job */
    const struct kd_job *before;
    int64_t until;
    int64_t turn;               /* the order in which they came to a slot */
} kd_job;

/* A sequence of the decoder. */
typedef struct kd_slot {
    int64_t sequence;
    int32_t *token;             /* [known] what it holds, and of a prompt that it reads what it will */
    kd_score *score;            /* [known] of each of them but the first, given those before it */
    int64_t token_room, score_room;
    int64_t held, known, scores;  /* scores: nothing is known from there on */
    kd_job *job;
    int64_t used;               /* when it last had one */
} kd_slot;

struct kd_engine {
    kd_decoder *decoder;
    const kd_config *config;
    const kd_tokenizer *tokenizer;
    kd_decoder_options options;
    int64_t ids;                /* that may be generated: those below */
    int32_t eos[2];
    int64_t eoses;
    kd_slot *slot;              /* [options.sequences] */
    kd_job *first, **last;      /* those that wait */
    kd_sampler sampler;
    kd_feed *feed;              /* [options.sequences] */
    kd_slot **fed;              /* [options.sequences] whose they are */
    int32_t *target;            /* [KD_BLOCK] */
    kd_likelihood *likelihood;  /* [KD_BLOCK] */
    kd_likely *top;             /* [KD_BLOCK, KD_TOPS] */
    float *logits;              /* [options.sequences, V] */
    int64_t turns;
};

/* Tokens of a prompt that are read: the last is not, where nothing is generated. */
int64_t kd_job_reads(const kd_job *job);

/* Takes the waiting job at *at out of the queue. */
void kd_engine_unqueue(kd_engine *engine, kd_job **at);

/* Gives waiting jobs to slots that are free (engine_place.c). */
kd_status kd_engine_place(kd_engine *engine);

/* What slots with jobs read next, KD_BLOCK tokens in all: engine->feed, and whose they are in engine->fed. Then what came of it: jobs that
 * are done have their slot no more (engine_read.c). */
int64_t kd_engine_feed(kd_engine *engine);
kd_status kd_engine_take(kd_engine *engine, const kd_feed *feed, kd_slot *slot);

/* The answer is the ticket's from here on; its status is that of the call whose failure ended it. */
void kd_engine_finish(kd_engine *engine, kd_job *job, kd_status status);

#endif
