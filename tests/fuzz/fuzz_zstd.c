/* zstd as the reader of documents meets it: whatever the frames say, bytes come in order until an end or one failure, which
 * stays. */
#include "format/input.h"
#include "fuzz.h"

enum { PIECE = 64 << 10, MOST = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char out[PIECE];
    kd_input *input;
    int64_t got = 1;
    kd_status status = KD_OK;
    FUZZ_ASSERT(!kd_input_open(&input, fuzz_file("x.jsonl.zst", data, size)));
    for (int64_t total = 0; !status && got > 0 && total < MOST; total += got) {
        status = kd_input_read(out, &got, input, PIECE);
        FUZZ_ASSERT(got >= 0 && got <= PIECE);
    }
    if (status) {
        FUZZ_ASSERT(status == KD_EFORMAT);
        fuzz_refused("x.jsonl.zst: byte ");
        FUZZ_ASSERT(kd_input_read(out, &got, input, PIECE) == status && got == 0);
    }
    kd_input_close(input);
    return 0;
}
