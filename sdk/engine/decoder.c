/* decoder.c - norm, q k v, RoPE, attention over lists, output projection, gated MLP.
 *
 * The same layer code serves a block of prompt rows and a batch of decode rows; what differs is the row
 * class handed to the products, which attention runs, and where K and V go. Activations are f32.
 * Step buffers are sized once, so a decode step allocates nothing. */
#include "sdk/engine/decoder.h"

#include <math.h>

struct fvi_decoder {
    const fvi_model *model;
    fvi_backend *backend;
    uint32_t max_rows, block, n_buffer_row;
    float *inverse_frequency; /* [head_dim / 2] */
    float *x;                 /* [max_rows, hidden] residual of decode rows */
    float *h;                 /* [rows, hidden] normed input of a product */
    float *q, *k, *v, *att;   /* [rows, heads * head_dim] */
    float *gate, *up;         /* [rows, ffn] */
    float *cosine, *sine;     /* [max_rows, head_dim / 2] */
    fvi_list_view *lists;     /* [max_rows, n_kv_head] */
    float **mass;             /* [max_rows, n_kv_head] where attention is added up, or NULL */
    uint32_t *n_visible;      /* [n_kv_head] */
    size_t n_bytes;
};

static float *take(fvi_decoder *decoder, size_t n, bool *ok)
{
    float *memory = fvi_calloc(decoder->model->alloc, n, sizeof(float));
    *ok = *ok && memory != NULL;
    decoder->n_bytes += n * sizeof(float);
    return memory;
}

fovea_status fvi_decoder_new(const fvi_model *model, uint32_t max_rows, uint32_t block,
                             fvi_decoder **out, fovea_error *err)
{
    const fvi_decoder_config *c = &model->config;
    fvi_decoder *self = fvi_calloc(model->alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the decoder");
    }
    self->model = model;
    self->backend = model->backend;
    self->max_rows = max_rows;
    self->block = block;
    size_t rows = self->n_buffer_row = FVI_MAX(max_rows, block);
    size_t half = c->head_dim / 2;
    size_t q = (size_t)c->n_head * c->head_dim;
    size_t kv = (size_t)c->n_kv_head * c->head_dim;
    bool ok = true;
    self->inverse_frequency = take(self, half, &ok);
    self->x = take(self, (size_t)max_rows * c->hidden, &ok);
    self->h = take(self, rows * c->hidden, &ok);
    self->q = take(self, rows * q, &ok);
    self->k = take(self, rows * kv, &ok);
    self->v = take(self, rows * kv, &ok);
    self->att = take(self, rows * q, &ok);
    self->gate = take(self, rows * c->ffn, &ok);
    self->up = take(self, rows * c->ffn, &ok);
    self->cosine = take(self, max_rows * half, &ok);
    self->sine = take(self, max_rows * half, &ok);
    self->lists = fvi_calloc(model->alloc, (size_t)max_rows * c->n_kv_head, sizeof *self->lists);
    self->mass = fvi_calloc(model->alloc, (size_t)max_rows * c->n_kv_head, sizeof *self->mass);
    self->n_visible = fvi_calloc(model->alloc, c->n_kv_head, sizeof *self->n_visible);
    if (!ok || self->lists == NULL || self->mass == NULL || self->n_visible == NULL) {
        fvi_decoder_free(&self);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the decoder's step buffers");
    }
    for (size_t i = 0; i < half; i++) {
        self->inverse_frequency[i] =
            (float)(1.0 / pow((double)c->rope_theta, (double)(2 * i) / (double)c->head_dim));
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_decoder_free(fvi_decoder **out)
{
    fvi_decoder *self = *out;
    if (self == NULL) {
        return;
    }
    const fovea_alloc *alloc = self->model->alloc;
    float *buffers[] = {self->inverse_frequency, self->x,    self->h,  self->q,      self->k,   self->v,
                        self->att,               self->gate, self->up, self->cosine, self->sine};
    for (size_t i = 0; i < FVI_COUNT(buffers); i++) {
        fvi_free(alloc, buffers[i]);
    }
    fvi_free(alloc, self->lists);
    fvi_free(alloc, self->mass);
    fvi_free(alloc, self->n_visible);
    fvi_free(alloc, self);
    *out = NULL;
}

size_t fvi_decoder_bytes(const fvi_decoder *decoder)
{
    return decoder->n_bytes;
}

/* Angles as transformers has them: position times inverse frequency in f32. */
static void rotary_row(const fvi_decoder *self, uint32_t position, float *cosine, float *sine)
{
    uint32_t half = self->model->config.head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        float angle = (float)position * self->inverse_frequency[i];
        cosine[i] = cosf(angle);
        sine[i] = sinf(angle);
    }
}

void fvi_decoder_embed(const fvi_decoder *self, int32_t token, float *row)
{
    const fvi_decoder_params *p = &self->model->decoder;
    size_t hidden = self->model->config.hidden;
    const uint8_t *table = p->embed;
    const uint8_t *src = table + (size_t)token * hidden * fvi_dtype_bytes(p->dtype);
    fvi_convert(row, FVI_DTYPE_F32, src, p->dtype, hidden);
}

static fovea_status linear(const fvi_decoder *self, const fvi_matrix *w, const float *x, float *y,
                           uint32_t m, fvi_row_class rows, bool add)
{
    fvi_linear_args args = {.x = x,
                            .x_stride = w->k,
                            .w = w->w,
                            .w_dtype = self->model->decoder.dtype,
                            .bias = w->bias,
                            .y = y,
                            .y_stride = w->n,
                            .m = m,
                            .n = w->n,
                            .k = w->k,
                            .rows = rows,
                            .add = add};
    return self->backend->ops.linear(self->backend, &args);
}

static fovea_status rms_norm(const fvi_decoder *self, const float *w, const float *x, float *y,
                             uint32_t m)
{
    uint32_t hidden = self->model->config.hidden;
    fvi_norm_args args = {.x = x,
                          .x_stride = hidden,
                          .w = w,
                          .y = y,
                          .y_stride = hidden,
                          .m = m,
                          .d = hidden,
                          .eps = self->model->config.rms_eps};
    return self->backend->ops.rms_norm(self->backend, &args);
}

static fovea_status rope(const fvi_decoder *self, float *x, uint32_t n_head, const float *cosine,
                         const float *sine, uint32_t m)
{
    uint32_t d = self->model->config.head_dim;
    fvi_rope_args args = {.x = x,
                          .x_stride = (size_t)n_head * d,
                          .cosine = cosine,
                          .sine = sine,
                          .m = m,
                          .n_head = n_head,
                          .d = d};
    return self->backend->ops.rope(self->backend, &args);
}

/* x [m, hidden] -> self->q, k, v with RoPE applied. */
static fovea_status project_qkv(const fvi_decoder *self, const fvi_decoder_layer *layer, const float *x,
                                const float *cosine, const float *sine, uint32_t m, fvi_row_class rows)
{
    const fvi_decoder_config *c = &self->model->config;
    FVI_TRY(rms_norm(self, layer->attn_norm, x, self->h, m));
    FVI_TRY(linear(self, &layer->q, self->h, self->q, m, rows, false));
    FVI_TRY(linear(self, &layer->k, self->h, self->k, m, rows, false));
    FVI_TRY(linear(self, &layer->v, self->h, self->v, m, rows, false));
    FVI_TRY(rope(self, self->q, c->n_head, cosine, sine, m));
    return rope(self, self->k, c->n_kv_head, cosine, sine, m);
}

/* x += o(att); x += mlp(norm(x)) */
static fovea_status finish_layer(const fvi_decoder *self, const fvi_decoder_layer *layer, float *x,
                                 const float *att, uint32_t m, fvi_row_class rows)
{
    const fvi_decoder_config *c = &self->model->config;
    FVI_TRY(linear(self, &layer->o, att, x, m, rows, true));
    FVI_TRY(rms_norm(self, layer->mlp_norm, x, self->h, m));
    FVI_TRY(linear(self, &layer->gate, self->h, self->gate, m, rows, false));
    FVI_TRY(linear(self, &layer->up, self->h, self->up, m, rows, false));
    fvi_act_args act = {.x = self->gate,
                        .u = self->up,
                        .y = self->gate,
                        .x_stride = c->ffn,
                        .u_stride = c->ffn,
                        .y_stride = c->ffn,
                        .m = m,
                        .d = c->ffn,
                        .act = FVI_ACT_SILU};
    FVI_TRY(self->backend->ops.act(self->backend, &act));
    return linear(self, &layer->down, self->gate, x, m, rows, true);
}

/* ---- prefill ---- */

fovea_status fvi_prefill_begin(fvi_decoder *self, fvi_kv_seq *seq, fvi_kv_obs *obs, fvi_prefill *out)
{
    const fovea_alloc *alloc = self->model->alloc;
    const fvi_decoder_config *c = &self->model->config;
    uint32_t n = fvi_kv_seq_n_fresh(seq);
    uint32_t half = c->head_dim / 2;
    fvi_prefill p = {
        .seq = seq, .n_token = n, .first_position = fvi_kv_seq_position(seq)};
    p.x = fvi_calloc(alloc, (size_t)n * c->hidden, sizeof(float));
    p.cosine = fvi_calloc(alloc, (size_t)n * half, sizeof(float));
    p.sine = fvi_calloc(alloc, (size_t)n * half, sizeof(float));
    p.n_bytes = (size_t)n * (c->hidden + 2 * half) * sizeof(float);
    if (p.x == NULL || p.cosine == NULL || p.sine == NULL ||
        (obs != NULL && fvi_observer_open(self->model, obs, p.first_position, self->inverse_frequency,
                                          &p.observer) < 0)) {
        fvi_prefill_end(self, &p);
        return FOVEA_ERR_NOMEM;
    }
    p.observer.seq = seq;
    for (uint32_t t = 0; t < n; t++) {
        rotary_row(self, p.first_position + t, p.cosine + (size_t)t * half, p.sine + (size_t)t * half);
    }
    *out = p;
    return FOVEA_OK;
}

void fvi_prefill_end(fvi_decoder *self, fvi_prefill *p)
{
    const fovea_alloc *alloc = self->model->alloc;
    fvi_free(alloc, p->x);
    fvi_free(alloc, p->cosine);
    fvi_free(alloc, p->sine);
    fvi_observer_close(&p->observer);
    *p = (fvi_prefill){0};
}

/* First token of the turn that row `row` of list h sees is everything before the turn and itself. */
static void set_visible(fvi_decoder *self, const fvi_prefill *p, const fvi_list_view *lists, uint32_t row)
{
    for (uint32_t h = 0; h < self->model->config.n_kv_head; h++) {
        self->n_visible[h] = lists[h].n_token - p->n_token + row + 1;
    }
}

/* Attention and the rest of the layer for rows first..first+m-1 of the turn, whose q lie at `q`. */
static fovea_status advance_rows(fvi_decoder *self, fvi_prefill *p, const fvi_list_view *lists,
                                 const float *q, uint32_t first, uint32_t m)
{
    const fvi_decoder_config *c = &self->model->config;
    set_visible(self, p, lists, first);
    fvi_attn_prefill_args attn = {.q = q,
                                  .lists = lists,
                                  .n_visible = self->n_visible,
                                  .out = self->att,
                                  .n_row = m,
                                  .n_head = c->n_head,
                                  .n_kv_head = c->n_kv_head,
                                  .dk = c->head_dim,
                                  .dv = c->head_dim,
                                  .scale = 1.0f / sqrtf((float)c->head_dim)};
    FVI_TRY(self->backend->ops.attn_prefill(self->backend, &attn));
    return finish_layer(self, &self->model->decoder.layers[p->layer],
                        p->x + (size_t)first * c->hidden, self->att, m, FVI_ROWS_PREFILL);
}

fovea_status fvi_prefill_step(fvi_decoder *self, fvi_prefill *p, bool *done, float *hidden)
{
    const fvi_decoder_config *c = &self->model->config;
    const fvi_decoder_layer *layer = &self->model->decoder.layers[p->layer];
    uint32_t half = c->head_dim / 2;
    uint32_t m = FVI_MIN(self->block, p->n_token - p->row);
    bool last_layer = p->layer + 1 == c->n_layer;
    bool last_block = p->row + m == p->n_token;
    size_t q_width = (size_t)c->n_head * c->head_dim;
    size_t kv_width = (size_t)c->n_kv_head * c->head_dim;

    *done = false;
    if (p->row == 0) {
        FVI_TRY(fvi_kv_seq_open_layer(p->seq, p->layer));
    }
    FVI_TRY(project_qkv(self, layer, p->x + (size_t)p->row * c->hidden, p->cosine + (size_t)p->row * half,
                        p->sine + (size_t)p->row * half, m, FVI_ROWS_PREFILL));
    fvi_kv_seq_write(p->seq, p->layer, p->row, m, self->k, kv_width, self->v, kv_width);
    const fvi_list_view *lists = fvi_kv_seq_lists(p->seq, p->layer);
    if (p->observer.obs != NULL) {
        FVI_TRY(fvi_observer_rows(&p->observer, p->layer, lists, self->q,
                                  p->cosine + (size_t)p->row * half, p->sine + (size_t)p->row * half,
                                  p->row, m));
    }
    if (!last_layer) {
        FVI_TRY(advance_rows(self, p, lists, self->q, p->row, m));
    } else if (last_block) {
        FVI_TRY(advance_rows(self, p, lists, self->q + (m - 1) * q_width, p->n_token - 1, 1));
    }
    if (last_block && p->observer.obs != NULL) {
        FVI_TRY(fvi_observer_layer(&p->observer, p->layer, lists));
    }
    p->row += m;
    if (!last_block) {
        return FOVEA_OK;
    }
    p->row = 0;
    p->layer++;
    if (last_layer) {
        fvi_kv_seq_end_turn(p->seq);
        FVI_TRY(rms_norm(self, self->model->decoder.norm, p->x + (size_t)(p->n_token - 1) * c->hidden,
                         hidden, 1));
        *done = true;
    }
    return FOVEA_OK;
}

/* ---- decode ---- */

fovea_status fvi_decode_step(fvi_decoder *self, const fvi_decode_row *rows, uint32_t n_row, float *hidden)
{
    const fvi_decoder_config *c = &self->model->config;
    uint32_t half = c->head_dim / 2;
    size_t kv_width = (size_t)c->n_kv_head * c->head_dim;
    size_t q_width = (size_t)c->n_head * c->head_dim;
    for (uint32_t i = 0; i < n_row; i++) {
        fvi_decoder_embed(self, rows[i].token, self->x + (size_t)i * c->hidden);
        rotary_row(self, fvi_kv_seq_position(rows[i].seq), self->cosine + (size_t)i * half,
                   self->sine + (size_t)i * half);
    }
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const fvi_decoder_layer *layer = &self->model->decoder.layers[l];
        FVI_TRY(project_qkv(self, layer, self->x, self->cosine, self->sine, n_row, FVI_ROWS_DECODE));
        for (uint32_t i = 0; i < n_row; i++) {
            FVI_TRY(fvi_kv_seq_append(rows[i].seq, l, self->k + i * kv_width, self->v + i * kv_width));
            memcpy(self->lists + (size_t)i * c->n_kv_head, fvi_kv_seq_attended(rows[i].seq, l, self->q + i * q_width),
                   c->n_kv_head * sizeof *self->lists);
            for (uint32_t h = 0; h < c->n_kv_head; h++) {
                self->mass[i * c->n_kv_head + h] =
                    fvi_kv_seq_mass(rows[i].seq, l * c->n_kv_head + h);
            }
        }
        fvi_attn_decode_args attn = {.q = self->q,
                                     .lists = self->lists,
                                     .out = self->att,
                                     .mass = self->mass,
                                     .n_row = n_row,
                                     .n_head = c->n_head,
                                     .n_kv_head = c->n_kv_head,
                                     .dk = c->head_dim,
                                     .dv = c->head_dim,
                                     .scale = 1.0f / sqrtf((float)c->head_dim)};
        FVI_TRY(self->backend->ops.attn_decode(self->backend, &attn));
        FVI_TRY(finish_layer(self, layer, self->x, self->att, n_row, FVI_ROWS_DECODE));
    }
    return rms_norm(self, self->model->decoder.norm, self->x, hidden, n_row);
}

fovea_status fvi_decoder_logits(fvi_decoder *self, const float *hidden, uint32_t n_row, float *logits)
{
    return linear(self, &self->model->decoder.head, hidden, logits, n_row, FVI_ROWS_DECODE, false);
}
