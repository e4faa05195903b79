/* test_sampler.c - greedy ties, the cuts of top-k, top-p and min-p, the drawn distribution, log-probabilities
 * against a double-precision softmax. */
#include "sdk/engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define VOCAB 6
#define N_DRAW 60000

static const float logits[VOCAB] = {1.0f, 3.0f, 3.0f, -2.0f, 0.5f, 2.0f};

/* Shares of N_DRAW draws. */
static void draw(const fvi_sampling *how, double *share)
{
    fvi_candidate scratch[VOCAB];
    uint32_t count[VOCAB] = {0};
    for (uint64_t i = 0; i < N_DRAW; i++) {
        int32_t id = fvi_sample(how, i, logits, VOCAB, scratch);
        assert_in_range(id, 0, VOCAB - 1);
        count[id]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        share[i] = (double)count[i] / N_DRAW;
    }
}

static void softmax(double temperature, double *p)
{
    double sum = 0.0;
    for (int i = 0; i < VOCAB; i++) {
        p[i] = exp((double)logits[i] / temperature);
        sum += p[i];
    }
    for (int i = 0; i < VOCAB; i++) {
        p[i] /= sum;
    }
}

static void test_greedy_takes_the_lower_of_equals(void **state)
{
    (void)state;
    fvi_candidate scratch[VOCAB];
    fvi_sampling how = {.temperature = 0.0f};
    assert_int_equal(fvi_sample(&how, 0, logits, VOCAB, scratch), 1);
    how = (fvi_sampling){.temperature = 5.0f, .top_k = 1};
    assert_int_equal(fvi_sample(&how, 3, logits, VOCAB, scratch), 1);
}

static void test_distribution(void **state)
{
    (void)state;
    double p[VOCAB];
    double share[VOCAB];
    for (uint64_t seed = 1; seed <= 2; seed++) {
        fvi_sampling how = {.temperature = 0.7f, .seed = seed};
        softmax((double)how.temperature, p);
        draw(&how, share);
        for (int i = 0; i < VOCAB; i++) { /* five standard deviations */
            assert_true(fabs(share[i] - p[i]) < 5.0 * sqrt(p[i] * (1 - p[i]) / N_DRAW) + 1e-9);
        }
    }
}

static void test_seeds(void **state)
{
    (void)state;
    fvi_candidate scratch[VOCAB];
    uint32_t n_other = 0;
    for (uint64_t i = 0; i < 200; i++) {
        const fvi_sampling one = {.temperature = 1.0f, .seed = 1}, two = {.temperature = 1.0f, .seed = 2};
        int32_t id = fvi_sample(&one, i, logits, VOCAB, scratch);
        assert_int_equal(fvi_sample(&one, i, logits, VOCAB, scratch), id);
        n_other += fvi_sample(&two, i, logits, VOCAB, scratch) != id;
    }
    assert_true(n_other > 50);
}

static void test_cuts(void **state)
{
    (void)state;
    double share[VOCAB];
    draw(&(fvi_sampling){.temperature = 1.0f, .top_k = 3, .seed = 9}, share);
    assert_true(share[1] > 0 && share[2] > 0 && share[5] > 0);
    assert_true(share[0] == 0 && share[3] == 0 && share[4] == 0);
    /* 1 and 2 hold 0.75 of the mass: they suffice for 0.7, and 5 is needed for 0.8 */
    draw(&(fvi_sampling){.temperature = 1.0f, .top_p = 0.7f, .seed = 9}, share);
    assert_true(share[1] > 0 && share[2] > 0 && share[5] == 0);
    draw(&(fvi_sampling){.temperature = 1.0f, .top_p = 0.8f, .seed = 9}, share);
    assert_true(share[5] > 0 && share[0] == 0);
    /* e^-1 = 0.37 of the best one: 5 stays at 0.3, 0 (e^-2) goes */
    draw(&(fvi_sampling){.temperature = 1.0f, .min_p = 0.3f, .seed = 9}, share);
    assert_true(share[5] > 0 && share[0] == 0);
}

static void test_logprobs(void **state)
{
    (void)state;
    double p[VOCAB];
    fovea_logprob top[3];
    softmax(1.0, p);
    for (int32_t id = 0; id < VOCAB; id++) {
        float logprob = fvi_logprobs(logits, VOCAB, id, 3, top);
        assert_true(fabs((double)logprob - log(p[id])) < 1e-6);
    }
    const int32_t order[3] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(top[i].token, order[i]);
        assert_true(fabs((double)top[i].logprob - log(p[order[i]])) < 1e-6);
    }
}

static void test_divergence(void **state)
{
    (void)state;
    /* (1/2, 1/2) from (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3 = 1/2 ln 4/3; the other way 3/4 ln 3/2 - 1/4 ln 2 */
    const float even[2] = {7.0f, 7.0f}, odd[2] = {-90.0f, -90.0f + 1.0986123f};
    assert_true(fabs(fvi_divergence(even, odd, 2) - 0.143841036) < 1e-5);
    assert_true(fabs(fvi_divergence(odd, even, 2) - 0.130812036) < 1e-5);
    assert_true(fvi_divergence(odd, odd, 2) == 0);
    assert_true(fvi_divergence(logits, logits, VOCAB) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_lower_of_equals), cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_seeds), cmocka_unit_test(test_cuts), cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_divergence)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
