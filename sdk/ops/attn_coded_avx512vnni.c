/* attn_coded_avx512vnni.c - the kernels of attn_coded_avx512.h.
 *
 * A byte product adds four channels (scores: unsigned codes times signed queries) or four tokens (outputs: unsigned
 * weights times codes less their middle) into each 32-bit lane. Keys are therefore laid out as [quad of
 * channels][token], values as [quad of tokens][channel]. Weights get one fixed-point unit for each kind among FVI_TILE tokens by index, so that a
 * token's part does not depend on the runs. */
#include "sdk/ops/attn_coded_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#define SIGNED_WORD   32512.0f /* of 16 bits, whose upper byte stays below 128 after rounding */
#define SIGNED_BYTE   127.0f
#define UNSIGNED_WORD 65534.0f /* a weight may take half a unit from the one before it */
#define UNSIGNED_BYTE 254.0f

static inline uint32_t bits_of(fovea_kind kind)
{
    return kind == FOVEA_KIND_INT8 ? 8 : kind == FOVEA_KIND_INT4 ? 4 : 2;
}

/* What is subtracted of codes of values: it halves what the rounding of a weight is multiplied with. */
FVI_INLINE int middle_of(const uint32_t bits)
{
    return 1 << (bits - 1);
}

size_t fvi_coded_scratch_at(fvi_coded_scratch *s, float *at, uint32_t group, uint32_t dk)
{
    size_t n = 0;
#define FVI_PLACE(field, type, size)                                                               \
    (s->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(tile, uint32_t, FVI_MAX((size_t)dk / 4, FVI_TILE / 4) * FVI_TILE);
    FVI_PLACE(rows, uint8_t, FVI_TILE * FVI_GROUP / 4);
    FVI_PLACE(product, int32_t, 2 * (size_t)group * FVI_TILE);
    FVI_PLACE(weight, int32_t, 2 * (size_t)group * FVI_TILE / 4);
    FVI_PLACE(unit, float, group);
    FVI_PLACE(scale, float, FVI_TILE);
    FVI_PLACE(min, float, FVI_TILE);
    FVI_PLACE(min_sum, float, (size_t)group * 16);
    FVI_PLACE(acc, float, (size_t)group *FVI_GROUP);
#undef FVI_PLACE
    return n;
}

/* 16 numbers in fixed point, returned and split into bytes: their 256s and their units. */
FVI_INLINE __m512i split16(__m512 x, __m512 inverse, void *high, void *low)
{
    __m512i fixed = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
    __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(fixed, _mm512_set1_epi32(128)), 8);
    __m512i lower = _mm512_sub_epi32(fixed, _mm512_slli_epi32(upper, 8));
    _mm_storeu_si128(high, _mm512_cvtepi32_epi8(upper));
    _mm_storeu_si128(low, _mm512_cvtepi32_epi8(lower));
    return fixed;
}

/* 1 / unit; 0 when there is nothing to scale. */
FVI_INLINE float inverse_of(float unit)
{
    return unit > 1e-37f ? 1.0f / unit : 0.0f;
}

static float largest_of(const float *q, uint32_t dk)
{
    __m512 largest = _mm512_setzero_ps();
    for (uint32_t c = 0; c < dk; c += 16) {
        __m512 x = _mm512_maskz_loadu_ps(fvi_mask16(dk - c), q + c);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
    }
    return fvi_max1(largest);
}

/* 16 numbers in units become bytes; returns them as whole numbers. */
FVI_INLINE __m512i round8(__m512 x, __m512 inverse, int32_t *quads)
{
    __m512i fixed = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
    _mm_storeu_si128((void *)quads, _mm512_cvtepi32_epi8(fixed));
    return fixed;
}

/* A query in fixed point: of two bytes, or of the high one alone. */
FVI_INLINE void round_query(const float *q, uint32_t dk, const bool words, int32_t *high,
                            int32_t *low, float *unit, float *sum)
{
    *unit = largest_of(q, dk) / (words ? SIGNED_WORD : SIGNED_BYTE);
    __m512 inverse = _mm512_set1_ps(inverse_of(*unit));
    for (uint32_t g = 0; g < fvi_groups(dk); g++) {
        uint32_t end = FVI_MIN(dk, (g + 1) * FVI_GROUP);
        __m512i total = _mm512_setzero_si512();
        for (uint32_t c = g * FVI_GROUP; c < end; c += 16) {
            __m512 x = _mm512_maskz_loadu_ps(fvi_mask16(end - c), q + c);
            total = _mm512_add_epi32(total, words ? split16(x, inverse, high + c / 4, low + c / 4)
                                                  : round8(x, inverse, high + c / 4));
        }
        /* of the rounded numbers: then the rounding errors meet keys, not keys less their minimum */
        sum[g] = (float)_mm512_reduce_add_epi32(total) * *unit;
    }
}

void fvi_coded_query_words(const float *q, uint32_t dk, int32_t *high, int32_t *low, float *unit,
                           float *sum)
{
    round_query(q, dk, true, high, low, unit, sum);
}

void fvi_coded_query_bytes(const float *q, uint32_t dk, int32_t *quads, float *unit, float *sum)
{
    round_query(q, dk, false, quads, NULL, unit, sum);
}

/* In each 128-bit lane four rows of four numbers become columns. */
FVI_INLINE void transpose4(__m512i r[4])
{
    __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi64(a, c);
    r[1] = _mm512_unpackhi_epi64(a, c);
    r[2] = _mm512_unpacklo_epi64(b, d);
    r[3] = _mm512_unpackhi_epi64(b, d);
}

/* 16 bytes of each of 16 rows: four quads, one row a lane. Rows from `n` on: the last one again. */
FVI_INLINE void quads16(const uint8_t *rows, const size_t row_bytes, uint32_t n, __m512i quads[4])
{
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4;
         i++) { /* lane l: row i + 4 l, and after the transposition 4 l + i */
        const uint8_t *a = rows + FVI_MIN(i, n - 1) * row_bytes;
        const uint8_t *b = rows + FVI_MIN(i + 4, n - 1) * row_bytes;
        const uint8_t *c = rows + FVI_MIN(i + 8, n - 1) * row_bytes;
        const uint8_t *d = rows + FVI_MIN(i + 12, n - 1) * row_bytes;
        __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const void *)a));
        x = _mm512_inserti32x4(x, _mm_loadu_si128((const void *)b), 1);
        x = _mm512_inserti32x4(x, _mm_loadu_si128((const void *)c), 2);
        quads[i] = _mm512_inserti32x4(x, _mm_loadu_si128((const void *)d), 3);
    }
    transpose4(quads);
}

/* Up to 16 tokens to tile [dk / 4, FVI_TILE]. A byte holds channels that are a share of the row apart. */
FVI_INLINE void key_quads16(const uint8_t *rows, const size_t row_bytes, uint32_t n,
                            const uint32_t bits, uint32_t *tile)
{
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    const size_t share = row_bytes / 4 * FVI_TILE;
    for (size_t at = 0; at < row_bytes; at += 16, tile += 4 * FVI_TILE) {
        __m512i quads[4];
        quads16(rows + at, row_bytes, n, quads);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t *to = tile + i * FVI_TILE;
            if (bits == 8) {
                _mm512_storeu_si512(to, quads[i]);
                continue;
            }
#pragma GCC unroll 4
            for (uint32_t nth = 0; nth < 8 / bits; nth++, to += share) {
                __m512i codes = _mm512_srli_epi16(quads[i], nth * bits);
                _mm512_storeu_si512(to, _mm512_and_si512(codes, mask));
            }
        }
    }
}

/* tile [dk / 4, FVI_TILE] of n tokens. */
FVI_INLINE void key_quads(const fvi_section *keys, uint32_t first, uint32_t n, const uint32_t bits,
                          uint32_t *tile)
{
    const uint8_t *rows = keys->codes + first * keys->row_bytes;
    for (uint32_t t = 0; t < n; t += 16, rows += 16 * keys->row_bytes, tile += 16) {
        if (n - t >= 16 && keys->d == FVI_GROUP) { /* loops of known length */
            key_quads16(rows, FVI_GROUP * bits / 8, 16, bits, tile);
        } else {
            key_quads16(rows, keys->row_bytes, FVI_MIN(n - t, 16u), bits, tile);
        }
    }
}

/* 256 high + low of 16 products, as f32. */
FVI_INLINE __m512 joined(const int32_t *high, const int32_t *low)
{
    __m512i x = _mm512_slli_epi32(_mm512_loadu_si512(high), 8);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(x, _mm512_loadu_si512(low)));
}

/* One head's scores of n tokens from products, of `words` those of units at `low_at`; lanes behind n: whoever comes
 * next has them. */
FVI_INLINE void finish_scores(const int32_t *product, const bool words, size_t low_at,
                              const fvi_coded_scratch *s, float unit, float sum, uint32_t n,
                              bool add, float *score)
{
    __m512 units = _mm512_set1_ps(unit), sums = _mm512_set1_ps(sum);
    for (uint32_t t = 0; t < n; t += 16) {
        __m512 x = words ? joined(product + t, product + low_at + t)
                         : _mm512_cvtepi32_ps(_mm512_loadu_si512(product + t));
        x = _mm512_mul_ps(x, _mm512_mul_ps(_mm512_loadu_ps(s->scale + t), units));
        x = _mm512_fmadd_ps(_mm512_loadu_ps(s->min + t), sums, x);
        if (add) {
            x = _mm512_add_ps(x, _mm512_loadu_ps(score + t));
        }
        _mm512_storeu_ps(score + t, x);
    }
}

void fvi_coded_scores(const fvi_coded_queries *queries, const fvi_section *keys, uint32_t first,
                      uint32_t n, fvi_ahead ahead, const fvi_coded_scratch *s, float *score)
{
    uint32_t group = queries->group, groups = keys->groups;
    bool words = keys->kind == FOVEA_KIND_INT8;
    const fvi_coded_query *query = words ? &queries->words : &queries->bytes;
    switch (bits_of(keys->kind)) {
    case 8: key_quads(keys, first, n, 8, s->tile); break;
    case 4: key_quads(keys, first, n, 4, s->tile); break;
    default: key_quads(keys, first, n, 2, s->tile); break;
    }
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t quad = g * FVI_GROUP / 4;
        fvi_panel dot = {.a = query->quads + quad,
                         .a_stride = keys->d / 4,
                         .b = s->tile + (size_t)quad * FVI_TILE,
                         .b_stride = FVI_TILE,
                         .c = s->product,
                         .c_stride = FVI_TILE,
                         .m = words ? 2 * group : group,
                         .n = (uint32_t)fvi_round_up(n, 16),
                         .k = FVI_MIN(keys->d / 4 - quad, FVI_GROUP / 4),
                         .ahead = g == 0 ? ahead.at : NULL,
                         .ahead_bytes = ahead.n_bytes};
        fvi_panel_int8(&dot);
        fvi_tile_affine(keys, first, n, g, s->scale, s->min);
        for (uint32_t h = 0; h < group; h++) {
            const int32_t *product = s->product + (size_t)h * FVI_TILE;
            float unit = query->unit[h], sum = query->sum[h * groups + g];
            float *to = score + (size_t)h * FVI_SCORE_ROW;
            if (words) {
                finish_scores(product, true, (size_t)group * FVI_TILE, s, unit, sum, n, g != 0, to);
            } else {
                finish_scores(product, false, 0, s, unit, sum, n, g != 0, to);
            }
        }
    }
}

FVI_INLINE __mmask64 mask64(uint32_t n)
{
    return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

/* How 64 channels of one token are read, decided once for a piece. */
typedef struct row_reader {
    const uint8_t *row; /* of the first token */
    size_t row_bytes;
    uint32_t bits;
    bool alone; /* a row has only these 64 channels */
    __mmask64 low,
        high; /* of 8 and 4 bits: lanes in the low (or only) and in the high halves of bytes */
    ptrdiff_t low_at, high_at;
    __m512i shift; /* of 2 bits: how far each lane's codes lie up in their bytes */
} row_reader;

/* 2-bit codes from channel c on; a share of the row is 16, 32 or 64 channels (fvi_avx512_widths). */
static __m512i shifts_of(uint32_t d, uint32_t c)
{
    uint16_t shift[32];
    for (uint32_t i = 0; i < 32; i++) {
        shift[i] = (uint16_t)(2 * ((c + 2 * i) / (d / 4)));
    }
    return _mm512_loadu_si512(shift);
}

static row_reader reader_of(const fvi_section *s, uint32_t first, uint32_t c)
{
    uint32_t half = s->d / 2, bits = bits_of(s->kind);
    row_reader r = {.row = s->codes + first * s->row_bytes,
                    .row_bytes = s->row_bytes,
                    .bits = bits,
                    .alone = s->d == FVI_GROUP,
                    .low = mask64(s->d - c),
                    .low_at = c,
                    .high_at = (ptrdiff_t)c - half};
    if (bits == 4) {
        __mmask64 all = r.low;
        r.low = c >= half ? 0 : mask64(half - c) & all;
        r.high = all & ~r.low;
    } else if (bits == 2) {
        r.shift = shifts_of(s->d, c);
    }
    return r;
}

/* A row of 2-bit codes as often as 64 channels take of it. */
FVI_INLINE __m512i repeated(const uint8_t *row, const size_t row_bytes)
{
    return row_bytes == 16   ? _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)row))
           : row_bytes == 32 ? _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)row))
                             : _mm512_loadu_si512(row);
}

/* Codes less their middle. Behind the row's end lanes are not used. */
FVI_INLINE __m512i read_row(const row_reader *r, uint32_t token, const uint32_t bits,
                            const bool alone)
{
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    const __m512i middle = _mm512_set1_epi8((char)middle_of(bits));
    const uint8_t *row = r->row + token * (alone ? FVI_GROUP * bits / 8 : r->row_bytes);
    __m512i x;
    if (bits == 8) {
        x = _mm512_maskz_loadu_epi8(r->low, row + r->low_at);
    } else if (bits == 2) {
        x = _mm512_srlv_epi16(repeated(row, alone ? 16 : r->row_bytes), r->shift);
    } else if (alone) { /* the row twice, once for the low and once for the high halves */
        x = _mm512_broadcast_i64x4(_mm256_loadu_si256((const void *)row));
        x = _mm512_mask_srli_epi16(x, 0xffff0000u, x, 4);
    } else {
        uintptr_t behind =
            (uintptr_t)row + (uintptr_t)r->high_at; /* may lie before the row, lanes off */
        x = _mm512_maskz_loadu_epi8(r->low, row + r->low_at);
        __m512i y = _mm512_maskz_loadu_epi8(r->high, (const void *)behind);
        x = _mm512_or_si512(x, _mm512_srli_epi16(y, 4));
    }
    return _mm512_sub_epi8(_mm512_and_si512(x, mask), middle);
}

/* Four tokens' 64 codes to [64] quads of tokens; the channels of the four vectors are in the order
 * 16 l + 4 v + i for vector v, 128-bit lane l, element i. */
FVI_INLINE void interleave(__m512i a, __m512i b, __m512i c, __m512i d, uint32_t *quads)
{
    __m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
    _mm512_storeu_si512(quads, _mm512_unpacklo_epi16(ab, cd));
    _mm512_storeu_si512(quads + 16, _mm512_unpackhi_epi16(ab, cd));
    ab = _mm512_unpackhi_epi8(a, b);
    cd = _mm512_unpackhi_epi8(c, d);
    _mm512_storeu_si512(quads + 32, _mm512_unpacklo_epi16(ab, cd));
    _mm512_storeu_si512(quads + 48, _mm512_unpackhi_epi16(ab, cd));
}

/* A whole tile of one piece, n a multiple of 16. */
FVI_INLINE void take_whole(const row_reader *r, uint32_t n, const uint32_t bits, const bool alone,
                           uint32_t *tile)
{
    for (uint32_t t = 0; t < n; t += 4, tile += FVI_GROUP) {
        interleave(read_row(r, t, bits, alone), read_row(r, t + 1, bits, alone),
                   read_row(r, t + 2, bits, alone), read_row(r, t + 3, bits, alone), tile);
    }
}

static void take_tile_of(const row_reader *r, uint32_t n, uint32_t *tile)
{
    switch (r->bits) {
    case 8: take_whole(r, n, 8, false, tile); break;
    case 4: r->alone ? take_whole(r, n, 4, true, tile) : take_whole(r, n, 4, false, tile); break;
    default: r->alone ? take_whole(r, n, 2, true, tile) : take_whole(r, n, 2, false, tile); break;
    }
}

/* Piece by piece through rows; tokens that no piece brings have any code, their scale is 0. */
static void take_rows(const row_reader *r, uint32_t n, uint8_t *rows)
{
    for (uint32_t t = 0; t < n; t++, rows += FVI_GROUP) {
        __m512i row = r->bits == 8   ? read_row(r, t, 8, false)
                      : r->bits == 4 ? read_row(r, t, 4, false)
                                     : read_row(r, t, 2, false);
        _mm512_storeu_si512(rows, row);
    }
}

static void interleave_rows(const uint8_t *rows, uint32_t n, uint32_t *tile)
{
    for (uint32_t t = 0; t < n; t += 4, rows += 4 * FVI_GROUP, tile += FVI_GROUP) {
        interleave(_mm512_loadu_si512(rows), _mm512_loadu_si512(rows + FVI_GROUP),
                   _mm512_loadu_si512(rows + 2 * FVI_GROUP),
                   _mm512_loadu_si512(rows + 3 * FVI_GROUP), tile);
    }
}

/* Quads of codes, scales and minima of the tile's tokens of one kind, scale and minimum 0 for the others;
 * false if there are none. *piece goes on to the tile's end. */
static bool take_tile(const fvi_list_view *list, fvi_piece *piece, uint32_t first, uint32_t n,
                      fovea_kind kind, uint32_t dk, uint32_t dv, uint32_t g,
                      const fvi_coded_scratch *s)
{
    bool any = false;
    while (fvi_list_next(list, FVI_TILE, first + n, piece)) {
        fvi_section values = fvi_section_of(piece->run, dk, dv, true);
        if (values.kind != kind) {
            continue;
        }
        row_reader r = reader_of(&values, piece->first, g * FVI_GROUP);
        uint32_t at = piece->token - first;
        if (piece->n == n && n % 16 == 0) {
            fvi_tile_affine(&values, piece->first, n, g, s->scale, s->min);
            take_tile_of(&r, n, s->tile);
            *piece = (fvi_piece){piece->run, piece->first + n, 0, piece->token + n};
            return true;
        }
        if (!any) {
            memset(s->scale, 0, FVI_TILE * sizeof *s->scale);
            memset(s->min, 0, FVI_TILE * sizeof *s->min);
            any = true;
        }
        fvi_tile_affine(&values, piece->first, piece->n, g, s->scale + at, s->min + at);
        take_rows(&r, piece->n, s->rows + at * FVI_GROUP);
    }
    if (any) {
        interleave_rows(s->rows, (uint32_t)fvi_round_up(n, 4), s->tile);
    }
    return any;
}

/* The unit of each head's weights (exponentials times scales), so that the largest becomes `levels`. */
static void find_units(const float *e, uint32_t n, uint32_t group, float levels, const float *scale,
                       float *unit)
{
    for (uint32_t h = 0; h < group; h += 4) {
        __m512 largest[4];
        for (uint32_t j = 0; j < 4; j++) {
            const float *row = e + FVI_MIN(h + j, group - 1) * FVI_SCORE_ROW;
            largest[j] = _mm512_setzero_ps();
            for (uint32_t t = 0; t < n; t += 16) {
                __m512 x = _mm512_mul_ps(_mm512_loadu_ps(row + t), _mm512_loadu_ps(scale + t));
                largest[j] = _mm512_max_ps(largest[j], x);
            }
        }
        __m128 top = fvi_max4(largest[0], largest[1], largest[2], largest[3]);
        _mm_storeu_ps(unit + h, _mm_div_ps(top, _mm_set1_ps(levels)));
    }
}

/* One head's weights of n tokens, exponentials times scales, in bytes, or in 16 bits, split into 256s and units;
 * returns `sum` with what minima and the codes' middles stand for added, by lane. Weights are the steps of rounded sums
 * by lane, so that what rounding leaves of one goes on to the lane's next: small weights would all be lost, and values
 * that are much alike would show it. */
FVI_INLINE __m512 weigh_head(const float *e, uint32_t n, const uint32_t bits,
                             const fvi_coded_scratch *s, float unit, __m512 sum, int32_t *high,
                             int32_t *low)
{
    const __m512 inverse = _mm512_set1_ps(inverse_of(unit));
    const __m512 middle = _mm512_set1_ps((float)middle_of(bits));
    __m512 total = _mm512_setzero_ps();
    __m512i whole = _mm512_setzero_si512();
    for (uint32_t t = 0; t < n; t += 16) {
        __m512 one = _mm512_loadu_ps(e + t), scale = _mm512_loadu_ps(s->scale + t);
        __m512 all = _mm512_fmadd_ps(scale, middle, _mm512_loadu_ps(s->min + t));
        sum = _mm512_fmadd_ps(one, all, sum);
        total = _mm512_fmadd_ps(_mm512_mul_ps(one, scale), inverse, total);
        __m512i next = _mm512_cvtps_epi32(total), weight = _mm512_sub_epi32(next, whole);
        whole = next;
        if (bits == 8) {
            __m512i upper = _mm512_srli_epi32(weight, 8);
            _mm_storeu_si128((void *)(low + t / 4), _mm512_cvtepi32_epi8(weight));
            _mm_storeu_si128((void *)(high + t / 4), _mm512_cvtepi32_epi8(upper));
        } else {
            _mm_storeu_si128((void *)(high + t / 4), _mm512_cvtepi32_epi8(weight));
        }
    }
    return sum;
}

static void weigh_tile(const float *e, uint32_t n, uint32_t group, uint32_t bits,
                       const fvi_coded_scratch *s)
{
    find_units(e, n, group, bits < 8 ? UNSIGNED_BYTE : UNSIGNED_WORD, s->scale, s->unit);
    for (uint32_t h = 0; h < group; h++, e += FVI_SCORE_ROW) {
        int32_t *high = s->weight + (size_t)h * FVI_TILE / 4;
        int32_t *low = high + (size_t)group * FVI_TILE / 4;
        __m512 sum = _mm512_loadu_ps(s->min_sum + h * 16);
        sum = bits == 8   ? weigh_head(e, n, 8, s, s->unit[h], sum, high, low)
              : bits == 4 ? weigh_head(e, n, 4, s, s->unit[h], sum, high, low)
                          : weigh_head(e, n, 2, s, s->unit[h], sum, high, low);
        _mm512_storeu_ps(s->min_sum + h * 16, sum);
    }
}

/* acc += the tile's products times their unit. */
static void add_tile(uint32_t group, bool narrow, const fvi_coded_scratch *s)
{
    for (uint32_t h = 0; h < group; h++) {
        const int32_t *high = s->product + (size_t)h * FVI_TILE;
        const int32_t *low = high + (size_t)group * FVI_TILE;
        __m512 unit = _mm512_set1_ps(s->unit[h]);
        float *acc = s->acc + (size_t)h * FVI_GROUP;
#pragma GCC unroll 4
        for (uint32_t c = 0; c < FVI_GROUP; c += 16) {
            __m512 x = narrow ? _mm512_cvtepi32_ps(_mm512_loadu_si512(high + c))
                              : joined(high + c, low + c);
            _mm512_storeu_ps(acc + c, _mm512_fmadd_ps(x, unit, _mm512_loadu_ps(acc + c)));
        }
    }
}

/* Adds the weighted codes of one kind's tokens of a tile; e: the tile's exponentials, zeros behind them to
 * the next multiple of 16. */
static void add_kind(fovea_kind kind, uint32_t n, uint32_t group, const float *e, fvi_ahead ahead,
                     const fvi_coded_scratch *s)
{
    uint32_t bits = bits_of(kind);
    bool narrow = bits < 8;
    weigh_tile(e, n, group, bits, s);
    fvi_panel sum = {.a = s->weight,
                     .a_stride = FVI_TILE / 4,
                     .b = s->tile,
                     .b_stride = FVI_GROUP,
                     .c = s->product,
                     .c_stride = FVI_TILE,
                     .m = narrow ? group : 2 * group,
                     .n = FVI_GROUP,
                     .k = (n + 3) / 4,
                     .ahead = ahead.at,
                     .ahead_bytes = ahead.n_bytes};
    fvi_panel_uint8(&sum);
    add_tile(group, narrow, s);
}

void fvi_coded_values(const fvi_list_view *list, fvi_piece start, uint32_t n, uint32_t dk,
                      uint32_t dv, uint32_t group, const float *e, fvi_ahead next,
                      const fvi_coded_scratch *s, float *acc, size_t acc_stride)
{
    /* kinds apart: their scales differ so much that one unit would serve the finer one badly */
    static const fovea_kind kinds[] = {FOVEA_KIND_INT8, FOVEA_KIND_INT4, FOVEA_KIND_INT2};
    memset(s->rows, 0, FVI_TILE * FVI_GROUP);
    for (uint32_t g = 0; g < fvi_groups(dv); g++) {
        fvi_piece at = start;
        memset(s->acc, 0, (size_t)group * FVI_GROUP * sizeof *s->acc);
        memset(s->min_sum, 0, (size_t)group * 16 * sizeof *s->min_sum);
        for (uint32_t t = 0; t < n; t += FVI_TILE) {
            uint32_t n_tile = FVI_MIN(FVI_TILE, n - t);
            fvi_piece piece = at;
            for (uint32_t i = 0; i < FVI_COUNT(kinds); i++) {
                if (!fvi_coded_takes(kinds[i], dk, dv)) {
                    continue;
                }
                piece = at;
                if (take_tile(list, &piece, start.token + t, n_tile, kinds[i], dk, dv, g, s)) {
                    fvi_ahead ahead = fvi_tile_ahead(list, piece, start.token + n, dk, dv, true);
                    add_kind(kinds[i], n_tile, group, e + t, ahead.at != NULL ? ahead : next, s);
                }
            }
            at = piece;
        }
        uint32_t width = FVI_MIN(dv - g * FVI_GROUP, FVI_GROUP);
        for (uint32_t h = 0; h < group; h++) {
            const float *from = s->acc + (size_t)h * FVI_GROUP;
            float *to = acc + h * acc_stride + g * FVI_GROUP;
            __m128 min = _mm_set1_ps(fvi_sum1(_mm512_loadu_ps(s->min_sum + h * 16)));
            for (uint32_t c = 0; c < width;
                 c += 4) { /* channel 16 l + 4 v + i lies at 16 v + 4 l + i */
                __m128 x = _mm_loadu_ps(from + c / 4 % 4 * 16 + c / 16 * 4);
                _mm_storeu_ps(to + c, _mm_add_ps(_mm_loadu_ps(to + c), _mm_add_ps(x, min)));
            }
        }
    }
}
