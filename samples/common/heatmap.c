/* heatmap.c - shares of kept tokens as a picture. */
#include "samples/common/heatmap.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLUE_SHARE 0.35 /* of a blurred cell's colour */
#define DARKNESS   0.15 /* brightness of what was dropped */

static const double blue[3] = {40, 110, 255};

/* A token of the grid. */
typedef struct cell {
    double sharp, blurred; /* shares of the lists; the rest dropped it */
    double sum[3];         /* of its pixels */
    double n_pixel;
} cell;

/* One picture on its way. */
typedef struct canvas {
    const fovea_image_span *span;
    const fovea_image *image;
    cell *cells;     /* [grid_height, grid_width] */
    uint8_t *pixels; /* [height, width, 3] */
} canvas;

static fovea_status count_kinds(const sample_heatmap *self, const sample_reply *reply,
                                canvas *picture, fovea_error *err)
{
    const fovea_image_span *span = picture->span;
    uint32_t n_list = 0;

    for (uint32_t r = 0; r < reply->n_row; r++) {
        const fovea_ledger_row *row = &reply->rows[r];
        const uint8_t *kinds = reply->kinds + r * reply->n_prompt + span->first_token;
        if ((self->layer != SAMPLE_ALL && row->layer != self->layer) ||
            (self->head != SAMPLE_ALL && row->kv_head != self->head)) {
            continue;
        }
        n_list++;
        for (uint32_t t = 0; t < span->n_token; t++) {
            bool is_sharp = kinds[t] == FOVEA_KIND_F32 || kinds[t] == FOVEA_KIND_F16;
            picture->cells[t].sharp += is_sharp;
            picture->cells[t].blurred += !is_sharp && kinds[t] != FOVEA_KIND_DROPPED;
        }
    }
    if (n_list == 0) {
        return sample_fail(err, FOVEA_ERR_ARG, "the heat map's layer or head is not in this model");
    }
    for (uint32_t t = 0; t < span->n_token; t++) {
        picture->cells[t].sharp /= n_list;
        picture->cells[t].blurred /= n_list;
    }
    return FOVEA_OK;
}

/* The grid's row or column at a pixel; false where the model did not see it. */
static bool find_place(uint32_t pixel, uint32_t n_pixel, float begin, float end, uint32_t n_place,
                       uint32_t *place)
{
    double share = (((double)pixel + 0.5) / n_pixel - begin) / ((double)end - begin);

    *place = (uint32_t)fmin(fmax(share, 0) * n_place, n_place - 1.0);
    return share >= 0 && share < 1;
}

/* The cell at a pixel; NULL where the model did not see it. */
static cell *cell_at(const canvas *picture, uint32_t x, uint32_t y)
{
    const fovea_image_span *span = picture->span;
    uint32_t column, row;
    bool inside = find_place(x, fovea_image_width(picture->image), span->left, span->right,
                             span->grid_width, &column) &&
                  find_place(y, fovea_image_height(picture->image), span->top, span->bottom,
                             span->grid_height, &row);

    return inside ? &picture->cells[row * span->grid_width + column] : NULL;
}

static void sum_colours(canvas *picture)
{
    uint32_t width = fovea_image_width(picture->image);
    const uint8_t *pixel = fovea_image_pixels(picture->image);

    for (uint32_t y = 0; y < fovea_image_height(picture->image); y++) {
        for (uint32_t x = 0; x < width; x++, pixel += 3) {
            cell *at = cell_at(picture, x, y);
            for (int c = 0; at != NULL && c < 3; c++) {
                at->sum[c] += pixel[c];
            }
            if (at != NULL) {
                at->n_pixel++;
            }
        }
    }
}

static void mix(canvas *picture)
{
    static const cell unseen = {.n_pixel = 1};
    uint32_t width = fovea_image_width(picture->image);
    const uint8_t *pixel = fovea_image_pixels(picture->image);
    uint8_t *out = picture->pixels;

    for (uint32_t y = 0; y < fovea_image_height(picture->image); y++) {
        for (uint32_t x = 0; x < width; x++, pixel += 3, out += 3) {
            const cell *found = cell_at(picture, x, y);
            const cell *at = found != NULL ? found : &unseen;
            double gray = DARKNESS * (pixel[0] + pixel[1] + pixel[2]) / 3.0;
            for (int c = 0; c < 3; c++) {
                double mean = at->sum[c] / at->n_pixel;
                double coarse = (1 - BLUE_SHARE) * mean + BLUE_SHARE * blue[c];
                double mixed = at->sharp * pixel[c] + at->blurred * coarse +
                               (1 - at->sharp - at->blurred) * gray;
                out[c] = (uint8_t)fmin(fmax(mixed + 0.5, 0), 255);
            }
        }
    }
}

static fovea_status write_png(const canvas *picture, const char *path, fovea_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = fovea_image_width(picture->image),
                     .height = fovea_image_height(picture->image),
                     .format = PNG_FORMAT_RGB};

    if (png_image_write_to_file(&png, path, 0, picture->pixels, 0, NULL) == 0) {
        return sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, png.message);
    }
    return FOVEA_OK;
}

static fovea_status draw(const sample_heatmap *self, const sample_reply *reply, uint32_t index,
                         const char *image, const char *path, fovea_error *err)
{
    canvas picture = {.span = &reply->spans[index]};
    fovea_image *opened = NULL;
    fovea_status status = sample_images_open(&image, 1, &opened, err);

    if (status < 0) {
        return status;
    }
    picture.image = opened;
    picture.cells = calloc(picture.span->n_token, sizeof(*picture.cells));
    picture.pixels = calloc((size_t)fovea_image_width(opened) * fovea_image_height(opened), 3);
    status = picture.cells != NULL && picture.pixels != NULL
                 ? count_kinds(self, reply, &picture, err)
                 : sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    if (status == FOVEA_OK) {
        sum_colours(&picture);
        mix(&picture);
        status = write_png(&picture, path, err);
    }
    free(picture.pixels);
    free(picture.cells);
    fovea_image_free(&opened);
    return status;
}

/* "out.png" becomes "out-1.png". The caller frees it. */
static char *numbered(const char *path, size_t number)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash != NULL ? slash : path, '.');
    int n_stem = (int)(dot != NULL ? dot - path : (long)strlen(path));
    char *out = NULL;

    return asprintf(&out, "%.*s-%zu%s", n_stem, path, number, path + n_stem) < 0 ? NULL : out;
}

fovea_status sample_heatmap_write(const sample_heatmap *self, const sample_reply *reply,
                                  const char *const *images, size_t n_image, fovea_error *err)
{
    fovea_status status = FOVEA_OK;

    if (n_image == 0) {
        return sample_fail(err, FOVEA_ERR_ARG, "a heat map needs a picture");
    }
    for (size_t i = 0; i < n_image && i < reply->n_span && status == FOVEA_OK; i++) {
        char *path = n_image > 1 ? numbered(self->path, i + 1) : strdup(self->path);
        status = path != NULL ? draw(self, reply, (uint32_t)i, images[i], path, err)
                              : sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
        free(path);
    }
    return status;
}
