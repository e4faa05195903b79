/* test_json.c - the typed getters, their defaults and their errors, and files that jansson alone refuses. */
#include "sdk/base/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    fovea_error error = {0};
    json_t *tree = NULL;
    assert_int_equal(fvi_json_parse(text, strlen(text), "test", &tree, &error), FOVEA_OK);
    return tree;
}

static void test_getters(void **state)
{
    (void)state;
    json_t *obj = parse("{\"n\":7,\"real\":1.5,\"yes\":true,\"text\":\"t\",\"none\":null}");
    uint32_t n = 0;
    float real = 0;
    bool yes = false;
    const char *text = NULL;
    assert_int_equal(fvi_json_u32(obj, "n", 1, 0, 7, &n, NULL), FOVEA_OK);
    assert_int_equal(n, 7);
    assert_int_equal(fvi_json_u32(obj, "none", 3, 0, 7, &n, NULL), FOVEA_OK);
    assert_int_equal(n, 3);
    assert_int_equal(fvi_json_u32(obj, "gone", 4, 5, 7, &n, NULL),
                     FOVEA_OK); /* a default is not checked */
    assert_int_equal(n, 4);
    assert_int_equal(fvi_json_f32(obj, "n", 0, &real, NULL), FOVEA_OK);
    assert_true(real == 7.0f);
    assert_int_equal(fvi_json_f32(obj, "gone", 0.25f, &real, NULL), FOVEA_OK);
    assert_true(real == 0.25f);
    assert_int_equal(fvi_json_bool(obj, "yes", false, &yes, NULL), FOVEA_OK);
    assert_true(yes);
    assert_int_equal(fvi_json_bool(obj, "none", false, &yes, NULL), FOVEA_OK);
    assert_false(yes);
    assert_int_equal(fvi_json_text(obj, "text", &text, NULL), FOVEA_OK);
    assert_string_equal(text, "t");
    assert_int_equal(fvi_json_text(obj, "none", &text, NULL), FOVEA_OK);
    assert_null(text);
    json_decref(obj);
}

static void test_getter_errors(void **state)
{
    (void)state;
    json_t *obj = parse("{\"n\":8,\"low\":-1,\"real\":1.5,\"text\":\"t\",\"huge\":1e300}");
    fovea_error error = {0};
    uint32_t n = 11;
    float real = 11;
    bool yes = true;
    const char *text = "old";
    assert_int_equal(fvi_json_u32(obj, "n", 1, 0, 7, &n, &error), FOVEA_ERR_FORMAT);
    assert_non_null(strstr(error.text, "\"n\" is 8, not in 0..7"));
    assert_int_equal(fvi_json_u32(obj, "low", 1, 0, 7, &n, &error), FOVEA_ERR_FORMAT);
    assert_int_equal(fvi_json_u32(obj, "real", 1, 0, 7, &n, &error), FOVEA_ERR_FORMAT);
    assert_non_null(strstr(error.text, "real"));
    assert_int_equal(fvi_json_f32(obj, "text", 1, &real, &error), FOVEA_ERR_FORMAT);
    assert_int_equal(fvi_json_f32(obj, "huge", 1, &real, &error),
                     FOVEA_ERR_FORMAT); /* no finite float */
    assert_int_equal(fvi_json_bool(obj, "n", true, &yes, &error), FOVEA_ERR_FORMAT);
    assert_int_equal(fvi_json_text(obj, "n", &text, &error), FOVEA_ERR_FORMAT);
    assert_int_equal(n, 11);
    assert_true(real == 11.0f);
    assert_true(yes);
    assert_string_equal(text, "old");
    json_decref(obj);
}

static void test_parse(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "{",           "{\"a\":1,\"a\":2}",
                                      "[1,]",    "\xFF",        "{\"a\":1}x",
                                      "[1e999]", "\"\\u0000\"", "{\"\\u0000\":1}"};
    fovea_error error = {0};
    json_t *tree = NULL;
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        assert_int_equal(fvi_json_parse(bad[i], strlen(bad[i]), "name.json", &tree, &error),
                         FOVEA_ERR_FORMAT);
        assert_null(tree);
        assert_non_null(strstr(error.text, "name.json"));
    }
    /* an integer beyond 64 bits makes all numbers of its file reals */
    tree = parse("{\"big\":1000000000000000019884624838656,\"n\":3,\"text\":\"t\"}");
    assert_true(json_is_real(json_object_get(tree, "big")));
    assert_true(json_real_value(json_object_get(tree, "n")) == 3.0);
    json_decref(tree);
}

static void test_load(void **state)
{
    (void)state;
    fovea_error error = {0};
    json_t *tree = NULL;
    assert_int_equal(fvi_json_load(&fvi_alloc_default, FOVEA_SOURCE_DIR "/samples/model",
                                   "none.json", &tree, &error),
                     FOVEA_ERR_NOT_FOUND);
    assert_int_equal(
        fvi_json_load(&fvi_alloc_default, FOVEA_SOURCE_DIR "/samples", "model", &tree, &error),
        FOVEA_ERR_IO); /* a folder */
    assert_int_equal(fvi_json_load(&fvi_alloc_default, FOVEA_SOURCE_DIR "/samples/model",
                                   "tokenizer_config.json", &tree, &error),
                     FOVEA_OK);
    assert_true(json_is_object(tree));
    json_decref(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getter_errors),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
