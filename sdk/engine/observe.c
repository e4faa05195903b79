/* observe.c - the attention of a turn's rows: the query window, the last rows, all rows by modality.
 *
 * Only the turn's own tokens are recorded; mass of what came before is measured (it competes) and let go.
 * Called by decoder.c (see observe.h). */
#include "sdk/engine/observe.h"

#include <math.h>

#define NEEDS_WINDOW (FVI_NEED_WINDOW_MASS | FVI_NEED_DENSITY)
#define NEEDS_SINGLY (FVI_NEED_RECENT_SQUARE | FVI_NEED_RECENT_INFO)
#define NEEDS_RECENT (NEEDS_SINGLY | FVI_NEED_RECENT_MASS)
#define NEEDS_EVERY  (FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS | FVI_NEED_DECAYED_MASS)

void *fvi_observer_take(fvi_observer *self, size_t n, size_t size, bool *ok)
{
    void *memory = fvi_calloc(self->model->alloc, n, size);
    *ok = *ok && memory != NULL;
    self->n_bytes += n * size;
    return memory;
}

static uint32_t recent_first(const fvi_kv_obs *obs)
{
    return obs->n_token - FVI_MIN(obs->n_token, FVI_KV_RECENT_ROWS);
}

fovea_status fvi_observer_open(const fvi_model *model, fvi_kv_obs *obs, uint32_t first_position,
                               const float *inverse_frequency, fvi_observer *out)
{
    const fvi_decoder_config *c = &model->config;
    fvi_observer self = {.model = model, .obs = obs, .first_position = first_position};
    uint32_t kept_first = obs->n_token;
    if (fvi_observer_needs(&self, NEEDS_WINDOW)) {
        kept_first = obs->window_first;
    }
    if (fvi_observer_needs(&self, NEEDS_RECENT)) {
        kept_first = FVI_MIN(kept_first, recent_first(obs));
    }
    if (fvi_observer_needs(&self, FVI_NEED_LAST_MASS)) {
        kept_first = FVI_MIN(kept_first, obs->n_token - 1);
    }
    bool ok = true;
    self.n_kept = obs->n_token - kept_first;
    self.mass = fvi_observer_take(&self, c->n_kv_head, sizeof *self.mass, &ok);
    self.n_visible = fvi_observer_take(&self, c->n_kv_head, sizeof *self.n_visible, &ok);
    self.hits = fvi_observer_take(&self, c->n_head, sizeof *self.hits, &ok);
    if (self.n_kept > 0) {
        self.q = fvi_observer_take(&self, (size_t)self.n_kept * c->n_head * c->head_dim,
                                   sizeof *self.q, &ok);
    }
    if (!ok || fvi_observer_open_rows(&self, inverse_frequency) < 0) {
        fvi_observer_close(&self);
        return FOVEA_ERR_NOMEM;
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_observer_close(fvi_observer *self)
{
    if (self->model == NULL) {
        return;
    }
    void *buffers[] = {self->q,      self->hits, self->mass,      self->n_visible,    self->sums,
                       self->k,      self->v,    self->wide,      self->slice,        self->logits,
                       self->centre, self->turn, self->query_sum, self->query_square, self->moment};
    for (size_t i = 0; i < FVI_COUNT(buffers); i++) {
        fvi_free(self->model->alloc, buffers[i]);
    }
    *self = (fvi_observer){.model = NULL};
}

/* Column sums of rows row..row+m-1, whose queries lie at q, into self->mass. */
static fovea_status attend(fvi_observer *self, const fvi_list_view *lists, const float *q,
                           uint32_t row, uint32_t m, uint64_t *hits)
{
    const fvi_decoder_config *c = &self->model->config;
    size_t width = 0;
    for (uint32_t h = 0; h < c->n_kv_head; h++) {
        width = FVI_MAX(width, lists[h].n_token);
    }
    size_t n_sums = width * c->n_kv_head;
    if (n_sums > self->n_sums) {
        bool ok = true;
        fvi_free(self->model->alloc, self->sums);
        self->n_bytes -= self->n_sums * sizeof *self->sums;
        self->n_sums = 0;
        self->sums = fvi_observer_take(self, n_sums, sizeof *self->sums, &ok);
        if (!ok) {
            self->n_bytes -= n_sums * sizeof *self->sums;
            return FOVEA_ERR_NOMEM;
        }
        self->n_sums = n_sums;
    }
    memset(self->sums, 0, n_sums * sizeof *self->sums);
    for (uint32_t h = 0; h < c->n_kv_head; h++) {
        self->mass[h] = self->sums + h * width;
        /* a row sees everything before the turn, the turn's rows before it, and itself */
        self->n_visible[h] = lists[h].n_token - self->obs->n_token + row + 1;
    }
    fvi_observe_args args = {.q = q,
                             .lists = lists,
                             .n_visible = self->n_visible,
                             .mass = self->mass,
                             .hits = hits,
                             .n_row = m,
                             .n_head = c->n_head,
                             .n_kv_head = c->n_kv_head,
                             .dk = c->head_dim,
                             .dv = c->head_dim,
                             .scale = 1.0f / sqrtf((float)c->head_dim),
                             .threshold = FVI_KV_DENSITY_THRESHOLD};
    return self->model->backend->ops.observe(self->model->backend, &args);
}

/* What `attend` found for the turn's tokens: [n_token] of a KV head. */
static const float *own_mass(const fvi_observer *self, const fvi_list_view *lists, uint32_t head)
{
    return self->mass[head] + (lists[head].n_token - self->obs->n_token);
}

static void add_mass(fvi_observer *self, fvi_kv_plane plane, uint32_t layer,
                     const fvi_list_view *lists, float factor)
{
    if (self->obs->plane[plane] == NULL) {
        return;
    }
    for (uint32_t h = 0; h < self->model->config.n_kv_head; h++) {
        float *to = fvi_observer_plane(self, plane, layer, h);
        const float *mass = own_mass(self, lists, h);
        for (uint32_t t = 0; t < self->obs->n_token; t++) {
            to[t] += mass[t] * factor;
        }
    }
}

static void keep_rows(fvi_observer *self, const float *q, uint32_t row, uint32_t m)
{
    size_t width = (size_t)self->model->config.n_head * self->model->config.head_dim;
    uint32_t kept_first = self->obs->n_token - self->n_kept;
    uint32_t first = FVI_MAX(row, kept_first);
    if (first < row + m) {
        memcpy(self->q + (first - kept_first) * width, q + (first - row) * width,
               (row + m - first) * width * sizeof *q);
    }
}

/* Groups of rows are counted from the end of the turn. */
static uint32_t decay_group(const fvi_kv_obs *obs, uint32_t row)
{
    return (obs->n_token - 1 - row) / FVI_KV_DECAY_ROWS;
}

/* What the turn's rows pay to tokens from before it, for methods that evict while decoding. */
static void add_earlier(fvi_observer *self, uint32_t layer, const fvi_list_view *lists)
{
    const fvi_decoder_config *c = &self->model->config;
    for (uint32_t h = 0; self->seq != NULL && h < c->n_kv_head; h++) {
        float *to = fvi_kv_seq_mass(self->seq, layer * c->n_kv_head + h);
        for (uint32_t t = 0; to != NULL && t < lists[h].n_token - self->obs->n_token; t++) {
            to[t] += self->mass[h][t] * (float)(c->n_head / c->n_kv_head);
        }
    }
}

/* Planes over all rows: stretches of one modality, and of one group where groups count. */
static fovea_status observe_every(fvi_observer *self, uint32_t layer, const fvi_list_view *lists,
                                  const float *q, uint32_t row, uint32_t m)
{
    const fvi_kv_obs *obs = self->obs;
    size_t width = (size_t)self->model->config.n_head * self->model->config.head_dim;
    bool by_group = obs->plane[FVI_PLANE_DECAYED_MASS] != NULL;
    for (uint32_t first = row; first < row + m;) {
        uint32_t end = first + 1, group = decay_group(obs, first);
        while (end < row + m && obs->modality[end] == obs->modality[first] &&
               (!by_group || decay_group(obs, end) == group)) {
            end++;
        }
        FVI_TRY(attend(self, lists, q + (first - row) * width, first, end - first, NULL));
        add_mass(self,
                 obs->modality[first] == FOVEA_MODALITY_VISION ? FVI_PLANE_VISION_MASS
                                                               : FVI_PLANE_TEXT_MASS,
                 layer, lists, 1);
        add_earlier(self, layer, lists);
        add_mass(self, FVI_PLANE_DECAYED_MASS, layer, lists, powf(FVI_KV_DECAY, (float)group));
        first = end;
    }
    return FOVEA_OK;
}

fovea_status fvi_observer_rows(fvi_observer *self, uint32_t layer, const fvi_list_view *lists,
                               const float *q, const float *cosine, const float *sine, uint32_t row,
                               uint32_t m)
{
    keep_rows(self, q, row, m);
    if (fvi_observer_needs(self, FVI_NEED_EXPECTED_MASS)) {
        fvi_observer_add_queries(self, q, cosine, sine, row, m);
    }
    return fvi_observer_needs(self, NEEDS_EVERY) ? observe_every(self, layer, lists, q, row, m)
                                                 : FOVEA_OK;
}

/* The kept query rows from `row` of the turn on. */
static const float *kept_rows(const fvi_observer *self, uint32_t row)
{
    size_t width = (size_t)self->model->config.n_head * self->model->config.head_dim;
    return self->q + (row - (self->obs->n_token - self->n_kept)) * width;
}

static fovea_status observe_window(fvi_observer *self, uint32_t layer, const fvi_list_view *lists)
{
    const fvi_decoder_config *c = &self->model->config;
    uint32_t first = self->obs->window_first, n_row = self->obs->n_token - first;
    memset(self->hits, 0, c->n_head * sizeof *self->hits);
    FVI_TRY(attend(self, lists, kept_rows(self, first), first, n_row,
                   self->obs->density != NULL ? self->hits : NULL));
    add_mass(self, FVI_PLANE_WINDOW_MASS, layer, lists, 1);
    double density = 0;
    for (uint32_t head = 0; head < c->n_head; head++) {
        /* causal entries of the window: n_visible for its first row, one more for each further one */
        double causal = (double)n_row * self->n_visible[head / (c->n_head / c->n_kv_head)] +
                        (double)n_row * (n_row - 1) / 2;
        density += (double)self->hits[head] / causal / c->n_head;
    }
    if (self->obs->density != NULL) {
        self->obs->density[layer] = density;
    }
    return FOVEA_OK;
}

/* One row's squares and information; the row is the mean over a KV head's query heads. */
static void add_row(fvi_observer *self, uint32_t layer, const fvi_list_view *lists)
{
    bool squares = self->obs->plane[FVI_PLANE_RECENT_SQUARE] != NULL;
    bool info = self->obs->plane[FVI_PLANE_RECENT_INFO] != NULL;
    for (uint32_t h = 0; h < self->model->config.n_kv_head; h++) {
        const float *mass = own_mass(self, lists, h);
        float *to = squares ? fvi_observer_plane(self, FVI_PLANE_RECENT_SQUARE, layer, h) : NULL;
        for (uint32_t t = 0; squares && t < self->obs->n_token; t++) {
            to[t] += mass[t] * mass[t];
        }
        to = info ? fvi_observer_plane(self, FVI_PLANE_RECENT_INFO, layer, h) : NULL;
        for (uint32_t t = 0; info && t < self->obs->n_token; t++) {
            to[t] -= mass[t] > 0 ? mass[t] * logf(mass[t]) : 0;
        }
    }
}

static fovea_status observe_recent(fvi_observer *self, uint32_t layer, const fvi_list_view *lists)
{
    uint32_t n = self->obs->n_token, first = recent_first(self->obs);
    uint32_t step = fvi_observer_needs(self, NEEDS_SINGLY) ? 1 : n - first;
    for (uint32_t row = first; row < n; row += step) {
        FVI_TRY(attend(self, lists, kept_rows(self, row), row, step, NULL));
        add_mass(self, FVI_PLANE_RECENT_MASS, layer, lists, 1);
        if (step == 1) {
            add_row(self, layer, lists);
        }
    }
    return FOVEA_OK;
}

fovea_status fvi_observer_layer(fvi_observer *self, uint32_t layer, const fvi_list_view *lists)
{
    if (fvi_observer_needs(self, NEEDS_WINDOW)) {
        FVI_TRY(observe_window(self, layer, lists));
    }
    if (fvi_observer_needs(self, NEEDS_RECENT)) {
        FVI_TRY(observe_recent(self, layer, lists));
    }
    if (fvi_observer_needs(self, FVI_NEED_LAST_MASS)) {
        uint32_t last = self->obs->n_token - 1;
        FVI_TRY(attend(self, lists, kept_rows(self, last), last, 1, NULL));
        add_mass(self, FVI_PLANE_LAST_MASS, layer, lists, 1);
    }
    return fvi_observer_cached_rows(self, layer, lists);
}
