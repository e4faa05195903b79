/* call.c - the life of a call: new -> close and body -> messages -> status -> last reference.
 *
 * The core calls back only through the completion queue, so a batch may be started under the call's
 * lock. The debug assertions of Debian's build abort on misuse: whatever is started here is started
 * once, and an error of start_batch takes back the reference its tag would have returned. */
#include "serve/call.h"
#include "serve/server.h"
#include "serve/unpack.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#    define FVI_TSAN 1
#elif defined(__has_feature)
#    if __has_feature(thread_sanitizer)
#        define FVI_TSAN 1
#    endif
#endif

#ifdef FVI_TSAN
void __tsan_release(void *address);
void __tsan_acquire(void *address);
#endif

void fvi_tag_release(fvi_tag *tag)
{
#ifdef FVI_TSAN
    __tsan_release(tag);
#else
    (void)tag;
#endif
}

static void tag_acquire(fvi_tag *tag)
{
#ifdef FVI_TSAN
    __tsan_acquire(tag);
#else
    (void)tag;
#endif
}

void fvi_call_ref(fvi_call *call)
{
    atomic_fetch_add_explicit(&call->n_ref, 1, memory_order_relaxed);
}

void fvi_call_unref(fvi_call *call)
{
    if (atomic_fetch_sub(&call->n_ref, 1) != 1) {
        return;
    }
    fvi_server *server = call->server;
    if (call->method != NULL && call->method->on_free != NULL) {
        call->method->on_free(call);
    }
    if (call->call != NULL) {
        grpc_call_unref(call->call);
    }
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->received != NULL) {
        grpc_byte_buffer_destroy(call->received);
    }
    for (uint32_t i = 0; i < call->n_ring; i++) {
        grpc_byte_buffer_destroy(call->ring[(call->ring_head + i) % FVI_CALL_RING]);
    }
    grpc_slice_unref(call->status_text);
    pthread_mutex_destroy(&call->lock);
    free(call);
    fvi_server_call_gone(server);
}

/* ---- sending ---- */

/* Starts a batch whose completion is `tag`; the tag owns a reference. */
static bool start(fvi_call *call, const grpc_op *ops, size_t n_op, fvi_tag *tag,
                  void (*fn)(fvi_call *call, bool ok))
{
    *tag = (fvi_tag){.fn = fn, .call = call};
    fvi_call_ref(call);
    fvi_tag_release(tag);
    if (grpc_call_start_batch(call->call, ops, n_op, tag, NULL) == GRPC_CALL_OK) {
        return true;
    }
    atomic_store(&call->dead, true);
    fvi_call_unref(call); /* never the last: the caller holds one */
    return false;
}

static void on_sent(fvi_call *call, bool ok);

/* Starts the next batch of sends if there is something and none is in flight. Under the lock. */
static void pump(fvi_call *call)
{
    if (call->sending || call->status_sent) {
        return;
    }
    grpc_op ops[3] = {0};
    size_t n_op = 0;
    bool dead = atomic_load(&call->dead);
    grpc_byte_buffer *message = NULL;
    if (call->n_ring > 0 && !dead) {
        message = call->ring[call->ring_head];
        call->ring_head = (call->ring_head + 1) % FVI_CALL_RING;
        call->n_ring--;
    }
    bool last = call->status_set && (call->n_ring == 0 || dead);
    if (message == NULL && !last) {
        return;
    }
    if (!call->metadata_sent) {
        ops[n_op++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->metadata_sent = true;
    }
    if (message != NULL) {
        ops[n_op].op = GRPC_OP_SEND_MESSAGE;
        ops[n_op++].data.send_message.send_message = message;
    }
    if (last) {
        ops[n_op].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n_op].data.send_status_from_server.status = call->status;
        ops[n_op++].data.send_status_from_server.status_details = &call->status_text;
        call->status_sent = true;
    }
    call->sending = start(call, ops, n_op, &call->tag_send, on_sent);
    if (message != NULL) {
        grpc_byte_buffer_destroy(message);
    }
}

static void on_sent(fvi_call *call, bool ok)
{
    pthread_mutex_lock(&call->lock);
    call->sending = false;
    if (!ok) {
        atomic_store(&call->dead, true);
    }
    pump(call);
    bool dead = atomic_load(&call->dead);
    bool tell = call->wants_room && (dead || call->n_ring <= FVI_CALL_RING / 2);
    if (tell) {
        call->wants_room = false;
    }
    pthread_mutex_unlock(&call->lock);
    if (tell && call->method->on_writable != NULL) {
        call->method->on_writable(call);
    }
}

bool fvi_call_send(fvi_call *call, grpc_byte_buffer *message)
{
    pthread_mutex_lock(&call->lock);
    bool takes = !atomic_load(&call->dead) && !call->status_set && call->n_ring < FVI_CALL_RING;
    if (takes) {
        call->ring[(call->ring_head + call->n_ring) % FVI_CALL_RING] = message;
        call->n_ring++;
        pump(call);
    }
    pthread_mutex_unlock(&call->lock);
    if (!takes) {
        grpc_byte_buffer_destroy(message);
    }
    return takes;
}

bool fvi_call_has_room(fvi_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool room = atomic_load(&call->dead) || call->n_ring <= FVI_CALL_RING - FVI_CALL_ROOM;
    call->wants_room = !room;
    pthread_mutex_unlock(&call->lock);
    return room;
}

/* Sets the status, with a last message if there is one, which it takes. */
static void finish(fvi_call *call, grpc_byte_buffer *message, grpc_status_code status,
                   const char *text)
{
    pthread_mutex_lock(&call->lock);
    if (!call->status_set) {
        if (message != NULL && call->n_ring < FVI_CALL_RING) {
            call->ring[(call->ring_head + call->n_ring) % FVI_CALL_RING] = message;
            call->n_ring++;
            message = NULL;
        }
        call->status_set = true;
        call->status = status;
        call->status_text = grpc_slice_from_copied_string(text);
        pump(call);
    }
    pthread_mutex_unlock(&call->lock);
    if (message != NULL) {
        grpc_byte_buffer_destroy(message);
    }
}

void fvi_call_finish(fvi_call *call, grpc_status_code status, const char *text)
{
    finish(call, NULL, status, text);
}

void fvi_call_fail(fvi_call *call, const fvi_rpc_error *err)
{
    finish(call, NULL, err->code, err->text);
}

void fvi_call_reply(fvi_call *call, const ProtobufCMessage *reply)
{
    finish(call, fvi_wire_pack(reply), GRPC_STATUS_OK, "");
}

/* ---- receiving ---- */

static void on_received(fvi_call *call, bool ok)
{
    grpc_byte_buffer *message = call->received;
    call->received = NULL;
    if (ok && message != NULL) {
        call->method->on_message(call, message);
        return;
    }
    if (message != NULL) {
        grpc_byte_buffer_destroy(message);
    }
    /* Not ok: over the size limit, which the core has answered already, or cancelled. */
    if (ok) {
        finish(call, NULL, GRPC_STATUS_INVALID_ARGUMENT, "message: the request is missing");
    } else {
        finish(call, NULL, GRPC_STATUS_CANCELLED, "the request was not received whole");
    }
}

static void on_closed(fvi_call *call, bool ok)
{
    bool cancelled = !ok || call->close_cancelled != 0;
    if (cancelled) {
        atomic_store(&call->dead, true);
    }
    if (call->method->on_close != NULL) {
        call->method->on_close(call, cancelled);
    }
    if (cancelled) {
        /* Lets the pump take down what is queued; the client sees nothing of it. */
        finish(call, NULL, GRPC_STATUS_CANCELLED, "cancelled");
        pthread_mutex_lock(&call->lock);
        pump(call);
        pthread_mutex_unlock(&call->lock);
    }
}

static void on_nothing(fvi_call *call, bool ok)
{
    (void)call;
    (void)ok;
}

/* Without this an unknown method would wait for its deadline. */
static void answer_unknown(fvi_call *call)
{
    char *path = grpc_slice_to_c_string(call->details.method);
    char text[256];
    snprintf(text, sizeof text, "%.200s: no such method", path);
    gpr_free(path);
    call->status_text = grpc_slice_from_copied_string(text);
    grpc_op ops[3] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
                      {.op = GRPC_OP_RECV_CLOSE_ON_SERVER}};
    ops[1].data.send_status_from_server.status = GRPC_STATUS_UNIMPLEMENTED;
    ops[1].data.send_status_from_server.status_details = &call->status_text;
    ops[2].data.recv_close_on_server.cancelled = &call->close_cancelled;
    start(call, ops, 3, &call->tag_close, on_nothing);
}

static void on_new(fvi_call *call, bool ok)
{
    if (!ok || call->call == NULL) {
        return; /* the server is shutting down */
    }
    if (!atomic_load(&call->server->draining)) {
        fvi_call_post(call->server, call->method, call->handle);
    }
    if (call->method == NULL) {
        answer_unknown(call);
        return;
    }
    grpc_op close_op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    close_op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    start(call, &close_op, 1, &call->tag_close, on_closed);
    fvi_rpc_error err;
    if (call->method->admit != NULL && !call->method->admit(call, &err)) {
        fvi_call_fail(call, &err); /* the body is never read */
        return;
    }
    grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE};
    receive.data.recv_message.recv_message = &call->received;
    if (!start(call, &receive, 1, &call->tag_recv, on_received)) {
        fvi_call_finish(call, GRPC_STATUS_INTERNAL, "the request cannot be received");
    }
}

bool fvi_call_post(fvi_server *server, const fvi_method *method, void *handle)
{
    fvi_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        fvi_serve_log_write(&server->log, FOVEA_LOG_ERROR, "out of memory: a call is not awaited");
        return false;
    }
    call->server = server;
    call->method = method;
    call->handle = handle;
    call->status_text = grpc_empty_slice();
    atomic_init(&call->n_ref, 1);
    pthread_mutex_init(&call->lock, NULL);
    grpc_metadata_array_init(&call->metadata);
    grpc_call_details_init(&call->details);
    call->tag_new = (fvi_tag){.fn = on_new, .call = call};
    fvi_server_call_made(server);
    fvi_tag_release(&call->tag_new);
    grpc_call_error error =
        method != NULL
            ? grpc_server_request_registered_call(server->grpc, handle, &call->call,
                                                  &call->deadline, &call->metadata, NULL,
                                                  server->queue, server->queue, &call->tag_new)
            : grpc_server_request_call(server->grpc, &call->call, &call->details, &call->metadata,
                                       server->queue, server->queue, &call->tag_new);
    if (error != GRPC_CALL_OK) {
        fvi_call_unref(call);
        return false;
    }
    return true;
}

int64_t fvi_call_left_ms(const fvi_call *call)
{
    gpr_timespec never = gpr_inf_future(call->deadline.clock_type);
    if (gpr_time_cmp(call->deadline, never) == 0) {
        return INT64_MAX;
    }
    gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    return left.tv_sec * 1000 + left.tv_nsec / 1000000;
}

void *fvi_call_poller(void *queue)
{
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            fvi_tag *tag = event.tag;
            tag_acquire(tag);
            if (tag->call == NULL) {
                fvi_server_shutdown_seen(tag->server);
                continue;
            }
            fvi_call *call = tag->call; /* the tag is part of it */
            tag->fn(call, event.success != 0);
            fvi_call_unref(call);
        }
    }
}
