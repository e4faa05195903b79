/* options.h - fovead's command line. Threads: plain data. */
#ifndef FOVEA_SERVE_OPTIONS_H
#define FOVEA_SERVE_OPTIONS_H

#include <fovea/fovea.h>

#include <stdbool.h>
#include <stdio.h>

typedef struct fvi_serve_options {
    const char *listen;
    const char *model;
    uint64_t kv_bytes;
    fovea_precision precision;
    uint32_t n_thread; /* of the engine; 0: cores of the process */
    uint64_t max_message_bytes;
    uint32_t max_images; /* per request */
    uint32_t max_queue;  /* requests that may wait */
    uint32_t drain_ms;
    fovea_log_level log_level;
    bool help, version;
} fvi_serve_options;

/* Defaults, then argv. A text that names the flag stands in *err. */
fovea_status fvi_serve_options_parse(int argc, char **argv, fvi_serve_options *out,
                                     fovea_error *err);
void fvi_serve_options_help(FILE *stream);

/* "65536", "64KiB", "512MiB", "2GiB"; false on anything else and past 2^63. */
bool fvi_serve_parse_bytes(const char *text, uint64_t *out);

#endif
