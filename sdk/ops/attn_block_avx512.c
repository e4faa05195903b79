/* attn_block_avx512.c - the table of attn_block.h with AVX-512.
 *
 * A bf16 block's products are of pairs of bf16, which takes a CPU that has them. Called by attn_block.c and
 * attn_prefill.c through the table. */
#include "sdk/ops/attn_block.h"
#include "sdk/ops/attn_tile_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#include <math.h>

/* bf16 pairs of a row: (x0, x1), (x2, x3), ... */
FVI_INLINE __m512i pairs32(__m512 low, __m512 high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(fvi_round_bf16(low)), fvi_round_bf16(high), 1);
}

static void block_queries(fvi_attn_block *b, const float *q, size_t stride, float scale)
{
    uint32_t dk = b->source->dk, rounded = (uint32_t)fvi_round_up(dk, 32);
    __m512 factor = _mm512_set1_ps(scale);
    for (uint32_t i = 0; i < b->m; i++) {
        const float *from = q + i / b->group * stride + (size_t)(i % b->group) * dk;
        for (uint32_t c = 0; c < rounded; c += 32) {
            __mmask16 low = c < dk ? fvi_mask16(dk - c) : 0;
            __mmask16 high = c + 16 < dk ? fvi_mask16(dk - c - 16) : 0;
            __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(low, from + c), factor);
            __m512 y = _mm512_setzero_ps();
            if (high != 0) {
                y = _mm512_mul_ps(_mm512_maskz_loadu_ps(high, from + c + 16), factor);
            }
            if (b->bf16) {
                _mm512_storeu_si512(b->s.q + i * rounded / 2 + c / 2, pairs32(x, y));
            } else {
                _mm512_storeu_ps(b->s.q + (size_t)i * rounded + c, x);
                _mm512_storeu_ps(b->s.q + (size_t)i * rounded + c + 16, y);
            }
        }
    }
}

/* Plain rows as a section. */
static fvi_section plain_section(const fvi_kv_source *source, bool values)
{
    return (fvi_section){.codes = (const uint8_t *)(values ? source->v : source->k),
                         .row_bytes = source->stride * sizeof(float),
                         .d = values ? source->dv : source->dk,
                         .kind = FOVEA_KIND_F32};
}

/* Rows of n tokens (FVI_TILE at most) from `first` on, dequantised: [n, stride]. */
static void gather_rows(const fvi_kv_source *source, bool values, uint32_t first, uint32_t n,
                        float *out, size_t stride)
{
    if (source->list == NULL) {
        fvi_section plain = plain_section(source, values);
        fvi_tile_rows(&plain, first, n, out, stride);
        return;
    }
    fvi_piece piece = fvi_list_seek(source->list, first);
    while (fvi_list_next(source->list, FVI_TILE, first + n, &piece)) {
        fvi_section section = fvi_section_of(piece.run, source->dk, source->dv, values);
        fvi_tile_rows(&section, piece.first, piece.n, out + (piece.token - first) * stride, stride);
    }
}

/* Keys of n tokens, channel by channel: s.tile [dk, FVI_TILE]. */
static void key_columns(fvi_attn_block *b, uint32_t first, uint32_t n)
{
    const fvi_kv_source *source = b->source;
    if (source->list == NULL) {
        fvi_section plain = plain_section(source, false);
        fvi_tile_columns(&plain, first, n, b->s.tile, 0, b->s.rows);
        return;
    }
    fvi_piece piece = fvi_list_seek(source->list, first);
    while (fvi_list_next(source->list, FVI_TILE, first + n, &piece)) {
        fvi_section section = fvi_section_of(piece.run, source->dk, source->dv, false);
        fvi_tile_columns(&section, piece.first, piece.n, b->s.tile, piece.token - first, b->s.rows);
    }
}

/* The same in pairs of channels of bf16: s.tile [dk rounded / 2, FVI_TILE]. */
static void key_pairs(fvi_attn_block *b, uint32_t first, uint32_t n)
{
    uint32_t dk = b->source->dk;
    size_t stride = fvi_round_up(dk, 32);
    gather_rows(b->source, false, first, n, b->s.rows, stride);
    for (uint32_t t = 0; t < n; t += 16) {
        for (uint32_t c = 0; c < dk; c += 32) {
            __m512 lanes[16];
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 16; i++) {
                const float *row = b->s.rows + FVI_MIN(t + i, n - 1) * stride + c;
                __m512 high = c + 16 < dk ? _mm512_loadu_ps(row + 16) : _mm512_setzero_ps();
                lanes[i] = _mm512_castsi512_ps(pairs32(_mm512_loadu_ps(row), high));
            }
            fvi_transpose16(lanes);
            for (uint32_t i = 0; i < 16; i++) {
                _mm512_storeu_ps(b->s.tile + (c / 2 + i) * FVI_TILE + t, lanes[i]);
            }
        }
    }
}

/* Values in pairs of tokens of bf16: s.tile [(n + 1) / 2, dv rounded]. */
static void value_pairs(fvi_attn_block *b, uint32_t first, uint32_t n)
{
    size_t stride = fvi_round_up(b->source->dv, 16);
    gather_rows(b->source, true, first, n, b->s.rows, stride);
    if (n % 2 != 0) {
        memset(b->s.rows + n * stride, 0, stride * sizeof(float));
    }
    for (uint32_t t = 0; t < n; t += 2) {
        for (uint32_t c = 0; c < stride; c += 16) {
            const float *row = b->s.rows + t * stride + c;
            __m512i low = _mm512_cvtepu16_epi32(fvi_round_bf16(_mm512_loadu_ps(row)));
            __m512i high = _mm512_cvtepu16_epi32(fvi_round_bf16(_mm512_loadu_ps(row + stride)));
            _mm512_storeu_si512(b->s.tile + t / 2 * stride + c,
                                _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
    }
}

static void block_scores(fvi_attn_block *b, uint32_t first, uint32_t n, float *score)
{
    uint32_t rounded = (uint32_t)fvi_round_up(b->source->dk, 32);
    fvi_panel dot = {.a = b->s.q,
                     .a_stride = b->bf16 ? rounded / 2 : rounded,
                     .b = b->s.tile,
                     .b_stride = FVI_TILE,
                     .c = score,
                     .c_stride = FVI_SCORES,
                     .m = b->m,
                     .n = (uint32_t)fvi_round_up(n, 16)};
    if (b->bf16) {
        key_pairs(b, first, n);
        dot.k = rounded / 2;
        fvi_panel_bf16(&dot);
    } else {
        key_columns(b, first, n);
        dot.k = b->source->dk;
        fvi_panel_f32(&dot);
    }
}

static float largest(const float *score, uint32_t n)
{
    __m512 top = _mm512_set1_ps(-INFINITY);
    for (uint32_t t = 0; t < n; t += 16) {
        top = _mm512_mask_max_ps(top, fvi_mask16(n - t), top, _mm512_loadu_ps(score + t));
    }
    return fvi_max1(top);
}

/* bf16 of n exponentials (positive, no NaN that matters): half a unit up, then cut. */
FVI_INLINE void pack_weights(uint32_t *out, const float *e, uint32_t n)
{
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i odd =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    for (uint32_t t = 0; t < n; t += 32) {
        __m512i low = _mm512_add_epi32(_mm512_loadu_si512(e + t), half);
        __m512i high = _mm512_setzero_si512();
        if (t + 16 < n) {
            high = _mm512_add_epi32(_mm512_loadu_si512(e + t + 16), half);
        }
        _mm512_storeu_si512(out + t / 2, _mm512_permutex2var_epi16(low, odd, high));
    }
}

static float exponentials(float *score, uint32_t n, uint32_t end, float max, uint32_t *packed)
{
    __m512 top = _mm512_set1_ps(max), total = _mm512_setzero_ps();
    uint32_t t = 0;
    for (; t < n; t += 16) {
        __m512 x = fvi_exp16(_mm512_sub_ps(_mm512_loadu_ps(score + t), top));
        x = _mm512_maskz_mov_ps(fvi_mask16(n - t), x);
        total = _mm512_add_ps(total, x);
        _mm512_storeu_ps(score + t, x);
    }
    for (; t < end; t += 16) {
        _mm512_storeu_ps(score + t, _mm512_setzero_ps());
    }
    if (packed != NULL) {
        pack_weights(packed, score, end);
    }
    return fvi_sum1(total);
}

static void block_values(fvi_attn_block *b, uint32_t first, uint32_t n, const float *score,
                         const uint32_t *weight)
{
    size_t dv_rounded = fvi_round_up(b->source->dv, 16);
    fvi_panel sum = {.b = b->s.tile,
                     .b_stride = dv_rounded,
                     .c = b->s.acc,
                     .c_stride = dv_rounded,
                     .m = b->m,
                     .n = (uint32_t)dv_rounded,
                     .add = true};
    if (b->bf16) {
        value_pairs(b, first, n);
        sum.a = weight;
        sum.a_stride = FVI_CHUNK / 2;
        sum.k = (n + 1) / 2;
        fvi_panel_bf16(&sum);
    } else {
        gather_rows(b->source, true, first, n, b->s.tile, dv_rounded);
        sum.a = score;
        sum.a_stride = FVI_SCORES;
        sum.k = n;
        fvi_panel_f32(&sum);
    }
}

static uint64_t add_mass(float *mass, const float *score, uint32_t n, float max, float factor,
                         float threshold)
{
    uint64_t hits = 0;
    __m512 top = _mm512_set1_ps(max), f = _mm512_set1_ps(factor);
    for (uint32_t t = 0; t < n; t += 16) {
        __mmask16 mask = fvi_mask16(n - t);
        __m512 e = fvi_exp16(_mm512_sub_ps(_mm512_loadu_ps(score + t), top));
        __m512 sum = _mm512_fmadd_ps(e, f, _mm512_maskz_loadu_ps(mask, mass + t));
        _mm512_mask_storeu_ps(mass + t, mask, sum);
        hits += (uint64_t)__builtin_popcount(
            _mm512_mask_cmp_ps_mask(mask, e, _mm512_set1_ps(threshold), _CMP_GE_OQ));
    }
    return hits;
}

const fvi_block_kernels fvi_avx512_block = {
    .queries = block_queries,
    .scores = block_scores,
    .largest = largest,
    .exponentials = exponentials,
    .values = block_values,
    .observe = add_mass,
};
