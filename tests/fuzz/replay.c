/* Runs a target over the files named, as libFuzzer would: replay FILE... Prints how many there were. */
#include "fuzz.h"

int main(int count, char **path) {
    for (int i = 1; i < count; i++) {
        char *data;
        int64_t size;
        if (kd_file_read(&data, &size, path[i], 1 << 30)) {
            fprintf(stderr, "%s\n", kd_message());
            return 1;
        }
        fprintf(stderr, "%s\n", path[i]);  /* the last line is the one that crashed */
        /* Without the byte behind the end that kd_file_read leaves there, so that a sanitizer sees it missed. */
        uint8_t *exact = malloc(size > 0 ? (size_t)size : 1);
        if (!exact) return 1;
        memcpy(exact, data, (size_t)size);
        free(data);
        LLVMFuzzerTestOneInput(exact, (size_t)size);
        free(exact);
    }
    printf("%d replayed\n", count - 1);
    return count > 1 ? 0 : 1;
}
