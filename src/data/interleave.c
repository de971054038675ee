#include "data/interleave.h"

#include <math.h>
#include <stdbool.h>

#include "base/random.h"

enum { SHORTEST = 64, LONGEST = 2048, APART = 12 };

/* What a random number is for. Each kind has a stream of its own, so a share's numbers do not depend on how many
 * were drawn before. */
enum draw { DRAW_COIN, DRAW_FIRST, DRAW_SECOND, DRAW_PLACE, DRAW_STRETCH };

/* The top byte keeps these streams away from those of other users of the same seed. */
static const uint64_t STREAM = (uint64_t)0xD1 << 56;

static double uniform(uint64_t seed, int64_t document, int64_t from, enum draw draw) {
    return kd_random_uniform(seed, STREAM | (uint64_t)from << 3 | (uint64_t)draw, (uint64_t)document);
}

/* A whole number in [low, high]. */
static int64_t between(int64_t low, int64_t high, double u) { return low + (int64_t)(u * (double)(high - low + 1)); }

kd_interleave kd_interleave_share(uint64_t seed, int64_t document, int64_t from, int64_t count) {
    kd_interleave x = {.parts = 1, .cut = {0, count}};
    if (count >= SHORTEST && count <= LONGEST) {
        int64_t low = (count + 4) / 5, high = count * 4 / 5;
        bool two = uniform(seed, document, from, DRAW_COIN) < 0.5;
        /* Two points drawn alike from a range shortened by APART, the later one moved up by it: the distribution of
         * points drawn again until they are far enough apart, without the loop. */
        int64_t a = between(low, two ? high : high - APART, uniform(seed, document, from, DRAW_FIRST));
        int64_t b = between(low, high - APART, uniform(seed, document, from, DRAW_SECOND));
        x.parts = two ? 2 : 3;
        x.cut[1] = two || a < b ? a : b;
        x.cut[2] = two ? count : (a < b ? b : a) + APART;
        if (!two) x.cut[3] = count;
    }
    double r = uniform(seed, document, from, DRAW_PLACE);
    double stretch = exp(uniform(seed, document, from, DRAW_STRETCH));
    for (int64_t k = 0; k < x.parts; k++) x.key[k] = r + (double)k * stretch;
    return x;
}
