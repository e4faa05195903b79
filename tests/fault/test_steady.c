/* test_steady.c - steady decoding allocates nothing: requests that run beside each other call the
 * allocator exactly as often for answers of 160 tokens as for answers of 16. */
#include "tests/fault/fault_alloc.h"
#include "tests/fault/fault_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N_SHORT 16
#define N_LONG  160

typedef struct talk {
    fovea_session *session;
    fovea_generation *generation;
} talk;

static void start(fovea_engine *engine, fovea_image *image, const char *recipe, uint32_t n_token,
                  talk *self)
{
    /* hot enough that the end token is as unlikely as any other: the answer gets its length */
    fovea_generate_options how = {.size = sizeof how,
                                  .max_tokens = n_token,
                                  .temperature = 50.0f,
                                  .top_p = 0.99f,
                                  .seed = 11,
                                  .n_logprobs = 2};
    fovea_session_options options = {.size = sizeof options, .recipe = recipe};
    fovea_part parts[] = {{.image = image}, {.text = "What is in the picture?"}};
    fovea_error err = {.code = FOVEA_OK};
    assert_int_equal(fovea_session_new(engine, &options, &self->session, &err), FOVEA_OK);
    assert_int_equal(fovea_session_add_message(self->session, FOVEA_ROLE_USER, parts, 2, &err), FOVEA_OK);
    assert_int_equal(fovea_session_generate(self->session, &how, &self->generation, &err), FOVEA_OK);
}

static void finish(talk *self, uint32_t n_token)
{
    fovea_token token;
    fovea_error err = {.code = FOVEA_OK};
    uint32_t n = 0;
    while (fovea_generation_next(self->generation, -1, &token, &err) == FOVEA_OK) {
        n++;
    }
    assert_int_equal(n, n_token);
    fovea_generation_free(&self->generation);
    fovea_session_free(&self->session);
}

/* Allocator calls of four requests with answers of n_token tokens. */
static uint64_t count_calls(fault_alloc *f, fovea_engine *engine, fovea_image *image, uint32_t n_token)
{
    talk full, compressed, capped, paged;
    fault_alloc_arm(f, 0);
    start(engine, image, "none", n_token, &full);
    start(engine, image, "vl-cache:keep=0.2,vision=int4", n_token, &compressed);
    start(engine, image, "while=h2o,cap=32,evicted=int2,blurred=16", n_token, &capped);
    start(engine, image, "recall=quest,attend=64", n_token, &paged);
    finish(&full, n_token);
    finish(&compressed, n_token);
    finish(&capped, n_token);
    finish(&paged, n_token);
    return f->n_alloc;
}

static void test_steady(void **state)
{
    (void)state;
    fault_alloc f;
    fovea_engine *engine = NULL;
    fovea_image *image = NULL;
    fovea_error err;
    fault_alloc_init(&f);
    assert_int_equal(fovea_image_from_file(FAULT_IMAGE, NULL, &image, &err), FOVEA_OK);
    assert_int_equal(fault_engine_open(&f.alloc, &engine, &err), FOVEA_OK);
    count_calls(&f, engine, image, N_LONG); /* scratch grows to what it needs, then stays */
    uint64_t n_short = count_calls(&f, engine, image, N_SHORT);
    uint64_t n_long = count_calls(&f, engine, image, N_LONG);
    assert_true(n_short > 0);
    assert_int_equal(n_long, n_short);
    fovea_engine_close(&engine);
    fovea_image_free(&image);
    assert_int_equal(f.n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steady)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
