/* test_unicode.c - UTF-8, character classes and NFC, against lines of Unicode's NormalizationTest.txt and
 * what the reference tokenizer says where it knows an older Unicode. */
#include "tests/model/model_test.h"

#include "sdk/model/unicode.h"

static const fovea_alloc *const alloc = &fvi_alloc_default;

static void test_nfc(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *normal;
    } lines[] = {
        {"", ""},
        {"plain", "plain"},
        {"e\u0301", "\u00e9"},
        {"\u1e0a\u0323", "\u1e0c\u0307"}, /* reordered, then composed */
        {"D\u0307\u0323", "\u1e0c\u0307"},
        {"s\u0323\u0307", "\u1e69"},
        {"a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"}, /* sorted by class, stably */
        {"\u212b\u2126", "\u00c5\u03a9"},                            /* singletons */
        {"\u0958", "\u0915\u093c"},                                  /* excluded from composition */
        {"\u1100\u1161\u11a8", "\uac01"},                            /* Hangul, both steps */
        {"\uac00\u11a8", "\uac01"},
        {"\u1100\uac00", "\u1100\uac00"},
        {"\u30ab\u3099", "\u30ac"},
        {"\u0b47\u0300\u0b3e", "\u0b47\u0300\u0b3e"}, /* a mark between two starters blocks them */
        {"\u0b47\u0b3e", "\u0b4b"},
        {"\u0301a", "\u0301a"}, /* nothing to join in front */
        {"\U0001d15e", "\U0001d157\U0001d165"},
        {"\U00011099\U000110ba", "\U0001109a"},
        {"\ufb1d", "\u05d9\u05b4"},
        /* classes that the reference does not know yet stay 0: not sorted */
        {"a\u0323\u0898\u0323", "\u1ea1\u0898\u0323"},
        {"a\u0301\u0898\u0323", "\u00e1\u0898\u0323"},
        {"\U00011935\U00011930", "\U00011935\U00011930"},
        {"\U00011938", "\U00011938"},
    };
    for (size_t i = 0; i < FVI_COUNT(lines); i++) {
        fvi_buf out = {.alloc = alloc};
        assert_int_equal(fvi_unicode_nfc(lines[i].text, strlen(lines[i].text), &out), FOVEA_OK);
        if (out.n != strlen(lines[i].normal) ||
            (out.n > 0 && memcmp(out.data, lines[i].normal, out.n) != 0)) {
            fail_msg("line %zu \"%s\": \"%.*s\", expected \"%s\"", i, lines[i].text, (int)out.n,
                     out.n > 0 ? out.data : "", lines[i].normal);
        }
        bool changed = strcmp(lines[i].text, lines[i].normal) != 0;
        assert_true(!changed || fvi_unicode_may_change(lines[i].text, strlen(lines[i].text)));
        fvi_buf_free(&out);
    }
    assert_false(fvi_unicode_may_change("caf\u00e9 \u02ff", strlen("caf\u00e9 \u02ff")));
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        uint32_t character;
        bool space, word, numeric;
    } lines[] = {
        {' ', true, false, false},      {'\t', true, false, false},
        {0x1C, false, false, false},    {'a', false, true, false},
        {'_', false, true, false},      {'-', false, false, false},
        {'0', false, true, true},       {0x85, true, false, false},
        {0xA0, true, false, false},     {0xB2, false, false, true},
        {0x2167, false, true, true},    {0x24B6, false, true, false},
        {0x3007, false, true, true},    {0x4E00, false, true, false},
        {0x200B, false, false, false},  {0x200D, false, true, false},
        {0x301, false, true, false},    {0x2028, true, false, false},
        {0x1F600, false, false, false}, {0x11DE0, false, false, true},
        {0x16130, false, false, true},
    };
    for (size_t i = 0; i < FVI_COUNT(lines); i++) {
        uint32_t c = lines[i].character;
        if (fvi_unicode_is_space(c) != lines[i].space || fvi_unicode_is_word(c) != lines[i].word ||
            fvi_unicode_is_numeric(c) != lines[i].numeric) {
            fail_msg("U+%04X: space %d word %d numeric %d", c, fvi_unicode_is_space(c),
                     fvi_unicode_is_word(c), fvi_unicode_is_numeric(c));
        }
    }
}

/* Every character there and back, and every pair of first bytes against the table of the standard. */
static void test_utf8(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) {
            continue;
        }
        char text[5] = {0};
        uint32_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
        for (uint32_t i = n - 1; i > 0; i--) {
            text[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3F));
        }
        text[0] = (char)(lead[n] | c >> (6 * (n - 1)));
        size_t at = 0, bad_at = 99;
        assert_true(fvi_utf8_check(text, n, &bad_at));
        assert_int_equal(fvi_utf8_next(text, &at), c);
        assert_int_equal(at, n);
        assert_int_equal(fvi_utf8_previous(text, &at), c);
        assert_int_equal(at, 0);
        assert_true(n == 1 || !fvi_utf8_check(text, n - 1, &bad_at));
    }
    uint32_t n_good = 0; /* two-byte beginnings of characters: Unicode table 3-7 */
    for (uint32_t first = 0x80; first < 0x100; first++) {
        for (uint32_t second = 0; second < 0x100; second++) {
            const unsigned char bytes[2] = {(unsigned char)first, (unsigned char)second};
            n_good += fvi_utf8_need(bytes, 2) > 0;
        }
    }
    assert_int_equal(n_good, 30 * 64 + 32 + 12 * 64 + 32 + 2 * 64 + 48 + 3 * 64 + 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
