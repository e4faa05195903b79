/* select.c - ordering the tokens of lists, sharing out budgets, meeting a target in bytes.
 *
 * Called by plan.c. */
#include "kvcompress/select.h"

#include "kvcompress/apportion.h"
#include "kvcompress/place.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

/* ---- order ---- */

/* A key that grows as the score falls; -0 equals 0. */
static uint32_t key_of(float score)
{
    float plain = score + 0.0f;
    uint32_t bits;
    memcpy(&bits, &plain, sizeof bits);
    uint32_t rising = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~rising;
}

/* A stable radix sort, a byte at a time. */
void fvi_select_sort(const float *scores, uint32_t n, uint32_t *sort)
{
    uint32_t *position = sort, *key = sort + n, *position2 = sort + 2 * (size_t)n;
    uint32_t *key2 = sort + 3 * (size_t)n;
    for (uint32_t i = 0; i < n; i++) {
        position[i] = i;
        key[i] = key_of(scores[i]);
    }
    for (uint32_t shift = 0; shift < 32; shift += 8) {
        uint32_t start[257] = {0};
        for (uint32_t i = 0; i < n; i++) {
            start[(key[i] >> shift & 255) + 1]++;
        }
        for (uint32_t b = 0; b < 256; b++) {
            start[b + 1] += start[b];
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t to = start[key[i] >> shift & 255]++;
            position2[to] = position[i];
            key2[to] = key[i];
        }
        uint32_t *swap = position;
        position = position2;
        position2 = swap;
        swap = key;
        key = key2;
        key2 = swap;
    } /* an even number of passes: the result is back in sort[0..n) */
}

/* The latest tokens of a list, of one modality or of any: they come before the scores as the budget grows. */
typedef struct window {
    double share; /* of the budget */
    uint8_t modality;
    bool any;
    uint32_t n;  /* tokens that went into it */
    uint32_t at; /* all from here on are in it or of another modality */
} window;

/* How many tokens a window has in a budget of k. */
static uint32_t window_of(const fvi_select_part *part, const window *w, uint32_t k)
{
    double share = ceil(w->share * k - 1e-9);
    uint32_t n = share <= 0 ? 0 : (uint32_t)share;
    return FVI_MIN(n, k - part->n_always);
}

/* The place in part->token by which a window grows with a budget of k; n: it does not grow, or has taken all. */
static uint32_t grow_window(const fvi_select *self, const fvi_select_part *part, window *w,
                            uint32_t k)
{
    if (window_of(part, w, k) <= w->n) {
        return part->n;
    }
    w->n++;
    while (w->at > 0) {
        if (self->modality[part->token[--w->at]] == w->modality || w->any) {
            return w->at;
        }
    }
    return part->n;
}

static uint32_t set_windows(const fvi_select *self, const fvi_select_part *part,
                            window windows[FOVEA_N_MODALITY])
{
    bool apart = self->recipe->recent_apart && part->any;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        uint32_t of = part->any ? m : part->modality;
        windows[m] = (window){.share = self->recipe->recent[of],
                              .modality = (uint8_t)of,
                              .any = !apart,
                              .at = part->n};
    }
    return apart ? FOVEA_N_MODALITY : 1;
}

static void order_list(fvi_select *self, const fvi_select_part *part, uint32_t list)
{
    uint32_t n = part->n, n_done = 0, at = 0;
    uint32_t *order = part->order + (size_t)list * n;
    uint32_t *n_vision = part->n_vision + (size_t)list * n;
    window windows[FOVEA_N_MODALITY];
    uint32_t n_window = set_windows(self, part, windows);
    fvi_select_sort(part->scores + (size_t)list * n, n, self->sort);
    uint8_t *taken = (uint8_t *)(self->sort + n); /* the sort is through with it */
    for (uint32_t i = 0; i < n; i++) {
        taken[i] = self->always[part->token[i]] != 0;
        if (taken[i] != 0) {
            order[n_done++] = part->token[i];
        }
    }
    while (n_done < n) {
        uint32_t next = n;
        for (uint32_t w = 0; w < n_window && next == n; w++) {
            next = grow_window(self, part, &windows[w], n_done + 1);
        }
        if (next == n || taken[next] != 0) {
            while (taken[self->sort[at]] != 0) {
                at++;
            }
            next = self->sort[at];
        }
        taken[next] = 1;
        order[n_done++] = part->token[next];
    }
    for (uint32_t i = 0, count = 0; i < n; i++) {
        count += self->modality[order[i]] == FOVEA_MODALITY_VISION;
        n_vision[i] = count;
    }
}

void fvi_select_order(fvi_select *self)
{
    for (uint32_t p = 0; p < self->n_part; p++) {
        for (uint32_t list = 0; list < self->n_list; list++) {
            order_list(self, &self->part[p], list);
        }
    }
}

/* ---- bytes ---- */

void fvi_select_set_kinds(fvi_select *self, uint32_t n_kind)
{
    self->n_kind = n_kind;
    self->base_bytes = self->first_turn ? fvi_kv_seq_fixed_bytes(self->geom, self->n_span, n_kind)
                                        : fvi_kv_seq_turn_bytes(self->geom, self->n_span, n_kind);
}

size_t fvi_select_runs_bytes(const fvi_select *self, uint32_t layer,
                             const uint32_t n[FOVEA_N_MODALITY])
{
    /* one run for each kind: the exact tokens', text's, vision's, where these differ */
    const fvi_codec *codec[FOVEA_N_MODALITY + 1] = {fvi_codec_of(self->geom->base)};
    uint32_t n_row[FOVEA_N_MODALITY + 1] = {0};
    size_t n_bytes = 0;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        uint32_t at = 0;
        codec[m + 1] = self->codec[m];
        while (codec[at] != self->codec[m]) {
            at++;
        }
        n_row[0] += self->n_exact[m];
        n_row[at] += n[m] - self->n_exact[m];
    }
    for (uint32_t i = 0; i < FVI_COUNT(n_row); i++) {
        if (n_row[i] > 0) {
            fvi_kv_shape shape = fvi_kv_shape_of(self->geom, layer, codec[i]);
            n_bytes += fvi_kv_run_place_bytes(&shape, n_row[i]);
        }
    }
    return n_bytes;
}

/* Bytes of a list whose parts keep their budgets, part p more than that. */
static size_t list_bytes(const fvi_select *self, uint32_t list, uint32_t p, uint32_t more)
{
    uint32_t n[FOVEA_N_MODALITY] = {0};
    for (uint32_t i = 0; i < self->n_part; i++) {
        const fvi_select_part *part = &self->part[i];
        uint32_t k = part->budget[list] + (i == p ? more : 0);
        uint32_t n_vision = k > 0 ? part->n_vision[(size_t)list * part->n + k - 1] : 0;
        n[FOVEA_MODALITY_VISION] += n_vision;
        n[FOVEA_MODALITY_TEXT] += k - n_vision;
    }
    return n[0] + n[1] > 0 ? fvi_select_runs_bytes(self, self->list_layer[list], n) : 0;
}

size_t fvi_select_whole_bytes(const fvi_select *self, size_t run_bytes, uint64_t n_slot)
{
    return self->base_bytes + sizeof(fvi_kv_extent) + fvi_round_up(run_bytes, self->granule) +
           fvi_kv_turn_sealed_bytes(self->n_list, self->n_token, self->n_kind, n_slot);
}

static size_t run_bytes_of(const fvi_select *self, uint64_t *n_slot)
{
    size_t run_bytes = 0;
    *n_slot = 0;
    for (uint32_t list = 0; list < self->n_list; list++) {
        run_bytes += list_bytes(self, list, 0, 0);
        for (uint32_t p = 0; p < self->n_part; p++) {
            *n_slot += self->part[p].budget[list];
        }
    }
    return run_bytes;
}

size_t fvi_select_bytes(const fvi_select *self)
{
    uint64_t n_slot;
    size_t run_bytes = run_bytes_of(self, &n_slot);
    return fvi_select_whole_bytes(self, run_bytes, n_slot);
}

/* ---- budgets ---- */

fovea_status fvi_select_total(fvi_select *self, const fvi_kv_obs *obs, uint32_t p, uint64_t total)
{
    const fvi_select_part *part = &self->part[p];
    const fvi_budget_ctx ctx = {.alloc = self->alloc,
                                .geom = self->geom,
                                .obs = obs,
                                .scores = part->scores,
                                .n_token = self->n_token,
                                .n_candidate = part->n,
                                .total = total,
                                .min_list = part->min_list};
    FVI_TRY(self->recipe->budget->weigh(&ctx, part->weights));
    return fvi_apportion(part->weights, self->n_list, total, part->min_list, part->high,
                         self->scratch, part->budget);
}

/* Adds single tokens, to the list that is owed most, while the target allows any. */
static void fill_up(fvi_select *self, uint32_t p, size_t target)
{
    const fvi_select_part *part = &self->part[p];
    uint64_t n_slot;
    size_t run_bytes = run_bytes_of(self, &n_slot);
    for (;;) {
        uint32_t best = self->n_list;
        double owed = -1;
        size_t best_bytes = 0;
        for (uint32_t list = 0; list < self->n_list; list++) {
            uint32_t k = part->budget[list];
            double due = part->weights[list] / (k + 1.0);
            if (k == part->high[list] || due <= owed) {
                continue;
            }
            size_t n_bytes =
                run_bytes - list_bytes(self, list, p, 0) + list_bytes(self, list, p, 1);
            if (fvi_select_whole_bytes(self, n_bytes, n_slot + 1) <= target) {
                best = list;
                owed = due;
                best_bytes = n_bytes;
            }
        }
        if (best == self->n_list) {
            return;
        }
        part->budget[best]++;
        run_bytes = best_bytes;
        n_slot++;
    }
}

fovea_status fvi_select_target(fvi_select *self, const fvi_kv_obs *obs, uint32_t p, size_t target)
{
    uint64_t fits = (uint64_t)self->n_list * self->part[p].min_list;
    uint64_t exceeds = 0;
    for (uint32_t list = 0; list < self->n_list; list++) {
        exceeds += self->part[p].high[list];
    }
    while (exceeds - fits > 1) {
        uint64_t middle = fits + (exceeds - fits) / 2;
        FVI_TRY(fvi_select_total(self, obs, p, middle));
        if (fvi_select_bytes(self) <= target) {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    FVI_TRY(fvi_select_total(self, obs, p, fits));
    fill_up(self, p, target);
    return FOVEA_OK;
}
