/* attn_pca_avx2.h - attention over runs by principal components (pca.h), against their codes.
 *
 * A key is mean + sum of (code * scale + min) direction, so score = q . mean + sum of (q . direction)(code *
 * scale + min): once q is multiplied with a part's few directions, a token costs a product for each of them
 * instead of one for each channel. Values are summed along directions first and become channels once a part.
 * Where keys are turned (pca.h) the sum of q's turned products would be as long as a key, so a key is made once, turned,
 * and multiplied with all heads' queries.
 * Sums run over tokens in blocks of FVI_PCA_BLOCK of a part. Included by attn_chunk_avx2.h. */
#ifndef FOVEA_OPS_ATTN_PCA_AVX2_H
#define FOVEA_OPS_ATTN_PCA_AVX2_H

#include "sdk/ops/pca.h"
#include "sdk/ops/simd_avx2.h"

#define FVI_PCA_AT_ONCE 2 /* blocks whose values are summed together */

typedef struct fvi_pca_scratch {
    float *
        factor; /* [components, group] queries along directions, times scales; weights of two blocks */
    float *base;      /* [group] what does not depend on codes */
    float *along;     /* [components, group, 8] weighted sums of codes, by lane */
    float *direction; /* [max(dk, dv) rounded] */
    float *axes;      /* [components, dk rounded] */
    float *affine;    /* [components, 2] */
    float *code;      /* [components, FVI_PCA_BLOCK] along axes */
    float *key;       /* [dk rounded, FVI_PCA_BLOCK] */
    float *frequency; /* [dk / 2 rounded to 8] */
    float *
        ahead; /* [dk / 2, 2, FVI_PCA_BLOCK] cosines and sines of a place and those behind it, seen from it */
    float *anchor; /* [2, dk / 2 rounded] those of a block's first place */
} fvi_pca_scratch;

/* Most components of K or V. */
static inline uint32_t fvi_pca_most(uint32_t dk, uint32_t dv)
{
    return FVI_MAX(1u, (dk + dv) / 2);
}

/* Tokens of a run of one kind, first..first+n-1 of it. */
typedef struct fvi_pca_stretch {
    const fvi_pca_shape *shape;
    const uint8_t *run;
    uint32_t capacity, dk, dv, first, n;
} fvi_pca_stretch;

/* score [group, stride] from queries q [group, dk]. */
void fvi_pca_scores_avx2(const fvi_pca_stretch *s, const float *q, uint32_t group,
                         const fvi_pca_scratch *scratch, float *score, size_t stride);
/* Adds the values weighted by e [group, e_stride] to acc [group, acc_stride]. */
void fvi_pca_values_avx2(const fvi_pca_stretch *s, const float *e, size_t e_stride, uint32_t group,
                         const fvi_pca_scratch *scratch, float *acc, size_t acc_stride);

#endif
