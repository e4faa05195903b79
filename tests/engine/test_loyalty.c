/* test_loyalty.c - agreement with the full cache: nothing lost gives 1 and 0 to the bit, a lossy recipe what two
 * sequences without a scheduler give, fed the same answer; and the shadow is booked, admitted and given back. */
#include "harness.h"

#include <fovea/fovea.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PROMPT "USER: <image>\nRead all signs. ASSISTANT:"
#define LOSSY  "streaming:keep=0.2"
#define MOST   96

static char model[512], picture[512];
static fovea_image *image;

static int set_up(void **state)
{
    (void)state;
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    snprintf(picture, sizeof picture, "%s/samples/images/signs.png", FOVEA_SOURCE_DIR);
    return fovea_image_from_file(picture, NULL, &image, NULL) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    fovea_image_free(&image);
    return 0;
}

static fovea_engine *open_engine(uint64_t kv_bytes)
{
    fovea_engine_options options = {.size = sizeof options, .model = model, .kv_bytes = kv_bytes};
    fovea_engine *engine = NULL;
    fovea_error err = {.text = ""};
    if (fovea_engine_open(&options, &engine, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return engine;
}

static fovea_session *new_session(fovea_engine *engine, const char *recipe)
{
    fovea_session_options options = {.size = sizeof options, .recipe = recipe};
    fovea_session *session = NULL;
    assert_int_equal(fovea_session_new(engine, &options, &session, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_add_raw(session, PROMPT, strlen(PROMPT), &image, 1, NULL),
                     FOVEA_OK);
    return session;
}

typedef struct answer {
    uint32_t n;
    int32_t ids[MOST], likeliest[MOST];
    char text[1024];
    fovea_status status;
    fovea_usage usage;
} answer;

static void collect(fovea_generation **generation, answer *out)
{
    fovea_token token;
    size_t n_text = 0;
    *out = (answer){.usage = {.size = sizeof out->usage}};
    while ((out->status = fovea_generation_next(*generation, -1, &token, NULL)) == FOVEA_OK) {
        assert_true(out->n < MOST && n_text + token.n_bytes < sizeof out->text);
        out->likeliest[out->n] = token.n_top > 0 ? token.top[0].token : -1;
        out->ids[out->n++] = token.id;
        memcpy(out->text + n_text, token.text, token.n_bytes);
        n_text += token.n_bytes;
    }
    assert_int_equal(fovea_generation_usage(*generation, &out->usage), FOVEA_OK);
    fovea_generation_free(generation);
}

static void ask(fovea_engine *engine, const char *recipe, const fovea_generate_options *how,
                answer *out)
{
    fovea_session *session = new_session(engine, recipe);
    fovea_generation *generation = NULL;
    assert_int_equal(fovea_session_generate(session, how, &generation, NULL), FOVEA_OK);
    collect(&generation, out);
    assert_int_equal(out->status, FOVEA_DONE);
    fovea_session_free(&session);
}

static fovea_engine_stats stats_of(fovea_engine *engine)
{
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    return stats;
}

/* Share of the tokens behind the first that the model found likeliest. */
static double share_of(const answer *said, const int32_t *likeliest)
{
    uint32_t n_same = 0;
    for (uint32_t i = 1; i < said->n; i++) {
        n_same += said->ids[i] == likeliest[i];
    }
    return (double)n_same / (said->n - 1);
}

/* none: the shadow's rows are the request's own, bit by bit; and no bit of the answer depends on them. */
static void test_nothing_lost(void **state)
{
    (void)state;
    static answer alone, compared;
    fovea_engine *engine = open_engine(16 << 20);
    for (int hot = 0; hot < 2; hot++) {
        fovea_generate_options how = {.size = sizeof how,
                                      .max_tokens = 40,
                                      .ignore_end = 1,
                                      .n_logprobs = 1,
                                      .seed = 5,
                                      .temperature = hot ? 1.5f : 0.0f};
        ask(engine, "none", &how, &alone);
        assert_int_equal(alone.usage.loyalty_tokens, 0);
        assert_true(alone.usage.loyalty_share == 0 && alone.usage.loyalty_kl == 0);
        how.loyalty = 1;
        ask(engine, "none", &how, &compared);
        assert_memory_equal(compared.ids, alone.ids, sizeof alone.ids);
        assert_int_equal(compared.usage.loyalty_tokens, compared.n - 1);
        assert_true(compared.usage.loyalty_kl == 0);
        double share = share_of(&compared, compared.likeliest);
        assert_true(compared.usage.loyalty_share == share);
        assert_true(hot ? share < 1 : share == 1);
    }
    assert_int_equal(stats_of(engine).kv_used_bytes, 0);
    fovea_engine_close(&engine);
}

/* KL(p || q) of two rows of logits, from their probabilities. */
static double divergence(const float *p, const float *q, uint32_t vocab)
{
    long double sum_p = 0, sum_q = 0, kl = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        sum_p += expl((long double)p[i]);
        sum_q += expl((long double)q[i]);
    }
    for (uint32_t i = 0; i < vocab; i++) {
        long double a = expl((long double)p[i]) / sum_p, b = expl((long double)q[i]) / sum_q;
        kl += a * logl(a / b);
    }
    return (double)kl;
}

static fvi_kv_seq *prefilled(harness *h, const fvi_turn *turn, const char *recipe_text)
{
    fvi_recipe recipe;
    fvi_kv_seq *seq = NULL;
    fvi_kv_plan *plan = NULL;
    fovea_error err = {.text = ""};
    assert_int_equal(fvi_recipe_parse(recipe_text, &recipe, &err), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, h->pool, &h->model->geom, &seq), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_set_recall(seq, recipe.recall, recipe.n_attend), FOVEA_OK);
    harness_prefill(h, seq, turn, NULL);
    if (fvi_kv_plan_wanted(seq, &recipe)) {
        assert_int_equal(fvi_kv_plan_make(seq, &recipe, NULL, &plan, &err), FOVEA_OK);
        assert_int_equal(fvi_kv_plan_apply(seq, plan), FOVEA_OK);
        fvi_kv_plan_free(&plan);
    }
    return seq;
}

/* The figures without scheduler and shadow: both caches prefilled apart and fed the answer. */
static void by_hand(const answer *said, const char *recipe, double *share, double *kl)
{
    harness h;
    fvi_turn turn = {0};
    const char *const files[] = {picture};
    harness_open(&h, model, FOVEA_PRECISION_BF16, 0, 256, (size_t)16 << 20);
    harness_turn(&h, PROMPT, files, 1, &turn);
    fvi_kv_seq *seqs[] = {prefilled(&h, &turn, "none"), prefilled(&h, &turn, recipe)};
    uint32_t vocab = h.model->config.vocab, n_same = 0;
    *kl = 0;
    for (uint32_t i = 1; i < said->n; i++) {
        const int32_t fed[] = {said->ids[i - 1], said->ids[i - 1]};
        harness_decode(&h, seqs, fed, 2);
        n_same += harness_argmax(h.logits, vocab) == said->ids[i];
        *kl += divergence(h.logits, h.logits + vocab, vocab) / (said->n - 1);
    }
    *share = (double)n_same / (said->n - 1);
    fvi_kv_seq_free(&seqs[0]);
    fvi_kv_seq_free(&seqs[1]);
    fvi_turn_free(&turn);
    harness_close(&h);
}

static void test_loss_is_what_two_caches_say(void **state)
{
    (void)state;
    static answer said, forced;
    double share, kl;
    fovea_engine *engine = open_engine(16 << 20);
    fovea_generate_options how = {.size = sizeof how, .max_tokens = 60, .loyalty = 1};
    ask(engine, LOSSY, &how, &said);
    assert_true(said.n > 3);
    assert_int_equal(said.usage.loyalty_tokens, said.n - 1);
    by_hand(&said, LOSSY, &share, &kl);
    print_message("%u tokens, share %.4f, KL %.6f; by hand %.4f, %.6f\n", said.usage.loyalty_tokens,
                  said.usage.loyalty_share, said.usage.loyalty_kl, share, kl);
    assert_true(said.usage.loyalty_share < 1 && said.usage.loyalty_kl > 0);
    assert_true(said.usage.loyalty_share == share);
    assert_true(fabs(said.usage.loyalty_kl - kl) <= 1e-9 * kl);
    /* and as anyone can: the answer forced upon a session that keeps everything */
    fovea_generate_options force = {.size = sizeof force, .n_logprobs = 1, .force = said.text};
    ask(engine, "none", &force, &forced);
    assert_int_equal(forced.n, said.n);
    assert_memory_equal(forced.ids, said.ids, sizeof said.ids);
    assert_true(said.usage.loyalty_share == share_of(&said, forced.likeliest));
    /* forced itself, it is compared as well */
    force.loyalty = 1;
    ask(engine, LOSSY, &force, &forced);
    assert_true(forced.usage.loyalty_share == said.usage.loyalty_share);
    assert_true(forced.usage.loyalty_kl == said.usage.loyalty_kl);
    fovea_engine_close(&engine);
}

/* What a shadow holds it attends, pages too, which its sequence leaves out. */
static void test_nothing_is_left_out(void **state)
{
    (void)state;
    static answer said;
    double share, kl;
    fovea_engine *engine = open_engine(16 << 20);
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = 60, .ignore_end = 1, .loyalty = 1};
    ask(engine, "quest:attend=64", &how, &said);
    by_hand(&said, "quest:attend=64", &share, &kl);
    assert_true(said.usage.loyalty_kl > 0 && said.usage.loyalty_share == share);
    assert_true(fabs(said.usage.loyalty_kl - kl) <= 1e-9 * kl);
    fovea_engine_close(&engine);
}

/* Nine rows a step, eight of them in one product with the vocabulary: a pair is not torn apart, and company
 * changes nothing. */
static void test_in_company(void **state)
{
    (void)state;
    static const char *const recipes[] = {"none", LOSSY, "vl-cache:bytes=20%,vision=int4",
                                          "while=h2o,cap=48", "quest:attend=64"};
    enum { N = sizeof recipes / sizeof recipes[0] };
    static answer alone[N], together;
    fovea_engine *engine = open_engine(32 << 20);
    fovea_session *sessions[N];
    fovea_generation *generations[N];
    fovea_generate_options how = {.size = sizeof how, .max_tokens = 90, .ignore_end = 1};
    for (uint32_t i = 0; i < N; i++) {
        how.loyalty = i > 0;
        ask(engine, recipes[i], &how, &alone[i]);
        assert_true(alone[i].usage.loyalty_share < 1);
        assert_true(i == 0 || alone[i].usage.loyalty_kl > 0);
    }
    for (uint32_t i = 0; i < N; i++) {
        how.loyalty = i > 0;
        sessions[i] = new_session(engine, recipes[i]);
        assert_int_equal(fovea_session_generate(sessions[i], &how, &generations[i], NULL),
                         FOVEA_OK);
    }
    for (uint32_t i = 0; i < N; i++) {
        collect(&generations[i], &together);
        assert_int_equal(together.status, FOVEA_DONE);
        assert_memory_equal(together.ids, alone[i].ids, sizeof together.ids);
        assert_int_equal(together.usage.loyalty_tokens, alone[i].usage.loyalty_tokens);
        assert_true(together.usage.loyalty_share == alone[i].usage.loyalty_share);
        assert_true(together.usage.loyalty_kl == alone[i].usage.loyalty_kl);
        fovea_session_free(&sessions[i]);
    }
    assert_int_equal(stats_of(engine).kv_used_bytes, 0);
    fovea_engine_close(&engine);
}

/* The full cache is held meanwhile and not a step longer. */
static void test_bytes_come_back(void **state)
{
    (void)state;
    static answer said;
    fovea_engine *engine = open_engine(16 << 20);
    fovea_generation *generation = NULL;
    fovea_ledger ledger = {.size = sizeof ledger};
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = 80, .ignore_end = 1, .loyalty = 1};
    fovea_session *session = new_session(engine, LOSSY);
    assert_int_equal(fovea_session_generate(session, &how, &generation, NULL), FOVEA_OK);
    collect(&generation, &said);
    assert_int_equal(said.status, FOVEA_DONE);
    assert_int_equal(fovea_session_ledger(session, &ledger), FOVEA_OK);
    fovea_engine_stats stats = stats_of(engine);
    uint64_t held = ledger.realised_bytes + ledger.generated_bytes;
    assert_int_equal(stats.kv_used_bytes, held);
    /* 80 tokens more of the full cache, of which the last is not stored */
    assert_true(stats.kv_peak_bytes >= held + ledger.full_bytes / 275 * (275 + 79));
    fovea_session_free(&session);
    session = new_session(engine, LOSSY);
    assert_int_equal(fovea_session_generate(session, &how, &generation, NULL), FOVEA_OK);
    fovea_token token;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fovea_generation_next(generation, -1, &token, NULL), FOVEA_OK);
    }
    assert_true(stats_of(engine).kv_used_bytes > ledger.full_bytes);
    fovea_generation_free(&generation); /* cancels */
    assert_int_equal(stats_of(engine).kv_used_bytes, 0);
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

/* A pool that is far too small for all at once: each waits until its shadow fits too, and none fails. */
static void test_shadows_are_admitted(void **state)
{
    (void)state;
    enum { N = 6 };
    static answer said;
    fovea_session *sessions[N];
    fovea_generation *generations[N];
    fovea_error err = {.text = ""};
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = 90, .ignore_end = 1, .loyalty = 1};
    fovea_engine *engine = open_engine(5 << 20);
    for (uint32_t i = 0; i < N; i++) {
        sessions[i] = new_session(engine, LOSSY);
        assert_int_equal(fovea_session_generate(sessions[i], &how, &generations[i], NULL),
                         FOVEA_OK);
    }
    for (uint32_t i = 0; i < N; i++) {
        collect(&generations[i], &said);
        assert_int_equal(said.status, FOVEA_DONE);
        assert_int_equal(said.usage.loyalty_tokens, 89);
        fovea_session_free(&sessions[i]);
    }
    fovea_engine_close(&engine);
    /* and where the cache fits but its shadow never could, that is told at once */
    engine = open_engine(2 << 20);
    sessions[0] = new_session(engine, LOSSY);
    assert_int_equal(fovea_session_generate(sessions[0], &how, &generations[0], &err),
                     FOVEA_ERR_FULL);
    how.loyalty = 0;
    assert_int_equal(fovea_session_generate(sessions[0], &how, &generations[0], &err), FOVEA_OK);
    collect(&generations[0], &said);
    assert_int_equal(said.status, FOVEA_DONE);
    fovea_session_free(&sessions[0]);
    fovea_engine_close(&engine);
}

static void check_refused(fovea_session *session, const fovea_generate_options *how,
                          fovea_status code)
{
    fovea_generation *generation = NULL;
    fovea_error err = {.text = ""};
    assert_int_equal(fovea_session_generate(session, how, &generation, &err), code);
    assert_null(generation);
    assert_non_null(strstr(err.text, "loyalty"));
}

static void test_refusals(void **state)
{
    (void)state;
    static answer said;
    const fovea_part part = {.text = "And what else?"};
    fovea_engine *engine = open_engine(16 << 20);
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = 3, .loyalty = 1, .plan_only = 1};
    fovea_session *session = new_session(engine, LOSSY), *fork = NULL;
    fovea_generation *generation = NULL;
    check_refused(session, &how, FOVEA_ERR_ARG);
    how.plan_only = 0;
    assert_int_equal(fovea_session_generate(session, &how, &generation, NULL), FOVEA_OK);
    collect(&generation, &said);
    assert_int_equal(said.status, FOVEA_DONE);
    assert_int_equal(fovea_session_fork(session, NULL, &fork, NULL), FOVEA_OK);
    fovea_session *const later[] = {session, fork};
    for (int i = 0; i < 2; i++) {
        how.loyalty = 1;
        assert_int_equal(fovea_session_add_message(later[i], FOVEA_ROLE_USER, &part, 1, NULL),
                         FOVEA_OK);
        check_refused(later[i], &how, FOVEA_ERR_STATE);
        how.loyalty = 0;
        assert_int_equal(fovea_session_generate(later[i], &how, &generation, NULL), FOVEA_OK);
        collect(&generation, &said);
        assert_int_equal(said.status, FOVEA_DONE);
    }
    fovea_session_free(&fork);
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_lost),
                                       cmocka_unit_test(test_loss_is_what_two_caches_say),
                                       cmocka_unit_test(test_nothing_is_left_out),
                                       cmocka_unit_test(test_in_company),
                                       cmocka_unit_test(test_bytes_come_back),
                                       cmocka_unit_test(test_shadows_are_admitted),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
