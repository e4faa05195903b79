/* test_resize.c - resampling equals Pillow's bit for bit (tests/golden/make_resize.py), a window equals the
 * same part of the whole, bad arguments and failing memory are errors. */
#include "tests/fault/fault_alloc.h"
#include "tests/vision/pixels.h"
#include "vision/resize.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct shape {
    unsigned filter, width, height, to_width, to_height;
} shape;

static uint8_t *make_source(const shape *s, uint64_t seed)
{
    uint8_t *src = malloc((size_t)s->width * s->height * 3);
    assert_non_null(src);
    fill_noise(seed, src, (size_t)s->width * s->height * 3);
    return src;
}

static void test_equals_pillow(void **state)
{
    (void)state;
    FILE *file = fopen(FOVEA_SOURCE_DIR "/tests/golden/resize.txt", "r");
    assert_non_null(file);
    shape s;
    unsigned long long want;
    unsigned n_line = 0;
    while (fscanf(file, "%u %u %u %u %u %llx", &s.filter, &s.width, &s.height, &s.to_width,
                  &s.to_height, &want) == 6) {
        uint8_t *src = make_source(&s, n_line / 3 + 1); /* three filters share a picture */
        size_t n = (size_t)s.to_width * s.to_height * 3;
        uint8_t *dst = malloc(n);
        assert_non_null(dst);
        assert_int_equal(fvi_resize_rgb(&fvi_alloc_default, (fvi_resample)s.filter, src, s.width,
                                        s.height, dst, s.to_width, s.to_height),
                         FOVEA_OK);
        if (fnv1a(dst, n) != want) {
            fail_msg("filter %u: %u x %u to %u x %u differs", s.filter, s.width, s.height,
                     s.to_width, s.to_height);
        }
        free(src);
        free(dst);
        n_line++;
    }
    fclose(file);
    assert_int_equal(n_line, 60);
}

/* In a picture of two columns, half the width is their mean, rounded half up. */
static void test_by_hand(void **state)
{
    (void)state;
    const uint8_t src[6] = {10, 0, 255, 21, 1, 0};
    uint8_t dst[3];
    assert_int_equal(
        fvi_resize_rgb(&fvi_alloc_default, FVI_RESAMPLE_BILINEAR, src, 2, 1, dst, 1, 1), FOVEA_OK);
    assert_int_equal(dst[0], 16);
    assert_int_equal(dst[1], 1);
    assert_int_equal(dst[2], 128);
}

static void test_window(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {
            3,
            40,
            30,
            25,
            60,
        },
        {1, 20, 90, 33, 9},
        {2, 31, 17, 31, 40},
        {3, 25, 25, 25, 25},
    };
    static const fvi_window windows[] = {{0, 0, 1, 1}, {5, 3, 20, 6}, {24, 8, 1, 1}, {0, 2, 25, 7}};
    for (size_t i = 0; i < FVI_COUNT(shapes); i++) {
        const shape *s = &shapes[i];
        uint8_t *src = make_source(s, 77 + i);
        uint8_t *whole = malloc((size_t)s->to_width * s->to_height * 3);
        assert_int_equal(fvi_resize_rgb(&fvi_alloc_default, (fvi_resample)s->filter, src, s->width,
                                        s->height, whole, s->to_width, s->to_height),
                         FOVEA_OK);
        for (size_t j = 0; j < FVI_COUNT(windows); j++) {
            const fvi_window w = windows[j];
            uint8_t part[32 * 32 * 3]; /* rows 96 bytes apart */
            assert_int_equal(fvi_resize_rgb_window(&fvi_alloc_default, (fvi_resample)s->filter, src,
                                                   s->width, s->height, s->to_width, s->to_height,
                                                   w, part, 96),
                             FOVEA_OK);
            for (uint32_t y = 0; y < w.height; y++) {
                assert_memory_equal(part + y * 96, whole + ((w.y + y) * s->to_width + w.x) * 3,
                                    w.width * 3);
            }
        }
        free(whole);
        free(src);
    }
}

static void test_bad_arguments(void **state)
{
    (void)state;
    uint8_t src[3] = {1, 2, 3}, dst[3];
    const fovea_alloc *alloc = &fvi_alloc_default;
    const fvi_resample good = FVI_RESAMPLE_BICUBIC;
    assert_int_equal(fvi_resize_rgb(alloc, good, src, 0, 1, dst, 1, 1), FOVEA_ERR_ARG);
    assert_int_equal(fvi_resize_rgb(alloc, good, src, 1, 1, dst, 1, 0), FOVEA_ERR_ARG);
    assert_int_equal(fvi_resize_rgb(alloc, (fvi_resample)4, src, 1, 1, dst, 1, 1), FOVEA_ERR_ARG);
    const fvi_window past = {.x = 1, .y = 0, .width = 1, .height = 1};
    assert_int_equal(fvi_resize_rgb_window(alloc, good, src, 1, 1, 1, 1, past, dst, 3),
                     FOVEA_ERR_ARG);
    const fvi_window wide = {.x = 1, .y = 0, .width = UINT32_MAX, .height = 1};
    assert_int_equal(fvi_resize_rgb_window(alloc, good, src, 1, 1, 9, 1, wide, dst, 3),
                     FOVEA_ERR_ARG);
}

static fovea_status resize_once(const fovea_alloc *alloc, void *arg)
{
    uint8_t dst[7 * 5 * 3];
    return fvi_resize_rgb(alloc, FVI_RESAMPLE_LANCZOS, arg, 9, 11, dst, 7, 5);
}

static void test_failing_memory(void **state)
{
    (void)state;
    uint8_t src[9 * 11 * 3] = {0};
    uint64_t n_point = 0;
    const char *wrong = fault_sweep(resize_once, src, &n_point);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    assert_true(n_point >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pillow),  cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_window),         cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
