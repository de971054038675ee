#include "ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

typedef struct asker asker;

typedef struct slot {
    kd_ticket ticket;
    kd_ids ids;
    asker *asker;
    int64_t index;
    bool busy;
} slot;

struct asker {
    const kd_asking *asking;
    kd_engine *engine;
    slot *slot;               /* [slots] */
    int64_t slots, next, heard, asked, tokens;
    kd_status status;         /* the first failure */
    char message[512];
    kd_progress progress;
    double started;
};

static void fail(asker *a, kd_status status) {
    if (a->status) return;
    a->status = status;
    snprintf(a->message, sizeof a->message, "%s", kd_message());
}

static void show(asker *a) {
    char note[64] = "";
    double seconds = kd_now() - a->started;
    if (a->asked && seconds > 0.5) snprintf(note, sizeof note, "%.3g tokens/s", (double)a->tokens / seconds);
    kd_progress_set(&a->progress, a->heard, note);
}

static void done(kd_ticket *ticket, kd_answer *answer) {
    slot *s = ticket->opaque;
    asker *a = s->asker;
    s->busy = false;
    if (answer->status && !a->status) {
        kd_message_set(answer->message ? answer->message : "out of memory");
        fail(a, kd_fail_prefix(answer->status, "%s", a->asking->name(a->asking->opaque, s->index)));
    } else if (!a->status) {
        kd_status status = a->asking->hear(a->asking->opaque, s->index, &ticket->question, answer);
        if (status) fail(a, status);
    }
    a->heard++;
    a->asked++;
    a->tokens += ticket->question.count + answer->ids.count;
    kd_answer_free(answer);
    show(a);
}

/* The next question that must be asked goes into a slot. */
static kd_status fill(asker *a, slot *s) {
    const kd_asking *g = a->asking;
    while (a->next < g->count && !s->busy) {
        s->index = a->next++;
        s->ids.count = 0;
        s->ticket = (kd_ticket){.done = done, .opaque = s};
        KD_TRY(g->ask(&s->ticket.question, &s->ids, g->opaque, s->index));
        if (!s->ids.count) {
            a->heard++;
            continue;
        }
        s->ticket.question.token = s->ids.id;
        s->ticket.question.count = s->ids.count;
        kd_status status = kd_engine_submit(a->engine, &s->ticket);
        if (status) return kd_fail_prefix(status, "%s", g->name(g->opaque, s->index));
        s->busy = true;
    }
    return KD_OK;
}

static kd_status run(asker *a) {
    for (;;) {
        bool any = false, idle;
        for (int64_t i = 0; i < a->slots; i++) {
            KD_TRY(fill(a, &a->slot[i]));
            any |= a->slot[i].busy;
        }
        show(a);
        if (!any) return KD_OK;
        KD_TRY(kd_engine_step(a->engine, &idle));
        if (a->status) return a->status;
    }
}

kd_status kd_ask(kd_engine *engine, const kd_asking *asking, int64_t at_once) {
    asker a = {.asking = asking, .engine = engine, .slots = at_once < 1 ? 1 : at_once, .started = kd_now()};
    KD_TRY(kd_new(&a.slot, a.slots, sizeof *a.slot));
    for (int64_t i = 0; i < a.slots; i++) a.slot[i].asker = &a;
    kd_progress_open(&a.progress, asking->count);
    kd_status status = run(&a);
    if (status) fail(&a, status);
    for (int64_t i = 0; i < a.slots; i++) {
        if (a.slot[i].busy) kd_engine_cancel(engine, &a.slot[i].ticket);
        free(a.slot[i].ids.id);
    }
    kd_progress_close(&a.progress);
    free(a.slot);
    if (a.status) kd_message_set(a.message);
    return a.status;
}
