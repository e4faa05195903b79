/* test_messages.c - damaged GenerateRequests: 60,000 mutations of a good one, with a fixed seed, go the
 * way of a received body (slices, scan, unpack, checks, pictures). Nothing may crash; what is accepted
 * must be well-formed, what is refused must have a status and a text. */
#include "serve/convert.h"
#include "serve/utf8.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_ROUND    60000
#define MAX_BYTES  2048
#define MAX_SLICES 16

static const fvi_image_limits limits = {
    .max_images = 4, .max_pixels = (uint64_t)64 << 20, .max_bytes = 1 << 20};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The 24 bytes that the double of the decoder looks at: 2x3 pixels. */
static uint8_t picture[24] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13,
                              'I',  'H', 'D', 'R', 0,    0,    0,    2,    0, 0, 0, 3};

static size_t pack_sample(uint8_t *out)
{
    static char text[] = "What is \xe2\x82\xac?", recipe[] = "vl-cache:keep=0.1", id[] = "r",
                u[] = "u";
    static char uri[] = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAAD";
    Fovea__V1__MediaItem media[2] = {FOVEA__V1__MEDIA_ITEM__INIT, FOVEA__V1__MEDIA_ITEM__INIT};
    media[0].source_case = FOVEA__V1__MEDIA_ITEM__SOURCE_RAW_BYTES;
    media[0].raw_bytes.data = picture;
    media[0].raw_bytes.len = sizeof picture;
    media[0].uuid = u;
    media[1].source_case = FOVEA__V1__MEDIA_ITEM__SOURCE_DATA_URI;
    media[1].data_uri = uri;
    Fovea__V1__Part parts[3] = {FOVEA__V1__PART__INIT, FOVEA__V1__PART__INIT,
                                FOVEA__V1__PART__INIT};
    Fovea__V1__Part *list[3];
    for (int i = 0; i < 3; i++) {
        list[i] = &parts[i];
        parts[i].content_case =
            i < 2 ? FOVEA__V1__PART__CONTENT_MEDIA : FOVEA__V1__PART__CONTENT_TEXT;
        if (i < 2) {
            parts[i].media = &media[i];
        } else {
            parts[i].text = text;
        }
    }
    Fovea__V1__Message message = FOVEA__V1__MESSAGE__INIT, *messages[] = {&message};
    message.role = FOVEA__V1__ROLE__ROLE_USER;
    message.parts = list;
    message.n_parts = 3;
    Fovea__V1__Sampling sampling = FOVEA__V1__SAMPLING__INIT;
    sampling.has_top_p_case = FOVEA__V1__SAMPLING__HAS_TOP_P_TOP_P;
    sampling.top_p = 0.5f;
    sampling.has_max_tokens_case = FOVEA__V1__SAMPLING__HAS_MAX_TOKENS_MAX_TOKENS;
    sampling.max_tokens = 9;
    Fovea__V1__GenerateRequest request = FOVEA__V1__GENERATE_REQUEST__INIT;
    request.messages = messages;
    request.n_messages = 1;
    request.sampling = &sampling;
    request.has_recipe_case = FOVEA__V1__GENERATE_REQUEST__HAS_RECIPE_RECIPE;
    request.recipe = recipe;
    request.has_request_id_case = FOVEA__V1__GENERATE_REQUEST__HAS_REQUEST_ID_REQUEST_ID;
    request.request_id = id;
    return fovea__v1__generate_request__pack(&request, out);
}

static size_t mutate(uint8_t *data, size_t n, uint64_t *state)
{
    uint64_t n_change = next_random(state) % 4 == 0 ? 1 + next_random(state) % 4 : 1;
    for (uint64_t i = 0; i < n_change && n > 16; i++) {
        size_t at = next_random(state) % n, length = 1 + next_random(state) % 8;
        switch (next_random(state) % 5) {
        case 0: data[at] = (uint8_t)next_random(state); break;
        case 1: data[at] ^= (uint8_t)(1 << next_random(state) % 8); break;
        case 2: n = at + 1; break;
        case 3:
            length = length < n - at ? length : n - at;
            memmove(data + at, data + at + length, n - at - length);
            n -= length;
            break;
        default:
            if (n + length <= MAX_BYTES) {
                memmove(data + at + length, data + at, n - at);
                memmove(data + at, data + next_random(state) % (n - 8), length);
                n += length;
            }
        }
    }
    return n;
}

static grpc_byte_buffer *to_buffer(const uint8_t *data, size_t n, uint64_t *state)
{
    grpc_slice slices[MAX_SLICES];
    size_t n_slice = 0, done = 0;
    while (done < n) {
        size_t step = n_slice + 1 == MAX_SLICES ? n - done : next_random(state) % 80;
        step = step < n - done ? step : n - done;
        slices[n_slice++] = grpc_slice_from_copied_buffer((const char *)data + done, step);
        done += step;
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, n_slice);
    for (size_t i = 0; i < n_slice; i++) {
        grpc_slice_unref(slices[i]);
    }
    return buffer;
}

/* The body's way through fovead up to the session; *n_pixel is what its pictures have. */
static bool take(grpc_byte_buffer *buffer, uint64_t *n_pixel, fvi_rpc_error *err)
{
    fvi_wire_message wire;
    fvi_prompt_note note = {0};
    fovea_image *images[4] = {0};
    fovea_generate_options options;
    const char *stop[FVI_MAX_STOP];
    uint32_t n_image = 0;
    if (!fvi_wire_unpack(buffer, &fovea__v1__generate_request__descriptor, limits.max_images, &wire,
                         err)) {
        return false;
    }
    const Fovea__V1__GenerateRequest *request = (const void *)wire.message;
    bool good = fvi_convert_check(request, &limits, &n_image, err) &&
                fvi_convert_sampling(request->sampling, stop, &options, err) &&
                fvi_convert_note(request, n_image, &note, err) &&
                fvi_convert_images(&wire, &limits, images, err);
    if (good) {
        assert_true(options.n_stop <= FVI_MAX_STOP && options.top_p >= 0 && options.top_p <= 1);
        assert_true(fvi_wire_utf8_valid(note.recipe, strlen(note.recipe)));
        for (uint32_t i = 0; i < n_image; i++) {
            *n_pixel += (uint64_t)fovea_image_width(images[i]) * fovea_image_height(images[i]);
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        fovea_image_free(&images[i]);
    }
    fvi_prompt_note_free(&note);
    fvi_wire_free(&wire);
    return good;
}

static void test_good(void **state)
{
    (void)state;
    uint8_t data[MAX_BYTES];
    uint64_t seed = 3, n_pixel = 0;
    fvi_rpc_error err = {0};
    size_t n = pack_sample(data);
    if (!take(to_buffer(data, n, &seed), &n_pixel, &err)) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(n_pixel, 12);
}

static void test_mutations(void **state)
{
    (void)state;
    uint8_t good[MAX_BYTES], data[MAX_BYTES];
    uint64_t seed = 20240601;
    size_t n_good = pack_sample(good), n_accepted = 0;
    for (int round = 0; round < N_ROUND; round++) {
        memcpy(data, good, n_good);
        size_t n = mutate(data, n_good, &seed);
        fvi_rpc_error err = {0};
        uint64_t n_pixel = 0;
        if (take(to_buffer(data, n, &seed), &n_pixel, &err)) {
            n_accepted++;
            continue;
        }
        assert_true(err.code == GRPC_STATUS_INVALID_ARGUMENT ||
                    err.code == GRPC_STATUS_RESOURCE_EXHAUSTED);
        assert_true(err.text[0] != '\0' && fvi_wire_utf8_valid(err.text, strlen(err.text)));
    }
    print_message("%zu of %d accepted\n", n_accepted, N_ROUND);
    /* Both sides must be there, or the mutations are too weak or too strong to say anything. */
    assert_true(n_accepted > N_ROUND / 20 && n_accepted < N_ROUND * 3 / 4);
}

static int start_grpc(void **state)
{
    (void)state;
    grpc_init();
    return 0;
}

static int stop_grpc(void **state)
{
    (void)state;
    grpc_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, start_grpc, stop_grpc);
}
