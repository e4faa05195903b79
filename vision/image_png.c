/* image_png.c - PNG through libpng: every colour type and depth, interlaced or not.
 *
 * libpng expands to 8-bit RGB or RGBA; 16 bits keep their high byte (Pillow does so too, save for 16-bit
 * gray, which it clips at 255). gAMA, cHRM, iCCP and sRGB are ignored: values stay as the file has them.
 * All memory libpng takes comes from the caller's allocator. Damage anywhere up to IEND is an error;
 * damaged ancillary chunks are skipped.
 * Called by image.c. */
#include "vision/image_decode.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>

#define SIGNATURE_BYTES 8
#define HEADER_BYTES    33 /* signature and IHDR with its CRC */

/* Ancillary chunks nobody asks about, among them those that would be inflated. eXIf and tRNS stay. */
static const png_byte ignored_chunks[] = "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0"
                                         "sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0zTXt";

typedef struct reader {
    const fovea_image_options *options;
    const uint8_t *data;
    size_t n_bytes, at;
    png_structp png;
    png_infop info;
    uint8_t *row; /* [width, 4]: a row, and RGB again in place once alpha is composed */
    fvi_canvas canvas;
    fovea_error *err;
    bool no_memory;
    char text[128]; /* libpng's last words */
} reader;

bool fvi_png_recognise(const uint8_t *data, size_t n_bytes)
{
    return n_bytes >= SIGNATURE_BYTES && png_sig_cmp(data, 0, SIGNATURE_BYTES) == 0;
}

static void on_error(png_structp png, png_const_charp text)
{
    reader *self = png_get_error_ptr(png);
    snprintf(self->text, sizeof self->text, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static png_voidp png_take(png_structp png, png_alloc_size_t n_bytes)
{
    reader *self = png_get_mem_ptr(png);
    void *memory = fvi_alloc(self->options->alloc, n_bytes);
    self->no_memory = self->no_memory || memory == NULL;
    return memory;
}

static void png_release(png_structp png, png_voidp memory)
{
    const reader *self = png_get_mem_ptr(png);
    fvi_free(self->options->alloc, memory);
}

static void on_read(png_structp png, png_bytep to, png_size_t n)
{
    reader *self = png_get_io_ptr(png);
    if (n > self->n_bytes - self->at) {
        png_error(png, "the file is cut short");
    }
    memcpy(to, self->data + self->at, n);
    self->at += n;
}

static fovea_status reader_open(reader *self)
{
    self->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, self, on_error, on_warning, self,
                                         png_take, png_release);
    self->info = self->png != NULL ? png_create_info_struct(self->png) : NULL;
    if (self->info == NULL) {
        return FVI_FAIL(self->err, FOVEA_ERR_NOMEM, "PNG: no memory for the decoder");
    }
    return FOVEA_OK;
}

/* May jump: even a setting takes memory. */
static void set_input(reader *self)
{
    png_set_read_fn(self->png, self, on_read);
    png_set_user_limits(self->png, self->options->max_dimension, self->options->max_dimension);
    png_set_chunk_cache_max(self->png, 64);
    png_set_chunk_malloc_max(self->png, 8 << 20);
    png_set_keep_unknown_chunks(self->png, PNG_HANDLE_CHUNK_NEVER, ignored_chunks,
                                sizeof ignored_chunks / 5);
}

/* Transformations to 8-bit RGB, or RGBA where there is alpha to compose. */
static void set_output(reader *self)
{
    png_structp png = self->png;
    const png_byte colour = png_get_color_type(png, self->info);
    const bool ignore = self->options->alpha == FOVEA_ALPHA_IGNORE;
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
    } else if (!(colour & PNG_COLOR_MASK_COLOR)) {
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_gray_to_rgb(png);
    }
    if (!ignore && png_get_valid(png, self->info, PNG_INFO_tRNS)) {
        png_set_tRNS_to_alpha(png);
    }
    png_set_strip_16(png);
    if (ignore) {
        png_set_strip_alpha(png);
    }
}

static void compose(const uint8_t *ground, uint8_t *row, uint32_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned a = row[4 * i + 3];
        for (unsigned c = 0; c < 3; c++) {
            row[3 * i + c] = (uint8_t)((row[4 * i + c] * a + ground[c] * (255 - a) + 127) / 255);
        }
    }
}

static void read_rows(reader *self, uint32_t width, uint32_t height)
{
    const bool interlaced = png_get_interlace_type(self->png, self->info) != PNG_INTERLACE_NONE;
    const bool alpha = png_get_channels(self->png, self->info) == 4;
    const int n_pass = interlaced ? PNG_INTERLACE_ADAM7_PASSES : 1;
    for (int pass = 0; pass < n_pass; pass++) {
        uint32_t x = 0, y = 0, step_x = 1, step_y = 1, n = width;
        if (interlaced) {
            x = PNG_PASS_START_COL(pass);
            y = PNG_PASS_START_ROW(pass);
            step_x = PNG_PASS_COL_OFFSET(pass);
            step_y = PNG_PASS_ROW_OFFSET(pass);
            n = PNG_PASS_COLS(width, pass);
        }
        if (n == 0) {
            continue;
        }
        for (; y < height; y += step_y) {
            png_read_row(self->png, self->row, NULL);
            if (alpha) {
                compose(self->options->background, self->row, n);
            }
            fvi_canvas_put(&self->canvas, y, x, step_x, n, self->row);
        }
    }
}

static unsigned read_orientation(reader *self)
{
    png_uint_32 n_bytes = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(self->png, self->info, &n_bytes, &exif) == 0) {
        return 1;
    }
    return fvi_exif_orientation(exif, n_bytes);
}

/* Everything that may jump; the caller frees. */
static fovea_status read_guarded(reader *self)
{
    if (setjmp(png_jmpbuf(self->png)) != 0) {
        return FVI_FAIL(self->err, self->no_memory ? FOVEA_ERR_NOMEM : FOVEA_ERR_FORMAT, "PNG: %s",
                        self->text);
    }
    set_input(self);
    png_read_info(self->png, self->info);
    const uint32_t width = png_get_image_width(self->png, self->info);
    const uint32_t height = png_get_image_height(self->png, self->info);
    FVI_TRY(fvi_canvas_open(self->options, width, height, read_orientation(self), &self->canvas,
                            self->err));
    self->row = fvi_calloc(self->options->alloc, width, 4);
    if (self->row == NULL) {
        return FVI_FAIL(self->err, FOVEA_ERR_NOMEM, "PNG: no memory for a row");
    }
    set_output(self);
    png_read_update_info(self->png, self->info);
    if (png_get_rowbytes(self->png, self->info) > (size_t)width * 4) {
        png_error(self->png, "rows are wider than RGBA");
    }
    read_rows(self, width, height);
    png_read_end(self->png, NULL);
    return FOVEA_OK;
}

/* Width and height straight from the header, so that the caps speak before libpng does anything. */
static fovea_status check_header(const fovea_image_options *options, const uint8_t *data,
                                 size_t n_bytes, fovea_error *err)
{
    if (n_bytes < HEADER_BYTES || memcmp(data + SIGNATURE_BYTES + 4, "IHDR", 4) != 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "PNG: the header is cut short");
    }
    return fvi_image_check_size(options, png_get_uint_32(data + 16), png_get_uint_32(data + 20),
                                err);
}

fovea_status fvi_png_decode(const fovea_image_options *options, const uint8_t *data, size_t n_bytes,
                            fvi_canvas *out, fovea_error *err)
{
    FVI_TRY(check_header(options, data, n_bytes, err));
    reader self = {.options = options, .data = data, .n_bytes = n_bytes, .err = err};
    fovea_status status = reader_open(&self);
    if (status == FOVEA_OK) {
        status = read_guarded(&self);
    }
    png_destroy_read_struct(&self.png, &self.info, NULL);
    fvi_free(options->alloc, self.row);
    if (status != FOVEA_OK) {
        fvi_canvas_close(&self.canvas);
        return status;
    }
    *out = self.canvas;
    return FOVEA_OK;
}
