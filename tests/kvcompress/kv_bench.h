/* kv_bench.h - one sequence with a prompt, observations and a pool, for tests of plans and selections. */
#ifndef FOVEA_TESTS_KV_BENCH_H
#define FOVEA_TESTS_KV_BENCH_H

#include "kv_test.h"

#include <math.h>

#define POOL_BYTES  ((size_t)64 << 20)
#define N_ANNOUNCED 64 /* tokens that begin_turn prepares for */

typedef struct bench {
    rng r;
    test_geom g;
    fvi_kv_pool *pool;
    fvi_kv_seq *seq;
    test_prompt prompt;
    fvi_kv_obs *obs;
} bench;

static inline void bench_open(bench *b, uint64_t seed)
{
    *b = (bench){.r = {.state = seed}};
    test_geom_default(&b->g);
}

static inline void bench_pool(bench *b)
{
    assert_int_equal(
        fvi_kv_pool_new(&fvi_alloc_default, POOL_BYTES, fvi_kv_geom_granule(&b->g.geom), &b->pool),
        FOVEA_OK);
}

/* Observations as they come: mass falls off steeply, layers differ in density. */
static inline void observe(bench *b)
{
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &b->g.geom, b->prompt.n_token,
                                    FVI_NEED_WINDOW_MASS | FVI_NEED_LAST_MASS | FVI_NEED_DENSITY,
                                    &b->obs),
                     FOVEA_OK);
    for (size_t i = 0; i < (size_t)b->obs->n_list * b->obs->n_token; i++) {
        b->obs->plane[FVI_PLANE_WINDOW_MASS][i] = expf(6 * rng_float(&b->r));
        b->obs->plane[FVI_PLANE_LAST_MASS][i] = b->obs->plane[FVI_PLANE_WINDOW_MASS][i];
    }
    for (uint32_t layer = 0; layer < b->obs->n_layer; layer++) {
        b->obs->density[layer] = pow(rng_float(&b->r), 4);
    }
}

/* A turn whose rows are filled with random values, or left as they are. */
static inline void prefill(bench *b, bool fill)
{
    if (b->seq == NULL) {
        assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b->pool, &b->g.geom, &b->seq),
                         FOVEA_OK);
    }
    assert_int_equal(fvi_kv_seq_begin_turn(b->seq, b->prompt.spans, b->prompt.n_span, N_ANNOUNCED),
                     FOVEA_OK);
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        assert_int_equal(fvi_kv_seq_open_layer(b->seq, layer), FOVEA_OK);
        fvi_kv_layer_geom dims = b->g.layers[layer];
        uint32_t k_row = dims.n_kv_head * dims.dk, v_row = dims.n_kv_head * dims.dv;
        for (uint32_t i = 0; fill && i < b->prompt.n_token; i++) {
            float row[2 * 512];
            for (uint32_t c = 0; c < k_row + v_row; c++) {
                row[c] = rng_float(&b->r);
            }
            fvi_kv_seq_write(b->seq, layer, i, 1, row, k_row, row + k_row, v_row);
        }
    }
    fvi_kv_seq_end_turn(b->seq);
}

static inline void bench_close(bench *b)
{
    fvi_kv_obs_unref(&b->obs);
    fvi_kv_seq_free(&b->seq);
    if (b->pool != NULL) {
        assert_int_equal(fvi_kv_pool_used(b->pool), 0);
        fvi_kv_pool_free(&b->pool);
    }
}

static inline fvi_recipe recipe_of(const char *text)
{
    fvi_recipe recipe;
    fovea_error err = {.text = ""};
    if (fvi_recipe_parse(text, &recipe, &err) < 0) {
        fail_msg("%s: %s", text, err.text);
    }
    return recipe;
}

static inline fvi_kv_plan *plan_of(bench *b, const char *text)
{
    fvi_recipe recipe = recipe_of(text);
    fvi_kv_plan *plan = NULL;
    fovea_error err = {.text = ""};
    if (fvi_kv_plan_make(b->seq, &recipe, b->obs, &plan, &err) < 0) {
        fail_msg("%s: %s", text, err.text);
    }
    return plan;
}

static inline uint32_t kept_of(const fvi_kv_plan *plan, uint32_t list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_token; i++) {
        n += plan->kind[(size_t)list * plan->n_token + i] != FVI_KV_DROP;
    }
    return n;
}

/* Text only, one image, four images, an image last, two images one after another and no text behind them. */
static inline void shaped_prompt(bench *b, uint32_t shape)
{
    rng *r = &b->r;
    b->prompt = (test_prompt){.n_span = 0};
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 1 + rng_below(r, shape == 0 ? 300 : 20));
    uint32_t n_image = shape == 0 ? 0 : shape == 2 ? 4 : shape == 4 ? 2 : 1;
    for (uint32_t i = 0; i < n_image; i++) {
        test_prompt_add(&b->prompt, FOVEA_MODALITY_VISION, 64 + rng_below(r, 200));
        if (shape < 3) {
            test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 1 + rng_below(r, 30));
        }
    }
}

static inline bool is_kept(const fvi_kv_plan *plan, uint32_t list, uint32_t token)
{
    return plan->kind[(size_t)list * plan->n_token + token] != FVI_KV_DROP;
}

#endif
