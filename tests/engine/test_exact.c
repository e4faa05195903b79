/* test_exact.c - what must be bit-identical: `none` against a contiguous cache that exists only in the tests;
 * keep=1.0 and bytes=100%, which rewrite every run, against `none`; a sequence alone against the same one in
 * company; any division of a prompt's cache into extents.
 *
 * The contiguous path is the engine's decoder compiled over contiguous.c (see contiguous.h); it comes in
 * through the functions declared below, whose types are the same but for their names. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_STEP 40
#define VOCAB_MAX 2048

/* contiguous_run.c: prefill and N_STEP forced tokens; logits [1 + n_token, vocab]. */
void contiguous_run(const char *model_dir, fovea_precision precision, const char *prompt,
                    const char *const *files, uint32_t n_file, const int32_t *tokens, uint32_t n_token,
                    float *logits);

static const char *const prompts[] = {"USER: What is the time? ASSISTANT:",
                                      "USER: <image>\nDescribe the image. ASSISTANT:"};

static char model_dir[512], photo[512];
static const char *const photos[] = {photo};

static void force_tokens(int32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)(40 + (i * 37) % 1400);
    }
}

/* Runs the prompt with a recipe and the same forced tokens; logits as contiguous_run has them. */
static void run_recipe(harness *h, const char *text, const char *prompt, uint32_t n_file,
                       const int32_t *tokens, uint32_t n_step, float *logits)
{
    fovea_error err = {.text = ""};
    fvi_recipe recipe;
    fvi_turn turn = {0};
    fvi_kv_seq *seq = NULL;
    fvi_kv_obs *obs = NULL;
    fvi_kv_plan *plan = NULL;
    size_t vocab = h->model->config.vocab;
    assert_int_equal(fvi_recipe_parse(text, &recipe, &err), FOVEA_OK);
    harness_turn(h, prompt, photos, n_file, &turn);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h->pool, &h->model->geom, &seq), FOVEA_OK);
    uint32_t n = (uint32_t)turn.ids.n;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &h->model->geom, n, FVI_NEED_ALL, &obs), FOVEA_OK);
    fvi_kv_obs_set_spans(obs, turn.spans, turn.n_span);
    harness_prefill(h, seq, &turn, obs);
    memcpy(logits, h->logits, vocab * sizeof(float));
    if (fvi_kv_plan_wanted(seq, &recipe)) {
        if (fvi_kv_plan_make(seq, &recipe, obs, &plan, &err) != FOVEA_OK) {
            fail_msg("%s: %s", text, err.text);
        }
        assert_int_equal(fvi_kv_plan_apply(seq, plan), FOVEA_OK);
        fvi_kv_plan_free(&plan);
    }
    for (uint32_t i = 0; i < n_step; i++) {
        harness_decode(h, &seq, &tokens[i], 1);
        memcpy(logits + (i + 1) * vocab, h->logits, vocab * sizeof(float));
    }
    fvi_kv_obs_unref(&obs);
    fvi_kv_seq_free(&seq);
    fvi_turn_free(&turn);
}

/* Everything kept, whichever way it is said. */
static const char *const whole[] = {"vl-cache:keep=1.0", "vl-cache:bytes=100%", "random:keep=1.0",
                                    "vl-cache:text.keep=1,vision.keep=1",
                                    "random:bytes=100%,text.keep=1", "h2o:keep=1,vision.keep=1"};

static void check_precision(fovea_precision precision)
{
    static float want[(N_STEP + 1) * VOCAB_MAX];
    static float got[(N_STEP + 1) * VOCAB_MAX];
    int32_t tokens[N_STEP];
    harness h;
    force_tokens(tokens, N_STEP);
    harness_open(&h, model_dir, precision, 0, 64, (size_t)32 << 20);
    size_t n_bytes = (N_STEP + 1) * (size_t)h.model->config.vocab * sizeof(float);
    assert_true(h.model->config.vocab <= VOCAB_MAX);
    for (uint32_t p = 0; p < 2; p++) {
        contiguous_run(model_dir, precision, prompts[p], photos, p, tokens, N_STEP, want);
        run_recipe(&h, "none", prompts[p], p, tokens, N_STEP, got);
        assert_memory_equal(want, got, n_bytes);
        for (uint32_t r = 0; r < FVI_COUNT(whole); r++) {
            memset(got, 0, sizeof got);
            run_recipe(&h, whole[r], prompts[p], p, tokens, N_STEP, got);
            if (memcmp(want, got, n_bytes) != 0) {
                fail_msg("prompt %u, recipe %s: logits differ", p, whole[r]);
            }
        }
        /* the comparison can fail: dropping must change something */
        run_recipe(&h, "random:keep=0.5", prompts[p], p, tokens, N_STEP, got);
        assert_memory_not_equal(want, got, n_bytes);
    }
    harness_close(&h);
}

static void test_contiguous_bf16(void **state)
{
    (void)state;
    check_precision(FOVEA_PRECISION_BF16);
}

static void test_contiguous_f32(void **state)
{
    (void)state;
    check_precision(FOVEA_PRECISION_F32);
}

/* Every preset, when it keeps everything, leaves the logits as they are. */
static void test_presets(void **state)
{
    (void)state;
    enum { N_FEW = 6 };
    static const char *const amounts[] = {"keep=1.0", "bytes=100%"};
    static float want[(N_STEP + 1) * VOCAB_MAX];
    static float got[(N_STEP + 1) * VOCAB_MAX];
    int32_t tokens[N_STEP];
    harness h;
    force_tokens(tokens, N_STEP);
    harness_open(&h, model_dir, FOVEA_PRECISION_BF16, 0, 64, (size_t)32 << 20);
    size_t n_bytes = (N_FEW + 1) * (size_t)h.model->config.vocab * sizeof(float);
    run_recipe(&h, "none", prompts[1], 1, tokens, N_FEW, want);
    uint32_t n = 0;
    for (const char *name; (name = fovea_recipe_name("presets", n + 1)) != NULL; n++) {
        for (uint32_t a = 0; a < FVI_COUNT(amounts); a++) {
            char text[64];
            fvi_recipe plain; /* without a score nothing is dropped, and there is no amount to give */
            bool is_plain = fvi_recipe_parse(name, &plain, NULL) == FOVEA_OK;
            snprintf(text, sizeof text, is_plain ? "%s" : "%s:%s", name, amounts[a]);
            memset(got, 0, sizeof got);
            run_recipe(&h, text, prompts[1], 1, tokens, N_FEW, got);
            if (memcmp(want, got, n_bytes) != 0) {
                fail_msg("%s: logits differ", text);
            }
        }
    }
    assert_true(n >= 17);
    harness_close(&h);
}

/* Takes every second granule of the pool, so that every run breaks into pieces of one granule. */
static uint32_t fragment(fvi_kv_pool *pool, fvi_kv_extent **held, uint32_t n_max)
{
    static fvi_kv_extent *all[65536];
    uint32_t n = 0;
    while (n < FVI_COUNT(all) && fvi_kv_pool_take(pool, 1, 1, &all[n]) == FOVEA_OK) {
        n++;
    }
    uint32_t n_held = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i % 2 == 0 && n_held < n_max) {
            held[n_held++] = all[i];
        } else {
            fvi_kv_chain_unref(pool, &all[i]);
        }
    }
    return n_held;
}

static void test_fragmented_pool(void **state)
{
    (void)state;
    static float want[(N_STEP + 1) * VOCAB_MAX];
    static float got[(N_STEP + 1) * VOCAB_MAX];
    static fvi_kv_extent *held[65536];
    int32_t tokens[N_STEP];
    harness h;
    force_tokens(tokens, N_STEP);
    harness_open(&h, model_dir, FOVEA_PRECISION_BF16, 0, 64, (size_t)8 << 20);
    size_t n_bytes = (N_STEP + 1) * (size_t)h.model->config.vocab * sizeof(float);
    run_recipe(&h, "vl-cache:keep=0.3", prompts[1], 1, tokens, N_STEP, want);
    uint32_t n_held = fragment(h.pool, held, FVI_COUNT(held));
    assert_true(n_held > 1000);
    run_recipe(&h, "vl-cache:keep=0.3", prompts[1], 1, tokens, N_STEP, got);
    assert_memory_equal(want, got, n_bytes);
    for (uint32_t i = 0; i < n_held; i++) {
        fvi_kv_chain_unref(h.pool, &held[i]);
    }
    harness_close(&h);
}

static void test_company(void **state)
{
    (void)state;
    enum { N_SEQ = 8, N_TOKEN = 12 };
    static float alone[N_SEQ][N_TOKEN][VOCAB_MAX];
    harness h;
    fvi_kv_seq *seqs[N_SEQ] = {NULL};
    harness_open(&h, model_dir, FOVEA_PRECISION_BF16, 0, 256, (size_t)64 << 20);
    size_t vocab = h.model->config.vocab;
    for (uint32_t together = 0; together < 2; together++) {
        for (uint32_t s = 0; s < N_SEQ; s++) {
            char prompt[64];
            fvi_turn turn = {0};
            snprintf(prompt, sizeof prompt, "USER: %.*s? ASSISTANT:", (int)(3 * s + 1),
                     "what is the colour of the sky");
            harness_turn(&h, prompt, NULL, 0, &turn);
            assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h.pool, &h.model->geom, &seqs[s]),
                             FOVEA_OK);
            harness_prefill(&h, seqs[s], &turn, NULL);
            fvi_turn_free(&turn);
        }
        for (uint32_t t = 0; t < N_TOKEN; t++) {
            int32_t tokens[N_SEQ];
            for (uint32_t s = 0; s < N_SEQ; s++) {
                tokens[s] = (int32_t)(100 + 31 * s + 7 * t);
            }
            for (uint32_t s = 0; s < N_SEQ && !together; s++) {
                harness_decode(&h, &seqs[s], &tokens[s], 1);
                memcpy(alone[s][t], h.logits, vocab * sizeof(float));
            }
            if (together) {
                harness_decode(&h, seqs, tokens, N_SEQ);
                for (uint32_t s = 0; s < N_SEQ; s++) {
                    assert_memory_equal(alone[s][t], h.logits + s * vocab, vocab * sizeof(float));
                }
            }
        }
        for (uint32_t s = 0; s < N_SEQ; s++) {
            fvi_kv_seq_free(&seqs[s]);
        }
    }
    harness_close(&h);
}

int main(void)
{
    harness_path(model_dir, sizeof model_dir, "samples", "model");
    harness_path(photo, sizeof photo, "tests/golden/models/images", "photo.png");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contiguous_bf16), cmocka_unit_test(test_contiguous_f32),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_fragmented_pool), cmocka_unit_test(test_company)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
