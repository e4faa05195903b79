/* cpu.c - CPU features through the compiler's run-time check, cores through the affinity mask. */
#include "sdk/base/cpu.h"

#include <fovea/engine.h>

#include <sched.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#    include <cpuid.h>

/* By hand: clang 14 has no name for it. */
static bool has_f16c(void)
{
    unsigned int a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

static uint32_t find_features(void)
{
    uint32_t features = FOVEA_CPU_REFERENCE;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        features |= FOVEA_CPU_AVX2;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        features |= FOVEA_CPU_AVX512;
        if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni")) {
            features |= FOVEA_CPU_AVX512_BF16;
        }
    }
#endif
#if defined(FVI_EMULATED_AVX512)
    if ((features & FOVEA_CPU_AVX2) != 0) {
        features |= FOVEA_CPU_AVX512 | FOVEA_CPU_AVX512_BF16;
    }
#endif
    return features;
}

/* Conversions of single rows ask, and in a virtual machine cpuid takes microseconds: it is asked once. Threads
 * that come at the same time find the same. */
uint32_t fvi_cpu_features(void)
{
    static _Atomic uint32_t known; /* 0: not yet; the reference is always there */
    uint32_t features = atomic_load_explicit(&known, memory_order_relaxed);
    if (features == 0) {
        features = find_features();
        atomic_store_explicit(&known, features, memory_order_relaxed);
    }
    return features;
}

uint32_t fvi_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}
