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
/* Queries and weights in 16-bit fixed point of unit u = largest / L against the codes: each is off by u / 2 at
 * most, evenly spread, so by u / sqrt(12) in the mean.
 *   scores: u_q |k|_1 / 2 at worst, u_q |k|_2 / sqrt(12) in the mean: 3e-5 for 64 normal channels
 *   outputs: per 64 tokens u_w sqrt(64 / 12) times the codes' size, u_w = max(e s) / L, over sum(e). Codes less 128 are
 *   54 in the mean, 255 s is the range R of a row, and a weight takes what rounding left of the one before, sqrt(2)
 *   times as much: 2.1e-5 R with AVX2 (L = 32766), half of it with AVX-512 (L = 65534), so 1e-4 for R = 5 where one
 *   token takes nearly all
 * Tests allow TOL times 2. */
#define TOL_ATTN_INT8 6e-5
#define TOL_ATTN_PCA  2e-5 /* f32 sums along directions, then channels */
/* Codes of 4 and 2 bits: queries and weights in one byte. A score is off by u_q |k|_2 / sqrt(12) in the mean, 6e-3 for
 * 64 normal channels (u_q = 2.7 deviations / 127), which is 9 % (4 bits) and 2 % (2 bits) of what the codes themselves
 * cost it; an output by as much again. This is the most that a single number may be off, four times the mean; test_error
 * holds the mean to its share of the codes' own error. */
#define TOL_ATTN_BYTE 2.5e-2
#define TOL_ATTN_BF16 8e-3 /* products of bf16: queries, keys, probabilities and values rounded */
#define TOL_LSE       1e-5

#endif
