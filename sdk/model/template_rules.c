/* template_rules.c - recognises chat templates by their whole text and renders what they would.
 *
 * A text is known by the length and the 64-bit FNV-1a hash of its normalised form, so that the texts
 * themselves, which belong to others, need not lie in this library. Called by template.c. */
#include "sdk/model/template_rules.h"

#define FVI_TEMPLATE_RULE(rule, ...) {.name = #rule, __VA_ARGS__},
#define FVI_TEMPLATE_TEXT(rule, n_bytes, hash)

static const fvi_template_rule rules[] = {
#include "sdk/model/templates.def"
};

#undef FVI_TEMPLATE_RULE
#undef FVI_TEMPLATE_TEXT
#define FVI_TEMPLATE_RULE(rule, ...)
#define FVI_TEMPLATE_TEXT(rule, n_bytes, hash) {#rule, n_bytes, hash},

static const struct {
    const char *rule;
    size_t n_bytes;
    uint64_t hash;
} texts[] = {
#include "sdk/model/templates.def"
};

/* ---- recognising ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The string literal at text[at], its quotes included, with \n as the character. */
static fovea_status copy_literal(const char *text, size_t n_bytes, size_t *at, fvi_buf *out)
{
    char quote = text[*at];
    FVI_TRY(fvi_buf_append(out, &text[(*at)++], 1));
    while (*at < n_bytes) {
        char c = text[*at];
        size_t n = c == '\\' && *at + 1 < n_bytes ? 2 : 1;
        bool is_line_end = n == 2 && text[*at + 1] == 'n';
        FVI_TRY(is_line_end ? fvi_buf_append(out, "\n", 1) : fvi_buf_append(out, text + *at, n));
        *at += n;
        if (c == quote) {
            break;
        }
    }
    return FOVEA_OK;
}

/* The inside of a tag, up to its closing mark, which is left where it is. */
static fovea_status copy_tag(const char *text, size_t n_bytes, const char *closing, size_t *at,
                             fvi_buf *out)
{
    size_t first = out->n;
    bool space = false;
    while (*at < n_bytes && !(n_bytes - *at >= 2 && memcmp(text + *at, closing, 2) == 0)) {
        char c = text[*at];
        if (is_space(c)) {
            space = true;
            (*at)++;
            continue;
        }
        if (space && out->n > first) {
            FVI_TRY(fvi_buf_append(out, " ", 1));
        }
        space = false;
        if (c == '\'' || c == '"') {
            FVI_TRY(copy_literal(text, n_bytes, at, out));
        } else {
            FVI_TRY(fvi_buf_append(out, &text[(*at)++], 1));
        }
    }
    return FOVEA_OK;
}

fovea_status fvi_template_normalise(const char *text, size_t n_bytes, fvi_buf *out)
{
    size_t at = 0;
    if (n_bytes > 0 && text[n_bytes - 1] == '\n') {
        n_bytes -= n_bytes > 1 && text[n_bytes - 2] == '\r' ? 2 : 1;
    }
    while (at < n_bytes) {
        bool tag =
            n_bytes - at >= 2 && text[at] == '{' && (text[at + 1] == '{' || text[at + 1] == '%');
        if (!tag) {
            FVI_TRY(fvi_buf_append(out, &text[at++], 1));
            continue;
        }
        const char *closing = text[at + 1] == '%' ? "%}" : "}}";
        FVI_TRY(fvi_buf_append(out, text + at, 2));
        at += 2;
        FVI_TRY(copy_tag(text, n_bytes, closing, &at, out));
    }
    return FOVEA_OK;
}

uint64_t fvi_template_hash(const char *text, size_t n_bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    return hash;
}

const fvi_template_rule *fvi_template_rule_find(const char *name)
{
    for (size_t i = 0; i < FVI_COUNT(rules); i++) {
        if (strcmp(rules[i].name, name) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

fovea_status fvi_template_recognise(const fovea_alloc *alloc, const char *text, size_t n_bytes,
                                    const fvi_template_rule **out)
{
    fvi_buf normal = {.alloc = alloc};
    fovea_status status = fvi_template_normalise(text, n_bytes, &normal);
    const fvi_template_rule *found = NULL;
    for (size_t i = 0; status >= 0 && i < FVI_COUNT(texts); i++) {
        if (texts[i].n_bytes == normal.n &&
            texts[i].hash == fvi_template_hash(normal.data, normal.n)) {
            found = fvi_template_rule_find(texts[i].rule);
        }
    }
    fvi_buf_free(&normal);
    FVI_TRY(status);
    *out = found;
    return FOVEA_OK;
}

/* ---- rendering ---- */

static fovea_status append(fvi_buf *out, const char *text)
{
    return text == NULL ? FOVEA_OK : fvi_buf_append_text(out, text, strlen(text));
}

static fovea_status append_part(const fvi_template_rule *rule, const char *image_token,
                                const fvi_template_part *part, fvi_buf *out)
{
    if (part->text == NULL) {
        FVI_TRY(append(out, image_token));
        return append(out, rule->after_image);
    }
    FVI_TRY(append(out, rule->before_text));
    FVI_TRY(fvi_buf_append_text(out, part->text, part->n_bytes));
    return append(out, rule->after_text);
}

fovea_status fvi_template_rule_message(const fvi_template_rule *rule, const char *image_token,
                                       uint32_t index, fovea_role role,
                                       const fvi_template_part *parts, uint32_t n_part,
                                       fvi_buf *out)
{
    if (index == 0 && role != FOVEA_ROLE_SYSTEM) {
        FVI_TRY(append(out, rule->opening));
    }
    FVI_TRY(append(out, rule->before[role]));
    uint32_t n_pass = rule->images_first ? 2 : 1;
    for (uint32_t pass = 0; pass < n_pass; pass++) {
        for (uint32_t i = 0; i < n_part; i++) {
            bool is_image = parts[i].text == NULL;
            if (n_pass == 1 || is_image == (pass == 0)) {
                FVI_TRY(append_part(rule, image_token, &parts[i], out));
            }
        }
    }
    return append(out, rule->after[role]);
}
