/* panel_avx512.c - the panels of panel_avx512.h in f32, over f32 and f16 vectors. */
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

FVI_INLINE __m512 load_b(const void *b, size_t at, bool half)
{
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)b + at)))
                : _mm512_loadu_ps((const float *)b + at);
}

FVI_INLINE void block(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                      size_t step, const uint32_t rows, const uint32_t vectors, const bool half)
{
    const float *a = (const float *)p->a + row * p->a_stride;
    float *c = (float *)p->c + row * p->c_stride + column;
    __m512 acc[8][4];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            acc[r][v] =
                p->add ? _mm512_loadu_ps(c + r * p->c_stride + v * 16) : _mm512_setzero_ps();
        }
    }
    const size_t a_stride = p->a_stride, b_stride = p->b_stride;
    size_t b_at = column;
    for (uint32_t k = p->k; k > 0; k--, a++, b_at += b_stride, ahead += step) {
        __m512 b[4];
        _mm_prefetch((const char *)ahead, _MM_HINT_T0);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            b[v] = load_b(p->b, b_at + v * 16, half);
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            __m512 x = _mm512_set1_ps(a[r * a_stride]);
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) {
                acc[r][v] = _mm512_fmadd_ps(x, b[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            _mm512_storeu_ps(c + r * p->c_stride + v * 16, acc[r][v]);
        }
    }
}

FVI_INLINE void block_f32(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                          size_t step, const uint32_t rows, const uint32_t vectors)
{
    block(p, row, column, ahead, step, rows, vectors, false);
}

FVI_INLINE void block_f16(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                          size_t step, const uint32_t rows, const uint32_t vectors)
{
    block(p, row, column, ahead, step, rows, vectors, true);
}

FVI_PANEL_FUNCTION(fvi_panel_f32, block_f32)
FVI_PANEL_FUNCTION(fvi_panel_f16, block_f16)
