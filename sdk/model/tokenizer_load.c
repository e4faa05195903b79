/* tokenizer_load.c - tokenizer.json into an fvi_tokenizer; whatever this library cannot do is refused by
 * its name in the file.
 *
 * Order: model (vocabulary, merges), normalizer, added tokens (some are looked for in normalized form),
 * pre-tokenizer, post-processor, decoder. Called by the engine when a model is opened. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/tokenizer_pipeline.h"
#include "sdk/model/unicode.h"

#define FILE_NAME   "tokenizer.json"
#define MAX_ADDED   65536
#define MAX_CONTENT 4096 /* bytes of an added token */

static fovea_status no_memory(fovea_error *err)
{
    return FVI_FAIL(err, FOVEA_ERR_NOMEM, FILE_NAME ": no memory");
}

/* ---- vocabulary ---- */

static fovea_status read_id(const json_t *value, const char *token, int32_t *id, fovea_error *err)
{
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 0 || n >= (json_int_t)FVI_TOKENIZER_MAX_ID) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, FILE_NAME ": token \"%.60s\" has no id in 0..%u",
                        token, FVI_TOKENIZER_MAX_ID - 1);
    }
    *id = (int32_t)n;
    return FOVEA_OK;
}

/* The highest id + 1 of vocabulary and added tokens. */
static fovea_status count_tokens(json_t *vocab, const json_t *added, uint32_t *n_token,
                                 fovea_error *err)
{
    uint32_t n = 0;
    const char *form;
    json_t *value;
    int32_t id = 0;
    json_object_foreach(vocab, form, value)
    {
        FVI_TRY(read_id(value, form, &id, err));
        n = FVI_MAX(n, (uint32_t)id + 1);
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        FVI_TRY(
            read_id(json_object_get(json_array_get(added, i), "id"), "of added_tokens", &id, err));
        n = FVI_MAX(n, (uint32_t)id + 1);
    }
    *n_token = n;
    return FOVEA_OK;
}

static fovea_status add_token(fvi_vocab *vocab, int32_t id, const char *form, fovea_error *err)
{
    fovea_status status = fvi_vocab_add(vocab, id, form, strlen(form));
    if (status == FOVEA_ERR_FORMAT) {
        return FVI_FAIL(err, status, FILE_NAME ": token \"%.60s\" or its id %d is there twice",
                        form, id);
    }
    return status < 0 ? FVI_FAIL(err, status, FILE_NAME ": %s", fovea_status_text(status))
                      : FOVEA_OK;
}

/* One merge: "a b", as older files write it, or ["a", "b"]. */
static fovea_status split_merge(const json_t *merge, const char **left, size_t *n_left,
                                const char **right, size_t *n_right)
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        *left = json_string_value(json_array_get(merge, 0));
        *right = json_string_value(json_array_get(merge, 1));
        if (*left == NULL || *right == NULL) {
            return FOVEA_ERR_FORMAT;
        }
        *n_left = strlen(*left);
    } else {
        const char *text = json_string_value(merge);
        const char *space = text != NULL ? strchr(text, ' ') : NULL;
        if (space == NULL || strchr(space + 1, ' ') != NULL) {
            return FOVEA_ERR_FORMAT;
        }
        *left = text;
        *n_left = (size_t)(space - text);
        *right = space + 1;
    }
    *n_right = strlen(*right);
    return FOVEA_OK;
}

static fovea_status read_merges(fvi_vocab *vocab, const json_t *merges, fovea_error *err)
{
    fvi_buf both = {.alloc = vocab->alloc};
    fovea_status status = FOVEA_OK;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const char *left, *right;
        size_t n_left, n_right;
        const json_t *merge = json_array_get(merges, i);
        if (i == 0 && json_is_string(merge) &&
            strncmp(json_string_value(merge), "#version", 8) == 0) {
            continue;
        }
        if (split_merge(merge, &left, &n_left, &right, &n_right) < 0) {
            status =
                FVI_FAIL(err, FOVEA_ERR_FORMAT, FILE_NAME ": merge %zu is no pair of tokens", i);
            break;
        }
        both.n = 0;
        if (fvi_buf_append(&both, left, n_left) < 0 || fvi_buf_append(&both, right, n_right) < 0) {
            status = no_memory(err);
            break;
        }
        int32_t a = fvi_vocab_find(vocab, left, n_left);
        int32_t b = fvi_vocab_find(vocab, right, n_right);
        int32_t id = both.n > 0 ? fvi_vocab_find(vocab, both.data, both.n) : -1;
        if (a < 0 || b < 0 || id < 0) {
            status = FVI_FAIL(
                err, FOVEA_ERR_FORMAT,
                FILE_NAME ": merge %zu speaks of a token that is not in the vocabulary", i);
            break;
        }
        fvi_vocab_add_merge(vocab, a, b, (uint32_t)i, id);
    }
    fvi_buf_free(&both);
    return status;
}

/* The options of the model that would change its tokens. */
static fovea_status check_model(const json_t *model, fovea_error *err)
{
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = fvi_pipeline_type(model);
    const json_t *dropout = json_object_get(model, "dropout");
    bool fallback;
    if (strcmp(type, "BPE") != 0 && type[0] != '\0') { /* the oldest files do not say it */
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, FILE_NAME ": model \"%.40s\" is not supported",
                        type);
    }
    if (!json_is_object(json_object_get(model, "vocab")) ||
        !json_is_array(json_object_get(model, "merges"))) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        FILE_NAME ": model without \"vocab\" and \"merges\"");
    }
    if (dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0.0) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, FILE_NAME ": BPE dropout is not supported");
    }
    FVI_TRY(fvi_json_bool(model, "byte_fallback", false, &fallback, err));
    if (fallback) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        FILE_NAME ": BPE byte_fallback is not supported");
    }
    for (size_t i = 0; i < FVI_COUNT(empty); i++) {
        const char *text;
        FVI_TRY(fvi_json_text(model, empty[i], &text, err));
        if (text != NULL && text[0] != '\0') {
            return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, FILE_NAME ": BPE %s is not supported",
                            empty[i]);
        }
    }
    return FOVEA_OK;
}

static fovea_status read_model(fvi_tokenizer *self, const json_t *model, const json_t *added,
                               fovea_error *err)
{
    uint32_t n_token = 0;
    const char *form;
    json_t *value;
    FVI_TRY(check_model(model, err));
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    FVI_TRY(count_tokens(vocab, added, &n_token, err));
    if (fvi_vocab_init(&self->vocab, self->alloc, n_token, json_array_size(merges)) < 0) {
        return no_memory(err);
    }
    json_object_foreach(vocab, form, value)
    {
        FVI_TRY(add_token(&self->vocab, (int32_t)json_integer_value(value), form, err));
    }
    FVI_TRY(read_merges(&self->vocab, merges, err));
    FVI_TRY(fvi_json_bool(model, "ignore_merges", false, &self->vocab.ignore_merges, err));
    fvi_vocab_link_bytes(&self->vocab);
    const char *unknown;
    FVI_TRY(fvi_json_text(model, "unk_token", &unknown, err));
    for (uint32_t byte = 0; unknown != NULL && byte < 256; byte++) {
        if (self->vocab.byte_id[byte] < 0) {
            return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                            FILE_NAME
                            ": BPE unk_token with a vocabulary that lacks byte %u is not supported",
                            byte);
        }
    }
    return FOVEA_OK;
}

/* ---- added tokens ---- */

static fovea_status append_added(fvi_tokenizer *self, const json_t *value, const char *content,
                                 bool normalized, int32_t id, fovea_error *err)
{
    fvi_added_set *set = normalized ? &self->normalized : &self->raw;
    fvi_added *token = &set->tokens[set->n];
    fvi_buf text = {.alloc = self->alloc};
    *token = (fvi_added){.id = id};
    FVI_TRY(fvi_json_bool(value, "single_word", false, &token->single_word, err));
    FVI_TRY(fvi_json_bool(value, "lstrip", false, &token->lstrip, err));
    FVI_TRY(fvi_json_bool(value, "rstrip", false, &token->rstrip, err));
    fovea_status status = normalized && self->nfc ? fvi_unicode_nfc(content, strlen(content), &text)
                                                  : fvi_buf_append(&text, content, strlen(content));
    if (status >= 0) {
        token->content = fvi_strndup(self->alloc, text.data, text.n);
        token->n_bytes = (uint32_t)text.n;
    }
    fvi_buf_free(&text);
    if (token->content == NULL) {
        return no_memory(err);
    }
    set->n++;
    return FOVEA_OK;
}

/* An id that the reference gives by itself: it numbers added tokens on, whatever the file says. A file that
 * says something else was made by other means, and what its model was trained with cannot be known. */
static fovea_status check_new_id(const char *content, int32_t id, int32_t expected,
                                 fovea_error *err)
{
    if (id != expected) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        FILE_NAME
                        ": added token \"%.60s\" with id %d, where numbering on gives %d, is not "
                        "supported",
                        content, id, expected);
    }
    return FOVEA_OK;
}

/* next_id: what a token that is not in the vocabulary would get; moves on. */
static fovea_status read_added_token(fvi_tokenizer *self, const json_t *value, int32_t *next_id,
                                     fovea_error *err)
{
    const char *content;
    bool special, normalized;
    int32_t id =
        (int32_t)json_integer_value(json_object_get(value, "id")); /* in range: count_tokens */
    FVI_TRY(fvi_json_text(value, "content", &content, err));
    if (content == NULL || strlen(content) > MAX_CONTENT) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, FILE_NAME ": added token %d without usable content",
                        id);
    }
    if (content[0] == '\0') {
        return FOVEA_OK; /* the reference leaves it out too */
    }
    FVI_TRY(fvi_json_bool(value, "special", false, &special, err));
    FVI_TRY(fvi_json_bool(value, "normalized", !special, &normalized, err));
    int32_t known = fvi_vocab_find(&self->vocab, content, strlen(content));
    if (known < 0) {
        FVI_TRY(check_new_id(content, id, *next_id, err));
        FVI_TRY(add_token(&self->vocab, id, content, err));
    } else if (known != id) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT,
                        FILE_NAME ": added token \"%.60s\" has id %d, but %d as well", content, id,
                        known);
    }
    *next_id = FVI_MAX(*next_id, id + 1);
    self->vocab.tokens[id].special = special;
    return append_added(self, value, content, normalized, id, err);
}

static fovea_status read_added(fvi_tokenizer *self, const json_t *added, size_t n_vocab,
                               fovea_error *err)
{
    size_t n = json_array_size(added);
    int32_t next_id = (int32_t)n_vocab; /* at most FVI_TOKENIZER_MAX_ID: all have been added */
    if (n > MAX_ADDED) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT,
                        FILE_NAME ": %zu added tokens, at most %d are allowed", n, MAX_ADDED);
    }
    if (n == 0) {
        return FOVEA_OK;
    }
    self->raw.tokens = fvi_calloc(self->alloc, n, sizeof *self->raw.tokens);
    self->normalized.tokens = fvi_calloc(self->alloc, n, sizeof *self->normalized.tokens);
    if (self->raw.tokens == NULL || self->normalized.tokens == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        FVI_TRY(read_added_token(self, json_array_get(added, i), &next_id, err));
    }
    fvi_added_set_sort(&self->raw);
    fvi_added_set_sort(&self->normalized);
    return FOVEA_OK;
}

/* ---- the whole ---- */

static fovea_status read_tokenizer(fvi_tokenizer *self, const json_t *root, fovea_error *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    const json_t *model = json_object_get(root, "model");
    if (!json_is_object(root) || !json_is_object(model)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, FILE_NAME ": no \"model\"");
    }
    FVI_TRY(read_model(self, model, added, err));
    FVI_TRY(fvi_pipeline_read_normalizer(self, json_object_get(root, "normalizer"), err));
    size_t n_vocab = json_object_size(json_object_get(model, "vocab"));
    FVI_TRY(read_added(self, added, n_vocab, err));
    FVI_TRY(fvi_pipeline_read_pre_tokenizer(self, json_object_get(root, "pre_tokenizer"), err));
    FVI_TRY(fvi_pipeline_read_post_processor(self, json_object_get(root, "post_processor"), err));
    return fvi_pipeline_check_decoder(json_object_get(root, "decoder"), err);
}

fovea_status fvi_tokenizer_open(const fovea_alloc *alloc, const char *dir, fvi_tokenizer **out,
                                fovea_error *err)
{
    json_t *root = NULL;
    fvi_tokenizer *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        return no_memory(err);
    }
    self->alloc = self->begin.alloc = alloc;
    fovea_status status = fvi_json_load(alloc, dir, FILE_NAME, &root, err);
    if (status >= 0) {
        status = read_tokenizer(self, root, err);
    }
    json_decref(root);
    if (status < 0) {
        fvi_tokenizer_close(&self);
        return status;
    }
    *out = self;
    return FOVEA_OK;
}

static void free_added(const fovea_alloc *alloc, fvi_added_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        fvi_free(alloc, set->tokens[i].content);
    }
    fvi_free(alloc, set->tokens);
}

void fvi_tokenizer_close(fvi_tokenizer **tokenizer)
{
    fvi_tokenizer *self = *tokenizer;
    if (self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < self->n_stage; i++) {
        fvi_regex_free(&self->stages[i].regex);
        fvi_free(self->alloc, self->stages[i].literal);
    }
    fvi_regex_free(&self->byte_level);
    free_added(self->alloc, &self->raw);
    free_added(self->alloc, &self->normalized);
    fvi_vocab_free(&self->vocab);
    fvi_ids_free(&self->begin);
    fvi_free(self->alloc, self);
    *tokenizer = NULL;
}
