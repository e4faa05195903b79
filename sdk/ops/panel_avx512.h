/* panel_avx512.h - small products of attention: C [m, n] (+)= A [m, k] B [k, n].
 *
 * A's elements are broadcast, B's rows are vectors, so every element of C is one chain of fused
 * multiply-adds along k, in order: cutting k into pieces that add up changes no bit, nor does m or n.
 * For scores k are the channels (B: keys, channel by channel), for outputs the tokens (B: values). */
#ifndef FOVEA_OPS_PANEL_AVX512_H
#define FOVEA_OPS_PANEL_AVX512_H

#include "sdk/ops/cpu_impl.h"

typedef struct fvi_panel {
    const void *a;   /* [m, k] f32, pairs of bf16 or quads of bytes */
    size_t a_stride; /* in elements of 4 bytes */
    const void *b;   /* [k, n] f32, f16, pairs of bf16 or quads of bytes */
    size_t b_stride; /* in elements of b */
    void *c;         /* [m, n] f32; int32 for bytes */
    size_t c_stride;
    uint32_t m, n, k; /* n: a multiple of 16 */
    bool add;
    /* memory to ask for on the way, evenly spread: a burst of requests would stop the processor */
    const uint8_t *ahead; /* or NULL */
    size_t ahead_bytes;
} fvi_panel;

typedef void (*fvi_panel_fn)(const fvi_panel *panel);

void fvi_panel_f32(const fvi_panel *panel);
void fvi_panel_f16(const fvi_panel *panel);   /* b is f16 */
void fvi_panel_bf16(const fvi_panel *panel);  /* pairs along k: (a0 b0 + a1 b1) at each step */
void fvi_panel_int8(const fvi_panel *panel);  /* quads along k: a signed, b unsigned; c is int32 */
void fvi_panel_uint8(const fvi_panel *panel); /* the same, a unsigned, b below 128 */
/* a: pairs of int16, b: words of 4-bit or 2-bit codes (sdk/ops/codec.h), c: int32; n: any number, columns of c
 * behind it, to a multiple of 16, get anything. attn_channel_avx512vnni.c. */
void fvi_panel_words4(const fvi_panel *panel);
void fvi_panel_words2(const fvi_panel *panel);

/* The blocks every panel function walks: rows by up to 8, columns by 64, 32 and 16. At each step along k a
 * block asks for the memory at `ahead`, which then moves on by `step`. */
typedef void (*fvi_panel_block_fn)(const fvi_panel *panel, uint32_t row, uint32_t column,
                                   const uint8_t *ahead, size_t step);

typedef struct fvi_panel_blocks {
    fvi_panel_block_fn block[8][3]; /* by rows - 1; columns 16, 32, 64; 64 may be missing */
} fvi_panel_blocks;

static inline uint32_t fvi_panel_rows(uint32_t left)
{
    return left <= 8 ? left : left <= 16 ? (left + 1) / 2 : 6;
}

static inline uint32_t fvi_panel_size(const fvi_panel_blocks *blocks, uint32_t rows, uint32_t left)
{
    return left >= 64 && blocks->block[rows - 1][2] != NULL ? 2 : left >= 32 ? 1 : 0;
}

static inline uint32_t fvi_panel_n_block(const fvi_panel *p, const fvi_panel_blocks *blocks)
{
    uint32_t n = 0, rows;
    for (uint32_t row = 0; row < p->m; row += rows) {
        rows = fvi_panel_rows(p->m - row);
        for (uint32_t c = 0; c < p->n; n++) {
            c += 16u << fvi_panel_size(blocks, rows, p->n - c);
        }
    }
    return n;
}

static inline void fvi_panel_walk(const fvi_panel *p, const fvi_panel_blocks *blocks)
{
    const uint8_t *ahead = p->a; /* with a step of 0 it asks for what is there */
    size_t step = 0;
    if (p->ahead != NULL) {
        uint32_t n_step = fvi_panel_n_block(p, blocks) * p->k;
        ahead = p->ahead;
        step = FVI_MIN((uint32_t)p->ahead_bytes / n_step, 64u);
        for (size_t i = step * n_step; i < p->ahead_bytes;
             i += 64) { /* few steps, little to stop */
            __builtin_prefetch(ahead + i);
        }
    }
    for (uint32_t row = 0, rows; row < p->m; row += rows) {
        rows = fvi_panel_rows(p->m - row);
        for (uint32_t column = 0; column < p->n;) {
            uint32_t size = fvi_panel_size(blocks, rows, p->n - column);
            blocks->block[rows - 1][size](p, row, column, ahead, step);
            column += 16u << size;
            ahead += step * p->k;
        }
    }
}

/* From one inlined body(panel, row, column, ahead, step, rows, vectors): its blocks, and the function `name`. */
#define FVI_PANEL_BLOCK(name, body, rows, vectors)                                                 \
    static void name##_##rows##_##vectors(const fvi_panel *p, uint32_t row, uint32_t column,       \
                                          const uint8_t *ahead, size_t step)                       \
    {                                                                                              \
        body(p, row, column, ahead, step, rows, vectors);                                          \
    }
#define FVI_PANEL_ROWS(name, body, rows)                                                           \
    FVI_PANEL_BLOCK(name, body, rows, 1)                                                           \
    FVI_PANEL_BLOCK(name, body, rows, 2)
#define FVI_PANEL_FUNCTION(name, body)                                                             \
    FVI_PANEL_ROWS(name, body, 1)                                                                  \
    FVI_PANEL_ROWS(name, body, 2)                                                                  \
    FVI_PANEL_ROWS(name, body, 3)                                                                  \
    FVI_PANEL_ROWS(name, body, 4)                                                                  \
    FVI_PANEL_ROWS(name, body, 5)                                                                  \
    FVI_PANEL_ROWS(name, body, 6)                                                                  \
    FVI_PANEL_ROWS(name, body, 7)                                                                  \
    FVI_PANEL_ROWS(name, body, 8)                                                                  \
    FVI_PANEL_BLOCK(name, body, 1, 4)                                                              \
    FVI_PANEL_BLOCK(name, body, 2, 4)                                                              \
    FVI_PANEL_BLOCK(name, body, 3, 4)                                                              \
    FVI_PANEL_BLOCK(name, body, 4, 4)                                                              \
    FVI_PANEL_BLOCK(name, body, 5, 4)                                                              \
    FVI_PANEL_BLOCK(name, body, 6, 4)                                                              \
    static const fvi_panel_blocks name##_blocks = {{                                               \
        {name##_1_1, name##_1_2, name##_1_4},                                                      \
        {name##_2_1, name##_2_2, name##_2_4},                                                      \
        {name##_3_1, name##_3_2, name##_3_4},                                                      \
        {name##_4_1, name##_4_2, name##_4_4},                                                      \
        {name##_5_1, name##_5_2, name##_5_4},                                                      \
        {name##_6_1, name##_6_2, name##_6_4},                                                      \
        {name##_7_1, name##_7_2, NULL},                                                            \
        {name##_8_1, name##_8_2, NULL},                                                            \
    }};                                                                                            \
    void name(const fvi_panel *p)                                                                  \
    {                                                                                              \
        fvi_panel_walk(p, &name##_blocks);                                                         \
    }

#endif
