/* harness.h - a model without a scheduler, for tests that look at logits: one sequence, step by step.
 *
 * Every function fails the running test by itself. */
#ifndef FOVEA_TESTS_ENGINE_HARNESS_H
#define FOVEA_TESTS_ENGINE_HARNESS_H

#include "kvcompress/plan.h"
#include "sdk/engine/decoder.h"
#include "sdk/engine/prompt.h"

#define HARNESS_MAX_IMAGES 4

typedef struct harness {
    fvi_backend *backend;
    fvi_model *model;
    fvi_decoder *decoder;
    fvi_kv_pool *pool;
    float *hidden; /* [64, hidden] */
    float *logits; /* [8, vocab] */
} harness;

/* A path below the source folder; static buffer per call site of the caller. */
const char *harness_path(char *buffer, size_t n, const char *folder, const char *name);
void harness_open(harness *self, const char *model_dir, fovea_precision precision, uint32_t features,
                  uint32_t block, size_t kv_bytes);
void harness_close(harness *self);
/* Ids as the model's tokenizer makes them, with its beginning; images by their file names. */
void harness_turn(const harness *self, const char *prompt, const char *const *files, uint32_t n_file,
                  fvi_turn *out);
/* Runs a whole turn through the model; logits of its last row are in self->logits[0]. */
void harness_prefill(harness *self, fvi_kv_seq *seq, const fvi_turn *turn, fvi_kv_obs *obs);
/* Feeds one token to each sequence, commits, and leaves the logits in self->logits (at most 8 rows). */
void harness_decode(harness *self, fvi_kv_seq *const *seqs, const int32_t *tokens, uint32_t n_row);
int32_t harness_argmax(const float *logits, uint32_t n);

#endif
