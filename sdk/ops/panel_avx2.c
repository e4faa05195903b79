/* panel_avx2.c - the panels of panel_avx2.h: blocks of up to 6 rows by 16 columns, whose 12 sums and what a
 * step along k needs fill the 16 registers. */
#include "sdk/ops/panel_avx2.h"
#include "sdk/ops/simd_avx2.h"

#define BLOCK_ROWS    6
#define BLOCK_COLUMNS 16

FVI_INLINE void block(const fvi_panel_args *p, uint32_t row, uint32_t column, const uint32_t rows)
{
    const size_t a_stride = p->a_stride, b_stride = p->b_stride, c_stride = p->c_stride;
    const float *a = p->a + row * a_stride, *b = p->b + column;
    float *c = p->c + row * c_stride + column;
    __m256 sum[BLOCK_ROWS][2];
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) {
        sum[r][0] = p->add ? _mm256_loadu_ps(c + r * c_stride) : _mm256_setzero_ps();
        sum[r][1] = p->add ? _mm256_loadu_ps(c + r * c_stride + 8) : _mm256_setzero_ps();
    }
    for (uint32_t k = p->k; k > 0; k--, a++, b += b_stride) {
        __m256 left = _mm256_loadu_ps(b), right = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (uint32_t r = 0; r < rows; r++) {
            __m256 x = _mm256_broadcast_ss(a + r * a_stride);
            sum[r][0] = _mm256_fmadd_ps(x, left, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(x, right, sum[r][1]);
        }
    }
#pragma GCC unroll 6
    for (uint32_t r = 0; r < rows; r++) {
        _mm256_storeu_ps(c + r * c_stride, sum[r][0]);
        _mm256_storeu_ps(c + r * c_stride + 8, sum[r][1]);
    }
}

/* All columns of a strip of rows. */
FVI_INLINE void strip(const fvi_panel_args *p, uint32_t row, const uint32_t rows)
{
    for (uint32_t column = 0; column < p->n; column += BLOCK_COLUMNS) {
        block(p, row, column, rows);
    }
}

void fvi_panel_avx2(const fvi_panel_args *p)
{
    for (uint32_t row = 0, rows; row < p->m; row += rows) {
        uint32_t left =
            p->m - row; /* the last 7 to 11 rows are halved: few rows wait for themselves */
        rows = left <= BLOCK_ROWS ? left : left < 2 * BLOCK_ROWS ? (left + 1) / 2 : BLOCK_ROWS;
        switch (rows) {
        case 1: strip(p, row, 1); break;
        case 2: strip(p, row, 2); break;
        case 3: strip(p, row, 3); break;
        case 4: strip(p, row, 4); break;
        case 5: strip(p, row, 5); break;
        default: strip(p, row, 6); break;
        }
    }
}
