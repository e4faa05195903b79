/* attn_tile_avx512.h - cached tokens of any kind as tiles of numbers, for the AVX-512 attention.
 *
 * Tiles are read as rows (token by token: values) or as columns (channel
 * by channel, one token a lane: keys).
 * Kinds without a reader here go through their codec. Included by the AVX-512 attention files. */
#ifndef FOVEA_OPS_ATTN_TILE_AVX512_H
#define FOVEA_OPS_ATTN_TILE_AVX512_H

#include "sdk/ops/attn_section.h"

/* Memory that will be read next. */
typedef struct fvi_ahead {
    const uint8_t *at; /* NULL: not known */
    size_t n_bytes;
} fvi_ahead;

/* The rows, K or V, of the piece that would come after `piece`, if it begins before token `limit`. */
static inline fvi_ahead fvi_tile_ahead(const fvi_list_view *list, fvi_piece piece, uint32_t limit,
                                       uint32_t dk, uint32_t dv, bool values)
{
    if (!fvi_list_next(list, FVI_TILE, limit, &piece)) {
        return (fvi_ahead){0};
    }
    fvi_section s = fvi_section_of(piece.run, dk, dv, values);
    if (s.codes == NULL) {
        return (fvi_ahead){0};
    }
    return (fvi_ahead){s.codes + piece.first * s.row_bytes, piece.n * s.row_bytes};
}

/* out [n, stride] dequantised, stride at least d rounded up to 16, filled with zeros to there. */
void fvi_tile_rows(const fvi_section *section, uint32_t first, uint32_t n, float *out,
                   size_t stride);
/* out [d, FVI_TILE] dequantised: tokens first..first+n-1 become lanes at..at+n-1, at most FVI_TILE; other
 * lanes stay. memory: [FVI_TILE, d rounded up to 16] for kinds that their codec decodes. */
void fvi_tile_columns(const fvi_section *section, uint32_t first, uint32_t n, float *out,
                      uint32_t at, float *memory);
/* The same of f16 as it is, from lane 0 on: out [d, FVI_TILE] f16; lanes behind n may be anything. */
void fvi_tile_columns_f16(const fvi_section *section, uint32_t first, uint32_t n, uint16_t *out);
/* Scales and minima of one group of channels of codes per token: [n] each. */
void fvi_tile_affine(const fvi_section *section, uint32_t first, uint32_t n, uint32_t group,
                     float *scale, float *min);

#endif
