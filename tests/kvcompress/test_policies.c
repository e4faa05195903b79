/* test_policies.c - scorers and the query window on hand-made prompts; observations. */
#include "kv_bench.h"

static const fvi_scorer *scorer_of(const char *text)
{
    return recipe_of(text).scorer;
}

static void score_all(bench *b, const fvi_scorer *scorer, uint64_t seed, float *out)
{
    const fvi_score_ctx ctx = {.alloc = &fvi_alloc_default,
                               .geom = &b->g.geom,
                               .obs = b->obs,
                               .spans = b->prompt.spans,
                               .n_span = b->prompt.n_span,
                               .n_token = b->prompt.n_token,
                               .seed = seed};
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        assert_int_equal(scorer->score(&ctx, layer, out), FOVEA_OK);
        out += b->g.layers[layer].n_kv_head * b->prompt.n_token;
    }
}

/* The draw of a token depends on (seed, layer, head, token) and on nothing else. */
static void test_random(void **state)
{
    (void)state;
    enum { N = 300 };
    bench b;
    bench_open(&b, 1);
    const fvi_scorer *scorer = scorer_of("random:keep=0.5");
    float some[16 * N], other[16 * N], longer[16 * 2 * N];
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, N);
    score_all(&b, scorer, 9, some);
    score_all(&b, scorer, 9, other);
    assert_memory_equal(some, other, sizeof some);
    b.prompt.n_token = 2 * N;
    score_all(&b, scorer, 9, longer);
    for (uint32_t list = 0; list < 16; list++) {
        assert_memory_equal(some + list * N, longer + list * 2 * N, N * sizeof *some);
    }
    b.prompt.n_token = N;
    score_all(&b, scorer, 10, other);
    uint32_t n_same = 0, n_same_list = 0;
    double mean = 0;
    for (uint32_t i = 0; i < 16 * N; i++) {
        assert_true(some[i] >= 0 && some[i] < 1);
        mean += some[i] / (16 * N);
        n_same += some[i] == other[i];
        n_same_list += some[i] == some[(i + N) % (16 * N)];
    }
    assert_true(n_same < 5 && n_same_list < 5);
    assert_true(fabs(mean - 0.5) < 0.02);
}

static void test_streaming(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 2);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 70);
    float scores[16 * 70];
    score_all(&b, scorer_of("streaming:keep=0.5"), 0, scores);
    for (uint32_t i = 0; i < 16 * 70; i++) {
        assert_true(i % 70 == 0 || scores[i] > scores[i - 1]);
    }
}

/* Each list gets its own row of the mass that was observed. */
static void test_post_vision(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 3);
    b.g.layers[1].n_kv_head = 3;
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 20);
    observe(&b);
    float scores[17 * 20];
    score_all(&b, scorer_of("vl-cache:keep=0.5"), 0, scores);
    assert_memory_equal(scores, b.obs->plane[FVI_PLANE_WINDOW_MASS], sizeof scores);
    bench_close(&b);
}

static uint32_t window_of(const test_prompt *prompt)
{
    return fvi_kv_window_first(prompt->spans, prompt->n_span, prompt->n_token);
}

static void test_window(void **state)
{
    (void)state;
    test_prompt p = {.n_span = 0};
    test_prompt_add(&p, FOVEA_MODALITY_TEXT, 10);
    assert_int_equal(window_of(&p), 0); /* shorter than the fallback */
    test_prompt_add(&p, FOVEA_MODALITY_TEXT, 90);
    assert_int_equal(window_of(&p), 100 - 32);
    test_prompt_add(&p, FOVEA_MODALITY_VISION, 50);
    assert_int_equal(window_of(&p), 150 - 32); /* no text behind the image */
    test_prompt_add(&p, FOVEA_MODALITY_TEXT, 5);
    assert_int_equal(window_of(&p), 150);
    test_prompt_add(&p, FOVEA_MODALITY_VISION, 50);
    test_prompt_add(&p, FOVEA_MODALITY_TEXT, 40);
    test_prompt_add(&p, FOVEA_MODALITY_TEXT, 3); /* behind the last image, all of it */
    assert_int_equal(window_of(&p), 205);
}

static void test_observations(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 4);
    fault_alloc heap;
    fault_alloc_init(&heap);
    fvi_kv_obs *obs;
    assert_int_equal(fvi_kv_obs_new(&heap.alloc, &b.g.geom, 50, FVI_NEED_DENSITY, &obs), FOVEA_OK);
    assert_null(obs->plane[FVI_PLANE_WINDOW_MASS]);
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(obs->density[i] == 0);
    }
    fvi_kv_obs *shared = obs;
    fvi_kv_obs_ref(obs);
    fvi_kv_obs_unref(&obs);
    assert_null(obs);
    assert_int_equal(shared->refs, 1);
    fvi_kv_obs_unref(&shared);
    assert_int_equal(heap.n_live, 0);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        fault_alloc_arm(&heap, nth);
        assert_int_equal(fvi_kv_obs_new(&heap.alloc, &b.g.geom, 50,
                                        FVI_NEED_DENSITY | FVI_NEED_WINDOW_MASS, &obs),
                         FOVEA_ERR_NOMEM);
        assert_null(obs);
        assert_int_equal(heap.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),       cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_post_vision),  cmocka_unit_test(test_window),
        cmocka_unit_test(test_observations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
