/* test_loss.c - the loss that a plan estimates of itself, against figures by hand and sums in double. */
#include "kv_bench.h"

#include "kvcompress/distortion.h"
#include "sdk/base/dtype.h"

#include <stdio.h>

#define D 64

/* One layer of two lists; masses [2, n_token]. */
static void set_up(bench *b, uint32_t n_text, uint32_t n_vision, const float *masses)
{
    bench_open(b, 11);
    test_geom_same(&b->g, 1, 2, D, FOVEA_KIND_F16);
    bench_pool(b);
    b->prompt = (test_prompt){.n_span = 0};
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, n_text);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_VISION, n_vision);
    observe(b);
    if (masses != NULL) {
        memcpy(b->obs->plane[FVI_PLANE_WINDOW_MASS], masses,
               2 * (size_t)(n_text + n_vision) * sizeof *masses);
    }
}

static double loss_of(bench *b, const char *recipe)
{
    fvi_kv_plan *plan = plan_of(b, recipe);
    double loss = plan->estimated_loss;
    fvi_kv_plan_free(&plan);
    return loss;
}

static void test_dropped(void **state)
{
    (void)state;
    bench b;
    /* kept: 4 and the first 2; 3 and 4. Dropped: 1 and 2 of squares 25 + 25 */
    static const float masses[] = {1, 2, 4, 2, 3, 4, 0, 0};
    set_up(&b, 1, 3, masses);
    prefill(&b, true);
    assert_float_equal(loss_of(&b, "score=post-vision,keep=0.5,recent=0"), sqrt(5.0 / 50.0), 1e-12);
    /* 4; 4: what is left is 1 + 4 + 4 and 9 */
    assert_float_equal(loss_of(&b, "score=post-vision,keep=0.25,recent=0"), sqrt(18.0 / 50.0),
                       1e-12);
    assert_true(loss_of(&b, "score=post-vision,keep=1") == 0.0);
    assert_true(loss_of(&b, "vision=f16,text=f16") == 0.0);
    bench_close(&b);
}

/* Square of the error of storing vision rows of one head in a kind, all sums in double. */
static double error_square(const fvi_codec *codec, uint32_t n, float *k, float *v)
{
    float *k2 = malloc(n * D * sizeof *k2), *v2 = malloc(n * D * sizeof *v2);
    uint8_t *run = malloc(fvi_codec_bytes(codec, n, D, D));
    fvi_codec_encode(codec, run, n, D, D, 0, n, k, D, v, D);
    fvi_codec_decode(codec, run, n, D, D, 0, n, k2, D, v2, D);
    double k_off = 0, k_all = 0, v_off = 0, v_all = 0;
    for (uint32_t c = 0; c < D; c++) {
        double mean = 0;
        for (uint32_t i = 0; i < n; i++) {
            mean += (double)k[i * D + c] / n;
        }
        for (uint32_t i = 0; i < n; i++) {
            k_off += pow((double)k[i * D + c] - (double)k2[i * D + c], 2);
            k_all += pow((double)k[i * D + c] - mean, 2);
            v_off += pow((double)v[i * D + c] - (double)v2[i * D + c], 2);
            v_all += pow((double)v[i * D + c], 2);
        }
    }
    free(run);
    free(k2);
    free(v2);
    return v_off / v_all + 0.2 * k_off / k_all;
}

static void test_coded(void **state)
{
    (void)state;
    enum { N_TEXT = 3, N_VISION = 20, N = N_TEXT + N_VISION };
    bench b;
    set_up(&b, N_TEXT, N_VISION, NULL);
    rng rows = b.r; /* prefill draws the same numbers */
    prefill(&b, true);
    static float k[2][N_VISION * D], v[2][N_VISION * D];
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t c = 0; c < 4 * D; c++) { /* keys of both heads, then values */
            float x = fvi_f16_to_f32(fvi_f32_to_f16(rng_float(&rows)));
            if (i >= N_TEXT) {
                (c < 2 * D ? k : v)[c / D % 2][(i - N_TEXT) * D + c % D] = x;
            }
        }
    }
    double spoilt = 0, all = 0;
    for (uint32_t list = 0; list < 2; list++) {
        double e2 = error_square(fvi_codec_of(FOVEA_KIND_INT4), N_VISION, k[list], v[list]);
        assert_true(e2 > 0 && e2 < 1);
        for (uint32_t i = 0; i < N; i++) {
            double w = (double)b.obs->plane[FVI_PLANE_WINDOW_MASS][list * N + i];
            spoilt += i >= N_TEXT ? w * w * e2 : 0;
            all += w * w;
        }
    }
    double want = sqrt(spoilt / all);
    assert_true(want > 0.01 && want < 0.5);
    assert_float_equal(loss_of(&b, "vision=int4"), want, 1e-6 * want);
    assert_true(loss_of(&b, "vision=int2") > 2 * want);
    bench_close(&b);
}

static void test_unobserved(void **state)
{
    (void)state;
    bench b;
    set_up(&b, 1, 3, NULL);
    prefill(&b, true);
    fvi_kv_obs_unref(&b.obs);
    assert_true(isnan(loss_of(&b, "random:keep=0.5")));
    assert_true(isnan(loss_of(&b, "vision=int4")));
    assert_true(loss_of(&b, "vision=f16") == 0.0);
    bench_close(&b);
    static const float nothing[8] = {0};
    set_up(&b, 1, 3, nothing); /* a window that looked elsewhere tells nothing */
    prefill(&b, true);
    assert_true(isnan(loss_of(&b, "random:keep=0.5")));
    bench_close(&b);
}

/* The distortion budget minimises what the loss adds up: no other recipe loses less at its bytes. */
static void test_distortion_loses_least(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 5);
    bench_pool(&b);
    shaped_prompt(&b, 1);
    observe(&b);
    prefill(&b, true);
    double own = loss_of(&b, "score=post-vision,budget=distortion,bytes=20%");
    assert_true(own > 0 && own < loss_of(&b, "score=post-vision,bytes=20%"));
    assert_true(own < loss_of(&b, "score=post-vision,bytes=20%,vision=int4"));
    assert_true(own < loss_of(&b, "score=post-vision,bytes=20%,vision=int2-chan"));
    assert_true(loss_of(&b, "random:bytes=20%") > loss_of(&b, "score=post-vision,bytes=20%"));
    bench_close(&b);
}

static double estimate(const bench *b, const fvi_kv_plan *plan, const fvi_distortion *measured)
{
    double loss = -1;
    assert_int_equal(fvi_loss_estimate(b->seq, 0, b->g.geom.n_layer, b->obs, plan, measured,
                                       plan->merging.modality, &loss),
                     FOVEA_OK);
    return loss;
}

/* How many vision tokens lie from one kept one to the next, rounded. */
static uint32_t stride_of(const fvi_kv_plan *plan)
{
    double n_vision = 0, n_kept = 0;
    for (uint32_t list = 0; list < plan->n_list; list++) {
        for (uint32_t t = 0; t < plan->n_token; t++) {
            bool is_vision = plan->merging.modality[t] == FOVEA_MODALITY_VISION;
            n_vision += is_vision;
            n_kept += is_vision && is_kept(plan, list, t);
        }
    }
    return (uint32_t)floor(n_vision / fmax(n_kept, 1) + 0.5);
}

/* Every kept token is off by a half. */
static double half_off(const bench *b, const fvi_kv_plan *plan)
{
    double spoilt = 0, all = 0;
    for (size_t i = 0; i < (size_t)plan->n_list * plan->n_token; i++) {
        double w = (double)b->obs->plane[FVI_PLANE_WINDOW_MASS][i];
        spoilt += w * w * (plan->kind[i] == FVI_KV_DROP ? 1 : 0.25);
        all += w * w;
    }
    return sqrt(spoilt / all);
}

/* What a budget measured to choose kinds by is not measured again, and tells to the bit what measuring again
 * would; but not where it was sampled at other distances. */
static void test_measured_once(void **state)
{
    (void)state;
    uint32_t n_stride[4] = {0};
    for (uint32_t percent = 2; percent < 60; percent += percent / 4 + 1) {
        bench b;
        char recipe[64];
        bench_open(&b, percent);
        bench_pool(&b);
        shaped_prompt(&b, 2);
        observe(&b);
        prefill(&b, true);
        snprintf(recipe, sizeof recipe, "score=post-vision,budget=distortion,bytes=%u%%", percent);
        fvi_kv_plan *plan = plan_of(&b, recipe);
        double errors[16 * FOVEA_N_KIND], again = estimate(&b, plan, &(fvi_distortion){NULL, 0});
        assert_memory_equal(&plan->estimated_loss, &again, sizeof again);
        for (uint32_t i = 0; i < FVI_COUNT(errors); i++) {
            errors[i] = 0.5;
        }
        uint32_t stride = stride_of(plan);
        for (uint32_t s = 1; s < stride + 3; s++) {
            double planted = estimate(&b, plan, &(fvi_distortion){errors, s});
            assert_float_equal(planted, s == stride ? half_off(&b, plan) : again, 1e-12);
        }
        n_stride[FVI_MIN(stride, 3)]++;
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    assert_true(n_stride[1] > 1 && n_stride[2] > 0 && n_stride[3] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropped),       cmocka_unit_test(test_coded),
        cmocka_unit_test(test_unobserved),    cmocka_unit_test(test_distortion_loses_least),
        cmocka_unit_test(test_measured_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
