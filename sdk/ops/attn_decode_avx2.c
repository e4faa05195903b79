/* attn_decode_avx2.c - decode rows over mixed lists with AVX2.
 *
 * A list is cut by token index into chunks of FVI_CHUNK; a part of the job is one chunk of one list, for
 * all query heads of its KV head, so each cached byte is read once. A chunk yields its maximum, its sum of
 * exponentials and its weighted sum of values per head; the chunks of a list are then joined in order.
 * Values of rotated runs are summed as they lie; their sum is rotated back once, when the chunks are joined.
 *
 * Called through the table of operations. */
#include "sdk/ops/attn_chunk_avx2.h"

#include <math.h>

#define LOG2E 0x1.715476p+0f /* scores are in powers of 2 */
#define LN2   0x1.62e430p-1f
#define PARTS 65536 /* of one job: a part has results to keep */

typedef struct decode_job {
    const fvi_attn_decode_args *args;
    uint32_t first_row, n_row; /* this job's */
    uint32_t group, n_chunk;   /* n_chunk: of the longest list */
    uint32_t coded; /* kinds of coded keys in the lists, a bit for each fvi_coded_index */
    bool rotated;   /* some run is */
    size_t width;   /* of a head's values: dv rounded, twice that with rotated runs */
    float *q;       /* [n_row, n_head, dk], times scale and log2 e */
    int32_t *pairs; /* [FVI_N_CODED][n_row, n_head, groups(dk), FVI_CODED_PAIRS] */
    float *unit;    /* [FVI_N_CODED][n_row, n_head] */
    float *sum;     /* [FVI_N_CODED][n_row, n_head, groups(dk)] */
    float *turned;  /* [max(dk, dv)] a row to rotate */
    float *result;  /* [part, group, 2 + width]: max, sum, values */
    float *kept;    /* [list, group, n_chunk * FVI_CHUNK] exponentials, if there is mass to give */
    float *scratch; /* [n_worker, worker_floats] */
    size_t worker_floats;
    uint32_t n_worker;
} decode_job;

/* Numbers of all heads of a batch in one of the FVI_N_CODED tables, `each` a head. */
static size_t table_at(const decode_job *job, uint32_t index, size_t each)
{
    return (size_t)index * job->n_row * job->args->n_head * each;
}

/* The first keys of a part; NULL: there is none. */
static const uint8_t *part_keys(const decode_job *job, uint32_t part)
{
    const fvi_attn_decode_args *a = job->args;
    uint32_t at = part / job->n_chunk, first = part % job->n_chunk * FVI_CHUNK;
    if (at >= job->n_row * a->n_kv_head) {
        return NULL;
    }
    const fvi_list_view *list = &a->lists[(size_t)job->first_row * a->n_kv_head + at];
    if (first >= list->n_token) {
        return NULL;
    }
    fvi_piece piece = fvi_list_seek(list, first);
    fvi_section keys = fvi_section_of(piece.run, a->dk, a->dv, false);
    return keys.codes != NULL ? keys.codes + piece.first * keys.row_bytes : NULL;
}

static void chunk_part(void *arg, uint32_t part, uint32_t worker)
{
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    uint32_t at = part / job->n_chunk, first = part % job->n_chunk * FVI_CHUNK;
    const fvi_list_view *list = &a->lists[(size_t)job->first_row * a->n_kv_head + at];
    if (first >= list->n_token) {
        return;
    }
    size_t head = (size_t)at * job->group, groups = fvi_groups(a->dk), stride = 2 + job->width;
    fvi_chunk chunk = {.list = list,
                       .q = job->q + head * a->dk,
                       .group = job->group,
                       .dk = a->dk,
                       .dv = a->dv,
                       .first = first,
                       .n = FVI_MIN(list->n_token - first, FVI_CHUNK),
                       .start = fvi_list_seek(list, first),
                       /* workers take turns as long as nobody disturbs */
                       .next = part_keys(job, part + job->n_worker)};
    for (uint32_t i = 0; i < FVI_N_CODED && job->coded >> i != 0; i++) {
        chunk.coded[i] =
            (fvi_coded_query){.pairs = job->pairs + table_at(job, i, groups * FVI_CODED_PAIRS) +
                                       head * groups * FVI_CODED_PAIRS,
                              .unit = job->unit + table_at(job, i, 1) + head,
                              .sum = job->sum + table_at(job, i, groups) + head * groups,
                              .group = job->group};
    }
    fvi_chunk_scratch_at(&chunk.s, job->scratch + worker * job->worker_floats, job->group, a->dk,
                         a->dv);
    float *result = job->result + (size_t)part * job->group * stride;
    memset(result, 0, job->group * stride * sizeof *result);
    fvi_chunk_scores(&chunk);
    fvi_chunk_softmax(&chunk, result, result + 1, stride);
    for (uint32_t h = 0; job->kept != NULL && h < job->group; h++) {
        float *kept = job->kept + (head + h) * job->n_chunk * FVI_CHUNK;
        memcpy(kept + first, chunk.s.score + (size_t)h * FVI_SCORE_ROW, chunk.n * sizeof *kept);
    }
    fvi_chunk_values(&chunk, result + 2, result + 2 + job->width / 2, stride);
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

/* The chunks' values from `column` on, d of them, times their factors. */
static void join_values(const float *results, size_t stride, uint32_t n_chunk, size_t column,
                        uint32_t d, float *out)
{
    for (uint32_t c = 0; c < d; c += 8) {
        __m256 acc = _mm256_setzero_ps();
        for (uint32_t i = 0; i < n_chunk; i++) {
            const float *result = results + i * stride;
            acc = _mm256_fmadd_ps(_mm256_loadu_ps(result + 2 + column + c),
                                  _mm256_set1_ps(result[0]), acc);
        }
        fvi_store8(out + c, d - c, acc);
    }
}

/* Joins the chunks of one head; a chunk's maximum gives way to its factor 2^(maximum - *top). turned [dv]:
 * memory for the values of rotated runs, or NULL. */
static void join_head(float *results, size_t stride, uint32_t n_chunk, uint32_t dv, float *turned,
                      float *out, float *top, float *sum)
{
    *top = results[0];
    for (uint32_t i = 1; i < n_chunk; i++) {
        *top = FVI_MAX(*top, results[i * stride]);
    }
    *sum = 0;
    for (uint32_t i = 0; i < n_chunk; i++) {
        float *result = results + i * stride;
        result[0] = exp2f(result[0] - *top);
        *sum += result[1] * result[0];
    }
    join_values(results, stride, n_chunk, 0, dv, out);
    if (turned != NULL) {
        join_values(results, stride, n_chunk, fvi_round_up(dv, 16), dv, turned);
        fvi_rotate(turned, dv);
        for (uint32_t c = 0; c < dv; c++) {
            out[c] += turned[c];
        }
    }
    for (uint32_t c = 0; c < dv; c++) {
        out[c] /= *sum;
    }
}

static bool has_rotated(const fvi_list_view *list)
{
    for (uint32_t i = 0; i < list->n_run; i++) {
        if (list->runs[i].codec->codes.rotated) {
            return true;
        }
    }
    return false;
}

static void join_part(void *arg, uint32_t at, uint32_t worker)
{
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    size_t index = (size_t)job->first_row * a->n_kv_head + at;
    uint32_t n_token = a->lists[index].n_token;
    size_t stride = 2 + job->width, chunk_stride = job->group * stride;
    float *mass = a->mass != NULL ? a->mass[index] : NULL;
    /* a list without rotated runs must not depend on the company of one that has some */
    float *turned = job->rotated && has_rotated(&a->lists[index])
                        ? job->scratch + worker * job->worker_floats
                        : NULL;
    for (uint32_t h = 0; h < job->group; h++) {
        float *results = job->result + ((size_t)at * job->n_chunk * job->group + h) * stride;
        size_t head = index * job->group + h;
        float top, sum;
        join_head(results, chunk_stride, (n_token + FVI_CHUNK - 1) / FVI_CHUNK, a->dv, turned,
                  a->out + head * a->dv, &top, &sum);
        if (a->lse != NULL) {
            a->lse[head] = (top + log2f(sum)) * LN2;
        }
        if (mass != NULL) {
            const float *kept =
                job->kept + ((size_t)at * job->group + h) * job->n_chunk * FVI_CHUNK;
            add_mass(mass, kept, results, chunk_stride, sum, n_token);
        }
    }
}

/* q times the scale, and in fixed point for the kinds of codes that are there. */
static void prepare_queries(const decode_job *job)
{
    const fvi_attn_decode_args *a = job->args;
    size_t dk = a->dk, groups = fvi_groups(a->dk);
    const float *from = a->q + (size_t)job->first_row * a->n_head * dk;
    for (size_t i = 0; i < job->n_row * a->n_head * dk; i++) {
        job->q[i] = from[i] * (a->scale * LOG2E);
    }
    for (uint32_t i = 0; i < FVI_N_CODED; i++) {
        int32_t *pairs = job->pairs + table_at(job, i, groups * FVI_CODED_PAIRS);
        float *unit = job->unit + table_at(job, i, 1), *sum = job->sum + table_at(job, i, groups);
        size_t n = (job->coded >> i & 1) != 0 ? (size_t)job->n_row * a->n_head : 0;
        for (size_t head = 0; head < n; head++) {
            const float *q = job->q + head * dk;
            if (fvi_coded_rotated(i)) {
                memcpy(job->turned, q, dk * sizeof *q);
                fvi_rotate(job->turned, a->dk);
                q = job->turned;
            }
            fvi_coded_query_avx2(q, a->dk, fvi_coded_bits(i),
                                 pairs + head * groups * FVI_CODED_PAIRS, unit + head,
                                 sum + head * groups);
        }
    }
}

/* What the lists are made of. */
static void survey(decode_job *job)
{
    const fvi_attn_decode_args *a = job->args;
    uint32_t longest = 1;
    for (size_t i = 0; i < (size_t)a->n_row * a->n_kv_head; i++) {
        const fvi_list_view *list = &a->lists[i];
        longest = FVI_MAX(longest, list->n_token);
        for (uint32_t j = 0; j < list->n_run; j++) {
            const fvi_code_layout *codes = &list->runs[j].codec->codes;
            job->coded |= codes->bits > 0 ? 1u << fvi_coded_index(codes) : 0;
            job->rotated = job->rotated || codes->rotated;
        }
    }
    job->n_chunk = (longest + FVI_CHUNK - 1) / FVI_CHUNK;
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
    size_t heads = (size_t)batch * a->n_head, groups = fvi_groups(a->dk), n = 0;
    size_t coded = job->coded != 0 ? heads * FVI_N_CODED : 0;
    fvi_chunk_scratch unused;
    job->worker_floats = fvi_chunk_scratch_at(&unused, NULL, job->group, a->dk, a->dv);
#define FVI_PLACE(field, type, size)                                                               \
    (job->field = at != NULL ? (type *)(void *)(at + n) : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(q, float, heads * a->dk);
    FVI_PLACE(pairs, int32_t, coded * groups * FVI_CODED_PAIRS);
    FVI_PLACE(unit, float, coded);
    FVI_PLACE(sum, float, coded *groups);
    FVI_PLACE(turned, float, FVI_MAX(a->dk, a->dv));
    FVI_PLACE(result, float, heads * job->n_chunk * (2 + job->width));
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
    *job = (decode_job){.args = args, .group = args->n_head / args->n_kv_head};
    survey(job);
    job->width = fvi_round_up(args->dv, 16) * (job->rotated ? 2 : 1);
    *batch = FVI_MIN(args->n_row, FVI_MAX(1u, PARTS / (job->n_chunk * args->n_kv_head)));
    job->n_worker = fvi_pool_n_thread(backend->pool);
    return job_layout(job, NULL, *batch) * sizeof(float);
}

size_t fvi_avx2_attn_decode_bytes(const fvi_backend *backend, const fvi_attn_decode_args *args)
{
    decode_job job;
    uint32_t batch;
    return start_job(&job, backend, args, &batch);
}

fovea_status fvi_avx2_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args)
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
