/* attn_panel_avx2.c - the panels of attn_panel_avx2.h: blocks of f16 of up to 4 rows by up to 32 columns, or of up to 8 by
 * one token, and blocks of codes of up to 4 by 16, whose sums and what a step along k needs fit 16 registers, and of
 * which a step makes enough work to hide the latency of a multiply-add. */
#include "sdk/ops/attn_panel_avx2.h"
#include "sdk/ops/simd_avx2.h"

typedef void (*block_fn)(const fvi_code_panel *panel, uint32_t row, uint32_t column);

/* One column of A times a row of B: of factors, those that there are fewer of stay in registers. */
FVI_INLINE void outer_f16(const float *a, size_t a_stride, const uint8_t *from, const uint32_t rows,
                          const uint32_t vectors, __m256 sum[4][4])
{
    __m256 kept[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < FVI_MIN(rows, vectors); i++) {
        kept[i] = rows <= vectors ? _mm256_broadcast_ss(a + i * a_stride)
                                  : _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + 16 * i)));
    }
#pragma GCC unroll 4
    for (uint32_t i = 0; i < FVI_MAX(rows, vectors); i++) {
        if (rows <= vectors) {
            __m256 y = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + 16 * i)));
#pragma GCC unroll 4
            for (uint32_t r = 0; r < rows; r++) {
                sum[r][i] = _mm256_fmadd_ps(kept[r], y, sum[r][i]);
            }
        } else {
            __m256 x = _mm256_broadcast_ss(a + i * a_stride);
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) {
                sum[i][v] = _mm256_fmadd_ps(x, kept[v], sum[i][v]);
            }
        }
    }
}

/* C += A B, B f16. What the next tile has in their place is asked for meanwhile. */
FVI_INLINE void block_sums_f16(const fvi_code_panel *p, uint32_t row, uint32_t column,
                               const uint32_t rows, const uint32_t vectors)
{
    const float *a = (const float *)p->a + row * p->a_stride;
    float *c = (float *)p->c + row * p->c_stride + column;
    const size_t a_stride = p->a_stride, c_stride = p->c_stride;
    const uintptr_t ahead = p->ahead;
    const size_t row_bytes = 2 * (size_t)p->n;
    const uint8_t *at = (const uint8_t *)p->b + 2 * (size_t)column;
    const size_t n = p->k;
    __m256 sum[4][4];
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            sum[r][v] = _mm256_loadu_ps(c + r * c_stride + 8 * v);
        }
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < n; k++, a++, at += row_bytes) {
        _mm_prefetch((const char *)((uintptr_t)at + ahead), _MM_HINT_T0);
        outer_f16(a, a_stride, at, rows, vectors, sum);
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            _mm256_storeu_ps(c + r * c_stride + 8 * v, sum[r][v]);
        }
    }
}

/* How many of the rows that are left make a block of `most` at most: all are shared out evenly among as few as
 * there can be. */
static uint32_t block_rows(uint32_t left, uint32_t most)
{
    uint32_t n_block = (left + most - 1) / most;
    return (left + n_block - 1) / n_block;
}

#define BLOCK(rows, vectors)                                                                       \
    static void sums_f16_##rows##_##vectors(const fvi_code_panel *p, uint32_t row,                 \
                                            uint32_t column)                                       \
    {                                                                                              \
        block_sums_f16(p, row, column, rows, vectors);                                             \
    }
BLOCK(1, 1)
BLOCK(1, 2)
BLOCK(1, 4)
BLOCK(2, 1)
BLOCK(2, 2)
BLOCK(2, 4)
BLOCK(3, 1)
BLOCK(3, 2)
BLOCK(3, 4)
BLOCK(4, 1)
BLOCK(4, 2)
BLOCK(4, 3)

/* How many vectors of columns the next block takes. */
static uint32_t block_vectors(const block_fn by_vectors[4], uint32_t left)
{
    uint32_t most = FVI_MIN(left, 4u);
    while (by_vectors[most - 1] == NULL) {
        most--;
    }
    return most == 3 && left == 4 ? 2 : most; /* two and two, not three and one */
}

void fvi_panel_sums_f16(const fvi_code_panel *p)
{
    static const block_fn blocks[4][4] = {{sums_f16_1_1, sums_f16_1_2, NULL, sums_f16_1_4},
                                          {sums_f16_2_1, sums_f16_2_2, NULL, sums_f16_2_4},
                                          {sums_f16_3_1, sums_f16_3_2, NULL, sums_f16_3_4},
                                          {sums_f16_4_1, sums_f16_4_2, sums_f16_4_3, NULL}};
    for (uint32_t row = 0, rows; row < p->m; row += rows) {
        rows = block_rows(p->m - row, 4);
        const block_fn *by_vectors = blocks[rows - 1];
        for (uint32_t column = 0, vectors; column < p->n; column += 8 * vectors) {
            vectors = block_vectors(by_vectors, (p->n - column) / 8);
            by_vectors[vectors - 1](p, row, column);
        }
    }
}

/* `rows` rows of A [, k] without gaps times `tokens` rows of B from `token` on: sum[token][row]. */
FVI_INLINE void dots_f16(const fvi_code_panel *p, uint32_t row, uint32_t token, const uint32_t rows,
                         const uint32_t tokens, const uint32_t n_k, __m256 sum[4][4])
{
    const float *a = (const float *)p->a + (size_t)row * n_k;
    const uint8_t *b[4];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < tokens; t++) {
        b[t] = (const uint8_t *)p->b + 2 * (size_t)(token + t) * n_k;
        for (uint32_t k = 0; k < n_k; k += 32) { /* a line */
            _mm_prefetch((const char *)((uintptr_t)b[t] + 2 * (size_t)k + p->ahead), _MM_HINT_T0);
        }
#pragma GCC unroll 4
        for (uint32_t r = 0; r < rows; r++) {
            sum[t][r] = _mm256_setzero_ps();
        }
    }
#pragma GCC unroll 1
    for (uint32_t k = 0; k < n_k; k += 8) {
        __m256 x[4];
#pragma GCC unroll 4
        for (uint32_t r = 0; r < rows; r++) {
            x[r] = _mm256_loadu_ps(a + (size_t)r * n_k + k);
        }
#pragma GCC unroll 4
        for (uint32_t t = 0; t < tokens; t++) {
            __m256 y = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(b[t] + 2 * (size_t)k)));
#pragma GCC unroll 4
            for (uint32_t r = 0; r < rows; r++) {
                sum[t][r] = _mm256_fmadd_ps(x[r], y, sum[t][r]);
            }
        }
    }
}

/* Four tokens at a time for up to three rows of A, two for four. */
FVI_INLINE void strip_f16(const fvi_code_panel *p, uint32_t row, const uint32_t rows,
                          const uint32_t n_k)
{
    float *c = (float *)p->c + row * p->c_stride;
    const uint32_t tokens = rows == 4 ? 2 : 4;
    for (uint32_t t = 0; t < p->n; t += tokens, c += tokens) {
        __m256 sum[4][4];
        dots_f16(p, row, t, rows, tokens, n_k, sum);
        if (rows == 4) {
            __m128 left = fvi_sum4(sum[0][0], sum[0][1], sum[0][2], sum[0][3]);
            __m128 right = fvi_sum4(sum[1][0], sum[1][1], sum[1][2], sum[1][3]);
            __m128 low = _mm_unpacklo_ps(left, right), high = _mm_unpackhi_ps(left, right);
            _mm_storel_pi((void *)c, low);
            _mm_storeh_pi((void *)(c + p->c_stride), low);
            _mm_storel_pi((void *)(c + 2 * p->c_stride), high);
            _mm_storeh_pi((void *)(c + 3 * p->c_stride), high);
        } else {
#pragma GCC unroll 4
            for (uint32_t r = 0; r < rows; r++) {
                _mm_storeu_ps(c + r * p->c_stride,
                              fvi_sum4(sum[0][r], sum[1][r], sum[2][r], sum[3][r]));
            }
        }
    }
}

/* `rows` rows of A, 5 to 8, times one row of B: what is converted serves all of them, and A comes from memory. */
FVI_INLINE void wide_dots_f16(const float *a, const uint8_t *b, uintptr_t ahead,
                              const uint32_t rows, const uint32_t n_k, __m128 dots[2])
{
    __m256 sum[8];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < 8; r++) {
        sum[r] = _mm256_setzero_ps();
    }
#pragma GCC unroll 8
    for (uint32_t k = 0; k < n_k; k += 8) {
        if (k % 32 == 0) { /* a line */
            _mm_prefetch((const char *)((uintptr_t)b + 2 * (size_t)k + ahead), _MM_HINT_T0);
        }
        __m256 y = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(b + 2 * (size_t)k)));
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            sum[r] = _mm256_fmadd_ps(_mm256_loadu_ps(a + (size_t)r * n_k + k), y, sum[r]);
        }
    }
    dots[0] = fvi_sum4(sum[0], sum[1], sum[2], sum[3]);
    dots[1] = fvi_sum4(sum[4], sum[5], sum[6], sum[7]);
}

/* A token at a time; then tokens become columns. */
FVI_INLINE void wide_strip_f16(const fvi_code_panel *p, uint32_t row, const uint32_t rows,
                               const uint32_t n_k)
{
    const float *a = (const float *)p->a + (size_t)row * n_k;
    const uint8_t *b = p->b;
    float *c = (float *)p->c + row * p->c_stride;
    const size_t c_stride = p->c_stride;
    const uintptr_t ahead = p->ahead;
    const uint32_t n = (uint32_t)fvi_round_up(p->n, 4);
    __m128 dots[FVI_TILE][2];
    for (uint32_t t = 0; t < n; t++) {
        wide_dots_f16(a, b + 2 * (size_t)t * n_k, ahead, rows, n_k, dots[t]);
    }
    for (uint32_t t = 0; t < n; t += 4, c += 4) {
#pragma GCC unroll 2
        for (uint32_t half = 0; half < 2; half++) {
            __m128 x[4] = {dots[t][half], dots[t + 1][half], dots[t + 2][half], dots[t + 3][half]};
            _MM_TRANSPOSE4_PS(x[0], x[1], x[2], x[3]);
#pragma GCC unroll 4
            for (uint32_t r = 4 * half; r < FVI_MIN(rows, 4 * half + 4); r++) {
                _mm_storeu_ps(c + r * c_stride, x[r % 4]);
            }
        }
    }
}

FVI_INLINE void strips_f16(const fvi_code_panel *p, const uint32_t n_k)
{
    for (uint32_t row = 0, rows; row < p->m; row += rows) {
        rows = block_rows(p->m - row, 8);
        switch (rows) {
        case 1: strip_f16(p, row, 1, n_k); break;
        case 2: strip_f16(p, row, 2, n_k); break;
        case 3: strip_f16(p, row, 3, n_k); break;
        case 4: strip_f16(p, row, 4, n_k); break;
        case 5: wide_strip_f16(p, row, 5, n_k); break;
        case 6: wide_strip_f16(p, row, 6, n_k); break;
        case 7: wide_strip_f16(p, row, 7, n_k); break;
        default: wide_strip_f16(p, row, 8, n_k); break;
        }
    }
}

void fvi_panel_dots_f16(const fvi_code_panel *p)
{
    if (p->k == 64) { /* the usual width: its loop has no overhead */
        strips_f16(p, 64);
    } else {
        strips_f16(p, p->k);
    }
}

/* What a product of 4 bytes of A with 4 bytes of B is. */
enum { OF_PAIRS, OF_SIGNED, OF_UNSIGNED };

FVI_INLINE __m256i multiply_add(__m256i sum, __m256i x, __m256i y, const uint32_t of)
{
    return of == OF_PAIRS    ? _mm256_add_epi32(sum, _mm256_madd_epi16(x, y))
           : of == OF_SIGNED ? _mm256_add_epi16(sum, _mm256_maddubs_epi16(y, x))
                             : _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, y));
}

/* `rows` rows of A times `vectors` vectors of columns of B. */
FVI_INLINE void block_codes(const int32_t *a, size_t a_stride, const int32_t *b, size_t b_stride,
                            size_t n_k, const size_t rows, const size_t vectors, const uint32_t of,
                            int32_t *c, size_t c_stride)
{
    __m256i sum[4][2];
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    }
#pragma GCC unroll 2
    for (size_t k = 0; k < n_k; k++, a++, b += b_stride) {
        __m256i y[2];
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++) {
            y[v] = _mm256_loadu_si256((const void *)(b + 8 * v));
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++) {
            __m256i x = _mm256_set1_epi32(a[r * a_stride]);
#pragma GCC unroll 2
            for (size_t v = 0; v < vectors; v++) {
                sum[r][v] = multiply_add(sum[r][v], x, y[v], of);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++) {
            _mm256_storeu_si256((void *)(c + r * c_stride + 8 * v), sum[r][v]);
        }
    }
}

/* `rows` rows of C = A B of integers. */
FVI_INLINE void strip_codes(const fvi_code_panel *p, uint32_t row, const size_t rows,
                            const uint32_t of)
{
    const size_t a_stride = p->a_stride, b_stride = p->b_stride, c_stride = p->c_stride;
    const size_t n_k = p->k, n = p->n;
    const int32_t *a = (const int32_t *)p->a + row * a_stride, *b = p->b;
    int32_t *c = (int32_t *)p->c + row * c_stride;
    size_t column = 0;
    for (; column + 16 <= n; column += 16) {
        block_codes(a, a_stride, b + column, b_stride, n_k, rows, 2, of, c + column, c_stride);
    }
    if (column < n) {
        block_codes(a, a_stride, b + column, b_stride, n_k, rows, 1, of, c + column, c_stride);
    }
}

FVI_INLINE void strips_codes(const fvi_code_panel *p, const uint32_t of)
{
    for (uint32_t row = 0, rows; row < p->m; row += rows) {
        rows = block_rows(p->m - row, 4);
        switch (rows) {
        case 1: strip_codes(p, row, 1, of); break;
        case 2: strip_codes(p, row, 2, of); break;
        case 3: strip_codes(p, row, 3, of); break;
        default: strip_codes(p, row, 4, of); break;
        }
    }
}

void fvi_panel_pairs(const fvi_code_panel *p)
{
    strips_codes(p, OF_PAIRS);
}

void fvi_panel_signed(const fvi_code_panel *p)
{
    strips_codes(p, OF_SIGNED);
}

void fvi_panel_unsigned(const fvi_code_panel *p)
{
    strips_codes(p, OF_UNSIGNED);
}
