/* recipes.h - a list of recipes from the command line.
 *
 * Recipes have commas of their own: with a ";" in the text only ";" separates; otherwise a comma starts a
 * new recipe where a preset's name or "score=" follows. Called by main.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_RECIPES_H
#define FOVEA_SAMPLES_EVAL_RECIPES_H

#include <fovea/kv.h>

#define EVAL_MAX_RECIPE 64

typedef struct eval_recipes {
    char *items[EVAL_MAX_RECIPE]; /* [n], no two alike; items[0] is "none", the yardstick */
    uint32_t n;
} eval_recipes;

/* Only "none" in it. */
fovea_status eval_recipes_begin(eval_recipes *recipes, fovea_error *err);
/* Adds one recipe, checked; one that is there already is left out. */
fovea_status eval_recipes_add(eval_recipes *recipes, const char *text, size_t n_bytes,
                              fovea_error *err);
/* Adds every recipe of a list. */
fovea_status eval_recipes_add_list(eval_recipes *recipes, const char *list, fovea_error *err);
void eval_recipes_free(eval_recipes *recipes);

#endif
