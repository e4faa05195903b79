/* test_preprocess.c - pixel values equal transformers' bit for bit (tests/golden/make_preprocess.py); what a
 * config asks for and is not done is refused by name; failing memory is an error. */
#include "tests/fault/fault_alloc.h"
#include "tests/vision/pixels.h"
#include "vision/preprocess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN FOVEA_SOURCE_DIR "/tests/golden/"

static fovea_image *noise_image(uint64_t seed, uint32_t width, uint32_t height)
{
    uint8_t *pixels = malloc((size_t)width * height * 3);
    assert_non_null(pixels);
    fill_noise(seed, pixels, (size_t)width * height * 3);
    fovea_image *image = NULL;
    assert_int_equal(fovea_image_from_pixels(pixels, width, height, 0, NULL, &image, NULL),
                     FOVEA_OK);
    free(pixels);
    return image;
}

static void test_equals_transformers(void **state)
{
    (void)state;
    FILE *list = fopen(GOLDEN "preprocess.txt", "r");
    assert_non_null(list);
    char name[64], dir[512];
    unsigned width, height, to_width, to_height, n_line = 0;
    unsigned long long want;
    while (fscanf(list, "%63s %u %u %u %u %llx", name, &width, &height, &to_width, &to_height,
                  &want) == 6) {
        fvi_preprocess how;
        fovea_error err = {0};
        snprintf(dir, sizeof dir, "%spreprocess/%s", GOLDEN, name);
        if (fvi_preprocess_load(&fvi_alloc_default, dir, &how, &err) != FOVEA_OK) {
            fail_msg("%s: %s", name, err.text);
        }
        assert_int_equal(how.width, to_width);
        assert_int_equal(how.height, to_height);
        fovea_image *image = noise_image(++n_line, width, height);
        const size_t n = (size_t)to_width * to_height * 3;
        float *out = malloc(n * sizeof *out);
        assert_non_null(out);
        assert_int_equal(fvi_preprocess_run(&how, &fvi_alloc_default, image, out, &err), FOVEA_OK);
        if (fnv1a(out, n * sizeof *out) != want) {
            fail_msg("%s: %u x %u differs", name, width, height);
        }
        free(out);
        fovea_image_free(&image);
    }
    fclose(list);
    assert_int_equal(n_line, 70);
}

static void write_config(const char *dir, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    unlink(path);
    if (text != NULL) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs(text, out);
        fclose(out);
    }
}

static void test_configs(void **state)
{
    (void)state;
#define CLIP   "\"image_processor_type\": \"CLIPImageProcessor\""
#define SIGLIP "\"image_processor_type\": \"SiglipImageProcessor\""
    static const struct {
        const char *text;
        fovea_status want;
        const char *says; /* part of the error text */
    } cases[] = {
        {"{" CLIP "}", FOVEA_OK, ""},
        {"{" CLIP ", \"size\": null, \"crop_size\": null, \"resample\": null}", FOVEA_OK, ""},
        {"{}", FOVEA_ERR_UNSUPPORTED, "none named"},
        {"{\"image_processor_type\": \"Idefics3ImageProcessor\"}", FOVEA_ERR_UNSUPPORTED,
         "Idefics3"},
        {"{\"image_processor_type\": \"CLIPImageProcessorX\"}", FOVEA_ERR_UNSUPPORTED,
         "ProcessorX"},
        {"{\"image_processor_type\": 3}", FOVEA_ERR_FORMAT, "image_processor_type"},
        {"{" CLIP ", \"do_pad\": true}", FOVEA_ERR_UNSUPPORTED, "do_pad"},
        {"{" CLIP ", \"resample\": 0}", FOVEA_ERR_UNSUPPORTED, "resample"},
        {"{" CLIP ", \"resample\": 4}", FOVEA_ERR_UNSUPPORTED, "resample"},
        {"{" CLIP ", \"size\": {\"longest_edge\": 9}}", FOVEA_ERR_UNSUPPORTED, "longest_edge"},
        {"{" CLIP ", \"size\": {\"width\": 9}}", FOVEA_ERR_FORMAT, "size"},
        {"{" CLIP ", \"size\": {\"shortest_edge\": 0}}", FOVEA_ERR_FORMAT, "shortest_edge"},
        {"{" CLIP ", \"size\": 4097}", FOVEA_ERR_FORMAT, "size"},
        {"{" CLIP ", \"size\": [9]}", FOVEA_ERR_FORMAT, "size"},
        {"{" CLIP ", \"size\": [9, -1]}", FOVEA_ERR_FORMAT, "size"},
        {"{" CLIP ", \"size\": \"big\"}", FOVEA_ERR_FORMAT, "size"},
        {"{" CLIP ", \"crop_size\": {\"shortest_edge\": 9}}", FOVEA_ERR_FORMAT, "crop_size"},
        {"{" CLIP ", \"do_center_crop\": false}", FOVEA_ERR_UNSUPPORTED, "shape"},
        {"{" CLIP ", \"do_center_crop\": 1}", FOVEA_ERR_FORMAT, "do_center_crop"},
        {"{" SIGLIP ", \"do_resize\": false}", FOVEA_ERR_UNSUPPORTED, "size"},
        {"{" SIGLIP ", \"do_center_crop\": true}", FOVEA_ERR_FORMAT, "crop_size"},
        {"{" SIGLIP ", \"image_std\": [0.5, 0.5]}", FOVEA_ERR_FORMAT, "image_std"},
        {"{" SIGLIP ", \"image_std\": [0.5, 0, 0.5]}", FOVEA_ERR_FORMAT, "image_std"},
        {"{" SIGLIP ", \"image_mean\": [1e99, 0, 0]}", FOVEA_ERR_FORMAT, "image_mean"},
        {"{" SIGLIP ", \"rescale_factor\": \"x\"}", FOVEA_ERR_FORMAT, "rescale_factor"},
        {"[1]", FOVEA_ERR_FORMAT, "object"},
        {"{\"size\"", FOVEA_ERR_FORMAT, "preprocessor_config.json"},
        {NULL, FOVEA_ERR_NOT_FOUND, "preprocessor_config.json"},
    };
    char dir[] = "/tmp/fovea_test_XXXXXX";
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < FVI_COUNT(cases); i++) {
        write_config(dir, "preprocessor_config.json", cases[i].text);
        fvi_preprocess how;
        fovea_error err = {0};
        fovea_status status = fvi_preprocess_load(&fvi_alloc_default, dir, &how, &err);
        if (status != cases[i].want || strstr(err.text, cases[i].says) == NULL) {
            fail_msg("%s: %d %s", cases[i].text, status, err.text);
        }
    }
    /* the nested form goes first; a processor config without one leaves it to the other file */
    fvi_preprocess how;
    write_config(dir, "preprocessor_config.json",
                 "{" SIGLIP ", \"size\": {\"height\": 7, \"width\": 9}}");
    write_config(dir, "processor_config.json", "{\"patch_size\": 14}");
    assert_int_equal(fvi_preprocess_load(&fvi_alloc_default, dir, &how, NULL), FOVEA_OK);
    assert_int_equal(how.width, 9);
    assert_int_equal(how.height, 7);
    write_config(dir, "processor_config.json",
                 "{\"image_processor\": {" CLIP ", \"crop_size\": 12}}");
    assert_int_equal(fvi_preprocess_load(&fvi_alloc_default, dir, &how, NULL), FOVEA_OK);
    assert_int_equal(how.width, 12);
    write_config(dir, "processor_config.json", "{\"image_processor\": 1}");
    assert_int_equal(fvi_preprocess_load(&fvi_alloc_default, dir, &how, NULL), FOVEA_ERR_FORMAT);
    write_config(dir, "processor_config.json", NULL);
    write_config(dir, "preprocessor_config.json", NULL);
    rmdir(dir);
}

/* A picture of one row may have its shortest edge enlarged: the crop alone is computed. */
static void test_narrow_picture(void **state)
{
    (void)state;
    fault_alloc memory;
    fault_alloc_init(&memory);
    fvi_preprocess how;
    assert_int_equal(
        fvi_preprocess_load(&memory.alloc, GOLDEN "preprocess/clip_defaults", &how, NULL),
        FOVEA_OK);
    fovea_image *image = noise_image(1, 16384, 1); /* would become 3,670,016 x 224 */
    float *out = malloc(3 * 224 * 224 * sizeof *out);
    assert_int_equal(fvi_preprocess_run(&how, &memory.alloc, image, out, NULL), FOVEA_OK);
    assert_true(memory.peak_bytes < 1 << 20);
    free(out);
    fovea_image_free(&image);
    assert_int_equal(memory.n_live, 0);
}

static fovea_status prepare_once(const fovea_alloc *alloc, void *arg)
{
    fvi_preprocess how;
    float out[3 * 24 * 24];
    FVI_TRY(fvi_preprocess_load(alloc, GOLDEN "preprocess/clip", &how, NULL));
    return fvi_preprocess_run(&how, alloc, arg, out, NULL);
}

static void test_failing_memory(void **state)
{
    (void)state;
    fovea_image *image = noise_image(1, 30, 20);
    uint64_t n_point = 0;
    const char *wrong = fault_sweep(prepare_once, image, &n_point);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    assert_true(n_point >= 5);
    fovea_image_free(&image);
}

/* What a centre crop leaves, worked out by hand. */
static void test_part(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        float part[4];
    } cases[] = {
        {448, 224, {0.25f, 0, 0.75f, 1}},   /* 448 x 224, the middle 224 */
        {100, 400, {0, 0.375f, 1, 0.625f}}, /* 224 x 896 */
        {64, 64, {0, 0, 1, 1}},
    };
    fvi_preprocess how = {.shortest_edge = 224,
                          .crop_width = 224,
                          .crop_height = 224,
                          .do_resize = true,
                          .do_crop = true};
    float part[4];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fvi_preprocess_part(&how, cases[i].width, cases[i].height, part);
        assert_memory_equal(part, cases[i].part, sizeof part);
    }
    how.do_crop = false;
    fvi_preprocess_part(&how, 448, 224, part);
    assert_memory_equal(part, cases[2].part, sizeof part);
    how.do_crop = true; /* a picture smaller than the crop stands on a black ground */
    how.do_resize = false;
    fvi_preprocess_part(&how, 112, 224, part);
    assert_memory_equal(part, ((const float[4]){-0.5f, 0, 1.5f, 1}), sizeof part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_transformers), cmocka_unit_test(test_configs),
        cmocka_unit_test(test_narrow_picture),      cmocka_unit_test(test_part),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
