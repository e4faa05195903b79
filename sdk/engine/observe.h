/* observe.h - fills the observations of a turn while it is prefilled: what its recipe needs, nothing else.
 *
 * Attention is never stored: a stretch of query rows gives column sums (sdk/ops/backend.h: observe), which
 * are added to planes (kvcompress/planes.def). Rows of the query window and the last ones are kept until
 * their layer is complete; planes over all rows are filled as the rows pass; what depends on keys and
 * values is read from the cached rows at the end of the layer (observe_rows.c).
 * Called by decoder.c. Threads: one at a time. */
#ifndef FOVEA_ENGINE_OBSERVE_H
#define FOVEA_ENGINE_OBSERVE_H

#include "kvcompress/policy.h"
#include "sdk/engine/model.h"

#define FVI_OBSERVE_CHUNK   64  /* cached rows decoded at a time */
#define FVI_OBSERVE_QUERIES 256 /* at most so many rows make the statistics of queries */
#define FVI_OBSERVE_FUTURE  512 /* positions after the turn that expected attention averages over */
#define FVI_OBSERVE_SINKS   4   /* first rows of a prompt, unlike any other query */

typedef struct fvi_observer {
    const fvi_model *model;
    fvi_kv_obs *obs;
    const fvi_kv_seq *seq; /* whose earlier tokens go on adding up attention, or NULL */
    uint32_t first_position;
    float *q; /* [n_kept, n_head, dk] of the last n_kept rows */
    uint32_t n_kept;
    uint64_t *hits;      /* [n_head] */
    float **mass;        /* [n_kv_head], into `sums` */
    uint32_t *n_visible; /* [n_kv_head] */
    float *sums;         /* [n_kv_head, width] of the stretch at hand */
    size_t n_sums;
    /* observe_rows.c */
    float *k, *v;        /* [FVI_OBSERVE_CHUNK, dk], [FVI_OBSERVE_CHUNK, dv] */
    float *wide;         /* [FVI_OBSERVE_CHUNK, max(hidden, dk)] */
    float *slice;        /* [hidden, dv] of the output projection */
    float *logits;       /* [n_token] of one query head */
    double *centre;      /* [dk] */
    float *turn;         /* [2, dk / 2] mean cosine and sine of future positions */
    float *query_sum;    /* [n_head, dk] queries before RoPE */
    float *query_square; /* [n_head, dk, dk], upper half */
    float
        *moment; /* [dk + dk * dk] mean and covariance of one head, as future positions turn them */
    uint32_t n_query;
    size_t n_bytes; /* of all buffers */
} fvi_observer;

/* inverse_frequency: [head_dim / 2] of RoPE. On failure nothing is held. */
fovea_status fvi_observer_open(const fvi_model *model, fvi_kv_obs *obs, uint32_t first_position,
                               const float *inverse_frequency, fvi_observer *out);
void fvi_observer_close(fvi_observer *observer);
/* Query rows row..row+m-1 of a layer, in order; the keys of these and all earlier rows are stored. */
fovea_status fvi_observer_rows(fvi_observer *observer, uint32_t layer, const fvi_list_view *lists,
                               const float *q /* [m, n_head, dk] */, const float *cosine,
                               const float *sine /* [m, dk / 2] */, uint32_t row, uint32_t m);
/* All rows of the layer have passed. */
fovea_status fvi_observer_layer(fvi_observer *observer, uint32_t layer, const fvi_list_view *lists);

/* ---- observe_rows.c ---- */
fovea_status fvi_observer_open_rows(fvi_observer *observer, const float *inverse_frequency);
void fvi_observer_add_queries(fvi_observer *observer, const float *q, const float *cosine,
                              const float *sine, uint32_t row, uint32_t m);
fovea_status fvi_observer_cached_rows(fvi_observer *observer, uint32_t layer,
                                      const fvi_list_view *lists);

static inline bool fvi_observer_needs(const fvi_observer *observer, uint32_t needs)
{
    return (observer->obs->needs & needs) != 0;
}

/* A buffer of n zeroed elements, counted; *ok becomes false when there is none. */
void *fvi_observer_take(fvi_observer *observer, size_t n, size_t size, bool *ok);

/* Row of a plane for KV head `head` of a layer: [n_token]. */
static inline float *fvi_observer_plane(const fvi_observer *observer, fvi_kv_plane plane,
                                        uint32_t layer, uint32_t head)
{
    size_t list = (size_t)layer * observer->model->config.n_kv_head + head;
    return observer->obs->plane[plane] + list * observer->obs->n_token;
}

#endif
