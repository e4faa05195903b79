/* render_template.c - renders conversations with the chat template of a folder, for
 * tests/golden/compare_template.py.
 *
 * Input (JSON): {"text": the template's text, "conversations": [[{"role", "content": [{"type", "text"}]}]]}.
 * Output (JSON): {"rule", "bytes", "hash": how templates.def knows the text, "rendered": [{"text", "prompt"}]},
 * the prompt with the request for an answer; without "rendered" when the template is unknown. */
#include "sdk/base/json.h"
#include "sdk/model/template_rules.h"

#include <stdio.h>

#define MAX_PART 64

static const fovea_alloc *const alloc = &fvi_alloc_default;

static fovea_role read_role(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return strcmp(role, "system") == 0 ? FOVEA_ROLE_SYSTEM
           : strcmp(role, "user") == 0 ? FOVEA_ROLE_USER
                                       : FOVEA_ROLE_ASSISTANT;
}

static json_t *render(const fvi_template *template, const json_t *conversation)
{
    fovea_error error = {0};
    fvi_buf out = {.alloc = alloc};
    fovea_status status = FOVEA_OK;
    for (size_t m = 0; status >= 0 && m < json_array_size(conversation); m++) {
        const json_t *message = json_array_get(conversation, m);
        const json_t *content = json_object_get(message, "content");
        fvi_template_part parts[MAX_PART] = {{0}};
        size_t n_part = FVI_MIN(json_array_size(content), (size_t)MAX_PART);
        for (size_t p = 0; p < n_part; p++) {
            parts[p].text = json_string_value(json_object_get(json_array_get(content, p), "text"));
            parts[p].n_bytes = parts[p].text != NULL ? strlen(parts[p].text) : 0;
        }
        status = fvi_template_message(template, (uint32_t)m, read_role(message), parts,
                                      (uint32_t)n_part, &out, &error);
    }
    json_t *rendered = status < 0 ? NULL : json_object();
    if (rendered != NULL) {
        json_object_set_new(rendered, "text",
                            json_stringn(out.data != NULL ? out.data : "", out.n));
        status = fvi_template_answer(template, &out, &error);
        json_object_set_new(rendered, "prompt", json_stringn(out.data, out.n));
    } else {
        fprintf(stderr, "%s\n", error.text);
    }
    fvi_buf_free(&out);
    return rendered;
}

static int answer(const char *dir, const json_t *request)
{
    fovea_error error = {0};
    fvi_template *template = NULL;
    const fvi_template_rule *rule = NULL;
    fvi_buf normal = {.alloc = alloc};
    const char *text = json_string_value(json_object_get(request, "text"));
    const json_t *conversations = json_object_get(request, "conversations");
    char hash[32];
    if (fvi_template_open(alloc, dir, "<image>", &template, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    if (fvi_template_recognise(alloc, text, strlen(text), &rule) < 0 ||
        fvi_template_normalise(text, strlen(text), &normal) < 0) {
        return 1;
    }
    snprintf(hash, sizeof hash, "0x%016llx",
             (unsigned long long)fvi_template_hash(normal.data, normal.n));
    json_t *out = json_pack("{s:s?, s:I, s:s}", "rule", rule != NULL ? rule->name : NULL, "bytes",
                            (json_int_t)normal.n, "hash", hash);
    json_t *rendered = json_array();
    for (size_t i = 0; rule != NULL && i < json_array_size(conversations); i++) {
        json_array_append_new(rendered, render(template, json_array_get(conversations, i)));
    }
    json_object_set_new(out, "rendered", rendered);
    json_dumpf(out, stdout, JSON_COMPACT);
    json_decref(out);
    fvi_buf_free(&normal);
    fvi_template_close(&template);
    return 0;
}

int main(int argc, char **argv)
{
    json_error_t why;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER < request.json > answer.json\n", argv[0]);
        return 2;
    }
    json_t *request = json_loadf(stdin, 0, &why);
    if (request == NULL) {
        fprintf(stderr, "input: %s\n", why.text);
        return 1;
    }
    int failed = answer(argv[1], request);
    json_decref(request);
    return failed;
}
