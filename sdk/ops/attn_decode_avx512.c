/* attn_decode_avx512.c - decode rows over mixed lists with AVX-512.
 *
 * A list is cut by token index into chunks of FVI_CHUNK; a part of the job is one chunk of one list, for
 * all query heads of its KV head, so each cached byte is read once. A chunk yields its maximum, its sum of
 * exponentials and its weighted sum of values per head; the chunks of a list are then joined in order.
 * Within a chunk scores belong to a token, sums run over lanes that the index chooses, and values are added
 * token by token: runs leave no trace.
 *
 * Coded kinds are never dequantised: score = scale (q . codes) + min sum(q), and the values' scale goes into
 * the token's weight, their minimum into a sum of its own. Called through the table of operations. */
#include "sdk/ops/attn_tile_avx512.h"
#include "sdk/ops/panel_avx512.h"
#include "sdk/ops/simd_avx512.h"

#include <math.h>

#define SCORES (FVI_CHUNK + 16) /* a row of scores: the last vector may hang over */
#define PARTS 65536             /* of one job: a part has results to keep */

/* One worker's memory, all f32. */
typedef struct decode_scratch {
    float *score;      /* [group, SCORES]: scores, then exponentials */
    float *weight;     /* [groups(dv), group, SCORES]: exponentials times the values' scales */
    float *min_sum;    /* [groups(dv), group] */
    float *scale, *min; /* [SCORES]: of one group of channels */
    float *keys;       /* [dk, FVI_TILE] */
    float *values;     /* [FVI_TILE, dv rounded] */
    float *product;    /* [group, FVI_TILE] */
    float *memory;     /* [FVI_TILE, dk rounded]: of keys that their codec decodes */
} decode_scratch;

typedef struct decode_job {
    const fvi_attn_decode_args *args;
    uint32_t first_row, n_row; /* this job's */
    uint32_t group, n_chunk;   /* n_chunk: of the longest list */
    uint32_t dv_rounded;
    const float *q;   /* [n_row, n_head, dk], scaled */
    const float *q_sum; /* [n_row, n_head, groups(dk)] sums over a group of channels */
    float *result;    /* [part, group, 2 + dv_rounded]: max, sum, values */
    float *kept;      /* [list, group, n_chunk * FVI_CHUNK] exponentials, if there is mass to give */
    float *scratch;   /* [n_worker] */
    size_t worker_floats;
} decode_job;

/* Places the fields from `at` (NULL: nowhere) and returns how many floats they take. */
static size_t scratch_layout(decode_scratch *s, float *at, uint32_t group, uint32_t dk, uint32_t dv)
{
    size_t n = 0;
    size_t dk_rounded = fvi_round_up(dk, 16), dv_rounded = fvi_round_up(dv, 16);
#define FVI_PLACE(field, size) \
    (s->field = at != NULL ? at + n : NULL, n += fvi_round_up((size), 16))
    FVI_PLACE(score, (size_t)group * SCORES);
    FVI_PLACE(weight, (size_t)fvi_groups(dv) * group * SCORES);
    FVI_PLACE(min_sum, (size_t)fvi_groups(dv) * group);
    FVI_PLACE(scale, SCORES);
    FVI_PLACE(min, SCORES);
    FVI_PLACE(keys, (size_t)dk * FVI_TILE);
    FVI_PLACE(values, FVI_TILE * dv_rounded);
    FVI_PLACE(product, (size_t)group * FVI_TILE);
    FVI_PLACE(memory, FVI_TILE * dk_rounded);
#undef FVI_PLACE
    return n;
}

/* What one part works on. */
typedef struct decode_part {
    const decode_job *job;
    const fvi_list_view *list;
    const float *q;     /* [group, dk] */
    const float *q_sum; /* [group, groups(dk)] */
    uint32_t first, n;  /* tokens of the chunk */
    decode_scratch s;
} decode_part;

/* Scores of n tokens of one run of coded keys, at `at` in the chunk. */
static void score_coded(decode_part *p, const fvi_section *keys, uint32_t first, uint32_t n,
                        uint32_t at)
{
    uint32_t dk = keys->d, groups = keys->groups, heads = p->job->group;
    fvi_tile_columns(keys, first, n, true, p->s.keys, 0, p->s.memory);
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t c = g * FVI_GROUP;
        fvi_panel dot = {.a = p->q + c, .a_stride = dk, .b = p->s.keys + (size_t)c * FVI_TILE,
                         .b_stride = FVI_TILE, .c = p->s.product, .c_stride = FVI_TILE, .m = heads,
                         .n = (uint32_t)fvi_round_up(n, 16), .k = FVI_MIN(dk - c, FVI_GROUP)};
        fvi_panel_f32(&dot);
        fvi_tile_affine(keys, first, n, g, p->s.scale, p->s.min);
        for (uint32_t h = 0; h < heads; h++) {
            __m512 sum = _mm512_set1_ps(p->q_sum[h * groups + g]);
            float *score = p->s.score + (size_t)h * SCORES + at;
            for (uint32_t t = 0; t < n; t += 16) {
                __m512 x = _mm512_mul_ps(_mm512_loadu_ps(p->s.min + t), sum);
                x = _mm512_fmadd_ps(_mm512_loadu_ps(p->s.product + h * FVI_TILE + t),
                                    _mm512_loadu_ps(p->s.scale + t), x);
                x = g == 0 ? x : _mm512_add_ps(x, _mm512_loadu_ps(score + t));
                _mm512_mask_storeu_ps(score + t, fvi_mask16(n - t), x);
            }
        }
    }
}

static void score_chunk(decode_part *p)
{
    const fvi_attn_decode_args *a = p->job->args;
    fvi_piece piece = fvi_list_seek(p->list, p->first);
    while (fvi_list_next(p->list, FVI_TILE, p->first + p->n, &piece)) {
        fvi_section keys = fvi_section_of(piece.run, a->dk, a->dv, false);
        uint32_t at = piece.token - p->first;
        if (fvi_is_coded(keys.kind)) {
            score_coded(p, &keys, piece.first, piece.n, at);
            continue;
        }
        fvi_tile_columns(&keys, piece.first, piece.n, false, p->s.keys, 0, p->s.memory);
        /* lanes behind the piece hold leftovers; the next piece, or the padding, takes their scores */
        fvi_panel dot = {.a = p->q, .a_stride = a->dk, .b = p->s.keys, .b_stride = FVI_TILE,
                         .c = p->s.score + at, .c_stride = SCORES, .m = p->job->group,
                         .n = (uint32_t)fvi_round_up(piece.n, 16), .k = a->dk};
        fvi_panel_f32(&dot);
    }
}

/* Exponentials in place, zeros behind them to the next multiple of 16. */
static void softmax_chunk(float *score, uint32_t n, float *max, float *sum)
{
    __m512 top = _mm512_set1_ps(-INFINITY);
    for (uint32_t t = 0; t < n; t += 16) {
        top = _mm512_mask_max_ps(top, fvi_mask16(n - t), top, _mm512_loadu_ps(score + t));
    }
    *max = fvi_max1(top);
    top = _mm512_set1_ps(*max);
    __m512 total = _mm512_setzero_ps();
    for (uint32_t t = 0; t < n; t += 16) {
        __m512 x = fvi_exp16(_mm512_sub_ps(_mm512_loadu_ps(score + t), top));
        x = _mm512_maskz_mov_ps(fvi_mask16(n - t), x);
        total = _mm512_add_ps(total, x);
        _mm512_storeu_ps(score + t, x);
    }
    *sum = fvi_sum1(total);
}

static bool has_coded(const decode_part *p)
{
    fvi_piece piece = fvi_list_seek(p->list, p->first);
    while (fvi_list_next(p->list, FVI_CHUNK, p->first + p->n, &piece)) {
        if (fvi_is_coded(piece.run->codec->kind)) {
            return true;
        }
    }
    return false;
}

/* Weights of the tokens for each group of the values' channels, and the sums of their minima. */
static void weigh_chunk(decode_part *p)
{
    const fvi_attn_decode_args *a = p->job->args;
    uint32_t heads = p->job->group;
    for (uint32_t g = 0; g < fvi_groups(a->dv); g++) {
        fvi_piece piece = fvi_list_seek(p->list, p->first);
        while (fvi_list_next(p->list, FVI_CHUNK, p->first + p->n, &piece)) {
            fvi_section values = fvi_section_of(piece.run, a->dk, a->dv, true);
            uint32_t at = piece.token - p->first;
            if (fvi_is_coded(values.kind)) {
                fvi_tile_affine(&values, piece.first, piece.n, g, p->s.scale + at, p->s.min + at);
                continue;
            }
            for (uint32_t t = at; t < at + piece.n; t++) {
                p->s.scale[t] = 1.0f;
                p->s.min[t] = 0.0f;
            }
        }
        for (uint32_t h = 0; h < heads; h++) {
            const float *e = p->s.score + (size_t)h * SCORES;
            float *weight = p->s.weight + ((size_t)g * heads + h) * SCORES;
            __m512 sum = _mm512_setzero_ps();
            for (uint32_t t = 0; t < p->n; t += 16) {
                __mmask16 mask = fvi_mask16(p->n - t);
                __m512 x = _mm512_loadu_ps(e + t);
                sum = _mm512_fmadd_ps(x, _mm512_maskz_loadu_ps(mask, p->s.min + t), sum);
                _mm512_storeu_ps(weight + t,
                                 _mm512_mul_ps(x, _mm512_maskz_loadu_ps(mask, p->s.scale + t)));
            }
            p->s.min_sum[g * heads + h] = fvi_sum1(sum);
        }
    }
}

/* Adds n tokens' values, columns c..c+width-1, weighted, to acc [group, dv_rounded]. */
static void add_values(const decode_part *p, const float *weight, const void *b, size_t b_stride,
                       bool half, uint32_t n, uint32_t c, uint32_t width, float *acc)
{
    fvi_panel sum = {.a = weight, .a_stride = SCORES, .b = b, .b_stride = b_stride, .c = acc + c,
                     .c_stride = 2 + p->job->dv_rounded, .m = p->job->group,
                     .n = (uint32_t)fvi_round_up(width, 16), .k = n, .add = true};
    if (half) {
        fvi_panel_f16(&sum);
    } else {
        fvi_panel_f32(&sum);
    }
}

static void sum_chunk(decode_part *p, bool coded, float *acc)
{
    const fvi_attn_decode_args *a = p->job->args;
    uint32_t heads = p->job->group, dv = a->dv, dv_rounded = p->job->dv_rounded;
    uint32_t group = coded ? FVI_GROUP : dv; /* channels that share a weight */
    fvi_piece piece = fvi_list_seek(p->list, p->first);
    while (fvi_list_next(p->list, FVI_TILE, p->first + p->n, &piece)) {
        fvi_section values = fvi_section_of(piece.run, a->dk, dv, true);
        bool direct = dv % 16 == 0 &&
                      (values.kind == FOVEA_KIND_F16 || values.kind == FOVEA_KIND_F32);
        bool half = direct && values.kind == FOVEA_KIND_F16;
        const uint8_t *rows = values.codes + piece.first * values.row_bytes;
        if (!direct) {
            fvi_tile_rows(&values, piece.first, piece.n, true, p->s.values, dv_rounded);
            rows = (const uint8_t *)p->s.values;
        }
        for (uint32_t c = 0, g = 0; c < dv; c += group, g++) {
            const float *weight = coded ? p->s.weight + (size_t)g * heads * SCORES : p->s.score;
            add_values(p, weight + piece.token - p->first, rows + c * (half ? 2u : 4u),
                       direct ? dv : dv_rounded, half, piece.n, c, FVI_MIN(group, dv - c), acc);
        }
    }
    for (uint32_t h = 0; coded && h < heads; h++) {
        for (uint32_t c = 0; c < dv; c++) {
            acc[(size_t)h * (2 + dv_rounded) + c] += p->s.min_sum[c / FVI_GROUP * heads + h];
        }
    }
}

static void chunk_part(void *arg, uint32_t part, uint32_t worker)
{
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    uint32_t at = part / job->n_chunk; /* of the job's lists */
    uint32_t first = part % job->n_chunk * FVI_CHUNK;
    const fvi_list_view *list = &a->lists[(size_t)job->first_row * a->n_kv_head + at];
    if (first >= list->n_token) {
        return;
    }
    decode_part p = {.job = job, .list = list, .q = job->q + (size_t)at * job->group * a->dk,
                     .q_sum = job->q_sum + (size_t)at * job->group * fvi_groups(a->dk),
                     .first = first, .n = FVI_MIN(list->n_token - first, FVI_CHUNK)};
    scratch_layout(&p.s, job->scratch + worker * job->worker_floats, job->group, a->dk, a->dv);
    size_t stride = 2 + job->dv_rounded;
    float *result = job->result + (size_t)part * job->group * stride;
    memset(result, 0, job->group * stride * sizeof *result);
    score_chunk(&p);
    for (uint32_t h = 0; h < job->group; h++) {
        float *score = p.s.score + (size_t)h * SCORES;
        softmax_chunk(score, p.n, &result[h * stride], &result[h * stride + 1]);
        if (job->kept != NULL) {
            float *kept = job->kept + ((size_t)at * job->group + h) * job->n_chunk * FVI_CHUNK;
            memcpy(kept + first, score, p.n * sizeof *kept);
        }
    }
    bool coded = has_coded(&p);
    if (coded) {
        weigh_chunk(&p);
    }
    sum_chunk(&p, coded, result + 2);
}

/* Adds the probabilities of one head to the list's mass; factor[chunk] = exp(max - top) / sum. */
static void add_mass(float *mass, const float *kept, const float *results, size_t stride, float top,
                     float sum, uint32_t n_token)
{
    for (uint32_t first = 0; first < n_token; first += FVI_CHUNK) {
        float factor = expf(results[first / FVI_CHUNK * stride] - top) / sum;
        uint32_t end = FVI_MIN(n_token, first + FVI_CHUNK);
        for (uint32_t t = first; t < end; t++) {
            mass[t] += kept[t] * factor;
        }
    }
}

/* Joins the chunks of one list. */
static void join_part(void *arg, uint32_t at, uint32_t worker)
{
    (void)worker;
    const decode_job *job = arg;
    const fvi_attn_decode_args *a = job->args;
    size_t index = (size_t)job->first_row * a->n_kv_head + at;
    uint32_t n_token = a->lists[index].n_token;
    uint32_t n_chunk = (n_token + FVI_CHUNK - 1) / FVI_CHUNK;
    size_t stride = 2 + job->dv_rounded, chunk_stride = job->group * stride;
    float *mass = a->mass != NULL ? a->mass[index] : NULL;
    for (uint32_t h = 0; h < job->group; h++) {
        float *results = job->result + ((size_t)at * job->n_chunk * job->group + h) * stride;
        float top = results[0], sum = 0;
        for (uint32_t i = 1; i < n_chunk; i++) {
            top = FVI_MAX(top, results[i * chunk_stride]);
        }
        float *out = a->out + (index * job->group + h) * a->dv;
        memset(out, 0, a->dv * sizeof *out);
        for (uint32_t i = 0; i < n_chunk; i++) {
            const float *result = results + i * chunk_stride;
            float factor = expf(result[0] - top);
            sum += result[1] * factor;
            for (uint32_t c = 0; c < a->dv; c++) {
                out[c] += result[2 + c] * factor;
            }
        }
        for (uint32_t c = 0; c < a->dv; c++) {
            out[c] /= sum;
        }
        if (a->lse != NULL) {
            a->lse[index * job->group + h] = top + logf(sum);
        }
        if (mass != NULL) {
            const float *kept =
                job->kept + ((size_t)at * job->group + h) * job->n_chunk * FVI_CHUNK;
            add_mass(mass, kept, results, chunk_stride, top, sum, n_token);
        }
    }
}

/* q times the scale, and its sums over groups of channels. */
static void prepare_queries(const decode_job *job, float *q, float *q_sum)
{
    const fvi_attn_decode_args *a = job->args;
    uint32_t groups = fvi_groups(a->dk);
    const float *from = a->q + (size_t)job->first_row * a->n_head * a->dk;
    for (size_t head = 0; head < (size_t)job->n_row * a->n_head; head++) {
        memset(q_sum + head * groups, 0, groups * sizeof *q_sum);
        for (uint32_t c = 0; c < a->dk; c++) {
            float x = from[head * a->dk + c] * a->scale;
            q[head * a->dk + c] = x;
            q_sum[head * groups + c / FVI_GROUP] += x;
        }
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

fovea_status fvi_avx512_attn_decode(fvi_backend *backend, const fvi_attn_decode_args *args)
{
    decode_job job = {.args = args, .group = args->n_head / args->n_kv_head,
                      .n_chunk = (longest_list(args) + FVI_CHUNK - 1) / FVI_CHUNK,
                      .dv_rounded = (uint32_t)fvi_round_up(args->dv, 16)};
    uint32_t row_parts = job.n_chunk * args->n_kv_head;
    uint32_t batch = FVI_MIN(args->n_row, FVI_MAX(1u, PARTS / row_parts)); /* rows at a time */
    decode_scratch unused;
    job.worker_floats = scratch_layout(&unused, NULL, job.group, args->dk, args->dv);
    size_t heads = (size_t)batch * args->n_head;
    size_t n_q = fvi_round_up(heads * args->dk, 16);
    size_t n_sum = fvi_round_up(heads * fvi_groups(args->dk), 16);
    size_t n_result = fvi_round_up(heads * job.n_chunk * (2 + job.dv_rounded), 16);
    size_t n_kept = wants_mass(args) ? heads * job.n_chunk * FVI_CHUNK : 0;
    size_t n_scratch = job.worker_floats * fvi_pool_n_thread(backend->pool);
    float *memory = fvi_cpu_scratch(
        backend, (n_q + n_sum + n_result + n_scratch + n_kept) * sizeof(float));
    if (memory == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    float *q_sum = memory + n_q;
    job.q = memory;
    job.q_sum = q_sum;
    job.result = q_sum + n_sum;
    job.scratch = job.result + n_result;
    job.kept = n_kept != 0 ? job.scratch + n_scratch : NULL;
    for (; job.first_row < args->n_row; job.first_row += job.n_row) {
        job.n_row = FVI_MIN(batch, args->n_row - job.first_row);
        prepare_queries(&job, memory, q_sum);
        fvi_pool_run(backend->pool, job.n_row * row_parts, chunk_part, &job);
        fvi_pool_run(backend->pool, job.n_row * args->n_kv_head, join_part, &job);
    }
    return FOVEA_OK;
}
