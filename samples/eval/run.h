/* run.h - asks every question of a set under every recipe, as a rule on one prefill each.
 *
 * A session prefills the prompt with recipe "none" and keeps what scorers need; a fork per recipe makes
 * its plan and answers, all of a question side by side (lanes.h). So no layer is cut during the prefill:
 * for that, and for what is held at most, each recipe prefills by itself (own_prefill). Modes:
 *   same  the question stands in the prompt when the plan is made. The first token of the answer comes
 *         from the prefill, before anything was dropped, so only tokens after it count, and a question
 *         whose answer is a single token is left out.
 *   next  the plan is made for another question ("before"), whose answer is then given; every token of
 *         the answer to the question counts.
 *   blind the plan is made from the images alone, before anything stands behind them; every token counts.
 * Called by main.c. Threads: eval_run starts `jobs` of its own, each with sessions of its own. */
#ifndef FOVEA_SAMPLES_EVAL_RUN_H
#define FOVEA_SAMPLES_EVAL_RUN_H

#include "samples/eval/items.h"
#include "samples/eval/recipes.h"

#include <fovea/fovea.h>

typedef struct eval_mode {
    const char *name;
    bool before;        /* the plan is made for "before", else for the question */
    bool blind;         /* the plan is made from the images alone */
    uint32_t n_prefill; /* tokens of an answer that no plan can change */
} eval_mode;

/* NULL past the end of the table. */
const eval_mode *eval_mode_at(uint32_t index);

/* What one recipe made of one question. */
typedef struct eval_outcome {
    char *text;
    bool refused;     /* the budget is below the recipe's floor here */
    bool right;       /* one of the answers */
    bool as_none;     /* the same text as with "none" */
    double anls;      /* eval_anls of the text */
    uint32_t n_token; /* tokens of the answer of "none" that count .. */
    uint32_t
        n_agree; /* .. and those that are the likeliest here too, after the same words before */
    uint64_t full_bytes, realised_bytes, peak_bytes;
    double kept_text, kept_vision; /* tokens per (layer, KV head) */
    double decode_ms;              /* of a recipe asked alone (eval_job.times), else 0 */
    uint32_t n_decode;             /* tokens in decode_ms */
} eval_outcome;

typedef struct eval_results {
    eval_outcome *outcomes; /* [n_item, n_recipe] */
    bool *counts;           /* [n_item] false: a one-token answer, see mode same */
} eval_results;

typedef struct eval_state eval_state; /* state.h */

typedef struct eval_job {
    fovea_engine *engine;
    const eval_set *set;
    const eval_recipes *recipes;
    const eval_mode *mode;
    eval_state *state;
    uint32_t max_tokens, jobs;
    bool label; /* "Image 1: " in front of each of several pictures */
    bool times; /* a question's recipes one after another, so that their times are theirs alone */
    bool own_prefill;  /* each recipe prefills by itself, as a user's session does, with its cuts */
    uint64_t kv_bytes; /* of the engine's pool */
} eval_job;

fovea_status eval_run(const eval_job *job, eval_results *out, fovea_error *err);
void eval_results_free(eval_results *results, const eval_job *job);

#endif
