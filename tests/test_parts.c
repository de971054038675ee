/* What ranks own of a model: everything once, and where it lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/parts.h"
#include "scratch.h"

static const char *const arch[] = {"llama", "qwen2", "mistral"};
enum { ARCHES = 3 };

static kd_layout layout_of(const char *name, const char *preset, bool tied) {
    char *text;
    kd_config config;
    kd_layout layout;
    assert_done(kd_config_preset(&text, name, preset, &(kd_tokenizer){.bos = 256, .eos = 257}, 300, 512));
    assert_done(kd_config_parse(&config, text, (int64_t)strlen(text), preset));
    config.tied = tied;
    assert_done(kd_layout_init(&layout, &config));
    kd_config_close(&config);
    free(text);
    return layout;
}

static void parts_are_the_flat_order(void **state) {
    (void)state;
    for (int i = 0; i < 2 * ARCHES; i++) {
        kd_layout layout = layout_of(arch[i / 2], "tiny", i % 2);
        kd_parts p = kd_parts_of(&layout, 1, 0);
        int64_t at = 0;
        for (int64_t part = 0; part < p.count; part++) {
            kd_range r = kd_part_whole(&p, part);
            assert_int_equal(r.at, at);
            assert_true(r.count > 0);
            at += r.count;
        }
        assert_int_equal(at, layout.count);
        assert_int_equal(kd_parts_own(&p), layout.count);
        /* A tied head's gradient stands behind the flat order, cut as the embedding is. */
        kd_range head = kd_part_whole(&p, kd_part_head(&p));
        assert_int_equal(head.count, layout.size[KD_P_EMBED]);
        assert_int_equal(head.at, i % 2 ? layout.count : layout.at[KD_P_LM_HEAD]);
        assert_int_equal(kd_parts_own_gradient(&p), layout.count + (i % 2 ? layout.size[KD_P_EMBED] : 0));
    }
}

/* What a rank owns lies in an array of its own without gaps, and the slices of tensors are the same again. */
static void check_rank(const kd_layout *layout, const kd_parts *p, char *owned) {
    int64_t own = 0, by_tensor = 0;
    for (int64_t part = 0; part <= kd_part_head(p); part++) {
        kd_range whole = kd_part_whole(p, part);
        kd_slice piece = kd_part_piece(p, part);
        assert_int_equal(piece.own, own);
        assert_true(piece.count == 0 || (piece.at >= whole.at && piece.at + piece.count <= whole.at + whole.count));
        if (p->ranks == 1) assert_true(piece.own == piece.at);
        own += piece.count;
        for (int64_t i = 0; part < p->count && i < piece.count; i++) {
            assert_int_equal(owned[piece.at + i], 0);
            owned[piece.at + i] = 1;
        }
        if (part == p->count - 1) assert_int_equal(kd_parts_own(p), own);
    }
    assert_int_equal(kd_parts_own_gradient(p), own);
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place place = kd_layout_tensor(layout, i);
        kd_slice s = kd_parts_tensor(p, &place);
        if (s.count == 0) continue;
        assert_int_equal(s.own, by_tensor);
        assert_true(s.at >= place.at && s.at + s.count <= place.at + place.size);
        by_tensor += s.count;
    }
    assert_int_equal(by_tensor, kd_parts_own(p));
}

static void every_number_has_one_owner(void **state) {
    (void)state;
    for (int i = 0; i < 2 * ARCHES; i++) {
        kd_layout layout = layout_of(arch[i / 2], "demo", i % 2);
        for (int64_t ranks = 1; ranks <= 64; ranks *= 2) {
            char *owned = calloc((size_t)layout.count, 1);
            for (int64_t rank = 0; rank < ranks; rank++) {
                kd_parts p = kd_parts_of(&layout, ranks, rank);
                check_rank(&layout, &p, owned);
            }
            assert_null(memchr(owned, 0, (size_t)layout.count));
            free(owned);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_the_flat_order),
        cmocka_unit_test(every_number_has_one_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
