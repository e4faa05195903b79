/* kv_test.h - what the tests of kvcompress share: random numbers, small geometries, prompts. */
#ifndef FOVEA_TESTS_KV_TEST_H
#define FOVEA_TESTS_KV_TEST_H

#include "kvcompress/codecs.h"
#include "kvcompress/plan.h"
#include "tests/fault/fault_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct rng {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *self)
{
    self->state ^= self->state << 13;
    self->state ^= self->state >> 7;
    self->state ^= self->state << 17;
    return self->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 .. n - 1 */
static inline uint32_t rng_below(rng *self, uint32_t n)
{
    return (uint32_t)((rng_next(self) >> 32) * n >> 32);
}

/* -1 .. 1 */
static inline float rng_float(rng *self)
{
    return (float)((double)(rng_next(self) >> 11) * 0x1p-52 - 1);
}

#define KV_TEST_MAX_LAYER 8

typedef struct test_geom {
    fvi_kv_geom geom;
    fvi_kv_layer_geom layers[KV_TEST_MAX_LAYER];
} test_geom;

static inline void test_geom_same(test_geom *self, uint32_t n_layer, uint32_t n_kv_head, uint32_t d,
                                  fovea_kind base)
{
    for (uint32_t i = 0; i < n_layer; i++) {
        self->layers[i] = (fvi_kv_layer_geom){2 * n_kv_head, n_kv_head, d, d};
    }
    self->geom = (fvi_kv_geom){.n_layer = n_layer, .layers = self->layers, .base = base};
}

/* The default model's: 8 layers, 2 KV heads, 64 wide. */
static inline void test_geom_default(test_geom *self)
{
    test_geom_same(self, 8, 2, 64, FOVEA_KIND_F16);
}

/* Layers that differ in heads and widths. */
static inline void test_geom_random(test_geom *self, rng *r)
{
    uint32_t n_layer = 1 + rng_below(r, 4);
    for (uint32_t i = 0; i < n_layer; i++) {
        uint32_t n_kv_head = 1 + rng_below(r, 3);
        self->layers[i] = (fvi_kv_layer_geom){n_kv_head * (1 + rng_below(r, 3)), n_kv_head,
                                              2 + 2 * rng_below(r, 20), 2 + 2 * rng_below(r, 20)};
    }
    self->geom = (fvi_kv_geom){.n_layer = n_layer,
                               .layers = self->layers,
                               .base = rng_below(r, 4) == 0 ? FOVEA_KIND_F32 : FOVEA_KIND_F16};
}

typedef struct test_prompt {
    fvi_kv_span spans[16];
    uint32_t n_span, n_token;
} test_prompt;

static inline void test_prompt_add(test_prompt *self, fovea_modality modality, uint32_t n)
{
    if (n == 0) {
        return;
    }
    self->spans[self->n_span++] =
        (fvi_kv_span){.first = self->n_token, .n = n, .modality = (uint8_t)modality};
    self->n_token += n;
}

static inline void test_prompt_random(test_prompt *self, rng *r, uint32_t most_text,
                                      uint32_t most_vision)
{
    *self = (test_prompt){.n_span = 0};
    uint32_t n_image = rng_below(r, 4);
    test_prompt_add(self, FOVEA_MODALITY_TEXT, rng_below(r, most_text));
    for (uint32_t i = 0; i < n_image; i++) {
        test_prompt_add(self, FOVEA_MODALITY_VISION, 1 + rng_below(r, most_vision));
        test_prompt_add(self, FOVEA_MODALITY_TEXT, rng_below(r, most_text));
    }
    if (self->n_token == 0) {
        test_prompt_add(self, FOVEA_MODALITY_TEXT, 1 + rng_below(r, most_text));
    }
}

#endif
