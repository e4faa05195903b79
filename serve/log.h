/* log.h - fovead's log: one line per event on stderr, "2026-01-31T12:00:00.000Z info text".
 *
 * Threads: any. */
#ifndef FOVEA_SERVE_LOG_H
#define FOVEA_SERVE_LOG_H

#include <fovea/status.h>

typedef struct fvi_serve_log {
    fovea_log_level level; /* lines above it are dropped */
} fvi_serve_log;

void fvi_serve_log_write(const fvi_serve_log *log, fovea_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A fovea_log_fn; user is a fvi_serve_log. */
void fvi_serve_log_line(void *user, fovea_log_level level, const char *line);

#endif
