/* distortion.c - storing and reading back rows of a list, and adding up what a plan spoils.
 *
 * The relative error of a kind in a list: e^2 = |v - v'|^2 / |v|^2 + KEY_WEIGHT |k - k'|^2 / |k - mean k|^2,
 * summed over FVI_DISTORTION_ROWS rows of the turn's vision tokens (all tokens without any). Keys are
 * compared with their spread, since what all keys share cancels in the softmax. Kinds that are fitted
 * to rows are fitted to those in the middle and tried on a sample of these. Lists are shared out among workers. */
#include "kvcompress/distortion.h"

#include "kvcompress/codecs.h"
#include "kvcompress/cut.h"
#include "kvcompress/row_fit.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define TINY 1e-20
/* Less than in a kind's own bits (codec_pca.c), since what keys lose is no share of the output: with 1, 0.3, 0.2, 0.15 of
 * none's right answers about lines, lists and signs 92, 97, 97, 96% stay (four tuning pictures, 2.5% of bytes), and of 100
 * blind questions' answers at 10%, with 1, 0.3, 0.15, 90, 93, 100%. */
#define KEY_WEIGHT 0.2

typedef struct sample {
    float *k, *v;   /* [FVI_DISTORTION_ROWS, dk], [FVI_DISTORTION_ROWS, dv] */
    float *k2, *v2; /* read back */
    uint8_t *run; /* one in any kind: of FVI_DISTORTION_ROWS rows, of all candidates where fitted */
    void *fit;    /* fvi_row_fit_bytes */
    uint32_t at[FVI_FIT_ROWS]; /* tokens that are fitted */
    uint32_t n;
} sample;

/* ---- measuring ---- */

static bool has_vision(const uint8_t *modality, uint32_t n_token)
{
    return memchr(modality, FOVEA_MODALITY_VISION, n_token) != NULL;
}

uint32_t fvi_distortion_candidates(const uint8_t *modality, uint32_t n_token)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < n_token; t++) {
        n += modality[t] == FOVEA_MODALITY_VISION;
    }
    return n > 0 ? n : n_token;
}

uint32_t fvi_distortion_stride(const uint8_t *modality, uint32_t n_token, double spacing)
{
    double most = fvi_distortion_candidates(modality, n_token);
    return (uint32_t)FVI_MAX(1.0, FVI_MIN(spacing + 0.5, most));
}

static fovea_status take_sample(const fvi_kv_seq *seq, uint32_t n_candidate, sample *out)
{
    size_t dk = 0;
    size_t dv = 0;
    size_t run = 0;
    size_t fit = 1;
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        const fvi_kv_layer_geom *g = &seq->geom->layers[layer];
        dk = FVI_MAX(dk, (size_t)g->dk);
        dv = FVI_MAX(dv, (size_t)g->dv);
        for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
            const fvi_codec *codec = fvi_codec_at(i);
            uint32_t n_row = codec->fit_rows != NULL ? FVI_MAX(n_candidate, FVI_DISTORTION_ROWS)
                                                     : FVI_DISTORTION_ROWS;
            run = FVI_MAX(run, fvi_codec_bytes(codec, n_row, g->dk, g->dv));
        }
        fit = FVI_MAX(fit, fvi_row_fit_bytes(g->dk, g->dv));
    }
    *out = (sample){.k = fvi_alloc(seq->alloc, FVI_DISTORTION_ROWS * dk * sizeof(float)),
                    .v = fvi_alloc(seq->alloc, FVI_DISTORTION_ROWS * dv * sizeof(float)),
                    .k2 = fvi_alloc(seq->alloc, FVI_DISTORTION_ROWS * dk * sizeof(float)),
                    .v2 = fvi_alloc(seq->alloc, FVI_DISTORTION_ROWS * dv * sizeof(float)),
                    .run = fvi_alloc(seq->alloc, run),
                    .fit = fvi_alloc(seq->alloc, fit)};
    bool ok = out->k != NULL && out->v != NULL && out->k2 != NULL && out->v2 != NULL &&
              out->run != NULL && out->fit != NULL;
    return ok ? FOVEA_OK : FOVEA_ERR_NOMEM;
}

static void give_sample(const fvi_kv_seq *seq, sample *self)
{
    fvi_free(seq->alloc, self->k);
    fvi_free(seq->alloc, self->v);
    fvi_free(seq->alloc, self->k2);
    fvi_free(seq->alloc, self->v2);
    fvi_free(seq->alloc, self->run);
    fvi_free(seq->alloc, self->fit);
}

static double squared_distance(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sum;
}

/* Sum over rows of the squared distance to the mean row. */
static double spread(const float *x, uint32_t n, uint32_t d)
{
    double sum = 0.0;
    for (uint32_t c = 0; c < d; c++) {
        double first = 0.0;
        double second = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            double value = (double)x[(size_t)i * d + c];
            first += value;
            second += value * value;
        }
        sum += second - first * first / n;
    }
    return sum;
}

static double squared_norm(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

/* The sample as rows first.. of a run of that capacity. */
static double error_of(const fvi_codec *codec, const fvi_kv_shape *shape, const sample *s,
                       uint32_t capacity, uint32_t first)
{
    uint32_t dk = shape->dk, dv = shape->dv;
    if (codec == shape->codec) {
        return 0.0;
    }
    fvi_codec_encode(codec, s->run, capacity, dk, dv, first, s->n, s->k, dk, s->v, dv);
    fvi_codec_decode(codec, s->run, capacity, dk, dv, first, s->n, s->k2, dk, s->v2, dv);
    size_t n_k = (size_t)s->n * shape->dk;
    size_t n_v = (size_t)s->n * shape->dv;
    double keys = squared_distance(s->k, s->k2, n_k) / (spread(s->k, s->n, shape->dk) + TINY);
    double values = squared_distance(s->v, s->v2, n_v) / (squared_norm(s->v, n_v) + TINY);
    double e = sqrt(values + KEY_WEIGHT * keys);
    return e < 1.0 ? e : 1.0;
}

/* A list that lies as it was written, and where its errors go. */
typedef struct measured_list {
    fvi_kv_rows rows; /* its first */
    double *out;      /* [FOVEA_N_KIND] by codec */
} measured_list;

/* What the errors of a kind are measured with. */
typedef struct measuring {
    const uint8_t *modality;
    uint32_t n_token, n_candidate, stride;
    float rope_base; /* of the geometry */
    const fvi_codec *const *codecs;
    uint32_t n_codec, n_list, n_worker;
    measured_list *lists; /* [n_list] */
    sample *samples;      /* [n_worker] */
} measuring;

/* Candidates of a list, first..first+n-1 of them. */
typedef struct window {
    uint32_t first, n;
} window;

/* The rows with a fit of their own in the middle of the candidates; n 0: a kind has none. */
static window window_of(const fvi_codec *codec, uint32_t n_candidate, const fvi_kv_shape *shape)
{
    window w = {.n = fvi_codec_fit_rows(codec, n_candidate, shape->dk, shape->dv, 0)};
    while (w.n > 0 && w.first + w.n <= n_candidate / 2) {
        w.first += w.n;
        w.n = fvi_codec_fit_rows(codec, n_candidate, shape->dk, shape->dv, w.first);
    }
    return w;
}

/* As many candidates in the middle as a sample at the stride covers. */
static window middle_of(const measuring *self)
{
    uint32_t n = FVI_MIN(self->n_candidate, self->stride * FVI_DISTORTION_ROWS);
    return (window){.first = (self->n_candidate - n) / 2, .n = n};
}

/* A walk over every stride-th candidate of a window. */
typedef struct walk {
    fvi_kv_rows rows;
    uint32_t token, seen; /* tokens and candidates that were passed */
} walk;

/* Decodes the next ones into the sample, which then has as many; false: there are none. */
static bool next_rows(const measuring *self, window w, uint32_t stride, walk *at, sample *s)
{
    const fvi_kv_shape *shape = &at->rows.shape;
    bool vision_only = has_vision(self->modality, self->n_token);
    s->n = 0;
    for (; at->token < self->n_token && s->n < FVI_DISTORTION_ROWS; at->token++, at->rows.row++) {
        if (fvi_kv_rows_ready(&at->rows, 1) == 0) {
            break;
        }
        if (vision_only && self->modality[at->token] != FOVEA_MODALITY_VISION) {
            continue;
        }
        if (at->seen >= w.first && at->seen < w.first + w.n && (at->seen - w.first) % stride == 0) {
            fvi_codec_decode(shape->codec, at->rows.piece.data, at->rows.piece.n_row, shape->dk,
                             shape->dv, at->rows.row, 1, s->k + (size_t)s->n * shape->dk, shape->dk,
                             s->v + (size_t)s->n * shape->dv, shape->dv);
            s->n++;
        }
        at->seen++;
    }
    return s->n > 0;
}

/* The tokens of a window, to s->at. */
static void find_tokens(const measuring *self, window w, sample *s)
{
    bool vision_only = has_vision(self->modality, self->n_token);
    for (uint32_t token = 0, seen = 0; token < self->n_token && seen < w.first + w.n; token++) {
        if (!vision_only || self->modality[token] == FOVEA_MODALITY_VISION) {
            if (seen >= w.first) {
                s->at[seen - w.first] = token;
            }
            seen++;
        }
    }
}

static void fit_window(const measuring *self, const fvi_kv_rows *rows, window w, fvi_row_fit *fit,
                       sample *s)
{
    const fvi_kv_shape *shape = &rows->shape;
    fvi_row_fit_in(fit, s->fit, shape->dk, shape->dv);
    find_tokens(self, w, s);
    fvi_row_fit_turn(fit, self->rope_base, w.n, s->at);
    for (uint32_t pass = 0; pass < 2; pass++) {
        walk at = {.rows = *rows};
        while (next_rows(self, w, 1, &at, s)) {
            (pass == 0 ? fvi_row_fit_add : fvi_row_fit_span)(fit, s->n, s->k, shape->dk, s->v,
                                                             shape->dv);
        }
        if (pass == 0) {
            fvi_row_fit_solve(fit);
        }
    }
}

/* The errors of the kinds that are fitted, of a list whose rows begin at `rows`. */
static void measure_fitted(const measuring *self, const fvi_kv_rows *rows, sample *s, double *out)
{
    const fvi_kv_shape *shape = &rows->shape;
    fvi_row_fit fit;
    window fitted = {.n = 0}; /* what the fit is of */
    for (uint32_t c = 0; c < self->n_codec; c++) {
        const fvi_codec *codec = self->codecs[c];
        window w = window_of(codec, self->n_candidate, shape);
        if (w.n == 0) {
            continue;
        }
        if (w.first != fitted.first || w.n != fitted.n) {
            walk at = {.rows = *rows};
            fit_window(self, rows, w, &fit, s);
            uint32_t stride = (w.n + FVI_DISTORTION_ROWS - 1) / FVI_DISTORTION_ROWS;
            next_rows(self, w, stride, &at, s);
            fvi_row_fit_thin(&fit, stride);
            fitted = w;
        }
        fvi_codec_settle(codec, &fit, s->run, self->n_candidate, shape->dk, shape->dv, w.first);
        out[c] = error_of(codec, shape, s, self->n_candidate, w.first);
    }
}

/* The errors of the others. */
static void measure_plain(const measuring *self, const fvi_kv_rows *rows, sample *s, double *out)
{
    walk at = {.rows = *rows};
    next_rows(self, middle_of(self), self->stride, &at, s);
    for (uint32_t c = 0; c < self->n_codec; c++) {
        if (window_of(self->codecs[c], self->n_candidate, &rows->shape).n == 0) {
            out[c] = error_of(self->codecs[c], &rows->shape, s, s->n, 0);
        }
    }
}

/* Half a list: what is fitted takes longer, and comes first. */
static void half_part(void *arg, uint32_t nth, uint32_t worker)
{
    const measuring *self = arg;
    const measured_list *list = &self->lists[nth % self->n_list];
    (nth < self->n_list ? measure_fitted : measure_plain)(self, &list->rows, &self->samples[worker],
                                                          list->out);
}

/* The lists of a layer that lies as it was written are to be measured too. */
static void add_layer(const fvi_kv_seq *seq, uint32_t layer, measuring *self, double *out)
{
    fvi_kv_block *block = &seq->blocks[seq->n_block - 1];
    fvi_kv_shape base = fvi_kv_block_shape(seq->geom, block, layer, 0);
    fvi_kv_cursor at = fvi_kv_block_start(seq->pool, seq->geom, block, layer);
    for (uint32_t head = 0; head < seq->geom->layers[layer].n_kv_head; head++) {
        fvi_kv_rows rows = fvi_kv_rows_of(seq->pool, at, base, self->n_token);
        self->lists[self->n_list++] = (measured_list){rows, out + (size_t)head * FOVEA_N_KIND};
        fvi_kv_rows_skip(&rows, UINT32_MAX);
        at = rows.at;
    }
}

/* The errors of a layer, by codec, to where they are kept by kind, and back. */
static void keep_errors(const measuring *self, uint32_t n_head, const double *errors,
                        double *by_kind)
{
    for (uint32_t i = 0; i < n_head * FOVEA_N_KIND; i += FOVEA_N_KIND) {
        for (uint32_t c = 0; c < self->n_codec; c++) {
            by_kind[i + self->codecs[c]->kind] = errors[i + c];
        }
    }
}

static void recall_errors(const measuring *self, uint32_t n_head, const double *by_kind,
                          double *errors)
{
    for (uint32_t i = 0; i < n_head * FOVEA_N_KIND; i += FOVEA_N_KIND) {
        for (uint32_t c = 0; c < self->n_codec; c++) {
            errors[i + c] = by_kind[i + self->codecs[c]->kind];
        }
    }
}

static void give_measuring(const fvi_kv_seq *seq, measuring *self)
{
    for (uint32_t i = 0; self->samples != NULL && i < self->n_worker; i++) {
        give_sample(seq, &self->samples[i]);
    }
    fvi_free(seq->alloc, self->samples);
    fvi_free(seq->alloc, self->lists);
}

/* Room for the lists of n_layer layers and a sample for each worker. */
static fovea_status take_measuring(const fvi_kv_seq *seq, uint32_t n_layer, measuring *self)
{
    size_t n_list = (size_t)n_layer * fvi_kv_geom_max_kv_head(seq->geom);
    self->n_worker = fvi_pool_n_thread(fvi_kv_pool_workers(seq->pool));
    self->lists = fvi_calloc(seq->alloc, n_list, sizeof *self->lists);
    self->samples = fvi_calloc(seq->alloc, self->n_worker, sizeof *self->samples);
    if (self->lists == NULL || self->samples == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < self->n_worker; i++) {
        FVI_TRY(take_sample(seq, self->n_candidate, &self->samples[i]));
    }
    return FOVEA_OK;
}

/* The errors of the layers that were cut as they were kept; the others' lists are to be measured. */
static void find_lists(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                       measuring *self, double *out)
{
    const fvi_kv_cut *cut = seq->blocks[seq->n_block - 1].turn->cut;
    for (uint32_t layer = first_layer; layer < first_layer + n_layer; layer++) {
        uint32_t n_head = seq->geom->layers[layer].n_kv_head;
        size_t list = fvi_kv_geom_first_list(seq->geom, layer);
        if (cut != NULL && cut->layers[layer] != NULL) {
            recall_errors(self, n_head, cut->distortion + list * FOVEA_N_KIND, out);
        } else {
            add_layer(seq, layer, self, out);
        }
        out += (size_t)n_head * FOVEA_N_KIND;
    }
}

/* What was measured of layers that are not cut is kept: one of them may be next. */
static void keep_measured(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                          const measuring *self, const double *out)
{
    const fvi_kv_cut *cut = seq->blocks[seq->n_block - 1].turn->cut;
    for (uint32_t layer = first_layer; cut != NULL && layer < first_layer + n_layer; layer++) {
        uint32_t n_head = seq->geom->layers[layer].n_kv_head;
        size_t list = fvi_kv_geom_first_list(seq->geom, layer);
        if (cut->layers[layer] == NULL) {
            keep_errors(self, n_head, out, cut->distortion + list * FOVEA_N_KIND);
        }
        out += (size_t)n_head * FOVEA_N_KIND;
    }
}

fovea_status fvi_distortion_measure(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                                    const uint8_t *modality, uint32_t n_token,
                                    const fvi_codec *const *codecs, uint32_t n_codec,
                                    uint32_t stride, double *out)
{
    measuring self = {.modality = modality,
                      .n_token = n_token,
                      .n_candidate = fvi_distortion_candidates(modality, n_token),
                      .stride = stride,
                      .rope_base = seq->geom->rope_base,
                      .codecs = codecs,
                      .n_codec = n_codec};
    fovea_status status = take_measuring(seq, n_layer, &self);
    if (status == FOVEA_OK) {
        find_lists(seq, first_layer, n_layer, &self, out);
        fvi_pool_run(fvi_kv_pool_workers(seq->pool), 2 * self.n_list, half_part, &self);
        keep_measured(seq, first_layer, n_layer, &self, out);
    }
    give_measuring(seq, &self);
    return status;
}

/* ---- a plan's loss ---- */

/* Sums over all lists and tokens; errors: [n_list, FOVEA_N_KIND] by fovea_kind. */
static double loss_of(const fvi_kv_plan *plan, const float *mass, const double *errors)
{
    double spoilt = 0.0, all = 0.0;
    for (size_t i = 0; i < (size_t)plan->n_list * plan->n_token; i++) {
        double w = (double)mass[i];
        double e = plan->kind[i] == FVI_KV_DROP
                       ? 1.0
                       : errors[i / plan->n_token * FOVEA_N_KIND + plan->kind[i]];
        spoilt += w * e * w * e;
        all += w * w;
    }
    return all > 0.0 ? sqrt(spoilt / all) : NAN;
}

/* How far apart kept candidates lie in the mean. */
static double spacing_of(const fvi_kv_plan *plan, const uint8_t *modality)
{
    uint32_t n_candidate = fvi_distortion_candidates(modality, plan->n_token);
    bool vision_only = has_vision(modality, plan->n_token);
    uint64_t n_kept = 0;
    for (size_t i = 0; i < (size_t)plan->n_list * plan->n_token; i++) {
        bool counts = !vision_only || modality[i % plan->n_token] == FOVEA_MODALITY_VISION;
        n_kept += counts && plan->kind[i] != FVI_KV_DROP;
    }
    return (double)n_candidate * plan->n_list / (double)FVI_MAX(n_kept, 1u);
}

/* The errors of the plan's kinds to errors [n_list, FOVEA_N_KIND]. */
static fovea_status measure_plan(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                                 const fvi_kv_plan *plan, const uint8_t *modality, uint32_t stride,
                                 double *errors)
{
    const fvi_codec *codecs[FOVEA_N_KIND];
    for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
        /* kinds that do not occur are as the base: no work, no error */
        bool occurs = (plan->kinds >> kind & 1) != 0;
        codecs[kind] = fvi_codec_of(occurs ? (fovea_kind)kind : seq->geom->base);
    }
    return fvi_distortion_measure(seq, first_layer, n_layer, modality, plan->n_token, codecs,
                                  FOVEA_N_KIND, stride, errors);
}

fovea_status fvi_loss_estimate(const fvi_kv_seq *seq, uint32_t first_layer, uint32_t n_layer,
                               const fvi_kv_obs *obs, const fvi_kv_plan *plan,
                               const fvi_distortion *measured, const uint8_t *modality, double *out)
{
    size_t n_slot = (size_t)plan->n_list * plan->n_token;
    bool drops = memchr(plan->kind, FVI_KV_DROP, n_slot) != NULL;
    *out = 0.0;
    if (!drops && plan->kinds == 1u << seq->geom->base) {
        return FOVEA_OK;
    }
    *out = NAN;
    if (obs == NULL || obs->plane[FVI_PLANE_WINDOW_MASS] == NULL) {
        return FOVEA_OK;
    }
    const float *mass = obs->plane[FVI_PLANE_WINDOW_MASS];
    uint32_t stride = fvi_distortion_stride(modality, plan->n_token, spacing_of(plan, modality));
    if (measured->errors != NULL && measured->stride == stride) {
        *out = loss_of(plan, mass, measured->errors);
        return FOVEA_OK;
    }
    double *errors = fvi_calloc(seq->alloc, (size_t)plan->n_list * FOVEA_N_KIND, sizeof *errors);
    if (errors == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    fovea_status status = measure_plan(seq, first_layer, n_layer, plan, modality, stride, errors);
    if (status == FOVEA_OK) {
        *out = loss_of(plan, mass, errors);
    }
    fvi_free(seq->alloc, errors);
    return status;
}
