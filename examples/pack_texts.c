/* Lines of standard input as documents, packed into windows of T tokens behind an anchor: who predicts what, at which position. Needs
 * nothing but kedge.h:
 *
 *     cc pack_texts.c -o pack_texts $(pkg-config --cflags --libs kedge) && ./pack_texts 16 <texts */
#include <kedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 1 << 20, DOCUMENTS = 1 << 14, LINE = 1 << 16 };

static int32_t token[TOKENS];
static int64_t start[DOCUMENTS + 1];
static char line[LINE];

static void must(kd_status status) {
    if (!status) return;
    fprintf(stderr, "pack_texts: %s\n", kd_message());
    exit(1);
}

int main(int argc, char **argv) {
    kd_tokenizer *tokenizer;
    kd_encoder *encoder;
    kd_windows *windows;
    int64_t documents = 0;
    const kd_window_options options = {.window = argc > 1 ? atoll(argv[1]) : 16, .mask = KD_MASK_ANCHOR};
    must(kd_tokenizer_new(&tokenizer, argc > 2 ? argv[2] : "bytes"));
    must(kd_encoder_new(&encoder, tokenizer));
    while (documents < DOCUMENTS && fgets(line, LINE, stdin)) {
        const int32_t *id;
        int64_t count, used = start[documents];
        must(kd_encoder_ids(encoder, &id, &count, line, (int64_t)strcspn(line, "\n"), KD_ENCODE_SPECIALS_AS_TEXT));
        if (count > TOKENS - used) break;
        if (count) memcpy(token + used, id, (size_t)count * sizeof *id);
        start[++documents] = used + count;
    }
    must(kd_windows_new(&windows, &options, token, NULL, start, documents, kd_tokenizer_bos(tokenizer), kd_tokenizer_eos(tokenizer)));
    for (int64_t w = 0; w < kd_windows_count(windows); w++) {
        kd_plan plan;
        must(kd_windows_plan(&plan, windows, w, false));
        printf("window %lld: %lld of %lld pairs see each other\n", (long long)w, (long long)kd_plan_pairs(&plan),
               (long long)(plan.T * (plan.T + 1) / 2));
        for (int64_t n = 0; n < plan.N; n++) {
            const char *text;
            int64_t size, from = plan.start[n], to = plan.start[n + 1];
            must(kd_encoder_text(encoder, &text, &size, plan.token + from, to - from, false));
            printf("  positions %3d to %3d  \"%s\"", plan.position[from], plan.position[to - 1], text);
            if (plan.target[to - 1] >= 0) printf(", to be continued");
            putchar('\n');
        }
        kd_plan_free(&plan);
    }
    printf("%lld tokens of %lld documents are left over\n", (long long)kd_windows_dropped(windows), (long long)documents);
    kd_windows_free(windows);
    kd_encoder_free(encoder);
    kd_tokenizer_free(tokenizer);
    return 0;
}
