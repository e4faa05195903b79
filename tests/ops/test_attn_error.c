/* test_attn_error.c - what attention against codes adds to the error of the codes themselves, and that its sums
 * stay in their range. */
#include "tests/ops/attn_test.h"

/* What a kind's kernel may add to the error of the kind itself, as a share of its root mean square. */
static double error_share(const fvi_code_layout *codes)
{
    return codes->bits == 8 ? 0.02 : codes->bits == 4 ? 0.2 : 0.07;
}

/* Sums of squares: of what a kernel is off from exact attention over the stored tokens, and of what that is off
 * from attention over the tokens themselves. */
typedef struct error_sums {
    double added, own;
} error_sums;

static void add_errors(error_sums *sums, double got, double stored, double plain)
{
    sums->added += (got - stored) * (got - stored);
    sums->own += (stored - plain) * (stored - plain);
}

static void measure_errors(fvi_backend *backend, const cache *c, uint32_t group, uint64_t *seed,
                           float size, error_sums *out_sums, error_sums *mass_sums)
{
    float *q = random_floats(seed, (size_t)group * c->dk, size);
    float *out = must_alloc((size_t)group * c->dv * sizeof *out);
    float *mass = must_alloc(c->n * sizeof *mass);
    double *p = must_alloc(4 * (size_t)c->n * sizeof *p), *p_plain = p + c->n;
    double *sum = p_plain + c->n, *sum_plain = sum + c->n, want[128], plain[128];
    memset(mass, 0, c->n * sizeof *mass);
    memset(sum, 0, 2 * (size_t)c->n * sizeof *sum);
    fvi_attn_decode_args args = {q, &c->list, out, NULL, &mass, 1, group, 1, c->dk, c->dv, 0.125f};
    assert_int_equal(backend->ops.attn_decode(backend, &args), FOVEA_OK);
    for (uint32_t h = 0; h < group; h++) {
        const float *head = q + (size_t)h * c->dk;
        oracle(head, c->k_seen, c->dk, c->v_seen, c->dv, c->n, c->dk, c->dv, 0.125, p, want);
        oracle(head, c->k, c->dk, c->v, c->dv, c->n, c->dk, c->dv, 0.125, p_plain, plain);
        for (uint32_t i = 0; i < c->dv; i++) {
            add_errors(out_sums, out[(size_t)h * c->dv + i], want[i], plain[i]);
        }
        for (uint32_t t = 0; t < c->n; t++) {
            sum[t] += p[t];
            sum_plain[t] += p_plain[t];
        }
    }
    for (uint32_t t = 0; t < c->n; t++) {
        add_errors(mass_sums, mass[t], sum[t], sum_plain[t]);
    }
    release(q);
    release(out);
    release(mass);
    release(p);
}

/* Queries and weights become short integers: what that adds lies far below what the codes themselves cost, with
 * attention spread out, gathered and on a few tokens. */
static void check_error(fvi_backend *backend)
{
    static const float sizes[] = {0.3f, 1.0f, 4.0f, 12.0f};
    static const uint32_t widths[] = {64, 128, 80};
    uint64_t seed = 16;
    for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
        const fvi_codec *codec = fvi_codec_of((fovea_kind)kind);
        for (uint32_t i = 0; codec->codes.bits > 0 && i < 12; i++) {
            error_sums out = {0}, mass = {0};
            uint32_t d = widths[i / 4];
            cache c = make_cache(&seed, 700, d, d, kind);
            measure_errors(backend, &c, 7, &seed, sizes[i % 4], &out, &mass);
            free_cache(&c);
            double share = error_share(&codec->codes);
            assert_near(sqrt(out.added), 0, sqrt(out.own), share, codec->name, i);
            assert_near(sqrt(mass.added), 0, sqrt(mass.own), share, codec->name, i);
        }
    }
}

/* With AVX2, and with VNNI, where there is any. */
static void test_error(void **state)
{
    (void)state;
    static const uint32_t with[] = {1, 4};
    for (uint32_t i = 0; i < FVI_COUNT(with); i++) {
        fvi_backend *backend = open_level(with[i], 2);
        check_error(backend);
        fvi_backend_close(&backend);
    }
}

/* One token takes most of the weight, the rest have less than half a unit each but a tenth together, and all values
 * are alike: the output is the value that all have, but for half a unit of 282 for each of 8 or 16 lanes. */
static void test_alike(void **state)
{
    (void)state;
    enum { D = 64, N = 64 };
    uint64_t seed = 18;
    for (uint32_t i = 0; i < N_ATTN_LEVEL * FOVEA_N_KIND; i++) {
        uint32_t kind = i % FOVEA_N_KIND;
        const fvi_code_layout *codes = &fvi_codec_of((fovea_kind)kind)->codes;
        if (codes->bits == 0 || codes->rotated) { /* rotated they are not alike */
            continue;
        }
        fvi_backend *backend = open_level(i / FOVEA_N_KIND, 1);
        cache c = make_cache(&seed, N, D, D, kind);
        float q[D], out[D];
        double p[N], want[D];
        for (uint32_t j = 0; j < N * D; j++) {
            c.k[j] = j / D == 5 ? 1 : 0;
            c.v[j] = j % 2 != 0 ? 1 : -1;
        }
        for (uint32_t j = 0; j < D; j++) {
            q[j] =
                6.3f / (0.125f * D); /* e^6.3 is 545, and a unit at least a 255th of the largest */
        }
        divide(&c, &seed, 1000000);
        fvi_attn_decode_args args = {q, &c.list, out, NULL, NULL, 1, 1, 1, D, D, 0.125f};
        assert_int_equal(backend->ops.attn_decode(backend, &args), FOVEA_OK);
        oracle(q, c.k_seen, D, c.v_seen, D, N, D, D, 0.125, p, want);
        for (uint32_t j = 0; j < D; j++) {
            assert_near(out[j], want[j], 1, 0.03, fvi_codec_of((fovea_kind)kind)->name, j);
        }
        free_cache(&c);
        fvi_backend_close(&backend);
    }
}

/* Codes that are nearly all the largest or the smallest, queries of one sign and attention spread evenly: the
 * largest sums that there can be. */
static void test_bounds(void **state)
{
    (void)state;
    static const uint32_t widths[] = {64, 33, 128, 256};
    uint64_t seed = 17;
    for (uint32_t i = 0; i < N_ATTN_LEVEL * FVI_COUNT(widths) * FOVEA_N_KIND; i++) {
        uint32_t kind = i % FOVEA_N_KIND, d = widths[i / FOVEA_N_KIND % FVI_COUNT(widths)];
        fvi_backend *backend = open_level(i / FOVEA_N_KIND / FVI_COUNT(widths), 1);
        for (uint32_t sign = 0; sign < 4; sign++) {
            cache c = make_cache(&seed, 130, d, d, kind);
            float *q = must_alloc(d * sizeof *q), out[256];
            double p[130], want[256];
            for (uint32_t j = 0; j < c.n * d; j++) {
                float x = j % d == j / d % d ? -1 : 1; /* one channel of each token is unlike */
                c.k[j] = (sign & 1) != 0 ? x : -x;
                c.v[j] = c.k[j];
            }
            for (uint32_t j = 0; j < d; j++) {
                q[j] = (sign & 2) != 0 ? 1 : -1;
            }
            divide(&c, &seed, 1000000);
            fvi_attn_decode_args args = {q, &c.list, out, NULL, NULL, 1, 1, 1, d, d, 0.125f};
            assert_int_equal(backend->ops.attn_decode(backend, &args), FOVEA_OK);
            oracle(q, c.k_seen, d, c.v_seen, d, c.n, d, d, 0.125, p, want);
            for (uint32_t j = 0; j < d; j++) {
                assert_near(out[j], want[j], 2, tolerance_of(kind, backend->features, false), "out",
                            j);
            }
            release(q);
            free_cache(&c);
        }
        fvi_backend_close(&backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
