/* The work lists of CUDA kernels, which any machine can make: every pair of a row and a key that it sees is computed once, long tiles
 * come first, and key tiles that wait for each other do not wait for ever. */
#include "attn_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "attn/attn_cuda_tiles.h"

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {1}},
    {.mask = KD_MASK_FULL, .N = 1, .length = {3000}},
    {.mask = KD_MASK_ANCHOR, .N = 0},
    {.mask = KD_MASK_ANCHOR, .N = 1, .length = {1}},
    {.mask = KD_MASK_ANCHOR, .N = 9, .length = {1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {.mask = KD_MASK_DOCUMENT, .N = 7, .length = {1, 63, 64, 65, 127, 128, 129}},
    {.mask = KD_MASK_DOCUMENT, .own_bos = true, .reset = true, .N = 4, .length = {191, 192, 193, 2}},
    {.mask = KD_MASK_ANCHOR, .N = 5, .length = {700, 3, 1025, 64, 300}},
    {.mask = KD_MASK_ANCHOR, .cuts = 3, .N = 4, .length = {1, 3000, 47, 512}},
    {.mask = KD_MASK_FULL, .own_bos = true, .N = 3, .length = {100, 700, 31}},
};
static const kd_gpu_shape shapes[] = {{64, 64, 64}, {128, 128, 64}, {192, 64, 128}, {128, 192, 128}, {192, 128, 64}, {64, 128, 128}};
enum { WINDOWS = sizeof windows / sizeof *windows, SHAPES = sizeof shapes / sizeof *shapes };

/* Rows and keys whole, and cut in many ways; quarters of T, to that many tokens more or less. */
static const struct { int rows_from, rows_to, keys_from, keys_to, more; } cuts[] = {
    {0, 0, 0, 0, 0}, {0, 4, 0, 4, 0}, {2, 4, 0, 0, 0}, {1, 3, 0, 0, 7}, {0, 0, 1, 2, 0}, {2, 4, 0, 2, -5}, {0, 2, 2, 4, 3}, {1, 2, 1, 2, 1},
    {3, 4, 0, 1, 0},
    {1, 3, 2, 4, -9},
};
enum { CUTS = sizeof cuts / sizeof *cuts };

static kd_stretch cut(int64_t T, int from, int to, int more) {
    kd_stretch x = {from ? T * from / 4 + more : 0, to == 4 ? T : to ? T * to / 4 + more : 0};
    if (x.from < 0) x.from = 0;
    if (x.to > T) x.to = T;
    if (x.to <= x.from) return (kd_stretch){0, 0};
    return x;
}

/* Keys of its own document among the packed ones that packed row r sees: from .. to-1, by looking at each token. */
static kd_stretch sight(const kd_attn *a, int64_t r) {
    kd_stretch keys = kd_attn_keys(a), seen = {0, 0};
    int64_t t = kd_attn_rows(a).from + r, n = 0;
    while (n < a->plan->N && a->plan->start[n + 1] <= t) n++;
    if (t < a->plan->start[0]) return seen;
    for (int64_t j = a->plan->start[n]; j <= t; j++) {
        if (j < keys.from || j >= keys.to) continue;
        if (!seen.to) seen.from = j - keys.from;
        seen.to = j - keys.from + 1;
    }
    return seen;
}

typedef struct lists {
    kd_attn a;
    kd_plan plan;
    kd_gpu_shape shape;
    kd_gpu_tile *forward, *backward;
    int64_t forwards, backwards, turns, R, K;
    kd_stretch *seen;  /* [R] */
} lists;

static void lists_free(lists *l) {
    free(l->forward);
    free(l->backward);
    free(l->seen);
    kd_plan_free(&l->plan);
}

static void fill(lists *l) {
    int64_t again;
    l->a.plan = &l->plan;
    l->R = kd_stretch_count(kd_attn_rows(&l->a)), l->K = kd_stretch_count(kd_attn_keys(&l->a));
    l->forwards = kd_gpu_forward_tiles(NULL, &l->a, l->shape);
    l->backwards = kd_gpu_backward_tiles(NULL, &l->turns, &l->a, l->shape);
    l->forward = oracle_new(l->forwards, sizeof *l->forward);
    l->backward = oracle_new(l->backwards, sizeof *l->backward);
    memset(l->forward, 0xff, (size_t)l->forwards * sizeof *l->forward);
    memset(l->backward, 0xff, (size_t)l->backwards * sizeof *l->backward);
    assert_int_equal(kd_gpu_forward_tiles(l->forward, &l->a, l->shape), l->forwards);
    assert_int_equal(kd_gpu_backward_tiles(l->backward, &again, &l->a, l->shape), l->backwards);
    assert_int_equal(again, l->turns);
    l->seen = oracle_new(l->R, sizeof *l->seen);
    for (int64_t r = 0; r < l->R; r++) l->seen[r] = sight(&l->a, r);
}

static bool lists_init(lists *l, int64_t i) {
    int64_t w = i % WINDOWS, s = i / WINDOWS % SHAPES, c = i / WINDOWS / SHAPES;
    if (c >= CUTS) return false;
    *l = (lists){.shape = shapes[s]};
    window_plan(&l->plan, &windows[w]);
    l->a.rows = cut(l->plan.T, cuts[c].rows_from, cuts[c].rows_to, cuts[c].more);
    l->a.keys = cut(l->plan.T, cuts[c].keys_from, cuts[c].keys_to, cuts[c].more);
    fill(l);
    return true;
}

static void every_row_has_one_forward_tile_with_all_it_sees(void **state) {
    (void)state;
    lists l;
    for (int64_t i = 0; lists_init(&l, i); i++) {
        char *had = oracle_new(l.R, 1);
        for (int64_t n = 0; n < l.forwards; n++) {
            const kd_gpu_tile *t = &l.forward[n];
            assert_true(t->first >= 0 && t->count >= 1 && t->count <= l.shape.rows && t->first + t->count <= l.R);
            for (int64_t r = t->first; r < t->first + t->count; r++) {
                assert_false(had[r]++);
                if (!kd_stretch_count(l.seen[r])) continue;
                assert_true(l.seen[r].from == t->other && l.seen[r].to <= t->other + t->others);
                for (int64_t j = l.seen[r].from; j < l.seen[r].to; j++)  /* what a kernel asks of a pair */
                    assert_true(j <= r + kd_attn_rows(&l.a).from - kd_attn_keys(&l.a).from);
            }
            kd_stretch last = l.seen[t->first + t->count - 1];
            assert_int_equal(t->others, kd_stretch_count(last));  /* and not a key more */
        }
        for (int64_t r = 0; r < l.R; r++) assert_int_equal(had[r], 1);
        free(had);
        lists_free(&l);
    }
}

static void backward_tiles_cover_every_pair_once(void **state) {
    (void)state;
    lists l;
    for (int64_t i = 0; lists_init(&l, i); i++) {
        char *had = oracle_new(l.K, 1);
        int64_t *pairs = oracle_new(l.R, sizeof *pairs);
        for (int64_t n = 0; n < l.backwards; n++) {
            const kd_gpu_tile *t = &l.backward[n];
            assert_true(t->first >= 0 && t->count >= 1 && t->count <= l.shape.keys && t->first + t->count <= l.K);
            assert_true(t->other >= 0 && t->others >= 1 && t->other + t->others <= l.R);
            for (int64_t j = t->first; j < t->first + t->count; j++) assert_false(had[j]++);
            for (int64_t r = t->other; r < t->other + t->others; r++)
                pairs[r] += kd_stretch_count(kd_stretch_both(l.seen[r], (kd_stretch){t->first, t->first + t->count}));
            bool early = false;  /* a block of rows that none of the tile's keys is seen by */
            for (int64_t r = t->other; r < t->other + l.shape.block && r < t->other + t->others; r++)
                early |= kd_stretch_count(kd_stretch_both(l.seen[r], (kd_stretch){t->first, t->first + t->count})) > 0;
            assert_true(early);
        }
        for (int64_t r = 0; r < l.R; r++) assert_int_equal(pairs[r], kd_stretch_count(l.seen[r]));  /* tiles share no key: each once */
        free(had);
        free(pairs);
        lists_free(&l);
    }
}

static int64_t step_of(int64_t cost) {
    int64_t step = 1;
    while (16 * step <= cost) step *= 2;
    return step;
}

/* Up to an eighth or so of its length, which is the list's own measure. */
static void long_tiles_come_first(void **state) {
    (void)state;
    lists l;
    for (int64_t i = 0; lists_init(&l, i); i++) {
        for (int64_t n = 1; n < l.forwards; n++)
            assert_true(l.forward[n].others - l.forward[n - 1].others <= step_of(l.forward[n].others));
        for (int64_t n = 1; n < l.backwards; n++)
            assert_true(l.backward[n].others - l.backward[n - 1].others <= step_of(l.backward[n].others));
        lists_free(&l);
    }
}

/* ---- turns ------------------------------------------------------------------------------------------------------ */

/* Blocks that are resident take items in order; each goes through its rows, block by block, and adds to a block of rows when it is its
 * turn. Heads do not wait for each other: one is enough, and the turns of one. */
typedef struct worker { int64_t item, block; } worker;

static bool step(worker *w, int64_t *next, int32_t *turn, const lists *l) {
    if (w->item < 0) {
        if (*next == l->backwards) return false;
        *w = (worker){(*next)++, 0};
        return true;
    }
    const kd_gpu_tile *t = &l->backward[w->item];
    int64_t at = t->turn + w->block;
    assert_true(at < l->turns);
    assert_true(turn[at] <= t->order);  /* nobody comes twice */
    if (turn[at] != t->order) return false;
    turn[at]++;
    if (++w->block * l->shape.block >= t->others) w->item = -1;
    return true;
}

static void waiting_tiles_always_go_on(void **state) {
    (void)state;
    enum { MOST = 7 };
    lists l;
    for (int64_t i = 0; lists_init(&l, i); i++) {
        for (int resident = 1; resident <= MOST; resident += 2) {
            int32_t *turn = oracle_new(l.turns, sizeof *turn);
            worker w[MOST];
            int64_t next = 0;
            bool moved = true;
            for (int k = 0; k < resident; k++) w[k].item = -1;
            while (moved) {
                moved = false;
                for (int k = resident - 1; k >= 0; k--) moved |= step(&w[k], &next, turn, &l);  /* the last come first */
            }
            assert_int_equal(next, l.backwards);
            for (int k = 0; k < resident; k++) assert_int_equal(w[k].item, -1);
            free(turn);
        }
        lists_free(&l);
    }
}

/* Blocks of rows have places of their own, counted from their document's first row, and their key tiles come as 0, 1, 2, ... */
static void turns_belong_to_one_block_of_rows(void **state) {
    (void)state;
    lists l;
    for (int64_t i = 0; lists_init(&l, i); i++) {
        int64_t *row = oracle_new(l.turns, sizeof *row);
        int32_t *tiles = oracle_new(l.turns, sizeof *tiles), *last = oracle_new(l.turns, sizeof *last);
        for (int64_t n = 0; n < l.turns; n++) row[n] = last[n] = -1;
        for (int64_t n = 0; n < l.backwards; n++) {
            const kd_gpu_tile *t = &l.backward[n];
            for (int64_t b = 0; b * l.shape.block < t->others; b++) {
                int64_t at = t->turn + b, first = t->other + b * l.shape.block;
                assert_true(at >= 0 && at < l.turns);
                if (row[at] < 0) row[at] = first;
                assert_int_equal(row[at], first);
                assert_int_equal(t->order, last[at] + 1);  /* in the list's order too */
                last[at] = t->order;
                tiles[at]++;
            }
        }
        for (int64_t n = 0; n < l.turns; n++) {
            if (row[n] < 0) continue;
            kd_stretch seen = {0, 0};
            for (int64_t r = row[n]; r < row[n] + l.shape.block && r < l.R; r++)
                if (l.seen[r].to > seen.to && (!seen.to || l.seen[r].from == seen.from)) seen = l.seen[r];
            assert_int_equal(tiles[n], (kd_stretch_count(seen) + l.shape.keys - 1) / l.shape.keys);
        }
        free(row);
        free(tiles);
        free(last);
        lists_free(&l);
    }
}

/* ---- balance ---------------------------------------------------------------------------------------------------- */

/* When the last of so many blocks is done, over what each would have if all finished together; items of 8 heads. */
static double unbalance(const kd_gpu_tile *tile, int64_t tiles, int64_t blocks) {
    double *busy = oracle_new(blocks, sizeof *busy), sum = 0, longest = 0, last = 0;
    for (int64_t w = 0; w < 8 * tiles; w++) {
        int64_t least = 0;
        double cost = tile[w / 8].others + 64;
        for (int64_t b = 1; b < blocks; b++)
            if (busy[b] < busy[least]) least = b;
        busy[least] += cost;
        sum += cost;
        if (cost > longest) longest = cost;
    }
    for (int64_t b = 0; b < blocks; b++)
        if (busy[b] > last) last = busy[b];
    free(busy);
    return last / (sum / (double)blocks > longest ? sum / (double)blocks : longest);
}

static void blocks_finish_together(void **state) {
    (void)state;
    enum { BLOCKS = 132 };
    for (int full = 0; full < 2; full++) {
        window w = {.mask = full ? KD_MASK_FULL : KD_MASK_ANCHOR, .N = 40};
        uint64_t draw = 1;
        for (int64_t n = 0; n < w.N; n++) {
            draw = draw * 6364136223846793005u + 1442695040888963407u;
            w.length[n] = 64 + (int64_t)(draw >> 33) % 2000;
        }
        lists l = {.shape = {128, 128, 64}};
        window_plan(&l.plan, &w);
        fill(&l);
        assert_true(unbalance(l.forward, l.forwards, BLOCKS) <= 1.03);
        assert_true(unbalance(l.backward, l.backwards, BLOCKS) <= 1.03);
        lists_free(&l);
    }
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_row_has_one_forward_tile_with_all_it_sees),
        cmocka_unit_test(backward_tiles_cover_every_pair_once),
        cmocka_unit_test(long_tiles_come_first),
        cmocka_unit_test(waiting_tiles_always_go_on),
        cmocka_unit_test(turns_belong_to_one_block_of_rows),
        cmocka_unit_test(blocks_finish_together),
    };
    return cmocka_run_group_tests(test, NULL, NULL);
}
