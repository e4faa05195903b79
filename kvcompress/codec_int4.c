/* codec_int4.c - the kind int4: 4-bit codes, asymmetric per token and group of channels.
 *
 * Layout: sdk/ops/codec.h (byte i of a row holds the elements i and i + half); rounding: codec_affine.h.
 * Called through the table codecs.def. */
#include "kvcompress/codec_affine.h"

#define LEVELS 15.0f

static size_t half_of(uint32_t d)
{
    return ((size_t)d + 1) / 2;
}

static fvi_run_sections sections_of(uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return fvi_run_sections_of(capacity, half_of(dk), half_of(dv), fvi_groups(dk), fvi_groups(dv));
}

static size_t int4_bytes(uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return sections_of(capacity, dk, dv).n_bytes;
}

/* A row's elements in order need both halves at once; a group's codes are packed as they come. */
static void encode_row(const float *x, uint32_t d, uint8_t *packed, uint8_t *affine)
{
    uint32_t half = (uint32_t)half_of(d);
    uint8_t codes[FVI_GROUP];
    memset(packed, 0, half);
    for (uint32_t first = 0; first < d; first += FVI_GROUP, affine += 4) {
        uint32_t n = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
        fvi_affine_row(x + first, n, LEVELS, codes, affine);
        uint32_t n_low = first < half ? FVI_MIN(n, half - first) : 0;
        for (uint32_t c = 0; c < n_low; c++) {
            packed[first + c] |= codes[c];
        }
        for (uint32_t c = n_low; c < n; c++) {
            packed[first + c - half] |= (uint8_t)(codes[c] << 4);
        }
    }
}

static void decode_row(float *x, const uint8_t *packed, const uint8_t *affine, uint32_t d)
{
    uint32_t half = (uint32_t)half_of(d);
    for (uint32_t first = 0; first < d; first += FVI_GROUP, affine += 4) {
        uint32_t end = FVI_MIN(d, first + FVI_GROUP);
        fvi_affine fit = fvi_affine_load(affine);
        uint32_t middle = FVI_MAX(first, FVI_MIN(end, half));
        for (uint32_t c = first; c < middle; c++) {
            x[c] = (float)(packed[c] & 15) * fit.scale + fit.min;
        }
        for (uint32_t c = middle; c < end; c++) {
            x[c] = (float)(packed[c - half] >> 4) * fit.scale + fit.min;
        }
    }
}

static void int4_encode(uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first,
                        uint32_t n, const float *k, size_t k_stride, const float *v,
                        size_t v_stride)
{
    fvi_run_sections at = sections_of(capacity, dk, dv);
    for (uint32_t i = 0; i < n; i++) {
        size_t row = (size_t)first + i;
        encode_row(k + i * k_stride, dk, run + at.k + row * half_of(dk),
                   run + at.k_affine + row * fvi_groups(dk) * 4);
        encode_row(v + i * v_stride, dv, run + at.v + row * half_of(dv),
                   run + at.v_affine + row * fvi_groups(dv) * 4);
    }
}

static void int4_decode(const uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,
                        uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                        size_t v_stride)
{
    fvi_run_sections at = sections_of(capacity, dk, dv);
    for (uint32_t i = 0; i < n && k != NULL; i++) {
        size_t row = (size_t)first + i;
        decode_row(k + i * k_stride, run + at.k + row * half_of(dk),
                   run + at.k_affine + row * fvi_groups(dk) * 4, dk);
    }
    for (uint32_t i = 0; i < n && v != NULL; i++) {
        size_t row = (size_t)first + i;
        decode_row(v + i * v_stride, run + at.v + row * half_of(dv),
                   run + at.v_affine + row * fvi_groups(dv) * 4, dv);
    }
}

const fvi_codec fvi_codec_int4 = {
    .name = "int4",
    .kind = FOVEA_KIND_INT4,
    .bytes = int4_bytes,
    .encode = int4_encode,
    .decode = int4_decode,
};
