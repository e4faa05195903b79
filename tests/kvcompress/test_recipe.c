/* test_recipe.c - recipes as text and as structs: what each part sets, what is refused with which word, hostile
 * text. */
#include "kv_test.h"

#include "kvcompress/recipe_text.h"

#include <locale.h>
#include <math.h>
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
    assert_true(r.unit == FVI_BUDGET_KEEP && r.amount == 0.1 && r.recent[0] == 0.1 &&
                r.recent[1] == 0.1 && r.n_sink == 0);
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
    assert_true(r.amount == 12.5 && r.recent[0] == 0 && r.recent[1] == 0 && r.n_sink == 7);
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

/* A key with a dot says it of one modality, without one of both; the one with a dot counts, wherever it stands. */
static void test_parts(void **state)
{
    (void)state;
    const uint32_t t = FOVEA_MODALITY_TEXT, v = FOVEA_MODALITY_VISION;
    fvi_recipe r = parsed("vl-cache:keep=0.1,text.recent=0.25");
    assert_true(r.recent[t] == 0.25 && r.recent[v] == 0.1 && r.recent_apart);
    r = parsed("h2o:keep=0.1,vision.recent=0");
    assert_true(r.recent[t] == 0.5 && r.recent[v] == 0 && r.recent_apart);
    r = parsed("h2o:keep=0.1,recent=0.2"); /* what is said for both beats the preset */
    assert_true(r.recent[t] == 0.2 && r.recent[v] == 0.2 && !r.recent_apart);
    r = parsed("h2o:vision.recent=0.3,recent=0.2,keep=0.1");
    assert_true(r.recent[t] == 0.2 && r.recent[v] == 0.3);
    r = parsed("random:keep=0.5");
    assert_true(r.protect[t] == 0 && r.protect[v] == 0);
    r = parsed("random:keep=0.5,text.protect=all,vision.protect=12");
    assert_true(r.protect[t] == FOVEA_RECIPE_ALL && r.protect[v] == 12);
    r = parsed("random:keep=0.5,protect=7,vision.protect=none");
    assert_true(r.protect[t] == 7 && r.protect[v] == 0);
    r = parsed("vl-cache:text.keep=1,vision.keep=0.05"); /* both, and no total */
    assert_true(r.keep[t] == 1 && r.keep[v] == 0.05 && r.unit == FVI_BUDGET_NONE);
    r = parsed("vl-cache:bytes=10%,text.keep=1");
    assert_true(r.keep[t] == 1 && r.keep[v] == 0 && r.unit == FVI_BUDGET_PERCENT);
    r = parsed("random:keep=0.5");
    assert_true(r.merger[t] == NULL && r.merger[v] == NULL);
    r = parsed("random:keep=0.5,merge=cam,text.merge=drop");
    assert_string_equal(r.merger[t]->name, "drop");
    assert_string_equal(r.merger[v]->name, "cam");
    r = parsed("look-m:keep=0.5");
    assert_true(r.merger[t] == NULL && r.recent[v] == 0.5);
    assert_string_equal(r.merger[v]->name, "pivot");
    assert_string_equal(r.scorer->name, "text-prior");
    r = parsed("look-m:keep=0.5,merge=average"); /* what is said for both beats the preset */
    assert_string_equal(r.merger[v]->name, "average");
    r = parsed("d2o:keep=0.5,text.protect=all");
    assert_string_equal(r.merger[t]->name, "d2o");
    r = parsed("random:vision.keep=0.1,vision.merge=pivot");
    assert_string_equal(r.merger[v]->name, "pivot");
    r = parsed("kind=int8,vision.kind=int4");
    assert_string_equal(r.codec[t]->name, "int8");
    assert_string_equal(r.codec[v]->name, "int4");
}

static void test_overlay(void **state)
{
    (void)state;
    fovea_recipe base, given;
    assert_int_equal(fvi_recipe_read("text.recent=0.3,protect=4,bytes=5%", &base, NULL), FOVEA_OK);
    assert_int_equal(fvi_recipe_read("recent=0,text.protect=none,bytes=70", &given, NULL),
                     FOVEA_OK);
    fvi_recipe_overlay(&base, &given);
    assert_true(base.text.recent == 0 && base.both.zeros == FOVEA_RECIPE_ZERO_RECENT);
    assert_true(base.both.protect == 4 && base.text.zeros == FOVEA_RECIPE_ZERO_PROTECT);
    assert_true(base.percent == 0 && base.bytes == 70);
}

/* ---- the struct ---- */

static void test_struct(void **state)
{
    (void)state;
    fovea_recipe r = {.size = sizeof r};
    char text[FOVEA_RECIPE_MAX_BYTES];
    fovea_error err = {.text = ""};
    assert_int_equal(fovea_recipe_parse("vl-cache:bytes=12.5%,vision=int4,text.protect=all,"
                                        "recent=0,sinks=3,seed=0",
                                        &r, &err),
                     FOVEA_OK);
    assert_string_equal(r.preset, "vl-cache");
    assert_true(r.score == NULL && r.budget == NULL && r.percent == 12.5 && r.bytes == 0);
    assert_true(r.vision.kind != NULL && r.text.kind == NULL && r.both.kind == NULL);
    assert_string_equal(r.vision.kind, "int4");
    assert_true(r.text.protect == FOVEA_RECIPE_ALL && r.vision.protect == 0 && r.text.zeros == 0);
    assert_true(r.both.recent == 0 && r.both.zeros == FOVEA_RECIPE_ZERO_RECENT);
    assert_true(r.sinks == 3 && r.seed == 0 && r.zeros == FOVEA_RECIPE_ZERO_SEED);
    fovea_recipe own = {.size = sizeof own,
                        .preset = "random",
                        .bytes = 65536,
                        .seed = UINT64_MAX,
                        .text = {.recent = 0.1, .zeros = FOVEA_RECIPE_ZERO_PROTECT},
                        .both = {.kind = "int8"}};
    assert_int_equal(fovea_recipe_format(&own, text, sizeof text, &err), FOVEA_OK);
    assert_string_equal(text, "random:bytes=65536,kind=int8,text.recent=0.1,text.protect=0,"
                              "seed=18446744073709551615");
    assert_int_equal(fovea_recipe_format(&own, text, strlen(text), &err), FOVEA_ERR_LIMIT);
    own = (fovea_recipe){.size = sizeof own};
    assert_int_equal(fovea_recipe_format(&own, text, sizeof text, &err), FOVEA_OK);
    assert_string_equal(text, "none");
    assert_int_equal(fovea_recipe_parse("none", &r, &err), FOVEA_OK);
    assert_memory_equal(&r, &own, sizeof r);
}

static void test_struct_refused(void **state)
{
    (void)state;
    static const struct {
        fovea_recipe recipe;
        const char *word;
    } bad[] = {
        {{.preset = "vlcache", .both.keep = 0.1}, "vlcache"},
        {{.preset = "random"}, "keep="},
        {{.preset = "random", .both.keep = 1.5}, "keep=1.5"},
        {{.preset = "random", .both.keep = -0.5}, "keep=-"},
        {{.preset = "random", .both.keep = NAN}, "keep=nan"},
        {{.preset = "random", .bytes = INFINITY}, "bytes=inf"},
        {{.preset = "random", .both.keep = 0.1, .percent = 5}, "exclude"},
        {{.score = "random,keep=0.5"}, "name"},
        {{.score = "random:x", .both.keep = 0.5}, "random:x"},
        {{.preset = "random", .both.keep = 0.1, .sinks = 4, .zeros = FOVEA_RECIPE_ZERO_SINKS},
         "zeros"},
        {{.preset = "random", .both.keep = 0.1, .zeros = 1u << 30}, "zeros"},
        {{.preset = "random", .both.keep = 0.1, .vision.kind = "int3"}, "vision=int3"},
        {{.preset = "random", .both.keep = 0.1, .text.protect = 1000001}, "text.protect=1000001"},
        {{.preset = "random", .both.keep = 0.1, .text.reserved = {0, 0, 1}}, "reserved"},
    };
    char text[FOVEA_RECIPE_MAX_BYTES];
    for (uint32_t i = 0; i < FVI_COUNT(bad); i++) {
        fovea_recipe recipe = bad[i].recipe;
        fovea_error err = {.text = ""};
        recipe.size = sizeof recipe;
        strcpy(text, "as it was");
        if (fovea_recipe_format(&recipe, text, sizeof text, &err) != FOVEA_ERR_ARG ||
            strstr(err.text, bad[i].word) == NULL) {
            fail_msg("'%s' is not refused, or not by that: %s", bad[i].word, err.text);
        }
        assert_string_equal(text, "as it was");
    }
    fovea_recipe recipe = {.size = 3};
    assert_int_equal(fovea_recipe_format(&recipe, text, sizeof text, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_recipe_parse("none", &recipe, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_recipe_parse("none", NULL, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_recipe_format(NULL, text, sizeof text, NULL), FOVEA_ERR_ARG);
}

/* 0, or a decimal of up to 14 places */
static double random_share(rng *r)
{
    uint64_t unit = 10;
    for (uint32_t n = rng_below(r, 14); n > 0; n--) {
        unit *= 10;
    }
    return rng_below(r, 2) == 0 ? 0 : (double)(1 + rng_next(r) % unit) / (double)unit;
}

static const char *random_name(rng *r, const char *table)
{
    uint32_t n = 0;
    while (fovea_recipe_name(table, n) != NULL) {
        n++;
    }
    return rng_below(r, 2) == 0 ? NULL : fovea_recipe_name(table, rng_below(r, n));
}

static void random_part(rng *r, fovea_recipe_part *part)
{
    part->kind = random_name(r, "kinds");
    part->keep = rng_below(r, 3) == 0 ? random_share(r) : 0;
    part->merge = random_name(r, "mergers");
    part->recent = random_share(r);
    part->protect = rng_below(r, 3) == 0 ? FOVEA_RECIPE_ALL : rng_below(r, 3);
    part->zeros = (part->recent == 0 ? rng_below(r, 2) * FOVEA_RECIPE_ZERO_RECENT : 0) |
                  (part->protect == 0 ? rng_below(r, 2) * FOVEA_RECIPE_ZERO_PROTECT : 0);
}

/* A struct written as text and read again is the same struct; every text that parses is one of a struct. */
static void test_round_trip(void **state)
{
    (void)state;
    rng r = {.state = 7};
    uint32_t n_good = 0;
    size_t longest = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        fovea_recipe recipe = {.size = sizeof recipe}, again = {.size = sizeof again};
        recipe.preset = random_name(&r, "presets");
        recipe.preset =
            recipe.preset != NULL && strcmp(recipe.preset, "none") == 0 ? NULL : recipe.preset;
        recipe.score = random_name(&r, "scores");
        recipe.budget = random_name(&r, "budgets");
        recipe.sinks = rng_below(&r, 3);
        recipe.exact = rng_below(&r, 2) == 0 ? 0 : rng_below(&r, 1000001);
        recipe.seed = rng_below(&r, 2) == 0 ? 0 : rng_next(&r);
        recipe.zeros = (recipe.sinks == 0 ? rng_below(&r, 2) * FOVEA_RECIPE_ZERO_SINKS : 0) |
                       (recipe.exact == 0 ? rng_below(&r, 2) * FOVEA_RECIPE_ZERO_EXACT : 0) |
                       (recipe.seed == 0 ? rng_below(&r, 2) * FOVEA_RECIPE_ZERO_SEED : 0);
        random_part(&r, &recipe.both);
        random_part(&r, &recipe.text);
        random_part(&r, &recipe.vision);
        uint32_t unit = rng_below(&r, 3);
        recipe.both.keep = unit == 0 ? random_share(&r) : 0;
        recipe.percent = unit == 1 ? 100 * random_share(&r) : 0;
        recipe.percent = floor(recipe.percent * 1e10 + 0.5) / 1e10; /* 13 digits at most */
        recipe.bytes = unit == 2 ? (double)(rng_next(&r) >> 24) / 8 : 0;
        char text[FOVEA_RECIPE_MAX_BYTES];
        fovea_error err = {.text = ""};
        fovea_status status = fovea_recipe_format(&recipe, text, sizeof text, &err);
        if (status <
            0) { /* they do not go together; that they could be written shows in the text */
            assert_int_equal(status, FOVEA_ERR_ARG);
            assert_true(strstr(err.text, "need") != NULL || strstr(err.text, "go with") != NULL ||
                        strstr(err.text, "follows") != NULL);
            continue;
        }
        n_good++;
        longest = FVI_MAX(longest, strlen(text));
        assert_int_equal(fovea_recipe_parse(text, &again, &err), FOVEA_OK);
        if (memcmp(&recipe, &again, sizeof recipe) != 0) {
            fail_msg("%s reads back as another recipe", text);
        }
    }
    print_message("round trip: %u recipes, the longest of %zu bytes\n", n_good, longest);
    assert_true(n_good > 5000 && longest < FOVEA_RECIPE_MAX_BYTES / 2);
}

static const struct {
    const char *text, *word;
} refused[] = {
    {"text=pca-8", "pca-8"},
    {"vl-cache:bytes=10%,kind=pca-16", "pca-16"},
    {"while=h2o,cap=64,evicted=pca-8", "pca-8"},
    {"quest:attend=64,vision=pca-8", "pca-8"},
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
    {"vl-cache:keep=0.1,text.keep=1,vision.keep=0.1", "follows"},
    {"vl-cache:vision.keep=0", "vision.keep=0"},
    {"text.keep=1", "keep= needs a preset"},
    {"fovea:bytes=5%,vision.keep=0.1", "text against vision"},
    {"fovea:bytes=5%,text.recent=0.1", "no windows"},
    {"vl-cache:keep=0.1,vision.bytes=5%", "there is one bytes="},
    {"vl-cache:keep=0.1,text.seed=5", "there is one seed="},
    {"vl-cache:keep=0.1,audio.recent=0.1", "audio.recent"},
    {"vl-cache:keep=0.1,text.=0.1", "text."},
    {"vl-cache:keep=0.1,vision=int4,vision.kind=int8", "vision.kind"},
    {"vl-cache:keep=0.1,text.recent=0,text.recent=0", "text.recent"},
    {"vl-cache:keep=0.1,vision.recent=1.5", "vision.recent=1.5"},
    {"vl-cache:keep=0.1,text.protect=some", "text.protect=some"},
    {"vl-cache:keep=0.1,protect=1000001", "protect=1000001"},
    {"vl-cache:keep=0.1,text.kind=int5", "among the kinds"},
    {"vl-cache:keep=0.1,merge=melt", "merge=melt: there is none of that name among the mergers"},
    {"vision=int4,merge=pivot", "merge=pivot needs"},
    {"merge=average", "merge=average needs"},
    {"random:keep=0.1,text.merge=cam,text.protect=all", "merge=cam does not go with protect=all"},
    {"random:vision.keep=0.1,text.merge=pivot", "merge=pivot does not go with"},
    {"random:keep=0.1,merge=d2o,protect=all", "merge=d2o does not go with"},
};

static void test_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FVI_COUNT(refused); i++) {
        fvi_recipe recipe = {.amount = 77};
        fovea_error err = {.text = ""};
        if (fvi_recipe_parse(refused[i].text, &recipe, &err) != FOVEA_ERR_ARG) {
            fail_msg("'%s' was not refused", refused[i].text);
        }
        if (strstr(err.text, refused[i].word) == NULL) {
            fail_msg("'%s': '%s' does not name '%s'", refused[i].text, err.text, refused[i].word);
        }
        assert_true(recipe.amount == 77); /* untouched */
        assert_int_equal(fovea_recipe_check(refused[i].text, NULL), FOVEA_ERR_ARG);
    }
}

/* No text crashes the parser or comes out of it as anything but short ASCII. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "vl-cache", ":",    "keep",   "=",      "0.1",     ",",
        "bytes",    "5%",   "vision", "int4",   "%s%n",    "\xff\xfe",
        "\n",       "seed", "9",      "score",  "random",  "99999999999999999999",
        ".",        "KiB",  "text.",  "recent", "protect", "all"};
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
    char longest[FOVEA_RECIPE_MAX_BYTES + 1] = "none";
    assert_int_equal(fovea_recipe_check(longest, NULL), FOVEA_OK);
    memset(longest, 'x', FOVEA_RECIPE_MAX_BYTES);
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
    static const char *const tables[] = {"presets", "scores", "budgets", "kinds", "mergers"};
    static const char *const known[] = {"vl-cache", "post-vision", "density", "int4", "cam"};
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
        cmocka_unit_test(test_presets),    cmocka_unit_test(test_options),
        cmocka_unit_test(test_overlay),    cmocka_unit_test(test_parts),
        cmocka_unit_test(test_struct),     cmocka_unit_test(test_struct_refused),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_locale),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
