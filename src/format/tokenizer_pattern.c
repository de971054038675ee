/* What Split and Replace look for. Expressions are Oniguruma's in Hugging Face's package and run in PCRE2 here: what the
 * two read differently is written in PCRE2's way, or refused. */
#define _GNU_SOURCE /* memmem */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "tokenizer_model.h"

#define STEPS 1000000 /* of a match, more for a long text: an expression that needs more is given up */

/* ---- Oniguruma to PCRE2 ------------------------------------------------------------------------------------ */

typedef struct translation {
    kd_text *out;
    const char *at, *end;
    bool in_class;
} translation;

static kd_status refuse(const translation *t, const char *what, const char *at) {
    int size = (int)(t->end - at > 12 ? 12 : t->end - at);
    while (size > 0 && size < t->end - at && ((unsigned char)at[size] & 0xc0) == 0x80) size--;
    return kd_fail(KD_ENOTSUP, "%s in the expression, at \"%.*s\"", what, size, at);
}

/* \x41, \x{41}, \u0041 */
static kd_status translate_number(translation *t) {
    const char *from = t->at - 2, *digits = t->at;
    bool braces = t->at[-1] == 'x' && t->at < t->end && *t->at == '{';
    if (braces) digits = ++t->at;
    int most = braces ? 8 : from[1] == 'u' ? 4 : 2;
    while (t->at < t->end && t->at - digits < most && strchr("0123456789abcdefABCDEF", *t->at) && *t->at) t->at++;
    int count = (int)(t->at - digits);
    if (count == 0 || (from[1] == 'u' && count < 4) || (braces && (t->at >= t->end || *t->at != '}')))
        return refuse(t, "a number of a character", from);
    kd_text_print(t->out, "\\x{%.*s}", count, digits);
    if (braces) t->at++;
    return KD_OK;
}

/* \p{L}, \p{^L}, \p{Han}: a longer name is a script, which PCRE2 would take with its extensions. */
static kd_status translate_property(translation *t) {
    const char *from = t->at - 2, *close = memchr(t->at, '}', (size_t)(t->end - t->at));
    if (t->at >= t->end || *t->at != '{' || !close) return refuse(t, "a property without braces", from);
    const char *name = ++t->at;
    bool not = *name == '^';
    if (not) name++;
    int size = (int)(close - name);
    bool plain = size > 0 && size < 40;
    for (int i = 0; i < size && plain; i++)
        plain = (name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= 'a' && name[i] <= 'z') || name[i] == '_';
    if (!plain) return refuse(t, "a property", from);
    static const char *const binary[] = {"White_Space", "Alphabetic", "Lowercase", "Uppercase", "Any"};
    bool script = size > 2;
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (size == (int)strlen(binary[i]) && !memcmp(binary[i], name, (size_t)size)) script = false;
    kd_text_print(t->out, "\\%c{%s%s%.*s}", from[1], not ? "^" : "", script ? "sc:" : "", size, name);
    t->at = close + 1;
    return KD_OK;
}

#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"

static kd_status translate_escape(translation *t) {
    const char *from = t->at++;
    if (t->at >= t->end) return refuse(t, "a backslash at the end", from);
    char c = *t->at++;
    bool in = t->in_class;
    switch (c) {
    case 's': return kd_text_put(t->out, "\\p{White_Space}"), KD_OK;
    case 'S': return kd_text_put(t->out, "\\P{White_Space}"), KD_OK;
    case 'd': return kd_text_put(t->out, "\\p{Nd}"), KD_OK;
    case 'D': return kd_text_put(t->out, "\\P{Nd}"), KD_OK;
    case 'w': return kd_text_put(t->out, in ? WORD : "[" WORD "]"), KD_OK;
    case 'W': return in ? refuse(t, "\\W in a class", from) : (kd_text_put(t->out, "[^" WORD "]"), KD_OK);
    case 'h': return kd_text_put(t->out, in ? "0-9a-fA-F" : "[0-9a-fA-F]"), KD_OK;
    case 'n': case 'r': case 't': case 'f': case 'a': case 'e': return kd_text_print(t->out, "\\%c", c), KD_OK;
    case 'v': return kd_text_put(t->out, "\\x0b"), KD_OK;
    case 'x': case 'u': return translate_number(t);
    case 'p': case 'P': return translate_property(t);
    case 'A': case 'z': case 'Z': if (!in) return kd_text_print(t->out, "\\%c", c), KD_OK; break;
    case 'b':
        if (in) return kd_text_put(t->out, "\\x08"), KD_OK;
        return kd_text_put(t->out, "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"), KD_OK;
    default:
        if ((unsigned char)c < 0x80 && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && c > ' ')
            return kd_text_print(t->out, "\\%c", c), KD_OK;
    }
    return refuse(t, "an escape", from);
}

/* (?: (?= (?! (?<= (?<! (?> (?i: and ( ; anything else after a parenthesis is refused. */
static kd_status translate_open(translation *t) {
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    const char *from = t->at;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int64_t size = (int64_t)strlen(known[i]);
        if (t->end - t->at < size || memcmp(t->at, known[i], (size_t)size)) continue;
        kd_text_put(t->out, known[i]);
        t->at += size;
        return KD_OK;
    }
    t->at++;
    if (t->at < t->end && (*t->at == '?' || *t->at == '*')) return refuse(t, "a group", from);
    kd_text_put(t->out, "(?:");  /* nothing refers to what a group holds */
    return KD_OK;
}

/* {n} {n,} {n,m}; a further ? or + means other things there. */
static kd_status translate_interval(translation *t) {
    const char *from = t->at++, *digits = t->at;
    bool comma = false;
    while (t->at < t->end && ((*t->at >= '0' && *t->at <= '9') || (*t->at == ',' && !comma && t->at > digits))) comma |= *t->at++ == ',';
    if (t->at == digits || t->at >= t->end || *t->at != '}') return refuse(t, "a brace", from);
    t->at++;
    if (t->at < t->end && (*t->at == '+' || *t->at == '*' || (*t->at == '?' && !comma))) return refuse(t, "a repeated interval", from);
    kd_text_add(t->out, from, t->at - from);
    return KD_OK;
}

static kd_status translate_class(translation *t) {
    const char *from = t->at++;
    kd_text_put(t->out, "[");
    if (t->at < t->end && *t->at == '^') kd_text_add(t->out, t->at++, 1);
    if (t->at < t->end && *t->at == ']') return refuse(t, "an empty class", from);
    t->in_class = true;
    while (t->at < t->end && *t->at != ']') {
        if (*t->at == '[' || (*t->at == '&' && t->end - t->at > 1 && t->at[1] == '&')) return refuse(t, "a class in a class", t->at);
        if (*t->at == '\\') KD_TRY(translate_escape(t));
        else kd_text_add(t->out, t->at++, 1);
    }
    t->in_class = false;
    if (t->at >= t->end) return refuse(t, "a class without an end", from);
    kd_text_add(t->out, t->at++, 1);
    return KD_OK;
}

static kd_status translate(kd_text *out, const char *pattern, int64_t size) {
    translation t = {.out = out, .at = pattern, .end = pattern + size};
    while (t.at < t.end) {
        if (*t.at == '\\') KD_TRY(translate_escape(&t));
        else if (*t.at == '[') KD_TRY(translate_class(&t));
        else if (*t.at == '(') KD_TRY(translate_open(&t));
        else if (*t.at == '{') KD_TRY(translate_interval(&t));
        else kd_text_add(out, t.at++, 1);
    }
    return kd_text_status(out);
}

/* ---- finders ----------------------------------------------------------------------------------------------- */

static const struct { const char *pattern; enum kd_scan_kind scan; } known[] = {
    {KD_GPT2_PATTERN, KD_SCAN_GPT2},
#define BEFORE_NUMBERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define BEHIND_NUMBERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    {BEFORE_NUMBERS "\\p{N}{1,3}" BEHIND_NUMBERS, KD_SCAN_LLAMA3},
    {BEFORE_NUMBERS "\\p{N}" BEHIND_NUMBERS, KD_SCAN_QWEN},
};

static kd_status compile(kd_finder *finder, const char *pattern, int64_t size) {
    int error;
    size_t at;
    /* As in Oniguruma, ^ and $ are ends of lines, and a line ends in \n. */
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return kd_fail(KD_ENOMEM, "out of memory: an expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    finder->code = pcre2_compile((PCRE2_SPTR)pattern, (size_t)size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &at, context);
    pcre2_compile_context_free(context);
    if (!finder->code) {
        PCRE2_UCHAR what[160];
        if (error == PCRE2_ERROR_HEAP_FAILED) return kd_fail(KD_ENOMEM, "out of memory: an expression");
        if (pcre2_get_error_message(error, what, sizeof what) < 0) what[0] = 0;
        return kd_fail(KD_ENOTSUP, "the expression: %s", (const char *)what);
    }
    pcre2_jit_compile(finder->code, PCRE2_JIT_COMPLETE);  /* without it the same, slower */
    return KD_OK;
}

kd_status kd_finder_regex(kd_finder *finder, const char *pattern, int64_t size) {
    kd_text text = {0};
    kd_status status = KD_OK;
    if (size == 0) KD_GO(kd_fail(KD_ENOTSUP, "an empty expression"));
    KD_GO(translate(&text, pattern, size));
    KD_GO(compile(finder, text.data, text.size));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size == (int64_t)strlen(known[i].pattern) && !memcmp(pattern, known[i].pattern, (size_t)size)) finder->scan = known[i].scan;
done:
    kd_text_free(&text);
    return status;
}

kd_status kd_finder_literal(kd_finder *finder, const char *literal, int64_t size) {
    if (size == 0) return kd_fail(KD_ENOTSUP, "an empty pattern");
    KD_TRY(kd_new(&finder->literal, size + 1, 1));
    memcpy(finder->literal, literal, (size_t)size);
    finder->size = size;
    return KD_OK;
}

void kd_finder_free(kd_finder *finder) {
    free(finder->literal);
    pcre2_code_free(finder->code);
}

static kd_status run(kd_match *match, const kd_finder *finder, const kd_search *search, kd_encoder *encoder) {
    int64_t steps = STEPS + 4 * (search->size - search->at);
    pcre2_set_match_limit(encoder->context, (uint32_t)(steps < INT32_MAX ? steps : INT32_MAX));
    int got = pcre2_match(finder->code, (PCRE2_SPTR)search->text, (size_t)search->size, (size_t)search->at, PCRE2_NO_UTF_CHECK,
                          encoder->match, encoder->context);
    match->found = got >= 0;
    if (got == PCRE2_ERROR_NOMATCH) return KD_OK;
    if (got == PCRE2_ERROR_NOMEMORY) return kd_fail(KD_ENOMEM, "out of memory: an expression at byte %lld", (long long)search->at);
    if (got < 0)
        return kd_fail(KD_ENOTSUP, "an expression of the tokenizer needs too much at byte %lld of a text (PCRE2 error %d)",
                       (long long)search->at, got);
    const size_t *range = pcre2_get_ovector_pointer(encoder->match);
    match->begin = (int64_t)range[0];
    match->end = (int64_t)range[1];
    return KD_OK;
}

/* As rust-onig's find_iter: an empty match right behind a match is none. */
kd_status kd_finder_next(kd_match *match, const kd_finder *finder, kd_search *search, kd_encoder *encoder) {
    match->found = false;
    if (search->at > search->size) return KD_OK;
    if (!finder->code) {
        const char *at = memmem(search->text + search->at, (size_t)(search->size - search->at), finder->literal, (size_t)finder->size);
        if (!at) return KD_OK;
        search->at = at - search->text + finder->size;
        *match = (kd_match){at - search->text, search->at, true};
        return KD_OK;
    }
    for (;;) {
        KD_TRY(run(match, finder, search, encoder));
        if (!match->found) return KD_OK;
        if (match->end > match->begin || !search->again || search->last != match->end) break;
        search->at += search->at < search->size ? kd_utf8_size((unsigned char)search->text[search->at]) : 1;
        if (search->at > search->size) {
            match->found = false;
            return KD_OK;
        }
    }
    search->again = true;
    search->at = search->last = match->end;
    return KD_OK;
}
