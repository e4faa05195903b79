/* test_loss.c - the loss that a plan estimates of itself, against figures by hand and sums in double. */
#include "kv_bench.h"

#include "sdk/base/dtype.h"

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
    uint8_t *run = malloc(codec->bytes(n, D, D));
    codec->encode(run, n, D, D, 0, n, k, D, v, D);
    codec->decode(run, n, D, D, 0, n, k2, D, v2, D);
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
    return v_off / v_all + 0.3 * k_off / k_all;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_coded),
        cmocka_unit_test(test_unobserved),
        cmocka_unit_test(test_distortion_loses_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
