/* codec_pca.c - rows of a run as means and components (sdk/ops/pca.h).
 *
 * Which components get how many bits: reverse water-filling. Next bits always go where they lower the
 * squared error most, variance * (left[from] - left[to]) / bits, keys and values side by side: keys' relative to their spread,
 * values' to their square. (What counts is that attention finds its token. Of none's right answers about lines, lists and
 * signs, four tuning pictures, 88% stay at 2.5% of bytes with 0.3 times the error of keys, 97 with 1; at 2% 74, 78, 82 with
 * 0.6, 1, 1.5, and of those about one picture at 5% 77, 76, 74.) What a component of
 * so many bits leaves of its variance is what a uniform code over the range of normal values leaves, about; the
 * range is that of the rows: closer ones, which are better for normal values, lost what is rare in a picture (of
 * a blind question's words 82 and 87% stayed in place of 88 and 93%, at 5 and 10% of bytes).
 *
 * A component is coded of what those before it left of the row: directions of 4 bits are not quite orthogonal, and so the
 * next ones mend what an inexact one did (squared error of pca-12 on tuning scenes 0.048 -> 0.043, pca-4 0.192 -> 0.188).
 *
 * Lost though its squared error is less: a range of 1.5 standard deviations for 2 bits (0.035 in place of 0.043: right
 * answers as above 70 in place of 88%). So did inner levels at 0.5 of them (85%). What is rare is what matters.
 *
 * Called by codec_pca_<name>.c. */
#include "kvcompress/codec_pca.h"

#include "kvcompress/codec_affine.h"
#include "kvcompress/row_fit.h"
#include "sdk/ops/pca.h"
#include "sdk/ops/rope_rows.h"

#include <math.h>

extern const fvi_codec fvi_codec_int4; /* short runs are such (fvi_pca_short) */

#define AXES 4 /* components that are decoded at a time */

static const float left_over[] = {1.0f, 0.3f, 0.015f, 0.00006f}; /* with 0, 2, 4, 8 bits */
static const uint32_t more_bits[] = {2, 2, 4};                   /* to the next of them */

uint32_t fvi_pca_fit_rows(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                          uint32_t first)
{
    return fvi_pca_lies(&self->pca, capacity, dk, dv)
               ? fvi_pca_part_of(&self->pca, capacity, dk, dv, first).n
               : 0;
}

size_t fvi_pca_bytes(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv)
{
    return fvi_pca_lies(&self->pca, capacity, dk, dv)
               ? fvi_pca_run_bytes(&self->pca, capacity, dk, dv)
               : fvi_codec_bytes(&fvi_codec_int4, capacity, dk, dv);
}

/* ---- the fit ---- */

/* How many components of K and V have at least 2, 4, 8 bits. */
typedef struct bits {
    uint32_t n[2][3];
} bits;

/* What a component's next bits are worth; 0: it gets none. */
static float gain_of(const fvi_row_fit *fit, const bits *have, uint32_t side, uint32_t level)
{
    const fvi_row_axes *axes = &fit->side[side];
    uint32_t nth = have->n[side][level];
    if (nth >= (level > 0 ? have->n[side][level - 1] : axes->d) || !(axes->variance[nth] > 0.0f)) {
        return 0.0f;
    }
    float all = 0.0f;
    for (uint32_t i = 0; side == 0 && i < axes->d; i++) {
        all += FVI_MAX(axes->variance[i], 0.0f);
    }
    float weight = 1.0f / (side == 0 ? all : (float)axes->square);
    return weight * axes->variance[nth] * (left_over[level] - left_over[level + 1]) /
           (float)more_bits[level];
}

static bits share_bits(const fvi_row_fit *fit, uint32_t n_bit, uint32_t n_slot)
{
    bits have = {{{0}}};
    for (;;) {
        float most = 0.0f;
        uint32_t side = 0, level = 0;
        for (uint32_t i = 0; i < 6; i++) {
            bool has_slot = i % 3 > 0 || have.n[0][0] + have.n[1][0] < n_slot;
            float gain =
                has_slot && more_bits[i % 3] <= n_bit ? gain_of(fit, &have, i / 3, i % 3) : 0.0f;
            if (gain > most) {
                most = gain;
                side = i / 3;
                level = i % 3;
            }
        }
        if (most == 0.0f) {
            return have;
        }
        have.n[side][level]++;
        n_bit -= more_bits[level];
    }
}

static void store_f16(uint8_t *at, float x)
{
    uint16_t half = fvi_f32_to_f16(fvi_affine_clip(x));
    memcpy(at, &half, sizeof half);
}

/* Codes of an axis, and the unit that gives them length 1. */
static void store_direction(const fvi_pca_shape *shape, const fvi_pca_layout *at, uint8_t *run,
                            uint32_t slot, const float *axis, uint32_t d)
{
    float largest = 0.0f, square = 0.0f, levels = shape->direction_bits == 8 ? 127.0f : 7.0f;
    for (uint32_t c = 0; c < d; c++) {
        largest = FVI_MAX(largest, axis[c] < 0.0f ? -axis[c] : axis[c]);
    }
    float inverse = largest > 0.0f ? levels / largest : 0.0f;
    uint8_t *row = run + at->direction + slot * at->direction_bytes;
    for (uint32_t c = 0; c < d; c++) {
        float code = axis[c] * inverse + (axis[c] < 0.0f ? -0.5f : 0.5f);
        int32_t value = (int32_t)FVI_MAX(-levels, FVI_MIN(code, levels));
        square += (float)(value * value);
        if (shape->direction_bits == 8) {
            row[c] = (uint8_t)(int8_t)value;
        } else {
            uint32_t half = (uint32_t)at->direction_bytes;
            row[c % half] |= (uint8_t)((uint32_t)(value + 8) << c / half * 4);
        }
    }
    store_f16(run + at->scales + (size_t)slot * 6, square > 0.0f ? 1.0f / sqrtf(square) : 0.0f);
}

void fvi_pca_settle(const fvi_codec *self, const struct fvi_row_fit *fit, uint8_t *run,
                    uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first)
{
    fvi_pca_part part = fvi_pca_part_of(&self->pca, capacity, dk, dv, first);
    fvi_pca_layout at = fvi_pca_layout_of(&self->pca, part.n, dk, dv);
    bits have = share_bits(fit, at.row_bits, at.n_slot);
    run += part.at;
    memset(run, 0, at.n_bytes);
    uint16_t counts[2][3];
    uint32_t slot = 0;
    uint8_t *mean = run + at.mean;
    for (uint32_t side = 0; side < 2; side++) {
        const fvi_row_axes *axes = &fit->side[side];
        const uint32_t *n = have.n[side];
        counts[side][0] = (uint16_t)n[2];
        counts[side][1] = (uint16_t)(n[1] - n[2]);
        counts[side][2] = (uint16_t)(n[0] - n[1]);
        for (uint32_t c = 0; c < axes->d; c++, mean += 2) {
            store_f16(mean, axes->mean[c]);
        }
        for (uint32_t i = 0; i < n[0]; i++, slot++) {
            float levels = i < n[2] ? 255.0f : i < n[1] ? 15.0f : 3.0f;
            store_direction(&self->pca, &at, run, slot, axes->axis + (size_t)i * axes->d, axes->d);
            fvi_affine_store(axes->low[i], axes->high[i], levels,
                             run + at.scales + (size_t)slot * 6 + 2);
        }
    }
    memcpy(run, counts, sizeof counts);
    memcpy(run + FVI_PCA_BASE, &fit->base, sizeof fit->base);
    for (uint32_t i = 0; i < fit->n_place; i++) {
        run[at.places + fit->place[i] / 8] |= (uint8_t)(1u << fit->place[i] % 8);
    }
}

/* ---- rows ---- */

/* K or V of a part, and where its mean lies. */
typedef struct section {
    fvi_pca_layout at;
    fvi_pca_side side;
    const fvi_pca_shape *shape;
    size_t mean;
    float base; /* keys are turned with it; 0: they are not */
    uint32_t d;
} section;

static section section_of(const fvi_pca_shape *shape, const uint8_t *run, uint32_t n, uint32_t dk,
                          uint32_t dv, bool values)
{
    section s = {.at = fvi_pca_layout_of(shape, n, dk, dv), .shape = shape, .d = values ? dv : dk};
    s.side = fvi_pca_side_of(&s.at, run, n, values);
    s.mean = s.at.mean + (values ? (size_t)dk * 2 : 0);
    s.base = values ? 0.0f : fvi_pca_base(run);
    return s;
}

/* Turns rows first..first+n-1 by where they stood, forth or back. */
static void turn_rows(const section *s, const uint8_t *run, uint32_t first, uint32_t n, bool back,
                      float *x, size_t stride)
{
    uint16_t place[FVI_FIT_ROWS];
    float frequency[FVI_FIT_WIDEST / 2], cosine[FVI_FIT_WIDEST / 2], sine[FVI_FIT_WIDEST / 2];
    uint32_t half = s->d / 2;
    fvi_pca_places(&s->at, run, first, n, place);
    fvi_rope_frequencies(s->base, s->d, frequency);
    for (uint32_t r = 0; r < n; r++, x += stride) {
        fvi_rope_angles(frequency, half, place[r], cosine, sine);
        (back ? fvi_rope_row_back : fvi_rope_row)(x, half, cosine, sine);
    }
}

/* Where the codes of a component lie, and what they stand for. */
typedef struct component {
    size_t codes; /* of the first block */
    uint32_t slot, n_bit, mask;
    fvi_affine fit;
} component;

static component component_of(const section *s, const uint8_t *run, uint32_t nth)
{
    const uint32_t *n = s->side.n;
    uint32_t eight = FVI_MIN(nth, n[0]), four = FVI_MIN(nth - eight, n[1]);
    component c = {.slot = s->side.first + nth, .n_bit = fvi_pca_bits(&s->side, nth)};
    c.codes = s->side.codes + ((size_t)eight * 4 + four * 2 + (nth - eight - four)) * 4;
    c.mask = (1u << c.n_bit) - 1;
    c.fit = fvi_affine_load(run + s->at.scales + (size_t)c.slot * 6 + 2);
    return c;
}

/* The byte of a token's code of a component, and where in it the code begins. */
static size_t code_at(const section *s, const component *c, uint32_t token, uint32_t *shift)
{
    uint32_t bit = token % FVI_PCA_BLOCK * c->n_bit;
    *shift = bit % 8;
    return c->codes + (size_t)(token / FVI_PCA_BLOCK) * s->side.n_word * 4 + bit / 8;
}

static void store_codes(const section *s, const component *c, uint8_t *run, uint32_t token,
                        uint32_t n, const uint8_t *codes)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t shift;
        uint8_t *byte = run + code_at(s, c, token + i, &shift);
        *byte = (uint8_t)((*byte & ~(c->mask << shift)) | (uint32_t)codes[i] << shift);
    }
}

/* Rows less what their codes of a component stand for. */
static void take_away(float *rows, const float *axis, uint32_t d, const float *along)
{
    fvi_abreast *columns = (fvi_abreast *)rows;
    const fvi_abreast by = *(const fvi_abreast *)along;
    for (uint32_t c = 0; c < d; c++) {
        columns[c] -= axis[c] * by;
    }
}

static void encode_section(const section *s, uint8_t *run, uint32_t first, uint32_t n,
                           const float *x, size_t stride)
{
    float rows[FVI_ABREAST * FVI_FIT_WIDEST], mean[FVI_FIT_WIDEST], axis[FVI_FIT_WIDEST];
    float turned[FVI_ABREAST * FVI_FIT_WIDEST];
    for (uint32_t c = 0; c < s->d; c++) {
        mean[c] = fvi_pca_f16(run + s->mean + (size_t)c * 2);
    }
    for (uint32_t at = 0; at < n; at += FVI_ABREAST) {
        uint32_t n_row = FVI_MIN(n - at, (uint32_t)FVI_ABREAST);
        const float *from = x + at * stride;
        if (s->base > 0.0f) {
            for (uint32_t r = 0; r < n_row; r++) {
                for (uint32_t c = 0; c < s->d; c++) {
                    turned[r * s->d + c] = fvi_affine_clip(from[r * stride + c]);
                }
            }
            turn_rows(s, run, first + at, n_row, true, turned, s->d);
            fvi_rows_abreast(rows, s->d, n_row, turned, s->d, mean);
        } else {
            fvi_rows_abreast(rows, s->d, n_row, from, stride, mean);
        }
        for (uint32_t nth = 0; nth < s->side.n_all; nth++) {
            component own = component_of(s, run, nth);
            float inverse = own.fit.scale > 0.0f ? 1.0f / own.fit.scale : 0.0f, along[FVI_ABREAST];
            uint8_t codes[FVI_ABREAST]; /* those of rows that are missing are nothing */
            fvi_pca_direction(s->shape, &s->at, run, own.slot, s->d, axis);
            fvi_along(axis, rows, s->d, along);
            for (uint32_t r = 0; r < FVI_ABREAST; r++) {
                codes[r] = fvi_affine_code(along[r], own.fit.min, inverse, (float)own.mask);
                along[r] = (float)codes[r] * own.fit.scale + own.fit.min;
            }
            store_codes(s, &own, run, first + at, n_row, codes);
            take_away(rows, axis, s->d, along);
        }
    }
}

/* Adds AXES components from the nth on, or as many as there are. */
static void add_components(const section *s, const uint8_t *run, uint32_t nth, uint32_t first,
                           uint32_t n, float *x, size_t stride)
{
    float axis[AXES][FVI_FIT_WIDEST];
    component own[AXES];
    uint32_t n_axis = FVI_MIN(s->side.n_all - nth, (uint32_t)AXES);
    for (uint32_t i = n_axis; i < AXES; i++) {
        memset(axis[i], 0, s->d * sizeof(float));
    }
    for (uint32_t i = 0; i < n_axis; i++) {
        own[i] = component_of(s, run, nth + i);
        fvi_pca_direction(s->shape, &s->at, run, own[i].slot, s->d, axis[i]);
    }
    for (uint32_t r = 0; r < n; r++) {
        float along[AXES] = {0}, *restrict row = x + r * stride;
        for (uint32_t i = 0; i < n_axis; i++) {
            uint32_t shift;
            size_t byte = code_at(s, &own[i], first + r, &shift);
            uint32_t code = run[byte] >> shift & own[i].mask;
            along[i] = (float)code * own[i].fit.scale + own[i].fit.min;
        }
        for (uint32_t c = 0; c < s->d; c++) {
            row[c] += along[0] * axis[0][c] + along[1] * axis[1][c] + along[2] * axis[2][c] +
                      along[3] * axis[3][c];
        }
    }
}

static void decode_section(const section *s, const uint8_t *run, uint32_t first, uint32_t n,
                           float *x, size_t stride)
{
    for (uint32_t c = 0; c < s->d; c++) {
        float mean = fvi_pca_f16(run + s->mean + (size_t)c * 2);
        for (uint32_t r = 0; r < n; r++) {
            x[r * stride + c] = mean;
        }
    }
    for (uint32_t nth = 0; nth < s->side.n_all; nth += AXES) {
        add_components(s, run, nth, first, n, x, stride);
    }
    if (s->base > 0.0f) {
        turn_rows(s, run, first, n, false, x, stride);
    }
}

void fvi_pca_encode(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, const float *k, size_t k_stride,
                    const float *v, size_t v_stride)
{
    if (!fvi_pca_lies(&self->pca, capacity, dk, dv)) {
        fvi_codec_encode(&fvi_codec_int4, run, capacity, dk, dv, first, n, k, k_stride, v,
                         v_stride);
        return;
    }
    for (uint32_t end = first + n; first < end;) {
        fvi_pca_part part = fvi_pca_part_of(&self->pca, capacity, dk, dv, first);
        uint32_t n_here = FVI_MIN(end, part.first + part.n) - first;
        uint8_t *own = run + part.at;
        section keys = section_of(&self->pca, own, part.n, dk, dv, false);
        section values = section_of(&self->pca, own, part.n, dk, dv, true);
        encode_section(&keys, own, first - part.first, n_here, k, k_stride);
        encode_section(&values, own, first - part.first, n_here, v, v_stride);
        k += n_here * k_stride;
        v += n_here * v_stride;
        first += n_here;
    }
}

void fvi_pca_decode(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                    uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                    size_t v_stride)
{
    if (!fvi_pca_lies(&self->pca, capacity, dk, dv)) {
        fvi_codec_decode(&fvi_codec_int4, run, capacity, dk, dv, first, n, k, k_stride, v,
                         v_stride);
        return;
    }
    for (uint32_t end = first + n; first < end;) {
        fvi_pca_part part = fvi_pca_part_of(&self->pca, capacity, dk, dv, first);
        uint32_t n_here = FVI_MIN(end, part.first + part.n) - first;
        const uint8_t *own = run + part.at;
        if (k != NULL) {
            section keys = section_of(&self->pca, own, part.n, dk, dv, false);
            decode_section(&keys, own, first - part.first, n_here, k, k_stride);
            k += n_here * k_stride;
        }
        if (v != NULL) {
            section values = section_of(&self->pca, own, part.n, dk, dv, true);
            decode_section(&values, own, first - part.first, n_here, v, v_stride);
            v += n_here * v_stride;
        }
        first += n_here;
    }
}
