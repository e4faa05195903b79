/* contiguous_run.c - one prompt and forced tokens over the contiguous cache; logits of every row.
 *
 * Compiled with contiguous.h in front; called by test_exact.c. */
#include "harness.h"

void contiguous_run(const char *model_dir, fovea_precision precision, const char *prompt,
                    const char *const *files, uint32_t n_file, const int32_t *tokens, uint32_t n_token,
                    float *logits);

void contiguous_run(const char *model_dir, fovea_precision precision, const char *prompt,
                    const char *const *files, uint32_t n_file, const int32_t *tokens, uint32_t n_token,
                    float *logits)
{
    harness h;
    fvi_turn turn = {0};
    fvi_kv_seq *seq = NULL;
    harness_open(&h, model_dir, precision, 0, 64, (size_t)1 << 20);
    size_t vocab = h.model->config.vocab;
    harness_turn(&h, prompt, files, n_file, &turn);
    fvi_kv_seq_new(&fvi_alloc_default, NULL, &h.model->geom, &seq);
    harness_prefill(&h, seq, &turn, NULL);
    memcpy(logits, h.logits, vocab * sizeof(float));
    for (uint32_t i = 0; i < n_token; i++) {
        harness_decode(&h, &seq, &tokens[i], 1);
        memcpy(logits + (i + 1) * vocab, h.logits, vocab * sizeof(float));
    }
    fvi_kv_seq_free(&seq);
    fvi_turn_free(&turn);
    harness_close(&h);
}
