/* attn_block.h - a block of query rows against a stretch of tokens: what prefill, the encoder's attention
 * and observe share, and the table of what an instruction set does with it.
 *
 * Tokens are taken in chunks and tiles by their index in the list: a tile is put together from whatever
 * runs hold its tokens, so runs leave no trace. Softmax goes along with a running maximum per chunk.
 * Included by attn_block.c, attn_prefill.c and the files that fill a table. */
#ifndef FOVEA_OPS_ATTN_BLOCK_H
#define FOVEA_OPS_ATTN_BLOCK_H

#include "sdk/ops/cpu_impl.h"

#define FVI_BLOCK_ROWS 96 /* most query rows (rows times heads of a group) of a block */
#define FVI_SCORES     (FVI_CHUNK + 16) /* a row of scores */

/* Where keys and values come from: a list, or plain rows. */
typedef struct fvi_kv_source {
    const fvi_list_view *list; /* or NULL and k, v */
    const float *k, *v;        /* [n_token, dk], [n_token, dv], rows `stride` apart */
    size_t stride;
    uint32_t dk, dv;
} fvi_kv_source;

/* Memory of one worker. dk is rounded up to 32, dv to 16. */
typedef struct fvi_block_scratch {
    float *score;     /* [FVI_BLOCK_ROWS, FVI_SCORES] */
    float *acc;       /* [FVI_BLOCK_ROWS, dv rounded] */
    float *q;         /* [FVI_BLOCK_ROWS, dk rounded] f32, or pairs of bf16 in half of it */
    float *tile;      /* keys [dk rounded, FVI_TILE] or values [FVI_TILE, dv rounded] */
    float *rows;      /* [FVI_TILE, max(dk, dv) rounded] */
    uint32_t *weight; /* [FVI_BLOCK_ROWS, FVI_CHUNK / 2] pairs of bf16 exponentials; bf16 only */
    float *max, *sum; /* [FVI_BLOCK_ROWS] */
} fvi_block_scratch;

struct fvi_block_kernels;

/* One block: m query rows; row i sees n_visible(i) tokens. */
typedef struct fvi_attn_block {
    const struct fvi_block_kernels *kernels;
    const fvi_kv_source *source;
    uint32_t m; /* query rows: n_row * group, in that order */
    uint32_t group;
    uint32_t n_visible; /* of the first row */
    bool causal;        /* each next row sees one more; else all see n_visible */
    bool bf16;          /* products of bf16 */
    fvi_block_scratch s;
} fvi_attn_block;

/* What an instruction set does with a block. A result for a query row and a token depends on those two
 * alone, never on how many of either keep it company; n tokens are FVI_TILE at most unless told. */
typedef struct fvi_block_kernels {
    /* Takes query rows [m, dk] times scale into s.q; row i, head j at q + i * stride + j * dk. */
    void (*queries)(fvi_attn_block *block, const float *q, size_t stride, float scale);
    /* score [m, n] of the tokens from `first` on, rows FVI_SCORES apart; up to the next multiple of 16
     * columns it may write anything. */
    void (*scores)(fvi_attn_block *block, uint32_t first, uint32_t n, float *score);
    /* The largest of n scores, up to a chunk of them. */
    float (*largest)(const float *score, uint32_t n);
    /* n scores become exp(score - max), zeros follow up to `end`; returns their sum. With `packed` also
     * as pairs of bf16. */
    float (*exponentials)(float *score, uint32_t n, uint32_t end, float max, uint32_t *packed);
    /* s.acc += exponentials [m, n] (weight: the same packed, of a bf16 block) times the values of the
     * tokens from `first` on. */
    void (*values)(fvi_attn_block *block, uint32_t first, uint32_t n, const float *score,
                   const uint32_t *weight);
    /* mass[t] += exp(score[t] - max) * factor for n tokens, up to a chunk; returns how many of the
     * exponentials are at least `threshold`. */
    uint64_t (*observe)(float *mass, const float *score, uint32_t n, float max, float factor,
                        float threshold);
} fvi_block_kernels;

/* Tokens that query row i sees. */
static inline uint32_t fvi_block_visible(const fvi_attn_block *block, uint32_t i)
{
    return block->causal ? block->n_visible + i / block->group : block->n_visible;
}

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
size_t fvi_block_scratch_at(fvi_block_scratch *scratch, float *at, uint32_t dk, uint32_t dv,
                            bool bf16);
/* Rows of a block: as many as make full tiles of the products. */
uint32_t fvi_block_rows(uint32_t group);
/* Scores of the chunk of tokens that begins at `first` into s.score, for as many as the last row sees. */
void fvi_block_scores(fvi_attn_block *block, uint32_t first);
/* All chunks: out [m, dv], row i, head j at out + i * stride + j * dv. */
void fvi_block_attend(fvi_attn_block *block, float *out, size_t stride);
/* The first pass of observe: s.max and s.sum of every query row over all it sees. */
void fvi_block_statistics(fvi_attn_block *block);

#endif
