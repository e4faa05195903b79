/* apportion.h - dividing a whole number of slots exactly by weights, between bounds.
 *
 * Largest remainders after clipping: entries at a bound are fixed and the rest is shared out again among
 * the others (papers: VL-Cache does not renormalise after its clip; we do). Called by plan.c. */
#ifndef FOVEA_KVCOMPRESS_APPORTION_H
#define FOVEA_KVCOMPRESS_APPORTION_H

#include "sdk/base/base.h"

/* sum(out) == total when n * low <= total <= sum(high), low <= out[i] <= high[i]. Ties of remainders go
 * to the lower index. scratch: [n]. Returns FOVEA_ERR_ARG when total cannot be met. */
fovea_status fvi_apportion(const double *weights /* [n] */, uint32_t n, uint64_t total,
                           uint32_t low, const uint32_t *high /* [n] */, double *scratch,
                           uint32_t *out /* [n] */);

#endif
