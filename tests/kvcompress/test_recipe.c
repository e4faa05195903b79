/* test_recipe.c - recipes as text: what each part sets, what is refused with which word, hostile text. */
#include "kv_test.h"

#include <locale.h>
#include <stdio.h>

static fvi_recipe parsed(const char *text)
{
    fvi_recipe recipe;
    fovea_error err = {.text = ""};
    if (fvi_recipe_parse(text, &recipe, &err) < 0) {
        fail_msg("'%s': %s", text != NULL ? text : "(none)", err.text);
    }
    assert_string_equal(recipe.text, text == NULL || text[0] == '\0' ? "none" : text);
    return recipe;
}

static void test_presets(void **state)
{
    (void)state;
    assert_true(fvi_recipe_is_none(&(fvi_recipe){.unit = FVI_BUDGET_NONE}));
    fvi_recipe r = parsed(NULL);
    assert_true(fvi_recipe_is_none(&r));
    r = parsed("");
    assert_true(fvi_recipe_is_none(&r));
    r = parsed("none");
    assert_true(fvi_recipe_is_none(&r) && r.scorer == NULL && r.budget == NULL);
    r = parsed("vl-cache:keep=0.1");
    assert_string_equal(r.scorer->name, "post-vision");
    assert_string_equal(r.budget->name, "density");
    assert_true(r.unit == FVI_BUDGET_KEEP && r.amount == 0.1 && r.recent == 0.1 && r.n_sink == 0);
    assert_true(r.codec[0] == NULL && r.codec[1] == NULL && !fvi_recipe_is_none(&r));
    r = parsed("streaming:bytes=5%");
    assert_string_equal(r.scorer->name, "streaming");
    assert_string_equal(r.budget->name, "uniform");
    assert_true(r.unit == FVI_BUDGET_PERCENT && r.amount == 5 && r.n_sink == 4);
    r = parsed("random:keep=1.0,seed=18446744073709551615");
    assert_true(r.amount == 1 && r.seed == UINT64_MAX && !fvi_recipe_is_none(&r));
}

static void test_options(void **state)
{
    (void)state;
    fvi_recipe r = parsed("score=post-vision,budget=density,keep=0.2,vision=int4,text=f16");
    assert_int_equal(r.codec[FOVEA_MODALITY_VISION]->kind, FOVEA_KIND_INT4);
    assert_int_equal(r.codec[FOVEA_MODALITY_TEXT]->kind, FOVEA_KIND_F16);
    r = parsed("score=random,keep=0.5");
    assert_string_equal(r.budget->name, "uniform");
    r = parsed("vision=int8"); /* nothing dropped, vision stored in 8 bits */
    assert_true(!fvi_recipe_is_none(&r) && r.unit == FVI_BUDGET_NONE && r.scorer == NULL);
    r = parsed("none:text=int8");
    assert_false(fvi_recipe_is_none(&r));
    r = parsed("vl-cache:bytes=12.5%,recent=0,sinks=7");
    assert_true(r.amount == 12.5 && r.recent == 0 && r.n_sink == 7);
    r = parsed("streaming:keep=0.5,sinks=0,score=random"); /* what is given beats the preset */
    assert_true(r.n_sink == 0);
    assert_string_equal(r.scorer->name, "random");
    static const struct {
        const char *text;
        double bytes;
    } sizes[] = {{"random:bytes=70000", 70000},
                 {"random:bytes=64KiB", 65536},
                 {"random:bytes=1.5MiB", 1572864},
                 {"random:bytes=2GiB", 2147483648.0}};
    for (uint32_t i = 0; i < FVI_COUNT(sizes); i++) {
        r = parsed(sizes[i].text);
        assert_true(r.unit == FVI_BUDGET_BYTES && r.amount == sizes[i].bytes);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"vlcache:keep=0.1", "vlcache"},
        {"vl-cache", "keep="},
        {"random", "keep="},
        {"vl-cache:", "''"},
        {"vl-cache:keep=0.1,", "''"},
        {":keep=0.1", "''"},
        {"vl-cache:keep", "keep"},
        {"vl-cache:keep=", "keep="},
        {"vl-cache:keep=0", "keep=0"},
        {"vl-cache:keep=1.01", "keep=1.01"},
        {"vl-cache:keep=-0.1", "keep=-0.1"},
        {"vl-cache:keep=0,1", "keep=0"},
        {"vl-cache:keep=1e-1", "keep=1e-1"},
        {"vl-cache:keep=nan", "keep=nan"},
        {"vl-cache:keep=inf", "keep=inf"},
        {"vl-cache:keep=.", "keep=."},
        {"vl-cache:keep=1.", "keep=1."},
        {"vl-cache:keep=0.1.2", "keep=0.1.2"},
        {"vl-cache:keep=0.0000000000000001", "keep=0.0000"},
        {"vl-cache:keep= 0.1", "keep= 0.1"},
        {"vl-cache: keep=0.1", " keep"},
        {"vl-cache:keep=0.1,keep=0.2", "keep"},
        {"vl-cache:keep=0.1,bytes=5%", "bytes=5%"},
        {"vl-cache:bytes=5%,keep=0.1", "keep=0.1"},
        {"vl-cache:bytes=0", "bytes=0"},
        {"vl-cache:bytes=0%", "bytes=0%"},
        {"vl-cache:bytes=5 %", "bytes=5 %"},
        {"vl-cache:bytes=5kb", "bytes=5kb"},
        {"vl-cache:bytes=%", "bytes=%"},
        {"vl-cache:bytes=KiB", "bytes=KiB"},
        {"vl-cache:bytes=99999999999GiB", "bytes=99999999999GiB"},
        {"vl-cache:keep=0.1,vision=int3", "vision=int3"},
        {"vl-cache:keep=0.1,text=", "text="},
        {"vl-cache:keep=0.1,budget=tower", "tower"},
        {"score=oracle,keep=0.1", "oracle"},
        {"keep=0.1", "keep="},
        {"bytes=5%", "bytes="},
        {"budget=uniform", "uniform"},
        {"score=random", "random"},
        {"vl-cache:keep=0.1,recent=1.1", "recent=1.1"},
        {"vl-cache:keep=0.1,sinks=-1", "sinks=-1"},
        {"vl-cache:keep=0.1,sinks=1000001", "sinks=1000001"},
        {"random:keep=0.1,seed=18446744073709551616", "seed=1844"},
        {"random:keep=0.1,seed=1x", "seed=1x"},
        {"vl-cache:keep=0.1,color=red", "color"},
        {"vl-cache:keep=0.1,=", "''"},
        {"none:none", "none"},
        {"vl-cache:random:keep=0.1", "random:keep"},
        {"VL-CACHE:keep=0.1", "VL-CACHE"},
    };
    for (uint32_t i = 0; i < FVI_COUNT(bad); i++) {
        fvi_recipe recipe = {.amount = 77};
        fovea_error err = {.text = ""};
        if (fvi_recipe_parse(bad[i].text, &recipe, &err) != FOVEA_ERR_ARG) {
            fail_msg("'%s' was not refused", bad[i].text);
        }
        if (strstr(err.text, bad[i].word) == NULL) {
            fail_msg("'%s': '%s' does not name '%s'", bad[i].text, err.text, bad[i].word);
        }
        assert_true(recipe.amount == 77); /* untouched */
        assert_int_equal(fovea_recipe_check(bad[i].text, NULL), FOVEA_ERR_ARG);
    }
}

/* No text crashes the parser or comes out of it as anything but short ASCII. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "vl-cache", ":",    "keep",   "=",     "0.1",    ",",
        "bytes",    "5%",   "vision", "int4",  "%s%n",   "\xff\xfe",
        "\n",       "seed", "9",      "score", "random", "99999999999999999999",
        ".",        "KiB"};
    rng r = {.state = 99};
    uint32_t n_good = 0;
    for (uint32_t round = 0; round < 100000; round++) {
        char text[600] = "";
        uint32_t n = rng_below(&r, 14);
        for (uint32_t i = 0; i < n; i++) {
            strcat(text, parts[rng_below(&r, FVI_COUNT(parts))]);
        }
        if (n > 0 && rng_below(&r, 3) == 0) {
            text[rng_below(&r, (uint32_t)strlen(text) + 1)] = (char)(1 + rng_below(&r, 255));
        }
        fovea_error err = {.text = ""};
        fovea_status status = fovea_recipe_check(text, &err);
        assert_true(status == FOVEA_OK || (status == FOVEA_ERR_ARG && err.text[0] != '\0'));
        for (const char *c = err.text; *c != '\0'; c++) {
            assert_true(*c >= ' ' && *c <= '~');
        }
        n_good += status == FOVEA_OK;
    }
    assert_true(n_good > 100);
    char longest[FVI_RECIPE_MAX_TEXT + 1] = "none";
    assert_int_equal(fovea_recipe_check(longest, NULL), FOVEA_OK);
    memset(longest, 'x', FVI_RECIPE_MAX_TEXT);
    assert_int_equal(fovea_recipe_check(longest, NULL), FOVEA_ERR_ARG);
}

/* A comma as the decimal point of the locale changes nothing. */
static void test_locale(void **state)
{
    (void)state;
    bool is_set = setlocale(LC_NUMERIC, "de_DE.UTF-8") != NULL;
    fvi_recipe r = parsed("vl-cache:keep=0.25");
    assert_true(r.amount == 0.25);
    assert_int_equal(fovea_recipe_check("vl-cache:keep=0,25", NULL), FOVEA_ERR_ARG);
    setlocale(LC_NUMERIC, "C");
    (void)is_set; /* without that locale the test still holds, it just proves less */
}

static void test_names(void **state)
{
    (void)state;
    static const char *const tables[] = {"presets", "scores", "budgets", "kinds"};
    static const char *const known[] = {"vl-cache", "post-vision", "density", "int4"};
    for (uint32_t t = 0; t < FVI_COUNT(tables); t++) {
        bool found = false;
        uint32_t n = 0;
        for (const char *name; (name = fovea_recipe_name(tables[t], n)) != NULL; n++) {
            found = found || strcmp(name, known[t]) == 0;
            for (uint32_t i = 0; i < n; i++) {
                assert_string_not_equal(name, fovea_recipe_name(tables[t], i));
            }
        }
        assert_true(found);
        assert_null(fovea_recipe_name(tables[t], n + 1));
        assert_null(fovea_recipe_name(tables[t], UINT32_MAX));
    }
    assert_null(fovea_recipe_name("colors", 0));
    assert_null(fovea_recipe_name(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets), cmocka_unit_test(test_options),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_locale),  cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
