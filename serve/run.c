/* run.c - signals, server, model, drain.
 *
 * The server answers before the model is there: health says NOT_SERVING and Inference UNAVAILABLE. A
 * signal while the model is being loaded stops the loading. */
#include "serve/run.h"
#include "serve/server.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>

typedef struct loading {
    const fvi_serve_log *log;
    const sigset_t *signals;
    uint64_t shown_tenth; /* of the whole */
    bool stopped;
} loading;

static bool signal_waits(const sigset_t *signals)
{
    struct timespec now = {0};
    return sigtimedwait(signals, NULL, &now) > 0;
}

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    loading *self = user;
    uint64_t tenth = total > 0 ? (uint64_t)(10.0 * (double)done / (double)total) : 0;
    if (tenth > self->shown_tenth) {
        self->shown_tenth = tenth;
        fvi_serve_log_write(self->log, FOVEA_LOG_INFO, "loading: %" PRIu64 "%%, %" PRIu64 " MiB",
                            tenth * 10, done >> 20);
    }
    self->stopped = self->stopped || signal_waits(self->signals);
    return self->stopped;
}

static fovea_status open_engine(const fvi_serve_options *options, loading *load, fvi_serve_log *log,
                                fovea_engine **out, fovea_error *err)
{
    fovea_engine_options engine = {.size = sizeof engine,
                                   .precision = options->precision,
                                   .model = options->model,
                                   .n_thread = options->n_thread,
                                   .max_queue = options->max_queue,
                                   .kv_bytes = options->kv_bytes,
                                   .max_images = options->max_images,
                                   .log = fvi_serve_log_line,
                                   .log_user = log,
                                   .progress = on_progress,
                                   .progress_user = load};
    return fovea_engine_open(&engine, out, err);
}

/* Serves until a signal. False: the model could not be loaded. */
static bool serve(fvi_server *server, const sigset_t *signals, fovea_engine **engine)
{
    loading load = {.log = &server->log, .signals = signals};
    fovea_error err = {0};
    int64_t begin = fvi_serve_now_us();
    fvi_serve_log_write(&server->log, FOVEA_LOG_INFO, "loading %s", server->options.model);
    fovea_status status = open_engine(&server->options, &load, &server->log, engine, &err);
    if (load.stopped) {
        return true;
    }
    if (status < 0) {
        fvi_serve_log_write(&server->log, FOVEA_LOG_ERROR, "--model %s: %s", server->options.model,
                            err.text[0] != '\0' ? err.text : fovea_status_text(status));
        return false;
    }
    fvi_serve_log_write(&server->log, FOVEA_LOG_INFO, "loaded in %lld ms",
                        (long long)(fvi_serve_now_us() - begin) / 1000);
    fvi_server_serve(server, *engine);
    printf("listening on %s:%u\n", server->address.host, server->address.port);
    fflush(stdout);
    int signal_number = 0;
    sigwait(signals, &signal_number);
    fvi_serve_log_write(&server->log, FOVEA_LOG_INFO, "%s: draining",
                        signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    return true;
}

int fvi_serve_run(const fvi_serve_options *options)
{
    sigset_t signals;
    fvi_server *server = NULL;
    fovea_engine *engine = NULL;
    fovea_error err = {0};
    /* Before any thread is started: all inherit the mask, so that only sigwait sees them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (fvi_server_start(options, &server, &err) < 0) {
        fprintf(stderr, "fovead: --listen %s\n", err.text);
        return err.code == FOVEA_ERR_UNSUPPORTED || err.code == FOVEA_ERR_ARG ? 2 : 1;
    }
    bool good = serve(server, &signals, &engine);
    fvi_server_drain(&server);
    fovea_engine_close(&engine);
    return good ? 0 : 1;
}
