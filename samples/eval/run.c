/* run.c - one question: its prefill, its recipes in lanes; and the workers that share the questions out. */
#include "samples/eval/run.h"

#include "samples/common/args.h"
#include "samples/eval/lanes.h"
#include "samples/eval/score.h"
#include "samples/eval/state.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const eval_mode modes[] = {
    {"same", false, false, 1},
    {"next", true, false, 0},
    {"blind", false, true, 0},
};

/* The workers' common state. */
typedef struct shared_state {
    const eval_job *job;
    eval_results *results;
    pthread_mutex_t lock;
    size_t n_taken, n_done;
    sample_bar bar;
    fovea_status status; /* the first error ends all */
    fovea_error err;
} shared_state;

const eval_mode *eval_mode_at(uint32_t index)
{
    return index < SAMPLE_COUNT(modes) ? &modes[index] : NULL;
}

/* ---- what all recipes share ---- */

/* The answer before, as the model itself would begin it: templates differ in whether a blank stands in
 * front. The first token is at hand after a prefill. The caller frees *out. */
static fovea_status answer_before(const eval_item *item, fovea_session *source, char **out,
                                  fovea_error *err)
{
    const fovea_generate_options one = {.size = sizeof(one), .max_tokens = 1};
    size_t n_bytes = strlen(item->before_answer) + 2;
    fovea_session *fork = NULL;
    eval_answer first = {0};
    fovea_status status = fovea_session_fork(source, NULL, &fork, err);

    if (status == FOVEA_OK) {
        status = eval_take_turn(fork, &one, 0, &first, err);
    }
    if (status == FOVEA_OK) {
        *out = malloc(n_bytes);
        status = *out != NULL ? FOVEA_OK : sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    if (status == FOVEA_OK) {
        snprintf(*out, n_bytes, "%s%s", first.reply.text[0] == ' ' ? " " : "", item->before_answer);
    }
    sample_reply_free(&first.reply);
    fovea_session_free(&fork);
    return status;
}

/* ---- one question ---- */

/* False when the first token is the whole answer and mode same cannot tell anything from it. */
static fovea_status does_count(const eval_job *job, const eval_item *item, bool *counts,
                               fovea_error *err)
{
    const char *text = json_string_value(json_array_get(item->answers, 0));
    char *led =
        NULL; /* answers are told with a blank before them or none: the shorter one decides */
    size_t n_plain = 0, n_led = 0;
    int32_t *ids = NULL;
    fovea_status status =
        fovea_engine_tokenize(job->engine, text, strlen(text), &ids, &n_plain, err);

    fovea_ids_free(job->engine, &ids);
    if (status == FOVEA_OK && asprintf(&led, " %s", text) < 0) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    if (status == FOVEA_OK) {
        status = fovea_engine_tokenize(job->engine, led, strlen(led), &ids, &n_led, err);
        fovea_ids_free(job->engine, &ids);
    }
    free(led);
    *counts = n_plain > job->mode->n_prefill && n_led > job->mode->n_prefill;
    return status;
}

/* Fills what the state knows; the number of recipes that are still to be asked. */
static uint32_t recall(const eval_job *job, const char *key, eval_outcome *outcomes, bool *known)
{
    uint32_t n_open = 0;

    for (uint32_t r = 0; r < job->recipes->n; r++) {
        known[r] = eval_state_find(job->state, key, job->recipes->items[r], &outcomes[r]);
        n_open += !known[r];
    }
    return n_open;
}

/* Runs the lanes that are open and writes down what became of recipes from..to-1. */
static fovea_status finish_lanes(eval_lanes *lanes, const char *key, const bool *known,
                                 eval_outcome *outcomes, uint32_t from, uint32_t to,
                                 fovea_error *err)
{
    const eval_job *job = lanes->job;
    fovea_status status = eval_lanes_run(lanes, err);

    for (uint32_t r = from; r < to && status == FOVEA_OK; r++) {
        if (!known[r]) {
            status = eval_state_add(job->state, key, job->recipes->items[r], &outcomes[r], err);
        }
    }
    return status;
}

/* Asks the recipes that are not known: all at once as far as there is room for their caches, or one after
 * another when times are wanted. */
static fovea_status ask_lanes(eval_lanes *lanes, const char *key, const bool *known,
                              eval_outcome *outcomes, fovea_error *err)
{
    const eval_job *job = lanes->job;
    fovea_status status = FOVEA_OK;
    uint32_t from = 0;

    for (uint32_t r = 0; r < job->recipes->n && status == FOVEA_OK; r++) {
        if (known[r]) {
            continue;
        }
        if (lanes->n > 0 && (job->times || !eval_lanes_have_room(lanes))) {
            status = finish_lanes(lanes, key, known, outcomes, from, r, err);
            from = r;
        }
        if (status == FOVEA_OK) {
            status = eval_lanes_open(lanes, job->recipes->items[r], &outcomes[r], err);
        }
    }
    if (status < 0) {
        eval_lanes_close(lanes);
        return status;
    }
    return finish_lanes(lanes, key, known, outcomes, from, job->recipes->n, err);
}

/* Prefills the prompt with everything kept and, unless recipes prefill by themselves, with all that is to
 * be observed for those that are not known. */
static fovea_status open_source(const eval_job *job, const eval_item *item, const bool *known,
                                fovea_session **out, fovea_error *err)
{
    const char *open[EVAL_MAX_RECIPE];
    fovea_session_options options = {.size = sizeof(options), .recipe = "none"};

    if (!job->own_prefill) {
        options.flags = FOVEA_SESSION_KEEP_OBSERVATIONS;
        options.fork_recipes = open;
    }
    for (uint32_t r = 0; r < job->recipes->n; r++) {
        if (!known[r]) {
            open[options.n_fork_recipe++] = job->recipes->items[r];
        }
    }
    return eval_prefill(job, item, &options, out, err);
}

/* Asks the recipes that are not known, on one prefill or, with own_prefill, after one. */
static fovea_status ask_open(const eval_job *job, const eval_item *item, const char *key,
                             const bool *known, eval_outcome *outcomes, fovea_error *err)
{
    eval_lanes lanes = {.job = job, .item = item, .none = &outcomes[0]};
    fovea_ledger ledger = {.size = sizeof(ledger)};
    char *before = NULL;
    fovea_status status = open_source(job, item, known, &lanes.source, err);

    if (status == FOVEA_OK && job->mode->before) {
        status = answer_before(item, lanes.source, &before, err);
        lanes.before = before;
    }
    if (status == FOVEA_OK) {
        status = fovea_session_ledger(lanes.source, &ledger);
        lanes.source_bytes = ledger.realised_bytes;
        lanes.token_bytes = ledger.full_bytes / (ledger.text_tokens + ledger.vision_tokens);
    }
    if (job->own_prefill) { /* it has told what lanes need to know */
        fovea_session_free(&lanes.source);
    }
    if (status == FOVEA_OK) {
        status = ask_lanes(&lanes, key, known, outcomes, err);
    }
    free(before);
    fovea_session_free(&lanes.source);
    return status;
}

/* Of what was asked and what the state knew, whose lines have the texts alone. */
static fovea_status score(const eval_item *item, eval_outcome *outcomes, uint32_t n,
                          fovea_error *err)
{
    for (uint32_t r = 0; r < n; r++) {
        const char *text = outcomes[r].text;
        if (text != NULL && !eval_anls(text, item->answers, &outcomes[r].anls)) {
            return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
        }
    }
    return FOVEA_OK;
}

static fovea_status run_item(const eval_job *job, size_t index, eval_results *results,
                             fovea_error *err)
{
    const eval_item *item = &job->set->items[index];
    eval_outcome *outcomes = &results->outcomes[index * job->recipes->n];
    bool known[EVAL_MAX_RECIPE];
    char key[EVAL_KEY_BYTES];
    fovea_status status = does_count(job, item, &results->counts[index], err);

    if (status == FOVEA_OK) {
        status = eval_state_key(job->state, job->mode->name, item, key, err);
    }
    if (status == FOVEA_OK && results->counts[index] && recall(job, key, outcomes, known) > 0) {
        status = ask_open(job, item, key, known, outcomes, err);
    }
    if (status == FOVEA_OK) {
        status = score(item, outcomes, job->recipes->n, err);
    }
    return status;
}

/* ---- all questions ---- */

static void *work(void *user)
{
    shared_state *state = user;
    size_t n_item = state->job->set->n;

    pthread_mutex_lock(&state->lock);
    while (state->status == FOVEA_OK && state->n_taken < n_item) {
        size_t index = state->n_taken++;
        fovea_error err = {0};
        fovea_status status;

        pthread_mutex_unlock(&state->lock);
        status = run_item(state->job, index, state->results, &err);
        pthread_mutex_lock(&state->lock);
        if (status < 0 && state->status == FOVEA_OK) {
            state->status = status;
            sample_fail(&state->err, status, "question %zu: %s", index + 1,
                        err.text[0] != '\0' ? err.text : fovea_status_text(status));
        }
        sample_bar_update(&state->bar, ++state->n_done, n_item);
    }
    pthread_mutex_unlock(&state->lock);
    return NULL;
}

fovea_status eval_run(const eval_job *job, eval_results *out, fovea_error *err)
{
    shared_state state = {.job = job, .results = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t *threads = calloc(job->jobs, sizeof(*threads));
    uint32_t n_thread = 0;

    memset(out, 0, sizeof(*out));
    out->outcomes = calloc(job->set->n * job->recipes->n, sizeof(*out->outcomes));
    out->counts = calloc(job->set->n, sizeof(*out->counts));
    if (threads == NULL || out->outcomes == NULL || out->counts == NULL) {
        state.status = sample_fail(&state.err, FOVEA_ERR_NOMEM, "memory is out");
    }
    sample_bar_begin(&state.bar, job->mode->name);
    while (state.status == FOVEA_OK && n_thread < job->jobs &&
           pthread_create(&threads[n_thread], NULL, work, &state) == 0) {
        n_thread++;
    }
    if (state.status == FOVEA_OK && n_thread == 0) {
        state.status = sample_fail(&state.err, FOVEA_ERR_NOMEM, "no thread could be started");
    }
    for (uint32_t i = 0; i < n_thread; i++) {
        pthread_join(threads[i], NULL);
    }
    sample_bar_end(&state.bar);
    free(threads);
    if (state.status < 0) {
        *err = state.err;
        eval_results_free(out, job);
    }
    return state.status;
}

void eval_results_free(eval_results *results, const eval_job *job)
{
    for (size_t i = 0; results->outcomes != NULL && i < job->set->n * job->recipes->n; i++) {
        free(results->outcomes[i].text);
    }
    free(results->outcomes);
    free(results->counts);
    memset(results, 0, sizeof(*results));
}
