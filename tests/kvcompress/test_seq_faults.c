/* test_seq_faults.c - the nth allocation fails, the pool has no room: an error, nothing lost, nothing leaked;
 * and decoding that touches the heap not once. */
#include "kv_bench.h"

#include "kvcompress/slots.h"

#define N_APPEND 70

typedef struct life {
    test_geom g;
    test_prompt prompt;
    size_t capacity;
} life;

static fovea_status generate(fvi_kv_seq *seq, const fvi_kv_geom *geom, uint32_t n)
{
    float row[64] = {1};
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
            FVI_TRY(fvi_kv_seq_append(seq, layer, row, row));
        }
        FVI_TRY(fvi_kv_seq_commit(seq));
    }
    return FOVEA_OK;
}

static fovea_status prefill_turn(fvi_kv_seq *seq, const life *how, uint32_t n_generate)
{
    FVI_TRY(fvi_kv_seq_begin_turn(seq, how->prompt.spans, how->prompt.n_span, n_generate));
    for (uint32_t layer = 0; layer < how->g.geom.n_layer; layer++) {
        FVI_TRY(fvi_kv_seq_open_layer(seq, layer));
    }
    fvi_kv_seq_end_turn(seq);
    return FOVEA_OK;
}

static fovea_status plan_turn(const fovea_alloc *alloc, fvi_kv_seq *seq, const life *how,
                              const char *text)
{
    fvi_recipe recipe;
    fvi_kv_obs *obs = NULL;
    fvi_kv_plan *plan = NULL;
    FVI_TRY(fvi_recipe_parse(text, &recipe, NULL));
    FVI_TRY(fvi_kv_seq_set_recall(seq, recipe.recall, recipe.n_attend));
    uint32_t needs = fvi_kv_plan_needs(seq, &recipe);
    fovea_status status = fvi_kv_obs_new(alloc, &how->g.geom, how->prompt.n_token, needs, &obs);
    if (status >= 0) {
        status = fvi_kv_plan_make(seq, &recipe, obs, &plan, NULL);
    }
    if (status >= 0) {
        status = fvi_kv_plan_apply(seq, plan);
    }
    fvi_kv_plan_free(&plan);
    fvi_kv_obs_unref(&obs);
    return status;
}

static fovea_status open_slots(const fovea_alloc *alloc, fvi_kv_seq *seq, const life *how,
                               const char *text)
{
    fvi_recipe recipe;
    fvi_kv_obs *obs = NULL;
    FVI_TRY(fvi_recipe_parse(text, &recipe, NULL));
    FVI_TRY(fvi_kv_obs_new(alloc, &how->g.geom, how->prompt.n_token,
                           fvi_kv_plan_needs(seq, &recipe), &obs));
    fovea_status status = fvi_kv_slots_open(seq, &recipe, obs, NULL, 10);
    fvi_kv_obs_unref(&obs);
    return status;
}

/* A life in slots: more decoded than announced, a fork, a second turn. */
static fovea_status live_in_slots(const fovea_alloc *alloc, void *arg)
{
    static const char *const recipe = "while=h2o,cap=100,evicted=int2,blurred=20";
    const life *how = arg;
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL, *fork = NULL;
    FVI_TRY(fvi_kv_pool_new(alloc, how->capacity, fvi_kv_geom_granule(&how->g.geom), &pool));
    fovea_status status = fvi_kv_seq_new(alloc, pool, &how->g.geom, &seq);
    if (status >= 0) {
        status = prefill_turn(seq, how, 10);
    }
    if (status >= 0) {
        status = open_slots(alloc, seq, how, recipe);
    }
    if (status >= 0) {
        status = generate(seq, &how->g.geom, N_APPEND);
    }
    if (status >= 0) {
        status = fvi_kv_seq_fork(seq, &fork);
    }
    if (status >= 0) {
        status = prefill_turn(fork, how, 10);
    }
    if (status >= 0) {
        status = open_slots(alloc, fork, how, recipe);
    }
    if (status >= 0) {
        status = generate(fork, &how->g.geom, 3);
    }
    fvi_kv_seq_free(&seq);
    fvi_kv_seq_free(&fork);
    if (fvi_kv_pool_used(pool) != 0) {
        status = status < 0 ? FOVEA_OK : FOVEA_ERR_INTERNAL;
    }
    fvi_kv_pool_free(&pool);
    return status;
}

/* A whole life: two turns with plans, a fork, decoding beyond what was announced. */
static fovea_status live(const fovea_alloc *alloc, void *arg)
{
    const life *how = arg;
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL, *fork = NULL;
    FVI_TRY(fvi_kv_pool_new(alloc, how->capacity, fvi_kv_geom_granule(&how->g.geom), &pool));
    fovea_status status = fvi_kv_seq_new(alloc, pool, &how->g.geom, &seq);
    if (status >= 0) {
        status = prefill_turn(seq, how, 10);
    }
    if (status >= 0) {
        status = fvi_kv_seq_fork(seq, &fork);
    }
    if (status >= 0) {
        status = plan_turn(alloc, fork, how,
                           "vl-cache:keep=0.3,vision=int4,vision.merge=cam,recall=quest");
    }
    if (status >= 0) {
        status = plan_turn(alloc, seq, how, "random:bytes=50%");
    }
    if (status >= 0) {
        status = generate(seq, &how->g.geom, N_APPEND);
    }
    if (status >= 0) {
        status = generate(fork, &how->g.geom, 3);
    }
    fvi_kv_seq_free(&fork);
    if (status >= 0) {
        status = fvi_kv_seq_fork(seq, &fork);
    }
    if (status >= 0) {
        status = prefill_turn(fork, how, 0);
    }
    if (status >= 0) {
        status = plan_turn(alloc, fork, how, "streaming:keep=0.5,merge=pivot");
    }
    fvi_kv_seq_free(&seq);
    fvi_kv_seq_free(&fork);
    if (fvi_kv_pool_used(pool) !=
        0) { /* a leak in the pool: the opposite of what the sweep expects */
        status = status < 0 ? FOVEA_OK : FOVEA_ERR_INTERNAL;
    }
    fvi_kv_pool_free(&pool);
    return status;
}

static void small_life(life *how)
{
    *how = (life){.capacity = 1 << 20};
    test_geom_same(&how->g, 3, 2, 16, FOVEA_KIND_F16);
    test_prompt_add(&how->prompt, FOVEA_MODALITY_TEXT, 4);
    test_prompt_add(&how->prompt, FOVEA_MODALITY_VISION, 80);
    test_prompt_add(&how->prompt, FOVEA_MODALITY_TEXT, 9);
}

static void test_allocations_fail(void **state)
{
    (void)state;
    life how;
    small_life(&how);
    uint64_t n_point = 0;
    static fovea_status (*const lives[])(const fovea_alloc *, void *) = {live, live_in_slots};
    for (uint32_t i = 0; i < FVI_COUNT(lives); i++) {
        const char *trouble = fault_sweep(lives[i], &how, &n_point);
        if (trouble != NULL) {
            fail_msg("%s", trouble);
        }
        assert_true(n_point > (i == 0 ? 50 : 25));
    }
}

/* Pools from too small up: every size is either enough or an error, and all comes back. */
static void test_pool_runs_out(void **state)
{
    (void)state;
    life how;
    small_life(&how);
    static fovea_status (*const lives[])(const fovea_alloc *, void *) = {live, live_in_slots};
    for (uint32_t i = 0; i < FVI_COUNT(lives); i++) {
        uint32_t n_full = 0, n_ok = 0;
        for (how.capacity = 256; n_ok < 20; how.capacity += 97) {
            fault_alloc heap;
            fault_alloc_init(&heap);
            fovea_status status = lives[i](&heap.alloc, &how);
            assert_true(status == FOVEA_OK || status == FOVEA_ERR_FULL);
            assert_int_equal(heap.n_live, 0);
            n_full += status == FOVEA_ERR_FULL;
            n_ok += status == FOVEA_OK;
        }
        assert_true(n_full > 200);
    }
}

static void test_decoding_stays_off_the_heap(void **state)
{
    (void)state;
    life how;
    small_life(&how);
    fault_alloc heap;
    fault_alloc_init(&heap);
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL;
    assert_int_equal(
        fvi_kv_pool_new(&heap.alloc, how.capacity, fvi_kv_geom_granule(&how.g.geom), &pool),
        FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&heap.alloc, pool, &how.g.geom, &seq), FOVEA_OK);
    for (uint32_t turn = 0; turn < 3; turn++) {
        assert_int_equal(prefill_turn(seq, &how, 500), FOVEA_OK);
        if (turn == 0) {
            assert_int_equal(plan_turn(&heap.alloc, seq, &how, "vl-cache:keep=0.5,vision=int8"),
                             FOVEA_OK);
        }
        fault_alloc_arm(&heap, 0);
        assert_int_equal(generate(seq, &how.g.geom, 500), FOVEA_OK);
        assert_int_equal(heap.n_alloc, 0);
    }
    fvi_kv_seq_free(&seq);
    assert_int_equal(fvi_kv_pool_used(pool), 0);
    fvi_kv_pool_free(&pool);
    assert_int_equal(heap.n_live, 0);
}

/* Steps out of turn are errors and change nothing. */
static void test_wrong_order(void **state)
{
    (void)state;
    life how;
    small_life(&how);
    float row[64] = {0};
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL, *fork = NULL;
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, how.capacity, 512, &pool), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, pool, &how.g.geom, &seq), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_open_layer(seq, 0), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_commit(seq), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_append(seq, 1, row, row), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_begin_turn(seq, how.prompt.spans, 0, 1), FOVEA_ERR_ARG);
    fvi_kv_span bad[2] = {{.n = 3}, {.n = 0}};
    assert_int_equal(fvi_kv_seq_begin_turn(seq, bad, 2, 1), FOVEA_ERR_ARG);
    bad[1].n = UINT32_MAX;
    assert_int_equal(fvi_kv_seq_begin_turn(seq, bad, 2, 1), FOVEA_ERR_ARG);
    bad[0].modality = FOVEA_N_MODALITY;
    assert_int_equal(fvi_kv_seq_begin_turn(seq, bad, 1, 1), FOVEA_ERR_ARG);
    assert_int_equal(fvi_kv_seq_begin_turn(seq, how.prompt.spans, how.prompt.n_span, 1), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(seq, how.prompt.spans, how.prompt.n_span, 1),
                     FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_fork(seq, &fork), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_append(seq, 0, row, row), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_open_layer(seq, 0), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_open_layer(seq, 0), FOVEA_ERR_STATE);
    assert_int_equal(fvi_kv_seq_open_layer(seq, 3), FOVEA_ERR_STATE);
    fvi_kv_seq_free(&seq); /* in the middle of a prefill */
    assert_int_equal(fvi_kv_pool_used(pool), 0);
    fvi_kv_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_fail),
        cmocka_unit_test(test_pool_runs_out),
        cmocka_unit_test(test_decoding_stays_off_the_heap),
        cmocka_unit_test(test_wrong_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
