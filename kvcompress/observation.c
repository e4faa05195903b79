/* observation.c - the statistics of a turn that scorers and budgets read, and the window they are of.
 *
 * Called by the engine, which fills them during prefill, and by plan.c. */
#include "kvcompress/policy.h"

static void *take(fvi_kv_obs *obs, size_t n, size_t size, bool *ok)
{
    void *memory = fvi_calloc(obs->alloc, n, size);
    *ok = *ok && memory != NULL;
    obs->n_bytes += n * size;
    return memory;
}

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
    size_t n_plane = (size_t)obs->n_list * n_token;
    bool ok = true;
    for (uint32_t i = 0; i < FVI_N_PLANE; i++) {
        if ((needs >> i & 1) != 0) {
            obs->plane[i] = take(obs, n_plane, sizeof(float), &ok);
        }
    }
    if ((needs & FVI_NEED_DENSITY) != 0) {
        obs->density = take(obs, obs->n_layer, sizeof *obs->density, &ok);
    }
    obs->modality = take(obs, n_token, 1, &ok);
    if (!ok) {
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
    for (uint32_t i = 0; i < FVI_N_PLANE; i++) {
        fvi_free(self->alloc, self->plane[i]);
    }
    fvi_free(self->alloc, self->modality);
    fvi_free(self->alloc, self->density);
    fvi_free(self->alloc, self);
}

fvi_kv_obs fvi_kv_obs_layer(const fvi_kv_obs *obs, const fvi_kv_geom *geom, uint32_t layer)
{
    fvi_kv_obs one = *obs;
    size_t first = (size_t)fvi_kv_geom_first_list(geom, layer) * obs->n_token;
    one.n_layer = 1;
    one.n_list = geom->layers[layer].n_kv_head;
    for (uint32_t i = 0; i < FVI_N_PLANE; i++) {
        one.plane[i] = obs->plane[i] != NULL ? obs->plane[i] + first : NULL;
    }
    one.density = obs->density != NULL ? obs->density + layer : NULL;
    return one;
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

void fvi_kv_obs_set_spans(fvi_kv_obs *obs, const fvi_kv_span *spans, uint32_t n_span)
{
    obs->window_first = fvi_kv_window_first(spans, n_span, obs->n_token);
    for (uint32_t i = 0, first = 0; i < n_span; i++) {
        memset(obs->modality + first, spans[i].modality, spans[i].n);
        first += spans[i].n;
    }
}
