/* attn_block_avx512.c - blocks of query rows (attn_block_avx512.h).
 *
 * Tokens are taken in chunks and tiles by their index in the list: a tile is put together from whatever
 * runs hold its tokens, so runs leave no trace. Softmax goes along with a running maximum per chunk. */
#include "sdk/ops/attn_block_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#include <math.h>

size_t fvi_block_scratch_at(fvi_block_scratch *s, float *at, uint32_t dk, uint32_t dv)
{
    size_t n = 0, dk_rounded = fvi_round_up(dk, 32), dv_rounded = fvi_round_up(dv, 16);
    size_t widest = FVI_MAX(dk_rounded, dv_rounded);
#define FVI_PLACE(field, type, size)                                                               \
    (s->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(score, float, (size_t)FVI_BLOCK_ROWS *FVI_SCORES);
    FVI_PLACE(acc, float, FVI_BLOCK_ROWS *dv_rounded);
    FVI_PLACE(q, float, FVI_BLOCK_ROWS *dk_rounded);
    FVI_PLACE(tile, float, FVI_TILE *widest);
    FVI_PLACE(rows, float, FVI_TILE *widest);
    FVI_PLACE(weight, uint32_t, (size_t)FVI_BLOCK_ROWS * FVI_CHUNK / 2);
    FVI_PLACE(max, float, FVI_BLOCK_ROWS);
    FVI_PLACE(sum, float, FVI_BLOCK_ROWS);
#undef FVI_PLACE
    return n;
}

uint32_t fvi_block_rows(uint32_t group)
{
    uint32_t n = FVI_MAX(1u, FVI_BLOCK_ROWS / group);
    for (uint32_t fewer = n; fewer > 0 && fewer + 6 > n; fewer--) {
        if (fewer * group % 6 == 0) {
            return fewer;
        }
    }
    return n;
}

/* bf16 pairs of a row: (x0, x1), (x2, x3), ... */
FVI_INLINE __m512i pairs32(__m512 low, __m512 high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(fvi_round_bf16(low)), fvi_round_bf16(high), 1);
}

void fvi_block_queries(fvi_attn_block *b, const float *q, size_t stride, float scale)
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

/* Rows of n tokens (FVI_TILE at most) from `first` on, dequantised: [n, stride]. */
static void gather_rows(const fvi_kv_source *source, bool values, uint32_t first, uint32_t n,
                        float *out, size_t stride)
{
    if (source->list == NULL) {
        fvi_tile_rows(values ? &source->values : &source->keys, first, n, out, stride);
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
        fvi_tile_columns(&source->keys, first, n, b->s.tile, 0, b->s.rows);
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

static uint32_t block_tokens(const fvi_attn_block *b)
{
    return fvi_block_visible(b, b->m - 1);
}

void fvi_block_scores(fvi_attn_block *b, uint32_t first)
{
    uint32_t end = FVI_MIN(first + FVI_CHUNK, block_tokens(b));
    uint32_t rounded = (uint32_t)fvi_round_up(b->source->dk, 32);
    for (uint32_t t = first; t < end; t += FVI_TILE) {
        uint32_t n = FVI_MIN(FVI_TILE, end - t);
        fvi_panel dot = {.a = b->s.q,
                         .a_stride = b->bf16 ? rounded / 2 : rounded,
                         .b = b->s.tile,
                         .b_stride = FVI_TILE,
                         .c = b->s.score + (t - first),
                         .c_stride = FVI_SCORES,
                         .m = b->m,
                         .n = (uint32_t)fvi_round_up(n, 16)};
        if (b->bf16) {
            key_pairs(b, t, n);
            dot.k = rounded / 2;
            fvi_panel_bf16(&dot);
        } else {
            key_columns(b, t, n);
            dot.k = b->source->dk;
            fvi_panel_f32(&dot);
        }
    }
}

/* The largest of n scores. */
FVI_INLINE float max_of(const float *score, uint32_t n)
{
    __m512 top = _mm512_set1_ps(-INFINITY);
    for (uint32_t t = 0; t < n; t += 16) {
        top = _mm512_mask_max_ps(top, fvi_mask16(n - t), top, _mm512_loadu_ps(score + t));
    }
    return fvi_max1(top);
}

/* Scores of n tokens become exp(score - max), zero behind them up to `end`; returns their sum. */
FVI_INLINE float exponentials(float *score, uint32_t n, uint32_t end, float max)
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
    return fvi_sum1(total);
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

/* Takes the chunk's scores into the running softmax: exponentials in place, acc rescaled. */
static void soften(fvi_attn_block *b, uint32_t first, uint32_t end, size_t dv_rounded)
{
    for (uint32_t i = 0; i < b->m; i++) {
        float *score = b->s.score + (size_t)i * FVI_SCORES;
        uint32_t visible = fvi_block_visible(b, i);
        uint32_t n = visible > first ? FVI_MIN(visible, end) - first : 0;
        float factor = 1.0f;
        if (n > 0) {
            float max = FVI_MAX(b->s.max[i], max_of(score, n));
            factor = expf(b->s.max[i] - max);
            b->s.max[i] = max;
        }
        float sum = exponentials(score, n, end - first, b->s.max[i]);
        b->s.sum[i] = b->s.sum[i] * factor + sum;
        if (factor != 1.0f) {
            float *acc = b->s.acc + i * dv_rounded;
            for (size_t c = 0; c < dv_rounded; c += 16) {
                __m512 x = _mm512_mul_ps(_mm512_loadu_ps(acc + c), _mm512_set1_ps(factor));
                _mm512_storeu_ps(acc + c, x);
            }
        }
        if (b->bf16) {
            pack_weights(b->s.weight + (size_t)i * FVI_CHUNK / 2, score, end - first);
        }
    }
}

static void add_values(fvi_attn_block *b, uint32_t first, uint32_t end, size_t dv_rounded)
{
    for (uint32_t t = first; t < end; t += FVI_TILE) {
        uint32_t n = FVI_MIN(FVI_TILE, end - t);
        fvi_panel sum = {.b = b->s.tile,
                         .b_stride = dv_rounded,
                         .c = b->s.acc,
                         .c_stride = dv_rounded,
                         .m = b->m,
                         .n = (uint32_t)dv_rounded,
                         .add = true};
        if (b->bf16) {
            value_pairs(b, t, n);
            sum.a = b->s.weight + (t - first) / 2;
            sum.a_stride = FVI_CHUNK / 2;
            sum.k = (n + 1) / 2;
            fvi_panel_bf16(&sum);
        } else {
            gather_rows(b->source, true, t, n, b->s.tile, dv_rounded);
            sum.a = b->s.score + (t - first);
            sum.a_stride = FVI_SCORES;
            sum.k = n;
            fvi_panel_f32(&sum);
        }
    }
}

static void start_softmax(fvi_attn_block *b)
{
    for (uint32_t i = 0; i < b->m; i++) {
        b->s.max[i] = -INFINITY;
        b->s.sum[i] = 0.0f;
    }
}

void fvi_block_attend(fvi_attn_block *b, float *out, size_t stride)
{
    uint32_t dv = b->source->dv, n_token = block_tokens(b);
    size_t dv_rounded = fvi_round_up(dv, 16);
    start_softmax(b);
    memset(b->s.acc, 0, b->m * dv_rounded * sizeof *b->s.acc);
    for (uint32_t first = 0; first < n_token; first += FVI_CHUNK) {
        uint32_t end = FVI_MIN(n_token, first + FVI_CHUNK);
        fvi_block_scores(b, first);
        soften(b, first, end, dv_rounded);
        add_values(b, first, end, dv_rounded);
    }
    for (uint32_t i = 0; i < b->m; i++) {
        float *to = out + i / b->group * stride + (size_t)(i % b->group) * dv;
        const float *acc = b->s.acc + i * dv_rounded;
        for (uint32_t c = 0; c < dv; c++) {
            to[c] = acc[c] / b->s.sum[i];
        }
    }
}

void fvi_block_statistics(fvi_attn_block *b)
{
    uint32_t n_token = block_tokens(b);
    start_softmax(b);
    for (uint32_t first = 0; first < n_token; first += FVI_CHUNK) {
        fvi_block_scores(b, first);
        soften(b, first, FVI_MIN(n_token, first + FVI_CHUNK), 0);
    }
}
