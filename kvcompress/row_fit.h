/* row_fit.h - what the rows of a run have in common: their means, directions of variance and ranges along them.
 *
 * Three walks over the rows, each in any pieces:
 *     fvi_row_fit_in, _turn, fvi_row_fit_add ..   moments
 *     fvi_row_fit_solve, fvi_row_fit_span ..      directions (LAPACK), then the range of the rows along each
 *     codec->settle, codec->encode ..             any codec that is fitted (codec_pca.c)
 * so one fit serves all kinds. Keys are turned back to the first one's position before (rope_rows.h), where they are
 * known to have been turned. Values beyond f16 are clipped to it; a NaN counts as the lowest.
 *
 * Called by rewrite.c and distortion.c. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_ROW_FIT_H
#define FOVEA_KVCOMPRESS_ROW_FIT_H

#include "sdk/ops/codec.h"

/* Of keys or of values. */
typedef struct fvi_row_axes {
    uint32_t d;
    float *shift;      /* [d] the first row: moments are of what differs from it */
    float *mean;       /* [d] sum of that, then the mean row */
    float *axis;       /* [d, d] sums of products, then directions, one a row, falling variance */
    float *variance;   /* [d] along each, over all rows */
    float *low, *high; /* [d] range of the rows along each, about the mean */
    double square;     /* mean squared length of a row */
} fvi_row_axes;

typedef struct fvi_row_fit {
    fvi_row_axes side[2];  /* keys, values */
    uint32_t n, n_spanned; /* rows that were added; and walked again */
    float base;            /* of the embedding that keys are turned back by, 0: they stay */
    uint32_t n_place;      /* rows that codecs are told of */
    uint16_t *place;       /* [FVI_FIT_ROWS] what each is turned by: 0 to 2 n - 1, rising */
    float *frequency;      /* [dk / 2] rope_rows.h */
    float *rows;           /* [FVI_ABREAST * d] some rows, less a mean */
    float *turned;         /* [FVI_ABREAST, dk] */
    float *work;           /* of the solver */
    size_t n_work;
} fvi_row_fit;

/* Bytes of a fit of rows so wide, alignment of a float; 0 beyond FVI_FIT_WIDEST. */
size_t fvi_row_fit_bytes(uint32_t dk, uint32_t dv);
/* Starts one there. */
void fvi_row_fit_in(fvi_row_fit *fit, void *memory, uint32_t dk, uint32_t dv);
/* Called before rows are added, all n of them (FVI_FIT_ROWS at most), which stand at positions at [n], rising: keys
 * were turned by them, with that base; 0: they were not. */
void fvi_row_fit_turn(fvi_row_fit *fit, float base, uint32_t n, const uint32_t *at);
void fvi_row_fit_add(fvi_row_fit *fit, uint32_t n, const float *k, size_t k_stride, const float *v,
                     size_t v_stride);
/* Directions of what was added. Where the solver fails no direction has variance. */
void fvi_row_fit_solve(fvi_row_fit *fit);
void fvi_row_fit_span(fvi_row_fit *fit, uint32_t n, const float *k, size_t k_stride, const float *v,
                      size_t v_stride);
/* Not all rows are going to be encoded, but the first of every `stride`. */
void fvi_row_fit_thin(fvi_row_fit *fit, uint32_t stride);

/* Writes rows 0..n-1 of a run at once, fitted to them where its kind wants that; keys stand at positions at [n], rising
 * (NULL: 0..), and were turned by them with that base, 0: they were not. memory: fvi_row_fit_bytes. Called by tests and
 * benches, which fill runs themselves. */
void fvi_run_store(const fvi_codec *codec, uint8_t *run, uint32_t capacity, uint32_t dk,
                   uint32_t dv, uint32_t n, const float *k, size_t k_stride, const float *v,
                   size_t v_stride, float base, const uint32_t *at, void *memory);

#define FVI_ABREAST 16 /* rows that lie as columns, side by side: sums over them vectorise */

/* Up to FVI_ABREAST rows less `from`, clipped to f16, as columns; missing ones are zero. */
void fvi_rows_abreast(float *rows, uint32_t d, uint32_t n, const float *x, size_t stride,
                      const float *from);
/* One channel of them. */
typedef float fvi_abreast __attribute__((vector_size(FVI_ABREAST * sizeof(float)), aligned(4),
                                      may_alias));
/* Their products with a direction. rows: [d][FVI_ABREAST] */
static inline void fvi_along(const float *direction, const float *rows, uint32_t d,
                             float out[FVI_ABREAST])
{
    const fvi_abreast *at = (const fvi_abreast *)rows;
    fvi_abreast sum = {0};
    uint32_t c = 0;
    for (; c + 4 <= d; c += 4) {
        sum += direction[c] * at[c] + direction[c + 1] * at[c + 1] + direction[c + 2] * at[c + 2] +
               direction[c + 3] * at[c + 3];
    }
    for (; c < d; c++) {
        sum += direction[c] * at[c];
    }
    *(fvi_abreast *)out = sum;
}

#endif
