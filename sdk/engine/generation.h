/* generation.h - the mailbox between the scheduler and whoever pulls an answer.
 *
 * The scheduler pushes sampled tokens; text is held back while it could still become a stop text or is
 * part of a character. All memory is taken when a request is submitted, so pushing allocates nothing
 * (unless a vocabulary holds tokens longer than GENERATION_TEXT_BYTES on average).
 * Two references: the caller's and the scheduler's. Called by session_turn.c and scheduler.c.
 * Threads: every function locks for itself; cancel and notify - any. */
#ifndef FOVEA_ENGINE_GENERATION_H
#define FOVEA_ENGINE_GENERATION_H

#include "sdk/engine/sampler.h"
#include "sdk/model/tokenizer.h"

#include <stdatomic.h>

#define FVI_MAX_STOP 16

/* What the scheduler needs of fovea_generate_options, copied. */
typedef struct fvi_generate {
    fvi_sampling sampling;
    uint32_t max_tokens;
    int64_t deadline_ns; /* on fvi_now_ns' clock; 0: none */
    bool plan_only, ignore_end, loyalty;
    bool images_only; /* the session has cut the turn behind its last picture */
    int32_t *forced;     /* [n_forced] tokens to answer with, or NULL */
    uint32_t n_forced;
    char *stop[FVI_MAX_STOP];
    size_t stop_bytes[FVI_MAX_STOP];
    uint32_t n_stop;
} fvi_generate;

/* Takes over what `how` owns, also on failure. */
fovea_status fvi_generation_new(const fovea_alloc *alloc, const fvi_tokenizer *tokenizer,
                                fvi_generate *how, fovea_generation **out);
void fvi_generation_ref(fovea_generation *generation);
void fvi_generation_unref(fovea_generation *generation);

/* *owner is set to NULL when the caller frees the generation. */
void fvi_generation_bind(fovea_generation *generation, fovea_generation **owner);
const fvi_generate *fvi_generation_how(const fovea_generation *generation);
bool fvi_generation_is_cancelled(const fovea_generation *generation);
/* The scheduler is told when a request is cancelled, to wake it. */
void fvi_generation_on_cancel(fovea_generation *generation, void (*fn)(void *user), void *user);

/* Publishes a token. *stopped: a stop text is complete, the answer ends before it. */
fovea_status fvi_generation_push(fovea_generation *generation, int32_t id, float logprob,
                                 const fovea_logprob *top, uint32_t n_top, bool *stopped);
/* Ends the stream; code < 0 with finish CANCELLED, DEADLINE or ERROR. Only the first call counts. */
void fvi_generation_end(fovea_generation *generation, fovea_finish finish, fovea_status code,
                        const char *text);
/* Snapshots for the caller. */
void fvi_generation_set_usage(fovea_generation *generation, const fovea_usage *usage);
void fvi_generation_set_ledger(fovea_generation *generation, const fovea_ledger *ledger);

#endif
