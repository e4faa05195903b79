/* pca.h - how a run lies whose rows are coded by their principal components.
 *
 * A run is divided evenly into parts of about FVI_PCA_PART tokens, one after another: an image's, where images
 * have so many, since what two images have in common is little. Keys and values of a part each have a mean and components, which are directions in channels, mutually
 * orthogonal, that of the largest variance first. A row is its mean plus, for every component, code * scale +
 * min times the direction. Components have 8, 4 or 2 bits, whatever share of the row's bits serves best
 * (reverse water-filling, kvcompress/row_fit.c); what else there was in a row is lost.
 *
 *     counts     u16 [2][3]: components of K with 8, 4, 2 bits, then of V
 *     base       f32: of the rotary position embedding that keys were turned back by; 0: they are as they are
 *     places     a bit for each of 2 n positions from that of the part's first token on: whether the next of its
 *                tokens stands there
 *     mean       f16 [dk], [dv]
 *     scales     f16 [n_slot][3]: what makes the direction's length 1, scale and min of the codes
 *     direction  [n_slot][max(dk, dv)] i8, or two to a byte (element i in the low, i + half in the high
 *                nibble, 8 stands for 0)
 *     codes      K, then V: [ceil(n / 16)][words of a block] u32, component by component; 16 tokens take 2, 4 or
 *                8 times 16 bits, that of token t from bit t * bits on
 *
 * Keys of a picture differ less before the embedding turned them by their positions than behind it, so a part's keys are
 * turned back to the position of its first token before they are fitted and coded, and forth again when they are read
 * (rope_rows.h). Of tokens that stand further apart the gaps are shortened until 2 n places will do; which place a token is
 * turned by is the run's own affair, and costs nothing but likeness.
 *
 * n is the part's tokens. n_slot and the bits of a row (of K and V together) depend on dk + dv alone, so the bytes
 * of a run do not depend on what it holds. Components: those of K in the first slots, those of V behind them; slots and words that are
 * left over are zero. Runs so short that rows of int4 take no more are such rows (fvi_pca_lies).
 *
 * Included by codec_pca.c and by attention kernels. */
#ifndef FOVEA_OPS_PCA_H
#define FOVEA_OPS_PCA_H

#include "sdk/base/dtype.h"
#include "sdk/ops/codec.h"

#define FVI_PCA_BLOCK 16  /* tokens whose codes lie together */
#define FVI_PCA_PART  256 /* tokens of a part, about; below FVI_FIT_ROWS */
#define FVI_PCA_BASE  12  /* where in a part the base lies */

/* Short runs: int4 per token. */
static const fvi_code_layout fvi_pca_short = {.bits = 4};

/* Where what a part holds lies in it. */
typedef struct fvi_pca_layout {
    uint32_t n_slot, row_bits, width; /* width: max(dk, dv) */
    size_t places, mean, scales, direction, direction_bytes, codes, n_bytes;
} fvi_pca_layout;

static inline fvi_pca_layout fvi_pca_layout_of(const fvi_pca_shape *shape, uint32_t n, uint32_t dk,
                                               uint32_t dv)
{
    uint32_t d = dk + dv, n_slot = FVI_MAX(1u, d * shape->slots_of_32 / 32);
    fvi_pca_layout at = {.n_slot = n_slot,
                         .row_bits = FVI_MAX(2u, d * shape->bits_of_16 / 32 * 2),
                         .width = FVI_MAX(dk, dv)};
    at.places = FVI_PCA_BASE + sizeof(float);
    at.mean = at.places + ((size_t)n + 3) / 4;
    at.scales = at.mean + (size_t)d * sizeof(uint16_t);
    at.direction = at.scales + (size_t)n_slot * 3 * sizeof(uint16_t);
    at.direction_bytes = fvi_code_row(shape->direction_bits, at.width);
    at.codes = fvi_round_up(at.direction + n_slot * at.direction_bytes, sizeof(uint32_t));
    size_t n_block = ((size_t)n + FVI_PCA_BLOCK - 1) / FVI_PCA_BLOCK;
    at.n_bytes = at.codes + n_block * (at.row_bits / 2) * sizeof(uint32_t);
    return at;
}

static inline uint32_t fvi_pca_n_part(uint32_t capacity)
{
    uint32_t n = (uint32_t)(((uint64_t)capacity + FVI_PCA_PART / 2) / FVI_PCA_PART);
    return FVI_MAX(1u, n);
}

/* First token of a part of a run; of the part behind the last one: capacity. */
static inline uint32_t fvi_pca_part_first(uint32_t capacity, uint32_t nth)
{
    return (uint32_t)((uint64_t)capacity * nth / fvi_pca_n_part(capacity));
}

/* A part of a run. */
typedef struct fvi_pca_part {
    uint32_t first, n; /* tokens */
    size_t at;         /* bytes before it */
} fvi_pca_part;

/* The part that a token of a run lies in; of the token behind the last one: an empty one behind all. */
static inline fvi_pca_part fvi_pca_part_of(const fvi_pca_shape *shape, uint32_t capacity,
                                           uint32_t dk, uint32_t dv, uint32_t token)
{
    fvi_pca_part part = {.n = 0};
    for (uint32_t nth = 0; part.first < capacity; nth++) {
        part.n = fvi_pca_part_first(capacity, nth + 1) - part.first;
        if (token < part.first + part.n) {
            return part;
        }
        part.at += fvi_pca_layout_of(shape, part.n, dk, dv).n_bytes;
        part.first += part.n;
    }
    part.n = 0;
    return part;
}

/* Bytes of a run that lies by components. */
static inline size_t fvi_pca_run_bytes(const fvi_pca_shape *shape, uint32_t capacity, uint32_t dk,
                                       uint32_t dv)
{
    return fvi_pca_part_of(shape, capacity, dk, dv, capacity).at;
}

/* Whether a run lies by components, not as rows of int4. */
static inline bool fvi_pca_lies(const fvi_pca_shape *shape, uint32_t capacity, uint32_t dk,
                                uint32_t dv)
{
    return shape->bits_of_16 != 0 && dk + dv > 0 && FVI_MAX(dk, dv) <= FVI_FIT_WIDEST &&
           fvi_pca_run_bytes(shape, capacity, dk, dv) <
               fvi_code_sections_of(&fvi_pca_short, capacity, dk, dv).n_bytes;
}

/* Components of K or V: first slot, how many with 8, 4, 2 bits, words of a block. */
typedef struct fvi_pca_side {
    uint32_t first, n[3], n_all, n_word;
    size_t codes; /* where its blocks begin */
} fvi_pca_side;

static inline fvi_pca_side fvi_pca_side_of(const fvi_pca_layout *at, const uint8_t *part,
                                           uint32_t n, bool values)
{
    uint16_t counts[2][3];
    memcpy(counts, part, sizeof counts);
    fvi_pca_side side = {.codes = at->codes};
    for (uint32_t v = 0; v <= (uint32_t)values; v++) {
        side.first += side.n_all;
        side.codes +=
            (size_t)side.n_word * sizeof(uint32_t) * ((n + FVI_PCA_BLOCK - 1) / FVI_PCA_BLOCK);
        side.n_all = 0;
        side.n_word = 0;
        for (uint32_t i = 0; i < 3; i++) {
            side.n[i] = counts[v][i];
            side.n_all += counts[v][i];
            side.n_word += counts[v][i] * (4u >> i);
        }
    }
    return side;
}

/* Bits of a component of a side. */
static inline uint32_t fvi_pca_bits(const fvi_pca_side *side, uint32_t nth)
{
    return nth < side->n[0] ? 8 : nth < side->n[0] + side->n[1] ? 4 : 2;
}

static inline float fvi_pca_f16(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return fvi_f16_to_f32(half);
}

static inline float fvi_pca_base(const uint8_t *part)
{
    float base;
    memcpy(&base, part + FVI_PCA_BASE, sizeof base);
    return base;
}

/* The places of tokens first..first+n-1 of a part; of those that were not fitted 0. */
static inline void fvi_pca_places(const fvi_pca_layout *at, const uint8_t *part, uint32_t first,
                                  uint32_t n, uint16_t *out)
{
    const uint8_t *places = part + at->places;
    uint32_t n_byte = (uint32_t)(at->mean - at->places), n_seen = 0, n_out = 0;
    memset(out, 0, n * sizeof *out);
    for (uint32_t byte = 0; byte < n_byte && n_out < n; byte++) {
        uint32_t bits = places[byte], here = (uint32_t)__builtin_popcount(bits);
        if (n_seen + here <= first) {
            n_seen += here;
            continue;
        }
        for (; bits != 0 && n_out < n; bits &= bits - 1) {
            if (n_seen++ >= first) {
                out[n_out++] = (uint16_t)(byte * 8 + (uint32_t)__builtin_ctz(bits));
            }
        }
    }
}

/* The first d channels of a slot's direction. */
static inline void fvi_pca_direction(const fvi_pca_shape *shape, const fvi_pca_layout *at,
                                     const uint8_t *part, uint32_t slot, uint32_t d, float *out)
{
    const uint8_t *row = part + at->direction + slot * at->direction_bytes;
    float scale = fvi_pca_f16(part + at->scales + (size_t)slot * 6);
    uint32_t half = (uint32_t)at->direction_bytes, low = FVI_MIN(d, half);
    if (shape->direction_bits == 8) {
        for (uint32_t c = 0; c < d; c++) {
            out[c] = (float)(int8_t)row[c] * scale;
        }
        return;
    }
    for (uint32_t c = 0; c < low; c++) {
        out[c] = (float)((row[c] & 15) - 8) * scale;
    }
    for (uint32_t c = low; c < d; c++) {
        out[c] = (float)((row[c - half] >> 4) - 8) * scale;
    }
}

#endif
