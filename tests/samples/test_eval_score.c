/* test_eval_score.c - when fovea-eval calls an answer right, how near others come, and its intervals.
 *
 * Wilson's bounds: from the formula, worked out with 30 digits elsewhere. */
#include "samples/eval/score.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define CLOSE 1e-4

static void texts_are_compared_as_people_would(void **state)
{
    (void)state;
    assert_true(eval_same_text(" A red circle.", "a red  circle"));
    assert_true(eval_same_text("", " \n"));
    assert_true(eval_same_text("5942, SHOP", "5942, shop ."));
    assert_false(eval_same_text("59 42", "5942"));
    assert_false(eval_same_text("5942.", "5942.0"));
    assert_false(eval_same_text("a.b", "ab"));
    assert_false(eval_same_text("two", "two kites"));
    assert_false(eval_same_text("two kites", "two"));
}

static void any_answer_of_the_list_is_right(void **state)
{
    json_t *answers = json_pack("[s, s]", "gray", "grey");

    (void)state;
    assert_true(eval_is_right(" Grey", answers));
    assert_false(eval_is_right("green", answers));
    assert_false(eval_is_right("", answers));
    json_decref(answers);
}

static void intervals_are_wilsons(void **state)
{
    static const struct {
        uint64_t n_right, n;
        double low, high;
    } cases[] = {
        {8, 10, 0.490162, 0.943318},
        {0, 20, 0.0, 0.161125},
        {20, 20, 0.838875, 1.0},
        {500, 1000, 0.469070, 0.530930},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        eval_share got = eval_share_of(cases[i].n_right, cases[i].n);
        assert_float_equal(got.share, (double)cases[i].n_right / (double)cases[i].n, 1e-12);
        assert_float_equal(got.low, cases[i].low, CLOSE);
        assert_float_equal(got.high, cases[i].high, CLOSE);
    }
    assert_float_equal(eval_share_of(0, 0).high, 0.0, 0.0);
}

/* By hand: letters to change, add or leave out, over the longer text's. */
static void near_answers_count_nearly(void **state)
{
    static const struct {
        const char *text, *answer;
        double anls;
    } cases[] = {
        {"kitten", "sitting", 1 - 3.0 / 7}, /* k-s, e-i, +g */
        {"sitting", "kitten", 1 - 3.0 / 7},
        {" A  Red\tcircle\n", "a red circle", 1},
        {"a red circle", "a red circle.", 1 - 1.0 / 13},
        {"5942", "594", 1 - 1.0 / 4},
        {"16", "18", 0}, /* half of it: not above */
        {"abcde", "abxye", 1 - 2.0 / 5},
        {"abcde", "axyze", 0},
        {"", "", 1},
        {"", "yes", 0},
        {"Stra\u00dfe", "strasse", 1 - 2.0 / 7},              /* one letter to two */
        {"\u00e9\u00e8\u00ea", "\u00e9\u00e8x", 1 - 1.0 / 3}, /* in bytes: 2 of 6 */
        {"\U0001F431ab", "\U0001F436ab", 1 - 1.0 / 3},        /* in bytes: 1 of 6 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *answers = json_pack("[s]", cases[i].answer);
        double got = -1;
        assert_true(eval_anls(cases[i].text, answers, &got));
        assert_float_equal(got, cases[i].anls, 1e-12);
        json_decref(answers);
    }
}

static void the_nearest_answer_counts(void **state)
{
    json_t *answers = json_pack("[s, s, s]", "grim", "gray", "grape");
    double got = -1;

    (void)state;
    assert_true(eval_anls("grey", answers, &got));
    assert_float_equal(got, 0.75, 1e-12);
    assert_true(eval_anls("xx\xC3", answers, &got)); /* breaks off inside a character */
    assert_float_equal(got, 0.0, 0.0);
    json_decref(answers);
}

/* Of many questions the mean is normally distributed, with the deviation below. */
static void bootstrap_is_the_normal_one(void **state)
{
    static eval_terms terms[1000];
    const double mean = 0.05,
                 deviation = 0.012031; /* 100 and 50 of 1000: sqrt((0.15 - 0.0025) / 1000) */
    eval_share got[EVAL_N_MEASURE], again[EVAL_N_MEASURE];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        terms[i].of[EVAL_RIGHT] = 1;
    }
    for (int i = 0; i < 150; i++) {
        terms[6 * i].gain[EVAL_RIGHT] = i < 100 ? 1 : -1;
    }
    assert_true(eval_bootstrap(terms, 1000, 1, got));
    assert_true(eval_bootstrap(terms, 1000, 1, again));
    assert_float_equal(got[EVAL_RIGHT].share, mean, 1e-12);
    assert_float_equal(got[EVAL_RIGHT].low, mean - 1.96 * deviation, 0.0015);
    assert_float_equal(got[EVAL_RIGHT].high, mean + 1.96 * deviation, 0.0015);
    assert_float_equal(got[EVAL_TOKENS].high, 0.0, 0.0); /* of nothing */
    assert_memory_equal(got, again, sizeof(got));
    assert_true(eval_bootstrap(terms + 1, 5, 1, got)); /* nothing differs */
    assert_float_equal(got[EVAL_RIGHT].low, 0.0, 0.0);
    assert_float_equal(got[EVAL_RIGHT].high, 0.0, 0.0);
    assert_true(eval_bootstrap(terms, 0, 1, got));
    assert_float_equal(got[EVAL_RIGHT].high, 0.0, 0.0);
}

#define N_FEW      5
#define N_RESAMPLE 3125 /* 5^5: every one there is */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void assert_in_interval(double bound, const double *sorted, double from, double to)
{
    assert_true(bound >= sorted[(int)(from * N_RESAMPLE)] - 1e-12);
    assert_true(bound <= sorted[(int)(to * N_RESAMPLE)] + 1e-12);
}

/* Of few questions every resample can be looked at. The bounds of a measure, each within half a percent of
 * the resamples (three deviations of 10,000 draws), and of tokens as a ratio of sums: questions
 * with long answers weigh more. */
static void bootstrap_is_that_of_every_resample(void **state)
{
    static const double gain[] = {7, -1, 0, 5, -6}, of[] = {9, 2, 7, 5, 60};
    static double ratios[N_RESAMPLE], means[N_RESAMPLE];
    eval_terms terms[N_FEW] = {0};
    eval_share got[EVAL_N_MEASURE];

    (void)state;
    for (int i = 0; i < N_FEW; i++) {
        terms[i].gain[EVAL_TOKENS] = terms[i].gain[EVAL_AS_NONE] = gain[i];
        terms[i].of[EVAL_TOKENS] = of[i];
        terms[i].of[EVAL_AS_NONE] = 1;
    }
    for (int k = 0; k < N_RESAMPLE; k++) {
        double sum = 0, whole = 0;
        for (int i = 0, digits = k; i < N_FEW; i++, digits /= N_FEW) {
            sum += gain[digits % N_FEW];
            whole += of[digits % N_FEW];
        }
        ratios[k] = sum / whole;
        means[k] = sum / N_FEW;
    }
    qsort(ratios, N_RESAMPLE, sizeof(*ratios), compare);
    qsort(means, N_RESAMPLE, sizeof(*means), compare);
    assert_true(eval_bootstrap(terms, N_FEW, 1, got));
    assert_float_equal(got[EVAL_TOKENS].share, 5.0 / 83, 1e-12);
    assert_float_equal(got[EVAL_AS_NONE].share, 1.0, 1e-12);
    assert_in_interval(got[EVAL_TOKENS].low, ratios, 0.020, 0.030);
    assert_in_interval(got[EVAL_TOKENS].high, ratios, 0.970, 0.980);
    assert_in_interval(got[EVAL_AS_NONE].low, means, 0.020, 0.030);
    assert_in_interval(got[EVAL_AS_NONE].high, means, 0.970, 0.980);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_compared_as_people_would),
        cmocka_unit_test(any_answer_of_the_list_is_right),
        cmocka_unit_test(intervals_are_wilsons),
        cmocka_unit_test(near_answers_count_nearly),
        cmocka_unit_test(the_nearest_answer_counts),
        cmocka_unit_test(bootstrap_is_the_normal_one),
        cmocka_unit_test(bootstrap_is_that_of_every_resample),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
