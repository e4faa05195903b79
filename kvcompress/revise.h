/* revise.h - what a reviser is: the interface behind revisers.def, for methods that evict while decoding.
 *
 * `while=NAME,cap=N` holds every list at no more than N tokens for as long as it generates: each new token
 * takes the slot of the one that is worth least (slots.h). A reviser only says what a token is worth; first
 * tokens (sinks=), the latest ones (recent=), protected tokens and equal worths (the earlier in the list
 * stays) are the same for all. One file each (revise_<name>.c) ending in `const fvi_reviser
 * fvi_reviser_<name> = {...}`, and one line in the table.
 * Called by slots.c. Threads: any; entries are constant. */
#ifndef FOVEA_KVCOMPRESS_REVISE_H
#define FOVEA_KVCOMPRESS_REVISE_H

#include "kvcompress/policy.h"

typedef struct fvi_reviser {
    const char *name;
    /* Set: attention is accumulated for every token. It begins with this score of the prompt, a mean over
     * the query heads of a KV head of which planes are all that is read, and goes on with what decoding
     * pays. NULL: worth does without it and nothing is accumulated. */
    const fvi_scorer *prompt;
    double recent;   /* share of the cap for the latest tokens where the recipe has no recent= */
    uint32_t n_sink; /* first tokens that stay where it has no sinks= */
    /* The token of least worth goes; finite. mass: summed over the heads of a group. */
    float (*worth)(uint32_t position, float mass);
} fvi_reviser;

#endif
