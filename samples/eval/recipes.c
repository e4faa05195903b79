/* recipes.c - splitting a list of recipes, and crossing it with budgets. */
#include "samples/eval/recipes.h"

#include "samples/common/base.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\n"

void eval_recipes_free(eval_recipes *recipes)
{
    for (uint32_t i = 0; i < recipes->n; i++) {
        free(recipes->items[i]);
        free(recipes->bases[i]);
        free(recipes->budgets[i]);
    }
    memset(recipes, 0, sizeof(*recipes));
}

/* The option bytes= or keep= in a recipe; NULL without one. */
static const char *find_budget(const char *recipe)
{
    for (const char *at = recipe; *at != '\0'; at++) {
        bool begins = at == recipe || at[-1] == ':' || at[-1] == ',';
        if (begins && (strncmp(at, "bytes=", 6) == 0 || strncmp(at, "keep=", 5) == 0)) {
            return at;
        }
    }
    return NULL;
}

/* Appends a checked recipe, which then belongs to the list, with what it is made of. */
static fovea_status append(eval_recipes *recipes, char *recipe, fovea_error *err)
{
    const char *found = find_budget(recipe);
    size_t length = found != NULL ? strcspn(found, ",") : 0;
    const char *budget = found != NULL ? found : "";
    const char *behind = budget + length;
    int before = (int)(found != NULL ? budget - recipe : (long)strlen(recipe));
    char *base = NULL;

    if (found != NULL && *behind == ',') {
        behind++;
    } else if (before > 0 && found != NULL) {
        before--; /* the mark in front goes with it */
    }
    if (asprintf(&base, "%.*s%s", before, recipe, behind) < 0) {
        base = NULL;
    }
    recipes->items[recipes->n] = recipe;
    recipes->bases[recipes->n] = base;
    recipes->budgets[recipes->n] = strndup(budget, length);
    recipes->n++; /* eval_recipes_free now frees them */
    if (base == NULL || recipes->budgets[recipes->n - 1] == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    return FOVEA_OK;
}

/* Adds one recipe, which then belongs to the list or is freed. */
static fovea_status add_whole(eval_recipes *recipes, char *recipe, fovea_error *err)
{
    fovea_status status = fovea_recipe_check(recipe, err);

    for (uint32_t i = 0; status == FOVEA_OK && i < recipes->n; i++) {
        if (strcmp(recipes->items[i], recipe) == 0) {
            free(recipe);
            return FOVEA_OK;
        }
    }
    if (status == FOVEA_OK && recipes->n == EVAL_MAX_RECIPE) {
        status = sample_fail(err, FOVEA_ERR_LIMIT, "more than %d recipes", EVAL_MAX_RECIPE);
    }
    if (status < 0) {
        free(recipe);
        return status;
    }
    return append(recipes, recipe, err);
}

/* Adds one recipe with each of the budgets. */
static fovea_status add_crossed(eval_recipes *recipes, const char *recipe, fovea_error *err)
{
    bool has_options = strpbrk(recipe, ":=") != NULL;
    const char *budgets = recipes->crossed;
    fovea_status status = FOVEA_OK;

    while (status == FOVEA_OK && *budgets != '\0') {
        size_t width = strcspn(budgets, ",");
        char *crossed = NULL;
        if (asprintf(&crossed, "%s%cbytes=%.*s", recipe, has_options ? ',' : ':', (int)width,
                     budgets) < 0) {
            return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
        }
        status = add_whole(recipes, crossed, err);
        budgets += width + (budgets[width] == ',');
    }
    return status;
}

fovea_status eval_recipes_begin(eval_recipes *recipes, const char *budgets, fovea_error *err)
{
    memset(recipes, 0, sizeof(*recipes));
    recipes->crossed = budgets;
    return eval_recipes_add(recipes, "none", strlen("none"), err);
}

fovea_status eval_recipes_add(eval_recipes *recipes, const char *text, size_t n_bytes,
                              fovea_error *err)
{
    fovea_status status;
    char *copy;

    while (n_bytes > 0 && strchr(BLANKS, text[0]) != NULL) {
        text++;
        n_bytes--;
    }
    while (n_bytes > 0 && strchr(BLANKS, text[n_bytes - 1]) != NULL) {
        n_bytes--;
    }
    if (n_bytes == 0) {
        return FOVEA_OK;
    }
    copy = strndup(text, n_bytes);
    if (copy == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    if (recipes->crossed == NULL || find_budget(copy) != NULL || strcmp(copy, "none") == 0) {
        return add_whole(recipes, copy, err);
    }
    status = add_crossed(recipes, copy, err);
    free(copy);
    return status;
}

/* True when a recipe begins here: a preset's name as a whole word, or "score=". */
static bool begins_recipe(const char *text)
{
    const char *preset;

    text += strspn(text, BLANKS);
    if (strncmp(text, "score=", strlen("score=")) == 0) {
        return true;
    }
    for (uint32_t i = 0; (preset = fovea_recipe_name("presets", i)) != NULL; i++) {
        size_t length = strlen(preset);
        if (strncmp(text, preset, length) == 0 && strchr(":," BLANKS, text[length]) != NULL) {
            return true; /* strchr finds the terminator too */
        }
    }
    return false;
}

fovea_status eval_recipes_add_list(eval_recipes *recipes, const char *list, fovea_error *err)
{
    bool semicolons = strchr(list, ';') != NULL;
    const char *start = list;

    for (const char *at = list;; at++) {
        bool border = *at == ';' || (*at == ',' && !semicolons && begins_recipe(at + 1));
        if (border || *at == '\0') {
            fovea_status status = eval_recipes_add(recipes, start, (size_t)(at - start), err);
            if (status < 0 || *at == '\0') {
                return status;
            }
            start = at + 1;
        }
    }
}

uint32_t eval_recipes_against(const eval_recipes *recipes, uint32_t index, const char *against)
{
    for (uint32_t i = 0; i < recipes->n; i++) {
        if (strcmp(recipes->items[i], against) == 0) {
            return i;
        }
    }
    for (uint32_t i = 0; i < recipes->n; i++) {
        if (strcmp(recipes->bases[i], against) == 0 &&
            strcmp(recipes->budgets[i], recipes->budgets[index]) == 0) {
            return i;
        }
    }
    return EVAL_MAX_RECIPE;
}
