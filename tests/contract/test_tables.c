/* test_tables.c - walks scorers.def, budgets.def, codecs.def and mergers.def: what every entry owes, whatever
 * it is. revisers.def is walked by test_revisers.c.
 *
 * Shapes are random (scene.h). An entry is given exactly the observations that it says it needs, and outputs
 * stand between guards. A new line in a table is tested by being there. */
#include "scene.h"

#include "tests/kvcompress/fit_run.h"

#define GUARD 16

#define FVI_SCORER(name) extern const fvi_scorer fvi_scorer_##name;
#include "kvcompress/scorers.def"
#undef FVI_SCORER
#define FVI_BUDGET(name) extern const fvi_budget fvi_budget_##name;
#include "kvcompress/budgets.def"
#undef FVI_BUDGET

static const fvi_scorer *const scorers[] = {
#define FVI_SCORER(name) &fvi_scorer_##name,
#include "kvcompress/scorers.def"
#undef FVI_SCORER
};

static const fvi_budget *const budgets[] = {
#define FVI_BUDGET(name) &fvi_budget_##name,
#include "kvcompress/budgets.def"
#undef FVI_BUDGET
};

static fvi_score_ctx score_ctx(const scene *s, const fvi_kv_obs *obs)
{
    return (fvi_score_ctx){.alloc = &fvi_alloc_default,
                           .geom = &s->g.geom,
                           .obs = obs,
                           .spans = s->prompt.spans,
                           .n_span = s->prompt.n_span,
                           .n_token = s->prompt.n_token,
                           .seed = 42};
}

static void test_scorers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FVI_COUNT(scorers); i++) {
        assert_string_equal(fovea_recipe_name("scores", i), scorers[i]->name);
        for (uint32_t round = 0; round < 40; round++) {
            scene s;
            random_scene(&s, 100 * i + round + 1);
            fvi_kv_obs *obs = scorers[i]->needs != 0 ? observations(&s, scorers[i]->needs) : NULL;
            const fvi_score_ctx ctx = score_ctx(&s, obs);
            for (uint32_t layer = s.g.geom.n_layer; layer-- > 0;) { /* any order of layers */
                size_t n = (size_t)s.g.layers[layer].n_kv_head * s.prompt.n_token;
                float *out = malloc((n + 2 * GUARD) * sizeof *out),
                      *again = malloc(n * sizeof *out);
                for (size_t j = 0; j < n + 2 * GUARD; j++) {
                    out[j] = NAN;
                }
                assert_int_equal(scorers[i]->score(&ctx, layer, out + GUARD), FOVEA_OK);
                assert_int_equal(scorers[i]->score(&ctx, layer, again), FOVEA_OK);
                assert_memory_equal(out + GUARD, again, n * sizeof *out);
                for (size_t j = 0; j < GUARD; j++) {
                    assert_true(isnan(out[j]) && isnan(out[GUARD + n + j]));
                }
                for (size_t j = 0; j < n; j++) {
                    assert_true(isfinite(out[GUARD + j]));
                }
                free(out);
                free(again);
            }
            fvi_kv_obs_unref(&obs);
        }
    }
}

static void test_budgets(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < FVI_COUNT(budgets); i++) {
        assert_string_equal(fovea_recipe_name("budgets", i), budgets[i]->name);
        assert_true((budgets[i]->weigh != NULL) != (budgets[i]->choose != NULL));
        if (budgets[i]->weigh == NULL) {
            continue; /* walked by test_every_combination */
        }
        for (uint32_t round = 0; round < 100; round++) {
            scene s;
            random_scene(&s, 7000 + 100 * i + round);
            fvi_kv_obs *obs = budgets[i]->needs != 0 ? observations(&s, budgets[i]->needs) : NULL;
            size_t n_slot = (size_t)s.n_list * s.prompt.n_token;
            float *scores = calloc(n_slot, sizeof *scores);
            for (size_t j = 0; j < n_slot; j++) {
                scores[j] = rng_float(&s.r);
            }
            double weights[64];
            const fvi_budget_ctx ctx = {.alloc = &fvi_alloc_default,
                                        .geom = &s.g.geom,
                                        .obs = obs,
                                        .scores = scores,
                                        .n_token = s.prompt.n_token,
                                        .n_candidate = s.prompt.n_token,
                                        .min_list = 1,
                                        .total =
                                            s.n_list + rng_next(&s.r) % (n_slot - s.n_list + 1)};
            for (uint32_t j = 0; j < FVI_COUNT(weights); j++) {
                weights[j] = -77;
            }
            assert_int_equal(budgets[i]->weigh(&ctx, weights), FOVEA_OK);
            double sum = 0;
            for (uint32_t j = 0; j < s.n_list; j++) {
                assert_true(weights[j] >= 0 && isfinite(weights[j]));
                sum += weights[j];
            }
            assert_true(sum > 0);
            for (uint32_t j = s.n_list; j < FVI_COUNT(weights); j++) {
                assert_true(weights[j] == -77);
            }
            free(scores);
            fvi_kv_obs_unref(&obs);
        }
    }
}

/* A bound on the error of numbers from -1 to 1; a rotated row reaches further. */
static float off_by(const fvi_codec *codec)
{
    uint32_t bits = codec->pca.bits_of_16 > 0 ? 4 : codec->codes.bits; /* short runs */
    float levels = bits == 0 ? 1024 : (float)((1u << bits) - 1);
    return (codec->codes.rotated ? 6.0f : 1.01f) / levels;
}

static void test_codecs(void **state)
{
    (void)state;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        assert_string_equal(fovea_recipe_name("kinds", i), codec->name);
        assert_ptr_equal(fvi_codec_of(codec->kind), codec);
        rng r = {.state = 50 + i};
        for (uint32_t round = 0; round < 60; round++) {
            uint32_t n = 1 + rng_below(&r, round % 10 == 0 ? MOST_TOKEN : 60);
            uint32_t dk = 32 + rng_below(&r, 225), dv = 32 + rng_below(&r, 225);
            uint32_t k_stride = dk + rng_below(&r, 9), v_stride = dv + rng_below(&r, 9);
            size_t n_bytes = fvi_codec_bytes(codec, n, dk, dv);
            assert_true(
                fvi_codec_bytes(codec, n + 1, dk, dv) > n_bytes ||
                (codec->fit_rows != NULL && fvi_codec_bytes(codec, n + 1, dk, dv) == n_bytes));
            uint8_t *run = malloc(n_bytes + 2 * GUARD);
            float *k = malloc((size_t)n * k_stride * sizeof *k),
                  *k2 = malloc((size_t)n * k_stride * sizeof *k);
            float *v = malloc((size_t)n * v_stride * sizeof *v),
                  *v2 = malloc((size_t)n * v_stride * sizeof *v);
            for (size_t j = 0; j < (size_t)n * k_stride; j++) {
                k[j] = 5 * rng_float(&r);
                k2[j] = -99;
            }
            for (size_t j = 0; j < (size_t)n * v_stride; j++) {
                v[j] = rng_float(&r);
                v2[j] = -99;
            }
            memset(run, 0x5a, n_bytes + 2 * GUARD);
            store_run(codec, run + GUARD, n, dk, dv, n, k, k_stride, v, v_stride,
                      n % 2 == 0 ? 10000 : 0, NULL);
            for (size_t j = 0; j < GUARD; j++) {
                assert_true(run[j] == 0x5a && run[GUARD + n_bytes + j] == 0x5a);
            }
            fvi_codec_decode(codec, run + GUARD, n, dk, dv, 0, n, k2, k_stride, v2, v_stride);
            /* what a fit loses depends on the rows: test_pca */
            float bound = fvi_codec_fit_rows(codec, n, dk, dv, 0) > 0 ? 8.0f : off_by(codec);
            for (size_t j = 0; j < (size_t)n * k_stride; j++) {
                bool inside = j % k_stride < dk;
                assert_true(inside ? fabsf(k2[j] - k[j]) < 5 * bound : k2[j] == -99);
            }
            for (size_t j = 0; j < (size_t)n * v_stride; j++) {
                bool inside = j % v_stride < dv;
                assert_true(inside ? fabsf(v2[j] - v[j]) < bound : v2[j] == -99);
            }
            /* a row alone is stored as it is in company */
            uint32_t row = rng_below(&r, n);
            uint8_t *alone = malloc(fvi_codec_bytes(codec, 1, dk, dv));
            float *k3 = malloc(dk * sizeof *k3), *v3 = malloc(dv * sizeof *v3);
            fvi_codec_encode(codec, alone, 1, dk, dv, 0, 1, k + (size_t)row * k_stride, k_stride,
                             v + (size_t)row * v_stride, v_stride);
            fvi_codec_decode(codec, alone, 1, dk, dv, 0, 1, k3, dk, v3, dv);
            bool groups = fvi_codec_encode_rows(codec, n, dk, dv, 0) > 0;
            if (!groups && fvi_codec_fit_rows(codec, n, dk, dv, 0) == 0) {
                assert_memory_equal(k3, k2 + (size_t)row * k_stride, dk * sizeof *k3);
                assert_memory_equal(v3, v2 + (size_t)row * v_stride, dv * sizeof *v3);
            }
            free(k3);
            free(v3);
            free(alone);
            free(run);
            free(k);
            free(k2);
            free(v);
            free(v2);
        }
    }
}

/* Which rows of a list are kept, evicted, never changed. */
static void random_fate(rng *r, uint32_t n, uint8_t *kind, uint8_t *modality, uint8_t *always)
{
    uint32_t one_in = 1 + rng_below(r, 12), one_sort = rng_below(r, 4);
    for (uint32_t t = 0; t < n; t++) {
        kind[t] = rng_below(r, one_in) == 0 ? FOVEA_KIND_F16 : FVI_KV_DROP;
        modality[t] = one_sort < 2 ? (uint8_t)one_sort : (uint8_t)rng_below(r, 2);
        always[t] = kind[t] != FVI_KV_DROP && rng_below(r, 6) == 0 ? 1 : 0;
    }
}

/* Finite rows, the same every time; evicted rows, and those that always stay, keep their bits. */
static void test_mergers(void **state)
{
    (void)state;
    for (uint32_t i = 0; fvi_merger_at(i) != NULL; i++) {
        const fvi_merger *merger = fvi_merger_at(i);
        assert_string_equal(fovea_recipe_name("mergers", i), merger->name);
        assert_true(merger->weigh == NULL || merger->spread == NULL);
        assert_int_equal(merger->needs & ~(uint32_t)FVI_NEED_WINDOW_MASS, 0);
        for (uint32_t round = 0; round < 40; round++) {
            scene s;
            random_scene(&s, 30000 + 100 * i + round);
            uint32_t n = s.prompt.n_token, d = s.g.layers[0].dk;
            fvi_kv_obs *obs = observations(&s, merger->needs);
            uint8_t *fate = malloc((size_t)3 * n);
            random_fate(&s.r, n, fate, fate + n, fate + 2 * n);
            fvi_merging merging = {.merger = {merger, merger},
                                   .seed = round,
                                   .obs = obs,
                                   .modality = fate + n,
                                   .always = fate + 2 * n};
            fvi_merge_list list = {
                .list = s.n_list - 1, .n_token = n, .dk = d, .dv = d, .kind = fate};
            size_t n_bytes = fvi_merge_work_bytes(&s.g.geom, n);
            float *rows = malloc((size_t)2 * n * d * sizeof *rows);
            for (size_t j = 0; j < (size_t)2 * n * d; j++) {
                rows[j] = round % 8 == 0 ? 0 : 300 * rng_float(&s.r);
            }
            fvi_merge_work work[2];
            uint8_t *memory[2];
            for (uint32_t j = 0; j < 2; j++) {
                memory[j] = fvi_alloc(&fvi_alloc_default, n_bytes + GUARD);
                memset(memory[j], j == 0 ? 0x5a : 0xa5, n_bytes + GUARD);
                work[j] = fvi_merge_work_in(memory[j], n, d, d);
                memcpy(work[j].k, rows, (size_t)n * d * sizeof *rows);
                memcpy(work[j].v, rows + (size_t)n * d, (size_t)n * d * sizeof *rows);
                fvi_merge_rows(&merging, &list, &work[j]);
                assert_true(memory[j][n_bytes] == (j == 0 ? 0x5a : 0xa5));
            }
            assert_memory_equal(work[0].k, work[1].k, (size_t)n * d * sizeof *rows);
            assert_memory_equal(work[0].v, work[1].v, (size_t)n * d * sizeof *rows);
            for (size_t j = 0; j < (size_t)n * d; j++) {
                bool stays = fate[j / d] == FVI_KV_DROP || fate[2 * n + j / d] != 0;
                assert_true(isfinite(work[0].k[j]) && isfinite(work[0].v[j]));
                assert_true(!stays ||
                            (work[0].k[j] == rows[j] && work[0].v[j] == rows[(size_t)n * d + j]));
            }
            fvi_free(&fvi_alloc_default, memory[0]);
            fvi_free(&fvi_alloc_default, memory[1]);
            free(rows);
            free(fate);
            fvi_kv_obs_unref(&obs);
        }
    }
}

/* One scorer, one budget, one kind for each modality: made, applied and counted. */
static void run_recipe(scene *s, const fvi_scorer *scorer, const fvi_budget *budget,
                       const char *vision, const char *text)
{
    char recipe_text[FOVEA_RECIPE_MAX_BYTES];
    bool chooses = budget->choose != NULL; /* kinds too, and only under bytes= */
    bool by_bytes = rng_below(&s->r, 2) == 0 || chooses;
    int n = snprintf(recipe_text, sizeof recipe_text, "score=%s,budget=%s,%s=%s%u%s", scorer->name,
                     budget->name, by_bytes ? "bytes" : "keep", by_bytes ? "" : "0.",
                     10 + rng_below(&s->r, 80), by_bytes ? "%" : "");
    if (!chooses) {
        n += snprintf(recipe_text + n, sizeof recipe_text - (size_t)n, ",vision=%s,text=%s", vision,
                      text);
    }
    /* half of them: not said; the longest, where merging takes seconds, have it in test_mergers alone */
    const fvi_merger *merger = fvi_merger_at(rng_below(&s->r, 12));
    if (merger != NULL && s->prompt.n_token < MOST_TOKEN) {
        snprintf(recipe_text + n, sizeof recipe_text - (size_t)n, ",merge=%s", merger->name);
    }
    const fvi_recipe recipe = recipe_of(recipe_text);
    fovea_error err = {.text = ""};
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL;
    open_turn(s, false, 8, &pool, &seq);
    uint32_t needs = fvi_kv_plan_needs(seq, &recipe);
    fvi_kv_obs *obs = needs != 0 ? observations(s, needs) : NULL;
    fvi_kv_plan *plan = NULL;
    fovea_status status = fvi_kv_plan_make(seq, &recipe, obs, &plan, &err);
    if (status == FOVEA_OK) {
        assert_int_equal(fvi_kv_plan_apply(seq, plan), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(seq, &ledger);
        assert_int_equal(ledger.realised_bytes, plan->n_bytes);
        assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, fvi_kv_pool_used(pool));
        for (uint32_t layer = 0; layer < s->g.geom.n_layer; layer++) {
            const fvi_list_view *lists = fvi_kv_seq_lists(seq, layer);
            for (uint32_t head = 0; head < s->g.layers[layer].n_kv_head; head++) {
                assert_true(lists[head].n_token >= 1);
            }
        }
    } else if (status != FOVEA_ERR_BUDGET || !by_bytes) {
        fail_msg("%s on %u tokens: %s", recipe_text, s->prompt.n_token, err.text);
    }
    fvi_kv_plan_free(&plan);
    fvi_kv_obs_unref(&obs);
    fvi_kv_seq_free(&seq);
    assert_int_equal(fvi_kv_pool_used(pool), 0);
    fvi_kv_pool_free(&pool);
}

static void test_every_combination(void **state)
{
    (void)state;
    uint64_t seed = 90001;
    for (uint32_t i = 0; i < FVI_COUNT(scorers); i++) {
        for (uint32_t j = 0; j < FVI_COUNT(budgets); j++) {
            for (uint32_t k = 0; fvi_codec_at(k) != NULL; k++) {
                /* a budget that chooses kinds is told none: as many scenes as there are kinds will do */
                uint32_t n_other = budgets[j]->choose != NULL ? 1 : UINT32_MAX;
                for (uint32_t l = 0; l < n_other && fvi_codec_at(l) != NULL; l++) {
                    /* what is fitted is refused for text (test_recipe), and does not care what text lies in */
                    bool fitted = fvi_codec_at(k)->fit_rows != NULL;
                    if (fvi_codec_at(l)->fit_rows != NULL || (fitted && l != (i + j + k) % 4)) {
                        continue;
                    }
                    scene s;
                    random_scene(&s, seed++);
                    if (fvi_codec_at(k)->kind == FOVEA_KIND_F32 ||
                        fvi_codec_at(l)->kind == FOVEA_KIND_F32) {
                        s.g.geom.base = FOVEA_KIND_F32;
                    }
                    run_recipe(&s, scorers[i], budgets[j], fvi_codec_at(k)->name,
                               fvi_codec_at(l)->name);
                }
            }
        }
    }
}

/* test_tables [PATTERN]: only the tests of that name, * and ? as usual. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scorers),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_codecs),
        cmocka_unit_test(test_mergers),
        cmocka_unit_test(test_every_combination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
