/* recipe.c - recipes as text: the parser, the tables of names, the public checks of kv.h.
 *
 * A preset stands for options (recipes.def) that are read before those given, of which the later holds.
 * Numbers are read by hand, so no locale changes what a recipe means. The text may come from the wire:
 * nothing of it is used as a format or shown other than as short printable ASCII. Called by the engine,
 * samples and server through kv.h. */
#include "kvcompress/recipe.h"

#define MAX_DIGITS 15 /* exact in a double */

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

/* A part of the text. */
typedef struct word {
    const char *at;
    size_t n;
} word;

/* A word as an error shows it: short, printable. */
typedef struct shown {
    char text[40];
} shown;

static shown show(word w)
{
    shown out;
    size_t n = FVI_MIN(w.n, sizeof out.text - 4);
    for (size_t i = 0; i < n; i++) {
        out.text[i] = w.at[i] >= ' ' && w.at[i] <= '~' ? w.at[i] : '?';
    }
    memcpy(out.text + n, w.n > n ? "..." : "", w.n > n ? 4 : 1);
    return out;
}

static bool is_word(word w, const char *text)
{
    return strlen(text) == w.n && memcmp(w.at, text, w.n) == 0;
}

static bool ends_with(word w, const char *end)
{
    size_t n = strlen(end);
    return w.n >= n && memcmp(w.at + w.n - n, end, n) == 0;
}

/* Digits, or digits with a point in between; at most MAX_DIGITS of them. */
static bool read_decimal(word w, double *out)
{
    double value = 0, unit = 1;
    uint32_t n_digit = 0;
    bool has_point = false;
    for (size_t i = 0; i < w.n; i++) {
        if (w.at[i] == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (w.at[i] < '0' || w.at[i] > '9' || ++n_digit > MAX_DIGITS) {
            return false;
        }
        value = value * 10 + (w.at[i] - '0');
        unit *= has_point ? 10 : 1;
    }
    *out = value / unit;
    return n_digit > 0 && w.at[w.n - 1] != '.';
}

static bool read_integer(word w, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < w.n; i++) {
        uint64_t digit = (uint64_t)(w.at[i] - '0');
        if (w.at[i] < '0' || w.at[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *out = value;
    return w.n > 0 && value <= most;
}

/* ---- options ---- */

static fovea_status bad_value(fovea_error *err, const char *key, word value, const char *want)
{
    return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s=%s: %s", key, show(value).text, want);
}

static fovea_status set_score(fvi_recipe *recipe, word value, fovea_error *err)
{
    for (uint32_t i = 0; i < FVI_COUNT(scorers); i++) {
        if (is_word(value, scorers[i]->name)) {
            recipe->scorer = scorers[i];
            return FOVEA_OK;
        }
    }
    return bad_value(err, "score", value, "there is no such score");
}

static fovea_status set_budget(fvi_recipe *recipe, word value, fovea_error *err)
{
    for (uint32_t i = 0; i < FVI_COUNT(budgets); i++) {
        if (is_word(value, budgets[i]->name)) {
            recipe->budget = budgets[i];
            return FOVEA_OK;
        }
    }
    return bad_value(err, "budget", value, "there is no such budget");
}

static fovea_status set_keep(fvi_recipe *recipe, word value, fovea_error *err)
{
    if (!read_decimal(value, &recipe->amount) || recipe->amount <= 0 || recipe->amount > 1) {
        return bad_value(err, "keep", value, "a share above 0 and up to 1 is wanted");
    }
    recipe->unit = FVI_BUDGET_KEEP;
    return FOVEA_OK;
}

static fovea_status set_bytes(fvi_recipe *recipe, word value, fovea_error *err)
{
    static const struct unit {
        const char *name;
        fvi_budget_unit unit;
        double factor;
    } units[] = {
        {"%", FVI_BUDGET_PERCENT, 1},      {"KiB", FVI_BUDGET_BYTES, 0x1p10},
        {"MiB", FVI_BUDGET_BYTES, 0x1p20}, {"GiB", FVI_BUDGET_BYTES, 0x1p30},
        {"", FVI_BUDGET_BYTES, 1},
    };
    uint32_t i = 0;
    while (!ends_with(value, units[i].name)) {
        i++;
    }
    word number = {.at = value.at, .n = value.n - strlen(units[i].name)};
    if (!read_decimal(number, &recipe->amount) || recipe->amount <= 0 ||
        recipe->amount * units[i].factor > 0x1p53) {
        return bad_value(err, "bytes", value,
                         "a percentage, or bytes with KiB, MiB or GiB is wanted");
    }
    recipe->amount *= units[i].factor;
    recipe->unit = units[i].unit;
    return FOVEA_OK;
}

static fovea_status set_kind(fvi_recipe *recipe, fovea_modality modality, const char *key,
                             word value, fovea_error *err)
{
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        if (is_word(value, fvi_codec_at(i)->name)) {
            recipe->codec[modality] = fvi_codec_at(i);
            return FOVEA_OK;
        }
    }
    return bad_value(err, key, value, "there is no such storage kind");
}

static fovea_status set_vision(fvi_recipe *recipe, word value, fovea_error *err)
{
    return set_kind(recipe, FOVEA_MODALITY_VISION, "vision", value, err);
}

static fovea_status set_text(fvi_recipe *recipe, word value, fovea_error *err)
{
    return set_kind(recipe, FOVEA_MODALITY_TEXT, "text", value, err);
}

static fovea_status set_recent(fvi_recipe *recipe, word value, fovea_error *err)
{
    if (!read_decimal(value, &recipe->recent) || recipe->recent > 1) {
        return bad_value(err, "recent", value, "a share from 0 to 1 is wanted");
    }
    return FOVEA_OK;
}

static fovea_status set_tokens(uint32_t *out, const char *key, word value, fovea_error *err)
{
    uint64_t n;
    if (!read_integer(value, 1000000, &n)) {
        return bad_value(err, key, value, "a number of tokens up to 1000000 is wanted");
    }
    *out = (uint32_t)n;
    return FOVEA_OK;
}

static fovea_status set_sinks(fvi_recipe *recipe, word value, fovea_error *err)
{
    return set_tokens(&recipe->n_sink, "sinks", value, err);
}

static fovea_status set_exact(fvi_recipe *recipe, word value, fovea_error *err)
{
    return set_tokens(&recipe->n_exact, "exact", value, err);
}

static fovea_status set_seed(fvi_recipe *recipe, word value, fovea_error *err)
{
    if (!read_integer(value, UINT64_MAX, &recipe->seed)) {
        return bad_value(err, "seed", value, "a whole number below 2^64 is wanted");
    }
    return FOVEA_OK;
}

static const struct option {
    const char *key;
    fovea_status (*set)(fvi_recipe *, word, fovea_error *);
} options[] = {
    {"score", set_score},   {"budget", set_budget}, {"keep", set_keep},     {"bytes", set_bytes},
    {"vision", set_vision}, {"text", set_text},     {"recent", set_recent}, {"sinks", set_sinks},
    {"exact", set_exact},   {"seed", set_seed},
};

static fovea_status read_option(fvi_recipe *recipe, word w, uint32_t *seen, fovea_error *err)
{
    const char *equals = w.n > 0 ? memchr(w.at, '=', w.n) : NULL;
    if (equals == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no option of the form key=value",
                        show(w).text);
    }
    word key = {.at = w.at, .n = (size_t)(equals - w.at)};
    word value = {.at = equals + 1, .n = w.n - key.n - 1};
    for (uint32_t i = 0; i < FVI_COUNT(options); i++) {
        if (!is_word(key, options[i].key)) {
            continue;
        }
        if ((*seen & (1u << i)) != 0) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' stands twice", options[i].key);
        }
        *seen |= 1u << i;
        return options[i].set(recipe, value, err);
    }
    return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no option", show(key).text);
}

static fovea_status read_options(fvi_recipe *recipe, word text, fovea_error *err)
{
    uint32_t seen = 0;
    fvi_budget_unit had = recipe->unit;
    while (true) {
        const char *comma = text.n > 0 ? memchr(text.at, ',', text.n) : NULL;
        word w = {.at = text.at, .n = comma != NULL ? (size_t)(comma - text.at) : text.n};
        fvi_budget_unit unit = recipe->unit;
        FVI_TRY(read_option(recipe, w, &seen, err));
        if (unit != had && unit != recipe->unit) {
            return FVI_FAIL(err, FOVEA_ERR_ARG,
                            "recipe: keep= and bytes= exclude each other at '%s'", show(w).text);
        }
        if (comma == NULL) {
            return FOVEA_OK;
        }
        text = (word){.at = comma + 1, .n = text.n - w.n - 1};
    }
}

/* The preset's own options, and what is left of the text behind it. */
static fovea_status read_preset(fvi_recipe *recipe, word *text, fovea_error *err)
{
    size_t n = 0;
    while (n < text->n && strchr(":,=", text->at[n]) == NULL) {
        n++;
    }
    if (n < text->n && text->at[n] != ':') {
        return FOVEA_OK;
    }
    word name = {.at = text->at, .n = n};
    for (uint32_t i = 0; i < FVI_COUNT(presets); i++) {
        if (is_word(name, presets[i].name)) {
            word own = {.at = presets[i].options, .n = strlen(presets[i].options)};
            if (own.n > 0) {
                FVI_TRY(read_options(recipe, own, err));
            }
            if (n < text->n) {
                *text = (word){.at = text->at + n + 1, .n = text->n - n - 1};
            } else {
                *text = (word){.at = NULL, .n = 0};
            }
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no preset (none, vl-cache, ..)",
                    show(name).text);
}

static fovea_status parse(const char *text, fvi_recipe *recipe, fovea_error *err)
{
    size_t n = strnlen(text, sizeof recipe->text);
    if (n == sizeof recipe->text) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: longer than %zu bytes",
                        sizeof recipe->text - 1);
    }
    memcpy(recipe->text, text, n);
    word rest = {.at = text, .n = n};
    FVI_TRY(read_preset(recipe, &rest, err));
    if (rest.at != NULL) {
        FVI_TRY(read_options(recipe, rest, err));
    }
    if (recipe->scorer != NULL && recipe->unit == FVI_BUDGET_NONE) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: score '%s' needs keep= or bytes=", recipe->scorer->name);
    }
    if (recipe->scorer == NULL && recipe->unit != FVI_BUDGET_NONE) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s= needs a preset or score=",
                        recipe->unit == FVI_BUDGET_KEEP ? "keep" : "bytes");
    }
    if (recipe->scorer == NULL && recipe->budget != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: budget '%s' needs a preset or score=", recipe->budget->name);
    }
    if (recipe->scorer != NULL && recipe->budget == NULL) {
        recipe->budget = budgets[0];
    }
    return FOVEA_OK;
}

fovea_status fvi_recipe_parse(const char *text, fvi_recipe *out, fovea_error *err)
{
    fvi_recipe recipe = {.recent = 0.1};
    FVI_TRY(parse(text == NULL || text[0] == '\0' ? "none" : text, &recipe, err));
    *out = recipe;
    return FOVEA_OK;
}

bool fvi_recipe_is_none(const fvi_recipe *recipe)
{
    bool is_plain = true;
    for (uint32_t i = 0; i < FOVEA_N_MODALITY; i++) {
        is_plain = is_plain && recipe->codec[i] == NULL;
    }
    return is_plain && recipe->unit == FVI_BUDGET_NONE;
}

/* ---- public ---- */

fovea_status fovea_recipe_check(const char *recipe, fovea_error *err)
{
    fvi_recipe parsed;
    return fvi_recipe_parse(recipe, &parsed, err);
}

const char *fovea_recipe_name(const char *table, uint32_t index)
{
    if (table == NULL) {
        return NULL;
    }
    if (strcmp(table, "presets") == 0) {
        return index < FVI_COUNT(presets) ? presets[index].name : NULL;
    }
    if (strcmp(table, "scores") == 0) {
        return index < FVI_COUNT(scorers) ? scorers[index]->name : NULL;
    }
    if (strcmp(table, "budgets") == 0) {
        return index < FVI_COUNT(budgets) ? budgets[index]->name : NULL;
    }
    if (strcmp(table, "kinds") == 0) {
        return fvi_codec_at(index) != NULL ? fvi_codec_at(index)->name : NULL;
    }
    return NULL;
}
