/* attn_block.c - the walk of a block over its tokens (attn_block.h): chunks, tiles and the running softmax.
 *
 * Products, exponentials and the reading of tiles are the instruction set's. Called by attn_prefill.c. */
#include "sdk/ops/attn_block.h"

#include <math.h>

size_t fvi_block_scratch_at(fvi_block_scratch *s, float *at, uint32_t dk, uint32_t dv, bool bf16)
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
    FVI_PLACE(weight, uint32_t, bf16 ? (size_t)FVI_BLOCK_ROWS * FVI_CHUNK / 2 : 0);
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

static uint32_t block_tokens(const fvi_attn_block *b)
{
    return fvi_block_visible(b, b->m - 1);
}

void fvi_block_scores(fvi_attn_block *b, uint32_t first)
{
    uint32_t end = FVI_MIN(first + FVI_CHUNK, block_tokens(b));
    for (uint32_t t = first; t < end; t += FVI_TILE) {
        b->kernels->scores(b, t, FVI_MIN(FVI_TILE, end - t), b->s.score + (t - first));
    }
}

/* Takes the chunk's scores into the running softmax: exponentials in place, acc (`width` numbers a row)
 * rescaled. */
static void soften(fvi_attn_block *b, uint32_t first, uint32_t end, size_t width)
{
    for (uint32_t i = 0; i < b->m; i++) {
        float *score = b->s.score + (size_t)i * FVI_SCORES;
        uint32_t visible = fvi_block_visible(b, i);
        uint32_t n = visible > first ? FVI_MIN(visible, end) - first : 0;
        uint32_t *packed = b->bf16 ? b->s.weight + (size_t)i * FVI_CHUNK / 2 : NULL;
        float factor = 1.0f;
        if (n > 0) {
            float max = FVI_MAX(b->s.max[i], b->kernels->largest(score, n));
            factor = expf(b->s.max[i] - max);
            b->s.max[i] = max;
        }
        float sum = b->kernels->exponentials(score, n, end - first, b->s.max[i], packed);
        b->s.sum[i] = b->s.sum[i] * factor + sum;
        for (size_t c = 0; factor != 1.0f && c < width; c++) {
            b->s.acc[i * width + c] *= factor;
        }
    }
}

static void add_values(fvi_attn_block *b, uint32_t first, uint32_t end)
{
    for (uint32_t t = first; t < end; t += FVI_TILE) {
        b->kernels->values(b, t, FVI_MIN(FVI_TILE, end - t), b->s.score + (t - first),
                           b->bf16 ? b->s.weight + (t - first) / 2 : NULL);
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
        add_values(b, first, end);
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
