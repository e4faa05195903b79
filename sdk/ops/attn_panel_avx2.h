/* attn_panel_avx2.h - small products of decode attention with what is cached: C [m, n] = A B.
 *
 * Every element of C has its own order of summing, whatever m and n are; those of codes are exact integers.
 * Included by the AVX2 attention of decode rows. */
#ifndef FOVEA_OPS_ATTN_PANEL_AVX2_H
#define FOVEA_OPS_ATTN_PANEL_AVX2_H

#include "sdk/ops/cpu_impl.h"

typedef struct fvi_code_panel {
    const void *a;   /* [m, k] f32, or pairs of int16, or four bytes */
    size_t a_stride; /* in elements of 4 bytes */
    const void *b;   /* [k, n] pairs of int16, or four bytes; or tokens of f16 without gaps */
    size_t b_stride; /* in elements of 4 bytes; not of f16 */
    uintptr_t ahead; /* of f16: how far behind a token what is read next lies */
    void *c;         /* [m, n] f32; int32 of pairs; int16, twice as many, of bytes */
    size_t c_stride;
    uint32_t m, n, k;
} fvi_code_panel;

/* C = A B, A without gaps, B n tokens of k channels, FVI_TILE at most, k a multiple of 8; tokens and columns of C behind
 * n, up to a multiple of 4, are there and get anything. */
void fvi_panel_dots_f16(const fvi_code_panel *panel);
/* C += A B, B k tokens of n channels, a multiple of 8; element by element one chain of fused multiply-adds, so
 * cutting k changes no bit. */
void fvi_panel_sums_f16(const fvi_code_panel *panel);

/* C = A B of pairs of int16 along k; n a multiple of 8. */
void fvi_panel_pairs(const fvi_code_panel *panel);
/* The same of bytes, four to an element: both halves of an element of C are int16 sums, of the lower and of the
 * upper two bytes, that must not leave their range. A's bytes are signed and B's not, or the other way round. */
void fvi_panel_signed(const fvi_code_panel *panel);
void fvi_panel_unsigned(const fvi_code_panel *panel);

#endif
