/* step.c - the whole decode step of a batch of sequences over deep caches, the kinds in turn.
 *
 * The decoder is a model with random weights, the caches are what a prompt would have left: random keys and
 * values written through kvcompress and, for a kind other than f16, rewritten by the recipe none:text=KIND. What is
 * timed is the engine's own step, products, attention, the new tokens' place in the caches and logits; the
 * scheduler, the sampler and the prompts' prefill are not. */
#include "samples/bench/folder.h"

#include "kvcompress/codecs.h"
#include "kvcompress/plan.h"
#include "sdk/engine/decoder.h"

#include <stdio.h>

#define N_SEQ     16
#define FILL_ROWS 64

typedef struct step {
    bench *bench;
    fvi_model *model;
    fvi_decoder *decoder;
    fvi_kv_pool *pool;
    float *hidden, *logits; /* [N_SEQ, hidden], [FVI_HEAD_ROWS, vocab] */
    float *numbers;         /* keys and values */
    fovea_error err;
} step;

/* The prompt of one sequence: random rows, then a plan if there is a recipe. */
static fovea_status fill(step *self, fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    const bench_options *options = self->bench->options;
    const bench_shape *s = options->shape;
    uint32_t n = options->depth, width = s->n_kv_head * s->head_dim;
    fvi_kv_span span = {.n = n, .modality = FOVEA_MODALITY_TEXT};
    FVI_TRY(fvi_kv_seq_begin_turn(seq, &span, 1, options->rounds + 1));
    for (uint32_t layer = 0; layer < s->n_layer; layer++) {
        FVI_TRY(fvi_kv_seq_open_layer(seq, layer));
        for (uint32_t row = 0; row < n; row += FILL_ROWS) {
            const float *k = self->numbers + (row / FILL_ROWS + layer) % 16 * width;
            fvi_kv_seq_write(seq, layer, row, FVI_MIN(FILL_ROWS, n - row), k, width,
                             k + (size_t)16 * width, width);
        }
    }
    fvi_kv_seq_end_turn(seq);
    fvi_kv_plan *plan = NULL;
    fovea_status status = FOVEA_OK;
    if (recipe != NULL && fvi_kv_plan_wanted(seq, recipe)) {
        status = fvi_kv_plan_make(seq, recipe, NULL, &plan, &self->err);
        status = status == FOVEA_OK ? fvi_kv_plan_apply(seq, plan) : status;
    }
    fvi_kv_plan_free(&plan);
    return status;
}

/* The caches of one kind. */
typedef struct caches {
    step *step;
    const fvi_codec *codec;
    char what[96];
    fvi_kv_seq *seqs[N_SEQ];
} caches;

static fovea_status run_step(void *arg, double *seconds)
{
    (void)seconds;
    caches *kind = arg;
    step *self = kind->step;
    fvi_decode_row rows[N_SEQ];
    for (uint32_t i = 0; i < N_SEQ; i++) {
        rows[i] = (fvi_decode_row){kind->seqs[i], (int32_t)(4 + i)};
    }
    FVI_TRY(fvi_decode_step(self->decoder, rows, N_SEQ, self->hidden));
    for (uint32_t i = 0; i < N_SEQ; i++) {
        FVI_TRY(fvi_kv_seq_commit(kind->seqs[i]));
    }
    for (uint32_t i = 0; i < N_SEQ; i += FVI_HEAD_ROWS) {
        const float *hidden = self->hidden + (size_t)i * self->model->config.hidden;
        FVI_TRY(fvi_decoder_logits(self->decoder, hidden, FVI_HEAD_ROWS, self->logits));
    }
    return FOVEA_OK;
}

static fovea_status fill_all(caches *self)
{
    step *s = self->step;
    bool plain = self->codec->kind == FOVEA_KIND_F16;
    char text[64];
    fvi_recipe recipe;
    snprintf(text, sizeof text, "none:text=%s", self->codec->name);
    FVI_TRY(plain ? FOVEA_OK : fvi_recipe_parse(text, &recipe, &s->err));
    for (uint32_t i = 0; i < N_SEQ; i++) {
        FVI_TRY(fvi_kv_seq_new(&fvi_alloc_default, s->pool, &s->model->geom, &self->seqs[i]));
        FVI_TRY(fill(s, self->seqs[i], plain ? NULL : &recipe));
    }
    return FOVEA_OK;
}

static void empty(caches *self)
{
    for (uint32_t i = 0; i < N_SEQ; i++) {
        fvi_kv_seq_free(&self->seqs[i]);
    }
}

static bool wants(const step *self, const fvi_codec *codec)
{
    static const fovea_kind usual[] = {FOVEA_KIND_F16, FOVEA_KIND_INT4, FOVEA_KIND_INT2_CHAN};
    bool wanted = self->bench->options->kinds != NULL && bench_wants(self->bench, codec);
    for (uint32_t i = 0; self->bench->options->kinds == NULL && i < FVI_COUNT(usual); i++) {
        wanted = wanted || codec->kind == usual[i];
    }
    return wanted && codec->kind != FOVEA_KIND_F32;
}

/* All kinds, in turn, and how much faster than f16 each is in the same rounds. */
static fovea_status measure_kinds(step *self)
{
    caches kinds[FOVEA_N_KIND];
    bench_case cases[FOVEA_N_KIND];
    bench_result results[FOVEA_N_KIND];
    uint32_t n = 0;
    fovea_status status = FOVEA_OK;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL && status == FOVEA_OK; i++) {
        if (!wants(self, fvi_codec_at(i))) {
            continue;
        }
        caches *own = &kinds[n];
        *own = (caches){.step = self, .codec = fvi_codec_at(i)};
        snprintf(own->what, sizeof own->what, "%u sequences at %u, %s", N_SEQ,
                 self->bench->options->depth, own->codec->name);
        cases[n++] = (bench_case){.measure = "decode_step",
                                  .what = own->what,
                                  .units = N_SEQ,
                                  .run = run_step,
                                  .arg = own};
        status = fill_all(own);
    }
    status = status == FOVEA_OK ? bench_measure_all(self->bench, cases, n, results) : status;
    for (uint32_t i = 1; i < n && status == FOVEA_OK && kinds[0].codec->kind == FOVEA_KIND_F16;
         i++) {
        char what[64];
        snprintf(what, sizeof what, "%s over f16", kinds[i].codec->name);
        bench_ratio(self->bench, "decode_step", what, results[i].faster);
    }
    for (uint32_t i = 0; i < n; i++) {
        empty(&kinds[i]);
    }
    return status;
}

static fovea_status open_step(step *self, const char *dir)
{
    const bench_options *options = self->bench->options;
    const bench_shape *s = options->shape;
    fvi_model_options model = {
        .alloc = &fvi_alloc_default, .backend = self->bench->backend, .dir = dir};
    FVI_TRY(fvi_model_open(&model, &self->model, &self->err));
    FVI_TRY(fvi_decoder_new(self->model, N_SEQ, 64, &self->decoder, &self->err));
    uint32_t n_kind = 0;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        n_kind += wants(self, fvi_codec_at(i));
    }
    const fvi_kv_geom *geom = &self->model->geom;
    size_t granule = fvi_kv_geom_granule(geom);
    /* what is generated, in tails and once more while they are merged, as if it were prompt too */
    uint32_t n_token = options->depth + 2 * (options->rounds + 1 + FVI_KV_TAIL);
    size_t each = fvi_kv_forecast_bytes(NULL, geom, granule, 1, n_token, options->rounds + 1);
    FVI_TRY(fvi_kv_pool_new(&fvi_alloc_default, n_kind * N_SEQ * each, granule, &self->pool));
    self->hidden = bench_floats((size_t)N_SEQ * s->hidden);
    self->logits = bench_floats((size_t)FVI_HEAD_ROWS * s->vocab);
    self->numbers = bench_floats((size_t)(FILL_ROWS + 32) * s->n_kv_head * s->head_dim);
    bool all = self->hidden != NULL && self->logits != NULL && self->numbers != NULL;
    return all ? FOVEA_OK : FOVEA_ERR_NOMEM;
}

fovea_status bench_step(bench *self)
{
    char dir[BENCH_PATH];
    step s = {.bench = self};
    if (!bench_folder_make(self->options->shape, dir)) {
        fprintf(stderr, "fovea-bench: no room in /tmp for a model of %s\n",
                self->options->shape->name);
        return FOVEA_ERR_IO;
    }
    fovea_status status = open_step(&s, dir);
    bench_folder_remove(dir); /* what is mapped stays */
    if (status == FOVEA_OK) {
        status = measure_kinds(&s);
    }
    if (status < 0 && s.err.code < 0) {
        fprintf(stderr, "fovea-bench: %s\n", s.err.text);
    }
    bench_release(s.hidden);
    bench_release(s.logits);
    bench_release(s.numbers);
    fvi_kv_pool_free(&s.pool);
    fvi_decoder_free(&s.decoder);
    fvi_model_close(&s.model);
    return status;
}
