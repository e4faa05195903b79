/* image.c - the reference-counted picture of the public API, and the choice of a decoder by content.
 *
 * Layout: options with their defaults, the object, the three constructors, the getters.
 * Called by applications, the engine (which keeps references) and the server. */
#include "sdk/base/map.h"
#include "vision/image_decode.h"

#include <stdatomic.h>

struct fovea_image {
    atomic_uint n_ref;
    fovea_alloc alloc;
    uint32_t width, height;
    uint8_t *pixels; /* [height, width, 3] */
};

/* A copy of the caller's options with every default filled in. */
static fovea_status read_options(const fovea_image_options *options, fovea_image_options *out,
                                 fovea_error *err)
{
    fovea_image_options copy = {0};
    if (options != NULL) {
        if (options->size < sizeof options->size || options->size > sizeof copy) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "options: size is %u, not at most %zu",
                            options->size, sizeof copy);
        }
        memcpy(&copy, options, options->size);
    }
    copy.max_dimension = copy.max_dimension != 0 ? copy.max_dimension : 16384;
    copy.max_pixels = copy.max_pixels != 0 ? copy.max_pixels : (uint64_t)64 << 20;
    copy.max_bytes = copy.max_bytes != 0 ? copy.max_bytes : (uint64_t)64 << 20;
    copy.alloc = fvi_alloc_or_default(copy.alloc);
    if ((unsigned)copy.alpha > FOVEA_ALPHA_IGNORE) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "options: alpha is %u", (unsigned)copy.alpha);
    }
    if (copy.alpha == FOVEA_ALPHA_OVER_WHITE) {
        memset(copy.background, 255, sizeof copy.background);
    }
    *out = copy;
    return FOVEA_OK;
}

/* Takes the canvas over; on error it is closed. */
static fovea_status image_new(fvi_canvas *canvas, fovea_image **out, fovea_error *err)
{
    fovea_image *image = fvi_alloc(canvas->alloc, sizeof *image);
    if (image == NULL) {
        fvi_canvas_close(canvas);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for an image");
    }
    *image = (fovea_image){.alloc = *canvas->alloc,
                           .width = canvas->width,
                           .height = canvas->height,
                           .pixels = canvas->pixels};
    atomic_init(&image->n_ref, 1);
    *out = image;
    return FOVEA_OK;
}

static fovea_status decode(const fovea_image_options *options, const uint8_t *data, size_t n_bytes,
                           fovea_image **out, fovea_error *err)
{
    if (n_bytes > options->max_bytes) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "the image file has %zu bytes, %llu are allowed",
                        n_bytes, (unsigned long long)options->max_bytes);
    }
    fvi_canvas canvas = {0};
    if (fvi_png_recognise(data, n_bytes)) {
        FVI_TRY(fvi_png_decode(options, data, n_bytes, &canvas, err));
    } else if (fvi_jpeg_recognise(data, n_bytes)) {
        FVI_TRY(fvi_jpeg_decode(options, data, n_bytes, &canvas, err));
    } else {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "the image is neither PNG nor JPEG");
    }
    return image_new(&canvas, out, err);
}

fovea_status fovea_image_from_memory(const void *data, size_t n_bytes,
                                     const fovea_image_options *options, fovea_image **out,
                                     fovea_error *err)
{
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "out is NULL");
    }
    *out = NULL;
    if (data == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "data is NULL");
    }
    fovea_image_options copy;
    FVI_TRY(read_options(options, &copy, err));
    return decode(&copy, data, n_bytes, out, err);
}

/* "scheme://..." and "data:..." are addresses and never tried as file names. */
static bool is_url(const char *path)
{
    static const char scheme_characters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
    size_t n = strspn(path, scheme_characters);
    return (n > 1 && strncmp(path + n, "://", 3) == 0) || strncmp(path, "data:", 5) == 0;
}

fovea_status fovea_image_from_file(const char *path, const fovea_image_options *options,
                                   fovea_image **out, fovea_error *err)
{
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "out is NULL");
    }
    *out = NULL;
    if (path == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "path is NULL");
    }
    if (is_url(path)) {
        return FVI_FAIL(
            err, FOVEA_ERR_UNSUPPORTED,
            "%.80s is a URL: images are not fetched; load the file first and pass its path "
            "or its bytes",
            path);
    }
    fovea_image_options copy;
    FVI_TRY(read_options(options, &copy, err));
    char *data = NULL;
    size_t n_bytes = 0;
    size_t max_bytes = copy.max_bytes < SIZE_MAX / 2 ? (size_t)copy.max_bytes : SIZE_MAX / 2;
    FVI_TRY(fvi_file_read(copy.alloc, path, max_bytes, &data, &n_bytes, err));
    fovea_status status = decode(&copy, (const uint8_t *)data, n_bytes, out, err);
    fvi_free(copy.alloc, data);
    return status;
}

fovea_status fovea_image_from_pixels(const uint8_t *rgb, uint32_t width, uint32_t height,
                                     size_t stride, const fovea_image_options *options,
                                     fovea_image **out, fovea_error *err)
{
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "out is NULL");
    }
    *out = NULL;
    const size_t row = (size_t)width * 3;
    stride = stride != 0 ? stride : row;
    if (rgb == NULL || stride < row) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "%s",
                        rgb == NULL ? "rgb is NULL" : "stride is below a row");
    }
    fovea_image_options copy;
    FVI_TRY(read_options(options, &copy, err));
    if (width == 0 || height == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "a picture of %u x %u pixels", width, height);
    }
    fvi_canvas canvas = {0};
    FVI_TRY(fvi_canvas_open(&copy, width, height, 1, &canvas, err));
    for (uint32_t y = 0; y < height; y++) {
        fvi_canvas_put(&canvas, y, 0, 1, width, rgb + y * stride);
    }
    return image_new(&canvas, out, err);
}

fovea_image *fovea_image_ref(fovea_image *image)
{
    if (image != NULL) {
        atomic_fetch_add_explicit(&image->n_ref, 1, memory_order_relaxed);
    }
    return image;
}

void fovea_image_free(fovea_image **image)
{
    if (image == NULL || *image == NULL) {
        return;
    }
    fovea_image *self = *image;
    *image = NULL;
    if (atomic_fetch_sub_explicit(&self->n_ref, 1, memory_order_acq_rel) == 1) {
        const fovea_alloc alloc = self->alloc;
        fvi_free(&alloc, self->pixels);
        fvi_free(&alloc, self);
    }
}

uint32_t fovea_image_width(const fovea_image *image)
{
    return image->width;
}

uint32_t fovea_image_height(const fovea_image *image)
{
    return image->height;
}

const uint8_t *fovea_image_pixels(const fovea_image *image)
{
    return image->pixels;
}
