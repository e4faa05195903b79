/* accept.c - poll, accept4, hand the connection to the core. Plaintext only, as all of fovead so far. */
#include "serve/accept.h"

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESERVED_FDS 32 /* for the model's files, eventfds, logs */
#define RETRY_MS     50

static void take_connections(fvi_acceptor *self)
{
    for (;;) {
        int fd = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                fvi_serve_log_write(self->log, FOVEA_LOG_WARN, "accept: %s; waiting",
                                    strerror(errno));
                struct pollfd stop = {.fd = self->wake, .events = POLLIN};
                poll(&stop, 1, RETRY_MS);
            }
            return;
        }
        if (fd >= self->max_fd) {
            fvi_serve_log_write(self->log, FOVEA_LOG_WARN,
                                "a connection is refused: descriptors run out");
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        grpc_server_add_channel_from_fd(self->server, fd, self->credentials);
    }
}

static void *accept_thread(void *arg)
{
    fvi_acceptor *self = arg;
    for (;;) {
        struct pollfd fds[2] = {{.fd = self->listener, .events = POLLIN},
                                {.fd = self->wake, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            continue; /* a signal */
        }
        if (fds[1].revents != 0) {
            return NULL;
        }
        take_connections(self);
    }
}

bool fvi_acceptor_start(fvi_acceptor *acceptor, int listener, grpc_server *server,
                        const fvi_serve_log *log)
{
    struct rlimit limit;
    *acceptor = (fvi_acceptor){.listener = listener, .server = server, .log = log};
    acceptor->max_fd = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT32_MAX
                           ? (int)limit.rlim_cur - RESERVED_FDS
                           : INT32_MAX;
    acceptor->wake = eventfd(0, EFD_CLOEXEC);
    acceptor->credentials = grpc_insecure_server_credentials_create();
    acceptor->running = acceptor->wake >= 0 &&
                        pthread_create(&acceptor->thread, NULL, accept_thread, acceptor) == 0;
    if (!acceptor->running) {
        fvi_acceptor_stop(acceptor);
        return false;
    }
    return true;
}

void fvi_acceptor_stop(fvi_acceptor *acceptor)
{
    if (acceptor->running) {
        uint64_t one = 1;
        while (write(acceptor->wake, &one, sizeof one) < 0 && errno == EINTR) {
        }
        pthread_join(acceptor->thread, NULL);
        acceptor->running = false;
    }
    if (acceptor->credentials != NULL) {
        grpc_server_credentials_release(acceptor->credentials);
        acceptor->credentials = NULL;
        close(acceptor->listener);
        if (acceptor->wake >= 0) {
            close(acceptor->wake);
        }
    }
}
