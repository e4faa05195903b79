/* attn_block_avx2.c - the table of attn_block.h with AVX2: every product is f32.
 *
 * A tile is gathered as rows, through the codec or straight from f16, and keys are then turned to columns.
 * Called by attn_block.c and attn_prefill.c through the table. */
#include "sdk/ops/attn_block.h"
#include "sdk/ops/attn_tile_avx2.h"
#include "sdk/ops/panel_avx2.h"

#include <math.h>

static void block_queries(fvi_attn_block *b, const float *q, size_t stride, float scale)
{
    uint32_t dk = b->source->dk;
    size_t rounded = fvi_round_up(dk, 32);
    for (uint32_t i = 0; i < b->m; i++) {
        const float *from = q + i / b->group * stride + (size_t)(i % b->group) * dk;
        for (uint32_t c = 0; c < dk; c++) {
            b->s.q[i * rounded + c] = from[c] * scale;
        }
    }
}

/* Keys or values of n tokens: out [n, stride], zeros from d up to a multiple of 16. */
static void gather_rows(const fvi_kv_source *source, bool values, uint32_t first, uint32_t n,
                        float *out, size_t stride)
{
    uint32_t d = values ? source->dv : source->dk;
    if (source->list == NULL) {
        const float *rows = (values ? source->v : source->k) + first * source->stride;
        for (uint32_t t = 0; t < n; t++) {
            memcpy(out + t * stride, rows + t * source->stride, d * sizeof *out);
            memset(out + t * stride + d, 0, (fvi_round_up(d, 16) - d) * sizeof *out);
        }
        return;
    }
    fvi_piece piece = fvi_list_seek(source->list, first);
    while (fvi_list_next(source->list, FVI_TILE, first + n, &piece)) {
        fvi_tile_rows_avx2(piece.run, source->dk, source->dv, values, piece.first, piece.n,
                           out + (piece.token - first) * stride, stride);
    }
}

static void block_scores(fvi_attn_block *b, uint32_t first, uint32_t n, float *score)
{
    uint32_t dk = b->source->dk;
    size_t rounded = fvi_round_up(dk, 32);
    gather_rows(b->source, false, first, n, b->s.rows, rounded);
    fvi_tile_columns_avx2(b->s.rows, rounded, n, dk, b->s.tile, FVI_TILE);
    fvi_panel_avx2(&(fvi_panel_args){.a = b->s.q,
                                     .a_stride = rounded,
                                     .b = b->s.tile,
                                     .b_stride = FVI_TILE,
                                     .c = score,
                                     .c_stride = FVI_SCORES,
                                     .m = b->m,
                                     .n = (uint32_t)fvi_round_up(n, 16),
                                     .k = dk});
}

static float largest(const float *score, uint32_t n)
{
    __m256 top = _mm256_set1_ps(-INFINITY);
    for (uint32_t t = 0; t < n; t += 8) {
        __m256 x = _mm256_loadu_ps(score + t);
        __m256i seen = fvi_mask8(n - t);
        x = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), x, _mm256_castsi256_ps(seen));
        top = _mm256_max_ps(top, x);
    }
    return fvi_max1(top);
}

/* exp(score - max) of the first n of 8 tokens, zeros behind them. */
FVI_INLINE __m256 exponential8(const float *score, uint32_t n, float max)
{
    __m256 x = fvi_exp8(_mm256_sub_ps(_mm256_loadu_ps(score), _mm256_set1_ps(max)));
    return _mm256_and_ps(x, _mm256_castsi256_ps(fvi_mask8(n)));
}

static float exponentials(float *score, uint32_t n, uint32_t end, float max, uint32_t *packed)
{
    (void)packed; /* no block is bf16 */
    __m256 total = _mm256_setzero_ps();
    uint32_t t = 0;
    for (; t < n; t += 8) {
        __m256 x = exponential8(score + t, n - t, max);
        total = _mm256_add_ps(total, x);
        _mm256_storeu_ps(score + t, x);
    }
    for (; t < end; t += 8) {
        _mm256_storeu_ps(score + t, _mm256_setzero_ps());
    }
    return fvi_sum1(total);
}

static void block_values(fvi_attn_block *b, uint32_t first, uint32_t n, const float *score,
                         const uint32_t *weight)
{
    (void)weight;
    size_t rounded = fvi_round_up(b->source->dv, 16);
    gather_rows(b->source, true, first, n, b->s.tile, rounded);
    fvi_panel_avx2(&(fvi_panel_args){.a = score,
                                     .a_stride = FVI_SCORES,
                                     .b = b->s.tile,
                                     .b_stride = rounded,
                                     .c = b->s.acc,
                                     .c_stride = rounded,
                                     .m = b->m,
                                     .n = (uint32_t)rounded,
                                     .k = n,
                                     .add = true});
}

static uint64_t add_mass(float *mass, const float *score, uint32_t n, float max, float factor,
                         float threshold)
{
    uint64_t hits = 0;
    __m256 share = _mm256_set1_ps(factor), least = _mm256_set1_ps(threshold);
    for (uint32_t t = 0; t < n; t += 8) {
        __m256 e = exponential8(score + t, n - t, max);
        fvi_store8(mass + t, n - t, _mm256_fmadd_ps(e, share, fvi_load8(mass + t, n - t)));
        __m256 dense = _mm256_and_ps(_mm256_cmp_ps(e, least, _CMP_GE_OQ),
                                     _mm256_castsi256_ps(fvi_mask8(n - t)));
        hits += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_ps(dense));
    }
    return hits;
}

const fvi_block_kernels fvi_avx2_block = {
    .queries = block_queries,
    .scores = block_scores,
    .largest = largest,
    .exponentials = exponentials,
    .values = block_values,
    .observe = add_mass,
};
