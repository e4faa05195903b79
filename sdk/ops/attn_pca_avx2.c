/* attn_pca_avx2.c - the kernels of attn_pca_avx2.h.
 *
 * A component's codes of 16 tokens lie in 2, 4 or 8 times 16 bits; shifted by lane and masked they are two vectors
 * that all heads share. (Tried: keys turned as they are multiplied, with the queries turned to the block's first place: 6%
 * less for two heads, a tenth more for seven.) Called by attn_chunk_avx2.c. */
#include "sdk/ops/attn_pca_avx2.h"

#include "sdk/ops/rope_rows.h"

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
                            uint32_t group, const uint32_t n, const float *base,
                            float out[HEADS][FVI_PCA_BLOCK])
{
    __m256 sum[HEADS][2];
#pragma GCC unroll 4
    for (uint32_t h = 0; h < n; h++) {
        sum[h][0] = sum[h][1] = _mm256_set1_ps(base[h]);
    }
    for (uint32_t nth = 0; nth < p->side.n_all; nth++, factor += group) {
        __m256 low, high;
        take_codes(&codes, fvi_pca_bits(&p->side, nth), &low, &high);
#pragma GCC unroll 4
        for (uint32_t h = 0; h < n; h++) {
            __m256 f = _mm256_set1_ps(factor[h]);
            sum[h][0] = _mm256_fmadd_ps(low, f, sum[h][0]);
            sum[h][1] = _mm256_fmadd_ps(high, f, sum[h][1]);
        }
    }
#pragma GCC unroll 4
    for (uint32_t h = 0; h < n; h++) {
        _mm256_storeu_ps(out[h], sum[h][0]);
        _mm256_storeu_ps(out[h] + 8, sum[h][1]);
    }
}

/* ---- keys that are turned ---- */

static size_t padded(uint32_t d)
{
    return fvi_round_up(d, 4);
}

/* Cosines and sines as fvi_rope_angles has them. */
FVI_INLINE void angles8(__m256 x, __m256 *cosine, __m256 *sine)
{
    const __m256i one = _mm256_set1_epi32(1);
    __m256i quarter = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(0.63661977f)));
    __m256 n = _mm256_cvtepi32_ps(quarter);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.5703125f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(4.837513e-4f), r);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(7.54979e-8f), r);
    __m256 z = _mm256_mul_ps(r, r);
    __m256 s = _mm256_fmadd_ps(z, _mm256_set1_ps(2.7557319e-6f), _mm256_set1_ps(-1.9841270e-4f));
    s = _mm256_fmadd_ps(z, s, _mm256_set1_ps(8.3333333e-3f));
    s = _mm256_fmadd_ps(z, s, _mm256_set1_ps(-1.6666667e-1f));
    s = _mm256_fmadd_ps(_mm256_mul_ps(r, z), s, r);
    __m256 c = _mm256_fmadd_ps(z, _mm256_set1_ps(2.4801587e-5f), _mm256_set1_ps(-1.3888889e-3f));
    c = _mm256_fmadd_ps(z, c, _mm256_set1_ps(4.1666667e-2f));
    c = _mm256_fmadd_ps(z, c, _mm256_set1_ps(-0.5f));
    c = _mm256_fmadd_ps(z, c, _mm256_set1_ps(1.0f));
    __m256 odd =
        _mm256_castsi256_ps(_mm256_slli_epi32(quarter, 31)); /* in the sign, as blends want it */
    __m256i two = _mm256_set1_epi32(2);
    __m256i minus_c = _mm256_and_si256(_mm256_add_epi32(quarter, one), two);
    __m256i minus_s = _mm256_and_si256(quarter, two);
    *cosine = _mm256_xor_ps(_mm256_blendv_ps(c, s, odd),
                            _mm256_castsi256_ps(_mm256_slli_epi32(minus_c, 30)));
    *sine = _mm256_xor_ps(_mm256_blendv_ps(s, c, odd),
                          _mm256_castsi256_ps(_mm256_slli_epi32(minus_s, 30)));
}

/* The angles of a block's lanes, seen from its first. */
static void take_angles(const part *p, const fvi_pca_scratch *scratch)
{
    const __m256 lane = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    uint32_t half = p->d / 2;
    memset(scratch->frequency, 0, fvi_round_up(half, 8) * sizeof(float));
    fvi_rope_frequencies(fvi_pca_base(p->data), p->d, scratch->frequency);
    for (uint32_t i = 0; i < half; i++) {
        float *ahead = scratch->ahead + (size_t)i * 2 * FVI_PCA_BLOCK;
        __m256 c, s, x = _mm256_broadcast_ss(scratch->frequency + i);
        for (uint32_t at = 0; at < FVI_PCA_BLOCK; at += 8) {
            angles8(_mm256_mul_ps(x, _mm256_add_ps(lane, _mm256_set1_ps((float)at))), &c, &s);
            _mm256_storeu_ps(ahead + at, c);
            _mm256_storeu_ps(ahead + FVI_PCA_BLOCK + at, s);
        }
    }
}

/* The part's mean, directions and scales as the blocks want them. */
static void take_axes(const part *p, const fvi_pca_scratch *scratch)
{
    size_t width = padded(p->d);
    memset(scratch->direction, 0, width * sizeof(float));
    memset(scratch->axes, 0, p->side.n_all * width * sizeof(float));
    load_mean(p, scratch->direction);
    take_angles(p, scratch);
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        float *affine = scratch->affine + (size_t)nth * 2;
        affine_of(p, nth, affine, affine + 1);
        fvi_pca_direction(p->shape, &p->at, p->data, p->side.first + nth, p->d,
                          scratch->axes + nth * width);
    }
}

/* The keys of a block's 16 tokens before they are turned: scratch.key [channel][token]. */
static void make_keys(const part *p, const uint8_t *codes, const fvi_pca_scratch *scratch)
{
    size_t width = padded(p->d);
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        __m256 low, high, scale = _mm256_set1_ps(scratch->affine[(size_t)nth * 2]);
        __m256 min = _mm256_set1_ps(scratch->affine[(size_t)nth * 2 + 1]);
        take_codes(&codes, fvi_pca_bits(&p->side, nth), &low, &high);
        float *code = scratch->code + (size_t)nth * FVI_PCA_BLOCK;
        _mm256_storeu_ps(code, _mm256_fmadd_ps(low, scale, min));
        _mm256_storeu_ps(code + 8, _mm256_fmadd_ps(high, scale, min));
    }
    for (size_t c = 0; c < width; c += 4) {
        const float *axis = scratch->axes + c, *code = scratch->code;
        float *key = scratch->key + c * FVI_PCA_BLOCK;
        __m256 sum[4][2];
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            sum[i][0] = sum[i][1] = _mm256_set1_ps(scratch->direction[c + i]);
        }
        for (uint32_t nth = 0; nth < p->side.n_all; nth++, axis += width, code += FVI_PCA_BLOCK) {
            __m256 low = _mm256_loadu_ps(code), high = _mm256_loadu_ps(code + 8);
#pragma GCC unroll 4
            for (uint32_t i = 0; i < 4; i++) {
                __m256 along = _mm256_broadcast_ss(axis + i);
                sum[i][0] = _mm256_fmadd_ps(along, low, sum[i][0]);
                sum[i][1] = _mm256_fmadd_ps(along, high, sum[i][1]);
            }
        }
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++) {
            _mm256_storeu_ps(key + i * FVI_PCA_BLOCK, sum[i][0]);
            _mm256_storeu_ps(key + i * FVI_PCA_BLOCK + 8, sum[i][1]);
        }
    }
}

/* Turns a pair's channels of eight tokens. */
FVI_INLINE void turn8(float *x, float *y, __m256 c, __m256 s)
{
    __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(y);
    _mm256_storeu_ps(x, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
    _mm256_storeu_ps(y, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
}

/* Tokens of a block that stand one behind the other, the first lane's at `first` (which may lie before the part):
 * their angles are the first one's and those of the lanes. */
static void turn_straight(const part *p, const fvi_pca_scratch *scratch, int32_t first)
{
    uint32_t half = p->d / 2;
    float *cosine = scratch->anchor, *sine = cosine + fvi_round_up(half, 8);
    for (uint32_t i = 0; i < half; i += 8) {
        __m256 c, s, x = _mm256_loadu_ps(scratch->frequency + i);
        angles8(_mm256_mul_ps(x, _mm256_set1_ps((float)first)), &c, &s);
        _mm256_storeu_ps(cosine + i, c);
        _mm256_storeu_ps(sine + i, s);
    }
    for (uint32_t i = 0; i < half; i++) {
        const float *ahead = scratch->ahead + (size_t)i * 2 * FVI_PCA_BLOCK;
        float *x = scratch->key + (size_t)i * FVI_PCA_BLOCK, *y = x + (size_t)half * FVI_PCA_BLOCK;
        __m256 c = _mm256_broadcast_ss(cosine + i), s = _mm256_broadcast_ss(sine + i);
#pragma GCC unroll 2
        for (uint32_t lane = 0; lane < FVI_PCA_BLOCK; lane += 8) {
            __m256 c2 = _mm256_loadu_ps(ahead + lane);
            __m256 s2 = _mm256_loadu_ps(ahead + FVI_PCA_BLOCK + lane);
            turn8(x + lane, y + lane, _mm256_fnmadd_ps(s, s2, _mm256_mul_ps(c, c2)),
                  _mm256_fmadd_ps(c, s2, _mm256_mul_ps(s, c2)));
        }
    }
}

/* Tokens with gaps between them. */
static void turn_scattered(const part *p, const fvi_pca_scratch *scratch,
                           const uint16_t place[FVI_PCA_BLOCK])
{
    uint32_t half = p->d / 2;
    for (uint32_t lane = 0; lane < FVI_PCA_BLOCK; lane += 8) {
        __m128i words = _mm_loadu_si128((const void *)(place + lane));
        __m256 position = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(words)), c, s;
        for (uint32_t i = 0; i < half; i++) {
            float *x = scratch->key + (size_t)i * FVI_PCA_BLOCK + lane;
            angles8(_mm256_mul_ps(position, _mm256_broadcast_ss(scratch->frequency + i)), &c, &s);
            turn8(x, x + (size_t)half * FVI_PCA_BLOCK, c, s);
        }
    }
}

/* Turns the block's keys by where its n tokens from lane `lead` on stood. */
static void turn_keys(const part *p, const fvi_pca_scratch *scratch, uint32_t token, uint32_t lead,
                      uint32_t n)
{
    uint16_t place[FVI_PCA_BLOCK] = {0};
    fvi_pca_places(&p->at, p->data, token, n, place + lead);
    if (place[lead + n - 1] - place[lead] == (int32_t)n - 1) {
        turn_straight(p, scratch, (int32_t)place[lead] - (int32_t)lead);
    } else {
        turn_scattered(p, scratch, place);
    }
}

/* The block's keys times the queries of n heads. */
FVI_INLINE void multiply_keys(const part *p, const float *key, const float *q, const uint32_t n,
                              float out[HEADS][FVI_PCA_BLOCK])
{
    __m256 sum[HEADS][2];
#pragma GCC unroll 4
    for (uint32_t h = 0; h < n; h++) {
        sum[h][0] = sum[h][1] = _mm256_setzero_ps();
    }
    for (uint32_t c = 0; c < p->d; c++, key += FVI_PCA_BLOCK) {
        __m256 low = _mm256_loadu_ps(key), high = _mm256_loadu_ps(key + 8);
#pragma GCC unroll 4
        for (uint32_t h = 0; h < n; h++) {
            __m256 x = _mm256_broadcast_ss(q + (size_t)h * p->d + c);
            sum[h][0] = _mm256_fmadd_ps(x, low, sum[h][0]);
            sum[h][1] = _mm256_fmadd_ps(x, high, sum[h][1]);
        }
    }
#pragma GCC unroll 4
    for (uint32_t h = 0; h < n; h++) {
        _mm256_storeu_ps(out[h], sum[h][0]);
        _mm256_storeu_ps(out[h] + 8, sum[h][1]);
    }
}

/* ---- scores ---- */

/* How a part's blocks become scores. */
typedef struct scoring {
    const part *part;
    const fvi_pca_scratch *scratch;
    const float *q; /* [group, dk] */
    uint32_t group;
    bool turned;
} scoring;

static scoring start_scoring(const part *p, const float *q, uint32_t group,
                             const fvi_pca_scratch *scratch)
{
    scoring s = {.part = p,
                 .scratch = scratch,
                 .q = q,
                 .group = group,
                 .turned = fvi_pca_base(p->data) > 0.0f};
    if (s.turned) {
        take_axes(p, scratch);
    } else {
        project(p, q, group, scratch);
    }
    return s;
}

/* Scores of n heads from `head` on. Where n is not known their sums lie in memory, and one waits for the other. */
FVI_INLINE void score_heads(const scoring *s, const uint8_t *codes, uint32_t head, const uint32_t n,
                            float out[HEADS][FVI_PCA_BLOCK])
{
    const fvi_pca_scratch *own = s->scratch;
    if (s->turned) {
        multiply_keys(s->part, own->key, s->q + (size_t)head * s->part->d, n, out);
    } else {
        score_block(s->part, codes, own->factor + head, s->group, n, own->base + head, out);
    }
}

/* Scores of n tokens of a part from `token` on, which lie in one block. */
static void score_tokens(const scoring *s, uint32_t token, uint32_t n, float *score, size_t stride)
{
    const part *p = s->part;
    uint32_t lead = token % FVI_PCA_BLOCK;
    const uint8_t *codes =
        p->data + p->side.codes + (size_t)(token / FVI_PCA_BLOCK) * p->side.n_word * 4;
    float block[HEADS][FVI_PCA_BLOCK];
    if (s->turned) {
        make_keys(p, codes, s->scratch);
        turn_keys(p, s->scratch, token, lead, n);
    }
    for (uint32_t h = 0; h < s->group; h += HEADS) {
        uint32_t n_head = FVI_MIN(s->group - h, HEADS);
        switch (n_head) {
        case 1: score_heads(s, codes, h, 1, block); break;
        case 2: score_heads(s, codes, h, 2, block); break;
        case 3: score_heads(s, codes, h, 3, block); break;
        default: score_heads(s, codes, h, HEADS, block); break;
        }
        for (uint32_t i = 0; i < n_head; i++) {
            memcpy(score + (h + i) * stride, block[i] + lead, n * sizeof **block);
        }
    }
}

void fvi_pca_scores_avx2(const fvi_pca_stretch *s, const float *q, uint32_t group,
                         const fvi_pca_scratch *scratch, float *score, size_t stride)
{
    for (uint32_t done = 0; done < s->n;) {
        part p = part_at(s, s->first + done, false);
        scoring own = start_scoring(&p, q, group, scratch);
        for (uint32_t at = 0, n; at < p.n; at += n) {
            n = FVI_MIN(FVI_PCA_BLOCK - (p.first + at) % FVI_PCA_BLOCK, p.n - at);
            score_tokens(&own, p.first + at, n, score + done + at, stride);
        }
        done += p.n;
    }
}

/* Adds the codes of one or two blocks times the weights of their tokens, lane by lane, in the same order either way:
 * two at once load and store the sums half as often. */
FVI_INLINE void sum_blocks(const part *p, const uint8_t *codes, const uint32_t n_block,
                           const float *e /* [group, FVI_PCA_AT_ONCE * 16] */, uint32_t group,
                           float *along)
{
    const uint8_t *at[FVI_PCA_AT_ONCE] = {codes, codes + (size_t)p->side.n_word * 4};
    for (uint32_t nth = 0; nth < p->side.n_all; nth++) {
        __m256 code[FVI_PCA_AT_ONCE][2];
        uint32_t n_bit = fvi_pca_bits(&p->side, nth);
        for (uint32_t i = 0; i < n_block; i++) {
            take_codes(&at[i], n_bit, &code[i][0], &code[i][1]);
        }
        const float *weight = e;
        for (uint32_t h = 0; h < group;
             h++, along += 8, weight += FVI_PCA_AT_ONCE * FVI_PCA_BLOCK) {
            __m256 sum = _mm256_loadu_ps(along);
            for (uint32_t i = 0; i < n_block; i++) {
                const float *own = weight + (size_t)i * FVI_PCA_BLOCK;
                sum = _mm256_fmadd_ps(code[i][0], _mm256_loadu_ps(own), sum);
                sum = _mm256_fmadd_ps(code[i][1], _mm256_loadu_ps(own + 8), sum);
            }
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

/* Sums the codes of up to FVI_PCA_AT_ONCE blocks from `token` of a part on, n tokens; e: the first one's weights. */
static void sum_tokens(const part *p, uint32_t token, uint32_t n, const float *e, size_t e_stride,
                       uint32_t group, const fvi_pca_scratch *scratch)
{
    uint32_t lead = token % FVI_PCA_BLOCK;
    const uint8_t *codes =
        p->data + p->side.codes + (size_t)(token / FVI_PCA_BLOCK) * p->side.n_word * 4;
    float *weights = scratch->factor; /* [group, FVI_PCA_AT_ONCE * FVI_PCA_BLOCK] */
    memset(weights, 0, (size_t)group * FVI_PCA_AT_ONCE * FVI_PCA_BLOCK * sizeof *weights);
    for (uint32_t h = 0; h < group; h++) {
        float *own = weights + (size_t)h * FVI_PCA_AT_ONCE * FVI_PCA_BLOCK;
        memcpy(own + lead, e + h * e_stride, n * sizeof *own);
        for (uint32_t at = 0; at < lead + n; at += FVI_PCA_BLOCK) {
            scratch->base[h] +=
                fvi_sum1(_mm256_add_ps(_mm256_loadu_ps(own + at), _mm256_loadu_ps(own + at + 8)));
        }
    }
    if (lead + n > FVI_PCA_BLOCK) {
        sum_blocks(p, codes, FVI_PCA_AT_ONCE, weights, group, scratch->along);
    } else {
        sum_blocks(p, codes, 1, weights, group, scratch->along);
    }
}

void fvi_pca_values_avx2(const fvi_pca_stretch *s, const float *e, size_t e_stride, uint32_t group,
                         const fvi_pca_scratch *scratch, float *acc, size_t acc_stride)
{
    for (uint32_t done = 0; done < s->n;) {
        part p = part_at(s, s->first + done, true);
        memset(scratch->along, 0, (size_t)p.side.n_all * group * 8 * sizeof(float));
        memset(scratch->base, 0, group * sizeof(float));
        for (uint32_t at = 0, n; at < p.n; at += n) {
            uint32_t token = p.first + at;
            n = FVI_MIN(FVI_PCA_AT_ONCE * FVI_PCA_BLOCK - token % FVI_PCA_BLOCK, p.n - at);
            sum_tokens(&p, token, n, e + done + at, e_stride, group, scratch);
        }
        expand(&p, group, scratch, acc, acc_stride);
        done += p.n;
    }
}
