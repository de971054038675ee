#include "ruler_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char *const adjectives[] = {
    "alert", "amber", "ancient", "ample", "angry", "arctic", "autumn", "azure", "bald", "basic", "bitter", "blank", "bleak", "blunt",
    "bold", "brave", "brief", "bright", "brisk", "broad", "bronze", "calm", "candid", "careful", "cheap", "cheerful", "chief", "chilly",
    "civil", "clean", "clear", "clever", "close", "cloudy", "clumsy", "coarse", "common", "copper", "coral", "cosy", "crisp", "crooked",
    "curious", "curly", "daily", "damp", "dapper", "daring", "dear", "deep", "dense", "direct", "distant", "dizzy", "double", "dreamy",
    "drowsy", "dusty", "eager", "early", "earnest", "eastern", "easy", "elder", "elegant", "empty", "endless", "equal", "even", "exact",
    "fabled", "faded", "faint", "fair", "faithful", "famous", "fancy", "feeble", "fertile", "fierce", "final", "fine", "firm", "flat",
    "fluent", "fond", "formal", "fragile", "frank", "frosty", "frugal", "funny", "fuzzy", "gentle", "giant", "gifted", "glad", "gleaming",
    "global", "golden", "graceful", "grand", "grateful", "gray", "greedy", "hasty", "hazy", "hearty", "heavy", "hidden", "hollow",
    "honest", "humble", "hungry", "idle", "jolly", "jumpy", "keen", "kind", "lame", "large", "lazy", "level", "lilac", "lively", "local",
    "lofty", "lonely", "loose", "loud", "lovely", "loyal", "lucky", "lunar", "mellow", "merry", "mild", "misty", "modern", "modest",
    "moist", "moody", "muddy", "narrow", "native", "neat", "nervous", "nimble", "noble", "noisy", "northern", "novel", "odd", "olive",
    "open", "orange", "oval", "pale", "patient", "peaceful", "plain", "playful", "plump", "polite", "proud", "prudent", "purple",
    "quaint", "quick", "quiet", "rapid", "rare", "ready", "remote", "restless", "rich", "rigid", "ripe", "robust", "rosy", "rough",
    "rowdy", "rustic", "sandy", "scarlet", "secret", "serene", "shaky", "shallow", "sharp", "shiny", "short", "shy", "silent", "silver",
    "simple", "sleepy", "slender", "slim", "slow", "smooth", "snowy", "sober", "solar", "solid", "sour", "southern", "spare", "spicy",
    "square", "stable", "steady", "steep", "sticky", "stout", "strange", "strict", "strong", "sturdy", "subtle", "sudden", "sunny",
    "supple", "sweet", "swift", "tall", "tame", "tangy", "tender", "thick", "thin", "thirsty", "thrifty", "tidy", "timid", "tiny",
    "tough", "tranquil", "tropic", "true", "urban", "useful", "vague", "valiant", "vast", "velvet", "violet", "vivid", "warm", "wary",
    "weary", "western", "wide", "wild", "wise", "witty", "wooden", "woolly", "young", "zesty"};
static const char *const nouns[] = {
    "abbot", "acorn", "actor", "admiral", "alley", "almond", "anchor", "anvil", "apple", "apron", "archer", "armour", "arrow", "artist",
    "atlas", "attic", "author", "avenue", "axle", "badge", "baker", "balcony", "balloon", "bamboo", "banjo", "barber", "barley", "barrel",
    "basin", "basket", "beacon", "beaver", "beetle", "bench", "berry", "bishop", "blanket", "blossom", "bonnet", "bottle", "boulder",
    "bracelet", "brick", "bridge", "brook", "broom", "brush", "bucket", "buckle", "bugle", "bushel", "butcher", "butter", "button",
    "cabbage", "cabin", "cactus", "camel", "camera", "canal", "candle", "cannon", "canoe", "canvas", "canyon", "captain", "caravan",
    "carpet", "carrot", "cart", "cashew", "castle", "cathedral", "cattle", "cavern", "cedar", "cellar", "chain", "chalk", "chapel",
    "cherry", "chess", "chestnut", "chimney", "chisel", "cider", "cinema", "circle", "citizen", "clarinet", "cliff", "cloak", "clock",
    "clover", "cobbler", "coffee", "collar", "comet", "compass", "cookie", "cottage", "cotton", "cougar", "cousin", "cradle", "crane",
    "crater", "cricket", "crown", "crystal", "cupboard", "curtain", "cushion", "daisy", "dancer", "desert", "diamond", "doctor",
    "dolphin", "donkey", "dragon", "drawer", "dream", "drum", "eagle", "easel", "editor", "elbow", "elephant", "elm", "emerald", "engine",
    "envelope", "factory", "falcon", "farmer", "feather", "fence", "ferry", "fiddle", "field", "finger", "flannel", "flask", "flute",
    "forest", "fossil", "fountain", "fox", "galaxy", "gallery", "garden", "garlic", "gate", "gazelle", "geyser", "ginger", "giraffe",
    "glacier", "glove", "goblet", "goose", "granite", "grape", "guitar", "hammer", "hammock", "harbour", "harp", "hazel", "hedge",
    "helmet", "heron", "hill", "hornet", "hostel", "hunter", "iceberg", "island", "ivory", "jacket", "jaguar", "jar", "jasmine", "jewel",
    "jockey", "judge", "juggler", "jungle", "juniper", "kennel", "kettle", "kitchen", "kite", "kitten", "knight", "ladder", "lagoon",
    "lamp", "lantern", "lark", "laurel", "lawyer", "lemon", "leopard", "library", "lily", "lion", "lizard", "lobster", "locket", "lodge",
    "lynx", "magnet", "magpie", "mammoth", "mandolin", "mango", "mantle", "maple", "marble", "market", "marsh", "mason", "meadow",
    "melon", "merchant", "meteor", "miller", "mirror", "monkey", "mosaic", "moth", "mountain", "mule", "museum", "mustard", "napkin",
    "needle", "nest", "nurse", "nutmeg", "oak", "oasis", "oboe", "ocean", "onion", "orchard", "orchid", "organ", "otter", "owl", "oyster",
    "paddle", "palace", "panther", "paper", "parcel", "parrot", "pasture", "peach", "pebble", "pelican", "pencil", "pepper", "piano",
    "pigeon", "pillow", "pilot", "pine", "pirate", "pitcher", "planet", "plaza", "plum", "pocket", "poet", "pony", "poplar", "potato",
    "prairie", "prince", "puffin", "pumpkin", "puppet", "pyramid", "quarry", "quilt", "rabbit", "radish", "raft", "raven", "ribbon",
    "river", "robin", "rocket", "rope", "ruby", "saddle", "sailor", "salmon", "sapphire", "saturn", "scarf", "school", "sculptor", "shed",
    "shepherd", "shield", "ship", "shovel", "singer", "sketch", "slipper", "sparrow", "spider", "spoon", "squirrel", "statue", "stove",
    "stream", "summit", "swan", "sword", "tailor", "teacher", "temple", "thimble", "thistle", "thunder", "ticket", "tiger", "timber",
    "toast", "tower", "tractor", "trumpet", "tulip", "tunnel", "turbine", "turtle", "umbrella", "valley", "vase", "village", "vine",
    "violin", "volcano", "wagon", "waiter", "walnut", "walrus", "warden", "weaver", "whale", "wharf", "willow", "window", "wizard",
    "wolf", "wreath", "yacht", "yogurt", "zebra", "zephyr"};
enum { ADJECTIVES = sizeof adjectives / sizeof *adjectives, NOUNS = sizeof nouns / sizeof *nouns };

int64_t kd_ruler_keys(void) { return (int64_t)ADJECTIVES * NOUNS; }

void kd_ruler_key(char out[KD_RULER_KEY], int64_t i) {
    snprintf(out, KD_RULER_KEY, "%s-%s", adjectives[i / NOUNS], nouns[i % NOUNS]);
}

/* ---- invented words: two syllables of a consonant, a vowel and l, n or r ------------------------------------------------------ */

static const char begins[] = "bcdfghjklmnprstv", vowels[] = "aeiou", ends[] = "lnr";
enum { BEGINS = sizeof begins - 1, VOWELS = sizeof vowels - 1, ENDS = sizeof ends - 1, SYLLABLES = BEGINS * VOWELS * ENDS };

int64_t kd_ruler_invented(void) { return (int64_t)SYLLABLES * SYLLABLES; }

static void syllable(char *out, int64_t i) {
    out[0] = begins[i / (VOWELS * ENDS)];
    out[1] = vowels[i / ENDS % VOWELS];
    out[2] = ends[i % ENDS];
}

void kd_ruler_invent(char out[KD_RULER_CODE], int64_t i) {
    syllable(out, i / SYLLABLES);
    syllable(out + 3, i % SYLLABLES);
    out[6] = 0;
}

void kd_ruler_code(char out[KD_RULER_CODE], kd_draws *draws) {
    for (int i = 0; i < 6; i++) out[i] = (char)('a' + kd_draw_below(draws, 26));
    out[6] = 0;
}

/* ---- words to be counted ------------------------------------------------------------------------------------------------- */

enum { SHORTEST = 4, LONGEST = 12 };

/* Hashes of the words that were taken (odd) and of all parts of them (even): open addressing. */
typedef struct parts { uint64_t *slot; int64_t slots, used; } parts;

static bool has(const parts *p, uint64_t hash) {
    for (uint64_t i = hash >> 1; p->slot[i & (uint64_t)(p->slots - 1)]; i++)
        if (p->slot[i & (uint64_t)(p->slots - 1)] == hash) return true;
    return false;
}

static void put(parts *p, uint64_t hash) {
    uint64_t i = hash >> 1;
    while (p->slot[i & (uint64_t)(p->slots - 1)]) i++;
    p->slot[i & (uint64_t)(p->slots - 1)] = hash;
    p->used++;
}

static uint64_t hash_of(const char *text, int64_t size, bool word) { return (kd_hash(text, size) & ~1ull) | 2 | word; }

/* Neither part of a word that was taken, nor with such a word in it. */
static bool stands_apart(const parts *p, const char *word, int64_t size) {
    if (has(p, hash_of(word, size, false))) return false;
    for (int64_t from = 0; from + SHORTEST <= size; from++)
        for (int64_t n = SHORTEST; from + n <= size; n++)
            if (has(p, hash_of(word + from, n, true))) return false;
    return true;
}

static void take(kd_ruler_words *words, parts *p, const char *word, int64_t size) {
    if (!stands_apart(p, word, size)) return;
    memcpy(words->word[words->count], word, (size_t)size);
    words->word[words->count++][size] = 0;
    put(p, hash_of(word, size, true));
    for (int64_t from = 0; from + SHORTEST <= size; from++)
        for (int64_t n = SHORTEST; from + n <= size; n++)
            if (!has(p, hash_of(word + from, n, false))) put(p, hash_of(word + from, n, false));
}

static bool is_small(char c) { return c >= 'a' && c <= 'z'; }
static bool is_part(char c) {
    return is_small(c) || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80 || c == '\'' || c == '-' || c == '_';
}

kd_status kd_ruler_words_open(kd_ruler_words *words, const char *text, int64_t size, int64_t need) {
    enum { PARTS = 46 };  /* of a word of LONGEST letters, itself twice */
    parts p = {.slots = 1024};
    kd_status status;
    *words = (kd_ruler_words){0};
    while (p.slots < need * PARTS * 2) p.slots *= 2;
    KD_GO(kd_new(&p.slot, p.slots, sizeof *p.slot));
    KD_GO(kd_new(&words->word, need, sizeof *words->word));
    for (int64_t at = 0, end; text && at < size && words->count < need; at = end + 1) {
        bool small = true;
        for (end = at; end < size && is_part(text[end]); end++) small &= is_small(text[end]);
        if (small && end - at >= SHORTEST && end - at <= LONGEST) take(words, &p, text + at, end - at);
    }
    for (int64_t i = 0; i < NOUNS + ADJECTIVES && words->count < need; i++) {
        const char *word = i < NOUNS ? nouns[i] : adjectives[i - NOUNS];
        if (strlen(word) >= SHORTEST && strlen(word) <= LONGEST) take(words, &p, word, (int64_t)strlen(word));
    }
    words->real = words->count;
    for (int64_t i = 0; i < kd_ruler_invented() && words->count < need; i++) {
        char word[KD_RULER_CODE];
        kd_ruler_invent(word, (int64_t)kd_random_permute(0, 0, (uint64_t)i, (uint64_t)kd_ruler_invented()));
        take(words, &p, word, 6);
    }
done:
    free(p.slot);
    if (status) kd_ruler_words_close(words);
    return status;
}

void kd_ruler_words_close(kd_ruler_words *words) {
    free(words->word);
    *words = (kd_ruler_words){0};
}
