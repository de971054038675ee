/* What the attention tests share: windows whose data follow their tokens, runs of one variant on poisoned memory, and a
 * dense-mask oracle in double that knows neither plans nor rotary tables nor the anchor's special place. */
#ifndef ATTN_ORACLE_H
#define ATTN_ORACLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the three above. */
#include <cmocka.h>

#include "attn/attn.h"

enum { ORACLE_BOS = 1, ORACLE_DOCUMENTS = 128 };

/* A window: documents of so many tokens of text each. */
typedef struct window {
    kd_mask mask;
    bool reset, own_bos;      /* own_bos: a BOS leads each document */
    int64_t cuts;             /* chunks of each document, dealt out in turn; 0: whole documents one after another */
    int64_t N, length[ORACLE_DOCUMENTS];
    int32_t first_token[ORACLE_DOCUMENTS];  /* 0: ids of its own; text is first_token, first_token + 1, ... */
} window;

void window_plan(kd_plan *plan, const window *w);

enum part { PART_O, PART_LSE, PART_DQ, PART_DK, PART_DV, PARTS };
extern const char *const part_name[PARTS];

/* Everything attention computes, one array after another: o, lse, dq, dk, dv, contiguous. */
typedef struct results {
    int64_t from[PARTS + 1];
    float *f;
    double *d;
} results;

/* A problem: float32 data in strided views, the same numbers in double, and room for results. */
typedef struct problem {
    kd_ctx *ctx;
    kd_plan plan;
    kd_rope rope;
    kd_attn a;
    int64_t gap;              /* floats between the tokens of a view, which must stay as they are */
    double *q, *k, *v, *dout; /* contiguous */
    results out;
} problem;

/* Values depend on the token's id, the head and the element only: equal tokens have equal rows. first_key scales
 * the BOS's key. Fails the test if memory is short. */
void problem_init(problem *x, kd_ctx *ctx, const window *w, int64_t H, int64_t G, int64_t E, kd_frame frame,
                  double first_key);
void problem_free(problem *x);

/* The same problem at another precision, with its own rotary table for so many positions. */
void problem_set_precision(problem *x, kd_precision precision, int64_t positions);

/* Adds to the position of the shared anchor, if there is one, and to those of all other tokens. The rotary table stays. */
void problem_move(problem *x, int32_t anchor, int32_t documents);

/* Whether that variant computes this problem, forward and backward. */
bool problem_is_served(const problem *x, int64_t variant);

/* Forward and backward by one variant; outputs and workspace begin as NaN. Results in x->out.f. */
void problem_run(problem *x, int64_t variant);

/* The same by the definition in double, into x->out.d. */
void problem_define(problem *x);

/* Variants that this machine can run, counted from the end of the list: the first index to use. */
int64_t first_variant(void);

/* The largest and the root mean square error of a part of x->out.f against x->out.d, and its largest value. */
typedef struct error { double most, rms, size; } error;
error part_error(const problem *x, enum part part);

/* Attention by a dense mask over tokens in any order: i sees j iff seen[i*T + j]. Contiguous arrays, scale 1/sqrt(E). */
typedef struct dense_attention {
    int64_t T, H, G, E;
    const bool *seen;
    const int32_t *position;
    const double *inv_freq;
    const double *q, *k, *v, *dout;
    double *o, *lse, *dq, *dk, *dv;
} dense_attention;
void dense_run(const dense_attention *x);

/* seen [T*T] by the rule of sight; free it. */
bool *plan_sight(const kd_plan *plan);

void *oracle_new(int64_t count, int64_t size);

#endif
