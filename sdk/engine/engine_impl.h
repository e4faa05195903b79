/* engine_impl.h - what an engine holds. Internal to engine.c and session*.c. */
#ifndef FOVEA_ENGINE_ENGINE_IMPL_H
#define FOVEA_ENGINE_ENGINE_IMPL_H

#include "sdk/engine/scheduler.h"

struct fovea_engine {
    fovea_alloc alloc; /* a copy, so the caller's struct may go */
    fvi_log log;
    fvi_backend *backend;
    fvi_model *model;
    fvi_kv_pool *pool;
    fvi_scheduler *scheduler;
    uint32_t max_images;
};

#endif
