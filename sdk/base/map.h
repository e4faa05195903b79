/* map.h - files: a read-only memory map, and reading a small file whole.
 *
 * Called by sdk/model (weights, tokenizer) and vision (pictures). Threads: any. */
#ifndef FOVEA_BASE_MAP_H
#define FOVEA_BASE_MAP_H

#include "sdk/base/base.h"

typedef struct fvi_map {
    const uint8_t *data; /* [n_bytes]; NULL for an empty file */
    size_t n_bytes;
} fvi_map;

/* FOVEA_ERR_NOT_FOUND, FOVEA_ERR_IO with the path in the text. Only regular files. */
fovea_status fvi_map_open(const char *path, fvi_map *out, fovea_error *err);
void fvi_map_close(fvi_map *map);

/* Reads a file of at most max_bytes; a terminator stands behind the data. */
fovea_status fvi_file_read(const fovea_alloc *alloc, const char *path, size_t max_bytes, char **data,
                           size_t *n_bytes, fovea_error *err);

#endif
