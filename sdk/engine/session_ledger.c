/* session_ledger.c - looking into a session between turns: ledgers, what was kept, tokens, images. */
#include "sdk/engine/session_impl.h"

static fovea_status check_cached(fovea_session *self)
{
    FVI_TRY(fvi_session_check(self, NULL));
    return self->timeline.seq != NULL ? FOVEA_OK : FOVEA_ERR_STATE;
}

typedef struct ledger_arg {
    const fvi_timeline *timeline;
    fovea_ledger *ledger;
    fovea_ledger_row *rows;
} ledger_arg;

static fovea_status ledger_job(fvi_scheduler *scheduler, void *arg)
{
    ledger_arg *in = arg;
    if (in->ledger != NULL) {
        fvi_timeline_ledger(scheduler, in->timeline, in->ledger);
    } else {
        fvi_kv_seq_ledger_rows(in->timeline->seq, in->rows);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_ledger(fovea_session *self, fovea_ledger *out)
{
    if (out == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    fovea_ledger ledger = {.size = sizeof ledger};
    ledger_arg arg = {.timeline = &self->timeline, .ledger = &ledger};
    FVI_TRY(fvi_scheduler_run(self->engine->scheduler, ledger_job, &arg));
    return fvi_struct_out(out, &ledger, sizeof ledger) ? FOVEA_OK : FOVEA_ERR_ARG;
}

fovea_status fovea_session_ledger_rows(fovea_session *self, fovea_ledger_row *rows, uint32_t *n_row)
{
    if (rows == NULL || n_row == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    uint32_t n_list = fvi_kv_geom_n_list(&self->engine->model->geom);
    if (*n_row < n_list) {
        return FOVEA_ERR_LIMIT;
    }
    ledger_arg arg = {.timeline = &self->timeline, .rows = rows};
    FVI_TRY(fvi_scheduler_run(self->engine->scheduler, ledger_job, &arg));
    *n_row = n_list;
    return FOVEA_OK;
}

typedef struct kept_arg {
    const fvi_kv_seq *seq;
    uint32_t list;
    uint8_t *kinds;
} kept_arg;

static fovea_status kept_job(fvi_scheduler *scheduler, void *arg)
{
    const kept_arg *in = arg;
    (void)scheduler;
    fvi_kv_seq_kept(in->seq, in->list, in->kinds);
    return FOVEA_OK;
}

fovea_status fovea_session_kept(fovea_session *self, uint32_t layer, uint32_t kv_head,
                                uint8_t *kinds, uint32_t *n_token)
{
    if (kinds == NULL || n_token == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    const fvi_kv_geom *geom = &self->engine->model->geom;
    if (layer >= geom->n_layer || kv_head >= geom->layers[layer].n_kv_head) {
        return FOVEA_ERR_ARG;
    }
    uint32_t capacity = *n_token;
    *n_token = fvi_kv_seq_position(self->timeline.seq);
    if (capacity < *n_token) {
        return FOVEA_ERR_LIMIT;
    }
    kept_arg arg = {.seq = self->timeline.seq,
                    .list = fvi_kv_geom_first_list(geom, layer) + kv_head,
                    .kinds = kinds};
    return fvi_scheduler_run(self->engine->scheduler, kept_job, &arg);
}

fovea_status fovea_session_tokens(fovea_session *self, const int32_t **ids, size_t *n_id)
{
    if (self == NULL || ids == NULL || n_id == NULL || atomic_load(&self->timeline.busy)) {
        return FOVEA_ERR_ARG;
    }
    *ids = self->timeline.ids.data;
    *n_id = self->timeline.ids.n;
    return FOVEA_OK;
}

fovea_status fovea_session_images(fovea_session *self, const fovea_image_span **spans,
                                  uint32_t *n_span)
{
    if (self == NULL || spans == NULL || n_span == NULL) {
        return FOVEA_ERR_ARG;
    }
    *spans = self->spans;
    *n_span = self->n_image_total;
    return FOVEA_OK;
}
