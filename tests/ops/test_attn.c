/* test_attn.c - attention against a double-precision oracle that decodes every token by its codec: decode
 * and prefill rows over mixed lists, the encoder's attention, observe; the same bits for any division
 * into runs, in any company, with any number of threads. */
#include "tests/ops/attn_test.h"

#include "sdk/ops/attn_decode.h"

typedef struct shape {
    uint32_t n, n_kv_head, group, dk, dv;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 64, 64},    {17, 2, 7, 64, 64},   {700, 2, 7, 64, 64},  {1100, 3, 3, 64, 64},
    {513, 1, 16, 32, 48}, {90, 2, 2, 80, 80},   {600, 1, 4, 96, 96},  {77, 1, 8, 128, 128},
    {40, 1, 1, 256, 256}, {65, 2, 5, 33, 7},    {129, 1, 9, 100, 65}, {300, 2, 6, 129, 31},
    {1029, 1, 1, 16, 16}, {530, 1, 11, 72, 40},
};

static void check_decode(fvi_backend *backend, const cache *caches, const shape *s, uint32_t kind,
                         uint64_t *seed, float size)
{
    uint32_t n_head = s->n_kv_head * s->group;
    float *q = random_floats(seed, (size_t)n_head * s->dk, size);
    float *out = must_alloc((size_t)n_head * s->dv * sizeof *out), lse[64];
    double *p = must_alloc(s->n * sizeof *p), *want = must_alloc(s->dv * sizeof *want);
    double *mass_want = must_alloc(s->n * sizeof *mass_want);
    fvi_list_view lists[3];
    float *mass[3];
    for (uint32_t g = 0; g < s->n_kv_head; g++) {
        lists[g] = caches[g].list;
        mass[g] = g == 1 ? NULL : must_alloc(s->n * sizeof(float));
        for (uint32_t t = 0; mass[g] != NULL && t < s->n; t++) {
            mass[g][t] = 0.25f;
        }
    }
    fvi_attn_decode_args args = {q,
                                 lists,
                                 out,
                                 lse,
                                 mass,
                                 1,
                                 n_head,
                                 s->n_kv_head,
                                 s->dk,
                                 s->dv,
                                 1.0f / sqrtf((float)s->dk)};
    assert_int_equal(backend->ops.attn_decode(backend, &args), FOVEA_OK);
    double tolerance = tolerance_of(kind, backend->features, false);
    for (uint32_t g = 0; g < s->n_kv_head; g++) {
        const cache *c = &caches[g];
        memset(mass_want, 0, s->n * sizeof *mass_want);
        for (uint32_t h = g * s->group; h < (g + 1) * s->group; h++) {
            double log_sum = oracle(q + (size_t)h * s->dk, c->k_seen, s->dk, c->v_seen, s->dv, s->n,
                                    s->dk, s->dv, (double)args.scale, p, want);
            assert_near(lse[h], log_sum, FVI_MAX(1.0f, size) + fabs(log_sum),
                        FVI_MAX(TOL_LSE, tolerance), "lse", h);
            for (uint32_t i = 0; i < s->dv; i++) {
                assert_near(out[(size_t)h * s->dv + i], want[i], 2, tolerance * FVI_MAX(1.0f, size),
                            "out", i);
            }
            for (uint32_t t = 0; t < s->n; t++) {
                mass_want[t] += p[t];
            }
        }
        for (uint32_t t = 0; mass[g] != NULL && t < s->n; t++) {
            assert_near(mass[g][t], mass_want[t] + 0.25, 1, tolerance * FVI_MAX(1.0f, size), "mass",
                        t);
        }
        release(mass[g]);
    }
    release(q);
    release(out);
    release(p);
    release(want);
    release(mass_want);
}

/* Every shape, every kind and mixtures; queries small, usual and so large that one token takes all. */
static void test_decode(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {FOVEA_KIND_F32,
                                     FOVEA_KIND_F16,
                                     FOVEA_KIND_INT8,
                                     FOVEA_KIND_INT4,
                                     FOVEA_KIND_INT2,
                                     FOVEA_KIND_INT4_CHAN,
                                     FOVEA_KIND_INT2_CHAN,
                                     FOVEA_KIND_INT4_KIVI,
                                     FOVEA_KIND_INT2_KIVI,
                                     FOVEA_KIND_INT4_ROT,
                                     FOVEA_KIND_INT2_ROT,
                                     FOVEA_KIND_PCA_16,
                                     FOVEA_KIND_PCA_4,
                                     MIX_TOKEN,
                                     MIX_ALL};
    uint64_t seed = 11;
    for (uint32_t level = 0; level < N_ATTN_LEVEL; level++) {
        fvi_backend *backend = open_level(level, 2);
        for (uint32_t i = 0; i < FVI_COUNT(shapes) * FVI_COUNT(kinds); i++) {
            const shape *s = &shapes[i / FVI_COUNT(kinds)];
            uint32_t kind = kinds[i % FVI_COUNT(kinds)];
            cache caches[3];
            for (uint32_t g = 0; g < s->n_kv_head; g++) {
                caches[g] = make_cache(&seed, s->n, s->dk, s->dv, kind);
                divide(&caches[g], &seed, i % 3 == 0 ? 400 : 50);
            }
            check_decode(backend, caches, s, kind, &seed, 1);
            check_decode(backend, caches, s, kind, &seed, i % 2 != 0 ? 30.0f : 1e-3f);
            for (uint32_t g = 0; g < s->n_kv_head; g++) {
                free_cache(&caches[g]);
            }
        }
        fvi_backend_close(&backend);
    }
}

enum { ROWS = 5 };

/* The same tokens in one, few and many runs give the same bits, in decode, prefill and observe, unless scales
 * are shared among the tokens of a run. */
static void check_partition(uint32_t level, uint64_t *seed, const shape *s, uint32_t kind)
{
    uint32_t n_head = s->group;
    uint32_t n_visible = s->n - ROWS + 1;
    fvi_backend *backend = open_level(level, 2);
    cache c = make_cache(seed, s->n, s->dk, s->dv, kind);
    float *q = random_floats(seed, (size_t)ROWS * n_head * s->dk, 1);
    size_t n_out = (size_t)n_head * s->dv, n_all = ROWS * n_out + n_out + 2 * (size_t)s->n;
    float *first = must_alloc(n_all * sizeof *first), *other = must_alloc(n_all * sizeof *other);
    for (uint32_t round = 0; round < 4; round++) {
        float *result = round == 0 ? first : other;
        float *mass = result + (ROWS + 1) * n_out, *observed = mass + s->n;
        memset(result, 0, n_all * sizeof *result);
        divide(&c, seed, round == 0 ? 1000000 : round == 1 ? 3 : 70);
        float scale = 1.0f / sqrtf((float)s->dk);
        fvi_attn_decode_args decode = {q,      &c.list, result, NULL,  &mass, 1,
                                       n_head, 1,       s->dk,  s->dv, scale};
        fvi_attn_prefill_args prefill = {q,      &c.list, &n_visible, result + n_out, ROWS,
                                         n_head, 1,       s->dk,      s->dv,          scale};
        fvi_observe_args observe = {q,      &c.list, &n_visible, &observed, NULL,  ROWS,
                                    n_head, 1,       s->dk,      s->dv,     scale, 0.01f};
        assert_int_equal(backend->ops.attn_decode(backend, &decode), FOVEA_OK);
        assert_int_equal(backend->ops.attn_prefill(backend, &prefill), FOVEA_OK);
        assert_int_equal(backend->ops.observe(backend, &observe), FOVEA_OK);
        assert_memory_equal(result, first, n_all * sizeof *first);
    }
    release(first);
    release(other);
    release(q);
    free_cache(&c);
    fvi_backend_close(&backend);
}

static void test_partition(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {FOVEA_KIND_F32,  FOVEA_KIND_F16,  FOVEA_KIND_INT8,
                                     FOVEA_KIND_INT4, FOVEA_KIND_INT2, MIX_TOKEN};
    uint64_t seed = 12;
    for (uint32_t level = 0; level < N_ATTN_LEVEL; level++) {
        for (uint32_t i = 0; i < FVI_COUNT(shapes) * FVI_COUNT(kinds); i++) {
            const shape *s = &shapes[i / FVI_COUNT(kinds)];
            if (s->n >= ROWS) {
                check_partition(level, &seed, s, kinds[i % FVI_COUNT(kinds)]);
            }
        }
    }
}

/* A decode row has the same bits alone and among others of other lengths, on 1 and on 3 threads; rows
 * of a prefill block likewise. */
static void test_company(void **state)
{
    (void)state;
    enum { M = 6, GROUP = 3, KV = 2, D = 64 };
    static const uint32_t lengths[M] = {600, 1, 33, 1400, 512, 513};
    static const uint32_t kinds[] = {MIX_ALL, FOVEA_KIND_F16, FOVEA_KIND_INT2, FOVEA_KIND_INT2,
                                     FOVEA_KIND_INT8};
    uint64_t seed = 13;
    for (uint32_t level = 0; level < N_ATTN_LEVEL; level++) {
        fvi_backend *one = open_level(level, 1), *three = open_level(level, 3);
        cache caches[M * KV];
        fvi_list_view lists[M * KV];
        for (uint32_t i = 0; i < M * KV; i++) {
            caches[i] = make_cache(&seed, lengths[i / KV], D, D, kinds[i % FVI_COUNT(kinds)]);
            lists[i] = caches[i].list;
        }
        float *q = random_floats(&seed, M * KV * GROUP * D, 1);
        float together[M * KV * GROUP * D], alone[KV * GROUP * D];
        fvi_attn_decode_args args = {q,          lists, together, NULL, NULL,  M,
                                     KV * GROUP, KV,    D,        D,    0.125f};
        assert_int_equal(three->ops.attn_decode(three, &args), FOVEA_OK);
        for (uint32_t row = 0; row < M; row++) {
            args.n_row = 1;
            args.q = q + row * KV * GROUP * D;
            args.lists = lists + row * KV;
            args.out = alone;
            assert_int_equal(one->ops.attn_decode(one, &args), FOVEA_OK);
            assert_memory_equal(alone, together + row * KV * GROUP * D, sizeof alone);
        }
        uint32_t visible[KV] = {1400 - M + 1, 1400 - M + 1};
        fvi_attn_prefill_args block = {q, lists + 3 * KV, visible, together, M, KV * GROUP, KV, D,
                                       D, 0.125f};
        assert_int_equal(three->ops.attn_prefill(three, &block), FOVEA_OK);
        for (uint32_t row = 0; row < M; row++) {
            block.n_row = 1;
            block.q = q + row * KV * GROUP * D;
            block.out = alone;
            assert_int_equal(one->ops.attn_prefill(one, &block), FOVEA_OK);
            assert_memory_equal(alone, together + row * KV * GROUP * D, sizeof alone);
            visible[0]++;
            visible[1]++;
        }
        for (uint32_t i = 0; i < M * KV; i++) {
            free_cache(&caches[i]);
        }
        release(q);
        fvi_backend_close(&one);
        fvi_backend_close(&three);
    }
}

/* Prefill and observe of one block. Observe's threshold is compared where rounding cannot decide. */
static void check_prefill(fvi_backend *backend, const cache *caches, const shape *s, uint32_t kind,
                          uint32_t n_row, uint64_t *seed)
{
    uint32_t n_head = s->n_kv_head * s->group;
    bool bf16 = (backend->features & FOVEA_CPU_AVX512_BF16) != 0;
    float *q = random_floats(seed, (size_t)n_row * n_head * s->dk, 1);
    float *out = must_alloc((size_t)n_row * n_head * s->dv * sizeof *out);
    double *p = must_alloc(s->n * sizeof *p), *want = must_alloc(s->dv * sizeof *want);
    double *mass_want = must_alloc(s->n * sizeof *mass_want);
    fvi_list_view lists[3];
    uint32_t visible[3];
    float *mass[3];
    uint64_t hits[64] = {0};
    for (uint32_t g = 0; g < s->n_kv_head; g++) {
        lists[g] = caches[g].list;
        visible[g] = s->n - n_row + 1 - FVI_MIN(g, s->n - n_row);
        mass[g] = must_alloc(s->n * sizeof(float));
        memset(mass[g], 0, s->n * sizeof(float));
    }
    float scale = 1.0f / sqrtf((float)s->dk), threshold = 0.01f;
    fvi_attn_prefill_args args = {q,      lists,        visible, out,   n_row,
                                  n_head, s->n_kv_head, s->dk,   s->dv, scale};
    fvi_observe_args observe = {q,      lists,        visible, mass,  hits,  n_row,
                                n_head, s->n_kv_head, s->dk,   s->dv, scale, threshold};
    assert_int_equal(backend->ops.attn_prefill(backend, &args), FOVEA_OK);
    assert_int_equal(backend->ops.observe(backend, &observe), FOVEA_OK);
    for (uint32_t g = 0; g < s->n_kv_head; g++) {
        memset(mass_want, 0, s->n * sizeof *mass_want);
        for (uint32_t h = g * s->group; h < (g + 1) * s->group; h++) {
            uint64_t least = 0, most = 0;
            for (uint32_t row = 0; row < n_row; row++) {
                size_t at = (size_t)row * n_head + h;
                double top = 0;
                oracle(q + at * s->dk, caches[g].k_seen, s->dk, caches[g].v_seen, s->dv,
                       visible[g] + row, s->dk, s->dv, (double)scale, p, want);
                for (uint32_t i = 0; i < s->dv; i++) {
                    assert_near(out[at * s->dv + i], want[i], 2,
                                tolerance_of(kind, backend->features, bf16), "out", i);
                }
                for (uint32_t t = 0; t < visible[g] + row; t++) {
                    mass_want[t] += p[t] / s->group;
                    top = fmax(top, p[t]);
                }
                for (uint32_t t = 0; t < visible[g] + row; t++) {
                    least += p[t] >= top * (double)threshold * (1 + 1e-4);
                    most += p[t] >= top * (double)threshold * (1 - 1e-4);
                }
            }
            assert_in_range(hits[h], least, most);
        }
        for (uint32_t t = 0; t < s->n; t++) {
            assert_near(mass[g][t], mass_want[t], 1 + mass_want[t], TOL_ATTN_F32, "mass", t);
        }
        release(mass[g]);
    }
    release(q);
    release(out);
    release(p);
    release(want);
    release(mass_want);
}

static void test_prefill(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {FOVEA_KIND_F32, FOVEA_KIND_F16, FOVEA_KIND_INT8,
                                     FOVEA_KIND_INT4, MIX_ALL};
    uint64_t seed = 14;
    for (uint32_t level = 0; level < N_ATTN_LEVEL; level++) {
        fvi_backend *backend = open_level(level, 2);
        for (uint32_t i = 0; i < FVI_COUNT(shapes) * FVI_COUNT(kinds); i++) {
            const shape *s = &shapes[i / FVI_COUNT(kinds)];
            uint32_t kind = kinds[i % FVI_COUNT(kinds)];
            cache caches[3];
            for (uint32_t g = 0; g < s->n_kv_head; g++) {
                caches[g] = make_cache(&seed, s->n, s->dk, s->dv, kind);
                divide(&caches[g], &seed, 40);
            }
            uint32_t n_row = 1 + random_below(&seed, 40);
            check_prefill(backend, caches, s, kind, FVI_MIN(s->n, n_row), &seed);
            for (uint32_t g = 0; g < s->n_kv_head; g++) {
                free_cache(&caches[g]);
            }
        }
        fvi_backend_close(&backend);
    }
}

static void test_full(void **state)
{
    (void)state;
    static const uint32_t sizes[][3] = {
        {1, 1, 64}, {50, 3, 64}, {577, 2, 64}, {130, 2, 72}, {31, 2, 33}};
    uint64_t seed = 15;
    for (uint32_t i = 0; i < FVI_COUNT(sizes) * N_ATTN_LEVEL * 2; i++) {
        const uint32_t *size = sizes[i % FVI_COUNT(sizes)];
        uint32_t n = size[0], n_head = size[1], d = size[2];
        uint32_t level = i / FVI_COUNT(sizes) % N_ATTN_LEVEL;
        bool bf16 = i / (FVI_COUNT(sizes) * N_ATTN_LEVEL) != 0;
        size_t stride = 3 * (size_t)n_head * d;
        fvi_backend *backend = open_level(level, 2);
        float *x = random_floats(&seed, n * stride, 1);
        float *out = must_alloc((size_t)n * n_head * d * sizeof *out);
        double p[600], want[72];
        fvi_attn_full_args args = {x,
                                   x + n_head * d,
                                   x + 2 * n_head * d,
                                   out,
                                   stride,
                                   n,
                                   n_head,
                                   d,
                                   0.125f,
                                   bf16 ? FVI_DTYPE_BF16 : FVI_DTYPE_F32};
        assert_int_equal(backend->ops.attn_full(backend, &args), FOVEA_OK);
        for (uint32_t at = 0; at < n * n_head; at++) {
            size_t head = (size_t)(at % n_head) * d;
            oracle(x + at / n_head * stride + head, args.k + head, stride, args.v + head, stride, n,
                   d, d, (double)args.scale, p, want);
            for (uint32_t c = 0; c < d; c++) {
                assert_near(out[(size_t)at * d + c], want[c], 2,
                            bf16 ? TOL_ATTN_BF16 : TOL_ATTN_F32, "out", c);
            }
        }
        release(x);
        release(out);
        fvi_backend_close(&backend);
    }
}

/* Every kind has the kernel that multiplies its codes; nothing is asked of this processor. */
static void test_choice(void **state)
{
    (void)state;
    enum { AVX2 = FOVEA_CPU_AVX2, AVX512 = FOVEA_CPU_AVX512, VNNI = FOVEA_CPU_AVX512_BF16 };
    const fvi_decode_kernel c = FVI_DECODE_REFERENCE, two = FVI_DECODE_AVX2,
                            five = FVI_DECODE_AVX512;
    const struct {
        fovea_kind kind;
        uint32_t dk, dv;
        /* of no features, AVX2, AVX-512, both, AVX-512 with VNNI, all */
        fvi_decode_kernel want[6];
    } cases[] = {
        {FOVEA_KIND_F32, 64, 64, {c, two, five, five, five, five}},
        {FOVEA_KIND_F16, 33, 7, {c, two, five, five, five, five}},
        {FOVEA_KIND_INT8, 64, 64, {c, two, five, two, five, five}},
        {FOVEA_KIND_INT8, 80, 64, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT4, 96, 48, {c, two, five, two, five, five}},
        {FOVEA_KIND_INT4, 64, 40, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT2, 64, 256, {c, two, five, two, five, five}},
        {FOVEA_KIND_INT2, 64, 192, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT2, 96, 64, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT4_CHAN, 80, 72, {c, two, five, two, five, five}},
        {FOVEA_KIND_INT2_CHAN, 64, 64, {c, two, five, two, five, five}},
        {FOVEA_KIND_INT4_KIVI, 64, 64, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT2_KIVI, 64, 64, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT4_ROT, 64, 64, {c, two, five, two, five, two}},
        {FOVEA_KIND_INT2_ROT, 64, 64, {c, two, five, two, five, two}},
    };
    static const uint32_t features[6] = {
        0, AVX2, AVX512, AVX2 | AVX512, AVX512 | VNNI, AVX2 | AVX512 | VNNI};
    for (uint32_t i = 0; i < FVI_COUNT(cases) * FVI_COUNT(features); i++) {
        uint32_t at = i / FVI_COUNT(features), nth = i % FVI_COUNT(features);
        assert_int_equal(fvi_decode_kernel_of(fvi_codec_of(cases[at].kind), cases[at].dk,
                                              cases[at].dv, FOVEA_CPU_REFERENCE | features[nth]),
                         cases[at].want[nth]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),        cmocka_unit_test(test_partition), cmocka_unit_test(test_company),
        cmocka_unit_test(test_prefill),   cmocka_unit_test(test_full),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
