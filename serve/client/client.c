/* client.c - one connection, one call at a time, on a completion queue of its own.
 *
 * A call is three batches that run side by side: the request going out, messages coming in one after
 * the other, and the status at the end. */
#include "serve/client/client.h"
#include "serve/client/client_convert.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPLY_BYTES (64 << 20)

struct fovea_client {
    grpc_channel *channel;
    grpc_completion_queue *queue;
};

/* What is done with each message of a call; a failure cancels it. */
typedef fovea_status (*message_fn)(void *user, size_t n_bytes, const uint8_t *bytes,
                                   fovea_error *err);

typedef struct rpc {
    fovea_client *client;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    grpc_byte_buffer *received;
} rpc;

static fovea_status fail(fovea_error *err, fovea_status code, const char *text)
{
    if (err != NULL) {
        err->code = code;
        snprintf(err->text, sizeof err->text, "%s", text);
    }
    return code;
}

/* The first library code with this gRPC status; those without one are errors of the transport. */
static fovea_status code_of(grpc_status_code status)
{
    switch ((int)status) {
    case GRPC_STATUS_INVALID_ARGUMENT: return FOVEA_ERR_ARG;
    case GRPC_STATUS_FAILED_PRECONDITION: return FOVEA_ERR_STATE;
    case GRPC_STATUS_UNIMPLEMENTED: return FOVEA_ERR_UNSUPPORTED;
    case GRPC_STATUS_NOT_FOUND: return FOVEA_ERR_NOT_FOUND;
    case GRPC_STATUS_RESOURCE_EXHAUSTED: return FOVEA_ERR_FULL;
    case GRPC_STATUS_CANCELLED: return FOVEA_ERR_CANCELLED;
    case GRPC_STATUS_DEADLINE_EXCEEDED: return FOVEA_ERR_DEADLINE;
    case GRPC_STATUS_UNAVAILABLE: return FOVEA_ERR_CLOSED;
    case GRPC_STATUS_INTERNAL: return FOVEA_ERR_INTERNAL;
    default: return FOVEA_ERR_IO;
    }
}

void fovea_client_close(fovea_client **self)
{
    fovea_client *client = *self;
    if (client == NULL) {
        return;
    }
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->queue);
    while (
        grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
        GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(client->queue);
    grpc_shutdown();
    free(client);
    *self = NULL;
}

static bool wait_ready(fovea_client *client, gpr_timespec until)
{
    for (;;) {
        grpc_connectivity_state state = grpc_channel_check_connectivity_state(client->channel, 1);
        if (state == GRPC_CHANNEL_READY) {
            return true;
        }
        if (gpr_time_cmp(gpr_now(until.clock_type), until) >= 0) {
            return false;
        }
        grpc_channel_watch_connectivity_state(client->channel, state, until, client->queue, NULL);
        grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    }
}

fovea_status fovea_client_open(const char *target, uint32_t timeout_ms, fovea_client **out,
                               fovea_error *err)
{
    fovea_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return fail(err, FOVEA_ERR_NOMEM, "out of memory");
    }
    grpc_init();
    char receive[] = GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH;
    char proxy[] = GRPC_ARG_ENABLE_HTTP_PROXY;
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER, .key = receive, .value.integer = MAX_REPLY_BYTES},
        {.type = GRPC_ARG_INTEGER, .key = proxy, .value.integer = 0},
    };
    grpc_channel_args list = {.num_args = sizeof args / sizeof *args, .args = args};
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    client->channel = grpc_channel_create(target, plain, &list);
    grpc_channel_credentials_release(plain);
    client->queue = grpc_completion_queue_create_for_next(NULL);
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    if (!wait_ready(client, until)) {
        char text[160];
        snprintf(text, sizeof text, "%.100s: no server answers there", target);
        fovea_client_close(&client);
        return fail(err, FOVEA_ERR_CLOSED, text);
    }
    *out = client;
    return FOVEA_OK;
}

/* ---- one call ---- */

static bool start(rpc *call, const grpc_op *ops, size_t n_op, void *tag)
{
    return grpc_call_start_batch(call->call, ops, n_op, tag, NULL) == GRPC_CALL_OK;
}

static bool start_send(rpc *call, const ProtobufCMessage *request)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(request));
    protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    ops[1].data.send_message.send_message = buffer;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    bool good = start(call, ops, 4, &call->initial);
    grpc_byte_buffer_destroy(buffer);
    return good;
}

static bool start_receive(rpc *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &call->received;
    return start(call, &op, 1, &call->received);
}

static bool start_status(rpc *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op.data.recv_status_on_client.trailing_metadata = &call->trailing;
    op.data.recv_status_on_client.status = &call->status;
    op.data.recv_status_on_client.status_details = &call->details;
    return start(call, &op, 1, &call->status);
}

static fovea_status read_message(rpc *call, message_fn fn, void *user, fovea_error *err)
{
    grpc_byte_buffer_reader reader;
    fovea_status status = FOVEA_ERR_FORMAT;
    if (grpc_byte_buffer_reader_init(&reader, call->received)) {
        grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
        status = fn(user, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice), err);
        grpc_slice_unref(slice);
        grpc_byte_buffer_reader_destroy(&reader);
    } else {
        fail(err, status, "the server's message cannot be read");
    }
    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
    return status;
}

/* Runs until all batches are through, whatever happens: their memory is on the caller's stack. */
static fovea_status pump(rpc *call, int n_outstanding, message_fn fn, void *user, fovea_error *err)
{
    fovea_status status = FOVEA_OK;
    while (n_outstanding > 0) {
        grpc_event event = grpc_completion_queue_next(call->client->queue,
                                                      gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        n_outstanding--;
        if (event.tag != &call->received || call->received == NULL) {
            continue;
        }
        fovea_status read = read_message(call, fn, user, err);
        if (read < 0 && status == FOVEA_OK) {
            status = read;
            grpc_call_cancel(call->call, NULL);
        }
        if (start_receive(call)) {
            n_outstanding++;
        }
    }
    return status;
}

static fovea_status call_method(fovea_client *client, const char *path, gpr_timespec deadline,
                                const ProtobufCMessage *request, message_fn fn, void *user,
                                fovea_error *err)
{
    rpc call = {.client = client, .details = grpc_empty_slice()};
    grpc_metadata_array_init(&call.initial);
    grpc_metadata_array_init(&call.trailing);
    call.call =
        grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
                                 grpc_slice_from_static_string(path), NULL, deadline, NULL);
    int n_started = start_status(&call);
    n_started += start_send(&call, request);
    n_started += start_receive(&call);
    if (n_started < 3) {
        grpc_call_cancel(call.call, NULL);
    }
    fovea_status status = pump(&call, n_started, fn, user, err);
    if (status == FOVEA_OK && call.status != GRPC_STATUS_OK) {
        char *text = grpc_slice_to_c_string(call.details);
        status = fail(err, code_of(call.status), text);
        gpr_free(text);
    }
    grpc_slice_unref(call.details);
    grpc_metadata_array_destroy(&call.initial);
    grpc_metadata_array_destroy(&call.trailing);
    grpc_call_unref(call.call);
    return status;
}

/* ---- methods ---- */

static fovea_status damaged(fovea_error *err)
{
    return fail(err, FOVEA_ERR_FORMAT, "the server's message is damaged");
}

static fovea_status on_model(void *user, size_t n_bytes, const uint8_t *bytes, fovea_error *err)
{
    Fovea__V1__GetModelResponse *model =
        fovea__v1__get_model_response__unpack(NULL, n_bytes, bytes);
    if (model == NULL) {
        return damaged(err);
    }
    fvi_client_read_model(model, user);
    fovea__v1__get_model_response__free_unpacked(model, NULL);
    return FOVEA_OK;
}

fovea_status fovea_client_model(fovea_client *client, fovea_model_info *out, fovea_error *err)
{
    Fovea__V1__GetModelRequest request = FOVEA__V1__GET_MODEL_REQUEST__INIT;
    return call_method(client, "/fovea.v1.Control/GetModel", gpr_inf_future(GPR_CLOCK_MONOTONIC),
                       &request.base, on_model, out, err);
}

typedef struct stream {
    fovea_client_token_fn on_token;
    void *user;
    fovea_client_result *out;
} stream;

static fovea_status read_token(stream *self, const Fovea__V1__Token *in, fovea_error *err)
{
    fovea_logprob top[32];
    fovea_token token = {.id = in->id,
                         .logprob = in->logprob,
                         .text = in->text,
                         .n_bytes = strlen(in->text),
                         .top = top};
    for (size_t i = 0; i < in->n_top && i < sizeof top / sizeof *top; i++) {
        top[i] = (fovea_logprob){.token = in->top[i]->token_id, .logprob = in->top[i]->logprob};
        token.n_top++;
    }
    if (self->on_token != NULL && self->on_token(self->user, &token) != 0) {
        return fail(err, FOVEA_ERR_CANCELLED, "cancelled");
    }
    return FOVEA_OK;
}

static fovea_status on_event(void *user, size_t n_bytes, const uint8_t *bytes, fovea_error *err)
{
    stream *self = user;
    fovea_status status = FOVEA_OK;
    Fovea__V1__GenerateStreamResponse *event =
        fovea__v1__generate_stream_response__unpack(NULL, n_bytes, bytes);
    if (event == NULL) {
        return damaged(err);
    }
    switch (event->event_case) {
    case FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_PROMPT:
        fvi_client_read_prompt(event->prompt, self->out);
        break;
    case FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_DELTA:
        for (size_t i = 0; i < event->delta->n_tokens && status == FOVEA_OK; i++) {
            status = read_token(self, event->delta->tokens[i], err);
        }
        break;
    case FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_COMPLETION:
        status = fvi_client_read_completion(event->completion, self->out, err);
        break;
    default: break; /* an event of a later revision */
    }
    fovea__v1__generate_stream_response__free_unpacked(event, NULL);
    return status;
}

static fovea_status on_plan(void *user, size_t n_bytes, const uint8_t *bytes, fovea_error *err)
{
    stream *self = user;
    Fovea__V1__PlanResponse *plan = fovea__v1__plan_response__unpack(NULL, n_bytes, bytes);
    bool whole = plan != NULL && plan->prompt != NULL && plan->completion != NULL;
    if (whole) {
        fvi_client_read_prompt(plan->prompt, self->out);
    }
    fovea_status status =
        whole ? fvi_client_read_completion(plan->completion, self->out, err) : damaged(err);
    fovea__v1__plan_response__free_unpacked(plan, NULL);
    return status;
}

fovea_status fovea_client_generate(fovea_client *client, const fovea_client_request *request,
                                   fovea_client_token_fn on_token, void *user,
                                   fovea_client_result *out, fovea_error *err)
{
    fvi_client_message message;
    fovea_client_result result = {0};
    stream self = {.on_token = on_token, .user = user, .out = &result};
    const fovea_generate_options *options = request->generate;
    bool plan = options != NULL && options->plan_only != 0;
    if (options != NULL && options->force != NULL) {
        return fail(err, FOVEA_ERR_UNSUPPORTED, "force: not on the wire");
    }
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (options != NULL && options->deadline_ms > 0) {
        gpr_timespec left = gpr_time_from_millis((int64_t)options->deadline_ms, GPR_TIMESPAN);
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), left);
    }
    fovea_status status = fvi_client_message_make(request, &message, err);
    if (status < 0) {
        return status;
    }
    status = call_method(client,
                         plan ? "/fovea.v1.Inference/Plan" : "/fovea.v1.Inference/GenerateStream",
                         deadline, &message.request.base, plan ? on_plan : on_event, &self, err);
    fvi_client_message_free(&message);
    if (status < 0) {
        fovea_client_result_free(&result);
        return status;
    }
    *out = result;
    return FOVEA_OK;
}

void fovea_client_result_free(fovea_client_result *result)
{
    free(result->prompt_tokens);
    *result = (fovea_client_result){0};
}
