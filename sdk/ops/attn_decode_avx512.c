/* attn_decode_avx512.c - decode rows over mixed lists with AVX-512.
 *
 * A list is cut by token index into chunks of FVI_CHUNK; a part of the job is one chunk of one list, for
 * all query heads of its KV head, so each cached byte is read once. A chunk yields its maximum, its sum of
 * exponentials and its weighted sum of values per head; the chunks of a list are then joined in order.
 * Within a chunk scores belong to a token, sums run over lanes that the index chooses, and values are added
 * token by token, those of coded kinds (attn_coded_avx512.h) tile by tile: runs leave no trace. Those of codes
 * per channel (attn_channel_avx512.h) are added group by group; their groups belong to their runs.
 *
 * Called through the table of operations. */
#include "sdk/ops/attn_channel_avx512.h"
#include "sdk/ops/attn_coded_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#include <fovea/engine.h>

#include <math.h>

#define PARTS 65536 /* of one job: a part has results to keep */

/* One worker's memory. */
typedef struct decode_scratch {
    float *score;  /* [group, FVI_SCORE_ROW]: scores, then exponentials */
    float *keys;   /* [dk, FVI_TILE] f32 or f16 */
    float *values; /* [FVI_TILE, dv rounded] */
    float *memory; /* [FVI_TILE, dk rounded]: of keys that their codec decodes */
    fvi_coded_scratch coded;
    fvi_channel_scratch channel;
} decode_scratch;

typedef struct decode_job {
    const fvi_attn_decode_args *args;
    uint32_t first_row, n_row; /* this job's */
    uint32_t group, n_chunk;   /* n_chunk: of the longest list */
    uint32_t dv_rounded;
    bool vnni;        /* codes have their own kernels here, */
    bool coded;       /* those per token too: the widths suit them */
    float *q;         /* [n_row, n_head, dk], scaled */
    int32_t *q_words; /* [n_row, n_kv_head, 2 * group, dk / 4] */
    int32_t *q_bytes; /* [n_row, n_head, dk / 4] */
    float *q_unit;    /* [2, n_row, n_head] of words and of bytes */
    float *q_sum;     /* [2, n_row, n_head, groups(dk)] */
    float *result;    /* [part, group, 2 + dv_rounded]: max, sum, values */
    float *kept;    /* [list, group, n_chunk * FVI_CHUNK] exponentials, if there is mass to give */
    float *scratch; /* [n_worker] */
    size_t worker_floats;
    uint32_t n_worker;
} decode_job;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
static size_t scratch_layout(decode_scratch *s, float *at, uint32_t group, uint32_t dk, uint32_t dv)
{
    size_t n = 0;
#define FVI_PLACE(field, size)                                                                     \
    (s->field = at != NULL ? at + n : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(score, (size_t)group * FVI_SCORE_ROW);
    FVI_PLACE(keys, (size_t)dk * FVI_TILE);
    FVI_PLACE(values, FVI_TILE * fvi_round_up(dv, 16));
    FVI_PLACE(memory, FVI_TILE * fvi_round_up(dk, 16));
#undef FVI_PLACE
    n += fvi_coded_scratch_at(&s->coded, at != NULL ? at + n : NULL, group, dk);
    return n + fvi_channel_scratch_at(&s->channel, at != NULL ? at + n : NULL, group, dk, dv);
}

/* What one part works on. */
typedef struct decode_part {
    const decode_job *job;
    const fvi_list_view *list;
    const float *q; /* [group, dk] */
    fvi_coded_queries coded;
    uint32_t first, n; /* tokens of the chunk */
    fvi_piece start;   /* where its first lies */
    fvi_ahead next;    /* keys that this worker will likely want after this part */
    decode_scratch s;
} decode_part;

/* All of the run that lies in the chunk, where a piece is no more than a tile. */
static void widen(const decode_part *p, fvi_piece *piece)
{
    piece->n = FVI_MIN(piece->run->n_token - piece->first, p->first + p->n - piece->token);
}

static void score_chunk(decode_part *p)
{
    const fvi_attn_decode_args *a = p->job->args;
    uint32_t end = p->first + p->n;
    fvi_piece piece = p->start;
    while (fvi_list_next(p->list, FVI_TILE, end, &piece)) {
        fvi_section keys = fvi_section_of(piece.run, a->dk, a->dv, false);
        float *score = p->s.score + (piece.token - p->first);
        bool by_channel = p->job->vnni && keys.channel;
        if (by_channel) {
            widen(p, &piece);
        }
        fvi_ahead ahead = fvi_tile_ahead(p->list, piece, end, a->dk, a->dv, false);
        if (ahead.at == NULL) { /* the values' turn */
            ahead = fvi_tile_ahead(p->list, p->start, end, a->dk, a->dv, true);
        }
        if (p->job->coded && fvi_coded_takes(keys.kind, a->dk, a->dv)) {
            fvi_coded_scores(&p->coded, &keys, piece.first, piece.n, ahead, &p->s.coded, score);
            continue;
        }
        if (by_channel) {
            fvi_channel_scores(p->q, p->job->group, &keys, piece.first, piece.n, ahead,
                               &p->s.channel, score, FVI_SCORE_ROW);
            continue;
        }
        /* lanes behind the piece hold leftovers; the next piece, or the padding, takes their scores */
        fvi_panel dot = {.a = p->q,
                         .a_stride = a->dk,
                         .b = p->s.keys,
                         .b_stride = FVI_TILE,
                         .c = score,
                         .c_stride = FVI_SCORE_ROW,
                         .m = p->job->group,
                         .n = (uint32_t)fvi_round_up(piece.n, 16),
                         .k = a->dk,
                         .ahead = ahead.at,
                         .ahead_bytes = ahead.n_bytes};
        if (keys.kind == FOVEA_KIND_F16) {
            fvi_tile_columns_f16(&keys, piece.first, piece.n, (uint16_t *)(void *)p->s.keys);
            fvi_panel_f16(&dot);
        } else {
            fvi_tile_columns(&keys, piece.first, piece.n, p->s.keys, 0, p->s.memory);
            fvi_panel_f32(&dot);
        }
    }
}

/* Exponentials in place, zeros behind them up to a whole vector (FVI_SCORE_ROW leaves room). */
static void softmax_chunk(float *score, uint32_t n, float *max, float *sum)
{
    uint32_t whole = n / 16 * 16;
    __mmask16 rest = fvi_mask16(n - whole);
    __m512 top = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
    for (uint32_t t = 0; t < whole; t += 16) {
        top = _mm512_max_ps(top, _mm512_loadu_ps(score + t));
    }
    top = _mm512_mask_max_ps(top, rest, top, _mm512_loadu_ps(score + whole));
    *max = fvi_max1(top);
    top = _mm512_set1_ps(*max);
    for (uint32_t t = 0; t < whole; t += 16) {
        __m512 x = fvi_exp16(_mm512_sub_ps(_mm512_loadu_ps(score + t), top));
        total = _mm512_add_ps(total, x);
        _mm512_storeu_ps(score + t, x);
    }
    __m512 x = fvi_exp16(_mm512_sub_ps(_mm512_loadu_ps(score + whole), top));
    x = _mm512_maskz_mov_ps(rest, x);
    _mm512_storeu_ps(score + whole, x);
    *sum = fvi_sum1(_mm512_add_ps(total, x));
}

static void sum_chunk(decode_part *p, float *acc)
{
    const fvi_attn_decode_args *a = p->job->args;
    uint32_t dv = a->dv, dv_rounded = p->job->dv_rounded;
    uint32_t end = p->first + p->n;
    bool any_coded = false; /* tokens that the coded kernels take */
    fvi_piece piece = p->start;
    while (fvi_list_next(p->list, FVI_TILE, end, &piece)) {
        fvi_section values = fvi_section_of(piece.run, a->dk, dv, true);
        const float *weight = p->s.score + (piece.token - p->first);
        if (p->job->coded && fvi_coded_takes(values.kind, a->dk, dv)) {
            any_coded = true;
            continue;
        }
        bool by_channel = p->job->vnni && values.channel;
        if (by_channel) {
            widen(p, &piece);
        }
        fvi_ahead ahead = fvi_tile_ahead(p->list, piece, end, a->dk, dv, true);
        ahead = ahead.at != NULL ? ahead : p->next;
        if (by_channel) {
            fvi_channel_values(weight, FVI_SCORE_ROW, p->job->group, &values, piece.first, piece.n,
                               ahead, &p->s.channel, acc, 2 + dv_rounded);
            continue;
        }
        fvi_panel sum = {.a = weight,
                         .a_stride = FVI_SCORE_ROW,
                         .b = p->s.values,
                         .b_stride = dv_rounded,
                         .c = acc,
                         .c_stride = 2 + dv_rounded,
                         .m = p->job->group,
                         .n = dv_rounded,
                         .k = piece.n,
                         .add = true,
                         .ahead = ahead.at,
                         .ahead_bytes = ahead.n_bytes};
        if (values.kind == FOVEA_KIND_F16 && dv == dv_rounded) {
            sum.b = values.codes + piece.first * values.row_bytes;
            fvi_panel_f16(&sum);
        } else {
            fvi_tile_rows(&values, piece.first, piece.n, p->s.values, dv_rounded);
            fvi_panel_f32(&sum);
        }
    }
    if (any_coded) {
        fvi_coded_values(p->list, p->start, p->n, a->dk, dv, p->job->group, p->s.score, p->next,
                         &p->s.coded, acc, 2 + dv_rounded);
    }
}

/* The part of list `at` (of the job's) that begins with token `first`. */
static decode_part start_part(const decode_job *job, uint32_t at, uint32_t first, uint32_t worker)
{
    const fvi_attn_decode_args *a = job->args;
    size_t head = (size_t)at * job->group;
    const fvi_list_view *list = &a->lists[(size_t)job->first_row * a->n_kv_head + at];
    decode_part p = {.job = job,
                     .list = list,
                     .q = job->q + head * a->dk,
                     .first = first,
                     .n = FVI_MIN(list->n_token - first, FVI_CHUNK),
                     .start = fvi_list_seek(list, first)};
    size_t heads = (size_t)job->n_row * a->n_head, groups = fvi_groups(a->dk), quads = a->dk / 4;
    p.coded.group = job->group;
    p.coded.words = (fvi_coded_query){.quads = job->q_words + 2 * head * quads,
                                      .unit = job->q_unit + head,
                                      .sum = job->q_sum + head * groups};
    p.coded.bytes = (fvi_coded_query){.quads = job->q_bytes + head * quads,
                                      .unit = job->q_unit + heads + head,
                                      .sum = job->q_sum + (heads + head) * groups};
    scratch_layout(&p.s, job->scratch + worker * job->worker_floats, job->group, a->dk, a->dv);
    return p;
}

/* The first keys of a part. */
static fvi_ahead part_keys(const decode_job *job, uint32_t part)
{
    const fvi_attn_decode_args *a = job->args;
    uint32_t at = part / job->n_chunk, first = part % job->n_chunk * FVI_CHUNK;
    if (at >= job->n_row * a->n_kv_head) {
        return (fvi_ahead){0};
    }
    const fvi_list_view *list = &a->lists[(size_t)job->first_row * a->n_kv_head + at];
    if (first >= list->n_token) {
        return (fvi_ahead){0};
    }
    return fvi_tile_ahead(list, fvi_list_seek(list, first), list->n_token, a->dk, a->dv, false);
}

static void chunk_part(void *arg, uint32_t part, uint32_t worker)
{
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    uint32_t at = part / job->n_chunk, first = part % job->n_chunk * FVI_CHUNK;
    if (first >= a->lists[(size_t)job->first_row * a->n_kv_head + at].n_token) {
        return;
    }
    decode_part p = start_part(job, at, first, worker);
    p.next =
        part_keys(job, part + job->n_worker); /* workers take turns as long as nobody disturbs */
    size_t stride = 2 + job->dv_rounded;
    float *result = job->result + (size_t)part * job->group * stride;
    memset(result, 0, job->group * stride * sizeof *result);
    score_chunk(&p);
    for (uint32_t h = 0; h < job->group; h++) {
        float *score = p.s.score + (size_t)h * FVI_SCORE_ROW;
        softmax_chunk(score, p.n, &result[h * stride], &result[h * stride + 1]);
        if (job->kept != NULL) {
            float *kept = job->kept + ((size_t)at * job->group + h) * job->n_chunk * FVI_CHUNK;
            memcpy(kept + first, score, p.n * sizeof *kept);
        }
    }
    sum_chunk(&p, result + 2);
}

/* Adds one head's probabilities to the list's mass; results: the head's first chunk's, `stride` apart, the
 * chunk's factor first. */
static void add_mass(float *mass, const float *kept, const float *results, size_t stride, float sum,
                     uint32_t n_token)
{
    for (uint32_t first = 0; first < n_token; first += FVI_CHUNK) {
        float factor = results[first / FVI_CHUNK * stride] / sum;
        uint32_t end = FVI_MIN(n_token, first + FVI_CHUNK);
        for (uint32_t t = first; t < end; t++) {
            mass[t] += kept[t] * factor;
        }
    }
}

/* Joins the chunks of one head; a chunk's maximum gives way to its factor exp(maximum - *top). */
static void join_head(float *results, size_t stride, uint32_t n_chunk, uint32_t dv, float *out,
                      float *top, float *sum)
{
    *top = results[0];
    for (uint32_t i = 1; i < n_chunk; i++) {
        *top = FVI_MAX(*top, results[i * stride]);
    }
    *sum = 0;
    for (uint32_t i = 0; i < n_chunk; i++) {
        float *result = results + i * stride;
        result[0] = expf(result[0] - *top);
        *sum += result[1] * result[0];
    }
    __m512 whole = _mm512_set1_ps(*sum);
    for (uint32_t c = 0; c < dv; c += 16) {
        __m512 acc = _mm512_setzero_ps();
        for (uint32_t i = 0; i < n_chunk; i++) {
            const float *result = results + i * stride;
            acc = _mm512_fmadd_ps(_mm512_loadu_ps(result + 2 + c), _mm512_set1_ps(result[0]), acc);
        }
        _mm512_mask_storeu_ps(out + c, fvi_mask16(dv - c), _mm512_div_ps(acc, whole));
    }
}

static void join_part(void *arg, uint32_t at, uint32_t worker)
{
    (void)worker;
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    size_t index = (size_t)job->first_row * a->n_kv_head + at;
    uint32_t n_token = a->lists[index].n_token;
    size_t stride = 2 + job->dv_rounded, chunk_stride = job->group * stride;
    float *mass = a->mass != NULL ? a->mass[index] : NULL;
    for (uint32_t h = 0; h < job->group; h++) {
        float *results = job->result + ((size_t)at * job->n_chunk * job->group + h) * stride;
        size_t head = index * job->group + h;
        float top, sum;
        join_head(results, chunk_stride, (n_token + FVI_CHUNK - 1) / FVI_CHUNK, a->dv,
                  a->out + head * a->dv, &top, &sum);
        if (a->lse != NULL) {
            a->lse[head] = top + logf(sum);
        }
        if (mass != NULL) {
            const float *kept =
                job->kept + ((size_t)at * job->group + h) * job->n_chunk * FVI_CHUNK;
            add_mass(mass, kept, results, chunk_stride, sum, n_token);
        }
    }
}

/* q times the scale, and in fixed point. */
static void prepare_queries(const decode_job *job)
{
    const fvi_attn_decode_args *a = job->args;
    size_t dk = a->dk, quads = dk / 4;
    const float *from = a->q + (size_t)job->first_row * a->n_head * dk;
    for (size_t i = 0; i < job->n_row * a->n_head * dk; i++) {
        job->q[i] = from[i] * a->scale;
    }
    size_t heads = (size_t)job->n_row * a->n_head, groups = fvi_groups(a->dk);
    for (size_t head = 0; job->coded && head < heads; head++) {
        size_t row = head / job->group * 2 * job->group + head % job->group;
        fvi_coded_query_words(job->q + head * dk, a->dk, job->q_words + row * quads,
                              job->q_words + (row + job->group) * quads, job->q_unit + head,
                              job->q_sum + head * groups);
        fvi_coded_query_bytes(job->q + head * dk, a->dk, job->q_bytes + head * quads,
                              job->q_unit + heads + head, job->q_sum + (heads + head) * groups);
    }
}

static uint32_t longest_list(const fvi_attn_decode_args *args)
{
    uint32_t n = 1;
    for (size_t i = 0; i < (size_t)args->n_row * args->n_kv_head; i++) {
        n = FVI_MAX(n, args->lists[i].n_token);
    }
    return n;
}

static bool wants_mass(const fvi_attn_decode_args *args)
{
    for (size_t i = 0; args->mass != NULL && i < (size_t)args->n_row * args->n_kv_head; i++) {
        if (args->mass[i] != NULL) {
            return true;
        }
    }
    return false;
}

/* Places the job's arrays for `batch` rows from `at` (NULL: nowhere); returns how many floats they take. */
static size_t job_layout(decode_job *job, float *at, uint32_t batch)
{
    const fvi_attn_decode_args *a = job->args;
    size_t heads = (size_t)batch * a->n_head, n = 0;
    decode_scratch unused;
    job->worker_floats = scratch_layout(&unused, NULL, job->group, a->dk, a->dv);
#define FVI_PLACE(field, type, size)                                                               \
    (job->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(q, float, heads * a->dk);
    FVI_PLACE(q_words, int32_t, 2 * heads * (a->dk / 4));
    FVI_PLACE(q_bytes, int32_t, heads * (a->dk / 4));
    FVI_PLACE(q_unit, float, 2 * heads);
    FVI_PLACE(q_sum, float, 2 * heads * fvi_groups(a->dk));
    FVI_PLACE(result, float, heads * job->n_chunk * (2 + job->dv_rounded));
    FVI_PLACE(scratch, float, job->worker_floats * job->n_worker);
    if (wants_mass(a)) {
        FVI_PLACE(kept, float, heads * job->n_chunk * FVI_CHUNK);
    }
#undef FVI_PLACE
    return n;
}

/* Sets up all of a job but its memory: `batch` rows at a time; returns the bytes it takes. */
static size_t start_job(decode_job *job, const fvi_backend *backend,
                        const fvi_attn_decode_args *args, uint32_t *batch)
{
    *job = (decode_job){.args = args,
                        .group = args->n_head / args->n_kv_head,
                        .n_chunk = (longest_list(args) + FVI_CHUNK - 1) / FVI_CHUNK,
                        .dv_rounded = (uint32_t)fvi_round_up(args->dv, 16),
                        .vnni = (backend->features & FOVEA_CPU_AVX512_BF16) != 0};
    job->coded = job->vnni && fvi_coded_takes(FOVEA_KIND_INT4, args->dk, args->dv);
    *batch = FVI_MIN(args->n_row, FVI_MAX(1u, PARTS / (job->n_chunk * args->n_kv_head)));
    job->n_worker = fvi_pool_n_thread(backend->pool);
    return job_layout(job, NULL, *batch) * sizeof(float);
}

size_t fvi_avx512_attn_decode_bytes(const fvi_backend *backend, const fvi_attn_decode_args *args)
{
    decode_job job;
    uint32_t batch;
    return start_job(&job, backend, args, &batch);
}

fovea_status fvi_avx512_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args)
{
    decode_job job;
    uint32_t batch;
    float *memory = fvi_cpu_scratch(backend, start_job(&job, backend, args, &batch));
    if (memory == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    job_layout(&job, memory, batch);
    for (; job.first_row < args->n_row; job.first_row += job.n_row) {
        job.n_row = FVI_MIN(batch, args->n_row - job.first_row);
        prepare_queries(&job);
        fvi_pool_run(backend->pool, job.n_row * job.n_chunk * args->n_kv_head, chunk_part, &job);
        fvi_pool_run(backend->pool, job.n_row * args->n_kv_head, join_part, &job);
    }
    return FOVEA_OK;
}
