/* attn_pca_avx2.c - the kernels of attn_pca_avx2.h.
 *
 * A component's codes of 16 tokens lie in 2, 4 or 8 times 16 bits; shifted by lane and masked they are two vectors
 * that all heads share. Called by attn_chunk_avx2.c. */
#include "sdk/ops/attn_pca_avx2.h"

#define HEADS 4 /* of a group at a time: twice as many sums stay in registers */

/* One part of a run, keys or values, and its tokens that are wanted. */
typedef struct part {
    fvi_pca_layout at;
    fvi_pca_side side;
    const fvi_pca_shape *shape;
    const uint8_t *data, *mean;
    uint32_t d, first, n; /* tokens, in the part */
} part;

static part part_at(const fvi_pca_stretch *s, uint32_t first, bool values)
{
    fvi_pca_part own = fvi_pca_part_of(s->shape, s->capacity, s->dk, s->dv, first);
    part p = {.at = fvi_pca_layout_of(s->shape, own.n, s->dk, s->dv),
              .shape = s->shape,
              .data = s->run + own.at,
              .d = values ? s->dv : s->dk,
              .first = first - own.first,
              .n = FVI_MIN(s->first + s->n, own.first + own.n) - first};
    p.side = fvi_pca_side_of(&p.at, p.data, own.n, values);
    p.mean = p.data + p.at.mean + (values ? (size_t)s->dk * 2 : 0);
    return p;
}

/* Scale and minimum of a component's codes. */
static void affine_of(const part *p, uint32_t nth, float *scale, float *min)
{
    const uint8_t *at = p->data + p->at.scales + (size_t)(p->side.first + nth) * 6;
    *scale = fvi_pca_f16(at + 2);
    *min = fvi_pca_f16(at + 4);
}

/* The codes of a block's 16 tokens of a component; *at moves behind them. */
FVI_INLINE void take_codes(const uint8_t **at, uint32_t n_bit, __m256 *low, __m256 *high)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i a, b;
    if (n_bit == 2) {
        uint32_t word;
        memcpy(&word, *at, sizeof word);
        __m256i shift = _mm256_slli_epi32(lane, 1), all = _mm256_set1_epi32((int)word);
        a = _mm256_srlv_epi32(all, shift);
        b = _mm256_srlv_epi32(_mm256_srli_epi32(all, 16), shift);
    } else if (n_bit == 4) {
        uint32_t word[2];
        memcpy(word, *at, sizeof word);
        __m256i shift = _mm256_slli_epi32(lane, 2);
        a = _mm256_srlv_epi32(_mm256_set1_epi32((int)word[0]), shift);
        b = _mm256_srlv_epi32(_mm256_set1_epi32((int)word[1]), shift);
    } else {
        __m128i bytes = _mm_loadu_si128((const void *)*at);
        a = _mm256_cvtepu8_epi32(bytes);
        b = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
    }
    __m256i mask = _mm256_set1_epi32((1 << n_bit) - 1);
    *low = _mm256_cvtepi32_ps(_mm256_and_si256(a, mask));
    *high = _mm256_cvtepi32_ps(_mm256_and_si256(b, mask));
    *at += 2 * n_bit;
}

/* A product with channels of a direction, or of the mean. */
static float product(const float *a, const float *b, uint32_t d)
{
    __m256 sum = _mm256_setzero_ps();
    for (uint32_t c = 0; c < d; c += 8) {
        sum = _mm256_fmadd_ps(fvi_load8(a + c, d - c), fvi_load8(b + c, d - c), sum);
    }
    return fvi_sum1(sum);
}

static void load_mean(const part *p, float *out)
{
    for (uint32_t c = 0; c < p->d; c++) {
        out[c] = fvi_pca_f16(p->mean + (size_t)c * 2);
    }
}

static void project(const part *p, const float *q, uint32_t group, const fvi_pca_scratch *scratch)
{
    load_mean(p, scratch->direction);
    for (uint32_t h = 0; h < group; h++) {
        scratch->base[h] = product(q + (size_t)h * p->d, scratch->direction, p->d);
    }
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        float scale, min;
        affine_of(p, nth, &scale, &min);
        fvi_pca_direction(p->shape, &p->at, p->data, p->side.first + nth, p->d, scratch->direction);
        for (uint32_t h = 0; h < group; h++) {
            float along = product(q + (size_t)h * p->d, scratch->direction, p->d);
            scratch->factor[(size_t)nth * group + h] = along * scale;
            scratch->base[h] += along * min;
        }
    }
}

/* Scores of a block's 16 tokens for n heads. */
FVI_INLINE void score_block(const part *p, const uint8_t *codes, const float *factor,
                            uint32_t group, uint32_t n, const float *base,
                            float out[HEADS][FVI_PCA_BLOCK])
{
    __m256 sum[HEADS][2];
    for (uint32_t h = 0; h < n; h++) {
        sum[h][0] = sum[h][1] = _mm256_set1_ps(base[h]);
    }
    for (uint32_t nth = 0; nth < p->side.n_all; nth++, factor += group) {
        __m256 low, high;
        take_codes(&codes, fvi_pca_bits(&p->side, nth), &low, &high);
        for (uint32_t h = 0; h < n; h++) {
            __m256 f = _mm256_set1_ps(factor[h]);
            sum[h][0] = _mm256_fmadd_ps(low, f, sum[h][0]);
            sum[h][1] = _mm256_fmadd_ps(high, f, sum[h][1]);
        }
    }
    for (uint32_t h = 0; h < n; h++) {
        _mm256_storeu_ps(out[h], sum[h][0]);
        _mm256_storeu_ps(out[h] + 8, sum[h][1]);
    }
}

void fvi_pca_scores_avx2(const fvi_pca_stretch *s, const float *q, uint32_t group,
                         const fvi_pca_scratch *scratch, float *score, size_t stride)
{
    float block[HEADS][FVI_PCA_BLOCK];
    for (uint32_t done = 0; done < s->n;) {
        part p = part_at(s, s->first + done, false);
        project(&p, q, group, scratch);
        for (uint32_t at = 0; at < p.n;) {
            uint32_t token = p.first + at, lead = token % FVI_PCA_BLOCK;
            uint32_t n = FVI_MIN(FVI_PCA_BLOCK - lead, p.n - at);
            const uint8_t *codes =
                p.data + p.side.codes + (size_t)(token / FVI_PCA_BLOCK) * p.side.n_word * 4;
            for (uint32_t h = 0; h < group; h += HEADS) {
                uint32_t n_head = FVI_MIN(group - h, HEADS);
                const float *factor = scratch->factor + h, *base = scratch->base + h;
                if (n_head == HEADS) {
                    score_block(&p, codes, factor, group, HEADS, base, block);
                } else {
                    score_block(&p, codes, factor, group, n_head, base, block);
                }
                for (uint32_t i = 0; i < n_head; i++) {
                    memcpy(score + (h + i) * stride + done + at, block[i] + lead,
                           n * sizeof **block);
                }
            }
            at += n;
        }
        done += p.n;
    }
}

/* Adds a block's codes times the weights of its tokens, lane by lane. */
static void sum_block(const part *p, const uint8_t *codes, const float *e /* [group, 16] */,
                      uint32_t group, float *along)
{
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        __m256 low, high;
        take_codes(&codes, fvi_pca_bits(&p->side, nth), &low, &high);
        for (uint32_t h = 0; h < group; h++, along += 8) {
            __m256 sum = _mm256_loadu_ps(along);
            sum = _mm256_fmadd_ps(low, _mm256_loadu_ps(e + h * FVI_PCA_BLOCK), sum);
            sum = _mm256_fmadd_ps(high, _mm256_loadu_ps(e + h * FVI_PCA_BLOCK + 8), sum);
            _mm256_storeu_ps(along, sum);
        }
    }
}

static void add_scaled(float *to, const float *x, float by, uint32_t d)
{
    for (uint32_t c = 0; c < d; c += 8) {
        __m256 sum =
            _mm256_fmadd_ps(fvi_load8(x + c, d - c), _mm256_set1_ps(by), fvi_load8(to + c, d - c));
        fvi_store8(to + c, d - c, sum);
    }
}

/* Sums along directions become channels. base [group]: sums of weights. */
static void expand(const part *p, uint32_t group, const fvi_pca_scratch *scratch, float *acc,
                   size_t acc_stride)
{
    load_mean(p, scratch->direction);
    for (uint32_t h = 0; h < group; h++) {
        add_scaled(acc + h * acc_stride, scratch->direction, scratch->base[h], p->d);
    }
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        float scale, min;
        affine_of(p, nth, &scale, &min);
        fvi_pca_direction(p->shape, &p->at, p->data, p->side.first + nth, p->d, scratch->direction);
        for (uint32_t h = 0; h < group; h++) {
            const float *along = scratch->along + ((size_t)nth * group + h) * 8;
            float sum = fvi_sum1(_mm256_loadu_ps(along)) * scale + scratch->base[h] * min;
            add_scaled(acc + h * acc_stride, scratch->direction, sum, p->d);
        }
    }
}

void fvi_pca_values_avx2(const fvi_pca_stretch *s, const float *e, size_t e_stride, uint32_t group,
                         const fvi_pca_scratch *scratch, float *acc, size_t acc_stride)
{
    float *weights = scratch->factor; /* [group, FVI_PCA_BLOCK] */
    for (uint32_t done = 0; done < s->n;) {
        part p = part_at(s, s->first + done, true);
        memset(scratch->along, 0, (size_t)p.side.n_all * group * 8 * sizeof(float));
        memset(scratch->base, 0, group * sizeof(float));
        for (uint32_t at = 0; at < p.n;) {
            uint32_t token = p.first + at, lead = token % FVI_PCA_BLOCK;
            uint32_t n = FVI_MIN(FVI_PCA_BLOCK - lead, p.n - at);
            memset(weights, 0, (size_t)group * FVI_PCA_BLOCK * sizeof *weights);
            for (uint32_t h = 0; h < group; h++) {
                float *own = weights + h * FVI_PCA_BLOCK;
                memcpy(own + lead, e + h * e_stride + done + at, n * sizeof *own);
                scratch->base[h] +=
                    fvi_sum1(_mm256_add_ps(_mm256_loadu_ps(own), _mm256_loadu_ps(own + 8)));
            }
            sum_block(&p,
                      p.data + p.side.codes + (size_t)(token / FVI_PCA_BLOCK) * p.side.n_word * 4,
                      weights, group, scratch->along);
            at += n;
        }
        expand(&p, group, scratch, acc, acc_stride);
        done += p.n;
    }
}
