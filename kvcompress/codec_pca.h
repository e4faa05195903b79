/* codec_pca.h - what the kinds of principal components share (sdk/ops/pca.h).
 *
 * A codec file is FVI_PCA(...): its shape, and the table's functions with it put in. Included by
 * codec_pca_<name>.c; codec_pca.c does the work. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CODEC_PCA_H
#define FOVEA_KVCOMPRESS_CODEC_PCA_H

#include "sdk/ops/codec.h"

size_t fvi_pca_bytes(const fvi_pca_shape *shape, uint32_t capacity, uint32_t dk, uint32_t dv);
void fvi_pca_settle(const fvi_pca_shape *shape, const struct fvi_row_fit *fit, uint8_t *run,
                    uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first);
void fvi_pca_encode(const fvi_pca_shape *shape, uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                    const float *v, size_t v_stride);
void fvi_pca_decode(const fvi_pca_shape *shape, const uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                    size_t v_stride);
uint32_t fvi_pca_fit_rows(const fvi_pca_shape *shape, uint32_t capacity, uint32_t dk, uint32_t dv,
                          uint32_t first);

/* The entry fvi_codec_<id>, called `text` in recipes; the rest initialises its fvi_pca_shape. */
#define FVI_PCA(id, text, kind_, ...)                                                              \
    static const fvi_pca_shape shape = {__VA_ARGS__};                                              \
    static size_t id##_bytes(uint32_t capacity, uint32_t dk, uint32_t dv)                          \
    {                                                                                              \
        return fvi_pca_bytes(&shape, capacity, dk, dv);                                            \
    }                                                                                              \
    static uint32_t id##_fit_rows(uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first)     \
    {                                                                                              \
        return fvi_pca_fit_rows(&shape, capacity, dk, dv, first);                                  \
    }                                                                                              \
    static void id##_settle(const struct fvi_row_fit *fit, uint8_t *run, uint32_t capacity,        \
                            uint32_t dk, uint32_t dv, uint32_t first)                              \
    {                                                                                              \
        fvi_pca_settle(&shape, fit, run, capacity, dk, dv, first);                                 \
    }                                                                                              \
    static void id##_encode(uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,             \
                            uint32_t first, uint32_t n, const float *k, size_t k_stride,           \
                            const float *v, size_t v_stride)                                       \
    {                                                                                              \
        fvi_pca_encode(&shape, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);         \
    }                                                                                              \
    static void id##_decode(const uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,       \
                            uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,       \
                            size_t v_stride)                                                       \
    {                                                                                              \
        fvi_pca_decode(&shape, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);         \
    }                                                                                              \
    const fvi_codec fvi_codec_##id = {                                                             \
        .name = text,                                                                              \
        .kind = kind_,                                                                             \
        .pca = {__VA_ARGS__},                                                                      \
        .bytes = id##_bytes,                                                                       \
        .fit_rows = id##_fit_rows,                                                                 \
        .settle = id##_settle,                                                                     \
        .encode = id##_encode,                                                                     \
        .decode = id##_decode,                                                                     \
    }

#endif
