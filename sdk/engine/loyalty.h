/* loyalty.h - how far an answer is the one that the full cache would have given.
 *
 * A shadow: a fork of the sequence from just before its plan. It keeps everything, is fed the same tokens as
 * one more row of the same decode steps, and gives logits to hold those of the compressed cache against.
 * The answer's first token comes from the prefill and is not compared.
 * Called by scheduler_step.c. Threads: the scheduler's. */
#ifndef FOVEA_ENGINE_LOYALTY_H
#define FOVEA_ENGINE_LOYALTY_H

#include "kvcompress/seq.h"

#include <fovea/session.h>

typedef struct fvi_loyalty {
    fvi_kv_seq *full;  /* the shadow; NULL: not asked for, or not prefilled yet */
    uint32_t n_token;  /* compared */
    uint32_t n_same;   /* of them the likeliest of the full cache too */
    double divergence; /* sum of KL(full || held), nats */
} fvi_loyalty;

/* After the prefill, before the plan. FOVEA_ERR_FULL or _NOMEM. */
fovea_status fvi_loyalty_begin(fvi_loyalty *self, const fvi_kv_seq *seq);
/* The answer took token id; logits of the full cache and of the one that is held, [vocab]. */
void fvi_loyalty_add(fvi_loyalty *self, int32_t id, const float *full, const float *held,
                     uint32_t vocab);
void fvi_loyalty_report(const fvi_loyalty *self, fovea_usage *out);

#endif
