/* recipe.c - what a recipe means: the tables of names, presets, which values go together, the functions of kv.h.
 *
 * A preset stands for options (recipes.def); what is given is laid over them. Called by the engine, samples
 * and server through kv.h. */
#include "kvcompress/recipe.h"

#include "kvcompress/recipe_text.h"

#define FVI_SCORER(name) extern const fvi_scorer fvi_scorer_##name;
#include "kvcompress/scorers.def"
#undef FVI_SCORER
#define FVI_BUDGET(name) extern const fvi_budget fvi_budget_##name;
#include "kvcompress/budgets.def"
#undef FVI_BUDGET

static const fvi_scorer *const scorers[] = {
#define FVI_SCORER(name) &fvi_scorer_##name,
#include "kvcompress/scorers.def"
#undef FVI_SCORER
};

static const fvi_budget *const budgets[] = {
#define FVI_BUDGET(name) &fvi_budget_##name,
#include "kvcompress/budgets.def"
#undef FVI_BUDGET
};

static const struct preset {
    const char *name, *options;
} presets[] = {
#define FVI_PRESET(name, options) {name, options},
#include "kvcompress/recipes.def"
#undef FVI_PRESET
};

/* ---- names ---- */

static const char *scorer_name(uint32_t index)
{
    return index < FVI_COUNT(scorers) ? scorers[index]->name : NULL;
}

static const char *budget_name(uint32_t index)
{
    return index < FVI_COUNT(budgets) ? budgets[index]->name : NULL;
}

static const char *kind_name(uint32_t index)
{
    return fvi_codec_at(index) != NULL ? fvi_codec_at(index)->name : NULL;
}

static const char *merger_name(uint32_t index)
{
    return fvi_merger_at(index) != NULL ? fvi_merger_at(index)->name : NULL;
}

static const char *preset_name(uint32_t index)
{
    return index < FVI_COUNT(presets) ? presets[index].name : NULL;
}

static const char *reviser_name(uint32_t index)
{
    return fvi_reviser_at(index) != NULL ? fvi_reviser_at(index)->name : NULL;
}

static const char *recall_name(uint32_t index)
{
    return fvi_recall_at(index) != NULL ? fvi_recall_at(index)->name : NULL;
}

static const struct {
    const char *table;
    const char *(*name)(uint32_t index);
} tables[] = {{"presets", preset_name}, {"scores", scorer_name},    {"budgets", budget_name},
              {"kinds", kind_name},     {"revisers", reviser_name}, {"mergers", merger_name},
              {"recalls", recall_name}};

const char *fovea_recipe_name(const char *table, uint32_t index)
{
    for (uint32_t i = 0; table != NULL && i < FVI_COUNT(tables); i++) {
        if (strcmp(table, tables[i].table) == 0) {
            return tables[i].name(index);
        }
    }
    return NULL;
}

/* Where a name stands in its table; it is one of it, or NULL: UINT32_MAX. */
static uint32_t index_of(const char *(*name_at)(uint32_t), const char *name)
{
    for (uint32_t i = 0; name != NULL && name_at(i) != NULL; i++) {
        if (strcmp(name_at(i), name) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* ---- making out what was said ---- */

static bool part_has(const fovea_recipe_part *part, double value, fovea_recipe_zero zero)
{
    return value > 0 || (part->zeros & zero) != 0;
}

static bool says_recent(const fovea_recipe *given)
{
    return part_has(&given->both, given->both.recent, FOVEA_RECIPE_ZERO_RECENT) ||
           part_has(&given->text, given->text.recent, FOVEA_RECIPE_ZERO_RECENT) ||
           part_has(&given->vision, given->vision.recent, FOVEA_RECIPE_ZERO_RECENT);
}

static void make_parts(const fovea_recipe *all, fvi_recipe *out)
{
    const fovea_recipe_part *both = &all->both;
    const fovea_recipe_part *parts[FOVEA_N_MODALITY] = {&all->text, &all->vision};
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        const fovea_recipe_part *own = parts[m];
        bool has_recent = part_has(own, own->recent, FOVEA_RECIPE_ZERO_RECENT);
        bool has_protect = part_has(own, own->protect, FOVEA_RECIPE_ZERO_PROTECT);
        uint32_t kind = index_of(kind_name, own->kind != NULL ? own->kind : both->kind);
        uint32_t merger = index_of(merger_name, own->merge != NULL ? own->merge : both->merge);
        out->codec[m] = fvi_codec_at(kind);
        out->keep[m] = own->keep;
        out->merger[m] = fvi_merger_at(merger);
        out->recent[m] = has_recent ? own->recent : both->recent;
        out->recent_apart = out->recent_apart || has_recent;
        out->protect[m] = has_protect ? own->protect : both->protect;
    }
}

static void make_total(const fovea_recipe *all, fvi_recipe *out)
{
    if (all->both.keep > 0) {
        out->unit = FVI_BUDGET_KEEP;
        out->amount = all->both.keep;
    } else if (all->percent > 0) {
        out->unit = FVI_BUDGET_PERCENT;
        out->amount = all->percent;
    } else if (all->bytes > 0) {
        out->unit = FVI_BUDGET_BYTES;
        out->amount = all->bytes;
    }
}

/* What happens while decoding, and what it changes where nothing is said. */
static void make_revise(fovea_recipe *all, fvi_recipe *out)
{
    const fvi_reviser *reviser = fvi_reviser_at(index_of(reviser_name, all->revise));
    out->reviser = reviser;
    out->cap = all->cap;
    out->evicted = fvi_codec_at(index_of(kind_name, all->evicted));
    out->n_blurred = all->evicted != NULL && all->blurred == 0 ? 4 * all->cap : all->blurred;
    out->recall = fvi_recall_at(index_of(recall_name, all->recall));
    out->n_attend = out->recall != NULL && all->attend == 0 ? 256 : all->attend;
    if (all->both.recent <= 0 && (all->both.zeros & FOVEA_RECIPE_ZERO_RECENT) == 0) {
        all->both.recent = reviser != NULL ? reviser->recent : 0.1;
    }
    if (reviser != NULL && all->sinks == 0 && (all->zeros & FOVEA_RECIPE_ZERO_SINKS) == 0) {
        all->sinks = reviser->n_sink;
    }
}

/* Merging takes evicted tokens of a modality that can lose any. */
static fovea_status check_mergers(const fvi_recipe *self, fovea_error *err)
{
    const char *merges = NULL;
    bool evicts = false;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        if (fvi_merger_folds(self->merger[m])) {
            merges = self->merger[m]->name;
            bool has_budget = self->unit != FVI_BUDGET_NONE || self->keep[m] > 0;
            evicts = evicts || (has_budget && self->protect[m] != FOVEA_RECIPE_ALL);
        }
    }
    if (merges != NULL && self->scorer == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: merge=%s needs a preset or score=: without one nothing is evicted",
                        merges);
    }
    if (merges != NULL && !evicts) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: merge=%s does not go with protect=all, nor without a budget of "
                        "what is merged: nothing is evicted",
                        merges);
    }
    return FOVEA_OK;
}

/* Refuses what does not go together, and says why. */
static fovea_status check(const fvi_recipe *self, const fovea_recipe *given, fovea_error *err)
{
    uint32_t n_share = (self->keep[0] > 0) + (self->keep[1] > 0);
    bool has_total = self->unit != FVI_BUDGET_NONE;
    if (self->scorer != NULL && !has_total && n_share == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: score '%s' needs keep= or bytes=", self->scorer->name);
    }
    if (self->scorer == NULL && (has_total || n_share > 0)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s= needs a preset or score=",
                        self->unit == FVI_BUDGET_NONE || self->unit == FVI_BUDGET_KEEP ? "keep"
                                                                                       : "bytes");
    }
    if (self->scorer == NULL && self->budget != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: budget '%s' needs a preset or score=", self->budget->name);
    }
    if (has_total && n_share > 1) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: text.keep=, vision.keep= and a total: any two of them, the third follows");
    }
    if (self->budget != NULL && self->budget->choose != NULL && n_share > 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: budget '%s' weighs text against vision itself; text.keep= and "
                        "vision.keep= do not go with it, text.protect= and vision.protect= do",
                        self->budget->name);
    }
    if (self->budget != NULL && self->budget->choose != NULL && says_recent(given)) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: budget '%s' has no windows; recent= does not go with it, protect= does",
            self->budget->name);
    }
    const fvi_codec *text = self->codec[FOVEA_MODALITY_TEXT];
    if (text != NULL && text->fit_rows != NULL) {
        return FVI_FAIL(
            err, FOVEA_ERR_ARG,
            "recipe: text=%s does not go with text: it is fitted to what the tokens of an image "
            "have in common; vision=%s does",
            text->name, text->name);
    }
    FVI_TRY(check_mergers(self, err));
    FVI_TRY(fvi_recipe_check_recall(self, err));
    return fvi_recipe_check_revise(self, err);
}

/* A cap of a few percent would cut the first layers by what little is known before later ones tell which picture matters.
 * A fifth costs a peak of a fifth of the cache and the layer that is whole (31% with 8 layers), as bytes=10% has it. */
static void make_cap(const fovea_recipe *all, fvi_recipe *out)
{
    bool own = all->prefill_cap >= 0;
    out->prefill_cap = own ? all->prefill_cap : 2;
    out->prefill_least = own ? 0 : 0.2;
}

static fovea_status make(const fovea_recipe *given, fvi_recipe *out, fovea_error *err)
{
    fovea_recipe all = {.size = sizeof all, .prefill_cap = -1};
    uint32_t preset = index_of(preset_name, given->preset);
    if (preset != UINT32_MAX) {
        fovea_recipe own;
        FVI_TRY(fvi_recipe_read(presets[preset].options, &own, err));
        fvi_recipe_overlay(&all, &own);
    }
    fvi_recipe_overlay(&all, given);
    make_revise(&all, out);
    uint32_t scorer = index_of(scorer_name, all.score), budget = index_of(budget_name, all.budget);
    out->scorer = scorer != UINT32_MAX ? scorers[scorer] : NULL;
    out->budget = budget != UINT32_MAX ? budgets[budget] : NULL;
    out->n_sink = all.sinks;
    out->n_exact = all.exact;
    out->seed = all.seed;
    make_cap(&all, out);
    make_total(&all, out);
    make_parts(&all, out);
    FVI_TRY(check(out, given, err));
    if (out->scorer != NULL && out->budget == NULL) {
        out->budget = budgets[0];
    }
    return FOVEA_OK;
}

fovea_status fvi_recipe_parse(const char *text, fvi_recipe *out, fovea_error *err)
{
    const char *own = text == NULL || text[0] == '\0' ? "none" : text;
    fovea_recipe given;
    fvi_recipe recipe = {.text = ""};
    FVI_TRY(fvi_recipe_read(own, &given, err));
    FVI_TRY(make(&given, &recipe, err));
    memcpy(recipe.text, own, strlen(own));
    *out = recipe;
    return FOVEA_OK;
}

bool fvi_recipe_plans(const fvi_recipe *recipe)
{
    bool is_plain = true;
    for (uint32_t i = 0; i < FOVEA_N_MODALITY; i++) {
        is_plain = is_plain && recipe->codec[i] == NULL;
    }
    return !is_plain || recipe->scorer != NULL; /* a score and a budget or share come together */
}

bool fvi_recipe_is_none(const fvi_recipe *recipe)
{
    return !fvi_recipe_plans(recipe) && recipe->reviser == NULL && recipe->recall == NULL;
}

/* ---- public ---- */

fovea_status fovea_recipe_check(const char *recipe, fovea_error *err)
{
    fvi_recipe parsed;
    return fvi_recipe_parse(recipe, &parsed, err);
}

fovea_status fovea_recipe_parse(const char *text, fovea_recipe *out, fovea_error *err)
{
    fovea_recipe given;
    FVI_TRY(fovea_recipe_check(text, err));
    FVI_TRY(fvi_recipe_read(text == NULL || text[0] == '\0' ? "none" : text, &given, err));
    if (out == NULL || !fvi_struct_out(out, &given, sizeof given)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: out is NULL, or its size is wrong");
    }
    return FOVEA_OK;
}

fovea_status fovea_recipe_format(const fovea_recipe *recipe, char *text, size_t n, fovea_error *err)
{
    fovea_recipe given;
    char own[FOVEA_RECIPE_MAX_BYTES];
    if (recipe == NULL || !fvi_struct_in(&given, sizeof given, recipe)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: it is NULL, or its size is wrong");
    }
    static const uint64_t nothing[FVI_COUNT(given.both.reserved)] = {0};
    if (memcmp(given.both.reserved, nothing, sizeof nothing) != 0 ||
        memcmp(given.text.reserved, nothing, sizeof nothing) != 0 ||
        memcmp(given.vision.reserved, nothing, sizeof nothing) != 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: reserved is not 0");
    }
    FVI_TRY(fvi_recipe_write(&given, own, sizeof own, err));
    FVI_TRY(fovea_recipe_check(own, err));
    size_t n_own = strlen(own) + 1;
    if (n_own > n) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "recipe: %zu bytes hold it, not %zu", n_own, n);
    }
    memcpy(text, own, n_own);
    return FOVEA_OK;
}
