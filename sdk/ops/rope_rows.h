/* rope_rows.h - rows of keys turned as rotary position embedding turns them, and back.
 *
 * Channel i of a row of d goes with i + d / 2; the pair is turned by position * base^(-2 i / d) (Su et al. 2021, in
 * the half-split order of Llama and Qwen2). Cosines and sines are polynomials in plain C that vectorise: the same bits
 * for a position whatever it is asked together with. Positions below 2^16.
 *
 * Included by codec_pca.c, row_fit.c and by attention kernels. Threads: any. */
#ifndef FOVEA_OPS_ROPE_ROWS_H
#define FOVEA_OPS_ROPE_ROWS_H

#include <math.h>
#include <stdint.h>

/* Angles of a pair per position: out [d / 2]. */
static inline void fvi_rope_frequencies(float base, uint32_t d, float *out)
{
    float step = -2.0f * log2f(base) / (float)d;
    for (uint32_t i = 0; i < d / 2; i++) {
        out[i] = exp2f(step * (float)i);
    }
}

/* Of one position: cosine, sine [half]. Within 2e-7, from the nearest multiple of pi / 2 (Cody and Waite) by Taylor. */
static inline void fvi_rope_angles(const float *restrict frequency, uint32_t half,
                                   uint32_t position, float *restrict cosine, float *restrict sine)
{
    for (uint32_t i = 0; i < half; i++) {
        float x = (float)position * frequency[i];
        int32_t quarter = (int32_t)(x * 0.63661977f + 0.5f);
        float n = (float)quarter;
        float r = x - n * 1.5703125f - n * 4.837513e-4f - n * 7.54979e-8f, z = r * r;
        float s = r + r * z *
                          (-1.6666667e-1f +
                           z * (8.3333333e-3f + z * (-1.9841270e-4f + z * 2.7557319e-6f)));
        float c =
            1.0f + z * (-0.5f + z * (4.1666667e-2f + z * (-1.3888889e-3f + z * 2.4801587e-5f)));
        float first = (quarter & 1) != 0 ? s : c, second = (quarter & 1) != 0 ? c : s;
        cosine[i] = ((quarter + 1) & 2) != 0 ? -first : first;
        sine[i] = (quarter & 2) != 0 ? -second : second;
    }
}

/* A row of 2 half channels, by these angles. */
static inline void fvi_rope_row(float *restrict row, uint32_t half, const float *restrict cosine,
                                const float *restrict sine)
{
    for (uint32_t i = 0; i < half; i++) {
        float x = row[i], y = row[i + half];
        row[i] = x * cosine[i] - y * sine[i];
        row[i + half] = y * cosine[i] + x * sine[i];
    }
}

static inline void fvi_rope_row_back(float *restrict row, uint32_t half,
                                     const float *restrict cosine, const float *restrict sine)
{
    for (uint32_t i = 0; i < half; i++) {
        float x = row[i], y = row[i + half];
        row[i] = x * cosine[i] + y * sine[i];
        row[i + half] = y * cosine[i] - x * sine[i];
    }
}

#endif
