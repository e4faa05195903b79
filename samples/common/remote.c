/* remote.c - a turn run by a fovead: the files travel as they are and the server decodes them. */
#include "samples/common/turn.h"

#include "serve/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS     5000
#define MAX_FILE_BYTES (64u << 20)

typedef struct remote_runner {
    sample_runner base;
    fovea_client *client;
} remote_runner;

typedef struct remote_sink {
    sample_reply *reply;
    sample_text_fn on_text;
    void *user;
    fovea_status status;
} remote_sink;

/* The whole file in one block, which the caller frees. */
static fovea_status read_file(const char *path, void **data, size_t *n_bytes, fovea_error *err)
{
    FILE *file = fopen(path, "rb");
    fovea_status status = FOVEA_OK;
    size_t capacity = 0, n = 0;
    char *grown, *bytes = NULL;

    if (file == NULL) {
        return sample_fail(err, errno == ENOENT ? FOVEA_ERR_NOT_FOUND : FOVEA_ERR_IO, "%s: %s",
                           path, strerror(errno));
    }
    do {
        capacity = capacity == 0 ? 1u << 16 : capacity * 2;
        grown = capacity <= MAX_FILE_BYTES ? realloc(bytes, capacity) : NULL;
        if (grown == NULL) {
            status =
                sample_fail(err, FOVEA_ERR_LIMIT, "%s: more than %u bytes", path, MAX_FILE_BYTES);
            break;
        }
        bytes = grown;
        n += fread(bytes + n, 1, capacity - n, file);
    } while (n == capacity);
    if (status == FOVEA_OK && ferror(file)) {
        status = sample_fail(err, FOVEA_ERR_IO, "%s: %s", path, strerror(errno));
    }
    fclose(file);
    if (status < 0) {
        free(bytes);
        return status;
    }
    *data = bytes;
    *n_bytes = n;
    return FOVEA_OK;
}

static int take_token(void *user, const fovea_token *token)
{
    remote_sink *sink = user;

    sink->status = sample_reply_add_text(sink->reply, token->text, token->n_bytes);
    if (sink->status == FOVEA_OK) {
        sink->status = sample_reply_add_step(sink->reply, token);
    }
    if (sink->on_text != NULL && token->n_bytes > 0) {
        sink->on_text(sink->user, token->text, token->n_bytes);
    }
    return sink->status < 0;
}

static fovea_status ask_server(remote_runner *self, const fovea_client_request *wire,
                               remote_sink *sink, fovea_error *err)
{
    sample_reply *reply = sink->reply;
    fovea_client_result result = {0};
    fovea_status status = fovea_client_generate(self->client, wire, take_token, sink, &result, err);

    if (status < 0) {
        return sink->status < 0 ? sample_fail(err, sink->status, "memory is out") : status;
    }
    reply->usage = result.usage;
    reply->ledger = result.ledger;
    reply->decode_image_ms = result.decode_image_ms;
    reply->n_prompt = result.n_prompt_token;
    reply->prompt = calloc(result.n_prompt_token + 1, sizeof(*reply->prompt));
    if (reply->prompt == NULL) {
        status = sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    } else if (result.n_prompt_token > 0) {
        memcpy(reply->prompt, result.prompt_tokens, result.n_prompt_token * sizeof(*reply->prompt));
    }
    fovea_client_result_free(&result);
    return status;
}

/* Pictures (already in images[n_image]) and text as the parts of one message. */
static void fill_parts(const sample_request *request, const fovea_client_part *images, char *labels,
                       fovea_client_message *message, fovea_client_part *parts)
{
    for (size_t i = 0; i < request->n_image; i++) {
        const char *label = sample_label(request, i, labels + i * SAMPLE_LABEL_BYTES);
        if (label != NULL) {
            parts[message->n_part++].text = label;
        }
        parts[message->n_part++] = images[i];
    }
    parts[message->n_part++].text = request->text;
    message->role = FOVEA_ROLE_USER;
    message->parts = parts;
}

static fovea_status remote_run(sample_runner *base, const sample_request *request,
                               sample_text_fn on_text, void *user, sample_reply *reply,
                               fovea_error *err)
{
    remote_sink sink = {.reply = reply, .on_text = on_text, .user = user};
    fovea_client_request wire = {.recipe = request->recipe, .generate = &request->generate};
    fovea_client_message message = {0};
    fovea_client_part *images = calloc(request->n_image + 1, sizeof(*images));
    fovea_client_part *parts = calloc(2 * request->n_image + 1, sizeof(*parts));
    char *labels = calloc(request->n_image + 1, SAMPLE_LABEL_BYTES);
    void **files = calloc(request->n_image + 1, sizeof(*files));
    fovea_status status = FOVEA_OK;

    memset(reply, 0, sizeof(*reply));
    if (images == NULL || parts == NULL || labels == NULL || files == NULL) {
        status = sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
        goto done;
    }
    for (size_t i = 0; i < request->n_image && status == FOVEA_OK; i++) {
        status = read_file(request->images[i], &files[i], &images[i].n_image_bytes, err);
        images[i].image = files[i];
    }
    if (request->raw) {
        wire.raw_prompt = request->text;
        wire.images = images;
        wire.n_image = (uint32_t)request->n_image;
    } else {
        fill_parts(request, images, labels, &message, parts);
        wire.messages = &message;
        wire.n_message = 1;
    }
    if (status == FOVEA_OK) {
        status = sample_reply_add_text(reply, "", 0);
    }
    if (status == FOVEA_OK) {
        status = ask_server((remote_runner *)base, &wire, &sink, err);
    }
done:
    for (size_t i = 0; files != NULL && i < request->n_image; i++) {
        free(files[i]);
    }
    free(files);
    free(labels);
    free(parts);
    free(images);
    if (status < 0) {
        sample_reply_free(reply);
    }
    return status;
}

static void remote_close(sample_runner *base)
{
    remote_runner *self = (remote_runner *)base;

    fovea_client_close(&self->client);
    free(self);
}

fovea_status sample_remote_open(const char *address, sample_runner **out, fovea_error *err)
{
    remote_runner *self = calloc(1, sizeof(*self));
    double started = sample_now_ms();
    fovea_status status;

    *out = NULL;
    if (self == NULL) {
        return sample_fail(err, FOVEA_ERR_NOMEM, "memory is out");
    }
    status = fovea_client_open(address, CONNECT_MS, &self->client, err);
    if (status < 0) {
        free(self);
        return status;
    }
    self->base.run = remote_run;
    self->base.close = remote_close;
    self->base.load_ms = sample_now_ms() - started;
    *out = &self->base;
    return FOVEA_OK;
}
