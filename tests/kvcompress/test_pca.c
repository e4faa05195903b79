/* test_pca.c - runs by principal components (sdk/ops/pca.h, row_fit.c, codec_pca.c): what they keep, what they
 * cost, and what a recipe makes of them. Directions are worked out again here in double, by Jacobi's rotations. */
#include "tests/kvcompress/fit_run.h"
#include "tests/kvcompress/kv_bench.h"

#include "kvcompress/codecs.h"
#include "sdk/ops/pca.h"
#include "sdk/ops/rope_rows.h"

#include <math.h>

#define D       64
#define MOST    600
#define N_SWEEP 30
#define N_PLAN  12
#define BASE    10000.0f

static float k[MOST * D], v[MOST * D], k2[MOST * D], v2[MOST * D];
static uint8_t run[MOST * D * 4 + 65536], other[MOST * D * 4 + 65536];

static float normal(rng *r)
{
    float sum = 0;
    for (uint32_t i = 0; i < 12; i++) {
        sum += rng_float(r);
    }
    return sum / 2;
}

/* Rows about `mean` in `rank` random directions, the i-th with standard deviation size / (i + 1). */
static void rows_of_rank(rng *r, float *x, uint32_t n, uint32_t rank, float size, float mean)
{
    static float axes[D * D];
    for (uint32_t i = 0; i < rank * D; i++) {
        axes[i] = normal(r) / sqrtf(D);
    }
    for (uint32_t t = 0; t < n; t++, x += D) {
        for (uint32_t c = 0; c < D; c++) {
            x[c] = mean * (float)(c % 7);
        }
        for (uint32_t i = 0; i < rank; i++) {
            float along = size / (float)(i + 1) * normal(r);
            for (uint32_t c = 0; c < D; c++) {
                x[c] += along * axes[i * D + c];
            }
        }
    }
}

/* Squared error over the squared distance to the mean. */
static double lost(const float *x, const float *y, uint32_t n)
{
    double error = 0, spread = 0;
    for (uint32_t c = 0; c < D; c++) {
        double mean = 0;
        for (uint32_t t = 0; t < n; t++) {
            mean += (double)x[t * D + c] / n;
        }
        for (uint32_t t = 0; t < n; t++) {
            double a = (double)x[t * D + c], b = (double)y[t * D + c];
            error += (a - b) * (a - b);
            spread += (a - mean) * (a - mean);
        }
    }
    return error / spread;
}

/* Eigenvalues of the covariance of rows, falling, by cyclic Jacobi rotations. */
static void variances(const float *x, uint32_t n, double *out)
{
    static double a[D][D];
    double mean[D] = {0};
    for (uint32_t i = 0; i < n * D; i++) {
        mean[i % D] += (double)x[i] / n;
    }
    memset(a, 0, sizeof a);
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t i = 0; i < D * D; i++) {
            a[i / D][i % D] += ((double)x[t * D + i / D] - mean[i / D]) *
                               ((double)x[t * D + i % D] - mean[i % D]) / n;
        }
    }
    for (uint32_t turn = 0; turn < N_SWEEP * D * D; turn++) {
        uint32_t p = turn % (D * D) / D, q = turn % D;
        if (p >= q || fabs(a[p][q]) < 1e-300) {
            continue;
        }
        double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
        double c = 1 / sqrt(t * t + 1), s = t * c;
        for (uint32_t i = 0; i < D; i++) {
            double x0 = a[i][p], x1 = a[i][q];
            a[i][p] = c * x0 - s * x1;
            a[i][q] = s * x0 + c * x1;
        }
        for (uint32_t i = 0; i < D; i++) {
            double x0 = a[p][i], x1 = a[q][i];
            a[p][i] = c * x0 - s * x1;
            a[q][i] = s * x0 + c * x1;
        }
    }
    for (uint32_t i = 0; i < D; i++) {
        uint32_t at = i;
        for (; at > 0 && out[at - 1] < a[i][i]; at--) {
            out[at] = out[at - 1];
        }
        out[at] = a[i][i];
    }
}

static void store(const fvi_codec *codec, uint32_t n)
{
    store_run(codec, run, n, D, D, n, k, D, v, D, 0, NULL);
    fvi_codec_decode(codec, run, n, D, D, 0, n, k2, D, v2, D);
}

/* The variance along each direction is that of the rows; directions are orthonormal; ranges hold all rows. */
static void test_fit(void **state)
{
    (void)state;
    rng r = {.state = 1};
    rows_of_rank(&r, k, 300, 40, 3, 5);
    rows_of_rank(&r, v, 300, 5, 1, 0);
    fvi_row_fit fit;
    void *memory = malloc(fvi_row_fit_bytes(D, D));
    fvi_row_fit_in(&fit, memory, D, D);
    fvi_row_fit_add(&fit, 123, k, D, v, D);
    fvi_row_fit_add(&fit, 177, k + 123 * D, D, v + 123 * D, D);
    fvi_row_fit_solve(&fit);
    fvi_row_fit_span(&fit, 300, k, D, v, D);
    for (uint32_t side = 0; side < 2; side++) {
        const fvi_row_axes *axes = &fit.side[side];
        const float *x = side == 0 ? k : v;
        double want[D];
        variances(x, 300, want);
        for (uint32_t i = 0; i < D; i++) {
            assert_true(fabs((double)axes->variance[i] - want[i]) < 1e-4 * want[0]);
            double low = 0, high = 0;
            for (uint32_t t = 0; t < 300; t++) {
                double along = 0;
                for (uint32_t c = 0; c < D; c++) {
                    along += ((double)x[t * D + c] - (double)axes->mean[c]) *
                             (double)axes->axis[i * D + c];
                }
                low = fmin(low, along);
                high = fmax(high, along);
            }
            assert_true(fabs(low - (double)axes->low[i]) < 1e-3 &&
                        fabs(high - (double)axes->high[i]) < 1e-3);
            for (uint32_t j = 0; j < D; j++) {
                double dot = 0;
                for (uint32_t c = 0; c < D; c++) {
                    dot += (double)axes->axis[i * D + c] * (double)axes->axis[j * D + c];
                }
                assert_true(fabs(dot - (i == j)) < 1e-4);
            }
        }
    }
    free(memory);
}

/* Rows of few directions come back; with fewer bits less of them does; never less than codes of the best
 * directions alone would leave. */
static void test_what_is_kept(void **state)
{
    (void)state;
    rng r = {.state = 2};
    static const fovea_kind kinds[] = {FOVEA_KIND_PCA_32, FOVEA_KIND_PCA_16, FOVEA_KIND_PCA_12,
                                       FOVEA_KIND_PCA_8,  FOVEA_KIND_PCA_6,  FOVEA_KIND_PCA_4};
    rows_of_rank(&r, k, 256, 3, 3, 5);
    rows_of_rank(&r, v, 256, 2, 1, 1);
    for (uint32_t i = 0; i < FVI_COUNT(kinds); i++) { /* directions have 8 bits in two of them */
        store(fvi_codec_of(kinds[i]), 256);
        assert_true(lost(k, k2, 256) < (i < 2 ? 1e-3 : 0.04) &&
                    lost(v, v2, 256) < (i < 2 ? 1e-3 : 0.04));
    }
    rows_of_rank(&r, k, 256, 48, 3, 5);
    rows_of_rank(&r, v, 256, 48, 3, 0);
    double before = 0, want[D], all = 0;
    variances(k, 256, want);
    for (uint32_t i = 0; i < D; i++) {
        all += want[i];
    }
    for (uint32_t i = 0; i < FVI_COUNT(kinds); i++) {
        const fvi_codec *codec = fvi_codec_of(kinds[i]);
        fvi_pca_layout at = fvi_pca_layout_of(&codec->pca, 256, D, D);
        store(codec, 256);
        fvi_pca_side keys = fvi_pca_side_of(&at, run, 256, false);
        double kept = 0, error = lost(k, k2, 256);
        for (uint32_t c = 0; c < keys.n_all; c++) {
            kept += want[c];
        }
        assert_true(error > 1 - kept / all - 1e-6); /* the optimum of that many directions */
        assert_true(error < 1 - kept / all + 0.12);
        assert_true(error > before);
        before = error;
    }
}

/* Bytes by hand, and that short runs are rows of int4. */
static void test_bytes(void **state)
{
    (void)state;
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_PCA_8), *int4 = fvi_codec_of(FOVEA_KIND_INT4);
    /* 128 channels: 24 directions of 64 nibbles, 64 bits a row */
    size_t head = 16 + 2 * 128 + 24 * 6 + 24 * 32;
    assert_int_equal(fvi_codec_bytes(codec, 256, D, D),
                     head + 2 * 256 / 8 + 256 / 16 * (64 / 2 * 4));
    assert_int_equal(fvi_codec_bytes(codec, 253, D, D), fvi_codec_bytes(codec, 256, D, D));
    assert_int_equal(fvi_codec_bytes(codec, 512, D, D), 2 * fvi_codec_bytes(codec, 256, D, D));
    for (uint32_t n = 1; n <= 18; n++) {
        size_t fitted = head + (n + 3) / 4 + (n + 15) / 16 * 128;
        assert_int_equal(fvi_codec_bytes(codec, n, D, D),
                         FVI_MIN(fvi_codec_bytes(int4, n, D, D), fitted));
    }
    assert_int_equal(fvi_codec_bytes(codec, 300, 600, 600), fvi_codec_bytes(int4, 300, 600, 600));
    rng r = {.state = 3};
    rows_of_rank(&r, k, 9, 9, 1, 1);
    rows_of_rank(&r, v, 9, 9, 1, 1);
    store_run(codec, run, 9, D, D, 9, k, D, v, D, 0, NULL);
    memset(other, 0, sizeof other);
    fvi_codec_encode(int4, other, 9, D, D, 0, 9, k, D, v, D);
    assert_memory_equal(run, other, fvi_codec_bytes(int4, 9, D, D));
}

/* Two pictures that have nothing in common are fitted apart. */
static void test_parts(void **state)
{
    (void)state;
    rng r = {.state = 4};
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_PCA_6);
    rows_of_rank(&r, k, 256, 5, 3, 1);
    rows_of_rank(&r, k + 256 * D, 256, 5, 3, -2);
    rows_of_rank(&r, v, 256, 4, 1, 1);
    rows_of_rank(&r, v + 256 * D, 256, 4, 1, 0);
    store(codec, 512);
    double both = lost(k, k2, 512);
    assert_true(both < 0.02 && lost(v, v2, 512) < 0.03);
    /* each half is what it would be alone */
    store_run(codec, other, 256, D, D, 256, k + 256 * D, D, v + 256 * D, D, 0, NULL);
    assert_memory_equal(run + fvi_codec_bytes(codec, 256, D, D), other,
                        fvi_codec_bytes(codec, 256, D, D));
    assert_int_equal(fvi_codec_fit_rows(codec, 512, D, D, 0), 256);
    assert_int_equal(fvi_codec_fit_rows(codec, 512, D, D, 256), 256);
    assert_int_equal(fvi_codec_fit_rows(codec, 383, D, D, 0), 383);
    assert_int_equal(fvi_codec_fit_rows(codec, 384, D, D, 0), 192);
}

/* Turns rows by their positions as a model does, in double. */
static void turn(float *x, uint32_t n, const uint32_t *at)
{
    for (uint32_t t = 0; t < n; t++, x += D) {
        for (uint32_t i = 0; i < D / 2; i++) {
            double angle = at[t] * pow((double)BASE, -2.0 * i / D);
            double a = (double)x[i], b = (double)x[i + D / 2];
            x[i] = (float)(a * cos(angle) - b * sin(angle));
            x[i + D / 2] = (float)(b * cos(angle) + a * sin(angle));
        }
    }
}

/* Angles are those of the product, and a row that is turned there and back is what it was. */
static void test_angles(void **state)
{
    (void)state;
    float frequency[D / 2], cosine[D / 2], sine[D / 2], row[D], was[D];
    fvi_rope_frequencies(BASE, D, frequency);
    for (uint32_t position = 0; position < 2 * FVI_FIT_ROWS; position++) {
        fvi_rope_angles(frequency, D / 2, position, cosine, sine);
        for (uint32_t i = 0; i < D / 2; i++) {
            assert_true(fabs((double)frequency[i] / pow((double)BASE, -2.0 * i / D) - 1) < 1e-5);
            double x = (double)((float)position * frequency[i]);
            assert_true(fabs(cos(x) - (double)cosine[i]) < 3e-7 &&
                        fabs(sin(x) - (double)sine[i]) < 3e-7);
        }
        for (uint32_t c = 0; c < D; c++) {
            row[c] = was[c] = (float)(c * position % 17);
        }
        fvi_rope_row(row, D / 2, cosine, sine);
        assert_true(position == 0 || memcmp(row, was, sizeof row) != 0);
        fvi_rope_row_back(row, D / 2, cosine, sine);
        for (uint32_t c = 0; c < D; c++) {
            assert_true(fabsf(row[c] - was[c]) < 1e-4f);
        }
    }
}

/* Keys of few directions come back though their positions have turned them, which they do not where nothing is known
 * of that. Read in one or one by one they are the same. */
static void test_turned(void **state)
{
    (void)state;
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_PCA_16);
    rng r = {.state = 6};
    uint32_t at[MOST], n = 256;
    rows_of_rank(&r, k, n, 5, 3, 1);
    rows_of_rank(&r, v, n, 4, 1, 1);
    for (uint32_t t = 0; t < n; t++) { /* with a gap in the middle */
        at[t] = 1000 + (t < n / 2 ? t : n / 2 + t);
    }
    turn(k, n, at);
    store(codec, n);
    assert_true(lost(k, k2, n) > 5e-3);
    fvi_row_fit fit;
    void *memory = malloc(fvi_row_fit_bytes(D, D));
    fvi_row_fit_in(&fit, memory, D, D);
    fvi_row_fit_turn(&fit, BASE, n, at);
    fvi_row_fit_add(&fit, 100, k, D, v, D);
    fvi_row_fit_add(&fit, n - 100, k + 100 * D, D, v + 100 * D, D);
    fvi_row_fit_solve(&fit);
    fvi_row_fit_span(&fit, 7, k, D, v, D);
    fvi_row_fit_span(&fit, n - 7, k + 7 * D, D, v + 7 * D, D);
    fvi_codec_settle(codec, &fit, run, n, D, D, 0);
    fvi_codec_encode(codec, run, n, D, D, 0, 130, k, D, v, D);
    fvi_codec_encode(codec, run, n, D, D, 130, n - 130, k + 130 * D, D, v + 130 * D, D);
    fvi_codec_decode(codec, run, n, D, D, 0, n, k2, D, v2, D);
    assert_true(lost(k, k2, n) < 1e-4 && lost(v, v2, n) < 1e-4);
    for (uint32_t t = 0; t < n; t++) {
        float row[D];
        fvi_codec_decode(codec, run, n, D, D, t, 1, row, D, NULL, 0);
        assert_memory_equal(row, k2 + t * D, sizeof row);
    }
    free(memory);
}

/* Places are the distances where they will do, and rise by less than those where they will not; never beyond what
 * a run has bits for. */
static void test_places(void **state)
{
    (void)state;
    rng r = {.state = 7};
    void *memory = malloc(fvi_row_fit_bytes(D, D));
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t at[FVI_FIT_ROWS], n = 1 + rng_below(&r, FVI_FIT_ROWS),
                                   gap = 1 + rng_below(&r, 1 + round);
        at[0] = rng_below(&r, 100000);
        for (uint32_t i = 1; i < n; i++) {
            at[i] = at[i - 1] + 1 + (rng_below(&r, 4) == 0 ? rng_below(&r, gap) : 0);
        }
        fvi_row_fit fit;
        fvi_row_fit_in(&fit, memory, D, D);
        fvi_row_fit_turn(&fit, BASE, n, at);
        bool near = at[n - 1] - at[0] < 2 * n;
        assert_int_equal(fit.n_place, n);
        assert_int_equal(fit.place[0], 0);
        assert_true(fit.place[n - 1] < 2 * n);
        for (uint32_t i = 1; i < n; i++) {
            uint32_t step = at[i] - at[i - 1], own = (uint32_t)(fit.place[i] - fit.place[i - 1]);
            assert_true(near ? own == step : own >= 1 && own <= step);
        }
    }
    free(memory);
}

/* A turn of one list with these rows. */
static void prefill_rows(bench *b)
{
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b->pool, &b->g.geom, &b->seq), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(b->seq, b->prompt.spans, b->prompt.n_span, 1), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_open_layer(b->seq, 0), FOVEA_OK);
    fvi_kv_seq_write(b->seq, 0, 0, b->prompt.n_token, k, D, v, D);
    fvi_kv_seq_end_turn(b->seq);
}

/* The list's rows in a kind, read into k2 and v2; returns how many. */
static uint32_t read_kind(const bench *b, fovea_kind kind)
{
    const fvi_list_view *list = fvi_kv_seq_lists(b->seq, 0);
    for (uint32_t i = 0; i < list->n_run; i++) {
        const fvi_run_view *at = &list->runs[i];
        if (at->codec->kind == kind) {
            fvi_codec_decode(at->codec, at->data, at->capacity, D, D, 0, at->n_token, k2, D, v2, D);
            return at->n_token;
        }
    }
    return 0;
}

/* A plan knows by which positions the keys of its tokens were turned, whatever it leaves out and however many
 * portions they are written in. */
static void test_turned_plan(void **state)
{
    (void)state;
    double error[2];
    uint32_t at[MOST];
    for (uint32_t t = 0; t < MOST; t++) {
        at[t] = t;
    }
    for (uint32_t known = 0; known < 2; known++) {
        bench b;
        bench_open(&b, 90);
        test_geom_same(&b.g, 1, 1, D, FOVEA_KIND_F16);
        b.g.geom.rope_base = known != 0 ? BASE : 0;
        bench_pool(&b);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 9);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 580); /* two parts */
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 4);
        observe(&b);
        uint32_t n = b.prompt.n_token;
        rng r = {.state = 8};
        rows_of_rank(&r, k, n, 5, 3, 1);
        rows_of_rank(&r, v, n, 4, 1, 1);
        turn(k, n, at);
        prefill_rows(&b);
        fvi_kv_plan *plan = plan_of(&b, "random:vision=pca-16,text.keep=1,vision.keep=0.95");
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        uint32_t n_read = read_kind(&b, FOVEA_KIND_PCA_16), n_kept = 0;
        for (uint32_t t = 0; t < n; t++) {
            if (plan->kind[t] == FOVEA_KIND_PCA_16) {
                memmove(k + n_kept++ * D, k + t * D, D * sizeof *k);
            }
        }
        assert_int_equal(n_kept, n_read);
        error[known] = lost(k, k2, n_kept);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    assert_true(error[1] < 1e-4 && error[0] > 5e-3);
}

/* What is the same in all rows is kept in f16; what is not a number does no harm. */
static void test_extremes(void **state)
{
    (void)state;
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_PCA_4);
    for (uint32_t i = 0; i < 100 * D; i++) {
        k[i] = (float)(i % D) * 0.25f;
        v[i] = -3.0f;
    }
    store(codec, 100);
    assert_memory_equal(k, k2, 100 * D * sizeof(float));
    assert_memory_equal(v, v2, 100 * D * sizeof(float));
    static const float bad[] = {INFINITY, -INFINITY, NAN, 3e38f, 1e-40f, 65504};
    for (uint32_t i = 0; i < FVI_COUNT(bad); i++) {
        rng r = {.state = 5 + i};
        rows_of_rank(&r, k, 100, 8, 1, 1);
        rows_of_rank(&r, v, 100, 8, 1, 1);
        k[17 * D + 3] = bad[i];
        v[99 * D + 63] = bad[i];
        store(codec, 100);
        for (uint32_t j = 0; j < 100 * D; j++) {
            assert_true(isfinite(k2[j]) && isfinite(v2[j]));
        }
    }
}

/* A plan seals vision tokens so, text beside them as it was; what is held is what was said. */
static void test_plans(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < N_PLAN; round++) {
        bench b;
        bench_open(&b, 70 + round);
        test_geom_same(&b.g, 2, 1 + round % 2, D, FOVEA_KIND_F16);
        bench_pool(&b);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 3);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 200 + 40 * round);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 4);
        observe(&b);
        prefill(&b, true);
        fvi_kv_plan *plan = plan_of(&b, round % 2 == 0 ? "vl-cache:bytes=12%,vision=pca-8"
                                                       : "random:vision=pca-16,keep=0.7");
        size_t said = plan->n_bytes;
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        assert_int_equal(ledger.realised_bytes, said);
        assert_true(ledger.kind_bytes[round % 2 == 0 ? FOVEA_KIND_PCA_8 : FOVEA_KIND_PCA_16] > 0);
        assert_true(ledger.kept_vision_slots > 0);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* Directions have length 1, and of a row nothing is left that its last component could have told: what the inexact
 * directions before it did is coded too. */
static void test_mends(void **state)
{
    (void)state;
    rng r = {.state = 21};
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_PCA_12); /* 4 bits a channel of a direction */
    const uint32_t n = 256;
    rows_of_rank(&r, k, n, 40, 3, 5);
    rows_of_rank(&r, v, n, 40, 3, 0);
    store(codec, n);
    fvi_pca_layout at = fvi_pca_layout_of(&codec->pca, n, D, D);
    for (uint32_t values = 0; values < 2; values++) {
        const float *x = values ? v : k, *y = values ? v2 : k2;
        fvi_pca_side side = fvi_pca_side_of(&at, run, n, values != 0);
        float axis[D];
        for (uint32_t nth = 0; nth < side.n_all; nth++) {
            double square = 0;
            fvi_pca_direction(&codec->pca, &at, run, side.first + nth, D, axis);
            for (uint32_t c = 0; c < D; c++) {
                square += (double)axis[c] * (double)axis[c];
            }
            assert_true(fabs(square - 1) < 2e-3);
        }
        const uint8_t *scales = run + at.scales + (size_t)(side.first + side.n_all - 1) * 6;
        double half_step = (double)fvi_pca_f16(scales + 2) / 2;
        uint32_t n_within = 0; /* but for rows beyond the range of the exact direction */
        for (uint32_t t = 0; t < n; t++) {
            double left = 0;
            for (uint32_t c = 0; c < D; c++) {
                left += (double)(x[t * D + c] - y[t * D + c]) * (double)axis[c];
            }
            n_within += fabs(left) < half_step * 1.01;
        }
        assert_true(n_within >= n - 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit),      cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_bytes),    cmocka_unit_test(test_parts),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_plans),
        cmocka_unit_test(test_angles),   cmocka_unit_test(test_turned),
        cmocka_unit_test(test_places),   cmocka_unit_test(test_turned_plan),
        cmocka_unit_test(test_mends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
