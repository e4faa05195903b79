/* test_eval_recipes.c - where one recipe ends and the next begins in fovea-eval's --recipes. */
#include "samples/eval/recipes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* `wanted` ends with NULL; "none" stands in front of it. */
static void expect(const char *budgets, const char *list, const char *const *wanted)
{
    eval_recipes recipes;
    fovea_error err = {0};

    assert_int_equal(eval_recipes_begin(&recipes, budgets, &err), FOVEA_OK);
    assert_int_equal(eval_recipes_add_list(&recipes, list, &err), FOVEA_OK);
    assert_string_equal(recipes.items[0], "none");
    for (uint32_t i = 1; i < recipes.n; i++) {
        assert_non_null(wanted[i - 1]);
        assert_string_equal(recipes.items[i], wanted[i - 1]);
    }
    assert_null(wanted[recipes.n - 1]);
    eval_recipes_free(&recipes);
}

static void commas_separate_before_a_preset_or_score(void **state)
{
    (void)state;
    expect(
        NULL, "none,random:keep=0.1,vl-cache:keep=0.2,vision=int4,text=f16",
        (const char *const[]){"random:keep=0.1", "vl-cache:keep=0.2,vision=int4,text=f16", NULL});
    expect(
        NULL,
        "streaming:keep=0.5, score=post-vision,budget=density,keep=0.2,score=random,budget=uniform,"
        "keep=0.2",
        (const char *const[]){"streaming:keep=0.5", "score=post-vision,budget=density,keep=0.2",
                              "score=random,budget=uniform,keep=0.2", NULL});
}

static void semicolons_separate_alone(void **state)
{
    (void)state;
    expect(NULL, " none ; vl-cache:bytes=10%,vision=int4;; random:bytes=10% ;",
           (const char *const[]){"vl-cache:bytes=10%,vision=int4", "random:bytes=10%", NULL});
}

static void repeated_recipes_are_asked_once(void **state)
{
    (void)state;
    expect(NULL, "none;random:keep=0.1;none;random:keep=0.1",
           (const char *const[]){"random:keep=0.1", NULL});
    expect(NULL, "", (const char *const[]){NULL});
}

static void a_wrong_recipe_is_refused(void **state)
{
    eval_recipes recipes;
    fovea_error err = {0};

    (void)state;
    assert_int_equal(eval_recipes_begin(&recipes, NULL, &err), FOVEA_OK);
    assert_true(eval_recipes_add_list(&recipes, "none;nonsense:keep=0.1", &err) < 0);
    assert_non_null(strstr(err.text, "nonsense"));
    assert_int_equal(recipes.n, 1);
    eval_recipes_free(&recipes);
}

static void budgets_cross_recipes_without_one(void **state)
{
    (void)state;
    expect("20%,64KiB", "none; snapkv; random:keep=0.1; vl-cache:vision=int4; score=value",
           (const char *const[]){"snapkv:bytes=20%", "snapkv:bytes=64KiB", "random:keep=0.1",
                                 "vl-cache:vision=int4,bytes=20%",
                                 "vl-cache:vision=int4,bytes=64KiB", "score=value,bytes=20%",
                                 "score=value,bytes=64KiB", NULL});
}

static void a_recipe_is_a_base_and_a_budget(void **state)
{
    static const char list[] =
        "snapkv:bytes=20%; vl-cache:bytes=5%,vision=int4; score=value,keep=0.5; h2o:bytes=20%";
    eval_recipes recipes;
    fovea_error err = {0};

    (void)state;
    assert_int_equal(eval_recipes_begin(&recipes, NULL, &err), FOVEA_OK);
    assert_int_equal(eval_recipes_add_list(&recipes, list, &err), FOVEA_OK);
    assert_string_equal(recipes.bases[0], "none");
    assert_string_equal(recipes.budgets[0], "");
    assert_string_equal(recipes.bases[1], "snapkv");
    assert_string_equal(recipes.budgets[1], "bytes=20%");
    assert_string_equal(recipes.bases[2], "vl-cache:vision=int4");
    assert_string_equal(recipes.budgets[2], "bytes=5%");
    assert_string_equal(recipes.bases[3], "score=value");
    assert_string_equal(recipes.budgets[3], "keep=0.5");
    assert_int_equal(eval_recipes_against(&recipes, 4, "snapkv"), 1);
    assert_int_equal(eval_recipes_against(&recipes, 4, "vl-cache:bytes=5%,vision=int4"), 2);
    assert_int_equal(eval_recipes_against(&recipes, 2, "snapkv"), EVAL_MAX_RECIPE);
    eval_recipes_free(&recipes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_separate_before_a_preset_or_score),
        cmocka_unit_test(semicolons_separate_alone),
        cmocka_unit_test(repeated_recipes_are_asked_once),
        cmocka_unit_test(a_wrong_recipe_is_refused),
        cmocka_unit_test(budgets_cross_recipes_without_one),
        cmocka_unit_test(a_recipe_is_a_base_and_a_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
