/* timeline.c - what of a session belongs to the scheduler's thread: its place in the list of all, its cache, its
 * plan and ledger. Called by scheduler*.c and, as jobs, by session*.c. */
#include "sdk/engine/request.h"

void fvi_timeline_drop_cache(fvi_scheduler *self, fvi_timeline *timeline)
{
    fvi_kv_seq_free(&timeline->seq);
    fvi_kv_obs_unref(&timeline->obs);
    fvi_free(self->alloc, timeline->hidden);
    timeline->hidden = NULL;
    if (timeline->prev != NULL) {
        timeline->prev->next = timeline->next;
    } else if (self->timelines == timeline) {
        self->timelines = timeline->next;
    }
    if (timeline->next != NULL) {
        timeline->next->prev = timeline->prev;
    }
    timeline->prev = timeline->next = NULL;
}

void fvi_timeline_link(fvi_scheduler *self, fvi_timeline *timeline)
{
    timeline->prev = NULL;
    timeline->next = self->timelines;
    if (self->timelines != NULL) {
        self->timelines->prev = timeline;
    }
    self->timelines = timeline;
}

void fvi_timeline_ledger(const fvi_scheduler *self, const fvi_timeline *timeline, fovea_ledger *out)
{
    (void)self;
    fvi_kv_seq_ledger(timeline->seq, out);
    out->size = sizeof *out;
    out->activation_peak_bytes = timeline->activation_peak;
    out->floor_bytes = timeline->floor_bytes;
    out->estimated_loss = timeline->estimated_loss;
}

fovea_status fvi_timeline_plan(fvi_scheduler *self, fvi_timeline *timeline, const fvi_kv_obs *obs,
                               uint32_t n_generate, fovea_error *err)
{
    (void)self;
    const fvi_recipe *recipe = &timeline->recipe;
    fvi_kv_plan *plan = NULL;
    fovea_status status = fvi_kv_seq_set_recall(timeline->seq, recipe->recall, recipe->n_attend);
    if (status < 0) {
        return FVI_FAIL(err, status, "the tables of recall= do not fit the KV pool");
    }
    if (fvi_kv_plan_wanted(timeline->seq, recipe)) {
        FVI_TRY(fvi_kv_plan_make(timeline->seq, recipe, obs, &plan, err));
        timeline->floor_bytes = plan->floor_bytes;
        timeline->estimated_loss = plan->estimated_loss;
    }
    if (recipe->reviser != NULL) {
        status = fvi_kv_slots_open(timeline->seq, recipe, obs, plan, n_generate);
    } else if (plan != NULL) {
        status = fvi_kv_plan_apply(timeline->seq, plan);
    }
    if (status != FOVEA_OK) {
        FVI_FAIL(err, status, "the plan's working space does not fit the KV pool");
    }
    fvi_kv_plan_free(&plan);
    return status;
}
