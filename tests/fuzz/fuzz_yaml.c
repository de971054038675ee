/* Run files: through YAML and the schema. A run file that is taken prints as one that is taken and prints the same. */
#include "fuzz.h"
#include "train/run_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_yaml *tree;
    kd_run_file run, again;
    kd_status status = kd_yaml_parse(&tree, (const char *)data, (int64_t)size, "x.yaml");
    if (!status) {
        kd_yaml_free(tree);
    } else {
        FUZZ_ASSERT(status == KD_ECONFIG && !tree);
        fuzz_refused("x.yaml:");
    }
    status = kd_run_file_parse(&run, (const char *)data, (int64_t)size, "x.yaml", NULL, 0);
    if (status) {
        FUZZ_ASSERT((status == KD_ECONFIG || status == KD_ENOTSUP) && !run.tree);
        fuzz_refused("x.yaml");
        return 0;
    }
    char *text, *same;
    FUZZ_ASSERT(!kd_run_file_print(&text, &run));
    FUZZ_ASSERT(!kd_run_file_parse(&again, text, (int64_t)strlen(text), "again.yaml", NULL, 0));
    FUZZ_ASSERT(!kd_run_file_print(&same, &again));
    FUZZ_ASSERT(!strcmp(text, same));
    free(text);
    free(same);
    kd_run_file_close(&run);
    kd_run_file_close(&again);
    return 0;
}
