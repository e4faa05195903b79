/* test_plan.c - plans: exact counts and bytes over random prompts, floors, rewriting without loss, which
 * turns get a plan, forecasts. */
#include "kv_bench.h"

#include "kvcompress/seq_internal.h"

#include <stdio.h>

static const char *const kinds[] = {"",
                                    ",vision=int4",
                                    ",vision=int8,text=int8",
                                    ",vision=int4,text=f16",
                                    ",vision=f16,text=int4",
                                    ",vision=int2-chan,text=int4",
                                    ",vision=int4-chan,text=int4-chan",
                                    ",vision=int2-kivi,text=int2,exact=3"};
static const char *const heads[] = {"vl-cache", "random:seed=5", "streaming", "score=post-vision",
                                    "vl-cache:recent=0,sinks=2"};

static void recipe_text(char *text, size_t n, uint32_t i, const char *amount)
{
    const char *head = heads[i % FVI_COUNT(heads)];
    bool has_option = strchr(head, '=') != NULL;
    snprintf(text, n, "%s%s%s%s", head, has_option ? "," : ":", amount,
             kinds[(i / FVI_COUNT(heads)) % FVI_COUNT(kinds)]);
}

static void test_keep_is_exact(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        bench b;
        bench_open(&b, 900 + round);
        if (round % 2 == 0) {
            test_geom_random(&b.g, &b.r);
        }
        bench_pool(&b);
        shaped_prompt(&b, round % 4);
        observe(&b);
        prefill(&b, false);
        char text[128], amount[32];
        double keep = (1 + rng_below(&b.r, 999)) / 1000.0;
        snprintf(amount, sizeof amount, "keep=%.3f", keep);
        recipe_text(text, sizeof text, round, amount);
        fvi_kv_plan *plan = plan_of(&b, text);
        uint64_t n_list = fvi_kv_geom_n_list(&b.g.geom), n_all = n_list * b.prompt.n_token;
        fvi_recipe recipe = recipe_of(text);
        uint32_t n_always = FVI_MIN(FVI_MAX(recipe.n_sink, recipe.n_exact), b.prompt.n_token);
        uint64_t least = n_list * FVI_MAX(1, n_always);
        uint64_t want = (uint64_t)floor(keep * (double)n_all + 0.5);
        assert_int_equal(plan->n_slot, FVI_MAX(want, least));
        uint64_t n = 0;
        for (uint32_t list = 0; list < n_list; list++) {
            uint32_t n_kept = kept_of(plan, list);
            assert_true(n_kept >= 1);
            n += n_kept;
        }
        assert_int_equal(n, plan->n_slot);
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, n);
        assert_int_equal(ledger.realised_bytes, plan->n_bytes);
        assert_int_equal(fvi_kv_pool_used(b.pool), ledger.realised_bytes + ledger.generated_bytes);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* The plan for a target, and the target itself; where it is refused, the floor that was named. */
static fvi_kv_plan *plan_target(bench *b, uint32_t i, double percent, size_t *target)
{
    char text[128], amount[32], number[32];
    snprintf(amount, sizeof amount, "bytes=%.1f%%", percent);
    recipe_text(text, sizeof text, i, amount);
    fvi_recipe recipe = recipe_of(text);
    size_t full = b->prompt.n_token * fvi_kv_geom_token_bytes(&b->g.geom, FOVEA_KIND_F16);
    size_t granule = fvi_kv_pool_granule(b->pool), floor_bytes = 0, floor_again = 0;
    fvi_kv_plan *plan = NULL;
    fovea_error err = {.text = ""};
    *target = (size_t)(percent / 100 * (double)full);
    fovea_status early = fvi_kv_plan_check(&b->g.geom, granule, b->prompt.spans, b->prompt.n_span,
                                           b->prompt.n_token, &recipe, &floor_bytes, &err);
    fovea_status status = fvi_kv_plan_make(b->seq, &recipe, b->obs, &plan, &err);
    assert_int_equal(early, status);
    if (status < 0) {
        assert_int_equal(status, FOVEA_ERR_BUDGET);
        assert_true(*target < floor_bytes);
        snprintf(number, sizeof number, "%zu", floor_bytes);
        assert_non_null(strstr(err.text, number));
        snprintf(amount, sizeof amount, "bytes=%zu", floor_bytes);
        recipe_text(text, sizeof text, i, amount);
        recipe = recipe_of(text);
        assert_int_equal(fvi_kv_plan_check(&b->g.geom, granule, b->prompt.spans, b->prompt.n_span,
                                           b->prompt.n_token, &recipe, &floor_again, NULL),
                         FOVEA_OK);
        assert_int_equal(floor_again, floor_bytes);
        *target = floor_bytes;
        plan = plan_of(b, text);
    }
    assert_int_equal(plan->floor_bytes, floor_bytes);
    return plan;
}

static void test_bytes_are_met(void **state)
{
    (void)state;
    double worst = 1;
    uint32_t n_partial = 0;
    for (uint32_t round = 0; round < 200; round++) {
        bench b;
        bench_open(&b, 4000 + round);
        bench_pool(&b);
        shaped_prompt(&b, round % 4);
        observe(&b);
        prefill(&b, false);
        for (uint32_t i = 0; i < 4; i++) {
            double percent = i == 0 ? 5 : i == 1 ? 10 : 0.1 * (1 + rng_below(&b.r, 990));
            size_t target;
            fvi_kv_plan *plan = plan_target(&b, round * 7 + i, percent, &target);
            bool all = plan->n_slot == (uint64_t)plan->n_list * plan->n_token;
            double met = (double)plan->n_bytes / (double)target;
            if (met > 1 || (!all && met < 0.95)) {
                fail_msg("round %u, %u tokens: %zu of %zu bytes", round, b.prompt.n_token,
                         plan->n_bytes, target);
            }
            if (!all) {
                worst = FVI_MIN(worst, met);
                n_partial++;
            }
            fvi_kv_seq *fork = NULL;
            assert_int_equal(fvi_kv_seq_fork(b.seq, &fork), FOVEA_OK);
            assert_int_equal(fvi_kv_plan_apply(fork, plan), FOVEA_OK);
            fovea_ledger ledger = {.size = sizeof ledger};
            fvi_kv_seq_ledger(fork, &ledger);
            assert_int_equal(ledger.realised_bytes, plan->n_bytes);
            fvi_kv_seq_free(&fork);
            fvi_kv_plan_free(&plan);
        }
        bench_close(&b);
    }
    print_message("bytes=: %u partial plans, worst %.4f of the target\n", n_partial, worst);
    assert_true(n_partial > 300);
}

/* In a pool that just holds the turn the sealed runs break into pieces; the target is met all the same. */
static void test_bytes_in_a_tight_pool(void **state)
{
    (void)state;
    uint32_t n_broken = 0;
    for (uint32_t round = 0; round < 60; round++) {
        bench b;
        bench_open(&b, 300 + round);
        shaped_prompt(&b, round % 4);
        observe(&b);
        size_t granule = fvi_kv_geom_granule(&b.g.geom);
        size_t forecast = fvi_kv_forecast_bytes(NULL, &b.g.geom, granule, b.prompt.n_span,
                                                b.prompt.n_token, N_ANNOUNCED);
        assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, forecast, granule, &b.pool), FOVEA_OK);
        prefill(&b, false);
        char text[128], amount[32];
        uint32_t percent = 15 + rng_below(&b.r, 70);
        snprintf(amount, sizeof amount, "bytes=%u%%", percent);
        recipe_text(text, sizeof text, round, amount);
        fvi_kv_plan *plan = NULL;
        fvi_recipe recipe = recipe_of(text);
        if (fvi_kv_plan_make(b.seq, &recipe, b.obs, &plan, NULL) == FOVEA_OK) {
            assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
            fovea_ledger ledger = {.size = sizeof ledger};
            fvi_kv_seq_ledger(b.seq, &ledger);
            double met =
                (double)ledger.realised_bytes / ((double)ledger.full_bytes * percent / 100);
            bool all = plan->n_slot == (uint64_t)plan->n_list * plan->n_token;
            if (met > 1 || (!all && met < 0.95)) {
                fail_msg("%s on %u tokens: %.4f of the target", text, b.prompt.n_token, met);
            }
            n_broken += b.seq->blocks[0].turn->chains[0]->next != NULL;
        }
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    assert_true(n_broken > 10);
}

/* At 5% of the default model's one-image prompt, what is not payload is a few percent. */
static void test_overhead_is_small(void **state)
{
    (void)state;
    static const char *const recipes[] = {"vl-cache:bytes=5%", "vl-cache:bytes=5%,vision=int4"};
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        bench b;
        bench_open(&b, 77);
        bench_pool(&b);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 5);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 256);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 14);
        observe(&b);
        prefill(&b, false);
        fvi_kv_plan *plan = plan_of(&b, recipes[i]);
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        print_message("%s: %zu of %zu bytes, metadata %zu, slack %zu, floor %zu, generated %zu\n",
                      recipes[i], (size_t)ledger.realised_bytes, (size_t)ledger.full_bytes,
                      (size_t)ledger.metadata_bytes, (size_t)ledger.slack_bytes, plan->floor_bytes,
                      (size_t)ledger.generated_bytes);
        assert_true(ledger.shared_bytes * 100 <= 5 * ledger.realised_bytes);
        assert_true(ledger.realised_bytes * 100 <= 5 * ledger.full_bytes);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* Reads a list back as positions would order it. */
static void read_list(const bench *b, const fvi_kv_seq *seq, uint32_t layer, uint32_t head,
                      float *out)
{
    const fvi_list_view *list = &fvi_kv_seq_lists(seq, layer)[head];
    fvi_kv_layer_geom dims = b->g.layers[layer];
    for (uint32_t i = 0; i < list->n_run; i++) {
        const fvi_run_view *run = &list->runs[i];
        size_t d = (size_t)dims.dk + dims.dv;
        fvi_codec_decode(run->codec, run->data, run->capacity, dims.dk, dims.dv, 0, run->n_token,
                         out, d, out + dims.dk, d);
        out += run->n_token * d;
    }
}

/* keep=1.0 and bytes=100% rewrite everything and change nothing: same kind, same order, same bits. */
static void test_all_kept_is_none(void **state)
{
    (void)state;
    static const char *const recipes[] = {"vl-cache:keep=1.0", "streaming:bytes=100%",
                                          "random:keep=1", "vl-cache:bytes=100%,vision=f16"};
    bench b;
    bench_open(&b, 31);
    test_geom_same(&b.g, 3, 2, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 5);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 40);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 9);
    prefill(&b, true);
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        fvi_recipe recipe = recipe_of(recipes[i]);
        assert_true(fvi_kv_plan_wanted(b.seq, &recipe));
        assert_int_equal(fvi_kv_plan_needs(b.seq, &recipe), 0);
        fvi_kv_plan *plan = plan_of(&b, recipes[i]);
        fvi_kv_seq *fork = NULL;
        assert_int_equal(fvi_kv_seq_fork(b.seq, &fork), FOVEA_OK);
        assert_int_equal(fvi_kv_plan_apply(fork, plan), FOVEA_OK);
        assert_false(fork->blocks[0].turn->fresh);
        for (uint32_t layer = 0; layer < 3; layer++) {
            for (uint32_t head = 0; head < 2; head++) {
                float before[54 * 32], after[54 * 32];
                read_list(&b, b.seq, layer, head, before);
                read_list(&b, fork, layer, head, after);
                assert_memory_equal(before, after, sizeof before);
                const fvi_list_view *list = &fvi_kv_seq_lists(fork, layer)[head];
                assert_int_equal(list->n_token, 54);
                assert_int_equal(list->n_run, 1);
                assert_int_equal(list->runs[0].codec->kind, FOVEA_KIND_F16);
            }
        }
        fvi_kv_seq_free(&fork);
        fvi_kv_plan_free(&plan);
    }
    bench_close(&b);
}

static void test_which_turns(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 35);
    test_geom_same(&b.g, 2, 2, 16, FOVEA_KIND_F16);
    bench_pool(&b);
    fvi_recipe none = recipe_of("none"), vl = recipe_of("vl-cache:keep=0.5");
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 50);
    prefill(&b, false);
    assert_false(fvi_kv_plan_wanted(b.seq, &none));
    assert_true(fvi_kv_plan_wanted(b.seq, &vl));
    assert_int_equal(fvi_kv_plan_needs(b.seq, &none), 0);
    assert_int_equal(fvi_kv_plan_needs(b.seq, &vl), FVI_NEED_WINDOW_MASS | FVI_NEED_DENSITY);
    fvi_recipe random = recipe_of("random:keep=0.5");
    assert_int_equal(fvi_kv_plan_needs(b.seq, &random), 0);
    fovea_error err;
    fvi_kv_plan *plan;
    assert_int_equal(fvi_kv_plan_make(b.seq, &vl, NULL, &plan, &err), FOVEA_ERR_STATE);
    assert_null(plan);
    prefill(&b, false); /* a second turn of text */
    assert_false(fvi_kv_plan_wanted(b.seq, &vl));
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 30);
    prefill(&b, false); /* a third one with an image */
    assert_true(fvi_kv_plan_wanted(b.seq, &vl));
    observe(&b);
    plan = plan_of(&b, "vl-cache:keep=0.5,vision=int4");
    assert_int_equal(plan->n_token, 80);
    assert_int_equal(plan->n_slot, 160);
    assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_kv_seq_ledger(b.seq, &ledger);
    assert_int_equal(ledger.text_tokens, 150);
    assert_int_equal(ledger.vision_tokens, 30);
    assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, 4 * 100 + 160);
    assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_ERR_STATE); /* not twice */
    fvi_kv_plan_free(&plan);
    fvi_recipe f32 = recipe_of("text=f32");
    size_t floor_bytes;
    assert_int_equal(fvi_kv_plan_check(&b.g.geom, 512, b.prompt.spans, b.prompt.n_span, 80, &f32,
                                       &floor_bytes, &err),
                     FOVEA_ERR_ARG);
    bench_close(&b);
}

#define N_HOLE 4096

/* Leaves holes of single granules in the pool: one of `stride` stays taken; 0: none. */
static void make_holes(bench *b, uint32_t stride, fvi_kv_extent **blocks /* [N_HOLE] */)
{
    size_t granule = fvi_kv_pool_granule(b->pool);
    for (uint32_t i = 0; i < N_HOLE; i++) {
        blocks[i] = NULL;
        if (stride > 0) {
            assert_int_equal(fvi_kv_pool_take(b->pool, granule, granule, &blocks[i]), FOVEA_OK);
        }
    }
    for (uint32_t i = 0; i < N_HOLE; i++) {
        if (stride > 0 && i % stride != 0) {
            fvi_kv_chain_unref(b->pool, &blocks[i]);
        }
    }
}

/* A turn that keeps all; what was forecast for it over what it took at its peak. */
static double forecast_turn(bench *b)
{
    size_t granule = fvi_kv_pool_granule(b->pool);
    size_t forecast = fvi_kv_forecast_bytes(b->seq, &b->g.geom, granule, b->prompt.n_span,
                                            b->prompt.n_token, N_ANNOUNCED);
    size_t held = b->seq != NULL ? fvi_kv_seq_bytes(b->seq) : 0;
    size_t peak_before = b->seq != NULL ? fvi_kv_seq_peak_bytes(b->seq) : 0;
    prefill(b, false);
    observe(b);
    fvi_kv_plan *plan = plan_of(b, "vl-cache:keep=1.0");
    assert_int_equal(fvi_kv_plan_apply(b->seq, plan), FOVEA_OK);
    fvi_kv_plan_free(&plan);
    fvi_kv_obs_unref(&b->obs);
    size_t peak = fvi_kv_seq_peak_bytes(b->seq);
    assert_true(peak <= FVI_MAX(peak_before, held + forecast));
    return ((double)forecast - 8 * (double)granule) / (double)(peak - held);
}

/* Decoding; 1 when it made a new peak, which must stay within what was forecast. */
static uint32_t grow(bench *b, uint32_t n_generate)
{
    const float zeros[3 * 64] = {0};
    size_t most = fvi_kv_seq_bytes(b->seq) + fvi_kv_seq_growth_bytes(b->seq, n_generate);
    size_t peak_before = fvi_kv_seq_peak_bytes(b->seq);
    for (uint32_t i = 0; i < n_generate; i++) {
        for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
            assert_int_equal(fvi_kv_seq_append(b->seq, layer, zeros, zeros), FOVEA_OK);
        }
        assert_int_equal(fvi_kv_seq_commit(b->seq), FOVEA_OK);
    } /* merges and their working space are in the peak */
    assert_true(fvi_kv_seq_peak_bytes(b->seq) <= FVI_MAX(peak_before, most));
    return fvi_kv_seq_peak_bytes(b->seq) > peak_before;
}

/* The real peak stays within what was forecast, in a pool full of holes too, and is not far from it. */
static void test_forecast(void **state)
{
    (void)state;
    static fvi_kv_extent *blocks[N_HOLE];
    double loosest = 0;
    uint32_t n_grown = 0;
    for (uint32_t round = 0; round < 120; round++) {
        bench b;
        bench_open(&b, 7000 + round);
        if (round % 2 == 0) {
            test_geom_random(&b.g, &b.r);
        }
        bench_pool(&b);
        make_holes(&b, round % 3 == 0 ? 0 : 2 + rng_below(&b.r, 4), blocks);
        uint32_t n_generate = rng_below(&b.r, 150);
        for (uint32_t turn = 0; turn < 2; turn++) {
            shaped_prompt(&b, rng_below(&b.r, 4));
            if (round % 4 == 1) { /* so little that decoding makes the peak */
                b.prompt = (test_prompt){.n_span = 0};
                test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 4);
            }
            double loose = forecast_turn(&b);
            loosest = FVI_MAX(loosest, round % 4 == 3 && turn == 0 ? loose : 0);
            n_grown += grow(&b, n_generate);
        }
        fvi_kv_seq_free(&b.seq);
        for (uint32_t i = 0; i < N_HOLE; i++) {
            fvi_kv_chain_unref(b.pool, &blocks[i]);
        }
        bench_close(&b);
    }
    print_message("forecast: at most %.3f of the peak, default geometry; %u peaks in decoding\n",
                  loosest, n_grown);
    assert_true(loosest <= 1.1 && n_grown > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_is_exact),
        cmocka_unit_test(test_bytes_are_met),
        cmocka_unit_test(test_bytes_in_a_tight_pool),
        cmocka_unit_test(test_overhead_is_small),
        cmocka_unit_test(test_all_kept_is_none),
        cmocka_unit_test(test_which_turns),
        cmocka_unit_test(test_forecast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
