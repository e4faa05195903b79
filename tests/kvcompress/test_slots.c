/* test_slots.c - eviction while decoding, held against the model of slots_model.h: caps, what stays, bytes
 * that come back, growth, forks, plans before it, broken pools. */
#include "slots_model.h"

static const rule rules[] = {
    {"while=h2o,cap=24", true, CAP, 0, 12, 0},
    {"while=streaming,cap=24", false, CAP, 4, 0, 0},
    {"while=h2o,cap=24,recent=0.25,sinks=2,evicted=int2,blurred=16", true, CAP, 2, 6, 16},
    {"while=streaming,cap=24,evicted=int2,blurred=40", false, CAP, 4, 0, 40},
};

/* Ten times the cap and more: every list is what the model says, holds its cap and not a token more, and the
 * steps touch neither heap nor pool. */
static void test_cap_holds(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FVI_COUNT(rules); i++) {
        for (uint32_t round = 0; round < 4; round++) {
            const rule *how = &rules[i];
            bench b = {.r = {.state = 77 * i + round + 1}};
            uint8_t *gone = calloc(64, 4 * MOST_TOKENS);
            test_geom_random(&b.g, &b.r);
            bench_pool(&b);
            test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 3);
            test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, round == 0 ? 9 : 70);
            test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 5);
            fill_turn(&b, 300);
            model_list *lists = open_slots(&b, how, 300);
            size_t used = fvi_kv_pool_used(b.pool);
            for (uint32_t t = 0; t < 300; t++) {
                step(&b, how, lists);
                check_lists(&b, how, lists, gone);
                assert_int_equal(fvi_kv_pool_used(b.pool), used);
                assert_int_equal(lists[0].n_sharp, FVI_MIN(b.prompt.n_token + t + 1, CAP));
            }
            check_ledger(&b, lists);
            for (uint32_t layer = 0; layer < b.g.geom.n_layer; layer++) {
                uint8_t kinds[4 * MOST_TOKENS];
                fvi_kv_seq_kept(b.seq, fvi_kv_geom_first_list(&b.g.geom, layer), kinds);
                check_rows(&b, layer, 0, kinds);
            }
            free(lists);
            free(gone);
            bench_close(&b);
        }
    }
}

static void small_bench(bench *b, uint64_t seed)
{
    *b = (bench){.r = {.state = seed}};
    test_geom_same(&b->g, 2, 2, 16, FOVEA_KIND_F16);
    bench_pool(b);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 4);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_VISION, 40);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 6);
    b->prompt.spans[0].flags = FVI_KV_TAG_PROTECTED;
}

/* Planted: one token is attended in every step, its neighbour as much but in the first steps only, protected
 * ones never. The window moves on; what is attended stays. */
static void test_heavy_hitter_stays(void **state)
{
    (void)state;
    bench b;
    small_bench(&b, 5);
    fill_turn(&b, 300);
    fvi_recipe recipe = recipe_of("while=h2o,cap=24");
    observe_turn(&b, &recipe);
    for (uint32_t list = 0; list < 4; list++) { /* both are worth keeping to begin with */
        b.obs->plane[FVI_PLANE_VISION_MASS][list * 50 + 20] = 1000;
        b.obs->plane[FVI_PLANE_VISION_MASS][list * 50 + 21] = 1000;
    }
    assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, b.obs, NULL, 300), FOVEA_OK);
    for (uint32_t t = 0; t < 300; t++) {
        append_token(&b);
        for (uint32_t list = 0; list < 4; list++) {
            const fvi_kv_slots *slots = slots_of(&b);
            float *mass = fvi_kv_seq_mass(b.seq, list);
            for (uint32_t i = 0; i < slots->used[list * FVI_KV_LEVELS]; i++) {
                uint32_t p = slots->position[list * fvi_kv_slots_width(slots) + i] & ~FVI_KV_PINNED;
                mass[i] += p == 20 ? 1000 : p == 21 && t < 20 ? 20 : p >= 50 ? 500 : 0;
            }
        }
        assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
    }
    for (uint32_t list = 0; list < 4; list++) {
        uint8_t kinds[400];
        fvi_kv_seq_kept(b.seq, list, kinds);
        assert_int_equal(kinds[20], FOVEA_KIND_F16);
        assert_int_equal(kinds[21], FVI_KV_DROP);
        for (uint32_t p = 0; p < 350; p++) {
            bool latest = p >= 350 - 12, is_protected = p < 4;
            assert_true(kinds[p] == FOVEA_KIND_F16 || (!latest && !is_protected));
        }
    }
    bench_close(&b);
}

/* StreamingLLM is the first four tokens and the latest, exactly. */
static void test_streaming_window(void **state)
{
    (void)state;
    bench b;
    small_bench(&b, 6);
    b.prompt.spans[0].flags = 0;
    fill_turn(&b, 0);
    fvi_recipe recipe = recipe_of("while=streaming,cap=16");
    assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, NULL, NULL, 0), FOVEA_OK);
    for (uint32_t n = 50; n < 250; n++) {
        uint8_t kinds[400];
        for (uint32_t list = 0; list < 4; list++) {
            fvi_kv_seq_kept(b.seq, list, kinds);
            for (uint32_t p = 0; p < n; p++) {
                assert_int_equal(kinds[p] != FVI_KV_DROP, p < 4 || p >= n - 12);
            }
        }
        append_token(&b);
        assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
    }
    bench_close(&b);
}

/* What the prompt does not keep is the pool's at once: two whole prompts do not fit, but one beside one that
 * was cut does. What is held stays within the forecast. */
static void test_bytes_return(void **state)
{
    (void)state;
    bench b;
    small_bench(&b, 7);
    b.prompt.spans[1].n += 350;
    b.prompt.n_token += 350;
    b.prompt.spans[2].first += 350;
    fvi_kv_pool_free(&b.pool);
    size_t full = 400 * fvi_kv_geom_token_bytes(&b.g.geom, FOVEA_KIND_F16);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, full * 3 / 2, 512, &b.pool), FOVEA_OK);
    fill_turn(&b, 100);
    size_t before = fvi_kv_pool_used(b.pool);
    fvi_kv_seq *other = NULL;
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b.pool, &b.g.geom, &other), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(other, b.prompt.spans, b.prompt.n_span, 0), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_open_layer(other, 0), FOVEA_ERR_FULL);
    fvi_recipe recipe = recipe_of("while=streaming,cap=40,evicted=int2,blurred=20");
    assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, NULL, NULL, 100), FOVEA_OK);
    size_t held = fvi_kv_seq_bytes(b.seq);
    size_t payload = 40 * fvi_kv_geom_token_bytes(&b.g.geom, FOVEA_KIND_F16) +
                     20 * fvi_kv_geom_token_bytes(&b.g.geom, FOVEA_KIND_INT2);
    assert_true(held >= payload && held < payload * 3 / 2 && held < before / 4);
    assert_true(held < fvi_kv_slots_forecast_bytes(&b.g.geom, 512, &recipe, 500));
    assert_int_equal(fvi_kv_seq_growth_bytes(b.seq, 100000), 0);
    for (uint32_t layer = 0; layer < 2; layer++) {
        assert_int_equal(fvi_kv_seq_open_layer(other, layer), FOVEA_OK);
    }
    fvi_kv_seq_free(&other);
    bench_close(&b);
}

/* Rewriting takes the space of one layer of eight, not that of all. */
static void test_layer_by_layer(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 12);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 400);
    fill_turn(&b, 0);
    size_t before = fvi_kv_seq_bytes(b.seq);
    fvi_recipe recipe = recipe_of("while=streaming,cap=390");
    assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, NULL, NULL, 0), FOVEA_OK);
    assert_true(fvi_kv_seq_peak_bytes(b.seq) < before + before / 4);
    bench_close(&b);
}

/* Announced too few: slots grow to the limits and no further, within what was said to be possible; and as
 * long as nothing had to go, a list is what it would be without slots. */
static void test_growth(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        bench b;
        small_bench(&b, 8 + round);
        fill_turn(&b, 1);
        fvi_recipe recipe =
            recipe_of(round == 0 ? "while=streaming,cap=200"
                                 : "while=streaming,cap=60,evicted=int2,blurred=70");
        assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, NULL, NULL, 1), FOVEA_OK);
        size_t most = fvi_kv_seq_bytes(b.seq) + fvi_kv_seq_growth_bytes(b.seq, 300);
        if (round == 0) {
            assert_int_equal(fvi_kv_slots_prepare(b.seq, 20), FOVEA_OK);
            assert_int_equal(slots_of(&b)->capacity[0], 70);
        }
        for (uint32_t t = 0; t < 300; t++) {
            append_token(&b);
            assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
            assert_true(fvi_kv_seq_bytes(b.seq) <= most &&
                        fvi_kv_pool_peak(b.pool) <= most + 100000);
            uint32_t n = 51 + t, limit = recipe.cap + recipe.n_blurred;
            const fvi_list_view *view = fvi_kv_seq_lists(b.seq, 1);
            assert_int_equal(view->n_token, FVI_MIN(n, limit));
            if (n == 150) {
                uint8_t kinds[400];
                fvi_kv_seq_kept(b.seq, 2, kinds);
                check_rows(&b, 1, 0, kinds);
            }
        }
        assert_int_equal(slots_of(&b)->capacity[0], recipe.cap);
        assert_int_equal(slots_of(&b)->capacity[1], recipe.n_blurred);
        bench_close(&b);
    }
}

/* A fork copies its slots: neither sees what the other evicts. A second turn goes on from the first. */
static void test_fork_and_next_turn(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FVI_COUNT(rules); i++) {
        const rule *how = &rules[i];
        bench b, other;
        small_bench(&b, 20 + i);
        b.prompt.spans[0].flags = 0;
        fill_turn(&b, 200);
        model_list *lists = open_slots(&b, how, 200), *copy = calloc(4, sizeof *copy);
        uint8_t *gone = calloc(4, 4 * MOST_TOKENS), *gone_copy = calloc(4, 4 * MOST_TOKENS);
        for (uint32_t t = 0; t < 40; t++) {
            step(&b, how, lists);
        }
        memcpy(copy, lists, 4 * sizeof *copy);
        other = b;
        other.obs = NULL;
        assert_int_equal(fvi_kv_seq_fork(b.seq, &other.seq), FOVEA_OK);
        assert_int_equal(fvi_kv_seq_bytes(b.seq) + fvi_kv_seq_bytes(other.seq),
                         fvi_kv_pool_used(b.pool));
        for (uint32_t t = 0; t < 60; t++) {
            step(&b, how, lists);
            step(&other, how, copy);
        }
        check_lists(&b, how, lists, gone);
        check_lists(&other, how, copy, gone_copy);
        fvi_kv_seq_free(&other.seq);

        fill_turn(&b, 100); /* 50 tokens more */
        fvi_recipe recipe = recipe_of(how->recipe);
        observe_turn(&b, &recipe);
        for (uint32_t list = 0; list < 4; list++) {
            fvi_kv_slots *slots = b.seq->blocks[0].slots;
            assert_int_equal(fvi_kv_slots_used(slots, list),
                             lists[list].n_sharp + lists[list].n_blurred);
        }
        assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, b.obs, NULL, 100), FOVEA_OK);
        for (uint32_t t = 0; t < 100; t++) {
            append_token(&b);
            assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
            for (uint32_t list = 0; list < 4; list++) {
                const fvi_kv_slots *slots = slots_of(&b);
                uint8_t kinds[4 * MOST_TOKENS];
                assert_int_equal(slots->used[list * FVI_KV_LEVELS], CAP);
                assert_true(slots->used[list * FVI_KV_LEVELS + 1] <= how->n_blurred);
                fvi_kv_seq_kept(b.seq, list, kinds);
                check_rows(&b, list / 2, list % 2, kinds);
                for (uint32_t p = 0; p < 150; p++) {
                    uint8_t *was = &gone[list * 4 * MOST_TOKENS + p];
                    assert_true(*was == 0 || kinds[p] == FVI_KV_DROP);
                }
            }
        }
        assert_int_equal(fvi_kv_seq_bytes(b.seq), fvi_kv_pool_used(b.pool));
        fovea_ledger ledger = {.size = sizeof ledger};
        uint64_t n_prompt = 0;
        for (uint32_t list = 0; list < 4; list++) { /* 50 of the prompt, 100 generated, 50, 100 */
            uint8_t kinds[4 * MOST_TOKENS];
            fvi_kv_seq_kept(b.seq, list, kinds);
            for (uint32_t p = 0; p < 200; p++) {
                n_prompt += (p < 50 || p >= 150) && kinds[p] != FVI_KV_DROP;
            }
        }
        fvi_kv_seq_ledger(b.seq, &ledger);
        assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, n_prompt);
        assert_int_equal(ledger.text_tokens + ledger.vision_tokens, 100);
        free(lists);
        free(copy);
        free(gone);
        free(gone_copy);
        bench_close(&b);
    }
}

/* With keep= the prompt's plan says what may be sharp; with evicted= the rest is blurred, else gone. */
static void test_plan_goes_first(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        bench b;
        small_bench(&b, 30);
        fill_turn(&b, 10);
        const char *text = round == 0
                               ? "random:keep=0.4,while=streaming,cap=64"
                               : "random:keep=0.4,while=streaming,cap=64,evicted=int2,blurred=9";
        fvi_kv_plan *plan = plan_of(&b, text);
        fvi_recipe recipe = recipe_of(text);
        assert_int_equal(plan->n_slot, 4 * 20);
        assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, NULL, plan, 10), FOVEA_OK);
        for (uint32_t list = 0; list < 4; list++) {
            uint8_t kinds[64];
            uint32_t n_blurred = 0, next = 50;
            fvi_kv_seq_kept(b.seq, list, kinds);
            for (uint32_t p = 50; p-- > 0;) { /* the latest of what the plan drops */
                bool sharp = is_kept(plan, list, p);
                n_blurred += !sharp;
                assert_int_equal(kinds[p], sharp ? FOVEA_KIND_F16
                                           : round == 1 && n_blurred <= 9 && p < next
                                               ? FOVEA_KIND_INT2
                                               : FVI_KV_DROP);
            }
            check_rows(&b, list / 2, list % 2, kinds);
        }
        for (uint32_t t = 0; t < 30; t++) { /* sharp slots fill up beside blurred ones */
            append_token(&b);
            assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
        }
        for (uint32_t list = 0; list < 4; list++) {
            uint8_t kinds[128];
            fvi_kv_seq_kept(b.seq, list, kinds);
            for (uint32_t p = 0; p < 80; p++) {
                assert_true(p < 50 || kinds[p] == FOVEA_KIND_F16);
            }
            check_rows(&b, list / 2, list % 2, kinds);
        }
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* A pool in pieces: runs break everywhere, and rows are still found. */
static void test_fragmented_pool(void **state)
{
    (void)state;
    bench b;
    small_bench(&b, 40);
    b.prompt.spans[0].flags = 0;
    fvi_kv_pool_free(&b.pool);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, 300000, 192, &b.pool), FOVEA_OK);
    fvi_kv_extent *held[2048] = {NULL};
    uint32_t n = 0;
    while (n < 2048 && fvi_kv_pool_take(b.pool, 192, 0, &held[n]) == FOVEA_OK) {
        n++;
    }
    assert_true(n < 2048);
    for (uint32_t i = 0; i < n; i += 2) {
        fvi_kv_chain_unref(b.pool, &held[i]);
    } /* and the one long hole, that of the descriptors' room: nothing is left but pieces */
    assert_int_equal(fvi_kv_pool_take(b.pool, 300000, 0, &held[0]), FOVEA_OK);
    const rule *how = &rules[2];
    fill_turn(&b, 200);
    model_list *lists = open_slots(&b, how, 200);
    assert_true(b.seq->blocks[0].n_view > 8);
    uint8_t *gone = calloc(4, 4 * MOST_TOKENS);
    for (uint32_t t = 0; t < 200; t++) {
        step(&b, how, lists);
    }
    check_lists(&b, how, lists, gone);
    for (uint32_t list = 0; list < 4; list++) {
        uint8_t kinds[4 * MOST_TOKENS];
        fvi_kv_seq_kept(b.seq, list, kinds);
        check_rows(&b, list / 2, list % 2, kinds);
    }
    fvi_kv_chain_unref(b.pool, &held[0]);
    for (uint32_t i = 1; i < n; i += 2) {
        fvi_kv_chain_unref(b.pool, &held[i]);
    }
    free(lists);
    free(gone);
    bench_close(&b);
}

static void test_recipes(void **state)
{
    (void)state;
    fvi_recipe r = recipe_of("while=h2o,cap=256");
    assert_true(r.cap == 256 && r.recent[0] == 0.5 && r.n_sink == 0 && r.evicted == NULL);
    assert_false(fvi_recipe_is_none(&r));
    assert_false(fvi_recipe_plans(&r));
    r = recipe_of("while=streaming,cap=256,evicted=int4");
    assert_true(r.recent[1] == 0 && r.n_sink == 4 && r.n_blurred == 1024);
    r = recipe_of("vl-cache:keep=0.2,while=h2o,cap=64,recent=0.25,sinks=3");
    assert_true(fvi_recipe_plans(&r) && r.recent[0] == 0.25 && r.n_sink == 3);
    static const char *const wrong[] = {
        "while=h2o",
        "cap=64",
        "while=nothing,cap=64",
        "while=h2o,cap=0",
        "while=h2o,cap=64,text.protect=all",
        "while=h2o,cap=64,vision.recent=0.1",
        "while=h2o,cap=64,vision=int4",
        "vl-cache:bytes=10%,while=h2o,cap=64",
        "fovea:bytes=10%,while=h2o,cap=64",
        "while=streaming,cap=4",
        "while=h2o,cap=64,recent=1",
        "while=h2o,cap=64,evicted=f16",
        "while=h2o,cap=64,evicted=int2-chan",
        "while=h2o,cap=64,blurred=10",
        "evicted=int2",
    };
    for (uint32_t i = 0; i < FVI_COUNT(wrong); i++) {
        fovea_error err = {.text = ""};
        assert_int_equal(fvi_recipe_parse(wrong[i], &r, &err), FOVEA_ERR_ARG);
        assert_true(strncmp(err.text, "recipe: ", 8) == 0);
    }
    assert_string_equal(fovea_recipe_name("revisers", 0), "h2o");
    assert_null(fovea_recipe_name("revisers", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cap_holds),          cmocka_unit_test(test_heavy_hitter_stays),
        cmocka_unit_test(test_streaming_window),   cmocka_unit_test(test_bytes_return),
        cmocka_unit_test(test_layer_by_layer),     cmocka_unit_test(test_growth),
        cmocka_unit_test(test_fork_and_next_turn), cmocka_unit_test(test_plan_goes_first),
        cmocka_unit_test(test_fragmented_pool),    cmocka_unit_test(test_recipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
