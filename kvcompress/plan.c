/* plan.c - making a plan: scores, selection, kinds.
 *
 * What the recipe wants of the turn and whether its budget can hold it is known before (plan_intent.h). Called
 * by the engine. */
#include "kvcompress/plan.h"

#include "kvcompress/choose.h"
#include "kvcompress/codecs.h"
#include "kvcompress/cut.h"
#include "kvcompress/distortion.h"
#include "kvcompress/plan_intent.h"
#include "kvcompress/seq_internal.h"

#define N_BREAK 4 /* pieces that a target in a fragmented pool leaves room for */

/* Whether tokens of the sequence's last turn may go or change their kind. */
static bool is_cut(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    if (!fvi_recipe_plans(recipe)) {
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

/* A run that is fitted and breaks lies as rows of int4 in every piece, many times as long: where there is no hole
 * for all of a plan, int4 is what is planned with. */
static bool may_break(const fvi_intent *self, const fvi_kv_pool *pool)
{
    const fvi_codec *codec = self->select.recipe->codec[FOVEA_MODALITY_VISION];
    return codec != NULL && codec->fit_rows != NULL &&
           !fvi_kv_pool_has_hole(pool, self->target > 0 ? self->target : self->all_bytes);
}

/* The intent for the sequence's last turn; geom: the sequence's or one layer of it. */
static fovea_status intend_turn(const fvi_kv_seq *seq, const fvi_kv_geom *geom,
                                const fvi_recipe *recipe, fvi_intent *self, fovea_error *err)
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
    *self = (fvi_intent){.spans = seq->spans + first,
                         .n_span = seq->n_span - first,
                         .n_token = turn->n_token,
                         .first_turn = turn->first == 0};
    self->select.alloc = seq->alloc;
    self->select.geom = geom;
    self->select.recipe = recipe;
    self->select.granule = fvi_kv_pool_granule(seq->pool);
    FVI_TRY(fvi_intend(self, err));
    if (may_break(self, seq->pool)) {
        fvi_recipe *unbroken = &self->unbroken;
        *unbroken = *recipe;
        unbroken->codec[FOVEA_MODALITY_VISION] = fvi_codec_of(FOVEA_KIND_INT4);
        self->select.recipe = unbroken;
        self->select.kinds = 0;
        FVI_TRY(fvi_intend(self, err));
    }
    self->keep_all = self->keep_all || !is_cut(seq, recipe);
    return FOVEA_OK;
}

bool fvi_kv_plan_wanted(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    return seq->n_block > 0 && seq->blocks[seq->n_block - 1].turn != NULL &&
           (recipe->recall != NULL || is_cut(seq, recipe)); /* pages are made of everything */
}

static uint32_t needs_of(const fvi_recipe *recipe)
{
    uint32_t needs = recipe->scorer->needs | recipe->budget->needs;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        needs |= recipe->merger[m] != NULL ? recipe->merger[m]->needs : 0;
    }
    return needs;
}

/* For what is done while decoding. */
static uint32_t needs_of_reviser(const fvi_recipe *recipe)
{
    const fvi_scorer *prompt = recipe->reviser != NULL ? recipe->reviser->prompt : NULL;
    return prompt != NULL ? prompt->needs : 0;
}

uint32_t fvi_kv_recipe_needs(const fvi_recipe *recipe)
{
    return needs_of_reviser(recipe) | (recipe->scorer != NULL ? needs_of(recipe) : 0);
}

uint32_t fvi_kv_plan_needs(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    fvi_intent self;
    uint32_t needs = needs_of_reviser(recipe);
    if (!fvi_kv_plan_wanted(seq, recipe) || recipe->scorer == NULL ||
        intend_turn(seq, seq->geom, recipe, &self, NULL) < 0 || self.keep_all) {
        return needs;
    }
    return needs | needs_of(recipe);
}

bool fvi_kv_plan_cuts(const fvi_kv_seq *seq, const fvi_recipe *recipe)
{
    fvi_intent self;
    return fvi_kv_plan_wanted(seq, recipe) &&
           intend_turn(seq, seq->geom, recipe, &self, NULL) >= 0 && !self.keep_all;
}

fovea_status fvi_kv_plan_check(const fvi_kv_geom *geom, size_t granule, const fvi_kv_span *spans,
                               uint32_t n_span, uint32_t n_token, const fvi_recipe *recipe,
                               size_t *floor_bytes, fovea_error *err)
{
    fvi_intent self = {.spans = spans, .n_span = n_span, .n_token = n_token, .first_turn = true};
    self.select.geom = geom;
    self.select.recipe = recipe;
    self.select.granule = granule;
    fovea_status status = fvi_intend(&self, err);
    *floor_bytes = self.floor_bytes;
    return status;
}

/* ---- making ---- */

/* Divides the tables of all tokens among the parts. */
static void set_parts(fvi_select *select)
{
    size_t slot = 0, list = 0, token = 0;
    for (uint32_t p = 0; p < select->n_part; p++) {
        fvi_select_part *part = &select->part[p];
        part->token = select->token + token;
        part->scores = select->scores + slot;
        part->order = select->order + slot;
        part->n_vision = select->n_vision + slot;
        part->budget = select->budget + list;
        part->high = select->high + list;
        part->weights = select->weights + list;
        for (uint32_t i = 0; i < select->n_list; i++) {
            part->high[i] = part->n;
        }
        for (uint32_t t = 0, n = 0; t < select->n_token; t++) {
            if (part->any || part->modality == select->modality[t]) {
                part->token[n++] = t;
            }
        }
        slot += (size_t)select->n_list * part->n;
        list += select->n_list;
        token += part->n;
    }
}

static fovea_status take_tables(fvi_select *select, uint32_t *list_layer)
{
    const fovea_alloc *alloc = select->alloc;
    size_t n_list = select->n_list, n_token = select->n_token, n_slot = n_list * n_token;
    size_t n_part_list = n_list * select->n_part;
    select->modality = fvi_calloc(alloc, n_token, 1);
    select->always = fvi_calloc(alloc, n_token, 1);
    select->token = fvi_calloc(alloc, n_token, sizeof *select->token);
    select->order = fvi_calloc(alloc, n_slot, sizeof *select->order);
    select->n_vision = fvi_calloc(alloc, n_slot, sizeof *select->n_vision);
    select->budget = fvi_calloc(alloc, n_part_list, sizeof *select->budget);
    select->high = fvi_calloc(alloc, n_part_list, sizeof *select->high);
    select->weights = fvi_calloc(alloc, n_part_list, sizeof *select->weights);
    select->scratch = fvi_calloc(alloc, n_list, sizeof *select->scratch);
    select->scores = fvi_calloc(alloc, n_slot, sizeof *select->scores);
    select->sort = fvi_calloc(alloc, 4 * n_token, sizeof *select->sort);
    if (select->modality == NULL || select->always == NULL || select->token == NULL ||
        select->order == NULL || select->n_vision == NULL || select->budget == NULL ||
        select->high == NULL || select->weights == NULL || select->scratch == NULL ||
        select->scores == NULL || select->sort == NULL || list_layer == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    select->list_layer = list_layer;
    for (uint32_t layer = 0, list = 0; layer < select->geom->n_layer; layer++) {
        for (uint32_t head = 0; head < select->geom->layers[layer].n_kv_head; head++) {
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
    fvi_free(alloc, select->token);
    fvi_free(alloc, select->order);
    fvi_free(alloc, select->n_vision);
    fvi_free(alloc, select->budget);
    fvi_free(alloc, select->high);
    fvi_free(alloc, select->weights);
    fvi_free(alloc, select->scratch);
    fvi_free(alloc, select->scores);
    fvi_free(alloc, select->sort);
}

/* Deals the scores of a layer out to the parts. */
static void deal_scores(fvi_select *select, uint32_t layer, const float *scores)
{
    uint32_t first = fvi_kv_geom_first_list(select->geom, layer);
    for (uint32_t p = 0; p < select->n_part; p++) {
        const fvi_select_part *part = &select->part[p];
        for (uint32_t head = 0; head < select->geom->layers[layer].n_kv_head; head++) {
            float *to = part->scores + (size_t)(first + head) * part->n;
            for (uint32_t i = 0; i < part->n; i++) {
                to[i] = scores[(size_t)head * select->n_token + part->token[i]];
            }
        }
    }
}

static fovea_status score_layers(fvi_select *select, uint32_t first_layer, const fvi_score_ctx *ctx,
                                 float *scores)
{
    for (uint32_t layer = 0; layer < select->geom->n_layer; layer++) {
        FVI_TRY(select->recipe->scorer->score(ctx, first_layer + layer, scores));
        deal_scores(select, layer, scores);
    }
    return FOVEA_OK;
}

/* geom, obs: of the whole turn. */
static fovea_status score_lists(fvi_intent *self, const fvi_kv_geom *geom, const fvi_kv_obs *obs)
{
    fvi_select *select = &self->select;
    size_t n_row = (size_t)fvi_kv_geom_max_kv_head(select->geom) * self->n_token;
    fvi_kv_span *spans = fvi_calloc(select->alloc, self->n_span, sizeof *spans);
    float *scores = fvi_calloc(select->alloc, n_row, sizeof *scores);
    fovea_status status = FOVEA_ERR_NOMEM;
    if (spans != NULL && scores != NULL) {
        for (uint32_t i = 0, first = 0; i < self->n_span; i++) {
            spans[i] = self->spans[i];
            spans[i].first = first;
            first += spans[i].n;
        }
        const fvi_score_ctx ctx = {.alloc = select->alloc,
                                   .geom = geom,
                                   .obs = obs,
                                   .spans = spans,
                                   .n_span = self->n_span,
                                   .n_token = self->n_token,
                                   .share = self->share,
                                   .seed = select->recipe->seed};
        status = score_layers(select, self->first_layer, &ctx, scores);
    }
    fvi_free(select->alloc, scores);
    fvi_free(select->alloc, spans);
    return status;
}

/* What to aim at. Where the sealed chain will break, a few pieces cost their descriptors, the rest of a row
 * each or another group of scales, and so perhaps a granule; the target leaves room for that as far as 0.95 of it is still met. */
static size_t aim(const fvi_intent *self, const fvi_kv_pool *pool)
{
    if (fvi_kv_pool_has_hole(pool, self->target)) {
        return self->target;
    }
    size_t spare = self->select.granule + N_BREAK * (sizeof(fvi_kv_extent) + self->step);
    size_t allowed = self->target / 20 - FVI_MIN(self->target / 20, self->gap);
    return self->target - FVI_MIN(spare, allowed);
}

/* Chooses how many tokens each list keeps, select->order says which. obs: of the lists that are planned. */
static fovea_status choose_tokens(fvi_intent *self, const fvi_kv_pool *pool, const fvi_kv_obs *obs)
{
    fvi_select *select = &self->select;
    fvi_select_order(select);
    for (uint32_t p = 0; p < select->n_part; p++) {
        const fvi_select_part *part = &select->part[p];
        if (self->keep_all) {
            memcpy(part->budget, part->high, select->n_list * sizeof *part->budget);
        } else if (p != self->rest && part->n > 0) {
            FVI_TRY(fvi_select_total(select, obs, p, self->total[p]));
        }
    }
    return self->keep_all || self->rest == select->n_part || select->part[self->rest].n == 0
               ? FOVEA_OK
               : fvi_select_target(select, obs, self->rest, aim(self, pool));
}

static fovea_status write_plan(const fvi_intent *self, fvi_kv_plan *plan)
{
    const fvi_select *select = &self->select;
    size_t n_slot = (size_t)select->n_list * self->n_token;
    plan->kind = fvi_alloc(plan->alloc, n_slot);
    if (plan->kind == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    memset(plan->kind, FVI_KV_DROP, n_slot);
    for (uint32_t p = 0; p < select->n_part; p++) {
        const fvi_select_part *part = &select->part[p];
        for (uint32_t list = 0; list < select->n_list; list++) {
            const uint32_t *order = part->order + (size_t)list * part->n;
            uint8_t *kind = plan->kind + (size_t)list * self->n_token;
            for (uint32_t i = 0; i < part->budget[list]; i++) {
                const fvi_codec *codec = select->codec[select->modality[order[i]]];
                kind[order[i]] =
                    (uint8_t)(select->always[order[i]] == FVI_SELECT_EXACT ? select->geom->base
                                                                           : codec->kind);
            }
            plan->n_slot += part->budget[list];
        }
    }
    plan->kinds = select->kinds;
    plan->n_bytes = fvi_select_bytes(select);
    return FOVEA_OK;
}

/* What layers that were cut hold is the most that their lists can keep. */
static void set_limits(const fvi_kv_seq *seq, fvi_select *select)
{
    const fvi_kv_cut *cut = seq->blocks[seq->n_block - 1].turn->cut;
    for (uint32_t p = 0; p < select->n_part && select->geom == seq->geom; p++) {
        fvi_select_part *part = &select->part[p];
        fvi_kv_cut_limit(cut, seq->geom, part->any ? NULL : select->modality, part->modality,
                         part->high);
    }
}

/* obs: of the whole turn. */
static fovea_status fill_plan(const fvi_kv_seq *seq, fvi_intent *self, const fvi_kv_obs *obs,
                              fvi_kv_plan *plan)
{
    fvi_select *select = &self->select;
    fvi_kv_obs of_lists = {.n_token = 0};
    if (obs != NULL) {
        of_lists =
            select->geom == seq->geom ? *obs : fvi_kv_obs_layer(obs, seq->geom, self->first_layer);
    }
    set_limits(seq, select);
    if (!self->keep_all) {
        FVI_TRY(score_lists(self, seq->geom, obs));
    }
    fvi_distortion measured = {.errors = NULL};
    bool is_layer = select->geom != seq->geom,
         chooses = fvi_intent_chooses(self) && !self->keep_all;
    if (chooses) {
        FVI_TRY(
            fvi_choose_plan(seq, select, self->first_layer, aim(self, seq->pool), plan, &measured));
    } else {
        FVI_TRY(choose_tokens(self, seq->pool, &of_lists));
        FVI_TRY(write_plan(self, plan));
    }
    fovea_status status = FOVEA_OK;
    if (!chooses || !is_layer) { /* of a layer that is cut errors are measured for its final plan */
        status = fvi_loss_estimate(seq, self->first_layer, select->geom->n_layer,
                                   obs != NULL ? &of_lists : NULL, plan, &measured,
                                   select->modality, &plan->estimated_loss);
    }
    fvi_free(seq->alloc, measured.errors);
    return status;
}

/* The plan takes over the tables that tell which tokens may be folded into which. */
static void take_merging(fvi_intent *self, const fvi_kv_obs *obs, fvi_kv_plan *plan)
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

static fovea_status make_plan(const fvi_kv_seq *seq, fvi_intent *self, const fvi_kv_obs *obs,
                              fvi_kv_plan **out)
{
    fvi_kv_plan *plan = fvi_calloc(seq->alloc, 1, sizeof *plan);
    uint32_t *list_layer = fvi_calloc(seq->alloc, self->select.n_list, sizeof *list_layer);
    fovea_status status = FOVEA_ERR_NOMEM;
    if (plan != NULL) {
        plan->alloc = seq->alloc;
        status = take_tables(&self->select, list_layer);
    }
    if (status >= 0) {
        plan->n_list = self->select.n_list;
        plan->n_token = self->n_token;
        plan->floor_bytes = self->floor_bytes;
        fvi_intent_mark_always(self);
        set_parts(&self->select);
        status = fill_plan(seq, self, obs, plan);
    }
    if (plan != NULL) {
        take_merging(self, obs, plan);
    }
    give_tables(&self->select);
    fvi_free(seq->alloc, list_layer);
    if (status < 0) {
        fvi_kv_plan_free(&plan);
        return status;
    }
    *out = plan;
    return FOVEA_OK;
}

/* False where the turn was not observed as the plan needs it. */
static bool is_observed(const fvi_kv_seq *seq, const fvi_intent *self, const fvi_kv_obs *obs)
{
    uint32_t needs = self->keep_all ? 0 : needs_of(self->select.recipe);
    return needs == 0 ||
           (obs != NULL && (needs & ~obs->needs) == 0 && obs->n_token == self->n_token &&
            obs->n_list == fvi_kv_geom_n_list(seq->geom));
}

/* Of the f16 cache of n_token tokens, what a recipe leaves; 1: bytes do not count. */
static double share_of(const fvi_recipe *recipe, const fvi_kv_geom *geom, uint32_t n_token)
{
    switch (recipe->unit) {
    case FVI_BUDGET_KEEP: return recipe->amount;
    case FVI_BUDGET_PERCENT: return recipe->amount / 100;
    case FVI_BUDGET_BYTES:
        return recipe->amount / (double)(n_token * fvi_kv_geom_token_bytes(geom, FOVEA_KIND_F16));
    case FVI_BUDGET_NONE: break;
    }
    return 1.0;
}

fovea_status fvi_kv_plan_make(const fvi_kv_seq *seq, const fvi_recipe *recipe,
                              const fvi_kv_obs *obs, fvi_kv_plan **out, fovea_error *err)
{
    *out = NULL;
    fvi_intent self;
    FVI_TRY(intend_turn(seq, seq->geom, recipe, &self, err));
    if (seq->state != FVI_KV_IDLE || !is_observed(seq, &self, obs)) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "the turn was not observed as the recipe needs");
    }
    self.share = share_of(recipe, seq->geom, self.n_token);
    fovea_status status = make_plan(seq, &self, obs, out);
    return status >= 0 ? FOVEA_OK
                       : FVI_FAIL(err, status, "making the plan: %s", fovea_status_text(status));
}

/* ---- one layer ---- */

static double cap_of(const fvi_recipe *recipe, double amount, double all)
{
    double cap = FVI_MAX(amount * recipe->prefill_cap, recipe->prefill_least * all);
    return FVI_MIN(cap, all);
}

/* The recipe of a layer's cap; its prefill_cap: how much more that is than the recipe asks for. */
static fvi_recipe capped(const fvi_recipe *recipe, const fvi_kv_geom *geom, uint32_t n_token)
{
    fvi_recipe out = *recipe;
    double amount = recipe->amount;
    if (out.unit == FVI_BUDGET_BYTES) {
        out.unit = FVI_BUDGET_PERCENT;
        amount = 100 * share_of(recipe, geom, n_token);
    }
    if (out.unit != FVI_BUDGET_NONE) {
        out.amount = cap_of(recipe, amount, out.unit == FVI_BUDGET_KEEP ? 1 : 100);
        out.prefill_cap = out.amount / amount;
    }
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        out.keep[m] = out.keep[m] > 0 ? cap_of(recipe, out.keep[m], 1) : 0;
    }
    return out;
}

/* A layer keeps at least what its floor allows. */
static fovea_status raise_to_floor(fvi_intent *self, fovea_status status)
{
    if (status != FOVEA_ERR_BUDGET || self->floor_bytes == 0) {
        return status;
    }
    self->target = self->floor_bytes;
    return FOVEA_OK;
}

fovea_status fvi_kv_plan_layer(const fvi_kv_seq *seq, const fvi_recipe *recipe,
                               const fvi_kv_obs *obs, uint32_t layer, fvi_kv_plan **out,
                               fovea_error *err)
{
    *out = NULL;
    const fvi_kv_geom one = fvi_kv_geom_layer(seq->geom, layer);
    const fvi_recipe cap = capped(recipe, seq->geom, seq->n_fresh);
    size_t fresh_bytes = seq->n_fresh * fvi_kv_geom_token_bytes(&one, one.base);
    fvi_intent self;
    fovea_status status = raise_to_floor(&self, intend_turn(seq, &one, &cap, &self, NULL));
    if (status < 0 || (self.keep_all && self.all_bytes >= fresh_bytes)) {
        return status == FOVEA_ERR_STATE ? status : FOVEA_OK;
    }
    self.first_layer = layer;
    self.share = share_of(recipe, seq->geom, self.n_token);
    if (!is_observed(seq, &self, obs)) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "the layer was not observed as the recipe needs");
    }
    FVI_TRY(make_plan(seq, &self, obs, out));
    if ((*out)->n_bytes >= fresh_bytes) {
        fvi_kv_plan_free(out);
    }
    return FOVEA_OK;
}

/* What runs of n_bytes may take where every granule is a piece of its own. */
static size_t scattered_bytes(const fvi_intent *self, size_t n_bytes)
{
    const uint32_t n_row = 16 * FVI_CODEC_ROWS;
    const fvi_select *select = &self->select;
    bool chooses = fvi_intent_chooses(self);
    size_t n_run = (size_t)select->n_list * (chooses ? FVI_CHOOSE_MAX : select->n_kind);
    double worst = 1;
    for (uint32_t i = 0; fvi_codec_at(i) != NULL; i++) {
        const fvi_codec *codec = fvi_codec_at(i);
        bool may_use = chooses ? fvi_choose_may_use(select->geom, codec)
                               : (select->kinds >> codec->kind & 1) != 0;
        if (may_use && codec->fit_rows == NULL) { /* what is fitted does not break (may_break) */
            fvi_kv_shape shape = fvi_kv_shape_of(select->geom, 0, codec);
            size_t pieces = fvi_kv_run_worst_bytes(&shape, n_row, select->granule);
            worst = FVI_MAX(worst, (double)pieces / (double)fvi_kv_run_bytes(&shape, n_row));
        }
    }
    return (size_t)(worst * (double)n_bytes) + n_run * (select->granule + sizeof(fvi_kv_extent));
}

size_t fvi_kv_plan_layer_bytes(const fvi_kv_geom *geom, size_t granule, const fvi_kv_span *spans,
                               uint32_t n_span, uint32_t n_token, bool first_turn,
                               const fvi_recipe *recipe, uint32_t layer)
{
    const fvi_kv_geom one = fvi_kv_geom_layer(geom, layer);
    const fvi_recipe cap = capped(recipe, geom, n_token);
    fvi_intent self = {
        .spans = spans, .n_span = n_span, .n_token = n_token, .first_turn = first_turn};
    fvi_select *select = &self.select;
    select->geom = &one;
    select->recipe = &cap;
    select->granule = granule;
    if (raise_to_floor(&self, fvi_intend(&self, NULL)) < 0) {
        return SIZE_MAX;
    }
    if (self.keep_all || self.rest < select->n_part) {
        return scattered_bytes(&self, self.keep_all ? self.all_bytes : self.target);
    }
    /* a granule holds two rows of any kind */
    uint64_t n_row = self.total[0] + self.total[1];
    uint64_t n_run = (uint64_t)select->n_list * select->n_kind;
    return (size_t)(n_row / 2 + n_run) * (granule + sizeof(fvi_kv_extent)) +
           fvi_kv_turn_sealed_bytes(select->n_list, n_token, select->n_kind, n_row);
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
