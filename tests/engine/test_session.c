/* test_session.c - the public API on the default model: turns, stops, limits, cancel, deadline, admission by
 * bytes, forks, ledgers. Answers are compared with each other, not with texts of one checkpoint. */
#include <fovea/fovea.h>

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MAX_TEXT 4096
#define QUESTION "What is in the image?"

typedef struct answer {
    char text[MAX_TEXT];
    int32_t ids[512];
    float logprobs[512];
    uint32_t n_token;
    fovea_status end;
    fovea_usage usage;
    fovea_ledger ledger;
} answer;

static char model_dir[512], photo_path[512];

static fovea_engine *open_engine(uint64_t kv_bytes, uint32_t max_queue)
{
    fovea_engine_options options = {
        .size = sizeof options, .model = model_dir, .kv_bytes = kv_bytes, .max_queue = max_queue};
    fovea_engine *engine = NULL;
    fovea_error err = {.text = ""};
    if (fovea_engine_open(&options, &engine, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return engine;
}

static uint64_t used_bytes(const fovea_engine *engine)
{
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    return stats.kv_used_bytes;
}

static fovea_session *new_session(fovea_engine *engine, const char *recipe, uint32_t flags)
{
    fovea_session_options options = {.size = sizeof options, .recipe = recipe, .flags = flags};
    fovea_session *session = NULL;
    fovea_error err = {.text = ""};
    if (fovea_session_new(engine, &options, &session, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return session;
}

static void ask(fovea_session *session, bool image, const char *text)
{
    fovea_part parts[2] = {{.text = NULL}, {.text = text}};
    fovea_error err = {.text = ""};
    if (image) {
        assert_int_equal(fovea_image_from_file(photo_path, NULL, &parts[0].image, &err), FOVEA_OK);
    }
    fovea_status status = fovea_session_add_message(session, FOVEA_ROLE_USER, image ? parts : parts + 1,
                                                    image ? 2 : 1, &err);
    if (status != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    fovea_image_free(&parts[0].image);
}

static fovea_generation *start(fovea_session *session, const fovea_generate_options *options)
{
    fovea_generation *generation = NULL;
    fovea_error err = {.text = ""};
    if (fovea_session_generate(session, options, &generation, &err) != FOVEA_OK) {
        fail_msg("%s", err.text);
    }
    return generation;
}

static void collect(fovea_generation **generation, answer *out)
{
    fovea_token token;
    size_t n = 0;
    memset(out, 0, sizeof *out);
    out->usage.size = sizeof out->usage;
    out->ledger.size = sizeof out->ledger;
    while ((out->end = fovea_generation_next(*generation, -1, &token, NULL)) == FOVEA_OK) {
        assert_true(n + token.n_bytes < MAX_TEXT && out->n_token < 512);
        memcpy(out->text + n, token.text, token.n_bytes);
        n += token.n_bytes;
        out->logprobs[out->n_token] = token.logprob;
        out->ids[out->n_token++] = token.id;
    }
    assert_int_equal(fovea_generation_usage(*generation, &out->usage), FOVEA_OK);
    if (out->end == FOVEA_DONE) {
        assert_int_equal(fovea_generation_ledger(*generation, &out->ledger), FOVEA_OK);
    }
    fovea_generation_free(generation);
}

static void run(fovea_session *session, uint32_t max_tokens, answer *out)
{
    fovea_generate_options options = {
        .size = sizeof options, .max_tokens = max_tokens, .ignore_end = 1};
    fovea_generation *generation = start(session, &options);
    collect(&generation, out);
}

static void check_sums(const fovea_ledger *l)
{
    assert_int_equal(l->realised_bytes, l->text_bytes + l->vision_bytes + l->shared_bytes);
    assert_int_equal(l->shared_bytes, l->metadata_bytes + l->slack_bytes);
    uint64_t payload = 0;
    for (int k = 0; k < FOVEA_N_KIND; k++) {
        payload += l->kind_bytes[k];
    }
    assert_int_equal(payload, l->text_bytes + l->vision_bytes);
    assert_true(l->peak_bytes >= l->realised_bytes);
}

static void test_turns(void **state)
{
    (void)state;
    static answer first, again, second;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *session = new_session(engine, NULL, 0);
    fovea_session *other = new_session(engine, "none", 0);
    ask(session, true, QUESTION);
    run(session, 12, &first);
    assert_int_equal(first.end, FOVEA_DONE);
    assert_int_equal(first.n_token, 12);
    assert_int_equal(first.usage.finish, FOVEA_FINISH_LENGTH);
    assert_int_equal(first.usage.vision_tokens, 256);
    check_sums(&first.ledger);
    assert_int_equal(first.ledger.vision_tokens, 256);
    assert_true(first.ledger.realised_bytes >= first.ledger.full_bytes);
    /* one session's ledger is the pool's own count */
    fovea_ledger now = {.size = sizeof now};
    assert_int_equal(fovea_session_ledger(session, &now), FOVEA_OK);
    assert_int_equal(now.realised_bytes + now.generated_bytes, used_bytes(engine));
    ask(other, true, QUESTION);
    run(other, 12, &again);
    assert_memory_equal(first.ids, again.ids, sizeof first.ids);
    assert_memory_equal(first.logprobs, again.logprobs, sizeof first.logprobs);
    ask(session, false, "What color is the background?");
    run(session, 4, &second);
    assert_int_equal(second.end, FOVEA_DONE);
    const int32_t *ids = NULL;
    size_t n_id = 0;
    assert_int_equal(fovea_session_tokens(session, &ids, &n_id), FOVEA_OK);
    assert_int_equal(n_id, first.usage.text_tokens + 256 + 12 + second.usage.text_tokens + 4 - 1);
    fovea_session_free(&session);
    fovea_session_free(&other);
    assert_int_equal(used_bytes(engine), 0);
    fovea_engine_close(&engine);
}

static void test_stop_text(void **state)
{
    (void)state;
    static answer whole, cut;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *session = new_session(engine, NULL, 0);
    ask(session, true, QUESTION);
    run(session, 12, &whole);
    fovea_session_free(&session);
    size_t n = strlen(whole.text);
    assert_true(n > 8);
    char stop[4] = {whole.text[n / 2], whole.text[n / 2 + 1], whole.text[n / 2 + 2], '\0'};
    const char *stops[] = {"\x01never", stop};
    const char *expected_end = strstr(whole.text, stop);
    session = new_session(engine, NULL, 0);
    ask(session, true, QUESTION);
    fovea_generate_options options = {
        .size = sizeof options, .max_tokens = 12, .ignore_end = 1, .stop = stops, .n_stop = 2};
    fovea_generation *generation = start(session, &options);
    collect(&generation, &cut);
    assert_int_equal(cut.usage.finish, FOVEA_FINISH_STOP);
    assert_int_equal(strlen(cut.text), expected_end - whole.text);
    assert_memory_equal(cut.text, whole.text, strlen(cut.text));
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

static void test_refusals(void **state)
{
    (void)state;
    fovea_engine *engine = open_engine(2 << 20, 0);
    fovea_session *session = new_session(engine, NULL, 0);
    fovea_generation *generation = NULL;
    fovea_error err = {.text = ""};
    fovea_session_options bad = {.size = sizeof bad, .recipe = "vl-cash:keep=0.1"};
    fovea_session *none = NULL;
    assert_int_equal(fovea_session_new(engine, &bad, &none, &err), FOVEA_ERR_ARG);
    assert_non_null(strstr(err.text, "vl-cash"));
    assert_null(none);
    assert_int_equal(fovea_session_generate(session, NULL, &generation, &err), FOVEA_ERR_STATE);
    fovea_part marker = {.text = "look at <image>"};
    assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, &marker, 1, &err), FOVEA_ERR_ARG);
    assert_int_equal(fovea_session_add_raw(session, "USER: <image>", 0, NULL, 0, &err), FOVEA_OK);
    assert_int_equal(fovea_session_generate(session, NULL, &generation, &err), FOVEA_ERR_ARG);
    fovea_session_free(&session);
    /* four pictures are more than the whole pool */
    session = new_session(engine, NULL, 0);
    for (int i = 0; i < 4; i++) {
        ask(session, true, QUESTION);
    }
    assert_int_equal(fovea_session_generate(session, NULL, &generation, &err), FOVEA_ERR_FULL);
    assert_null(generation);
    fovea_session_free(&session);
    session = new_session(engine, "vl-cache:bytes=64", 0);
    ask(session, true, QUESTION);
    assert_int_equal(fovea_session_generate(session, NULL, &generation, &err), FOVEA_ERR_BUDGET);
    fovea_session_free(&session);
    assert_int_equal(used_bytes(engine), 0);
    fovea_engine_close(&engine);
}

static void sleep_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void test_cancel_and_deadline(void **state)
{
    (void)state;
    static answer out;
    fovea_engine *engine = open_engine(64 << 20, 0);
    for (long delay = 0; delay < 40; delay += 3) {
        fovea_session *session = new_session(engine, "vl-cache:keep=0.2", 0);
        ask(session, true, QUESTION);
        bool by_deadline = delay % 2 == 0;
        fovea_generate_options options = {.size = sizeof options,
                                          .max_tokens = 400,
                                          .ignore_end = 1,
                                          .deadline_ms = by_deadline ? (uint64_t)delay + 1 : 0};
        fovea_generation *generation = start(session, &options);
        if (!by_deadline) {
            sleep_ms(delay);
            fovea_generation_cancel(generation);
        }
        collect(&generation, &out);
        assert_int_equal(out.end, by_deadline ? FOVEA_ERR_DEADLINE : FOVEA_ERR_CANCELLED);
        assert_int_equal(used_bytes(engine), 0); /* before the session is freed */
        fovea_error err;
        assert_int_equal(fovea_session_generate(session, &options, &generation, &err), FOVEA_ERR_STATE);
        fovea_session_free(&session);
    }
    fovea_engine_close(&engine);
}

static void wait_for_first_token(fovea_generation *generation)
{
    fovea_token token;
    assert_int_equal(fovea_generation_next(generation, -1, &token, NULL), FOVEA_OK);
}

/* A pool that fits one full request and not two. */
static void check_admission(const char *recipe, bool together)
{
    fovea_engine *engine = open_engine(1900000, 0);
    fovea_session *a = new_session(engine, recipe, 0);
    fovea_session *b = new_session(engine, recipe, 0);
    ask(a, true, QUESTION);
    ask(b, true, QUESTION);
    fovea_generate_options options = {.size = sizeof options, .max_tokens = 60, .ignore_end = 1};
    fovea_generation *first = start(a, &options);
    wait_for_first_token(first);
    fovea_generation *second = start(b, &options);
    wait_for_first_token(second);
    fovea_usage usage = {.size = sizeof usage};
    assert_int_equal(fovea_generation_usage(first, &usage), FOVEA_OK);
    static answer out;
    /* the second's first token: while the first was decoding, or only after its session had ended */
    assert_int_equal(usage.finish, together ? FOVEA_FINISH_NONE : FOVEA_FINISH_LENGTH);
    collect(&first, &out);
    assert_int_equal(out.end, FOVEA_DONE);
    collect(&second, &out);
    assert_int_equal(out.end, FOVEA_DONE);
    fovea_session_free(&a);
    fovea_session_free(&b);
    fovea_engine_close(&engine);
}

static void test_admission(void **state)
{
    (void)state;
    check_admission("vl-cache:keep=0.1", true);
    /* and where the plan alone gives bytes up, no layer before it */
    check_admission("vl-cache:keep=0.1,prefill.cap=none", true);
}

/* With none, the second waits as long as the first session holds its bytes. */
static void test_none_waits(void **state)
{
    (void)state;
    static answer out;
    fovea_engine *engine = open_engine(1900000, 0);
    fovea_session *a = new_session(engine, "none", 0);
    fovea_session *b = new_session(engine, "none", 0);
    ask(a, true, QUESTION);
    ask(b, true, QUESTION);
    fovea_generate_options options = {.size = sizeof options, .max_tokens = 40, .ignore_end = 1};
    fovea_generation *first = start(a, &options);
    wait_for_first_token(first);
    fovea_generation *second = start(b, &options);
    fovea_token token;
    assert_int_equal(fovea_generation_next(second, 300, &token, NULL), FOVEA_AGAIN);
    fovea_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(fovea_engine_get_stats(engine, &stats), FOVEA_OK);
    assert_int_equal(stats.n_waiting, 1);
    collect(&first, &out);
    fovea_session_free(&a);
    collect(&second, &out);
    assert_int_equal(out.end, FOVEA_DONE);
    fovea_session_free(&b);
    fovea_engine_close(&engine);
}

static void test_fork(void **state)
{
    (void)state;
    static answer direct, forked, plain;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *source = new_session(engine, "none", FOVEA_SESSION_KEEP_OBSERVATIONS);
    ask(source, true, QUESTION);
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    fovea_generation *generation = start(source, &plan);
    collect(&generation, &plain);
    assert_int_equal(plain.usage.finish, FOVEA_FINISH_PLAN);
    const char *const recipes[] = {"vl-cache:keep=0.2", "vl-cache:bytes=20%,vision=int4", "random:keep=0.3",
                                   "streaming:keep=0.3", "none"};
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        fovea_session *copy = NULL;
        fovea_error err = {.text = ""};
        if (fovea_session_fork(source, recipes[i], &copy, &err) != FOVEA_OK) {
            fail_msg("%s: %s", recipes[i], err.text);
        }
        run(copy, 16, &forked);
        fovea_session *own = new_session(engine, recipes[i], 0);
        ask(own, true, QUESTION);
        run(own, 16, &direct);
        assert_int_equal(direct.n_token, 16);
        assert_memory_equal(direct.ids, forked.ids, sizeof direct.ids);
        assert_memory_equal(direct.logprobs, forked.logprobs, sizeof direct.logprobs);
        assert_int_equal(direct.ledger.text_bytes, forked.ledger.text_bytes);
        assert_int_equal(direct.ledger.vision_bytes, forked.ledger.vision_bytes);
        check_sums(&forked.ledger);
        fovea_session_free(&own);
        fovea_session_free(&copy);
    }
    fovea_session_free(&source);
    assert_int_equal(used_bytes(engine), 0);
    fovea_engine_close(&engine);
}

/* A recipe field by field is the recipe as a string. */
static void test_recipe_fields(void **state)
{
    (void)state;
    static answer by_text, by_fields;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_recipe recipe = {.size = sizeof recipe,
                           .preset = "vl-cache",
                           .text = {.keep = 1},
                           .vision = {.keep = 0.25, .kind = "int8"}};
    fovea_session_options options = {.size = sizeof options, .recipe_fields = &recipe};
    fovea_session *own = NULL;
    fovea_error err = {.text = ""};
    assert_int_equal(fovea_session_new(engine, &options, &own, &err), FOVEA_OK);
    fovea_session *other = new_session(engine, "vl-cache:text.keep=1,vision.keep=0.25,vision=int8", 0);
    ask(own, true, QUESTION);
    run(own, 8, &by_fields);
    ask(other, true, QUESTION);
    run(other, 8, &by_text);
    assert_memory_equal(by_text.logprobs, by_fields.logprobs, sizeof by_text.logprobs);
    uint64_t n_list = (uint64_t)by_fields.ledger.n_layer * by_fields.ledger.n_kv_head;
    assert_int_equal(by_fields.ledger.kept_text_slots, n_list * by_fields.ledger.text_tokens);
    assert_int_equal(by_fields.ledger.kept_vision_slots,
                     (n_list * by_fields.ledger.vision_tokens + 2) / 4);
    fovea_session_free(&own);
    fovea_session_free(&other);
    options.recipe = "none";
    assert_int_equal(fovea_session_new(engine, &options, &own, &err), FOVEA_ERR_ARG);
    options.recipe = NULL;
    recipe.vision.kind = "int3";
    assert_int_equal(fovea_session_new(engine, &options, &own, &err), FOVEA_ERR_ARG);
    assert_non_null(strstr(err.text, "vision=int3"));
    fovea_engine_close(&engine);
}

static void assert_same_tokens(fovea_session *a, fovea_session *b)
{
    const int32_t *of_a = NULL, *of_b = NULL;
    size_t n_a = 0, n_b = 0;
    assert_int_equal(fovea_session_tokens(a, &of_a, &n_a), FOVEA_OK);
    assert_int_equal(fovea_session_tokens(b, &of_b, &n_b), FOVEA_OK);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(of_a, of_b, n_a * sizeof *of_a);
}

/* A prompt in two halves, cut behind its image, is the prompt as a whole; the plan knows the image alone. */
static void test_images_only(void **state)
{
    (void)state;
    static answer whole, halves, plain;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *direct = new_session(engine, "none", 0), *copy = NULL;
    fovea_session *source = new_session(engine, "none", FOVEA_SESSION_KEEP_OBSERVATIONS);
    fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1, .images_only = 1};
    fovea_error err = {.text = ""};
    ask(source, true, QUESTION);
    fovea_generation *generation = start(source, &plan);
    collect(&generation, &plain);
    assert_int_equal(plain.usage.finish, FOVEA_FINISH_PLAN);
    assert_int_equal(plain.usage.vision_tokens, 256);
    fovea_part part = {.text = QUESTION};
    assert_int_equal(fovea_session_add_message(source, FOVEA_ROLE_USER, &part, 1, &err), FOVEA_ERR_STATE);
    assert_int_equal(fovea_session_add_raw(source, QUESTION, 0, NULL, 0, &err), FOVEA_ERR_STATE);
    ask(direct, true, QUESTION);
    run(direct, 12, &whole);
    uint32_t n_behind = whole.usage.text_tokens - plain.usage.text_tokens;
    const char *const recipes[] = {"none", "vl-cache:keep=0.2"};
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        assert_int_equal(fovea_session_fork(source, recipes[i], &copy, &err), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        assert_int_equal(fovea_session_ledger(copy, &ledger), FOVEA_OK);
        assert_int_equal(ledger.text_tokens, plain.usage.text_tokens);
        run(copy, 12, &halves);
        assert_int_equal(halves.usage.text_tokens, n_behind);
        if (i == 0) { /* and so does what comes after */
            assert_memory_equal(whole.ids, halves.ids, sizeof whole.ids);
            assert_same_tokens(direct, copy);
            ask(direct, false, "And the background?");
            ask(copy, false, "And the background?");
            run(direct, 4, &whole);
            run(copy, 4, &halves);
            assert_same_tokens(direct, copy);
        }
        fovea_session_free(&copy);
    }
    fovea_session_free(&source);
    fovea_session_free(&direct);
    /* refusals */
    direct = new_session(engine, NULL, 0);
    ask(direct, false, QUESTION);
    assert_int_equal(fovea_session_generate(direct, &plan, &generation, &err), FOVEA_ERR_ARG);
    plan.plan_only = 0;
    assert_int_equal(fovea_session_generate(direct, &plan, &generation, &err), FOVEA_ERR_ARG);
    fovea_session_free(&direct);
    assert_int_equal(used_bytes(engine), 0);
    fovea_engine_close(&engine);
}

/* Told per token is what the ledger's rows count. */
static void test_kept(void **state)
{
    (void)state;
    enum { MAX = 400 };
    static answer out;
    static uint8_t kinds[MAX];
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *session = new_session(engine, "vl-cache:keep=0.3,vision=int4", 0);
    const fovea_image_span *span = NULL;
    fovea_ledger_row rows[64];
    uint32_t n_row = 64, n_span = 0, n_token = MAX;
    assert_int_equal(fovea_session_kept(session, 0, 0, kinds, &n_token), FOVEA_ERR_STATE);
    ask(session, true, QUESTION);
    run(session, 5, &out);
    assert_int_equal(fovea_session_images(session, &span, &n_span), FOVEA_OK);
    assert_true(span->left == 0 && span->top == 0 && span->right == 1 && span->bottom == 1);
    assert_int_equal(fovea_session_ledger_rows(session, rows, &n_row), FOVEA_OK);
    uint32_t n_prompt = out.usage.text_tokens + out.usage.vision_tokens;
    for (uint32_t r = 0; r < n_row; r++) {
        uint32_t n_text = 0, n_vision = 0;
        n_token = MAX;
        assert_int_equal(fovea_session_kept(session, rows[r].layer, rows[r].kv_head, kinds, &n_token),
                         FOVEA_OK);
        assert_int_equal(n_token, n_prompt + 4); /* the last one sampled is not in the cache */
        for (uint32_t t = 0; t < n_prompt; t++) {
            bool vision = t >= span->first_token && t < span->first_token + span->n_token;
            if (kinds[t] != FOVEA_KIND_DROPPED) {
                assert_int_equal(kinds[t], vision ? FOVEA_KIND_INT4 : FOVEA_KIND_F16);
                *(vision ? &n_vision : &n_text) += 1;
            }
        }
        for (uint32_t t = n_prompt; t < n_token; t++) {
            assert_int_equal(kinds[t], FOVEA_KIND_F16);
        }
        assert_int_equal(n_text, rows[r].n_text);
        assert_int_equal(n_vision, rows[r].n_vision);
    }
    assert_int_equal(fovea_session_kept(session, 8, 0, kinds, &n_token), FOVEA_ERR_ARG);
    assert_int_equal(fovea_session_kept(session, 0, 2, kinds, &n_token), FOVEA_ERR_ARG);
    n_token = n_prompt;
    assert_int_equal(fovea_session_kept(session, 0, 0, kinds, &n_token), FOVEA_ERR_LIMIT);
    assert_int_equal(n_token, n_prompt + 4);
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

static void test_forced(void **state)
{
    (void)state;
    static answer free_run, forced;
    fovea_engine *engine = open_engine(64 << 20, 0);
    fovea_session *session = new_session(engine, NULL, 0);
    ask(session, true, QUESTION);
    fovea_generate_options options = {.size = sizeof options, .max_tokens = 60};
    fovea_generation *generation = start(session, &options);
    collect(&generation, &free_run);
    fovea_session_free(&session);
    assert_true(free_run.n_token > 2);
    session = new_session(engine, NULL, 0);
    ask(session, true, QUESTION);
    options.force = free_run.text;
    generation = start(session, &options);
    collect(&generation, &forced);
    assert_string_equal(forced.text, free_run.text);
    assert_memory_equal(forced.logprobs, free_run.logprobs, free_run.n_token * sizeof(float));
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

static void test_queue_limit(void **state)
{
    (void)state;
    enum { N = 6 };
    static answer out;
    fovea_engine *engine = open_engine(1900000, 2);
    fovea_session *sessions[N];
    fovea_generation *generations[N] = {NULL};
    uint32_t n_full = 0;
    for (int i = 0; i < N; i++) {
        sessions[i] = new_session(engine, "none", 0);
        ask(sessions[i], true, QUESTION);
        fovea_generate_options options = {.size = sizeof options, .max_tokens = 20, .ignore_end = 1};
        fovea_error err;
        fovea_status status = fovea_session_generate(sessions[i], &options, &generations[i], &err);
        assert_true(status == FOVEA_OK || status == FOVEA_ERR_FULL);
        n_full += status == FOVEA_ERR_FULL;
    }
    assert_true(n_full >= 1);
    for (int i = 0; i < N; i++) {
        if (generations[i] != NULL) {
            collect(&generations[i], &out);
            assert_int_equal(out.end, FOVEA_DONE);
        }
        fovea_session_free(&sessions[i]);
    }
    fovea_engine_close(&engine);
}

/* A caller compiled against a header with fewer fields gives a smaller size. */
static void test_older_caller(void **state)
{
    (void)state;
    fovea_engine *engine = open_engine(8 << 20, 0);
    fovea_engine_stats whole = {.size = sizeof whole};
    fovea_engine_stats old;
    memset(&old, 0x5a, sizeof old);
    old.size = offsetof(fovea_engine_stats, kv_used_bytes);
    assert_int_equal(fovea_engine_get_stats(engine, &whole), FOVEA_OK);
    assert_int_equal(fovea_engine_get_stats(engine, &old), FOVEA_OK);
    assert_int_equal(old.size, offsetof(fovea_engine_stats, kv_used_bytes));
    assert_int_equal(old.kv_capacity_bytes, whole.kv_capacity_bytes);
    assert_int_equal(old.kv_used_bytes, UINT64_C(0x5a5a5a5a5a5a5a5a)); /* beyond its end: untouched */
    old.size = sizeof old + 4;
    assert_int_equal(fovea_engine_get_stats(engine, &old), FOVEA_ERR_ARG);
    fovea_session_options options = {.size = 4, .recipe = "no such recipe"}; /* 4: no recipe is given */
    fovea_session *session = NULL;
    assert_int_equal(fovea_session_new(engine, &options, &session, NULL), FOVEA_OK);
    fovea_session_free(&session);
    fovea_engine_close(&engine);
}

int main(void)
{
    snprintf(model_dir, sizeof model_dir, "%s/samples/model", FOVEA_SOURCE_DIR);
    snprintf(photo_path, sizeof photo_path, "%s/tests/golden/models/images/photo.png", FOVEA_SOURCE_DIR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),       cmocka_unit_test(test_stop_text),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_cancel_and_deadline),
        cmocka_unit_test(test_admission),   cmocka_unit_test(test_none_waits),
        cmocka_unit_test(test_fork),        cmocka_unit_test(test_recipe_fields),
        cmocka_unit_test(test_images_only),
        cmocka_unit_test(test_kept),        cmocka_unit_test(test_forced),
        cmocka_unit_test(test_queue_limit), cmocka_unit_test(test_older_caller)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
