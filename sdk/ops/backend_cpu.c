/* backend_cpu.c - opens the CPU backend: pool, scratch, and the table of operations, filled with the C
 * reference first and overridden by what the CPU can do.
 *
 * Called by sdk/engine, tests and samples through backend.h. */
#include "sdk/ops/cpu_impl.h"

#include "sdk/base/cpu.h"
#include "sdk/ops/attn_decode.h"
#include "sdk/ops/linear_onednn.h"

#include <fovea/engine.h>

#include <stdio.h>

void *fvi_cpu_scratch(fvi_backend *backend, size_t n_bytes)
{
    fvi_cpu_impl *impl = backend->impl;
    if (n_bytes > impl->scratch_bytes) {
        size_t rounded = fvi_round_up(n_bytes, 4096);
        void *memory = fvi_alloc(backend->alloc, rounded);
        if (memory == NULL) {
            return NULL;
        }
        fvi_free(backend->alloc, impl->scratch);
        impl->scratch = memory;
        impl->scratch_bytes = rounded;
    }
    return impl->scratch;
}

size_t fvi_backend_scratch_bytes(const fvi_backend *backend)
{
    const fvi_cpu_impl *impl = backend->impl;
    return impl->scratch_bytes;
}

void fvi_ref_fill(fvi_ops *ops)
{
    *ops = (fvi_ops){
        .linear = fvi_ref_linear,
        .rms_norm = fvi_ref_rms_norm,
        .layer_norm = fvi_ref_layer_norm,
        .act = fvi_ref_act,
        .rope = fvi_ref_rope,
        .attn_decode = fvi_ref_attn_decode,
        .attn_prefill = fvi_ref_attn_prefill,
        .observe = fvi_ref_observe,
        .attn_full = fvi_ref_attn_full,
    };
}

/* What may be used of what was asked for: bf16 products need the rest of AVX-512, which needs no AVX2. */
static uint32_t usable_features(uint32_t asked)
{
    uint32_t usable = fvi_cpu_features() | (FVI_HAVE_ONEDNN ? FOVEA_CPU_ONEDNN : 0);
    if (asked != 0) {
        usable &= asked;
    }
    if ((usable & FOVEA_CPU_AVX512) == 0 || !FVI_HAVE_AVX512) {
        usable &= ~(uint32_t)(FOVEA_CPU_AVX512 | FOVEA_CPU_AVX512_BF16);
    }
    if (!FVI_HAVE_AVX2) {
        usable &= ~(uint32_t)FOVEA_CPU_AVX2;
    }
    return usable | FOVEA_CPU_REFERENCE;
}

static void set_name(fvi_backend *backend)
{
    fvi_cpu_impl *impl = backend->impl;
    uint32_t features = backend->features;
    snprintf(impl->name, sizeof impl->name, "cpu (%s%s%s)",
             (features & FOVEA_CPU_AVX512) != 0 ? "avx512"
             : (features & FOVEA_CPU_AVX2) != 0 ? "avx2"
                                                : "reference",
             (features & FOVEA_CPU_AVX512_BF16) != 0 ? ", bf16" : "",
             (features & FOVEA_CPU_ONEDNN) != 0 ? ", onednn" : "");
    backend->name = impl->name;
}

static fovea_status open_parts(fvi_backend *backend, uint32_t n_thread)
{
    fvi_cpu_impl *impl = fvi_calloc(backend->alloc, 1, sizeof *impl);
    if (impl == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    backend->impl = impl;
    n_thread = n_thread == 0 ? fvi_cpu_count() : n_thread;
    FVI_TRY(fvi_pool_new(backend->alloc, n_thread, &backend->pool));
#if FVI_HAVE_ONEDNN
    if ((backend->features & FOVEA_CPU_ONEDNN) != 0) {
        FVI_TRY(fvi_onednn_open(backend->alloc, n_thread, &impl->onednn));
    }
#endif
    return FOVEA_OK;
}

fovea_status fvi_backend_cpu_open(const fovea_alloc *alloc, uint32_t n_thread, uint32_t features,
                                  fvi_backend **out, fovea_error *err)
{
    *out = NULL;
    alloc = fvi_alloc_or_default(alloc);
    fvi_backend *backend = fvi_calloc(alloc, 1, sizeof *backend);
    if (backend == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the CPU backend");
    }
    backend->alloc = alloc;
    backend->features = usable_features(features);
    fovea_status status = open_parts(backend, n_thread);
    if (status < 0) {
        fvi_backend_close(&backend);
        return FVI_FAIL(err, status, "the CPU backend's threads or library could not be set up");
    }
    set_name(backend);
    fvi_ref_fill(&backend->ops);
    backend->ops.linear = fvi_cpu_linear;
    backend->ops.attn_decode = fvi_cpu_attn_decode;
#if FVI_HAVE_AVX2
    if ((backend->features & FOVEA_CPU_AVX2) != 0) {
        fvi_avx2_fill_rows(&backend->ops);
        fvi_cpu_fill_blocks(backend, &fvi_avx2_block);
    }
#endif
#if FVI_HAVE_AVX512
    if ((backend->features & FOVEA_CPU_AVX512) != 0) {
        fvi_avx512_fill_rows(&backend->ops);
        fvi_cpu_fill_blocks(backend, &fvi_avx512_block);
    }
#endif
    *out = backend;
    return FOVEA_OK;
}

void fvi_backend_close(fvi_backend **out)
{
    fvi_backend *backend = *out;
    if (backend == NULL) {
        return;
    }
    fvi_pool_free(&backend->pool);
    fvi_cpu_impl *impl = backend->impl;
    if (impl != NULL) {
#if FVI_HAVE_ONEDNN
        fvi_onednn_close(&impl->onednn);
#endif
        fvi_free(backend->alloc, impl->scratch);
        fvi_free(backend->alloc, impl);
    }
    fvi_free(backend->alloc, backend);
    *out = NULL;
}
