/* test_image_hostile.c - damaged and malicious files: errors with a text, no crash, no leak, and nothing
 * large is taken before the caps have spoken. Run under sanitizers it is the image part of the fuzz lane. */
#include "tests/fault/fault_alloc.h"
#include "tests/vision/pixels.h"

#include <fovea/image.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

typedef struct file {
    uint8_t *data;
    size_t n;
} file;

static const char *const names[] = {
    "images/rgb8.png",    "images/palette4_key_adam7.png",
    "images/gray1.png",   "images/rgba16_adam7.png",
    "images/rgb420.jpg",  "images/rgb_progressive.jpg",
    "images/cmyk.jpg",    "images/gray.jpg",
    "images/turned6.jpg", "images/rgb420_restart.jpg",
};
#define N_NAME (sizeof names / sizeof *names)

static file load(const char *name)
{
    file f = {0};
    f.data = read_golden(name, &f.n);
    assert_non_null(f.data);
    return f;
}

/* Decodes an exact-size heap copy, so that a sanitizer sees a read past its end. */
static fovea_status decode(const uint8_t *data, size_t n, fovea_image_options options,
                           fovea_error *err, uint64_t *peak)
{
    fault_alloc memory;
    fault_alloc_init(&memory);
    options.size = sizeof options;
    options.alloc = &memory.alloc;
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    fovea_image *image = NULL;
    fovea_status status = fovea_image_from_memory(copy, n, &options, &image, err);
    assert_true((status == FOVEA_OK) == (image != NULL));
    fovea_image_free(&image);
    assert_int_equal(memory.n_live, 0);
    assert_int_equal(memory.n_bad, 0);
    if (peak != NULL) {
        *peak = memory.peak_bytes;
    }
    free(copy);
    return status;
}

static const fovea_image_options defaults;

/* A file cut anywhere is malformed; nothing is guessed. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAME; i++) {
        file f = load(names[i]);
        for (size_t n = 0; n < f.n; n++) {
            fovea_error err = {0};
            if (decode(f.data, n, defaults, &err, NULL) != FOVEA_ERR_FORMAT ||
                err.text[0] == '\0') {
                fail_msg("%s cut to %zu of %zu bytes: %s", names[i], n, f.n, err.text);
            }
        }
        assert_int_equal(decode(f.data, f.n, defaults, NULL, NULL), FOVEA_OK);
        free(f.data);
    }
}

/* Deterministic damage; any status is right, a crash or a leak is not. */
static void test_mutated(void **state)
{
    (void)state;
    const fovea_image_options small = {.max_pixels = 1 << 20}; /* header bytes change too */
    uint64_t seed = 1;
    unsigned n_ok = 0, n_error = 0;
    for (size_t i = 0; i < N_NAME; i++) {
        file f = load(names[i]);
        uint8_t *copy = malloc(f.n);
        for (unsigned round = 0; round < 300; round++) {
            memcpy(copy, f.data, f.n);
            uint8_t random[12];
            fill_noise(seed++, random, sizeof random);
            unsigned n_change = 1 + random[0] % 3;
            for (unsigned c = 0; c < n_change; c++) {
                size_t at = (random[3 * c + 1] * 256u + random[3 * c + 2]) % f.n;
                copy[at] ^= (uint8_t)(random[3 * c + 3] | 1);
            }
            fovea_status status = decode(copy, f.n, small, NULL, NULL);
            *(status == FOVEA_OK ? &n_ok : &n_error) += 1;
        }
        free(copy);
        free(f.data);
    }
    assert_true(n_ok > 0 && n_error > 0);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static uint32_t crc32_of(const uint8_t *data, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
        }
    }
    return ~crc;
}

static void png_set_size(file f, uint32_t width, uint32_t height)
{
    put_u32(f.data + 16, width);
    put_u32(f.data + 20, height);
    put_u32(f.data + 29, crc32_of(f.data + 12, 17));
}

static void test_png_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        fovea_status want;
    } cases[] = {
        {0, 11, FOVEA_ERR_FORMAT},        {13, 0, FOVEA_ERR_FORMAT},
        {16385, 1, FOVEA_ERR_LIMIT},      {1, 16385, FOVEA_ERR_LIMIT},
        {16384, 4097, FOVEA_ERR_LIMIT},   {UINT32_MAX, UINT32_MAX, FOVEA_ERR_LIMIT},
        {0x80000000, 2, FOVEA_ERR_LIMIT}, {13, 11, FOVEA_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = load("images/rgb8_adam7.png");
        png_set_size(f, cases[i].width, cases[i].height);
        uint64_t peak = 0;
        assert_int_equal(decode(f.data, f.n, defaults, NULL, &peak), cases[i].want);
        assert_true(peak < 1 << 20);
        free(f.data);
    }
}

/* The start-of-frame segment, FF C0..C2: length, precision, height, width. */
static uint8_t *find_frame(file f)
{
    for (size_t at = 2; at + 9 < f.n; at += 2 + (f.data[at + 2] << 8 | f.data[at + 3])) {
        if (f.data[at + 1] >= 0xc0 && f.data[at + 1] <= 0xc2) {
            return f.data + at;
        }
    }
    return NULL;
}

static void test_jpeg_sizes(void **state)
{
    (void)state;
    static const struct {
        unsigned width, height;
        fovea_status want;
    } cases[] = {
        {0, 29, FOVEA_ERR_FORMAT},        {37, 0, FOVEA_ERR_FORMAT},
        {65535, 65535, FOVEA_ERR_FORMAT}, {65500, 65500, FOVEA_ERR_LIMIT},
        {16385, 29, FOVEA_ERR_LIMIT},     {37, 16385, FOVEA_ERR_LIMIT},
        {16384, 4097, FOVEA_ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = load("images/rgb_progressive.jpg");
        uint8_t *frame = find_frame(f);
        assert_non_null(frame);
        frame[5] = (uint8_t)(cases[i].height >> 8);
        frame[6] = (uint8_t)cases[i].height;
        frame[7] = (uint8_t)(cases[i].width >> 8);
        frame[8] = (uint8_t)cases[i].width;
        uint64_t peak = 0;
        assert_int_equal(decode(f.data, f.n, defaults, NULL, &peak), cases[i].want);
        assert_int_equal(peak, 0);
        free(f.data);
    }
}

static void test_caps(void **state)
{
    (void)state;
    file f = load("images/rgb8.png"); /* 13 x 11 */
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_dimension = 13}, NULL, NULL),
                     0);
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_dimension = 12}, NULL, NULL),
                     FOVEA_ERR_LIMIT);
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_pixels = 143}, NULL, NULL), 0);
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_pixels = 142}, NULL, NULL),
                     FOVEA_ERR_LIMIT);
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_bytes = f.n}, NULL, NULL), 0);
    assert_int_equal(decode(f.data, f.n, (fovea_image_options){.max_bytes = f.n - 1}, NULL, NULL),
                     FOVEA_ERR_LIMIT);
    fovea_image *image = NULL;
    const fovea_image_options bytes = {.size = sizeof bytes, .max_bytes = 40};
    assert_int_equal(fovea_image_from_file(FOVEA_SOURCE_DIR "/tests/golden/images/rgb8.png", &bytes,
                                           &image, NULL),
                     FOVEA_ERR_LIMIT);
    free(f.data);
}

/* A wrong checksum of a chunk that matters is damage; of one that does not, it is skipped. */
static void test_png_checksums(void **state)
{
    (void)state;
    file f = load("images/rgb8.png");
    size_t n_ancillary = 0, n_critical = 0;
    for (size_t at = 8; at + 12 <= f.n;) {
        size_t length =
            (size_t)f.data[at] << 24 | f.data[at + 1] << 16 | f.data[at + 2] << 8 | f.data[at + 3];
        bool ancillary = f.data[at + 4] & 0x20;
        size_t crc = at + 8 + length;
        f.data[crc] ^= 1;
        bool end = memcmp(f.data + at + 4, "IEND", 4) == 0;
        assert_int_equal(decode(f.data, f.n, defaults, NULL, NULL),
                         ancillary ? FOVEA_OK : FOVEA_ERR_FORMAT);
        f.data[crc] ^= 1;
        *(ancillary ? &n_ancillary : &n_critical) += 1;
        at = end ? f.n : crc + 4;
    }
    assert_int_equal(n_ancillary, 1); /* gAMA */
    assert_int_equal(n_critical, 3);
    free(f.data);
}

/* Many scans make a small file cost many passes over all blocks. */
static void test_scan_bomb(void **state)
{
    (void)state;
    file f = load("images/rgb_progressive.jpg");
    size_t scan = 2; /* the first, which may be repeated without harm to the pixels */
    while (f.data[scan] != 0xff || f.data[scan + 1] != 0xda) {
        scan++;
    }
    size_t end = scan + 2;
    while (f.data[end] != 0xff || f.data[end + 1] == 0) {
        end++;
    }
    static const struct {
        unsigned n_more;
        fovea_status want;
    } cases[] = {{20, FOVEA_OK}, {80, FOVEA_ERR_LIMIT}, {100000, FOVEA_ERR_LIMIT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n_scan = end - scan, n = f.n + cases[i].n_more * n_scan;
        uint8_t *bomb = malloc(n);
        assert_non_null(bomb);
        memcpy(bomb, f.data, end);
        for (unsigned j = 0; j < cases[i].n_more; j++) {
            memcpy(bomb + end + j * n_scan, f.data + scan, n_scan);
        }
        memcpy(bomb + n - (f.n - end), f.data + end, f.n - end);
        assert_int_equal(decode(bomb, n, defaults, NULL, NULL), cases[i].want);
        free(bomb);
    }
    free(f.data);
}

/* An orientation field may point anywhere and say anything. */
static void test_exif(void **state)
{
    (void)state;
    file f = load("images/turned6.jpg");
    size_t exif = 0;
    for (size_t at = 0; at + 6 < f.n && exif == 0; at++) {
        exif = memcmp(f.data + at, "Exif\0", 6) == 0 ? at + 6 : 0;
    }
    assert_true(exif > 0);
    for (size_t at = exif; at < exif + 38; at++) {
        const uint8_t was = f.data[at];
        const uint8_t tries[] = {0, 1, 7, 9, 0x7f, 0x80, 0xff};
        for (size_t i = 0; i < sizeof tries; i++) {
            f.data[at] = tries[i];
            assert_int_equal(decode(f.data, f.n, defaults, NULL, NULL), FOVEA_OK);
        }
        f.data[at] = was;
    }
    free(f.data);
}

static fovea_status decode_once(const fovea_alloc *alloc, void *arg)
{
    const file *f = arg;
    const fovea_image_options options = {.size = sizeof options, .alloc = alloc};
    fovea_image *image = NULL;
    fovea_status status = fovea_image_from_memory(f->data, f->n, &options, &image, NULL);
    fovea_image_free(&image);
    return status;
}

static void test_failing_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAME; i++) {
        file f = load(names[i]);
        uint64_t n_point = 0;
        const char *wrong = fault_sweep(decode_once, &f, &n_point);
        if (wrong != NULL) {
            fail_msg("%s: %s", names[i], wrong);
        }
        assert_true(n_point >= 3);
        fault_alloc first; /* and it is called what it is */
        fault_alloc_init(&first);
        fault_alloc_arm(&first, 1);
        assert_int_equal(decode_once(&first.alloc, &f), FOVEA_ERR_NOMEM);
        free(f.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),      cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_png_sizes),      cmocka_unit_test(test_jpeg_sizes),
        cmocka_unit_test(test_caps),           cmocka_unit_test(test_png_checksums),
        cmocka_unit_test(test_scan_bomb),      cmocka_unit_test(test_exif),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
