/* attn_coded_avx512.h - attention over tokens of codes (int8, int4, int2) against their codes, with byte products.
 *
 * Nothing is dequantised: score = scale (q . codes) + min sum(q), output = sum of (weight scale) (code - middle) +
 * sum of weight (min + middle scale). Queries and weights become fixed point: for int8 16 bits, split into two bytes
 * (and codes are taken as they are), for shorter codes one byte, which adds little to the error of the codes
 * themselves (attn_byte_avx2.h; tests/ops/test_attn_error.c holds it to that). So the products are exact integers,
 * and only the rounding to fixed point and of the result remains.
 * For CPUs with VNNI, which those with bf16 products have. Included by attn_decode_avx512.c. */
#ifndef FOVEA_OPS_ATTN_CODED_AVX512_H
#define FOVEA_OPS_ATTN_CODED_AVX512_H

#include "sdk/ops/attn_decode.h"
#include "sdk/ops/attn_tile_avx512.h"

#define FVI_SCORE_ROW                                                                              \
    (FVI_CHUNK + 16) /* floats of a row of scores: the last vector may hang over */

/* The query heads of one KV head in one fixed point. */
typedef struct fvi_coded_query {
    const int32_t
        *quads; /* of bytes: [group, dk / 4]; of 16 bits: [2 * group, dk / 4], first the 256s */
    const float *unit; /* [group] */
    const float *sum;  /* [group, groups(dk)] */
} fvi_coded_query;

/* The same for codes of 8 bits, and for shorter ones. */
typedef struct fvi_coded_queries {
    fvi_coded_query words, bytes;
    uint32_t group;
} fvi_coded_queries;

typedef struct fvi_coded_scratch {
    uint32_t *tile;     /* [max(dk / 4, FVI_TILE / 4), FVI_TILE] quads of codes */
    uint8_t *rows;      /* [FVI_TILE, FVI_GROUP] codes of one group of channels */
    int32_t *product;   /* [2 * group, FVI_TILE] */
    int32_t *weight;    /* [2 * group, FVI_TILE / 4] quads of weights */
    float *unit;        /* [group rounded to 4] */
    float *scale, *min; /* [FVI_TILE] */
    float *min_sum;     /* [group, 16] sums of weighted minima, by lane */
    float *acc;         /* [group, FVI_GROUP], in the order of the interleaved codes */
} fvi_coded_scratch;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
size_t fvi_coded_scratch_at(fvi_coded_scratch *scratch, float *at, uint32_t group, uint32_t dk);

/* Whether these kernels take a run of this kind and these widths. */
static inline bool fvi_coded_takes(fovea_kind kind, uint32_t dk, uint32_t dv)
{
    return (kind == FOVEA_KIND_INT8 && fvi_avx512_widths(8, dk, dv)) ||
           (kind == FOVEA_KIND_INT4 && fvi_avx512_widths(4, dk, dv)) ||
           (kind == FOVEA_KIND_INT2 && fvi_avx512_widths(2, dk, dv));
}

/* One head's q [dk] (scaled) in 16 bits: quads of the 256s and of the units (a row of dk / 4 each), unit, sums. */
void fvi_coded_query_words(const float *q, uint32_t dk, int32_t *high, int32_t *low, float *unit,
                           float *sum);
/* The same in bytes. */
void fvi_coded_query_bytes(const float *q, uint32_t dk, int32_t *quads, float *unit, float *sum);
/* Scores of n (FVI_TILE at most) tokens: score [group, FVI_SCORE_ROW]. */
void fvi_coded_scores(const fvi_coded_queries *queries, const fvi_section *keys, uint32_t first,
                      uint32_t n, fvi_ahead ahead, const fvi_coded_scratch *scratch, float *score);
/* Adds to acc [group, acc_stride] the coded values of the list's n tokens from `start` on (fvi_list_seek), a
 * chunk, weighted by e [group, FVI_SCORE_ROW]; next: what comes after them. */
void fvi_coded_values(const fvi_list_view *list, fvi_piece start, uint32_t n, uint32_t dk,
                      uint32_t dv, uint32_t group, const float *e, fvi_ahead next,
                      const fvi_coded_scratch *scratch, float *acc, size_t acc_stride);

#endif
