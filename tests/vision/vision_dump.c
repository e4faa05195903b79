/* vision_dump.c - writes what the vision path makes of a picture, for tests/golden/check_vision.py.
 *
 *     vision_dump MODEL_DIR IMAGE f32|bf16 OUT
 *
 * OUT: three arrays of f32 one after another - pixel values, features, projected rows; their sizes and the
 * time of one warm encoder run go to standard output as one line of JSON. */
#include "vision/encoder.h"
#include "vision/preprocess.h"
#include "vision/projector.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct path {
    fvi_llava_config config;
    fvi_preprocess how;
    fvi_weights *weights;
    fvi_params *params;
    fvi_backend *backend;
    fvi_encoder *encoder;
    fvi_projector *projector;
    fovea_image *image;
    float *pixels, *rows, *projected;
} path;

static fovea_status open_path(path *p, const char *dir, const char *file, fvi_dtype dtype,
                              fovea_error *err)
{
    const fovea_alloc *alloc = &fvi_alloc_default;
    const fovea_image_options ignore = {.size = sizeof ignore, .alpha = FOVEA_ALPHA_IGNORE};
    json_t *root = NULL;
    FVI_TRY(fvi_json_load(alloc, dir, "config.json", &root, err));
    fovea_status status = fvi_llava_config_read(root, &p->config, err);
    json_decref(root);
    FVI_TRY(status);
    FVI_TRY(fvi_preprocess_load(alloc, dir, &p->how, err));
    FVI_TRY(fvi_weights_open(alloc, dir, &p->weights, err));
    FVI_TRY(fvi_params_new(alloc, p->weights, dtype, NULL, NULL, &p->params));
    FVI_TRY(fvi_backend_cpu_open(alloc, 0, 0, &p->backend, err));
    const fvi_encoder_options encoder = {.alloc = alloc,
                                         .config = &p->config.vision,
                                         .n_layer_run = p->config.n_layer_run,
                                         .select = p->config.feature_select,
                                         .prefix = "vision_tower.",
                                         .params = p->params,
                                         .backend = p->backend};
    FVI_TRY(fvi_encoder_open(&encoder, &p->encoder, err));
    const fvi_projector_options projector = {.alloc = alloc,
                                             .n_in = p->config.vision.hidden,
                                             .n_out = p->config.text.hidden,
                                             .max_token = fvi_encoder_info_get(p->encoder)->n_token,
                                             .act = p->config.projector_act,
                                             .bias = p->config.projector_bias,
                                             .prefix = "multi_modal_projector.",
                                             .params = p->params,
                                             .backend = p->backend};
    FVI_TRY(fvi_projector_open(&projector, &p->projector, err));
    return fovea_image_from_file(file, &ignore, &p->image, err);
}

static fovea_status run_path(path *p, FILE *out, fovea_error *err)
{
    const fvi_encoder_info *info = fvi_encoder_info_get(p->encoder);
    const size_t n_pixel = (size_t)3 * p->how.width * p->how.height;
    const size_t n_row = (size_t)info->n_token * info->hidden;
    const size_t n_projected = (size_t)info->n_token * p->config.text.hidden;
    p->pixels = calloc(n_pixel, sizeof *p->pixels);
    p->rows = calloc(n_row, sizeof *p->rows);
    p->projected = calloc(n_projected, sizeof *p->projected);
    if (p->pixels == NULL || p->rows == NULL || p->projected == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory");
    }
    if (p->how.width != info->image_size || p->how.height != info->image_size) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "processor and encoder differ in size");
    }
    FVI_TRY(fvi_preprocess_run(&p->how, &fvi_alloc_default, p->image, p->pixels, err));
    FVI_TRY(fvi_encoder_run(p->encoder, p->pixels, p->rows, err));
    int64_t start = fvi_now_ns();
    FVI_TRY(fvi_encoder_run(p->encoder, p->pixels, p->rows, err));
    const double encode_ms = (double)(fvi_now_ns() - start) * 1e-6;
    FVI_TRY(fvi_projector_run(p->projector, p->rows, info->n_token, p->projected, err));
    if (fwrite(p->pixels, sizeof(float), n_pixel, out) != n_pixel ||
        fwrite(p->rows, sizeof(float), n_row, out) != n_row ||
        fwrite(p->projected, sizeof(float), n_projected, out) != n_projected) {
        return FVI_FAIL(err, FOVEA_ERR_IO, "the output cannot be written");
    }
    printf("{\"pixels\": %zu, \"features\": %zu, \"projected\": %zu, \"encode_ms\": %.2f, "
           "\"backend\": "
           "\"%s\"}\n",
           n_pixel, n_row, n_projected, encode_ms, p->backend->name);
    return FOVEA_OK;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: vision_dump MODEL_DIR IMAGE f32|bf16 OUT\n");
        return 2;
    }
    path p = {0};
    fovea_error err = {0};
    FILE *out = fopen(argv[4], "wb");
    fovea_status status = out != NULL ? FOVEA_OK : FVI_FAIL(&err, FOVEA_ERR_IO, "%s", argv[4]);
    if (status == FOVEA_OK) {
        const fvi_dtype dtype = strcmp(argv[3], "f32") == 0 ? FVI_DTYPE_F32 : FVI_DTYPE_BF16;
        status = open_path(&p, argv[1], argv[2], dtype, &err);
    }
    if (status == FOVEA_OK) {
        status = run_path(&p, out, &err);
    }
    if (out != NULL && fclose(out) != 0 && status == FOVEA_OK) {
        status = FVI_FAIL(&err, FOVEA_ERR_IO, "%s cannot be written", argv[4]);
    }
    if (status != FOVEA_OK) {
        fprintf(stderr, "vision_dump: %s\n", err.text);
    }
    free(p.pixels);
    free(p.rows);
    free(p.projected);
    fovea_image_free(&p.image);
    fvi_projector_close(&p.projector);
    fvi_encoder_close(&p.encoder);
    fvi_backend_close(&p.backend);
    fvi_params_free(&p.params);
    fvi_weights_close(&p.weights);
    return status == FOVEA_OK ? 0 : 1;
}
