/* test_regex.c - Oniguruma patterns in PCRE2's words: meaning kept, or the construct refused by name. */
#include "tests/model/model_test.h"

#include "sdk/model/regex.h"
#include "tests/fault/fault_alloc.h"

static const fovea_alloc *const alloc = &fvi_alloc_default;

/* The first match, in Oniguruma's meaning; begin -1: none. */
static const struct {
    const char *pattern;
    const char *text;
    int begin, end;
} matches[] = {
    {"\\s", "a\xE1\xA0\x8E\xC2\xA0", 4, 6},      /* U+180E is no space, U+00A0 is */
    {"\\s+", "x\xC2\x85\xE3\x80\x80\x0B", 1, 7}, /* U+0085, U+3000, U+000B are */
    {"[^\\s]", "\x1C", 0, 1},                    /* U+001C is none */
    {"\\S", " \t\xE2\x80\x8B", 2, 5},            /* U+200B is none */
    {"\\p{L}", "1\xF0\xB1\x8D\x90", 1, 5},       /* U+31350, a letter since Unicode 15 */
    {"[^\\p{L}]", "\xF0\xB1\x8D\x90!", 4, 5},
    {"\\P{L}", "\xF0\xB1\x8D\x90!", 4, 5},
    {"\\p{Han}", "\xE3\x80\x85", 0, 3},   /* U+3005 is Han itself */
    {"\\p{Han}", "\xE3\x80\x81", -1, -1}, /* U+3001 is only in its extensions */
    {"\\d", "\xC2\xB2\xD9\xA3", 2, 4},    /* U+00B2 is No, U+0663 is Nd */
    {"\\v", "\n\x0B", 1, 2},
    {"\\u00e9|\\x{1F600}", "e\xC3\xA9", 1, 3},
    {"a{,2}b", "aaab", 1, 4},
    {"{a}", "x{a}", 1, 4},
    {"a]", "a]", 0, 2},
    {"(?i:'s|'t)", "x'S", 1, 3},
    {"(?i:K)", "\xE2\x84\xAA", 0, 3}, /* the Kelvin sign folds to k */
    {"a(b)c", "abc", 0, 3},
    {"x$", "x\ny", 0, 1}, /* line ends, not text ends */
    {"^y", "x\ny", 2, 3},
    {".", "\n\r", 1, 2},
    {"(?<=a)b(?!c)", "abcab", 4, 5},
    {"[a-c\\-\\]]+", "x-]ab", 1, 5},
    {"[-a]+", "x-a", 1, 3},
    {"a++b|a*?c", "aaab", 0, 4},
    {"\\s+(?!\\S)|\\s+", "a   b", 1, 3},
};

static void test_meaning(void **state)
{
    (void)state;
    for (size_t i = 0; i < FVI_COUNT(matches); i++) {
        fovea_error error = {0};
        fvi_regex *regex = NULL;
        fvi_regex_run *run = NULL;
        size_t begin = 0, end = 0;
        assert_ok(fvi_regex_new(alloc, matches[i].pattern, &regex, &error), &error);
        assert_int_equal(fvi_regex_run_new(alloc, regex, &run), FOVEA_OK);
        const char *text = matches[i].text;
        fovea_status status = fvi_regex_find(run, text, strlen(text), 0, &begin, &end);
        if (status != (matches[i].begin < 0 ? FOVEA_DONE : FOVEA_OK) ||
            (matches[i].begin >= 0 &&
             ((int)begin != matches[i].begin || (int)end != matches[i].end))) {
            fail_msg("%s: %s, %zu..%zu, expected %d..%d", matches[i].pattern,
                     fovea_status_name(status), begin, end, matches[i].begin, matches[i].end);
        }
        fvi_regex_run_free(&run);
        fvi_regex_free(&regex);
        assert_null(regex);
    }
}

static const struct {
    const char *pattern;
    fovea_status code;
    const char *word;
} refused[] = {
    {"\\b", FOVEA_ERR_UNSUPPORTED, "\\b"},
    {"\\w", FOVEA_ERR_UNSUPPORTED, "\\w"},
    {"\\h", FOVEA_ERR_UNSUPPORTED, "\\h"},
    {"(a)\\1", FOVEA_ERR_UNSUPPORTED, "\\1"},
    {"\\K", FOVEA_ERR_UNSUPPORTED, "\\K"},
    {"\\C", FOVEA_ERR_UNSUPPORTED, "\\C"},
    {"a\\", FOVEA_ERR_UNSUPPORTED, "\\"},
    {"\\xE9", FOVEA_ERR_UNSUPPORTED, "\\xE9"},
    {"\\x{110000}", FOVEA_ERR_UNSUPPORTED, "\\x{110000}"},
    {"\\ud800", FOVEA_ERR_UNSUPPORTED, "\\ud800"},
    {"\\p{Alpha}", FOVEA_ERR_UNSUPPORTED, "\\p{Alpha}"},
    {"\\p{^L}", FOVEA_ERR_UNSUPPORTED, "\\p{^L}"},
    {"\\pL", FOVEA_ERR_UNSUPPORTED, "\\pL"},
    {"[\\P{L}]", FOVEA_ERR_UNSUPPORTED, "\\P{L}"},
    {"[\\S]", FOVEA_ERR_UNSUPPORTED, "\\S"},
    {"(?i:\\p{Lu})", FOVEA_ERR_UNSUPPORTED, "\\p{Lu}"},
    {"[a[b]]", FOVEA_ERR_UNSUPPORTED, "[a[b]]"},
    {"[[:alpha:]]", FOVEA_ERR_UNSUPPORTED, "[[:alpha:]]"},
    {"[a&&b]", FOVEA_ERR_UNSUPPORTED, "[a&&b]"},
    {"[]a]", FOVEA_ERR_UNSUPPORTED, "[]a]"},
    {"[\\s-x]", FOVEA_ERR_UNSUPPORTED, "[\\s-x]"},
    {"[a-\\s]", FOVEA_ERR_UNSUPPORTED, "[a-\\s]"},
    {"[a", FOVEA_ERR_UNSUPPORTED, "[a"},
    {"(?i)a", FOVEA_ERR_UNSUPPORTED, "(?i)a"},
    {"(?<n>a)", FOVEA_ERR_UNSUPPORTED, "(?<n>a)"},
    {"(?#a)", FOVEA_ERR_UNSUPPORTED, "(?#a)"},
    {"(*FAIL)", FOVEA_ERR_UNSUPPORTED, "(*FAIL)"},
    {"a{2}+", FOVEA_ERR_UNSUPPORTED, "{2}+"},
    {"a{2}?", FOVEA_ERR_UNSUPPORTED, "?"},
    {"*a", FOVEA_ERR_UNSUPPORTED, "*a"},
    {"a**", FOVEA_ERR_UNSUPPORTED, "*"},
    {"a)", FOVEA_ERR_UNSUPPORTED, ")"},
    {"(a", FOVEA_ERR_FORMAT, "not closed"},
    {"[z-a]", FOVEA_ERR_FORMAT, "range"},
    {"(?<=a+)b", FOVEA_ERR_FORMAT, "lookbehind"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < FVI_COUNT(refused); i++) {
        fovea_error error = {0};
        fvi_regex *regex = NULL;
        fovea_status status = fvi_regex_new(alloc, refused[i].pattern, &regex, &error);
        assert_error(status, &error, refused[i].code, refused[i].word);
        assert_null(regex);
    }
}

/* A pattern that would need 2^40 steps ends in an error, not in a standstill. */
static void test_step_limit(void **state)
{
    (void)state;
    fovea_error error = {0};
    fvi_regex *regex = NULL;
    fvi_regex_run *run = NULL;
    size_t begin, end;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";
    assert_ok(fvi_regex_new(alloc, "(a|aa)+$", &regex, &error), &error);
    assert_int_equal(fvi_regex_run_new(alloc, regex, &run), FOVEA_OK);
    assert_int_equal(fvi_regex_find(run, text, sizeof text - 1, 0, &begin, &end), FOVEA_ERR_LIMIT);
    fvi_regex_run_free(&run);
    fvi_regex_free(&regex);
}

static fovea_status use(const fovea_alloc *memory, void *pattern)
{
    fvi_regex *regex = NULL;
    fvi_regex_run *run = NULL;
    size_t begin, end;
    fovea_status status = fvi_regex_new(memory, pattern, &regex, NULL);
    if (status >= 0) {
        status = fvi_regex_run_new(memory, regex, &run);
    }
    if (status >= 0) {
        status = fvi_regex_find(run, "a b1", 4, 0, &begin, &end);
    }
    fvi_regex_run_free(&run);
    fvi_regex_free(&regex);
    return status;
}

static void test_memory_failures(void **state)
{
    (void)state;
    char pattern[] = "(?i:'s)| ?\\p{L}+|\\s+(?!\\S)";
    const char *wrong = fault_sweep(use, pattern, NULL);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_step_limit),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
