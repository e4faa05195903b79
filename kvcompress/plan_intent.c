/* plan_intent.c - what a recipe wants of a turn: kinds, tokens that are always kept, who shares which budget.
 *
 * Without shares of their own (text.keep=, vision.keep=) all tokens compete for one budget, one part. With them
 * text and vision are parts, ranked and shared out over the lists apart: a part's slots are its share of the
 * modality's tokens; a modality without a share has what the total leaves, and without a total all.
 * Called by plan.c. */
#include "kvcompress/plan_intent.h"

#include <inttypes.h>
#include <math.h>

bool fvi_intent_chooses(const fvi_intent *self)
{
    const fvi_budget *budget = self->select.recipe->budget;
    return budget != NULL && budget->choose != NULL;
}

static fovea_status choose_kinds(fvi_intent *self, fovea_error *err)
{
    fvi_select *select = &self->select;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        const fvi_codec *codec = select->recipe->codec[m];
        select->codec[m] = codec != NULL ? codec : fvi_codec_of(select->geom->base);
        if (select->codec[m]->kind == FOVEA_KIND_F32 && select->geom->base != FOVEA_KIND_F32) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "recipe: %s=f32 needs f32 precision",
                            m == FOVEA_MODALITY_VISION ? "vision" : "text");
        }
        if (self->n_of[m] > 0) {
            select->kinds |= 1u << select->codec[m]->kind;
        }
    }
    if (self->first_turn && select->recipe->n_exact > 0) {
        select->kinds |= 1u << select->geom->base;
    }
    fvi_select_set_kinds(select, (uint32_t)__builtin_popcount(select->kinds));
    if (fvi_intent_chooses(self) &&
        (select->recipe->codec[0] != NULL || select->recipe->codec[1] != NULL)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "recipe: budget '%s' chooses kinds by itself; text= and "
                        "vision= do not go with it",
                        select->recipe->budget->name);
    }
    return FOVEA_OK;
}

void fvi_intent_mark_always(fvi_intent *self)
{
    fvi_select *select = &self->select;
    const fvi_recipe *recipe = select->recipe;
    uint32_t first = 0, n_sink = self->first_turn ? recipe->n_sink : 0;
    uint32_t n_exact = self->first_turn ? recipe->n_exact : 0;
    uint32_t n_left[FOVEA_N_MODALITY]; /* tokens of the modality from here on */
    memcpy(n_left, self->n_of, sizeof n_left);
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
}

/* ---- parts ---- */

static bool is_split(const fvi_recipe *recipe)
{
    return recipe->keep[FOVEA_MODALITY_TEXT] > 0 || recipe->keep[FOVEA_MODALITY_VISION] > 0;
}

/* Every list keeps a token, be it of text where nothing else says which. */
static void set_parts(fvi_intent *self)
{
    fvi_select *select = &self->select;
    bool split = is_split(select->recipe);
    uint32_t n_always = select->n_least[0] + select->n_least[1];
    select->n_part = split ? FOVEA_N_MODALITY : 1;
    for (uint32_t p = 0; p < select->n_part; p++) {
        select->part[p] = (fvi_select_part){.n = split ? self->n_of[p] : self->n_token,
                                            .n_always = split ? select->n_least[p] : n_always,
                                            .modality = (uint8_t)p,
                                            .any = !split};
        select->part[p].min_list = select->part[p].n_always;
    }
    uint32_t first = select->part[0].n > 0 ? 0 : 1;
    select->part[first].min_list = FVI_MAX(select->part[first].min_list, n_always == 0);
}

static uint64_t share_of(const fvi_intent *self, uint32_t p, double share)
{
    const fvi_select_part *part = &self->select.part[p];
    uint64_t most = (uint64_t)self->select.n_list * part->n;
    uint64_t n = (uint64_t)floor(share * (double)most + 0.5);
    n = FVI_MAX(n, (uint64_t)self->select.n_list * part->min_list);
    return FVI_MIN(n, most);
}

/* What a total of tokens leaves for part p when the other one has its own share. */
static fovea_status leave_rest(fvi_intent *self, uint32_t p, fovea_error *err)
{
    static const char *const names[FOVEA_N_MODALITY] = {"text", "vision"};
    const fvi_select *select = &self->select;
    uint64_t n_list = select->n_list;
    uint64_t all = (uint64_t)floor(select->recipe->amount * (double)(n_list * self->n_token) + 0.5);
    uint64_t least = self->total[1 - p] + n_list * select->part[p].min_list;
    if (all < least) {
        return FVI_FAIL(err, FOVEA_ERR_BUDGET,
                        "recipe: keep= is %" PRIu64
                        " tokens over all lists, %s.keep= and what is always "
                        "kept take %" PRIu64,
                        all, names[1 - p], least);
    }
    self->total[p] = FVI_MIN(all - self->total[1 - p], n_list * select->part[p].n);
    return FOVEA_OK;
}

static fovea_status share_out(fvi_intent *self, fovea_error *err)
{
    const fvi_recipe *recipe = self->select.recipe;
    uint32_t n_part = self->select.n_part, open = n_part; /* a part without a share */
    bool by_bytes = recipe->unit == FVI_BUDGET_PERCENT || recipe->unit == FVI_BUDGET_BYTES;
    bool has_total = recipe->unit == FVI_BUDGET_KEEP;
    for (uint32_t p = 0; p < n_part; p++) {
        double share = n_part == 1 ? (has_total ? recipe->amount : 1) : recipe->keep[p];
        self->total[p] = share_of(self, p, share > 0 ? share : 1);
        open = share > 0 && !(by_bytes && n_part == 1) ? open : p;
    }
    self->rest = by_bytes ? open : n_part;
    return has_total && open < n_part ? leave_rest(self, open, err) : FOVEA_OK;
}

/* True when no part has to give up anything for its share. */
static bool keeps_whole(const fvi_intent *self)
{
    const fvi_select *select = &self->select;
    bool whole = true;
    for (uint32_t p = 0; p < select->n_part; p++) {
        whole = whole &&
                (p == self->rest || self->total[p] == (uint64_t)select->n_list * select->part[p].n);
    }
    return whole;
}

static fovea_status find_target(fvi_intent *self, fovea_error *err)
{
    const fvi_recipe *recipe = self->select.recipe;
    size_t full = self->n_token * fvi_kv_geom_token_bytes(self->select.geom, FOVEA_KIND_F16);
    switch (recipe->unit) {
    case FVI_BUDGET_NONE:
    case FVI_BUDGET_KEEP:
        self->keep_all = keeps_whole(self);
        if (fvi_intent_chooses(self) && !self->keep_all) {
            return FVI_FAIL(err, FOVEA_ERR_ARG,
                            "recipe: budget '%s' needs bytes=, not keep=", recipe->budget->name);
        }
        return FOVEA_OK;
    case FVI_BUDGET_PERCENT:
        self->keep_all = recipe->amount >= 100 && keeps_whole(self);
        self->target = (size_t)(FVI_MIN(recipe->amount, 100.0) / 100 * (double)full);
        break;
    case FVI_BUDGET_BYTES: self->target = (size_t)recipe->amount; break;
    }
    self->keep_all = self->keep_all || (self->all_bytes <= self->target && keeps_whole(self));
    if (!self->keep_all && self->target < self->floor_bytes) {
        return FVI_FAIL(err, FOVEA_ERR_BUDGET,
                        "recipe: %zu bytes asked, the least for this prompt is %zu", self->target,
                        self->floor_bytes);
    }
    return FOVEA_OK;
}

fovea_status fvi_intend(fvi_intent *self, fovea_error *err)
{
    fvi_select *select = &self->select;
    select->n_list = fvi_kv_geom_n_list(select->geom);
    select->n_token = self->n_token;
    select->n_span = self->n_span;
    select->first_turn = self->first_turn;
    for (uint32_t i = 0; i < self->n_span; i++) {
        self->n_of[self->spans[i].modality] += self->spans[i].n;
    }
    FVI_TRY(choose_kinds(self, err));
    fvi_intent_mark_always(self);
    set_parts(self);
    FVI_TRY(share_out(self, err));
    fvi_intent_find_limits(self);
    return find_target(self, err);
}
