/* recipes.h - a list of recipes from the command line.
 *
 * Recipes have commas of their own: with a ";" in the text only ";" separates; otherwise a comma starts a
 * new recipe where a preset's name or "score=" follows. Called by main.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_RECIPES_H
#define FOVEA_SAMPLES_EVAL_RECIPES_H

#include <fovea/kv.h>

#define EVAL_MAX_RECIPE 64

typedef struct eval_recipes {
    char *items[EVAL_MAX_RECIPE];   /* [n], no two alike; items[0] is "none", the yardstick */
    char *bases[EVAL_MAX_RECIPE];   /* [n] the same without bytes= or keep= */
    char *budgets[EVAL_MAX_RECIPE]; /* [n] "bytes=10%", "" without one */
    uint32_t n;
    const char *crossed; /* budgets for recipes that have none; may be NULL */
} eval_recipes;

/* Only "none" in it. budgets: a list such as "20%,10%,64KiB", each of which every recipe without bytes=
 * and keep= is then added with; NULL: none. It must outlive the recipes. */
fovea_status eval_recipes_begin(eval_recipes *recipes, const char *budgets, fovea_error *err);
/* Adds one recipe, checked; one that is there already is left out. */
fovea_status eval_recipes_add(eval_recipes *recipes, const char *text, size_t n_bytes,
                              fovea_error *err);
/* Adds every recipe of a list. */
fovea_status eval_recipes_add_list(eval_recipes *recipes, const char *list, fovea_error *err);
/* What recipe `index` is compared with: the recipe `against` itself, or the one that is `against` with the
 * same budget; EVAL_MAX_RECIPE: there is none. */
uint32_t eval_recipes_against(const eval_recipes *recipes, uint32_t index, const char *against);
void eval_recipes_free(eval_recipes *recipes);

#endif
