/* What tokens say as they come: with real tokenizers (tokenizers/ of KEDGE_ASSETS), whole characters and no more than the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/random.h"
#include "eval/answer_text.h"
#include "format/jsonl.h"
#include "scratch.h"

static const char *const names[] = {"bytes", "llama2", "llama3", "mistral_v3", "qwen"};
enum { NAMES = sizeof names / sizeof *names };

static const char *const texts[] = {
    "The tide is low, and the stones are dry.",
    " leading space, and  two  inside ",
    "gr\xc3\xbc\xc3\x9f Gott \xe2\x82\xac 5 \xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd end",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c \xf0\xa0\x9c\x8e\xf0\xa0\x9c\xb1 \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
    "line\n\n\tindented\r\nend\n",
    "<0xE2> is no byte, </s is no end, \xef\xbf\xbd is itself",
};
enum { TEXTS = sizeof texts / sizeof *texts };

/* false: the tokenizer is not here. */
static bool open_tokenizer(kd_tokenizer *t, const char *name) {
    const char *assets = getenv("KEDGE_ASSETS");
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizers/%s", assets ? assets : "../shared/assets", name);
    bool bytes = !strcmp(name, "bytes");
    if (!bytes && !kd_exists(path)) {
        print_message("skipped: %s is not here\n", path);
        return false;
    }
    assert_done(kd_tokenizer_open(t, bytes ? name : path));
    return true;
}

/* Every piece that can be told is whole, is told once, and what was told stays. */
static void say(kd_answer_text *w, const kd_ids *ids) {
    kd_text told = {0};
    for (int64_t i = 0; i <= ids->count && !w->stopped; i++) {
        if (i < ids->count) assert_done(kd_answer_text_add(w, ids->id[i]));
        else assert_done(kd_answer_text_end(w));
        int64_t settled = kd_answer_text_settled(w, i == ids->count);
        assert_true(settled >= told.size || w->stopped);
        if (settled <= told.size) continue;
        if (told.size) assert_memory_equal(told.data, w->text.data, (size_t)told.size);
        assert_int_equal(kd_utf8_invalid(w->text.data + told.size, settled - told.size), -1);
        kd_text_add(&told, w->text.data + told.size, settled - told.size);
    }
    assert_int_equal(told.size, w->text.size);
    kd_text_free(&told);
}

static void tokens_say_what_they_were_made_of(void **state) {
    (void)state;
    for (int n = 0; n < NAMES; n++) {
        kd_tokenizer t;
        kd_encoder *encoder;
        if (!open_tokenizer(&t, names[n])) continue;
        assert_done(kd_encoder_new(&encoder, &t));
        for (int i = 0; i < TEXTS; i++) {
            kd_ids all = {0}, prompt = {0};
            kd_answer_text w;
            char whole[512];
            snprintf(whole, sizeof whole, "Before it:%s", texts[i]);
            assert_done(kd_encode(&prompt, encoder, "Before it:", 10, KD_ENCODE_SPECIALS));
            assert_done(kd_encode(&all, encoder, whole, (int64_t)strlen(whole), KD_ENCODE_SPECIALS));
            int64_t from = 0;  /* the first token that the prompt has not is the first that is said */
            while (from < prompt.count && from < all.count && all.id[from] == prompt.id[from]) from++;
            kd_text head = {0};
            assert_done(kd_decode(&head, &t, all.id, from, true));
            assert_done(kd_answer_text_open(&w, &t, all.id, from, NULL, 0));
            say(&w, &(kd_ids){all.id + from, all.count - from, 0});
            kd_text_add(&head, w.text.data, w.text.size);
            if (strcmp(head.data, whole)) fail_msg("%s: \"%s\" is not \"%s\"", names[n], head.data, whole);
            kd_answer_text_close(&w);
            kd_text_free(&head);
            free(all.id);
            free(prompt.id);
        }
        kd_encoder_free(encoder);
        kd_tokenizer_close(&t);
    }
}

static void a_first_word_keeps_its_space(void **state) {
    (void)state;
    for (int n = 1; n < NAMES; n++) {
        kd_tokenizer t;
        kd_encoder *encoder;
        kd_ids ids = {0};
        kd_answer_text w;
        if (!open_tokenizer(&t, names[n])) continue;
        assert_done(kd_encoder_new(&encoder, &t));
        assert_done(kd_encode(&ids, encoder, "The capital is Paris", 20, 0));
        assert_done(kd_answer_text_open(&w, &t, ids.id, ids.count - 1, NULL, 0));
        say(&w, &(kd_ids){ids.id + ids.count - 1, 1, 0});
        assert_string_equal(w.text.data, " Paris");
        kd_answer_text_close(&w);
        free(ids.id);
        kd_encoder_free(encoder);
        kd_tokenizer_close(&t);
    }
}

static void any_tokens_say_something_whole(void **state) {
    (void)state;
    static const char *const stop[] = {"the", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\n"};
    for (int n = 0; n < NAMES; n++) {
        kd_tokenizer t;
        if (!open_tokenizer(&t, names[n])) continue;
        for (uint64_t run = 0; run < 40; run++) {
            kd_ids ids = {0};
            kd_answer_text w;
            assert_done(kd_ids_reserve(&ids, 200));
            for (uint64_t i = 0; i < 200; i++) {
                int64_t few = run % 2 ? 600 : t.vocabulary;  /* the first of most vocabularies are bytes */
                ids.id[ids.count++] = (int32_t)(kd_random_bits(3, run, i) % (uint64_t)(few < t.vocabulary ? few : t.vocabulary + 3));
            }
            assert_done(kd_answer_text_open(&w, &t, ids.id, 5, stop, run % 4 < 2 ? 3 : 0));
            say(&w, &(kd_ids){ids.id + 5, 195, 0});
            if (w.stopped) {
                for (int i = 0; i < 3; i++) assert_null(strstr(w.text.data, stop[i]));
            }
            kd_answer_text_close(&w);
            free(ids.id);
        }
        kd_tokenizer_close(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_say_what_they_were_made_of),
        cmocka_unit_test(a_first_word_keeps_its_space),
        cmocka_unit_test(any_tokens_say_something_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
