/* test_hits.c - CacheHitRate (VL-Cache, Def. 3.1) on the default model: of the tokens that held-out decode rows
 * attend to most, how many a scorer keeps; and that evidence which is planted is kept.
 *
 * The prompt and the model's own answer run through one prefill whose query window is the answer: that is what
 * decoding would attend to. The scores come from a prefill of the prompt alone, which never saw the answer. */
#include "harness.h"

#include "kvcompress/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define N_ANSWER 24
#define KEPT     0.1

static const char *const pictures[] = {"kites.png", "many.png", "shapes.png", "signs.png"};

static fvi_kv_obs *observed(harness *h, const fvi_turn *turn, uint32_t window_first,
                            int32_t *answer)
{
    fvi_kv_seq *seq = NULL;
    fvi_kv_obs *obs = NULL;
    uint32_t n = (uint32_t)turn->ids.n;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &h->model->geom, n, FVI_NEED_ALL, &obs),
                     FOVEA_OK);
    fvi_kv_obs_set_spans(obs, turn->spans, turn->n_span);
    obs->window_first = window_first < n ? window_first : obs->window_first;
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h->pool, &h->model->geom, &seq), FOVEA_OK);
    harness_prefill(h, seq, turn, obs);
    for (uint32_t i = 0; answer != NULL && i < N_ANSWER; i++) {
        answer[i] = harness_argmax(h->logits, h->model->config.vocab);
        harness_decode(h, &seq, &answer[i], 1);
    }
    fvi_kv_seq_free(&seq);
    return obs;
}

/* The turn with the answer behind it, as text. */
static void add_answer(fvi_turn *turn, const int32_t *answer)
{
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        assert_int_equal(fvi_ids_append(&turn->ids, answer[i]), FOVEA_OK);
    }
    assert_int_equal(turn->spans[turn->n_span - 1].modality, FOVEA_MODALITY_TEXT);
    turn->spans[turn->n_span - 1].n += N_ANSWER;
}

/* Share of the k tokens with the most `mass` that are among the k best scores, over the first n tokens. */
static double overlap(const float *score, const float *mass, uint32_t n)
{
    uint32_t k = (uint32_t)(KEPT * n), n_hit = 0;
    uint32_t *best = malloc(4 * (size_t)n * sizeof *best),
             *wanted = malloc(4 * (size_t)n * sizeof *wanted);
    fvi_select_sort(score, n, best);
    fvi_select_sort(mass, n, wanted);
    for (uint32_t i = 0; i < k; i++) {
        for (uint32_t j = 0; j < k; j++) {
            n_hit += best[i] == wanted[j];
        }
    }
    free(best);
    free(wanted);
    return (double)n_hit / k;
}

static double hit_rate(const harness *h, const char *scorer, const fvi_turn *turn, uint32_t n,
                       const fvi_kv_obs *prompt, const fvi_kv_obs *whole)
{
    char text[64];
    fvi_recipe recipe;
    fovea_error err;
    snprintf(text, sizeof text, "score=%s,keep=0.1", scorer);
    assert_int_equal(fvi_recipe_parse(text, &recipe, &err), FOVEA_OK);
    const fvi_score_ctx ctx = {.alloc = &fvi_alloc_default,
                               .geom = &h->model->geom,
                               .obs = prompt,
                               .spans = turn->spans,
                               .n_span = turn->n_span,
                               .n_token = n};
    uint32_t n_head = h->model->config.n_kv_head, n_layer = h->model->config.n_layer;
    float *scores = malloc((size_t)n_head * n * sizeof *scores);
    double sum = 0;
    for (uint32_t layer = 0; layer < n_layer; layer++) {
        assert_int_equal(recipe.scorer->score(&ctx, layer, scores), FOVEA_OK);
        for (uint32_t head = 0; head < n_head; head++) {
            const float *mass = whole->plane[FVI_PLANE_WINDOW_MASS] +
                                ((size_t)layer * n_head + head) * whole->n_token;
            sum += overlap(scores + (size_t)head * n, mass, n) / n_head / n_layer;
        }
    }
    free(scores);
    return sum;
}

static void test_hit_rate(void **state)
{
    (void)state;
    char model_dir[512], path[512], name[128];
    harness h;
    double post_vision = 0, accumulated = 0, random = 0;
    harness_path(model_dir, sizeof model_dir, "samples", "model");
    harness_open(&h, model_dir, FOVEA_PRECISION_BF16, 0, 64, (size_t)32 << 20);
    for (uint32_t i = 0; i < FVI_COUNT(pictures); i++) {
        fvi_turn turn = {0};
        int32_t answer[N_ANSWER];
        snprintf(name, sizeof name, "%s", pictures[i]);
        harness_path(path, sizeof path, "samples/images", name);
        const char *const files[] = {path};
        harness_turn(&h, "USER: <image>\nDescribe the image. ASSISTANT:", files, 1, &turn);
        uint32_t n = (uint32_t)turn.ids.n;
        fvi_kv_obs *prompt = observed(&h, &turn, UINT32_MAX, answer);
        fvi_turn with_answer = {0};
        harness_turn(&h, "USER: <image>\nDescribe the image. ASSISTANT:", files, 1, &with_answer);
        add_answer(&with_answer, answer);
        fvi_kv_obs *whole = observed(&h, &with_answer, n, NULL);
        post_vision += hit_rate(&h, "post-vision", &turn, n, prompt, whole) / FVI_COUNT(pictures);
        accumulated += hit_rate(&h, "h2o", &turn, n, prompt, whole) / FVI_COUNT(pictures);
        random += hit_rate(&h, "random", &turn, n, prompt, whole) / FVI_COUNT(pictures);
        fvi_kv_obs_unref(&prompt);
        fvi_kv_obs_unref(&whole);
        fvi_turn_free(&turn);
        fvi_turn_free(&with_answer);
    }
    print_message("hit rate at 10%%: post-vision %.3f, accumulated %.3f, random %.3f\n",
                  post_vision, accumulated, random);
    assert_true(post_vision > accumulated);
    assert_true(accumulated > random);
    assert_true(random > 0.05 && random < 0.15);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hit_rate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
