/* test_scan.c - the wire scanner against protobuf-c itself: what comes out of scan and unpack equals
 * what protobuf-c reads from the same bytes in one piece, however the bytes are cut into chunks; and
 * each kind of damage is refused with the path of the field. */
#include "serve/scan.h"

#include <fovea/v1/inference.pb-c.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BYTES  4096
#define MAX_CHUNKS 64

static const fvi_scan_limits limits = {
    .max_control_bytes = 2048, .max_fields = 200, .max_spans = 4};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* user: text, picture; assistant: text; sampling; two items of media; recipe. */
static size_t pack_sample(uint8_t *out)
{
    static char text[] = "What is \xc3\xa9?", answer[] = "A box.", recipe[] = "none",
                uuid[] = "u-1";
    static char uri[] = "data:image/png;base64,AAAA", stop_text[] = "\n";
    static uint8_t picture[700];
    char *stop[] = {stop_text};
    for (size_t i = 0; i < sizeof picture; i++) {
        picture[i] = (uint8_t)(i * 7);
    }
    Fovea__V1__MediaItem raw = FOVEA__V1__MEDIA_ITEM__INIT, data_uri = FOVEA__V1__MEDIA_ITEM__INIT;
    raw.source_case = FOVEA__V1__MEDIA_ITEM__SOURCE_RAW_BYTES;
    raw.raw_bytes.data = picture;
    raw.raw_bytes.len = sizeof picture;
    raw.uuid = uuid;
    data_uri.source_case = FOVEA__V1__MEDIA_ITEM__SOURCE_DATA_URI;
    data_uri.data_uri = uri;
    Fovea__V1__Part parts[3] = {FOVEA__V1__PART__INIT, FOVEA__V1__PART__INIT,
                                FOVEA__V1__PART__INIT};
    parts[0].content_case = parts[2].content_case = FOVEA__V1__PART__CONTENT_TEXT;
    parts[0].text = text;
    parts[1].content_case = FOVEA__V1__PART__CONTENT_MEDIA;
    parts[1].media = &raw;
    parts[2].text = answer;
    Fovea__V1__Part *user_parts[] = {&parts[0], &parts[1]}, *answer_parts[] = {&parts[2]};
    Fovea__V1__Message messages[2] = {FOVEA__V1__MESSAGE__INIT, FOVEA__V1__MESSAGE__INIT};
    messages[0].role = FOVEA__V1__ROLE__ROLE_USER;
    messages[0].parts = user_parts;
    messages[0].n_parts = 2;
    messages[1].role = FOVEA__V1__ROLE__ROLE_ASSISTANT;
    messages[1].parts = answer_parts;
    messages[1].n_parts = 1;
    Fovea__V1__Message *list[] = {&messages[0], &messages[1]};
    Fovea__V1__MediaItem *media[] = {&data_uri, &raw};
    Fovea__V1__Sampling sampling = FOVEA__V1__SAMPLING__INIT;
    sampling.has_temperature_case = FOVEA__V1__SAMPLING__HAS_TEMPERATURE_TEMPERATURE;
    sampling.temperature = 0.75f;
    sampling.has_seed_case = FOVEA__V1__SAMPLING__HAS_SEED_SEED;
    sampling.seed = UINT64_MAX;
    sampling.stop = stop;
    sampling.n_stop = 1;
    Fovea__V1__GenerateRequest request = FOVEA__V1__GENERATE_REQUEST__INIT;
    request.messages = list;
    request.n_messages = 2;
    request.media = media;
    request.n_media = 2;
    request.sampling = &sampling;
    request.return_tokens = 1;
    request.has_recipe_case = FOVEA__V1__GENERATE_REQUEST__HAS_RECIPE_RECIPE;
    request.recipe = recipe;
    return fovea__v1__generate_request__pack(&request, out);
}

/* Cuts n bytes into chunks of random lengths, empty ones too. */
static uint32_t cut(const uint8_t *data, size_t n, uint64_t *state, fvi_chunk *chunks)
{
    uint32_t n_chunk = 0;
    size_t done = 0;
    while (done < n && n_chunk < MAX_CHUNKS - 1) {
        size_t step =
            next_random(state) % 3 == 0 ? next_random(state) % 4 : next_random(state) % (n / 4 + 1);
        step = step < n - done ? step : n - done;
        chunks[n_chunk++] = (fvi_chunk){.data = data + done, .n = step};
        done += step;
    }
    chunks[n_chunk++] = (fvi_chunk){.data = data + done, .n = n - done};
    return n_chunk;
}

static bool scan(const fvi_chunk *chunks, uint32_t n_chunk, fvi_scan *out, fvi_rpc_error *err)
{
    return fvi_scan_message(chunks, n_chunk, &fovea__v1__generate_request__descriptor, &limits, out,
                            err);
}

static void check_span(const fvi_scan *got, const fvi_chunk *chunks, const void *field,
                       size_t n_field, const void *wanted, size_t n_wanted)
{
    uint8_t *copy;
    const fvi_span *span = fvi_scan_span(got, field, n_field);
    assert_non_null(span);
    assert_int_equal(span->n, n_wanted);
    assert_memory_equal(fvi_span_bytes(chunks, span, &copy), wanted, n_wanted);
    free(copy);
}

/* Puts the spans back and compares the packed forms. */
static void check_equal(const fvi_scan *got, const fvi_chunk *chunks, const uint8_t *data, size_t n)
{
    Fovea__V1__GenerateRequest *a =
        fovea__v1__generate_request__unpack(NULL, got->n_control, got->control);
    Fovea__V1__GenerateRequest *b = fovea__v1__generate_request__unpack(NULL, n, data);
    assert_non_null(a);
    assert_non_null(b);
    Fovea__V1__MediaItem *in_message = a->messages[0]->parts[1]->media;
    ProtobufCBinaryData wanted = b->messages[0]->parts[1]->media->raw_bytes;
    check_span(got, chunks, in_message->raw_bytes.data, in_message->raw_bytes.len, wanted.data,
               wanted.len);
    check_span(got, chunks, a->media[1]->raw_bytes.data, a->media[1]->raw_bytes.len, wanted.data,
               wanted.len);
    const char *uri = b->media[0]->data_uri;
    check_span(got, chunks, a->media[0]->data_uri, strlen(a->media[0]->data_uri), uri, strlen(uri));
    assert_string_equal(a->messages[0]->parts[0]->text, b->messages[0]->parts[0]->text);
    assert_string_equal(a->messages[1]->parts[0]->text, b->messages[1]->parts[0]->text);
    assert_int_equal(a->messages[1]->role, b->messages[1]->role);
    assert_string_equal(in_message->uuid, b->messages[0]->parts[1]->media->uuid);
    assert_string_equal(a->recipe, b->recipe);
    assert_int_equal(a->return_tokens, 1);
    assert_true(a->sampling->seed == UINT64_MAX && a->sampling->temperature == 0.75f);
    assert_int_equal(a->sampling->has_top_p_case, 0);
    assert_string_equal(a->sampling->stop[0], "\n");
    fovea__v1__generate_request__free_unpacked(a, NULL);
    fovea__v1__generate_request__free_unpacked(b, NULL);
}

static void test_equals_protobuf(void **state)
{
    (void)state;
    uint8_t data[MAX_BYTES];
    fvi_chunk chunks[MAX_CHUNKS];
    uint64_t seed = 1;
    size_t n = pack_sample(data);
    for (int round = 0; round < 500; round++) {
        fvi_scan got;
        fvi_rpc_error err;
        uint32_t n_chunk = cut(data, n, &seed, chunks);
        assert_true(scan(chunks, n_chunk, &got, &err));
        assert_int_equal(got.n_span, 3);
        assert_true(got.n_control < 300); /* the two pictures of 700 bytes are not in it */
        check_equal(&got, chunks, data, n);
        fvi_scan_free(&got);
    }
}

static void check_refused(const void *bytes, size_t n, grpc_status_code code, const char *text)
{
    fvi_chunk chunk = {.data = bytes, .n = n};
    fvi_scan got;
    fvi_rpc_error err = {0};
    assert_false(scan(&chunk, 1, &got, &err));
    fvi_scan_free(&got);
    assert_int_equal(err.code, code);
    if (strncmp(err.text, text, strlen(text)) != 0) {
        assert_string_equal(err.text, text);
    }
}

#define REFUSED(bytes, text)                                                                       \
    check_refused((bytes), sizeof(bytes) - 1, GRPC_STATUS_INVALID_ARGUMENT, (text))

static void test_refusals(void **state)
{
    (void)state;
    REFUSED("\x80", "message: the message is damaged or cut");
    REFUSED("\x12", "messages[0]: the message is damaged or cut");
    REFUSED("\x12\x05\x08", "messages[0]: the message is damaged or cut");
    REFUSED("\x12\x04\x12\x02\x0a\x05", "messages[0].parts[0].text: the message is damaged");
    REFUSED("\x02\x00", "message: the message is damaged"); /* field number 0 */
    REFUSED("\x13\x14", "message: the message is damaged"); /* a group */
    REFUSED("\x10\x01", "messages[0]: another type");       /* a number where a message stands */
    REFUSED("\x12\x02\x12\x00\x12\x02\x0a\x00", "messages[1].role: another type");
    REFUSED("\x2a\x02\xff\xfe", "recipe: the text is not UTF-8");
    REFUSED("\x2a\x03ok\x00", "recipe: a NUL character");
    REFUSED("\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "return_tokens: the message is damaged");
    REFUSED("\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "return_tokens: the message is");
    REFUSED("\x35\x00\x00", "sampling: another type");
    REFUSED("\x32\x03\x0d\x00\x00", "sampling.temperature: the message is damaged");
    REFUSED("\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "recipe: the message is damaged");
}

static void test_limits(void **state)
{
    (void)state;
    grpc_status_code over = GRPC_STATUS_RESOURCE_EXHAUSTED;
    uint8_t data[MAX_BYTES];
    memset(data, 'a', sizeof data);
    memcpy(data, "\x2a\xf0\x10", 3); /* recipe of 2160 bytes, the limit is 2048 */
    check_refused(data, 2163, over, "recipe: the request without its pictures is over the limit");
    for (size_t i = 0; i < 2 * 201; i += 2) { /* 201 fields that the schema does not know */
        memcpy(data + i, "\x78\x01", 2);
    }
    check_refused(data, 2 * 201, over, "message: too many fields");
    for (size_t i = 0; i < 5 * 5; i += 5) { /* five items of media, the limit is four */
        memcpy(data + i, "\x22\x03\x22\x01z", 5);
    }
    check_refused(data, 5 * 5, over, "media[4].raw_bytes: more than 4 images");
    fvi_chunk chunk = {.data = data, .n = 4 * 5};
    fvi_scan got;
    fvi_rpc_error err;
    assert_true(scan(&chunk, 1, &got, &err));
    assert_int_equal(got.n_span, 4);
    fvi_scan_free(&got);
}

static void test_unknown_fields_are_left_out(void **state)
{
    (void)state;
    static const char bytes[] = "\xfa\x3f\x04"
                                "abcd\xf8\x3f\x07\xfd\x3f....\xf9\x3f........\x2a\x04none";
    fvi_chunk chunk = {.data = (const uint8_t *)bytes, .n = sizeof bytes - 1};
    fvi_scan got;
    fvi_rpc_error err;
    assert_true(scan(&chunk, 1, &got, &err));
    assert_int_equal(got.n_control, 6);
    assert_memory_equal(got.control, "\x2a\x04none", 6);
    assert_null(fvi_scan_span(&got, "0", 1)); /* there is no span at all */
    fvi_scan_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_protobuf),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unknown_fields_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
