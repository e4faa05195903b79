/* test_eval_score.c - when fovea-eval calls an answer right, and its intervals.
 *
 * Wilson's bounds: from the formula, worked out with 30 digits elsewhere. */
#include "samples/eval/score.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

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

/* Of many questions the mean is normally distributed, with the deviation below. */
static void bootstrap_is_the_normal_one(void **state)
{
    static int8_t differences[1000];
    const double mean = 0.05,
                 deviation = 0.012031; /* 100 and 50 of 1000: sqrt((0.15 - 0.0025) / 1000) */
    eval_share got, again;

    (void)state;
    for (int i = 0; i < 150; i++) {
        differences[6 * i] = i < 100 ? 1 : -1;
    }
    got = eval_bootstrap(differences, 1000, 1);
    again = eval_bootstrap(differences, 1000, 1);
    assert_float_equal(got.share, mean, 1e-12);
    assert_float_equal(got.low, mean - 1.96 * deviation, 0.0015);
    assert_float_equal(got.high, mean + 1.96 * deviation, 0.0015);
    assert_memory_equal(&got, &again, sizeof(got));
    differences[0] = 0;
    got = eval_bootstrap(differences + 1, 5, 1); /* nothing differs */
    assert_float_equal(got.low, 0.0, 0.0);
    assert_float_equal(got.high, 0.0, 0.0);
    assert_float_equal(eval_bootstrap(differences, 0, 1).high, 0.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_compared_as_people_would),
        cmocka_unit_test(any_answer_of_the_list_is_right),
        cmocka_unit_test(intervals_are_wilsons),
        cmocka_unit_test(bootstrap_is_the_normal_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
