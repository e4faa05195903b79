/* recipe_text.c - the keys of a recipe: one table that is read from text, written as text and laid over a preset.
 *
 * A line of `options` says how a key is spelled, which field of fovea_recipe it fills and of which type that is. A
 * field of fovea_recipe_part is there three times: KEY= fills that of `both`, text.KEY= and vision.KEY= those
 * of their modality. Numbers are read and written by hand, so no locale changes what a recipe means. The text
 * may come from the wire: nothing of it is used as a format or shown other than as short printable ASCII.
 * Called by recipe.c. */
#include "kvcompress/recipe_text.h"

#include <math.h>
#include <stddef.h>

#define MAX_DIGITS 15      /* exact in a double */
#define MAX_TOKENS 1000000 /* of sinks= and its like */
#define N_PART     3       /* both, text, vision */
#define LEAST_CAP  1.25    /* of prefill.cap=: room for what rounding leaves of a budget */

/* A part of the text. */
typedef struct word {
    const char *at;
    size_t n;
} word;

/* Text as it is written. */
typedef struct writer {
    char *at;
    size_t n, used;
    bool full;
} writer;

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

static void put(writer *out, const char *text, size_t n)
{
    out->full = out->full || n >= out->n - out->used;
    if (!out->full) {
        memcpy(out->at + out->used, text, n);
        out->used += n;
    }
}

static void put_text(writer *out, const char *text)
{
    put(out, text, strlen(text));
}

/* ---- numbers ---- */

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

static void put_integer(writer *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(out, digits + at, sizeof digits - at);
}

/* The fewest decimals that read back as the same number, else as many as there may be digits. What is no
 * decimal at all is written such that reading it is refused and shows it. */
static void put_decimal(writer *out, double value)
{
    if (!(value >= 0) || value >= 1e15) {
        put_text(out, value < 0 ? "-" : value > 0 ? "inf" : "nan");
        return;
    }
    uint32_t n_whole = 1, n_place = 0;
    for (double rest = value; rest >= 10; rest /= 10) {
        n_whole++;
    }
    double unit = 1;
    while (n_whole + n_place < MAX_DIGITS && floor(value * unit + 0.5) / unit != value) {
        unit *= 10;
        n_place++;
    }
    uint64_t scaled = (uint64_t)(value * unit + 0.5), base = (uint64_t)unit;
    put_integer(out, scaled / base);
    if (n_place > 0) {
        put_text(out, ".");
    }
    for (uint64_t rest = scaled % base; n_place > 0; n_place--, rest %= base) {
        base /= 10;
        put(out, &"0123456789"[rest / base], 1);
    }
}

/* ---- types of values ---- */

typedef struct option option;

typedef struct value_type {
    size_t n_bytes;
    bool (*read)(const option *self, word w, void *field);
    void (*write)(const void *field, writer *out);
    const char *wanted; /* what an error asks for */
} value_type;

struct option {
    const char *key;
    const value_type *type;
    const char *table; /* of fovea_recipe_name, for names */
    size_t at;         /* of the field in fovea_recipe, or in fovea_recipe_part */
    bool in_part;
    uint32_t zero; /* fovea_recipe_zero: 0 may be said; or 0 */
};

static bool read_name(const option *self, word w, void *field)
{
    const char *name = fovea_recipe_name(self->table, 0);
    for (uint32_t i = 0; name != NULL && !is_word(w, name);
         name = fovea_recipe_name(self->table, i)) {
        i++;
    }
    *(const char **)field = name;
    return name != NULL;
}

static void write_name(const void *field, writer *out)
{
    put_text(out, *(const char *const *)field);
}

static bool read_share(const option *self, word w, void *field)
{
    (void)self;
    double *share = field;
    return read_decimal(w, share) && *share > 0 && *share <= 1;
}

static bool read_window(const option *self, word w, void *field)
{
    (void)self;
    double *share = field;
    return read_decimal(w, share) && *share <= 1;
}

static bool read_percent(const option *self, word w, void *field)
{
    (void)self;
    double *percent = field;
    return ends_with(w, "%") && read_decimal((word){.at = w.at, .n = w.n - 1}, percent) &&
           *percent > 0;
}

static bool read_size(const option *self, word w, void *field)
{
    (void)self;
    static const struct unit {
        const char *name;
        double factor;
    } units[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"", 1}};
    double *bytes = field;
    uint32_t i = 0;
    while (!ends_with(w, units[i].name)) {
        i++;
    }
    if (!read_decimal((word){.at = w.at, .n = w.n - strlen(units[i].name)}, bytes)) {
        return false;
    }
    *bytes *= units[i].factor;
    return *bytes > 0 && *bytes <= 0x1p53;
}

static void write_decimal(const void *field, writer *out)
{
    put_decimal(out, *(const double *)field);
}

static void write_percent(const void *field, writer *out)
{
    write_decimal(field, out);
    put_text(out, "%");
}

static bool read_tokens(const option *self, word w, void *field)
{
    (void)self;
    uint64_t n;
    bool good = read_integer(w, MAX_TOKENS, &n);
    *(uint32_t *)field = good ? (uint32_t)n : 0;
    return good;
}

static bool read_count(const option *self, word w, void *field)
{
    return read_tokens(self, w, field) && *(uint32_t *)field > 0;
}

static bool read_protect(const option *self, word w, void *field)
{
    bool is_word_for_it = is_word(w, "all") || is_word(w, "none");
    *(uint32_t *)field = is_word(w, "all") ? FOVEA_RECIPE_ALL : 0;
    return is_word_for_it || read_tokens(self, w, field);
}

static void write_tokens(const void *field, writer *out)
{
    uint32_t n = *(const uint32_t *)field;
    if (n == FOVEA_RECIPE_ALL) {
        put_text(out, "all");
    } else {
        put_integer(out, n);
    }
}

static bool read_cap(const option *self, word w, void *field)
{
    (void)self;
    double *factor = field;
    bool is_none = is_word(w, "none");
    *factor = 0;
    return is_none || (read_decimal(w, factor) && *factor >= LEAST_CAP);
}

static void write_cap(const void *field, writer *out)
{
    const double *factor = field;
    if (*factor == 0) {
        put_text(out, "none");
    } else {
        put_decimal(out, *factor);
    }
}

static bool read_seed(const option *self, word w, void *field)
{
    (void)self;
    return read_integer(w, UINT64_MAX, field);
}

static void write_seed(const void *field, writer *out)
{
    put_integer(out, *(const uint64_t *)field);
}

#define VALUE_TYPE(name, type, read, write, wanted)                                                \
    static const value_type name = {sizeof(type), read, write, wanted}
VALUE_TYPE(a_name, const char *, read_name, write_name, "there is none of that name");
VALUE_TYPE(a_share, double, read_share, write_decimal, "a share above 0 and up to 1 is wanted");
VALUE_TYPE(a_window, double, read_window, write_decimal, "a share from 0 to 1 is wanted");
VALUE_TYPE(a_percent, double, read_percent, write_percent, NULL);
VALUE_TYPE(a_size, double, read_size, write_decimal,
           "a percentage, or bytes with KiB, MiB or GiB is wanted");
VALUE_TYPE(tokens, uint32_t, read_tokens, write_tokens,
           "a number of tokens up to 1000000 is wanted");
VALUE_TYPE(a_count, uint32_t, read_count, write_tokens,
           "a number of tokens from 1 to 1000000 is wanted");
VALUE_TYPE(protection, uint32_t, read_protect, write_tokens,
           "all, none or a number of tokens up to 1000000 is wanted");
VALUE_TYPE(a_cap, double, read_cap, write_cap, "none or a factor from 1.25 up is wanted");
VALUE_TYPE(a_seed, uint64_t, read_seed, write_seed, "a whole number below 2^64 is wanted");

/* ---- the table ---- */

#define WHOLE(field) offsetof(fovea_recipe, field), false
#define EACH(field)  offsetof(fovea_recipe_part, field), true

/* A key may have several lines; the first one that can read the value fills its field. */
static const option options[] = {
    {"score", &a_name, "scores", WHOLE(score), 0},
    {"budget", &a_name, "budgets", WHOLE(budget), 0},
    {"bytes", &a_percent, NULL, WHOLE(percent), 0},
    {"bytes", &a_size, NULL, WHOLE(bytes), 0},
    {"keep", &a_share, NULL, EACH(keep), 0},
    {"kind", &a_name, "kinds", EACH(kind), 0},
    {"merge", &a_name, "mergers", EACH(merge), 0},
    {"recent", &a_window, NULL, EACH(recent), FOVEA_RECIPE_ZERO_RECENT},
    {"protect", &protection, NULL, EACH(protect), FOVEA_RECIPE_ZERO_PROTECT},
    {"sinks", &tokens, NULL, WHOLE(sinks), FOVEA_RECIPE_ZERO_SINKS},
    {"exact", &tokens, NULL, WHOLE(exact), FOVEA_RECIPE_ZERO_EXACT},
    {"seed", &a_seed, NULL, WHOLE(seed), FOVEA_RECIPE_ZERO_SEED},
    {"while", &a_name, "revisers", WHOLE(revise), 0},
    {"cap", &a_count, NULL, WHOLE(cap), 0},
    {"evicted", &a_name, "kinds", WHOLE(evicted), 0},
    {"blurred", &a_count, NULL, WHOLE(blurred), 0},
    {"recall", &a_name, "recalls", WHOLE(recall), 0},
    {"attend", &a_count, NULL, WHOLE(attend), 0},
    {"prefill.cap", &a_cap, NULL, WHOLE(prefill_cap), FOVEA_RECIPE_ZERO_PREFILL_CAP},
};

/* A name alone stands for the kind of its modality: vision=int4. */
static const char *const part_names[N_PART] = {"", "text", "vision"};

/* Where an option's value lies. */
typedef struct place {
    uint8_t *field;
    uint32_t *zeros;
} place;

static place place_of(fovea_recipe *recipe, const option *self, uint32_t part)
{
    fovea_recipe_part *parts[N_PART] = {&recipe->both, &recipe->text, &recipe->vision};
    uint8_t *from = self->in_part ? (uint8_t *)parts[part] : (uint8_t *)recipe;
    return (place){from + self->at, self->in_part ? &parts[part]->zeros : &recipe->zeros};
}

static uint32_t n_part_of(const option *self)
{
    return self->in_part ? N_PART : 1;
}

static bool is_given(const option *self, place at)
{
    static const uint8_t nothing[sizeof(double)] = {0};
    return memcmp(at.field, nothing, self->type->n_bytes) != 0 || (*at.zeros & self->zero) != 0;
}

static void clear(const option *self, place at)
{
    memset(at.field, 0, self->type->n_bytes);
    *at.zeros &= ~self->zero;
}

/* ---- reading ---- */

/* The key without its modality. */
static word key_of(word key, uint32_t *part)
{
    for (*part = 1; *part < N_PART; (*part)++) {
        size_t n = strlen(part_names[*part]);
        if (is_word(key, part_names[*part])) {
            return (word){.at = "kind", .n = 4};
        }
        if (key.n > n && key.at[n] == '.' && memcmp(key.at, part_names[*part], n) == 0) {
            return (word){.at = key.at + n + 1, .n = key.n - n - 1};
        }
    }
    *part = 0;
    return key;
}

static fovea_status read_value(fovea_recipe *recipe, const option *self, uint32_t part, word key,
                               word value, fovea_error *err)
{
    const option *end = options + FVI_COUNT(options), *last = self;
    for (const option *o = self; o < end && strcmp(o->key, self->key) == 0; o++) {
        if (is_given(o, place_of(recipe, o, part))) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' stands twice", show(key).text);
        }
        last = o;
    }
    for (const option *o = self; o <= last; o++) {
        place at = place_of(recipe, o, part);
        if (o->type->read(o, value, at.field)) {
            *at.zeros |= is_given(o, at) ? 0 : o->zero;
            return FOVEA_OK;
        }
        clear(o, at);
    }
    return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s=%s: %s%s%s", show(key).text, show(value).text,
                    last->type->wanted, last->table != NULL ? " among the " : "",
                    last->table != NULL ? last->table : "");
}

static fovea_status read_option(fovea_recipe *recipe, word w, fovea_error *err)
{
    const char *equals = w.n > 0 ? memchr(w.at, '=', w.n) : NULL;
    if (equals == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no option of the form key=value",
                        show(w).text);
    }
    word key = {.at = w.at, .n = (size_t)(equals - w.at)};
    word value = {.at = equals + 1, .n = w.n - key.n - 1};
    uint32_t part;
    word own = key_of(key, &part);
    for (uint32_t i = 0; i < FVI_COUNT(options); i++) {
        if (is_word(own, options[i].key) && part < n_part_of(&options[i])) {
            return read_value(recipe, &options[i], part, key, value, err);
        }
        if (is_word(own, options[i].key)) {
            return FVI_FAIL(err, FOVEA_ERR_ARG,
                            "recipe: '%s': there is one %s= for text and vision", show(key).text,
                            options[i].key);
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no option", show(key).text);
}

static fovea_status read_options(fovea_recipe *recipe, word text, fovea_error *err)
{
    while (true) {
        const char *comma = text.n > 0 ? memchr(text.at, ',', text.n) : NULL;
        word w = {.at = text.at, .n = comma != NULL ? (size_t)(comma - text.at) : text.n};
        FVI_TRY(read_option(recipe, w, err));
        if ((recipe->both.keep > 0) + (recipe->percent > 0) + (recipe->bytes > 0) > 1) {
            return FVI_FAIL(err, FOVEA_ERR_ARG,
                            "recipe: keep= and bytes= exclude each other at '%s'", show(w).text);
        }
        if (comma == NULL) {
            return FOVEA_OK;
        }
        text = (word){.at = comma + 1, .n = text.n - w.n - 1};
    }
}

/* Takes the preset's name and its colon off the text; .at is NULL when nothing is left. */
static fovea_status read_preset(fovea_recipe *recipe, word *text, fovea_error *err)
{
    size_t n = 0;
    while (n < text->n && strchr(":,=", text->at[n]) == NULL) {
        n++;
    }
    if (n < text->n && text->at[n] != ':') {
        return FOVEA_OK;
    }
    static const option preset = {.table = "presets"};
    word name = {.at = text->at, .n = n};
    if (!read_name(&preset, name, &recipe->preset)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: '%s' is no preset (none, vl-cache, ..)",
                        show(name).text);
    }
    if (strcmp(recipe->preset, "none") == 0) {
        recipe->preset = NULL;
    }
    *text = n < text->n ? (word){.at = text->at + n + 1, .n = text->n - n - 1} : (word){.at = NULL};
    return FOVEA_OK;
}

fovea_status fvi_recipe_read(const char *text, fovea_recipe *out, fovea_error *err)
{
    size_t n = strnlen(text, FOVEA_RECIPE_MAX_BYTES);
    if (n == FOVEA_RECIPE_MAX_BYTES) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: longer than %d bytes",
                        FOVEA_RECIPE_MAX_BYTES - 1);
    }
    fovea_recipe recipe = {.size = sizeof recipe};
    word rest = {.at = text, .n = n};
    FVI_TRY(read_preset(&recipe, &rest, err));
    if (rest.at != NULL) {
        FVI_TRY(read_options(&recipe, rest, err));
    }
    *out = recipe;
    return FOVEA_OK;
}

/* ---- writing, laying over ---- */

static void write_option(writer *out, const option *self, uint32_t part, place at)
{
    bool alone = part > 0 && strcmp(self->key, "kind") == 0;
    put_text(out, out->used == 0 || out->at[out->used - 1] == ':' ? "" : ",");
    put_text(out, part_names[part]);
    put_text(out, part == 0 || alone ? "" : ".");
    put_text(out, alone ? "" : self->key);
    put_text(out, "=");
    self->type->write(at.field, out);
}

/* False where a name is of more than one word, or a field that is not 0 has a bit in zeros. */
static bool says_the_same(fovea_recipe *a, fovea_recipe *b)
{
    for (uint32_t i = 0; i < FVI_COUNT(options); i++) {
        for (uint32_t part = 0; part < n_part_of(&options[i]); part++) {
            place x = place_of(a, &options[i], part), y = place_of(b, &options[i], part);
            if (is_given(&options[i], x) != is_given(&options[i], y) || *x.zeros != *y.zeros) {
                return false;
            }
            if (options[i].type == &a_name && is_given(&options[i], x) &&
                strcmp(*(const char **)x.field, *(const char **)y.field) != 0) {
                return false;
            }
        }
    }
    return true;
}

fovea_status fvi_recipe_write(const fovea_recipe *recipe, char *text, size_t n, fovea_error *err)
{
    fovea_recipe own = *recipe, again;
    writer out = {.at = text, .n = n};
    if (own.preset != NULL && strcmp(own.preset, "none") == 0) {
        own.preset = NULL;
    }
    if (own.preset != NULL) {
        put_text(&out, own.preset);
        put_text(&out, ":");
    }
    for (uint32_t i = 0; i < FVI_COUNT(options); i++) {
        for (uint32_t part = 0; part < n_part_of(&options[i]); part++) {
            place at = place_of(&own, &options[i], part);
            if (is_given(&options[i], at)) {
                write_option(&out, &options[i], part, at);
            }
        }
    }
    if (out.used == 0) {
        put_text(&out, "none");
    } else if (out.at[out.used - 1] == ':') {
        out.used--;
    }
    if (out.full || n == 0) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "recipe: %zu bytes do not hold it", n);
    }
    text[out.used] = '\0';
    FVI_TRY(fvi_recipe_read(text, &again, err));
    if (!says_the_same(&own, &again)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: a name is none, or a field that is not 0 has its bit in zeros");
    }
    return FOVEA_OK;
}

void fvi_recipe_overlay(fovea_recipe *base, const fovea_recipe *given)
{
    fovea_recipe own = *given;
    if (own.both.keep > 0 || own.percent > 0 || own.bytes > 0) {
        base->both.keep = base->percent = base->bytes = 0;
    }
    for (uint32_t i = 0; i < FVI_COUNT(options); i++) {
        for (uint32_t part = 0; part < n_part_of(&options[i]); part++) {
            place from = place_of(&own, &options[i], part);
            place to = place_of(base, &options[i], part);
            if (!is_given(&options[i], from)) {
                continue;
            }
            for (uint32_t p = part + 1; part == 0 && p < n_part_of(&options[i]); p++) {
                clear(&options[i], place_of(base, &options[i], p)); /* said for both */
            }
            clear(&options[i], to);
            memcpy(to.field, from.field, options[i].type->n_bytes);
            *to.zeros |= *from.zeros & options[i].zero;
        }
    }
}
