/* attn_block_avx512.h - a block of query rows against a stretch of tokens: what prefill, the encoder's
 * attention and observe share.
 *
 * Included by the AVX-512 attention files. */
#ifndef FOVEA_OPS_ATTN_BLOCK_AVX512_H
#define FOVEA_OPS_ATTN_BLOCK_AVX512_H

#include "sdk/ops/attn_tile_avx512.h"

#define FVI_BLOCK_ROWS 96 /* most query rows (rows times heads of a group) of a block */
#define FVI_SCORES     (FVI_CHUNK + 16) /* a row of scores */

/* Where keys and values come from: a list, or plain rows as one f32 section each. */
typedef struct fvi_kv_source {
    const fvi_list_view *list; /* or NULL */
    fvi_section keys, values;
    uint32_t dk, dv;
} fvi_kv_source;

/* Memory of one worker. */
typedef struct fvi_block_scratch {
    float *score;     /* [FVI_BLOCK_ROWS, FVI_SCORES] */
    float *acc;       /* [FVI_BLOCK_ROWS, dv rounded] */
    float *q;         /* [FVI_BLOCK_ROWS, dk rounded] f32, or pairs of bf16 in half of it */
    float *tile;      /* keys [dk rounded, FVI_TILE] or values [FVI_TILE, dv rounded] */
    float *rows;      /* [FVI_TILE, max(dk, dv) rounded] */
    uint32_t *weight; /* [FVI_BLOCK_ROWS, FVI_CHUNK / 2] pairs of bf16 exponentials */
    float *max, *sum; /* [FVI_BLOCK_ROWS] */
} fvi_block_scratch;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
size_t fvi_block_scratch_at(fvi_block_scratch *scratch, float *at, uint32_t dk, uint32_t dv);

/* One block: m query rows; row i sees n_visible(i) tokens. */
typedef struct fvi_attn_block {
    const fvi_kv_source *source;
    uint32_t m; /* query rows: n_row * group, in that order */
    uint32_t group;
    uint32_t n_visible; /* of the first row */
    bool causal;        /* each next row sees one more; else all see n_visible */
    bool bf16;          /* products of bf16 */
    fvi_block_scratch s;
} fvi_attn_block;

/* Tokens that query row i sees. */
static inline uint32_t fvi_block_visible(const fvi_attn_block *block, uint32_t i)
{
    return block->causal ? block->n_visible + i / block->group : block->n_visible;
}

/* Rows of a block: as many as make full tiles of the products. */
uint32_t fvi_block_rows(uint32_t group);
/* Takes query rows [m, dk] times scale into the scratch; row i, head j at q + i * stride + j * dk. */
void fvi_block_queries(fvi_attn_block *block, const float *q, size_t stride, float scale);
/* Scores of the chunk of tokens that begins at `first` into s.score, for as many as the last row sees. */
void fvi_block_scores(fvi_attn_block *block, uint32_t first);
/* All chunks: out [m, dv], row i, head j at out + i * stride + j * dv. */
void fvi_block_attend(fvi_attn_block *block, float *out, size_t stride);
/* The first pass of observe: s.max and s.sum of every query row over all it sees. */
void fvi_block_statistics(fvi_attn_block *block);

#endif
