/* test_ledger.c - one report per request: nominal beside realised bytes, whose parts by modality, kind, layer
 * and head all add up; and what a plan says before it is asked for is what a run then holds. */
#include <fovea/fovea.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_ROW      64

static fovea_engine *engine;
static fovea_image *image;

static int set_up(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/samples/images/signs.png", FOVEA_SOURCE_DIR);
    if (fovea_image_from_file(path, NULL, &image, NULL) != FOVEA_OK) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/samples/model", FOVEA_SOURCE_DIR);
    const fovea_engine_options options = {
        .size = sizeof options, .model = path, .kv_bytes = 32 << 20};
    return fovea_engine_open(&options, &engine, NULL) == FOVEA_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    fovea_image_free(&image);
    fovea_engine_close(&engine);
    return 0;
}

static void finish(fovea_session *session, const fovea_generate_options *options, fovea_ledger *out)
{
    fovea_generation *generation = NULL;
    fovea_token token;
    fovea_status status;
    assert_int_equal(fovea_session_generate(session, options, &generation, NULL), FOVEA_OK);
    while ((status = fovea_generation_next(generation, -1, &token, NULL)) == FOVEA_OK) {
    }
    assert_int_equal(status, FOVEA_DONE);
    *out = (fovea_ledger){.size = sizeof *out};
    assert_int_equal(fovea_generation_ledger(generation, out), FOVEA_OK);
    fovea_generation_free(&generation);
}

static fovea_session *open_session(const char *recipe, uint32_t flags)
{
    const fovea_session_options options = {
        .size = sizeof options, .flags = flags, .recipe = recipe};
    const fovea_part parts[] = {{.image = image}, {.text = "Read all signs."}};
    fovea_session *session = NULL;
    assert_int_equal(fovea_session_new(engine, &options, &session, NULL), FOVEA_OK);
    assert_int_equal(fovea_session_add_message(session, FOVEA_ROLE_USER, parts, 2, NULL), FOVEA_OK);
    return session;
}

static void check_sums(fovea_session *session, const fovea_ledger *ledger)
{
    fovea_ledger_row rows[MAX_ROW];
    uint32_t n_row = MAX_ROW;
    uint64_t text = 0, vision = 0, n_text = 0, n_vision = 0, kinds = 0, slots = 0;
    assert_int_equal(fovea_session_ledger_rows(session, rows, &n_row), FOVEA_OK);
    assert_int_equal(n_row, ledger->n_layer * ledger->n_kv_head);
    for (uint32_t i = 0; i < n_row; i++) {
        assert_int_equal(rows[i].layer * ledger->n_kv_head + rows[i].kv_head, i);
        text += rows[i].text_bytes;
        vision += rows[i].vision_bytes;
        n_text += rows[i].n_text;
        n_vision += rows[i].n_vision;
    }
    for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
        kinds += ledger->kind_bytes[kind];
        slots += ledger->kind_slots[kind];
    }
    assert_int_equal(text, ledger->text_bytes);
    assert_int_equal(vision, ledger->vision_bytes);
    assert_int_equal(n_text, ledger->kept_text_slots);
    assert_int_equal(n_vision, ledger->kept_vision_slots);
    assert_int_equal(kinds, text + vision);
    assert_int_equal(slots, n_text + n_vision);
    assert_int_equal(ledger->shared_bytes, ledger->metadata_bytes + ledger->slack_bytes);
    assert_int_equal(ledger->realised_bytes, text + vision + ledger->shared_bytes);
    assert_true(ledger->peak_bytes >= ledger->realised_bytes);
}

static void test_plan_says_what_a_run_holds(void **state)
{
    static const struct {
        const char *recipe;
        double least, most;      /* of the estimated loss; NAN: not observed */
    } cases[] = {{"none", 0, 0}, /* what a fork is made of was not cut while it was prefilled */
                 {"fovea:bytes=20%,prefill.cap=none", 0.001, 0.2},
                 {"vl-cache:bytes=20%,prefill.cap=none", 0.01, 0.5},
                 {"vl-cache:bytes=20%,vision=int4,prefill.cap=none", 0.01, 0.5},
                 {"random:keep=0.3", NAN, NAN}};
    const fovea_generate_options plan = {.size = sizeof plan, .plan_only = 1};
    const fovea_generate_options run = {.size = sizeof run, .max_tokens = 2, .ignore_end = 1};
    fovea_session *source = open_session("none", FOVEA_SESSION_KEEP_OBSERVATIONS);
    fovea_ledger all;
    (void)state;
    finish(source, &plan, &all);
    assert_true(all.estimated_loss == 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        fovea_session *planned = open_session(cases[i].recipe, 0);
        fovea_session *ran = open_session(cases[i].recipe, 0), *fork = NULL;
        fovea_ledger before, after, forked = {.size = sizeof forked};
        finish(planned, &plan, &before);
        finish(ran, &run, &after);
        check_sums(ran, &after);
        assert_int_equal(before.full_bytes, all.full_bytes);
        assert_int_equal(before.full_bytes, after.full_bytes);
        assert_int_equal(before.realised_bytes, after.realised_bytes);
        assert_int_equal(before.floor_bytes, after.floor_bytes);
        assert_memory_equal(before.kind_slots, after.kind_slots, sizeof before.kind_slots);
        assert_memory_equal(&before.estimated_loss, &after.estimated_loss, sizeof(double));
        assert_int_equal(fovea_session_fork(source, cases[i].recipe, &fork, NULL), FOVEA_OK);
        assert_int_equal(fovea_session_ledger(fork, &forked), FOVEA_OK);
        if (isnan(cases[i].least)) {
            assert_true(isnan(before.estimated_loss));
            /* a source that keeps observations knows the window */
            assert_true(forked.estimated_loss > 0 && forked.estimated_loss < 1);
        } else {
            assert_true(before.estimated_loss >= cases[i].least &&
                        before.estimated_loss <= cases[i].most);
            assert_memory_equal(&before.estimated_loss, &forked.estimated_loss, sizeof(double));
        }
        fovea_session_free(&fork);
        assert_int_equal(fovea_session_fork(ran, NULL, &fork, NULL), FOVEA_OK);
        assert_int_equal(fovea_session_ledger(fork, &forked), FOVEA_OK);
        assert_memory_equal(&forked.estimated_loss, &after.estimated_loss, sizeof(double));
        fovea_session_free(&fork);
        fovea_session_free(&planned);
        fovea_session_free(&ran);
    }
    fovea_session_free(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plan_says_what_a_run_holds)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
