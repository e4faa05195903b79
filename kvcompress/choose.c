/* choose.c - measures what each kind costs and spoils in each list, and hands that to the recipe's budget.
 *
 * The relative error of a kind in a list: e^2 = |v - v'|^2 / |v|^2 + KEY_FACTOR |k - k'|^2 / |k - mean k|^2,
 * summed over SAMPLE rows of the turn's vision tokens (all tokens without any). Keys are
 * compared with their spread, since what all keys share cancels in the softmax.
 * Called by plan.c. */
#include "kvcompress/choose.h"

#include "kvcompress/codecs.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define SAMPLE     64
#define KEY_FACTOR 0.3 /* of 1 and 0.3, the better one on tuning scenes */
#define TINY       1e-20

typedef struct choices {
    const fvi_codec *codec[FOVEA_N_KIND];
    double row_bytes[FOVEA_N_KIND]; /* of the largest layer */
    uint32_t n;
    double *distortion; /* [n_list, FOVEA_N_KIND] relative error, n of them */
} choices;

typedef struct sample {
    float *k, *v;   /* [SAMPLE, dk], [SAMPLE, dv] */
    float *k2, *v2; /* read back */
    uint8_t *run;   /* one run of SAMPLE rows in any kind */
    uint32_t n;
} sample;

bool fvi_choose_may_use(const fvi_kv_geom *geom, const fvi_codec *codec)
{
    return codec->kind == geom->base ||
           (codec->kind != FOVEA_KIND_F32 && codec->kind != FOVEA_KIND_F16);
}

/* ---- measuring ---- */

static fovea_status take_sample(const fvi_kv_seq *seq, sample *out)
{
    size_t dk = 0;
    size_t dv = 0;
    size_t run = 0;
    for (uint32_t layer = 0; layer < seq->geom->n_layer; layer++) {
        const fvi_kv_layer_geom *g = &seq->geom->layers[layer];
        dk = FVI_MAX(dk, (size_t)g->dk);
        dv = FVI_MAX(dv, (size_t)g->dv);
        for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
            run = FVI_MAX(run, fvi_codec_at(i)->bytes(SAMPLE, g->dk, g->dv));
        }
    }
    *out = (sample){.k = fvi_alloc(seq->alloc, SAMPLE * dk * sizeof(float)),
                    .v = fvi_alloc(seq->alloc, SAMPLE * dv * sizeof(float)),
                    .k2 = fvi_alloc(seq->alloc, SAMPLE * dk * sizeof(float)),
                    .v2 = fvi_alloc(seq->alloc, SAMPLE * dv * sizeof(float)),
                    .run = fvi_alloc(seq->alloc, run)};
    bool ok =
        out->k != NULL && out->v != NULL && out->k2 != NULL && out->v2 != NULL && out->run != NULL;
    return ok ? FOVEA_OK : FOVEA_ERR_NOMEM;
}

static void give_sample(const fvi_kv_seq *seq, sample *self)
{
    fvi_free(seq->alloc, self->k);
    fvi_free(seq->alloc, self->v);
    fvi_free(seq->alloc, self->k2);
    fvi_free(seq->alloc, self->v2);
    fvi_free(seq->alloc, self->run);
}

/* Decodes SAMPLE rows of one list, every stride-th candidate from the middle of them on; `rows` moves behind
 * the list. */
static void read_rows(const fvi_select *select, fvi_kv_rows *rows, bool vision_only,
                      uint32_t n_candidate, uint32_t stride, sample *out)
{
    const fvi_kv_shape *shape = &rows->shape;
    uint32_t n_wide = FVI_MIN(n_candidate, stride * SAMPLE);
    uint32_t first = (n_candidate - n_wide) / 2;
    uint32_t seen = 0;
    out->n = 0;
    for (uint32_t t = 0; t < select->n_token && fvi_kv_rows_ready(rows, 1) > 0; t++) {
        if (!vision_only || select->modality[t] == FOVEA_MODALITY_VISION) {
            if (out->n < SAMPLE && seen >= first && (seen - first) % stride == 0) {
                shape->codec->decode(rows->piece.data, rows->piece.n_row, shape->dk, shape->dv,
                                     rows->row, 1, out->k + (size_t)out->n * shape->dk, shape->dk,
                                     out->v + (size_t)out->n * shape->dv, shape->dv);
                out->n++;
            }
            seen++;
        }
        rows->row++;
    }
    fvi_kv_rows_skip(rows, UINT32_MAX);
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

static double error_of(const fvi_codec *codec, const fvi_kv_shape *shape, const sample *s)
{
    if (codec == shape->codec) {
        return 0.0;
    }
    codec->encode(s->run, s->n, shape->dk, shape->dv, 0, s->n, s->k, shape->dk, s->v, shape->dv);
    codec->decode(s->run, s->n, shape->dk, shape->dv, 0, s->n, s->k2, shape->dk, s->v2, shape->dv);
    size_t n_k = (size_t)s->n * shape->dk;
    size_t n_v = (size_t)s->n * shape->dv;
    double keys = squared_distance(s->k, s->k2, n_k) / (spread(s->k, s->n, shape->dk) + TINY);
    double values = squared_distance(s->v, s->v2, n_v) / (squared_norm(s->v, n_v) + TINY);
    double e = sqrt(values + KEY_FACTOR * keys);
    return e < 1.0 ? e : 1.0;
}

static fovea_status measure(const fvi_kv_seq *seq, const fvi_select *select, size_t target,
                            choices *out)
{
    const fvi_kv_geom *geom = seq->geom;
    fvi_kv_block *block = &seq->blocks[seq->n_block - 1];
    sample s;
    fovea_status status = take_sample(seq, &s);
    uint32_t n_vision = 0;
    for (uint32_t t = 0; t < select->n_token; t++) {
        n_vision += select->modality[t] == FOVEA_MODALITY_VISION;
    }
    /* neighbours are alike, which channel kinds live on: sample as densely as the budget is going to keep */
    uint32_t n_candidate = n_vision > 0 ? n_vision : select->n_token;
    double all = (double)n_candidate * select->n_list * out->row_bytes[out->n - 1];
    uint32_t stride =
        (uint32_t)FVI_MAX(1.0, FVI_MIN(all / (double)target + 0.5, (double)n_candidate));
    uint32_t list = 0;
    for (uint32_t layer = 0; layer < geom->n_layer && status == FOVEA_OK; layer++) {
        fvi_kv_shape base = fvi_kv_block_shape(geom, block, layer, 0);
        fvi_kv_cursor at = fvi_kv_block_start(seq->pool, geom, block, layer);
        for (uint32_t head = 0; head < geom->layers[layer].n_kv_head; head++, list++) {
            fvi_kv_rows rows = fvi_kv_rows_of(seq->pool, at, base, select->n_token);
            read_rows(select, &rows, n_vision > 0, n_candidate, stride, &s);
            at = rows.at;
            for (uint32_t c = 0; c < out->n; c++) {
                out->distortion[(size_t)list * FOVEA_N_KIND + c] =
                    error_of(out->codec[c], &base, &s);
            }
        }
    }
    give_sample(seq, &s);
    return status;
}

/* ---- the choices worth having ---- */

static double mean_square(const choices *self, uint32_t n_list, uint32_t c)
{
    double sum = 0.0;
    for (uint32_t list = 0; list < n_list; list++) {
        double e = self->distortion[(size_t)list * FOVEA_N_KIND + c];
        sum += e * e;
    }
    return sum / n_list;
}

static void list_codecs(const fvi_kv_geom *geom, choices *out)
{
    out->n = 0;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        if (!fvi_choose_may_use(geom, codec)) {
            continue;
        }
        double row = 0.0;
        for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
            const fvi_kv_layer_geom *g = &geom->layers[layer];
            row = fmax(row, (double)codec->bytes(2 * SAMPLE, g->dk, g->dv) / (2 * SAMPLE));
        }
        uint32_t at = out->n++;
        for (; at > 0 && out->row_bytes[at - 1] < row; at--) {
            out->codec[at] = out->codec[at - 1];
            out->row_bytes[at] = out->row_bytes[at - 1];
        }
        out->codec[at] = codec;
        out->row_bytes[at] = row;
    }
}

static void remove_choice(choices *self, uint32_t n_list, uint32_t c)
{
    for (uint32_t i = c; i + 1 < self->n; i++) {
        self->codec[i] = self->codec[i + 1];
        self->row_bytes[i] = self->row_bytes[i + 1];
        for (uint32_t list = 0; list < n_list; list++) {
            double *e = self->distortion + (size_t)list * FOVEA_N_KIND;
            e[i] = e[i + 1];
        }
    }
    self->n--;
}

/* How far choice c lies below the line between its neighbours (the cheaper one of the last is dropping);
 * not positive: a mixture of the neighbours does as well. */
static double benefit(const choices *self, uint32_t n_list, uint32_t c)
{
    double cheap_bytes = c + 1 < self->n ? self->row_bytes[c + 1] : 0.0;
    double cheap = c + 1 < self->n ? mean_square(self, n_list, c + 1) : 1.0;
    double dear = mean_square(self, n_list, c - 1);
    double share =
        (self->row_bytes[c] - cheap_bytes) / (self->row_bytes[c - 1] - cheap_bytes + TINY);
    return cheap + share * (dear - cheap) - mean_square(self, n_list, c);
}

/* Leaves the lower hull, and of that the most useful FVI_CHOOSE_MAX. The first choice, the base kind, stays:
 * what is always kept needs it. */
static void prune(choices *self, uint32_t n_list)
{
    for (;;) {
        uint32_t worst = 0;
        double least = INFINITY;
        for (uint32_t c = 1; c < self->n; c++) {
            double value = benefit(self, n_list, c);
            if (value < least) {
                least = value;
                worst = c;
            }
        }
        if (worst == 0 || (least > 0.0 && self->n <= FVI_CHOOSE_MAX)) {
            return;
        }
        remove_choice(self, n_list, worst);
    }
}

/* ---- the plan ---- */

typedef struct sizer {
    const fvi_select *select;
    const choices *choices;
} sizer;

static size_t list_bytes(const void *user, uint32_t list, const uint32_t *counts)
{
    const sizer *self = user;
    size_t n_bytes = 0;
    for (uint32_t c = 0; c < self->choices->n; c++) {
        fvi_kv_shape shape = fvi_kv_shape_of(self->select->geom, self->select->list_layer[list],
                                             self->choices->codec[c]);
        n_bytes += counts[c] > 0 ? fvi_kv_run_place_bytes(&shape, counts[c]) : 0;
    }
    return n_bytes;
}

static size_t turn_bytes(const void *user, size_t run_bytes, uint64_t n_slot)
{
    const sizer *self = user;
    return fvi_select_whole_bytes(self->select, run_bytes, n_slot);
}

/* Leaves out choices that no token has: their metadata is spent better on tokens. */
static bool drop_unused(const fvi_select *select, choices *self, const uint8_t *choice)
{
    bool used[FOVEA_N_KIND] = {true}; /* the base kind can always be had */
    for (size_t i = 0; i < (size_t)select->n_list * select->n_token; i++) {
        if (choice[i] != FVI_CHOOSE_DROP) {
            used[choice[i]] = true;
        }
    }
    uint32_t had = self->n;
    for (uint32_t c = had; c-- > 0;) {
        if (!used[c]) {
            remove_choice(self, select->n_list, c);
        }
    }
    return self->n < had;
}

static fovea_status choose(fvi_select *select, choices *self, size_t target, fvi_kv_plan *plan)
{
    sizer size = {.select = select, .choices = self};
    do {
        fvi_select_set_kinds(select, self->n);
        const fvi_choose_ctx ctx = {.alloc = plan->alloc,
                                    .scores = select->scores,
                                    .modality = select->modality,
                                    .always = select->always,
                                    .distortion = self->distortion,
                                    .row_bytes = self->row_bytes,
                                    .n_list = select->n_list,
                                    .n_token = select->n_token,
                                    .n_choice = self->n,
                                    .target = target,
                                    .list_bytes = list_bytes,
                                    .turn_bytes = turn_bytes,
                                    .user = &size};
        FVI_TRY(select->recipe->budget->choose(&ctx, plan->kind));
    } while (drop_unused(select, self, plan->kind));
    return FOVEA_OK;
}

/* Choices become kinds. All of them count as kinds of the plan: so it was sized. */
static void write_kinds(const fvi_select *select, const choices *self, fvi_kv_plan *plan)
{
    sizer size = {.select = select, .choices = self};
    size_t run_bytes = 0;
    for (uint32_t c = 0; c < self->n; c++) {
        plan->kinds |= 1u << self->codec[c]->kind;
    }
    for (uint32_t list = 0; list < select->n_list; list++) {
        uint8_t *kind = plan->kind + (size_t)list * select->n_token;
        uint32_t counts[FOVEA_N_KIND] = {0};
        for (uint32_t t = 0; t < select->n_token; t++) {
            if (kind[t] != FVI_CHOOSE_DROP) {
                counts[kind[t]]++;
                plan->n_slot++;
            }
            kind[t] =
                kind[t] == FVI_CHOOSE_DROP ? FVI_KV_DROP : (uint8_t)self->codec[kind[t]]->kind;
        }
        run_bytes += list_bytes(&size, list, counts);
    }
    plan->n_bytes = fvi_select_whole_bytes(select, run_bytes, plan->n_slot);
}

fovea_status fvi_choose_plan(const fvi_kv_seq *seq, fvi_select *select, size_t target,
                             fvi_kv_plan *plan)
{
    size_t n_slot = (size_t)select->n_list * select->n_token;
    choices all = {.n = 0};
    all.distortion = fvi_calloc(seq->alloc, (size_t)select->n_list * FOVEA_N_KIND, sizeof(double));
    plan->kind = fvi_alloc(plan->alloc, n_slot);
    fovea_status status = all.distortion != NULL && plan->kind != NULL ? FOVEA_OK : FOVEA_ERR_NOMEM;
    if (status == FOVEA_OK) {
        list_codecs(seq->geom, &all);
        status = measure(seq, select, target, &all);
    }
    if (status == FOVEA_OK) {
        prune(&all, select->n_list);
        status = choose(select, &all, target, plan);
    }
    if (status == FOVEA_OK) {
        write_kinds(select, &all, plan);
    }
    fvi_free(seq->alloc, all.distortion);
    return status;
}
