/* scene.h - what the walks over the tables share: random geometries, prompts, observations, a first turn.
 *
 * Shapes: 1 to 3,000 tokens, one prompt in 32 of exactly 3,000; 1 to 3 layers of 1 to 4 KV heads with 1 to 8
 * query heads each, 32 to 256 wide. */
#ifndef FOVEA_TESTS_SCENE_H
#define FOVEA_TESTS_SCENE_H

#include "tests/kvcompress/kv_bench.h"

#include <stdio.h>

#define MOST_TOKEN 3000
#define MOST_WIDTH (4 * 256) /* of a row of all heads */

typedef struct scene {
    rng r;
    test_geom g;
    test_prompt prompt;
    uint32_t n_list;
} scene;

/* MOST_TOKEN of them: text, a picture, text, each of any length. */
static inline void longest_prompt(test_prompt *prompt, rng *r)
{
    uint32_t one = rng_below(r, MOST_TOKEN + 1), other = rng_below(r, MOST_TOKEN + 1);
    uint32_t first = FVI_MIN(one, other), last = FVI_MAX(one, other);
    *prompt = (test_prompt){.n_span = 0};
    test_prompt_add(prompt, FOVEA_MODALITY_TEXT, first);
    test_prompt_add(prompt, FOVEA_MODALITY_VISION, last - first);
    test_prompt_add(prompt, FOVEA_MODALITY_TEXT, MOST_TOKEN - last);
}

static inline void random_prompt(test_prompt *prompt, rng *r)
{
    uint32_t most = rng_below(r, 5) == 0 ? 4 : MOST_TOKEN / 20;
    test_prompt_random(prompt, r, most, most);
}

static inline void random_scene(scene *s, uint64_t seed)
{
    static const uint32_t widths[] = {32, 48, 64, 80, 96, 128, 256};
    *s = (scene){.r = {.state = seed}};
    uint32_t n_layer = 1 + rng_below(&s->r, 3), group = 1 + rng_below(&s->r, 8);
    uint32_t n_kv_head = 1 + rng_below(&s->r, 4), d = widths[rng_below(&s->r, FVI_COUNT(widths))];
    test_geom_same(&s->g, n_layer, n_kv_head, d, FOVEA_KIND_F16);
    for (uint32_t i = 0; i < n_layer; i++) {
        s->g.layers[i].n_head = n_kv_head * group;
    }
    if (seed % 32 == 0) {
        longest_prompt(&s->prompt, &s->r);
    } else {
        random_prompt(&s->prompt, &s->r);
    }
    for (uint32_t i = 0; i < s->prompt.n_span; i++) {
        fvi_kv_span *span = &s->prompt.spans[i];
        bool is_vision = span->modality == FOVEA_MODALITY_VISION;
        span->grid_width = is_vision ? (uint16_t)(1 + rng_below(&s->r, 64)) : 0;
    }
    s->n_list = fvi_kv_geom_n_list(&s->g.geom);
}

static inline fvi_kv_obs *observations(scene *s, uint32_t needs)
{
    fvi_kv_obs *obs = NULL;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &s->g.geom, s->prompt.n_token, needs, &obs),
                     FOVEA_OK);
    uint32_t sort = rng_below(&s->r, 4); /* nothing, all the same, or as it comes */
    for (uint32_t plane = 0; plane < FVI_N_PLANE; plane++) {
        float *values = obs->plane[plane];
        for (size_t i = 0; values != NULL && i < (size_t)s->n_list * obs->n_token; i++) {
            values[i] = sort == 0 ? 0 : sort == 1 ? 1 : expf(8 * rng_float(&s->r));
        }
    }
    fvi_kv_obs_set_spans(obs, s->prompt.spans, s->prompt.n_span);
    for (uint32_t i = 0; obs->density != NULL && i < obs->n_layer; i++) {
        obs->density[i] = sort == 0 ? 0 : sort == 1 ? 1 : fabs(rng_float(&s->r));
    }
    return obs;
}

/* A row that tells its position, exactly in every base kind. */
static inline void numbered_row(uint32_t position, uint32_t n_head, uint32_t d, float *row)
{
    memset(row, 0, (size_t)n_head * d * sizeof *row);
    for (uint32_t head = 0; head < n_head; head++) {
        row[(size_t)head * d] = (float)(position % 64);
        row[(size_t)head * d + 1] = (float)(position / 64);
    }
}

/* A sequence whose first turn is the scene's prompt; numbered: its rows are, otherwise they are what the pool
 * holds. */
static inline void open_turn(scene *s, bool numbered, uint32_t n_generate, fvi_kv_pool **pool,
                             fvi_kv_seq **seq)
{
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, (size_t)256 << 20,
                                     fvi_kv_geom_granule(&s->g.geom), pool),
                     FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, *pool, &s->g.geom, seq), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(*seq, s->prompt.spans, s->prompt.n_span, n_generate),
                     FOVEA_OK);
    for (uint32_t layer = 0; layer < s->g.geom.n_layer; layer++) {
        assert_int_equal(fvi_kv_seq_open_layer(*seq, layer), FOVEA_OK);
        uint32_t n_head = s->g.layers[layer].n_kv_head, d = s->g.layers[layer].dk;
        for (uint32_t i = 0; numbered && i < s->prompt.n_token; i++) {
            float row[MOST_WIDTH];
            numbered_row(i, n_head, d, row);
            fvi_kv_seq_write(*seq, layer, i, 1, row, (size_t)n_head * d, row, (size_t)n_head * d);
        }
    }
    fvi_kv_seq_end_turn(*seq);
}

#endif
