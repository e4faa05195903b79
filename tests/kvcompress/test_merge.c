/* test_merge.c - what evicted tokens leave behind: every merger against figures worked out by hand, what is
 * conserved, which tokens may change. */
#include "merge_test.h"

static void put(few *f, uint32_t token, uint8_t kind, float k0, float k1, float v)
{
    f->kind[token] = kind;
    f->work.k[token * f->list.dk] = k0;
    f->work.k[token * f->list.dk + 1] = k1;
    f->work.v[token * f->list.dv] = v;
}

static void expect(const few *f, uint32_t token, double k0, double k1, double v)
{
    assert_true(fabs(f->work.k[token * f->list.dk] - k0) < 1e-5 * (1 + fabs(k0)));
    assert_true(fabs(f->work.k[token * f->list.dk + 1] - k1) < 1e-5 * (1 + fabs(k1)));
    assert_true(fabs(f->work.v[token * f->list.dv] - v) < 1e-5 * (1 + fabs(v)));
}

/* Tokens 1 and 3 point where 0 and 2 do; 4 stands between them, and goes to the lower position. */
static void five_tokens(few *f, const char *merger)
{
    few_open(f, merger, 5, 2, 1);
    put(f, 0, KEEP, 1, 0, 1);
    put(f, 1, DROP, 2, 0, 10);
    put(f, 2, KEEP, 0, 1, 100);
    put(f, 3, DROP, 0, 3, 1000);
    put(f, 4, DROP, 1, 1, 10000);
    assert_int_equal(fvi_merge_has_work(&f->merging, &f->list), strcmp(merger, "drop") != 0);
    fvi_merge_rows(&f->merging, &f->list, &f->work);
    expect(f, 1, 2, 0, 10);
    expect(f, 3, 0, 3, 1000);
    expect(f, 4, 1, 1, 10000);
}

static void test_by_hand(void **state)
{
    (void)state;
    few f;
    five_tokens(&f, "drop");
    expect(&f, 0, 1, 0, 1);
    expect(&f, 2, 0, 1, 100);
    few_close(&f);
    five_tokens(&f, "average");
    expect(&f, 0, 4.0 / 3, 1.0 / 3, 10011.0 / 3);
    expect(&f, 2, 0, 2, 550);
    few_close(&f);
    five_tokens(&f, "pivot"); /* (2 k + (k1 + k4) / 2) / 3 and 3/4 k2 + 1/4 k3 */
    expect(&f, 0, 3.5 / 3, 0.5 / 3, (2 + 5005) / 3.0);
    expect(&f, 2, 0, 1.5, 325);
    few_close(&f);
    double s = sqrt(0.5);
    five_tokens(&f, "weighted");
    expect(&f, 0, (3 + s) / (2 + s), s / (2 + s), (11 + 10000 * s) / (2 + s));
    expect(&f, 2, 0, 2, 550);
    few_close(&f);
    five_tokens(&f, "d2o"); /* mean cosine 0.902: 1 and 3 resemble enough */
    expect(&f, 0, 1.5, 0, 5.5);
    expect(&f, 2, 0, 2, 550);
    few_close(&f);
}

/* A kept key along x, and evicted ones with the cosines given. */
static void along_x(few *f, const char *merger, uint32_t n, const double *cosine)
{
    few_open(f, merger, n + 1, 2, 1);
    put(f, 0, KEEP, 2, 0, 0);
    for (uint32_t i = 0; i < n; i++) {
        put(f, i + 1, DROP, (float)(3 * cosine[i]), (float)(3 * sqrt(1 - cosine[i] * cosine[i])),
            1);
    }
    fvi_merge_rows(&f->merging, &f->list, &f->work);
}

static void test_weights(void **state)
{
    (void)state;
    few f;
    double two[] = {0.6, 0.8}, w = exp(0.8), e = exp(1.0);
    along_x(&f, "d2o", 2, two); /* 0.6 is below the mean, 0.7 */
    expect(&f, 0, (2 * e + 2.4 * w) / (e + w), 1.8 * w / (e + w), w / (e + w));
    few_close(&f);
    along_x(&f, "weighted", 2, two);
    expect(&f, 0, (2 + 0.6 * 1.8 + 0.8 * 2.4) / 2.4, (0.6 * 2.4 + 0.8 * 1.8) / 2.4, 1.4 / 2.4);
    few_close(&f);
    double away[] = {-0.8, -0.8};
    along_x(&f, "weighted", 2, away); /* counts for nothing */
    expect(&f, 0, 2, 0, 0);
    few_close(&f);
}

/* 64 tokens of cosine 0.6 set the threshold to 0.6; the next three move it to 0.7 * 0.66 + 0.3 * 0.6 =
 * 0.642, so 0.62 is dropped, 0.65 is not. */
static void test_d2o_threshold_moves(void **state)
{
    (void)state;
    few f;
    double cosine[67];
    for (uint32_t i = 0; i < 64; i++) {
        cosine[i] = 0.6;
    }
    cosine[64] = 0.62;
    cosine[65] = 0.65;
    cosine[66] = 0.71;
    along_x(&f, "d2o", 67, cosine);
    double w = 64 * exp(0.6) + exp(0.65) + exp(0.71);
    assert_true(fabs(f.work.v[0] - w / (w + exp(1.0))) < 1e-5);
    few_close(&f);
}

static void test_cam_by_hand(void **state)
{
    (void)state;
    few f;
    few_open(&f, "cam", 6, 2, 1);
    const float mass[] = {3, 0, 2, 1, 0.5f, 9};
    memcpy(f.mass, mass, sizeof mass);
    put(&f, 0, DROP, 1, 0, 8);    /* 3 > mean of 2 and 1: its value goes to 2 and 3 */
    put(&f, 1, DROP, 1, 0, 1000); /* nobody looks at it */
    put(&f, 2, KEEP, 0, 1, 1);
    put(&f, 3, KEEP, 0, 1, 2);
    put(&f, 4, DROP, 0, 1, 50); /* behind the last kept one */
    put(&f, 5, DROP, 0, 1, 70);
    fvi_merge_rows(&f.merging, &f.list, &f.work);
    expect(&f, 2, 0, 1, 5);
    expect(&f, 3, 0, 1, 6);
    few_close(&f);
    few_open(&f, "cam", 41, 2, 1); /* 40 kept ones behind: the next 32 get it */
    for (uint32_t i = 0; i < 41; i++) {
        f.mass[i] = 1;
        put(&f, i, i == 0 ? DROP : KEEP, 1, 1, i == 0 ? 32 : 7);
    }
    fvi_merge_rows(&f.merging, &f.list, &f.work);
    for (uint32_t i = 1; i < 41; i++) {
        expect(&f, i, 1, 1, i <= 32 ? 8 : 7);
    }
    few_close(&f);
    few_open(&f, "cam", 2, 2, 1); /* held within f16 */
    f.mass[0] = 1;
    put(&f, 0, DROP, 1, 1, -60000);
    put(&f, 1, KEEP, 1, 1, -60000);
    fvi_merge_rows(&f.merging, &f.list, &f.work);
    expect(&f, 1, 1, 1, -65504);
    few_close(&f);
}

/* On average over seeds the attention's output keeps what the evicted token gave to it: the sum of
 * a_j (v_j' - v_j) is a_e v_e. */
static void test_cam_in_the_mean(void **state)
{
    (void)state;
    const uint32_t n_seed = 20000;
    uint32_t n_in = 0;
    double gain = 0;
    few f;
    few_open(&f, "cam", 4, 2, 1);
    const float mass[] = {0.3f, 0.8f, 1, 1.2f};
    memcpy(f.mass, mass, sizeof mass);
    for (uint32_t seed = 0; seed < n_seed; seed++) {
        for (uint32_t i = 0; i < 4; i++) {
            put(&f, i, i == 0 ? DROP : KEEP, 1, 0, i == 0 ? 6 : 0);
        }
        f.merging.seed = seed;
        fvi_merge_rows(&f.merging, &f.list, &f.work);
        n_in += f.work.v[1] > 0;
        for (uint32_t i = 1; i < 4; i++) {
            assert_true(f.work.v[i] == f.work.v[1]);
            gain += mass[i] * f.work.v[i];
        }
    }
    double share = (double)n_in / n_seed; /* deviation 0.0032 */
    print_message("cam: merged in %.4f of the seeds, gain %.4f\n", share, gain / n_seed);
    assert_true(fabs(share - 0.3) < 0.015);
    assert_true(fabs(gain / n_seed - 0.3 * 6) < 0.09);
    few_close(&f);
}

/* ---- random lists ---- */

static void random_list(few *f, const char *merger, rng *r)
{
    uint32_t n = 2 + rng_below(r, 300);
    few_open(f, merger, n, 2 + rng_below(r, 40), 2 + rng_below(r, 40));
    f->merging.merger[FOVEA_MODALITY_TEXT] = merger_of(merger);
    f->merging.seed = rng_next(r);
    for (uint32_t t = 0; t < n; t++) {
        f->modality[t] = (uint8_t)rng_below(r, 2);
        f->kind[t] = rng_below(r, 4) == 0 ? KEEP : DROP;
        f->always[t] = f->kind[t] == KEEP && rng_below(r, 5) == 0 ? 1 : 0;
        f->mass[t] = fabsf(rng_float(r));
    }
    for (uint32_t c = 0; c < n * f->list.dk; c++) {
        f->work.k[c] = 4 * rng_float(r);
    }
    for (uint32_t c = 0; c < n * f->list.dv; c++) {
        f->work.v[c] = c % f->list.dv == 0 ? 1 : rng_float(r); /* the first one counts weights */
    }
}

/* With average: the sum over kept rows, each as often as what it stands for, is the sum of all rows. */
static void check_sums(const few *f, const float *k, const uint32_t *stands_for)
{
    for (uint32_t c = 0; c < f->list.dk; c++) {
        double want = 0, got = 0;
        for (uint32_t t = 0; t < f->list.n_token; t++) {
            bool counts = f->kind[t] != DROP || nearest_of(f, k, t) < f->list.n_token;
            want += counts ? k[t * f->list.dk + c] : 0;
            got += f->kind[t] != DROP ? (double)stands_for[t] * f->work.k[t * f->list.dk + c] : 0;
        }
        assert_true(fabs(want - got) < 1e-3);
    }
}

static void test_mass_is_conserved(void **state)
{
    (void)state;
    static float k[MAX_TOKEN * 64], v[MAX_TOKEN * 64];
    rng r = {.state = 77};
    for (uint32_t round = 0; round < 300; round++) {
        const fvi_merger *merger = fvi_merger_at(round % 6);
        few f;
        random_list(&f, merger->name, &r);
        uint32_t n = f.list.n_token, dk = f.list.dk, dv = f.list.dv, stands_for[MAX_TOKEN];
        memcpy(k, f.work.k, n * dk * sizeof *k);
        memcpy(v, f.work.v, n * dv * sizeof *v);
        fvi_merge_rows(&f.merging, &f.list, &f.work);
        for (uint32_t t = 0; t < n; t++) {
            stands_for[t] = 1;
        }
        for (uint32_t t = 0; t < n; t++) {
            uint32_t to = f.kind[t] == DROP ? nearest_of(&f, k, t) : n;
            stands_for[to < n ? to : t] += to < n;
        }
        for (uint32_t t = 0; t < n; t++) {
            bool may_change = f.kind[t] != DROP && f.always[t] == 0 && stands_for[t] > 1;
            if (!may_change || merger->spread != NULL || !fvi_merger_folds(merger)) {
                assert_memory_equal(f.work.k + t * dk, k + t * dk, dk * sizeof *k);
            }
            if (f.kind[t] == DROP || f.always[t] != 0 || !fvi_merger_folds(merger)) {
                assert_memory_equal(f.work.v + t * dv, v + t * dv, dv * sizeof *v);
            }
            for (uint32_t c = 0; c < dk; c++) {
                assert_true(isfinite(f.work.k[t * dk + c]) &&
                            fabsf(f.work.k[t * dk + c]) <= 4.0001f);
            }
            if (merger->weigh != NULL) { /* weights sum to 1 */
                assert_true(fabsf(f.work.v[t * dv] - 1) < 1e-5f);
            }
        }
        if (strcmp(merger->name, "average") == 0) {
            check_sums(&f, k, stands_for);
        }
        few_close(&f);
    }
}

/* Evicted vision tokens whose keys are those of kept text: nothing of them gets there. */
static void test_modalities_do_not_mix(void **state)
{
    (void)state;
    for (uint32_t i = 1; fvi_merger_at(i) != NULL; i++) {
        few f;
        few_open(&f, fvi_merger_at(i)->name, 6, 2, 1);
        f.merging.merger[FOVEA_MODALITY_TEXT] = fvi_merger_at(i);
        for (uint32_t t = 0; t < 6; t++) {
            f.mass[t] = t % 2 == 0 ? 2 : 1;
            f.modality[t] = t % 2 == 0 ? FOVEA_MODALITY_VISION : FOVEA_MODALITY_TEXT;
        }
        put(&f, 0, DROP, 1, 0, 100);
        put(&f, 1, KEEP, 1, 0, 1);
        put(&f, 2, DROP, 1, 0, 100);
        put(&f, 3, KEEP, 1, 0, 1);
        put(&f, 4, KEEP, 0.1f, 1, 1);
        put(&f, 5, KEEP, 1, 0, 1);
        fvi_merge_rows(&f.merging, &f.list, &f.work);
        expect(&f, 1, 1, 0, 1);
        expect(&f, 3, 1, 0, 1);
        expect(&f, 5, 1, 0, 1);
        assert_true(f.work.v[4] > 1); /* they went to the one vision token, far as its key is */
        f.kind[4] = DROP;
        assert_false(fvi_merge_has_work(&f.merging, &f.list)); /* and to none where there is none */
        few_close(&f);
    }
}

/* Keys without length, and equal ones: the lowest position. */
static void test_ties(void **state)
{
    (void)state;
    few f;
    few_open(&f, "average", 40, 2, 1);
    for (uint32_t i = 0; i < 40; i++) {
        put(&f, i, KEEP, i < 3 ? 0 : 2, i < 3 ? 1 : 2, 0);
    }
    put(&f, 38, DROP, 5, 5, 10); /* 3 .. 37 are alike, in blocks of 16 */
    put(&f, 39, DROP, 0, 0, 10);
    fvi_merge_rows(&f.merging, &f.list, &f.work);
    assert_true(f.work.v[3] == 5);
    assert_true(f.work.v[0] == 5);
    for (uint32_t i = 1; i < 38; i++) {
        assert_true(i == 3 || f.work.v[i] == 0);
    }
    few_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_d2o_threshold_moves),
        cmocka_unit_test(test_cam_by_hand),
        cmocka_unit_test(test_cam_in_the_mean),
        cmocka_unit_test(test_mass_is_conserved),
        cmocka_unit_test(test_modalities_do_not_mix),
        cmocka_unit_test(test_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
