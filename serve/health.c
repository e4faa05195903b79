/* health.c - the standard health service; answers on the poller, since nothing in it waits. */
#include "serve/health.h"
#include "serve/server.h"
#include "serve/unpack.h"

#include <grpc/health/v1/health.pb-c.h>

#include <string.h>

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

typedef Grpc__Health__V1__HealthCheckResponse response;

static grpc_byte_buffer *pack_status(const fvi_health *health, bool known_service)
{
    response reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    reply.status = !known_service    ? STATUS(SERVICE_UNKNOWN)
                   : health->serving ? STATUS(SERVING)
                                     : STATUS(NOT_SERVING);
    return fvi_wire_pack(&reply.base);
}

/* Reads which service is asked for; on failure the call has its answer. */
static bool read_request(fvi_call *call, grpc_byte_buffer *message, bool *known_service)
{
    fvi_wire_message wire;
    fvi_rpc_error err;
    if (!fvi_wire_unpack(message, &grpc__health__v1__health_check_request__descriptor, 0, &wire,
                         &err)) {
        fvi_call_fail(call, &err);
        return false;
    }
    const char *service = ((Grpc__Health__V1__HealthCheckRequest *)wire.message)->service;
    *known_service = strcmp(service, "") == 0 || strcmp(service, "fovea.v1.Inference") == 0 ||
                     strcmp(service, "fovea.v1.Control") == 0;
    fvi_wire_free(&wire);
    return true;
}

static void check_message(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_health *health = &call->server->health;
    bool known;
    if (!read_request(call, message, &known)) {
        return;
    }
    if (!known) {
        fvi_call_finish(call, GRPC_STATUS_NOT_FOUND, "service: not served here");
        return;
    }
    response reply = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    pthread_mutex_lock(&health->lock);
    reply.status = health->serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
    pthread_mutex_unlock(&health->lock);
    fvi_call_reply(call, &reply.base);
}

static void watch_message(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_health *health = &call->server->health;
    bool known;
    if (!read_request(call, message, &known)) {
        return;
    }
    pthread_mutex_lock(&health->lock);
    /* A call that is over got its on_close already: it must not be listed any more. */
    bool listed = health->n_watcher < FVI_HEALTH_MAX_WATCHERS && !atomic_load(&call->dead);
    if (listed) {
        fvi_call_ref(call);
        health->watchers[health->n_watcher++] = (fvi_watcher){call, known};
        fvi_call_send(call, pack_status(health, known));
    }
    pthread_mutex_unlock(&health->lock);
    if (!listed) {
        fvi_call_finish(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many watchers");
    }
}

static void watch_close(fvi_call *call, bool cancelled)
{
    (void)cancelled;
    fvi_health *health = &call->server->health;
    bool found = false;
    pthread_mutex_lock(&health->lock);
    for (uint32_t i = 0; i < health->n_watcher && !found; i++) {
        if (health->watchers[i].call == call) {
            health->watchers[i] = health->watchers[--health->n_watcher];
            found = true;
        }
    }
    pthread_mutex_unlock(&health->lock);
    if (found) {
        fvi_call_unref(call);
    }
}

const fvi_method fvi_health_check = {
    .path = "/grpc.health.v1.Health/Check", .n_posted = 4, .on_message = check_message};
const fvi_method fvi_health_watch = {.path = "/grpc.health.v1.Health/Watch",
                                     .n_posted = 4,
                                     .on_message = watch_message,
                                     .on_close = watch_close};

void fvi_health_init(fvi_health *health)
{
    *health = (fvi_health){0};
    pthread_mutex_init(&health->lock, NULL);
}

void fvi_health_set(fvi_health *health, bool serving)
{
    pthread_mutex_lock(&health->lock);
    bool changed = health->serving != serving;
    health->serving = serving;
    for (uint32_t i = 0; changed && i < health->n_watcher; i++) {
        const fvi_watcher *watcher = &health->watchers[i];
        if (watcher->known_service) {
            fvi_call_send(watcher->call, pack_status(health, true));
        }
    }
    pthread_mutex_unlock(&health->lock);
}

void fvi_health_end(fvi_health *health)
{
    fvi_watcher ended[FVI_HEALTH_MAX_WATCHERS];
    pthread_mutex_lock(&health->lock);
    uint32_t n = health->n_watcher;
    memcpy(ended, health->watchers, n * sizeof *ended);
    health->n_watcher = 0;
    pthread_mutex_unlock(&health->lock);
    for (uint32_t i = 0; i < n; i++) {
        fvi_call_finish(ended[i].call, GRPC_STATUS_UNAVAILABLE, "the server is shutting down");
        fvi_call_unref(ended[i].call);
    }
}

void fvi_health_deinit(fvi_health *health)
{
    pthread_mutex_destroy(&health->lock);
}
