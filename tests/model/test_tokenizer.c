/* test_tokenizer.c - the tokenizer against ids of the reference package, and what a tokenizer.json may not be.
 *
 * Golden files are made by tests/golden/compare_tokenizer.py and make_tokenizer_cases.py with the package
 * `tokenizers`: random texts on the default model's file, and small tokenizers with one option each. */
#include "tests/model/model_test.h"

#include "sdk/base/json.h"
#include "sdk/model/tokenizer.h"
#include "tests/fault/fault_alloc.h"

#include <pthread.h>

static const fovea_alloc *const alloc = &fvi_alloc_default;

static fvi_tokenizer *open_sample(void)
{
    fovea_error error = {0};
    fvi_tokenizer *tokenizer = NULL;
    assert_ok(fvi_tokenizer_open(alloc, SAMPLE_MODEL, &tokenizer, &error), &error);
    return tokenizer;
}

/* One golden line: [text, ids, decoded]. */
static void check_line(const fvi_tokenizer *tokenizer, const char *name, const json_t *line)
{
    const char *text = json_string_value(json_array_get(line, 0));
    const json_t *ids = json_array_get(line, 1);
    const char *decoded = json_string_value(json_array_get(line, 2));
    fovea_error error = {0};
    fvi_ids have = {.alloc = alloc};
    fvi_buf back = {.alloc = alloc};
    fvi_detok detok = {.tokenizer = tokenizer};
    assert_ok(fvi_tokenizer_encode(tokenizer, text, strlen(text), &have, &error), &error);
    if (have.n != json_array_size(ids)) {
        fail_msg("%s: \"%s\": %zu ids, expected %zu", name, text, have.n, json_array_size(ids));
    }
    for (size_t i = 0; i < have.n; i++) {
        if (have.data[i] != json_integer_value(json_array_get(ids, i))) {
            fail_msg("%s: \"%s\": id %zu is %d, expected %lld", name, text, i, have.data[i],
                     json_integer_value(json_array_get(ids, i)));
        }
        assert_int_equal(fvi_detok_push(&detok, have.data[i], &back), FOVEA_OK);
        size_t bad_at = back.n;
        /* what has come so far is well-formed by itself: jansson takes nothing else */
        json_t *whole = json_stringn(back.n > 0 ? back.data : "", bad_at);
        assert_non_null(whole);
        json_decref(whole);
    }
    assert_int_equal(fvi_detok_finish(&detok, &back), FOVEA_OK);
    if (back.n != strlen(decoded) || (back.n > 0 && memcmp(back.data, decoded, back.n) != 0)) {
        fail_msg("%s: \"%s\" decodes to \"%.*s\", expected \"%s\"", name, text, (int)back.n,
                 back.n > 0 ? back.data : "", decoded);
    }
    fvi_ids_free(&have);
    fvi_buf_free(&back);
}

static void test_golden(void **state)
{
    (void)state;
    fovea_error error = {0};
    json_t *lines = NULL;
    fvi_tokenizer *tokenizer = open_sample();
    assert_ok(fvi_json_load(alloc, GOLDEN(""), "tokenizer.json", &lines, &error), &error);
    assert_true(json_array_size(lines) >= 300);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        check_line(tokenizer, "tokenizer.json", json_array_get(lines, i));
    }
    json_decref(lines);
    fvi_tokenizer_close(&tokenizer);
    assert_null(tokenizer);
}

/* ---- small tokenizers ---- */

static json_t *load_cases(void)
{
    fovea_error error = {0};
    json_t *file = NULL;
    assert_ok(fvi_json_load(alloc, GOLDEN(""), "tokenizer_cases.json", &file, &error), &error);
    return file;
}

/* Writes the base tokenizer with some keys replaced; of "model" single fields are. */
static void write_variant(const scratch *s, const json_t *base, json_t *changes)
{
    json_t *whole = json_deep_copy(base);
    const char *key;
    json_t *value;
    json_object_foreach(changes, key, value)
    {
        if (strcmp(key, "model") == 0 && json_is_object(value)) {
            json_object_update(json_object_get(whole, key), value);
        } else {
            json_object_set(whole, key, value);
        }
    }
    char *text = json_dumps(whole, JSON_COMPACT);
    assert_non_null(text);
    scratch_text(s, "tokenizer.json", text);
    free(text);
    json_decref(whole);
}

static void test_cases(void **state)
{
    (void)state;
    scratch s;
    json_t *file = load_cases();
    const json_t *cases = json_object_get(file, "cases");
    scratch_new(&s);
    assert_true(json_array_size(cases) >= 35);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        fovea_error error = {0};
        fvi_tokenizer *tokenizer = NULL;
        const json_t *one = json_array_get(cases, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        const json_t *texts = json_object_get(one, "texts");
        write_variant(&s, json_object_get(file, "base"), json_object_get(one, "changes"));
        fovea_status status = fvi_tokenizer_open(alloc, s.dir, &tokenizer, &error);
        if (status < 0) {
            fail_msg("%s: %s", name, error.text);
        }
        for (size_t t = 0; t < json_array_size(texts); t++) {
            check_line(tokenizer, name, json_array_get(texts, t));
        }
        fvi_tokenizer_close(&tokenizer);
    }
    json_decref(file);
    scratch_free(&s);
}

static const struct {
    const char *changes;
    fovea_status code;
    const char *word;
} refused[] = {
    {"{\"model\":{\"type\":\"WordPiece\"}}", FOVEA_ERR_UNSUPPORTED, "WordPiece"},
    {"{\"model\":{\"type\":\"Unigram\"}}", FOVEA_ERR_UNSUPPORTED, "Unigram"},
    {"{\"model\":{\"byte_fallback\":true}}", FOVEA_ERR_UNSUPPORTED, "byte_fallback"},
    {"{\"model\":{\"dropout\":0.1}}", FOVEA_ERR_UNSUPPORTED, "dropout"},
    {"{\"model\":{\"end_of_word_suffix\":\"</w>\"}}", FOVEA_ERR_UNSUPPORTED, "end_of_word_suffix"},
    {"{\"model\":{\"continuing_subword_prefix\":\"##\"}}", FOVEA_ERR_UNSUPPORTED,
     "continuing_subword_prefix"},
    {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"a\"}}", FOVEA_ERR_UNSUPPORTED,
     "unk_token"},
    {"{\"model\":{\"vocab\":[]}}", FOVEA_ERR_FORMAT, "vocab"},
    {"{\"model\":{\"merges\":3}}", FOVEA_ERR_FORMAT, "merges"},
    {"{\"model\":{\"vocab\":{\"a\":-1}}}", FOVEA_ERR_FORMAT, "\"a\" has no id"},
    {"{\"model\":{\"vocab\":{\"a\":4194304}}}", FOVEA_ERR_FORMAT, "\"a\" has no id"},
    {"{\"model\":{\"vocab\":{\"a\":1.5}}}", FOVEA_ERR_FORMAT, "\"a\" has no id"},
    {"{\"model\":{\"vocab\":{\"a\":1,\"b\":1}}}", FOVEA_ERR_FORMAT, "twice"},
    {"{\"model\":{\"merges\":[\"a b c\"]}}", FOVEA_ERR_FORMAT, "merge 0 is no pair"},
    {"{\"model\":{\"merges\":[[\"a\",3]]}}", FOVEA_ERR_FORMAT, "merge 0 is no pair"},
    {"{\"model\":{\"merges\":[[\"a\"]]}}", FOVEA_ERR_FORMAT, "merge 0 is no pair"},
    {"{\"model\":{\"merges\":[\"a #\"]}}", FOVEA_ERR_FORMAT, "merge 0 speaks of"},
    {"{\"model\":null}", FOVEA_ERR_FORMAT, "model"},
    {"{\"normalizer\":{\"type\":\"NFKC\"}}", FOVEA_ERR_UNSUPPORTED, "NFKC"},
    {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
     "\"Lowercase\"}]}}",
     FOVEA_ERR_UNSUPPORTED, "Lowercase"},
    {"{\"pre_tokenizer\":null}", FOVEA_ERR_UNSUPPORTED, "pre-tokenizer"},
    {"{\"pre_tokenizer\":{\"type\":\"Metaspace\"}}", FOVEA_ERR_UNSUPPORTED, "Metaspace"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\"},"
     "{\"type\":\"ByteLevel\"}]}}",
     FOVEA_ERR_UNSUPPORTED, "Punctuation"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
     "{\"type\":\"ByteLevel\"}]}}",
     FOVEA_ERR_UNSUPPORTED, "ByteLevel before others"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
     "\"behavior\":\"Odd\","
     "\"pattern\":{\"Regex\":\"a\"}},{\"type\":\"ByteLevel\"}]}}",
     FOVEA_ERR_UNSUPPORTED, "Odd"},
    {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
     "\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"\\\\bx\"}},{\"type\":\"ByteLevel\"}]}}",
     FOVEA_ERR_UNSUPPORTED, "\\bx"},
    {"{\"post_processor\":{\"type\":\"BertProcessing\"}}", FOVEA_ERR_UNSUPPORTED, "BertProcessing"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}"
     "},"
     "{\"SpecialToken\":{\"id\":\"e\"}}],\"special_tokens\":{\"e\":{\"ids\":[1]}}}}",
     FOVEA_ERR_UNSUPPORTED, "behind the text"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
     "\"e\"}}],"
     "\"special_tokens\":{\"e\":{\"ids\":[4000]}}}}",
     FOVEA_ERR_FORMAT, "wrong id"},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
     "\"e\"}}]}}",
     FOVEA_ERR_FORMAT, "lacks the special token \"e\""},
    {"{\"decoder\":null}", FOVEA_ERR_UNSUPPORTED, "decoder"},
    {"{\"decoder\":{\"type\":\"WordPiece\"}}", FOVEA_ERR_UNSUPPORTED, "WordPiece"},
    {"{\"added_tokens\":[{\"id\":900,\"content\":\"<x>\"}]}", FOVEA_ERR_UNSUPPORTED,
     "numbering on"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"the\"}]}", FOVEA_ERR_FORMAT, "as well"},
    {"{\"added_tokens\":[{\"content\":\"the\"}]}", FOVEA_ERR_FORMAT, "no id"},
    {"{\"added_tokens\":[{\"id\":1}]}", FOVEA_ERR_FORMAT, "content"},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"the\",\"special\":2}]}", FOVEA_ERR_FORMAT,
     "special"},
};

static void test_refused_by_name(void **state)
{
    (void)state;
    scratch s;
    fovea_error error = {0};
    fvi_tokenizer *tokenizer = NULL;
    json_t *file = load_cases();
    scratch_new(&s);
    assert_int_equal(fvi_tokenizer_open(alloc, s.dir, &tokenizer, &error), FOVEA_ERR_NOT_FOUND);
    for (size_t i = 0; i < FVI_COUNT(refused); i++) {
        json_error_t why;
        json_t *changes = json_loads(refused[i].changes, 0, &why);
        if (changes == NULL) {
            fail_msg("%s: %s", refused[i].changes, why.text);
        }
        write_variant(&s, json_object_get(file, "base"), changes);
        fovea_status status = fvi_tokenizer_open(alloc, s.dir, &tokenizer, &error);
        assert_error(status, &error, refused[i].code, refused[i].word);
        assert_null(tokenizer);
        json_decref(changes);
    }
    scratch_text(&s, "tokenizer.json", "[]");
    assert_int_equal(fvi_tokenizer_open(alloc, s.dir, &tokenizer, &error), FOVEA_ERR_FORMAT);
    scratch_text(&s, "tokenizer.json", "{\"model\":");
    assert_int_equal(fvi_tokenizer_open(alloc, s.dir, &tokenizer, &error), FOVEA_ERR_FORMAT);
    json_decref(file);
    scratch_free(&s);
}

/* ---- access ---- */

static void test_access(void **state)
{
    (void)state;
    fvi_tokenizer *t = open_sample();
    const char *bytes = NULL;
    size_t n_bytes = 0;
    fvi_ids ids = {.alloc = alloc};
    assert_int_equal(fvi_tokenizer_vocab(t), 1536);
    assert_int_equal(fvi_tokenizer_find(t, "<image>"), 3);
    assert_int_equal(fvi_tokenizer_find(t, "<imag>"), -1);
    assert_int_equal(fvi_tokenizer_find(t, "A"), 36);
    assert_true(fvi_tokenizer_is_special(t, 2));
    assert_false(fvi_tokenizer_is_special(t, 36));
    assert_false(fvi_tokenizer_is_special(t, -1));
    assert_false(fvi_tokenizer_is_special(t, 1536));
    int32_t duck = fvi_tokenizer_find(t, "\xC4\xA0"
                                         "Duck"); /* U+0120 stands for a space */
    assert_true(duck > 0);
    assert_int_equal(fvi_tokenizer_bytes(t, duck, &bytes, &n_bytes), FOVEA_OK);
    assert_int_equal(n_bytes, 5);
    assert_memory_equal(bytes, " Duck", 5);
    assert_int_equal(fvi_tokenizer_bytes(t, 1536, &bytes, &n_bytes), FOVEA_ERR_ARG);
    assert_int_equal(fvi_tokenizer_bytes(t, -1, &bytes, &n_bytes), FOVEA_ERR_ARG);
    assert_int_equal(fvi_tokenizer_begin(t, &ids), FOVEA_OK);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.data[0], 1);
    fvi_ids_free(&ids);
    fvi_tokenizer_close(&t);
}

static void test_bad_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *word;
    } bad[] = {
        {"ab\xFF", "byte 2"},           {"\xC0\x80", "byte 0"},         {"a\xED\xA0\x80", "byte 1"},
        {"\xF4\x90\x80\x80", "byte 0"}, {"ok \xE2\x82", "byte 3"},      {"\x80", "byte 0"},
        {"\xE0\x9F\xBF", "byte 0"},     {"\xF0\x8F\xBF\xBF", "byte 0"}, {"\xE2\x82z", "byte 0"},
    };
    fvi_tokenizer *t = open_sample();
    fvi_ids ids = {.alloc = alloc};
    assert_int_equal(fvi_ids_append(&ids, 4711), FOVEA_OK);
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        fovea_error error = {0};
        fovea_status status =
            fvi_tokenizer_encode(t, bad[i].text, strlen(bad[i].text), &ids, &error);
        assert_error(status, &error, FOVEA_ERR_FORMAT, bad[i].word);
        assert_int_equal(ids.n, 1);
    }
    /* a zero byte is a character like others */
    assert_int_equal(fvi_tokenizer_encode(t, "a\0b", 3, &ids, NULL), FOVEA_OK);
    assert_int_equal(ids.n, 4);
    fvi_ids_free(&ids);
    fvi_tokenizer_close(&t);
}

/* ---- decoding ---- */

/* The token of one byte, by the form the default model's file has for it. */
static int32_t byte_token(const fvi_tokenizer *t, unsigned char byte)
{
    const char *bytes;
    size_t n_bytes;
    for (int32_t id = 4; id < 260; id++) {
        if (fvi_tokenizer_bytes(t, id, &bytes, &n_bytes) == FOVEA_OK && n_bytes == 1 &&
            (unsigned char)bytes[0] == byte) {
            return id;
        }
    }
    fail_msg("no token for byte %02x", byte);
    return -1;
}

#define FFFD "\xEF\xBF\xBD"

static void test_broken_characters(void **state)
{
    (void)state;
    /* what Python's bytes.decode("utf-8", "replace") says of them, as Rust's from_utf8_lossy does */
    static const struct {
        const char *bytes;
        const char *text;
    } lines[] = {
        {"\xE2\x82\xAC", "\xE2\x82\xAC"},
        {"\xE2\x82z", FFFD "z"},
        {"\xE2z", FFFD "z"},
        {"\xE2\x82", FFFD},
        {"\xFF\xFE", FFFD FFFD},
        {"\x80\x80z", FFFD FFFD "z"},
        {"\xC0\xAF", FFFD FFFD},
        {"\xED\xA0\x80", FFFD FFFD FFFD},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
        {"\xF0\x9F\x98", FFFD},
        {"\xF0\x9F\xF0\x9F\x98\x80", FFFD "\xF0\x9F\x98\x80"},
        {"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD},
        {"\xE2\x82\xE2\x82\xAC", FFFD "\xE2\x82\xAC"},
        {"a\xCC\x81", "a\xCC\x81"},
    };
    fvi_tokenizer *t = open_sample();
    for (size_t i = 0; i < FVI_COUNT(lines); i++) {
        fvi_buf out = {.alloc = alloc};
        fvi_detok detok = {.tokenizer = t};
        for (const char *c = lines[i].bytes; *c != '\0'; c++) {
            assert_int_equal(fvi_detok_push(&detok, byte_token(t, (unsigned char)*c), &out),
                             FOVEA_OK);
            /* a special token and an id without a token neither show nor part a character */
            assert_int_equal(fvi_detok_push(&detok, 2, &out), FOVEA_OK);
            assert_int_equal(fvi_detok_push(&detok, 99999, &out), FOVEA_OK);
        }
        assert_int_equal(fvi_detok_finish(&detok, &out), FOVEA_OK);
        assert_int_equal(out.n, strlen(lines[i].text));
        assert_memory_equal(out.data, lines[i].text, out.n);
        fvi_buf_free(&out);
    }
    fvi_tokenizer_close(&t);
}

/* ---- long texts, failing memory ---- */

/* One pre-token of a megabyte takes not much more than eight times an eighth of it. */
static void test_long_text_is_linear(void **state)
{
    (void)state;
    static const char *const units[] = {"a", " ", "1", "\n", "ab", "\xCC\x96\xCC\x81", "!?"};
    fvi_tokenizer *t = open_sample();
    for (size_t u = 0; u < FVI_COUNT(units); u++) {
        int64_t spent[2];
        for (int big = 0; big < 2; big++) {
            fvi_buf text = {.alloc = alloc};
            fvi_ids ids = {.alloc = alloc};
            while (text.n < (big ? 1u << 20 : 1u << 17)) {
                assert_int_equal(fvi_buf_append(&text, units[u], strlen(units[u])), FOVEA_OK);
            }
            int64_t begin = fvi_now_ns();
            assert_int_equal(fvi_tokenizer_encode(t, text.data, text.n, &ids, NULL), FOVEA_OK);
            spent[big] = fvi_now_ns() - begin;
            assert_true(ids.n > 0);
            fvi_buf_free(&text);
            fvi_ids_free(&ids);
        }
        /* quadratic would be 64 times and minutes; 32 leaves room for a busy machine */
        if (spent[1] > 32 * spent[0] && spent[1] > 2000000000) {
            fail_msg("\"%s\": %lld ns, an eighth of it %lld ns", units[u], (long long)spent[1],
                     (long long)spent[0]);
        }
    }
    fvi_tokenizer_close(&t);
}

/* ---- many threads, one tokenizer ---- */

typedef struct encoding {
    const fvi_tokenizer *tokenizer;
    fvi_ids ids;
    fovea_status status;
} encoding;

static void *encode_often(void *arg)
{
    static const char text[] = "USER: <image>\nHow many 12 d\xC3\xA9j\xC3\xA0-vu ducks? ASSISTANT:";
    encoding *self = arg;
    for (int i = 0; self->status >= 0 && i < 200; i++) {
        self->ids.n = 0;
        self->status =
            fvi_tokenizer_encode(self->tokenizer, text, sizeof text - 1, &self->ids, NULL);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    fvi_tokenizer *t = open_sample();
    encoding work[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        work[i] = (encoding){.tokenizer = t, .ids = {.alloc = alloc}};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &work[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(work[i].status, FOVEA_OK);
        assert_int_equal(work[i].ids.n, work[0].ids.n);
        assert_memory_equal(work[i].ids.data, work[0].ids.data, work[0].ids.n * sizeof(int32_t));
    }
    for (int i = 0; i < 4; i++) {
        fvi_ids_free(&work[i].ids);
    }
    fvi_tokenizer_close(&t);
}

static fovea_status whole_life(const fovea_alloc *memory, void *dir)
{
    static const char text[] = "x e\xCC\x81 <mask> the image, 12 things";
    fvi_tokenizer *t = NULL;
    fvi_ids ids = {.alloc = memory};
    fvi_buf out = {.alloc = memory};
    fovea_status status = fvi_tokenizer_open(memory, dir, &t, NULL);
    if (status >= 0) {
        status = fvi_tokenizer_encode(t, text, sizeof text - 1, &ids, NULL);
    }
    fvi_detok detok = {.tokenizer = t};
    for (size_t i = 0; status >= 0 && i < ids.n; i++) {
        status = fvi_detok_push(&detok, ids.data[i], &out);
    }
    fvi_ids_free(&ids);
    fvi_buf_free(&out);
    fvi_tokenizer_close(&t);
    return status;
}

static void test_memory_failures(void **state)
{
    (void)state;
    scratch s;
    uint64_t n_point = 0;
    json_t *file = load_cases();
    const json_t *cases = json_object_get(file, "cases");
    scratch_new(&s);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *one = json_array_get(cases, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (strcmp(name, "added tokens") != 0 && strcmp(name, "split llama3") != 0 &&
            strcmp(name, "prefix space") != 0 && strcmp(name, "ignore_merges") != 0) {
            continue;
        }
        write_variant(&s, json_object_get(file, "base"), json_object_get(one, "changes"));
        const char *wrong = fault_sweep(whole_life, s.dir, &n_point);
        if (wrong != NULL) {
            fail_msg("%s: %s", name, wrong);
        }
        assert_true(n_point > 20);
    }
    json_decref(file);
    scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_broken_characters),
        cmocka_unit_test(test_long_text_is_linear),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
