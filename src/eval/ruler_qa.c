/* Question answering: the documents that a question is about among others. */
#include "python_random.h"
#include "ruler_draft.h"

kd_status kd_ruler_write_qa(kd_ruler_draft *d, const kd_ruler_job *job, int64_t size) {
    const kd_ruler_source *source = job->maker->source;
    const kd_ruler_questions *all = &source->questions[job->maker->task->second];
    const kd_ruler_question *q = &all->question[job->line];
    kd_python_random r;
    KD_TRY(kd_grow(&d->place, &d->place_room, size, sizeof *d->place));
    kd_ruler_question_documents(d->place, all, job->line, size, source->options.seed);
    kd_python_seed(&r, source->options.seed);
    kd_python_shuffle(&r, d->place, size, sizeof *d->place);
    for (int64_t i = 0; i < size; i++) {
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)i + 1);
        const kd_field field[] = {{"i", number, -1}, {"document", all->document[d->place[i]], -1}};
        if (i) kd_text_put(&d->context, "\n\n");
        KD_TRY(kd_ruler_fill(&d->context, source->wording.text[KD_RULER_TEXT_DOCUMENT], field, 2));
    }
    kd_text_put(&d->query, q->query);
    for (int64_t i = 0; i < q->answers; i++) kd_ruler_output(d, q->answer[i]);
    return KD_OK;
}
