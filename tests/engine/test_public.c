/* test_public.c - the whole way through the public API and the scheduler: prompt ids, where pictures lie, and
 * greedy tokens are those of transformers, two different pictures in one prompt included.
 *
 * Expected values: tests/golden/make_models.py, as in test_golden.c, which looks inside instead. */
#include "sdk/model/weights.h"

#include <fovea/fovea.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_GREEDY 64

typedef struct public_case {
    const char *name, *prompt;
    const char *images[2];
    uint32_t n_image;
} public_case;

static const public_case cases[] = {
    {"tall", "USER: <image>\nDescribe the image. ASSISTANT:", {"tall"}, 1},
    {"two",
     "USER: Image 1: <image>\nImage 2: <image>\nWhat is in image 2? ASSISTANT:",
     {"photo", "tall"},
     2},
    {"text", "USER: What color is the sky? ASSISTANT:", {NULL}, 0},
};

/* Expected ids; the caller frees. */
static int32_t *expected_ids(const fvi_weights *file, const char *name, const char *what, size_t *n)
{
    char key[64];
    fvi_tensor tensor;
    fovea_error err;
    snprintf(key, sizeof key, "%s.%s", name, what);
    assert_int_equal(fvi_weights_find(file, key, 0, NULL, &tensor, &err), FOVEA_OK);
    *n = tensor.n_bytes / sizeof(float);
    int32_t *ids = fvi_calloc(&fvi_alloc_default, *n, sizeof *ids);
    for (size_t i = 0; i < *n; i++) {
        float value;
        memcpy(&value, (const uint8_t *)tensor.data + i * sizeof value, sizeof value);
        ids[i] = (int32_t)value;
    }
    return ids;
}

static fovea_image *open_image(const char *name)
{
    char path[512];
    fovea_image *image = NULL;
    fovea_error err;
    /* the fixtures were made with Pillow's convert("RGB") */
    fovea_image_options how = {.size = sizeof how, .alpha = FOVEA_ALPHA_IGNORE};
    snprintf(path, sizeof path, "%s/tests/golden/models/images/%s.png", FOVEA_SOURCE_DIR, name);
    assert_int_equal(fovea_image_from_file(path, &how, &image, &err), FOVEA_OK);
    return image;
}

/* Greedy tokens up to the end token, where the expected ones go on and the API stops. */
static void check_tokens(fovea_session *session, const int32_t *want, size_t n_want)
{
    fovea_generate_options how = {.size = sizeof how, .max_tokens = N_GREEDY};
    fovea_generation *generation = NULL;
    fovea_token token;
    fovea_error err;
    size_t n = 0;
    assert_int_equal(n_want, N_GREEDY);
    assert_int_equal(fovea_session_generate(session, &how, &generation, &err), FOVEA_OK);
    while (fovea_generation_next(generation, -1, &token, &err) == FOVEA_OK) {
        assert_true(n < n_want);
        assert_int_equal(token.id, want[n]);
        n++;
    }
    fovea_usage usage = {.size = sizeof usage};
    assert_int_equal(fovea_generation_usage(generation, &usage), FOVEA_OK);
    assert_true(n == N_GREEDY ? usage.finish == FOVEA_FINISH_LENGTH
                              : usage.finish == FOVEA_FINISH_STOP && n > 0);
    fovea_generation_free(&generation);
}

static void check_case(fovea_engine *engine, const fvi_weights *file, const public_case *c)
{
    fovea_session *session = NULL;
    fovea_image *images[2] = {NULL, NULL};
    fovea_error err;
    size_t n_want, n_greedy, n_id;
    const int32_t *ids;
    const fovea_image_span *spans;
    uint32_t n_span;
    for (uint32_t i = 0; i < c->n_image; i++) {
        images[i] = open_image(c->images[i]);
    }
    int32_t *want = expected_ids(file, c->name, "ids", &n_want);
    int32_t *greedy = expected_ids(file, c->name, "greedy", &n_greedy);
    assert_int_equal(fovea_session_new(engine, NULL, &session, &err), FOVEA_OK);
    assert_int_equal(fovea_session_add_raw(session, c->prompt, strlen(c->prompt), images, c->n_image, &err),
                     FOVEA_OK);
    check_tokens(session, greedy, n_greedy);
    assert_int_equal(fovea_session_tokens(session, &ids, &n_id), FOVEA_OK);
    assert_true(n_id >= n_want);
    assert_memory_equal(ids, want, n_want * sizeof *ids);
    assert_int_equal(fovea_session_images(session, &spans, &n_span), FOVEA_OK);
    assert_int_equal(n_span, c->n_image);
    for (uint32_t i = 0; i < n_span; i++) {
        assert_int_equal(spans[i].image, i);
        assert_int_equal(spans[i].n_token, spans[i].grid_width * spans[i].grid_height);
        for (uint32_t t = 0; t < spans[i].n_token; t++) {
            assert_int_equal(ids[spans[i].first_token + t], ids[spans[0].first_token]);
        }
    }
    fovea_session_free(&session);
    fovea_image_free(&images[0]);
    fovea_image_free(&images[1]);
    fvi_free(&fvi_alloc_default, want);
    fvi_free(&fvi_alloc_default, greedy);
}

/* The same prompt in two turns: the second begins at the position where the first ended. */
static void check_two_turns(fovea_engine *engine, const fvi_weights *file, const public_case *c)
{
    const char *rest = strchr(c->prompt, '\n'); /* behind the picture's marker */
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    fovea_session *session = NULL;
    fovea_generation *generation = NULL;
    fovea_image *image = open_image(c->images[0]);
    fovea_token token;
    fovea_error err;
    size_t n_greedy;
    int32_t *greedy = expected_ids(file, c->name, "greedy", &n_greedy);
    assert_int_equal(c->n_image, 1);
    assert_int_equal(fovea_session_new(engine, NULL, &session, &err), FOVEA_OK);
    assert_int_equal(
        fovea_session_add_raw(session, c->prompt, (size_t)(rest - c->prompt), &image, 1, &err), FOVEA_OK);
    assert_int_equal(fovea_session_generate(session, &plan, &generation, &err), FOVEA_OK);
    assert_int_equal(fovea_generation_next(generation, -1, &token, &err), FOVEA_DONE);
    fovea_generation_free(&generation);
    assert_int_equal(fovea_session_add_raw(session, rest, strlen(rest), NULL, 0, &err), FOVEA_OK);
    check_tokens(session, greedy, n_greedy);
    fovea_session_free(&session);
    fovea_image_free(&image);
    fvi_free(&fvi_alloc_default, greedy);
}

static void check_model(const char *name, const char *folder)
{
    char model[512], expected[512];
    fovea_engine *engine = NULL;
    fvi_weights *file = NULL;
    fovea_error err = {0};
    snprintf(model, sizeof model, "%s/%s", FOVEA_SOURCE_DIR, folder);
    snprintf(expected, sizeof expected, "%s/tests/golden/models/%s/expected", FOVEA_SOURCE_DIR, name);
    fovea_engine_options options = {.size = sizeof options,
                                    .model = model,
                                    .precision = FOVEA_PRECISION_F32,
                                    .prefill_block = 16,
                                    .kv_bytes = 64u << 20};
    assert_int_equal(fvi_weights_open(&fvi_alloc_default, expected, &file, &err), FOVEA_OK);
    assert_int_equal(fovea_engine_open(&options, &engine, &err), FOVEA_OK);
    assert_int_equal(err.code, FOVEA_OK); /* files that need not be there leave no error */
    for (size_t i = 0; i < FVI_COUNT(cases); i++) {
        print_message("  %s %s\n", name, cases[i].name);
        check_case(engine, file, &cases[i]);
    }
    check_two_turns(engine, file, &cases[0]);
    fovea_engine_close(&engine);
    fvi_weights_close(&file);
}

static void test_random_models(void **state)
{
    (void)state;
    check_model("clip-llama-mha", "tests/golden/models/clip-llama-mha");
    check_model("siglip-qwen2-gqa", "tests/golden/models/siglip-qwen2-gqa");
    check_model("clip-llama-mqa", "tests/golden/models/clip-llama-mqa");
}

static void test_default_model(void **state)
{
    (void)state;
    check_model("default", "samples/model");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_models),
                                       cmocka_unit_test(test_default_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
