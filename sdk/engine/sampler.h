/* sampler.h - choosing the next token from logits.
 *
 * Order: temperature, top-k, top-p, min-p, draw. Temperature 0 is greedy. The n-th draw of a request
 * depends on (seed, n) alone. Log-probabilities are those of the model's own distribution, before any of
 * that. Ties go to the lower id. Called by the scheduler. Threads: one at a time per scratch. */
#ifndef FOVEA_ENGINE_SAMPLER_H
#define FOVEA_ENGINE_SAMPLER_H

#include "sdk/base/base.h"

#include <fovea/session.h>

#define FVI_MAX_LOGPROBS 20

typedef struct fvi_sampling {
    float temperature, top_p, min_p;
    uint32_t top_k;
    uint64_t seed;
    uint32_t n_logprobs;
} fvi_sampling;

/* A candidate while choosing. */
typedef struct fvi_candidate {
    float logit;
    int32_t id;
} fvi_candidate;

/* index: number of tokens drawn before. scratch: [vocab]. top: [n_logprobs]. */
int32_t fvi_sample(const fvi_sampling *how, uint64_t index, const float *logits /* [vocab] */,
                   uint32_t vocab, fvi_candidate *scratch);
/* Log-probability of id, and the n_logprobs most likely tokens. */
float fvi_logprobs(const float *logits, uint32_t vocab, int32_t id, uint32_t n_top, fovea_logprob *top);
/* The likeliest token. */
int32_t fvi_argmax(const float *logits, uint32_t vocab);
/* KL(p || q) of the distributions of two rows of logits, in nats; 0 for equal rows. */
double fvi_divergence(const float *p, const float *q, uint32_t vocab);

#endif
