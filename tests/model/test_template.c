/* test_template.c - every rule of templates.def against what Jinja rendered (tests/golden/templates.json, made
 * by compare_template.py with transformers), message by message; and how a folder's template is found. */
#include "tests/model/model_test.h"

#include "sdk/base/json.h"
#include "sdk/model/template_rules.h"
#include "tests/fault/fault_alloc.h"

#define MAX_PART 16

static const fovea_alloc *const alloc = &fvi_alloc_default;

static fovea_role role_of(const json_t *message)
{
    static const char *const names[] = {"system", "user", "assistant"}; /* as fovea_role */
    const char *name = json_string_value(json_object_get(message, "role"));
    for (int i = 0; i < FVI_N_ROLE; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (fovea_role)i;
        }
    }
    fail_msg("role %s", name);
    return FOVEA_ROLE_USER;
}

static uint32_t parts_of(const json_t *message, fvi_template_part parts[MAX_PART])
{
    const json_t *content = json_object_get(message, "content");
    assert_true(json_array_size(content) <= MAX_PART);
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));
        parts[i] = (fvi_template_part){.text = text, .n_bytes = text != NULL ? strlen(text) : 0};
    }
    return (uint32_t)json_array_size(content);
}

static void check_text(const char *what, const fvi_buf *have, const json_t *want)
{
    const char *text = json_string_value(want);
    if (have->n != strlen(text) || (have->n > 0 && memcmp(have->data, text, have->n) != 0)) {
        fail_msg("%s: \"%.*s\", Jinja \"%s\"", what, (int)have->n, have->n > 0 ? have->data : "",
                 text);
    }
}

static void test_rules(void **state)
{
    (void)state;
    static const char *const rules[] = {"fovea", "llava_1_5", "llava_interleave", "chatml",
                                        "qwen2"};
    fovea_error error = {0};
    json_t *golden = NULL;
    assert_ok(fvi_json_load(alloc, GOLDEN(""), "templates.json", &golden, &error), &error);
    assert_int_equal(json_object_size(golden), FVI_COUNT(rules));
    for (size_t r = 0; r < FVI_COUNT(rules); r++) {
        const fvi_template_rule *rule = fvi_template_rule_find(rules[r]);
        const json_t *conversations = json_object_get(golden, rules[r]);
        assert_non_null(rule);
        assert_true(json_array_size(conversations) >= 10);
        for (size_t c = 0; c < json_array_size(conversations); c++) {
            const json_t *one = json_array_get(conversations, c);
            const json_t *messages = json_object_get(one, "messages");
            fvi_buf out = {.alloc = alloc};
            for (size_t m = 0; m < json_array_size(messages); m++) {
                fvi_template_part parts[MAX_PART];
                const json_t *message = json_array_get(messages, m);
                uint32_t n_part = parts_of(message, parts);
                assert_int_equal(fvi_template_rule_message(rule, "<image>", (uint32_t)m,
                                                           role_of(message), parts, n_part, &out),
                                 FOVEA_OK);
            }
            check_text(rules[r], &out, json_object_get(one, "text"));
            assert_int_equal(fvi_buf_append(&out, rule->answer, strlen(rule->answer)), FOVEA_OK);
            check_text(rules[r], &out, json_object_get(one, "prompt"));
            fvi_buf_free(&out);
        }
    }
    json_decref(golden);
    assert_null(fvi_template_rule_find("llava"));
}

/* An answer of the model with what stands behind it is the same text as the answer given as history. */
static void test_after_answer(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        const char *said; /* llava's models begin their answers with a space */
    } lines[] = {{"fovea", " Two."}, {"llava_1_5", " Two."}, {"chatml", "Two."}, {"qwen2", "Two."}};
    for (size_t i = 0; i < FVI_COUNT(lines); i++) {
        const fvi_template_rule *rule = fvi_template_rule_find(lines[i].rule);
        fvi_buf history = {.alloc = alloc}, generated = {.alloc = alloc};
        fvi_template_part part = {.text = "Two.", .n_bytes = 4};
        assert_int_equal(
            fvi_template_rule_message(rule, "<image>", 1, FOVEA_ROLE_ASSISTANT, &part, 1, &history),
            FOVEA_OK);
        const char *const pieces[] = {rule->answer, lines[i].said, rule->after_answer};
        for (int p = 0; p < 3; p++) {
            assert_int_equal(fvi_buf_append(&generated, pieces[p], strlen(pieces[p])), FOVEA_OK);
        }
        assert_int_equal(history.n, generated.n);
        assert_memory_equal(history.data, generated.data, history.n);
        fvi_buf_free(&history);
        fvi_buf_free(&generated);
    }
}

static void test_sample_folder(void **state)
{
    (void)state;
    fovea_error error = {0};
    fvi_template *template = NULL;
    fvi_buf out = {.alloc = alloc};
    const fvi_template_part parts[] = {{NULL, 0}, {"What colour is the dog?", 23}};
    assert_ok(fvi_template_open(alloc, SAMPLE_MODEL, "<image>", &template, &error), &error);
    assert_ok(fvi_template_message(template, 0, FOVEA_ROLE_USER, parts, 2, &out, &error), &error);
    assert_ok(fvi_template_answer(template, &out, &error), &error);
    static const char want[] = "USER: <image>\nWhat colour is the dog? ASSISTANT:";
    assert_int_equal(out.n, sizeof want - 1);
    assert_memory_equal(out.data, want, out.n);
    assert_string_equal(fvi_template_after_answer(template), "</s>");
    assert_error(fvi_template_message(template, 0, (fovea_role)3, parts, 2, &out, &error), &error,
                 FOVEA_ERR_ARG, "role 3");
    assert_int_equal(out.n, sizeof want - 1);
    fvi_buf_free(&out);
    fvi_template_close(&template);
    assert_null(template);
}

/* The default template's text. */
static void read_sample(char text[1024])
{
    FILE *in = fopen(SAMPLE_MODEL "/chat_template.jinja", "rb");
    assert_non_null(in);
    size_t n_bytes = fread(text, 1, 1023, in);
    text[n_bytes] = '\0';
    fclose(in);
}

static bool is_known(const char *text)
{
    const fvi_template_rule *rule = NULL;
    assert_int_equal(fvi_template_recognise(alloc, text, strlen(text), &rule), FOVEA_OK);
    return rule != NULL;
}

static void test_normal_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *normal;
    } lines[] = {
        {"", ""},
        {"a  b\n", "a  b"},
        {"a\r\n", "a"},
        {"\n", ""},
        {"a\n\n", "a\n"},
        {"{{  x \n + y }}", "{{x + y}}"},
        {"{%\tif  a%} {{b}}", "{%if a%} {{b}}"},
        {"{{ ' a  b ' }}", "{{' a  b '}}"},
        {"{{ 'a\\nb' + \"c\\\"  d\" }}", "{{'a\nb' + \"c\\\"  d\"}}"},
        {"{{ '}}' }}", "{{'}}'}}"},
        {"{# a  comment #}", "{# a  comment #}"},
        {"{{ open", "{{open"},
        {"{% 'open", "{%'open"},
        {"{", "{"},
    };
    for (size_t i = 0; i < FVI_COUNT(lines); i++) {
        fvi_buf out = {.alloc = alloc};
        assert_int_equal(fvi_template_normalise(lines[i].text, strlen(lines[i].text), &out),
                         FOVEA_OK);
        if (out.n != strlen(lines[i].normal) ||
            (out.n > 0 && memcmp(out.data, lines[i].normal, out.n) != 0)) {
            fail_msg("\"%s\": \"%.*s\", expected \"%s\"", lines[i].text, (int)out.n,
                     out.n > 0 ? out.data : "", lines[i].normal);
        }
        fvi_buf_free(&out);
    }
}

/* Space inside of tags does not matter; any other change does. */
static void test_recognised_by_the_whole_text(void **state)
{
    (void)state;
    char text[1024], changed[1100];
    read_sample(text);
    assert_true(is_known(text));
    snprintf(changed, sizeof changed, "%s\n", text);
    assert_true(is_known(changed));
    snprintf(changed, sizeof changed, "{%%  for m%s", strstr(text, " in messages"));
    assert_true(is_known(changed));
    snprintf(changed, sizeof changed, " %s", text);
    assert_false(is_known(changed));
    for (size_t i = 0; text[i] != '\0'; i++) {
        snprintf(changed, sizeof changed, "%s", text);
        changed[i] = changed[i] == 'x' ? 'y' : 'x';
        assert_false(is_known(changed));
    }
}

static void expect_unknown(const scratch *s, const char *word)
{
    fovea_error error = {0};
    fvi_template *template = NULL;
    fvi_buf out = {.alloc = alloc};
    assert_ok(fvi_template_open(alloc, s->dir, "<image>", &template, &error), &error);
    assert_error(fvi_template_message(template, 0, FOVEA_ROLE_USER, NULL, 0, &out, &error), &error,
                 FOVEA_ERR_UNSUPPORTED, word);
    assert_non_null(strstr(error.text, "raw prompts work"));
    assert_error(fvi_template_answer(template, &out, &error), &error, FOVEA_ERR_UNSUPPORTED, word);
    assert_string_equal(fvi_template_after_answer(template), "");
    assert_int_equal(out.n, 0);
    fvi_template_close(&template);
}

static void expect_known(const scratch *s)
{
    fovea_error error = {0};
    fvi_template *template = NULL;
    fvi_buf out = {.alloc = alloc};
    assert_ok(fvi_template_open(alloc, s->dir, "<img>", &template, &error), &error);
    const fvi_template_part image = {NULL, 0};
    assert_ok(fvi_template_message(template, 0, FOVEA_ROLE_USER, &image, 1, &out, &error), &error);
    assert_int_equal(out.n, strlen("USER: <img>\n "));
    assert_memory_equal(out.data, "USER: <img>\n ", out.n);
    fvi_buf_free(&out);
    fvi_template_close(&template);
}

static void test_places(void **state)
{
    (void)state;
    scratch s;
    char text[1024];
    fovea_error error = {0};
    fvi_template *template = NULL;
    read_sample(text);
    scratch_new(&s);
    expect_unknown(&s, "no chat template");
    /* the last place: a list of named ones, beside a number beyond 64 bits as old files have it */
    json_t *config = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "chat_template", "name", "tool",
                               "template", "{{ 1 }}", "name", "default", "template", text);
    char *dumped = json_dumps(config, 0);
    char whole[2048];
    snprintf(whole, sizeof whole, "{\"model_max_length\":1000000000000000019884624838656,%s",
             dumped + 1);
    scratch_text(&s, "tokenizer_config.json", whole);
    expect_known(&s);
    /* each earlier place wins over it */
    scratch_text(&s, "processor_config.json", "{\"chat_template\":\"{{ 'processor' }}\\nmore\"}");
    expect_unknown(&s, "processor_config.json is not known (\"{{ 'processor' }}\")");
    scratch_text(&s, "chat_template.json", "{\"chat_template\":\"{{ 'json' }}\"}");
    expect_unknown(&s, "chat_template.json is not known");
    scratch_text(&s, "chat_template.jinja", text);
    expect_known(&s);
    scratch_remove(&s, "chat_template.jinja");
    scratch_text(&s, "chat_template.json", "{\"chat_template\":");
    assert_int_equal(fvi_template_open(alloc, s.dir, "<image>", &template, &error),
                     FOVEA_ERR_FORMAT);
    assert_null(template);
    free(dumped);
    json_decref(config);
    scratch_free(&s);
}

static fovea_status whole_life(const fovea_alloc *memory, void *arg)
{
    (void)arg;
    const fvi_template_part parts[] = {{NULL, 0}, {"What is in the picture?", 23}};
    fvi_template *template = NULL;
    fvi_buf out = {.alloc = memory};
    fovea_status status = fvi_template_open(memory, SAMPLE_MODEL, "<image>", &template, NULL);
    if (status >= 0) {
        status = fvi_template_message(template, 0, FOVEA_ROLE_USER, parts, 2, &out, NULL);
    }
    if (status >= 0) {
        status = fvi_template_answer(template, &out, NULL);
    }
    fvi_buf_free(&out);
    fvi_template_close(&template);
    return status;
}

static void test_memory_failures(void **state)
{
    (void)state;
    const char *wrong = fault_sweep(whole_life, NULL, NULL);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_after_answer),
        cmocka_unit_test(test_sample_folder),
        cmocka_unit_test(test_normal_form),
        cmocka_unit_test(test_recognised_by_the_whole_text),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
