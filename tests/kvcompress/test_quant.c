/* test_quant.c - what kinds of codes are for (papers: fixed, mixed, outlier redistribution): the error of
 * attention over cached tokens against the same tokens exact, at bytes that include scales.
 *
 * Tokens are made as those of a vision-language model are: channels have offsets and ranges of their own,
 * tokens differ around them, a few channels stand out. The oracle is attention in double over what a codec
 * gives back. */
#include "kv_bench.h"

#include <stdio.h>

#define N_TEXT   24
#define N_VISION 232
#define N        (N_TEXT + N_VISION)
#define D        64
#define N_QUERY  24

typedef struct tokens {
    float k[N * D], v[N * D]; /* text first */
    float q[N_QUERY * D];
} tokens;

static float normal(rng *r)
{
    float sum = 0;
    for (uint32_t i = 0; i < 6; i++) {
        sum += rng_float(r);
    }
    return sum * 0.70710678f;
}

static void make_tokens(tokens *t, uint64_t seed)
{
    rng r = {.state = seed};
    for (uint32_t c = 0; c < D; c++) {
        bool stands_out = c % 17 == 3;
        float k_offset = normal(&r) * (stands_out ? 8 : 1), v_offset = normal(&r);
        float k_range = stands_out ? 2.0f : 0.3f + 0.2f * rng_float(&r);
        float v_range = stands_out ? 1.0f : 0.4f + 0.3f * rng_float(&r);
        for (uint32_t i = 0; i < N; i++) {
            t->k[i * D + c] = k_offset + k_range * normal(&r);
            t->v[i * D + c] = v_offset + v_range * normal(&r);
        }
    }
    for (uint32_t i = 0; i < N_QUERY * D; i++) {
        t->q[i] = normal(&r);
    }
}

/* Attention of one query in double. */
static void attend(const float *q, const float *k, const float *v, double *out)
{
    double p[N], top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        p[i] = 0;
        for (uint32_t c = 0; c < D; c++) {
            p[i] += (double)q[c] * k[i * D + c] / sqrt(D);
        }
        top = fmax(top, p[i]);
    }
    memset(out, 0, D * sizeof *out);
    for (uint32_t i = 0; i < N; i++) {
        p[i] = exp(p[i] - top);
        sum += p[i];
        for (uint32_t c = 0; c < D; c++) {
            out[c] += p[i] * v[i * D + c];
        }
    }
    for (uint32_t c = 0; c < D; c++) {
        out[c] /= sum;
    }
}

/* Relative error of the outputs when k and v stand for t's. */
static double error_of(const tokens *t, const float *k, const float *v)
{
    double off = 0, all = 0;
    for (uint32_t i = 0; i < N_QUERY; i++) {
        double want[D], got[D];
        attend(t->q + i * D, t->k, t->v, want);
        attend(t->q + i * D, k, v, got);
        for (uint32_t c = 0; c < D; c++) {
            off += (got[c] - want[c]) * (got[c] - want[c]);
            all += want[c] * want[c];
        }
    }
    return sqrt(off / all);
}

/* Stores tokens first..first+n-1 in a kind and reads them back into k and v; returns the bytes. */
static size_t store(const tokens *t, fovea_kind kind, uint32_t first, uint32_t n, float *k,
                    float *v)
{
    const fvi_codec *codec = fvi_codec_of(kind);
    size_t n_bytes = fvi_codec_bytes(codec, n, D, D);
    uint8_t *run = malloc(n_bytes);
    fvi_codec_encode(codec, run, n, D, D, 0, n, t->k + first * D, D, t->v + first * D, D);
    fvi_codec_decode(codec, run, n, D, D, 0, n, k + first * D, D, v + first * D, D);
    free(run);
    return n_bytes;
}

static double mean_error(fovea_kind kind)
{
    static tokens t, seen;
    double sum = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        make_tokens(&t, seed * 7919);
        seen = t;
        store(&t, kind, 0, N, seen.k, seen.v);
        sum += error_of(&t, seen.k, seen.v);
    }
    printf("%-10s error %.4f, %5.1f bytes per token\n", fvi_codec_of(kind)->name, sum / 8,
           (double)fvi_codec_bytes(fvi_codec_of(kind), N, D, D) / N);
    return sum / 8;
}

/* More bits, less error; per channel beats per token at no more bytes, values too (VidKV against KIVI). */
static void test_fixed(void **state)
{
    (void)state;
    double int8 = mean_error(FOVEA_KIND_INT8), int4 = mean_error(FOVEA_KIND_INT4);
    double int2 = mean_error(FOVEA_KIND_INT2), chan4 = mean_error(FOVEA_KIND_INT4_CHAN);
    double chan2 = mean_error(FOVEA_KIND_INT2_CHAN), kivi4 = mean_error(FOVEA_KIND_INT4_KIVI);
    double kivi2 = mean_error(FOVEA_KIND_INT2_KIVI);
    assert_true(int8 * 8 < int4 && int4 * 2 < int2);
    assert_true(chan4 < kivi4 && kivi4 < int4);
    assert_true(chan2 < kivi2 && kivi2 < int2);
    size_t per_token = fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT2), N, D, D);
    assert_true(fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT2_CHAN), N, D, D) <= per_token);
}

/* Vision in 2 bits per channel and text in 4 bits against 2 bits per token for all, at equal bytes: what the
 * mixture costs more is spent there on 4 bits for as many of the text tokens. */
static void test_mixed(void **state)
{
    (void)state;
    static tokens t, mixed, uniform;
    double mixed_error = 0, uniform_error = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        make_tokens(&t, seed * 104729);
        size_t mixed_bytes = store(&t, FOVEA_KIND_INT4, 0, N_TEXT, mixed.k, mixed.v) +
                             store(&t, FOVEA_KIND_INT2_CHAN, N_TEXT, N_VISION, mixed.k, mixed.v);
        size_t row4 = fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT4), 1, D, D);
        size_t row2 = fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT2), 1, D, D);
        size_t plain = N * row2;
        uint32_t n_more = mixed_bytes > plain
                              ? (uint32_t)((mixed_bytes - plain + row4 - row2 - 1) / (row4 - row2))
                              : 0;
        size_t bytes = store(&t, FOVEA_KIND_INT4, 0, n_more, uniform.k, uniform.v) +
                       store(&t, FOVEA_KIND_INT2, n_more, N - n_more, uniform.k, uniform.v);
        assert_true(bytes >= mixed_bytes && bytes - mixed_bytes < row4 + row2);
        mixed_error += error_of(&t, mixed.k, mixed.v) / 8;
        uniform_error += error_of(&t, uniform.k, uniform.v) / 8;
    }
    printf("mixed %.4f, uniform %.4f\n", mixed_error, uniform_error);
    assert_true(mixed_error < 0.7 * uniform_error);
}

/* Rotation keeps products of keys and queries, and spreads what stands out over all channels. */
static void test_rotation(void **state)
{
    (void)state;
    static tokens t, plain, rotated;
    make_tokens(&t, 4242);
    for (uint32_t i = 0; i < N_QUERY; i++) {
        float q[D], k[D];
        double before = 0, after = 0, squares = 0;
        memcpy(q, t.q + i * D, sizeof q);
        memcpy(k, t.k + i * D, sizeof k);
        for (uint32_t c = 0; c < D; c++) {
            before += (double)q[c] * k[c];
            squares += (double)k[c] * k[c];
        }
        fvi_rotate(q, D);
        fvi_rotate(k, D);
        for (uint32_t c = 0; c < D; c++) {
            after += (double)q[c] * k[c];
        }
        assert_true(fabs(after - before) < 1e-4 * (1 + sqrt(squares)));
    }
    double squares[2] = {0, 0};
    for (uint32_t i = 0; i < N * D;
         i++) { /* the same kind of numbers in every channel but a few spiked ones */
        t.k[i] = (i % D % 17 == 3 ? 20.0f : 1.0f) * t.q[i % (N_QUERY * D)];
        t.v[i] = t.k[i];
    }
    store(&t, FOVEA_KIND_INT2, 0, N, plain.k, plain.v);
    store(&t, FOVEA_KIND_INT2_ROT, 0, N, rotated.k, rotated.v);
    for (uint32_t i = 0; i < N * D; i++) {
        squares[0] += pow((double)plain.k[i] - t.k[i], 2);
        squares[1] += pow((double)rotated.k[i] - t.k[i], 2);
    }
    printf("spiked channels, 2 bits: error %.3f, rotated %.3f\n", sqrt(squares[0] / (N * D)),
           sqrt(squares[1] / (N * D)));
    assert_true(squares[1] < 0.8 * squares[0]);
    assert_int_equal(fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT2), N, D, D),
                     fvi_codec_bytes(fvi_codec_of(FOVEA_KIND_INT2_ROT), N, D, D));
}

/* The first tokens stay bit by bit, whatever the recipe stores the others in; those are encoded group by
 * group. */
static void test_exact(void **state)
{
    (void)state;
    enum { EXACT = 5 };
    bench b;
    bench_open(&b, 77);
    bench_pool(&b);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 3);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 150);
    test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 20);
    observe(&b);
    prefill(&b, true);
    const size_t row = 64 * sizeof(uint16_t);
    uint8_t k[EXACT * 128], v[EXACT * 128];
    const fvi_run_view *fresh = fvi_kv_seq_lists(b.seq, 3)[1].runs;
    assert_true(fresh->n_token >= EXACT);
    memcpy(k, fresh->data, sizeof k);
    memcpy(v, fresh->data + fresh->capacity * row, sizeof v);
    static float all_k[173 * 64], all_v[173 * 64];
    fvi_codec_decode(fresh->codec, fresh->data, fresh->capacity, 64, 64, 0, 173, all_k, 64, all_v,
                     64);
    fvi_kv_plan *plan = plan_of(&b, "random:keep=0.9,vision=int2-chan,text=int4,exact=5");
    for (uint32_t list = 0; list < plan->n_list; list++) {
        for (uint32_t t = 0; t < plan->n_token; t++) {
            uint8_t kind = plan->kind[(size_t)list * plan->n_token + t];
            assert_true(t < EXACT ? kind == FOVEA_KIND_F16 : kind != FOVEA_KIND_F16);
        }
    }
    assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
    const fvi_run_view *sealed = fvi_kv_seq_lists(b.seq, 3)[1].runs;
    assert_int_equal(sealed->codec->kind, FOVEA_KIND_F16);
    assert_int_equal(sealed->n_token, EXACT);
    assert_memory_equal(sealed->data, k, sizeof k);
    assert_memory_equal(sealed->data + EXACT * row, v, sizeof v);
    /* the vision tokens lie as if the kept ones had been encoded in one go, in groups of 64 to 127 */
    static float kept_k[173 * 64], kept_v[173 * 64];
    uint32_t n = 0;
    for (uint32_t t = 0; t < plan->n_token; t++) {
        if (plan->kind[(size_t)7 * plan->n_token + t] == FOVEA_KIND_INT2_CHAN) {
            memcpy(kept_k + n * 64, all_k + t * 64, 64 * sizeof *all_k);
            memcpy(kept_v + n++ * 64, all_v + t * 64, 64 * sizeof *all_v);
        }
    }
    const fvi_codec *chan = fvi_codec_of(FOVEA_KIND_INT2_CHAN);
    const fvi_run_view *vision = sealed + 2;
    assert_ptr_equal(vision->codec, chan);
    assert_int_equal(vision->n_token, n);
    assert_true(n >= 128);
    size_t n_bytes = fvi_codec_bytes(chan, n, 64, 64);
    uint8_t *run = malloc(n_bytes);
    fvi_codec_encode(chan, run, n, 64, 64, 0, n, kept_k, 64, kept_v, 64);
    assert_memory_equal(vision->data, run, n_bytes);
    free(run);
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_kv_seq_ledger(b.seq, &ledger);
    assert_int_equal(ledger.kind_slots[FOVEA_KIND_F16], EXACT * plan->n_list);
    assert_int_equal(ledger.kind_bytes[FOVEA_KIND_F16], EXACT * plan->n_list * 2 * row);
    assert_int_equal(ledger.realised_bytes, plan->n_bytes);
    fvi_kv_plan_free(&plan);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
