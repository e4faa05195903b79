/* ops_test.h - what the tests of operations share: random numbers, the feature levels, comparisons.
 *
 * Include after cmocka's prerequisites; everything is static inline. */
#ifndef FOVEA_TESTS_OPS_TEST_H
#define FOVEA_TESTS_OPS_TEST_H

#include "sdk/base/cpu.h"
#include "sdk/ops/backend.h"
#include "tests/ops/tolerance.h"

#include <fovea/engine.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The feature levels a backend can be opened with; those the CPU lacks fall back by themselves. Operations on
 * rows differ in the first N_ROW_LEVEL of them only, attention in the first N_ATTN_LEVEL. */
enum { N_ROW_LEVEL = 3, N_ATTN_LEVEL = 5 };
static const uint32_t levels[] = {
    FOVEA_CPU_REFERENCE,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX2,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX512,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX512 | FOVEA_CPU_AVX512_BF16,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX2 | FOVEA_CPU_AVX512 | FOVEA_CPU_AVX512_BF16,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX2 | FOVEA_CPU_ONEDNN,
    FOVEA_CPU_REFERENCE | FOVEA_CPU_AVX512 | FOVEA_CPU_AVX512_BF16 | FOVEA_CPU_ONEDNN,
};

static inline fvi_backend *open_level(uint32_t level, uint32_t n_thread)
{
    fvi_backend *backend = NULL;
    assert_int_equal(fvi_backend_cpu_open(NULL, n_thread, levels[level], &backend, NULL), FOVEA_OK);
    return backend;
}

/* xorshift64*: the same numbers everywhere */
static inline uint64_t random_bits(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)((random_bits(state) >> 32) * n >> 32);
}

/* Roughly normal, deviation `size`. */
static inline float random_float(uint64_t *state, float size)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += (double)(random_bits(state) >> 11) * 0x1p-53 - 0.5;
    }
    return (float)(sum * 1.7320508) * size;
}

static inline void *must_alloc(size_t n_bytes)
{
    void *memory = fvi_alloc(&fvi_alloc_default, FVI_MAX(n_bytes, 1u));
    assert_non_null(memory);
    return memory;
}

static inline float *random_floats(uint64_t *state, size_t n, float size)
{
    float *values = must_alloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        values[i] = random_float(state, size);
    }
    return values;
}

static inline void release(const void *memory)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = memory};
    fvi_free(&fvi_alloc_default, cast.out);
}

/* |got - want| <= tolerance * size, with a text that says where. */
static inline void assert_near(double got, double want, double size, double tolerance,
                               const char *what, size_t at)
{
    if (!(fabs(got - want) <= tolerance * size + 1e-37)) {
        fail_msg("%s[%zu]: got %.9g, want %.9g, off by %.3g of %.3g", what, at, got, want,
                 fabs(got - want) / size, tolerance);
    }
}

#endif
