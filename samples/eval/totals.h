/* totals.h - one question set under one mode with its results, and sums over its questions.
 *
 * Called by report.c and picture.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_TOTALS_H
#define FOVEA_SAMPLES_EVAL_TOTALS_H

#include "samples/eval/run.h"
#include "samples/eval/score.h"

#define EVAL_ALL_KINDS UINT32_MAX

typedef struct eval_part {
    const char *path, *name; /* name: the path without folders */
    bool by_pictures;        /* resamples are of all questions about the same pictures at once */
    eval_set set;
    eval_job job;
    eval_results results;
} eval_part;

/* Sums over the questions that count. */
typedef struct eval_totals {
    uint64_t n, n_refused;
    uint64_t n_right, n_as_none;
    double anls;
    uint64_t n_token, n_agree;
    uint64_t full_bytes, realised_bytes, peak_bytes;
    double kept_text, kept_vision;
    double decode_ms;
    uint64_t n_decode;
} eval_totals;

/* kind: index in the set's kinds, or EVAL_ALL_KINDS. */
eval_totals eval_total_of(const eval_part *part, uint32_t recipe, uint32_t kind);
/* part / whole, 0 when whole is. */
double eval_ratio(double part, double whole);

/* The shares of one recipe with intervals of a bootstrap. */
fovea_status eval_shares_of(const eval_part *part, uint32_t recipe, uint32_t kind,
                            eval_share out[EVAL_N_MEASURE], fovea_error *err);
/* What `recipe` has more than `other`, in every measure, of the questions that both answered; paired
 * bootstrap. */
fovea_status eval_compare(const eval_part *part, uint32_t recipe, uint32_t other, uint32_t kind,
                          eval_share out[EVAL_N_MEASURE], fovea_error *err);

#endif
