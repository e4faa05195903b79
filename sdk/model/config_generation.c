/* config_generation.c - the tokens that end, begin and pad a text, from generation_config.json or, where
 * it is silent, from config.json and its text_config. Called by the engine when a model is opened. */
#include "sdk/model/config.h"

static fovea_status read_id(const json_t *value, const char *key, int32_t *out, fovea_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is no token id", key);
    }
    *out = (int32_t)json_integer_value(value);
    return FOVEA_OK;
}

/* Fills what config does not have yet. */
static fovea_status read_from(const json_t *object, fvi_generation_config *config, fovea_error *err)
{
    static const char eos_key[] = "eos_token_id";
    const json_t *eos = json_object_get(object, eos_key);
    const json_t *bos = json_object_get(object, "bos_token_id");
    const json_t *pad = json_object_get(object, "pad_token_id");
    if (config->bos < 0 && bos != NULL && !json_is_null(bos)) {
        FVI_TRY(read_id(bos, "bos_token_id", &config->bos, err));
    }
    /* -1 stands for "none" in some old files */
    bool no_pad = json_is_integer(pad) && json_integer_value(pad) == -1;
    if (config->pad < 0 && pad != NULL && !json_is_null(pad) && !no_pad) {
        FVI_TRY(read_id(pad, "pad_token_id", &config->pad, err));
    }
    if (config->n_eos > 0 || eos == NULL || json_is_null(eos)) {
        return FOVEA_OK;
    }
    if (!json_is_array(eos)) {
        FVI_TRY(read_id(eos, eos_key, &config->eos[0], err));
        config->n_eos = 1;
        return FOVEA_OK;
    }
    if (json_array_size(eos) > FVI_CONFIG_MAX_EOS) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "\"%s\" lists %zu tokens, at most %d are allowed",
                        eos_key, json_array_size(eos), FVI_CONFIG_MAX_EOS);
    }
    for (size_t i = 0; i < json_array_size(eos); i++) {
        FVI_TRY(read_id(json_array_get(eos, i), eos_key, &config->eos[i], err));
    }
    config->n_eos = (uint32_t)json_array_size(eos);
    return FOVEA_OK;
}

fovea_status fvi_generation_config_read(const fovea_alloc *alloc, const char *dir,
                                        const json_t *root, fvi_generation_config *out,
                                        fovea_error *err)
{
    fvi_generation_config config = {.bos = -1, .pad = -1};
    json_t *file = NULL;
    fovea_status status = fvi_json_load(alloc, dir, "generation_config.json", &file, err);
    if (fvi_is_absent(status, err)) {
        status = FOVEA_OK;
    } else if (status >= 0) {
        status = read_from(file, &config, err);
    }
    json_decref(file);
    FVI_TRY(status);
    FVI_TRY(read_from(root, &config, err));
    FVI_TRY(read_from(json_object_get(root, "text_config"), &config, err));
    *out = config;
    return FOVEA_OK;
}
