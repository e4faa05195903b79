/* test_linear.c - products against sums in double, at every feature level, row class and weight type;
 * decode rows have the same bits in any company and with any number of threads; conversions. */
#include "tests/ops/ops_test.h"

typedef struct problem {
    fvi_linear_args args;
    float *x, *bias, *start; /* start: y before the operation */
    void *w;
    float *y;
} problem;

static problem make_problem(uint64_t *seed, uint32_t m, uint32_t n, uint32_t k, fvi_dtype dtype,
                            float size)
{
    problem p = {0};
    size_t x_stride = k + random_below(seed, 3), y_stride = n + random_below(seed, 3);
    p.x = random_floats(seed, m * x_stride, size);
    p.bias = random_floats(seed, n, size);
    p.start = random_floats(seed, m * y_stride, size);
    p.y = must_alloc(m * y_stride * sizeof(float));
    float *w = random_floats(seed, (size_t)n * k, 1.0f / sqrtf((float)k));
    p.w = must_alloc((size_t)n * k * fvi_dtype_bytes(dtype));
    fvi_convert(p.w, dtype, w, FVI_DTYPE_F32, (size_t)n * k);
    release(w);
    p.args = (fvi_linear_args){.x = p.x,
                               .x_stride = x_stride,
                               .w = p.w,
                               .w_dtype = dtype,
                               .y = p.y,
                               .y_stride = y_stride,
                               .m = m,
                               .n = n,
                               .k = k};
    return p;
}

static void free_problem(problem *p)
{
    release(p->x);
    release(p->w);
    release(p->bias);
    release(p->start);
    release(p->y);
}

static void run(fvi_backend *backend, problem *p, fvi_row_class rows, bool bias, bool add)
{
    p->args.rows = rows;
    p->args.bias = bias ? p->bias : NULL;
    p->args.add = add;
    memcpy(p->y, p->start, p->args.m * p->args.y_stride * sizeof(float));
    assert_int_equal(backend->ops.linear(backend, &p->args), FOVEA_OK);
}

static void check(const problem *p)
{
    const fvi_linear_args *a = &p->args;
    bool bf16 = a->w_dtype == FVI_DTYPE_BF16;
    for (uint32_t row = 0; row < a->m; row++) {
        for (uint32_t column = 0; column < a->n; column++) {
            size_t at = row * a->y_stride + column;
            double sum = a->bias != NULL ? a->bias[column] : 0.0;
            sum += a->add ? p->start[at] : 0.0;
            double size = fabs(sum);
            for (uint32_t i = 0; i < a->k; i++) {
                size_t w_at = (size_t)column * a->k + i;
                float x = a->x[row * a->x_stride + i];
                double term = bf16 ? (double)fvi_bf16_to_f32(fvi_f32_to_bf16(x)) *
                                         fvi_bf16_to_f32(((const uint16_t *)a->w)[w_at])
                                   : (double)x * ((const float *)a->w)[w_at];
                sum += term;
                size += fabs(term);
            }
            assert_near(a->y[at], sum, size, bf16 ? TOL_LINEAR_BF16 : TOL_LINEAR_F32, "y", at);
        }
        for (size_t at = a->n; at < a->y_stride && row + 1 < a->m; at++) { /* the gap is not ours */
            assert_true(a->y[row * a->y_stride + at] == p->start[row * a->y_stride + at]);
        }
    }
}

static void test_against_double(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{1, 1, 1},    {1, 7, 33},   {2, 9, 64},    {3, 64, 31},
                                         {5, 130, 96}, {7, 5, 200},  {13, 67, 129}, {33, 300, 72},
                                         {64, 20, 65}, {26, 513, 17}};
    static const float sizes[] = {1.0f, 1e-20f, 1e15f};
    uint64_t seed = 1;
    for (uint32_t level = 0; level < FVI_COUNT(levels); level++) {
        fvi_backend *backend = open_level(level, 2);
        for (uint32_t i = 0; i < FVI_COUNT(shapes) * 2 * FVI_COUNT(sizes); i++) {
            const uint32_t *shape = shapes[i % FVI_COUNT(shapes)];
            fvi_dtype dtype = i / FVI_COUNT(shapes) % 2 != 0 ? FVI_DTYPE_BF16 : FVI_DTYPE_F32;
            problem p = make_problem(&seed, shape[0], shape[1], shape[2], dtype,
                                     sizes[i / FVI_COUNT(shapes) / 2]);
            for (uint32_t variant = 0; variant < 8; variant++) {
                run(backend, &p, variant % 2 != 0 ? FVI_ROWS_PREFILL : FVI_ROWS_DECODE,
                    (variant & 2) != 0, (variant & 4) != 0);
                check(&p);
            }
            free_problem(&p);
        }
        fvi_backend_close(&backend);
    }
}

/* Each row of a batch of 1 to 17 has the bits it has alone, with 1 and with 3 threads. */
static void test_company(void **state)
{
    (void)state;
    enum { N = 201, K = 150, M = 17 };
    uint64_t seed = 2;
    for (uint32_t level = 0; level < FVI_COUNT(levels); level++) {
        fvi_backend *one = open_level(level, 1), *three = open_level(level, 3);
        for (uint32_t type = 0; type < 2; type++) {
            problem p = make_problem(&seed, M, N, K, type != 0 ? FVI_DTYPE_BF16 : FVI_DTYPE_F32, 1);
            float alone[M][N];
            for (uint32_t row = 0; row < M; row++) {
                problem single = p;
                single.args.m = 1;
                single.args.x += row * p.args.x_stride;
                run(one, &single, FVI_ROWS_DECODE, true, false);
                memcpy(alone[row], single.y, sizeof alone[row]);
            }
            for (uint32_t m = 2; m <= M; m++) {
                p.args.m = m;
                run(three, &p, FVI_ROWS_DECODE, true, false);
                for (uint32_t row = 0; row < m; row++) {
                    assert_memory_equal(p.y + row * p.args.y_stride, alone[row], sizeof alone[row]);
                }
            }
            free_problem(&p);
        }
        fvi_backend_close(&one);
        fvi_backend_close(&three);
    }
}

/* More shapes than the table of primitives holds, twice, so that entries make room and come back. */
static void test_many_shapes(void **state)
{
    (void)state;
    uint64_t seed = 3;
    fvi_backend *backend = open_level(FVI_COUNT(levels) - 1, 2);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t m = 1; m <= 80; m++) {
            problem p = make_problem(&seed, m, 33, 16, FVI_DTYPE_BF16, 1);
            run(backend, &p, FVI_ROWS_PREFILL, true, true);
            check(&p);
            free_problem(&p);
        }
    }
    fvi_backend_close(&backend);
}

/* fvi_convert has the bits of the scalar functions, on every f16, every bf16 and odd lengths. */
static void test_convert(void **state)
{
    (void)state;
    enum { N = 65536 };
    uint16_t *half = must_alloc(N * sizeof *half), *back = must_alloc(N * sizeof *back);
    float *wide = must_alloc(N * sizeof *wide);
    for (uint32_t i = 0; i < N; i++) {
        half[i] = (uint16_t)i;
    }
    for (uint32_t type = 0; type < 2; type++) {
        fvi_dtype dtype = type != 0 ? FVI_DTYPE_BF16 : FVI_DTYPE_F16;
        fvi_convert(wide, FVI_DTYPE_F32, half, dtype, N);
        fvi_convert(back, dtype, wide, FVI_DTYPE_F32, N);
        for (uint32_t i = 0; i < N; i++) {
            float want = type != 0 ? fvi_bf16_to_f32(half[i]) : fvi_f16_to_f32(half[i]);
            if (want != want) {
                assert_true(wide[i] != wide[i]);
                continue;
            }
            assert_memory_equal(&wide[i], &want, sizeof want);
            assert_int_equal(back[i], half[i]);
        }
    }
    uint64_t seed = 4;
    for (uint32_t n = 0; n < 40; n++) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)random_bits(&seed);
            memcpy(&wide[i], &bits, sizeof bits);
            wide[i] = wide[i] != wide[i] ? 0.0f : wide[i];
        }
        memset(back, 0x5a, 64 * sizeof *back);
        fvi_convert(back, FVI_DTYPE_BF16, wide, FVI_DTYPE_F32, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(back[i], fvi_f32_to_bf16(wide[i]));
        }
        assert_int_equal(back[n], 0x5a5a);
        fvi_convert(back, FVI_DTYPE_F16, wide, FVI_DTYPE_F32, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(back[i], fvi_f32_to_f16(wide[i]));
        }
    }
    release(half);
    release(back);
    release(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_double),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_convert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
