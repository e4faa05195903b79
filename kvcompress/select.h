/* select.h - from scores and a budget to the tokens that stay.
 *
 * Each list's tokens are put in an order in which they are kept: the first k of the order are what a budget
 * of k keeps, for every k. Order: what is always kept (sinks, protected), then, as k grows, the recent
 * window (the latest ceil(recent * k) tokens, within what the always kept leave) and the best scores;
 * equal scores by lower position. So a larger budget keeps all that a smaller one does, and the bytes of a
 * budget follow from counts. Tokens that share a budget are a part: all of them, or those of text and those of
 * vision, each with an order, budgets and a window of its own. Called by plan.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_SELECT_H
#define FOVEA_KVCOMPRESS_SELECT_H

#include "kvcompress/recipe.h"

/* Tokens that share a budget. */
typedef struct fvi_select_part {
    uint32_t n;        /* tokens */
    uint32_t n_always; /* sinks, exact and protected ones */
    uint32_t min_list; /* least tokens of a list */
    uint8_t modality;
    bool any;           /* of any modality: the only part */
    uint32_t *token;    /* [n] ascending */
    float *scores;      /* [n_list, n] */
    uint32_t *order;    /* [n_list, n] tokens */
    uint32_t *n_vision; /* [n_list, n] vision tokens in order[0..i] */
    uint32_t *budget;   /* [n_list] tokens kept */
    uint32_t *high;     /* [n_list] the most tokens of a list: n, or what a cut left (cut.h) */
    double *weights;    /* [n_list] */
} fvi_select_part;

typedef struct fvi_select {
    const fovea_alloc *alloc;
    const fvi_kv_geom *geom;
    const fvi_recipe *recipe;
    uint32_t n_list, n_token;
    uint32_t n_exact[FOVEA_N_MODALITY]; /* tokens that stay in the base kind */
    uint32_t n_least[FOVEA_N_MODALITY]; /* all that always stay */
    fvi_select_part part[FOVEA_N_MODALITY];
    uint32_t n_part;
    const fvi_codec *codec[FOVEA_N_MODALITY];
    uint32_t kinds; /* bit per kind of the modalities that occur */
    uint32_t n_kind;
    uint32_t n_span; /* of the turn */
    bool first_turn;
    size_t granule;
    size_t base_bytes; /* metadata that does not depend on the selection */
    uint8_t *modality; /* [n_token] */
    uint8_t *always;   /* [n_token] FVI_SELECT_EXACT or another number: always kept */
    /* what the parts' tables are of */
    uint32_t *token, *order, *n_vision, *budget, *high;
    float *scores; /* [n_list, n_token] */
    double *weights;
    double *scratch;            /* [n_list] */
    uint32_t *sort;             /* [4 * n_token] */
    const uint32_t *list_layer; /* [n_list] */
} fvi_select;

/* Positions by falling score, equal ones ascending, into sort[0..n); the rest of it is scratch. */
void fvi_select_sort(const float *scores /* [n] */, uint32_t n, uint32_t *sort /* [4 * n] */);
/* Sets n_kind and the metadata that follows from it. */
void fvi_select_set_kinds(fvi_select *self, uint32_t n_kind);

#define FVI_SELECT_EXACT 2 /* always kept, in the base kind */

/* Puts the tokens of all lists in order. scores are filled by the caller. */
void fvi_select_order(fvi_select *self);
/* Bytes that a list of a layer takes up to where the next run starts when it keeps n of each modality, the
 * exact ones among them. */
size_t fvi_select_runs_bytes(const fvi_select *self, uint32_t layer,
                             const uint32_t n[FOVEA_N_MODALITY]);
/* All bytes of a turn whose runs take run_bytes and hold n_slot tokens. */
size_t fvi_select_whole_bytes(const fvi_select *self, size_t run_bytes, uint64_t n_slot);
/* All bytes of the budgets in self->budget. */
size_t fvi_select_bytes(const fvi_select *self);
/* Shares out exactly `total` tokens of a part. */
fovea_status fvi_select_total(fvi_select *self, const fvi_kv_obs *obs, uint32_t part,
                              uint64_t total);
/* Keeps as much of a part as `target` bytes allow beside the others' budgets: the largest total, then token by
 * token. */
fovea_status fvi_select_target(fvi_select *self, const fvi_kv_obs *obs, uint32_t part,
                               size_t target);

#endif
