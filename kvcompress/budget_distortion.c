/* budget_distortion.c - token and precision together: the least estimated change of the attention output
 * under a budget of bytes.
 *
 * A token of list l with importance w, stored in choice c, is estimated to change the output by
 * w * e[l][c], where e is the relative error that the choice was measured to make in this list (choose.c) and
 * 1 for a dropped token. Squares add up, so for a price per byte
 *     choice(l, t) = argmin over c of  (w e[l][c])^2 + price * bytes[c]
 * minimises the sum at its own total of bytes (Shoham and Gersho 1988). The price is found by bisection; what
 * is left between two prices is given out token by token, the cheapest improvement first.
 * Registered in budgets.def. */
#include "kvcompress/policy.h"

#include <math.h>
#include <stdlib.h>

#define N_BISECT 48
/* Text is never the first to go: its weight counts for more, so it steps down in precision instead. */
#define TEXT_FACTOR 3.0
#define TEXT_SHARE                                                                                 \
    0.75 /* of the budget that the cheapest form of all text may take and still all stay */

typedef struct solver {
    const fvi_choose_ctx *ctx;
    bool keep_text;   /* text steps down in precision but stays */
    uint32_t *counts; /* [n_list, n_choice] */
    uint8_t *low;     /* [n_list, n_token] at a price whose bytes fit */
    uint8_t *high;    /* at a price whose bytes do not */
} solver;

static double weight_of(const fvi_choose_ctx *ctx, uint32_t list, uint32_t token)
{
    double w = (double)ctx->scores[(size_t)list * ctx->n_token + token];
    return ctx->modality[token] == FOVEA_MODALITY_TEXT ? TEXT_FACTOR * w : w;
}

static uint8_t best_choice(const fvi_choose_ctx *ctx, const double *e, double w, double price,
                           bool may_drop)
{
    double least = may_drop ? w * w : INFINITY;
    uint8_t best = FVI_CHOOSE_DROP;
    for (uint32_t c = 0; c < ctx->n_choice; c++) {
        double cost = w * e[c] * w * e[c] + price * ctx->row_bytes[c];
        if (cost < least) {
            least = cost;
            best = (uint8_t)c;
        }
    }
    return best;
}

/* No list is left empty: its best token stays in the cheapest form. */
static void keep_one(solver *self, uint32_t list, uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t best = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        if (choice[t] != FVI_CHOOSE_DROP) {
            return;
        }
        best = weight_of(ctx, list, t) > weight_of(ctx, list, best) ? t : best;
    }
    choice[best] = (uint8_t)(ctx->n_choice - 1);
    self->counts[(size_t)list * ctx->n_choice + ctx->n_choice - 1]++;
}

static void choose_at(solver *self, double price, uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    memset(self->counts, 0, (size_t)ctx->n_list * ctx->n_choice * sizeof *self->counts);
    for (uint32_t list = 0; list < ctx->n_list; list++) {
        const double *e = ctx->distortion + (size_t)list * ctx->n_choice;
        for (uint32_t t = 0; t < ctx->n_token; t++) {
            bool may_drop = !self->keep_text || ctx->modality[t] != FOVEA_MODALITY_TEXT;
            uint8_t c = ctx->always[t] != 0
                            ? 0
                            : best_choice(ctx, e, weight_of(ctx, list, t), price, may_drop);
            choice[(size_t)list * ctx->n_token + t] = c;
            if (c != FVI_CHOOSE_DROP) {
                self->counts[(size_t)list * ctx->n_choice + c]++;
            }
        }
        keep_one(self, list, choice + (size_t)list * ctx->n_token);
    }
}

static void count(solver *self, const uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    memset(self->counts, 0, (size_t)ctx->n_list * ctx->n_choice * sizeof *self->counts);
    for (size_t i = 0; i < (size_t)ctx->n_list * ctx->n_token; i++) {
        if (choice[i] != FVI_CHOOSE_DROP) {
            self->counts[i / ctx->n_token * ctx->n_choice + choice[i]]++;
        }
    }
}

/* A slot that is dearer at the lower price, and what one more byte buys there. */
typedef struct step {
    uint32_t slot;
    double gain;
} step;

static int by_gain(const void *a, const void *b)
{
    const step *x = a;
    const step *y = b;
    if (x->gain != y->gain) {
        return x->gain > y->gain ? -1 : 1;
    }
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static double error_of(const fvi_choose_ctx *ctx, uint32_t list, uint8_t choice)
{
    return choice == FVI_CHOOSE_DROP ? 1.0 : ctx->distortion[(size_t)list * ctx->n_choice + choice];
}

static void set_choice(solver *self, size_t slot, uint8_t choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t *counts = self->counts + slot / ctx->n_token * ctx->n_choice;
    if (self->low[slot] != FVI_CHOOSE_DROP) {
        counts[self->low[slot]]--;
    }
    if (choice != FVI_CHOOSE_DROP) {
        counts[choice]++;
    }
    self->low[slot] = choice;
}

/* Swaps the two solutions' choices of steps from..to-1. */
static void swap_steps(solver *self, const step *steps, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        uint8_t held = self->low[steps[i].slot];
        set_choice(self, steps[i].slot, self->high[steps[i].slot]);
        self->high[steps[i].slot] = held;
    }
}

/* Takes over as many of the differing slots as fit, best gain first, in strides that halve when one is too
 * long. */
static void fill_up(solver *self, const step *steps, uint32_t n)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t taken = 0;
    uint32_t stride = n;
    while (stride > 0 && taken < n) {
        uint32_t to = FVI_MIN(taken + stride, n);
        swap_steps(self, steps, taken, to);
        if (ctx->bytes(ctx->user, self->counts) <= ctx->target) {
            taken = to;
        } else {
            swap_steps(self, steps, taken, to);
            stride /= 2;
        }
    }
}

static fovea_status spend_rest(solver *self)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t n_slot = (size_t)ctx->n_list * ctx->n_token;
    uint32_t n = 0;
    for (size_t i = 0; i < n_slot; i++) {
        n += self->low[i] != self->high[i];
    }
    if (n == 0) {
        return FOVEA_OK;
    }
    step *steps = fvi_alloc(ctx->alloc, n * sizeof *steps);
    if (steps == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    n = 0;
    for (size_t i = 0; i < n_slot; i++) {
        if (self->low[i] != self->high[i]) {
            uint32_t list = (uint32_t)(i / ctx->n_token);
            double w = weight_of(ctx, list, (uint32_t)(i % ctx->n_token));
            double before = error_of(ctx, list, self->low[i]);
            double after = error_of(ctx, list, self->high[i]);
            steps[n++] =
                (step){.slot = (uint32_t)i, .gain = w * w * (before * before - after * after)};
        }
    }
    qsort(steps, n, sizeof *steps, by_gain);
    count(self, self->low);
    fill_up(self, steps, n);
    fvi_free(ctx->alloc, steps);
    return FOVEA_OK;
}

static fovea_status solve(solver *self)
{
    const fvi_choose_ctx *ctx = self->ctx;
    double low = -60.0; /* powers of two; the price that fits is above */
    double high = 60.0;
    size_t n_slot = (size_t)ctx->n_list * ctx->n_token;
    self->keep_text = true;
    choose_at(self, exp2(high), self->low);
    if ((double)ctx->bytes(ctx->user, self->counts) > TEXT_SHARE * (double)ctx->target) {
        self->keep_text = false; /* text alone would eat the budget */
        choose_at(self, exp2(high), self->low);
    }
    choose_at(self, exp2(low), self->high);
    if (ctx->bytes(ctx->user, self->counts) <=
        ctx->target) { /* all of it fits in the best choice */
        memcpy(self->low, self->high, n_slot);
        return FOVEA_OK;
    }
    uint8_t *middle = fvi_alloc(ctx->alloc, n_slot);
    if (middle == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < N_BISECT; i++) {
        double at = (low + high) / 2;
        choose_at(self, exp2(at), middle);
        bool fits = ctx->bytes(ctx->user, self->counts) <= ctx->target;
        *(fits ? &high : &low) = at;
        memcpy(fits ? self->low : self->high, middle, n_slot);
    }
    fvi_free(ctx->alloc, middle);
    return spend_rest(self);
}

static fovea_status choose(const fvi_choose_ctx *ctx, uint8_t *choice)
{
    size_t n_slot = (size_t)ctx->n_list * ctx->n_token;
    solver self = {.ctx = ctx, .low = choice};
    self.counts = fvi_calloc(ctx->alloc, (size_t)ctx->n_list * ctx->n_choice, sizeof *self.counts);
    self.high = fvi_alloc(ctx->alloc, n_slot);
    fovea_status status = self.counts != NULL && self.high != NULL ? solve(&self) : FOVEA_ERR_NOMEM;
    fvi_free(ctx->alloc, self.counts);
    fvi_free(ctx->alloc, self.high);
    return status;
}

const fvi_budget fvi_budget_distortion = {
    .name = "distortion",
    .choose = choose,
};
