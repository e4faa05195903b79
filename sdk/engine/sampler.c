/* sampler.c - greedy and random choice over f32 logits, log-probabilities.
 *
 * Only tokens within e^-CUT of the best can matter for a draw: the rest is left out before sorting, so a
 * vocabulary of 150,000 costs one pass and a small sort. */
#include "sdk/engine/sampler.h"

#include <math.h>
#include <stdlib.h>

#define CUT 24.0f /* e^-24 is below one part in 10^10 */

int32_t fvi_argmax(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    return (int32_t)best;
}

static int by_logit(const void *a, const void *b)
{
    const fvi_candidate *x = a;
    const fvi_candidate *y = b;
    if (x->logit != y->logit) {
        return x->logit > y->logit ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Counter-based: the n-th number of a seed, uniform in [0, 1) (splitmix64's finaliser, twice). */
static double uniform(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u * (index + 1);
    for (int round = 0; round < 2; round++) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return (double)(z >> 11) * 0x1p-53;
}

/* Keeps what top-k, top-p and min-p leave of n sorted candidates; turns logits into weights. */
static uint32_t cut(const fvi_sampling *how, fvi_candidate *c, uint32_t n, double *total)
{
    if (how->top_k > 0) {
        n = FVI_MIN(n, how->top_k);
    }
    double sum = 0.0;
    float best = c[0].logit;
    for (uint32_t i = 0; i < n; i++) {
        c[i].logit = expf((c[i].logit - best) / how->temperature);
        sum += (double)c[i].logit;
    }
    double kept = 0.0;
    uint32_t n_kept = 0;
    while (n_kept < n) {
        bool enough = how->top_p > 0.0f && how->top_p < 1.0f && kept >= (double)how->top_p * sum;
        /* weights are relative to the best one, which is 1 */
        bool too_small = how->min_p > 0.0f && c[n_kept].logit < how->min_p;
        if (n_kept > 0 && (enough || too_small)) {
            break;
        }
        kept += (double)c[n_kept++].logit;
    }
    *total = kept;
    return n_kept;
}

int32_t fvi_sample(const fvi_sampling *how, uint64_t index, const float *logits, uint32_t vocab,
                   fvi_candidate *scratch)
{
    int32_t best = fvi_argmax(logits, vocab);
    if (how->temperature <= 0.0f || how->top_k == 1) {
        return best;
    }
    float least = logits[best] - CUT * how->temperature;
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (logits[i] >= least) {
            scratch[n++] = (fvi_candidate){.logit = logits[i], .id = (int32_t)i};
        }
    }
    if (n == 0) { /* not a number anywhere: fall back on the first token */
        return best;
    }
    qsort(scratch, n, sizeof *scratch, by_logit);
    double total;
    n = cut(how, scratch, n, &total);
    double goal = uniform(how->seed, index) * total;
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)scratch[i].logit;
        if (goal < sum) {
            return scratch[i].id;
        }
    }
    return scratch[n - 1].id;
}

static void insert_top(fovea_logprob *top, uint32_t *n, uint32_t capacity, int32_t id, float logit)
{
    uint32_t at = *n;
    while (at > 0 && top[at - 1].logprob < logit) {
        at--;
    }
    if (at >= capacity) {
        return;
    }
    uint32_t last = FVI_MIN(*n, capacity - 1);
    memmove(top + at + 1, top + at, (last - at) * sizeof *top);
    top[at] = (fovea_logprob){.token = id, .logprob = logit};
    *n = last + 1;
}

float fvi_logprobs(const float *logits, uint32_t vocab, int32_t id, uint32_t n_top, fovea_logprob *top)
{
    float best = logits[fvi_argmax(logits, vocab)];
    double sum = 0.0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)(logits[i] - best));
        if (n_top > 0 && (n < n_top || logits[i] > top[n - 1].logprob)) {
            insert_top(top, &n, n_top, (int32_t)i, logits[i]);
        }
    }
    double norm = (double)best + log(sum);
    for (uint32_t i = 0; i < n; i++) {
        top[i].logprob = (float)((double)top[i].logprob - norm);
    }
    return (float)((double)logits[id] - norm);
}

/* log(sum(exp(logits))), in double. */
static double log_norm(const float *logits, uint32_t vocab)
{
    double best = (double)logits[fvi_argmax(logits, vocab)];
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - best);
    }
    return best + log(sum);
}

double fvi_divergence(const float *p, const float *q, uint32_t vocab)
{
    double norm_p = log_norm(p, vocab), norm_q = log_norm(q, vocab);
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++) {
        double log_p = (double)p[i] - norm_p;
        sum += exp(log_p) * (log_p - ((double)q[i] - norm_q));
    }
    return FVI_MAX(sum, 0.0); /* which only rounding can miss */
}
