/* ref_attn.c - the C reference of attention: scores, softmax and sums in double.
 *
 * One core serves all four operations: a block of query rows of one KV head against its tokens, which come
 * from a list (decoded tile by tile) or from plain rows. Scores of the block are kept, so every sum runs
 * over tokens in ascending order, whatever the runs are. */
#include "sdk/ops/cpu_impl.h"

#include <math.h>

#define TILE       32 /* tokens decoded at a time */
#define BLOCK_ROWS 8  /* query rows of one part */

/* What one block computes. */
typedef struct attn_block {
    const fvi_list_view *list; /* or NULL and k, v */
    const float *k, *v;        /* [n_token, d], rows `stride` apart */
    size_t stride;
    const float *q; /* [n_row, group, dk]: the group's heads, rows q_stride apart */
    size_t q_stride;
    float *out; /* [n_row, group, dv], rows out_stride apart */
    size_t out_stride;
    uint32_t n_row, group, dk, dv;
    uint32_t n_token;   /* visible to the last row */
    uint32_t n_visible; /* to row 0 */
    bool causal;        /* row i sees n_visible + i, else all rows see n_visible */
    float scale;
} attn_block;

/* Scratch of one worker. */
typedef struct attn_scratch {
    double *score;     /* [n_row * group, n_token], then exp(score - max) */
    double *max, *sum; /* [n_row * group] */
    double *acc;       /* [n_row * group, dv] */
    float *tile;       /* [TILE, max(dk, dv)] */
} attn_scratch;

static size_t scratch_bytes(uint32_t n_row, uint32_t group, uint32_t n_token, uint32_t dk,
                            uint32_t dv)
{
    size_t n = (size_t)n_row * group;
    size_t bytes = (n * n_token + 2 * n + n * dv) * sizeof(double);
    return fvi_round_up(bytes + (size_t)TILE * FVI_MAX(dk, dv) * sizeof(float), 64);
}

static attn_scratch scratch_at(void *memory, uint32_t n_row, uint32_t group, uint32_t n_token,
                               uint32_t dv)
{
    size_t n = (size_t)n_row * group;
    attn_scratch at = {.score = memory};
    at.max = at.score + n * n_token;
    at.sum = at.max + n;
    at.acc = at.sum + n;
    at.tile = (float *)(void *)(at.acc + n * dv);
    return at;
}

static uint32_t visible(const attn_block *b, uint32_t row)
{
    return b->causal ? b->n_visible + row : b->n_visible;
}

static void score_tokens(const attn_block *b, attn_scratch *s, const float *k, size_t k_stride,
                         uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < b->n_row * b->group; i++) {
        const float *q = b->q + i / b->group * b->q_stride + (size_t)(i % b->group) * b->dk;
        for (uint32_t t = 0; t < n; t++) {
            double dot = 0;
            for (uint32_t c = 0; c < b->dk; c++) {
                dot += (double)q[c] * k[t * k_stride + c];
            }
            s->score[(size_t)i * b->n_token + first + t] = dot * b->scale;
        }
    }
}

static void sum_values(const attn_block *b, attn_scratch *s, const float *v, size_t v_stride,
                       uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < b->n_row * b->group; i++) {
        double *acc = s->acc + (size_t)i * b->dv;
        uint32_t end = visible(b, i / b->group);
        for (uint32_t t = 0; t < n && first + t < end; t++) {
            double p = s->score[(size_t)i * b->n_token + first + t];
            for (uint32_t c = 0; c < b->dv; c++) {
                acc[c] += p * v[t * v_stride + c];
            }
        }
    }
}

static void block_scores(const attn_block *b, attn_scratch *s)
{
    if (b->list == NULL) {
        score_tokens(b, s, b->k, b->stride, 0, b->n_token);
    } else {
        fvi_piece piece = {0};
        while (fvi_list_next(b->list, TILE, b->n_token, &piece)) {
            const fvi_run_view *run = piece.run;
            fvi_codec_decode(run->codec, run->data, run->capacity, b->dk, b->dv, piece.first,
                             piece.n, s->tile, b->dk, NULL, 0);
            score_tokens(b, s, s->tile, b->dk, piece.token, piece.n);
        }
    }
    for (uint32_t i = 0; i < b->n_row * b->group; i++) {
        double *score = s->score + (size_t)i * b->n_token;
        uint32_t n = visible(b, i / b->group);
        double max = score[0], sum = 0;
        for (uint32_t t = 1; t < n; t++) {
            max = FVI_MAX(max, score[t]);
        }
        for (uint32_t t = 0; t < n; t++) {
            score[t] = exp(score[t] - max);
            sum += score[t];
        }
        s->max[i] = max;
        s->sum[i] = sum;
    }
}

static void block_values(const attn_block *b, attn_scratch *s)
{
    memset(s->acc, 0, (size_t)b->n_row * b->group * b->dv * sizeof *s->acc);
    if (b->list == NULL) {
        sum_values(b, s, b->v, b->stride, 0, b->n_token);
    } else {
        fvi_piece piece = {0};
        while (fvi_list_next(b->list, TILE, b->n_token, &piece)) {
            const fvi_run_view *run = piece.run;
            fvi_codec_decode(run->codec, run->data, run->capacity, b->dk, b->dv, piece.first,
                             piece.n, NULL, 0, s->tile, b->dv);
            sum_values(b, s, s->tile, b->dv, piece.token, piece.n);
        }
    }
    for (uint32_t i = 0; i < b->n_row * b->group; i++) {
        float *out = b->out + i / b->group * b->out_stride + (size_t)(i % b->group) * b->dv;
        for (uint32_t c = 0; c < b->dv; c++) {
            out[c] = (float)(s->acc[(size_t)i * b->dv + c] / s->sum[i]);
        }
    }
}

/* A job: the arguments of the operation, and where each worker's scratch lies. */
typedef struct attn_job {
    const void *args;
    uint8_t *scratch;
    size_t worker_bytes;
    uint32_t n_token; /* scratch is laid out for this many */
    uint32_t n_row;   /* and this many rows */
} attn_job;

static attn_scratch job_scratch(const attn_job *job, uint32_t worker, uint32_t group, uint32_t dv)
{
    return scratch_at(job->scratch + worker * job->worker_bytes, job->n_row, group, job->n_token,
                      dv);
}

static fovea_status job_run(fvi_backend *backend, attn_job *job, uint32_t group, uint32_t dk,
                            uint32_t dv, uint32_t n_part, fvi_pool_fn fn)
{
    job->worker_bytes = scratch_bytes(job->n_row, group, job->n_token, dk, dv);
    job->scratch = fvi_cpu_scratch(backend, job->worker_bytes * fvi_pool_n_thread(backend->pool));
    if (job->scratch == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    fvi_pool_run(backend->pool, n_part, fn, job);
    return FOVEA_OK;
}

static void decode_part(void *arg, uint32_t part, uint32_t worker)
{
    const attn_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    uint32_t group = a->n_head / a->n_kv_head;
    const fvi_list_view *list = &a->lists[part];
    size_t head = (size_t)part * group; /* of all rows' heads: part = row * n_kv_head + kv head */
    attn_scratch s = job_scratch(job, worker, group, a->dv);
    attn_block b = {
        .list = list,
        .q = a->q + head * a->dk,
        .out = a->out + head * a->dv,
        .n_row = 1,
        .group = group,
        .dk = a->dk,
        .dv = a->dv,
        .n_token = list->n_token,
        .n_visible = list->n_token,
        .scale = a->scale,
    };
    block_scores(&b, &s);
    block_values(&b, &s);
    float *mass = a->mass != NULL ? a->mass[part] : NULL;
    for (uint32_t t = 0; mass != NULL && t < list->n_token; t++) {
        double sum = 0;
        for (uint32_t i = 0; i < group; i++) {
            sum += s.score[(size_t)i * list->n_token + t] / s.sum[i];
        }
        mass[t] += (float)sum;
    }
    for (uint32_t i = 0; a->lse != NULL && i < group; i++) {
        a->lse[head + i] = (float)(s.max[i] + log(s.sum[i]));
    }
}

fovea_status fvi_ref_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args)
{
    attn_job job = {.args = args, .n_row = 1};
    for (uint32_t i = 0; i < args->n_row * args->n_kv_head; i++) {
        job.n_token = FVI_MAX(job.n_token, args->lists[i].n_token);
    }
    return job_run(backend, &job, args->n_head / args->n_kv_head, args->dk, args->dv,
                   args->n_row * args->n_kv_head, decode_part);
}

static uint32_t n_block(uint32_t n_row)
{
    return (n_row + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

static void prefill_part(void *arg, uint32_t part, uint32_t worker)
{
    const attn_job *job = arg;
    const fvi_attn_prefill_args *a = job->args;
    uint32_t group = a->n_head / a->n_kv_head;
    uint32_t kv_head = part % a->n_kv_head;
    uint32_t row = part / a->n_kv_head * BLOCK_ROWS;
    uint32_t n_row = FVI_MIN(a->n_row - row, BLOCK_ROWS);
    size_t head = (size_t)row * a->n_head + (size_t)kv_head * group;
    attn_scratch s = job_scratch(job, worker, group, a->dv);
    attn_block b = {
        .list = &a->lists[kv_head],
        .q = a->q + head * a->dk,
        .q_stride = (size_t)a->n_head * a->dk,
        .out = a->out + head * a->dv,
        .out_stride = (size_t)a->n_head * a->dv,
        .n_row = n_row,
        .group = group,
        .dk = a->dk,
        .dv = a->dv,
        .n_token = a->n_visible[kv_head] + row + n_row - 1,
        .n_visible = a->n_visible[kv_head] + row,
        .causal = true,
        .scale = a->scale,
    };
    block_scores(&b, &s);
    block_values(&b, &s);
}

fovea_status fvi_ref_attn_prefill(fvi_backend *backend, const fvi_attn_prefill_args *args)
{
    attn_job job = {.args = args, .n_row = FVI_MIN(args->n_row, BLOCK_ROWS)};
    for (uint32_t i = 0; i < args->n_kv_head; i++) {
        job.n_token = FVI_MAX(job.n_token, args->n_visible[i] + args->n_row - 1);
    }
    return job_run(backend, &job, args->n_head / args->n_kv_head, args->dk, args->dv,
                   n_block(args->n_row) * args->n_kv_head, prefill_part);
}

/* One KV head: its row blocks one after another, so that mass is added in the order of the rows. */
static void observe_part(void *arg, uint32_t kv_head, uint32_t worker)
{
    const attn_job *job = arg;
    const fvi_observe_args *a = job->args;
    uint32_t group = a->n_head / a->n_kv_head;
    attn_scratch s = job_scratch(job, worker, group, a->dv);
    for (uint32_t row = 0; row < a->n_row; row += BLOCK_ROWS) {
        uint32_t n_row = FVI_MIN(a->n_row - row, BLOCK_ROWS);
        attn_block b = {
            .list = &a->lists[kv_head],
            .q = a->q + ((size_t)row * a->n_head + (size_t)kv_head * group) * a->dk,
            .q_stride = (size_t)a->n_head * a->dk,
            .n_row = n_row,
            .group = group,
            .dk = a->dk,
            .dv = a->dv,
            .n_token = a->n_visible[kv_head] + row + n_row - 1,
            .n_visible = a->n_visible[kv_head] + row,
            .causal = true,
            .scale = a->scale,
        };
        block_scores(&b, &s);
        for (uint32_t i = 0; i < n_row * group; i++) {
            const double *e = s.score + (size_t)i * b.n_token;
            uint64_t hits = 0;
            for (uint32_t t = 0; t < visible(&b, i / group); t++) {
                a->mass[kv_head][t] += (float)(e[t] / s.sum[i] / group);
                hits += e[t] >= a->threshold;
            }
            if (a->hits != NULL) {
                a->hits[kv_head * group + i % group] += hits;
            }
        }
    }
}

fovea_status fvi_ref_observe(fvi_backend *backend, const fvi_observe_args *args)
{
    attn_job job = {.args = args, .n_row = FVI_MIN(args->n_row, BLOCK_ROWS)};
    for (uint32_t i = 0; i < args->n_kv_head; i++) {
        job.n_token = FVI_MAX(job.n_token, args->n_visible[i] + args->n_row - 1);
    }
    return job_run(backend, &job, args->n_head / args->n_kv_head, args->dk, args->dv,
                   args->n_kv_head, observe_part);
}

static void full_part(void *arg, uint32_t part, uint32_t worker)
{
    const attn_job *job = arg;
    const fvi_attn_full_args *a = job->args;
    size_t head = part % a->n_head;
    uint32_t row = part / a->n_head * BLOCK_ROWS;
    attn_scratch s = job_scratch(job, worker, 1, a->d);
    attn_block b = {
        .k = a->k + head * a->d,
        .v = a->v + head * a->d,
        .stride = a->stride,
        .q = a->q + row * a->stride + head * a->d,
        .q_stride = a->stride,
        .out = a->out + ((size_t)row * a->n_head + head) * a->d,
        .out_stride = (size_t)a->n_head * a->d,
        .n_row = FVI_MIN(a->n_row - row, BLOCK_ROWS),
        .group = 1,
        .dk = a->d,
        .dv = a->d,
        .n_token = a->n_row,
        .n_visible = a->n_row,
        .scale = a->scale,
    };
    block_scores(&b, &s);
    block_values(&b, &s);
}

fovea_status fvi_ref_attn_full(fvi_backend *backend, const fvi_attn_full_args *args)
{
    attn_job job = {
        .args = args, .n_row = FVI_MIN(args->n_row, BLOCK_ROWS), .n_token = args->n_row};
    return job_run(backend, &job, 1, args->d, args->d, n_block(args->n_row) * args->n_head,
                   full_part);
}
