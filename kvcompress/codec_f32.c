/* codec_f32.c - the kind f32: values as they are, for oracles (f32 precision).
 *
 * Layout: sdk/ops/codec.h. Called through the table codecs.def. */
#include "sdk/ops/codec.h"

static size_t f32_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv)
{
    (void)self;
    return (size_t)capacity * ((size_t)dk + dv) * sizeof(float);
}

static void f32_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                       uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                       const float *v, size_t v_stride)
{
    (void)self;
    uint8_t *k_row = run + (size_t)first * dk * sizeof(float);
    uint8_t *v_row = run + ((size_t)capacity * dk + (size_t)first * dv) * sizeof(float);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(k_row + (size_t)i * dk * sizeof(float), k + i * k_stride, dk * sizeof(float));
        memcpy(v_row + (size_t)i * dv * sizeof(float), v + i * v_stride, dv * sizeof(float));
    }
}

static void f32_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                       uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                       size_t v_stride)
{
    (void)self;
    const uint8_t *k_row = run + (size_t)first * dk * sizeof(float);
    const uint8_t *v_row = run + ((size_t)capacity * dk + (size_t)first * dv) * sizeof(float);
    for (uint32_t i = 0; i < n && k != NULL; i++) {
        memcpy(k + i * k_stride, k_row + (size_t)i * dk * sizeof(float), dk * sizeof(float));
    }
    for (uint32_t i = 0; i < n && v != NULL; i++) {
        memcpy(v + i * v_stride, v_row + (size_t)i * dv * sizeof(float), dv * sizeof(float));
    }
}

const fvi_codec fvi_codec_f32 = {
    .name = "f32",
    .kind = FOVEA_KIND_F32,
    .bytes = f32_bytes,
    .encode = f32_encode,
    .decode = f32_decode,
};
