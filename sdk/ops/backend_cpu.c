/* backend_cpu.c - opens the CPU backend: pool, scratch, and the table of operations, filled with the C
 * reference first and overridden by what the CPU can do.
 *
 * Called by sdk/engine, tests and samples through backend.h. */
#include "sdk/ops/cpu_impl.h"

#include "sdk/base/cpu.h"

#include <fovea/engine.h>

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

fovea_status fvi_backend_cpu_open(const fovea_alloc *alloc, uint32_t n_thread, uint32_t features,
                                  fvi_backend **out, fovea_error *err)
{
    uint32_t usable = fvi_cpu_features();
    *out = NULL;
    alloc = fvi_alloc_or_default(alloc);
    fvi_backend *backend = fvi_calloc(alloc, 1, sizeof *backend);
    if (backend == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the CPU backend");
    }
    backend->alloc = alloc;
    backend->features = (features == 0 ? usable : usable & features) | FOVEA_CPU_REFERENCE;
    backend->impl = fvi_calloc(alloc, 1, sizeof(fvi_cpu_impl));
    if (backend->impl == NULL ||
        fvi_pool_new(alloc, n_thread == 0 ? fvi_cpu_count() : n_thread, &backend->pool) < 0) {
        fvi_backend_close(&backend);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the CPU backend's threads");
    }
    backend->name = "cpu (reference)";
    fvi_ref_fill(&backend->ops);
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
        fvi_free(backend->alloc, impl->scratch);
        fvi_free(backend->alloc, impl);
    }
    fvi_free(backend->alloc, backend);
    *out = NULL;
}
