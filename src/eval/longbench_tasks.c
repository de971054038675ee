/* LongBench's data sets. Few-shot sets have their examples in the context. */
#include <math.h>
#include <string.h>

#include "format/yaml.h"
#include "longbench.h"

const struct kd_longbench_group_name kd_longbench_groups[KD_LB_GROUPS] = {
    {"single_doc_qa", "single-document QA"}, {"multi_doc_qa", "multi-document QA"}, {"summarization", "summarization"},
    {"few_shot", "few-shot (ICL)"}, {"synthetic", "synthetic"}, {"code", "code completion"}};

const char *const kd_longbench_buckets[KD_LB_BUCKETS] = {"0-4k", "4-8k", "8k+"};

const char *const kd_longbench_metrics[] = {"F1", "ROUGE-L", "classification", "count", "retrieval", "retrieval", "edit similarity",
                                            "Chinese words"};

#define QA "Read the text, then answer the question about it in as few words as you can.\n\n{context}\n\nQuestion: {input}\nAnswer:"
#define SEVERAL "Read the passages, then answer the question from them in as few words as you can.\n\n{context}\n\nQuestion: {input}\n" \
                "Answer:"

const kd_longbench_task kd_longbench_tasks[KD_LB_TASKS] = {
    {"narrativeqa", KD_LB_SINGLE_DOC, KD_LB_F1, 128, false, false, false, QA},
    {"qasper", KD_LB_SINGLE_DOC, KD_LB_F1, 128, false, false, true,
     "Read the article, then answer the question about it in as few words as you can. A question may be answered by yes or no, or by "
     "\"unanswerable\" where the article does not say.\n\n{context}\n\nQuestion: {input}\nAnswer:"},
    {"multifieldqa_en", KD_LB_SINGLE_DOC, KD_LB_F1, 64, false, false, true, QA},
    {"multifieldqa_zh", KD_LB_SINGLE_DOC, KD_LB_JIEBA, 64, true, false, false, QA},
    {"hotpotqa", KD_LB_MULTI_DOC, KD_LB_F1, 32, false, false, true, SEVERAL},
    {"2wikimqa", KD_LB_MULTI_DOC, KD_LB_F1, 32, false, false, true, SEVERAL},
    {"musique", KD_LB_MULTI_DOC, KD_LB_F1, 32, false, false, false, SEVERAL},
    {"dureader", KD_LB_MULTI_DOC, KD_LB_JIEBA, 128, true, false, false, SEVERAL},
    {"gov_report", KD_LB_SUMMARIZATION, KD_LB_ROUGE_L, 512, false, false, true,
     "Report:\n{context}\n\nThe report in one page:"},
    {"qmsum", KD_LB_SUMMARIZATION, KD_LB_ROUGE_L, 512, false, false, false,
     "Transcript of a meeting:\n{context}\n\nRequest: {input}\nReply, in a few sentences:"},
    {"multi_news", KD_LB_SUMMARIZATION, KD_LB_ROUGE_L, 512, false, false, true,
     "News:\n{context}\n\nAll of the news in one page:"},
    {"vcsum", KD_LB_SUMMARIZATION, KD_LB_JIEBA, 512, true, false, false, "Transcript of a meeting:\n{context}\n\nThe meeting in one page:"},
    {"trec", KD_LB_FEW_SHOT, KD_LB_CLASSIFICATION, 64, false, true, true, "Questions and what type they are of.\n\n{context}\n{input}"},
    {"triviaqa", KD_LB_FEW_SHOT, KD_LB_F1, 32, false, true, true,
     "Passages, each with a question about it and the answer alone.\n\n{context}\n\n{input}"},
    {"samsum", KD_LB_FEW_SHOT, KD_LB_ROUGE_L, 128, false, true, true, "Dialogues and their summaries.\n\n{context}\n\n{input}"},
    {"lsht", KD_LB_FEW_SHOT, KD_LB_CLASSIFICATION, 64, true, true, false, "{context}\n{input}"},
    {"passage_count", KD_LB_SYNTHETIC, KD_LB_COUNT, 32, false, false, true,
     "Paragraphs follow, of which some stand there more than once. Count those that differ.\n\n{context}\n\nHow many different paragraphs "
     "are there? The number alone:"},
    {"passage_retrieval_en", KD_LB_SYNTHETIC, KD_LB_RETRIEVAL, 32, false, false, true,
     "Numbered paragraphs follow, and an abstract of one of them.\n\n{context}\n\nAbstract: {input}\n\nWhich paragraph is it of? Answer in "
     "the form \"Paragraph 7\".\nAnswer:"},
    {"passage_retrieval_zh", KD_LB_SYNTHETIC, KD_LB_RETRIEVAL_ZH, 32, true, false, false,
     "Numbered paragraphs follow, and an abstract of one of them.\n\n{context}\n\nAbstract: {input}\n\nWhich paragraph is it of? Answer in "
     "the form \"\u6bb5\u843d7\".\nAnswer:"},
    {"lcc", KD_LB_CODE, KD_LB_CODE_SIM, 64, false, false, true, "{context}"},
    {"repobench-p", KD_LB_CODE, KD_LB_CODE_SIM, 64, false, false, true, "{context}{input}"},
};

kd_status kd_longbench_find(const kd_longbench_task **task, const char *name) {
    const char *known[KD_LB_TASKS];
    for (int i = 0; i < KD_LB_TASKS; i++) {
        *task = &kd_longbench_tasks[i];
        known[i] = (*task)->name;
        if (strcmp(name, known[i])) continue;
        if ((*task)->metric != KD_LB_JIEBA) return KD_OK;
        return kd_fail(KD_ENOTSUP, "%s: its scores need Chinese words told apart by jieba's dictionary, which is not here", name);
    }
    const char *near = kd_nearest(name, known, KD_LB_TASKS);
    return kd_fail(KD_ECONFIG, "%s is no data set of LongBench%s%s%s", name, near ? ", did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

void kd_longbench_average(double group[KD_LB_GROUPS], double *average, const double *score) {
    *average = 0;
    for (int g = 0; g < KD_LB_GROUPS; g++) {
        int64_t count = 0;
        group[g] = 0;
        for (int i = 0; i < KD_LB_TASKS; i++) {
            if (kd_longbench_tasks[i].group != (kd_longbench_group)g || kd_longbench_tasks[i].chinese) continue;
            group[g] += score[i];  /* NAN stays */
            count++;
        }
        group[g] /= (double)count;
        *average += group[g] / KD_LB_GROUPS;
    }
}
