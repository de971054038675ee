/* kedge eval ruler: what is asked for, and the parts of asking it. */
#ifndef KD_EVAL_RULER_H
#define KD_EVAL_RULER_H

#include "ruler_tell.h"

typedef struct kd_ruler_asked {
    kd_eval_words words;
    const char *checkpoints, *length_words, *task_words, *data, *write, *essays, *squad, *hotpot, *templates, *chat, *preset;
    int64_t samples, seed, last;
    /* read from these: */
    int64_t length[KD_RULER_LENGTHS], lengths, place[KD_RULER_TASKS], tasks;
    bool all;                       /* the tasks that there are */
    char *essay;                    /* the text of --essays */
    int64_t essay_size;
} kd_ruler_asked;

/* What a tokenizer makes of it: a grid, and what it is made of. */
typedef struct kd_ruler_opened { kd_ruler_source source; kd_ruler_grid grid; } kd_ruler_opened;
kd_status kd_ruler_opened_open(kd_ruler_opened *opened, const kd_ruler_asked *asked, const kd_tokenizer *tokenizer);
void kd_ruler_opened_close(kd_ruler_opened *opened);

/* How many questions, seed, wording, hashes of all files: what makes two evaluations the same; NULL when memory is out. */
json_t *kd_ruler_settings(const kd_ruler_asked *asked, const kd_ruler_opened *opened);

/* A model asked everything, its answers in a folder (NULL: nowhere); predictions are written there. opened and results are the caller's
 * to close, in any case. */
typedef struct kd_ruler_session {
    kd_subject subject;
    kd_ruler_opened opened;
    kd_results *results;
    json_t *settings;
    double seconds;
} kd_ruler_session;
kd_status kd_ruler_session_run(kd_ruler_session *session, const kd_ruler_asked *asked, const kd_subject_options *options,
                               const char *folder);
void kd_ruler_session_close(kd_ruler_session *session);
/* Its tables, its page: written, and told on stdout unless it is one of many. */
kd_status kd_ruler_session_tell(kd_ruler_session *session, const kd_ruler_asked *asked, const kd_ruler_scores *scores, bool one_of_many);

/* Each checkpoint asked, in OUT/step-N, and their average told; perplexity is of the run's metrics. */
kd_status kd_ruler_checkpoints(const kd_ruler_asked *asked, const kd_subject_options *options, kd_run_step *step, int64_t count);

#endif
