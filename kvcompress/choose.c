/* choose.c - what each kind costs and spoils in each list (distortion.c), handed to the recipe's budget.
 *
 * Called by plan.c. */
#include "kvcompress/choose.h"

#include "kvcompress/codecs.h"
#include "kvcompress/cut.h"
#include "kvcompress/row_fit.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define TINY 1e-20
#define STEP 16 /* rows */

typedef struct choices {
    const fvi_codec *codec[FOVEA_N_KIND];
    double row_bytes[FOVEA_N_KIND];  /* of the largest layer, a long run's mean; falling */
    bool fitted[FOVEA_N_KIND];       /* to the rows of a run (fvi_codec_fit_rows) */
    double step_bytes[FOVEA_N_KIND]; /* of one row more; less where a run's fit is paid for */
    uint32_t n;
    double *distortion; /* [n_list, FOVEA_N_KIND] relative error, n of them */
    uint32_t stride;    /* of the sample that they were measured on */
} choices;

bool fvi_choose_may_use(const fvi_kv_geom *geom, const fvi_codec *codec)
{
    return codec->kind == geom->base ||
           (codec->kind != FOVEA_KIND_F32 && codec->kind != FOVEA_KIND_F16);
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

static void set_choice(choices *self, uint32_t to, const choices *other, uint32_t from)
{
    self->codec[to] = other->codec[from];
    self->row_bytes[to] = other->row_bytes[from];
    self->fitted[to] = other->fitted[from];
    self->step_bytes[to] = other->step_bytes[from];
}

/* Bytes of a row more in a long run, where no fit more comes with it. */
static double row_step(const fvi_codec *codec, uint32_t n_row, const fvi_kv_layer_geom *g)
{
    double here = (double)fvi_codec_bytes(codec, n_row, g->dk, g->dv);
    double less = (double)fvi_codec_bytes(codec, n_row - STEP, g->dk, g->dv);
    double more = (double)fvi_codec_bytes(codec, n_row + STEP, g->dk, g->dv);
    return fmin(here - less, more - here) / STEP;
}

/* may_fit: what is fitted has room to lie unbroken. */
static void list_codecs(const fvi_kv_geom *geom, uint32_t n_candidate, bool may_fit, choices *out)
{
    uint32_t n_row = FVI_MAX(2 * FVI_DISTORTION_ROWS, n_candidate);
    out->n = 0;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        if (!fvi_choose_may_use(geom, codec) || (codec->fit_rows != NULL && !may_fit)) {
            continue;
        }
        double row = 0.0, step = 0.0;
        bool fitted = false;
        for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
            const fvi_kv_layer_geom *g = &geom->layers[layer];
            row = fmax(row, (double)fvi_codec_bytes(codec, n_row, g->dk, g->dv) / n_row);
            step = fmax(step, row_step(codec, n_row, g));
            fitted = fitted || fvi_codec_fit_rows(codec, n_row, g->dk, g->dv, 0) > 0;
        }
        uint32_t at = out->n++;
        for (; at > 0 && out->row_bytes[at - 1] < row; at--) {
            set_choice(out, at, out, at - 1);
        }
        const choices own = {.codec = {codec},
                             .row_bytes = {row},
                             .step_bytes = {fitted ? step : row},
                             .fitted = {fitted}};
        set_choice(out, at, &own, 0);
    }
}

static void remove_choice(choices *self, uint32_t n_list, uint32_t c)
{
    for (uint32_t i = c; i + 1 < self->n; i++) {
        set_choice(self, i, self, i + 1);
        for (uint32_t list = 0; list < n_list; list++) {
            double *e = self->distortion + (size_t)list * FOVEA_N_KIND;
            e[i] = e[i + 1];
        }
    }
    self->n--;
}

/* The nearest choice to c, dearer (step -1u) or cheaper (1), that may stand in for it: what is fitted is for
 * some tokens only. n: there is none. */
static uint32_t neighbour(const choices *self, uint32_t c, uint32_t step)
{
    uint32_t at = c + step;
    while (at < self->n && !self->fitted[c] && self->fitted[at]) {
        at += step;
    }
    return at < self->n ? at : self->n;
}

/* How far choice c lies below the line between its neighbours (the cheaper one of the last is dropping);
 * not positive: a mixture of the neighbours does as well. */
static double benefit(const choices *self, uint32_t n_list, uint32_t c)
{
    uint32_t below = neighbour(self, c, 1), above = neighbour(self, c, -1u);
    double cheap_bytes = below < self->n ? self->row_bytes[below] : 0.0;
    double cheap = below < self->n ? mean_square(self, n_list, below) : 1.0;
    double dear = mean_square(self, n_list, above);
    double share =
        (self->row_bytes[c] - cheap_bytes) / (self->row_bytes[above] - cheap_bytes + TINY);
    return cheap + share * (dear - cheap) - mean_square(self, n_list, c);
}

/* Leaves the lower hull. The first choice, the base kind, stays: what is always kept needs it. */
static void prune(choices *self, uint32_t n_list)
{
    for (uint32_t c = 1; c < self->n;) {
        if (benefit(self, n_list, c) <= 0.0) {
            remove_choice(self, n_list, c);
            c = 1; /* what lies between others lies otherwise now */
        } else {
            c++;
        }
    }
}

/* The last choice that is not fitted. */
static uint32_t coarsest_for_any(const choices *self)
{
    uint32_t c = self->n - 1;
    while (c > 0 && self->fitted[c]) {
        c--;
    }
    return c;
}

/* ---- the plan ---- */

static fovea_status measure(const fvi_kv_seq *seq, const fvi_select *select, uint32_t first_layer,
                            double target, choices *out)
{
    uint32_t n_candidate = fvi_distortion_candidates(select->modality, select->n_token);
    double all = (double)n_candidate * select->n_list * out->row_bytes[coarsest_for_any(out)];
    out->stride = fvi_distortion_stride(select->modality, select->n_token, all / target);
    return fvi_distortion_measure(seq, first_layer, select->geom->n_layer, select->modality,
                                  select->n_token, out->codec, out->n, out->stride,
                                  out->distortion);
}

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

/* What a cut has left to the final plan: for each token the first choice that takes no more than
 * what it is held in. */
static void find_least(const fvi_kv_seq *seq, const fvi_select *select, const choices *self,
                       uint8_t *least)
{
    size_t n_slot = (size_t)select->n_list * select->n_token;
    uint8_t first[UINT8_MAX + 1];
    choices all = {.n = 0};
    memset(first, FVI_CHOOSE_DROP, sizeof first);
    list_codecs(seq->geom, fvi_distortion_candidates(select->modality, select->n_token), true,
                &all);
    for (uint32_t i = 0; i < all.n; i++) {
        uint32_t c = 0;
        while (c + 1 < self->n && self->row_bytes[c] > all.row_bytes[i]) {
            c++;
        }
        first[all.codec[i]->kind] = (uint8_t)c;
    }
    memset(least, seq->geom->base, n_slot);
    fvi_kv_cut_kinds(seq->blocks[seq->n_block - 1].turn->cut, seq->geom, least);
    for (size_t i = 0; i < n_slot; i++) {
        least[i] = first[least[i]];
    }
}

/* What fvi_distortion_measure looked at. */
static uint8_t fitted_modality(const fvi_select *select)
{
    bool any = memchr(select->modality, FOVEA_MODALITY_VISION, select->n_token) != NULL;
    return any ? FOVEA_MODALITY_VISION : FOVEA_MODALITY_TEXT;
}

/* What a plan is chosen for, beside its choices. */
typedef struct chooser {
    const fvi_kv_seq *seq;
    fvi_select *select;
    choices *choices;
    uint8_t *least; /* [n_list, n_token] or NULL */
    uint8_t *chosen;
} chooser;

static fovea_status solve(const chooser *self, size_t target)
{
    fvi_select *select = self->select;
    choices *all = self->choices;
    sizer size = {.select = select, .choices = all};
    fvi_select_set_kinds(select, FVI_MIN(all->n, (uint32_t)FVI_CHOOSE_MAX));
    if (self->least != NULL) {
        find_least(self->seq, select, all, self->least);
    }
    const fvi_choose_ctx ctx = {.alloc = self->seq->alloc,
                                .workers = fvi_kv_pool_workers(self->seq->pool),
                                .scores = select->scores,
                                .modality = select->modality,
                                .always = select->always,
                                .least = self->least,
                                .distortion = all->distortion,
                                .row_bytes = all->row_bytes,
                                .step_bytes = all->step_bytes,
                                .is_fitted = all->fitted,
                                .fitted = fitted_modality(select),
                                .n_list = select->n_list,
                                .n_token = select->n_token,
                                .n_choice = all->n,
                                .target = target,
                                .list_bytes = list_bytes,
                                .turn_bytes = turn_bytes,
                                .user = &size};
    return select->recipe->budget->choose(&ctx, self->chosen);
}

/* The least used choice that may go: not the base kind, nor the last one beside it that any token may have. */
static uint32_t least_used(const choices *all, const double *used)
{
    uint32_t n_any = 0, least = 0;
    for (uint32_t c = 1; c < all->n; c++) {
        n_any += !all->fitted[c];
    }
    for (uint32_t c = 1; c < all->n; c++) {
        bool may_go = all->fitted[c] || n_any > 1;
        least = may_go && (least == 0 || used[c] < used[least]) ? c : least;
    }
    return least;
}

/* As many choices as a plan may have: those on which one of them all would spend most. */
static fovea_status settle_choices(const chooser *self, size_t target)
{
    choices *all = self->choices;
    double used[FOVEA_N_KIND] = {0};
    if (all->n <= FVI_CHOOSE_MAX) {
        return FOVEA_OK;
    }
    FVI_TRY(solve(self, target));
    for (size_t i = 0; i < (size_t)self->select->n_list * self->select->n_token; i++) {
        if (self->chosen[i] != FVI_CHOOSE_DROP) {
            used[self->chosen[i]] += all->row_bytes[self->chosen[i]];
        }
    }
    while (all->n > FVI_CHOOSE_MAX) {
        uint32_t c = least_used(all, used);
        memmove(used + c, used + c + 1, (FOVEA_N_KIND - c - 1) * sizeof *used);
        remove_choice(all, self->select->n_list, c);
    }
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

/* The errors by kind in place of choice. */
static fvi_distortion by_kind(const choices *self, uint32_t n_list)
{
    for (uint32_t list = 0; list < n_list; list++) {
        double *errors = self->distortion + (size_t)list * FOVEA_N_KIND, kind[FOVEA_N_KIND] = {0};
        for (uint32_t c = 0; c < self->n; c++) {
            kind[self->codec[c]->kind] = errors[c];
        }
        memcpy(errors, kind, sizeof kind);
    }
    return (fvi_distortion){.errors = self->distortion, .stride = self->stride};
}

/* Measures, on a sample as dense as the final plan keeps tokens, and leaves the choices worth having. */
static fovea_status find_choices(const chooser *self, uint32_t first_layer, size_t target,
                                 double final_target)
{
    const fvi_select *select = self->select;
    uint32_t n_candidate = fvi_distortion_candidates(select->modality, select->n_token);
    bool has_hole = fvi_kv_pool_has_hole(self->seq->pool, target);
    list_codecs(self->seq->geom, n_candidate, has_hole, self->choices);
    FVI_TRY(measure(self->seq, select, first_layer, final_target, self->choices));
    prune(self->choices, select->n_list);
    return settle_choices(self, target);
}

static fovea_status choose(const chooser *self, uint32_t first_layer, size_t target)
{
    fvi_select *select = self->select;
    bool to_cut = select->geom != self->seq->geom;
    double cap = to_cut ? select->recipe->prefill_cap : 1;
    /* a cut chooses kinds for its own bytes, not the final plan's: codes of codes that are much finer are nearly as
     * good as codes of the rows */
    FVI_TRY(find_choices(self, first_layer, target, (double)target / cap));
    do {
        FVI_TRY(solve(self, target));
    } while (drop_unused(select, self->choices, self->chosen));
    return FOVEA_OK;
}

fovea_status fvi_choose_plan(const fvi_kv_seq *seq, fvi_select *select, uint32_t first_layer,
                             size_t target, fvi_kv_plan *plan, fvi_distortion *measured)
{
    size_t n_slot = (size_t)select->n_list * select->n_token;
    bool was_cut = select->geom == seq->geom && seq->blocks[seq->n_block - 1].turn->cut != NULL;
    choices all = {.n = 0};
    all.distortion = fvi_calloc(seq->alloc, (size_t)select->n_list * FOVEA_N_KIND, sizeof(double));
    plan->kind = fvi_alloc(plan->alloc, n_slot);
    uint8_t *least = was_cut ? fvi_alloc(seq->alloc, n_slot) : NULL;
    fovea_status status = FOVEA_ERR_NOMEM;
    if (all.distortion != NULL && plan->kind != NULL && (least != NULL || !was_cut)) {
        const chooser self = {
            .seq = seq, .select = select, .choices = &all, .least = least, .chosen = plan->kind};
        status = choose(&self, first_layer, target);
    }
    fvi_free(seq->alloc, least);
    if (status < 0) {
        fvi_free(seq->alloc, all.distortion);
        return status;
    }
    write_kinds(select, &all, plan);
    *measured = by_kind(&all, select->n_list);
    return FOVEA_OK;
}
