/* json.h - reading JSON files of a model folder through jansson, with clear errors.
 *
 * The tree is jansson's own (json_t, reference-counted). Caps: bytes of the file, nesting (jansson's
 * 2048). Called by sdk/model and vision. Threads: one tree - one at a time for writing, any for reading. */
#ifndef FOVEA_BASE_JSON_H
#define FOVEA_BASE_JSON_H

#include "sdk/base/base.h"

#include <jansson.h>

#define FVI_JSON_MAX_BYTES ((size_t)256 << 20)

/* Parses n_bytes of text; `name` is for the error text. *out is owned by the caller (json_decref). In a text
 * with an integer beyond 64 bits all numbers are reals. */
fovea_status fvi_json_parse(const char *text, size_t n_bytes, const char *name, json_t **out,
                            fovea_error *err);
/* Reads dir/file. FOVEA_ERR_NOT_FOUND when it is not there. */
fovea_status fvi_json_load(const fovea_alloc *alloc, const char *dir, const char *file,
                           json_t **out, fovea_error *err);

/* Typed access with a default when the key is absent or null; a value of another type or out of range is
 * an error that names the key. `obj` must be an object. */
fovea_status fvi_json_u32(const json_t *obj, const char *key, uint32_t absent, uint32_t min,
                          uint32_t max, uint32_t *out, fovea_error *err);
fovea_status fvi_json_f32(const json_t *obj, const char *key, float absent, float *out,
                          fovea_error *err);
fovea_status fvi_json_bool(const json_t *obj, const char *key, bool absent, bool *out,
                           fovea_error *err);
/* NULL when absent; belongs to obj. */
fovea_status fvi_json_text(const json_t *obj, const char *key, const char **out, fovea_error *err);

#endif
