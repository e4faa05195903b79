/* codec_codes.h - what all kinds of codes share: runs of a layout, written and read (sdk/ops/codec.h).
 *
 * A codec file is FVI_CODES(...): its layout; the functions are the same for all.
 * Rounding: codec_affine.h. Included by codec_<name>.c; codec_codes.c lays runs per token, codec_channel.c
 * per channel. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_CODEC_CODES_H
#define FOVEA_KVCOMPRESS_CODEC_CODES_H

#include "sdk/ops/codec.h"

size_t fvi_codes_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv);
uint32_t fvi_codes_encode_rows(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                               uint32_t first);
void fvi_codes_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                      uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                      const float *v, size_t v_stride);
void fvi_codes_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                      uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                      size_t v_stride);

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
    const fvi_codec fvi_codec_##id = {                                                             \
        .name = text,                                                                              \
        .kind = kind_,                                                                             \
        .codes = {__VA_ARGS__},                                                                    \
        .bytes = fvi_codes_bytes,                                                                  \
        .encode_rows = fvi_codes_encode_rows,                                                      \
        .encode = fvi_codes_encode,                                                                \
        .decode = fvi_codes_decode,                                                                \
    }

#endif
