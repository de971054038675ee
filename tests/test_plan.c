/* A plan against a dense mask built independently, in window order, from the switches alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kedge.h"

enum { BOS = 1, MAX = 256, PIECES = 4 };

/* One window's text: every text and tag token has an id of its own, so nothing can be mistaken for another. */
typedef struct text {
    kd_piece piece[PIECES];
    kd_chunk chunk[MAX];
    int64_t chunks;
    int32_t token[MAX], tag[PIECES][2];
} text;

/* The same window, token by token, as a stack with a dense mask would see it. */
typedef struct dense {
    int64_t T;
    int32_t token[MAX], position[MAX], target[MAX], depth[MAX];
    int64_t piece[MAX];     /* -1: the shared anchor */
    bool bos[MAX], tagged[MAX];
} dense;

static uint32_t seed = 1;

static int64_t below(int64_t n) {
    seed = seed * 1664525u + 1013904223u;
    return (int64_t)(seed >> 8) % n;
}

static void make_text(text *x, bool interleave, bool tag) {
    int64_t left[PIECES], used = 0, open = PIECES;
    *x = (text){0};
    for (int64_t n = 0; n < PIECES; n++) {
        left[n] = interleave ? 1 + below(3) : 1;
        x->tag[n][0] = (int32_t)(900 + 2 * n), x->tag[n][1] = (int32_t)(901 + 2 * n);
        x->piece[n] = (kd_piece){x->tag[n], tag ? 1 + n % 2 : 0, n == 1 ? 800 : -1};
    }
    while (open > 0) {
        int64_t n = interleave ? below(PIECES) : PIECES - open;
        if (left[n] == 0) continue;
        open -= --left[n] == 0;
        int64_t count = 1 + below(6);
        for (int64_t i = 0; i < count; i++) x->token[used + i] = (int32_t)(100 + used + i);
        x->chunk[x->chunks++] = (kd_chunk){n, x->token + used, count, NULL};
        used += count;
    }
}

static void put(dense *d, int32_t token, int64_t piece, bool bos, bool tagged) {
    d->token[d->T] = token, d->piece[d->T] = piece, d->bos[d->T] = bos, d->tagged[d->T] = tagged;
    d->T++;
}

/* The window in its own order, then each column by its definition. */
static void make_dense(dense *d, const text *x, const kd_plan_options *o) {
    bool shared = o->mask == KD_MASK_ANCHOR && !o->anchor_is_bos;
    bool bos = o->mask == KD_MASK_ANCHOR ? o->anchor_is_bos : o->lead_bos, begun[PIECES] = {false};
    d->T = 0;
    if (shared) put(d, BOS, -1, true, false);
    for (int64_t c = 0; c < x->chunks; c++) {
        int64_t n = x->chunk[c].piece;
        if (!begun[n] && bos) put(d, BOS, n, true, false);
        for (int64_t i = 0; !begun[n] && i < x->piece[n].tag_count; i++) put(d, x->piece[n].tag[i], n, false, true);
        begun[n] = true;
        for (int64_t i = 0; i < x->chunk[c].count; i++) put(d, x->chunk[c].token[i], n, false, false);
    }
    for (int64_t t = 0; t < d->T; t++) {
        int64_t before = 0, text_before = 0, next = -1;  /* within the document */
        for (int64_t j = 0; j < t; j++) before += d->piece[j] == d->piece[t];
        for (int64_t j = 0; j < t; j++) text_before += d->piece[j] == d->piece[t] && !d->bos[j] && !d->tagged[j];
        for (int64_t j = d->T - 1; j > t; j--) if (d->piece[j] == d->piece[t]) next = j;
        d->position[t] = (int32_t)(o->reset ? before + shared : t);
        if (d->piece[t] < 0 || (d->bos[t] && o->mask == KD_MASK_ANCHOR)) d->position[t] = 0;
        d->depth[t] = (int32_t)(d->bos[t] || d->tagged[t] ? 0 : text_before);

        d->target[t] = -1;
        if (d->piece[t] < 0 || d->tagged[t]) continue;
        if (d->bos[t]) {
            if (o->predict_first && next >= 0 && !d->tagged[next]) d->target[t] = d->token[next];
        } else if (next >= 0) {
            d->target[t] = d->token[next];
        } else {
            d->target[t] = x->piece[d->piece[t]].next;
            bool trainable = t + 1 < d->T && !d->tagged[t + 1];
            if (d->target[t] < 0 && o->predict_boundary && trainable) d->target[t] = d->token[t + 1];
        }
    }
}

static bool dense_sees(const dense *d, const kd_plan_options *o, int64_t i, int64_t j) {
    if (j > i) return false;
    return o->mask == KD_MASK_FULL || d->piece[j] < 0 || d->piece[i] == d->piece[j];
}

static int64_t document_of(const kd_plan *plan, int64_t t) {
    for (int64_t n = 0; n < plan->N; n++)
        if (t >= plan->start[n] && t < plan->start[n + 1]) return n;
    return -1;
}

static bool plan_sees(const kd_plan *plan, int64_t i, int64_t j) {
    if (j < plan->anchors) return true;
    return i >= plan->anchors && document_of(plan, i) == document_of(plan, j) && j <= i;
}

/* Where window token t is stored: documents in order, the anchor first. */
static void undo_sort(int64_t *stored, const dense *d, const kd_plan_options *o) {
    int64_t at = 0;
    for (int64_t n = -1; n < PIECES; n++)
        for (int64_t t = 0; t < d->T; t++)
            if (o->mask == KD_MASK_FULL ? n < 0 : d->piece[t] == n) stored[t] = at++;
    assert_int_equal(at, d->T);
}

static void compare(const text *x, const kd_plan_options *o) {
    dense d;
    int64_t stored[MAX], pairs = 0;
    kd_plan plan;
    make_dense(&d, x, o);
    undo_sort(stored, &d, o);
    assert_int_equal(kd_plan_init(&plan, o, x->piece, PIECES, x->chunk, x->chunks), KD_OK);
    assert_int_equal(plan.T, d.T);
    assert_int_equal(plan.T, kd_plan_tokens(o, x->piece, PIECES, x->chunk, x->chunks));
    for (int64_t t = 0; t < d.T; t++) {
        int64_t s = stored[t];
        assert_int_equal(plan.token[s], d.token[t]);
        assert_int_equal(plan.position[s], d.position[t]);
        assert_int_equal(plan.target[s], d.target[t]);
        assert_int_equal(plan.depth[s], d.depth[t]);
        for (int64_t j = 0; j < d.T; j++) {
            assert_int_equal(plan_sees(&plan, s, stored[j]), dense_sees(&d, o, t, j));
            pairs += dense_sees(&d, o, t, j);
        }
    }
    assert_int_equal(kd_plan_pairs(&plan), pairs);
    kd_plan_free(&plan);
}

static void every_combination_of_switches_is_its_dense_mask(void **state) {
    (void)state;
    int64_t compared = 0;
    for (int bits = 0; bits < 3 << 7; bits++) {
        kd_plan_options o = {.mask = (kd_mask)(bits >> 7), .reset = bits & 1, .anchor_is_bos = bits & 2,
                             .lead_bos = bits & 4, .predict_boundary = bits & 8, .predict_first = bits & 16, .bos = BOS};
        if (o.predict_first && o.mask == KD_MASK_ANCHOR && !o.anchor_is_bos) continue;
        for (int repeat = 0; repeat < 3; repeat++) {
            text x;
            make_text(&x, bits & 32, bits & 64);
            compare(&x, &o);
            compared++;
        }
    }
    assert_int_equal(compared, 3 * (384 - 32));
}

/* DESIGN's table of the paper: what each row says of documents, positions, anchor and targets. */
static void every_row_of_the_paper_is_a_setting_of_the_switches(void **state) {
    (void)state;
    const struct {
        kd_mask mask;
        bool reset, interleave, tag;
        int64_t N, anchors;
    } row[] = {
        {KD_MASK_FULL, false, false, false, 1, 0},               /* full attention */
        {KD_MASK_DOCUMENT, false, false, false, PIECES, 0},      /* intra-document */
        {KD_MASK_DOCUMENT, true, false, false, PIECES, 0},       /* ... + reset */
        {KD_MASK_DOCUMENT, false, true, false, PIECES, 0},       /* ... + interleaved */
        {KD_MASK_ANCHOR, false, false, false, PIECES, 1},        /* AnchorAttention */
        {KD_MASK_ANCHOR, false, false, true, PIECES, 1},         /* ... + tag */
        {KD_MASK_ANCHOR, false, true, false, PIECES, 1},         /* ... + interleaved */
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        bool full = row[i].mask == KD_MASK_FULL;
        kd_plan_options o = {.mask = row[i].mask, .reset = row[i].reset, .lead_bos = true, .bos = BOS,
                             .predict_boundary = full, .predict_first = full};
        text x;
        make_text(&x, row[i].interleave, row[i].tag);
        x.piece[1].next = -1;  /* a document goes on in the next window only from the end of this one */
        compare(&x, &o);
        kd_plan plan;
        assert_int_equal(kd_plan_init(&plan, &o, x.piece, PIECES, x.chunk, x.chunks), KD_OK);
        assert_int_equal(plan.N, row[i].N);
        assert_int_equal(plan.anchors, row[i].anchors);
        assert_int_equal(plan.start[0], plan.anchors);
        for (int64_t t = 0; t < plan.T; t++) {
            if (full) assert_int_equal(plan.target[t], t + 1 < plan.T ? plan.token[t + 1] : -1);
            if (!row[i].interleave && !row[i].reset) assert_int_equal(plan.position[t], t);
        }
        for (int64_t n = 0; row[i].reset && n < plan.N; n++) assert_int_equal(plan.position[plan.start[n]], 0);
        kd_plan_free(&plan);
    }
}

/* Positions and what frame document subtracts grow alike; nothing else changes. */
static void an_offset_moves_positions_alone(void **state) {
    (void)state;
    const int32_t token[] = {5, 6, 7, 8, 9};
    const kd_piece piece[] = {{NULL, 0, -1}, {NULL, 0, 4}};
    const kd_chunk chunk[] = {{0, token, 3, NULL}, {1, token + 3, 2, NULL}};
    for (int mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++)
        for (int flags = 0; flags < 4; flags++) {
            kd_plan_options o = {.mask = (kd_mask)mask, .reset = flags & 1, .anchor_is_bos = flags & 2, .lead_bos = flags & 2, .bos = 1};
            kd_plan a, b;
            assert_int_equal(kd_plan_init(&a, &o, piece, 2, chunk, 2), KD_OK);
            o.offset = 1 << 20;
            assert_int_equal(kd_plan_init(&b, &o, piece, 2, chunk, 2), KD_OK);
            assert_true(a.T == b.T && a.N == b.N && a.anchors == b.anchors);
            assert_memory_equal(a.start, b.start, (size_t)(a.N + 1) * sizeof *a.start);
            for (int64_t t = 0; t < a.T; t++) {
                assert_int_equal(b.position[t], a.position[t] + (1 << 20));
                assert_true(a.token[t] == b.token[t] && a.target[t] == b.target[t] && a.depth[t] == b.depth[t]);
            }
            for (int64_t n = 0; n < a.N; n++) assert_int_equal(b.base[n], a.base[n] + (1 << 20));
            kd_plan_free(&a);
            kd_plan_free(&b);
            o.offset = -1;
            assert_int_equal(kd_plan_init(&a, &o, piece, 2, chunk, 2), KD_EARG);
        }
}

static void a_document_counts_its_relative_positions_from_its_text(void **state) {
    (void)state;
    text x;
    make_text(&x, false, false);
    for (int bits = 0; bits < 4; bits++) {
        kd_plan_options o = {.mask = KD_MASK_ANCHOR, .reset = bits & 1, .anchor_is_bos = bits & 2, .bos = BOS};
        kd_plan plan;
        assert_int_equal(kd_plan_init(&plan, &o, x.piece, PIECES, x.chunk, x.chunks), KD_OK);
        for (int64_t n = 0; n < plan.N; n++)  /* after its own BOS, if it has one, the text counts from 1, else from 0 */
            assert_int_equal(plan.position[plan.start[n] + o.anchor_is_bos] - plan.base[n], o.anchor_is_bos);
        kd_plan_free(&plan);
    }
}

static void an_empty_piece_is_no_document(void **state) {
    (void)state;
    int32_t token[] = {5, 6, 7};
    kd_piece piece[] = {{NULL, 0, -1}, {NULL, 0, -1}, {NULL, 0, -1}};
    kd_chunk chunk[] = {{0, token, 2, NULL}, {1, token, 0, NULL}, {2, token + 2, 1, NULL}};
    kd_plan_options o = {.mask = KD_MASK_ANCHOR, .bos = BOS};
    kd_plan plan;
    assert_int_equal(kd_plan_init(&plan, &o, piece, 3, chunk, 3), KD_OK);
    assert_int_equal(plan.N, 2);
    assert_int_equal(plan.start[1], 3);
    assert_int_equal(plan.start[2], 4);
    assert_int_equal(plan.base[0], 1);
    assert_int_equal(plan.base[1], 3);
    kd_plan_free(&plan);
}

static void a_bos_without_text_is_not_trained_on_a_neighbour(void **state) {
    (void)state;
    int32_t token[] = {5, 6, 7};
    kd_piece piece[] = {{NULL, 0, -1}, {NULL, 0, -1}};
    kd_chunk chunk[] = {{0, token, 1, NULL}, {1, token, 0, NULL}, {0, token + 1, 2, NULL}};
    kd_plan_options o = {.mask = KD_MASK_DOCUMENT, .lead_bos = true, .predict_first = true, .bos = BOS};
    kd_plan plan;
    assert_int_equal(kd_plan_init(&plan, &o, piece, 2, chunk, 3), KD_OK);
    assert_int_equal(plan.token[plan.start[1]], BOS);
    assert_int_equal(plan.target[plan.start[1]], -1);
    assert_int_equal(plan.target[plan.start[0]], 5);
    kd_plan_free(&plan);
}

static void an_anchor_alone_is_a_window(void **state) {
    (void)state;
    kd_plan_options o = {.mask = KD_MASK_ANCHOR, .bos = BOS};
    kd_plan plan;
    assert_int_equal(kd_plan_init(&plan, &o, NULL, 0, NULL, 0), KD_OK);
    assert_int_equal(plan.T, 1);
    assert_int_equal(plan.N, 0);
    assert_int_equal(plan.target[0], -1);
    assert_int_equal(kd_plan_pairs(&plan), 1);
    kd_plan_free(&plan);
}

static void mistakes_are_named(void **state) {
    (void)state;
    int32_t token[] = {5, 6};
    kd_piece piece[] = {{NULL, 0, -1}, {NULL, 0, -1}};
    kd_chunk chunk[] = {{0, token, 2, NULL}, {2, token, 1, NULL}};
    kd_plan_options o = {.mask = KD_MASK_ANCHOR, .predict_first = true, .bos = BOS};
    kd_plan plan;
    assert_int_equal(kd_plan_init(&plan, &o, piece, 1, chunk, 1), KD_EARG);
    assert_non_null(strstr(kd_message(), "shared anchor"));
    o.predict_first = false;
    assert_int_equal(kd_plan_init(&plan, &o, piece, 2, chunk, 1), KD_EARG);
    assert_non_null(strstr(kd_message(), "piece 1 has no chunk"));
    assert_int_equal(kd_plan_init(&plan, &o, piece, 2, chunk, 2), KD_EARG);
    assert_non_null(strstr(kd_message(), "chunk 1"));
    assert_null(plan.start);
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_combination_of_switches_is_its_dense_mask),
        cmocka_unit_test(every_row_of_the_paper_is_a_setting_of_the_switches),
        cmocka_unit_test(an_offset_moves_positions_alone),
        cmocka_unit_test(a_document_counts_its_relative_positions_from_its_text),
        cmocka_unit_test(an_empty_piece_is_no_document),
        cmocka_unit_test(a_bos_without_text_is_not_trained_on_a_neighbour),
        cmocka_unit_test(an_anchor_alone_is_a_window),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(test, NULL, NULL);
}
