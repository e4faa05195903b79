/* codec.h - how a run of cached tokens lies in memory: the interface of a codec, and the layouts that
 * codecs and attention kernels share.
 *
 * A run is K and V of up to `capacity` tokens of one list in one kind, K section first:
 *
 *   f32, f16:   K [capacity, dk] | V [capacity, dv]
 *   int8:       K codes [capacity, dk] u8 | V codes [capacity, dv] u8
 *               | K affine [capacity, groups(dk), 2] f16 | V affine [capacity, groups(dv), 2] f16
 *   int4:       as int8 with half = (d + 1) / 2 bytes per row; byte i holds element i in its low and
 *               element i + half in its high nibble
 *   int2:       the same with a quarter: byte i holds the elements i, i + quarter, .. from bit 0 up
 *   affine:     value = code * scale + min, per token and per group of FVI_GROUP channels
 *   -rot:       as int4 and int2, of rows that are rotated by fvi_rotate
 *   -chan:      per channel: one scale and minimum for each channel and group of tokens. Codes lie in words
 *               of 32 bits, `per` = 32 / bits each: element 2 i from bit i * bits, element 2 i + 1 from bit
 *               16 + i * bits, so that shifting and masking a word gives pairs of 16-bit numbers.
 *               For each group: K words [ceil(dk / per), n tokens] of consecutive channels,
 *                               V words [ceil(n / per), dv] of consecutive tokens
 *               affine: [groups of tokens, d, 2] f16
 *   -kivi:      K as -chan, V per token
 *   pca-:       by principal components of the run's rows: sdk/ops/pca.h
 *
 * A run per channel is divided evenly into max(1, n / 64) groups on multiples of 16 tokens, so a group has
 * 64 to 127 of them, or all of a shorter run; below fvi_channel_least(dk, dv) tokens the run lies per token,
 * as int4 or int2. The division is part of the run: the same tokens in other runs get other codes.
 *
 * Sections start without padding between them, a run starts on a 64-byte border. A sealed run has
 * capacity == its number of tokens, a tail is written row by row below its capacity.
 * Instances live in kvcompress (codecs.def, codec_<name>.c); kernels in sdk/ops know layouts by kind and
 * fall back to `decode` for a kind they have no kernel for. */
#ifndef FOVEA_OPS_CODEC_H
#define FOVEA_OPS_CODEC_H

#include "sdk/base/base.h"

#include <fovea/types.h>

#define FVI_GROUP      64  /* channels that share a scale */
#define FVI_CODEC_ROWS 128 /* rows that a codec may ask for at once */

/* How a kind of codes lies. */
typedef struct fvi_code_layout {
    uint8_t bits;              /* 8, 4, 2 */
    bool k_channel, v_channel; /* else per token */
    bool rotated;
} fvi_code_layout;

/* How a kind of principal components lies (pca.h). */
typedef struct fvi_pca_shape {
    uint8_t bits_of_16;     /* of a row, for each 16 of its dk + dv channels; 0: no such kind */
    uint8_t slots_of_32;    /* components, for each 32 of them */
    uint8_t direction_bits; /* of a channel of a direction: 8, 4 */
} fvi_pca_shape;

struct fvi_row_fit; /* kvcompress/row_fit.h */

#define FVI_FIT_WIDEST 512 /* channels; wider rows are not fitted */
#define FVI_FIT_ROWS   384 /* most that have a fit in common */

/* One kind. Its functions are given their own entry, so kinds that differ in numbers only share them; they are
 * called through fvi_codec_<name> below. */
typedef struct fvi_codec fvi_codec;
struct fvi_codec {
    const char *name; /* as recipes spell it */
    fovea_kind kind;
    fvi_code_layout codes; /* bits 0: no codes */
    fvi_pca_shape pca;
    /* Bytes of a run; exact, without rounding; never falls as the capacity grows. */
    size_t (*bytes)(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv);
    /* How many rows from `first` on, where a group begins, encode needs in one call; 0 or the whole
     * pointer NULL: any number. At most FVI_CODEC_ROWS. */
    uint32_t (*encode_rows)(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                            uint32_t first);
    /* Kinds that are fitted to rows before any of them is encoded: how many rows from `first` on, where they
     * begin, have a fit of their own (0: a run of that length has none), and what writes a fit, solved and spanned,
     * into the run. NULL: no such kind. */
    uint32_t (*fit_rows)(const fvi_codec *self, uint32_t capacity, uint32_t dk, uint32_t dv,
                         uint32_t first);
    void (*settle)(const fvi_codec *self, const struct fvi_row_fit *fit, uint8_t *run,
                   uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first);
    /* Writes rows first..first+n-1. */
    void (*encode)(const fvi_codec *self, uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,
                   uint32_t first, uint32_t n,
                   const float *k /* [n, dk], rows k_stride floats apart */, size_t k_stride,
                   const float *v /* [n, dv] */, size_t v_stride);
    /* Reads rows first..first+n-1; k or v may be NULL. */
    void (*decode)(const fvi_codec *self, const uint8_t *run, uint32_t capacity, uint32_t dk,
                   uint32_t dv, uint32_t first, uint32_t n, float *k, size_t k_stride, float *v,
                   size_t v_stride);
};

static inline size_t fvi_codec_bytes(const fvi_codec *codec, uint32_t capacity, uint32_t dk,
                                     uint32_t dv)
{
    return codec->bytes(codec, capacity, dk, dv);
}

/* 0: any number. */
static inline uint32_t fvi_codec_encode_rows(const fvi_codec *codec, uint32_t capacity, uint32_t dk,
                                             uint32_t dv, uint32_t first)
{
    return codec->encode_rows != NULL ? codec->encode_rows(codec, capacity, dk, dv, first) : 0;
}

/* 0: none. */
static inline uint32_t fvi_codec_fit_rows(const fvi_codec *codec, uint32_t capacity, uint32_t dk,
                                          uint32_t dv, uint32_t first)
{
    return codec->fit_rows != NULL ? codec->fit_rows(codec, capacity, dk, dv, first) : 0;
}

static inline void fvi_codec_settle(const fvi_codec *codec, const struct fvi_row_fit *fit,
                                    uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv,
                                    uint32_t first)
{
    codec->settle(codec, fit, run, capacity, dk, dv, first);
}

static inline void fvi_codec_encode(const fvi_codec *codec, uint8_t *run, uint32_t capacity,
                                    uint32_t dk, uint32_t dv, uint32_t first, uint32_t n,
                                    const float *k, size_t k_stride, const float *v,
                                    size_t v_stride)
{
    codec->encode(codec, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);
}

static inline void fvi_codec_decode(const fvi_codec *codec, const uint8_t *run, uint32_t capacity,
                                    uint32_t dk, uint32_t dv, uint32_t first, uint32_t n, float *k,
                                    size_t k_stride, float *v, size_t v_stride)
{
    codec->decode(codec, run, capacity, dk, dv, first, n, k, k_stride, v, v_stride);
}

/* A run as kernels see it. */
typedef struct fvi_run_view {
    const uint8_t *data;
    const fvi_codec *codec;
    uint32_t n_token;
    uint32_t capacity;
} fvi_run_view;

/* The cached tokens of one (sequence, layer, KV head): the runs one after another. */
typedef struct fvi_list_view {
    const fvi_run_view *runs; /* [n_run] */
    uint32_t n_run;
    uint32_t n_token; /* sum over the runs */
} fvi_list_view;

static inline uint32_t fvi_groups(uint32_t d)
{
    return (d + FVI_GROUP - 1) / FVI_GROUP;
}

/* ---- runs of codes ---- */

#define FVI_CHANNEL_STEP 16 /* tokens that a group is made of */

/* Fewest tokens of a run that lies per channel: with fewer, scales per channel cost more than those per
 * token, and more than the precision they add is worth. */
static inline uint32_t fvi_channel_least(uint32_t dk, uint32_t dv)
{
    uint32_t d = dk < dv ? dk : dv;
    return d < 32 ? d : 32;
}

static inline uint32_t fvi_channel_groups(uint32_t capacity)
{
    return capacity < 128 ? 1 : capacity / 64;
}

/* First token of a group of a run; of the group behind the last one: capacity. */
static inline uint32_t fvi_channel_first(uint32_t capacity, uint32_t group)
{
    uint64_t n_step = ((uint64_t)capacity + FVI_CHANNEL_STEP - 1) / FVI_CHANNEL_STEP;
    uint64_t first = group * n_step / fvi_channel_groups(capacity) * FVI_CHANNEL_STEP;
    return first < capacity ? (uint32_t)first : capacity;
}

/* The group that a token lies in. */
static inline uint32_t fvi_channel_group_of(uint32_t capacity, uint32_t token)
{
    uint32_t group = (uint32_t)((uint64_t)token * fvi_channel_groups(capacity) / capacity);
    while (fvi_channel_first(capacity, group) > token) {
        group--;
    }
    while (fvi_channel_first(capacity, group + 1) <= token) {
        group++;
    }
    return group;
}

/* Bytes of a row of codes per token. */
static inline size_t fvi_code_row(uint32_t bits, uint32_t d)
{
    uint32_t per_byte = 8 / bits;
    return ((size_t)d + per_byte - 1) / per_byte;
}

/* Where the sections of a run of codes lie, and whether K and V are per channel there. */
typedef struct fvi_code_sections {
    size_t k, v, k_affine, v_affine, n_bytes;
    bool k_channel, v_channel;
} fvi_code_sections;

static inline fvi_code_sections fvi_code_sections_of(const fvi_code_layout *layout,
                                                     uint32_t capacity, uint32_t dk, uint32_t dv)
{
    size_t n = capacity, per = 32 / layout->bits, groups = fvi_channel_groups(capacity);
    bool is_long = capacity >= fvi_channel_least(dk, dv);
    fvi_code_sections at = {.k_channel = layout->k_channel && is_long,
                            .v_channel = layout->v_channel && is_long};
    at.v = at.k_channel ? (dk + per - 1) / per * n * 4 : n * fvi_code_row(layout->bits, dk);
    at.k_affine =
        at.v + (at.v_channel ? (n + per - 1) / per * dv * 4 : n * fvi_code_row(layout->bits, dv));
    at.v_affine = at.k_affine + (at.k_channel ? groups * dk : n * fvi_groups(dk)) * 4;
    at.n_bytes = at.v_affine + (at.v_channel ? groups * dv : n * fvi_groups(dv)) * 4;
    return at;
}

/* The rotation of the -rot kinds, its own inverse: a row [d] is cut into blocks, each the largest power of
 * two that is left, at most FVI_ROTATE, and each is multiplied by its normalised Hadamard matrix. */
#define FVI_ROTATE 256
static inline uint32_t fvi_rotate_block(uint32_t d)
{
    return d >= FVI_ROTATE ? FVI_ROTATE : 1u << (31 - __builtin_clz(d));
}

void fvi_rotate(float *x, uint32_t d);

#endif
