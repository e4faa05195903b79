/* server.c - starting and draining, in the order that the C core asks for.
 *
 * The core's debug assertions abort when a batch is started on a queue that was shut down, so the queue
 * lives until the server's shutdown was seen and no call object is left. */
#include "serve/server.h"
#include "serve/request.h"

#include <grpc/support/log.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define N_BUILD_THREAD 2
#define N_CLOSE_THREAD 4 /* each waits for the engine's step, which then serves all of them */
#define MIN_QUOTA      ((uint64_t)256 << 20)

static const fvi_method *const methods[] = {
    &fvi_inference_generate,  &fvi_inference_stream, &fvi_inference_plan,
    &fvi_control_server_info, &fvi_control_model,    &fvi_control_stats,
    &fvi_control_abort,       &fvi_health_check,     &fvi_health_watch,
};
#define N_METHOD (sizeof methods / sizeof *methods)

int64_t fvi_serve_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void fvi_server_call_made(fvi_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->n_call++;
    pthread_mutex_unlock(&server->lock);
}

void fvi_server_call_gone(fvi_server *server)
{
    pthread_mutex_lock(&server->lock);
    if (--server->n_call == 0) {
        pthread_cond_broadcast(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
}

void fvi_server_shutdown_seen(fvi_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->shutdown_seen = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static grpc_arg int_arg(const char *key, int value)
{
    union {
        const char *in;
        char *out; /* the core's struct is not const, its use is */
    } name = {.in = key};
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = name.out, .value.integer = value};
}

static grpc_server *make_grpc_server(const fvi_serve_options *options)
{
    int max_message = (int)options->max_message_bytes;
    /* The limit on a message is checked when it was received whole: only the quota stops a flood. */
    uint64_t quota_bytes = 8 * options->max_message_bytes;
    grpc_resource_quota *quota = grpc_resource_quota_create("fovead");
    grpc_resource_quota_resize(quota, quota_bytes > MIN_QUOTA ? quota_bytes : MIN_QUOTA);
    grpc_arg quota_arg = int_arg(GRPC_ARG_RESOURCE_QUOTA, 0);
    quota_arg.type = GRPC_ARG_POINTER;
    quota_arg.value.pointer.p = quota;
    quota_arg.value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_arg args[] = {
        quota_arg,
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, max_message),
        int_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
        int_arg(GRPC_ARG_MAX_METADATA_SIZE, 16384),
        int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256),
        /* A small gzip body inflates to hundreds of megabytes before any check: refused. */
        int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, 60000),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
        int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000),
    };
    grpc_channel_args list = {.num_args = sizeof args / sizeof *args, .args = args};
    grpc_server *server = grpc_server_create(&list, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void post_methods(fvi_server *server, void *const *handles)
{
    for (size_t i = 0; i < N_METHOD; i++) {
        for (uint32_t k = 0; k < methods[i]->n_posted; k++) {
            fvi_call_post(server, methods[i], handles[i]);
        }
    }
    fvi_call_post(server, NULL, NULL);
}

static bool start_lanes(fvi_server *server)
{
    if (!fvi_lane_start(&server->build, N_BUILD_THREAD)) {
        return false;
    }
    if (!fvi_lane_start(&server->pump, 1)) {
        fvi_lane_stop(&server->build);
        return false;
    }
    if (!fvi_lane_start(&server->close, N_CLOSE_THREAD)) {
        fvi_lane_stop(&server->pump);
        fvi_lane_stop(&server->build);
        return false;
    }
    return true;
}

static void init_locks(fvi_server *server)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&server->requests_lock, NULL);
    fvi_health_init(&server->health);
}

static void free_server(fvi_server *server)
{
    fvi_health_deinit(&server->health);
    pthread_mutex_destroy(&server->requests_lock);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static fovea_status fail_start(fovea_error *err, const char *what)
{
    if (err != NULL) {
        err->code = FOVEA_ERR_NOMEM;
        snprintf(err->text, sizeof err->text, "%s cannot be started", what);
    }
    return FOVEA_ERR_NOMEM;
}

/* Ends what start_core began, when no call can have come in yet or all are gone. */
static void stop_core(fvi_server *server, bool poller)
{
    grpc_completion_queue_shutdown(server->queue);
    if (poller) {
        pthread_join(server->poller, NULL);
    } else {
        fvi_call_poller(server->queue);
    }
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_destroy(server->queue);
    grpc_shutdown();
}

/* The core's own lines (errors, unless GRPC_VERBOSITY asks for more) in the form of ours. */
static void on_core_log(gpr_log_func_args *args)
{
    const fvi_serve_log log = {.level = FOVEA_LOG_DEBUG};
    fovea_log_level level =
        args->severity == GPR_LOG_SEVERITY_ERROR ? FOVEA_LOG_WARN : FOVEA_LOG_DEBUG;
    fvi_serve_log_write(&log, level, "grpc: %s", args->message);
}

static void begin_shutdown(fvi_server *server)
{
    server->tag_shutdown = (fvi_tag){.server = server};
    fvi_tag_release(&server->tag_shutdown);
    grpc_server_shutdown_and_notify(server->grpc, server->queue, &server->tag_shutdown);
}

static fovea_status start_core(fvi_server *server, int listener, fovea_error *err)
{
    void *handles[N_METHOD];
    gpr_set_log_function(on_core_log);
    grpc_init();
    server->grpc = make_grpc_server(&server->options);
    server->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
    for (size_t i = 0; i < N_METHOD; i++) {
        handles[i] = grpc_server_register_method(server->grpc, methods[i]->path, NULL,
                                                 GRPC_SRM_PAYLOAD_NONE, 0);
    }
    grpc_server_start(server->grpc);
    bool poller = pthread_create(&server->poller, NULL, fvi_call_poller, server->queue) == 0;
    if (poller) {
        post_methods(server, handles);
        if (fvi_acceptor_start(&server->acceptor, listener, server->grpc, &server->log)) {
            return FOVEA_OK;
        }
    }
    begin_shutdown(server); /* no connection yet: only posted requests come back */
    stop_core(server, poller);
    return fail_start(err, "a thread of the server");
}

fovea_status fvi_server_start(const fvi_serve_options *options, fvi_server **out, fovea_error *err)
{
    fvi_address address;
    int listener;
    fovea_status status = fvi_address_parse(options->listen, &address, err);
    if (status == FOVEA_OK) {
        status = fvi_address_listen(&address, &listener, err);
    }
    if (status != FOVEA_OK) {
        return status;
    }
    fvi_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return fail_start(err, "the server");
    }
    server->options = *options;
    server->log.level = options->log_level;
    server->address = address;
    server->start_us = fvi_serve_now_us();
    init_locks(server);
    if (!start_lanes(server)) {
        free_server(server);
        return fail_start(err, "a thread of the server");
    }
    status = start_core(server, listener, err);
    if (status != FOVEA_OK) {
        fvi_lane_stop(&server->build);
        fvi_lane_stop(&server->pump);
        fvi_lane_stop(&server->close);
        free_server(server);
        return status;
    }
    *out = server;
    return FOVEA_OK;
}

void fvi_server_serve(fvi_server *server, fovea_engine *engine)
{
    atomic_store(&server->engine, engine);
    fvi_health_set(&server->health, true);
}

/* ---- drain ---- */

/* Waits until no call object is left, at most until the monotonic time `until_us`. */
static bool wait_for_calls(fvi_server *server, int64_t until_us)
{
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    int wait = 0;
    pthread_mutex_lock(&server->lock);
    while (server->n_call > 0 && wait != ETIMEDOUT) {
        wait = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    }
    bool all_gone = server->n_call == 0;
    pthread_mutex_unlock(&server->lock);
    return all_gone;
}

/* The shutdown may be seen while the poller still holds a new call that it has not looked at. */
static void wait_for_end(fvi_server *server)
{
    pthread_mutex_lock(&server->lock);
    while (server->n_call > 0 || !server->shutdown_seen) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

void fvi_server_drain(fvi_server **self)
{
    fvi_server *server = *self;
    int64_t begin = fvi_serve_now_us();
    fvi_acceptor_stop(&server->acceptor);
    fvi_health_set(&server->health, false);
    atomic_store(&server->draining, true);
    begin_shutdown(server);
    fvi_health_end(&server->health);
    bool finished = wait_for_calls(server, begin + (int64_t)server->options.drain_ms * 1000);
    if (!finished) {
        fvi_serve_log_write(&server->log, FOVEA_LOG_WARN,
                            "the drain limit is over: what still runs is cancelled");
        fvi_request_cancel_all(server);
    }
    /* Idle clients may keep their connection for seconds, mute ones for ever. */
    grpc_server_cancel_all_calls(server->grpc);
    wait_for_end(server);
    fvi_lane_stop(&server->build);
    fvi_lane_stop(&server->pump);
    fvi_lane_stop(&server->close);
    stop_core(server, true);
    fvi_serve_log_write(&server->log, FOVEA_LOG_INFO, "drained in %lld ms%s",
                        (long long)(fvi_serve_now_us() - begin) / 1000,
                        finished ? "" : ", some requests were cancelled");
    free_server(server);
    *self = NULL;
}
