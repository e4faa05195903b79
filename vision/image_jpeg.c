/* image_jpeg.c - JPEG through libjpeg-turbo: baseline, progressive, gray, CMYK and YCCK, EXIF orientation.
 *
 * The same settings as Pillow (accurate integer DCT, smooth upsampling, Adobe's inverted CMYK taken for
 * granted), so the pixels are Pillow's. What libjpeg only warns about although pixels are lost (bad codes,
 * data that ends early) is an error here.
 * Called by image.c. */
#include <stdio.h> /* jpeglib.h needs it before itself */

#include "vision/image_decode.h"

#include <jpeglib.h>

#include <jerror.h> /* goes by what jpeglib.h configured */
#include <setjmp.h>

/* A sane file has at most some dozens; every scan may cost a pass over all blocks. */
#define MAX_SCAN 64
#define MAX_WIDE 4 /* bytes of a decoded pixel */

static const char exif_id[6] = "Exif\0"; /* and a second zero */

typedef struct reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_source_mgr source;
    jmp_buf jump;
    const fovea_image_options *options;
    uint8_t *row; /* [width, 4] */
    fvi_canvas canvas;
    fovea_error *err;
    fovea_status code; /* of an error that ends decoding */
    char text[JMSG_LENGTH_MAX];
} reader;

bool fvi_jpeg_recognise(const uint8_t *data, size_t n_bytes)
{
    return n_bytes >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff;
}

static _Noreturn void stop(reader *self, fovea_status code, const char *text)
{
    self->code = code;
    snprintf(self->text, sizeof self->text, "%s", text);
    longjmp(self->jump, 1);
}

static void on_error(j_common_ptr jpeg)
{
    reader *self = jpeg->client_data;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    stop(self, jpeg->err->msg_code == JERR_OUT_OF_MEMORY ? FOVEA_ERR_NOMEM : FOVEA_ERR_FORMAT,
         text);
}

static void on_message(j_common_ptr jpeg, int level)
{
    if (level >= 0) {
        return; /* a trace */
    }
    switch (jpeg->err->msg_code) {
    case JWRN_HIT_MARKER: /* entropy-coded data ends early */
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC: /* a restart marker is missing */
    case JWRN_ARITH_BAD_CODE: on_error(jpeg); break;
    default: break;
    }
}

static void on_output(j_common_ptr jpeg)
{
    (void)jpeg; /* the default prints */
}

static void on_progress(j_common_ptr jpeg)
{
    reader *self = jpeg->client_data;
    if (self->jpeg.input_scan_number > MAX_SCAN) {
        stop(self, FOVEA_ERR_LIMIT, "more scans than 64");
    }
}

static void source_nothing(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

static boolean source_fill(j_decompress_ptr jpeg)
{
    stop(jpeg->client_data, FOVEA_ERR_FORMAT, "the file is cut short");
}

static void source_skip(j_decompress_ptr jpeg, long n)
{
    if (n <= 0) {
        return;
    }
    if ((size_t)n > jpeg->src->bytes_in_buffer) {
        stop(jpeg->client_data, FOVEA_ERR_FORMAT, "the file is cut short");
    }
    jpeg->src->next_input_byte += n;
    jpeg->src->bytes_in_buffer -= (size_t)n;
}

static unsigned read_orientation(const reader *self)
{
    for (const struct jpeg_marker_struct *marker = self->jpeg.marker_list; marker != NULL;
         marker = marker->next) {
        if (marker->marker == JPEG_APP0 + 1 && marker->data_length > sizeof exif_id &&
            memcmp(marker->data, exif_id, sizeof exif_id) == 0) {
            return fvi_exif_orientation(marker->data + sizeof exif_id,
                                        marker->data_length - sizeof exif_id);
        }
    }
    return 1;
}

/* Adobe's inverted inks to RGB in place, rounded as Pillow does: with c = 255 - cyan as stored,
 * red = k - k (255 - c) / 255. */
static void cmyk_to_rgb(uint8_t *row, uint32_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int black = row[4 * i + 3]; /* stored inverted: 255 is no ink */
        for (unsigned c = 0; c < 3; c++) {
            const int product = (255 - row[4 * i + c]) * black + 128;
            row[3 * i + c] = (uint8_t)(black - ((product >> 8) + product) / 256);
        }
    }
}

static void set_output(reader *self)
{
    struct jpeg_decompress_struct *jpeg = &self->jpeg;
    switch (jpeg->num_components) {
    case 1:
    case 3: jpeg->out_color_space = JCS_RGB; break;
    case 4: jpeg->out_color_space = JCS_CMYK; break;
    default: stop(self, FOVEA_ERR_UNSUPPORTED, "neither 1, 3 nor 4 components");
    }
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
}

/* Everything that may jump; the caller frees. */
static fovea_status read_guarded(reader *self, const uint8_t *data, size_t n_bytes)
{
    if (setjmp(self->jump) != 0) {
        return FVI_FAIL(self->err, self->code, "JPEG: %s", self->text);
    }
    struct jpeg_decompress_struct *jpeg = &self->jpeg;
    jpeg_create_decompress(jpeg); /* keeps err and client_data */
    self->source = (struct jpeg_source_mgr){.next_input_byte = data,
                                            .bytes_in_buffer = n_bytes,
                                            .init_source = source_nothing,
                                            .fill_input_buffer = source_fill,
                                            .skip_input_data = source_skip,
                                            .resync_to_restart = jpeg_resync_to_restart,
                                            .term_source = source_nothing};
    self->progress = (struct jpeg_progress_mgr){.progress_monitor = on_progress};
    jpeg->src = &self->source;
    jpeg->progress = &self->progress;
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    FVI_TRY(fvi_canvas_open(self->options, jpeg->image_width, jpeg->image_height,
                            read_orientation(self), &self->canvas, self->err));
    self->row = fvi_calloc(self->options->alloc, jpeg->image_width, MAX_WIDE);
    if (self->row == NULL) {
        return FVI_FAIL(self->err, FOVEA_ERR_NOMEM, "JPEG: no memory for a row");
    }
    set_output(self);
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        const uint32_t y = jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &self->row, 1);
        if (jpeg->out_color_space == JCS_CMYK) {
            cmyk_to_rgb(self->row, jpeg->output_width);
        }
        fvi_canvas_put(&self->canvas, y, 0, 1, jpeg->output_width, self->row);
    }
    jpeg_finish_decompress(jpeg);
    return FOVEA_OK;
}

fovea_status fvi_jpeg_decode(const fovea_image_options *options, const uint8_t *data,
                             size_t n_bytes, fvi_canvas *out, fovea_error *err)
{
    reader self = {.options = options, .err = err};
    self.jpeg.err = jpeg_std_error(&self.errors);
    self.errors.error_exit = on_error;
    self.errors.emit_message = on_message;
    self.errors.output_message = on_output;
    self.jpeg.client_data = &self;
    fovea_status status = read_guarded(&self, data, n_bytes);
    jpeg_destroy_decompress(&self.jpeg);
    fvi_free(options->alloc, self.row);
    if (status != FOVEA_OK) {
        fvi_canvas_close(&self.canvas);
        return status;
    }
    *out = self.canvas;
    return FOVEA_OK;
}
