/* fit_run.h - a run of any kind written at once, fitted before where its kind wants that.
 * Included by tests that fill runs themselves. */
#ifndef FOVEA_TESTS_KVCOMPRESS_FIT_RUN_H
#define FOVEA_TESTS_KVCOMPRESS_FIT_RUN_H

#include "kvcompress/row_fit.h"

#include <stdlib.h>

/* fvi_run_store with memory of its own. */
static inline void store_run(const fvi_codec *codec, uint8_t *run, uint32_t capacity, uint32_t dk,
                             uint32_t dv, uint32_t n, const float *k, size_t k_stride,
                             const float *v, size_t v_stride, float base, const uint32_t *at)
{
    void *memory = malloc(fvi_row_fit_bytes(dk, dv) + 1);
    fvi_run_store(codec, run, capacity, dk, dv, n, k, k_stride, v, v_stride, base, at, memory);
    free(memory);
}

#endif
