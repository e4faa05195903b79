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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_compared_as_people_would),
        cmocka_unit_test(any_answer_of_the_list_is_right),
        cmocka_unit_test(intervals_are_wilsons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
