/* test_scorers.c - every scorer against its formula written out in double precision, on random planes; and
 * that what a scorer chose at the end of the prefill stays as it is while tokens are generated. */
#include "kv_bench.h"

#include <stdio.h>

#define MAX_TOKEN 160

static void observe_needs(bench *b, uint32_t needs)
{
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &b->g.geom, b->prompt.n_token, needs, &b->obs),
        FOVEA_OK);
    fvi_kv_obs_set_spans(b->obs, b->prompt.spans, b->prompt.n_span);
    for (uint32_t plane = 0; plane < FVI_N_PLANE; plane++) {
        for (size_t i = 0;
             b->obs->plane[plane] != NULL && i < (size_t)b->obs->n_list * b->obs->n_token; i++) {
            b->obs->plane[plane][i] = expf(4 * rng_float(&b->r));
        }
    }
}

static void open_scene(bench *b, uint64_t seed, uint32_t needs)
{
    bench_open(b, seed);
    test_geom_random(&b->g, &b->r);
    test_prompt_random(&b->prompt, &b->r, 20, 40);
    assert_true(b->prompt.n_token <= MAX_TOKEN);
    observe_needs(b, needs);
}

static double plane_at(const bench *b, uint32_t plane, uint32_t list, uint32_t t)
{
    return (double)b->obs->plane[plane][(size_t)list * b->obs->n_token + t];
}

/* The formula of one scorer: what the token of a list is worth. */
typedef double formula(const bench *b, uint32_t list, uint32_t t);

static double neighbours(const bench *b, uint32_t t, uint32_t *from)
{
    const fvi_kv_span *span = b->prompt.spans;
    while (t >= span->first + span->n) {
        span++;
    }
    uint32_t end = FVI_MIN(t + 4, span->first + span->n);
    *from = t - FVI_MIN(3, t - span->first);
    return end - *from;
}

static double naive_snapkv(const bench *b, uint32_t list, uint32_t t)
{
    uint32_t from;
    double n = neighbours(b, t, &from), sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += plane_at(b, FVI_PLANE_RECENT_MASS, list, from + i);
    }
    return sum / n;
}

static double naive_snapkv_max(const bench *b, uint32_t list, uint32_t t)
{
    uint32_t from;
    double n = neighbours(b, t, &from), most = 0;
    for (uint32_t i = 0; i < n; i++) {
        most = fmax(most, plane_at(b, FVI_PLANE_RECENT_MASS, list, from + i));
    }
    return most;
}

static double naive_cake(const bench *b, uint32_t list, uint32_t t)
{
    uint32_t from;
    double n = neighbours(b, t, &from), sum = 0, rows = FVI_MIN(b->prompt.n_token, 32);
    for (uint32_t i = from; i < from + n; i++) {
        double mean = plane_at(b, FVI_PLANE_RECENT_MASS, list, i) / rows;
        sum += mean +
               200 * fmax(0, plane_at(b, FVI_PLANE_RECENT_SQUARE, list, i) / rows - mean * mean);
    }
    return sum / n;
}

static double naive_post_vision(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_WINDOW_MASS, list, t);
}

static double naive_h2o(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_TEXT_MASS, list, t) + plane_at(b, FVI_PLANE_VISION_MASS, list, t);
}

static double naive_text_prior(const bench *b, uint32_t list, uint32_t t)
{
    const fvi_kv_span *span = b->prompt.spans;
    double most = 0;
    for (uint32_t i = 0; i < b->prompt.n_token; i++) {
        most = fmax(most, naive_h2o(b, list, i));
    }
    while (t >= span->first + span->n) {
        span++;
    }
    return naive_h2o(b, list, t) + (span->modality == FOVEA_MODALITY_TEXT ? most : 0);
}

static double naive_decayed(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_DECAYED_MASS, list, t);
}

static double naive_tova(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_LAST_MASS, list, t);
}

static double naive_knorm(const bench *b, uint32_t list, uint32_t t)
{
    return -plane_at(b, FVI_PLANE_KEY_NORM, list, t);
}

static double naive_keydiff(const bench *b, uint32_t list, uint32_t t)
{
    return -plane_at(b, FVI_PLANE_KEY_LIKENESS, list, t);
}

static double naive_value(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_WINDOW_MASS, list, t) * plane_at(b, FVI_PLANE_VALUE_NORM, list, t);
}

static double naive_expected(const bench *b, uint32_t list, uint32_t t)
{
    return plane_at(b, FVI_PLANE_EXPECTED_MASS, list, t) *
           plane_at(b, FVI_PLANE_VALUE_NORM, list, t);
}

static double naive_streaming(const bench *b, uint32_t list, uint32_t t)
{
    (void)b;
    (void)list;
    return t;
}

static void score_layers(const bench *b, const fvi_scorer *scorer, float *out)
{
    const fvi_score_ctx ctx = {.alloc = &fvi_alloc_default,
                               .geom = &b->g.geom,
                               .obs = b->obs,
                               .spans = b->prompt.spans,
                               .n_span = b->prompt.n_span,
                               .n_token = b->prompt.n_token};
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        assert_int_equal(scorer->score(&ctx, layer, out), FOVEA_OK);
        out += b->g.layers[layer].n_kv_head * b->prompt.n_token;
    }
}

static void test_formulas(void **state)
{
    (void)state;
    static const struct scorer_case {
        const char *name;
        formula *naive;
    } cases[] = {
        {"post-vision", naive_post_vision},
        {"snapkv", naive_snapkv},
        {"snapkv-max", naive_snapkv_max},
        {"cake", naive_cake},
        {"h2o", naive_h2o},
        {"text-prior", naive_text_prior},
        {"decayed", naive_decayed},
        {"tova", naive_tova},
        {"knorm", naive_knorm},
        {"keydiff", naive_keydiff},
        {"value", naive_value},
        {"expected", naive_expected},
        {"streaming", naive_streaming},
    };
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        char text[64];
        snprintf(text, sizeof text, "score=%s,keep=0.5", cases[i].name);
        fvi_recipe recipe = recipe_of(text);
        for (uint32_t round = 0; round < 20; round++) {
            static float scores[16 * MAX_TOKEN];
            bench b;
            open_scene(&b, 10 * i + round + 1, recipe.scorer->needs);
            score_layers(&b, recipe.scorer, scores);
            for (uint32_t list = 0; list < fvi_kv_geom_n_list(&b.g.geom); list++) {
                for (uint32_t t = 0; t < b.prompt.n_token; t++) {
                    double want = cases[i].naive(&b, list, t);
                    double got = (double)scores[(size_t)list * b.prompt.n_token + t];
                    if (!(fabs(got - want) <= 1e-5 * fabs(want))) {
                        fail_msg("%s list %u token %u: %g, want %g", cases[i].name, list, t, got,
                                 want);
                    }
                }
            }
            bench_close(&b);
        }
    }
}

/* CriticalKV: by turns, what is left with the most attention and what is left with the largest bound. */
static void test_critical(void **state)
{
    (void)state;
    fvi_recipe recipe = recipe_of("criticalkv:keep=0.5");
    for (uint32_t round = 0; round < 20; round++) {
        static float scores[16 * MAX_TOKEN];
        bench b;
        open_scene(&b, 400 + round, recipe.scorer->needs);
        score_layers(&b, recipe.scorer, scores);
        uint32_t n = b.prompt.n_token;
        for (uint32_t list = 0; list < fvi_kv_geom_n_list(&b.g.geom); list++) {
            bool taken[MAX_TOKEN] = {false};
            for (uint32_t place = 0; place < n; place++) {
                uint32_t next = n;
                double most = 0;
                for (uint32_t t = 0; t < n; t++) {
                    double mass = plane_at(&b, FVI_PLANE_WINDOW_MASS, list, t);
                    double bound = (mass + 1e-4) * plane_at(&b, FVI_PLANE_VALUE_BOUND, list, t);
                    double worth = place % 2 == 0 ? mass : bound;
                    if (!taken[t] && worth > most) {
                        next = t;
                        most = worth;
                    }
                }
                taken[next] = true;
                assert_true(scores[(size_t)list * n + next] == (float)(n - place));
            }
        }
        bench_close(&b);
    }
}

/* FastGen on three heads made by hand: one that looks at the end, one at text, one at the picture. */
static void test_fastgen(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 1);
    test_geom_same(&b.g, 1, 3, 16, FOVEA_KIND_F16);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 20);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 60);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 20);
    fvi_recipe recipe = recipe_of("fastgen:keep=0.5");
    observe_needs(&b, recipe.scorer->needs);
    float *mass = b.obs->plane[FVI_PLANE_WINDOW_MASS];
    for (uint32_t t = 0; t < 100; t++) {
        bool text = t < 20 || t >= 80;
        mass[t] = t < 4 || t >= 70 ? 10.0f + (float)(t % 7) : 0.1f;
        mass[100 + t] = text ? 10.0f + (float)(t % 7) : 0.1f;
        mass[200 + t] = 1.0f + (float)(t * 37 % 100);
    }
    float scores[300];
    score_layers(&b, recipe.scorer, scores);
    double sum = 0, total = 0;
    for (uint32_t t = 0; t < 100; t++) {
        sum += scores[t];
        total += mass[t];
        for (uint32_t u = 0; u < 100; u++) {
            if (t >= 4 && u > t) {
                assert_true(scores[u] > scores[t]); /* a stream: the later the better.. */
            }
            if (t < 4 && u >= 4) {
                assert_true(scores[t] > scores[u]); /* ..and the first ones before all */
            }
            bool text = t < 20 || t >= 80, other = u < 20 || u >= 80;
            assert_true(!text || other || scores[100 + t] > scores[100 + u]);
        }
        assert_true(scores[200 + t] == mass[200 + t]);
    }
    assert_true(fabs(sum - total) < 1e-3 * total);
    bench_close(&b);
}

/* Static selection: one interface, a kept set that is fixed after the prefill. */
static void test_fixed_after_prefill(void **state)
{
    (void)state;
    for (uint32_t i = 0; fovea_recipe_name("scores", i) != NULL; i++) {
        char text[64];
        snprintf(text, sizeof text, "score=%s,keep=0.3", fovea_recipe_name("scores", i));
        fvi_recipe recipe = recipe_of(text);
        bench b;
        bench_open(&b, 60 + i);
        test_geom_same(&b.g, 2, 2, 16, FOVEA_KIND_F16);
        bench_pool(&b);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 10);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 80);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 10);
        prefill(&b, true);
        observe_needs(&b, recipe.scorer->needs | recipe.budget->needs);
        fvi_kv_plan *plan = plan_of(&b, text);
        assert_int_equal(plan->n_slot, 120);
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fvi_kv_plan_free(&plan);
        float rows[64] = {0}, before[2][2][30 * 32], after[2 * 32];
        for (uint32_t step = 0; step <= 50; step++) {
            for (uint32_t layer = 0; layer < 2; layer++) {
                const fvi_list_view *lists = fvi_kv_seq_lists(b.seq, layer);
                for (uint32_t head = 0; head < 2;
                     head++) { /* the prompt's rows come first in a list */
                    const fvi_run_view *run = lists[head].runs;
                    assert_int_equal(lists[head].n_token, 30 + step);
                    for (uint32_t at = 0; at < 30;) {
                        for (uint32_t row = 0; row < run->n_token && at < 30; row++, at++) {
                            fvi_codec_decode(run->codec, run->data, run->capacity, 16, 16, row, 1,
                                             after, 16, after + 16, 16);
                            if (step == 0) {
                                memcpy(&before[layer][head][at * 32], after, 32 * sizeof *after);
                            }
                            assert_memory_equal(&before[layer][head][at * 32], after,
                                                32 * sizeof *after);
                        }
                        run++;
                    }
                }
            }
            for (uint32_t layer = 0; layer < 2; layer++) {
                assert_int_equal(fvi_kv_seq_append(b.seq, layer, rows, rows + 32), FOVEA_OK);
            }
            assert_int_equal(fvi_kv_seq_commit(b.seq), FOVEA_OK);
        }
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, 120);
        bench_close(&b);
    }
}

/* What a picture's last rows look at is worth more, where a prompt ends with the picture as behind a question. */
static void test_fovea_looks(void **state)
{
    (void)state;
    for (uint32_t n_question = 0; n_question <= 8; n_question += 8) {
        bench b;
        bench_open(&b, 1);
        test_geom_same(&b.g, 1, 1, 16, FOVEA_KIND_F16);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 4);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 60);
        if (n_question > 0) {
            test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, n_question);
        }
        fvi_recipe recipe = recipe_of("fovea:bytes=10%");
        observe_needs(&b, recipe.scorer->needs);
        uint32_t n = b.prompt.n_token, n_row = n - b.obs->window_first;
        float before[72], after[72];
        score_layers(&b, recipe.scorer, before);
        b.obs->plane[FVI_PLANE_WINDOW_MASS][30] += (float)n_row; /* all that its rows have */
        score_layers(&b, recipe.scorer, after);
        for (uint32_t t = 0; t < n; t++) {
            float more = t == 30 ? 0.2f : 0.0f; /* NOW */
            assert_true(fabsf(after[t] - before[t] - more) < 1e-5f);
        }
        bench_close(&b);
    }
}

/* Mean score of tokens first..first+n-1 of a list of the first layer, at a share of the bytes. */
static double mean_score(const bench *b, const fvi_scorer *scorer, double share, uint32_t list,
                         uint32_t first, uint32_t n)
{
    const fvi_score_ctx ctx = {.alloc = &fvi_alloc_default,
                               .geom = &b->g.geom,
                               .obs = b->obs,
                               .spans = b->prompt.spans,
                               .n_span = b->prompt.n_span,
                               .n_token = b->prompt.n_token,
                               .share = share};
    float scores[2 * 96];
    double sum = 0.0;
    assert_int_equal(scorer->score(&ctx, 0, scores), FOVEA_OK);
    for (uint32_t t = first; t < first + n; t++) {
        sum += (double)scores[list * b->prompt.n_token + t] / n;
    }
    return sum;
}

/* Where bytes are scarce the picture that the last row looks at is worth more in every list, all of it, with the tile
 * that it does not look at; lists that look anywhere in particular count for more. Where bytes are not scarce, or without
 * a question, pictures are worth the same. */
static void test_fovea_shares(void **state)
{
    (void)state;
    for (uint32_t n_question = 0; n_question <= 8; n_question += 8) {
        bench b;
        bench_open(&b, 1);
        test_geom_same(&b.g, 2, 2, 16, FOVEA_KIND_F16);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 4);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 20);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 2);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 20);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 40);
        b.prompt.spans[4].image = 1;
        if (n_question > 0) {
            test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, n_question);
        }
        const fvi_scorer *scorer = recipe_of("fovea:bytes=5%").scorer;
        observe_needs(&b, scorer->needs);
        uint32_t n = b.prompt.n_token;
        float *last = b.obs->plane[FVI_PLANE_LAST_MASS];
        memset(b.obs->plane[FVI_PLANE_WINDOW_MASS], 0, 4 * (size_t)n * sizeof(float));
        memset(last, 0, 4 * (size_t)n * sizeof *last);
        last[30] = last[60] = 0.1f; /* the layer that is scored looks at both pictures */
        last[2 * n + 30] = 0.9f;    /* the other one at the second tile of the first */
        double of_other = 80.0 / 40 * (0.01 / (0.01 + 0.01 + 0.81));
        double even = mean_score(&b, scorer, 0.1, 0, 46, 40);
        assert_true(fabs(mean_score(&b, scorer, 1.0, 0, 4, 20) / even - 1) < 0.2);
        assert_true(fabs(mean_score(&b, scorer, 1.0, 1, 4, 20) / even - 1) < 0.2);
        const double shares[] = {0.07071068, 0.05, 0.025, 0.001};
        const double focus[] = {0.225, 0.45, 0.9, 0.9};
        for (uint32_t i = 0; i < FVI_COUNT(shares); i++) {
            double f = n_question > 0 ? focus[i] : 0.0;
            double asked = mean_score(&b, scorer, shares[i], 0, 4, 20) / even;
            double other = mean_score(&b, scorer, shares[i], 0, 46, 40) / even;
            assert_true(fabs(other - (1 - f + f * of_other)) < 1e-3);
            assert_true(fabs(asked - (1 + f - f * of_other)) < 0.3);
        }
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fovea_looks), cmocka_unit_test(test_fovea_shares),
        cmocka_unit_test(test_formulas),    cmocka_unit_test(test_critical),
        cmocka_unit_test(test_fastgen),     cmocka_unit_test(test_fixed_after_prefill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
