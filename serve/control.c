/* control.c - fovea.v1.Control. The gauges of GetStats are taken at the border of a step, so a lane waits
 * for them; the other methods answer on the poller. */
#include "serve/request.h"

#include <fovea/v1/control.pb-c.h>

#include <stdlib.h>
#include <string.h>

#define SCHEMA_REVISION         4
#define MINIMUM_CLIENT_REVISION 1
#define MAX_PRESETS             32

/* Reads a small request; on failure the call has its answer. */
static bool read_small(fvi_call *call, grpc_byte_buffer *message,
                       const ProtobufCMessageDescriptor *type, fvi_wire_message *wire)
{
    fvi_rpc_error err;
    if (fvi_wire_unpack(message, type, 0, wire, &err)) {
        return true;
    }
    fvi_call_fail(call, &err);
    return false;
}

static bool loaded(fvi_call *call, fvi_rpc_error *err)
{
    return atomic_load(&call->server->engine) != NULL ||
           fvi_rpc_fail(err, GRPC_STATUS_UNAVAILABLE, "the model is being loaded");
}

static void server_info(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_wire_message wire;
    const fvi_server *server = call->server;
    if (!read_small(call, message, &fovea__v1__get_server_info_request__descriptor, &wire)) {
        return;
    }
    fvi_wire_free(&wire);
    Fovea__V1__GetServerInfoResponse reply = FOVEA__V1__GET_SERVER_INFO_RESPONSE__INIT;
    char version[24], names[MAX_PRESETS][32], *presets[MAX_PRESETS];
    const char *name;
    for (uint32_t i = 0; i < MAX_PRESETS && (name = fovea_recipe_name("presets", i)) != NULL; i++) {
        snprintf(names[i], sizeof names[i], "%s", name);
        presets[reply.n_recipe_presets++] = names[i];
    }
    snprintf(version, sizeof version, "%s", fovea_version());
    reply.version = version;
    reply.schema_revision = SCHEMA_REVISION;
    reply.minimum_client_revision = MINIMUM_CLIENT_REVISION;
    reply.max_message_bytes = server->options.max_message_bytes;
    reply.max_images = server->options.max_images;
    reply.max_queue = server->options.max_queue;
    reply.recipe_presets = presets;
    reply.uptime_ms = (uint64_t)(fvi_serve_now_us() - server->start_us) / 1000;
    fvi_call_reply(call, &reply.base);
}

static void model(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_wire_message wire;
    fovea_model_info info = {.size = sizeof info};
    if (!read_small(call, message, &fovea__v1__get_model_request__descriptor, &wire)) {
        return;
    }
    fvi_wire_free(&wire);
    fovea_status status = fovea_engine_info(atomic_load(&call->server->engine), &info);
    if (status < 0) {
        fvi_call_finish(call, fvi_rpc_code(status), fovea_status_text(status));
        return;
    }
    Fovea__V1__GetModelResponse reply = FOVEA__V1__GET_MODEL_RESPONSE__INIT;
    reply.name = info.name;
    reply.family = info.family;
    reply.encoder = info.encoder;
    reply.backend = info.backend;
    reply.parameters = info.n_parameter;
    reply.layers = info.n_layer;
    reply.heads = info.n_head;
    reply.kv_heads = info.n_kv_head;
    reply.head_dim = info.head_dim;
    reply.hidden = info.hidden;
    reply.vocab = info.vocab;
    reply.context_tokens = info.context;
    reply.image_width_pixels = info.image_width;
    reply.image_height_pixels = info.image_height;
    reply.tokens_per_image = info.tokens_per_image;
    fvi_call_reply(call, &reply.base);
}

static void reply_stats(fvi_call *call, const fovea_engine_stats *stats)
{
    Fovea__V1__GetStatsResponse reply = FOVEA__V1__GET_STATS_RESPONSE__INIT;
    reply.waiting = stats->n_waiting;
    reply.running = stats->n_running;
    reply.kv_capacity_bytes = stats->kv_capacity_bytes;
    reply.kv_used_bytes = stats->kv_used_bytes;
    reply.kv_peak_bytes = stats->kv_peak_bytes;
    reply.kv_text_bytes = stats->kv_text_bytes;
    reply.kv_vision_bytes = stats->kv_vision_bytes;
    reply.kv_shared_bytes = stats->kv_shared_bytes;
    reply.kv_generated_bytes = stats->kv_generated_bytes;
    reply.submitted_total = stats->n_submitted;
    reply.finished_total = stats->n_finished;
    reply.cancelled_total = stats->n_cancelled;
    reply.expired_total = stats->n_expired;
    reply.failed_total = stats->n_failed;
    reply.refused_total = stats->n_refused;
    reply.prompt_tokens_total = stats->prompt_tokens;
    reply.vision_tokens_total = stats->vision_tokens;
    reply.output_tokens_total = stats->output_tokens;
    reply.steps_total = stats->n_step;
    reply.images_encoded_total = stats->n_image_encoded;
    reply.requests_open = atomic_load(&call->server->n_request);
    fvi_call_reply(call, &reply.base);
}

/* On the close lane, with a reference of its own. */
static void take_stats(void *owner)
{
    fvi_call *call = owner;
    fovea_engine_stats now = {.size = sizeof now};
    fovea_status status = fovea_engine_get_stats(atomic_load(&call->server->engine), &now);
    if (status < 0) {
        fvi_call_finish(call, fvi_rpc_code(status), fovea_status_text(status));
    } else {
        reply_stats(call, &now);
    }
    fvi_call_unref(call);
}

static void stats(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_wire_message wire;
    if (!read_small(call, message, &fovea__v1__get_stats_request__descriptor, &wire)) {
        return;
    }
    fvi_wire_free(&wire);
    fvi_lane_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        fvi_call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *node = (fvi_lane_node){.run = take_stats, .owner = call};
    call->user = node;
    fvi_request_push(&call->server->close, node, call);
}

static void free_node(fvi_call *call)
{
    free(call->user);
}

static void abort_request(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_wire_message wire;
    if (!read_small(call, message, &fovea__v1__abort_request__descriptor, &wire)) {
        return;
    }
    const char *id = ((const Fovea__V1__AbortRequest *)(const void *)wire.message)->request_id;
    if (id[0] == '\0') {
        fvi_call_finish(call, GRPC_STATUS_INVALID_ARGUMENT, "request_id: is missing");
    } else {
        Fovea__V1__AbortResponse reply = FOVEA__V1__ABORT_RESPONSE__INIT;
        reply.state = fvi_request_abort(call->server, id)
                          ? FOVEA__V1__ABORT_RESPONSE__STATE__STATE_ABORTED
                          : FOVEA__V1__ABORT_RESPONSE__STATE__STATE_NOT_RUNNING;
        fvi_call_reply(call, &reply.base);
    }
    fvi_wire_free(&wire);
}

#define CONTROL "/fovea.v1.Control/"

const fvi_method fvi_control_server_info = {
    .path = CONTROL "GetServerInfo", .n_posted = 4, .on_message = server_info};
const fvi_method fvi_control_model = {
    .path = CONTROL "GetModel", .n_posted = 4, .admit = loaded, .on_message = model};
const fvi_method fvi_control_stats = {.path = CONTROL "GetStats",
                                      .n_posted = 4,
                                      .admit = loaded,
                                      .on_message = stats,
                                      .on_free = free_node};
const fvi_method fvi_control_abort = {
    .path = CONTROL "Abort", .n_posted = 4, .on_message = abort_request};
