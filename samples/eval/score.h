/* score.h - when an answer is right, and how sure a share of right answers is.
 *
 * Called by run.c and report.c. Threads: any. */
#ifndef FOVEA_SAMPLES_EVAL_SCORE_H
#define FOVEA_SAMPLES_EVAL_SCORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Equal to one of the answers, but for case (ASCII), blanks and a full stop at the end. */
bool eval_is_right(const char *text, const json_t *answers);
bool eval_same_text(const char *a, const char *b);

typedef struct eval_share {
    double share, low, high; /* 0..1; low and high: 95% interval */
} eval_share;

/* With the interval of Wilson. All 0 when n is 0. */
eval_share eval_share_of(uint64_t n_right, uint64_t n);

/* Mean of n paired differences, each -1, 0 or 1, with the 95% interval of 10,000 bootstrap resamples;
 * the same seed gives the same interval. All 0 when n is 0. */
eval_share eval_bootstrap(const int8_t *differences, size_t n, uint64_t seed);

#endif
