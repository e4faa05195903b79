/* test_threads.c - every part of a job runs exactly once, jobs do not mix, for 1 to 4 threads. */
#include "sdk/base/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#define N_PART 37

typedef struct job {
    _Atomic uint32_t ran[N_PART];
    _Atomic uint32_t bad_worker;
    uint32_t n_thread;
} job;

static void count_part(void *arg, uint32_t part, uint32_t worker)
{
    job *self = arg;
    atomic_fetch_add(&self->ran[part], 1);
    if (worker >= self->n_thread) {
        atomic_store(&self->bad_worker, 1);
    }
}

static void test_each_part_once(void **state)
{
    (void)state;
    for (uint32_t n_thread = 1; n_thread <= 4; n_thread++) {
        fvi_pool *pool = NULL;
        assert_int_equal(fvi_pool_new(&fvi_alloc_default, n_thread, &pool), FOVEA_OK);
        for (uint32_t round = 0; round < 3000; round++) {
            job now = {.n_thread = n_thread};
            uint32_t n_part = 1 + round % N_PART;
            fvi_pool_run(pool, n_part, count_part, &now);
            for (uint32_t part = 0; part < N_PART; part++) {
                assert_int_equal(atomic_load(&now.ran[part]), part < n_part ? 1 : 0);
            }
            assert_int_equal(atomic_load(&now.bad_worker), 0);
        }
        fvi_pool_free(&pool);
        assert_null(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_part_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
