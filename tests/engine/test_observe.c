/* test_observe.c - every plane of observations against attention written out in double precision.
 *
 * Random queries, keys and values of two turns stand in a real f32 sequence; rows come in uneven blocks, with
 * groups of 1 to 4 query heads, and the second turn's rows also look at the first turn's. */
#include "kvcompress/recipe.h"
#include "kvcompress/select.h"
#include "sdk/engine/observe.h"
#include "tests/kvcompress/kv_test.h"

#include <math.h>

#define MAX_TOKEN 200
#define POSITIONS (2 * MAX_TOKEN)

typedef struct scene {
    rng r;
    fvi_model model;
    fvi_decoder_layer layers[2];
    test_geom g;
    fvi_kv_pool *pool;
    fvi_kv_seq *seq;
    float *k, *v; /* [n_layer, position, n_kv_head, d] */
    float *q;     /* [n_layer, token of the turn, n_head, d] after RoPE */
    float *o;     /* [hidden, n_head, d] */
    float *frequency, *cosine, *sine;
    uint32_t n_before;
    test_prompt prompt;
} scene;

static void scene_open(scene *s, uint64_t seed, uint32_t n_head, uint32_t n_kv_head, uint32_t d)
{
    *s = (scene){.r = {.state = seed}};
    fovea_error err;
    s->model.alloc = &fvi_alloc_default;
    s->model.config = (fvi_decoder_config){
        .n_layer = 2, .n_head = n_head, .n_kv_head = n_kv_head, .head_dim = d, .hidden = 3 * d + 5};
    assert_int_equal(fvi_backend_cpu_open(&fvi_alloc_default, 1, 0, &s->model.backend, &err),
                     FOVEA_OK);
    test_geom_same(&s->g, 2, n_kv_head, d, FOVEA_KIND_F32);
    s->g.layers[0].n_head = s->g.layers[1].n_head = n_head;
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, (size_t)16 << 20,
                                     fvi_kv_geom_granule(&s->g.geom), &s->pool),
                     FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, s->pool, &s->g.geom, &s->seq), FOVEA_OK);
    size_t n_kv = (size_t)2 * POSITIONS * n_kv_head * d, n_q = (size_t)2 * MAX_TOKEN * n_head * d;
    size_t n_o = (size_t)s->model.config.hidden * n_head * d;
    s->k = malloc(n_kv * sizeof *s->k);
    s->v = malloc(n_kv * sizeof *s->v);
    s->q = malloc(n_q * sizeof *s->q);
    s->o = malloc(n_o * sizeof *s->o);
    s->frequency = malloc(d / 2 * sizeof *s->frequency);
    s->cosine = malloc((size_t)POSITIONS * d / 2 * sizeof *s->cosine);
    s->sine = malloc((size_t)POSITIONS * d / 2 * sizeof *s->sine);
    for (size_t i = 0; i < n_kv; i++) {
        s->k[i] = 2 * rng_float(&s->r);
        s->v[i] = rng_float(&s->r);
    }
    for (size_t i = 0; i < n_q; i++) {
        s->q[i] = 0.3f + 2 * rng_float(&s->r);
    }
    for (size_t i = 0; i < n_o; i++) {
        s->o[i] = rng_float(&s->r);
    }
    for (uint32_t i = 0; i < d / 2; i++) {
        s->frequency[i] = (float)pow(100.0, -2.0 * i / d);
        for (uint32_t t = 0; t < POSITIONS; t++) {
            s->cosine[(size_t)t * d / 2 + i] = (float)cos(t * (double)s->frequency[i]);
            s->sine[(size_t)t * d / 2 + i] = (float)sin(t * (double)s->frequency[i]);
        }
    }
    s->layers[0].o = s->layers[1].o =
        (fvi_matrix){.w = s->o, .n = s->model.config.hidden, .k = n_head * d};
    s->model.decoder = (fvi_decoder_params){.dtype = FVI_DTYPE_F32, .layers = s->layers};
}

static void scene_close(scene *s)
{
    fvi_kv_seq_free(&s->seq);
    fvi_kv_pool_free(&s->pool);
    fvi_backend_close(&s->model.backend);
    float *buffers[] = {s->k, s->v, s->q, s->o, s->frequency, s->cosine, s->sine};
    for (size_t i = 0; i < FVI_COUNT(buffers); i++) {
        free(buffers[i]);
    }
}

/* Passes the prompt's rows through the observer, if there is one, as the decoder does. */
static fovea_status pass_turn(scene *s, fvi_observer *observer)
{
    const fvi_decoder_config *c = &s->model.config;
    size_t kv = (size_t)c->n_kv_head * c->head_dim, qs = (size_t)c->n_head * c->head_dim;
    uint32_t n = s->prompt.n_token, half = c->head_dim / 2;
    fovea_status status = FOVEA_OK;
    assert_int_equal(fvi_kv_seq_begin_turn(s->seq, s->prompt.spans, s->prompt.n_span, 4), FOVEA_OK);
    for (uint32_t layer = 0; layer < 2 && status == FOVEA_OK; layer++) {
        assert_int_equal(fvi_kv_seq_open_layer(s->seq, layer), FOVEA_OK);
        for (uint32_t row = 0, m; row < n && status == FOVEA_OK; row += m) {
            m = 1 + rng_below(&s->r, FVI_MIN(n - row, 50));
            size_t at = ((size_t)layer * POSITIONS + s->n_before + row) * kv;
            fvi_kv_seq_write(s->seq, layer, row, m, s->k + at, kv, s->v + at, kv);
            size_t rope = (size_t)(s->n_before + row) * half;
            if (observer != NULL) {
                status = fvi_observer_rows(observer, layer, fvi_kv_seq_lists(s->seq, layer),
                                           s->q + ((size_t)layer * MAX_TOKEN + row) * qs,
                                           s->cosine + rope, s->sine + rope, row, m);
            }
        }
        if (observer != NULL && status == FOVEA_OK) {
            status = fvi_observer_layer(observer, layer, fvi_kv_seq_lists(s->seq, layer));
        }
    }
    if (status == FOVEA_OK) {
        fvi_kv_seq_end_turn(s->seq);
    }
    return status;
}

static const float *key_at(const scene *s, const float *rows, uint32_t layer, uint32_t head,
                           uint32_t position)
{
    const fvi_decoder_config *c = &s->model.config;
    return rows + (((size_t)layer * POSITIONS + position) * c->n_kv_head + head) * c->head_dim;
}

/* a [position]: mean over the group of the attention of row t; *dense counts entries above 1% of the
 * maximum over all query heads of the KV head. */
static void naive_row(const scene *s, uint32_t layer, uint32_t head, uint32_t t, double *a,
                      double *dense)
{
    const fvi_decoder_config *c = &s->model.config;
    uint32_t group = c->n_head / c->n_kv_head, n = s->n_before + t + 1, d = c->head_dim;
    memset(a, 0, POSITIONS * sizeof *a);
    for (uint32_t g = 0; g < group; g++) {
        const float *q =
            s->q + (((size_t)layer * MAX_TOKEN + t) * c->n_head + head * group + g) * d;
        double e[POSITIONS], most = -INFINITY, sum = 0;
        for (uint32_t j = 0; j < n; j++) {
            const float *k = key_at(s, s->k, layer, head, j);
            e[j] = 0;
            for (uint32_t i = 0; i < d; i++) {
                e[j] += (double)q[i] * k[i] / sqrt(d);
            }
            most = FVI_MAX(most, e[j]);
        }
        for (uint32_t j = 0; j < n; j++) {
            e[j] = exp(e[j] - most);
            sum += e[j];
            *dense += e[j] >= (double)FVI_KV_DENSITY_THRESHOLD;
        }
        for (uint32_t j = 0; j < n; j++) {
            a[j] += e[j] / sum / group;
        }
    }
}

typedef double planes[FVI_N_PLANE][MAX_TOKEN];

/* Planes made of attention, of one list. */
static void naive_attention(const scene *s, uint32_t window_first, uint32_t layer, uint32_t head,
                            planes want, double *density)
{
    uint32_t n = s->prompt.n_token;
    uint8_t modality[MAX_TOKEN];
    for (uint32_t i = 0; i < s->prompt.n_span; i++) {
        memset(modality + s->prompt.spans[i].first, s->prompt.spans[i].modality,
               s->prompt.spans[i].n);
    }
    double dense = 0, causal = 0;
    for (uint32_t t = 0; t < n; t++) {
        double a[POSITIONS], of_row = 0;
        naive_row(s, layer, head, t, a, &of_row);
        uint32_t plane =
            modality[t] == FOVEA_MODALITY_VISION ? FVI_PLANE_VISION_MASS : FVI_PLANE_TEXT_MASS;
        for (uint32_t j = 0; j < n; j++) {
            double x = a[s->n_before + j];
            want[plane][j] += x;
            want[FVI_PLANE_DECAYED_MASS][j] += x * pow(0.8, (n - 1 - t) / 32);
            want[FVI_PLANE_WINDOW_MASS][j] += t >= window_first ? x : 0;
            want[FVI_PLANE_LAST_MASS][j] += t + 1 == n ? x : 0;
            if (t + 32 >= n) {
                want[FVI_PLANE_RECENT_MASS][j] += x;
                want[FVI_PLANE_RECENT_SQUARE][j] += x * x;
                want[FVI_PLANE_RECENT_INFO][j] -= x > 0 ? x * log(x) : 0;
            }
        }
        dense += t >= window_first ? of_row : 0;
        causal += t >= window_first ? s->n_before + t + 1 : 0;
    }
    *density += dense / causal / s->model.config.n_head;
}

static double dot(const double *a, const float *b, uint32_t d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static double naive_length(const float *x, uint32_t d)
{
    double sum = 0;
    for (uint32_t i = 0; i < d; i++) {
        sum += (double)x[i] * x[i];
    }
    return sqrt(sum);
}

/* Planes made of cached rows alone, of one list. */
static void naive_rows(const scene *s, uint32_t layer, uint32_t head, planes want)
{
    const fvi_decoder_config *c = &s->model.config;
    uint32_t n = s->prompt.n_token, d = c->head_dim, group = c->n_head / c->n_kv_head;
    double centre[256] = {0};
    for (uint32_t j = 0; j < n; j++) {
        const float *k = key_at(s, s->k, layer, head, s->n_before + j);
        for (uint32_t i = 0; i < d; i++) {
            centre[i] += k[i] / naive_length(k, d);
        }
    }
    double length = 0;
    for (uint32_t i = 0; i < d; i++) {
        length += centre[i] * centre[i];
    }
    for (uint32_t j = 0; j < n; j++) {
        const float *k = key_at(s, s->k, layer, head, s->n_before + j);
        const float *v = key_at(s, s->v, layer, head, s->n_before + j);
        want[FVI_PLANE_KEY_NORM][j] = naive_length(k, d);
        want[FVI_PLANE_VALUE_NORM][j] = naive_length(v, d);
        want[FVI_PLANE_KEY_LIKENESS][j] = dot(centre, k, d) / sqrt(length) / naive_length(k, d);
        for (uint32_t row = 0; row < c->hidden * group; row++) {
            const float *w =
                s->o + ((size_t)(row / group) * c->n_head + head * group + row % group) * d;
            double sum = 0;
            for (uint32_t i = 0; i < d; i++) {
                sum += (double)w[i] * v[i];
            }
            want[FVI_PLANE_VALUE_BOUND][j] += fabs(sum) / group;
        }
    }
}

/* Expected attention by its definition: the exponent is found for each of the future positions' mean
 * rotation applied to sampled queries, mean and variance of q.k over the sample. */
static void naive_expected(const scene *s, uint32_t layer, uint32_t head, planes want)
{
    const fvi_decoder_config *c = &s->model.config;
    uint32_t n = s->prompt.n_token, d = c->head_dim, half = d / 2, group = c->n_head / c->n_kv_head;
    uint32_t skip = s->n_before == 0 && n > 4 ? 4 : 0;
    for (uint32_t g = 0; g < group; g++) {
        double logits[MAX_TOKEN], sum = 0;
        for (uint32_t j = 0; j < n; j++) {
            const float *k = key_at(s, s->k, layer, head, s->n_before + j);
            double mean = 0, square = 0;
            for (uint32_t t = skip; t < n; t++) {
                const float *q =
                    s->q + (((size_t)layer * MAX_TOKEN + t) * c->n_head + head * group + g) * d;
                double x = 0;
                for (uint32_t i = 0; i < half; i++) {
                    double f = (double)s->frequency[i], cosine = 0, sine = 0;
                    for (uint32_t p = 0; p < 512;
                         p++) { /* turned by the distance between the two */
                        cosine += cos((s->n_before + n + p - (double)(s->n_before + t)) * f) / 512;
                        sine += sin((s->n_before + n + p - (double)(s->n_before + t)) * f) / 512;
                    }
                    x += k[i] * (q[i] * cosine - q[half + i] * sine) +
                         k[half + i] * (q[half + i] * cosine + q[i] * sine);
                }
                mean += x / (n - skip);
                square += x * x / (n - skip);
            }
            logits[j] = mean / sqrt(d) + (square - mean * mean) / (2.0 * d);
        }
        for (uint32_t j = 0; j < n; j++) {
            sum += exp(logits[j]);
        }
        for (uint32_t j = 0; j < n; j++) {
            want[FVI_PLANE_EXPECTED_MASS][j] += exp(logits[j]) / sum / group;
        }
    }
}

/* RECENT_INFO sums many small x ln x; the rest is as exact as f32 sums are. */
static void check_plane(const fvi_kv_obs *obs, uint32_t list, uint32_t plane, const double *want)
{
    const float *got = obs->plane[plane] + (size_t)list * obs->n_token;
    double scale = 1e-30;
    for (uint32_t j = 0; j < obs->n_token; j++) {
        scale = FVI_MAX(scale, fabs(want[j]));
    }
    for (uint32_t j = 0; j < obs->n_token; j++) {
        if (!(fabs(got[j] - want[j]) <= 2e-5 * scale)) {
            fail_msg("plane %u list %u token %u: %g, want %g", plane, list, j, (double)got[j],
                     want[j]);
        }
    }
}

static void check_turn(scene *s, bool expected)
{
    static planes want;
    fvi_kv_obs *obs = NULL;
    fvi_observer observer;
    uint32_t n_kv_head = s->model.config.n_kv_head;
    uint32_t needs = FVI_NEED_ALL & ~(uint32_t)(expected ? 0 : FVI_NEED_EXPECTED_MASS);
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &s->g.geom, s->prompt.n_token, needs, &obs),
                     FOVEA_OK);
    fvi_kv_obs_set_spans(obs, s->prompt.spans, s->prompt.n_span);
    assert_int_equal(fvi_observer_open(&s->model, obs, s->n_before, s->frequency, &observer),
                     FOVEA_OK);
    assert_int_equal(pass_turn(s, &observer), FOVEA_OK);
    fvi_observer_close(&observer);
    for (uint32_t layer = 0; layer < 2; layer++) {
        double density = 0;
        for (uint32_t head = 0; head < n_kv_head; head++) {
            memset(want, 0, sizeof want);
            naive_attention(s, obs->window_first, layer, head, want, &density);
            naive_rows(s, layer, head, want);
            if (expected) {
                naive_expected(s, layer, head, want);
            }
            for (uint32_t plane = 0; plane < FVI_N_PLANE; plane++) {
                if (obs->plane[plane] != NULL) {
                    check_plane(obs, layer * n_kv_head + head, plane, want[plane]);
                }
            }
        }
        assert_true(fabs(density - obs->density[layer]) < 1e-3);
    }
    s->n_before += s->prompt.n_token;
    fvi_kv_obs_unref(&obs);
}

static void test_planes(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{2, 2, 16}, {4, 2, 32}, {4, 1, 64}, {6, 3, 20}};
    for (uint32_t i = 0; i < FVI_COUNT(shapes); i++) {
        scene s;
        scene_open(&s, 77 + i, shapes[i][0], shapes[i][1], shapes[i][2]);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 9);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_VISION, 60 + i);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 5);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_VISION, 40);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, i % 2 == 0 ? 50 : 11);
        check_turn(&s, false);
        s.prompt = (test_prompt){.n_span = 0};
        test_prompt_add(&s.prompt, FOVEA_MODALITY_VISION, 30);
        test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 1);
        check_turn(&s, false); /* what came before competes and is not recorded */
        scene_close(&s);
    }
}

static void test_expected(void **state)
{
    (void)state;
    scene s;
    scene_open(&s, 5, 2, 1, 8);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 40);
    for (uint32_t t = 0; t < s.prompt.n_token;
         t++) { /* RoPE of equal queries, so that turning back is seen */
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t row = 0; row < 4; row++) {
                float *q = s.q + ((size_t)(row / 2) * MAX_TOKEN + t) * 16 + row % 2 * 8;
                float a = 1 + 0.3f * rng_float(&s.r), b = 0.5f + 0.3f * rng_float(&s.r);
                float cosine = s.cosine[t * 4 + i], sine = s.sine[t * 4 + i];
                q[i] = a * cosine - b * sine;
                q[4 + i] = b * cosine + a * sine;
            }
        }
    }
    check_turn(&s, true);
    s.prompt = (test_prompt){.n_span = 0};
    test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 3);
    check_turn(&s, true);
    scene_close(&s);
}

/* Of the tokens in `wanted`, how many a scorer puts among its best tenth, in the list where it does worst. */
static uint32_t found_by(const scene *s, const fvi_kv_obs *obs, const char *text,
                         const uint8_t *wanted)
{
    fvi_recipe recipe;
    fovea_error err;
    uint32_t n = obs->n_token, sort[4 * MAX_TOKEN], least = UINT32_MAX;
    float scores[2 * MAX_TOKEN];
    assert_int_equal(fvi_recipe_parse(text, &recipe, &err), FOVEA_OK);
    const fvi_score_ctx ctx = {.alloc = &fvi_alloc_default,
                               .geom = &s->g.geom,
                               .obs = obs,
                               .spans = s->prompt.spans,
                               .n_span = s->prompt.n_span,
                               .n_token = n};
    for (uint32_t list = 0; list < 4; list++) {
        uint32_t n_found = 0;
        assert_int_equal(recipe.scorer->score(&ctx, list / 2, scores), FOVEA_OK);
        fvi_select_sort(scores + list % 2 * n, n, sort);
        for (uint32_t i = 0; i < n / 10; i++) {
            n_found += wanted[sort[i]];
        }
        least = FVI_MIN(least, n_found);
    }
    return least;
}

/* The question looks for one direction and the picture's own rows for another: post-vision keeps the planted
 * evidence at 10%, accumulated attention keeps what the picture is occupied with. */
static void test_planted_evidence(void **state)
{
    (void)state;
    enum { D = 16, FIRST = 10, N_VISION = 130 };
    scene s;
    scene_open(&s, 21, 4, 2, D);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, FIRST);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_VISION, N_VISION);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 10);
    uint8_t evidence[MAX_TOKEN] = {0};
    for (uint32_t t = 0; t < s.prompt.n_token; t++) {
        bool is_vision = t >= FIRST && t < FIRST + N_VISION;
        bool lures = is_vision && t % 8 == 1;
        evidence[t] = is_vision && t % 25 == 3;
        for (uint32_t layer = 0; layer < 2; layer++) {
            for (uint32_t i = 0; i < 2 * D; i++) {
                float *k = s.k + ((size_t)layer * POSITIONS + t) * 2 * D + i;
                *k = 0.1f * *k + (evidence[t] && i % D == 0 ? 4.0f : 0) +
                     (lures && i % D == 1 ? 4.0f : 0);
            }
            for (uint32_t i = 0; i < 4 * D; i++) {
                float *q = s.q + ((size_t)layer * MAX_TOKEN + t) * 4 * D + i;
                *q = 0.1f * *q + (!is_vision && i % D == 0 ? 8.0f : 0) +
                     (is_vision && i % D == 1 ? 8.0f : 0);
            }
        }
    }
    fvi_kv_obs *obs = NULL;
    fvi_observer observer;
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &s.g.geom, s.prompt.n_token, FVI_NEED_ALL, &obs),
        FOVEA_OK);
    fvi_kv_obs_set_spans(obs, s.prompt.spans, s.prompt.n_span);
    assert_int_equal(fvi_observer_open(&s.model, obs, 0, s.frequency, &observer), FOVEA_OK);
    assert_int_equal(pass_turn(&s, &observer), FOVEA_OK);
    fvi_observer_close(&observer);
    assert_int_equal(found_by(&s, obs, "vl-cache:keep=0.1", evidence), 5);
    assert_in_range(found_by(&s, obs, "h2o:keep=0.1", evidence), 0, 2);
    assert_in_range(found_by(&s, obs, "random:keep=0.1", evidence), 0, 3);
    fvi_kv_obs_unref(&obs);
    scene_close(&s);
}

/* Only what is asked for is held, and every failed allocation is an error without a leak. */
static void test_needs_and_memory(void **state)
{
    (void)state;
    scene s;
    scene_open(&s, 9, 4, 2, 16);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_VISION, 50);
    test_prompt_add(&s.prompt, FOVEA_MODALITY_TEXT, 6);
    fvi_kv_obs *obs = NULL;
    fvi_observer observer;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &s.g.geom, 56, FVI_NEED_WINDOW_MASS, &obs),
                     FOVEA_OK);
    fvi_kv_obs_set_spans(obs, s.prompt.spans, s.prompt.n_span);
    assert_int_equal(fvi_observer_open(&s.model, obs, 0, s.frequency, &observer), FOVEA_OK);
    assert_int_equal(observer.n_kept, 6);
    assert_null(observer.slice);
    assert_null(observer.query_square);
    fvi_observer_close(&observer);
    fvi_kv_obs_unref(&obs);
    fault_alloc heap;
    fault_alloc_init(&heap);
    s.model.alloc = &heap.alloc;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &s.g.geom, 56, FVI_NEED_ALL, &obs),
                     FOVEA_OK);
    fvi_kv_obs_set_spans(obs, s.prompt.spans, s.prompt.n_span);
    uint32_t nth = 0;
    fovea_status status = FOVEA_ERR_NOMEM;
    while (status != FOVEA_OK) {
        fault_alloc_arm(&heap, ++nth);
        status = fvi_observer_open(&s.model, obs, 0, s.frequency, &observer);
        if (status == FOVEA_OK) {
            status = pass_turn(&s, &observer);
            fvi_observer_close(&observer);
            fvi_kv_seq_free(&s.seq); /* a failed turn leaves its sequence unusable */
            assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, s.pool, &s.g.geom, &s.seq),
                             FOVEA_OK);
        }
        assert_true(status == FOVEA_OK || status == FOVEA_ERR_NOMEM);
        assert_int_equal(heap.n_live, 0);
        assert_int_equal(heap.n_bad, 0);
    }
    assert_true(nth > 14); /* the buffers, and the sums that are taken while rows pass */
    fvi_kv_obs_unref(&obs);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planes),
        cmocka_unit_test(test_expected),
        cmocka_unit_test(test_planted_evidence),
        cmocka_unit_test(test_needs_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
