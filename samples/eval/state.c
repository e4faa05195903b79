/* state.c - reading and appending of kept outcomes. */
#include "samples/eval/state.h"

#include "samples/common/base.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eval_state {
    FILE *file; /* NULL: nothing is kept */
    char *path, *setting;
    json_t *known; /* "key recipe" -> outcome */
    pthread_mutex_t lock;
};

static uint64_t hash_text(uint64_t hash, const char *text)
{
    do { /* the terminator too, so that borders count */
        hash = (hash ^ (unsigned char)*text) * 0x100000001B3u;
    } while (*text++ != '\0');
    return hash;
}

/* A line that breaks off was being written when the run was interrupted: it is left out. */
static fovea_status take_line(eval_state *state, const char *line, size_t n_bytes)
{
    json_t *root = json_loadb(line, n_bytes, 0, NULL);
    const char *key = json_string_value(json_object_get(root, "key"));
    const char *recipe = json_string_value(json_object_get(root, "recipe"));
    char *name = NULL;
    fovea_status status = FOVEA_OK;

    if (key != NULL && recipe != NULL) {
        if (asprintf(&name, "%s %s", key, recipe) < 0 ||
            json_object_set(state->known, name, root) != 0) {
            status = FOVEA_ERR_NOMEM;
        }
        free(name);
    }
    json_decref(root);
    return status;
}

static fovea_status read_all(eval_state *state)
{
    fovea_status status = FOVEA_OK;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length, last = 0;

    rewind(state->file);
    while (status == FOVEA_OK && (length = getline(&line, &capacity, state->file)) > 0) {
        status = take_line(state, line, (size_t)length);
        last = line[length - 1] == '\n' ? 0 : length;
    }
    free(line);
    if (status == FOVEA_OK && (ferror(state->file) || fseek(state->file, 0, SEEK_END) != 0 ||
                               (last > 0 && fputc('\n', state->file) == EOF))) {
        status = FOVEA_ERR_IO;
    }
    return status;
}

fovea_status eval_state_open(const char *path, const char *setting, eval_state **out,
                             fovea_error *err)
{
    eval_state *state = calloc(1, sizeof(*state));
    fovea_status status = FOVEA_ERR_NOMEM;

    *out = NULL;
    if (state == NULL) {
        return sample_fail(err, status, "memory is out");
    }
    pthread_mutex_init(&state->lock, NULL);
    state->setting = strdup(setting);
    state->path = strdup(path != NULL ? path : "");
    state->known = json_object();
    if (state->setting != NULL && state->path != NULL && state->known != NULL) {
        state->file = path != NULL ? fopen(path, "a+") : NULL;
        status = path == NULL ? FOVEA_OK : state->file != NULL ? read_all(state) : FOVEA_ERR_IO;
    }
    if (status < 0) {
        sample_fail(err, status, "%s: %s", state->path != NULL ? state->path : "",
                    status == FOVEA_ERR_IO ? strerror(errno) : "memory is out");
        eval_state_close(&state, NULL);
        return status;
    }
    *out = state;
    return FOVEA_OK;
}

fovea_status eval_state_close(eval_state **out, fovea_error *err)
{
    eval_state *state = *out;
    fovea_status status = FOVEA_OK;

    if (state == NULL) {
        return status;
    }
    if (state->file != NULL && fclose(state->file) != 0) {
        status = sample_fail(err, FOVEA_ERR_IO, "%s: %s", state->path, strerror(errno));
    }
    json_decref(state->known);
    pthread_mutex_destroy(&state->lock);
    free(state->setting);
    free(state->path);
    free(state);
    *out = NULL;
    return status;
}

fovea_status eval_state_key(const eval_state *state, const char *mode, const eval_item *item,
                            char out[EVAL_KEY_BYTES], fovea_error *err)
{
    char *line = json_dumps(item->root, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = 0xCBF29CE484222325u;

    if (line == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    hash = hash_text(hash_text(hash_text(hash, state->setting), mode), line);
    for (size_t i = 0; i < item->n_image; i++) { /* two sets may name their pictures alike */
        hash = hash_text(hash, item->images[i]);
    }
    snprintf(out, EVAL_KEY_BYTES, "%016llx", (unsigned long long)hash);
    free(line);
    return FOVEA_OK;
}

static uint64_t count_of(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

static double real_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static bool flag_of(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static bool fill(const json_t *kept, eval_outcome *out)
{
    const char *text = json_string_value(json_object_get(kept, "text"));

    *out = (eval_outcome){
        .text = text != NULL ? strdup(text) : NULL,
        .refused = flag_of(kept, "refused"),
        .right = flag_of(kept, "right"),
        .as_none = flag_of(kept, "as_none"),
        .n_token = (uint32_t)count_of(kept, "tokens"),
        .n_agree = (uint32_t)count_of(kept, "agree"),
        .full_bytes = count_of(kept, "full_bytes"),
        .realised_bytes = count_of(kept, "realised_bytes"),
        .peak_bytes = count_of(kept, "peak_bytes"),
        .kept_text = real_of(kept, "kept_text"),
        .kept_vision = real_of(kept, "kept_vision"),
        .decode_ms = real_of(kept, "decode_ms"),
        .n_decode = (uint32_t)count_of(kept, "decoded"),
    };
    return out->text != NULL || out->refused;
}

bool eval_state_find(eval_state *state, const char *key, const char *recipe, eval_outcome *out)
{
    char *name = NULL;
    json_t *kept = NULL;
    bool found = false;

    if (asprintf(&name, "%s %s", key, recipe) < 0) {
        return false;
    }
    pthread_mutex_lock(&state->lock);
    kept = json_object_get(state->known, name);
    found = kept != NULL && fill(kept, out);
    pthread_mutex_unlock(&state->lock);
    free(name);
    return found;
}

fovea_status eval_state_add(eval_state *state, const char *key, const char *recipe,
                            const eval_outcome *outcome, fovea_error *err)
{
    json_t *line;
    int failed;

    if (state->file == NULL) {
        return FOVEA_OK;
    }
    line = json_pack(
        "{s:s, s:s, s:s?, s:b, s:b, s:b, s:i, s:i, s:I, s:I, s:I, s:f, s:f, s:f, s:i}", "key", key,
        "recipe", recipe, "text", outcome->text, "refused", (int)outcome->refused, "right",
        (int)outcome->right, "as_none", (int)outcome->as_none, "tokens", (int)outcome->n_token,
        "agree", (int)outcome->n_agree, "full_bytes", (json_int_t)outcome->full_bytes,
        "realised_bytes", (json_int_t)outcome->realised_bytes, "peak_bytes",
        (json_int_t)outcome->peak_bytes, "kept_text", outcome->kept_text, "kept_vision",
        outcome->kept_vision, "decode_ms", outcome->decode_ms, "decoded", (int)outcome->n_decode);
    pthread_mutex_lock(&state->lock);
    failed = line == NULL || json_dumpf(line, state->file, JSON_COMPACT) != 0 ||
             fputc('\n', state->file) == EOF || fflush(state->file) != 0;
    pthread_mutex_unlock(&state->lock);
    json_decref(line);
    return failed ? sample_fail(err, FOVEA_ERR_IO, "%s: could not be written", state->path)
                  : FOVEA_OK;
}
