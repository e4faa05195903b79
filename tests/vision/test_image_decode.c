/* test_image_decode.c - decoded pixels equal the oracle's for every kind of file (tests/golden/
 * make_images.py), and the image object behaves: references, pixels with a stride, options, URLs. */
#include "tests/fault/fault_alloc.h"
#include "tests/vision/pixels.h"

#include <fovea/image.h>

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static fovea_image_options options_for(const char *alpha)
{
    fovea_image_options options = {.size = sizeof options, .background = {10, 200, 90}};
    options.alpha = strcmp(alpha, "ground") == 0   ? FOVEA_ALPHA_OVER_BACKGROUND
                    : strcmp(alpha, "ignore") == 0 ? FOVEA_ALPHA_IGNORE
                                                   : FOVEA_ALPHA_OVER_WHITE;
    return options;
}

static void test_golden_files(void **state)
{
    (void)state;
    FILE *list = fopen(FOVEA_SOURCE_DIR "/tests/golden/images.txt", "r");
    assert_non_null(list);
    char name[128], alpha[16], path[512];
    unsigned width, height, n_line = 0;
    unsigned long long want;
    while (fscanf(list, "%127s %15s %u %u %llx", name, alpha, &width, &height, &want) == 5) {
        const fovea_image_options options = options_for(alpha);
        fovea_image *image = NULL;
        fovea_error err = {0};
        snprintf(path, sizeof path, "%s/tests/golden/images/%s", FOVEA_SOURCE_DIR, name);
        if (fovea_image_from_file(path, &options, &image, &err) != FOVEA_OK) {
            fail_msg("%s: %s", name, err.text);
        }
        assert_int_equal(fovea_image_width(image), width);
        assert_int_equal(fovea_image_height(image), height);
        if (fnv1a(fovea_image_pixels(image), (size_t)width * height * 3) != want) {
            fail_msg("%s with alpha %s differs", name, alpha);
        }
        fovea_image_free(&image);
        assert_null(image);
        n_line++;
    }
    fclose(list);
    assert_int_equal(n_line, 177);
}

/* The content says what a file is, not its name. */
static void test_by_content(void **state)
{
    (void)state;
    size_t n;
    uint8_t *png = read_golden("images/rgb8.png", &n);
    assert_non_null(png);
    char path[] = "/tmp/fovea_test_XXXXXX.jpg";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, png, n), (ssize_t)n);
    close(fd);
    fovea_image *image = NULL;
    assert_int_equal(fovea_image_from_file(path, NULL, &image, NULL), FOVEA_OK);
    fovea_image_free(&image);
    unlink(path);
    free(png);
    fovea_error err = {0};
    assert_int_equal(fovea_image_from_memory("GIF89a......", 12, NULL, &image, &err),
                     FOVEA_ERR_FORMAT);
    assert_null(image);
    assert_non_null(strstr(err.text, "neither PNG nor JPEG"));
    assert_int_equal(fovea_image_from_memory("", 0, NULL, &image, &err), FOVEA_ERR_FORMAT);
}

static void test_url(void **state)
{
    (void)state;
    const char *const urls[] = {"http://host/a.png", "HTTPS://host/a.png", "file:///a.png",
                                "s3://b/k", "data:image/png;base64,AAAA"};
    fovea_image *image = NULL;
    fovea_error err = {0};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        assert_int_equal(fovea_image_from_file(urls[i], NULL, &image, &err), FOVEA_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "URL"));
    }
    assert_int_equal(fovea_image_from_file("./no:such//file.png", NULL, &image, &err),
                     FOVEA_ERR_NOT_FOUND);
}

static void test_from_pixels(void **state)
{
    (void)state;
    const uint8_t rows[2 * 8] = {1, 2, 3, 4, 5, 6, 99, 99, 7, 8, 9, 10, 11, 12, 99, 99};
    const uint8_t want[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    fovea_image *image = NULL;
    assert_int_equal(fovea_image_from_pixels(rows, 2, 2, 8, NULL, &image, NULL), FOVEA_OK);
    assert_memory_equal(fovea_image_pixels(image), want, sizeof want);
    fovea_image_free(&image);
    assert_int_equal(fovea_image_from_pixels(want, 2, 2, 0, NULL, &image, NULL), FOVEA_OK);
    assert_memory_equal(fovea_image_pixels(image), want, sizeof want);
    fovea_image_free(&image);
    assert_int_equal(fovea_image_from_pixels(rows, 2, 2, 5, NULL, &image, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_image_from_pixels(rows, 0, 2, 0, NULL, &image, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_image_from_pixels(NULL, 2, 2, 0, NULL, &image, NULL), FOVEA_ERR_ARG);
    assert_int_equal(fovea_image_from_pixels(rows, 1, 16385, 0, NULL, &image, NULL),
                     FOVEA_ERR_LIMIT);
    assert_null(image);
}

static void test_references(void **state)
{
    (void)state;
    fault_alloc memory;
    fault_alloc_init(&memory);
    const fovea_image_options options = {.size = sizeof options, .alloc = &memory.alloc};
    const uint8_t pixel[3] = {1, 2, 3};
    fovea_image *image = NULL;
    assert_int_equal(fovea_image_from_pixels(pixel, 1, 1, 0, &options, &image, NULL), FOVEA_OK);
    fovea_image *second = fovea_image_ref(image);
    assert_ptr_equal(second, image);
    fovea_image_free(&image);
    assert_null(image);
    assert_true(memory.n_live > 0);
    assert_memory_equal(fovea_image_pixels(second), pixel, 3);
    fovea_image_free(&second);
    assert_int_equal(memory.n_live, 0);
    fovea_image_free(&second); /* NULL is accepted */
    fovea_image_free(NULL);
    assert_null(fovea_image_ref(NULL));
}

static void test_options(void **state)
{
    (void)state;
    const uint8_t pixel[3] = {1, 2, 3};
    fovea_image *image = NULL;
    fovea_image_options options = {.size = 0};
    assert_int_equal(fovea_image_from_pixels(pixel, 1, 1, 0, &options, &image, NULL),
                     FOVEA_ERR_ARG);
    options.size = sizeof options + 8;
    assert_int_equal(fovea_image_from_pixels(pixel, 1, 1, 0, &options, &image, NULL),
                     FOVEA_ERR_ARG);
    options.size = sizeof options;
    options.alpha = (fovea_alpha)3;
    assert_int_equal(fovea_image_from_pixels(pixel, 1, 1, 0, &options, &image, NULL),
                     FOVEA_ERR_ARG);
    /* a caller built against an older header passes a shorter struct */
    options.size = offsetof(fovea_image_options, alpha);
    assert_int_equal(fovea_image_from_pixels(pixel, 1, 1, 0, &options, &image, NULL), FOVEA_OK);
    fovea_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files), cmocka_unit_test(test_by_content),
        cmocka_unit_test(test_url),          cmocka_unit_test(test_from_pixels),
        cmocka_unit_test(test_references),   cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
