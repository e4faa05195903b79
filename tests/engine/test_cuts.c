/* test_cuts.c - prompts of 15 pictures and about 4,000 tokens whose layers are cut while they are prefilled, through
 * the public headers: the peak, what a small pool admits, cancel in the middle, company.
 *
 * What a cut keeps is held against the plan in tests/kvcompress/test_cut. A step of such a prefill is one block of
 * rows in one layer; before the first come 15 steps that encode a picture each. */
#include <fovea/fovea.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define N_IMAGE     15
#define N_PICTURE   4
#define N_LAYER     8
#define N_TOKEN     12
#define N_TOP       20
#define BLOCK       256 /* rows of a step */
#define N_PROMPT    3952
#define LAYER_STEPS ((N_PROMPT + BLOCK - 1) / BLOCK)
#define FULL_BYTES  (N_PROMPT * 4096) /* 8 layers of 2 heads, keys and values of 64 in f16 */
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static const char *const files[N_PICTURE] = {"signs.png", "kites.png", "many.png", "wide.jpg"};
static fovea_image *images[N_PICTURE];

static const char *const recipes[] = {"fovea:bytes=10%", "vl-cache:bytes=10%", "snapkv:keep=0.1"};

static bool by_bytes(const char *recipe)
{
    return strstr(recipe, "bytes=") != NULL;
}

static int set_up(void **state)
{
    (void)state;
    char path[512];
    fovea_status status = FOVEA_OK;
    for (uint32_t i = 0; i < N_PICTURE && status == FOVEA_OK; i++) {
        snprintf(path, sizeof path, "%s/samples/images/%s", FOVEA_SOURCE_DIR, files[i]);
        status = fovea_image_from_file(path, NULL, &images[i], NULL);
    }
    return status < 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N_PICTURE; i++) {
        fovea_image_free(&images[i]);
    }
    return 0;
}

static fovea_engine *open_engine(uint64_t kv_bytes)
{
    char model[512];
    snprintf(model, sizeof model, "%s/samples/model", FOVEA_SOURCE_DIR);
    fovea_engine_options options = {
        .size = sizeof options, .model = model, .kv_bytes = kv_bytes, .prefill_block = BLOCK};
    fovea_engine *engine = NULL;
    fovea_error err = {.text = ""};
    if (fovea_engine_open(&options, &engine, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return engine;
}

static fovea_engine_stats stats_of(fovea_engine *engine)
{
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    return stats;
}

/* n pictures from `first` on, each behind its number, and a question. */
static fovea_session *new_session(fovea_engine *engine, const char *recipe, uint32_t n,
                                  uint32_t first)
{
    fovea_session_options options = {.size = sizeof options, .recipe = recipe};
    fovea_part parts[2 * N_IMAGE + 1] = {{.text = NULL}};
    char labels[N_IMAGE][32], question[64];
    fovea_session *session = NULL;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(labels[i], sizeof labels[i], "Image %u: ", i + 1);
        parts[2 * i].text = labels[i];
        parts[2 * i + 1].image = images[(first + i) % N_PICTURE];
    }
    snprintf(question, sizeof question, "In image %u, read all signs.", 1 + first % n);
    parts[2 * n].text = question;
    assert_int_equal(fovea_session_new(engine, &options, &session, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2 * n + 1, NULL),
                     FOVEA_OK);
    return session;
}

static fovea_status try_start(fovea_session *session, uint32_t n_token, fovea_generation **out)
{
    fovea_generate_options how = {
        .size = sizeof how, .max_tokens = n_token, .ignore_end = 1, .n_logprobs = N_TOP};
    return fovea_session_generate(session, &how, out, NULL);
}

typedef struct record {
    int32_t ids[N_TOKEN];
    float logprobs[N_TOKEN];
    fovea_logprob top[N_TOKEN][N_TOP];
    uint64_t kept[FOVEA_N_KIND];
} record;

static fovea_ledger collect(fovea_generation **generation, record *out)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    fovea_token token;
    fovea_status status;
    uint32_t n = 0;
    memset(out, 0, sizeof *out);
    while ((status = fovea_generation_next(*generation, -1, &token, NULL)) == FOVEA_OK) {
        assert_true(n < N_TOKEN && token.n_top == N_TOP);
        out->ids[n] = token.id;
        out->logprobs[n] = token.logprob;
        memcpy(out->top[n++], token.top, sizeof out->top[0]);
    }
    assert_int_equal(status, FOVEA_DONE);
    assert_int_equal(n, N_TOKEN);
    assert_int_equal(fovea_generation_ledger(*generation, &ledger), FOVEA_OK);
    memcpy(out->kept, ledger.kind_slots, sizeof out->kept);
    fovea_generation_free(generation);
    return ledger;
}

/* What the recipes gave alone, in a pool of half the cache. */
static record alone[COUNT(recipes)];

/* A tenth is kept and a third never held, by the ledger and by the pool. Half the cache is pool enough then, where a
 * plan that waits for the end is refused. */
static void test_peak(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COUNT(recipes); i++) {
        char late[64];
        fovea_generation *generation = NULL;
        fovea_engine *engine = open_engine(FULL_BYTES / 2);
        snprintf(late, sizeof late, "%s,prefill.cap=none", recipes[i]);
        fovea_session *session = new_session(engine, late, N_IMAGE, 0);
        assert_int_equal(try_start(session, N_TOKEN, &generation), FOVEA_ERR_FULL);
        fovea_session_free(&session);
        session = new_session(engine, recipes[i], N_IMAGE, 0);
        assert_int_equal(try_start(session, N_TOKEN, &generation), FOVEA_OK);
        fovea_ledger ledger = collect(&generation, &alone[i]);
        double full = (double)ledger.full_bytes, peak = (double)ledger.peak_bytes / full;
        double kept = (double)ledger.realised_bytes / full;
        print_message("%-32s peak %.1f%% of %.0f bytes, kept %.2f%%\n", recipes[i], 100 * peak,
                      full, 100 * kept);
        assert_int_equal(ledger.full_bytes, FULL_BYTES);
        assert_int_equal(ledger.vision_tokens, 256 * N_IMAGE);
        assert_true(peak <= 0.35 && kept >= 0.095 && kept <= (by_bytes(recipes[i]) ? 0.1 : 0.102));
        assert_true((double)stats_of(engine).kv_peak_bytes <= 0.35 * full);
        fovea_session_free(&session);
        assert_int_equal(stats_of(engine).kv_used_bytes, 0);
        fovea_engine_close(&engine);
    }
}

/* Waits until n layers of a request that began at step `from` are through, and the next one is under way. */
static fovea_engine_stats wait_for_layers(fovea_engine *engine, uint64_t from, uint32_t n)
{
    fovea_engine_stats stats;
    do {
        stats = stats_of(engine);
    } while (stats.n_step < from + N_IMAGE + (uint64_t)n * LAYER_STEPS + 2);
    return stats;
}

/* Cancels when n_layer layers are cut; false where that came too late. */
static bool cancel_within(fovea_engine *engine, const char *recipe, uint32_t n_layer)
{
    fovea_token token;
    fovea_generation *generation = NULL;
    fovea_session *session = new_session(engine, recipe, N_IMAGE, n_layer);
    uint64_t from = stats_of(engine).n_step;
    assert_int_equal(try_start(session, N_TOKEN, &generation), FOVEA_OK);
    fovea_engine_stats held = wait_for_layers(engine, from, n_layer);
    double used = (double)held.kv_used_bytes / FULL_BYTES;
    fovea_generation_cancel(generation);
    uint64_t at = stats_of(engine).n_step;
    fovea_status status = fovea_generation_next(generation, -1, &token, NULL);
    fovea_engine_stats after = stats_of(engine);
    bool in_time = after.n_step < from + N_IMAGE + N_LAYER * LAYER_STEPS;
    if (in_time) {
        print_message("%u layers through: %.1f%% of the full cache held\n", n_layer, 100 * used);
        assert_int_equal(status, FOVEA_ERR_CANCELLED);
        assert_int_equal(after.kv_used_bytes, 0);
        assert_true(after.n_step <= at + 2); /* the step under way, and the one that sees it */
        /* uncut, so many layers and one more would be half of it and more */
        assert_true(used > 0.125 && used <= 0.35);
        /* all of it the prompt's */
        assert_true(held.kv_vision_bytes > held.kv_text_bytes && held.kv_text_bytes > 0);
        assert_true(held.kv_generated_bytes < held.kv_shared_bytes);
    }
    fovea_generation_free(&generation);
    fovea_session_free(&session);
    return in_time;
}

/* In the middle of a layer, others before it cut: everything comes back within one step. */
static void test_cancel(void **state)
{
    (void)state;
    static const uint32_t n_layer[] = {3, 6};
    fovea_engine *engine = open_engine(FULL_BYTES / 2);
    for (uint32_t i = 0; i < COUNT(n_layer); i++) {
        uint32_t n_late = 0;
        while (!cancel_within(engine, recipes[i], n_layer[i])) {
            assert_true(++n_late < 10); /* the machine is busy */
        }
    }
    fovea_engine_close(&engine);
}

/* Others decode all along, one that is cut too is cancelled half way, two are admitted at once: not a bit of tokens,
 * log-probabilities and kinds depends on it. */
static void test_company(void **state)
{
    (void)state;
    static const char *const others[] = {"none", "while=h2o,cap=40,evicted=int2",
                                         "quest:attend=64"};
    enum { N_OTHER = COUNT(others), N_CUT = 2 };
    static record together;
    fovea_session *sessions[N_OTHER + 1 + N_CUT];
    fovea_generation *generations[COUNT(sessions)] = {NULL};
    fovea_engine *engine = open_engine(48 << 20);
    for (uint32_t i = 0; i < COUNT(sessions); i++) {
        const char *recipe = i < N_OTHER ? others[i] : recipes[i > N_OTHER ? i - N_OTHER - 1 : 0];
        sessions[i] = new_session(engine, recipe, i < N_OTHER ? 1 : N_IMAGE, i == N_OTHER ? 3 : 0);
        assert_int_equal(try_start(sessions[i], i <= N_OTHER ? 1000 : N_TOKEN, &generations[i]),
                         FOVEA_OK);
    }
    /* a picture and two blocks of rows in each layer go before */
    fovea_engine_stats stats = wait_for_layers(engine, N_OTHER * (1 + 2 * N_LAYER), 4);
    assert_int_equal(stats.n_running, COUNT(sessions));
    fovea_generation_free(&generations[N_OTHER]); /* cancels */
    fovea_session_free(&sessions[N_OTHER]);
    for (uint32_t i = 0; i < N_CUT; i++) {
        collect(&generations[N_OTHER + 1 + i], &together);
        if (memcmp(&together, &alone[i], sizeof together) != 0) {
            fail_msg("%s differs in company", recipes[i]);
        }
    }
    assert_int_equal(stats_of(engine).n_running, N_OTHER); /* still there */
    for (uint32_t i = 0; i < COUNT(sessions); i++) {
        fovea_generation_free(&generations[i]);
        fovea_session_free(&sessions[i]);
    }
    assert_int_equal(stats_of(engine).kv_used_bytes, 0);
    fovea_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peak), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_company), /* with what test_peak has seen */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
