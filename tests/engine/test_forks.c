/* test_forks.c - forks of one prefill answer side by side: in as many steps as one of them, with its bits. */
#include "sdk/engine/engine_impl.h"

#include <fovea/fovea.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>

#define N_FORK  11 /* more than the rows of one product with the vocabulary */
#define N_TOKEN 4

/* Holds the scheduler between two steps while forks submit. */
typedef struct gate {
    fvi_scheduler *scheduler;
    sem_t held, open;
} gate;

static fovea_status hold(fvi_scheduler *scheduler, void *arg)
{
    gate *self = arg;
    (void)scheduler;
    sem_post(&self->held);
    sem_wait(&self->open);
    return FOVEA_OK;
}

static void *hold_main(void *arg)
{
    gate *self = arg;
    fvi_scheduler_run(self->scheduler, hold, self);
    return NULL;
}

static fovea_session *open_source(fovea_engine *engine)
{
    fovea_session_options keep = {.size = sizeof keep, .flags = FOVEA_SESSION_KEEP_OBSERVATIONS};
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    fovea_session *source = NULL;
    fovea_generation *generation = NULL;
    fovea_image *image = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/samples/images/signs.png", FOVEA_SOURCE_DIR);
    assert_int_equal(fovea_image_from_file(path, NULL, &image, NULL), FOVEA_OK);
    const fovea_part parts[] = {{.image = image}, {.text = "Read all signs."}};
    assert_int_equal(fovea_session_new(engine, &keep, &source, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_add_message(source, FOVEA_ROLE_USER, parts, 2, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_generate(source, &plan, &generation, NULL), FOVEA_OK);
    fovea_token token;
    assert_int_equal(fovea_generation_next(generation, -1, &token, NULL), FOVEA_DONE);
    fovea_generation_free(&generation);
    fovea_image_free(&image);
    return source;
}

static uint64_t steps_of(fovea_engine *engine)
{
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    return stats.n_step;
}

static void collect(fovea_generation **generation, fovea_token out[N_TOKEN])
{
    for (uint32_t i = 0; i < N_TOKEN; i++) {
        assert_int_equal(fovea_generation_next(*generation, -1, &out[i], NULL), FOVEA_OK);
    }
    fovea_token more;
    assert_int_equal(fovea_generation_next(*generation, -1, &more, NULL), FOVEA_DONE);
    fovea_generation_free(generation);
}

static void test_answers_share_steps(void **state)
{
    (void)state;
    static const char *const recipes[] = {"none", "vl-cache:keep=0.2", "random:bytes=20%"};
    const fovea_generate_options answer = {
        .size = sizeof answer, .max_tokens = N_TOKEN, .ignore_end = 1};
    char model[512];
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    const fovea_engine_options options = {
        .size = sizeof options, .model = model, .kv_bytes = 32 << 20};
    fovea_engine *engine = NULL;
    assert_int_equal(fovea_engine_open(&options, &engine, NULL), FOVEA_OK);
    fovea_session *source = open_source(engine);
    fovea_token alone[FVI_COUNT(recipes)][N_TOKEN], together[N_TOKEN];
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        fovea_session *fork = NULL;
        fovea_generation *generation = NULL;
        uint64_t n_before = steps_of(engine);
        assert_int_equal(fovea_session_fork(source, recipes[i], &fork, NULL), FOVEA_OK);
        assert_int_equal(fovea_session_generate(fork, &answer, &generation, NULL), FOVEA_OK);
        collect(&generation, alone[i]);
        /* the first two tokens come in one step */
        assert_int_equal(steps_of(engine) - n_before, N_TOKEN - 1);
        fovea_session_free(&fork);
    }
    fovea_session *forks[N_FORK] = {NULL};
    fovea_generation *generations[N_FORK] = {NULL};
    for (uint32_t i = 0; i < N_FORK; i++) {
        assert_int_equal(
            fovea_session_fork(source, recipes[i % FVI_COUNT(recipes)], &forks[i], NULL), FOVEA_OK);
    }
    uint64_t n_before = steps_of(engine);
    gate held = {.scheduler = engine->scheduler};
    pthread_t thread;
    assert_int_equal(sem_init(&held.held, 0, 0) + sem_init(&held.open, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_main, &held), 0);
    sem_wait(&held.held);
    for (uint32_t i = 0; i < N_FORK; i++) {
        assert_int_equal(fovea_session_generate(forks[i], &answer, &generations[i], NULL),
                         FOVEA_OK);
    }
    sem_post(&held.open);
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < N_FORK; i++) {
        collect(&generations[i], together);
        for (uint32_t t = 0; t < N_TOKEN; t++) {
            assert_int_equal(together[t].id, alone[i % FVI_COUNT(recipes)][t].id);
            assert_memory_equal(&together[t].logprob, &alone[i % FVI_COUNT(recipes)][t].logprob,
                                sizeof together[t].logprob);
        }
        fovea_session_free(&forks[i]);
    }
    assert_int_equal(steps_of(engine) - n_before, N_TOKEN - 1);
    fovea_session_free(&source);
    sem_destroy(&held.held);
    sem_destroy(&held.open);
    fovea_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers_share_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
