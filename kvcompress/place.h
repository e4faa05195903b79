/* place.h - where runs lie in a chain of extents: packed one after another on 64-byte borders, broken
 * where an extent ends.
 *
 * The place of every run follows from the chain and the order and lengths of the runs alone, so no run
 * needs a descriptor: a reader walks the same way as the packer did. A row never crosses an extent.
 * Called by seq.c and its siblings. Threads: one at a time. */
#ifndef FOVEA_KVCOMPRESS_PLACE_H
#define FOVEA_KVCOMPRESS_PLACE_H

#include "kvcompress/pool.h"
#include "kvcompress/recall.h"
#include "sdk/ops/codec.h"

#define FVI_RUN_ALIGN 64

/* What a run is made of. */
typedef struct fvi_kv_shape {
    const fvi_codec *codec;
    uint32_t dk, dv;
    const fvi_recall *recall; /* set: breaks after every FVI_KV_PAGE rows, a summary behind each piece */
} fvi_kv_shape;

typedef struct fvi_kv_cursor {
    const fvi_kv_extent *extent; /* NULL: behind the end */
    size_t offset;
} fvi_kv_cursor;

/* A part of a run that lies in one extent; capacity == n_row. */
typedef struct fvi_kv_piece {
    uint8_t *data;
    uint32_t n_row;
} fvi_kv_piece;

size_t fvi_kv_run_bytes(const fvi_kv_shape *shape, uint32_t n_row);
/* Where the summary of a piece lies in it. */
size_t fvi_kv_summary_at(const fvi_kv_shape *shape, uint32_t n_row);
/* Rounded up to where the next run starts. */
size_t fvi_kv_run_place_bytes(const fvi_kv_shape *shape, uint32_t n_row);
/* The most rows, at most n_row, that lie in `room` bytes. */
uint32_t fvi_kv_run_fit(const fvi_kv_shape *shape, uint32_t n_row, size_t room);
/* Bytes of pool that n_row rows may take where every granule is a piece of its own, descriptors too. */
size_t fvi_kv_run_worst_bytes(const fvi_kv_shape *shape, uint32_t n_row, size_t granule);
/* Pieces in that case. */
uint32_t fvi_kv_run_worst_pieces(const fvi_kv_shape *shape, uint32_t n_row, size_t granule);

/* The next part of a run of which n_row rows are left; false when the chain ends first. */
bool fvi_kv_place(const fvi_kv_pool *pool, fvi_kv_cursor *at, const fvi_kv_shape *shape,
                  uint32_t n_row, fvi_kv_piece *out);

/* Takes space for runs in turn. */
typedef struct fvi_kv_packer {
    fvi_kv_pool *pool;
    fvi_kv_extent *head, *last; /* the chain so far, owned by the packer's owner */
    fvi_kv_cursor at;
    size_t room;      /* bytes the whole chain is going to need: where holes are looked for */
    uint32_t n_piece; /* counted up by reserve */
} fvi_kv_packer;

/* Makes room for a run of n_row rows and moves behind it. n_behind: bytes of runs that follow it soon.
 * FOVEA_ERR_FULL; the chain stays owned and can be given back. */
fovea_status fvi_kv_pack_reserve(fvi_kv_packer *packer, const fvi_kv_shape *shape, uint32_t n_row,
                                 size_t n_behind);

#endif
