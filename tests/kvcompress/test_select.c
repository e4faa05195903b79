/* test_select.c - which tokens stay: sinks, protected ones, the recent window, ties, budgets that nest, and
 * VL-Cache's layer budget on numbers made by hand. */
#include "kv_bench.h"

#include <stdio.h>

/* The last tenth of every list's budget goes to the latest tokens, sinks and protected ones stay. */
static void test_always_kept(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60; round++) {
        bench b;
        bench_open(&b, 60 + round);
        bench_pool(&b);
        shaped_prompt(&b, round % 4);
        if (round % 3 == 0) {
            b.prompt.spans[0].flags = FVI_KV_TAG_PROTECTED;
        }
        observe(&b);
        prefill(&b, false);
        fvi_kv_plan *plan = plan_of(&b, round % 2 == 0 ? "vl-cache:keep=0.3"
                                                       : "vl-cache:keep=0.25,recent=0.2,sinks=3");
        for (uint32_t list = 0; list < plan->n_list; list++) {
            uint32_t k = kept_of(plan, list), n_always = 0;
            for (uint32_t t = 0; t < b.prompt.n_token; t++) {
                bool is_protected = round % 3 == 0 && t < b.prompt.spans[0].n;
                if (is_protected || (round % 2 == 1 && t < 3)) {
                    assert_true(is_kept(plan, list, t));
                    n_always++;
                }
            }
            uint32_t n_recent = round % 2 == 0 ? (k + 9) / 10 : (k + 4) / 5;
            n_recent = FVI_MIN(n_recent, k - n_always);
            for (uint32_t i = 1; i <= n_recent; i++) {
                assert_true(is_kept(plan, list, b.prompt.n_token - i));
            }
        }
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* The kept set by brute force: sinks, window, then the largest scores, lower positions first. */
static void test_selection_by_hand(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 5);
    test_geom_same(&b.g, 1, 1, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 10);
    prefill(&b, false);
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &b.g.geom, 10, FVI_NEED_WINDOW_MASS, &b.obs), FOVEA_OK);
    const float mass[10] = {1, 5, 3, 5, 3, 0, 3, 2, 0, 0};
    memcpy(b.obs->plane[FVI_PLANE_WINDOW_MASS], mass, sizeof mass);
    /* window: the 9 by recent=0.1; scores: 1, 3, then 2 before 4 and 6 */
    fvi_kv_plan *plan = plan_of(&b, "score=post-vision,keep=0.4");
    const bool want[10] = {false, true, true, true, false, false, false, false, false, true};
    for (uint32_t t = 0; t < 10; t++) {
        assert_int_equal(is_kept(plan, 0, t), want[t]);
    }
    fvi_kv_plan_free(&plan);
    memset(b.obs->plane[FVI_PLANE_WINDOW_MASS], 0, sizeof mass); /* nothing but ties */
    plan = plan_of(&b, "score=post-vision,keep=0.5,recent=0");
    for (uint32_t t = 0; t < 10; t++) {
        assert_int_equal(is_kept(plan, 0, t), t < 5);
    }
    fvi_kv_plan_free(&plan);
    b.obs->plane[FVI_PLANE_WINDOW_MASS][2] = -0.0f; /* equals 0 */
    b.obs->plane[FVI_PLANE_WINDOW_MASS][7] = -1;
    plan = plan_of(&b, "score=post-vision,keep=0.9,recent=0");
    for (uint32_t t = 0; t < 10; t++) {
        assert_int_equal(is_kept(plan, 0, t), t != 7);
    }
    fvi_kv_plan_free(&plan);
    plan = plan_of(&b, "streaming:keep=0.6,sinks=2");
    for (uint32_t t = 0; t < 10; t++) {
        assert_int_equal(is_kept(plan, 0, t), t < 2 || t > 5);
    }
    fvi_kv_plan_free(&plan);
    bench_close(&b);
}

static fvi_kv_plan *plan_of_mass(bench *b, const char *text, const float *mass, uint32_t n)
{
    memcpy(b->obs->plane[FVI_PLANE_WINDOW_MASS], mass, n * sizeof *mass);
    return plan_of(b, text);
}

static void check_kept(const fvi_kv_plan *plan, const char *want)
{
    for (uint32_t t = 0; t < plan->n_token; t++) {
        if (is_kept(plan, 0, t) != (want[t] == 'x')) {
            fail_msg("token %u of %s", t, want);
        }
    }
}

/* Windows and protection of one modality, by hand: text 0-2, image 3-8, text 9-11. */
static void test_each_modality(void **state)
{
    (void)state;
    static const struct {
        const char *recipe, *want;
    } cases[] = {
        /* scores alone: 4, 6, 5, 1, then the ties from below */
        {"score=post-vision,keep=0.3333,recent=0", ".x..xxx....."},
        /* a window of the prompt: the last ceil(0.5 * 4) tokens */
        {"score=post-vision,keep=0.3333,recent=0.5", "....x.x...xx"},
        /* of each modality: the last two of text, then of the image; nothing is left for scores */
        {"score=post-vision,keep=0.3333,text.recent=0.5,vision.recent=0.5", ".......xx.xx"},
        {"score=post-vision,keep=0.3333,recent=0,vision.recent=0.5", "....x.xxx..."},
        {"score=post-vision,keep=0.3333,recent=0,text.recent=0.25", "....xxx....x"},
        {"score=post-vision,keep=0.3333,recent=0,text.protect=2", "....x.x...xx"},
        {"score=post-vision,keep=0.5,recent=0,text.protect=4", "..x.x.x..xxx"},
        {"score=post-vision,keep=0.5,recent=0,text.protect=all", "xxx......xxx"},
        {"score=post-vision,keep=0.6666,recent=0,text.protect=all", "xxx.x.x..xxx"},
        {"score=post-vision,keep=0.25,recent=0,vision.protect=1", "....x.x.x..."},
        {"score=post-vision,keep=0.3333,recent=0,protect=1", "....x.x.x..x"},
        /* shares of their own: floor(share * 6 + 0.5) of each; windows are of the share, too */
        {"score=post-vision,text.keep=0.5,vision.keep=0.5,recent=0", "xxx.xxx....."},
        {"score=post-vision,text.keep=0.5,vision.keep=0.5,recent=0.4", ".x..x..xx.xx"},
        {"score=post-vision,text.keep=0.5,vision.keep=0.5,recent=0,text.recent=0.4",
         ".x..xxx...xx"},
        {"score=post-vision,vision.keep=0.3333", "xxx.x...xxxx"}, /* text without a share: all */
        {"score=post-vision,vision.keep=0.3333,recent=0", "xxx.x.x..xxx"},
        {"score=post-vision,vision.keep=0.01,recent=0", "xxx......xxx"},
        /* a total: the other modality has what is left of it, at most all */
        {"score=post-vision,keep=0.5,text.keep=0.8333,recent=0", "xxx.x....xx."},
        {"score=post-vision,keep=0.6666,vision.keep=0.3333,recent=0", "xxx.x.x..xxx"},
        {"score=post-vision,keep=1,vision.keep=0.3333,recent=0", "xxx.x.x..xxx"},
        {"score=post-vision,keep=0.5,vision.keep=0.5,recent=0,text.protect=2", ".x..xxx...xx"},
        /* what is protected is kept beyond the budget, in every list */
        {"score=post-vision,text.keep=0.1,vision.keep=0.5,recent=0,text.protect=2", "....xxx...xx"},
        {"score=post-vision,keep=0.1,recent=0,vision.protect=all", "...xxxxxx..."},
    };
    static const float mass[12] = {1, 4, 1, 2, 9, 5, 7, 1, 1, 1, 1, 1};
    bench b;
    bench_open(&b, 6);
    test_geom_same(&b.g, 1, 1, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 3);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 6);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 3);
    prefill(&b, false);
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &b.g.geom, 12, FVI_NEED_WINDOW_MASS, &b.obs), FOVEA_OK);
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        fvi_kv_plan *plan = plan_of_mass(&b, cases[i].recipe, mass, 12);
        check_kept(plan, cases[i].want);
        fvi_kv_plan_free(&plan);
    }
    bench_close(&b);
}

/* A smaller budget keeps a subset of what a larger one keeps. */
static void test_budgets_nest(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 15);
    test_geom_same(&b.g, 1, 1, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    shaped_prompt(&b, 1);
    observe(&b);
    prefill(&b, false);
    fvi_kv_plan *smaller = NULL;
    for (uint32_t i = 1; i <= 100; i += 3) {
        char text[64];
        snprintf(text, sizeof text, "vl-cache:keep=%.2f,sinks=2", i / 100.0);
        fvi_kv_plan *plan = plan_of(&b, text);
        for (uint32_t t = 0; smaller != NULL && t < plan->n_token; t++) {
            assert_true(!is_kept(smaller, 0, t) || is_kept(plan, 0, t));
        }
        fvi_kv_plan_free(&smaller);
        smaller = plan;
    }
    fvi_kv_plan_free(&smaller);
    bench_close(&b);
}

/* VL-Cache's layer budget on densities made by hand: 0.4, 0.2, 0.2, 0 of 1,000 tokens at alpha 0.25. */
static void test_density_budget(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 25);
    test_geom_same(&b.g, 4, 1, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 900);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 100);
    observe(&b);
    prefill(&b, false);
    const double density[4] = {0.4, 0.2, 0.2, 0};
    memcpy(b.obs->density, density, sizeof density);
    fvi_kv_plan *plan = plan_of(&b, "vl-cache:keep=0.25");
    /* beta = .5, .25, .25, .01 (clipped from 0): 1.01 shares of 1,000 slots: 495.05 247.5 247.5 9.9 */
    const uint32_t want[4] = {495, 248, 247, 10};
    assert_int_equal(plan->n_slot, 1000);
    for (uint32_t list = 0; list < 4; list++) {
        assert_int_equal(kept_of(plan, list), want[list]);
    }
    fvi_kv_plan_free(&plan);
    b.obs->density[3] = 0.6; /* another prompt, other shares; scale does not matter */
    plan = plan_of(&b, "vl-cache:keep=0.25");
    assert_true(kept_of(plan, 3) > kept_of(plan, 0) && kept_of(plan, 0) > kept_of(plan, 1));
    assert_int_equal(plan->n_slot, 1000);
    for (uint32_t i = 0; i < 4; i++) {
        b.obs->density[i] /= 4;
    }
    fvi_kv_plan *scaled = plan_of(&b, "vl-cache:keep=0.25");
    assert_memory_equal(plan->kind, scaled->kind, 4000);
    fvi_kv_plan_free(&scaled);
    fvi_kv_plan_free(&plan);
    /* beta of 0.9 * 4 * 0.5 is cut at 1: the first list keeps all and the rest is shared out exactly */
    const double steep[4] = {0.9, 0.05, 0.04, 0.01};
    memcpy(b.obs->density, steep, sizeof steep);
    plan = plan_of(&b, "vl-cache:keep=0.5");
    assert_int_equal(kept_of(plan, 0), 1000);
    assert_int_equal(kept_of(plan, 0) + kept_of(plan, 1) + kept_of(plan, 2) + kept_of(plan, 3),
                     2000);
    assert_true(kept_of(plan, 1) > kept_of(plan, 2) && kept_of(plan, 2) > kept_of(plan, 3));
    fvi_kv_plan_free(&plan);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_always_kept),    cmocka_unit_test(test_selection_by_hand),
        cmocka_unit_test(test_each_modality),  cmocka_unit_test(test_budgets_nest),
        cmocka_unit_test(test_density_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
