/* codec_codes.h - what all kinds of codes share: runs of a layout, written and read (sdk/ops/codec.h).
 *
 * A codec file is FVI_CODES(...): the layout as a constant, and the table's functions with it put in.
 * Rounding: codec_affine.h. Included by codec_<name>.c; codec_codes.c lays runs per token, codec_channel.c
 * per channel. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CODEC_CODES_H
#define FOVEA_KVCOMPRESS_CODEC_CODES_H

#include "sdk/ops/codec.h"

uint32_t fvi_codes_encode_rows(const fvi_code_layout *layout, uint32_t capacity, uint32_t dk,
                               uint32_t dv, uint32_t first);
void fvi_codes_encode(const fvi_code_layout *layout, uint8_t *run, uint32_t capacity, uint32_t dk,
                      uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                      const float *v, size_t v_stride);
void fvi_codes_decode(const fvi_code_layout *layout, const uint8_t *run, uint32_t capacity,
                      uint32_t dk, uint32_t dv, uint32_t first, uint32_t n, float *k,
                      size_t k_stride, float *v, size_t v_stride);

/* K or V of a run. */
typedef struct fvi_code_section {
    const fvi_code_layout *layout;
    size_t codes, affine; /* where they lie in the run */
    uint32_t capacity, d;
    bool channel; /* per channel, else per token */
    bool values;
} fvi_code_section;

/* Rows of a section per channel (codec_channel.c); encode takes whole groups. */
void fvi_channel_encode(const fvi_code_section *section, uint8_t *run, uint32_t first, uint32_t n,
                        const float *x /* [n, d] */, size_t stride);
void fvi_channel_decode(const fvi_code_section *section, const uint8_t *run, uint32_t first,
                        uint32_t n, float *x, size_t stride);

/* The entry fvi_codec_<id>, called `text` in recipes; the rest initialises its fvi_code_layout. */
#define FVI_CODES(id, text, kind_, ...)                                                            \
    static const fvi_code_layout layout = {__VA_ARGS__};                                           \
    static size_t id##_bytes(uint32_t capacity, uint32_t dk, uint32_t dv)                          \
    {                                                                                              \
        return fvi_code_sections_of(&layout, capacity, dk, dv).n_bytes;                            \
    }                                                                                              \
    static uint32_t id##_encode_rows(uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first)  \
    {                                                                                              \
        return fvi_codes_encode_rows(&layout, capacity, dk, dv, first);                            \
    }                                                                                              \
    static void id##_encode(uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,             \
                            uint32_t first, uint32_t n, const float *k, size_t k_stride,           \
                            const float *v, size_t v_stride)                                       \
    {                                                                                              \
        fvi_codes_encode(&layout, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);      \
    }                                                                                              \
    static void id##_decode(const uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,       \
                            uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,       \
                            size_t v_stride)                                                       \
    {                                                                                              \
        fvi_codes_decode(&layout, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);      \
    }                                                                                              \
    const fvi_codec fvi_codec_##id = {                                                             \
        .name = text,                                                                              \
        .kind = kind_,                                                                             \
        .codes = {__VA_ARGS__},                                                                    \
        .bytes = id##_bytes,                                                                       \
        .encode_rows = id##_encode_rows,                                                           \
        .encode = id##_encode,                                                                     \
        .decode = id##_decode,                                                                     \
    }

#endif
