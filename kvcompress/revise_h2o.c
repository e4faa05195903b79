/* revise_h2o.c - H2O: the token that was attended least so far goes, half of the cap is for the latest.
 *
 * Every row counts, those of the prompt and those decoded, as in the paper's greedy algorithm: one token
 * comes, one goes. */
#include "kvcompress/revise.h"

extern const fvi_scorer fvi_scorer_h2o;

static float worth(uint32_t position, float mass)
{
    (void)position;
    return mass;
}

const fvi_reviser fvi_reviser_h2o = {
    .name = "h2o",
    .prompt = &fvi_scorer_h2o,
    .recent = 0.5,
    .worth = worth,
};
