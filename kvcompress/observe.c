/* observe.c - the statistics of a turn that scorers and budgets read, and the window they are of.
 *
 * Called by the engine, which fills them during prefill, and by plan.c. */
#include "kvcompress/policy.h"

fovea_status fvi_kv_obs_new(const fovea_alloc *alloc, const fvi_kv_geom *geom, uint32_t n_token,
                            uint32_t needs, fvi_kv_obs **out)
{
    *out = NULL;
    fvi_kv_obs *obs = fvi_calloc(alloc, 1, sizeof *obs);
    if (obs == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    *obs = (fvi_kv_obs){.alloc = alloc,
                        .refs = 1,
                        .needs = needs,
                        .n_layer = geom->n_layer,
                        .n_list = fvi_kv_geom_n_list(geom),
                        .n_token = n_token,
                        .n_bytes = sizeof *obs};
    if ((needs & FVI_NEED_WINDOW_MASS) != 0) {
        size_t n = (size_t)obs->n_list * n_token;
        obs->mass = fvi_calloc(alloc, n, sizeof *obs->mass);
        obs->n_bytes += n * sizeof *obs->mass;
    }
    if ((needs & FVI_NEED_DENSITY) != 0) {
        obs->density = fvi_calloc(alloc, obs->n_layer, sizeof *obs->density);
        obs->n_bytes += obs->n_layer * sizeof *obs->density;
    }
    if (((needs & FVI_NEED_WINDOW_MASS) != 0 && obs->mass == NULL) ||
        ((needs & FVI_NEED_DENSITY) != 0 && obs->density == NULL)) {
        fvi_kv_obs_unref(&obs);
        return FOVEA_ERR_NOMEM;
    }
    *out = obs;
    return FOVEA_OK;
}

void fvi_kv_obs_ref(fvi_kv_obs *obs)
{
    obs->refs++;
}

void fvi_kv_obs_unref(fvi_kv_obs **obs)
{
    fvi_kv_obs *self = *obs;
    *obs = NULL;
    if (self == NULL || --self->refs > 0) {
        return;
    }
    fvi_free(self->alloc, self->mass);
    fvi_free(self->alloc, self->density);
    fvi_free(self->alloc, self);
}

uint32_t fvi_kv_window_first(const fvi_kv_span *spans, uint32_t n_span, uint32_t n_token)
{
    uint32_t first = 0, end = 0;
    bool has_vision = false;
    for (uint32_t i = 0; i < n_span; i++) {
        end += spans[i].n;
        if (spans[i].modality == FOVEA_MODALITY_VISION) {
            first = end;
            has_vision = true;
        }
    }
    if (has_vision && first < n_token) {
        return first;
    }
    return n_token > FVI_KV_WINDOW_FALLBACK ? n_token - FVI_KV_WINDOW_FALLBACK : 0;
}
