/* attn_coded_avx512.h - attention over int8 and int4 tokens against their codes, with byte products.
 *
 * Nothing is dequantised: score = scale (q . codes) + min sum(q), output = sum of (weight scale) codes +
 * sum of weight min. Queries and weights become 16-bit fixed point, split into two bytes (weights for int4
 * one byte), so the products are exact integers and only the rounding to fixed point (2^-16 or 2^-9 of the
 * largest) and of the result remains.
 * For CPUs with VNNI, which those with bf16 products have. Included by attn_decode_avx512.c. */
#ifndef FOVEA_OPS_ATTN_CODED_AVX512_H
#define FOVEA_OPS_ATTN_CODED_AVX512_H

#include "sdk/ops/attn_decode.h"
#include "sdk/ops/attn_tile_avx512.h"

#define FVI_SCORE_ROW                                                                              \
    (FVI_CHUNK + 16) /* floats of a row of scores: the last vector may hang over */

/* The query heads of one KV head. */
typedef struct fvi_coded_query {
    const int32_t *quads; /* [2 * group, dk / 4]: four bytes each; first the 256s, then the units */
    const float *unit;    /* [group] */
    const float *sum;     /* [group, groups(dk)] */
    uint32_t group;
} fvi_coded_query;

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
    return (kind == FOVEA_KIND_INT8 || kind == FOVEA_KIND_INT4) && fvi_avx512_widths(dk, dv);
}

/* One head's q [dk] (scaled): quads of the head and of its units (a row of dk / 4 each), unit, sums. */
void fvi_coded_take_query(const float *q, uint32_t dk, int32_t *high, int32_t *low, float *unit,
                          float *sum);
/* Scores of n (FVI_TILE at most) tokens: score [group, FVI_SCORE_ROW]. */
void fvi_coded_scores(const fvi_coded_query *query, const fvi_section *keys, uint32_t first,
                      uint32_t n, fvi_ahead ahead, const fvi_coded_scratch *scratch, float *score);
/* Adds to acc [group, acc_stride] the coded values of the list's n tokens from `start` on (fvi_list_seek), a
 * chunk, weighted by e [group, FVI_SCORE_ROW]; next: what comes after them. */
void fvi_coded_values(const fvi_list_view *list, fvi_piece start, uint32_t n, uint32_t dk,
                      uint32_t dv, uint32_t group, const float *e, fvi_ahead next,
                      const fvi_coded_scratch *scratch, float *acc, size_t acc_stride);

#endif
