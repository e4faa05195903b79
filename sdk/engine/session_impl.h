/* session_impl.h - what a session holds, for the files that share its work: session.c (life, messages),
 * session_turn.c (submitting), session_fork.c and session_ledger.c.
 *
 * What belongs to the scheduler's thread is the timeline inside; while it is busy this side leaves it alone,
 * and what needs the pool (free, fork, ledger) runs there as a job.
 * Internal to session*.c. Threads: one at a time. */
#ifndef FOVEA_ENGINE_SESSION_IMPL_H
#define FOVEA_ENGINE_SESSION_IMPL_H

#include "sdk/engine/engine_impl.h"

struct fovea_session {
    fovea_engine *engine;
    fvi_timeline timeline;
    uint32_t flags;
    /* the turn being collected */
    fvi_buf pending;      /* rendered text with picture markers */
    fovea_image **images; /* [n_image] references */
    uint32_t n_image, image_capacity;
    bool pending_chat; /* pending came from messages, so an answer prompt follows */
    fvi_ids rest; /* what stood behind the last image of an images_only turn, to be submitted yet */
    /* what has been */
    uint32_t n_message;
    uint32_t n_image_total;
    bool answered_chat;      /* a chat turn was the last: its answer is closed before a message */
    bool answer_open;        /* plan_only ended the last turn: the answer has not begun */
    fovea_image_span *spans; /* [n_image_total] */
    fovea_generation *active;
};

/* session.c */
/* Neither busy nor broken. */
fovea_status fvi_session_check(fovea_session *session, fovea_error *err);
/* Nothing in it yet, no recipe; NULL: no memory. */
fovea_session *fvi_session_blank(fovea_engine *engine, uint32_t flags);
void fvi_session_clear_pending(fovea_session *self);

/* session_turn.c */
fovea_status fvi_session_append_ids(fvi_ids *to, const int32_t *ids, size_t n);

#endif
