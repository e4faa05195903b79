/* codec_f16.c - the kind f16: half floats, rounded to nearest even, saturating at the largest one.
 *
 * Layout: sdk/ops/codec.h. Decoding and encoding again gives the same bytes. Called through the table
 * codecs.def. */
#include "sdk/ops/backend.h"

#define LARGEST 65504.0f

static size_t f16_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv)
{
    (void)self;
    return (size_t)capacity * ((size_t)dk + dv) * sizeof(uint16_t);
}

static void encode_row(uint8_t *out, const float *x, uint32_t d)
{
    float clipped[FVI_GROUP];
    for (uint32_t first = 0; first < d; first += FVI_GROUP) {
        uint32_t n = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
        for (uint32_t c = 0; c < n; c++) {
            float value = x[first + c];
            clipped[c] = value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : value;
        }
        fvi_convert(out + 2 * (size_t)first, FVI_DTYPE_F16, clipped, FVI_DTYPE_F32, n);
    }
}

static void decode_row(float *x, const uint8_t *in, uint32_t d)
{
    fvi_convert(x, FVI_DTYPE_F32, in, FVI_DTYPE_F16, d);
}

static void f16_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                       uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                       const float *v, size_t v_stride)
{
    (void)self;
    uint8_t *v_section = run + (size_t)capacity * dk * 2;
    for (uint32_t i = 0; i < n; i++) {
        encode_row(run + ((size_t)first + i) * dk * 2, k + i * k_stride, dk);
        encode_row(v_section + ((size_t)first + i) * dv * 2, v + i * v_stride, dv);
    }
}

static void f16_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                       uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                       size_t v_stride)
{
    (void)self;
    const uint8_t *v_section = run + (size_t)capacity * dk * 2;
    for (uint32_t i = 0; i < n && k != NULL; i++) {
        decode_row(k + i * k_stride, run + ((size_t)first + i) * dk * 2, dk);
    }
    for (uint32_t i = 0; i < n && v != NULL; i++) {
        decode_row(v + i * v_stride, v_section + ((size_t)first + i) * dv * 2, dv);
    }
}

const fvi_codec fvi_codec_f16 = {
    .name = "f16",
    .kind = FOVEA_KIND_F16,
    .bytes = f16_bytes,
    .encode = f16_encode,
    .decode = f16_decode,
};
