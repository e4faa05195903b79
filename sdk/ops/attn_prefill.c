/* attn_prefill.c - attention of prompt blocks, of encoders, and the statistics of a window: each deals out
 * blocks of query rows (attn_block.h) to the instruction set that the backend was opened with.
 *
 * Products are bf16 where the CPU has them, unless the cache is f32: then everything is. Called through
 * the table of operations. */
#include "sdk/ops/attn_block.h"

#include <fovea/engine.h>

typedef struct block_job {
    const void *args;
    const fvi_block_kernels *kernels;
    uint32_t block_rows, n_block;
    bool bf16;
    float *scratch; /* [n_worker] */
    size_t worker_floats;
    /* observe */
    float *max, *sum; /* [n_kv_head, n_row * group] */
    uint64_t *hits;   /* [n_worker, n_head] */
} block_job;

static bool any_f32(const fvi_list_view *lists, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t run = 0; run < lists[i].n_run; run++) {
            if (lists[i].runs[run].codec->kind == FOVEA_KIND_F32) {
                return true;
            }
        }
    }
    return false;
}

static block_job start_job(fvi_backend *backend, const void *args, uint32_t group, uint32_t n_row)
{
    const fvi_cpu_impl *impl = backend->impl;
    block_job job = {
        .args = args, .kernels = impl->block_kernels, .block_rows = fvi_block_rows(group)};
    job.n_block = (n_row + job.block_rows - 1) / job.block_rows;
    return job;
}

/* Lays out the workers' scratch behind `n_more` floats; returns those, or NULL. */
static float *job_memory(fvi_backend *backend, block_job *job, size_t n_more, uint32_t dk,
                         uint32_t dv)
{
    fvi_block_scratch unused;
    uint32_t n_worker = fvi_pool_n_thread(backend->pool);
    n_more = fvi_round_up(n_more, 16);
    job->worker_floats = fvi_block_scratch_at(&unused, NULL, dk, dv, job->bf16);
    float *memory =
        fvi_cpu_scratch(backend, (n_more + n_worker * job->worker_floats) * sizeof *memory);
    job->scratch = memory != NULL ? memory + n_more : NULL;
    return memory;
}

static fvi_attn_block start_block(const block_job *job, const fvi_kv_source *source,
                                  uint32_t worker)
{
    fvi_attn_block block = {.kernels = job->kernels, .source = source, .bf16 = job->bf16};
    fvi_block_scratch_at(&block.s, job->scratch + worker * job->worker_floats, source->dk,
                         source->dv, job->bf16);
    return block;
}

static void prefill_part(void *arg, uint32_t part, uint32_t worker)
{
    const block_job *job = arg;
    const fvi_attn_prefill_args *a = job->args;
    uint32_t head = part % a->n_kv_head, group = a->n_head / a->n_kv_head;
    uint32_t row = (job->n_block - 1 - part / a->n_kv_head) * job->block_rows; /* longest first */
    fvi_kv_source source = {.list = &a->lists[head], .dk = a->dk, .dv = a->dv};
    fvi_attn_block block = start_block(job, &source, worker);
    block.m = FVI_MIN(job->block_rows, a->n_row - row) * group;
    block.group = group;
    block.n_visible = a->n_visible[head] + row;
    block.causal = true;
    size_t q_stride = (size_t)a->n_head * a->dk, out_stride = (size_t)a->n_head * a->dv;
    block.kernels->queries(&block, a->q + row * q_stride + (size_t)head * group * a->dk, q_stride,
                           a->scale);
    fvi_block_attend(&block, a->out + row * out_stride + (size_t)head * group * a->dv, out_stride);
}

static fovea_status attn_prefill(fvi_backend *backend, const fvi_attn_prefill_args *args)
{
    block_job job = start_job(backend, args, args->n_head / args->n_kv_head, args->n_row);
    job.bf16 =
        (backend->features & FOVEA_CPU_AVX512_BF16) != 0 && !any_f32(args->lists, args->n_kv_head);
    if (job_memory(backend, &job, 0, args->dk, args->dv) == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    fvi_pool_run(backend->pool, job.n_block * args->n_kv_head, prefill_part, &job);
    return FOVEA_OK;
}

static void full_part(void *arg, uint32_t part, uint32_t worker)
{
    const block_job *job = arg;
    const fvi_attn_full_args *a = job->args;
    uint32_t head = part / job->n_block, row = part % job->n_block * job->block_rows;
    fvi_kv_source source = {.k = a->k + (size_t)head * a->d,
                            .v = a->v + (size_t)head * a->d,
                            .stride = a->stride,
                            .dk = a->d,
                            .dv = a->d};
    fvi_attn_block block = start_block(job, &source, worker);
    block.m = FVI_MIN(job->block_rows, a->n_row - row);
    block.group = 1;
    block.n_visible = a->n_row;
    size_t out_stride = (size_t)a->n_head * a->d;
    block.kernels->queries(&block, a->q + row * a->stride + (size_t)head * a->d, a->stride,
                           a->scale);
    fvi_block_attend(&block, a->out + row * out_stride + (size_t)head * a->d, out_stride);
}

static fovea_status attn_full(fvi_backend *backend, const fvi_attn_full_args *args)
{
    block_job job = start_job(backend, args, 1, args->n_row);
    job.bf16 = (backend->features & FOVEA_CPU_AVX512_BF16) != 0 && args->products == FVI_DTYPE_BF16;
    if (job_memory(backend, &job, 0, args->d, args->d) == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    fvi_pool_run(backend->pool, job.n_block * args->n_head, full_part, &job);
    return FOVEA_OK;
}

/* The block of window rows from `row` on, of one KV head. */
static fvi_attn_block observed_block(const block_job *job, const fvi_kv_source *source,
                                     uint32_t head, uint32_t row, uint32_t worker)
{
    const fvi_observe_args *a = job->args;
    fvi_attn_block block = start_block(job, source, worker);
    block.group = a->n_head / a->n_kv_head;
    block.m = FVI_MIN(job->block_rows, a->n_row - row) * block.group;
    block.n_visible = a->n_visible[head] + row;
    block.causal = true;
    size_t stride = (size_t)a->n_head * a->dk;
    block.kernels->queries(&block, a->q + row * stride + (size_t)head * block.group * a->dk, stride,
                           a->scale);
    return block;
}

static fvi_kv_source observed_source(const fvi_observe_args *a, uint32_t head)
{
    /* values are not read, but the widths place the sections */
    return (fvi_kv_source){.list = &a->lists[head], .dk = a->dk, .dv = a->dv};
}

/* Maximum and sum of every query row. */
static void statistics_part(void *arg, uint32_t part, uint32_t worker)
{
    const block_job *job = arg;
    const fvi_observe_args *a = job->args;
    uint32_t head = part % a->n_kv_head, row = part / a->n_kv_head * job->block_rows;
    fvi_kv_source source = observed_source(a, head);
    fvi_attn_block block = observed_block(job, &source, head, row, worker);
    fvi_block_statistics(&block);
    size_t at = ((size_t)head * a->n_row + row) * block.group;
    memcpy(job->max + at, block.s.max, block.m * sizeof(float));
    memcpy(job->sum + at, block.s.sum, block.m * sizeof(float));
}

/* One chunk of one KV head's tokens, all window rows in order. */
static void mass_part(void *arg, uint32_t part, uint32_t worker)
{
    const block_job *job = arg;
    const fvi_observe_args *a = job->args;
    uint32_t head = part % a->n_kv_head, first = part / a->n_kv_head * FVI_CHUNK;
    fvi_kv_source source = observed_source(a, head);
    for (uint32_t row = 0; row < a->n_row; row += job->block_rows) {
        fvi_attn_block block = observed_block(job, &source, head, row, worker);
        if (fvi_block_visible(&block, block.m - 1) <= first) {
            continue;
        }
        fvi_block_scores(&block, first);
        size_t at = ((size_t)head * a->n_row + row) * block.group;
        for (uint32_t i = 0; i < block.m; i++) {
            uint32_t visible = fvi_block_visible(&block, i);
            if (visible <= first) {
                continue;
            }
            uint64_t hits =
                job->kernels->observe(a->mass[head] + first, block.s.score + (size_t)i * FVI_SCORES,
                                      FVI_MIN(visible - first, FVI_CHUNK), job->max[at + i],
                                      1.0f / (job->sum[at + i] * (float)block.group), a->threshold);
            job->hits[(size_t)worker * a->n_head + head * block.group + i % block.group] += hits;
        }
    }
}

static fovea_status observe(fvi_backend *backend, const fvi_observe_args *args)
{
    block_job job = start_job(backend, args, args->n_head / args->n_kv_head, args->n_row);
    size_t n_hits = (size_t)fvi_pool_n_thread(backend->pool) * args->n_head;
    size_t n_query = (size_t)args->n_row * args->n_head;
    float *memory = job_memory(backend, &job, 2 * (n_hits + n_query), args->dk, args->dv);
    if (memory == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    job.hits = (uint64_t *)(void *)memory;
    job.max = memory + 2 * n_hits;
    job.sum = job.max + n_query;
    memset(job.hits, 0, n_hits * sizeof *job.hits);
    uint32_t n_token = 0;
    for (uint32_t i = 0; i < args->n_kv_head; i++) {
        n_token = FVI_MAX(n_token, args->n_visible[i] + args->n_row - 1);
    }
    fvi_pool_run(backend->pool, job.n_block * args->n_kv_head, statistics_part, &job);
    fvi_pool_run(backend->pool, (n_token + FVI_CHUNK - 1) / FVI_CHUNK * args->n_kv_head, mass_part,
                 &job);
    for (size_t i = 0; args->hits != NULL && i < n_hits; i++) {
        args->hits[i % args->n_head] += job.hits[i];
    }
    return FOVEA_OK;
}

void fvi_cpu_fill_blocks(fvi_backend *backend, const fvi_block_kernels *kernels)
{
    ((fvi_cpu_impl *)backend->impl)->block_kernels = kernels;
    backend->ops.attn_prefill = attn_prefill;
    backend->ops.attn_full = attn_full;
    backend->ops.observe = observe;
}
