/* tokenizer_pipeline.c - normalizer, pre-tokenizer, post-processor and decoder of tokenizer.json.
 *
 * Normalizers: NFC. Pre-tokenizers: Split and Digits, then ByteLevel as the last one. Post-processors:
 * ByteLevel (which only moves offsets) and TemplateProcessing that puts tokens in front. Decoder:
 * ByteLevel. Sequences of these. Called by tokenizer_load.c. */
#include "sdk/model/tokenizer_pipeline.h"

/* What ByteLevel splits by with use_regex. */
#define BYTE_LEVEL_REGEX                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const char *fvi_pipeline_type(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type != NULL ? type : "";
}

static bool is_none(const json_t *part)
{
    return part == NULL || json_is_null(part);
}

static fovea_status refuse(fovea_error *err, const char *kind, const char *what)
{
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "tokenizer.json: %s \"%.60s\" is not supported",
                    kind, what);
}

/* A part as a list: the members of a Sequence (under `key`), or itself alone. */
static size_t part_count(const json_t *part, const char *key)
{
    return strcmp(fvi_pipeline_type(part), "Sequence") == 0
               ? json_array_size(json_object_get(part, key))
               : 1;
}

static const json_t *part_at(const json_t *part, const char *key, size_t i)
{
    return strcmp(fvi_pipeline_type(part), "Sequence") == 0
               ? json_array_get(json_object_get(part, key), i)
               : part;
}

/* ---- normalizer ---- */

fovea_status fvi_pipeline_read_normalizer(fvi_tokenizer *self, const json_t *part, fovea_error *err)
{
    static const char key[] = "normalizers";
    size_t n = is_none(part) ? 0 : part_count(part, key);
    for (size_t i = 0; i < n; i++) {
        const char *type = fvi_pipeline_type(part_at(part, key, i));
        if (strcmp(type, "NFC") != 0) {
            return refuse(err, "normalizer", type);
        }
        self->nfc = true;
    }
    return FOVEA_OK;
}

/* ---- pre-tokenizer ---- */

static fovea_status read_behavior(const json_t *part, fvi_stage_behavior *out, fovea_error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"}; /* as fvi_stage_behavior */
    const char *name;
    FVI_TRY(fvi_json_text(part, "behavior", &name, err));
    for (size_t i = 0; name != NULL && i < FVI_COUNT(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (fvi_stage_behavior)i;
            return FOVEA_OK;
        }
    }
    return refuse(err, "pre-tokenizer Split, behavior", name != NULL ? name : "");
}

static fovea_status read_split(fvi_tokenizer *self, const json_t *part, fvi_stage *stage,
                               fovea_error *err)
{
    const json_t *pattern = json_object_get(part, "pattern");
    const char *regex, *literal;
    if (!json_is_object(pattern)) {
        return refuse(err, "pre-tokenizer Split", "without pattern");
    }
    FVI_TRY(read_behavior(part, &stage->behavior, err));
    FVI_TRY(fvi_json_bool(part, "invert", false, &stage->invert, err));
    FVI_TRY(fvi_json_text(pattern, "Regex", &regex, err));
    FVI_TRY(fvi_json_text(pattern, "String", &literal, err));
    if (regex != NULL) {
        stage->kind = FVI_STAGE_REGEX;
        return fvi_regex_new(self->alloc, regex, &stage->regex, err);
    }
    if (literal == NULL || literal[0] == '\0') {
        return refuse(err, "pre-tokenizer Split", "without Regex or String");
    }
    stage->kind = FVI_STAGE_LITERAL;
    stage->literal = fvi_strndup(self->alloc, literal, strlen(literal));
    return stage->literal != NULL ? FOVEA_OK
                                  : FVI_FAIL(err, FOVEA_ERR_NOMEM, "tokenizer.json: no memory");
}

static fovea_status read_byte_level(fvi_tokenizer *self, const json_t *part, fovea_error *err)
{
    bool use_regex;
    FVI_TRY(fvi_json_bool(part, "add_prefix_space", true, &self->add_prefix_space, err));
    FVI_TRY(fvi_json_bool(part, "use_regex", true, &use_regex, err));
    return use_regex ? fvi_regex_new(self->alloc, BYTE_LEVEL_REGEX, &self->byte_level, err)
                     : FOVEA_OK;
}

static fovea_status read_stage(fvi_tokenizer *self, const json_t *part, fovea_error *err)
{
    const char *type = fvi_pipeline_type(part);
    if (self->n_stage == FVI_TOKENIZER_MAX_STAGE) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "tokenizer.json: more than %d pre-tokenizers",
                        FVI_TOKENIZER_MAX_STAGE);
    }
    fvi_stage *stage = &self->stages[self->n_stage++];
    if (strcmp(type, "Split") == 0) {
        return read_split(self, part, stage, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool individual;
        FVI_TRY(fvi_json_bool(part, "individual_digits", false, &individual, err));
        stage->kind = FVI_STAGE_DIGITS;
        stage->behavior = individual ? FVI_STAGE_ISOLATED : FVI_STAGE_CONTIGUOUS;
        return FOVEA_OK;
    }
    return refuse(err, "pre-tokenizer",
                  strcmp(type, "ByteLevel") == 0 ? "ByteLevel before others" : type);
}

fovea_status fvi_pipeline_read_pre_tokenizer(fvi_tokenizer *self, const json_t *part,
                                             fovea_error *err)
{
    static const char key[] = "pretokenizers";
    size_t n = is_none(part) ? 0 : part_count(part, key);
    for (size_t i = 0; i + 1 < n; i++) {
        FVI_TRY(read_stage(self, part_at(part, key, i), err));
    }
    const json_t *last = n > 0 ? part_at(part, key, n - 1) : NULL;
    if (strcmp(fvi_pipeline_type(last), "ByteLevel") != 0) {
        return refuse(err,
                      "a pre-tokenizer that does not end with ByteLevel:", fvi_pipeline_type(last));
    }
    return read_byte_level(self, last, err);
}

/* ---- post-processor ---- */

static fovea_status append_special(fvi_tokenizer *self, const json_t *part, const json_t *special,
                                   fovea_error *err)
{
    const char *name;
    FVI_TRY(fvi_json_text(special, "id", &name, err));
    const json_t *entry =
        json_object_get(json_object_get(part, "special_tokens"), name != NULL ? name : "");
    const json_t *ids = json_object_get(entry, "ids");
    if (!json_is_array(ids)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        "tokenizer.json: TemplateProcessing lacks the special token \"%.40s\"",
                        name != NULL ? name : "");
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)self->vocab.n_token) {
            return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                            "tokenizer.json: TemplateProcessing with a wrong id");
        }
        if (fvi_ids_append(&self->begin, (int32_t)json_integer_value(id)) < 0) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "tokenizer.json: no memory");
        }
    }
    return FOVEA_OK;
}

/* "single": special tokens, then the text. What stands behind the text cannot be part of a prompt. */
static fovea_status read_template(fvi_tokenizer *self, const json_t *part, fovea_error *err)
{
    const json_t *single = json_object_get(part, "single");
    bool text_seen = false;
    if (!json_is_array(single)) {
        return refuse(err, "post-processor TemplateProcessing", "without a list \"single\"");
    }
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        if (special == NULL) {
            text_seen = true;
        } else if (text_seen) {
            return refuse(err, "post-processor TemplateProcessing", "tokens behind the text");
        } else {
            FVI_TRY(append_special(self, part, special, err));
        }
    }
    return FOVEA_OK;
}

fovea_status fvi_pipeline_read_post_processor(fvi_tokenizer *self, const json_t *part,
                                              fovea_error *err)
{
    static const char key[] = "processors";
    size_t n = is_none(part) ? 0 : part_count(part, key);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = part_at(part, key, i);
        const char *type = fvi_pipeline_type(one);
        if (strcmp(type, "TemplateProcessing") == 0) {
            FVI_TRY(read_template(self, one, err));
        } else if (strcmp(type, "ByteLevel") != 0) {
            return refuse(err, "post-processor", type);
        }
    }
    return FOVEA_OK;
}

/* ---- decoder ---- */

fovea_status fvi_pipeline_check_decoder(const json_t *part, fovea_error *err)
{
    static const char key[] = "decoders";
    size_t n = is_none(part) ? 0 : part_count(part, key);
    if (n != 1 || strcmp(fvi_pipeline_type(part_at(part, key, 0)), "ByteLevel") != 0) {
        return refuse(err, "decoder", fvi_pipeline_type(part));
    }
    return FOVEA_OK;
}
