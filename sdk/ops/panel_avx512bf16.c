/* panel_avx512bf16.c - the panels of panel_avx512.h over pairs of bf16 and over quads of bytes (VNNI). */
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

FVI_INLINE void block_bf16(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                           size_t step, const uint32_t rows, const uint32_t vectors)
{
    const int32_t *a = (const int32_t *)p->a + row * p->a_stride;
    const int32_t *b = (const int32_t *)p->b + column;
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
    for (uint32_t k = p->k; k > 0; k--, a++, b += b_stride, ahead += step) {
        __m512bh pairs[4];
        _mm_prefetch((const char *)ahead, _MM_HINT_T0);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            pairs[v] = (__m512bh)_mm512_loadu_si512(b + v * 16);
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32(a[r * a_stride]);
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) {
                acc[r][v] = _mm512_dpbf16_ps(acc[r][v], pairs[v], x);
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

FVI_INLINE void block_bytes(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                            size_t step, const uint32_t rows, const uint32_t vectors,
                            const bool a_signed)
{
    const int32_t *a = (const int32_t *)p->a + row * p->a_stride;
    const int32_t *b = (const int32_t *)p->b + column;
    int32_t *c = (int32_t *)p->c + row * p->c_stride + column;
    __m512i acc[8][4];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            acc[r][v] =
                p->add ? _mm512_loadu_si512(c + r * p->c_stride + v * 16) : _mm512_setzero_si512();
        }
    }
    const size_t a_stride = p->a_stride, b_stride = p->b_stride;
    for (uint32_t k = p->k; k > 0; k--, a++, b += b_stride, ahead += step) {
        __m512i quads[4];
        _mm_prefetch((const char *)ahead, _MM_HINT_T0);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            quads[v] = _mm512_loadu_si512(b + v * 16);
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            __m512i x = _mm512_set1_epi32(a[r * a_stride]);
#pragma GCC unroll 4
            for (uint32_t v = 0; v < vectors; v++) {
                acc[r][v] = a_signed ? _mm512_dpbusd_epi32(acc[r][v], quads[v], x)
                                     : _mm512_dpbusd_epi32(acc[r][v], x, quads[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (uint32_t v = 0; v < vectors; v++) {
            _mm512_storeu_si512(c + r * p->c_stride + v * 16, acc[r][v]);
        }
    }
}

FVI_INLINE void block_int8(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                           size_t step, const uint32_t rows, const uint32_t vectors)
{
    block_bytes(p, row, column, ahead, step, rows, vectors, true);
}

FVI_INLINE void block_uint8(const fvi_panel *p, uint32_t row, uint32_t column, const uint8_t *ahead,
                            size_t step, const uint32_t rows, const uint32_t vectors)
{
    block_bytes(p, row, column, ahead, step, rows, vectors, false);
}

FVI_PANEL_FUNCTION(fvi_panel_bf16, block_bf16)
FVI_PANEL_FUNCTION(fvi_panel_int8, block_int8)
FVI_PANEL_FUNCTION(fvi_panel_uint8, block_uint8)
