/* health.h - grpc.health.v1: Check and Watch for "", fovea.v1.Inference and fovea.v1.Control.
 *
 * Threads: any. */
#ifndef FOVEA_SERVE_HEALTH_H
#define FOVEA_SERVE_HEALTH_H

#include "serve/call.h"

#define FVI_HEALTH_MAX_WATCHERS 64

typedef struct fvi_watcher {
    fvi_call *call; /* holds a reference */
    bool known_service;
} fvi_watcher;

typedef struct fvi_health {
    pthread_mutex_t lock; /* guards what follows */
    bool serving;
    fvi_watcher watchers[FVI_HEALTH_MAX_WATCHERS]; /* [n_watcher] */
    uint32_t n_watcher;
} fvi_health;

extern const fvi_method fvi_health_check, fvi_health_watch;

void fvi_health_init(fvi_health *health); /* not serving */
/* Tells all watchers when it changes. */
void fvi_health_set(fvi_health *health, bool serving);
/* Ends all watches with UNAVAILABLE. */
void fvi_health_end(fvi_health *health);
void fvi_health_deinit(fvi_health *health);

#endif
