/* codec_int8.c - the kind int8: 8-bit codes, asymmetric per token and group of channels.
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_affine.h"

#define LEVELS 255.0f

static fvi_run_sections sections_of(uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return fvi_run_sections_of(capacity, dk, dv, fvi_groups(dk), fvi_groups(dv));
}

static size_t int8_bytes(uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return sections_of(capacity, dk, dv).n_bytes;
}

static void int8_encode(uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first,
                        uint32_t n, const float *k, size_t k_stride, const float *v,
                        size_t v_stride)
{
    fvi_run_sections at = sections_of(capacity, dk, dv);
    for (uint32_t i = 0; i < n; i++) {
        size_t row = (size_t)first + i;
        fvi_affine_row(k + i * k_stride, dk, LEVELS, run + at.k + row * dk,
                       run + at.k_affine + row * fvi_groups(dk) * 4);
        fvi_affine_row(v + i * v_stride, dv, LEVELS, run + at.v + row * dv,
                       run + at.v_affine + row * fvi_groups(dv) * 4);
    }
}

static void decode_row(float *x, const uint8_t *codes, const uint8_t *affine, uint32_t d)
{
    for (uint32_t first = 0; first < d; first += FVI_GROUP, affine += 4) {
        uint32_t n = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
        fvi_affine fit = fvi_affine_load(affine);
        for (uint32_t c = 0; c < n; c++) {
            x[first + c] = (float)codes[first + c] * fit.scale + fit.min;
        }
    }
}

static void int8_decode(const uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,
                        uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                        size_t v_stride)
{
    fvi_run_sections at = sections_of(capacity, dk, dv);
    for (uint32_t i = 0; i < n && k != NULL; i++) {
        size_t row = (size_t)first + i;
        decode_row(k + i * k_stride, run + at.k + row * dk,
                   run + at.k_affine + row * fvi_groups(dk) * 4, dk);
    }
    for (uint32_t i = 0; i < n && v != NULL; i++) {
        size_t row = (size_t)first + i;
        decode_row(v + i * v_stride, run + at.v + row * dv,
                   run + at.v_affine + row * fvi_groups(dv) * 4, dv);
    }
}

const fvi_codec fvi_codec_int8 = {
    .name = "int8",
    .kind = FOVEA_KIND_INT8,
    .bytes = int8_bytes,
    .encode = int8_encode,
    .decode = int8_decode,
};
