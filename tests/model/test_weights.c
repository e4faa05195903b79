/* test_weights.c - safetensors: what a good checkpoint gives, and what every kind of damaged one does. */
#include "tests/model/model_test.h"

#include "sdk/model/weights.h"
#include "tests/fault/fault_alloc.h"

static const fovea_alloc *const alloc = &fvi_alloc_default;

/* Writes header text and n_data bytes 0, 1, 2, ... as a safetensors file; `pad` spaces align the data. */
static void write_file(const scratch *s, const char *file, const char *header, size_t n_data)
{
    uint8_t bytes[4096] = {0};
    size_t n = strlen(header), padded = (n + 7) / 8 * 8;
    assert_true(8 + padded + n_data <= sizeof bytes);
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    }
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++) {
        bytes[8 + padded + i] = (uint8_t)i;
    }
    scratch_write(s, file, bytes, 8 + padded + n_data);
}

#define GOOD_HEADER                                                                                \
    "{\"__metadata__\":{\"format\":\"pt\"},"                                                       \
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"                    \
    "\"half\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},"                         \
    "\"brain\":{\"dtype\":\"BF16\",\"shape\":[1,1,1,2],\"data_offsets\":[32,36]},"                 \
    "\"index\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[36,44]},"                         \
    "\"deep\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1,1],\"data_offsets\":[44,46]},"                 \
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[46,46]}}"
#define GOOD_DATA 46

static void test_good_file(void **state)
{
    (void)state;
    scratch s;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    fvi_tensor tensor;
    scratch_new(&s);
    write_file(&s, "model.safetensors", GOOD_HEADER, GOOD_DATA);
    assert_ok(fvi_weights_open(alloc, s.dir, &weights, &error), &error);
    assert_int_equal(fvi_weights_count(weights), 6);
    assert_int_equal(fvi_weights_bytes(weights), GOOD_DATA);
    assert_true(fvi_weights_has(weights, "half"));
    assert_false(fvi_weights_has(weights, "hal"));

    const uint64_t shape[2] = {2, 3}, turned[2] = {3, 2};
    assert_ok(fvi_weights_find(weights, "a.weight", 2, shape, &tensor, &error), &error);
    assert_string_equal(tensor.name, "a.weight");
    assert_int_equal(tensor.dtype, FVI_DTYPE_F32);
    assert_int_equal(tensor.n_dim, 2);
    assert_int_equal(tensor.shape[1], 3);
    assert_int_equal(tensor.n_bytes, 24);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(((const uint8_t *)tensor.data)[i], i);
    }
    assert_ok(fvi_weights_find(weights, "brain", 0, NULL, &tensor, &error), &error);
    assert_int_equal(tensor.dtype, FVI_DTYPE_BF16);
    assert_int_equal(((const uint8_t *)tensor.data)[0], 32);
    assert_ok(fvi_weights_find(weights, "none", 0, NULL, &tensor, &error), &error);
    assert_int_equal(tensor.n_bytes, 0);

    tensor.n_bytes = 12345;
    assert_error(fvi_weights_find(weights, "a.weight", 2, turned, &tensor, &error), &error,
                 FOVEA_ERR_FORMAT, "shape [2, 3], the config means [3, 2]");
    assert_error(fvi_weights_find(weights, "a.weight", 1, shape, &tensor, &error), &error,
                 FOVEA_ERR_FORMAT, "the config means [2]");
    assert_error(fvi_weights_find(weights, "gone", 0, NULL, &tensor, &error), &error,
                 FOVEA_ERR_NOT_FOUND, "gone");
    assert_error(fvi_weights_find(weights, "index", 0, NULL, &tensor, &error), &error,
                 FOVEA_ERR_UNSUPPORTED, "I64");
    assert_error(fvi_weights_find(weights, "deep", 0, NULL, &tensor, &error), &error,
                 FOVEA_ERR_UNSUPPORTED, "5 dimensions");
    assert_int_equal(tensor.n_bytes, 12345);
    assert_int_equal(fvi_weights_at(weights, 6, &tensor), FOVEA_ERR_ARG);
    assert_int_equal(fvi_weights_at(weights, 0, &tensor), FOVEA_OK);
    assert_string_equal(tensor.name, "a.weight"); /* sorted by name */
    fvi_weights_close(&weights);
    assert_null(weights);
    fvi_weights_close(&weights);
    scratch_free(&s);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(offsets_x, offsets_y)                                                                  \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets_x "},"                     \
    "\"y\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets_y "}}"

static const struct {
    const char *header;
    size_t n_data;
    fovea_status code;
    const char *word;
} damaged[] = {
    {"", 0, FOVEA_ERR_FORMAT, "model.safetensors"},
    {"[]", 0, FOVEA_ERR_FORMAT, "no JSON object"},
    {"{\"x\":", 0, FOVEA_ERR_FORMAT, "model.safetensors"},
    {"{\"x\":3}", 0, FOVEA_ERR_FORMAT, "no valid dtype"},
    {"{\"x\":{}}", 0, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "[1]", "[0]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "[1]", "[0,4,8]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "[1]", "[-4,0]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "[-1]", "[0,4]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "[1.0]", "[0,4]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("F32", "{}", "[0,4]"), 4, FOVEA_ERR_FORMAT, "no valid dtype"},
    {ONE("Q4", "[1]", "[0,4]"), 4, FOVEA_ERR_UNSUPPORTED, "Q4"},
    {ONE("F32", "[1]", "[4,0]"), 4, FOVEA_ERR_FORMAT, "outside"},
    {ONE("F32", "[2]", "[0,8]"), 4, FOVEA_ERR_FORMAT, "outside"},
    {ONE("F32", "[1]", "[0,9223372036854775807]"), 4, FOVEA_ERR_FORMAT, "outside"},
    {ONE("F32", "[2]", "[0,4]"), 4, FOVEA_ERR_FORMAT, "another size"},
    {ONE("F16", "[1]", "[0,4]"), 4, FOVEA_ERR_FORMAT, "another size"},
    /* 2^62 elements of 4 bytes are 0 modulo 2^64 */
    {ONE("F32", "[4611686018427387904]", "[0,0]"), 0, FOVEA_ERR_FORMAT, "another size"},
    {ONE("F32", "[4294967296,4294967296]", "[0,0]"), 0, FOVEA_ERR_FORMAT, "no valid dtype"},
    {TWO("[0,8]", "[4,12]"), 12, FOVEA_ERR_FORMAT, "overlap"},
    {TWO("[0,8]", "[0,8]"), 8, FOVEA_ERR_FORMAT, "overlap"},
    {TWO("[0,8]", "[12,20]"), 20, FOVEA_ERR_FORMAT, "gap"},
    {TWO("[0,8]", "[8,16]"), 20, FOVEA_ERR_FORMAT, "end at byte 16 of 20"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
     "\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}}",
     8, FOVEA_ERR_FORMAT, "duplicate"},
};

static void test_damaged_headers(void **state)
{
    (void)state;
    scratch s;
    scratch_new(&s);
    for (size_t i = 0; i < FVI_COUNT(damaged); i++) {
        fovea_error error = {0};
        fvi_weights *weights = NULL;
        write_file(&s, "model.safetensors", damaged[i].header, damaged[i].n_data);
        fovea_status status = fvi_weights_open(alloc, s.dir, &weights, &error);
        assert_error(status, &error, damaged[i].code, damaged[i].word);
        assert_null(weights);
    }
    scratch_free(&s);
}

static void test_header_size_and_cuts(void **state)
{
    (void)state;
    scratch s;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    char path[512];
    uint8_t bytes[4096];
    scratch_new(&s);
    write_file(&s, "model.safetensors", GOOD_HEADER, GOOD_DATA);
    scratch_path(&s, "model.safetensors", path);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t n = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    for (size_t cut = 0; cut < n; cut++) {
        scratch_write(&s, "model.safetensors", bytes, cut);
        assert_int_equal(fvi_weights_open(alloc, s.dir, &weights, &error), FOVEA_ERR_FORMAT);
    }
    for (int byte = 1; byte < 8; byte++) { /* a header larger than the file, up to 2^63 */
        bytes[byte] ^= 0x80;
        scratch_write(&s, "model.safetensors", bytes, n);
        assert_error(fvi_weights_open(alloc, s.dir, &weights, &error), &error, FOVEA_ERR_FORMAT,
                     "header");
        bytes[byte] ^= 0x80;
    }
    assert_null(weights);
    scratch_free(&s);
}

/* A file may hold no tensor at all. */
static void test_no_tensor(void **state)
{
    (void)state;
    scratch s;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    scratch_new(&s);
    write_file(&s, "model.safetensors", "{}", 0);
    assert_ok(fvi_weights_open(alloc, s.dir, &weights, &error), &error);
    assert_int_equal(fvi_weights_count(weights), 0);
    assert_int_equal(fvi_weights_bytes(weights), 0);
    assert_false(fvi_weights_has(weights, ""));
    fvi_weights_close(&weights);
    scratch_free(&s);
}

/* A tensor of floats at an odd offset is kept, but never handed out. */
static void test_unaligned(void **state)
{
    (void)state;
    scratch s;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    fvi_tensor tensor;
    scratch_new(&s);
    write_file(&s, "model.safetensors",
               "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
               "\"f\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}",
               5);
    assert_ok(fvi_weights_open(alloc, s.dir, &weights, &error), &error);
    assert_error(fvi_weights_find(weights, "f", 0, NULL, &tensor, &error), &error,
                 FOVEA_ERR_UNSUPPORTED, "aligned");
    fvi_weights_close(&weights);
    scratch_free(&s);
}

#define SHARD(name) "{\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void write_shards(const scratch *s, const char *weight_map)
{
    char index[1024];
    snprintf(index, sizeof index, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}",
             weight_map);
    scratch_text(s, "model.safetensors.index.json", index);
    write_file(s, "m-1.safetensors", SHARD("x"), 4);
    write_file(s, "m-2.safetensors", SHARD("y"), 4);
    write_file(s, "m-3.safetensors", SHARD("x"), 4);
}

static void test_shards(void **state)
{
    (void)state;
    static const struct {
        const char *map;
        fovea_status code;
        const char *word;
    } bad[] = {
        {"{\"x\":\"../m-1.safetensors\"}", FOVEA_ERR_FORMAT, "no plain"},
        {"{\"x\":\"/etc/passwd\"}", FOVEA_ERR_FORMAT, "no plain"},
        {"{\"x\":\".safetensors\"}", FOVEA_ERR_FORMAT, "no plain"},
        {"{\"x\":\"m-1.bin\"}", FOVEA_ERR_FORMAT, "no plain"},
        {"{\"x\":1}", FOVEA_ERR_FORMAT, "no plain"},
        {"[]", FOVEA_ERR_FORMAT, "weight_map"},
        {"{\"x\":\"m-9.safetensors\"}", FOVEA_ERR_NOT_FOUND, "m-9.safetensors"},
        {"{\"x\":\"m-1.safetensors\",\"y\":\"m-1.safetensors\"}", FOVEA_ERR_FORMAT,
         "\"y\" is not in"},
        {"{\"x\":\"m-2.safetensors\",\"y\":\"m-1.safetensors\"}", FOVEA_ERR_FORMAT, "is not in"},
        {"{\"x\":\"m-1.safetensors\",\"y\":\"m-3.safetensors\"}", FOVEA_ERR_FORMAT, "two shards"},
    };
    scratch s;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    fvi_tensor tensor;
    scratch_new(&s);
    assert_error(fvi_weights_open(alloc, s.dir, &weights, &error), &error, FOVEA_ERR_NOT_FOUND,
                 "neither model.safetensors nor");
    write_shards(&s, "{\"x\":\"m-1.safetensors\",\"y\":\"m-2.safetensors\"}");
    error = (fovea_error){0};
    assert_ok(fvi_weights_open(alloc, s.dir, &weights, &error), &error);
    assert_int_equal(error.code, FOVEA_OK); /* that there is no single file is none */
    assert_int_equal(fvi_weights_count(weights), 2);
    assert_int_equal(fvi_weights_bytes(weights), 8);
    assert_ok(fvi_weights_find(weights, "y", 0, NULL, &tensor, &error), &error);
    assert_int_equal(((const uint8_t *)tensor.data)[3], 3);
    fvi_weights_close(&weights);
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        write_shards(&s, bad[i].map);
        fovea_status status = fvi_weights_open(alloc, s.dir, &weights, &error);
        assert_error(status, &error, bad[i].code, bad[i].word);
        assert_null(weights);
    }
    scratch_free(&s);
}

static void test_sample_model(void **state)
{
    (void)state;
    fovea_error error = {0};
    fvi_weights *weights = NULL;
    fvi_tensor tensor;
    assert_ok(fvi_weights_open(alloc, SAMPLE_MODEL, &weights, &error), &error);
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < fvi_weights_count(weights); i++) {
        assert_int_equal(fvi_weights_at(weights, i, &tensor), FOVEA_OK);
        n_bytes += tensor.n_bytes;
    }
    assert_true(n_bytes > 20000000);
    assert_int_equal(n_bytes, fvi_weights_bytes(weights));
    fvi_weights_close(&weights);
}

static fovea_status open_and_close(const fovea_alloc *memory, void *arg)
{
    fvi_weights *weights = NULL;
    fovea_status status = fvi_weights_open(memory, arg, &weights, NULL);
    fvi_weights_close(&weights);
    return status;
}

static void test_memory_failures(void **state)
{
    (void)state;
    scratch s;
    uint64_t n_point = 0;
    scratch_new(&s);
    write_shards(&s, "{\"x\":\"m-1.safetensors\",\"y\":\"m-2.safetensors\"}");
    const char *wrong = fault_sweep(open_and_close, s.dir, &n_point);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    assert_true(n_point >= 4);
    scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file),
        cmocka_unit_test(test_damaged_headers),
        cmocka_unit_test(test_header_size_and_cuts),
        cmocka_unit_test(test_no_tensor),
        cmocka_unit_test(test_unaligned),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_sample_model),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
