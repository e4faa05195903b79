/* revisers.c - the table of what goes while decoding, and which recipes it and recall= go with.
 *
 * Called by recipe.c. */
#include "kvcompress/recipe.h"

#define FVI_REVISER(name) extern const fvi_reviser fvi_reviser_##name;
#include "kvcompress/revisers.def"
#undef FVI_REVISER

static const fvi_reviser *const table[] = {
#define FVI_REVISER(name) &fvi_reviser_##name,
#include "kvcompress/revisers.def"
#undef FVI_REVISER
};

const fvi_reviser *fvi_reviser_at(uint32_t index)
{
    return index < FVI_COUNT(table) ? table[index] : NULL;
}

/* evicted= wants a kind that is written and moved row by row. */
static bool lies_per_token(const fvi_codec *codec)
{
    return codec->codes.bits != 0 && !codec->codes.k_channel && !codec->codes.v_channel;
}

fovea_status fvi_recipe_check_recall(const fvi_recipe *recipe, fovea_error *err)
{
    if (recipe->recall == NULL) {
        return recipe->n_attend == 0
                   ? FOVEA_OK
                   : FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: attend= goes with recall=");
    }
    if (recipe->n_attend < FVI_KV_ATTEND_LEAST) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: attend=%u: at least %d tokens are wanted",
                        recipe->n_attend, FVI_KV_ATTEND_LEAST);
    }
    if (recipe->reviser != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: while= does not go with recall=, which keeps what it gives up");
    }
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        const fvi_codec *codec = recipe->codec[m];
        if (codec != NULL &&
            (codec->fit_rows != NULL || (codec->codes.bits != 0 && !lies_per_token(codec)))) {
            return FVI_FAIL(
                err, FOVEA_ERR_ARG,
                "recipe: %s does not go with recall=: it cannot be cut into pages of %d tokens",
                codec->name, FVI_KV_PAGE);
        }
    }
    if ((recipe->budget != NULL && recipe->budget->choose != NULL) ||
        recipe->unit == FVI_BUDGET_PERCENT || recipe->unit == FVI_BUDGET_BYTES) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: bytes= and budgets that choose kinds do not go with recall=, "
                        "which counts pages; keep= does");
    }
    return FOVEA_OK;
}

fovea_status fvi_recipe_check_revise(const fvi_recipe *recipe, fovea_error *err)
{
    const fvi_reviser *reviser = recipe->reviser;
    if (reviser == NULL) {
        return recipe->cap == 0 && recipe->evicted == NULL && recipe->n_blurred == 0
                   ? FOVEA_OK
                   : FVI_FAIL(err, FOVEA_ERR_ARG,
                              "recipe: cap=, evicted= and blurred= go with while=");
    }
    if (recipe->cap == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: while=%s needs cap=, the tokens of a list",
                        reviser->name);
    }
    if (recipe->codec[0] != NULL || recipe->codec[1] != NULL ||
        (recipe->budget != NULL && recipe->budget->choose != NULL)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: while= holds tokens as they are, and in one kind what is evicted: "
                        "text=, vision= and budgets that choose kinds do not go with it");
    }
    if (recipe->protect[0] > 0 || recipe->protect[1] > 0 || recipe->recent_apart ||
        recipe->merger[0] != NULL || recipe->merger[1] != NULL) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: while= keeps sinks= and recent=: protect=, windows of one modality and "
            "merging do not go with it");
    }
    if (recipe->unit == FVI_BUDGET_PERCENT || recipe->unit == FVI_BUDGET_BYTES) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: while= counts tokens: keep= goes with it, bytes= does not");
    }
    uint32_t n_first = FVI_MAX(recipe->n_sink, recipe->n_exact);
    if (n_first + (uint32_t)(recipe->recent[0] * recipe->cap) >= recipe->cap) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: cap=%u leaves nothing to choose beside %u first tokens and recent=%g",
            recipe->cap, n_first, recipe->recent[0]);
    }
    if (recipe->evicted != NULL && !lies_per_token(recipe->evicted)) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: evicted=%s: a kind of codes per token is wanted (int8, int4, int2)",
            recipe->evicted->name);
    }
    if ((recipe->evicted == NULL) != (recipe->n_blurred == 0)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: blurred= counts what evicted= keeps");
    }
    return FOVEA_OK;
}
