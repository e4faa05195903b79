/* test_company.c - the same 100 requests alone and in random company: bit-identical.
 *
 * Every request's tokens and its 20 best log-probabilities per token are kept as bits; the second time all of
 * them are submitted at once, in shuffled order, with others beside them that are cancelled. */
#include <fovea/fovea.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_REQUEST 100
#define N_TOKEN 10
#define N_TOP 20
#define N_PICTURE 4
#define N_NOISE 14 /* every seventh request brings one that is cancelled */

typedef struct record {
    int32_t ids[N_TOKEN];
    float logprobs[N_TOKEN];
    fovea_logprob top[N_TOKEN][N_TOP];
} record;

static const char *const recipes[] = {"none", "vl-cache:keep=0.2", "vl-cache:bytes=15%,vision=int4",
                                      "random:keep=0.5,vision=int8", "streaming:keep=0.3",
                                      "while=h2o,cap=40,evicted=int2,blurred=30", "quest:attend=64"};
static const char *const pictures[N_PICTURE] = {"shapes.png", "kites.png", "many.png", "wide.jpg"};

static fovea_image *images[N_PICTURE];

/* A small generator of our own, so the order is the same everywhere. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static fovea_session *make_session(fovea_engine *engine, uint32_t i)
{
    fovea_session_options options = {.size = sizeof options,
                                     .recipe = recipes[i % (sizeof recipes / sizeof recipes[0])]};
    fovea_session *session = NULL;
    fovea_error err = {.text = ""};
    if (fovea_session_new(engine, &options, &session, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    char text[96];
    snprintf(text, sizeof text, "How many things of kind %u are in the image?", i);
    uint32_t n_image = i % 7 == 6 ? 0 : i % 5 == 4 ? 2 : 1;
    fovea_part parts[3] = {{.image = images[i % N_PICTURE]}, {.image = images[(i + 1) % N_PICTURE]}};
    parts[n_image] = (fovea_part){.text = text};
    assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, parts, n_image + 1, &err),
                     FOVEA_OK);
    return session;
}

static fovea_generation *start(fovea_session *session, uint32_t i)
{
    fovea_generate_options options = {.size = sizeof options,
                                      .max_tokens = N_TOKEN,
                                      .ignore_end = 1,
                                      .n_logprobs = N_TOP,
                                      .temperature = i % 3 == 0 ? 0.8f : 0.0f,
                                      .seed = i};
    fovea_generation *generation = NULL;
    fovea_error err = {.text = ""};
    if (fovea_session_generate(session, &options, &generation, &err) != FOVEA_OK) {
        fail_msg("request %u: %s", i, err.text);
    }
    return generation;
}

static void collect(fovea_generation **generation, record *out)
{
    fovea_token token;
    fovea_status status;
    uint32_t n = 0;
    while ((status = fovea_generation_next(*generation, -1, &token, NULL)) == FOVEA_OK) {
        assert_true(n < N_TOKEN && token.n_top == N_TOP);
        out->ids[n] = token.id;
        out->logprobs[n] = token.logprob;
        memcpy(out->top[n], token.top, sizeof out->top[n]);
        n++;
    }
    assert_int_equal(status, FOVEA_DONE);
    assert_int_equal(n, N_TOKEN);
    fovea_generation_free(generation);
}

static fovea_engine *open_engine(uint64_t kv_bytes)
{
    char model[512];
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    fovea_engine_options options = {
        .size = sizeof options, .model = model, .kv_bytes = kv_bytes, .max_queue = 256};
    fovea_engine *engine = NULL;
    fovea_error err = {.text = ""};
    if (fovea_engine_open(&options, &engine, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return engine;
}

static void test_alone_and_together(void **state)
{
    (void)state;
    static record alone[N_REQUEST], together[N_REQUEST];
    fovea_session *sessions[N_REQUEST + N_NOISE];
    fovea_generation *generations[N_REQUEST + N_NOISE];
    uint32_t order[N_REQUEST];
    fovea_engine *engine = open_engine(64 << 20);
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        fovea_session *session = make_session(engine, i);
        fovea_generation *generation = start(session, i);
        collect(&generation, &alone[i]);
        fovea_session_free(&session);
        order[i] = i;
    }
    fovea_engine_close(&engine);

    uint32_t seed = 7;
    for (uint32_t i = N_REQUEST - 1; i > 0; i--) {
        uint32_t j = next_random(&seed) % (i + 1);
        uint32_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
    engine = open_engine(110 << 20);
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        sessions[order[i]] = make_session(engine, order[i]);
        generations[order[i]] = start(sessions[order[i]], order[i]);
        if (i % 7 == 3) {
            uint32_t noise = N_REQUEST + i / 7;
            sessions[noise] = make_session(engine, i);
            generations[noise] = start(sessions[noise], i);
        }
    }
    for (uint32_t i = N_REQUEST; i < N_REQUEST + N_NOISE; i++) {
        fovea_generation_free(&generations[i]);
        fovea_session_free(&sessions[i]);
    }
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        collect(&generations[i], &together[i]);
    }
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    assert_true(stats.n_step < (uint64_t)N_REQUEST * N_TOKEN * 4); /* they did share steps */
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        if (memcmp(&alone[i], &together[i], sizeof alone[i]) != 0) {
            fail_msg("request %u (%s) differs in company", i,
                     recipes[i % (sizeof recipes / sizeof recipes[0])]);
        }
        fovea_session_free(&sessions[i]);
    }
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    assert_int_equal(stats.kv_used_bytes, 0);
    fovea_engine_close(&engine);
}

int main(void)
{
    for (uint32_t i = 0; i < N_PICTURE; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/samples/images/%s", FOVEA_SOURCE_DIR, pictures[i]);
        if (fovea_image_from_file(path, NULL, &images[i], NULL) != FOVEA_OK) {
            return 1;
        }
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alone_and_together)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (uint32_t i = 0; i < N_PICTURE; i++) {
        fovea_image_free(&images[i]);
    }
    return failed;
}
