/* test_faults.c - the nth allocation fails, for every n, while a backend is opened and does each operation
 * once: an error comes back, what is open stays usable, and nothing is leaked. Also: the second round of the
 * same operations allocates nothing. */
#include "tests/ops/ops_test.h"

#include "kvcompress/codecs.h"

typedef struct counter {
    uint32_t n, fail_at, n_open; /* fail_at 0: never */
} counter;

static void *count_alloc(void *user, size_t n_bytes)
{
    counter *self = user;
    if (++self->n == self->fail_at) {
        return NULL;
    }
    void *memory = fvi_alloc_default.alloc(NULL, n_bytes);
    self->n_open += memory != NULL;
    return memory;
}

static void count_release(void *user, void *memory)
{
    counter *self = user;
    self->n_open -= memory != NULL;
    fvi_alloc_default.release(NULL, memory);
}

enum { M = 9, D = 64, HEADS = 4, KV = 2, TOKENS = 40 };

typedef struct data {
    float *x, *y, *mass_memory;
    uint16_t *w;
    fvi_run_view run;
    fvi_list_view lists[M * KV];
    float *mass[M * KV];
} data;

static data make_data(void)
{
    uint64_t seed = 31;
    const fvi_codec *codec = fvi_codec_of(FOVEA_KIND_INT4);
    uint8_t *run = must_alloc(fvi_codec_bytes(codec, TOKENS, D, D));
    data d = {.x = random_floats(&seed, M * HEADS * D * 3, 1), .run = {run, codec, TOKENS, TOKENS}};
    d.y = must_alloc(M * HEADS * D * 3 * sizeof(float));
    d.w = must_alloc(HEADS * D * HEADS * D * sizeof *d.w);
    d.mass_memory = must_alloc(M * KV * TOKENS * sizeof(float));
    memset(d.mass_memory, 0, M * KV * TOKENS * sizeof(float));
    fvi_convert(d.w, FVI_DTYPE_BF16, d.x, FVI_DTYPE_F32, M * HEADS * D * 3);
    fvi_codec_encode(codec, run, TOKENS, D, D, 0, TOKENS, d.x, D, d.x, D);
    return d;
}

static void free_data(data *d)
{
    release(d->x);
    release(d->y);
    release(d->w);
    release(d->mass_memory);
    release(d->run.data);
}

/* Every operation once; true when all succeeded. Errors can only be FOVEA_ERR_NOMEM. */
static bool run_all(fvi_backend *b, data *d)
{
    static const uint32_t visible[KV] = {TOKENS - M + 1, TOKENS - M + 1};
    const uint32_t width = HEADS * D;
    for (uint32_t i = 0; i < M * KV; i++) {
        d->lists[i] = (fvi_list_view){&d->run, 1, TOKENS};
        d->mass[i] = d->mass_memory + i * TOKENS;
    }
    fvi_linear_args linear = {.x = d->x,
                              .x_stride = width,
                              .w = d->w,
                              .w_dtype = FVI_DTYPE_BF16,
                              .y = d->y,
                              .y_stride = width,
                              .m = M,
                              .n = width,
                              .k = width};
    fvi_linear_args prefill_linear = linear;
    prefill_linear.rows = FVI_ROWS_PREFILL;
    fvi_norm_args norm = {d->x, width, d->x, NULL, d->y, width, M, width, 1e-6f};
    fvi_act_args act = {d->x, d->x, d->y, width, width, width, M, width, FVI_ACT_SILU};
    fvi_rope_args rope = {d->y, width, d->x, d->x, M, HEADS, D};
    fvi_attn_decode_args decode = {d->x, d->lists, d->y, NULL, d->mass, M, HEADS, KV, D, D, 0.125f};
    fvi_attn_prefill_args prefill = {d->x, d->lists, visible, d->y, M, HEADS, KV, D, D, 0.125f};
    fvi_observe_args observe = {d->x,  d->lists, visible, d->mass, NULL,   M,
                                HEADS, KV,       D,       D,       0.125f, 0.01f};
    fvi_attn_full_args full = {d->x, d->x, d->x, d->y, width, M, HEADS, D, 0.125f, FVI_DTYPE_BF16};
    const fovea_status all[] = {
        b->ops.linear(b, &linear),
        b->ops.linear(b, &prefill_linear),
        b->ops.rms_norm(b, &norm),
        b->ops.layer_norm(b, &norm),
        b->ops.act(b, &act),
        b->ops.rope(b, &rope),
        b->ops.attn_decode(b, &decode),
        b->ops.attn_prefill(b, &prefill),
        b->ops.observe(b, &observe),
        b->ops.attn_full(b, &full),
    };
    bool good = true;
    for (uint32_t i = 0; i < FVI_COUNT(all); i++) {
        assert_true(all[i] == FOVEA_OK || all[i] == FOVEA_ERR_NOMEM);
        good = good && all[i] == FOVEA_OK;
    }
    return good;
}

static void test_nth_failure(void **state)
{
    (void)state;
    data d = make_data();
    for (uint32_t level = 0; level < FVI_COUNT(levels); level++) {
        bool failed = true;
        for (uint32_t fail_at = 1; failed; fail_at++) {
            counter count = {.fail_at = fail_at};
            const fovea_alloc alloc = {count_alloc, count_release, &count};
            fvi_backend *backend = NULL;
            fovea_error err = {0};
            fovea_status status = fvi_backend_cpu_open(&alloc, 2, levels[level], &backend, &err);
            failed = status < 0;
            if (failed) {
                assert_int_equal(status, FOVEA_ERR_NOMEM);
                assert_null(backend);
                assert_true(err.text[0] != 0);
            } else {
                failed = !run_all(backend, &d);
                assert_true(run_all(backend, &d)); /* only one allocation fails */
                fvi_backend_close(&backend);
            }
            assert_int_equal(count.n_open, 0);
            assert_int_equal(failed, fail_at <= count.n);
            assert_in_range(fail_at, 1, 200);
        }
    }
    free_data(&d);
}

static void test_steady(void **state)
{
    (void)state;
    data d = make_data();
    for (uint32_t level = 0; level < FVI_COUNT(levels); level++) {
        counter count = {0};
        const fovea_alloc alloc = {count_alloc, count_release, &count};
        fvi_backend *backend = NULL;
        assert_int_equal(fvi_backend_cpu_open(&alloc, 2, levels[level], &backend, NULL), FOVEA_OK);
        assert_true(run_all(backend, &d));
        uint32_t n = count.n;
        size_t scratch = fvi_backend_scratch_bytes(backend);
        assert_true(scratch > 0);
        for (uint32_t round = 0; round < 3; round++) {
            assert_true(run_all(backend, &d));
        }
        assert_int_equal(count.n, n);
        assert_int_equal(fvi_backend_scratch_bytes(backend), scratch);
        fvi_backend_close(&backend);
        assert_null(backend);
        fvi_backend_close(&backend); /* accepts NULL */
    }
    free_data(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nth_failure),
                                       cmocka_unit_test(test_steady)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
