/* test_while.c - eviction while decoding, through the public headers, on the default model.
 *
 * The policies themselves are held against a plain model in tests/kvcompress/test_slots.c; here: that lists
 * hold their cap in real answers, that a cap which is never reached changes not one bit, that admission counts
 * on the cap, and that turns and forks go on from what is held. */
#include "harness.h"

#include "kvcompress/slots.h"

#include <fovea/fovea.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_LAYER 8
#define N_HEAD  2
#define N_TOP   5
#define MOST    512

static fovea_engine *engine;
static fovea_image *image;

static int open_engine(void **state)
{
    (void)state;
    char model[512], picture[512];
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    snprintf(picture, sizeof picture, "%s/samples/images/shapes.png", FOVEA_SOURCE_DIR);
    fovea_engine_options options = {.size = sizeof options, .model = model, .kv_bytes = 4 << 20};
    return fovea_engine_open(&options, &engine, NULL) < 0 ||
           fovea_image_from_file(picture, NULL, &image, NULL) < 0;
}

static int close_engine(void **state)
{
    (void)state;
    fovea_image_free(&image);
    fovea_engine_close(&engine);
    return 0;
}

static fovea_session *new_session(const char *recipe, uint32_t flags)
{
    fovea_session_options options = {.size = sizeof options, .recipe = recipe, .flags = flags};
    fovea_session *session = NULL;
    fovea_error err = {.text = ""};
    if (fovea_session_new(engine, &options, &session, &err) != FOVEA_OK) {
        fail_msg("%s: %s", recipe, err.text);
    }
    return session;
}

typedef struct answer {
    uint32_t n;
    int32_t ids[MOST];
    fovea_logprob top[MOST][N_TOP];
} answer;

static void ask(fovea_session *session, bool with_image, uint32_t n_token, answer *out)
{
    fovea_part parts[2] = {{.text = "What is in the picture?"}};
    if (with_image) {
        parts[1] = parts[0];
        parts[0] = (fovea_part){.image = image};
    }
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = n_token, .ignore_end = 1, .n_logprobs = N_TOP};
    fovea_generation *generation = NULL;
    fovea_token token;
    fovea_error err = {.text = ""};
    assert_int_equal(
        fovea_session_add_message(session, FOVEA_ROLE_USER, parts, with_image ? 2 : 1, &err),
        FOVEA_OK);
    if (fovea_session_generate(session, &how, &generation, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    out->n = 0;
    while (fovea_generation_next(generation, -1, &token, &err) == FOVEA_OK) {
        memcpy(out->top[out->n], token.top, sizeof out->top[0]);
        out->ids[out->n++] = token.id;
    }
    assert_int_equal(out->n, n_token);
    fovea_generation_free(&generation);
}

/* Tokens of a list by kind: f16 and int2. */
static void count_kept(fovea_session *session, uint32_t layer, uint32_t head, uint32_t n[2])
{
    uint8_t kinds[4096];
    uint32_t n_token = sizeof kinds;
    n[0] = n[1] = 0;
    assert_int_equal(fovea_session_kept(session, layer, head, kinds, &n_token), FOVEA_OK);
    for (uint32_t i = 0; i < n_token; i++) {
        n[0] += kinds[i] == FOVEA_KIND_F16;
        n[1] += kinds[i] == FOVEA_KIND_INT2;
    }
}

/* A prompt of 275 and ten times the cap generated, in two turns: every list holds its cap and no more. */
static void test_lists_hold_the_cap(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        uint32_t n_sharp, n_blurred;
    } cases[] = {
        {"while=h2o,cap=24", 24, 0},
        {"while=streaming,cap=24", 24, 0},
        {"while=h2o,cap=24,evicted=int2,blurred=48", 24, 48},
        {"vl-cache:keep=0.5,while=streaming,cap=24", 24, 0},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer out;
        fovea_session *session = new_session(cases[i].recipe, 0);
        for (uint32_t turn = 0; turn < 2; turn++) {
            ask(session, turn == 0, turn == 0 ? 240 : 30, &out);
            for (uint32_t list = 0; list < N_LAYER * N_HEAD; list++) {
                uint32_t n[2];
                count_kept(session, list / N_HEAD, list % N_HEAD, n);
                assert_int_equal(n[0], cases[i].n_sharp);
                assert_int_equal(n[1], cases[i].n_blurred);
            }
            fovea_ledger ledger = {.size = sizeof ledger};
            fovea_engine_stats stats = {.size = sizeof stats};
            assert_int_equal(fovea_session_ledger(session, &ledger), FOVEA_OK);
            assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
            assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, stats.kv_used_bytes);
            assert_true(stats.kv_used_bytes < 72 * 4096 * 3 / 2);
        }
        fovea_session_free(&session);
    }
}

/* Where nothing has to go, nothing changes. */
static void test_wide_cap_is_none(void **state)
{
    (void)state;
    static answer none, wide;
    fovea_session *session = new_session("none", 0);
    ask(session, true, 24, &none);
    fovea_session_free(&session);
    static const char *const recipes[] = {
        "while=h2o,cap=2000", "while=streaming,cap=2000,evicted=int2", "recall=quest,attend=2000"};
    for (uint32_t i = 0; i < 3; i++) {
        session = new_session(recipes[i], 0);
        ask(session, true, 24, &wide);
        assert_memory_equal(wide.ids, none.ids, none.n * sizeof *none.ids);
        assert_memory_equal(wide.top, none.top, none.n * sizeof none.top[0]);
        fovea_session_free(&session);
    }
}

/* 4 MiB hold a thousand tokens: an answer of 1,200 is refused, unless lists are capped. */
static void test_admission_counts_on_the_cap(void **state)
{
    (void)state;
    fovea_part parts[2] = {{.image = image}, {.text = "What is in the picture?"}};
    fovea_generate_options how = {.size = sizeof how, .max_tokens = 1200, .ignore_end = 1};
    static const char *const recipes[] = {"none", "while=streaming,cap=2000", "while=h2o,cap=64"};
    for (uint32_t i = 0; i < 3; i++) {
        fovea_generation *generation = NULL;
        fovea_session *session = new_session(recipes[i], 0);
        assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, NULL),
                         FOVEA_OK);
        assert_int_equal(fovea_session_generate(session, &how, &generation, NULL),
                         i < 2 ? FOVEA_ERR_FULL : FOVEA_OK);
        fovea_generation_free(&generation);
        fovea_session_free(&session);
    }
}

/* A fork of a full prompt may be capped; its answer is that of a session that was so from the start. */
static void test_fork_takes_the_recipe(void **state)
{
    (void)state;
    static answer direct, forked;
    const char *recipe = "while=h2o,cap=48,evicted=int2,blurred=32";
    fovea_session *session = new_session(recipe, 0), *fork = NULL;
    ask(session, true, 60, &direct);
    fovea_session_free(&session);
    fovea_part parts[2] = {{.image = image}, {.text = "What is in the picture?"}};
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = 60, .ignore_end = 1, .n_logprobs = N_TOP};
    fovea_generation *generation = NULL;
    fovea_token token;
    fovea_error err = {.text = ""};
    session = new_session("none", FOVEA_SESSION_KEEP_OBSERVATIONS);
    assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_generate(session, &plan, &generation, NULL), FOVEA_OK);
    assert_int_equal(fovea_generation_next(generation, -1, &token, NULL), FOVEA_DONE);
    fovea_generation_free(&generation);
    if (fovea_session_fork(session, recipe, &fork, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(fovea_session_generate(fork, &how, &generation, NULL), FOVEA_OK);
    for (forked.n = 0; fovea_generation_next(generation, -1, &token, NULL) == FOVEA_OK;
         forked.n++) {
        memcpy(forked.top[forked.n], token.top, sizeof forked.top[0]);
        forked.ids[forked.n] = token.id;
    }
    fovea_generation_free(&generation);
    assert_int_equal(forked.n, 60);
    assert_memory_equal(forked.ids, direct.ids, 60 * sizeof *direct.ids);
    assert_memory_equal(forked.top, direct.top, 60 * sizeof direct.top[0]);
    fovea_session_free(&fork);
    fovea_session_free(&session);
}

static double mass_of(const fvi_kv_seq *seq, uint32_t list, uint32_t n)
{
    const float *mass = fvi_kv_seq_mass(seq, list);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += mass[i];
    }
    return sum;
}

/* Every query head of every row spends an attention of 1: while nothing is evicted, a list's masses add up to
 * rows times heads, of the prompt, of what is decoded, and of a second prompt, which pays to both. */
static void test_mass_is_conserved(void **state)
{
    (void)state;
    harness h;
    char dir[512];
    harness_path(dir, sizeof dir, "samples", "model");
    harness_open(&h, dir, FOVEA_PRECISION_BF16, 0, 64, 16 << 20);
    double group = (double)h.model->config.n_head / h.model->config.n_kv_head;
    fvi_kv_seq *seq = NULL;
    fvi_recipe recipe;
    uint32_t n_row = 0;
    assert_int_equal(fvi_recipe_parse("while=h2o,cap=500", &recipe, NULL), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h.pool, &h.model->geom, &seq), FOVEA_OK);
    for (uint32_t turn = 0; turn < 2; turn++) {
        fvi_turn prompt;
        fvi_kv_obs *obs = NULL;
        harness_turn(&h, turn == 0 ? "One two three four five six seven." : "And what now?", NULL,
                     0, &prompt);
        uint32_t needs = recipe.reviser->prompt->needs;
        assert_int_equal(
            fvi_kv_obs_new(&fvi_alloc_default, &h.model->geom, (uint32_t)prompt.ids.n, needs, &obs),
            FOVEA_OK);
        fvi_kv_obs_set_spans(obs, prompt.spans, prompt.n_span);
        harness_prefill(&h, seq, &prompt, obs);
        assert_int_equal(fvi_kv_slots_open(seq, &recipe, obs, NULL, 8), FOVEA_OK);
        n_row += (uint32_t)prompt.ids.n;
        for (uint32_t t = 0; t <= 6; t++) {
            for (uint32_t list = 0; list < N_LAYER * N_HEAD; list++) {
                double mass = mass_of(seq, list, n_row);
                assert_true(fabs(mass - n_row * group) < 1e-3 * n_row * group);
            }
            if (t < 6) {
                int32_t token = harness_argmax(h.logits, h.model->config.vocab);
                harness_decode(&h, &seq, &token, 1);
                n_row++;
            }
        }
        fvi_kv_obs_unref(&obs);
        fvi_turn_free(&prompt);
    }
    fvi_kv_seq_free(&seq);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_hold_the_cap),
        cmocka_unit_test(test_mass_is_conserved),
        cmocka_unit_test(test_wide_cap_is_none),
        cmocka_unit_test(test_admission_counts_on_the_cap),
        cmocka_unit_test(test_fork_takes_the_recipe),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
