/* recipe.h - a parsed recipe, and the tables it names: scorers.def, budgets.def, codecs.def, mergers.def,
 * recipes.def.
 *
 * recipe_text.h says what a text gives; here it is laid over its preset and made out: names are entries of
 * tables, every value is there.
 *
 * Grammar and meaning: sdk/include/fovea/kv.h. Called by the engine and the public functions of kv.h.
 * Threads: any; a recipe is plain data. */
#ifndef FOVEA_KVCOMPRESS_RECIPE_H
#define FOVEA_KVCOMPRESS_RECIPE_H

#include "kvcompress/codecs.h"
#include "kvcompress/merger.h"
#include "kvcompress/revise.h"

typedef enum fvi_budget_unit {
    FVI_BUDGET_NONE = 0, /* keep everything */
    FVI_BUDGET_KEEP,     /* share of tokens */
    FVI_BUDGET_PERCENT,  /* of the f16 bytes of the prompt */
    FVI_BUDGET_BYTES,    /* absolute */
} fvi_budget_unit;

typedef struct fvi_recipe {
    char text[FOVEA_RECIPE_MAX_BYTES]; /* as given */
    const fvi_scorer *scorer;
    const fvi_budget *budget;
    fvi_budget_unit unit;
    double amount;                            /* share, percent or bytes */
    double keep[FOVEA_N_MODALITY];            /* share of the modality's tokens; 0: none of its own */
    const fvi_codec *codec[FOVEA_N_MODALITY]; /* NULL: the base kind */
    double recent[FOVEA_N_MODALITY];          /* share of the budget for the latest tokens */
    bool recent_apart;                        /* of each modality, else of the prompt: all equal */
    uint32_t protect[FOVEA_N_MODALITY];       /* latest tokens that are always kept */
    uint32_t n_sink;                          /* first tokens that are always kept */
    uint32_t n_exact;                         /* first tokens that are, and in the base kind */
    uint64_t seed;
    const fvi_merger *merger[FOVEA_N_MODALITY]; /* NULL: evicted tokens are dropped */
    const fvi_reviser *reviser; /* while=; NULL: what is generated stays */
    uint32_t cap;               /* tokens of a list while decoding */
    const fvi_codec *evicted;   /* what is evicted is kept so; NULL: it is gone */
    uint32_t n_blurred;         /* tokens of a list that are */
    const fvi_recall *recall;   /* recall=; NULL: all that is held is attended */
    uint32_t n_attend;          /* tokens of a list in a step */
    double prefill_cap;   /* a finished layer is cut to so many mean budgets (cut.h); 0: never */
    double prefill_least; /* and to no less than this share of it */
} fvi_recipe;

/* NULL or "" is "none". */
fovea_status fvi_recipe_parse(const char *text, fvi_recipe *out, fovea_error *err);
/* True when everything stays as it is ("none"). keep=1.0 and bytes=100% do rewrite. */
bool fvi_recipe_is_none(const fvi_recipe *recipe);
/* True when a prompt gets a plan. */
bool fvi_recipe_plans(const fvi_recipe *recipe);

/* revisers.c: entries of revisers.def, NULL past the end; whether while= and its keys fit the rest. */
const fvi_reviser *fvi_reviser_at(uint32_t index);
fovea_status fvi_recipe_check_revise(const fvi_recipe *recipe, fovea_error *err);
/* Whether recall= does. */
fovea_status fvi_recipe_check_recall(const fvi_recipe *recipe, fovea_error *err);

#endif
