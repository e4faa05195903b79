/* test_apportion.c - whole shares: exact sums within bounds, monotone in the weights, near the real share. */
#include "kvcompress/apportion.h"

#include "kv_test.h"

#include <math.h>

#define MAX_N 40

static void test_properties(void **state)
{
    (void)state;
    rng r = {.state = 3};
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t n = 1 + rng_below(&r, MAX_N), low = rng_below(&r, 5), high[MAX_N], out[MAX_N];
        uint32_t limit = low + rng_below(&r, 300);
        bool same_high = rng_below(&r, 2) == 0;
        double weights[MAX_N], scratch[MAX_N], largest = 0;
        uint64_t most = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t sort = rng_below(&r, 8);
            weights[i] = sort == 0   ? 0
                         : sort == 1 ? 1
                         : sort == 2 ? 1e-300
                                     : exp(8 * rng_float(&r));
            high[i] = same_high ? limit : low + rng_below(&r, limit - low + 1);
            most += high[i];
            largest = FVI_MAX(largest, weights[i]);
        }
        uint64_t least = (uint64_t)n * low;
        uint64_t total = least + rng_next(&r) % (most - least + 1);
        assert_int_equal(fvi_apportion(weights, n, total, low, high, scratch, out), FOVEA_OK);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += out[i];
            assert_in_range(out[i], low, high[i]);
            for (uint32_t j = 0; j < i; j++) {
                bool counts = weights[i] > 1e-12 * largest; /* less is no weight */
                if (high[i] == high[j] && counts && weights[i] > weights[j]) {
                    assert_true(out[i] >= out[j]);
                }
                if (high[i] == high[j] && weights[i] == weights[j]) { /* ties: the lower index */
                    assert_true(out[i] <= out[j] && out[i] + 1 >= out[j]);
                }
            }
        }
        assert_int_equal(sum, total);
    }
}

/* Without a bound in the way each gets its real share, rounded up or down. */
static void test_shares(void **state)
{
    (void)state;
    const double weights[4] = {1, 2, 3, 4};
    const uint32_t high[4] = {1000, 1000, 1000, 1000};
    double scratch[4];
    uint32_t out[4];
    assert_int_equal(fvi_apportion(weights, 4, 100, 0, high, scratch, out), FOVEA_OK);
    const uint32_t want[4] = {10, 20, 30, 40};
    assert_memory_equal(out, want, sizeof want);
    for (uint64_t total = 0; total <= 2000; total++) {
        assert_int_equal(fvi_apportion(weights, 4, total, 0, high, scratch, out), FOVEA_OK);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(fabs(out[i] - weights[i] * (double)total / 10) < 1);
        }
    }
    const uint32_t capped[4] = {1000, 1000, 1000,
                                25}; /* what the last cannot take goes to the others */
    assert_int_equal(fvi_apportion(weights, 4, 100, 0, capped, scratch, out), FOVEA_OK);
    const uint32_t shared[4] = {13, 25, 37, 25}; /* 12.5 25 37.5: the half goes to the first */
    assert_memory_equal(out, shared, sizeof shared);
}

static void test_refused(void **state)
{
    (void)state;
    double weights[2] = {1, 1}, scratch[2];
    const uint32_t high[2] = {5, 5};
    uint32_t out[2];
    assert_int_equal(fvi_apportion(weights, 2, 11, 0, high, scratch, out), FOVEA_ERR_ARG);
    assert_int_equal(fvi_apportion(weights, 2, 3, 2, high, scratch, out), FOVEA_ERR_ARG);
    assert_int_equal(fvi_apportion(weights, 2, 12, 6, high, scratch, out), FOVEA_ERR_ARG);
    weights[1] = NAN;
    assert_int_equal(fvi_apportion(weights, 2, 4, 0, high, scratch, out), FOVEA_ERR_ARG);
    weights[1] = -1;
    assert_int_equal(fvi_apportion(weights, 2, 4, 0, high, scratch, out), FOVEA_ERR_ARG);
    weights[1] = INFINITY;
    assert_int_equal(fvi_apportion(weights, 2, 4, 0, high, scratch, out), FOVEA_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
