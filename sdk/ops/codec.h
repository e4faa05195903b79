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
 *   affine:     value = code * scale + min, per token and per group of FVI_GROUP channels
 *
 * Sections start without padding between them, a run starts on a 64-byte border. A sealed run has
 * capacity == its number of tokens, a tail is written row by row below its capacity.
 * Instances live in kvcompress (codecs.def, codec_<name>.c); kernels in sdk/ops know layouts by kind and
 * fall back to `decode` for a kind they have no kernel for. */
#ifndef FOVEA_OPS_CODEC_H
#define FOVEA_OPS_CODEC_H

#include "sdk/base/base.h"

#include <fovea/types.h>

#define FVI_GROUP 64 /* channels that share a scale */

typedef struct fvi_codec {
    const char *name; /* as recipes spell it */
    fovea_kind kind;
    /* Bytes of a run; exact, without rounding. */
    size_t (*bytes)(uint32_t capacity, uint32_t dk, uint32_t dv);
    /* Writes rows first..first+n-1. */
    void (*encode)(uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first,
                   uint32_t n, const float *k /* [n, dk], rows k_stride floats apart */,
                   size_t k_stride, const float *v /* [n, dv] */, size_t v_stride);
    /* Reads rows first..first+n-1; k or v may be NULL. */
    void (*decode)(const uint8_t *run, uint32_t capacity, uint32_t dk, uint32_t dv, uint32_t first,
                   uint32_t n, float *k, size_t k_stride, float *v, size_t v_stride);
} fvi_codec;

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

/* Byte offsets of a run's sections; code_bytes(d) is a row's share of a code section. */
typedef struct fvi_run_sections {
    size_t k, v, k_affine, v_affine, n_bytes;
} fvi_run_sections;

static inline fvi_run_sections fvi_run_sections_of(uint32_t capacity, size_t k_row, size_t v_row,
                                                   uint32_t k_groups, uint32_t v_groups)
{
    fvi_run_sections at = {.k = 0};
    at.v = capacity * k_row;
    at.k_affine = at.v + capacity * v_row;
    at.v_affine = at.k_affine + (size_t)capacity * k_groups * 4;
    at.n_bytes = at.v_affine + (size_t)capacity * v_groups * 4;
    return at;
}

#endif
