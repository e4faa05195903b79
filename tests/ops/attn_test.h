/* attn_test.h - what the tests of attention share: lists with runs of any kinds, a double-precision oracle, and how
 * far from it a kernel may lie.
 *
 * Include after cmocka's prerequisites; everything is static inline. */
#ifndef FOVEA_TESTS_OPS_ATTN_TEST_H
#define FOVEA_TESTS_OPS_ATTN_TEST_H

#include "tests/kvcompress/fit_run.h"

#include "tests/ops/ops_test.h"

#include "kvcompress/codecs.h"

/* A list that the test owns: the tokens in plain numbers, their kinds, and one division into runs. */
typedef struct cache {
    uint32_t n, dk, dv;
    float *k, *v;           /* [n, dk], [n, dv] as given to the codecs */
    fovea_kind *kinds;      /* [n] */
    float *k_seen, *v_seen; /* as the codecs give them back */
    fvi_list_view list;
    fvi_run_view *runs; /* [n] */
} cache;

static inline void free_runs(cache *c)
{
    for (uint32_t i = 0; i < c->list.n_run; i++) {
        release(c->runs[i].data);
    }
    c->list.n_run = 0;
}

/* Divides the tokens into runs: ends where the kind changes, or by chance, one in `mean`. */
static inline void divide(cache *c, uint64_t *seed, uint32_t mean)
{
    free_runs(c);
    for (uint32_t first = 0; first < c->n;) {
        uint32_t n = 1;
        while (first + n < c->n && c->kinds[first + n] == c->kinds[first] &&
               random_below(seed, mean) != 0) {
            n++;
        }
        const fvi_codec *codec = fvi_codec_of(c->kinds[first]);
        uint32_t capacity =
            n + (codec->codes.k_channel || codec->fit_rows != NULL ? 0 : random_below(seed, 3));
        uint8_t *data = must_alloc(fvi_codec_bytes(codec, capacity, c->dk, c->dv));
        uint64_t own = n; /* rows do not depend on what is drawn here */
        uint32_t *at = must_alloc(n * sizeof *at), place = 0, gap = 1 + random_below(&own, 3);
        for (uint32_t i = 0; i < n; i++) {
            place += 1 + random_below(&own, gap); /* one run in three: without gaps */
            at[i] = place;
        }
        store_run(codec, data, capacity, c->dk, c->dv, n, c->k + (size_t)first * c->dk, c->dk,
                  c->v + (size_t)first * c->dv, c->dv, n % 2 == 0 ? 10000 : 0, at);
        release(at);
        fvi_codec_decode(codec, data, capacity, c->dk, c->dv, 0, n,
                         c->k_seen + (size_t)first * c->dk, c->dk,
                         c->v_seen + (size_t)first * c->dv, c->dv);
        c->runs[c->list.n_run++] = (fvi_run_view){data, codec, n, capacity};
        first += n;
    }
    c->list.runs = c->runs;
    c->list.n_token = c->n;
}

/* Mixtures in stretches by chance: of kinds whose codes do not depend on the runs, and of all. */
enum { MIX_TOKEN = FOVEA_N_KIND, MIX_ALL };

static inline cache make_cache(uint64_t *seed, uint32_t n, uint32_t dk, uint32_t dv, uint32_t kind)
{
    static const fovea_kind mixed[] = {
        FOVEA_KIND_F16,       FOVEA_KIND_INT8,      FOVEA_KIND_INT4,      FOVEA_KIND_INT2,
        FOVEA_KIND_INT4_ROT,  FOVEA_KIND_INT2_ROT,  FOVEA_KIND_INT4_CHAN, FOVEA_KIND_INT2_CHAN,
        FOVEA_KIND_INT4_KIVI, FOVEA_KIND_INT2_KIVI, FOVEA_KIND_PCA_8};
    uint32_t n_mixed = kind == MIX_ALL ? FVI_COUNT(mixed) : 6;
    cache c = {.n = n, .dk = dk, .dv = dv};
    c.k = random_floats(seed, (size_t)n * dk, 1);
    c.v = random_floats(seed, (size_t)n * dv, 1);
    for (size_t i = 0; i < (size_t)n * dv; i++) {
        c.v[i] += 0.5f; /* an average that stands out from rounding */
    }
    c.k_seen = must_alloc((size_t)n * dk * sizeof(float));
    c.v_seen = must_alloc((size_t)n * dv * sizeof(float));
    c.kinds = must_alloc(n * sizeof *c.kinds);
    c.runs = must_alloc(n * sizeof *c.runs);
    for (uint32_t i = 0; i < n; i++) {
        bool again = i > 0 && random_below(seed, 40) != 0;
        c.kinds[i] = kind < FOVEA_N_KIND ? (fovea_kind)kind
                     : again             ? c.kinds[i - 1]
                                         : mixed[random_below(seed, n_mixed)];
    }
    divide(&c, seed, 1000000);
    return c;
}

static inline void free_cache(cache *c)
{
    free_runs(c);
    release(c->k);
    release(c->v);
    release(c->k_seen);
    release(c->v_seen);
    release(c->kinds);
    release(c->runs);
}

/* One query head over n tokens in double: out [dv], p [n], and log-sum-exp. */
static inline double oracle(const float *q, const float *k, size_t k_stride, const float *v,
                            size_t v_stride, uint32_t n, uint32_t dk, uint32_t dv, double scale,
                            double *p, double *out)
{
    double max = -HUGE_VAL, sum = 0;
    for (uint32_t t = 0; t < n; t++) {
        p[t] = 0;
        for (uint32_t i = 0; i < dk; i++) {
            p[t] += (double)q[i] * k[t * k_stride + i];
        }
        p[t] *= scale;
        max = fmax(max, p[t]);
    }
    for (uint32_t t = 0; t < n; t++) {
        p[t] = exp(p[t] - max);
        sum += p[t];
    }
    for (uint32_t i = 0; i < dv; i++) {
        out[i] = 0;
        for (uint32_t t = 0; t < n; t++) {
            out[i] += p[t] / sum * v[t * v_stride + i];
        }
    }
    for (uint32_t t = 0; t < n; t++) {
        p[t] /= sum;
    }
    return max + log(sum);
}

/* The reference computes in double, whatever the kind. */
static inline double tolerance_of(uint32_t kind, uint32_t features, bool bf16)
{
    bool avx512 = (features & FOVEA_CPU_AVX512) != 0;
    if (kind == FOVEA_KIND_F32 || (!avx512 && (features & FOVEA_CPU_AVX2) == 0)) {
        return TOL_ATTN_F32;
    }
    bool mixed = kind >= FOVEA_N_KIND;
    bool is_pca = kind >= FOVEA_KIND_PCA_32;
    const fvi_code_layout *codes = mixed ? NULL : &fvi_codec_of((fovea_kind)kind)->codes;
    bool avx2 = (features & FOVEA_CPU_AVX2) != 0, vnni = (features & FOVEA_CPU_AVX512_BF16) != 0;
    /* queries of one byte; of AVX-512 alone rotated codes are decoded, and without VNNI all are */
    bool bytes = (avx2 || vnni) && (mixed || (codes->bits < 8 && (avx2 || !codes->rotated)));
    return bf16                     ? TOL_ATTN_BF16
           : kind == FOVEA_KIND_F16 ? TOL_ATTN_F16
           : !mixed && is_pca       ? TOL_ATTN_PCA
           : bytes                  ? TOL_ATTN_BYTE
                                    : TOL_ATTN_INT8;
}

#endif
