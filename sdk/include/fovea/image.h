/* image.h - decoded pictures: PNG and JPEG, recognised by content, or the caller's pixels.
 *
 * An image is immutable and reference-counted; sessions keep their own reference, so it may be freed
 * right after it was added to a message. Pixels are 8-bit RGB in sRGB values as the file has them (no
 * colour management); alpha is composed over white unless told otherwise; the EXIF orientation is applied.
 * 16-bit PNG keeps the high byte of every sample; four-component JPEG is taken as Adobe writes it (inverted),
 * as Pillow does.
 *
 * Threads: functions - any; one image may be used by several threads at once. */
#ifndef FOVEA_IMAGE_H
#define FOVEA_IMAGE_H

#include <fovea/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fovea_image fovea_image;

typedef enum fovea_alpha {
    FOVEA_ALPHA_OVER_WHITE = 0,
    FOVEA_ALPHA_OVER_BACKGROUND = 1,
    FOVEA_ALPHA_IGNORE = 2, /* keep the colour channels as they are, like Pillow's convert("RGB") */
} fovea_alpha;

typedef struct fovea_image_options {
    uint32_t size;          /* sizeof(fovea_image_options) */
    uint32_t max_dimension; /* pixels per side; default 16384 */
    uint64_t max_pixels;    /* width * height; default 64 Mi */
    uint64_t max_bytes;     /* of the file; default 64 MiB */
    fovea_alpha alpha;      /* what becomes of transparency; default over white */
    uint8_t background[4];  /* RGB under alpha with FOVEA_ALPHA_OVER_BACKGROUND */
    const fovea_alloc *alloc;  /* default malloc; must outlive the image */
} fovea_image_options;

/* Decodes a PNG or JPEG file in memory. `data` is only read during the call. Caps are checked on the
 * header, before pixel memory is taken. options may be NULL.
 * FOVEA_ERR_FORMAT: neither PNG nor JPEG, or damaged; FOVEA_ERR_LIMIT: over a cap. */
FOVEA_API fovea_status fovea_image_from_memory(const void *data, size_t n_bytes,
                                               const fovea_image_options *options,
                                               fovea_image **out, fovea_error *err);

/* The same from a file. A URL ("http://..") is refused with FOVEA_ERR_UNSUPPORTED. */
FOVEA_API fovea_status fovea_image_from_file(const char *path, const fovea_image_options *options,
                                             fovea_image **out, fovea_error *err);

/* Copies pixels: rows of `width` RGB triples, `stride` bytes apart (0: width * 3). */
FOVEA_API fovea_status fovea_image_from_pixels(const uint8_t *rgb /* [height, stride] */,
                                               uint32_t width, uint32_t height, size_t stride,
                                               const fovea_image_options *options,
                                               fovea_image **out, fovea_error *err);

FOVEA_API fovea_image *fovea_image_ref(fovea_image *image);
/* Drops a reference and sets *image to NULL; accepts NULL. */
FOVEA_API void fovea_image_free(fovea_image **image);

FOVEA_API uint32_t fovea_image_width(const fovea_image *image);
FOVEA_API uint32_t fovea_image_height(const fovea_image *image);
/* Rows without gaps, width * 3 bytes each; belongs to the image. */
FOVEA_API const uint8_t *fovea_image_pixels(const fovea_image *image); /* [height, width, 3] */

#ifdef __cplusplus
}
#endif
#endif
