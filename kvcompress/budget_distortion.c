/* budget_distortion.c - token and precision together: the least estimated change of the attention output
 * under a budget of bytes.
 *
 * A token of list l with importance w, stored in choice c, is estimated to change the output by
 * w * e[l][c], where e is the relative error that the choice was measured to make in this list (choose.c) and
 * 1 for a dropped token. Squares add up, so for a price per byte
 *     choice(l, t) = argmin over c of  (w e[l][c])^2 + price * bytes[c]
 * minimises the sum at its own total of bytes (Shoham and Gersho 1988). A list has one fitted choice at most: for
 * each list the one that saves most beyond what the run of all tokens that want it takes, or none. The price is found by
 * bisection; what is left between two prices is given out list by list where another fitted choice is due, then
 * token by token, the cheapest improvement first.
 *
 * What then is left is less than one improvement takes, which may be much: the first token that makes a run
 * one per channel brings scales for all of it. It is spent list by list on whatever still fits, for which
 * one token more in the base kind is always a choice: never more than its row stays unspent. So that there
 * always is something to improve, no weight is 0 and no kind but the base one free of error.
 * Registered in budgets.def. */
#include "kvcompress/policy.h"

#include <math.h>
#include <stdlib.h>

#define N_BISECT 32   /* prices then differ by less than weights in f32 can */
#define N_CLOSE  32   /* slots that two solutions may differ in to be given out one by one */
#define LEAST    1e-6 /* of the largest weight, that any token has */
#define DOUBT    1e-9 /* error that any choice but the base kind has, times its place */
/* What is lost with a direction is lost in the same way in neighbouring tokens and does not average out. With 1, 1.3,
 * 1.6, 2 of none's right answers stay 80, 94, 86, 80% (four pictures, 2.5% of bytes), 67, 81, 75, 73% (one, 5%). */
#define ALIKE 1.3
/* Text has to stay (keep_text), but coarse codes do it little harm: with 2, 0.25, 0.1, 0.04 in the same sets 77, 88,
 * 94, 92% and 59, 75, 81%. */
#define TEXT_FACTOR 0.1
#define TEXT_SHARE                                                                                 \
    0.75 /* of the budget that the cheapest form of all text may take and still all stay */

typedef struct solver {
    const fvi_choose_ctx *ctx;
    double shift;     /* what makes all scores >= 0 */
    double most;      /* largest weight */
    double *squares;  /* [n_list, n_token] of weights */
    double *costs;    /* [n_worker, n_token] of a list, for choose_list */
    bool keep_text;   /* text steps down in precision but stays */
    uint8_t cheapest; /* the last choice that any token may have */
    uint32_t *counts; /* [n_list, n_choice] */
    uint8_t *low;     /* [n_list, n_token] at a price whose bytes fit */
    uint8_t *high;    /* at a price whose bytes do not */
} solver;

static double plain_weight(const solver *self, size_t slot)
{
    const fvi_choose_ctx *ctx = self->ctx;
    double w = (double)ctx->scores[slot] + self->shift;
    return ctx->modality[slot % ctx->n_token] == FOVEA_MODALITY_TEXT ? TEXT_FACTOR * w : w;
}

static void find_weights(solver *self)
{
    size_t n_slot = (size_t)self->ctx->n_list * self->ctx->n_token;
    for (size_t i = 0; i < n_slot; i++) {
        self->shift = fmax(self->shift, -(double)self->ctx->scores[i]);
    }
    for (size_t i = 0; i < n_slot; i++) {
        self->most = fmax(self->most, plain_weight(self, i));
    }
    self->most = self->most > 0 ? self->most : 1;
    for (size_t i = 0; i < n_slot; i++) {
        double w = fmax(plain_weight(self, i), LEAST * self->most);
        self->squares[i] = w * w;
    }
}

/* Square of a choice's error. */
static double error_of(const fvi_choose_ctx *ctx, uint32_t list, uint8_t choice)
{
    if (choice == FVI_CHOOSE_DROP) {
        return 1.0;
    }
    double e = ctx->distortion[(size_t)list * FOVEA_N_KIND + choice];
    e = e * (ctx->is_fitted[choice] ? ALIKE : 1.0) + DOUBT * choice;
    return e * e;
}

/* The first choice that a token may still have, FVI_CHOOSE_DROP: none. */
static uint8_t first_choice(const fvi_choose_ctx *ctx, size_t slot)
{
    return ctx->least != NULL ? ctx->least[slot] : 0;
}

static bool is_fitted(const fvi_choose_ctx *ctx, uint8_t choice)
{
    return choice != FVI_CHOOSE_DROP && ctx->is_fitted[choice];
}

static void count(solver *self, const uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    memset(self->counts, 0, (size_t)ctx->n_list * ctx->n_choice * sizeof *self->counts);
    uint32_t *counts = self->counts;
    for (uint32_t list = 0; list < ctx->n_list; list++, counts += ctx->n_choice) {
        for (uint32_t t = 0; t < ctx->n_token; t++, choice++) {
            if (*choice != FVI_CHOOSE_DROP) {
                counts[*choice]++;
            }
        }
    }
}

/* No list is left empty: its best token stays in the cheapest form. */
static void keep_one(const solver *self, uint32_t list, uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t row = (size_t)list * ctx->n_token;
    uint32_t best = 0;
    double most = 0;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        if (choice[t] != FVI_CHOOSE_DROP) {
            return;
        }
        double w = self->squares[row + t];
        if (w > most && first_choice(ctx, row + t) != FVI_CHOOSE_DROP) {
            best = t;
            most = w;
        }
    }
    choice[best] = FVI_MAX(self->cheapest, first_choice(ctx, row + best));
}

/* A list at a price. */
typedef struct pricing {
    uint32_t list;
    double price;
    double *costs;               /* [n_token] */
    double errors[FOVEA_N_KIND]; /* squares */
    double bytes[FOVEA_N_KIND];  /* what a row's cost */
} pricing;

/* The best choice that any token may have, and what it costs. */
static uint8_t best_choice(const solver *self, const pricing *at, uint32_t token, double *cost)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t slot = (size_t)at->list * ctx->n_token + token;
    bool may_drop = !self->keep_text || ctx->modality[token] != FOVEA_MODALITY_TEXT;
    uint8_t best = FVI_CHOOSE_DROP;
    *cost = may_drop ? self->squares[slot] : INFINITY;
    for (uint32_t c = first_choice(ctx, slot); c < ctx->n_choice; c++) {
        double own = self->squares[slot] * at->errors[c] + at->bytes[c];
        if (own < *cost && !ctx->is_fitted[c]) {
            *cost = own;
            best = (uint8_t)c;
        }
    }
    return best;
}

/* Takes a fitted choice, `bytes` a token, where it costs less than at->costs. Returns what that saves beyond the
 * bytes of its run. taken: how it is then, or NULL. */
static double take_fitted(const solver *self, const pricing *at, uint8_t c, double bytes,
                          uint8_t *taken)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t row = (size_t)at->list * ctx->n_token;
    uint32_t counts[FOVEA_N_KIND] = {0};
    double saved = 0.0;
    for (uint32_t i = 0; i < ctx->n_token; i++) {
        double error = self->squares[row + i] * at->errors[c];
        if (error + at->price * bytes < at->costs[i] && first_choice(ctx, row + i) <= c) {
            saved += at->costs[i] - error;
            counts[c]++;
            if (taken != NULL) {
                taken[i] = c;
            }
        }
    }
    return saved - at->price * (double)ctx->list_bytes(ctx->user, at->list, counts);
}

/* The solution for one list. A fitted choice is for the tokens to which it is worth a row's bytes or, where the fit is
 * paid for by then, also for those to which it is worth a step's. */
static void choose_list(const solver *self, uint32_t list, double price, double *costs,
                        uint8_t *choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    pricing at = {.list = list, .price = price, .costs = costs};
    for (uint32_t c = 0; c < ctx->n_choice; c++) {
        at.errors[c] = error_of(ctx, list, (uint8_t)c);
        at.bytes[c] = price * ctx->row_bytes[c];
    }
    for (uint32_t i = 0; i < ctx->n_token; i++) {
        bool may_fit = ctx->modality[i] == ctx->fitted && ctx->always[i] == 0;
        choice[i] = best_choice(self, &at, i, &costs[i]);
        choice[i] = ctx->always[i] != 0 ? 0 : choice[i];
        costs[i] = may_fit ? costs[i] : -INFINITY;
    }
    double most = 0.0, bytes = 0.0;
    uint8_t best = FVI_CHOOSE_DROP;
    for (uint32_t c = 0; c < ctx->n_choice; c++) {
        const double each[2] = {ctx->row_bytes[c], ctx->step_bytes[c]};
        for (uint32_t i = 0; ctx->is_fitted[c] && i < 2; i++) {
            double gain = take_fitted(self, &at, (uint8_t)c, each[i], NULL);
            if (gain > most) {
                most = gain;
                best = (uint8_t)c;
                bytes = each[i];
            }
        }
    }
    if (best != FVI_CHOOSE_DROP) {
        take_fitted(self, &at, best, bytes, choice);
    }
}

/* All lists at a price. */
typedef struct choosing {
    const solver *solver;
    double price;
    uint8_t *choice; /* [n_list, n_token] */
} choosing;

static void list_part(void *arg, uint32_t list, uint32_t worker)
{
    const choosing *at = arg;
    size_t n_token = at->solver->ctx->n_token;
    uint8_t *own = at->choice + list * n_token;
    choose_list(at->solver, list, at->price, at->solver->costs + worker * n_token, own);
    keep_one(at->solver, list, own);
}

/* The solution at a price, which is told as a power of two and in squares of the largest weight. */
static void choose_at(solver *self, double power, uint8_t *choice)
{
    choosing at = {
        .solver = self, .price = exp2(power) * self->most * self->most, .choice = choice};
    fvi_pool_run(self->ctx->workers, self->ctx->n_list, list_part, &at);
    count(self, choice);
}

/* Bytes of the turn with self->counts; its parts, where they are wanted. */
static size_t bytes_now(const solver *self, size_t *run_bytes, uint64_t *n_slot)
{
    const fvi_choose_ctx *ctx = self->ctx;
    *run_bytes = 0;
    *n_slot = 0;
    for (uint32_t list = 0; list < ctx->n_list; list++) {
        const uint32_t *counts = self->counts + (size_t)list * ctx->n_choice;
        *run_bytes += ctx->list_bytes(ctx->user, list, counts);
        for (uint32_t c = 0; c < ctx->n_choice; c++) {
            *n_slot += counts[c];
        }
    }
    return ctx->turn_bytes(ctx->user, *run_bytes, *n_slot);
}

static bool fits(const solver *self)
{
    size_t run_bytes;
    uint64_t n_slot;
    return bytes_now(self, &run_bytes, &n_slot) <= self->ctx->target;
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

static void move(uint32_t *counts, uint8_t from, uint8_t to)
{
    if (from != FVI_CHOOSE_DROP) {
        counts[from]--;
    }
    if (to != FVI_CHOOSE_DROP) {
        counts[to]++;
    }
}

static void set_choice(solver *self, size_t slot, uint8_t choice)
{
    const fvi_choose_ctx *ctx = self->ctx;
    move(self->counts + slot / ctx->n_token * ctx->n_choice, self->low[slot], choice);
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
    uint32_t taken = 0;
    uint32_t stride = n;
    while (stride > 0 && taken < n) {
        uint32_t to = FVI_MIN(taken + stride, n);
        swap_steps(self, steps, taken, to);
        if (fits(self)) {
            taken = to;
        } else {
            swap_steps(self, steps, taken, to);
            stride /= 2;
        }
    }
}

/* The fitted choice of a list, FVI_CHOOSE_DROP: it has none. */
static uint8_t fitted_of(const fvi_choose_ctx *ctx, uint32_t list, const uint8_t *choice)
{
    const uint8_t *own = choice + (size_t)list * ctx->n_token;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        if (is_fitted(ctx, own[t])) {
            return own[t];
        }
    }
    return FVI_CHOOSE_DROP;
}

static step step_at(const solver *self, size_t slot)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t list = (uint32_t)(slot / ctx->n_token);
    double before = error_of(ctx, list, self->low[slot]);
    double after = error_of(ctx, list, self->high[slot]);
    return (step){.slot = (uint32_t)slot, .gain = self->squares[slot] * (before - after)};
}

/* The differing slots of a list into steps; returns how many. */
static uint32_t steps_of(const solver *self, uint32_t list, step *steps)
{
    uint32_t n = 0;
    for (size_t t = 0, i = (size_t)list * self->ctx->n_token; t < self->ctx->n_token; t++, i++) {
        if (self->low[i] != self->high[i]) {
            steps[n++] = step_at(self, i);
        }
    }
    return n;
}

/* Lists that change their fitted choice do it as a whole, if that fits; steps: memory for all slots. Returns
 * how many steps of the other lists it leaves there. */
static uint32_t fill_lists(solver *self, step *steps)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t n = 0;
    for (uint32_t list = 0; list < ctx->n_list; list++) {
        uint32_t n_own = steps_of(self, list, steps + n);
        if (fitted_of(ctx, list, self->low) == fitted_of(ctx, list, self->high)) {
            n += n_own;
            continue;
        }
        swap_steps(self, steps, n, n + n_own);
        if (!fits(self)) {
            swap_steps(self, steps, n, n + n_own);
        }
    }
    return n;
}

static fovea_status spend_rest(solver *self)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t n_slot = (size_t)ctx->n_list * ctx->n_token;
    step *steps = fvi_alloc(ctx->alloc, n_slot * sizeof *steps);
    if (steps == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    count(self, self->low);
    uint32_t n = fill_lists(self, steps);
    qsort(steps, n, sizeof *steps, by_gain);
    fill_up(self, steps, n);
    fvi_free(ctx->alloc, steps);
    return FOVEA_OK;
}

/* ---- the last bytes ---- */

/* One token of a list in a better choice. */
typedef struct improvement {
    size_t slot;
    uint8_t to;
    size_t run_bytes; /* of the turn afterwards */
    double rate;      /* what a byte buys; 0: there is none that fits */
} improvement;

/* The token of a list in `from` that matters most among those that may be better off; n_token: there is
 * none. */
static uint32_t best_token(const solver *self, uint32_t list, uint8_t from)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t row = (size_t)list * ctx->n_token;
    uint32_t best = ctx->n_token;
    for (uint32_t t = 0; t < ctx->n_token; t++) {
        if (self->low[row + t] == from && first_choice(ctx, row + t) < from &&
            (best == ctx->n_token || self->squares[row + t] > self->squares[row + best])) {
            best = t;
        }
    }
    return best;
}

/* Looks for a better improvement among those that take a token of `list` out of `from`. */
static void look_from(const solver *self, uint32_t list, uint8_t from, size_t run_bytes,
                      uint64_t n_slot, improvement *best)
{
    const fvi_choose_ctx *ctx = self->ctx;
    uint32_t token = best_token(self, list, from);
    if (token == ctx->n_token) {
        return;
    }
    size_t slot = (size_t)list * ctx->n_token + token;
    uint32_t *counts = self->counts + (size_t)list * ctx->n_choice;
    size_t had = ctx->list_bytes(ctx->user, list, counts);
    double w = self->squares[slot], e = error_of(ctx, list, from);
    for (uint32_t to = first_choice(ctx, slot); to < ctx->n_choice && to < from; to++) {
        if (is_fitted(ctx, (uint8_t)to) &&
            (counts[to] == 0 || ctx->modality[token] != ctx->fitted)) {
            continue;
        }
        double e_to = error_of(ctx, list, (uint8_t)to);
        move(counts, from, (uint8_t)to);
        size_t now = ctx->list_bytes(ctx->user, list, counts), all = run_bytes - had + now;
        move(counts, (uint8_t)to, from);
        double rate = w * (e - e_to) / (now > had ? (double)(now - had) : 1.0);
        if (rate > best->rate &&
            ctx->turn_bytes(ctx->user, all, n_slot + (from == FVI_CHOOSE_DROP)) <= ctx->target) {
            *best = (improvement){.slot = slot, .to = (uint8_t)to, .run_bytes = all, .rate = rate};
        }
    }
}

/* Improves one token of each list after the other while any improvement fits. */
static void spend_last(solver *self)
{
    const fvi_choose_ctx *ctx = self->ctx;
    size_t run_bytes;
    uint64_t n_slot;
    count(self, self->low);
    bytes_now(self, &run_bytes, &n_slot);
    for (uint32_t list = 0, n_idle = 0; n_idle < ctx->n_list; list = (list + 1) % ctx->n_list) {
        improvement best = {.rate = 0};
        look_from(self, list, FVI_CHOOSE_DROP, run_bytes, n_slot, &best);
        for (uint32_t from = 1; from < ctx->n_choice; from++) {
            look_from(self, list, (uint8_t)from, run_bytes, n_slot, &best);
        }
        n_idle = best.rate > 0 ? 0 : n_idle + 1;
        if (best.rate > 0) {
            n_slot += self->low[best.slot] == FVI_CHOOSE_DROP;
            run_bytes = best.run_bytes;
            set_choice(self, best.slot, best.to);
        }
    }
}

static size_t n_different(const solver *self)
{
    size_t n = 0;
    for (size_t i = 0; i < (size_t)self->ctx->n_list * self->ctx->n_token; i++) {
        n += self->low[i] != self->high[i];
    }
    return n;
}

static fovea_status solve(solver *self)
{
    const fvi_choose_ctx *ctx = self->ctx;
    double low = -120.0; /* the price that fits is above */
    double high = 60.0;
    size_t run_bytes, n_all = (size_t)ctx->n_list * ctx->n_token;
    uint64_t n_slot;
    find_weights(self);
    for (uint32_t c = 0; c < ctx->n_choice; c++) {
        self->cheapest = is_fitted(ctx, (uint8_t)c) ? self->cheapest : (uint8_t)c;
    }
    self->keep_text = true;
    choose_at(self, high, self->low);
    if ((double)bytes_now(self, &run_bytes, &n_slot) > TEXT_SHARE * (double)ctx->target) {
        self->keep_text = false; /* text alone would eat the budget */
        choose_at(self, high, self->low);
    }
    choose_at(self, low, self->high);
    if (fits(self)) { /* all of it fits in the best choice */
        memcpy(self->low, self->high, n_all);
        return FOVEA_OK;
    }
    uint8_t *middle = fvi_alloc(ctx->alloc, n_all);
    if (middle == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < N_BISECT && n_different(self) > N_CLOSE; i++) {
        double at = (low + high) / 2;
        choose_at(self, at, middle);
        bool is_less = fits(self);
        *(is_less ? &high : &low) = at;
        memcpy(is_less ? self->low : self->high, middle, n_all);
    }
    fvi_free(ctx->alloc, middle);
    FVI_TRY(spend_rest(self));
    spend_last(self);
    return FOVEA_OK;
}

static fovea_status choose(const fvi_choose_ctx *ctx, uint8_t *choice)
{
    const fovea_alloc *alloc = ctx->alloc;
    size_t n_slot = (size_t)ctx->n_list * ctx->n_token;
    solver self = {.ctx = ctx, .low = choice};
    self.counts = fvi_calloc(alloc, (size_t)ctx->n_list * ctx->n_choice, sizeof *self.counts);
    self.squares = fvi_calloc(alloc, n_slot, sizeof *self.squares);
    self.costs = fvi_calloc(alloc, (size_t)fvi_pool_n_thread(ctx->workers) * ctx->n_token,
                            sizeof *self.costs);
    self.high = fvi_alloc(alloc, n_slot);
    bool has_all = self.counts != NULL && self.squares != NULL && self.costs != NULL;
    fovea_status status = has_all && self.high != NULL ? solve(&self) : FOVEA_ERR_NOMEM;
    fvi_free(alloc, self.counts);
    fvi_free(alloc, self.squares);
    fvi_free(alloc, self.costs);
    fvi_free(alloc, self.high);
    return status;
}

const fvi_budget fvi_budget_distortion = {
    .name = "distortion",
    .choose = choose,
};
