/* recipes.c - splitting a list of recipes. */
#include "samples/eval/recipes.h"

#include "samples/common/base.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\n"

void eval_recipes_free(eval_recipes *recipes)
{
    for (uint32_t i = 0; i < recipes->n; i++) {
        free(recipes->items[i]);
    }
    memset(recipes, 0, sizeof(*recipes));
}

fovea_status eval_recipes_begin(eval_recipes *recipes, fovea_error *err)
{
    memset(recipes, 0, sizeof(*recipes));
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
    if (recipes->n == EVAL_MAX_RECIPE) {
        return sample_fail(err, FOVEA_ERR_LIMIT, "more than %d recipes", EVAL_MAX_RECIPE);
    }
    copy = strndup(text, n_bytes);
    if (copy == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    status = fovea_recipe_check(copy, err);
    for (uint32_t i = 0; status == FOVEA_OK && i < recipes->n; i++) {
        if (strcmp(recipes->items[i], copy) == 0) {
            free(copy);
            return FOVEA_OK;
        }
    }
    if (status < 0) {
        free(copy);
        return status;
    }
    recipes->items[recipes->n++] = copy;
    return FOVEA_OK;
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
