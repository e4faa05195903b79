/* test_forks.c - forks of one prefill answer side by side: in as many steps as one of them, with its bits; and
 * what a source observes for them. */
#include "sdk/engine/session_impl.h"

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

/* A prompt with its plan. */
static fovea_session *open_session(fovea_engine *engine, const fovea_session_options *options)
{
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    fovea_session *source = NULL;
    fovea_generation *generation = NULL;
    fovea_image *image = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/samples/images/signs.png", FOVEA_SOURCE_DIR);
    assert_int_equal(fovea_image_from_file(path, NULL, &image, NULL), FOVEA_OK);
    const fovea_part parts[] = {{.image = image}, {.text = "Read all signs."}};
    assert_int_equal(fovea_session_new(engine, options, &source, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_add_message(source, FOVEA_ROLE_USER, parts, 2, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_generate(source, &plan, &generation, NULL), FOVEA_OK);
    fovea_token token;
    assert_int_equal(fovea_generation_next(generation, -1, &token, NULL), FOVEA_DONE);
    fovea_generation_free(&generation);
    fovea_image_free(&image);
    return source;
}

/* For forks with `recipes`, NULL: any. */
static fovea_session *open_source(fovea_engine *engine, const char *const *recipes, uint32_t n)
{
    const fovea_session_options keep = {.size = sizeof keep,
                                        .flags = FOVEA_SESSION_KEEP_OBSERVATIONS,
                                        .fork_recipes = recipes,
                                        .n_fork_recipe = n};
    return open_session(engine, &keep);
}

static fovea_engine *open_engine(void)
{
    char model[512];
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    const fovea_engine_options options = {
        .size = sizeof options, .model = model, .kv_bytes = 32 << 20};
    fovea_engine *engine = NULL;
    assert_int_equal(fovea_engine_open(&options, &engine, NULL), FOVEA_OK);
    return engine;
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
    fovea_engine *engine = open_engine();
    fovea_session *source = open_source(engine, NULL, 0);
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

static uint32_t needs_of(const fovea_session *source)
{
    return source->timeline.obs != NULL ? source->timeline.obs->needs : 0;
}

/* N_TOKEN tokens; the session is freed. */
static void answer_once(fovea_session **session, fovea_token out[N_TOKEN])
{
    const fovea_generate_options answer = {
        .size = sizeof answer, .max_tokens = N_TOKEN, .ignore_end = 1};
    fovea_generation *generation = NULL;
    assert_int_equal(fovea_session_generate(*session, &answer, &generation, NULL), FOVEA_OK);
    collect(&generation, out);
    fovea_session_free(session);
}

/* A source that knows its forks' recipe observes what that reads and no more, and the fork is the session
 * that has the recipe itself. What each reads: kvcompress/README.md. */
static void test_named_recipes_are_observed(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        uint32_t needs;
    } cases[] = {
        {"none", 0},
        {"random:keep=0.3,prefill.cap=none", 0},
        {"vl-cache:keep=0.2,prefill.cap=none", FVI_NEED_WINDOW_MASS | FVI_NEED_DENSITY},
        {"h2o:keep=0.2,prefill.cap=none", FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS},
        {"keydiff:keep=0.2,prefill.cap=none", FVI_NEED_KEY_LIKENESS},
        {"fovea:bytes=10%,prefill.cap=none", FVI_NEED_WINDOW_MASS | FVI_NEED_LAST_MASS},
        {"score=random,keep=0.2,merge=cam,prefill.cap=none", FVI_NEED_WINDOW_MASS},
        {"while=h2o,cap=64", FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS},
    };
    fovea_engine *engine = open_engine();
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        const fovea_session_options own = {.size = sizeof own, .recipe = cases[i].recipe};
        fovea_session *source = open_source(engine, &cases[i].recipe, 1), *fork = NULL;
        fovea_session *direct = open_session(engine, &own);
        fovea_token forked[N_TOKEN], plain[N_TOKEN];
        assert_int_equal(needs_of(source), cases[i].needs);
        assert_int_equal(fovea_session_fork(source, cases[i].recipe, &fork, NULL), FOVEA_OK);
        answer_once(&fork, forked);
        answer_once(&direct, plain);
        for (uint32_t t = 0; t < N_TOKEN; t++) {
            assert_int_equal(forked[t].id, plain[t].id);
            assert_memory_equal(&forked[t].logprob, &plain[t].logprob, sizeof plain[t].logprob);
        }
        fovea_session_free(&source);
    }
    fovea_engine_close(&engine);
}

static uint64_t activations_of(fovea_session *session)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    assert_int_equal(fovea_session_ledger(session, &ledger), FOVEA_OK);
    return ledger.activation_peak_bytes;
}

static void test_others_are_refused(void **state)
{
    (void)state;
    static const char *const named[] = {"vl-cache:keep=0.2", "keydiff:bytes=20%"};
    static const char *const wrong[] = {"random", "nonsense:keep=0.2"};
    fovea_engine *engine = open_engine();
    fovea_session *source = open_source(engine, named, FVI_COUNT(named)), *fork = NULL;
    fovea_session *any = open_source(engine, NULL, 0);
    fovea_error err = {.code = FOVEA_OK};
    assert_int_equal(needs_of(source),
                     FVI_NEED_WINDOW_MASS | FVI_NEED_DENSITY | FVI_NEED_KEY_LIKENESS);
    assert_int_equal(needs_of(any), FVI_NEED_ALL);
    assert_true(activations_of(source) < activations_of(any));
    assert_int_equal(fovea_session_fork(source, "h2o:keep=0.2", &fork, &err), FOVEA_ERR_STATE);
    assert_null(fork);
    assert_non_null(strstr(err.text, "h2o:keep=0.2"));
    assert_non_null(strstr(err.text, "fork_recipes"));
    /* not named, but nothing else is read */
    assert_int_equal(fovea_session_fork(source, "vl-cache:bytes=5%", &fork, NULL), FOVEA_OK);
    fovea_session_free(&fork);
    fovea_session_free(&source);
    fovea_session_free(&any);
    fovea_session_options options = {.size = sizeof options,
                                     .flags = FOVEA_SESSION_KEEP_OBSERVATIONS,
                                     .fork_recipes = wrong,
                                     .n_fork_recipe = FVI_COUNT(wrong)};
    assert_true(fovea_session_new(engine, &options, &source, &err) < 0);
    assert_null(source);
    options.fork_recipes = named;
    options.flags = 0;
    assert_int_equal(fovea_session_new(engine, &options, &source, &err), FOVEA_ERR_ARG);
    fovea_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_share_steps),
        cmocka_unit_test(test_named_recipes_are_observed),
        cmocka_unit_test(test_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
