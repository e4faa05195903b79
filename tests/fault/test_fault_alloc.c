/* test_fault_alloc.c - the counting allocator itself: it fails the right allocation, and its sweep finds a
 * leak, a swallowed failure and a second release in bodies that have them. */
#include "tests/fault/fault_alloc.h"

#include "sdk/base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Two blocks; `flaw` says what is wrong with it. */
typedef enum flaw { FLAW_NONE, FLAW_LEAK, FLAW_SWALLOW } flaw;

static char *leaked; /* freed by the test that made it leak */

static fovea_status two_blocks(const fovea_alloc *alloc, void *arg)
{
    flaw kind = *(flaw *)arg;
    char *first = fvi_alloc(alloc, 10);
    if (first == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    char *second = fvi_alloc(alloc, 100);
    fovea_status status = second != NULL || kind == FLAW_SWALLOW ? FOVEA_OK : FOVEA_ERR_NOMEM;
    if (second != NULL || kind != FLAW_LEAK) {
        fvi_free(alloc, first);
    } else {
        leaked = first;
    }
    fvi_free(alloc, second);
    return status;
}

static void test_sweep(void **state)
{
    (void)state;
    uint64_t n_point = 0;
    assert_null(fault_sweep(two_blocks, &(flaw){FLAW_NONE}, &n_point));
    assert_int_equal(n_point, 2);
    assert_string_equal(fault_sweep(two_blocks, &(flaw){FLAW_LEAK}, NULL),
                        "allocation 2 failed: 1 blocks leaked, 0 bad releases");
    fault_alloc other;
    fault_alloc_init(&other);
    fvi_free(&other.alloc, leaked);
    assert_string_equal(fault_sweep(two_blocks, &(flaw){FLAW_SWALLOW}, NULL),
                        "allocation 2 failed and no error came");
}

static void test_counts(void **state)
{
    (void)state;
    fault_alloc f;
    fault_alloc_init(&f);
    fault_alloc_arm(&f, 2);
    char *first = fvi_alloc(&f.alloc, 7);
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % 64, 0);
    assert_null(fvi_alloc(&f.alloc, 7));
    char *third = fvi_alloc(&f.alloc, 64);
    assert_non_null(third);
    assert_int_equal(f.n_alloc, 3);
    assert_int_equal(f.n_live, 2);
    assert_int_equal(f.live_bytes, 71);
    fvi_free(&f.alloc, first);
    fvi_free(&f.alloc, third);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(f.peak_bytes, 71);

    uint8_t foreign[192] = {0};
    fvi_free(&f.alloc, foreign + 128);
    assert_int_equal(f.n_bad, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sweep), cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
