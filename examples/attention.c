/* Attention on one packed window: an anchor and three documents, forward and backward, then the same with the second
 * document replaced: the others do not notice. Needs nothing but kedge.h:
 *
 *     cc attention.c -o attention $(pkg-config --cflags --libs kedge) -lm && ./attention */
#include <kedge.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 3, H = 4, G = 2, E = 8, BOS = 1, MOST = 32 };

static const int64_t length[DOCUMENTS] = {6, 4, 9};

/* What the caller owns: q, k, v come from its projections, the gradient of o from its loss. */
static float q[MOST * H * E], k[MOST * G * E], v[MOST * G * E], o[MOST * H * E], lse[H * MOST];
static float dq[MOST * H * E], dk[MOST * G * E], dv[MOST * G * E], dout[MOST * H * E];

static void must(kd_status status) {
    if (!status) return;
    fprintf(stderr, "attention: %s\n", kd_message());
    exit(1);
}

/* Something that looks like noise in -0.5 .. 0.5 and is the same everywhere. */
static void fill(float *x, int64_t from, int64_t to, uint32_t seed) {
    for (int64_t i = from; i < to; i++) x[i] = (float)(((uint32_t)i + seed) * 2654435761u >> 8) / 16777216.0f - 0.5f;
}

static double norm(const float *x, int64_t from, int64_t to) {
    double sum = 0;
    for (int64_t i = from; i < to; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

int main(void) {
    /* The plan: who sees whom, at which position, predicting what. */
    int32_t token[MOST];
    kd_piece piece[DOCUMENTS];
    kd_chunk chunk[DOCUMENTS];
    int64_t used = 0;
    for (int64_t n = 0; n < DOCUMENTS; n++) {
        for (int64_t i = 0; i < length[n]; i++) token[used + i] = (int32_t)(100 * (n + 1) + i);
        piece[n] = (kd_piece){.next = -1};
        chunk[n] = (kd_chunk){.piece = n, .token = token + used, .count = length[n]};
        used += length[n];
    }
    const kd_plan_options options = {.mask = KD_MASK_ANCHOR, .bos = BOS};
    const double inv_freq[E / 2] = {1, 0.1, 0.01, 0.001};  /* theta 10000: 10000^(-2e/E) */
    kd_ctx *ctx;
    kd_plan plan;
    kd_rope rope;
    must(kd_ctx_open(&ctx, 0));
    must(kd_plan_init(&plan, &options, piece, DOCUMENTS, chunk, DOCUMENTS));
    must(kd_rope_init(&rope, ctx, inv_freq, E, plan.T));

    const kd_attn attn = {.plan = &plan, .rope = &rope, .frame = KD_FRAME_DOCUMENT, .H = H, .G = G, .E = E, .lse = lse,
                          .q = kd_view_heads(q, H, E), .k = kd_view_heads(k, G, E), .v = kd_view_heads(v, G, E),
                          .o = kd_view_heads(o, H, E), .dout = kd_view_heads(dout, H, E),
                          .dq = kd_view_heads(dq, H, E), .dk = kd_view_heads(dk, G, E), .dv = kd_view_heads(dv, G, E)};
    fill(q, 0, plan.T * H * E, 1);
    fill(k, 0, plan.T * G * E, 2);
    fill(v, 0, plan.T * G * E, 3);
    fill(dout, 0, plan.T * H * E, 4);
    must(kd_attn_forward(ctx, &attn));
    must(kd_attn_backward(ctx, &attn));

    printf("%lld tokens: the anchor and %lld documents; %lld pairs see each other, %lld if it were one text\n",
           (long long)plan.T, (long long)plan.N, (long long)kd_plan_pairs(&plan), (long long)(plan.T * (plan.T + 1) / 2));
    printf("anchor      |dk| %.6f  |dv| %.6f: every document sees it\n", norm(dk, 0, G * E), norm(dv, 0, G * E));
    for (int64_t n = 0; n < plan.N; n++) {
        int64_t a = plan.start[n], b = plan.start[n + 1];
        printf("document %lld  positions %2d to %2d  |o| %.6f  |dq| %.6f  |dk| %.6f\n", (long long)n + 1, plan.position[a],
               plan.position[b - 1], norm(o, a * H * E, b * H * E), norm(dq, a * H * E, b * H * E), norm(dk, a * G * E, b * G * E));
    }

    /* Another text in the place of document 2. */
    static float before[MOST * H * E];
    memcpy(before, o, sizeof o);
    fill(k, plan.start[1] * G * E, plan.start[2] * G * E, 99);
    fill(v, plan.start[1] * G * E, plan.start[2] * G * E, 77);
    must(kd_attn_forward(ctx, &attn));
    printf("document 2 replaced:");
    for (int64_t n = 0; n < plan.N; n++) {
        int64_t at = plan.start[n] * H * E, size = (plan.start[n + 1] - plan.start[n]) * H * E;
        printf(" document %lld %s%s", (long long)n + 1, memcmp(before + at, o + at, (size_t)size * sizeof *o) ? "changed" : "has the same bits",
               n + 1 < plan.N ? "," : "\n");
    }
    kd_rope_free(&rope, ctx);
    kd_plan_free(&plan);
    kd_ctx_close(ctx);
    return 0;
}
