/* attn_tile_avx512.c - readers of cached tokens (attn_tile_avx512.h). */
#include "sdk/ops/attn_tile_avx512.h"
#include "sdk/ops/simd_avx512.h"

/* Elements c..c+15 of a row of 4-bit or 2-bit codes, as bytes. */
FVI_INLINE __m128i codes16(const uint8_t *row, uint32_t d, uint32_t bits, uint32_t c,
                           __mmask16 mask)
{
    uint32_t share = (uint32_t)fvi_code_row(bits, d);
    __m128i codes = _mm_setzero_si128();
    for (uint32_t nth = c / share; nth * share < c + 16 && nth < 8 / bits; nth++) {
        __mmask16 here = fvi_mask16((nth + 1) * share - c) & mask;
        if (nth * share > c) {
            here &= (__mmask16)~fvi_mask16(nth * share - c);
        }
        uintptr_t at = (uintptr_t)row + c - nth * share; /* lanes before the row are off */
        __m128i bytes = _mm_maskz_loadu_epi8(here, (const void *)at);
        codes = _mm_or_si128(codes, _mm_srl_epi16(bytes, _mm_cvtsi32_si128((int)(nth * bits))));
        codes = _mm_and_si128(codes, _mm_set1_epi8((char)((1 << bits) - 1)));
    }
    return codes;
}

/* Elements c..c+15 of a token, zeros behind the row's end. */
FVI_INLINE __m512 row16(const fvi_section *s, fovea_kind kind, uint32_t token, uint32_t c)
{
    const uint8_t *row = s->codes + token * s->row_bytes;
    __mmask16 mask = fvi_mask16(s->d - c);
    __m512 x;
    switch (kind) {
    case FOVEA_KIND_F32: return _mm512_maskz_loadu_ps(mask, row + 4 * (size_t)c);
    case FOVEA_KIND_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * (size_t)c));
    case FOVEA_KIND_INT8:
        x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, row + c)));
        break;
    default:
        x = _mm512_cvtepi32_ps(
            _mm512_cvtepu8_epi32(codes16(row, s->d, kind == FOVEA_KIND_INT4 ? 4 : 2, c, mask)));
        break;
    }
    uint16_t pair[2];
    memcpy(pair, s->affine + ((size_t)token * s->groups + c / FVI_GROUP) * sizeof pair,
           sizeof pair);
    __m512 scale = _mm512_set1_ps(_cvtsh_ss(pair[0]));
    return _mm512_maskz_fmadd_ps(mask, x, scale, _mm512_set1_ps(_cvtsh_ss(pair[1])));
}

FVI_INLINE void rows_of(const fvi_section *s, fovea_kind kind, uint32_t first, uint32_t n,
                        float *out, size_t stride)
{
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t c = 0; c < s->d; c += 16) {
            _mm512_storeu_ps(out + t * stride + c, row16(s, kind, first + t, c));
        }
    }
}

static void rows_decoded(const fvi_section *s, uint32_t first, uint32_t n, float *out,
                         size_t stride)
{
    const fvi_run_view *run = s->run;
    fvi_codec_decode(run->codec, run->data, run->capacity, s->dk, s->dv, first, n,
                     s->values ? NULL : out, stride, s->values ? out : NULL, stride);
    for (uint32_t t = 0; t < n && s->d % 16 != 0; t++) {
        memset(out + t * stride + s->d, 0, (16 - s->d % 16) * sizeof *out);
    }
}

void fvi_tile_rows(const fvi_section *s, uint32_t first, uint32_t n, float *out, size_t stride)
{
    switch (s->kind) {
    case FOVEA_KIND_F32: rows_of(s, FOVEA_KIND_F32, first, n, out, stride); break;
    case FOVEA_KIND_F16: rows_of(s, FOVEA_KIND_F16, first, n, out, stride); break;
    case FOVEA_KIND_INT8: rows_of(s, FOVEA_KIND_INT8, first, n, out, stride); break;
    case FOVEA_KIND_INT4: rows_of(s, FOVEA_KIND_INT4, first, n, out, stride); break;
    case FOVEA_KIND_INT2: rows_of(s, FOVEA_KIND_INT2, first, n, out, stride); break;
    default: rows_decoded(s, first, n, out, stride); break;
    }
}

FVI_INLINE void columns_of(const fvi_section *s, fovea_kind kind, uint32_t first, uint32_t n,
                           float *out)
{
    for (uint32_t t = 0; t < n; t += 16) {
        for (uint32_t c = 0; c < s->d; c += 16) {
            __m512 lanes[16];
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 16; i++) { /* behind the last token: the last one again */
                lanes[i] = row16(s, kind, first + FVI_MIN(t + i, n - 1), c);
            }
            fvi_transpose16(lanes);
            uint32_t width = FVI_MIN(16u, s->d - c);
            for (uint32_t i = 0; i < width; i++) {
                _mm512_mask_storeu_ps(out + (size_t)(c + i) * FVI_TILE + t, fvi_mask16(n - t),
                                      lanes[i]);
            }
        }
    }
}

void fvi_tile_columns(const fvi_section *s, uint32_t first, uint32_t n, float *out, uint32_t at,
                      float *memory)
{
    out += at;
    switch (s->kind) {
    case FOVEA_KIND_F32: columns_of(s, FOVEA_KIND_F32, first, n, out); break;
    case FOVEA_KIND_F16: columns_of(s, FOVEA_KIND_F16, first, n, out); break;
    case FOVEA_KIND_INT8: columns_of(s, FOVEA_KIND_INT8, first, n, out); break;
    case FOVEA_KIND_INT4: columns_of(s, FOVEA_KIND_INT4, first, n, out); break;
    case FOVEA_KIND_INT2: columns_of(s, FOVEA_KIND_INT2, first, n, out); break;
    default: {
        size_t stride = fvi_round_up(s->d, 16);
        fvi_section plain = {.codes = (const uint8_t *)memory,
                             .row_bytes = stride * sizeof(float),
                             .d = s->d,
                             .kind = FOVEA_KIND_F32};
        rows_decoded(s, first, n, memory, stride);
        columns_of(&plain, FOVEA_KIND_F32, 0, n, out);
        break;
    }
    }
}

/* Eight channels of a row of f16. */
FVI_INLINE __m128i eight(const uint8_t *row, uint32_t left)
{
    return left >= 8 ? _mm_loadu_si128((const void *)row)
                     : _mm_maskz_loadu_epi16((__mmask8)((1u << left) - 1), row);
}

/* In each 128-bit lane eight rows of eight 16-bit numbers become columns. */
FVI_INLINE void transpose8(__m512i r[8])
{
    __m512i t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        t[i + 4] = _mm512_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* columns 0-3, then 4-7 */
        __m512i a = _mm512_unpacklo_epi32(t[i], t[i + 1]);
        __m512i b = _mm512_unpackhi_epi32(t[i], t[i + 1]);
        __m512i c = _mm512_unpacklo_epi32(t[i + 2], t[i + 3]);
        __m512i d = _mm512_unpackhi_epi32(t[i + 2], t[i + 3]);
        r[i] = _mm512_unpacklo_epi64(a, c);
        r[i + 1] = _mm512_unpackhi_epi64(a, c);
        r[i + 2] = _mm512_unpacklo_epi64(b, d);
        r[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
}

/* 32 tokens whose rows lie row_bytes apart, all channels: out [d, FVI_TILE]. d is a multiple of 8. */
FVI_INLINE void columns32(const uint8_t *rows, const size_t row_bytes, uint32_t d, uint16_t *out)
{
    for (uint32_t c = 0; c < d; c += 8, rows += 16) {
        __m512i lanes[8];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) { /* lane l: token i + 8 l */
            const uint8_t *at = rows + i * row_bytes;
            __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const void *)at));
            x = _mm512_inserti32x4(x, _mm_loadu_si128((const void *)(at + 8 * row_bytes)), 1);
            x = _mm512_inserti32x4(x, _mm_loadu_si128((const void *)(at + 16 * row_bytes)), 2);
            lanes[i] =
                _mm512_inserti32x4(x, _mm_loadu_si128((const void *)(at + 24 * row_bytes)), 3);
        }
        transpose8(lanes);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) {
            _mm512_storeu_si512(out + (size_t)(c + i) * FVI_TILE, lanes[i]);
        }
    }
}

/* Up to 32 tokens, any d; behind the last token: the last one again. */
static void columns_rest(const fvi_section *s, uint32_t first, uint32_t n, uint16_t *out)
{
    const uint8_t *rows[32];
    for (uint32_t i = 0; i < 32; i++) {
        rows[i] = s->codes + (first + FVI_MIN(i, n - 1)) * s->row_bytes;
    }
    for (uint32_t c = 0; c < s->d; c += 8) {
        uint32_t left = s->d - c;
        __m512i lanes[8];
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) { /* lane l: token i + 8 l */
            __m512i x = _mm512_castsi128_si512(eight(rows[i] + 2 * (size_t)c, left));
            x = _mm512_inserti32x4(x, eight(rows[i + 8] + 2 * (size_t)c, left), 1);
            x = _mm512_inserti32x4(x, eight(rows[i + 16] + 2 * (size_t)c, left), 2);
            lanes[i] = _mm512_inserti32x4(x, eight(rows[i + 24] + 2 * (size_t)c, left), 3);
        }
        transpose8(lanes);
        for (uint32_t i = 0; i < FVI_MIN(8u, left); i++) {
            _mm512_storeu_si512(out + (size_t)(c + i) * FVI_TILE, lanes[i]);
        }
    }
}

void fvi_tile_columns_f16(const fvi_section *s, uint32_t first, uint32_t n, uint16_t *out)
{
    for (uint32_t t = 0; t < n; t += 32) {
        const uint8_t *rows = s->codes + (first + t) * s->row_bytes;
        if (n - t < 32 || s->d % 8 != 0) {
            columns_rest(s, first + t, n - t, out + t);
        } else if (s->d == 64) {
            columns32(rows, 128, 64, out + t);
        } else {
            columns32(rows, s->row_bytes, s->d, out + t);
        }
    }
}

void fvi_tile_affine(const fvi_section *s, uint32_t first, uint32_t n, uint32_t group, float *scale,
                     float *min)
{
    const uint8_t *at = s->affine + ((size_t)first * s->groups + group) * 4;
    __m512i index =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32((int)s->groups));
    for (uint32_t t = 0; t < n; t += 16, at += (size_t)16 * s->groups * 4) {
        __mmask16 mask = fvi_mask16(n - t);
        _mm_prefetch((const char *)(at + (size_t)FVI_TILE * s->groups * 4), _MM_HINT_T0);
        __m512i pairs = s->groups == 1 ? _mm512_maskz_loadu_epi32(mask, at)
                                       : _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask,
                                                                     index, at, 4);
        __m256i low = _mm512_cvtepi32_epi16(pairs);
        __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16));
        _mm512_mask_storeu_ps(scale + t, mask, _mm512_cvtph_ps(low));
        _mm512_mask_storeu_ps(min + t, mask, _mm512_cvtph_ps(high));
    }
}
