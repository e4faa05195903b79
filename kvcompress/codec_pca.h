/* codec_pca.h - what the kinds of principal components share (sdk/ops/pca.h).
 *
 * A codec file is FVI_PCA(...): its shape; the functions are the same for all. Included by
 * codec_pca_<name>.c; codec_pca.c does the work. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CODEC_PCA_H
#define FOVEA_KVCOMPRESS_CODEC_PCA_H

#include "sdk/ops/codec.h"

size_t fvi_pca_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv);
void fvi_pca_settle(const fvi_codec *self, const struct fvi_row_fit *fit, uint8_t *run,
                    uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first);
void fvi_pca_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                    const float *v, size_t v_stride);
void fvi_pca_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                    size_t v_stride);
uint32_t fvi_pca_fit_rows(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                          uint32_t first);

/* The entry fvi_codec_<id>, called `text` in recipes; the rest initialises its fvi_pca_shape. */
#define FVI_PCA(id, text, kind_, ...)                                                              \
    const fvi_codec fvi_codec_##id = {                                                             \
        .name = text,                                                                              \
        .kind = kind_,                                                                             \
        .pca = {__VA_ARGS__},                                                                      \
        .bytes = fvi_pca_bytes,                                                                    \
        .fit_rows = fvi_pca_fit_rows,                                                              \
        .settle = fvi_pca_settle,                                                                  \
        .encode = fvi_pca_encode,                                                                  \
        .decode = fvi_pca_decode,                                                                  \
    }

#endif
