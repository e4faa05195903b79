/* rotate.c - the rotation of the -rot kinds (codec.h). Called by codecs and by kernels that attend to rotated
 * codes. */
#include "sdk/ops/codec.h"

#include <math.h>

void fvi_rotate(float *x, uint32_t d)
{
    while (d > 0) {
        uint32_t n = fvi_rotate_block(d);
        float norm = 1.0f / sqrtf((float)n);
        for (uint32_t half = 1; half < n; half *= 2) {
            for (uint32_t at = 0; at < n; at += 2 * half) {
                for (uint32_t i = at; i < at + half; i++) {
                    float a = x[i], b = x[i + half];
                    x[i] = a + b;
                    x[i + half] = a - b;
                }
            }
        }
        for (uint32_t i = 0; i < n; i++) {
            x[i] *= norm;
        }
        x += n;
        d -= n;
    }
}
