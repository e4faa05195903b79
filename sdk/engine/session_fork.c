/* session_fork.c - copies of a session that share its cached runs, perhaps with a plan of their own. */
#include "sdk/engine/session_impl.h"

typedef struct fork_arg {
    fvi_timeline *from, *to;
    bool plan;
    uint32_t hidden;
    fovea_error *err;
} fork_arg;

static fovea_status fork_job(fvi_scheduler *scheduler, void *arg)
{
    fork_arg *fork = arg;
    fvi_timeline *to = fork->to;
    if (fork->from->seq == NULL) {
        return FOVEA_OK;
    }
    fovea_status status = fvi_kv_seq_fork(fork->from->seq, &to->seq);
    if (status != FOVEA_OK) {
        return FVI_FAIL(fork->err, status, "no room for a fork");
    }
    fvi_timeline_link(scheduler, to);
    to->activation_peak = fork->from->activation_peak;
    to->floor_bytes = fork->from->floor_bytes;
    to->estimated_loss = fork->from->estimated_loss;
    if (fork->from->hidden != NULL) {
        to->hidden = fvi_alloc(to->ids.alloc, fork->hidden * sizeof(float));
        if (to->hidden == NULL) {
            return FVI_FAIL(fork->err, FOVEA_ERR_NOMEM, "no memory for a fork");
        }
        memcpy(to->hidden, fork->from->hidden, fork->hidden * sizeof(float));
    }
    return fork->plan ? fvi_timeline_plan(scheduler, to, fork->from->obs, 0, fork->err) : FOVEA_OK;
}

/* Everything of the caller's side that a fork starts with. */
static fovea_status copy_session(const fovea_session *from, fovea_session *to)
{
    const fovea_alloc *alloc = &from->engine->alloc;
    to->n_message = from->n_message;
    to->answered_chat = from->answered_chat;
    to->answer_open = from->answer_open;
    to->timeline.uncached = from->timeline.uncached;
    size_t n = from->timeline.ids.n;
    if (n > 0) {
        to->timeline.ids.data = fvi_alloc(alloc, n * sizeof *to->timeline.ids.data);
        if (to->timeline.ids.data == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        memcpy(to->timeline.ids.data, from->timeline.ids.data, n * sizeof *to->timeline.ids.data);
        to->timeline.ids.n = to->timeline.ids.capacity = n;
    }
    FVI_TRY(fvi_session_append_ids(&to->rest, from->rest.data, from->rest.n));
    if (from->n_image_total > 0) {
        to->spans = fvi_calloc(alloc, from->n_image_total, sizeof *to->spans);
        if (to->spans == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        memcpy(to->spans, from->spans, from->n_image_total * sizeof *to->spans);
        to->n_image_total = from->n_image_total;
    }
    return FOVEA_OK;
}

static fovea_status check_plannable(const fovea_session *self, const char *text,
                                    const fvi_recipe *recipe, fovea_error *err)
{
    if (!fvi_recipe_is_none(&self->timeline.recipe) || !self->timeline.keep_obs ||
        !self->answer_open || self->timeline.seq == NULL) {
        return FVI_FAIL(
            err, FOVEA_ERR_STATE,
            "a fork with a recipe needs a source of recipe none that keeps observations and "
            "was prefilled with plan_only");
    }
    if ((fvi_kv_recipe_needs(recipe) & ~self->timeline.fork_needs) != 0) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "fork: recipe '%s' reads what the source did not observe: none of its "
                        "fork_recipes does",
                        text);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_fork(fovea_session *self, const char *recipe, fovea_session **out,
                                fovea_error *err)
{
    FVI_TRY(fvi_session_check(self, err));
    if (out == NULL || self->pending.n > 0) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "fork: out is NULL, or a turn is being collected");
    }
    *out = NULL;
    fvi_recipe parsed = self->timeline.recipe;
    if (recipe != NULL) {
        FVI_TRY(fvi_recipe_parse(recipe, &parsed, err));
        FVI_TRY(check_plannable(self, recipe, &parsed, err));
    }
    fovea_session *copy = fvi_session_blank(self->engine, 0);
    if (copy == NULL || copy_session(self, copy) != FOVEA_OK) {
        fovea_session_free(&copy);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a fork");
    }
    copy->timeline.recipe = parsed;
    fork_arg arg = {.from = &self->timeline,
                    .to = &copy->timeline,
                    .plan = recipe != NULL,
                    .hidden = self->engine->model->config.hidden,
                    .err = err};
    fovea_status status = fvi_scheduler_run(self->engine->scheduler, fork_job, &arg);
    if (status != FOVEA_OK) {
        fovea_session_free(&copy);
        return status;
    }
    *out = copy;
    return FOVEA_OK;
}
