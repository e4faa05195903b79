/* cpu.h - what this CPU can do. Called by sdk/ops when it fills its table. Threads: any. */
#ifndef FOVEA_BASE_CPU_H
#define FOVEA_BASE_CPU_H

#include "sdk/base/base.h"

/* Bits of fovea_cpu_feature (engine.h) that this CPU and its kernel support (without ONEDNN). */
uint32_t fvi_cpu_features(void);
/* Cores this process may use (affinity), at least 1. */
uint32_t fvi_cpu_count(void);

#endif
