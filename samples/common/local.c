/* local.c - a turn run by an engine in this process. */
#include "samples/common/turn.h"

#include <stdlib.h>
#include <string.h>

typedef struct local_runner {
    sample_runner base;
    fovea_engine *engine;
} local_runner;

static fovea_status add_prompt(fovea_session *session, const sample_request *request,
                               fovea_image *const *images, fovea_error *err)
{
    if (request->raw) {
        return fovea_session_add_raw(session, request->text, strlen(request->text), images,
                                     (uint32_t)request->n_image, err);
    }
    return sample_add_question(session, request, images, err);
}

/* Pulls the whole answer. */
static fovea_status collect(fovea_generation *generation, sample_text_fn on_text, void *user,
                            sample_reply *reply, fovea_error *err)
{
    fovea_status status = sample_reply_add_text(reply, "", 0);

    while (status == FOVEA_OK) {
        fovea_token token;
        status = fovea_generation_next(generation, -1, &token, err);
        if (status != FOVEA_OK) {
            break;
        }
        status = sample_reply_add_text(reply, token.text, token.n_bytes);
        if (status == FOVEA_OK) {
            status = sample_reply_add_step(reply, &token);
        }
        if (status < 0) {
            return sample_fail(err, status, "memory is out");
        }
        if (on_text != NULL && token.n_bytes > 0) {
            on_text(user, token.text, token.n_bytes);
        }
    }
    if (status != FOVEA_DONE) {
        return status;
    }
    reply->usage.size = sizeof(reply->usage);
    reply->ledger.size = sizeof(reply->ledger);
    status = fovea_generation_usage(generation, &reply->usage);
    return status < 0 ? status : fovea_generation_ledger(generation, &reply->ledger);
}

/* The ids of the prompt and the rows of the ledger, once the turn is over. */
static fovea_status read_session(fovea_session *session, sample_reply *reply, fovea_error *err)
{
    const int32_t *ids = NULL;
    size_t n_id = 0;
    fovea_status status = fovea_session_tokens(session, &ids, &n_id);

    if (status < 0) {
        return status;
    }
    reply->n_prompt = (size_t)reply->usage.text_tokens + reply->usage.vision_tokens;
    reply->n_prompt = reply->n_prompt < n_id ? reply->n_prompt : n_id;
    reply->n_row = reply->ledger.n_layer * reply->ledger.n_kv_head;
    reply->prompt = calloc(reply->n_prompt + 1, sizeof(*reply->prompt));
    reply->rows = calloc((size_t)reply->n_row + 1, sizeof(*reply->rows));
    if (reply->prompt == NULL || reply->rows == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    memcpy(reply->prompt, ids, reply->n_prompt * sizeof(*ids));
    return fovea_session_ledger_rows(session, reply->rows, &reply->n_row);
}

/* What became of each token of the prompt in every list, and where the pictures lie. */
static fovea_status read_kept(fovea_session *session, sample_reply *reply, fovea_error *err)
{
    const fovea_image_span *spans = NULL;
    size_t n_id = 0;
    const int32_t *ids = NULL;
    uint8_t *kinds = NULL;
    fovea_status status = fovea_session_images(session, &spans, &reply->n_span);

    if (status == FOVEA_OK) {
        status = fovea_session_tokens(session, &ids, &n_id);
    }
    if (status < 0) {
        return status;
    }
    kinds = calloc(n_id + 1, 1);
    reply->kinds = calloc((size_t)reply->n_row * reply->n_prompt + 1, 1);
    reply->spans = calloc((size_t)reply->n_span + 1, sizeof(*spans));
    if (kinds == NULL || reply->kinds == NULL || reply->spans == NULL) {
        free(kinds);
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    for (uint32_t i = 0; i < reply->n_span; i++) {
        reply->spans[i] = spans[i];
    }
    for (uint32_t i = 0; i < reply->n_row && status == FOVEA_OK; i++) {
        uint32_t n_token = (uint32_t)n_id;
        status = fovea_session_kept(session, reply->rows[i].layer, reply->rows[i].kv_head, kinds,
                                    &n_token);
        memcpy(reply->kinds + i * reply->n_prompt, kinds, reply->n_prompt);
    }
    free(kinds);
    return status;
}

static fovea_status local_run(sample_runner *base, const sample_request *request,
                              sample_text_fn on_text, void *user, sample_reply *reply,
                              fovea_error *err)
{
    local_runner *self = (local_runner *)base;
    fovea_session_options options = {.size = sizeof(options), .recipe = request->recipe};
    fovea_image **images = calloc(request->n_image + 1, sizeof(*images));
    fovea_session *session = NULL;
    fovea_generation *generation = NULL;
    double started = sample_now_ms();
    fovea_status status = FOVEA_ERR_NOMEM;

    memset(reply, 0, sizeof(*reply));
    if (images == NULL) {
        return sample_fail(err, status, "memory is out");
    }
    status = sample_images_open(request->images, request->n_image, images, err);
    reply->decode_image_ms = sample_now_ms() - started;
    if (status == FOVEA_OK) {
        status = fovea_session_new(self->engine, &options, &session, err);
    }
    if (status == FOVEA_OK) {
        status = add_prompt(session, request, images, err);
    }
    if (status == FOVEA_OK) {
        status = fovea_session_generate(session, &request->generate, &generation, err);
    }
    if (status == FOVEA_OK) {
        status = collect(generation, on_text, user, reply, err);
    }
    fovea_generation_free(&generation);
    if (status == FOVEA_OK) {
        status = read_session(session, reply, err);
    }
    if (status == FOVEA_OK && request->kept) {
        status = read_kept(session, reply, err);
    }
    fovea_session_free(&session);
    sample_images_free(images, request->n_image);
    free(images);
    if (status < 0) {
        sample_reply_free(reply);
    }
    return status;
}

static void local_close(sample_runner *base)
{
    local_runner *self = (local_runner *)base;

    fovea_engine_close(&self->engine);
    free(self);
}

fovea_status sample_local_open(const fovea_engine_options *options, sample_runner **out,
                               fovea_error *err)
{
    local_runner *self = calloc(1, sizeof(*self));
    double started = sample_now_ms();
    fovea_status status;

    *out = NULL;
    if (self == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    status = fovea_engine_open(options, &self->engine, err);
    if (status < 0) {
        free(self);
        return status;
    }
    self->base.run = local_run;
    self->base.close = local_close;
    self->base.load_ms = sample_now_ms() - started;
    *out = &self->base;
    return FOVEA_OK;
}
