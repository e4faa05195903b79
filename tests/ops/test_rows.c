/* test_rows.c - norms, activations and rotation against double precision, at odd sizes and for values
 * small, usual and large; in place; a row has the same bits in any company. */
#include "tests/ops/ops_test.h"

static const uint32_t widths[] = {1, 2, 15, 16, 17, 64, 100, 896, 1031};
static const float sizes[] = {1.0f, 1e-6f, 30.0f, 1e18f};

enum { M = 37 };

static void check_norm(const fvi_norm_args *a, const float *got, bool layer)
{
    for (uint32_t row = 0; row < a->m; row++) {
        const float *x = a->x + row * a->x_stride;
        double mean = 0, square = 0;
        for (uint32_t i = 0; layer && i < a->d; i++) {
            mean += (double)x[i] / a->d;
        }
        for (uint32_t i = 0; i < a->d; i++) {
            square += (x[i] - mean) * (x[i] - mean) / a->d;
        }
        for (uint32_t i = 0; i < a->d; i++) {
            double want = (x[i] - mean) / sqrt(square + (double)a->eps) * a->w[i];
            /* what a tiny error of the mean does to the difference counts as size */
            double size = fabs(want) + fabs(mean) / sqrt(square + (double)a->eps) * 1e-6;
            if (layer && a->b != NULL) {
                want += a->b[i];
                size += fabs((double)a->b[i]);
            }
            assert_near(got[row * a->y_stride + i], want, size, TOL_ROWS, "norm", i);
        }
    }
}

static void test_norms(void **state)
{
    (void)state;
    uint64_t seed = 21;
    for (uint32_t i = 0; i < N_ROW_LEVEL * FVI_COUNT(widths) * FVI_COUNT(sizes); i++) {
        uint32_t level = i % N_ROW_LEVEL, d = widths[i / N_ROW_LEVEL % FVI_COUNT(widths)];
        float size = sizes[i / N_ROW_LEVEL / FVI_COUNT(widths)];
        fvi_backend *backend = open_level(level, 2);
        float *x = random_floats(&seed, M * (d + 3), size), *w = random_floats(&seed, d, 1);
        float *b = random_floats(&seed, d, 1), *y = must_alloc(M * (d + 1) * sizeof *y);
        fvi_norm_args args = {x, d + 3, w, NULL, y, d + 1, M, d, 1e-6f};
        assert_int_equal(backend->ops.rms_norm(backend, &args), FOVEA_OK);
        check_norm(&args, y, false);
        assert_int_equal(backend->ops.layer_norm(backend, &args), FOVEA_OK);
        check_norm(&args, y, true);
        args.b = b;
        assert_int_equal(backend->ops.layer_norm(backend, &args), FOVEA_OK);
        check_norm(&args, y, true);
        /* in place, and one row alone */
        fvi_norm_args same = args;
        float *copy = must_alloc(M * (d + 3) * sizeof *copy);
        memcpy(copy, x, M * (d + 3) * sizeof *copy);
        same.x = same.y = copy;
        same.y_stride = d + 3;
        assert_int_equal(backend->ops.layer_norm(backend, &same), FOVEA_OK);
        for (uint32_t row = 0; row < M; row++) {
            assert_memory_equal(copy + row * (d + 3), y + row * (d + 1), d * sizeof *y);
        }
        args.x += 5 * (d + 3);
        args.m = 1;
        args.y = copy;
        assert_int_equal(backend->ops.layer_norm(backend, &args), FOVEA_OK);
        assert_memory_equal(copy, y + 5 * (d + 1), d * sizeof *y);
        release(x);
        release(w);
        release(b);
        release(y);
        release(copy);
        fvi_backend_close(&backend);
    }
}

static double activation(fvi_act act, double x)
{
    switch (act) {
    case FVI_ACT_SILU: return x / (1 + exp(-x));
    case FVI_ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
    case FVI_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case FVI_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    default: return fmax(x, 0);
    }
}

/* The error counts against |x|: behind the function's knee its value is a difference. */
static void test_activations(void **state)
{
    (void)state;
    uint64_t seed = 22;
    for (uint32_t i = 0; i < N_ROW_LEVEL * 5 * FVI_COUNT(widths) * FVI_COUNT(sizes); i++) {
        uint32_t level = i % N_ROW_LEVEL, d = widths[i / N_ROW_LEVEL / 5 % FVI_COUNT(widths)];
        fvi_act act = (fvi_act)(i / N_ROW_LEVEL % 5);
        float size = sizes[i / N_ROW_LEVEL / 5 / FVI_COUNT(widths)];
        fvi_backend *backend = open_level(level, 2);
        float *x = random_floats(&seed, M * d, size), *u = random_floats(&seed, M * d, 1);
        float *y = must_alloc(M * d * sizeof *y);
        fvi_act_args args = {x, NULL, y, d, d, d, M, d, act};
        assert_int_equal(backend->ops.act(backend, &args), FOVEA_OK);
        for (uint32_t j = 0; j < M * d; j++) {
            assert_near(y[j], activation(act, x[j]), fabs((double)x[j]), TOL_ROWS, "act", j);
        }
        args.u = u;
        assert_int_equal(backend->ops.act(backend, &args), FOVEA_OK);
        for (uint32_t j = 0; j < M * d; j++) {
            assert_near(y[j], activation(act, x[j]) * u[j], fabs((double)x[j] * u[j]), TOL_ROWS,
                        "gated", j);
        }
        args.y = x; /* in place */
        float *want = must_alloc(M * d * sizeof *want);
        memcpy(want, y, M * d * sizeof *want);
        assert_int_equal(backend->ops.act(backend, &args), FOVEA_OK);
        assert_memory_equal(x, want, M * d * sizeof *want);
        release(x);
        release(u);
        release(y);
        release(want);
        fvi_backend_close(&backend);
    }
}

static void test_rope(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{1, 2}, {3, 64}, {2, 96}, {1, 250}, {5, 32}};
    uint64_t seed = 23;
    for (uint32_t i = 0; i < N_ROW_LEVEL * FVI_COUNT(shapes); i++) {
        const uint32_t *shape = shapes[i / N_ROW_LEVEL];
        uint32_t n_head = shape[0], d = shape[1], half = d / 2;
        size_t stride = n_head * d + 5;
        fvi_backend *backend = open_level(i % N_ROW_LEVEL, 2);
        float *x = random_floats(&seed, M * stride, 3),
              *angle = random_floats(&seed, M * half, 100);
        float *c = must_alloc(M * half * sizeof *c), *s = must_alloc(M * half * sizeof *s);
        float *y = must_alloc(M * stride * sizeof *y);
        for (uint32_t j = 0; j < M * half; j++) {
            c[j] = cosf(angle[j]);
            s[j] = sinf(angle[j]);
        }
        memcpy(y, x, M * stride * sizeof *y);
        fvi_rope_args args = {y, stride, c, s, M, n_head, d};
        assert_int_equal(backend->ops.rope(backend, &args), FOVEA_OK);
        for (uint32_t at = 0; at < M * n_head * half; at++) {
            uint32_t row = at / (n_head * half), j = at % half;
            size_t first = row * stride + at / half % n_head * d + j, second = first + half;
            double cosine = c[row * half + j], sine = s[row * half + j];
            double size = fabs((double)x[first]) + fabs((double)x[second]);
            assert_near(y[first], x[first] * cosine - x[second] * sine, size, TOL_ROPE, "a", first);
            assert_near(y[second], x[second] * cosine + x[first] * sine, size, TOL_ROPE, "b",
                        second);
        }
        for (uint32_t row = 0; row < M; row++) {
            assert_memory_equal(y + row * stride + n_head * d, x + row * stride + n_head * d,
                                5 * sizeof *y);
        }
        release(x);
        release(y);
        release(c);
        release(s);
        release(angle);
        fvi_backend_close(&backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norms),
                                       cmocka_unit_test(test_activations),
                                       cmocka_unit_test(test_rope)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
