/* merge_test.h - what the tests of merging share: one list that a merger is given, mergers by name, and
 * nearest keys in double. */
#ifndef FOVEA_TESTS_MERGE_TEST_H
#define FOVEA_TESTS_MERGE_TEST_H

#include "kv_bench.h"

#define MAX_TOKEN 640
#define DROP      FVI_KV_DROP
#define KEEP      FOVEA_KIND_F16

/* One list: rows of dk and 1 numbers; the values tell which tokens went into a row. */
typedef struct few {
    fvi_merge_list list;
    fvi_merging merging;
    uint8_t kind[MAX_TOKEN], modality[MAX_TOKEN], always[MAX_TOKEN];
    float mass[MAX_TOKEN];
    fvi_kv_obs obs;
    fvi_merge_work work;
    void *memory;
} few;

static inline const fvi_merger *merger_of(const char *name)
{
    uint32_t i = 0;
    while (strcmp(fvi_merger_at(i)->name, name) != 0) {
        i++;
    }
    return fvi_merger_at(i);
}

static inline void few_open(few *f, const char *merger, uint32_t n_token, uint32_t dk, uint32_t dv)
{
    assert_true(n_token <= MAX_TOKEN);
    *f = (few){.list = {.n_token = n_token, .dk = dk, .dv = dv}};
    const fvi_kv_layer_geom layer = {1, 1, dk, dv};
    const fvi_kv_geom geom = {.n_layer = 1, .layers = &layer, .base = FOVEA_KIND_F16};
    f->list.kind = f->kind;
    f->obs.plane[FVI_PLANE_WINDOW_MASS] = f->mass;
    f->merging = (fvi_merging){.obs = &f->obs, .modality = f->modality, .always = f->always};
    f->merging.merger[FOVEA_MODALITY_VISION] = merger_of(merger);
    memset(f->modality, FOVEA_MODALITY_VISION, sizeof f->modality);
    memset(f->kind, KEEP, sizeof f->kind);
    size_t n_bytes = fvi_merge_work_bytes(&geom, n_token);
    f->memory =
        fvi_alloc(&fvi_alloc_default, n_bytes); /* exact, so that a sanitizer sees its end */
    f->work = fvi_merge_work_in(f->memory, n_token, dk, dv);
    assert_ptr_equal((uint8_t *)f->memory + n_bytes, f->work.nearest + n_token);
}

static inline void few_close(few *f)
{
    fvi_free(&fvi_alloc_default, f->memory);
}

/* The nearest token that may be changed, in double; n_token: there is none. */
static inline uint32_t nearest_of(const few *f, const float *k, uint32_t token)
{
    uint32_t d = f->list.dk, best = f->list.n_token;
    double most = -2;
    for (uint32_t t = 0; t < f->list.n_token; t++) {
        if (f->kind[t] == DROP || f->always[t] != 0 || f->modality[t] != f->modality[token]) {
            continue;
        }
        double dot = 0, a = 0, b = 0;
        for (uint32_t c = 0; c < d; c++) {
            dot += (double)k[t * d + c] * k[token * d + c];
            a += (double)k[t * d + c] * k[t * d + c];
            b += (double)k[token * d + c] * k[token * d + c];
        }
        if (dot / sqrt(a * b) > most) {
            most = dot / sqrt(a * b);
            best = t;
        }
    }
    return best;
}

#endif
