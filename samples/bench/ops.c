/* ops.c - the operations alone on a decoder's shape: its products in decode and prefill, its attention
 * over lists of every kind, and one block of a SigLIP-like encoder. */
#include "samples/bench/bench.h"

#include "kvcompress/codecs.h"
#include "kvcompress/row_fit.h"

#include <stdio.h>

#define N_LINEAR      4
#define N_PREFILL     512
#define ROPE_BASE     1e6f /* of Qwen2 */
#define ENCODER_ROWS  1024 /* SigLIP base at 512 pixels */
#define ENCODER_DIM   768
#define ENCODER_MLP   3072
#define ENCODER_HEADS 12

/* One decoder: weights of all layers, so that nothing stays in a cache from one token to the next. */
typedef struct decoder {
    bench *bench;
    uint32_t n[N_LINEAR], k[N_LINEAR]; /* qkv, o, gate and up, down */
    uint16_t *w[N_LINEAR];             /* [n_layer, n, k] */
    uint16_t *head;                    /* [vocab, hidden] */
    float *x, *y;                      /* [rows, widest] */
    size_t widest;
    uint32_t rows;
    fvi_row_class row_class;
    bool with_head;
} decoder;

static fovea_status linear(const decoder *d, const void *w, uint32_t n, uint32_t k)
{
    fvi_backend *backend = d->bench->backend;
    fvi_linear_args args = {.x = d->x,
                            .x_stride = d->widest,
                            .w = w,
                            .w_dtype = FVI_DTYPE_BF16,
                            .y = d->y,
                            .y_stride = n,
                            .m = d->rows,
                            .n = n,
                            .k = k,
                            .rows = d->row_class};
    return backend->ops.linear(backend, &args);
}

static fovea_status run_decoder(void *arg, double *seconds)
{
    (void)seconds;
    const decoder *d = arg;
    const bench_shape *shape = d->bench->options->shape;
    for (uint32_t layer = 0; layer < shape->n_layer; layer++) {
        for (uint32_t i = 0; i < N_LINEAR; i++) {
            const uint16_t *w = d->w[i] + (size_t)layer * d->n[i] * d->k[i];
            FVI_TRY(linear(d, w, d->n[i], d->k[i]));
        }
    }
    return d->with_head ? linear(d, d->head, shape->vocab, shape->hidden) : FOVEA_OK;
}

static void free_decoder(decoder *d)
{
    for (uint32_t i = 0; i < N_LINEAR; i++) {
        bench_release(d->w[i]);
    }
    bench_release(d->head);
    bench_release(d->x);
    bench_release(d->y);
}

static fovea_status make_decoder(bench *self, decoder *d)
{
    const bench_shape *s = self->options->shape;
    uint32_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    *d = (decoder){.bench = self,
                   .n = {q + 2 * kv, s->hidden, 2 * s->mlp, s->hidden},
                   .k = {s->hidden, q, s->hidden, s->mlp},
                   .widest = 2 * (size_t)s->mlp};
    bool all = true;
    for (uint32_t i = 0; i < N_LINEAR; i++) {
        d->w[i] = bench_bf16((size_t)s->n_layer * d->n[i] * d->k[i]);
        all = all && d->w[i] != NULL;
    }
    d->head = bench_bf16((size_t)s->vocab * s->hidden);
    d->x = bench_floats(N_PREFILL * d->widest);
    d->y = bench_floats(FVI_MAX(N_PREFILL * d->widest, (size_t)16 * s->vocab));
    if (!all || d->head == NULL || d->x == NULL || d->y == NULL) {
        free_decoder(d);
        return FOVEA_ERR_NOMEM;
    }
    return FOVEA_OK;
}

static fovea_status bench_linear(bench *self)
{
    static const uint32_t decode_rows[] = {1, 4, 16};
    const bench_shape *s = self->options->shape;
    decoder d;
    FVI_TRY(make_decoder(self, &d));
    double weights = (double)s->vocab * s->hidden, without_head = 0;
    for (uint32_t i = 0; i < N_LINEAR; i++) {
        without_head += (double)s->n_layer * d.n[i] * d.k[i];
    }
    weights += without_head;
    fovea_status status = FOVEA_OK;
    for (uint32_t i = 0; i < FVI_COUNT(decode_rows) && status == FOVEA_OK; i++) {
        char what[64];
        d.rows = decode_rows[i];
        d.with_head = true;
        snprintf(what, sizeof what, "%s bf16, %u rows", s->name, d.rows);
        status = bench_measure(self,
                               &(bench_case){.measure = "linear_decode",
                                             .what = what,
                                             .bytes = weights * 2,
                                             .flop = 2 * weights * d.rows,
                                             .units = d.rows,
                                             .run = run_decoder,
                                             .arg = &d},
                               NULL);
    }
    if (status == FOVEA_OK) {
        char what[64];
        d.rows = N_PREFILL;
        d.row_class = FVI_ROWS_PREFILL;
        d.with_head = false;
        snprintf(what, sizeof what, "%s bf16, %u rows", s->name, d.rows);
        status = bench_measure(self,
                               &(bench_case){.measure = "linear_prefill",
                                             .what = what,
                                             .flop = 2 * without_head * d.rows,
                                             .units = d.rows,
                                             .run = run_decoder,
                                             .arg = &d},
                               NULL);
    }
    free_decoder(&d);
    return status;
}

/* The cache of all layers in one kind, one run a list. */
typedef struct attention {
    bench *bench;
    uint32_t n_list; /* n_layer * n_kv_head */
    uint32_t n_row;  /* of a prefill block */
    uint8_t *data;
    fvi_run_view *runs;   /* [n_list] */
    fvi_list_view *lists; /* [n_list] */
    float *q, *out;
} attention;

static void free_attention(attention *a)
{
    bench_release(a->data);
    bench_release(a->runs);
    bench_release(a->lists);
    bench_release(a->q);
    bench_release(a->out);
}

/* Lists of n tokens in codec's kind; n_layer of them may be less than the shape's. */
static fovea_status make_attention(bench *self, const fvi_codec *codec, uint32_t n,
                                   uint32_t n_layer, uint32_t n_row, attention *a)
{
    const bench_shape *s = self->options->shape;
    uint32_t d = s->head_dim;
    size_t bytes = fvi_round_up(fvi_codec_bytes(codec, n, d, d), 64);
    *a = (attention){.bench = self, .n_list = n_layer * s->n_kv_head, .n_row = n_row};
    a->data = bench_memory(a->n_list * bytes);
    a->runs = bench_memory(a->n_list * sizeof *a->runs);
    a->lists = bench_memory(a->n_list * sizeof *a->lists);
    a->q = bench_floats((size_t)n_row * s->n_head * d);
    a->out = bench_floats((size_t)n_row * s->n_head * d);
    float *rows = bench_floats((size_t)n * d);
    void *fit = bench_memory(fvi_row_fit_bytes(d, d) + 1);
    bool all = a->data != NULL && a->runs != NULL && a->lists != NULL && a->q != NULL &&
               a->out != NULL && rows != NULL && fit != NULL;
    for (uint32_t i = 0; all && i < a->n_list; i++) {
        uint8_t *run = a->data + i * bytes;
        if (i == 0) {
            fvi_run_store(codec, run, n, d, d, n, rows, d, rows, d, ROPE_BASE, NULL, fit);
        } else {
            memcpy(run, a->data, bytes);
        }
        a->runs[i] = (fvi_run_view){run, codec, n, n};
        a->lists[i] = (fvi_list_view){&a->runs[i], 1, n};
    }
    bench_release(rows);
    bench_release(fit);
    if (!all) {
        free_attention(a);
        return FOVEA_ERR_NOMEM;
    }
    return FOVEA_OK;
}

static fovea_status run_attn_decode(void *arg, double *seconds)
{
    (void)seconds;
    const attention *a = arg;
    const bench_shape *s = a->bench->options->shape;
    fvi_backend *backend = a->bench->backend;
    fvi_attn_decode_args args = {.q = a->q,
                                 .out = a->out,
                                 .n_row = 1,
                                 .n_head = s->n_head,
                                 .n_kv_head = s->n_kv_head,
                                 .dk = s->head_dim,
                                 .dv = s->head_dim,
                                 .scale = 0.125f};
    for (uint32_t i = 0; i < a->n_list; i += s->n_kv_head) {
        args.lists = a->lists + i;
        FVI_TRY(backend->ops.attn_decode(backend, &args));
    }
    return FOVEA_OK;
}

static fovea_status run_attn_prefill(void *arg, double *seconds)
{
    (void)seconds;
    const attention *a = arg;
    const bench_shape *s = a->bench->options->shape;
    fvi_backend *backend = a->bench->backend;
    uint32_t visible[64];
    for (uint32_t i = 0; i < s->n_kv_head; i++) {
        visible[i] = a->lists[i].n_token - a->n_row + 1;
    }
    fvi_attn_prefill_args args = {.q = a->q,
                                  .lists = a->lists,
                                  .n_visible = visible,
                                  .out = a->out,
                                  .n_row = a->n_row,
                                  .n_head = s->n_head,
                                  .n_kv_head = s->n_kv_head,
                                  .dk = s->head_dim,
                                  .dv = s->head_dim,
                                  .scale = 0.125f};
    return backend->ops.attn_prefill(backend, &args);
}

/* The attention of decode rows over one kind. */
typedef struct kind_case {
    attention attention;
    const fvi_codec *codec;
    char what[64];
} kind_case;

static fovea_status start_kind(bench *self, const fvi_codec *codec, kind_case *own, bench_case *out)
{
    const bench_shape *s = self->options->shape;
    uint32_t depth = self->options->depth;
    size_t list_bytes = fvi_codec_bytes(codec, depth, s->head_dim, s->head_dim);
    own->codec = codec;
    FVI_TRY(make_attention(self, codec, depth, s->n_layer, 1, &own->attention));
    snprintf(own->what, sizeof own->what, "%s %s, depth %u", s->name, codec->name, depth);
    *out = (bench_case){.measure = "attn_decode",
                        .what = own->what,
                        .units = 1,
                        .run = run_attn_decode,
                        .arg = &own->attention,
                        .bytes = (double)own->attention.n_list * (double)list_bytes};
    return FOVEA_OK;
}

/* All kinds in turn, f16 first, so that ratios to it are of the same moments. */
static fovea_status bench_attn_decode(bench *self)
{
    kind_case kinds[FOVEA_N_KIND];
    bench_case cases[FOVEA_N_KIND];
    bench_result results[FOVEA_N_KIND];
    const fvi_codec *f16 = fvi_codec_of(FOVEA_KIND_F16);
    uint32_t n = 0;
    fovea_status status = FOVEA_OK;
    if (bench_wants(self, f16)) {
        status = start_kind(self, f16, &kinds[0], &cases[0]);
        n += status == FOVEA_OK;
    }
    for (uint32_t i = 0; fvi_codec_at(i) != NULL && status == FOVEA_OK; i++) {
        if (fvi_codec_at(i) != f16 && bench_wants(self, fvi_codec_at(i))) {
            status = start_kind(self, fvi_codec_at(i), &kinds[n], &cases[n]);
            n += status == FOVEA_OK;
        }
    }
    status = status == FOVEA_OK ? bench_measure_all(self, cases, n, results) : status;
    for (uint32_t i = 1; i < n && status == FOVEA_OK && kinds[0].codec == f16; i++) {
        char what[64];
        snprintf(what, sizeof what, "%s over f16, depth %u", kinds[i].codec->name,
                 self->options->depth);
        bench_ratio(self, "attn_decode", what, results[i].faster);
    }
    for (uint32_t i = 0; i < n; i++) {
        free_attention(&kinds[i].attention);
    }
    return status;
}

static fovea_status bench_attn_prefill(bench *self)
{
    const bench_shape *s = self->options->shape;
    uint32_t depths[2] = {N_PREFILL, FVI_MAX(self->options->depth, N_PREFILL)};
    for (uint32_t i = 0; i < FVI_COUNT(depths); i++) {
        attention a;
        char what[64];
        FVI_TRY(make_attention(self, fvi_codec_of(FOVEA_KIND_F16), depths[i], 1, N_PREFILL, &a));
        snprintf(what, sizeof what, "%s f16, rows %u at %u", s->name, N_PREFILL, depths[i]);
        double average = depths[i] - (N_PREFILL - 1) / 2.0; /* tokens that a row sees */
        fovea_status status =
            bench_measure(self,
                          &(bench_case){.measure = "attn_prefill",
                                        .what = what,
                                        .flop = 4.0 * N_PREFILL * average * s->n_head * s->head_dim,
                                        .run = run_attn_prefill,
                                        .arg = &a},
                          NULL);
        free_attention(&a);
        FVI_TRY(status);
    }
    return FOVEA_OK;
}

/* One block of the encoder: its products, its attention, its norms and its activation. */
typedef struct encoder {
    bench *bench;
    uint16_t *w;  /* enough for the largest product */
    float *x, *y; /* [rows, mlp] */
    float *norm;  /* [dim] */
} encoder;

static fovea_status run_encoder(void *arg, double *seconds)
{
    (void)seconds;
    const encoder *e = arg;
    fvi_backend *backend = e->bench->backend;
    const uint32_t n[] = {3 * ENCODER_DIM, ENCODER_DIM, ENCODER_MLP, ENCODER_DIM};
    const uint32_t k[] = {ENCODER_DIM, ENCODER_DIM, ENCODER_DIM, ENCODER_MLP};
    fvi_norm_args norm = {.x = e->x,
                          .x_stride = ENCODER_MLP,
                          .w = e->norm,
                          .b = e->norm,
                          .y = e->x,
                          .y_stride = ENCODER_MLP,
                          .m = ENCODER_ROWS,
                          .d = ENCODER_DIM,
                          .eps = 1e-6f};
    fvi_attn_full_args attn = {.q = e->y,
                               .k = e->y + ENCODER_DIM,
                               .v = e->y + 2 * ENCODER_DIM,
                               .out = e->x,
                               .stride = 3 * ENCODER_DIM,
                               .n_row = ENCODER_ROWS,
                               .n_head = ENCODER_HEADS,
                               .d = ENCODER_DIM / ENCODER_HEADS,
                               .scale = 0.125f,
                               .products = FVI_DTYPE_BF16};
    fvi_act_args act = {.x = e->y,
                        .y = e->y,
                        .x_stride = ENCODER_MLP,
                        .y_stride = ENCODER_MLP,
                        .m = ENCODER_ROWS,
                        .d = ENCODER_MLP,
                        .act = FVI_ACT_GELU_TANH};
    for (uint32_t i = 0; i < FVI_COUNT(n); i++) {
        fvi_linear_args args = {.x = e->x,
                                .x_stride = ENCODER_MLP,
                                .w = e->w,
                                .w_dtype = FVI_DTYPE_BF16,
                                .y = e->y,
                                .y_stride = n[i],
                                .m = ENCODER_ROWS,
                                .n = n[i],
                                .k = k[i],
                                .rows = FVI_ROWS_PREFILL};
        if (i % 2 == 0) {
            FVI_TRY(backend->ops.layer_norm(backend, &norm));
        }
        FVI_TRY(backend->ops.linear(backend, &args));
        if (i == 0) {
            FVI_TRY(backend->ops.attn_full(backend, &attn));
        } else if (i == 2) {
            FVI_TRY(backend->ops.act(backend, &act));
        }
    }
    return FOVEA_OK;
}

static fovea_status bench_encoder(bench *self)
{
    encoder e = {.bench = self,
                 .w = bench_bf16((size_t)ENCODER_DIM * ENCODER_MLP),
                 .x = bench_floats((size_t)ENCODER_ROWS * ENCODER_MLP),
                 .y = bench_floats((size_t)ENCODER_ROWS * ENCODER_MLP),
                 .norm = bench_floats(ENCODER_DIM)};
    fovea_status status = FOVEA_ERR_NOMEM;
    if (e.w != NULL && e.x != NULL && e.y != NULL && e.norm != NULL) {
        double products =
            2.0 * ENCODER_ROWS * ENCODER_DIM * (4.0 * ENCODER_DIM + 2.0 * ENCODER_MLP);
        double scores = 4.0 * ENCODER_ROWS * ENCODER_ROWS * ENCODER_DIM;
        status = bench_measure(self,
                               &(bench_case){.measure = "encode_block",
                                             .what = "siglip-base 512 px, 1024 rows, bf16",
                                             .flop = products + scores,
                                             .run = run_encoder,
                                             .arg = &e},
                               NULL);
    }
    bench_release(e.w);
    bench_release(e.x);
    bench_release(e.y);
    bench_release(e.norm);
    return status;
}

fovea_status bench_ops(bench *self)
{
    FVI_TRY(bench_attn_decode(self));
    if (self->options->kinds != NULL) {
        return FOVEA_OK;
    }
    FVI_TRY(bench_attn_prefill(self));
    FVI_TRY(bench_encoder(self));
    return bench_linear(self);
}
