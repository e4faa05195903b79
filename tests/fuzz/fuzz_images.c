/* fuzz_images.c - PNG and JPEG files, and the preprocessing of what was decoded.
 *
 * A PNG's checksums are put right again after most mutations, or nothing behind them would be reached. */
#include "tests/fuzz/fuzz.h"

#include "vision/preprocess.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SIDE 16

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Walks the chunks as far as their lengths make sense. */
static void repair(fuzz_bytes *input, fuzz_random *random)
{
    (void)random;
    if (input->n < 8 || memcmp(input->data, "\x89PNG\r\n\x1a\n", 8) != 0) {
        return;
    }
    for (size_t at = 8; at + 12 <= input->n;) {
        size_t n = read_u32(input->data + at);
        if (n > input->n - at - 12) {
            return;
        }
        uint32_t sum = (uint32_t)crc32(0, input->data + at + 4, (uInt)(n + 4));
        for (uint32_t i = 0; i < 4; i++) {
            input->data[at + 8 + n + i] = (uint8_t)(sum >> (24 - 8 * i));
        }
        at += 12 + n;
    }
}

static void run(const fuzz_bytes *input, const char *dir)
{
    (void)dir;
    fovea_image_options options = {
        .size = sizeof options, .max_dimension = 4096, .max_pixels = 1 << 18};
    fovea_image *image = NULL;
    fovea_error err;
    if (fovea_image_from_memory(input->data, input->n, &options, &image, &err) < 0) {
        if (image != NULL) {
            abort();
        }
        return;
    }
    uint64_t n_pixel = (uint64_t)fovea_image_width(image) * fovea_image_height(image);
    if (n_pixel == 0 || n_pixel > options.max_pixels) {
        abort();
    }
    fvi_preprocess how = {.resize_width = SIDE,
                          .resize_height = SIDE,
                          .resample = FVI_RESAMPLE_BICUBIC,
                          .do_resize = true,
                          .do_rescale = true,
                          .rescale = 1.0f / 255.0f,
                          .width = SIDE,
                          .height = SIDE};
    static float pixels[3 * SIDE * SIDE];
    if (fvi_preprocess_run(&how, &fvi_alloc_default, image, pixels, &err) >= 0) {
        for (size_t i = 0; i < sizeof pixels / sizeof pixels[0]; i++) {
            if (!(pixels[i] >= 0.0f && pixels[i] <= 1.0f)) {
                abort();
            }
        }
    }
    fovea_image_free(&image);
}

const fuzz_target fuzz_images = {"images", NULL, repair, run};

static const char *const words[] = {"null",
                                    "true",
                                    "false",
                                    "[]",
                                    "{}",
                                    "\"shortest_edge\":",
                                    "\"longest_edge\":",
                                    "\"height\":",
                                    "\"do_resize\":false,",
                                    "\"do_pad\":true,",
                                    "\"image_mean\":[0.1],",
                                    "\"resample\":",
                                    "\"size\":",
                                    "\"image_processor\":",
                                    NULL};

/* The file is read under both names that exist; what it asks for is then done to a small picture. */
static void run_preprocessor(const fuzz_bytes *input, const char *dir)
{
    static const char *const names[] = {"preprocessor_config.json", "processor_config.json"};
    static const uint8_t rgb[7 * 5 * 3];
    fovea_error err;
    fuzz_write_file(dir, names[input->n % 2], input->data, input->n);
    fuzz_write_file(dir, names[1 - input->n % 2], (const uint8_t *)"{}", 2);
    fvi_preprocess how;
    if (fvi_preprocess_load(&fvi_alloc_default, dir, &how, &err) < 0) {
        return;
    }
    uint64_t n = (uint64_t)how.width * how.height;
    if (n == 0) {
        abort();
    }
    if (n > 1 << 16 || (uint64_t)how.resize_width * how.resize_height > 1 << 20 ||
        how.shortest_edge > 512) {
        return; /* right, and slow */
    }
    fovea_image *image = NULL;
    float *pixels = malloc(n * 3 * sizeof *pixels);
    if (pixels != NULL && fovea_image_from_pixels(rgb, 7, 5, 0, NULL, &image, &err) >= 0) {
        (void)fvi_preprocess_run(&how, &fvi_alloc_default, image, pixels, &err);
    }
    fovea_image_free(&image);
    free(pixels);
}

const fuzz_target fuzz_preprocessor = {"preprocessor", words, NULL, run_preprocessor};
