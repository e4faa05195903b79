/* totals.c - sums over questions, and recipes compared question by question. */
#include "samples/eval/totals.h"

#include "samples/common/base.h"

#include <stdlib.h>

#define BOOTSTRAP_SEED 1

static void add_outcome(eval_totals *sum, const eval_outcome *outcome)
{
    if (outcome->refused) {
        sum->n_refused++;
        return;
    }
    sum->n++;
    sum->n_right += outcome->right;
    sum->n_as_none += outcome->as_none;
    sum->anls += outcome->anls;
    sum->n_token += outcome->n_token;
    sum->n_agree += outcome->n_agree;
    sum->full_bytes += outcome->full_bytes;
    sum->realised_bytes += outcome->realised_bytes;
    sum->peak_bytes += outcome->peak_bytes;
    sum->kept_text += outcome->kept_text;
    sum->kept_vision += outcome->kept_vision;
    sum->decode_ms += outcome->decode_ms;
    sum->n_decode += outcome->n_decode;
}

/* The outcomes [n_recipe] of a question; NULL when it does not count. */
static const eval_outcome *outcomes_of(const eval_part *part, size_t item, uint32_t kind)
{
    bool counts = part->results.counts[item] &&
                  (kind == EVAL_ALL_KINDS || part->set.items[item].kind == kind);

    return counts ? &part->results.outcomes[item * part->job.recipes->n] : NULL;
}

eval_totals eval_total_of(const eval_part *part, uint32_t recipe, uint32_t kind)
{
    eval_totals sum = {0};

    for (size_t i = 0; i < part->set.n; i++) {
        const eval_outcome *outcomes = outcomes_of(part, i, kind);
        if (outcomes != NULL) {
            add_outcome(&sum, &outcomes[recipe]);
        }
    }
    return sum;
}

double eval_ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static eval_terms terms_of(const eval_outcome *outcome)
{
    return (eval_terms){
        .gain = {[EVAL_RIGHT] = outcome->right,
                 [EVAL_TOKENS] = outcome->n_agree,
                 [EVAL_AS_NONE] = outcome->as_none,
                 [EVAL_ANLS] = outcome->anls},
        .of = {[EVAL_RIGHT] = 1,
               [EVAL_TOKENS] = outcome->n_token,
               [EVAL_AS_NONE] = 1,
               [EVAL_ANLS] = 1},
    };
}

/* Adds what `recipe` has of a question, less what `other` has unless that is EVAL_MAX_RECIPE. */
static void add_question(eval_terms *sum, const eval_outcome *outcomes, uint32_t recipe,
                         uint32_t other)
{
    eval_terms own = terms_of(&outcomes[recipe]), less = {0};

    if (other != EVAL_MAX_RECIPE) { /* tokens of the same text: of is the same */
        less = terms_of(&outcomes[other]);
    }
    for (int m = 0; m < EVAL_N_MEASURE; m++) {
        sum->gain[m] += own.gain[m] - less.gain[m];
        sum->of[m] += own.of[m];
    }
}

/* Fills terms [n_item], all 0, with what is resampled: questions, or all about the same pictures together.
 * Returns how many there are. */
static size_t fill_terms(const eval_part *part, uint32_t recipe, uint32_t other, uint32_t kind,
                         eval_terms *terms)
{
    size_t n = 0;

    for (size_t i = 0; i < part->set.n; i++) {
        const eval_outcome *outcomes = outcomes_of(part, i, kind);
        if (outcomes != NULL && !outcomes[recipe].refused &&
            (other == EVAL_MAX_RECIPE || !outcomes[other].refused)) {
            add_question(&terms[part->by_pictures ? part->set.items[i].group : i], outcomes, recipe,
                         other);
        }
    }
    for (size_t i = 0; i < part->set.n; i++) { /* those without a question go */
        if (terms[i].of[EVAL_RIGHT] > 0) {
            terms[n++] = terms[i];
        }
    }
    return n;
}

static fovea_status bootstrap(const eval_part *part, uint32_t recipe, uint32_t other, uint32_t kind,
                              eval_share *out, fovea_error *err)
{
    eval_terms *terms = calloc(part->set.n + 1, sizeof(*terms));
    bool done = terms != NULL && eval_bootstrap(terms, fill_terms(part, recipe, other, kind, terms),
                                                BOOTSTRAP_SEED, out);

    free(terms);
    return done ? FOVEA_OK : sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
}

fovea_status eval_shares_of(const eval_part *part, uint32_t recipe, uint32_t kind,
                            eval_share out[EVAL_N_MEASURE], fovea_error *err)
{
    return bootstrap(part, recipe, EVAL_MAX_RECIPE, kind, out, err);
}

fovea_status eval_compare(const eval_part *part, uint32_t recipe, uint32_t other, uint32_t kind,
                          eval_share out[EVAL_N_MEASURE], fovea_error *err)
{
    return bootstrap(part, recipe, other, kind, out, err);
}
