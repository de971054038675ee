/* config.json: what is taken has a layout or is too large, and prints as what is taken as the same. */
#include "fuzz.h"
#include "model/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_config config, again;
    kd_layout layout;
    kd_log_level(KD_QUIET);  /* unknown keys */
    kd_status status = kd_config_parse(&config, (const char *)data, (int64_t)size, "config.json");
    if (status) {
        FUZZ_ASSERT((status == KD_EFORMAT || status == KD_ENOTSUP) && !config.json && !config.text);
        fuzz_refused("config.json");
        return 0;
    }
    if (!kd_layout_init(&layout, &config)) FUZZ_ASSERT(layout.count > 0 && layout.tensors > 0);
    double inv_freq[128];
    kd_rope_frequencies(inv_freq, &config.rope, config.E, 65536);
    char *text;
    int64_t bytes;
    FUZZ_ASSERT(!kd_config_print(&text, &bytes, &config, "bfloat16"));
    FUZZ_ASSERT(!kd_config_parse(&again, text, bytes, "again"));
    FUZZ_ASSERT(config.V == again.V && config.C == again.C && config.L == again.L && config.E == again.E);
    free(text);
    kd_config_close(&config);
    kd_config_close(&again);
    return 0;
}
