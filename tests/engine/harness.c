/* harness.c - see harness.h. The pictures go through the same preprocess, encoder and projector calls as in
 * the scheduler. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HARNESS_ROWS 8

const char *harness_path(char *buffer, size_t n, const char *folder, const char *name)
{
    snprintf(buffer, n, "%s/%s/%s", FOVEA_SOURCE_DIR, folder, name);
    return buffer;
}

void harness_open(harness *self, const char *model_dir, fovea_precision precision, uint32_t features,
                  uint32_t block, size_t kv_bytes)
{
    fovea_error err = {.text = ""};
    *self = (harness){0};
    assert_int_equal(fvi_backend_cpu_open(&fvi_alloc_default, 2, features, &self->backend, &err), FOVEA_OK);
    fvi_model_options options = {.alloc = &fvi_alloc_default,
                                 .backend = self->backend,
                                 .dir = model_dir,
                                 .precision = precision};
    if (fvi_model_open(&options, &self->model, &err) != FOVEA_OK) {
        fail_msg("%s: %s", model_dir, err.text);
    }
    assert_int_equal(fvi_decoder_new(self->model, 64, block, &self->decoder, &err), FOVEA_OK);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, kv_bytes, fvi_kv_geom_granule(&self->model->geom),
                                     &self->pool),
                     FOVEA_OK);
    self->hidden = fvi_calloc(&fvi_alloc_default, (size_t)64 * self->model->config.hidden, sizeof(float));
    self->logits =
        fvi_calloc(&fvi_alloc_default, (size_t)HARNESS_ROWS * self->model->config.vocab, sizeof(float));
    assert_non_null(self->hidden);
    assert_non_null(self->logits);
}

void harness_close(harness *self)
{
    fvi_free(&fvi_alloc_default, self->hidden);
    fvi_free(&fvi_alloc_default, self->logits);
    fvi_decoder_free(&self->decoder);
    if (self->pool != NULL) {
        assert_int_equal(fvi_kv_pool_used(self->pool), 0);
    }
    fvi_kv_pool_free(&self->pool);
    fvi_model_close(&self->model);
    fvi_backend_close(&self->backend);
}

void harness_turn(const harness *self, const char *prompt, const char *const *files, uint32_t n_file,
                  fvi_turn *out)
{
    fovea_error err = {.text = ""};
    fvi_ids ids = {.alloc = &fvi_alloc_default};
    fovea_image *images[HARNESS_MAX_IMAGES] = {NULL};
    /* what transformers' convert("RGB") does to alpha */
    fovea_image_options options = {.size = sizeof options, .alpha = FOVEA_ALPHA_IGNORE};
    assert_int_equal(fvi_tokenizer_begin(self->model->tokenizer, &ids), FOVEA_OK);
    assert_int_equal(
        fvi_tokenizer_encode(self->model->tokenizer, prompt, strlen(prompt), &ids, &err), FOVEA_OK);
    for (uint32_t i = 0; i < n_file; i++) {
        if (fovea_image_from_file(files[i], &options, &images[i], &err) != FOVEA_OK) {
            fail_msg("%s: %s", files[i], err.text);
        }
    }
    if (fvi_turn_build(self->model, &ids, images, n_file, 0, 0, out, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    for (uint32_t i = 0; i < n_file; i++) {
        fovea_image_free(&images[i]);
    }
    fvi_ids_free(&ids);
}

static void encode_images(harness *self, const fvi_turn *turn, float *x)
{
    fovea_error err = {.text = ""};
    if (turn->n_image == 0) {
        return;
    }
    const fvi_encoder_info *info = fvi_encoder_info_get(self->model->encoder);
    const fvi_preprocess *pre = &self->model->preprocess;
    float *pixels = fvi_calloc(&fvi_alloc_default, (size_t)3 * pre->width * pre->height, sizeof(float));
    float *features = fvi_calloc(&fvi_alloc_default, (size_t)info->n_token * info->hidden, sizeof(float));
    for (uint32_t i = 0; i < turn->n_image; i++) {
        assert_int_equal(
            fvi_preprocess_run(pre, &fvi_alloc_default, turn->images[i].image, pixels, &err), FOVEA_OK);
        assert_int_equal(fvi_encoder_run(self->model->encoder, pixels, features, &err), FOVEA_OK);
        assert_int_equal(fvi_projector_run(self->model->projector, features, info->n_token,
                                           x + (size_t)turn->images[i].row * self->model->config.hidden,
                                           &err),
                         FOVEA_OK);
    }
    fvi_free(&fvi_alloc_default, pixels);
    fvi_free(&fvi_alloc_default, features);
}

void harness_prefill(harness *self, fvi_kv_seq *seq, const fvi_turn *turn, fvi_kv_obs *obs)
{
    fvi_prefill prefill;
    bool done = false;
    uint32_t hidden = self->model->config.hidden;
    assert_int_equal(fvi_kv_seq_begin_turn(seq, turn->spans, turn->n_span, 256), FOVEA_OK);
    assert_int_equal(fvi_prefill_begin(self->decoder, seq, obs, &prefill), FOVEA_OK);
    for (size_t t = 0; t < turn->ids.n; t++) {
        fvi_decoder_embed(self->decoder, turn->ids.data[t], prefill.x + t * hidden);
    }
    encode_images(self, turn, prefill.x);
    while (!done) {
        assert_int_equal(fvi_prefill_step(self->decoder, &prefill, &done, self->hidden), FOVEA_OK);
    }
    fvi_prefill_end(self->decoder, &prefill);
    assert_int_equal(fvi_decoder_logits(self->decoder, self->hidden, 1, self->logits), FOVEA_OK);
}

void harness_decode(harness *self, fvi_kv_seq *const *seqs, const int32_t *tokens, uint32_t n_row)
{
    fvi_decode_row rows[HARNESS_ROWS];
    assert_true(n_row <= HARNESS_ROWS);
    for (uint32_t i = 0; i < n_row; i++) {
        rows[i] = (fvi_decode_row){.seq = seqs[i], .token = tokens[i]};
    }
    assert_int_equal(fvi_decode_step(self->decoder, rows, n_row, self->hidden), FOVEA_OK);
    for (uint32_t i = 0; i < n_row; i++) {
        assert_int_equal(fvi_kv_seq_commit(seqs[i]), FOVEA_OK);
    }
    assert_int_equal(fvi_decoder_logits(self->decoder, self->hidden, n_row, self->logits), FOVEA_OK);
}

int32_t harness_argmax(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return (int32_t)best;
}
