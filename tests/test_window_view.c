/* A window for people: runs of tokens in window order, and that both drawings say what the plan says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "data/window_view.h"
#include "markup.h"

static const int32_t word[2048];

/* Two documents, the first in two chunks around the second, both with a tag of two tokens. */
static const kd_piece pieces[] = {{word, 2, -1}, {word, 2, -1}};
static const kd_chunk chunks[] = {{0, word, 3, NULL}, {1, word, 4, NULL}, {0, word, 2, NULL}};

static kd_window_view view_of(kd_plan_options options) {
    kd_window_view view;
    options.bos = 1;
    assert_int_equal(kd_window_view_init(&view, &options, pieces, 2, chunks, 3), KD_OK);
    return view;
}

static void assert_spans(const kd_window_view *view, const kd_span *span, int64_t count) {
    assert_int_equal(view->spans, count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(view->span[i].document, span[i].document);
        assert_int_equal(view->span[i].role, span[i].role);
        assert_int_equal(view->span[i].from, span[i].from);
        assert_int_equal(view->span[i].count, span[i].count);
        assert_int_equal(view->span[i].position, span[i].position);
    }
}

static void spans_are_in_window_order_with_their_positions(void **state) {
    (void)state;
    kd_window_view view = view_of((kd_plan_options){.mask = KD_MASK_ANCHOR});
    const kd_span running[] = {{-1, KD_ROLE_ANCHOR, 0, 1, 0}, {0, KD_ROLE_TAG, 1, 2, 1}, {0, KD_ROLE_TEXT, 3, 3, 3},
                               {1, KD_ROLE_TAG, 6, 2, 6}, {1, KD_ROLE_TEXT, 8, 4, 8}, {0, KD_ROLE_TEXT, 12, 2, 12}};
    assert_spans(&view, running, 6);
    assert_true(view.cut && view.tags && view.anchor && view.T == 14 && view.documents == 2);
    kd_window_view_free(&view);
    view = view_of((kd_plan_options){.mask = KD_MASK_DOCUMENT, .reset = true, .lead_bos = true});
    const kd_span reset[] = {{0, KD_ROLE_BOS, 0, 1, 0}, {0, KD_ROLE_TAG, 1, 2, 1}, {0, KD_ROLE_TEXT, 3, 3, 3}, {1, KD_ROLE_BOS, 6, 1, 0},
                             {1, KD_ROLE_TAG, 7, 2, 1}, {1, KD_ROLE_TEXT, 9, 4, 3}, {0, KD_ROLE_TEXT, 13, 2, 6}};
    assert_spans(&view, reset, 7);
    kd_window_view_free(&view);
    view = view_of((kd_plan_options){.mask = KD_MASK_FULL});
    assert_int_equal(view.documents, 2);
    assert_int_equal(view.span[view.spans - 1].position, 11);
    kd_window_view_free(&view);
}

/* Cells of a small window, counted in both drawings: as many as the plan has pairs. */
static void as_many_cells_are_drawn_as_pairs_are_seen(void **state) {
    (void)state;
    const kd_plan_options options[] = {{.mask = KD_MASK_ANCHOR}, {.mask = KD_MASK_DOCUMENT, .lead_bos = true}, {.mask = KD_MASK_FULL}};
    for (int i = 0; i < 3; i++) {
        kd_window_view view = view_of(options[i]);
        kd_text text = {0};
        assert_int_equal(kd_window_draw_text(&text, &view, false, false), KD_OK);
        int64_t cells = 0;
        for (const char *at = strchr(text.data, '\n'), *end = strstr(text.data, "RoPE"); at < end; at++) cells += *at == '#' || *at == '|';
        assert_int_equal(cells, 2 * view.pairs);
        text.size = 0;
        assert_int_equal(kd_window_draw_svg(&text, &view, true), KD_OK);
        assert_markup(text.data, true);
        cells = 0;
        for (const char *at = text.data; (at = strstr(at, "class=\"k-fill\"")); at++) cells++;
        for (const char *at = text.data; (at = strstr(at, "class=\"k-shade\" x=")); at++)
            cells += strtod(strstr(at, "width=\"") + 7, NULL) != 11;  /* the key's are 11 wide */
        assert_int_equal(cells, view.pairs);
        kd_text_free(&text);
        kd_window_view_free(&view);
    }
}

static kd_window_view long_view(int64_t documents, int64_t length) {
    kd_piece *piece = calloc((size_t)documents, sizeof *piece);
    kd_chunk *chunk = calloc((size_t)documents, sizeof *chunk);
    kd_window_view view;
    for (int64_t d = 0; d < documents; d++) chunk[d] = (kd_chunk){d, word, length, NULL};
    const kd_plan_options options = {.mask = KD_MASK_ANCHOR, .bos = 1};
    assert_int_equal(kd_window_view_init(&view, &options, piece, documents, chunk, documents), KD_OK);
    free(piece);
    free(chunk);
    return view;
}

static void a_long_window_is_polygons(void **state) {
    (void)state;
    kd_window_view view = long_view(400, 160);
    kd_text text = {0};
    assert_int_equal(kd_window_draw_svg(&text, &view, true), KD_OK);
    assert_markup(text.data, true);
    assert_true(text.size < 200000);
    int64_t triangles = 0;
    for (const char *at = text.data; (at = strstr(at, "<title>document ")); at++) triangles++;
    assert_int_equal(triangles, 400);
    kd_text_free(&text);
    kd_window_view_free(&view);
}

static void a_terminal_of_64_columns_is_enough(void **state) {
    (void)state;
    kd_window_view view = long_view(40, 1600);
    kd_text text = {0};
    assert_int_equal(kd_window_draw_text(&text, &view, false, true), KD_OK);
    assert_null(strchr(text.data, '\033'));
    int columns = 0, lines = 0;
    for (const char *at = strchr(text.data, '\n') + 1; *at; at++) {  /* behind the sentence */
        columns += ((unsigned char)*at & 0xc0) != 0x80;
        if (*at != '\n') continue;
        assert_true(columns <= 64 + 1);
        columns = 0;
        lines++;
    }
    assert_int_equal(lines, 28 + 2);
    text.size = 0;
    assert_int_equal(kd_window_draw_text(&text, &view, true, false), KD_OK);
    assert_non_null(strchr(text.data, '\033'));
    for (const char *at = text.data; *at; at++) assert_true((unsigned char)*at < 128);
    kd_text_free(&text);
    kd_window_view_free(&view);
}

static void a_bad_window_is_refused_as_a_plan_is(void **state) {
    (void)state;
    kd_window_view view;
    const kd_chunk bad = {7, word, 1, NULL};
    assert_int_equal(kd_window_view_init(&view, &(kd_plan_options){.mask = KD_MASK_FULL}, pieces, 1, &bad, 1), KD_EARG);
    assert_null(view.span);
    kd_text text = {0};
    assert_int_equal(kd_window_view_init(&view, &(kd_plan_options){.mask = KD_MASK_FULL}, NULL, 0, NULL, 0), KD_OK);
    assert_int_equal(kd_window_draw_svg(&text, &view, true), KD_OK);  /* no token at all */
    assert_markup(text.data, true);
    assert_int_equal(kd_window_draw_text(&text, &view, false, false), KD_OK);
    kd_text_free(&text);
    kd_window_view_free(&view);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_in_window_order_with_their_positions),
        cmocka_unit_test(as_many_cells_are_drawn_as_pairs_are_seen),
        cmocka_unit_test(a_long_window_is_polygons),
        cmocka_unit_test(a_terminal_of_64_columns_is_enough),
        cmocka_unit_test(a_bad_window_is_refused_as_a_plan_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
