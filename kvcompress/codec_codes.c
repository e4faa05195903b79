/* codec_codes.c - runs of codes: which section lies how, and the sections per token.
 *
 * Layout: sdk/ops/codec.h (a byte of a row holds elements that are a share of the row apart). Called by the
 * codec files through codec_codes.h. */
#include "kvcompress/codec_codes.h"

#include "kvcompress/codec_affine.h"

/* Channels first..first+n-1 of a row [d], n at most FVI_ROTATE and first a multiple of FVI_GROUP. */
static void encode_part(const float *x, uint32_t d, uint32_t bits, uint32_t first, uint32_t n,
                        uint8_t *row, uint8_t *affine)
{
    uint32_t share = (uint32_t)fvi_code_row(bits, d);
    uint8_t codes[FVI_ROTATE];
    fvi_affine_row(x, n, (float)((1u << bits) - 1), codes, affine + first / FVI_GROUP * 4);
    for (uint32_t c = 0; c < n;) {
        uint32_t nth = (first + c) / share;
        uint32_t end = FVI_MIN(n, (nth + 1) * share - first);
        for (uint32_t byte = first + c - nth * share; c < end; c++, byte++) {
            row[byte] = (uint8_t)(row[byte] | codes[c] << nth * bits);
        }
    }
}

static void encode_row(const float *x, uint32_t d, const fvi_code_layout *layout, uint8_t *row,
                       uint8_t *affine)
{
    float rotated[FVI_ROTATE];
    memset(row, 0, fvi_code_row(layout->bits, d));
    for (uint32_t first = 0; first < d; first += FVI_ROTATE) {
        uint32_t n = FVI_MIN(d - first, FVI_ROTATE);
        const float *part = x + first;
        if (layout->rotated) {
            for (uint32_t c = 0; c < n;
                 c++) { /* sums of what f16 cannot hold would not be finite */
                rotated[c] = fvi_affine_clip(part[c]);
            }
            fvi_rotate(rotated, n);
            part = rotated;
        }
        encode_part(part, d, layout->bits, first, n, row, affine);
    }
}

static void decode_row(float *x, uint32_t d, const fvi_code_layout *layout, const uint8_t *row,
                       const uint8_t *affine)
{
    uint32_t bits = layout->bits, share = (uint32_t)fvi_code_row(bits, d), mask = (1u << bits) - 1;
    for (uint32_t first = 0; first < d; first += FVI_GROUP, affine += 4) {
        uint32_t last = FVI_MIN(d, first + FVI_GROUP);
        fvi_affine fit = fvi_affine_load(affine);
        for (uint32_t c = first; c < last;) {
            uint32_t nth = c / share, end = FVI_MIN(last, (nth + 1) * share);
            for (uint32_t byte = c - nth * share; c < end; c++, byte++) {
                x[c] = (float)(row[byte] >> nth * bits & mask) * fit.scale + fit.min;
            }
        }
    }
    if (layout->rotated) {
        fvi_rotate(x, d);
    }
}

static fvi_code_section section_of(const fvi_code_layout *layout, uint32_t capacity, uint32_t dk,
                                   uint32_t dv, bool values)
{
    fvi_code_sections at = fvi_code_sections_of(layout, capacity, dk, dv);
    return (fvi_code_section){.layout = layout,
                              .codes = values ? at.v : at.k,
                              .affine = values ? at.v_affine : at.k_affine,
                              .capacity = capacity,
                              .d = values ? dv : dk,
                              .channel = values ? at.v_channel : at.k_channel,
                              .values = values};
}

static void encode_section(const fvi_code_section *s, uint8_t *run, uint32_t first, uint32_t n,
                           const float *x, size_t stride)
{
    if (s->channel) {
        fvi_channel_encode(s, run, first, n, x, stride);
        return;
    }
    size_t row_bytes = fvi_code_row(s->layout->bits, s->d), affine_bytes = fvi_groups(s->d) * 4;
    uint8_t *row = run + s->codes + first * row_bytes;
    uint8_t *affine = run + s->affine + first * affine_bytes;
    for (uint32_t i = 0; i < n; i++) {
        encode_row(x + i * stride, s->d, s->layout, row + i * row_bytes, affine + i * affine_bytes);
    }
}

static void decode_section(const fvi_code_section *s, const uint8_t *run, uint32_t first,
                           uint32_t n, float *x, size_t stride)
{
    if (s->channel) {
        fvi_channel_decode(s, run, first, n, x, stride);
        return;
    }
    size_t row_bytes = fvi_code_row(s->layout->bits, s->d), affine_bytes = fvi_groups(s->d) * 4;
    const uint8_t *row = run + s->codes + first * row_bytes;
    const uint8_t *affine = run + s->affine + first * affine_bytes;
    for (uint32_t i = 0; i < n; i++) {
        decode_row(x + i * stride, s->d, s->layout, row + i * row_bytes, affine + i * affine_bytes);
    }
}

size_t fvi_codes_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return fvi_code_sections_of(&self->codes, capacity, dk, dv).n_bytes;
}

uint32_t fvi_codes_encode_rows(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                               uint32_t first)
{
    fvi_code_sections at = fvi_code_sections_of(&self->codes, capacity, dk, dv);
    if (!at.k_channel && !at.v_channel) {
        return 0;
    }
    uint32_t group = fvi_channel_group_of(capacity, first);
    return fvi_channel_first(capacity, group + 1) - first;
}

void fvi_codes_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                      uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                      const float *v, size_t v_stride)
{
    fvi_code_section keys = section_of(&self->codes, capacity, dk, dv, false);
    fvi_code_section values = section_of(&self->codes, capacity, dk, dv, true);
    encode_section(&keys, run, first, n, k, k_stride);
    encode_section(&values, run, first, n, v, v_stride);
}

void fvi_codes_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                      uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                      size_t v_stride)
{
    fvi_code_section keys = section_of(&self->codes, capacity, dk, dv, false);
    fvi_code_section values = section_of(&self->codes, capacity, dk, dv, true);
    if (k != NULL) {
        decode_section(&keys, run, first, n, k, k_stride);
    }
    if (v != NULL) {
        decode_section(&values, run, first, n, v, v_stride);
    }
}
