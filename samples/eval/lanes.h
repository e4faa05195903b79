/* lanes.h - several recipes answer one question side by side.
 *
 * A lane is a recipe with a session that holds its plan: a fork of the prefilled source, or with
 * eval_job.own_prefill one that has prefilled the prompt itself. What all lanes have to do is
 * submitted for all of them before the first is waited for, so that the scheduler decodes them as rows of
 * one step; what a lane answers does not depend on its company. In turn: the answer of the turn before
 * (forced), the question, the answer, and where that is not the text of "none", that text once more
 * (forced), to see which of its tokens stay the likeliest.
 * Called by run.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_LANES_H
#define FOVEA_SAMPLES_EVAL_LANES_H

#include "samples/common/show.h"
#include "samples/eval/run.h"

/* An answer with its tokens. */
typedef struct eval_answer {
    sample_reply reply; /* text and steps; usage of the turn */
    uint32_t n_agree;   /* tokens that were the likeliest ones, after the first `n_prefill` */
    uint32_t n_token;
} eval_answer;

/* Runs the pending turn (or goes on after a plan) to its end. */
fovea_status eval_take_turn(fovea_session *session, const fovea_generate_options *options,
                            uint32_t n_prefill, eval_answer *out, fovea_error *err);

/* A session with the item's prompt and the plan that its recipe makes of it. The caller frees *out, also on
 * failure. */
fovea_status eval_prefill(const eval_job *job, const eval_item *item,
                          const fovea_session_options *options, fovea_session **out,
                          fovea_error *err);

typedef struct eval_lane {
    const char *recipe;
    eval_outcome *outcome;
    fovea_session *planned, *spare; /* spare: for the text of "none" */
    fovea_generation *generation;
    eval_answer said;
} eval_lane;

typedef struct eval_lanes {
    const eval_job *job;
    const eval_item *item;
    fovea_session *source;    /* NULL: lanes prefill by themselves */
    const char *before;       /* what is forced before the question; may be NULL */
    const eval_outcome *none; /* outcome of "none", which a lane of these may still have to fill */
    uint64_t source_bytes;    /* realised */
    uint64_t token_bytes;     /* of one token in f16 */
    eval_lane lanes[EVAL_MAX_RECIPE]; /* [n] */
    uint32_t n;
    uint64_t held_bytes; /* of the lanes' plans */
} eval_lanes;

/* Whether the pool, shared with the other jobs, is sure to have room for one more; always true for the
 * first. */
bool eval_lanes_have_room(const eval_lanes *self);
/* Makes the recipe's plan. A recipe that is refused here gets no lane: its outcome
 * says so. */
fovea_status eval_lanes_open(eval_lanes *self, const char *recipe, eval_outcome *outcome,
                             fovea_error *err);
/* All lanes from the plan to their outcomes; "none" comes first. Closes them, also on failure. */
fovea_status eval_lanes_run(eval_lanes *self, fovea_error *err);
void eval_lanes_close(eval_lanes *self);

#endif
