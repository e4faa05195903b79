/* cpu_impl.h - what the files of the CPU backend share: its own state, scratch memory, the walk over a
 * list, and the functions that fill the table.
 *
 * Included by sdk/ops only. */
#ifndef FOVEA_OPS_CPU_IMPL_H
#define FOVEA_OPS_CPU_IMPL_H

#include "sdk/ops/backend.h"

#define FVI_TILE  64  /* most tokens of a tile */
#define FVI_CHUNK 512 /* tokens, by index in the list, whose softmax and sums are one unit */

struct fvi_onednn;
struct fvi_block_kernels;

typedef struct fvi_cpu_impl {
    void *scratch; /* grows to the largest call, then stays */
    size_t scratch_bytes;
    struct fvi_onednn *onednn;                     /* NULL without the library */
    const struct fvi_block_kernels *block_kernels; /* attn_block.h; NULL for the C reference */
    char name[64];
} fvi_cpu_impl;

/* At least n_bytes, 64-byte aligned, valid until the next call; NULL when memory is short. An
 * operation calls it once, before it writes anything. */
void *fvi_cpu_scratch(fvi_backend *backend, size_t n_bytes);

/* Complete: every slot. */
void fvi_ref_fill(fvi_ops *ops);

/* x [m, k] of a product, rounded to bf16 without gaps; these always succeed. */
fovea_status fvi_cpu_round_rows(fvi_backend *backend, const fvi_linear_args *args, uint16_t *out);
/* The same values in f32. */
fovea_status fvi_cpu_widen_rows(fvi_backend *backend, const fvi_linear_args *args, float *out);
/* linear by row class: the library, own kernels or the reference, as the features say. */
fovea_status fvi_cpu_linear(fvi_backend *backend, const fvi_linear_args *args);

/* One row of an operation on rows; args: the operation's. */
typedef void (*fvi_row_fn)(const void *args, uint32_t row);
/* All m rows, of about `width` elements. */
fovea_status fvi_cpu_run_rows(fvi_backend *backend, const void *args, fvi_row_fn fn, uint32_t m,
                              uint32_t width);

/* attn_prefill, attn_full and observe, with these kernels (attn_block.h). */
void fvi_cpu_fill_blocks(fvi_backend *backend, const struct fvi_block_kernels *kernels);

#if defined(__x86_64__)
#    define FVI_HAVE_AVX2 1
fovea_status fvi_avx2_linear(fvi_backend *backend, const fvi_linear_args *args);
void fvi_avx2_fill_rows(fvi_ops *ops); /* norms, act, rope */
void fvi_avx2_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
                      size_t n);
extern const struct fvi_block_kernels fvi_avx2_block;
fovea_status fvi_avx2_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args);
/* Scratch memory that it takes. */
size_t fvi_avx2_attn_decode_bytes(const fvi_backend *backend, const fvi_attn_decode_args *args);
#    define FVI_HAVE_AVX512 1
fovea_status fvi_avx512_linear(fvi_backend *backend, const fvi_linear_args *args);
void fvi_avx512_fill_rows(fvi_ops *ops); /* norms, act, rope */
fovea_status fvi_avx512_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args);
size_t fvi_avx512_attn_decode_bytes(const fvi_backend *backend, const fvi_attn_decode_args *args);
extern const struct fvi_block_kernels fvi_avx512_block;
void fvi_avx512_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype,
                        size_t n);
#else
#    define FVI_HAVE_AVX2   0
#    define FVI_HAVE_AVX512 0
#endif

fovea_status fvi_ref_linear(fvi_backend *backend, const fvi_linear_args *args);
fovea_status fvi_ref_rms_norm(fvi_backend *backend, const fvi_norm_args *args);
fovea_status fvi_ref_layer_norm(fvi_backend *backend, const fvi_norm_args *args);
fovea_status fvi_ref_act(fvi_backend *backend, const fvi_act_args *args);
fovea_status fvi_ref_rope(fvi_backend *backend, const fvi_rope_args *args);
fovea_status fvi_ref_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args);
fovea_status fvi_ref_attn_prefill(fvi_backend *backend, const fvi_attn_prefill_args *args);
fovea_status fvi_ref_observe(fvi_backend *backend, const fvi_observe_args *args);
fovea_status fvi_ref_attn_full(fvi_backend *backend, const fvi_attn_full_args *args);

/* ---- the tokens of a list, in pieces that never cross a run ---- */
typedef struct fvi_piece {
    const fvi_run_view *run;
    uint32_t first; /* in the run */
    uint32_t n;
    uint32_t token; /* of the first, in the list */
} fvi_piece;

/* Zero-initialise *piece, then call until it returns false: pieces of at most `max_n` tokens that end
 * before token `limit`. A later call with a higher limit goes on where it stopped. */
static inline bool fvi_list_next(const fvi_list_view *list, uint32_t max_n, uint32_t limit,
                                 fvi_piece *piece)
{
    if (piece->run == NULL) {
        piece->run = list->runs;
    }
    piece->token += piece->n;
    piece->first += piece->n;
    piece->n = 0;
    const fvi_run_view *end = list->runs + list->n_run;
    while (piece->run < end && piece->first >= piece->run->n_token) {
        piece->run++;
        piece->first = 0;
    }
    if (piece->run >= end || piece->token >= limit) {
        return false;
    }
    piece->n = FVI_MIN(piece->run->n_token - piece->first, limit - piece->token);
    piece->n = FVI_MIN(piece->n, max_n);
    return true;
}

/* A piece from which fvi_list_next goes on with `token`. */
static inline fvi_piece fvi_list_seek(const fvi_list_view *list, uint32_t token)
{
    fvi_piece piece = {.run = list->runs};
    while (token - piece.token >= piece.run->n_token && piece.run + 1 < list->runs + list->n_run) {
        piece.token += piece.run->n_token;
        piece.run++;
    }
    piece.first = token - piece.token;
    piece.token = token;
    return piece;
}

#endif
