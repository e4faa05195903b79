/* attn_chunk_avx2.c - the walk over a chunk (attn_chunk_avx2.h).
 *
 * Every sum over tokens runs in an order that depends on indexes in the list and on kinds only, so runs leave
 * no trace. Tokens of another class than the one that is being taken are rows of zeros. */
#include "sdk/ops/attn_chunk_avx2.h"
#include "sdk/ops/attn_panel_avx2.h"
#include "sdk/ops/attn_tile_avx2.h"
#include "sdk/ops/panel_avx2.h"

#include <math.h>

/* Classes of tokens; CLASS_CODED + i: codes of fvi_coded_index i. */
enum { CLASS_PLAIN, CLASS_F16, CLASS_CHANNEL, CLASS_PCA, CLASS_CODED };
/* Those whose runs are taken as they lie, not tile by tile. */
#define APART (1u << CLASS_CHANNEL | 1u << CLASS_PCA)

size_t fvi_chunk_scratch_at(fvi_chunk_scratch *s, float *at, uint32_t group, uint32_t dk,
                            uint32_t dv)
{
    size_t n = 0, d = fvi_round_up(FVI_MAX(dk, dv), 16), groups = fvi_groups((uint32_t)d);
    s->coded.product_stride = fvi_coded_row((uint32_t)d);
    s->channel.factor_stride = fvi_channel_factors((uint32_t)d);
#define FVI_PLACE(field, type, size)                                                               \
    (s->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(score, float, (size_t)group *FVI_SCORE_ROW);
    FVI_PLACE(some, float, (size_t)group *FVI_TILE);
    FVI_PLACE(rows, float, FVI_TILE *d);
    FVI_PLACE(scale, float, groups *FVI_AFFINE_ROW);
    FVI_PLACE(min, float, groups *FVI_AFFINE_ROW);
    FVI_PLACE(base, float, 2 * (size_t)group * fvi_groups(dv) * 8);
    FVI_PLACE(together, uint8_t, FVI_TILE * d / 2);
    FVI_PLACE(coded.tile, int32_t, fvi_coded_tile((uint32_t)d));
    FVI_PLACE(coded.product, int32_t, group * s->coded.product_stride);
    FVI_PLACE(coded.weight, int32_t, (size_t)group * FVI_TILE / 2);
    FVI_PLACE(coded.unit, float, group);
    FVI_PLACE(channel.scale, float, d);
    FVI_PLACE(channel.middle, float, d);
    FVI_PLACE(channel.factor, int32_t, group * s->channel.factor_stride);
    FVI_PLACE(channel.led, float, 4 * s->channel.factor_stride);
    FVI_PLACE(channel.base, float, group);
    FVI_PLACE(pca.factor, float,
              group *FVI_MAX(fvi_pca_most(dk, dv), FVI_PCA_AT_ONCE * FVI_PCA_BLOCK));
    FVI_PLACE(pca.base, float, group);
    FVI_PLACE(pca.along, float, (size_t)group *fvi_pca_most(dk, dv) * 8);
    FVI_PLACE(pca.direction, float, d);
    FVI_PLACE(pca.axes, float, fvi_pca_most(dk, dv) * d);
    FVI_PLACE(pca.affine, float, (size_t)fvi_pca_most(dk, dv) * 2);
    FVI_PLACE(pca.code, float, (size_t)fvi_pca_most(dk, dv) * FVI_PCA_BLOCK);
    FVI_PLACE(pca.key, float, d *FVI_PCA_BLOCK);
    FVI_PLACE(pca.frequency, float, d / 2);
    FVI_PLACE(pca.ahead, float, d *FVI_PCA_BLOCK);
    FVI_PLACE(pca.anchor, float, d);
#undef FVI_PLACE
    return n;
}

static uint32_t class_of(const fvi_section *s)
{
    const fvi_code_layout *codes = &s->run->codec->codes;
    return s->fitted                                    ? CLASS_PCA
           : s->channel                                 ? CLASS_CHANNEL
           : codes->bits > 0                            ? CLASS_CODED + fvi_coded_index(codes)
           : s->kind == FOVEA_KIND_F16 && s->d % 8 == 0 ? CLASS_F16
                                                        : CLASS_PLAIN;
}

/* A tile of the chunk: which tokens, and where the first lies. */
typedef struct tile_at {
    uint32_t first, n;
    fvi_piece start;
    bool values;
    bool whole;       /* FVI_TILE tokens of one run, that lie at `start` */
    uint32_t classes; /* a bit for each */
} tile_at;

/* K or V of a run; that of the last one asked for is kept. */
static const fvi_section *section_at(fvi_chunk *c, const fvi_run_view *run, bool values)
{
    fvi_section *section = &c->section[values];
    if (section->run != run) {
        *section = fvi_section_of(run, c->dk, c->dv, values);
    }
    return section;
}

/* The tile (FVI_TILE tokens at most) from `first` on, which lies at *at; *at becomes where it ends. */
static void look_at(fvi_chunk *c, uint32_t first, bool values, fvi_piece *at, tile_at *tile)
{
    tile->first = first;
    tile->n = FVI_MIN(FVI_TILE, c->first + c->n - first);
    tile->start = *at;
    tile->values = values;
    tile->whole = false;
    tile->classes = 0;
    while (!tile->whole && fvi_list_next(c->list, FVI_TILE, first + tile->n, at)) {
        tile->whole = at->n == FVI_TILE;
        tile->classes |= 1u << class_of(section_at(c, at->run, values));
    }
    if (tile->whole) {
        tile->start = *at;
    }
}

static uint64_t bits64(uint32_t from, uint32_t n)
{
    return (n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << from;
}

/* Scales and minima of n tokens of a run. */
static void take_affine(const fvi_section *s, uint32_t first, uint32_t n, float *scales,
                        float *mins)
{
    const size_t stride = (size_t)4 * s->groups;
    for (uint32_t g = 0; g < s->groups; g++, scales += FVI_AFFINE_ROW, mins += FVI_AFFINE_ROW) {
        const uint8_t *at = s->affine + first * stride + 4 * (size_t)g;
        uint32_t t = 0;
        for (; stride == 4 && t + 16 <= n; t += 16, at += 64) { /* a line */
            _mm_prefetch((const char *)at + FVI_TILE * stride, _MM_HINT_T0);
#pragma GCC unroll 2
            for (uint32_t i = 0; i < 16; i += 8) {
                __m256 scale, min;
                fvi_affine8(at + 4 * (size_t)i, 4, 8, &scale, &min);
                _mm256_storeu_ps(scales + t + i, scale);
                _mm256_storeu_ps(mins + t + i, min);
            }
        }
        for (; t < n; t += 8, at += 8 * stride) {
            __m256 scale, min;
            _mm_prefetch((const char *)at + FVI_TILE * stride, _MM_HINT_T0);
            fvi_affine8(at, stride, n - t, &scale, &min);
            _mm256_storeu_ps(scales + t, scale);
            _mm256_storeu_ps(mins + t, min);
        }
    }
}

/* What a tile of one class is but for its tokens. */
static fvi_token_tile class_tile(const fvi_chunk *c, const tile_at *tile, uint32_t class)
{
    bool coded = class >= CLASS_CODED;
    fvi_token_tile out = {.scale = c->s.scale, .min = c->s.min, .n = tile->n};
    out.d = tile->values ? c->dv : c->dk;
    out.bits = coded ? fvi_coded_bits(class - CLASS_CODED) : 16;
    out.row_bytes = coded ? fvi_code_row(out.bits, out.d) : out.d * sizeof(uint16_t);
    return out;
}

/* How far behind the tile's rows what is read next lies: the next tile, behind the last one of the keys the first one of
 * the values, behind that the next chunk's keys. */
static uintptr_t ahead_of(fvi_chunk *c, const tile_at *tile, const fvi_token_tile *rows)
{
    const uint8_t *next = c->next;
    if (tile->first + tile->n == c->first + c->n && !tile->values) {
        const fvi_section *values = section_at(c, c->start.run, true);
        next = values->codes + c->start.first * values->row_bytes;
    }
    bool is_last = tile->first + tile->n == c->first + c->n && next != NULL;
    return is_last ? (uintptr_t)next - (uintptr_t)rows->rows : FVI_TILE * rows->row_bytes;
}

/* Takes a tile that is a run's alone, as it lies there. */
static void take_whole(fvi_chunk *c, const tile_at *tile, uint32_t class, size_t stride,
                       fvi_token_tile *out)
{
    const fvi_piece *piece = &tile->start;
    *out = class_tile(c, tile, class);
    if (class == CLASS_PLAIN) {
        fvi_tile_rows_avx2(piece->run, c->dk, c->dv, tile->values, piece->first, piece->n,
                           c->s.rows, stride);
        return;
    }
    const fvi_section *section = section_at(c, piece->run, tile->values);
    out->rows = section->codes + piece->first * out->row_bytes;
    out->ahead = ahead_of(c, tile, out);
    if (class >= CLASS_CODED) {
        take_affine(section, piece->first, piece->n, out->scale, out->min);
    }
}

/* A tile with none of its tokens: zeros. */
static void clear_tile(const fvi_chunk *c, uint32_t class, size_t stride,
                       const fvi_token_tile *tile)
{
    const fvi_chunk_scratch *s = &c->s;
    if (class == CLASS_PLAIN) {
        memset(s->rows, 0, FVI_TILE * stride * sizeof *s->rows);
        return;
    }
    memset(s->together, 0, FVI_TILE * tile->row_bytes);
    if (class >= CLASS_CODED) {
        memset(s->scale, 0, fvi_groups(tile->d) * FVI_AFFINE_ROW * sizeof *s->scale);
        memset(s->min, 0, fvi_groups(tile->d) * FVI_AFFINE_ROW * sizeof *s->min);
    }
}

/* Brings the tile's tokens of one class together: codes or f16 in *out, others decoded in s.rows [FVI_TILE, stride].
 * Those of other classes, and behind the last one, are zeros. Returns which they are, a bit for each. */
static uint64_t take_class(fvi_chunk *c, const tile_at *tile, uint32_t class, size_t stride,
                           fvi_token_tile *out)
{
    const fvi_chunk_scratch *s = &c->s;
    uint64_t members = 0;
    *out = class_tile(c, tile, class);
    out->rows = s->together;
    clear_tile(c, class, stride, out);
    fvi_piece piece = tile->start;
    while (fvi_list_next(c->list, FVI_TILE, tile->first + tile->n, &piece)) {
        const fvi_section *section = section_at(c, piece.run, tile->values);
        if (class_of(section) != class) {
            continue;
        }
        uint32_t at = piece.token - tile->first;
        members |= bits64(at, piece.n);
        if (class == CLASS_PLAIN) {
            fvi_tile_rows_avx2(piece.run, c->dk, c->dv, tile->values, piece.first, piece.n,
                               s->rows + at * stride, stride);
            continue;
        }
        const uint8_t *rows = section->codes + piece.first * out->row_bytes;
        memcpy(s->together + at * out->row_bytes, rows, piece.n * out->row_bytes);
        if (class >= CLASS_CODED) {
            take_affine(section, piece.first, piece.n, s->scale + at, s->min + at);
        }
    }
    return members;
}

static void score_class(const fvi_chunk *c, const fvi_token_tile *tile, uint32_t class,
                        size_t stride, float *score, size_t score_stride)
{
    const fvi_chunk_scratch *s = &c->s;
    if (class >= CLASS_CODED) {
        fvi_coded_scores_avx2(&c->coded[class - CLASS_CODED], tile, &s->coded, score, score_stride);
    } else if (class == CLASS_F16) {
        fvi_panel_dots_f16(&(fvi_code_panel){.a = c->q,
                                             .b = tile->rows,
                                             .ahead = tile->ahead,
                                             .c = score,
                                             .c_stride = score_stride,
                                             .m = c->group,
                                             .n = tile->n,
                                             .k = c->dk});
    } else {
        float *columns = (float *)(void *)s->coded.tile;
        fvi_tile_columns_avx2(s->rows, stride, tile->n, c->dk, columns, FVI_TILE);
        fvi_panel_avx2(&(fvi_panel_args){.a = c->q,
                                         .a_stride = c->dk,
                                         .b = columns,
                                         .b_stride = FVI_TILE,
                                         .c = score,
                                         .c_stride = score_stride,
                                         .m = c->group,
                                         .n = (uint32_t)fvi_round_up(tile->n, 16),
                                         .k = c->dk});
    }
}

/* All of the run that lies in the chunk. */
static void widen(const fvi_chunk *c, fvi_piece *piece)
{
    piece->n = FVI_MIN(piece->run->n_token - piece->first, c->first + c->n - piece->token);
}

static fvi_pca_stretch stretch_of(const fvi_chunk *c, const fvi_piece *piece)
{
    return (fvi_pca_stretch){.shape = &piece->run->codec->pca,
                             .run = piece->run->data,
                             .capacity = piece->run->capacity,
                             .dk = c->dk,
                             .dv = c->dv,
                             .first = piece->first,
                             .n = piece->n};
}

static void score_apart(fvi_chunk *c)
{
    fvi_piece piece = c->start;
    while (fvi_list_next(c->list, FVI_CHUNK, c->first + c->n, &piece)) {
        const fvi_section *keys = section_at(c, piece.run, false);
        if (keys->channel) {
            widen(c, &piece);
            fvi_channel_scores_avx2(c->q, c->group, keys, piece.first, piece.n, &c->s.coded,
                                    &c->s.channel, c->s.score + (piece.token - c->first),
                                    FVI_SCORE_ROW);
        } else if (keys->fitted) {
            widen(c, &piece);
            fvi_pca_stretch stretch = stretch_of(c, &piece);
            fvi_pca_scores_avx2(&stretch, c->q, c->group, &c->s.pca,
                                c->s.score + (piece.token - c->first), FVI_SCORE_ROW);
        }
    }
}

static void copy_scores(const fvi_chunk *c, uint64_t members, float *to)
{
    for (; members != 0; members &= members - 1) {
        uint32_t t = (uint32_t)__builtin_ctzll(members);
        for (uint32_t h = 0; h < c->group; h++) {
            to[h * FVI_SCORE_ROW + t] = c->s.some[h * FVI_TILE + t];
        }
    }
}

void fvi_chunk_scores(fvi_chunk *c)
{
    size_t stride = fvi_round_up(c->dk, 16);
    uint32_t seen = 0;
    fvi_piece at = c->start;
    for (uint32_t first = c->first; first < c->first + c->n; first += FVI_TILE) {
        tile_at tile;
        look_at(c, first, false, &at, &tile);
        float *score = c->s.score + (first - c->first);
        seen |= tile.classes;
        for (uint32_t left = tile.classes & ~APART; left != 0; left &= left - 1) {
            uint32_t class = (uint32_t)__builtin_ctz(left);
            fvi_token_tile rows;
            if (tile.whole) {
                take_whole(c, &tile, class, stride, &rows);
                score_class(c, &rows, class, stride, score, FVI_SCORE_ROW);
                continue;
            }
            uint64_t members = take_class(c, &tile, class, stride, &rows);
            if (tile.classes == 1u << class) {
                score_class(c, &rows, class, stride, score, FVI_SCORE_ROW);
            } else {
                score_class(c, &rows, class, stride, c->s.some, FVI_TILE);
                copy_scores(c, members, score);
            }
        }
    }
    if ((seen & APART) != 0) {
        score_apart(c);
    }
}

/* 2^x of x at most 0: 2^n p(r), |r| <= 1/2, p minimax of degree 5 (1e-7). Below -126 it stays at 2^-126, which
 * is nothing beside the largest, 1; a NaN stays one. */
FVI_INLINE __m256 power8(__m256 x)
{
    const __m256 shift = _mm256_set1_ps(0x1.8p23f); /* sums end in whole numbers */
    x = _mm256_max_ps(_mm256_set1_ps(-126.0f), x);
    __m256 n = _mm256_add_ps(x, shift), r = _mm256_sub_ps(x, _mm256_sub_ps(n, shift));
    __m256 p = _mm256_set1_ps(0x1.5c08e6p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.3d0c52p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c6b6e4p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ebf918p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e428p-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
}

/* Exponentials of eight scores in place; returns them. */
FVI_INLINE __m256 raise8(float *score, __m256 top)
{
    __m256 x = power8(_mm256_sub_ps(_mm256_loadu_ps(score), top));
    _mm256_storeu_ps(score, x);
    return x;
}

static float largest(const float *score, size_t n)
{
    __m256 tops[4];
    size_t t = 0;
    tops[0] = tops[1] = tops[2] = tops[3] = _mm256_set1_ps(-INFINITY);
    for (; t + 32 <= n; t += 32) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            tops[i] = _mm256_max_ps(tops[i], _mm256_loadu_ps(score + t + 8 * i));
        }
    }
    for (; t + 8 <= n; t += 8) {
        tops[0] = _mm256_max_ps(tops[0], _mm256_loadu_ps(score + t));
    }
    tops[0] = _mm256_max_ps(_mm256_max_ps(tops[0], tops[1]), _mm256_max_ps(tops[2], tops[3]));
    float top = fvi_max1(tops[0]);
    for (; t < n; t++) {
        top = FVI_MAX(top, score[t]);
    }
    return top;
}

static void softmax(float *score, size_t n, float *max, float *sum)
{
    const size_t whole = n / 8 * 8;
    size_t t = 0;
    *max = largest(score, n);
    const __m256 top = _mm256_set1_ps(*max);
    __m256 total = _mm256_setzero_ps();
    for (; t + 16 <= whole; t += 16) {
        __m256 left = raise8(score + t, top), right = raise8(score + t + 8, top);
        total = _mm256_add_ps(_mm256_add_ps(total, left), right);
    }
    if (t < whole) {
        total = _mm256_add_ps(total, raise8(score + t, top));
    }
    for (t = whole; t < fvi_round_up(n, 16); t += 8) {
        __m256i rest = fvi_mask8(n > t ? (uint32_t)(n - t) : 0);
        __m256 x = power8(_mm256_sub_ps(_mm256_loadu_ps(score + t), top));
        x = _mm256_and_ps(x, _mm256_castsi256_ps(rest));
        total = _mm256_add_ps(total, x);
        _mm256_storeu_ps(score + t, x);
    }
    *sum = fvi_sum1(total);
}

void fvi_chunk_softmax(fvi_chunk *c, float *max, float *sum, size_t stride)
{
    for (uint32_t h = 0; h < c->group; h++) {
        softmax(c->s.score + (size_t)h * FVI_SCORE_ROW, c->n, max + h * stride, sum + h * stride);
    }
}

static void add_class(const fvi_chunk *c, fvi_token_tile *tile, uint32_t class, const float *e,
                      size_t row_stride, float *acc, float *rotated, size_t stride)
{
    const fvi_chunk_scratch *s = &c->s;
    if (class >= CLASS_CODED) {
        bool turned = fvi_coded_rotated(class - CLASS_CODED);
        float *base = s->base + (turned ? (size_t)c->group * fvi_groups(c->dv) * 8 : 0);
        fvi_coded_values_avx2(tile, e, FVI_SCORE_ROW, c->group, &s->coded, turned ? rotated : acc,
                              stride, base);
    } else if (class == CLASS_F16) {
        fvi_panel_sums_f16(&(fvi_code_panel){.a = e,
                                             .a_stride = FVI_SCORE_ROW,
                                             .b = tile->rows,
                                             .ahead = tile->ahead,
                                             .c = acc,
                                             .c_stride = stride,
                                             .m = c->group,
                                             .n = c->dv,
                                             .k = tile->n});
    } else {
        fvi_panel_avx2(&(fvi_panel_args){.a = e,
                                         .a_stride = FVI_SCORE_ROW,
                                         .b = s->rows,
                                         .b_stride = row_stride,
                                         .c = acc,
                                         .c_stride = stride,
                                         .m = c->group,
                                         .n = (uint32_t)row_stride,
                                         .k = tile->n,
                                         .add = true});
    }
}

static void add_apart(fvi_chunk *c, float *acc, size_t stride)
{
    fvi_piece piece = c->start;
    while (fvi_list_next(c->list, FVI_CHUNK, c->first + c->n, &piece)) {
        const fvi_section *values = section_at(c, piece.run, true);
        if (values->channel) {
            widen(c, &piece);
            fvi_channel_values_avx2(c->s.score + (piece.token - c->first), FVI_SCORE_ROW, c->group,
                                    values, piece.first, piece.n, &c->s.coded, &c->s.channel, acc,
                                    stride);
        } else if (values->fitted) {
            widen(c, &piece);
            fvi_pca_stretch stretch = stretch_of(c, &piece);
            fvi_pca_values_avx2(&stretch, c->s.score + (piece.token - c->first), FVI_SCORE_ROW,
                                c->group, &c->s.pca, acc, stride);
        }
    }
}

/* Adds what is the same for all channels of a group. */
static void add_bases(const fvi_chunk *c, const float *base, float *acc, size_t stride)
{
    for (uint32_t h = 0; h < c->group; h++, acc += stride) {
        for (uint32_t g = 0; g < fvi_groups(c->dv); g++, base += 8) {
            float sum = fvi_sum1(_mm256_loadu_ps(base));
            for (uint32_t i = g * FVI_GROUP; i < FVI_MIN(c->dv, (g + 1) * FVI_GROUP); i++) {
                acc[i] += sum;
            }
        }
    }
}

void fvi_chunk_values(fvi_chunk *c, float *acc, float *rotated, size_t stride)
{
    size_t row_stride = fvi_round_up(c->dv, 16), n_base = (size_t)c->group * fvi_groups(c->dv) * 8;
    uint32_t seen = 0;
    fvi_piece at = c->start;
    memset(c->s.base, 0, 2 * n_base * sizeof *c->s.base);
    for (uint32_t first = c->first; first < c->first + c->n; first += FVI_TILE) {
        tile_at tile;
        look_at(c, first, true, &at, &tile);
        seen |= tile.classes;
        for (uint32_t left = tile.classes & ~APART; left != 0; left &= left - 1) {
            uint32_t class = (uint32_t)__builtin_ctz(left);
            fvi_token_tile rows;
            if (tile.whole) {
                take_whole(c, &tile, class, row_stride, &rows);
            } else {
                take_class(c, &tile, class, row_stride, &rows);
            }
            add_class(c, &rows, class, c->s.score + (first - c->first), row_stride, acc, rotated,
                      stride);
        }
    }
    if ((seen & APART) != 0) {
        add_apart(c, acc, stride);
    }
    if (seen >> CLASS_CODED != 0) {
        add_bases(c, c->s.base, acc, stride);
    }
    if (seen >> (CLASS_CODED + 3) != 0) {
        add_bases(c, c->s.base + n_base, rotated, stride);
    }
}
