/* lanes.c - the steps that recipes take side by side: submit for all, then wait for all. */
#include "samples/eval/lanes.h"

#include "samples/eval/score.h"

#include <string.h>

#define TEMPLATE_TOKENS                                                                            \
    256 /* what a turn may take beside its own words, slack of blocks included */

/* ---- one turn ---- */

static fovea_status begin_turn(fovea_session *session, const fovea_generate_options *options,
                               fovea_generation **generation, eval_answer *out, fovea_error *err)
{
    memset(out, 0, sizeof(*out));
    return fovea_session_generate(session, options, generation, err);
}

/* Pulls the turn's tokens to its end; the generation is freed. */
static fovea_status end_turn(fovea_generation **generation, uint32_t n_prefill, eval_answer *out,
                             fovea_error *err)
{
    fovea_status status = FOVEA_OK;
    uint32_t n = 0;

    while (status == FOVEA_OK) {
        fovea_token token;
        status = fovea_generation_next(*generation, -1, &token, err);
        if (status != FOVEA_OK) {
            break;
        }
        if (n++ >= n_prefill) {
            out->n_token++;
            out->n_agree += token.n_top > 0 && token.top[0].token == token.id;
        }
        status = sample_reply_add_text(&out->reply, token.text, token.n_bytes);
        if (status < 0) {
            sample_fail(err, status, "memory is out");
        }
    }
    if (status == FOVEA_DONE) {
        out->reply.usage.size = sizeof(out->reply.usage);
        status = fovea_generation_usage(*generation, &out->reply.usage);
    }
    if (status == FOVEA_OK) {
        status = sample_reply_add_text(&out->reply, "", 0);
    }
    fovea_generation_free(generation);
    return status;
}

fovea_status eval_take_turn(fovea_session *session, const fovea_generate_options *options,
                            uint32_t n_prefill, eval_answer *out, fovea_error *err)
{
    fovea_generation *generation = NULL;
    fovea_status status = begin_turn(session, options, &generation, out, err);

    return status == FOVEA_OK ? end_turn(&generation, n_prefill, out, err) : status;
}

/* ---- opening ---- */

fovea_status eval_prefill(const eval_job *job, const eval_item *item,
                          const fovea_session_options *options, fovea_session **out,
                          fovea_error *err)
{
    const fovea_generate_options plan = {
        .size = sizeof(plan), .plan_only = 1, .images_only = job->mode->blind};
    const sample_request request = {
        .text = job->mode->before ? item->before_question : item->question,
        .images = (const char *const *)item->images,
        .n_image = item->n_image,
        .label = job->label,
    };
    fovea_image **images = calloc(item->n_image + 1, sizeof(*images));
    eval_answer nothing = {0};
    fovea_status status = FOVEA_ERR_NOMEM;

    if (images == NULL) {
        return sample_fail(err, status, "memory is out");
    }
    status = sample_images_open(request.images, request.n_image, images, err);
    if (status == FOVEA_OK) {
        status = fovea_session_new(job->engine, options, out, err);
    }
    if (status == FOVEA_OK) {
        status = sample_add_question(*out, &request, images, err);
    }
    if (status == FOVEA_OK) {
        status = eval_take_turn(*out, &plan, 0, &nothing, err);
    }
    sample_reply_free(&nothing.reply);
    sample_images_free(images, item->n_image);
    free(images);
    return status;
}

bool eval_lanes_have_room(const eval_lanes *self)
{
    uint64_t room = self->job->kv_bytes / self->job->jobs;
    uint64_t n_token = self->job->max_tokens + TEMPLATE_TOKENS; /* no text has more than bytes */

    n_token += strlen(self->item->question);
    n_token += self->before != NULL ? strlen(self->before) : 0;
    /* a plan is at most as large as the source, beside which it is made */
    return self->n == 0 || 2 * self->source_bytes + self->held_bytes +
                                   (self->n + 1) * n_token * self->token_bytes <=
                               room;
}

/* A session with the recipe's plan. */
static fovea_status open_planned(const eval_lanes *self, const char *recipe, fovea_session **out,
                                 fovea_error *err)
{
    const fovea_session_options own = {.size = sizeof(own), .recipe = recipe};

    return self->job->own_prefill ? eval_prefill(self->job, self->item, &own, out, err)
                                  : fovea_session_fork(self->source, recipe, out, err);
}

fovea_status eval_lanes_open(eval_lanes *self, const char *recipe, eval_outcome *outcome,
                             fovea_error *err)
{
    eval_lane *lane = &self->lanes[self->n];
    fovea_ledger ledger = {.size = sizeof(ledger)};
    fovea_status status;

    memset(lane, 0, sizeof(*lane));
    lane->recipe = recipe;
    lane->outcome = outcome;
    self->n++; /* eval_lanes_close frees it from here on */
    status = open_planned(self, recipe, &lane->planned, err);
    if (status == FOVEA_ERR_BUDGET) {
        fovea_session_free(&lane->planned);
        self->n--;
        outcome->refused = true;
        return FOVEA_OK;
    }
    if (status == FOVEA_OK) {
        status = fovea_session_ledger(lane->planned, &ledger);
    }
    if (status == FOVEA_OK) {
        self->held_bytes += ledger.realised_bytes;
        outcome->full_bytes = ledger.full_bytes;
        outcome->realised_bytes = ledger.realised_bytes;
        outcome->peak_bytes = ledger.peak_bytes;
        outcome->kept_text = sample_kept(&ledger, ledger.kept_text_slots);
        outcome->kept_vision = sample_kept(&ledger, ledger.kept_vision_slots);
    }
    return status;
}

/* ---- steps ---- */

/* The lanes whose planned (or spare) session has something to do, to its end. */
static fovea_status step(eval_lanes *self, bool spare, const fovea_generate_options *options,
                         uint32_t n_prefill, fovea_error *err)
{
    fovea_status status = FOVEA_OK;

    for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        eval_lane *lane = &self->lanes[i];
        fovea_session *session = spare ? lane->spare : lane->planned;
        sample_reply_free(&lane->said.reply);
        memset(&lane->said, 0, sizeof(lane->said));
        if (session != NULL) {
            status = begin_turn(session, options, &lane->generation, &lane->said, err);
        }
    }
    for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        eval_lane *lane = &self->lanes[i];
        if (lane->generation != NULL) {
            status = end_turn(&lane->generation, n_prefill, &lane->said, err);
        }
    }
    return status;
}

/* Everything up to the answer, with which all forks of a lane then begin. */
static fovea_status ask(eval_lanes *self, fovea_error *err)
{
    const fovea_generate_options forced = {.size = sizeof(forced), .force = self->before};
    const fovea_generate_options plan = {.size = sizeof(plan), .plan_only = 1};
    const fovea_part question = {.text = self->item->question};
    fovea_status status = FOVEA_OK;

    if (self->before != NULL) {
        status = step(self, false, &forced, 0, err);
        for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) {
            status = fovea_session_add_message(self->lanes[i].planned, FOVEA_ROLE_USER, &question,
                                               1, err);
        }
    }
    /* in mode same the prompt is through already, in the others it has a question still to come */
    if (status == FOVEA_OK && (self->before != NULL || self->job->mode->blind)) {
        status = step(self, false, &plan, 0, err);
    }
    for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        status = fovea_session_fork(self->lanes[i].planned, NULL, &self->lanes[i].spare, err);
    }
    return status;
}

/* Takes over a lane's answer; one that is as that of "none" has no need of its spare: each token of the
 * text was the likeliest one. */
static void judge(eval_lanes *self, eval_lane *lane)
{
    const eval_outcome *none = self->none;
    eval_outcome *outcome = lane->outcome;

    outcome->text = lane->said.reply.text;
    lane->said.reply.text = NULL;
    if (self->job->times) {
        outcome->decode_ms = lane->said.reply.usage.decode_ms;
        outcome->n_decode = lane->said.n_token > 0 ? lane->said.n_token - 1 : 0;
    }
    outcome->right = eval_is_right(outcome->text, self->item->answers);
    outcome->as_none = strcmp(outcome->text, none->text) == 0;
    if (none->text[0] == '\0' || (outcome != none && outcome->as_none)) {
        fovea_session_free(&lane->spare);
    }
    fovea_session_free(&lane->planned);
}

static fovea_status answer(eval_lanes *self, fovea_error *err)
{
    const fovea_generate_options greedy = {.size = sizeof(greedy),
                                           .max_tokens = self->job->max_tokens};
    fovea_status status = step(self, false, &greedy, 0, err);

    for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) {
        judge(self, &self->lanes[i]);
    }
    return status;
}

/* How many tokens of the text of "none" are the likeliest ones under each plan. */
static fovea_status agree(eval_lanes *self, fovea_error *err)
{
    const fovea_generate_options forced = {
        .size = sizeof(forced), .force = self->none->text, .n_logprobs = 1};
    fovea_status status = step(self, true, &forced, self->job->mode->n_prefill, err);

    for (uint32_t i = 0; i < self->n && status == FOVEA_OK; i++) { /* "none" comes first */
        eval_lane *lane = &self->lanes[i];
        bool asked = lane->spare != NULL;
        lane->outcome->n_token = asked ? lane->said.n_token : self->none->n_token;
        lane->outcome->n_agree = asked ? lane->said.n_agree : self->none->n_token;
    }
    return status;
}

fovea_status eval_lanes_run(eval_lanes *self, fovea_error *err)
{
    fovea_status status = ask(self, err);

    if (status == FOVEA_OK) {
        status = answer(self, err);
    }
    if (status == FOVEA_OK) {
        status = agree(self, err);
    }
    eval_lanes_close(self);
    return status;
}

void eval_lanes_close(eval_lanes *self)
{
    for (uint32_t i = 0; i < self->n; i++) {
        eval_lane *lane = &self->lanes[i];
        fovea_generation_free(&lane->generation);
        sample_reply_free(&lane->said.reply);
        fovea_session_free(&lane->spare);
        fovea_session_free(&lane->planned);
    }
    self->n = 0;
    self->held_bytes = 0;
}
