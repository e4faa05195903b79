/* test_gains.c - what compression buys, measured (papers: VL-Cache 'gains'): live requests under one cap of
 * bytes with the prefill peak counted, and attention time on the SmolLM2-135M shape at depth 8,192.
 *
 * The VL-Cache paper projects its concurrency, because there the prefill peak stays; here requests are
 * really admitted. Bounds leave room for a noisy machine; the figures are printed. Time is one thread's: beside other
 * tests, a second one waits for a core longer than what is kept takes to read. */
#include "kvcompress/codecs.h"
#include "sdk/ops/backend.h"

#include <fovea/fovea.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define CAP_BYTES ((uint64_t)12 << 20)
#define ALPHA     0.1
#define MAX_LIVE  256

/* Sessions that hold their planned prompt before the pool lets no other in. */
static uint32_t count_live(const char *recipe, uint64_t *peak)
{
    static fovea_session *sessions[MAX_LIVE];
    char model[512], picture[512];
    fovea_error err = {.text = ""};
    fovea_engine *engine = NULL;
    fovea_image *image = NULL;
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    snprintf(picture, sizeof picture, "%s/samples/images/shapes.png", FOVEA_SOURCE_DIR);
    fovea_engine_options options = {.size = sizeof options, .model = model, .kv_bytes = CAP_BYTES};
    assert_int_equal(fovea_engine_open(&options, &engine, &err), FOVEA_OK);
    assert_int_equal(fovea_image_from_file(picture, NULL, &image, &err), FOVEA_OK);
    fovea_part parts[2] = {{.image = image}, {.text = "Describe the image."}};
    fovea_session_options session = {.size = sizeof session, .recipe = recipe};
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    uint32_t n = 0;
    fovea_status status = FOVEA_DONE;
    while (status == FOVEA_DONE && n < MAX_LIVE) {
        fovea_generation *generation = NULL;
        fovea_token token;
        fovea_engine_stats stats = {.size = sizeof stats};
        assert_int_equal(fovea_session_new(engine, &session, &sessions[n], &err), FOVEA_OK);
        assert_int_equal(fovea_session_add_message(sessions[n], FOVEA_ROLE_USER, parts, 2, &err),
                         FOVEA_OK);
        assert_int_equal(fovea_session_generate(sessions[n], &plan, &generation, &err), FOVEA_OK);
        do { /* running, however slowly, or waiting for bytes that nobody will give back */
            status = fovea_generation_next(generation, 100, &token, NULL);
            /* answered between steps: a second answer means that a step has tried to admit since the first */
            assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
            assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
        } while (status == FOVEA_AGAIN && (stats.n_running > 0 || stats.n_waiting == 0));
        fovea_generation_free(&generation);
        n++;
    }
    uint32_t n_live = n - (status != FOVEA_DONE);
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    *peak = stats.kv_peak_bytes;
    for (uint32_t i = 0; i < n; i++) {
        fovea_session_free(&sessions[i]);
    }
    fovea_image_free(&image);
    fovea_engine_close(&engine);
    return n_live;
}

static void test_live_requests(void **state)
{
    (void)state;
    uint64_t peak_full, peak_cut;
    uint32_t n_full = count_live("none", &peak_full);
    uint32_t n_cut = count_live("vl-cache:keep=0.1", &peak_cut);
    print_message("live requests under %llu bytes: none %u, vl-cache:keep=0.1 %u (%.1fx); peak "
                  "%llu and %llu\n",
                  (unsigned long long)CAP_BYTES, n_full, n_cut, (double)n_cut / n_full,
                  (unsigned long long)peak_full, (unsigned long long)peak_cut);
    assert_true(peak_full <= CAP_BYTES && peak_cut <= CAP_BYTES);
    assert_true(n_full >= 8);
    assert_true((double)n_cut / n_full >= 0.8 / ALPHA);
}

#define N_HEAD    9
#define N_KV_HEAD 3
#define HEAD_DIM  64
#define DEPTH     8192
#define N_LAYER   8 /* of the model's 30: 50 MB of lists, more than the caches hold */
#define N_ROUND   21

typedef struct layers {
    uint8_t *data[N_LAYER * N_KV_HEAD];
    fvi_run_view runs[N_LAYER * N_KV_HEAD];
    fvi_list_view lists[N_LAYER * N_KV_HEAD];
} layers;

static void make_layers(layers *self, uint32_t n_token)
{
    const fvi_codec *f16 = fvi_codec_of(FOVEA_KIND_F16);
    size_t n_bytes = fvi_codec_bytes(f16, n_token, HEAD_DIM, HEAD_DIM);
    for (uint32_t i = 0; i < N_LAYER * N_KV_HEAD; i++) {
        self->data[i] = fvi_alloc(&fvi_alloc_default, n_bytes);
        assert_non_null(self->data[i]);
        for (size_t b = 0; b < n_bytes; b += 2) { /* halves of about 1 */
            self->data[i][b] = (uint8_t)(b * 37);
            self->data[i][b + 1] = 0x3c;
        }
        self->runs[i] = (fvi_run_view){
            .data = self->data[i], .codec = f16, .n_token = n_token, .capacity = n_token};
        self->lists[i] = (fvi_list_view){.runs = &self->runs[i], .n_run = 1, .n_token = n_token};
    }
}

static double time_layers(fvi_backend *backend, const layers *self, const float *q, float *out)
{
    int64_t begin = fvi_now_ns();
    for (uint32_t l = 0; l < N_LAYER; l++) {
        fvi_attn_decode_args args = {.q = q,
                                     .lists = self->lists + l * N_KV_HEAD,
                                     .out = out,
                                     .n_row = 1,
                                     .n_head = N_HEAD,
                                     .n_kv_head = N_KV_HEAD,
                                     .dk = HEAD_DIM,
                                     .dv = HEAD_DIM,
                                     .scale = 0.125f};
        assert_int_equal(backend->ops.attn_decode(backend, &args), FOVEA_OK);
    }
    return (double)(fvi_now_ns() - begin) * 1e-3;
}

static void test_attention_time(void **state)
{
    (void)state;
    static layers full, cut;
    static float q[N_HEAD * HEAD_DIM], out[N_HEAD * HEAD_DIM];
    fvi_backend *backend = NULL;
    fovea_error err;
    double best_full = INFINITY, best_cut = INFINITY;
    assert_int_equal(fvi_backend_cpu_open(&fvi_alloc_default, 1, 0, &backend, &err), FOVEA_OK);
    make_layers(&full, DEPTH);
    make_layers(&cut, (uint32_t)(DEPTH * ALPHA));
    for (uint32_t i = 0; i < N_HEAD * HEAD_DIM; i++) {
        q[i] = 0.01f * (float)(i % 17);
    }
    for (uint32_t round = 0; round < N_ROUND; round++) { /* in turns, so a neighbour hits both */
        best_full = fmin(best_full, time_layers(backend, &full, q, out));
        best_cut = fmin(best_cut, time_layers(backend, &cut, q, out));
    }
    print_message(
        "attention, %d layers of the 135M shape: depth %d %.0f us, %d%% kept %.0f us (%.1fx)\n",
        N_LAYER, DEPTH, best_full, (int)(100 * ALPHA), best_cut, best_full / best_cut);
    assert_true(best_full / best_cut >= 0.5 / ALPHA);
    for (uint32_t i = 0; i < N_LAYER * N_KV_HEAD; i++) {
        fvi_free(&fvi_alloc_default, full.data[i]);
        fvi_free(&fvi_alloc_default, cut.data[i]);
    }
    fvi_backend_close(&backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_live_requests),
                                       cmocka_unit_test(test_attention_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
