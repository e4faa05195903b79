/* test_config.c - config.json and generation_config.json: values, transformers' defaults, refusals by name.
 *
 * The defaults stand here as transformers 5.23 has them (LlamaConfig() and so on). */
#include "tests/model/model_test.h"

#include "sdk/model/config.h"

static const fovea_alloc *const alloc = &fvi_alloc_default;

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *tree = json_loads(text, 0, &why);
    if (tree == NULL) {
        fail_msg("%s: %s", text, why.text);
    }
    return tree;
}

static fvi_decoder_config decoder(const char *text)
{
    fovea_error error = {0};
    fvi_decoder_config config;
    json_t *tree = parse(text);
    assert_ok(fvi_decoder_config_read(tree, &config, &error), &error);
    json_decref(tree);
    return config;
}

static void test_decoder_defaults(void **state)
{
    (void)state;
    fvi_decoder_config c = decoder("{}"); /* llama, as LlavaConfig takes it */
    assert_string_equal(c.model_type, "llama");
    assert_int_equal(c.n_layer, 32);
    assert_int_equal(c.n_head, 32);
    assert_int_equal(c.n_kv_head, 32);
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.hidden, 4096);
    assert_int_equal(c.ffn, 11008);
    assert_int_equal(c.vocab, 32000);
    assert_int_equal(c.context, 2048);
    assert_true(c.rms_eps == 1e-6f && c.rope_theta == 10000.0f);
    assert_false(c.tie_head || c.qkv_bias || c.o_bias || c.mlp_bias);
    assert_int_equal(c.act, FVI_CONFIG_ACT_SILU);

    c = decoder("{\"model_type\":\"qwen2\"}");
    assert_int_equal(c.n_kv_head, 32);
    assert_int_equal(c.ffn, 22016);
    assert_int_equal(c.vocab, 151936);
    assert_int_equal(c.context, 32768);
    assert_true(c.qkv_bias);
    assert_false(c.o_bias || c.mlp_bias);

    c = decoder("{\"model_type\":\"mistral\",\"sliding_window\":null}");
    assert_int_equal(c.n_kv_head, 8);
    assert_int_equal(c.ffn, 14336);
    assert_int_equal(c.context, 131072);
    assert_false(c.qkv_bias || c.o_bias);
}

static void test_decoder_values(void **state)
{
    (void)state;
    fvi_decoder_config c = decoder(
        "{\"model_type\":\"llama\",\"hidden_size\":96,\"num_attention_heads\":6,\"num_key_value_"
        "heads\":1,"
        "\"head_dim\":32,\"intermediate_size\":100,\"vocab_size\":77,\"num_hidden_layers\":3,"
        "\"max_position_embeddings\":512,\"rms_norm_eps\":1e-05,\"rope_theta\":500000,"
        "\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true,\"hidden_act\":"
        "\"silu\"}");
    assert_int_equal(c.n_kv_head, 1);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.context, 512);
    assert_true(c.rms_eps == 1e-5f && c.rope_theta == 500000.0f);
    assert_true(c.tie_head && c.qkv_bias && c.o_bias && c.mlp_bias);

    /* keys that a type does not have mean nothing to it */
    c = decoder("{\"model_type\":\"qwen2\",\"attention_bias\":false,\"mlp_bias\":true,"
                "\"num_key_value_heads\":null,\"num_attention_heads\":16,\"sliding_window\":1024,"
                "\"use_sliding_window\":false}");
    assert_true(c.qkv_bias);
    assert_false(c.mlp_bias);
    assert_int_equal(c.n_kv_head, 16);
    assert_int_equal(c.head_dim, 256);

    c = decoder(
        "{\"rope_parameters\":{\"rope_theta\":2.5e4,\"rope_type\":\"default\"},\"rope_theta\":7}");
    assert_true(c.rope_theta == 25000.0f);
    c = decoder("{\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_theta\":7}");
    assert_true(c.rope_theta == 7.0f);
    c = decoder("{\"rope_scaling\":null,\"rope_theta\":1000000.0}");
    assert_true(c.rope_theta == 1000000.0f);
    /* a window as wide as the context is none */
    c = decoder(
        "{\"model_type\":\"mistral\",\"sliding_window\":4096,\"max_position_embeddings\":4096}");
    assert_int_equal(c.context, 4096);
}

typedef struct refusal {
    const char *text;
    fovea_status code;
    const char *word;
} refusal;

static void test_decoder_refusals(void **state)
{
    (void)state;
    static const refusal bad[] = {
        {"[]", FOVEA_ERR_FORMAT, "text_config"},
        {"{\"model_type\":\"gemma\"}", FOVEA_ERR_UNSUPPORTED, "gemma"},
        {"{\"model_type\":3}", FOVEA_ERR_FORMAT, "model_type"},
        {"{\"hidden_act\":\"gelu\"}", FOVEA_ERR_UNSUPPORTED, "gelu"},
        {"{\"hidden_act\":\"relu2\"}", FOVEA_ERR_UNSUPPORTED, "relu2"},
        {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}", FOVEA_ERR_UNSUPPORTED,
         "linear"},
        {"{\"rope_scaling\":{\"rope_type\":\"llama3\"}}", FOVEA_ERR_UNSUPPORTED, "llama3"},
        {"{\"rope_parameters\":{\"rope_type\":\"yarn\"}}", FOVEA_ERR_UNSUPPORTED, "yarn"},
        {"{\"rope_parameters\":[]}", FOVEA_ERR_FORMAT, "rope_parameters"},
        {"{\"partial_rotary_factor\":0.5}", FOVEA_ERR_UNSUPPORTED, "partial_rotary_factor"},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true}", FOVEA_ERR_UNSUPPORTED,
         "sliding window"},
        {"{\"model_type\":\"mistral\"}", FOVEA_ERR_UNSUPPORTED, "sliding window"},
        {"{\"model_type\":\"mistral\",\"sliding_window\":1024}", FOVEA_ERR_UNSUPPORTED, "1024"},
        {"{\"num_attention_heads\":0}", FOVEA_ERR_FORMAT, "num_attention_heads"},
        {"{\"num_attention_heads\":6,\"num_key_value_heads\":4}", FOVEA_ERR_FORMAT, "no multiple"},
        {"{\"head_dim\":63}", FOVEA_ERR_FORMAT, "head_dim"},
        {"{\"hidden_size\":4,\"num_attention_heads\":32}", FOVEA_ERR_FORMAT, "head_dim"},
        {"{\"head_dim\":131072,\"num_attention_heads\":1024}", FOVEA_ERR_FORMAT, "head_dim"},
        {"{\"hidden_size\":99999999999}", FOVEA_ERR_FORMAT, "hidden_size"},
        {"{\"hidden_size\":-1}", FOVEA_ERR_FORMAT, "hidden_size"},
        {"{\"vocab_size\":\"many\"}", FOVEA_ERR_FORMAT, "vocab_size"},
        {"{\"rms_norm_eps\":0}", FOVEA_ERR_FORMAT, "rms_norm_eps"},
        {"{\"rope_theta\":-1.0}", FOVEA_ERR_FORMAT, "rope_theta"},
    };
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        fovea_error error = {0};
        fvi_decoder_config config = {.n_layer = 4711};
        json_t *tree = parse(bad[i].text);
        assert_error(fvi_decoder_config_read(tree, &config, &error), &error, bad[i].code,
                     bad[i].word);
        assert_int_equal(config.n_layer, 4711);
        json_decref(tree);
    }
}

static void test_vision(void **state)
{
    (void)state;
    static const refusal bad[] = {
        {"{\"model_type\":\"vit\"}", FOVEA_ERR_UNSUPPORTED, "vit"},
        {"{\"image_size\":[224,336]}", FOVEA_ERR_UNSUPPORTED, "image_size as a list"},
        {"{\"patch_size\":[16,16]}", FOVEA_ERR_UNSUPPORTED, "patch_size as a list"},
        {"{\"patch_size\":448}", FOVEA_ERR_FORMAT, "larger than"},
        {"{\"patch_size\":0}", FOVEA_ERR_FORMAT, "patch_size"},
        {"{\"num_channels\":4}", FOVEA_ERR_UNSUPPORTED, "num_channels"},
        {"{\"num_attention_heads\":7}", FOVEA_ERR_FORMAT, "no multiple"},
        {"{\"hidden_act\":\"mish\"}", FOVEA_ERR_UNSUPPORTED, "mish"},
    };
    fovea_error error = {0};
    fvi_vision_config c;
    json_t *tree = parse("{}");
    assert_ok(fvi_vision_config_read(tree, &c, &error), &error);
    json_decref(tree);
    assert_string_equal(c.model_type, "clip_vision_model");
    assert_int_equal(c.hidden, 768);
    assert_int_equal(c.ffn, 3072);
    assert_int_equal(c.n_layer, 12);
    assert_int_equal(c.n_head, 12);
    assert_int_equal(c.image_size, 224);
    assert_int_equal(c.patch_size, 32);
    assert_int_equal(c.act, FVI_CONFIG_ACT_GELU_QUICK);
    assert_true(c.layer_norm_eps == 1e-5f);

    tree = parse("{\"model_type\":\"siglip_vision_model\"}");
    assert_ok(fvi_vision_config_read(tree, &c, &error), &error);
    json_decref(tree);
    assert_int_equal(c.patch_size, 16);
    assert_int_equal(c.act, FVI_CONFIG_ACT_GELU_TANH);
    assert_true(c.layer_norm_eps == 1e-6f);
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        tree = parse(bad[i].text);
        assert_error(fvi_vision_config_read(tree, &c, &error), &error, bad[i].code, bad[i].word);
        json_decref(tree);
    }
}

/* config.json of llava-hf/llava-1.5-7b-hf says no more than this: the rest are defaults. */
#define LLAVA(more)                                                                                \
    "{\"model_type\":\"llava\",\"text_config\":{\"model_type\":\"llama\",\"vocab_size\":32064,"    \
    "\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-05},\"vision_config\":{\"hidden_size\":" \
    "1024,"                                                                                        \
    "\"image_size\":336,\"intermediate_size\":4096,\"model_type\":\"clip_vision_model\","          \
    "\"num_attention_heads\":16,\"num_hidden_layers\":24,\"patch_size\":14}" more "}"

static void test_llava(void **state)
{
    (void)state;
    static const refusal bad[] = {
        {"[]", FOVEA_ERR_FORMAT, "the whole"},
        {"{\"model_type\":\"llava\",\"text_config\":{}}", FOVEA_ERR_FORMAT, "vision_config"},
        {"{\"model_type\":\"llava\",\"vision_config\":{}}", FOVEA_ERR_FORMAT, "text_config"},
        {LLAVA(",\"vision_feature_layer\":[-2,-5]"), FOVEA_ERR_UNSUPPORTED,
         "vision_feature_layer as a list"},
        {LLAVA(",\"vision_feature_layer\":25"), FOVEA_ERR_FORMAT, "vision_feature_layer"},
        {LLAVA(",\"vision_feature_layer\":-26"), FOVEA_ERR_FORMAT, "vision_feature_layer"},
        {LLAVA(",\"vision_feature_select_strategy\":\"cls\""), FOVEA_ERR_UNSUPPORTED, "cls"},
        {LLAVA(",\"projector_hidden_act\":\"tanh\""), FOVEA_ERR_UNSUPPORTED, "tanh"},
        {LLAVA(",\"image_token_index\":32064"), FOVEA_ERR_FORMAT, "image_token_index"},
        {LLAVA(",\"multimodal_projector_bias\":1"), FOVEA_ERR_FORMAT, "multimodal_projector_bias"},
    };
    fovea_error error = {0};
    fvi_llava_config c;
    json_t *tree = parse(LLAVA(""));
    assert_ok(fvi_llava_config_read(tree, &c, &error), &error);
    json_decref(tree);
    assert_int_equal(c.text.vocab, 32064);
    assert_int_equal(c.vision.n_layer, 24);
    assert_int_equal(c.image_token, 32000);
    assert_int_equal(c.n_layer_run, 23); /* -2 */
    assert_int_equal(c.feature_select, FVI_FEATURE_SELECT_DEFAULT);
    assert_int_equal(c.projector_act, FVI_CONFIG_ACT_GELU);
    assert_true(c.projector_bias);
    assert_false(c.text.tie_head);

    tree = parse(
        LLAVA(",\"tie_word_embeddings\":true,\"image_token_id\":7,\"vision_feature_layer\":0"));
    assert_ok(fvi_llava_config_read(tree, &c, &error), &error);
    json_decref(tree);
    assert_true(c.text.tie_head);
    assert_int_equal(c.image_token, 7);
    assert_int_equal(c.n_layer_run, 0);
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        tree = parse(bad[i].text);
        assert_error(fvi_llava_config_read(tree, &c, &error), &error, bad[i].code, bad[i].word);
        json_decref(tree);
    }
}

static void test_sample_model(void **state)
{
    (void)state;
    fovea_error error = {0};
    fvi_llava_config c;
    fvi_generation_config g;
    json_t *root = NULL;
    assert_ok(fvi_json_load(alloc, SAMPLE_MODEL, "config.json", &root, &error), &error);
    assert_ok(fvi_llava_config_read(root, &c, &error), &error);
    assert_ok(fvi_generation_config_read(alloc, SAMPLE_MODEL, root, &g, &error), &error);
    json_decref(root);
    assert_int_equal(c.text.n_layer, 8);
    assert_int_equal(c.text.n_kv_head, 2);
    assert_int_equal(c.text.head_dim, 64);
    assert_true(c.text.tie_head);
    assert_true(c.text.rope_theta == 10000.0f);
    assert_int_equal(c.vision.n_layer, 6);
    assert_int_equal(c.n_layer_run, 6);
    assert_int_equal(c.feature_select, FVI_FEATURE_SELECT_FULL);
    assert_int_equal(c.image_token, 3);
    assert_int_equal(g.n_eos, 1);
    assert_int_equal(g.eos[0], 2);
    assert_int_equal(g.bos, 1);
    assert_int_equal(g.pad, 0);
}

static void test_generation(void **state)
{
    (void)state;
    static const struct {
        const char *file; /* NULL: absent */
        const char *root;
        uint32_t n_eos;
        int32_t eos0, bos, pad;
    } good[] = {
        {"{\"eos_token_id\":[5,6],\"bos_token_id\":1}", "{\"eos_token_id\":9}", 2, 5, 1, -1},
        {"{}", "{\"eos_token_id\":9,\"text_config\":{\"eos_token_id\":8,\"bos_token_id\":4}}", 1, 9,
         4, -1},
        {NULL, "{\"text_config\":{\"eos_token_id\":[8],\"pad_token_id\":0}}", 1, 8, -1, 0},
        {NULL, "{\"pad_token_id\":-1,\"eos_token_id\":null}", 0, 0, -1, -1},
    };
    static const char *const bad[] = {"{\"eos_token_id\":\"</s>\"}", "{\"eos_token_id\":[1,-2]}",
                                      "{\"bos_token_id\":1.5}", "{\"eos_token_id\":99999999999}",
                                      "[3"};
    scratch s;
    scratch_new(&s);
    for (size_t i = 0; i < FVI_COUNT(good); i++) {
        fovea_error error = {0};
        fvi_generation_config c;
        json_t *root = parse(good[i].root);
        scratch_remove(&s, "generation_config.json");
        if (good[i].file != NULL) {
            scratch_text(&s, "generation_config.json", good[i].file);
        }
        assert_ok(fvi_generation_config_read(alloc, s.dir, root, &c, &error), &error);
        assert_int_equal(error.code, FOVEA_OK); /* a file that need not be there leaves no error */
        assert_int_equal(c.n_eos, good[i].n_eos);
        assert_int_equal(c.eos[0], good[i].eos0);
        assert_int_equal(c.bos, good[i].bos);
        assert_int_equal(c.pad, good[i].pad);
        json_decref(root);
    }
    json_t *empty = parse("{}");
    for (size_t i = 0; i < FVI_COUNT(bad); i++) {
        fovea_error error = {0};
        fvi_generation_config c;
        scratch_text(&s, "generation_config.json", bad[i]);
        assert_int_equal(fvi_generation_config_read(alloc, s.dir, empty, &c, &error),
                         FOVEA_ERR_FORMAT);
        assert_true(error.text[0] != '\0');
    }
    fovea_error error = {0};
    fvi_generation_config c;
    scratch_text(&s, "generation_config.json",
                 "{\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}");
    assert_error(fvi_generation_config_read(alloc, s.dir, empty, &c, &error), &error,
                 FOVEA_ERR_LIMIT, "17 tokens");
    json_decref(empty);
    scratch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoder_defaults),
        cmocka_unit_test(test_decoder_values),
        cmocka_unit_test(test_decoder_refusals),
        cmocka_unit_test(test_vision),
        cmocka_unit_test(test_llava),
        cmocka_unit_test(test_sample_model),
        cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
