/* recipe_text.h - recipes as text and as the struct of kv.h: what was said, key by key, nothing resolved.
 *
 * Called by recipe.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_RECIPE_TEXT_H
#define FOVEA_KVCOMPRESS_RECIPE_TEXT_H

#include "sdk/base/base.h"

#include <fovea/kv.h>

/* What the text gives; names point to static memory. "none" alone gives nothing. */
fovea_status fvi_recipe_read(const char *text, fovea_recipe *out, fovea_error *err);
/* The text that reads back as `recipe`. FOVEA_ERR_LIMIT: it does not fit; FOVEA_ERR_ARG: a value that no text
 * gives. */
fovea_status fvi_recipe_write(const fovea_recipe *recipe, char *text, size_t n, fovea_error *err);
/* Puts what `given` gives over what `base` gives. */
void fvi_recipe_overlay(fovea_recipe *base, const fovea_recipe *given);

#endif
