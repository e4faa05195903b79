/* test_encoder.c - encoders and projector equal transformers' (tests/golden/make_vision.py) on random
 * weights: every layer index and strategy, names of both styles, both precisions; what does not fit is
 * refused; failing memory is an error. */
#include "tests/fault/fault_alloc.h"
#include "vision/encoder.h"
#include "vision/projector.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_TEXT 20 /* width of the projector's output */

typedef struct golden {
    char dir[512];
    fvi_vision_config config;
    fvi_weights *weights;
    fvi_backend *backend;
    fvi_config_act act;
    bool bias;
} golden;

typedef struct feature_case {
    const char *layer, *strategy;
    int index; /* of hidden_states */
    fvi_feature_select select;
} feature_case;

static const feature_case cases[] = {
    {"-1", "full", -1, FVI_FEATURE_SELECT_FULL}, {"-2", "default", -2, FVI_FEATURE_SELECT_DEFAULT},
    {"-2", "full", -2, FVI_FEATURE_SELECT_FULL}, {"1", "default", 1, FVI_FEATURE_SELECT_DEFAULT},
    {"0", "full", 0, FVI_FEATURE_SELECT_FULL},
};

static golden golden_open(const char *name, fvi_config_act act, bool bias)
{
    golden g = {.act = act, .bias = bias};
    snprintf(g.dir, sizeof g.dir, "%s/tests/golden/vision/%s", FOVEA_SOURCE_DIR, name);
    json_t *json = NULL;
    fovea_error err = {0};
    assert_int_equal(fvi_json_load(&fvi_alloc_default, g.dir, "config.json", &json, &err),
                     FOVEA_OK);
    if (fvi_vision_config_read(json, &g.config, &err) != FOVEA_OK ||
        fvi_weights_open(&fvi_alloc_default, g.dir, &g.weights, &err) != FOVEA_OK ||
        fvi_backend_cpu_open(&fvi_alloc_default, 2, 0, &g.backend, &err) != FOVEA_OK) {
        fail_msg("%s: %s", name, err.text);
    }
    json_decref(json);
    return g;
}

static golden clip_open(void)
{
    return golden_open("clip", FVI_CONFIG_ACT_GELU, true);
}

static golden siglip_open(void)
{
    return golden_open("siglip", FVI_CONFIG_ACT_GELU_QUICK, false);
}

static void golden_close(golden *g)
{
    fvi_backend_close(&g->backend);
    fvi_weights_close(&g->weights);
}

static const float *golden_tensor(const golden *g, const char *name, uint32_t n_row,
                                  uint32_t n_column)
{
    const uint64_t shape[2] = {n_row, n_column};
    fvi_tensor tensor;
    fovea_error err = {0};
    if (fvi_weights_find(g->weights, name, n_row != 0 ? 2 : 0, shape, &tensor, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return tensor.data;
}

/* Largest difference over largest value. */
static double relative(const float *got, const float *want, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error = fmax(error, isfinite(got[i]) ? fabs((double)got[i] - want[i]) : INFINITY);
        size = fmax(size, fabs((double)want[i]));
    }
    return error / size;
}

static fvi_encoder_options encoder_options(const golden *g, fvi_params *params,
                                           const feature_case *c)
{
    return (fvi_encoder_options){
        .alloc = &fvi_alloc_default,
        .config = &g->config,
        .n_layer_run = (uint32_t)(c->index >= 0 ? c->index : (int)g->config.n_layer + 1 + c->index),
        .select = c->select,
        .prefix = "vision_tower.",
        .params = params,
        .backend = g->backend,
    };
}

static fvi_projector_options projector_options(const golden *g, fvi_params *params,
                                               uint32_t n_token)
{
    return (fvi_projector_options){
        .alloc = &fvi_alloc_default,
        .n_in = g->config.hidden,
        .n_out = N_TEXT,
        .max_token = n_token,
        .act = g->act,
        .bias = g->bias,
        .prefix = "multi_modal_projector.",
        .params = params,
        .backend = g->backend,
    };
}

static void check_case(const golden *g, const feature_case *c, fvi_dtype dtype, double bound)
{
    fvi_params *params = NULL;
    fvi_encoder *encoder = NULL;
    fvi_projector *projector = NULL;
    fovea_error err = {0};
    char name[64];
    assert_int_equal(fvi_params_new(&fvi_alloc_default, g->weights, dtype, NULL, NULL, &params),
                     FOVEA_OK);
    const fvi_encoder_options options = encoder_options(g, params, c);
    if (fvi_encoder_open(&options, &encoder, &err) != FOVEA_OK) {
        fail_msg("%s: %s", g->dir, err.text);
    }
    const fvi_encoder_info *info = fvi_encoder_info_get(encoder);
    const fvi_projector_options to_text = projector_options(g, params, info->n_token);
    if (fvi_projector_open(&to_text, &projector, &err) != FOVEA_OK) {
        fail_msg("%s: %s", g->dir, err.text);
    }
    const size_t n = (size_t)info->n_token * info->hidden, n_text = (size_t)info->n_token * N_TEXT;
    float *rows = malloc(n * sizeof *rows), *projected = malloc(n_text * sizeof *projected);
    assert_true(rows != NULL && projected != NULL);
    snprintf(name, sizeof name, "golden.%s.%s.features", c->layer, c->strategy);
    const float *want = golden_tensor(g, name, info->n_token, info->hidden);
    const float *pixels = golden_tensor(g, "golden.pixels", 0, 0);
    for (int round = 0; round < 2; round++) { /* nothing of the first run may linger */
        assert_int_equal(fvi_encoder_run(encoder, pixels, rows, &err), FOVEA_OK);
    }
    double error = relative(rows, want, n);
    if (error > bound) {
        fail_msg("%s %s: relative error %g", g->dir, name, error);
    }
    snprintf(name, sizeof name, "golden.%s.%s.projected", c->layer, c->strategy);
    want = golden_tensor(g, name, info->n_token, N_TEXT);
    assert_int_equal(fvi_projector_run(projector, rows, info->n_token, projected, &err), FOVEA_OK);
    error = relative(projected, want, n_text);
    if (error > bound) {
        fail_msg("%s %s: relative error %g", g->dir, name, error);
    }
    assert_int_equal(fvi_projector_run(projector, rows, info->n_token + 1, projected, &err),
                     FOVEA_ERR_ARG);
    free(rows);
    free(projected);
    fvi_projector_close(&projector);
    fvi_encoder_close(&encoder);
    assert_null(encoder);
    fvi_params_free(&params);
}

static void check_tower(golden g)
{
    for (size_t i = 0; i < FVI_COUNT(cases); i++) {
        check_case(&g, &cases[i], FVI_DTYPE_F32, 1e-4);
        check_case(&g, &cases[i], FVI_DTYPE_BF16, 3e-2);
    }
    golden_close(&g);
}

static void test_clip(void **state)
{
    (void)state;
    check_tower(clip_open());
}

static void test_siglip(void **state)
{
    (void)state;
    check_tower(siglip_open());
}

static void test_describe(void **state)
{
    (void)state;
    fvi_encoder_info info;
    fvi_vision_config clip = {.model_type = "clip_vision_model",
                              .hidden = 1024,
                              .ffn = 4096,
                              .n_layer = 24,
                              .n_head = 16,
                              .n_channel = 3,
                              .image_size = 336,
                              .patch_size = 14};
    assert_int_equal(fvi_encoder_describe(&clip, FVI_FEATURE_SELECT_DEFAULT, &info, NULL),
                     FOVEA_OK);
    assert_int_equal(info.n_token, 576);
    assert_int_equal(info.grid_width, 24);
    assert_int_equal(info.grid_height, 24);
    assert_int_equal(info.first_patch, 0);
    assert_int_equal(info.workspace_bytes, UINT64_C(577) * (2 * 1024 + 4096) * 4);
    assert_int_equal(fvi_encoder_describe(&clip, FVI_FEATURE_SELECT_FULL, &info, NULL), FOVEA_OK);
    assert_int_equal(info.n_token, 577);
    assert_int_equal(info.first_patch, -1);
    fvi_vision_config siglip = clip;
    strcpy(siglip.model_type, "siglip_vision_model");
    siglip.image_size = 384; /* six pixels are left over */
    assert_int_equal(fvi_encoder_describe(&siglip, FVI_FEATURE_SELECT_FULL, &info, NULL), FOVEA_OK);
    assert_int_equal(info.n_token, 27 * 27);
    assert_int_equal(info.first_patch, 0);
    assert_int_equal(fvi_encoder_describe(&siglip, FVI_FEATURE_SELECT_DEFAULT, &info, NULL),
                     FOVEA_OK);
    assert_int_equal(info.n_token, 27 * 27 - 1);
    assert_int_equal(info.first_patch, 1);

    fovea_error err = {0};
    clip.patch_size = 400;
    assert_int_equal(fvi_encoder_describe(&clip, FVI_FEATURE_SELECT_FULL, &info, &err),
                     FOVEA_ERR_UNSUPPORTED);
    clip.patch_size = 1;
    assert_int_equal(fvi_encoder_describe(&clip, FVI_FEATURE_SELECT_FULL, &info, &err),
                     FOVEA_ERR_UNSUPPORTED);
    strcpy(clip.model_type, "dinov2");
    assert_int_equal(fvi_encoder_describe(&clip, FVI_FEATURE_SELECT_FULL, &info, &err),
                     FOVEA_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "dinov2"));
}

/* A checkpoint whose tensors do not fit its config, or that lacks them, is refused by name. */
static void test_misfits(void **state)
{
    (void)state;
    golden g = clip_open();
    fvi_params *params = NULL;
    fvi_encoder *encoder = NULL;
    fovea_error err = {0};
    assert_int_equal(
        fvi_params_new(&fvi_alloc_default, g.weights, FVI_DTYPE_F32, NULL, NULL, &params),
        FOVEA_OK);
    fvi_encoder_options options = encoder_options(&g, params, &cases[0]);
    options.prefix = "image_tower.";
    assert_int_equal(fvi_encoder_open(&options, &encoder, &err), FOVEA_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "image_tower."));
    assert_null(encoder);
    options.prefix = "vision_tower.";
    options.n_layer_run = g.config.n_layer + 1;
    assert_int_equal(fvi_encoder_open(&options, &encoder, &err), FOVEA_ERR_ARG);
    options.n_layer_run = g.config.n_layer;
    g.config.ffn += 1;
    assert_int_equal(fvi_encoder_open(&options, &encoder, &err), FOVEA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "mlp.fc1.weight"));
    g.config.ffn -= 1;
    g.config.image_size += g.config.patch_size;
    assert_int_equal(fvi_encoder_open(&options, &encoder, &err), FOVEA_ERR_FORMAT);
    assert_non_null(strstr(err.text, "position_embedding"));
    assert_null(encoder);
    fvi_params_free(&params);
    golden_close(&g);
}

static fovea_status open_once(const fovea_alloc *alloc, void *arg)
{
    const golden *g = arg;
    fvi_params *params = NULL;
    fvi_encoder *encoder = NULL;
    fvi_projector *projector = NULL;
    fovea_status status = fvi_params_new(alloc, g->weights, FVI_DTYPE_BF16, NULL, NULL, &params);
    if (status == FOVEA_OK) {
        fvi_encoder_options options = encoder_options(g, params, &cases[0]);
        options.alloc = alloc;
        status = fvi_encoder_open(&options, &encoder, NULL);
    }
    if (status == FOVEA_OK) {
        fvi_projector_options options = projector_options(g, params, 16);
        options.alloc = alloc;
        status = fvi_projector_open(&options, &projector, NULL);
    }
    fvi_projector_close(&projector);
    fvi_encoder_close(&encoder);
    fvi_params_free(&params);
    return status;
}

static void test_failing_memory(void **state)
{
    (void)state;
    golden g = siglip_open();
    uint64_t n_point = 0;
    const char *wrong = fault_sweep(open_once, &g, &n_point);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    assert_true(n_point >= 10);
    golden_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),           cmocka_unit_test(test_siglip),
        cmocka_unit_test(test_describe),       cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
