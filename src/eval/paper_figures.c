/* What the paper's tables 5, 6 and 7 have. Of table 12 its columns alone are laid out. */
#include <string.h>

#include "paper_tables.h"

const char *const kd_paper_layout_names[KD_PAPER_LAYOUTS] = {"table5", "table6", "table7", "table12"};

const char *const kd_paper_method_names[KD_PAPER_METHODS] = {"untrained", "full attention", "intra-doc", "intra-doc + reset",
                                                             "intra-doc + interleaved", "anchor", "anchor + tag", "anchor + interleaved"};

static const kd_paper_shape llama2 = {"Llama-2-7B", 4096, 32, 32, 32, 11008, 32000};
static const kd_paper_shape llama3 = {"Llama-3-8B", 4096, 32, 32, 8, 14336, 128256};
static const kd_paper_shape mistral = {"Mistral-7B-v0.3", 4096, 32, 32, 8, 14336, 32768};
static const kd_paper_shape qwen = {"Qwen1.5-1.8B", 2048, 24, 16, 16, 5504, 151936};

/* Tables 5 and 6: 128K, 64K, 32K, 16K, 8K, 4K. Table 7: LongBench ICL, HellaSwag, MMLU. */
const kd_paper_set kd_paper_sets[] = {
    {KD_PAPER_TABLE5, "slimpajama-64k", "Llama-2-7B, SlimPajama, windows of 64K", &llama2, 65536,
     {[KD_PAPER_FULL] = {0, 66.40, 71.78, 77.63, 83.86, 89.84},
      [KD_PAPER_INTRA] = {0, 69.97, 74.70, 79.15, 83.50, 89.62},
      [KD_PAPER_INTRA_RESET] = {0, 70.03, 74.18, 80.27, 84.51, 89.52},
      [KD_PAPER_INTRA_INTERLEAVED] = {0, 60.59, 66.52, 71.70, 79.70, 84.71},
      [KD_PAPER_ANCHOR] = {0, 73.25, 75.97, 82.91, 85.48, 90.69},
      [KD_PAPER_ANCHOR_TAG] = {0, 73.88, 74.21, 82.46, 85.13, 89.93},
      [KD_PAPER_ANCHOR_INTERLEAVED] = {0, 66.77, 69.73, 77.81, 85.35, 89.31}}},
    {KD_PAPER_TABLE5, "slimpajama-128k", "Llama-2-7B, SlimPajama, windows of 128K", &llama2, 131072,
     {[KD_PAPER_FULL] = {62.75, 70.56, 71.38, 81.65, 83.61, 88.85},
      [KD_PAPER_INTRA] = {64.31, 70.87, 72.07, 82.60, 84.11, 88.98},
      [KD_PAPER_INTRA_RESET] = {65.75, 73.34, 73.30, 82.82, 84.43, 90.01},
      [KD_PAPER_INTRA_INTERLEAVED] = {53.74, 61.08, 65.51, 75.25, 80.59, 82.71},
      [KD_PAPER_ANCHOR] = {66.15, 77.69, 74.28, 83.67, 86.41, 90.60},
      [KD_PAPER_ANCHOR_TAG] = {65.46, 74.67, 75.77, 83.07, 84.07, 89.09}}},
    {KD_PAPER_TABLE5, "upsampledmix-128k", "Llama-2-7B, UpSampledMix, windows of 128K", &llama2, 131072,
     {[KD_PAPER_FULL] = {63.70, 71.45, 72.69, 82.57, 84.55, 90.08},
      [KD_PAPER_INTRA] = {63.96, 74.52, 76.53, 82.46, 86.61, 90.35},
      [KD_PAPER_INTRA_RESET] = {64.10, 74.55, 77.73, 82.82, 87.16, 89.98},
      [KD_PAPER_ANCHOR] = {65.24, 76.11, 79.51, 86.54, 87.43, 90.44},
      [KD_PAPER_ANCHOR_TAG] = {66.85, 73.52, 77.18, 81.62, 84.90, 89.01}}},
    {KD_PAPER_TABLE6, "llama-3-8b", "Llama-3-8B", &llama3, 0,
     {[KD_PAPER_FULL] = {34.02, 61.80, 72.09, 79.99, 82.43, 83.68},
      [KD_PAPER_ANCHOR] = {51.49, 70.99, 83.06, 86.90, 88.09, 88.72},
      [KD_PAPER_ANCHOR_TAG] = {49.67, 70.37, 84.14, 87.13, 88.36, 88.97}}},
    {KD_PAPER_TABLE6, "mistral-7b-v0.3", "Mistral-7B-v0.3", &mistral, 0,
     {[KD_PAPER_FULL] = {45.64, 49.05, 54.49, 64.06, 69.99, 72.80},
      [KD_PAPER_ANCHOR] = {47.46, 61.26, 68.53, 73.47, 76.06, 78.94},
      [KD_PAPER_ANCHOR_TAG] = {49.61, 56.80, 64.13, 69.47, 74.65, 77.34}}},
    {KD_PAPER_TABLE6, "qwen1.5-1.8b", "Qwen1.5-1.8B", &qwen, 0,
     {[KD_PAPER_FULL] = {33.56, 41.77, 47.01, 56.15, 61.33, 67.26},
      [KD_PAPER_ANCHOR] = {34.32, 44.31, 48.63, 56.90, 62.62, 68.61},
      [KD_PAPER_ANCHOR_TAG] = {35.84, 43.91, 50.70, 57.39, 61.96, 67.41}}},
    {KD_PAPER_TABLE7, "slimpajama-64k", "Llama-2-7B, SlimPajama, windows of 64K", &llama2, 65536,
     {[KD_PAPER_UNTRAINED] = {6.22, 71.39, 46.66},
      [KD_PAPER_FULL] = {62.51, 68.50, 33.93},
      [KD_PAPER_INTRA] = {62.79, 71.01, 36.94},
      [KD_PAPER_INTRA_RESET] = {63.76, 70.12, 37.92},
      [KD_PAPER_ANCHOR] = {65.38, 70.78, 40.32},
      [KD_PAPER_ANCHOR_TAG] = {66.02, 69.10, 40.67}}},
    {KD_PAPER_TABLE7, "slimpajama-128k", "Llama-2-7B, SlimPajama, windows of 128K", &llama2, 131072,
     {[KD_PAPER_UNTRAINED] = {6.22, 71.39, 46.66},
      [KD_PAPER_FULL] = {50.72, 69.46, 37.93},
      [KD_PAPER_INTRA] = {51.22, 69.93, 39.49},
      [KD_PAPER_INTRA_RESET] = {50.07, 69.88, 37.42},
      [KD_PAPER_ANCHOR] = {51.85, 70.51, 41.63},
      [KD_PAPER_ANCHOR_TAG] = {51.89, 70.37, 42.85}}},
    {KD_PAPER_TABLE7, "upsampledmix-128k", "Llama-2-7B, UpSampledMix, windows of 128K", &llama2, 131072,
     {[KD_PAPER_UNTRAINED] = {6.22, 71.39, 46.66},
      [KD_PAPER_FULL] = {48.96, 67.64, 40.58},
      [KD_PAPER_INTRA] = {49.51, 70.86, 41.27},
      [KD_PAPER_INTRA_RESET] = {50.18, 70.97, 40.79},
      [KD_PAPER_ANCHOR] = {50.17, 70.11, 41.15},
      [KD_PAPER_ANCHOR_TAG] = {50.70, 68.97, 42.03}}},
};
const int64_t kd_paper_set_count = sizeof kd_paper_sets / sizeof *kd_paper_sets;

kd_status kd_paper_find(const kd_paper_set **set, kd_paper_layout layout, const char *name) {
    kd_text known = {0};
    for (int64_t i = 0; i < kd_paper_set_count; i++) {
        *set = &kd_paper_sets[i];
        if ((*set)->layout != layout) continue;
        if (!strcmp((*set)->name, name)) {
            kd_text_free(&known);
            return KD_OK;
        }
        kd_text_print(&known, "%s%s", known.size ? ", " : "", (*set)->name);
    }
    kd_status status = kd_fail(KD_ECONFIG, "compare: --paper %s: of %s there is %s", name, kd_paper_layout_names[layout],
                               known.data ? known.data : "nothing");
    kd_text_free(&known);
    *set = NULL;
    return status;
}
