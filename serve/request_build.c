/* request_build.c - the build stage: from a received body to a submitted generation.
 *
 * Runs on the build lane, since decoding a picture takes milliseconds. Whatever fails here ends the call
 * with a status; nothing of the request is left in the engine then. */
#include "serve/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Pixels decoded for one request, and for all that are held (3 bytes each). */
#define MAX_REQUEST_PIXELS ((uint64_t)64 << 20)
#define MAX_HELD_PIXELS    ((uint64_t)192 << 20)

static bool is_cancelled(fvi_request *r, fvi_rpc_error *err)
{
    pthread_mutex_lock(&r->lock);
    bool cancelled = r->cancelled;
    const char *text = r->cancel_text;
    pthread_mutex_unlock(&r->lock);
    return cancelled && !fvi_rpc_fail(err, GRPC_STATUS_CANCELLED, "%s", text);
}

/* Unpacks and checks; gives the request its name. */
static bool read_request(fvi_request *r, const fvi_image_limits *limits, fvi_wire_message *wire,
                         uint32_t *n_image, fvi_rpc_error *err)
{
    grpc_byte_buffer *message = r->message;
    r->message = NULL;
    if (!fvi_wire_unpack(message, &fovea__v1__generate_request__descriptor, limits->max_images,
                         wire, err)) {
        return false;
    }
    const Fovea__V1__GenerateRequest *request = (const void *)wire->message;
    if (request->loyalty && r->mode == FVI_PLAN) {
        return fvi_rpc_fail(err, GRPC_STATUS_INVALID_ARGUMENT,
                            "loyalty: compares tokens, of which Plan makes none");
    }
    if (!fvi_convert_check(request, limits, n_image, err) ||
        !fvi_convert_note(request, *n_image, &r->note, err)) {
        return false;
    }
    if (r->note.id[0] == '\0') {
        snprintf(r->note.id, sizeof r->note.id, "fovead-%" PRIu64,
                 atomic_fetch_add(&r->call->server->n_id, 1) + 1);
    }
    return fvi_request_list(r) || fvi_rpc_fail(err, GRPC_STATUS_ALREADY_EXISTS,
                                               "request_id: \"%s\" is under way", r->note.id);
}

/* Books decoded pixels until the request ends. */
static bool book_pixels(fvi_request *r, fovea_image *const *images, uint32_t n_image,
                        fvi_rpc_error *err)
{
    for (uint32_t i = 0; i < n_image; i++) {
        r->n_pixel += (uint64_t)fovea_image_width(images[i]) * fovea_image_height(images[i]);
    }
    uint64_t before = atomic_fetch_add(&r->call->server->pixels_held, r->n_pixel);
    return before + r->n_pixel <= MAX_HELD_PIXELS ||
           fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED,
                        "the pictures of all requests under way are over the server's limit");
}

static bool make_session(fvi_request *r, const Fovea__V1__GenerateRequest *request,
                         fovea_image *const *images, uint32_t n_image, fvi_rpc_error *err)
{
    fovea_engine *engine = atomic_load(&r->call->server->engine);
    fovea_session_options options = {.size = sizeof options, .recipe = r->note.recipe};
    fovea_error cause = {0};
    fovea_status status = fovea_session_new(engine, &options, &r->session, &cause);
    if (status < 0) {
        return fvi_rpc_fail_from(err, NULL, status, &cause);
    }
    return fvi_convert_prompt(request, images, n_image, r->session, err);
}

/* What a refused submission is about. */
static const char *field_of(const Fovea__V1__GenerateRequest *request, fovea_status status)
{
    switch (status) {
    case FOVEA_ERR_BUDGET: return "recipe";
    case FOVEA_ERR_ARG:
    case FOVEA_ERR_FORMAT:
    case FOVEA_ERR_LIMIT: return request->has_raw_prompt_case != 0 ? "raw_prompt" : "messages";
    default: return NULL;
    }
}

static bool submit(fvi_request *r, const Fovea__V1__GenerateRequest *request,
                   fovea_generate_options *options, fvi_rpc_error *err)
{
    fovea_error cause = {0};
    fovea_generation *generation = NULL;
    int64_t left_ms = fvi_call_left_ms(r->call);
    if (left_ms <= 0) {
        return fvi_rpc_fail(err, GRPC_STATUS_DEADLINE_EXCEEDED,
                            "the deadline passed before the request was submitted");
    }
    options->deadline_ms = left_ms == INT64_MAX ? 0 : (uint64_t)left_ms;
    options->plan_only = r->mode == FVI_PLAN;
    options->loyalty = r->note.loyalty;
    r->answer.keep_tokens =
        r->mode == FVI_STREAM || request->return_tokens || options->n_logprobs > 0;
    fovea_status status = fovea_session_generate(r->session, options, &generation, &cause);
    if (status < 0) {
        return fvi_rpc_fail_from(err, field_of(request, status), status, &cause);
    }
    fovea_generation_notify(generation, fvi_request_wake, r);
    pthread_mutex_lock(&r->lock);
    r->generation = generation;
    r->submitted = true;
    if (r->cancelled) {
        fovea_generation_cancel(generation);
    }
    pthread_mutex_unlock(&r->lock);
    return true;
}

static bool build(fvi_request *r, fvi_wire_message *wire, fvi_rpc_error *err)
{
    const fvi_serve_options *server = &r->call->server->options;
    fvi_image_limits limits = {.max_images = server->max_images,
                               .max_pixels = MAX_REQUEST_PIXELS,
                               .max_bytes = server->max_message_bytes};
    uint32_t n_image = 0;
    if (is_cancelled(r, err) || !read_request(r, &limits, wire, &n_image, err)) {
        return false;
    }
    const Fovea__V1__GenerateRequest *request = (const void *)wire->message;
    const char *stop[FVI_MAX_STOP];
    fovea_generate_options options;
    fovea_image **images = calloc(n_image + 1, sizeof(*images));
    int64_t begin = fvi_serve_now_us();
    bool good =
        images != NULL || fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    good = good && fvi_convert_sampling(request->sampling, stop, &options, err) &&
           fvi_convert_images(wire, &limits, images, err);
    r->note.decode_image_ms = n_image > 0 ? (double)(fvi_serve_now_us() - begin) / 1000 : 0;
    good = good && book_pixels(r, images, n_image, err) && !is_cancelled(r, err) &&
           make_session(r, request, images, n_image, err) && submit(r, request, &options, err);
    for (uint32_t i = 0; images != NULL && i < n_image; i++) {
        fovea_image_free(&images[i]);
    }
    free(images);
    return good;
}

void fvi_request_build(void *request)
{
    fvi_request *r = request;
    fvi_call *call = r->call;
    fvi_wire_message wire = {0};
    fvi_rpc_error err = {.code = GRPC_STATUS_INTERNAL, .text = "the request was not built"};
    if (build(r, &wire, &err)) {
        fvi_request_wake(r); /* what came before `submitted` woke in vain */
    } else {
        r->failure = err;
        fvi_request_push(&call->server->close, &r->close, call);
    }
    fvi_wire_free(&wire);
    fvi_call_unref(call);
}
