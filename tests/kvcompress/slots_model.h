/* slots_model.h - eviction while decoding, played by a plain model: arrays of positions and masses, one token
 * in, the least one out; and the comparison of a sequence with it.
 *
 * Rows are made from list and position alone, so that any row that a list shows can be checked. Attention is
 * played by adding to what fvi_kv_seq_mass gives, as attn_decode does. Included by test_slots.c. */
#ifndef FOVEA_TESTS_SLOTS_MODEL_H
#define FOVEA_TESTS_SLOTS_MODEL_H

#include "kv_bench.h"

#include "kvcompress/seq_internal.h"

#define CAP         24
#define MOST_TOKENS 1024

/* ---- rows that tell where they belong ---- */

static float cell(uint32_t list, uint32_t position, uint32_t channel)
{
    rng r = {.state = 1 + list * UINT64_C(1000003) + position * UINT64_C(10007) + channel};
    rng_next(&r);
    return rng_float(&r);
}

static void make_rows(const fvi_kv_geom *geom, uint32_t layer, uint32_t position, float *k,
                      float *v)
{
    fvi_kv_layer_geom dims = geom->layers[layer];
    for (uint32_t head = 0; head < dims.n_kv_head; head++) {
        uint32_t list = fvi_kv_geom_first_list(geom, layer) + head;
        for (uint32_t c = 0; c < dims.dk; c++) {
            k[head * dims.dk + c] = cell(list, position, c);
        }
        for (uint32_t c = 0; c < dims.dv; c++) {
            v[head * dims.dv + c] = cell(list, position, 1000 + c);
        }
    }
}

static void fill_turn(bench *b, uint32_t n_generate)
{
    float k[512], v[512];
    if (b->seq == NULL) {
        assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b->pool, &b->g.geom, &b->seq), 0);
    }
    uint32_t first = fvi_kv_seq_position(b->seq);
    assert_int_equal(fvi_kv_seq_begin_turn(b->seq, b->prompt.spans, b->prompt.n_span, n_generate),
                     FOVEA_OK);
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        assert_int_equal(fvi_kv_seq_open_layer(b->seq, layer), FOVEA_OK);
        fvi_kv_layer_geom dims = b->g.layers[layer];
        for (uint32_t i = 0; i < b->prompt.n_token; i++) {
            make_rows(&b->g.geom, layer, first + i, k, v);
            fvi_kv_seq_write(b->seq, layer, i, 1, k, dims.n_kv_head * dims.dk, v,
                             dims.n_kv_head * dims.dv);
        }
    }
    fvi_kv_seq_end_turn(b->seq);
}

static void observe_turn(bench *b, const fvi_recipe *recipe)
{
    fvi_kv_obs_unref(&b->obs);
    uint32_t needs = fvi_kv_plan_needs(b->seq, recipe);
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &b->g.geom, b->prompt.n_token, needs, &b->obs),
        FOVEA_OK);
    for (uint32_t plane = 0; plane < FVI_N_PLANE; plane++) {
        for (size_t i = 0;
             b->obs->plane[plane] != NULL && i < (size_t)b->obs->n_list * b->obs->n_token; i++) {
            b->obs->plane[plane][i] = expf(4 * rng_float(&b->r));
        }
    }
}

/* ---- the model ---- */

typedef struct model_token {
    uint32_t position;
    float mass;
} model_token;

typedef struct model_list {
    model_token sharp[MOST_TOKENS], blurred[MOST_TOKENS];
    uint32_t n_sharp, n_blurred;
} model_list;

/* What the recipe is, in the test's own words. */
typedef struct rule {
    const char *recipe;
    bool h2o;
    uint32_t cap, n_first, n_recent, n_blurred;
} rule;

static double model_worth(const rule *how, model_token token, uint32_t now)
{
    if (token.position < how->n_first || token.position + how->n_recent > now) {
        return 1e30;
    }
    return how->h2o ? token.mass : token.position;
}

static uint32_t model_least(const rule *how, const model_token *tokens, uint32_t n, uint32_t now)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (model_worth(how, tokens[i], now) <= model_worth(how, tokens[least], now)) {
            least = i;
        }
    }
    return least;
}

static void model_evict(const rule *how, model_list *list, uint32_t now)
{
    uint32_t least = model_least(how, list->sharp, list->n_sharp, now);
    model_token out = list->sharp[least];
    list->sharp[least] = list->sharp[--list->n_sharp];
    if (how->n_blurred == 0) {
        return;
    }
    if (list->n_blurred == how->n_blurred) {
        uint32_t worst = model_least(how, list->blurred, list->n_blurred, now);
        if (model_worth(how, out, now) < model_worth(how, list->blurred[worst], now)) {
            return;
        }
        list->blurred[worst] = list->blurred[--list->n_blurred];
    }
    list->blurred[list->n_blurred++] = out;
}

static void model_prompt(const rule *how, const bench *b, uint32_t layer, uint32_t list,
                         uint32_t first, model_list *out)
{
    fvi_kv_layer_geom dims = b->g.layers[layer];
    for (uint32_t i = 0; i < b->prompt.n_token; i++) {
        float mass = 0;
        if (how->h2o) {
            size_t at = (size_t)list * b->prompt.n_token + i;
            mass = (b->obs->plane[FVI_PLANE_TEXT_MASS][at] +
                    b->obs->plane[FVI_PLANE_VISION_MASS][at]) *
                   (float)(dims.n_head / dims.n_kv_head);
        }
        out->sharp[out->n_sharp++] = (model_token){first + i, mass};
    }
    while (out->n_sharp > how->cap) {
        model_evict(how, out, first + b->prompt.n_token);
    }
}

/* ---- comparing ---- */

/* Rows of a list as attention would read them; the position of each from its fingerprint. */
static void check_rows(const bench *b, uint32_t layer, uint32_t head, const uint8_t *kinds)
{
    fvi_kv_layer_geom dims = b->g.layers[layer];
    uint32_t list = fvi_kv_geom_first_list(&b->g.geom, layer) + head,
             n_position = fvi_kv_seq_position(b->seq);
    const fvi_list_view *view = &fvi_kv_seq_lists(b->seq, layer)[head];
    uint8_t seen[4 * MOST_TOKENS] = {0};
    uint32_t n = 0;
    for (uint32_t run = 0; run < view->n_run; run++) {
        const fvi_run_view *r = &view->runs[run];
        for (uint32_t row = 0; row < r->n_token; row++, n++) {
            float k[64], v[64], want_k[64], want_v[64];
            _Alignas(64) uint8_t alone[1024];
            fvi_codec_decode(r->codec, r->data, r->capacity, dims.dk, dims.dv, row, 1, k, dims.dk,
                             v, dims.dv);
            uint32_t found = n_position;
            for (uint32_t p = 0; p < n_position && found == n_position; p++) {
                if (kinds[p] != r->codec->kind || seen[p] != 0) {
                    continue;
                }
                for (uint32_t c = 0; c < dims.dk || c < dims.dv; c++) {
                    want_k[c % dims.dk] = c < dims.dk ? cell(list, p, c) : want_k[c % dims.dk];
                    want_v[c % dims.dv] =
                        c < dims.dv ? cell(list, p, 1000 + c) : want_v[c % dims.dv];
                }
                const fvi_codec *base = fvi_codec_of(b->g.geom.base);
                fvi_codec_encode(base, alone, 1, dims.dk, dims.dv, 0, 1, want_k, dims.dk, want_v,
                                 dims.dv);
                fvi_codec_decode(base, alone, 1, dims.dk, dims.dv, 0, 1, want_k, dims.dk, want_v,
                                 dims.dv);
                if (r->codec != base) {
                    fvi_codec_encode(r->codec, alone, 1, dims.dk, dims.dv, 0, 1, want_k, dims.dk,
                                     want_v, dims.dv);
                    fvi_codec_decode(r->codec, alone, 1, dims.dk, dims.dv, 0, 1, want_k, dims.dk,
                                     want_v, dims.dv);
                }
                bool same = memcmp(k, want_k, dims.dk * sizeof *k) == 0 &&
                            memcmp(v, want_v, dims.dv * sizeof *v) == 0;
                found = same ? p : found;
            }
            assert_true(found < n_position); /* a row of no token that the list says it holds */
            seen[found] = 1;
        }
    }
    for (uint32_t p = 0; p < n_position; p++) {
        assert_int_equal(seen[p], kinds[p] != FVI_KV_DROP);
    }
    assert_int_equal(n, view->n_token);
}

static void check_lists(const bench *b, const rule *how, const model_list *lists, uint8_t *gone)
{
    uint32_t n_position = fvi_kv_seq_position(b->seq);
    for (uint32_t layer = 0, list = 0; layer < b->g.geom.n_layer; layer++) {
        for (uint32_t head = 0; head < b->g.layers[layer].n_kv_head; head++, list++) {
            const model_list *want = &lists[list];
            uint8_t kinds[4 * MOST_TOKENS], model[4 * MOST_TOKENS];
            memset(model, FVI_KV_DROP, n_position);
            for (uint32_t i = 0; i < want->n_sharp; i++) {
                model[want->sharp[i].position] = (uint8_t)b->g.geom.base;
            }
            for (uint32_t i = 0; i < want->n_blurred; i++) {
                model[want->blurred[i].position] = FOVEA_KIND_INT2;
            }
            fvi_kv_seq_kept(b->seq, list, kinds);
            assert_memory_equal(kinds, model, n_position);
            const fvi_list_view *view = &fvi_kv_seq_lists(b->seq, layer)[head];
            assert_int_equal(view->n_token, want->n_sharp + want->n_blurred);
            assert_true(want->n_sharp <= how->cap && want->n_blurred <= how->n_blurred);
            for (uint32_t p = 0; p < n_position; p++) { /* what is gone stays gone */
                uint8_t *was = &gone[(size_t)list * 4 * MOST_TOKENS + p];
                assert_true(*was == 0 || kinds[p] == FVI_KV_DROP);
                *was = kinds[p] == FVI_KV_DROP;
            }
        }
    }
}

static void append_token(bench *b)
{
    float k[512], v[512];
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        make_rows(&b->g.geom, layer, fvi_kv_seq_position(b->seq), k, v);
        assert_int_equal(fvi_kv_seq_append(b->seq, layer, k, v), FOVEA_OK);
    }
}

static model_token *model_find(model_list *list, uint32_t position)
{
    for (uint32_t i = 0; i < list->n_sharp; i++) {
        if (list->sharp[i].position == position) {
            return &list->sharp[i];
        }
    }
    for (uint32_t i = 0; i < list->n_blurred; i++) {
        if (list->blurred[i].position == position) {
            return &list->blurred[i];
        }
    }
    return NULL;
}

static const fvi_kv_slots *slots_of(const bench *b)
{
    return b->seq->blocks[0].slots;
}

/* A step of decoding, in the cache and in the model. */
static void step(bench *b, const rule *how, model_list *lists)
{
    uint32_t now = fvi_kv_seq_position(b->seq);
    append_token(b);
    for (uint32_t list = 0; list < fvi_kv_geom_n_list(&b->g.geom); list++) {
        model_list *want = &lists[list];
        if (want->n_sharp == how->cap) {
            model_evict(how, want, now);
        }
        want->sharp[want->n_sharp++] = (model_token){now, 0};
        float *mass = fvi_kv_seq_mass(b->seq, list);
        assert_int_equal(mass != NULL, how->h2o);
        const fvi_kv_slots *slots = how->h2o ? slots_of(b) : NULL;
        for (uint32_t i = 0; how->h2o && i < want->n_sharp + want->n_blurred; i++) {
            uint32_t position = slots->position[(size_t)list * fvi_kv_slots_width(slots) + i];
            float paid = expf(3 * rng_float(&b->r));
            model_token *token = model_find(want, position & ~FVI_KV_PINNED);
            assert_non_null(token);
            mass[i] += paid;
            token->mass += paid;
        }
    }
    assert_int_equal(fvi_kv_seq_commit(b->seq), FOVEA_OK);
}

static model_list *open_slots(bench *b, const rule *how, uint32_t n_generate)
{
    fvi_recipe recipe = recipe_of(how->recipe);
    uint32_t first = fvi_kv_seq_position(b->seq) - b->prompt.n_token;
    observe_turn(b, &recipe);
    assert_int_equal(fvi_kv_slots_open(b->seq, &recipe, b->obs, NULL, n_generate), FOVEA_OK);
    model_list *lists = calloc(fvi_kv_geom_n_list(&b->g.geom), sizeof *lists);
    for (uint32_t layer = 0, list = 0; layer < b->g.geom.n_layer; layer++) {
        for (uint32_t head = 0; head < b->g.layers[layer].n_kv_head; head++, list++) {
            model_prompt(how, b, layer, list, first, &lists[list]);
        }
    }
    return lists;
}

static void check_ledger(const bench *b, const model_list *lists)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    uint64_t n_text = 0, n_vision = 0;
    for (uint32_t list = 0; list < fvi_kv_geom_n_list(&b->g.geom); list++) {
        for (uint32_t i = 0; i < lists[list].n_sharp + lists[list].n_blurred; i++) {
            uint32_t n = lists[list].n_sharp;
            uint32_t p =
                i < n ? lists[list].sharp[i].position : lists[list].blurred[i - n].position;
            for (uint32_t s = 0; s < b->prompt.n_span; s++) {
                const fvi_kv_span *span = &b->prompt.spans[s];
                bool inside = p >= span->first && p < span->first + span->n;
                n_text += inside && span->modality == FOVEA_MODALITY_TEXT;
                n_vision += inside && span->modality == FOVEA_MODALITY_VISION;
            }
        }
    }
    fvi_kv_seq_ledger(b->seq, &ledger);
    assert_int_equal(ledger.kept_text_slots, n_text);
    assert_int_equal(ledger.kept_vision_slots, n_vision);
    assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, fvi_kv_seq_bytes(b->seq));
    assert_int_equal(fvi_kv_seq_bytes(b->seq), fvi_kv_pool_used(b->pool));
    assert_int_equal(ledger.slack_bytes, 0);
    assert_true(ledger.metadata_bytes <= ledger.realised_bytes);
}

#endif
