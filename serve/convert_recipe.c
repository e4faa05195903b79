/* convert_recipe.c - the recipe of a request, as text or field by field, as the text that the library takes.
 *
 * An absent field is one that the struct of <fovea/kv.h> leaves 0; a field that is 0 and meant so has its bit in
 * `zeros`, where 0 is a value at all. */
#include "serve/convert.h"

#include <stdio.h>
#include <string.h>

#define BAD GRPC_STATUS_INVALID_ARGUMENT

/* False where a share or a size is given as 0, which the struct would take as absent. */
static bool check_above(bool given, double value, const char *path, const char *name,
                        fvi_rpc_error *err)
{
    return !given || value != 0 ||
           fvi_rpc_fail(err, BAD, "recipe_fields.%s%s: must be above 0; leave it out", path, name);
}

static bool take_part(const Fovea__V1__RecipePart *from, const char *path, fovea_recipe_part *out,
                      fvi_rpc_error *err)
{
    if (from == NULL) {
        return true;
    }
    bool has_recent = from->has_recent_case != 0;
    out->kind = from->has_kind_case != 0 ? from->kind : NULL;
    out->merge = from->has_merge_case != 0 ? from->merge : NULL;
    out->keep = from->has_keep_case != 0 ? from->keep : 0;
    out->recent = has_recent ? from->recent : 0;
    out->zeros = has_recent && from->recent == 0 ? FOVEA_RECIPE_ZERO_RECENT : 0;
    switch (from->protect_case) {
    case FOVEA__V1__RECIPE_PART__PROTECT_PROTECT_TOKENS: out->protect = from->protect_tokens; break;
    case FOVEA__V1__RECIPE_PART__PROTECT_PROTECT_ALL:
        out->protect = from->protect_all ? FOVEA_RECIPE_ALL : 0;
        break;
    default: return check_above(from->has_keep_case != 0, out->keep, path, "keep", err);
    }
    out->zeros |= out->protect == 0 ? FOVEA_RECIPE_ZERO_PROTECT : 0;
    return check_above(from->has_keep_case != 0, out->keep, path, "keep", err);
}

static bool take_fields(const Fovea__V1__Recipe *from, fovea_recipe *out, fvi_rpc_error *err)
{
    bool has_percent = from->size_case == FOVEA__V1__RECIPE__SIZE_BYTES_PERCENT;
    bool has_bytes = from->size_case == FOVEA__V1__RECIPE__SIZE_BYTES;
    *out = (fovea_recipe){.size = sizeof *out};
    out->preset = from->has_preset_case != 0 ? from->preset : NULL;
    out->score = from->has_score_case != 0 ? from->score : NULL;
    out->budget = from->has_budget_case != 0 ? from->budget : NULL;
    out->percent = has_percent ? from->bytes_percent : 0;
    out->bytes = has_bytes ? from->bytes : 0;
    out->sinks = from->has_sink_tokens_case != 0 ? from->sink_tokens : 0;
    out->exact = from->has_exact_tokens_case != 0 ? from->exact_tokens : 0;
    out->seed = from->has_seed_case != 0 ? from->seed : 0;
    out->zeros |= from->has_sink_tokens_case != 0 && out->sinks == 0 ? FOVEA_RECIPE_ZERO_SINKS : 0;
    out->zeros |= from->has_exact_tokens_case != 0 && out->exact == 0 ? FOVEA_RECIPE_ZERO_EXACT : 0;
    out->zeros |= from->has_seed_case != 0 && out->seed == 0 ? FOVEA_RECIPE_ZERO_SEED : 0;
    out->revise = from->has_reviser_case != 0 ? from->reviser : NULL;
    out->cap = from->has_cap_tokens_case != 0 ? from->cap_tokens : 0;
    out->evicted = from->has_evicted_kind_case != 0 ? from->evicted_kind : NULL;
    out->blurred = from->has_blurred_tokens_case != 0 ? from->blurred_tokens : 0;
    out->recall = from->has_recall_case != 0 ? from->recall : NULL;
    out->attend = from->has_attend_tokens_case != 0 ? from->attend_tokens : 0;
    out->prefill_cap = from->has_prefill_cap_case != 0 ? from->prefill_cap : 0;
    out->zeros |= from->has_prefill_cap_case != 0 && out->prefill_cap == 0
                      ? FOVEA_RECIPE_ZERO_PREFILL_CAP
                      : 0;
    return check_above(from->has_cap_tokens_case != 0, out->cap, "", "cap_tokens", err) &&
           check_above(from->has_attend_tokens_case != 0, out->attend, "", "attend_tokens", err) &&
           check_above(from->has_blurred_tokens_case != 0, out->blurred, "", "blurred_tokens",
                       err) &&
           check_above(has_percent, out->percent, "", "bytes_percent", err) &&
           check_above(has_bytes, out->bytes, "", "bytes", err) &&
           take_part(from->both, "both.", &out->both, err) &&
           take_part(from->text, "text.", &out->text, err) &&
           take_part(from->vision, "vision.", &out->vision, err);
}

bool fvi_convert_recipe(const Fovea__V1__GenerateRequest *request, char *text, fvi_rpc_error *err)
{
    fovea_error cause = {0};
    fovea_recipe recipe;
    bool has_text = request->has_recipe_case != 0;
    if (request->recipe_fields == NULL) {
        const char *given = has_text && request->recipe[0] != '\0' ? request->recipe : "none";
        fovea_status status = fovea_recipe_check(given, &cause);
        if (status < 0) {
            return fvi_rpc_fail_from(err, "recipe", status, &cause);
        }
        snprintf(text, FOVEA_RECIPE_MAX_BYTES, "%s", given);
        return true;
    }
    if (has_text) {
        return fvi_rpc_fail(err, BAD, "recipe_fields: stands beside recipe; only one may be given");
    }
    if (!take_fields(request->recipe_fields, &recipe, err)) {
        return false;
    }
    fovea_status status = fovea_recipe_format(&recipe, text, FOVEA_RECIPE_MAX_BYTES, &cause);
    return status >= 0 || fvi_rpc_fail_from(err, "recipe_fields", status, &cause);
}
