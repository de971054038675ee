#include "subject_options.h"

#include <string.h>

static kd_status read_switch(kd_switch *out, const char *command, const char *option, const char *text) {
    for (kd_switch c = KD_AUTO; c <= KD_OFF; c++)
        if (!strcmp(text, kd_switch_name(c))) {
            *out = c;
            return KD_OK;
        }
    return kd_fail(KD_ECONFIG, "%s: %s %s: it is auto, on or off", command, option, text);
}

kd_status kd_subject_options_read(kd_subject_options *out, const kd_subject_words *words, const char *command) {
    *out = (kd_subject_options){.model = words->model, .tokenizer = words->tokenizer, .length = words->length, .sequences = words->batch,
                                .bf16_cache = !strcmp(words->cache, "bf16"), .threads = words->threads};
    if (!words->model) return kd_fail(KD_ECONFIG, "%s: which model? --model DIR", command);
    KD_TRY(read_switch(&out->anchor, command, "--anchor", words->anchor));
    KD_TRY(read_switch(&out->bos, command, "--bos", words->bos));
    if (strcmp(words->cache, "f32") && strcmp(words->cache, "bf16"))
        return kd_fail(KD_ECONFIG, "%s: --cache %s: it is f32 or bf16", command, words->cache);
    const struct { const char *name; int64_t value; } number[] = {{"length", words->length}, {"batch", words->batch}, {"threads", words->threads}};
    for (int i = 0; i < 3; i++)
        if (number[i].value < 0) return kd_fail(KD_ECONFIG, "%s: --%s %lld: 0 or more", command, number[i].name, (long long)number[i].value);
    return KD_OK;
}
