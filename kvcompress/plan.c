/* plan.c - making a plan: what the recipe wants of this turn, scores, selection, the floor.
 *
 * The floor: G bytes is the most by which a selection can stay below its target (the last granule, and a
 * row that does not fit any more), so targets of 20 G and more are met within 5%; and every list must hold
 * its least tokens. Called by the engine. */
#include "kvcompress/plan.h"

#include "kvcompress/choose.h"
#include "kvcompress/select.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

#define N_BREAK 4 /* pieces that a target in a fragmented pool leaves room for */

/* A turn and what the recipe makes of it before any score is known. */
typedef struct intent {
    const fvi_kv_span *spans; /* of the turn; only lengths and tags are read */
    uint32_t n_span, n_token;
    bool first_turn;
    fvi_select select;
    size_t all_bytes, floor_bytes, target;
    size_t gap;  /* the most by which a selection stays below its target */
    size_t step; /* the most by which one token lengthens a run */
    bool keep_all;
} intent;

static bool chooses(const fvi_recipe *recipe)
{
    return recipe->budget != NULL && recipe->budget->choose != NULL;
}

static fovea_status choose_kinds(intent *self, fovea_error *err)
{
    fvi_select *select = &self->select;
    bool occurs[FOVEA_N_MODALITY] = {false};
    for (uint32_t i = 0; i < self->n_span; i++) {
        occurs[self->spans[i].modality] = true;
    }
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        const fvi_codec *codec = select->recipe->codec[m];
        select->codec[m] = codec != NULL ? codec : fvi_codec_of(select->geom->base);
        if (select->codec[m]->kind == FOVEA_KIND_F32 && select->geom->base != FOVEA_KIND_F32) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s=f32 needs f32 precision",
                            m == FOVEA_MODALITY_VISION ? "vision" : "text");
        }
        if (occurs[m]) {
            select->kinds |= 1u << select->codec[m]->kind;
        }
    }
    if (self->first_turn && select->recipe->n_exact > 0) {
        select->kinds |= 1u << select->geom->base;
    }
    fvi_select_set_kinds(select, (uint32_t)__builtin_popcount(select->kinds));
    if (chooses(select->recipe)) {
        if (select->recipe->codec[0] != NULL || select->recipe->codec[1] != NULL) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: budget '%s' chooses kinds by itself; text= and "
                                                "vision= do not go with it",
                            select->recipe->budget->name);
        }
    }
    return FOVEA_OK;
}

/* Counts the tokens that are always kept; marks them where there is a table for it. */
static void mark_always(intent *self)
{
    fvi_select *select = &self->select;
    const fvi_recipe *recipe = select->recipe;
    uint32_t first = 0, n_sink = self->first_turn ? recipe->n_sink : 0;
    uint32_t n_exact = self->first_turn ? recipe->n_exact : 0;
    uint32_t n_left[FOVEA_N_MODALITY] = {0}; /* tokens of the modality from here on */
    for (uint32_t i = 0; i < self->n_span; i++) {
        n_left[self->spans[i].modality] += self->spans[i].n;
    }
    memset(select->n_exact, 0, sizeof select->n_exact);
    memset(select->n_least, 0, sizeof select->n_least);
    for (uint32_t i = 0; i < self->n_span; i++) {
        const fvi_kv_span *span = &self->spans[i];
        bool is_protected = (span->flags & FVI_KV_TAG_PROTECTED) != 0;
        for (uint32_t t = first; t < first + span->n; t++) {
            bool is_late = n_left[span->modality]-- <= recipe->protect[span->modality];
            bool is_exact = t < n_exact;
            bool is_always = is_protected || is_late || t < n_sink || is_exact;
            select->n_exact[span->modality] += is_exact;
            select->n_least[span->modality] += is_always;
            if (select->always != NULL) {
                select->always[t] = is_exact ? FVI_SELECT_EXACT : is_always;
                select->modality[t] = span->modality;
            }
        }
        first += span->n;
    }
    select->n_always = select->n_least[0] + select->n_least[1];
    select->min_list = FVI_MAX(select->n_always, 1);
}

/* The largest step in bytes from a run of n rows to one of n + 1. */
static size_t largest_step(const fvi_kv_shape *shape)
{
    size_t step = 0, had = 0;
    /* two groups of tokens per channel: all that makes a step larger than another happens in them */
    for (uint32_t n = 1; n <= 2 * FVI_CODEC_ROWS; n++) {
        size_t n_bytes = fvi_kv_run_bytes(shape, n);
        step = FVI_MAX(step, n_bytes - had);
        had = n_bytes;
    }
    return step;
}

static size_t largest_choice_step(const fvi_kv_geom *geom)
{
    size_t step = 0;
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
            fvi_kv_shape shape = fvi_kv_shape_of(geom, layer, fvi_codec_at(i));
            if (fvi_choose_may_use(geom, shape.codec)) {
                step = FVI_MAX(step, largest_step(&shape));
            }
        }
    }
    return step;
}

/* Bytes of a list that keeps as little as it may, and the largest step from there on. */
static void find_least(const intent *self, uint32_t layer, size_t *least, size_t *step)
{
    const fvi_select *select = &self->select;
    *least = select->n_always > 0 ? fvi_select_runs_bytes(select, layer, select->n_least) : 0;
    *step = 0;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        fvi_kv_shape shape = fvi_kv_shape_of(select->geom, layer, select->codec[m]);
        if ((select->kinds >> select->codec[m]->kind & 1) != 0) {
            *step = FVI_MAX(*step, largest_step(&shape));
            *least =
                select->n_always > 0 ? *least : FVI_MAX(*least, fvi_kv_run_place_bytes(&shape, 1));
        }
    }
}

/* Bytes when everything stays, and the floor. */
static void find_limits(intent *self)
{
    fvi_select *select = &self->select;
    uint32_t n_of[FOVEA_N_MODALITY] = {0};
    for (uint32_t i = 0; i < self->n_span; i++) {
        n_of[self->spans[i].modality] += self->spans[i].n;
    }
    size_t all = 0, least = 0, row = 0;
    for (uint32_t layer = 0; layer < select->geom->n_layer; layer++) {
        uint32_t n_head = select->geom->layers[layer].n_kv_head;
        size_t layer_least, layer_step;
        find_least(self, layer, &layer_least, &layer_step);
        all += n_head * fvi_select_runs_bytes(select, layer, n_of);
        least += n_head * layer_least;
        row = FVI_MAX(row, layer_step);
    }
    uint64_t n_all = (uint64_t)select->n_list * self->n_token;
    uint64_t n_least = (uint64_t)select->n_list * select->min_list;
    self->step = row + FVI_RUN_ALIGN - 1;
    self->gap =
        select->granule + (self->step <= select->granule ? 0 : self->step) + FVI_RUN_ALIGN + 1;
    if (chooses(select->recipe)) { /* fills up with the base kind, but breaks runs of any kind */
        self->step = FVI_MAX(self->step, largest_choice_step(select->geom) + FVI_RUN_ALIGN - 1);
    }
    self->all_bytes = fvi_select_whole_bytes(select, all, n_all);
    if (chooses(select->recipe)) { /* where not all is kept, in up to that many kinds */
        fvi_select_set_kinds(select, FVI_CHOOSE_MAX);
    }
    self->floor_bytes = FVI_MAX(fvi_select_whole_bytes(select, least, n_least), 20 * self->gap);
    fvi_select_set_kinds(select, (uint32_t)__builtin_popcount(select->kinds));
    self->floor_bytes = FVI_MIN(self->floor_bytes, self->all_bytes);
}

static fovea_status find_target(intent *self, fovea_error *err)
{
    const fvi_recipe *recipe = self->select.recipe;
    size_t full = self->n_token * fvi_kv_geom_token_bytes(self->select.geom, FOVEA_KIND_F16);
    switch (recipe->unit) {
    case FVI_BUDGET_NONE: self->keep_all = true; return FOVEA_OK;
    case FVI_BUDGET_KEEP:
        self->keep_all = recipe->amount >= 1;
        if (chooses(recipe) && !self->keep_all) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: budget '%s' needs bytes=, not keep=",
                            recipe->budget->name);
        }
        return FOVEA_OK;
    case FVI_BUDGET_PERCENT:
        self->keep_all = recipe->amount >= 100;
        self->target = (size_t)(FVI_MIN(recipe->amount, 100.0) / 100 * (double)full);
        break;
    case FVI_BUDGET_BYTES: self->target = (size_t)recipe->amount; break;
    }
    self->keep_all = self->keep_all || self->all_bytes <= self->target;
    if (!self->keep_all && self->target < self->floor_bytes) {
        return FVI_FAIL(err, FOVEA_ERR_BUDGET,
                        "recipe: %zu bytes asked, the least for this prompt is %zu", self->target,
                        self->floor_bytes);
    }
    return FOVEA_OK;
}

static fovea_status intend(intent *self, fovea_error *err)
{
    fvi_select *select = &self->select;
    const fvi_kv_geom *geom = select->geom;
    select->n_list = fvi_kv_geom_n_list(geom);
    select->n_token = self->n_token;
    select->n_span = self->n_span;
    select->first_turn = self->first_turn;
    FVI_TRY(choose_kinds(self, err));
    mark_always(self);
    find_limits(self);
    return find_target(self, err);
}

/* The intent for the sequence's last turn. */
static fovea_status intend_turn(const fvi_kv_seq *seq, const fvi_recipe *recipe, intent *self,
                                fovea_error *err)
{
    if (seq->n_block == 0 || seq->blocks[seq->n_block - 1].turn == NULL ||
        !seq->blocks[seq->n_block - 1].turn->fresh) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "there is no turn to plan");
    }
    const fvi_kv_turn *turn = seq->blocks[seq->n_block - 1].turn;
    uint32_t first = 0;
    while (seq->spans[first].first < turn->first) {
        first++;
    }
    *self = (intent){.spans = seq->spans + first,
                     .n_span = seq->n_span - first,
                     .n_token = turn->n_token,
                     .first_turn = turn->first == 0};
    self->select.alloc = seq->alloc;
    self->select.geom = seq->geom;
    self->select.recipe = recipe;
    self->select.granule = fvi_kv_pool_granule(seq->pool);
    return intend(self, err);
}

bool fvi_kv_plan_wanted(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    if (fvi_recipe_is_none(recipe) || seq->n_block == 0 ||
        seq->blocks[seq->n_block - 1].turn == NULL) {
        return false;
    }
    uint32_t first = seq->blocks[seq->n_block - 1].turn->first;
    for (uint32_t i = 0; i < seq->n_span; i++) {
        if (seq->spans[i].first >= first && seq->spans[i].modality == FOVEA_MODALITY_VISION) {
            return true;
        }
    }
    return first == 0;
}

static uint32_t needs_of(const fvi_recipe *recipe)
{
    uint32_t needs = recipe->scorer->needs | recipe->budget->needs;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        needs |= recipe->merger[m] != NULL ? recipe->merger[m]->needs : 0;
    }
    return needs;
}

uint32_t fvi_kv_plan_needs(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    intent self;
    if (!fvi_kv_plan_wanted(seq, recipe) || recipe->scorer == NULL ||
        intend_turn(seq, recipe, &self, NULL) < 0 || self.keep_all) {
        return 0;
    }
    return needs_of(recipe);
}

fovea_status fvi_kv_plan_check(const fvi_kv_geom *geom, size_t granule, const fvi_kv_span *spans,
                               uint32_t n_span, uint32_t n_token, const fvi_recipe *recipe,
                               size_t *floor_bytes, fovea_error *err)
{
    intent self = {.spans = spans, .n_span = n_span, .n_token = n_token, .first_turn = true};
    self.select.geom = geom;
    self.select.recipe = recipe;
    self.select.granule = granule;
    fovea_status status = intend(&self, err);
    *floor_bytes = self.floor_bytes;
    return status;
}

/* ---- making ---- */

static fovea_status take_tables(fvi_select *select, uint32_t *list_layer)
{
    const fovea_alloc *alloc = select->alloc;
    size_t n_list = select->n_list, n_token = select->n_token, n_slot = n_list * n_token;
    select->modality = fvi_calloc(alloc, n_token, 1);
    select->always = fvi_calloc(alloc, n_token, 1);
    select->order = fvi_calloc(alloc, n_slot, sizeof *select->order);
    select->n_vision = fvi_calloc(alloc, n_slot, sizeof *select->n_vision);
    select->budget = fvi_calloc(alloc, n_list, sizeof *select->budget);
    select->high = fvi_calloc(alloc, n_list, sizeof *select->high);
    select->weights = fvi_calloc(alloc, n_list, sizeof *select->weights);
    select->scratch = fvi_calloc(alloc, n_list, sizeof *select->scratch);
    select->scores = fvi_calloc(alloc, n_slot, sizeof *select->scores);
    select->sort = fvi_calloc(alloc, 4 * n_token, sizeof *select->sort);
    if (select->modality == NULL || select->always == NULL || select->order == NULL ||
        select->n_vision == NULL || select->budget == NULL || select->high == NULL ||
        select->weights == NULL || select->scratch == NULL || select->scores == NULL ||
        select->sort == NULL || list_layer == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    select->list_layer = list_layer;
    for (uint32_t layer = 0, list = 0; layer < select->geom->n_layer; layer++) {
        for (uint32_t head = 0; head < select->geom->layers[layer].n_kv_head; head++) {
            select->high[list] = select->n_token;
            list_layer[list++] = layer;
        }
    }
    return FOVEA_OK;
}

static void give_tables(fvi_select *select)
{
    const fovea_alloc *alloc = select->alloc;
    fvi_free(alloc, select->modality);
    fvi_free(alloc, select->always);
    fvi_free(alloc, select->order);
    fvi_free(alloc, select->n_vision);
    fvi_free(alloc, select->budget);
    fvi_free(alloc, select->high);
    fvi_free(alloc, select->weights);
    fvi_free(alloc, select->scratch);
    fvi_free(alloc, select->scores);
    fvi_free(alloc, select->sort);
}

static fovea_status score_lists(intent *self, const fvi_kv_obs *obs)
{
    fvi_select *select = &self->select;
    fvi_kv_span *spans = fvi_calloc(select->alloc, self->n_span, sizeof *spans);
    if (spans == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t i = 0, first = 0; i < self->n_span; i++) {
        spans[i] = self->spans[i];
        spans[i].first = first;
        first += spans[i].n;
    }
    const fvi_score_ctx ctx = {.alloc = select->alloc,
                               .geom = select->geom,
                               .obs = obs,
                               .spans = spans,
                               .n_span = self->n_span,
                               .n_token = self->n_token,
                               .seed = select->recipe->seed};
    float *scores = select->scores;
    fovea_status status = FOVEA_OK;
    for (uint32_t layer = 0; layer < select->geom->n_layer && status >= 0; layer++) {
        status = select->recipe->scorer->score(&ctx, layer, scores);
        scores += (size_t)select->geom->layers[layer].n_kv_head * self->n_token;
    }
    fvi_free(select->alloc, spans);
    return status;
}

/* What to aim at. Where the sealed chain will break, a few pieces cost their descriptors, the rest of a row
 * each or another group of scales, and so perhaps a granule; the target leaves room for that as far as 0.95 of it is still met. */
static size_t aim(const intent *self, const fvi_kv_pool *pool)
{
    if (fvi_kv_pool_has_hole(pool, self->target)) {
        return self->target;
    }
    size_t spare = self->select.granule + N_BREAK * (sizeof(fvi_kv_extent) + self->step);
    return self->target - FVI_MIN(spare, self->target / 20 - self->gap);
}

/* Chooses how many tokens each list keeps, select->order says which. */
static fovea_status choose_tokens(intent *self, const fvi_kv_pool *pool, const fvi_kv_obs *obs)
{
    fvi_select *select = &self->select;
    if (!self->keep_all) {
        FVI_TRY(score_lists(self, obs));
    }
    fvi_select_order(select);
    uint64_t most = (uint64_t)select->n_list * self->n_token;
    if (self->keep_all) {
        memcpy(select->budget, select->high, select->n_list * sizeof *select->budget);
        return FOVEA_OK;
    }
    if (select->recipe->unit != FVI_BUDGET_KEEP) {
        return fvi_select_target(select, obs, aim(self, pool));
    }
    uint64_t total = (uint64_t)floor(select->recipe->amount * (double)most + 0.5);
    total = FVI_MAX(total, (uint64_t)select->n_list * select->min_list);
    return fvi_select_total(select, obs, FVI_MIN(total, most));
}

static fovea_status write_plan(const intent *self, fvi_kv_plan *plan)
{
    const fvi_select *select = &self->select;
    size_t n_slot = (size_t)select->n_list * self->n_token;
    plan->kind = fvi_alloc(plan->alloc, n_slot);
    if (plan->kind == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    memset(plan->kind, FVI_KV_DROP, n_slot);
    for (uint32_t list = 0; list < select->n_list; list++) {
        size_t row = (size_t)list * self->n_token;
        for (uint32_t i = 0; i < select->budget[list]; i++) {
            uint32_t token = select->order[row + i];
            plan->kind[row + token] = select->always[token] == FVI_SELECT_EXACT
                                          ? (uint8_t)select->geom->base
                                          : (uint8_t)select->codec[select->modality[token]]->kind;
        }
        plan->n_slot += select->budget[list];
    }
    plan->kinds = select->kinds;
    plan->n_bytes = fvi_select_bytes(select);
    return FOVEA_OK;
}

static fovea_status fill_plan(const fvi_kv_seq *seq, intent *self, const fvi_kv_obs *obs,
                              fvi_kv_plan *plan)
{
    if (chooses(self->select.recipe) && !self->keep_all) {
        FVI_TRY(score_lists(self, obs));
        return fvi_choose_plan(seq, &self->select, aim(self, seq->pool), plan);
    }
    FVI_TRY(choose_tokens(self, seq->pool, obs));
    return write_plan(self, plan);
}

/* The plan takes over the tables that tell which tokens may be folded into which. */
static void take_merging(intent *self, const fvi_kv_obs *obs, fvi_kv_plan *plan)
{
    fvi_select *select = &self->select;
    plan->merging = (fvi_merging){.seed = select->recipe->seed,
                                  .obs = obs,
                                  .modality = select->modality,
                                  .always = select->always};
    memcpy(plan->merging.merger, select->recipe->merger, sizeof plan->merging.merger);
    select->modality = NULL;
    select->always = NULL;
}

fovea_status fvi_kv_plan_make(const fvi_kv_seq *seq, const fvi_recipe *recipe,
                              const fvi_kv_obs *obs, fvi_kv_plan **out, fovea_error *err)
{
    *out = NULL;
    intent self;
    FVI_TRY(intend_turn(seq, recipe, &self, err));
    uint32_t needs = self.keep_all ? 0 : needs_of(recipe);
    if (seq->state != FVI_KV_IDLE ||
        (needs != 0 && (obs == NULL || (needs & ~obs->needs) != 0 || obs->n_token != self.n_token ||
                        obs->n_list != self.select.n_list))) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "the turn was not observed as the recipe needs");
    }
    fvi_kv_plan *plan = fvi_calloc(seq->alloc, 1, sizeof *plan);
    uint32_t *list_layer = fvi_calloc(seq->alloc, self.select.n_list, sizeof *list_layer);
    fovea_status status = FOVEA_ERR_NOMEM;
    if (plan != NULL) {
        plan->alloc = seq->alloc;
        status = take_tables(&self.select, list_layer);
    }
    if (status >= 0) {
        plan->n_list = self.select.n_list;
        plan->n_token = self.n_token;
        plan->floor_bytes = self.floor_bytes;
        mark_always(&self);
        status = fill_plan(seq, &self, obs, plan);
        take_merging(&self, obs, plan);
    }
    give_tables(&self.select);
    fvi_free(seq->alloc, list_layer);
    if (status < 0) {
        fvi_kv_plan_free(&plan);
        return FVI_FAIL(err, status, "making the plan: %s", fovea_status_text(status));
    }
    *out = plan;
    return FOVEA_OK;
}

void fvi_kv_plan_free(fvi_kv_plan **plan)
{
    fvi_kv_plan *self = *plan;
    *plan = NULL;
    if (self != NULL) {
        fvi_free(self->alloc, self->merging.modality);
        fvi_free(self->alloc, self->merging.always);
        fvi_free(self->alloc, self->kind);
        fvi_free(self->alloc, self);
    }
}
