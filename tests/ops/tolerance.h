/* tolerance.h - how far an operation may lie from the double-precision oracle, by number format.
 *
 * Relative to the size of the result's terms (the sum of their magnitudes, or the largest value of the
 * row), so cancellation does not count against a kernel. */
#ifndef FOVEA_TESTS_OPS_TOLERANCE_H
#define FOVEA_TESTS_OPS_TOLERANCE_H

#define TOL_LINEAR_F32  1e-6 /* f32 sums of f32 products */
#define TOL_LINEAR_BF16 1e-6 /* f32 sums of exact products; x is rounded in the oracle too */
#define TOL_ROWS        1e-6 /* norms, activations: a few units in the last place */
#define TOL_ROPE        2e-7 /* two products and one sum */
#define TOL_ATTN_F32    1e-5 /* exp and f32 sums over thousands of tokens */
#define TOL_ATTN_F16    1e-5 /* keys and values are exact in f32 */
#define TOL_ATTN_INT8                                                                              \
    2e-4 /* queries and weights in 16-bit fixed point against the codes: half a unit,
                                   2^-16 of the largest, for each of up to 127 tokens */
#define TOL_ATTN_INT4 5e-3 /* AVX-512, weights in 8 bits: 0.2 % of the largest of 64 */
#define TOL_ATTN_ROT                                                                               \
    5e-4 /* as INT8 with values that are summed rotated: what errs alike in all channels, because
                                   their codes lie to one side of the middle, gathers in one channel */
#define TOL_ATTN_BF16 8e-3 /* products of bf16: queries, keys, probabilities and values rounded */
#define TOL_LSE       1e-5

#endif
