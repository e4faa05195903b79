/* decoder.h - the arithmetic of a Llama-type decoder over cached lists: prefill blocks and decode rows.
 *
 * A prefill's cursor is (layer, row block): all rows of a turn pass layer l before l + 1, so that other
 * sequences' decode rows can run between blocks and a finished layer can be compressed at once. In the
 * last layer only the last row goes on after its keys and values are stored: nothing else is read.
 * Called by the scheduler. Threads: one at a time. */
#ifndef FOVEA_ENGINE_DECODER_H
#define FOVEA_ENGINE_DECODER_H

#include "sdk/engine/observe.h"

typedef struct fvi_decoder fvi_decoder;

/* A turn's way through the layers. Owned by the request; buffers taken by begin, given back by end. */
typedef struct fvi_prefill {
    fvi_kv_seq *seq;
    uint32_t n_token;
    uint32_t first_position;
    float *x;               /* [n_token, hidden] residual stream; the caller fills the embeddings */
    float *cosine, *sine;   /* [n_token, head_dim / 2] */
    fvi_observer observer;  /* its obs is NULL when nothing is observed */
    uint32_t layer, row;    /* cursor */
    size_t n_bytes;         /* of the buffers, the observer's apart */
} fvi_prefill;

/* One sequence's row of a decode step. */
typedef struct fvi_decode_row {
    fvi_kv_seq *seq;
    int32_t token;
} fvi_decode_row;

/* max_rows: decode rows per step; block: prefill rows per step. All step buffers are made here. */
fovea_status fvi_decoder_new(const fvi_model *model, uint32_t max_rows, uint32_t block,
                             fvi_decoder **out, fovea_error *err);
void fvi_decoder_free(fvi_decoder **decoder);
size_t fvi_decoder_bytes(const fvi_decoder *decoder);

/* Takes the buffers; the sequence's turn must have begun. obs may be NULL. */
fovea_status fvi_prefill_begin(fvi_decoder *decoder, fvi_kv_seq *seq, fvi_kv_obs *obs, fvi_prefill *out);
void fvi_prefill_end(fvi_decoder *decoder, fvi_prefill *prefill);
/* Copies the embedding of a token into a row of x. */
void fvi_decoder_embed(const fvi_decoder *decoder, int32_t token, float *row /* [hidden] */);
/* Runs one block. *done when the last layer is through; then hidden [hidden] is the normed last row. */
fovea_status fvi_prefill_step(fvi_decoder *decoder, fvi_prefill *prefill, bool *done,
                              float *hidden /* [hidden] */);

/* One token for each row; appends to the sequences (not committed) and gives the normed hidden rows. */
fovea_status fvi_decode_step(fvi_decoder *decoder, const fvi_decode_row *rows, uint32_t n_row,
                             float *hidden /* [n_row, hidden] */);
/* Logits of hidden rows; at most FVI_HEAD_ROWS at once. */
#define FVI_HEAD_ROWS 8
fovea_status fvi_decoder_logits(fvi_decoder *decoder, const float *hidden, uint32_t n_row,
                                float *logits /* [n_row, vocab] */);

#endif
