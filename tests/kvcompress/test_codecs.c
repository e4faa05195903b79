/* test_codecs.c - every kind: exact bytes, error bounds from the written-down formula, layouts, hostile
 * values, rows written one by one. */
#include "kvcompress/codecs.h"
#include "sdk/base/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_TOKEN 40
#define MAX_D     256

static uint64_t rng_state = 88172645463325252ull;

static double uniform(void) /* [0, 1) */
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (double)(rng_state >> 11) * 0x1p-53;
}

static void fill(float *x, size_t n, double scale, double offset)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((uniform() * 2 - 1) * scale + offset);
    }
}

/* Distance between neighbouring f16 values around x, in double. */
static double ulp16(double x)
{
    int exponent;
    frexp(fabs(x), &exponent);
    return ldexp(1.0, (exponent < -13 ? -13 : exponent) - 11);
}

static size_t expected_bytes(fovea_kind kind, size_t n, size_t dk, size_t dv)
{
    size_t groups = (dk + 63) / 64 + (dv + 63) / 64;
    switch (kind) {
    case FOVEA_KIND_F32: return n * (dk + dv) * 4;
    case FOVEA_KIND_F16: return n * (dk + dv) * 2;
    case FOVEA_KIND_INT8: return n * (dk + dv + 4 * groups);
    default: return n * ((dk + 1) / 2 + (dv + 1) / 2 + 4 * groups);
    }
}

/* Largest error that one group of x may have in a kind. */
static double bound_of(fovea_kind kind, const float *x, uint32_t n)
{
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
    }
    double largest = fmax(fabs(low), fabs(high));
    if (kind == FOVEA_KIND_F32) {
        return 0;
    }
    if (kind == FOVEA_KIND_F16) {
        return ulp16(largest) / 2;
    }
    double levels = kind == FOVEA_KIND_INT8 ? 255 : 15;
    double scale = (high - low + ulp16(low)) / levels * (1 + 0x1p-10) + 0x1p-24;
    return scale / 2 + 4 * largest * 0x1p-23;
}

static void check_rows(fovea_kind kind, const float *x, const float *y, uint32_t n, uint32_t d)
{
    for (uint32_t row = 0; row < n; row++) {
        for (uint32_t first = 0; first < d; first += FVI_GROUP) {
            uint32_t width = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
            const float *a = x + (size_t)row * MAX_D + first;
            const float *b = y + (size_t)row * MAX_D + first;
            double bound = bound_of(kind, a, width);
            for (uint32_t c = 0; c < width; c++) {
                if (!(fabs((double)a[c] - b[c]) <= bound)) {
                    fail_msg("kind %d d %u: %.9g became %.9g, bound %.3g", kind, d, a[c], b[c],
                             bound);
                }
            }
        }
    }
}

typedef struct rows {
    float k[MAX_TOKEN * MAX_D], v[MAX_TOKEN * MAX_D];
} rows;

static rows in, out;
static uint8_t run[MAX_TOKEN * MAX_D * 8 + 64], other[MAX_TOKEN * MAX_D * 8 + 64];

static void test_round_trip(void **state)
{
    (void)state;
    static const double scales[] = {0, 1e-7, 1e-3, 1, 30, 3000}, offsets[] = {0, 1, -7.3, 900};
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        assert_ptr_equal(fvi_codec_of(codec->kind), codec);
        for (uint32_t round = 0; round < 120; round++) {
            uint32_t dk = 1 + (uint32_t)(uniform() * MAX_D), dv = 1 + (uint32_t)(uniform() * MAX_D);
            uint32_t n = 1 + (uint32_t)(uniform() * MAX_TOKEN);
            double scale = scales[round % FVI_COUNT(scales)];
            double offset = offsets[round % FVI_COUNT(offsets)];
            fill(in.k, FVI_COUNT(in.k), scale, offset);
            fill(in.v, FVI_COUNT(in.v), scale, -offset);
            size_t n_bytes = codec->bytes(n, dk, dv);
            assert_int_equal(n_bytes, expected_bytes(codec->kind, n, dk, dv));
            memset(run, 0xa5, sizeof run);
            codec->encode(run, n, dk, dv, 0, n, in.k, MAX_D, in.v, MAX_D);
            for (size_t b = n_bytes; b < n_bytes + 64; b++) {
                assert_int_equal(run[b], 0xa5);
            }
            codec->decode(run, n, dk, dv, 0, n, out.k, MAX_D, out.v, MAX_D);
            check_rows(codec->kind, in.k, out.k, n, dk);
            check_rows(codec->kind, in.v, out.v, n, dv);
        }
    }
}

/* Any order of single rows gives the same bytes as all rows at once, and reads back the same. */
static void test_row_by_row(void **state)
{
    (void)state;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        const uint32_t n = 9, dk = 70, dv = 33;
        fill(in.k, FVI_COUNT(in.k), 2, 0.3);
        fill(in.v, FVI_COUNT(in.v), 2, 0);
        memset(run, 0, sizeof run);
        memset(other, 0, sizeof other);
        codec->encode(run, n, dk, dv, 0, n, in.k, MAX_D, in.v, MAX_D);
        for (uint32_t row = n; row-- > 0;) {
            codec->encode(other, n, dk, dv, row, 1, in.k + (size_t)row * MAX_D, MAX_D,
                          in.v + (size_t)row * MAX_D, MAX_D);
        }
        assert_memory_equal(run, other, codec->bytes(n, dk, dv));
        float whole[9 * 70], single[70];
        codec->decode(run, n, dk, dv, 0, n, whole, dk, NULL, 0);
        for (uint32_t row = 0; row < n; row++) {
            codec->decode(run, n, dk, dv, row, 1, single, dk, NULL, 0);
            assert_memory_equal(single, whole + (size_t)row * dk, dk * sizeof(float));
        }
    }
}

/* The layouts that attention kernels rely on, written down by hand. */
static void test_layout(void **state)
{
    (void)state;
    float k[5] = {-1, 0, 1, 2, 14}, v[2] = {3, 3};
    const fvi_codec *int4 = fvi_codec_of(FOVEA_KIND_INT4);
    int4->encode(run, 1, 5, 2, 0, 1, k, 5, v, 2);
    /* scale 1, min -1: codes 0 1 2 3 15; byte i holds the elements i and i + 3 */
    const uint8_t want4[] = {0x30, 0xf1, 0x02, 0x00, 0x00, 0x3c,
                             0x00, 0xbc, 0x00, 0x00, 0x00, 0x42};
    assert_int_equal(int4->bytes(1, 5, 2), sizeof want4);
    assert_memory_equal(run, want4, sizeof want4);

    float wide[2] = {0, 255};
    const fvi_codec *int8 = fvi_codec_of(FOVEA_KIND_INT8);
    int8->encode(run, 1, 2, 2, 0, 1, wide, 2, v, 2);
    const uint8_t want8[] = {0x00, 0xff, 0x00, 0x00, 0x00, 0x3c,
                             0x00, 0x00, 0x00, 0x00, 0x00, 0x42};
    assert_memory_equal(run, want8, sizeof want8);

    const fvi_codec *f16 = fvi_codec_of(FOVEA_KIND_F16);
    float two[2] = {1, -2};
    f16->encode(run, 2, 1, 1, 1, 1, two, 1, two + 1, 1);
    const uint8_t want16[] = {0x00, 0x3c};
    const uint8_t want16v[] = {0x00, 0xc0};
    assert_memory_equal(run + 2, want16, 2);
    assert_memory_equal(run + 6, want16v, 2);
}

static void test_f16_again_same_bytes(void **state)
{
    (void)state;
    const fvi_codec *f16 = fvi_codec_of(FOVEA_KIND_F16);
    static float all[65536], back[65536];
    static uint8_t first[2 * 65536], second[2 * 65536];
    uint32_t n = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        if ((h & 0x7c00) != 0x7c00) {
            all[n++] = fvi_f16_to_f32((uint16_t)h);
        }
    }
    f16->encode(first, n, 1, 0, 0, n, all, 1, all, 0);
    f16->decode(first, n, 1, 0, 0, n, back, 1, NULL, 0);
    assert_memory_equal(all, back, n * sizeof(float));
    f16->encode(second, n, 1, 0, 0, n, back, 1, back, 0);
    assert_memory_equal(first, second, 2 * (size_t)n);
}

static void test_hostile_values(void **state)
{
    (void)state;
    const float bad[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-40f, 65504, -65504, 65520};
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        if (codec->kind == FOVEA_KIND_F32) {
            continue;
        }
        for (uint32_t j = 0; j < FVI_COUNT(bad); j++) {
            for (uint32_t k = 0; k < FVI_COUNT(bad); k++) {
                float row[3] = {bad[j], bad[k], 1}, back[3];
                codec->encode(run, 1, 3, 3, 0, 1, row, 3, row, 3);
                codec->decode(run, 1, 3, 3, 0, 1, back, 3, NULL, 0);
                for (uint32_t c = 0; c < 3; c++) {
                    bool excused = codec->kind == FOVEA_KIND_F16 && isnan(row[c]);
                    assert_true(isfinite(back[c]) || excused);
                    if (isinf(row[c]) && codec->kind == FOVEA_KIND_F16) {
                        assert_true(fabsf(back[c]) == 65504 && (back[c] > 0) == (row[c] > 0));
                    }
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_row_by_row),
        cmocka_unit_test(test_layout),         cmocka_unit_test(test_f16_again_same_bytes),
        cmocka_unit_test(test_hostile_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
