/* json.c - jansson behind typed getters whose errors name file and key.
 *
 * Numbers in model configs come as integers or reals (1e-05, 10000.0): reals accept both. */
#include "sdk/base/json.h"

#include "sdk/base/map.h"

#include <math.h>
#include <stdio.h>

fovea_status fvi_json_parse(const char *text, size_t n_bytes, const char *name, json_t **out,
                            fovea_error *err)
{
    json_error_t why;
    json_t *tree = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &why);
    if (tree == NULL && json_error_code(&why) == json_error_numeric_overflow) {
        /* tokenizer_config.json has "model_max_length": 1000000000000000019884624838656 */
        tree = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    }
    if (tree == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "%s: line %d: %s", name, why.line, why.text);
    }
    *out = tree;
    return FOVEA_OK;
}

fovea_status fvi_json_load(const fovea_alloc *alloc, const char *dir, const char *file,
                           json_t **out, fovea_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    if (n < 0 || (size_t)n >= sizeof path) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "the path of %s is too long", file);
    }
    char *text = NULL;
    size_t n_bytes = 0;
    FVI_TRY(fvi_file_read(alloc, path, FVI_JSON_MAX_BYTES, &text, &n_bytes, err));
    fovea_status status = fvi_json_parse(text, n_bytes, file, out, err);
    fvi_free(alloc, text);
    return status;
}

fovea_status fvi_json_u32(const json_t *obj, const char *key, uint32_t absent, uint32_t min,
                          uint32_t max, uint32_t *out, fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        *out = absent;
        return FOVEA_OK;
    }
    if (!json_is_integer(value)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not an integer", key);
    }
    json_int_t n = json_integer_value(value);
    if (n < (json_int_t)min || n > (json_int_t)max) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is %lld, not in %u..%u", key, (long long)n,
                        min, max);
    }
    *out = (uint32_t)n;
    return FOVEA_OK;
}

fovea_status fvi_json_f32(const json_t *obj, const char *key, float absent, float *out,
                          fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        *out = absent;
        return FOVEA_OK;
    }
    if (!json_is_number(value) || !isfinite((float)json_number_value(value))) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not a finite number", key);
    }
    *out = (float)json_number_value(value);
    return FOVEA_OK;
}

fovea_status fvi_json_bool(const json_t *obj, const char *key, bool absent, bool *out,
                           fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        *out = absent;
        return FOVEA_OK;
    }
    if (!json_is_boolean(value)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not true or false", key);
    }
    *out = json_is_true(value);
    return FOVEA_OK;
}

fovea_status fvi_json_text(const json_t *obj, const char *key, const char **out, fovea_error *err)
{
    const json_t *value = json_object_get(obj, key);
    if (value == NULL || json_is_null(value)) {
        *out = NULL;
        return FOVEA_OK;
    }
    if (!json_is_string(value)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "\"%s\" is not a text", key);
    }
    *out = json_string_value(value);
    return FOVEA_OK;
}
