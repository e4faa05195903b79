/* scheduler.h - the one thread that owns the device, the pool and all sequences.
 *
 * A step: jobs of other threads -> cancelled and expired requests leave -> admit by forecast bytes, first
 * come first served -> one block of the prefill under way (or one picture through the encoder) -> one token
 * for every decoding sequence. Freed bytes are seen by the admission of the same step.
 * A request is refused at submission when it can never fit the pool.
 * Called by session*.c and engine.c. Threads: submit, run, wake - any. */
#ifndef FOVEA_ENGINE_SCHEDULER_H
#define FOVEA_ENGINE_SCHEDULER_H

#include "kvcompress/plan.h"
#include "kvcompress/slots.h"
#include "sdk/engine/decoder.h"
#include "sdk/engine/generation.h"
#include "sdk/engine/prompt.h"

#include <stdatomic.h>

typedef struct fvi_scheduler fvi_scheduler;

/* The part of a session that belongs to the scheduler's thread. */
typedef struct fvi_timeline {
    fvi_kv_seq *seq;      /* NULL before the first admission */
    fvi_kv_obs *obs;      /* kept for forks, else NULL */
    fvi_recipe recipe;
    bool keep_obs;
    uint32_t fork_needs;  /* with keep_obs: what of it (fvi_kv_need) */
    float *hidden;        /* [hidden] after a plan_only turn, for the answer that follows; or NULL */
    fvi_ids ids;          /* all tokens, markers widened; room for what may be generated is reserved */
    int32_t uncached;     /* last sampled token, not in the cache yet; -1: none */
    size_t activation_peak;
    size_t floor_bytes;   /* of the last plan */
    double estimated_loss; /* of the last plan */
    _Atomic bool busy;    /* a request of it is queued or running */
    _Atomic bool broken;  /* its cache was given back */
    struct fvi_timeline *prev, *next; /* list of all, guarded by the scheduler's thread */
} fvi_timeline;

typedef struct fvi_request fvi_request;

typedef struct fvi_scheduler_options {
    const fvi_model *model;
    fvi_kv_pool *pool;
    uint32_t max_queue, max_running, prefill_block;
    fvi_log log;
} fvi_scheduler_options;

fovea_status fvi_scheduler_new(const fvi_scheduler_options *options, fvi_scheduler **out, fovea_error *err);
/* Ends all requests with FOVEA_ERR_CLOSED and joins the thread. */
void fvi_scheduler_free(fvi_scheduler **scheduler);

/* Takes the turn and a reference of the generation, also on failure. An empty turn answers what a
 * plan_only turn left open. */
fovea_status fvi_scheduler_submit(fvi_scheduler *scheduler, fvi_timeline *timeline, fvi_turn *turn,
                                  fovea_generation *generation, fovea_error *err);

/* Runs fn on the scheduler's thread between two steps and waits for it. */
typedef fovea_status (*fvi_job_fn)(fvi_scheduler *scheduler, void *arg);
fovea_status fvi_scheduler_run(fvi_scheduler *scheduler, fvi_job_fn fn, void *arg);

void fvi_scheduler_wake(fvi_scheduler *scheduler);

/* For jobs. */
void fvi_timeline_drop_cache(fvi_scheduler *scheduler, fvi_timeline *timeline);
void fvi_timeline_link(fvi_scheduler *scheduler, fvi_timeline *timeline);
void fvi_timeline_ledger(const fvi_scheduler *scheduler, const fvi_timeline *timeline, fovea_ledger *out);
/* Makes and applies the plan of a prefilled timeline with a recipe of its own (fork), and makes ready for
 * what the recipe does while n_generate tokens are decoded. */
fovea_status fvi_timeline_plan(fvi_scheduler *scheduler, fvi_timeline *timeline, const fvi_kv_obs *obs,
                               uint32_t n_generate, fovea_error *err);
fvi_kv_pool *fvi_scheduler_pool(const fvi_scheduler *scheduler);
void fvi_scheduler_stats(fvi_scheduler *scheduler, fovea_engine_stats *out);

#endif
