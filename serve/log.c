/* log.c - a line is put together first and written with one call, so that threads do not mix. */
#include "serve/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void fvi_serve_log_line(void *user, fovea_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const fvi_serve_log *log = user;
    if (level > log->level) {
        return;
    }
    struct timespec now;
    struct tm utc;
    char text[20];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(stderr, "%s.%03dZ %s %s\n", text, (int)(now.tv_nsec / 1000000), names[level], line);
}

void fvi_serve_log_write(const fvi_serve_log *log, fovea_log_level level, const char *fmt, ...)
{
    if (level > log->level) {
        return;
    }
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n >= 0) {
        fvi_serve_log line_log = *log;
        fvi_serve_log_line(&line_log, level, line);
    }
}
