/* panel_avx2.h - small products of attention in f32: C [m, n] (+)= A [m, k] B [k, n].
 *
 * As in panel_avx512.h: A's elements are broadcast, B's rows are vectors, every element of C is one chain of
 * fused multiply-adds along k, in order, so neither cutting k nor m or n changes a bit. Included by the AVX2
 * attention files. */
#ifndef FOVEA_OPS_PANEL_AVX2_H
#define FOVEA_OPS_PANEL_AVX2_H

#include "sdk/ops/cpu_impl.h"

typedef struct fvi_panel_args {
    const float *a; /* [m, k] */
    size_t a_stride;
    const float *b; /* [k, n] */
    size_t b_stride;
    float *c; /* [m, n] */
    size_t c_stride;
    uint32_t m, n, k; /* n: a multiple of 16 */
    bool add;
} fvi_panel_args;

void fvi_panel_avx2(const fvi_panel_args *panel);

#endif
