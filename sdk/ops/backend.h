/* backend.h - a backend: a name, a thread pool, scratch memory, and one table of operations.
 *
 * Arguments are plain data: pointers with their shapes, then strides (in elements), then sizes. All
 * activations are f32; weights f32 or bf16. The C reference (ref_*.c) is complete and is the oracle; SIMD
 * files override slots by CPU features at run time. An operation either succeeds or fails for want of
 * scratch memory, and then has written nothing that matters.
 *
 * Row class: what a row is (a decode row or part of a prompt) chooses the kernel; how many rows keep it
 * company never does. So a decode row's result is bit-identical whatever else is in the batch, and a
 * prefill block's result depends on the block alone.
 *
 * Partition: attention over a list gives the same bits for any division of the same tokens (same order,
 * same kinds) into runs: scores are computed per token, then reduced in an order that depends on the
 * token's index in the list only. Kinds with scales per channel are quantised by run, and attended group by
 * group: there the same division gives the same bits.
 *
 * Called by sdk/engine, vision and kvcompress. Threads: one call at a time per backend (it uses its own
 * pool inside). */
#ifndef FOVEA_OPS_BACKEND_H
#define FOVEA_OPS_BACKEND_H

#include "sdk/base/base.h"
#include "sdk/base/dtype.h"
#include "sdk/base/threads.h"
#include "sdk/ops/codec.h"

typedef struct fvi_backend fvi_backend;

typedef enum fvi_row_class {
    FVI_ROWS_DECODE = 0,  /* own kernels, any number of rows, row by row the same bits */
    FVI_ROWS_PREFILL = 1, /* the library's product, for blocks of one prompt or one image */
} fvi_row_class;

/* y = x w^T + bias, or y += with `add`. */
typedef struct fvi_linear_args {
    const float *x; /* [m, k] */
    size_t x_stride;
    const void *w;     /* [n, k], rows without gaps */
    fvi_dtype w_dtype; /* F32 or BF16; with BF16 x is rounded to bf16, sums are f32 */
    const float *bias; /* [n] or NULL */
    float *y;          /* [m, n] */
    size_t y_stride;
    uint32_t m, n, k;
    fvi_row_class rows;
    bool add;
} fvi_linear_args;

typedef struct fvi_norm_args {
    const float *x; /* [m, d] */
    size_t x_stride;
    const float *w; /* [d] */
    const float *b; /* [d]; layer norm only, may be NULL */
    float *y;       /* [m, d]; may be x */
    size_t y_stride;
    uint32_t m, d;
    float eps;
} fvi_norm_args;

typedef enum fvi_act {
    FVI_ACT_SILU = 0,
    FVI_ACT_GELU, /* erf */
    FVI_ACT_GELU_TANH,
    FVI_ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    FVI_ACT_RELU,
} fvi_act;

/* y = act(x), or y = act(x) * u when u is set (gated MLP). */
typedef struct fvi_act_args {
    const float *x; /* [m, d] */
    const float *u; /* [m, d] or NULL */
    float *y;       /* [m, d]; may be x */
    size_t x_stride, u_stride, y_stride;
    uint32_t m, d;
    fvi_act act;
} fvi_act_args;

/* Rotates the halves of each head in place: (a, b) -> (a cos - b sin, b cos + a sin). */
typedef struct fvi_rope_args {
    float *x;                   /* [m, n_head, d] */
    size_t x_stride;            /* between rows */
    const float *cosine, *sine; /* [m, d / 2] */
    uint32_t m, n_head, d;
} fvi_rope_args;

/* One query row per sequence over mixed lists; reads each cached byte once. Query head h belongs to KV
 * head h / (n_head / n_kv_head). */
typedef struct fvi_attn_decode_args {
    const float *q;             /* [n_row, n_head, dk] */
    const fvi_list_view *lists; /* [n_row, n_kv_head]; none empty */
    float *out;                 /* [n_row, n_head, dv] */
    float *lse;                 /* [n_row, n_head] log-sum-exp, or NULL */
    float *const *mass; /* [n_row, n_kv_head] -> [n_token] += probability summed over the group's
                                   heads; entries or the whole may be NULL */
    uint32_t n_row, n_head, n_kv_head, dk, dv;
    float scale;
} fvi_attn_decode_args;

/* A block of prompt rows of one sequence. Row i sees the first n_visible[h] + i tokens of list h. Products
 * may be of bf16 unless a run is of kind f32. */
typedef struct fvi_attn_prefill_args {
    const float *q;             /* [n_row, n_head, dk] */
    const fvi_list_view *lists; /* [n_kv_head] */
    const uint32_t *n_visible;  /* [n_kv_head], of row 0, at least 1 */
    float *out;                 /* [n_row, n_head, dv] */
    uint32_t n_row, n_head, n_kv_head, dk, dv;
    float scale;
} fvi_attn_prefill_args;

/* Statistics of the attention of a window of rows, without storing it: same visibility as prefill.
 * mass: column sums, averaged over the heads of a group (VL-Cache 1.1: A' summed over the query window).
 * hits: entries that are at least `threshold` times their row's maximum (Eq. 1). */
typedef struct fvi_observe_args {
    const float *q;                            /* [n_row, n_head, dk] */
    const fvi_list_view *lists;                /* [n_kv_head] */
    const uint32_t *n_visible;                 /* [n_kv_head], of row 0 */
    float *const *mass;                        /* [n_kv_head] -> [list n_token], added to */
    uint64_t *hits;                            /* [n_head], added to; or NULL */
    uint32_t n_row, n_head, n_kv_head, dk, dv; /* dv: where a run's sections lie */
    float scale, threshold;
} fvi_observe_args;

/* Attention of an encoder: every row sees every row. */
typedef struct fvi_attn_full_args {
    const float *q, *k, *v; /* [n_row, n_head, d], rows `stride` apart */
    float *out;             /* [n_row, n_head, d], rows n_head * d apart */
    size_t stride;
    uint32_t n_row, n_head, d;
    float scale;
    fvi_dtype products; /* F32, or BF16: may round q, k, v and probabilities to bf16 */
} fvi_attn_full_args;

typedef struct fvi_ops {
    fovea_status (*linear)(fvi_backend *, const fvi_linear_args *);
    fovea_status (*rms_norm)(fvi_backend *, const fvi_norm_args *);
    fovea_status (*layer_norm)(fvi_backend *, const fvi_norm_args *);
    fovea_status (*act)(fvi_backend *, const fvi_act_args *);
    fovea_status (*rope)(fvi_backend *, const fvi_rope_args *);
    fovea_status (*attn_decode)(fvi_backend *, const fvi_attn_decode_args *);
    fovea_status (*attn_prefill)(fvi_backend *, const fvi_attn_prefill_args *);
    fovea_status (*observe)(fvi_backend *, const fvi_observe_args *);
    fovea_status (*attn_full)(fvi_backend *, const fvi_attn_full_args *);
} fvi_ops;

struct fvi_backend {
    const char *name; /* "cpu (avx512, bf16, onednn)" */
    fvi_ops ops;
    const fovea_alloc *alloc;
    fvi_pool *pool;
    uint32_t features; /* fovea_cpu_feature bits in use */
    void *impl;        /* the backend's own: scratch, cached primitives */
};

/* features: mask of fovea_cpu_feature that may be used; 0: all the CPU has. n_thread 0: all cores. */
fovea_status fvi_backend_cpu_open(const fovea_alloc *alloc, uint32_t n_thread, uint32_t features,
                                  fvi_backend **out, fovea_error *err);
void fvi_backend_close(fvi_backend **backend);
/* Scratch bytes held now (grows to what the largest call needed, then stays). */
size_t fvi_backend_scratch_bytes(const fvi_backend *backend);

/* dst may be src when the types are equal. Any n. */
void fvi_convert(void *dst, fvi_dtype dst_dtype, const void *src, fvi_dtype src_dtype, size_t n);

#endif
