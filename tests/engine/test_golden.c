/* test_golden.c - models against transformers: pixel values, image features, prompt ids, logits, 64 greedy
 * tokens. Expected values: tests/golden/make_models.py. */
#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_GREEDY 64
#define LOGIT_BOUND 1e-4   /* relative to the largest logit, f32 precision */
#define FEATURE_BOUND 1e-4
#define PIXEL_STEP (1.0 / 255.0)

typedef struct golden_case {
    const char *name, *prompt;
    const char *images[2];
    uint32_t n_image;
} golden_case;

#define ONE "USER: <image>\nDescribe the image. ASSISTANT:"

static const golden_case cases[] = {
    {"dot", ONE, {"dot"}, 1},
    {"tall", ONE, {"tall"}, 1},
    {"photo", ONE, {"photo"}, 1},
    {"gray", ONE, {"gray"}, 1},
    {"alpha", ONE, {"alpha"}, 1},
    {"two", "USER: Image 1: <image>\nImage 2: <image>\nWhat is in image 2? ASSISTANT:", {"photo", "tall"}, 2},
    {"text", "USER: What color is the sky? ASSISTANT:", {NULL}, 0},
};

static fvi_tensor expected(const fvi_weights *file, const char *name, const char *what)
{
    char key[64];
    fvi_tensor tensor;
    fovea_error err;
    snprintf(key, sizeof key, "%s.%s", name, what);
    if (fvi_weights_find(file, key, 0, NULL, &tensor, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(tensor.dtype, FVI_DTYPE_F32);
    return tensor;
}

static float value(const fvi_tensor *tensor, size_t i)
{
    float f;
    memcpy(&f, (const uint8_t *)tensor->data + 4 * i, 4);
    return f;
}

/* Largest difference relative to the largest expected value. */
static double relative_error(const fvi_tensor *want, const float *got)
{
    double error = 0.0;
    double largest = 0.0;
    for (size_t i = 0; i < want->n_bytes / 4; i++) {
        error = fmax(error, fabs((double)got[i] - (double)value(want, i)));
        largest = fmax(largest, fabs((double)value(want, i)));
    }
    return error / largest;
}

/* Pixel values before normalisation lie on a grid of 1/255. */
static void check_pixels(const harness *h, const fvi_weights *file, const char *name, const fvi_turn *turn)
{
    fvi_tensor want = expected(file, name, "pixels");
    const fvi_preprocess *pre = &h->model->preprocess;
    size_t n = (size_t)3 * pre->width * pre->height;
    float *pixels = fvi_calloc(&fvi_alloc_default, n, sizeof(float));
    size_t n_equal = 0;
    for (uint32_t i = 0; i < turn->n_image; i++) {
        fovea_error err;
        assert_int_equal(
            fvi_preprocess_run(pre, &fvi_alloc_default, turn->images[i].image, pixels, &err), FOVEA_OK);
        for (size_t p = 0; p < n; p++) {
            float scale = pre->std[p / ((size_t)pre->width * pre->height)];
            double error = fabs((double)pixels[p] - (double)value(&want, i * n + p)) * (double)scale;
            assert_true(error <= PIXEL_STEP * 1.001);
            n_equal += error < PIXEL_STEP * 0.01;
        }
    }
    assert_true(n_equal * 100 >= turn->n_image * n * 95);
    fvi_free(&fvi_alloc_default, pixels);
}

static void check_features(const harness *h, const fvi_weights *file, const char *name, const fvi_turn *turn)
{
    fvi_tensor want = expected(file, name, "features");
    const fvi_encoder_info *info = fvi_encoder_info_get(h->model->encoder);
    const fvi_preprocess *pre = &h->model->preprocess;
    size_t width = h->model->config.hidden;
    float *pixels = fvi_calloc(&fvi_alloc_default, (size_t)3 * pre->width * pre->height, sizeof(float));
    float *features = fvi_calloc(&fvi_alloc_default, (size_t)info->n_token * info->hidden, sizeof(float));
    float *all = fvi_calloc(&fvi_alloc_default, turn->n_image * info->n_token * width, sizeof(float));
    fovea_error err;
    for (uint32_t i = 0; i < turn->n_image; i++) {
        assert_int_equal(
            fvi_preprocess_run(pre, &fvi_alloc_default, turn->images[i].image, pixels, &err), FOVEA_OK);
        assert_int_equal(fvi_encoder_run(h->model->encoder, pixels, features, &err), FOVEA_OK);
        assert_int_equal(fvi_projector_run(h->model->projector, features, info->n_token,
                                           all + i * info->n_token * width, &err),
                         FOVEA_OK);
    }
    double error = relative_error(&want, all);
    print_message("  %s features: relative error %.2e\n", name, error);
    assert_true(error <= FEATURE_BOUND);
    fvi_free(&fvi_alloc_default, pixels);
    fvi_free(&fvi_alloc_default, features);
    fvi_free(&fvi_alloc_default, all);
}

static void check_case(harness *h, const fvi_weights *file, const golden_case *c, bool inner)
{
    char paths[2][512];
    const char *files[2];
    for (uint32_t i = 0; i < c->n_image; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.png", c->images[i]);
        files[i] = harness_path(paths[i], sizeof paths[i], "tests/golden/models/images", name);
    }
    fvi_turn turn = {0};
    harness_turn(h, c->prompt, files, c->n_image, &turn);
    fvi_tensor ids = expected(file, c->name, "ids");
    assert_int_equal(turn.ids.n, ids.n_bytes / 4);
    for (size_t i = 0; i < turn.ids.n; i++) {
        assert_int_equal(turn.ids.data[i], (int32_t)value(&ids, i));
    }
    if (inner && c->n_image > 0) {
        check_pixels(h, file, c->name, &turn);
        check_features(h, file, c->name, &turn);
    }
    fvi_kv_seq *seq = NULL;
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h->pool, &h->model->geom, &seq), FOVEA_OK);
    harness_prefill(h, seq, &turn, NULL);
    fvi_tensor logits = expected(file, c->name, "logits");
    double error = relative_error(&logits, h->logits);
    print_message("  %s logits: relative error %.2e\n", c->name, error);
    assert_true(error <= LOGIT_BOUND);
    fvi_tensor greedy = expected(file, c->name, "greedy");
    for (uint32_t i = 0; i < N_GREEDY; i++) {
        int32_t token = harness_argmax(h->logits, h->model->config.vocab);
        assert_int_equal(token, (int32_t)value(&greedy, i));
        harness_decode(h, &seq, &token, 1);
    }
    fvi_kv_seq_free(&seq);
    fvi_turn_free(&turn);
}

static void check_model(const char *name, const char *model_folder, bool inner, uint32_t block)
{
    char model[512];
    char folder[512];
    harness h;
    fvi_weights *file = NULL;
    fovea_error err = {.text = ""};
    harness_path(model, sizeof model, model_folder, "");
    snprintf(folder, sizeof folder, "%s/tests/golden/models/%s/expected", FOVEA_SOURCE_DIR,
             name);
    print_message("%s\n", name);
    if (fvi_weights_open(&fvi_alloc_default, folder, &file, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    harness_open(&h, model, FOVEA_PRECISION_F32, 0, block, (size_t)64 << 20);
    for (size_t i = 0; i < FVI_COUNT(cases); i++) {
        check_case(&h, file, &cases[i], inner);
    }
    harness_close(&h);
    fvi_weights_close(&file);
}

static void test_clip_llama_mha(void **state)
{
    (void)state;
    check_model("clip-llama-mha", "tests/golden/models/clip-llama-mha", true, 7);
}

static void test_siglip_qwen2_gqa(void **state)
{
    (void)state;
    check_model("siglip-qwen2-gqa", "tests/golden/models/siglip-qwen2-gqa", true, 256);
}

static void test_clip_llama_mqa(void **state)
{
    (void)state;
    check_model("clip-llama-mqa", "tests/golden/models/clip-llama-mqa", true, 16);
}

static void test_default_model(void **state)
{
    (void)state;
    check_model("default", "samples/model", false, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip_llama_mha), cmocka_unit_test(test_siglip_qwen2_gqa),
        cmocka_unit_test(test_clip_llama_mqa), cmocka_unit_test(test_default_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
