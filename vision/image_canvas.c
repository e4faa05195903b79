/* image_canvas.c - the memory a decoder fills: caps, orientation, and the EXIF field that says it.
 *
 * Called by the decoders. */
#include "vision/image_decode.h"

fovea_status fvi_image_check_size(const fovea_image_options *options, uint64_t width,
                                  uint64_t height, fovea_error *err)
{
    if (width == 0 || height == 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "the picture is empty (%llu x %llu pixels)",
                        (unsigned long long)width, (unsigned long long)height);
    }
    if (width > options->max_dimension || height > options->max_dimension) {
        return FVI_FAIL(
            err, FOVEA_ERR_LIMIT, "the picture has %llu x %llu pixels, a side may have %u",
            (unsigned long long)width, (unsigned long long)height, options->max_dimension);
    }
    if (width * height > options->max_pixels) { /* sides are below 2^32 here */
        return FVI_FAIL(err, FOVEA_ERR_LIMIT,
                        "the picture has %llu x %llu pixels, %llu are allowed",
                        (unsigned long long)width, (unsigned long long)height,
                        (unsigned long long)options->max_pixels);
    }
    return FOVEA_OK;
}

fovea_status fvi_canvas_open(const fovea_image_options *options, uint32_t width, uint32_t height,
                             unsigned orientation, fvi_canvas *out, fovea_error *err)
{
    FVI_TRY(fvi_image_check_size(options, width, height, err));
    const bool swap = orientation >= 5; /* the file's rows are shown as columns */
    const bool flip_x =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    fvi_canvas canvas = {
        .alloc = options->alloc, .width = swap ? height : width, .height = swap ? width : height};
    canvas.pixels = fvi_calloc(options->alloc, (size_t)width * height, 3);
    if (canvas.pixels == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for %u x %u pixels", width, height);
    }
    const ptrdiff_t row = (ptrdiff_t)canvas.width * 3;
    canvas.step_x = (swap ? row : 3) * (flip_x ? -1 : 1);
    canvas.step_y = (swap ? 3 : row) * (flip_y ? -1 : 1);
    canvas.origin = canvas.pixels + (flip_x ? -canvas.step_x * ((ptrdiff_t)width - 1) : 0) +
                    (flip_y ? -canvas.step_y * ((ptrdiff_t)height - 1) : 0);
    *out = canvas;
    return FOVEA_OK;
}

void fvi_canvas_close(fvi_canvas *canvas)
{
    if (canvas->pixels != NULL) {
        fvi_free(canvas->alloc, canvas->pixels);
        *canvas = (fvi_canvas){0};
    }
}

void fvi_canvas_put(const fvi_canvas *canvas, uint32_t y, uint32_t x, uint32_t step, uint32_t n,
                    const uint8_t *rgb)
{
    uint8_t *to = canvas->origin + canvas->step_y * (ptrdiff_t)y + canvas->step_x * (ptrdiff_t)x;
    const ptrdiff_t stride = canvas->step_x * (ptrdiff_t)step;
    if (stride == 3) {
        memcpy(to, rgb, (size_t)n * 3);
        return;
    }
    for (ptrdiff_t i = 0; i < (ptrdiff_t)n; i++) {
        memcpy(to + i * stride, rgb + 3 * i, 3);
    }
}

typedef struct tiff {
    const uint8_t *data;
    size_t n_bytes;
    bool big_endian;
} tiff;

/* An unsigned number of n (2 or 4) bytes; false past the end. */
static bool tiff_read(const tiff *self, size_t at, unsigned n, uint32_t *out)
{
    if (at > self->n_bytes || self->n_bytes - at < n) {
        return false;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < n; i++) {
        value = value << 8 | self->data[at + (self->big_endian ? i : n - 1 - i)];
    }
    *out = value;
    return true;
}

unsigned fvi_exif_orientation(const uint8_t *data, size_t n_bytes)
{
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };
    if (n_bytes < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0)) {
        return 1;
    }
    const tiff self = {.data = data, .n_bytes = n_bytes, .big_endian = data[0] == 'M'};
    uint32_t at, n_entry;
    if (!tiff_read(&self, 4, 4, &at) || !tiff_read(&self, at, 2, &n_entry)) {
        return 1;
    }
    for (uint32_t i = 0; i < n_entry; i++) {
        const size_t entry = (size_t)at + 2 + (size_t)i * ENTRY_BYTES;
        uint32_t tag, type, count, value;
        if (!tiff_read(&self, entry, 2, &tag) || !tiff_read(&self, entry + 2, 2, &type) ||
            !tiff_read(&self, entry + 4, 4, &count) || !tiff_read(&self, entry + 8, 2, &value)) {
            return 1;
        }
        if (tag == TAG_ORIENTATION) {
            return type == TYPE_SHORT && count == 1 && value >= 1 && value <= 8 ? value : 1;
        }
    }
    return 1;
}
