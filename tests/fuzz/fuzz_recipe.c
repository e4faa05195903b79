/* fuzz_recipe.c - recipe strings, as they come from a command line or over the wire. */
#include "tests/fuzz/fuzz.h"

#include "kvcompress/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"none",    "vl-cache", "streaming", "random", "keep=",
                                    "bytes=",  "score=",   "budget=",   "post-vision", "density",
                                    "vision=", "text=",    "int4",      "int8",   "f16",
                                    "f32",     "int2",     "recent=",   "sinks=", "seed=",
                                    ",",       ":",        "=",         "%",      "KiB",
                                    "GiB",     "nan",      "inf",       "0x10",   " ",
                                    NULL};

static void run(const fuzz_bytes *input, const char *dir)
{
    (void)dir;
    static char text[FUZZ_MAX_BYTES + 1];
    memcpy(text, input->data, input->n);
    text[input->n] = '\0';
    fvi_recipe recipe;
    fovea_error err = {.code = FOVEA_OK};
    fovea_status status = fvi_recipe_parse(text, &recipe, &err);
    if (status != fovea_recipe_check(text, NULL)) {
        abort();
    }
    if (status < 0) {
        if (status != FOVEA_ERR_ARG || err.text[0] == '\0') {
            abort(); /* a refusal has its code and names what is wrong */
        }
        return;
    }
    if (!isfinite(recipe.amount) || recipe.amount < 0.0 || !(recipe.recent[0] >= 0.0 && recipe.recent[0] <= 1.0) || !(recipe.recent[1] >= 0.0 && recipe.recent[1] <= 1.0) ||
        (recipe.unit == FVI_BUDGET_KEEP && !(recipe.amount > 0.0 && recipe.amount <= 1.0)) ||
        (recipe.unit != FVI_BUDGET_NONE && recipe.amount <= 0.0)) {
        abort();
    }
}

const fuzz_target fuzz_recipe = {"recipe", words, NULL, run};
