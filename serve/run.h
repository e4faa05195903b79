/* run.h - fovead from its options to its exit code. Threads: called once, by main. */
#ifndef FOVEA_SERVE_RUN_H
#define FOVEA_SERVE_RUN_H

#include "serve/options.h"

/* Serves until SIGTERM or SIGINT; the process's exit code. */
int fvi_serve_run(const fvi_serve_options *options);

#endif
