/* regex_translate.c - from Oniguruma's words to PCRE2's.
 *
 * A list of what is let through; whatever is not on it is refused by name. Translated are:
 *   \s \d        White_Space and Nd; PCRE2's \s would take U+180E too
 *   \p{Han}      the script itself; PCRE2 would take its extensions too
 *   \p{L}, ..    with the characters that are newer than PCRE2's Unicode (unicode_new.def)
 *   \v \uHHHH {,n}   which mean other things in PCRE2
 * Called by regex.c. */
#include "sdk/model/regex.h"

#include <stdio.h>

typedef struct translator {
    const char *at; /* rest of the pattern */
    fvi_buf *out;
    fovea_error *err;
    uint32_t depth;
    uint64_t caseless; /* bit d: the group at depth d was opened with (?i: */
    bool after_atom;   /* a quantifier may follow */
} translator;

#define MAX_DEPTH 63

static const struct {
    const char *name; /* of a general category or a script */
    uint32_t first, last;
} new_characters[] = {
#define FVI_UNICODE_NEW(class, first, last) {#class, first, last},
#include "sdk/model/unicode_new.def"
};

static const char *const categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc",
                                         "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
                                         "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So",
                                         "Z",  "Zs", "Zl", "Zp", "Cc", "Cf"};
static const char *const scripts[] = {"Han",      "Hiragana", "Katakana", "Hangul",
                                      "Bopomofo", "Latin",    "Cyrillic", "Greek",
                                      "Arabic",   "Hebrew",   "Thai",     "Devanagari"};

static bool is_listed(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static fovea_status emit(translator *t, const char *text)
{
    return fvi_buf_append_text(t->out, text, strlen(text));
}

static fovea_status refuse(const translator *t, const char *at)
{
    return FVI_FAIL(t->err, FOVEA_ERR_UNSUPPORTED, "regex: \"%.24s\" is not supported", at);
}

/* The members of a property, to stand inside of [ ]. */
static fovea_status emit_property(translator *t, const char *name, bool is_script)
{
    char text[64];
    snprintf(text, sizeof text, is_script ? "\\p{sc:%s}" : "\\p{%s}", name);
    FVI_TRY(emit(t, text));
    size_t n = strlen(name);
    for (size_t i = 0; i < FVI_COUNT(new_characters); i++) {
        /* "L" stands for all of Lu, Ll, ... */
        bool same = strcmp(new_characters[i].name, name) == 0;
        bool part =
            n == 1 && strlen(new_characters[i].name) == 2 && new_characters[i].name[0] == name[0];
        if (same || part) {
            snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", new_characters[i].first,
                     new_characters[i].last);
            FVI_TRY(emit(t, text));
        }
    }
    return FOVEA_OK;
}

/* \p{Name} and \P{Name}; at points behind the letter p. */
static fovea_status translate_property(translator *t, const char *start, bool negated,
                                       bool in_class)
{
    char name[24];
    const char *end = *t->at == '{' ? strchr(t->at, '}') : NULL;
    size_t n = end != NULL ? (size_t)(end - t->at - 1) : 0;
    if (n == 0 || n >= sizeof name || (negated && in_class)) {
        return refuse(t, start);
    }
    memcpy(name, t->at + 1, n);
    name[n] = '\0';
    bool is_script = is_listed(scripts, FVI_COUNT(scripts), name);
    bool is_cased = name[0] == 'L' && (name[1] == 'u' || name[1] == 'l' || name[1] == 't');
    if ((!is_script && !is_listed(categories, FVI_COUNT(categories), name)) ||
        (is_cased && t->caseless)) {
        return refuse(t, start);
    }
    t->at = end + 1;
    if (in_class) {
        return emit_property(t, name, is_script);
    }
    FVI_TRY(emit(t, negated ? "[^" : "["));
    FVI_TRY(emit_property(t, name, is_script));
    return emit(t, "]");
}

/* \s and \d, \S and \D. */
static fovea_status translate_shorthand(translator *t, const char *start, char letter,
                                        bool in_class)
{
    bool negated = letter == 'S' || letter == 'D';
    bool space = letter == 's' || letter == 'S';
    if (negated && in_class) {
        return refuse(t, start);
    }
    if (!in_class) {
        FVI_TRY(emit(t, negated ? "[^" : "["));
    }
    FVI_TRY(space ? emit(t, "\\t-\\r\\x{85}\\p{Z}") : emit_property(t, "Nd", false));
    return in_class ? FOVEA_OK : emit(t, "]");
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \uHHHH and \x{H..}; \xHH only below 80, where a byte is a character. */
static fovea_status translate_code(translator *t, const char *start, char letter)
{
    uint32_t code = 0, n_digit = 0;
    bool braces = letter == 'x' && *t->at == '{';
    t->at += braces;
    uint32_t max_digit = braces ? 8 : letter == 'u' ? 4 : 2;
    while (n_digit < max_digit && hex_value(*t->at) >= 0) {
        code = code << 4 | (uint32_t)hex_value(*t->at++);
        n_digit++;
    }
    bool whole = braces ? n_digit > 0 && *t->at == '}' : n_digit == max_digit;
    bool is_byte = !braces && letter == 'x' && code >= 0x80;
    if (!whole || is_byte || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return refuse(t, start);
    }
    t->at += braces;
    char text[16];
    snprintf(text, sizeof text, "\\x{%X}", code);
    return emit(t, text);
}

/* An escape; at points behind the backslash. *is_set: it stands for more than one character. */
static fovea_status translate_escape(translator *t, bool in_class, bool *is_set)
{
    const char *start = t->at - 1;
    char letter = *t->at;
    *is_set = letter != '\0' && strchr("pPsSdD", letter) != NULL;
    if (letter == '\0') {
        return refuse(t, start);
    }
    t->at++;
    switch (letter) {
    case 'p':
    case 'P': return translate_property(t, start, letter == 'P', in_class);
    case 's':
    case 'S':
    case 'd':
    case 'D': return translate_shorthand(t, start, letter, in_class);
    case 'x':
    case 'u': return translate_code(t, start, letter);
    case 'v': return emit(t, "\\x{B}");
    case 'n':
    case 'r':
    case 't':
    case 'f': break;
    default:
        /* a punctuation mark stands for itself in both; any other letter or digit may not */
        if ((unsigned char)letter >= 0x80 || letter <= ' ' || (letter >= '0' && letter <= '9') ||
            (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z')) {
            return refuse(t, start);
        }
    }
    char text[3] = {'\\', letter, '\0'};
    return emit(t, text);
}

/* One character of a class or of plain text, UTF-8 as it is. */
static fovea_status copy_character(translator *t, bool in_class)
{
    /* marks that mean something to PCRE2 where they stand for themselves in Oniguruma */
    const char *marks = in_class ? "[]^" : "]{}";
    if (strchr(marks, *t->at) != NULL) {
        FVI_TRY(emit(t, "\\"));
    }
    FVI_TRY(fvi_buf_append_text(t->out, t->at, 1));
    t->at++;
    while (((unsigned char)*t->at & 0xC0) == 0x80) {
        FVI_TRY(fvi_buf_append_text(t->out, t->at, 1));
        t->at++;
    }
    return FOVEA_OK;
}

/* [..]; at points behind the bracket. Nested classes, && and POSIX names are refused. */
static fovea_status translate_class(translator *t)
{
    const char *start = t->at - 1;
    FVI_TRY(emit(t, "["));
    if (*t->at == '^') {
        FVI_TRY(emit(t, "^"));
        t->at++;
    }
    bool empty = true, was_set = false, in_range = false;
    while (*t->at != ']' || empty) {
        bool is_set = false;
        if (*t->at == '\0' || *t->at == '[' || *t->at == ']' || strncmp(t->at, "&&", 2) == 0) {
            return refuse(t, start);
        }
        bool dash = *t->at == '-' && !empty && !in_range && t->at[1] != ']';
        if (dash && was_set) {
            return refuse(t, start);
        }
        if (dash) {
            FVI_TRY(emit(t, "-"));
            t->at++;
            in_range = true;
            continue;
        }
        if (*t->at == '-') {
            FVI_TRY(emit(t, "\\-"));
            t->at++;
        } else if (*t->at == '\\') {
            t->at++;
            FVI_TRY(translate_escape(t, true, &is_set));
        } else {
            FVI_TRY(copy_character(t, true));
        }
        if (in_range && is_set) {
            return refuse(t, start);
        }
        /* what ends a range cannot begin another one */
        was_set = is_set || in_range;
        in_range = false;
        empty = false;
    }
    t->at++;
    return emit(t, "]");
}

static fovea_status translate_group(translator *t)
{
    static const char *const openings[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    const char *start = t->at;
    if (t->depth == MAX_DEPTH) {
        return refuse(t, start);
    }
    t->depth++;
    if (t->at[1] != '?' && t->at[1] != '*') {
        t->at++;
        return emit(t, "(?:");
    }
    for (size_t i = 0; i < FVI_COUNT(openings); i++) {
        size_t n = strlen(openings[i]);
        if (strncmp(t->at, openings[i], n) == 0) {
            t->at += n;
            t->caseless |= (uint64_t)(openings[i][2] == 'i') << t->depth;
            return emit(t, openings[i]);
        }
    }
    return refuse(t, start);
}

/* {n}, {n,}, {n,m}, {,m}: true and the numbers when a quantifier stands here. */
static bool parse_braces(const char *at, size_t *n_char)
{
    const char *c = at + 1;
    uint32_t n_low = 0, n_high = 0;
    for (; *c >= '0' && *c <= '9'; c++) {
        n_low++;
    }
    bool comma = *c == ',';
    for (c += comma; comma && *c >= '0' && *c <= '9'; c++) {
        n_high++;
    }
    *n_char = (size_t)(c - at) + 1;
    return *c == '}' && n_low + n_high > 0 && n_low < 5 && n_high < 5;
}

static fovea_status translate_quantifier(translator *t, size_t n_char)
{
    const char *start = t->at;
    bool braces = *t->at == '{';
    if (!t->after_atom) {
        return refuse(t, start);
    }
    if (braces && t->at[1] == ',') {
        FVI_TRY(emit(t, "{0"));
        t->at++;
        n_char--;
    }
    FVI_TRY(fvi_buf_append_text(t->out, t->at, n_char));
    t->at += n_char;
    bool exact = braces && memchr(start, ',', (size_t)(t->at - start)) == NULL;
    /* {n,m}+ and {n}? mean other things in Oniguruma */
    if ((braces && *t->at == '+') || (exact && *t->at == '?')) {
        return refuse(t, start);
    }
    if (*t->at == '?' || *t->at == '+') {
        FVI_TRY(fvi_buf_append_text(t->out, t->at, 1));
        t->at++;
    }
    t->after_atom = false;
    return FOVEA_OK;
}

static fovea_status translate_one(translator *t)
{
    size_t n_char = 1;
    bool is_set;
    bool after_atom = true;
    switch (*t->at) {
    case '(': t->after_atom = false; return translate_group(t);
    case ')':
        if (t->depth == 0) {
            return refuse(t, t->at);
        }
        t->caseless &= ~((uint64_t)1 << t->depth);
        t->depth--;
        FVI_TRY(copy_character(t, false));
        break;
    case '[':
        t->at++;
        FVI_TRY(translate_class(t));
        break;
    case '\\':
        t->at++;
        FVI_TRY(translate_escape(t, false, &is_set));
        break;
    case '{':
        if (!parse_braces(t->at, &n_char)) {
            FVI_TRY(copy_character(t, false));
            break;
        }
        return translate_quantifier(t, n_char);
    case '?':
    case '*':
    case '+': return translate_quantifier(t, n_char);
    case '|':
    case '^':
    case '$': after_atom = false; /* fall through */
    default: FVI_TRY(copy_character(t, false));
    }
    t->after_atom = after_atom;
    return FOVEA_OK;
}

fovea_status fvi_regex_translate(const char *pattern, fvi_buf *out, fovea_error *err)
{
    translator t = {.at = pattern, .out = out, .err = err};
    FVI_TRY(emit(&t, ""));
    while (*t.at != '\0') {
        FVI_TRY(translate_one(&t));
    }
    if (t.depth != 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "regex: a group is not closed");
    }
    return FOVEA_OK;
}
