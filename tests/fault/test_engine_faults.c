/* test_engine_faults.c - every allocation of an engine's start and of one request fails once: an error comes,
 * nothing crashes, nothing leaks, and the engine serves the next request as if nothing had been. */
#include "tests/fault/fault_alloc.h"
#include "tests/fault/fault_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static fovea_status start_and_close(const fovea_alloc *alloc, void *arg)
{
    fovea_engine *engine = NULL;
    fovea_error err = {.code = FOVEA_OK};
    (void)arg;
    fovea_status status = fault_engine_open(alloc, &engine, &err);
    if (status < 0 && (engine != NULL || err.text[0] == '\0')) {
        return FOVEA_OK; /* which the sweep reports: an error without a text, or with an engine */
    }
    fovea_engine_close(&engine);
    return status;
}

static void test_start(void **state)
{
    (void)state;
    uint64_t n_point = 0;
    const char *wrong = fault_sweep(start_and_close, NULL, &n_point);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    assert_true(n_point > 20);
    print_message("%llu allocations of a start\n", (unsigned long long)n_point);
}

static void check_idle(fovea_engine *engine)
{
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    assert_int_equal(stats.kv_used_bytes, 0);
    assert_int_equal(stats.n_running, 0);
    assert_int_equal(stats.n_waiting, 0);
}

static void test_request(void **state)
{
    (void)state;
    fault_alloc f;
    fovea_engine *engine = NULL;
    fovea_error err;
    fovea_generate_options how = {.size = sizeof how,
                                  .max_tokens = 12,
                                  .temperature = 0.7f,
                                  .top_p = 0.9f,
                                  .n_logprobs = 3,
                                  .loyalty = 1,
                                  .stop = (const char *const[]){"never said"},
                                  .n_stop = 1};
    uint32_t n_token = 0, n_whole = 0;
    uint64_t nth = 0;
    fault_alloc_init(&f);
    assert_int_equal(fault_engine_open(&f.alloc, &engine, &err), FOVEA_OK);
    assert_int_equal(fault_engine_ask(engine, &f.alloc, "vl-cache:keep=0.3,vision=int4", &how, &n_whole,
                                      &err),
                     FOVEA_OK);
    assert_true(n_whole > 0);
    check_idle(engine);
    uint64_t n_live = f.n_live;
    for (;;) {
        fault_alloc_arm(&f, ++nth);
        fovea_status status = fault_engine_ask(engine, &f.alloc, "vl-cache:keep=0.3,vision=int4", &how,
                                               &n_token, &err);
        check_idle(engine);
        if (f.n_failed == 0) {
            assert_int_equal(status, FOVEA_OK);
            assert_int_equal(n_token, n_whole);
            break;
        }
        if (status != FOVEA_ERR_NOMEM) {
            fail_msg("allocation %llu of a request failed: %s", (unsigned long long)nth,
                     fovea_status_name(status));
        }
        if (f.n_live != n_live) {
            fail_msg("allocation %llu of a request failed: %lld blocks more than before",
                     (unsigned long long)nth, (long long)(f.n_live - n_live));
        }
    }
    fovea_engine_close(&engine);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(f.n_bad, 0);
    assert_true(nth > 10);
    print_message("%llu allocations of a request\n", (unsigned long long)(nth - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_start), cmocka_unit_test(test_request)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
