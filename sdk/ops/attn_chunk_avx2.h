/* attn_chunk_avx2.h - scores and weighted values of one chunk of a list for the query heads of a KV head.
 *
 * A chunk is taken tile by tile, by index in the list, and in a tile one class of tokens after another: f16,
 * codes of one width (rotated or not), and the rest, decoded. Runs of codes per channel and those by components
 * are taken apart from tiles, group by group and part by part. Included by attn_decode_avx2.c. */
#ifndef FOVEA_OPS_ATTN_CHUNK_AVX2_H
#define FOVEA_OPS_ATTN_CHUNK_AVX2_H

#include "sdk/ops/attn_channel_avx2.h"
#include "sdk/ops/attn_pca_avx2.h"

#define FVI_SCORE_ROW                                                                              \
    (FVI_CHUNK + 16) /* rows that do not all fall into the same lines of a cache */

/* Kinds of codes per token: 8, 4, 2 bits, then the same rotated. */
#define FVI_N_CODED 6
static inline uint32_t fvi_coded_index(const fvi_code_layout *codes)
{
    return (codes->bits == 8 ? 0 : codes->bits == 4 ? 1 : 2) + (codes->rotated ? 3 : 0);
}
static inline uint32_t fvi_coded_bits(uint32_t index)
{
    return 8u >> index % 3;
}
static inline bool fvi_coded_rotated(uint32_t index)
{
    return index >= 3;
}

typedef struct fvi_chunk_scratch {
    float *score;       /* [group, FVI_SCORE_ROW]: scores, then exponentials */
    float *some;        /* [group, FVI_TILE] scores of one class */
    float *rows;        /* [FVI_TILE, max(dk, dv) rounded] decoded */
    float *scale, *min; /* [groups(max(dk, dv)), FVI_AFFINE_ROW] */
    float *base;        /* [2, group, groups(dv), 8]: attn_coded_avx2.h; plain, rotated */
    uint8_t *together;  /* [FVI_TILE, row_bytes] codes or f16 of a tile that is no run's alone */
    fvi_coded_scratch coded;
    fvi_channel_scratch channel;
    fvi_pca_scratch pca;
} fvi_chunk_scratch;

typedef struct fvi_chunk {
    const fvi_list_view *list;
    const float *q;                     /* [group, dk], scaled */
    fvi_coded_query coded[FVI_N_CODED]; /* of the kinds that the list has */
    uint32_t group, dk, dv;
    uint32_t first, n;      /* tokens */
    fvi_piece start;        /* where its first lies */
    const uint8_t *next;    /* keys that are read behind the chunk, or NULL: not known */
    fvi_section section[2]; /* keys and values of the run that was looked at last; zero at first */
    fvi_chunk_scratch s;
} fvi_chunk;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
size_t fvi_chunk_scratch_at(fvi_chunk_scratch *scratch, float *at, uint32_t group, uint32_t dk,
                            uint32_t dv);
/* s.score [group, n] of the chunk's tokens. */
void fvi_chunk_scores(fvi_chunk *chunk);
/* Scores (of queries times log2 e) become exponentials, zeros behind them up to a multiple of 16; max and
 * sum of head h at h * stride. */
void fvi_chunk_softmax(fvi_chunk *chunk, float *max, float *sum, size_t stride);
/* Adds the values weighted by s.score to acc [group, stride], those of rotated runs to `rotated`. */
void fvi_chunk_values(fvi_chunk *chunk, float *acc, float *rotated, size_t stride);

#endif
