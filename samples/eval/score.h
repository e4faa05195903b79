/* score.h - when an answer is right, how near it comes, and how sure shares and differences of them are.
 *
 * Called by lanes.c, totals.c and report.c. Threads: any. */
#ifndef FOVEA_SAMPLES_EVAL_SCORE_H
#define FOVEA_SAMPLES_EVAL_SCORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Equal to one of the answers, but for case (ASCII), blanks and a full stop at the end. */
bool eval_is_right(const char *text, const json_t *answers);
bool eval_same_text(const char *a, const char *b);

/* ANLS, the average normalised Levenshtein similarity of Biten et al. 2019 (Scene Text Visual Question Answering), of one
 * question: 1 - distance / length of the longer text, 0 where that is not above a half, the best over the
 * answers. Counted in code points (a byte that is not UTF-8 is one too), without regard to case (ASCII)
 * and blanks at either end, as one within; unlike for `right` a full stop counts. False: memory is out. */
bool eval_anls(const char *text, const json_t *answers, double *out);

typedef struct eval_share {
    double share, low, high; /* 0..1; low and high: 95% interval */
} eval_share;

/* With the interval of Wilson. All 0 when n is 0. */
eval_share eval_share_of(uint64_t n_right, uint64_t n);

/* What is measured of recipes: shares of answers and, of tokens, a ratio of two sums. */
typedef enum eval_measure {
    EVAL_RIGHT,
    EVAL_TOKENS,
    EVAL_AS_NONE,
    EVAL_ANLS,
    EVAL_N_MEASURE,
} eval_measure;

/* One question's part of each measure: gain[m] of of[m]. Of two recipes compared, gain is a difference and
 * may be below 0. */
typedef struct eval_terms {
    double gain[EVAL_N_MEASURE], of[EVAL_N_MEASURE];
} eval_terms;

/* Per measure the sum of gain over the sum of of, with the 95% interval of 10,000 bootstrap resamples of
 * the n questions, the same for all measures; the same seed gives the same intervals. A sum over nothing
 * makes 0. False: memory is out. */
bool eval_bootstrap(const eval_terms *terms, size_t n, uint64_t seed,
                    eval_share out[EVAL_N_MEASURE]);

#endif
