/* template.c - finds the chat template of a model folder and renders with the rule that it is known by.
 *
 * Places, as transformers looks: chat_template.jinja, then "chat_template" in chat_template.json,
 * processor_config.json and tokenizer_config.json (there perhaps a list of named ones, of which "default"
 * counts). Called by the engine. */
#include "sdk/model/template.h"

#include "sdk/base/json.h"
#include "sdk/base/map.h"
#include "sdk/model/template_rules.h"

#include <stdio.h>

#define MAX_TEXT   ((size_t)1 << 20)
#define FIRST_LINE 80 /* bytes of an unknown template that an error shows */

struct fvi_template {
    const fovea_alloc *alloc;
    const fvi_template_rule *rule; /* NULL: unknown */
    char *image_token;
    char source[32];                 /* the file it came from; "": none */
    char first_line[FIRST_LINE + 1]; /* of an unknown one */
};

static fovea_status take_text(fvi_template *self, const char *file, const char *text,
                              size_t n_bytes, fovea_error *err)
{
    if (fvi_template_recognise(self->alloc, text, n_bytes, &self->rule) < 0) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "%s: no memory", file);
    }
    const char *end = memchr(text, '\n', n_bytes);
    size_t n = end != NULL ? (size_t)(end - text) : n_bytes;
    n = FVI_MIN(n, (size_t)FIRST_LINE);
    while (n > 0 && n < n_bytes && ((unsigned char)text[n] & 0xC0) == 0x80) {
        n--; /* not inside of a character */
    }
    memcpy(self->first_line, text, n);
    self->first_line[n] = '\0';
    snprintf(self->source, sizeof self->source, "%s", file);
    return FOVEA_OK;
}

static fovea_status look_in_jinja(fvi_template *self, const char *dir, fovea_error *err)
{
    static const char file[] = "chat_template.jinja";
    char path[4096];
    char *text = NULL;
    size_t n_bytes;
    int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    if (n < 0 || (size_t)n >= sizeof path) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "the path of %s is too long", file);
    }
    fovea_status status = fvi_file_read(self->alloc, path, MAX_TEXT, &text, &n_bytes, err);
    if (status >= 0) {
        status = take_text(self, file, text, n_bytes, err);
    }
    fvi_free(self->alloc, text);
    return fvi_is_absent(status, err) ? FOVEA_OK : status;
}

/* The value of "chat_template": a text, or a list of {name, template}. */
static const char *pick_text(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            return json_string_value(json_object_get(one, "template"));
        }
    }
    return json_string_value(value);
}

static fovea_status look_in_json(fvi_template *self, const char *dir, const char *file,
                                 fovea_error *err)
{
    json_t *root = NULL;
    fovea_status status = fvi_json_load(self->alloc, dir, file, &root, err);
    if (fvi_is_absent(status, err)) {
        return FOVEA_OK;
    }
    const char *text = pick_text(json_object_get(root, "chat_template"));
    if (status >= 0 && text != NULL && strlen(text) <= MAX_TEXT) {
        status = take_text(self, file, text, strlen(text), err);
    }
    json_decref(root);
    return status;
}

fovea_status fvi_template_open(const fovea_alloc *alloc, const char *dir, const char *image_token,
                               fvi_template **out, fovea_error *err)
{
    static const char *const files[] = {"chat_template.json", "processor_config.json",
                                        "tokenizer_config.json"};
    fvi_template *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the chat template");
    }
    self->alloc = alloc;
    self->image_token = fvi_strndup(alloc, image_token, strlen(image_token));
    fovea_status status = self->image_token != NULL
                              ? look_in_jinja(self, dir, err)
                              : FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the chat template");
    for (size_t i = 0; status >= 0 && self->source[0] == '\0' && i < FVI_COUNT(files); i++) {
        status = look_in_json(self, dir, files[i], err);
    }
    if (status < 0) {
        fvi_template_close(&self);
        return status;
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_template_close(fvi_template **self)
{
    if (*self == NULL) {
        return;
    }
    fvi_free((*self)->alloc, (*self)->image_token);
    fvi_free((*self)->alloc, *self);
    *self = NULL;
}

static fovea_status check_known(const fvi_template *self, fovea_error *err)
{
    if (self->rule != NULL) {
        return FOVEA_OK;
    }
    if (self->source[0] == '\0') {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                        "the model folder has no chat template; raw prompts work");
    }
    return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED,
                    "the chat template of %s is not known (\"%s\"); raw prompts work", self->source,
                    self->first_line);
}

fovea_status fvi_template_message(const fvi_template *self, uint32_t index, fovea_role role,
                                  const fvi_template_part *parts, uint32_t n_part, fvi_buf *out,
                                  fovea_error *err)
{
    size_t n_before = out->n;
    FVI_TRY(check_known(self, err));
    if ((int)role < 0 || (int)role >= FVI_N_ROLE) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "role %d of a message", (int)role);
    }
    if (fvi_template_rule_message(self->rule, self->image_token, index, role, parts, n_part, out) <
        0) {
        out->n = n_before;
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a message");
    }
    return FOVEA_OK;
}

fovea_status fvi_template_answer(const fvi_template *self, fvi_buf *out, fovea_error *err)
{
    FVI_TRY(check_known(self, err));
    if (fvi_buf_append_text(out, self->rule->answer, strlen(self->rule->answer)) < 0) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a prompt");
    }
    return FOVEA_OK;
}

const char *fvi_template_after_answer(const fvi_template *self)
{
    return self->rule != NULL ? self->rule->after_answer : "";
}
