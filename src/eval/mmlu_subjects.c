/* MMLU's subjects, in the groups that its authors put them in. */
#include <string.h>

#include "mmlu.h"

const char *const kd_mmlu_group_names[KD_MMLU_GROUPS] = {"stem", "other", "social_sciences", "humanities"};

const kd_mmlu_subject kd_mmlu_subjects[KD_MMLU_SUBJECTS] = {
    {"abstract_algebra", KD_MMLU_STEM},
    {"anatomy", KD_MMLU_STEM},
    {"astronomy", KD_MMLU_STEM},
    {"business_ethics", KD_MMLU_OTHER},
    {"clinical_knowledge", KD_MMLU_OTHER},
    {"college_biology", KD_MMLU_STEM},
    {"college_chemistry", KD_MMLU_STEM},
    {"college_computer_science", KD_MMLU_STEM},
    {"college_mathematics", KD_MMLU_STEM},
    {"college_medicine", KD_MMLU_OTHER},
    {"college_physics", KD_MMLU_STEM},
    {"computer_security", KD_MMLU_STEM},
    {"conceptual_physics", KD_MMLU_STEM},
    {"econometrics", KD_MMLU_SOCIAL},
    {"electrical_engineering", KD_MMLU_STEM},
    {"elementary_mathematics", KD_MMLU_STEM},
    {"formal_logic", KD_MMLU_HUMANITIES},
    {"global_facts", KD_MMLU_OTHER},
    {"high_school_biology", KD_MMLU_STEM},
    {"high_school_chemistry", KD_MMLU_STEM},
    {"high_school_computer_science", KD_MMLU_STEM},
    {"high_school_european_history", KD_MMLU_HUMANITIES},
    {"high_school_geography", KD_MMLU_SOCIAL},
    {"high_school_government_and_politics", KD_MMLU_SOCIAL},
    {"high_school_macroeconomics", KD_MMLU_SOCIAL},
    {"high_school_mathematics", KD_MMLU_STEM},
    {"high_school_microeconomics", KD_MMLU_SOCIAL},
    {"high_school_physics", KD_MMLU_STEM},
    {"high_school_psychology", KD_MMLU_SOCIAL},
    {"high_school_statistics", KD_MMLU_STEM},
    {"high_school_us_history", KD_MMLU_HUMANITIES},
    {"high_school_world_history", KD_MMLU_HUMANITIES},
    {"human_aging", KD_MMLU_OTHER},
    {"human_sexuality", KD_MMLU_SOCIAL},
    {"international_law", KD_MMLU_HUMANITIES},
    {"jurisprudence", KD_MMLU_HUMANITIES},
    {"logical_fallacies", KD_MMLU_HUMANITIES},
    {"machine_learning", KD_MMLU_STEM},
    {"management", KD_MMLU_OTHER},
    {"marketing", KD_MMLU_OTHER},
    {"medical_genetics", KD_MMLU_OTHER},
    {"miscellaneous", KD_MMLU_OTHER},
    {"moral_disputes", KD_MMLU_HUMANITIES},
    {"moral_scenarios", KD_MMLU_HUMANITIES},
    {"nutrition", KD_MMLU_OTHER},
    {"philosophy", KD_MMLU_HUMANITIES},
    {"prehistory", KD_MMLU_HUMANITIES},
    {"professional_accounting", KD_MMLU_OTHER},
    {"professional_law", KD_MMLU_HUMANITIES},
    {"professional_medicine", KD_MMLU_OTHER},
    {"professional_psychology", KD_MMLU_SOCIAL},
    {"public_relations", KD_MMLU_SOCIAL},
    {"security_studies", KD_MMLU_SOCIAL},
    {"sociology", KD_MMLU_SOCIAL},
    {"us_foreign_policy", KD_MMLU_SOCIAL},
    {"virology", KD_MMLU_OTHER},
    {"world_religions", KD_MMLU_HUMANITIES},
};

int64_t kd_mmlu_find(const char *subject) {
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++)
        if (!strcmp(subject, kd_mmlu_subjects[i].name)) return i;
    return -1;
}

kd_mmlu_scores kd_mmlu_score(const kd_choice_items *items, const double *right) {
    kd_mmlu_scores s = {.macro = 0};
    kd_mean part[KD_MMLU_SUBJECTS];
    double mean[KD_MMLU_SUBJECTS];
    for (int64_t i = 0, end; i < items->count; i = end) {  /* items of a subject stand together */
        int64_t subject = items->item[i].group;
        for (end = i; end < items->count && items->item[end].group == subject; end++) {}
        s.subject[subject] = kd_mean_of(right + i, end - i);
    }
    for (int g = 0; g < KD_MMLU_GROUPS; g++) {
        int64_t parts = 0;
        for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++)
            if (s.subject[i].n && kd_mmlu_subjects[i].group == (kd_mmlu_group)g) part[parts++] = s.subject[i];
        s.group[g] = kd_mean_pooled(part, parts);
    }
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) {
        if (!s.subject[i].n) continue;
        mean[s.subjects] = s.subject[i].mean;
        part[s.subjects++] = s.subject[i];
    }
    s.all = kd_mean_pooled(part, s.subjects);
    s.macro = kd_mean_of(mean, s.subjects).mean;
    return s;
}
