/* fuzz_configs.c - config.json and generation_config.json. What is accepted must obey the caps that the
 * engine's arithmetic relies on (sdk/model/config.h). */
#include "tests/fuzz/fuzz.h"

#include "sdk/model/config.h"

#include <stdlib.h>

static const char *const words[] = {"null",
                                    "true",
                                    "[]",
                                    "{}",
                                    "\"llama\"",
                                    "\"qwen2\"",
                                    "\"siglip_vision_model\"",
                                    "\"gelu\"",
                                    "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0},",
                                    "\"head_dim\":",
                                    "\"num_key_value_heads\":",
                                    "\"vision_feature_layer\":",
                                    "\"eos_token_id\":[1,2,3],",
                                    "\"hidden_size\":",
                                    "\"text_config\":",
                                    "\"\\ud800\"",
                                    NULL};

static void check_decoder(const fvi_decoder_config *config)
{
    if (config->n_head == 0 || config->n_kv_head == 0 || config->n_head % config->n_kv_head != 0 ||
        config->head_dim == 0 || config->head_dim % 2 != 0 || config->n_layer == 0 ||
        config->vocab == 0) {
        abort();
    }
}

static void run(const fuzz_bytes *input, const char *dir)
{
    fovea_error err;
    json_t *root = NULL;
    if (fvi_json_parse((const char *)input->data, input->n, "config.json", &root, &err) < 0) {
        return;
    }
    fvi_llava_config llava;
    fvi_decoder_config decoder;
    fvi_vision_config vision;
    fvi_generation_config generation;
    if (fvi_llava_config_read(root, &llava, &err) >= 0) {
        check_decoder(&llava.text);
        if (llava.image_token >= llava.text.vocab || llava.n_layer_run > llava.vision.n_layer) {
            abort();
        }
    }
    if (fvi_decoder_config_read(root, &decoder, &err) >= 0) {
        check_decoder(&decoder);
    }
    if (fvi_vision_config_read(root, &vision, &err) >= 0 &&
        (vision.n_head == 0 || vision.hidden % vision.n_head != 0 || vision.patch_size == 0 ||
         vision.image_size < vision.patch_size)) {
        abort();
    }
    fuzz_write_file(dir, "generation_config.json", input->data, input->n);
    if (fvi_generation_config_read(&fvi_alloc_default, dir, root, &generation, &err) >= 0 &&
        generation.n_eos > FVI_CONFIG_MAX_EOS) {
        abort();
    }
    json_decref(root);
}

const fuzz_target fuzz_configs = {"configs", words, NULL, run};
