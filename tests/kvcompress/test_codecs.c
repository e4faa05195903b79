/* test_codecs.c - every kind: exact bytes, error bounds from the written-down formula, layouts, hostile
 * values, rows written one by one or group by group. */
#include "tests/kvcompress/fit_run.h"

#include "kvcompress/codecs.h"
#include "sdk/base/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_TOKEN 300
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

static uint32_t bits_of(fovea_kind kind)
{
    static const uint32_t bits[FOVEA_N_KIND] = {32, 16, 8, 4, 2, 4, 2, 4, 2, 4, 2};
    return bits[kind];
}

static bool is_rotated(fovea_kind kind)
{
    return kind == FOVEA_KIND_INT4_ROT || kind == FOVEA_KIND_INT2_ROT;
}

/* Whether K (V) of a run has scales per channel. */
static bool per_channel(fovea_kind kind, bool values, uint32_t n, uint32_t dk, uint32_t dv)
{
    bool chan = kind == FOVEA_KIND_INT4_CHAN || kind == FOVEA_KIND_INT2_CHAN;
    bool kivi = kind == FOVEA_KIND_INT4_KIVI || kind == FOVEA_KIND_INT2_KIVI;
    return (chan || (kivi && !values)) && n >= FVI_MIN(32, FVI_MIN(dk, dv));
}

static size_t section_bytes(fovea_kind kind, bool values, size_t n, uint32_t dk, uint32_t dv)
{
    size_t bits = bits_of(kind), d = values ? dv : dk, in_word = 32 / bits;
    if (kind == FOVEA_KIND_F32 || kind == FOVEA_KIND_F16) {
        return n * d * bits / 8;
    }
    if (!per_channel(kind, values, (uint32_t)n, dk, dv)) {
        return n * ((d * bits + 7) / 8 + 4 * ((d + 63) / 64));
    }
    size_t words = values ? (n + in_word - 1) / in_word * d : (d + in_word - 1) / in_word * n;
    return 4 * words + 4 * d * FVI_MAX(1, n / 64);
}

static size_t expected_bytes(fovea_kind kind, size_t n, uint32_t dk, uint32_t dv)
{
    return section_bytes(kind, false, n, dk, dv) + section_bytes(kind, true, n, dk, dv);
}

/* Largest error that values x, `stride` apart and sharing a scale, may have in a kind. */
static double bound_of(fovea_kind kind, const float *x, uint32_t n, size_t stride)
{
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        low = fmin(low, x[i * stride]);
        high = fmax(high, x[i * stride]);
    }
    double largest = fmax(fabs(low), fabs(high));
    if (kind == FOVEA_KIND_F32) {
        return 0;
    }
    if (kind == FOVEA_KIND_F16) {
        return ulp16(largest) / 2;
    }
    double levels = (double)(1u << bits_of(kind)) - 1;
    double scale = (high - low + ulp16(low)) / levels * (1 + 0x1p-10) + 0x1p-24;
    return scale / 2 + 4 * largest * 0x1p-23;
}

static void check_value(fovea_kind kind, double was, double is, double bound)
{
    if (!(fabs(was - is) <= bound)) {
        fail_msg("kind %d: %.9g became %.9g, bound %.3g", kind, was, is, bound);
    }
}

static void check_per_token(fovea_kind kind, const float *x, const float *y, uint32_t n, uint32_t d)
{
    for (uint32_t row = 0; row < n; row++) {
        for (uint32_t first = 0; first < d; first += FVI_GROUP) {
            uint32_t width = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
            const float *a = x + (size_t)row * MAX_D + first;
            const float *b = y + (size_t)row * MAX_D + first;
            double bound = bound_of(kind, a, width, 1);
            for (uint32_t c = 0; c < width; c++) {
                check_value(kind, a[c], b[c], bound);
            }
        }
    }
}

/* Groups end on multiples of 16 tokens, as evenly as these allow. */
static void check_per_channel(fovea_kind kind, const float *x, const float *y, uint32_t n,
                              uint32_t d)
{
    uint32_t n_group = FVI_MAX(1u, n / 64), n_step = (n + 15) / 16;
    for (uint32_t g = 0; g < n_group; g++) {
        uint32_t first = g * n_step / n_group * 16;
        uint32_t last = FVI_MIN(n, (g + 1) * n_step / n_group * 16);
        assert_true(n < 64 || (last - first >= 64 && last - first < 128));
        for (uint32_t c = 0; c < d; c++) {
            double bound = bound_of(kind, x + (size_t)first * MAX_D + c, last - first, MAX_D);
            for (uint32_t t = first; t < last; t++) {
                check_value(kind, x[(size_t)t * MAX_D + c], y[(size_t)t * MAX_D + c], bound);
            }
        }
    }
}

/* Rotation keeps lengths: an element's error is at most the root of the sum of the squared bounds of the
 * rotated row, which is rotated here by the definition of the Hadamard matrix. */
static void check_rotated(fovea_kind kind, const float *x, const float *y, uint32_t n, uint32_t d)
{
    float turned[MAX_D];
    for (uint32_t row = 0; row < n; row += 7) {
        const float *a = x + (size_t)row * MAX_D, *b = y + (size_t)row * MAX_D;
        for (uint32_t first = 0, size; first < d; first += size) {
            for (size = MAX_D; size > d - first; size /= 2) {
            }
            for (uint32_t i = 0; i < size; i++) {
                double sum = 0;
                for (uint32_t j = 0; j < size; j++) {
                    sum += (__builtin_popcount(i & j) % 2 != 0 ? -1.0 : 1.0) * a[first + j];
                }
                turned[first + i] = (float)(sum / sqrt(size));
            }
        }
        double squares = 0, largest = 0;
        for (uint32_t first = 0; first < d; first += FVI_GROUP) {
            uint32_t width = FVI_MIN(d - first, (uint32_t)FVI_GROUP);
            double bound = bound_of(kind, turned + first, width, 1);
            squares += width * bound * bound;
        }
        for (uint32_t c = 0; c < d; c++) {
            largest = fmax(largest, fabs((double)a[c]));
        }
        for (uint32_t c = 0; c < d; c++) { /* and what eight stages of sums in f32 lose, twice */
            check_value(kind, a[c], b[c], sqrt(squares) + 256 * largest * 0x1p-23);
        }
    }
}

static void check_rows(fovea_kind kind, bool values, const float *x, const float *y, uint32_t n,
                       uint32_t dk, uint32_t dv)
{
    uint32_t d = values ? dv : dk;
    if (is_rotated(kind)) {
        check_rotated(kind, x, y, n, d);
    } else if (per_channel(kind, values, n, dk, dv)) {
        check_per_channel(kind, x, y, n, d);
    } else {
        check_per_token(kind, x, y, n, d);
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
        if (codec->fit_rows != NULL) {
            continue; /* test_pca */
        }
        for (uint32_t round = 0; round < 60; round++) {
            uint32_t dk = 1 + (uint32_t)(uniform() * MAX_D), dv = 1 + (uint32_t)(uniform() * MAX_D);
            uint32_t n = 1 + (uint32_t)(uniform() * MAX_TOKEN);
            double scale = scales[round % FVI_COUNT(scales)];
            double offset = offsets[round % FVI_COUNT(offsets)];
            fill(in.k, FVI_COUNT(in.k), scale, offset);
            fill(in.v, FVI_COUNT(in.v), scale, -offset);
            size_t n_bytes = fvi_codec_bytes(codec, n, dk, dv);
            assert_int_equal(n_bytes, expected_bytes(codec->kind, n, dk, dv));
            memset(run, 0xa5, sizeof run);
            fvi_codec_encode(codec, run, n, dk, dv, 0, n, in.k, MAX_D, in.v, MAX_D);
            for (size_t b = n_bytes; b < n_bytes + 64; b++) {
                assert_int_equal(run[b], 0xa5);
            }
            fvi_codec_decode(codec, run, n, dk, dv, 0, n, out.k, MAX_D, out.v, MAX_D);
            check_rows(codec->kind, false, in.k, out.k, n, dk, dv);
            check_rows(codec->kind, true, in.v, out.v, n, dk, dv);
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
        fvi_codec_encode(codec, run, n, dk, dv, 0, n, in.k, MAX_D, in.v, MAX_D);
        for (uint32_t row = n; row-- > 0;) {
            fvi_codec_encode(codec, other, n, dk, dv, row, 1, in.k + (size_t)row * MAX_D, MAX_D,
                             in.v + (size_t)row * MAX_D, MAX_D);
        }
        assert_memory_equal(run, other, fvi_codec_bytes(codec, n, dk, dv));
        float whole[9 * 70], single[70];
        fvi_codec_decode(codec, run, n, dk, dv, 0, n, whole, dk, NULL, 0);
        for (uint32_t row = 0; row < n; row++) {
            fvi_codec_decode(codec, run, n, dk, dv, row, 1, single, dk, NULL, 0);
            assert_memory_equal(single, whole + (size_t)row * dk, dk * sizeof(float));
        }
    }
}

/* A fit that was written into `from` into `to`, whose codes are to follow. */
static void settle_alike(const fvi_codec *codec, uint8_t *to, const uint8_t *from, uint32_t n,
                         uint32_t dk, uint32_t dv)
{
    if (fvi_codec_fit_rows(codec, n, dk, dv, 0) > 0) {
        memcpy(to, from, fvi_codec_bytes(codec, n, dk, dv));
    }
}

/* Group by group, in any order, gives the same bytes as all rows at once; rows read back one by one. */
static void test_group_by_group(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {31, 32, 63, 64, 127, 128, 129, 193, 300};
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        for (uint32_t j = 0; j < FVI_COUNT(lengths); j++) {
            const uint32_t n = lengths[j], dk = 70, dv = 33;
            fill(in.k, FVI_COUNT(in.k), 2, 0.3);
            fill(in.v, FVI_COUNT(in.v), 2, 0);
            memset(run, 0x11, sizeof run);
            memset(other, 0xee, sizeof other);
            store_run(codec, run, n, dk, dv, n, in.k, MAX_D, in.v, MAX_D, n % 2 == 0 ? 10000 : 0,
                      NULL);
            settle_alike(codec, other, run, n, dk, dv);
            for (uint32_t first = 0, n_row; first < n; first += n_row) {
                n_row = fvi_codec_encode_rows(codec, n, dk, dv, first);
                assert_true(n_row <= FVI_CODEC_ROWS && n_row <= n - first);
                n_row = n_row > 0 ? n_row : 1;
                fvi_codec_encode(codec, other, n, dk, dv, first, n_row,
                                 in.k + (size_t)first * MAX_D, MAX_D, in.v + (size_t)first * MAX_D,
                                 MAX_D);
            }
            assert_memory_equal(run, other, fvi_codec_bytes(codec, n, dk, dv));
            fvi_codec_decode(codec, run, n, dk, dv, 0, n, out.k, MAX_D, out.v, MAX_D);
            for (uint32_t row = 0; row < n; row += 3) {
                float k[70], v[33];
                fvi_codec_decode(codec, run, n, dk, dv, row, 1, k, dk, v, dv);
                assert_memory_equal(k, out.k + (size_t)row * MAX_D, sizeof k);
                assert_memory_equal(v, out.v + (size_t)row * MAX_D, sizeof v);
            }
        }
    }
}

/* More rows never take fewer bytes, whatever the widths: placing and forecasts rely on it. */
static void test_bytes_never_fall(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1,  2,  5,  15, 16,  17,  31,  32,
                                      33, 64, 65, 80, 100, 128, 129, 256};
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        for (uint32_t w = 0; w < FVI_COUNT(widths) * FVI_COUNT(widths); w++) {
            uint32_t dk = widths[w / FVI_COUNT(widths)], dv = widths[w % FVI_COUNT(widths)];
            assert_int_equal(fvi_codec_bytes(codec, 0, dk, dv), 0);
            for (uint32_t n = 1; n < 700; n++) {
                size_t n_bytes = fvi_codec_bytes(codec, n, dk, dv);
                if (codec->fit_rows == NULL) {
                    assert_int_equal(n_bytes, expected_bytes(codec->kind, n, dk, dv));
                }
                if (n_bytes < fvi_codec_bytes(codec, n - 1, dk, dv)) {
                    fail_msg("%s %u x %u: %u rows take less than %u", codec->name, dk, dv, n,
                             n - 1);
                }
            }
        }
    }
}

/* The layouts that attention kernels rely on, written down by hand. */
static void test_layout(void **state)
{
    (void)state;
    float k[5] = {-1, 0, 1, 2, 14}, v[2] = {3, 3};
    const fvi_codec *int4 = fvi_codec_of(FOVEA_KIND_INT4);
    fvi_codec_encode(int4, run, 1, 5, 2, 0, 1, k, 5, v, 2);
    /* scale 1, min -1: codes 0 1 2 3 15; byte i holds the elements i and i + 3 */
    const uint8_t want4[] = {0x30, 0xf1, 0x02, 0x00, 0x00, 0x3c,
                             0x00, 0xbc, 0x00, 0x00, 0x00, 0x42};
    assert_int_equal(fvi_codec_bytes(int4, 1, 5, 2), sizeof want4);
    assert_memory_equal(run, want4, sizeof want4);

    float five[5] = {0, 1, 2, 3, 3};
    const fvi_codec *int2 = fvi_codec_of(FOVEA_KIND_INT2);
    fvi_codec_encode(int2, run, 1, 5, 2, 0, 1, five, 5, v, 2);
    /* codes 0 1 2 3 3; byte i holds the elements i, i + 2 and i + 4 */
    const uint8_t want2[] = {0x38, 0x0d, 0x00, 0x00, 0x3c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x42};
    assert_int_equal(fvi_codec_bytes(int2, 1, 5, 2), sizeof want2);
    assert_memory_equal(run, want2, sizeof want2);

    float wide[2] = {0, 255};
    const fvi_codec *int8 = fvi_codec_of(FOVEA_KIND_INT8);
    fvi_codec_encode(int8, run, 1, 2, 2, 0, 1, wide, 2, v, 2);
    const uint8_t want8[] = {0x00, 0xff, 0x00, 0x00, 0x00, 0x3c,
                             0x00, 0x00, 0x00, 0x00, 0x00, 0x42};
    assert_memory_equal(run, want8, sizeof want8);

    const fvi_codec *f16 = fvi_codec_of(FOVEA_KIND_F16);
    float two[2] = {1, -2};
    fvi_codec_encode(f16, run, 2, 1, 1, 1, 1, two, 1, two + 1, 1);
    const uint8_t want16[] = {0x00, 0x3c};
    const uint8_t want16v[] = {0x00, 0xc0};
    assert_memory_equal(run + 2, want16, 2);
    assert_memory_equal(run + 6, want16v, 2);
}

/* Words of a run per channel, written down by hand. */
static void test_channel_layout(void **state)
{
    (void)state;
    /* two tokens of two channels are per channel; channel 0 is 0 and 15, channel 1 is 30 and 0 */
    float k[4] = {0, 30, 15, 0}, v[4] = {0, 30, 15, 0};
    const fvi_codec *int4 = fvi_codec_of(FOVEA_KIND_INT4_CHAN);
    fvi_codec_encode(int4, run, 2, 2, 2, 0, 2, k, 2, v, 2);
    const uint8_t want4[] = {
        0x00, 0x00, 0x0f, 0x00,
        0x0f, 0x00, 0x00, 0x00, /* K: a word per token, the second channel high */
        0x00, 0x00, 0x0f, 0x00,
        0x0f, 0x00, 0x00, 0x00, /* V: a word per channel, the second token high */
        0x00, 0x3c, 0x00, 0x00,
        0x00, 0x40, 0x00, 0x00, /* scale 1 min 0, scale 2 min 0 */
        0x00, 0x3c, 0x00, 0x00,
        0x00, 0x40, 0x00, 0x00,
    };
    assert_int_equal(fvi_codec_bytes(int4, 2, 2, 2), sizeof want4);
    assert_memory_equal(run, want4, sizeof want4);

    /* int2: elements 2 i and 2 i + 1 at the bits 2 i and 16 + 2 i */
    float row[6] = {3, 0, 0, 1, 0, 3}, six[36];
    for (uint32_t i = 0; i < 36; i++) {
        six[i] = i / 6 == 5 ? 0 : row[i % 6] * (float)(i / 6 == 0);
    }
    const fvi_codec *int2 = fvi_codec_of(FOVEA_KIND_INT2_CHAN);
    fvi_codec_encode(int2, run, 6, 6, 6, 0, 6, six, 6, six, 6);
    const uint8_t token0[] = {0x03, 0x00, 0x3c,
                              0x00}; /* 3 at bit 0; the 1, its group's largest, and 3 */
    assert_memory_equal(run, token0, sizeof token0);
    const uint8_t channel0[] = {0x03, 0x00, 0x00, 0x00};
    assert_memory_equal(run + 24, channel0, sizeof channel0);
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
    fvi_codec_encode(f16, first, n, 1, 0, 0, n, all, 1, all, 0);
    fvi_codec_decode(f16, first, n, 1, 0, 0, n, back, 1, NULL, 0);
    assert_memory_equal(all, back, n * sizeof(float));
    fvi_codec_encode(f16, second, n, 1, 0, 0, n, back, 1, back, 0);
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
                fvi_codec_encode(codec, run, 1, 3, 3, 0, 1, row, 3, row, 3);
                fvi_codec_decode(codec, run, 1, 3, 3, 0, 1, back, 3, NULL, 0);
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
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_row_by_row),
        cmocka_unit_test(test_group_by_group),
        cmocka_unit_test(test_bytes_never_fall),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_channel_layout),
        cmocka_unit_test(test_f16_again_same_bytes),
        cmocka_unit_test(test_hostile_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
