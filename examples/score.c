/* What a model thinks of a text: the loss of each token, and the perplexity. Needs nothing but kedge.h:
 *
 *     cc score.c -o score $(pkg-config --cflags --libs kedge) -lm && ./score MODEL_DIR "a text" [TOKENIZER] */
#include <kedge.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(kd_status status) {
    if (!status) return;
    fprintf(stderr, "score: %s\n", kd_message());
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: score MODEL_DIR TEXT [TOKENIZER]\n");
        return 2;
    }
    /* Text to ids: the tokenizer is read-only, an encoder is what a thread works with. */
    kd_tokenizer *tokenizer;
    kd_encoder *encoder;
    const int32_t *id;
    int64_t count;
    must(kd_tokenizer_new(&tokenizer, argc > 3 ? argv[3] : argv[1]));
    must(kd_encoder_new(&encoder, tokenizer));
    must(kd_encoder_ids(encoder, &id, &count, argv[2], (int64_t)strlen(argv[2]), KD_ENCODE_SPECIALS));
    if (count < 2) {
        fprintf(stderr, "score: nothing to predict\n");
        return 1;
    }

    /* One document, whose targets are its own next tokens. */
    const kd_plan_options options = {.mask = KD_MASK_FULL};
    const kd_piece piece = {.next = -1};
    const kd_chunk chunk = {.token = id, .count = count};
    kd_plan plan;
    kd_ctx *ctx;
    kd_model *model;
    double *loss = malloc((size_t)count * sizeof *loss), sum = 0;
    if (!loss) return 1;
    must(kd_plan_init(&plan, &options, &piece, 1, &chunk, 1));
    must(kd_ctx_open(&ctx, 0));
    must(kd_model_new(&model, ctx, argv[1], plan.T, KD_FRAME_WINDOW, KD_PRECISION_EXACT));
    must(kd_model_read(model, &plan));
    must(kd_model_token_losses(model, loss));
    for (int64_t t = 0; t + 1 < plan.T; t++) {
        const char *text;
        int64_t size;
        must(kd_encoder_text(encoder, &text, &size, &plan.target[t], 1, false));
        printf("%8.4f  %6d  %s\n", loss[t], plan.target[t], text);
        sum += loss[t];
    }
    printf("%lld tokens, perplexity %.4f\n", (long long)plan.T - 1, exp(sum / (double)(plan.T - 1)));

    kd_model_free(model);
    kd_ctx_close(ctx);
    kd_plan_free(&plan);
    kd_encoder_free(encoder);
    kd_tokenizer_free(tokenizer);
    free(loss);
    return 0;
}
