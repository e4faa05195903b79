/* plan_floor.c - the limits of a turn in bytes: what everything takes, and the least that bytes= may ask for.
 *
 * The floor: G bytes is the most by which a selection can stay below its target (the last granule, and a
 * row that does not fit any more), so targets of 20 G and more are met within 5%; and every list must hold
 * its least tokens. A modality with a share of its own has to fit too, however its tokens are spread over
 * the lists: the floor holds for the dearest way. Called by plan_intent.c. */
#include "kvcompress/choose.h"
#include "kvcompress/plan_intent.h"
#include "kvcompress/seq_internal.h"

#include <math.h>

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

/* The largest step of a list's runs. */
static size_t largest_list_step(const fvi_select *select)
{
    size_t step = 0;
    for (uint32_t layer = 0; layer < select->geom->n_layer; layer++) {
        for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
            fvi_kv_shape shape = fvi_kv_shape_of(select->geom, layer, select->codec[m]);
            if ((select->kinds >> select->codec[m]->kind & 1) != 0) {
                step = FVI_MAX(step, largest_step(&shape));
            }
        }
    }
    return step;
}

/* Bytes of a list without parts that keeps one token, whichever. */
static size_t one_token_bytes(const fvi_select *select, uint32_t layer)
{
    size_t most = 0;
    for (uint32_t m = 0; m < FOVEA_N_MODALITY; m++) {
        fvi_kv_shape shape = fvi_kv_shape_of(select->geom, layer, select->codec[m]);
        if ((select->kinds >> select->codec[m]->kind & 1) != 0) {
            most = FVI_MAX(most, fvi_kv_run_place_bytes(&shape, 1));
        }
    }
    return most;
}

/* Bytes of all lists when each holds n tokens. */
static size_t even_bytes(const fvi_select *select, const uint32_t n[FOVEA_N_MODALITY])
{
    size_t n_bytes = 0;
    for (uint32_t layer = 0; layer < select->geom->n_layer; layer++) {
        size_t list = n[0] + n[1] > 0 ? fvi_select_runs_bytes(select, layer, n)
                                      : one_token_bytes(select, layer);
        n_bytes += select->geom->layers[layer].n_kv_head * list;
    }
    return n_bytes;
}

/* The most by which a list of a layer exceeds `rate` bytes a token of modality m, beside n of the other. */
static double excess(const fvi_select *select, uint32_t layer, uint32_t m,
                     const uint32_t from[FOVEA_N_MODALITY], uint32_t to, double rate)
{
    uint32_t n[FOVEA_N_MODALITY] = {from[0], from[1]};
    double most = 0;
    for (; n[m] <= to; n[m]++) {
        size_t n_bytes = n[0] + n[1] > 0 ? fvi_select_runs_bytes(select, layer, n) : 0;
        most = fmax(most, (double)n_bytes - rate * n[m]);
    }
    return most;
}

static bool same_layer(const fvi_kv_layer_geom *a, const fvi_kv_layer_geom *b)
{
    return a->dk == b->dk && a->dv == b->dv;
}

/* The most bytes that all lists can take when modality m has `total` slots in any lists, each at least from[m]
 * and at most `to` of them, and from[] of the other one. */
static size_t uneven_bytes(const fvi_select *select, uint32_t m,
                           const uint32_t from[FOVEA_N_MODALITY], uint32_t to, uint64_t total)
{
    const fvi_kv_geom *geom = select->geom;
    double rate = 0, bytes = 0, most = 0;
    uint32_t n[FOVEA_N_MODALITY] = {from[0], from[1]};
    n[m] = to;
    for (uint32_t layer = 0; layer < geom->n_layer && to > from[m]; layer++) {
        size_t least = from[0] + from[1] > 0 ? fvi_select_runs_bytes(select, layer, from) : 0;
        size_t all = fvi_select_runs_bytes(select, layer, n);
        rate = fmax(rate, (double)(all - least) / (to - from[m]));
    }
    for (uint32_t layer = 0; layer < geom->n_layer; layer++) {
        if (layer == 0 || !same_layer(&geom->layers[layer], &geom->layers[layer - 1])) {
            most = excess(select, layer, m, from, to, rate);
        }
        bytes += geom->layers[layer].n_kv_head * most;
    }
    return (size_t)ceil(bytes + rate * (double)total);
}

/* Bytes of all lists when the rest keeps n[rest] in each; what has a share of its own counts as its most. */
static size_t run_bytes(const fvi_intent *self, uint32_t n_text, uint32_t n_vision)
{
    const fvi_select *select = &self->select;
    uint32_t n[FOVEA_N_MODALITY] = {n_text, n_vision}, m = 1 - self->rest;
    if (select->n_part == 1 || self->rest == select->n_part) {
        return even_bytes(select, n);
    }
    const fvi_select_part *fixed = &select->part[m];
    if (self->total[m] == (uint64_t)select->n_list * fixed->n) {
        n[m] = fixed->n;
        return even_bytes(select, n);
    }
    n[m] = fixed->min_list;
    return uneven_bytes(select, m, n, fixed->n, self->total[m]);
}

/* Tokens of all lists when the rest keeps n_rest in each. */
static uint64_t slots_of(const fvi_intent *self, bool least)
{
    uint64_t n = 0;
    for (uint32_t p = 0; p < self->select.n_part; p++) {
        const fvi_select_part *part = &self->select.part[p];
        uint64_t own = (uint64_t)self->select.n_list * (least ? part->min_list : part->n);
        n += p == self->rest || self->rest == self->select.n_part ? own : self->total[p];
    }
    return n;
}

void fvi_intent_find_limits(fvi_intent *self)
{
    fvi_select *select = &self->select;
    bool split = select->n_part > 1, chooses = fvi_intent_chooses(self);
    size_t all = run_bytes(self, self->n_of[0], self->n_of[1]);
    size_t least = split ? run_bytes(self, select->part[0].min_list, select->part[1].min_list)
                         : run_bytes(self, select->n_least[0], select->n_least[1]);
    self->step = largest_list_step(select) + FVI_RUN_ALIGN - 1;
    self->gap =
        select->granule + (self->step <= select->granule ? 0 : self->step) + FVI_RUN_ALIGN + 1;
    if (chooses) { /* fills up with the base kind, but breaks runs of any kind */
        self->step = FVI_MAX(self->step, largest_choice_step(select->geom) + FVI_RUN_ALIGN - 1);
    }
    self->all_bytes = fvi_select_whole_bytes(select, all, slots_of(self, false));
    if (chooses) { /* where not all is kept, in up to that many kinds */
        fvi_select_set_kinds(select, FVI_CHOOSE_MAX);
    }
    self->floor_bytes = fvi_select_whole_bytes(select, least, slots_of(self, true));
    self->floor_bytes = FVI_MIN(FVI_MAX(self->floor_bytes, 20 * self->gap), self->all_bytes);
    fvi_select_set_kinds(select, (uint32_t)__builtin_popcount(select->kinds));
}
