/* test_revisers.c - walks revisers.def: what every entry owes, alone and with every kind that evicted= takes.
 *
 * Prompts of up to 3,000 tokens go to slots and as many tokens are generated as it takes to use every slot
 * again. Rows tell their positions, so it is seen that a list holds what it says. A new line in a table is
 * tested by being there. */
#include "scene.h"

#include "kvcompress/slots.h"

typedef struct decoding {
    scene s;
    fvi_recipe recipe;
    fvi_kv_pool *pool;
    fvi_kv_seq *seq;
    bool planned;  /* a plan came first, which may have dropped any token of the prompt */
    uint8_t *gone; /* [n_list, 2 * MOST_TOKEN] 1: was held once and is not */
} decoding;

/* while=REVISER with everything that goes with it. */
static void random_while(decoding *self, const fvi_reviser *reviser, const fvi_codec *evicted)
{
    rng *r = &self->s.r;
    char text[FOVEA_RECIPE_MAX_BYTES];
    uint32_t cap = 16 + rng_below(r, 200);
    self->planned = rng_below(r, 3) == 0;
    int n = snprintf(text, sizeof text, "while=%s,cap=%u", reviser->name, cap);
    if (rng_below(r, 2) == 0) {
        n += snprintf(text + n, sizeof text - (size_t)n, ",recent=0.%u,sinks=%u", rng_below(r, 5),
                      rng_below(r, 4));
    }
    if (evicted != NULL) {
        n += snprintf(text + n, sizeof text - (size_t)n, ",evicted=%s,blurred=%u", evicted->name,
                      1 + rng_below(r, 2 * cap));
    }
    if (self->planned) {
        snprintf(text + n, sizeof text - (size_t)n, ",score=random,keep=0.%u",
                 10 + rng_below(r, 80));
    }
    self->recipe = recipe_of(text);
    assert_ptr_equal(self->recipe.reviser, reviser);
}

static void open_decoding(decoding *self, uint32_t n_generate)
{
    scene *s = &self->s;
    open_turn(s, true, n_generate, &self->pool, &self->seq);
    self->gone = calloc((size_t)s->n_list * 2 * MOST_TOKEN, 1);
    uint32_t needs = fvi_kv_plan_needs(self->seq, &self->recipe);
    fvi_kv_obs *obs = needs != 0 ? observations(s, needs) : NULL;
    fvi_kv_plan *plan = NULL;
    fovea_error err = {.text = ""};
    if (self->planned) {
        assert_int_equal(fvi_kv_plan_make(self->seq, &self->recipe, obs, &plan, &err), FOVEA_OK);
    }
    assert_int_equal(fvi_kv_slots_open(self->seq, &self->recipe, obs, plan, n_generate), FOVEA_OK);
    fvi_kv_plan_free(&plan);
    fvi_kv_obs_unref(&obs);
}

/* A token in every list; where attention is added up, each held one gets some. */
static void decode_token(decoding *self)
{
    const fvi_kv_geom *geom = &self->s.g.geom;
    uint32_t now = fvi_kv_seq_position(self->seq);
    for (uint32_t layer = 0, list = 0; layer < geom->n_layer; layer++) {
        float row[MOST_WIDTH];
        uint32_t n_head = geom->layers[layer].n_kv_head;
        numbered_row(now, n_head, geom->layers[layer].dk, row);
        assert_int_equal(fvi_kv_seq_append(self->seq, layer, row, row), FOVEA_OK);
        for (uint32_t head = 0; head < n_head; head++, list++) {
            float *mass = fvi_kv_seq_mass(self->seq, list);
            assert_int_equal(mass != NULL, self->recipe.reviser->prompt != NULL);
            uint32_t n = fvi_kv_seq_lists(self->seq, layer)[head].n_token;
            for (uint32_t i = 0; mass != NULL && i < n; i++) {
                mass[i] += expf(3 * rng_float(&self->s.r));
            }
        }
    }
    assert_int_equal(fvi_kv_seq_commit(self->seq), FOVEA_OK);
}

/* The rows of a list are those of the tokens that it says it holds, each once; coarse ones are numbers. */
static void check_rows(const fvi_list_view *view, uint32_t d, fovea_kind base, const uint8_t *kinds)
{
    bool seen[2 * MOST_TOKEN] = {false};
    uint32_t n_row = 0;
    for (uint32_t i = 0; i < view->n_run; i++) {
        const fvi_run_view *run = &view->runs[i];
        for (uint32_t row = 0; row < run->n_token; row++, n_row++) {
            float k[MOST_WIDTH], v[MOST_WIDTH];
            fvi_codec_decode(run->codec, run->data, run->capacity, d, d, row, 1, k, d, v, d);
            if (run->codec->kind != base) {
                for (uint32_t c = 0; c < d; c++) {
                    assert_true(isfinite(k[c]) && isfinite(v[c]));
                }
                continue;
            }
            uint32_t position = (uint32_t)k[0] + 64 * (uint32_t)k[1];
            assert_memory_equal(k, v, d * sizeof *k);
            assert_true(position < 2 * MOST_TOKEN && !seen[position]);
            assert_int_equal(kinds[position], base);
            seen[position] = true;
        }
    }
    assert_int_equal(n_row, view->n_token);
}

/* A list never exceeds its limits, what is gone stays gone, first and latest tokens stay. */
static void check_list(decoding *self, uint32_t layer, uint32_t head)
{
    const fvi_recipe *recipe = &self->recipe;
    fovea_kind base = self->s.g.geom.base;
    uint32_t list = fvi_kv_geom_first_list(&self->s.g.geom, layer) + head;
    uint32_t n_position = fvi_kv_seq_position(self->seq), n_prompt = self->s.prompt.n_token;
    uint32_t n_recent = (uint32_t)(recipe->recent[0] * recipe->cap), n_sharp = 0, n_blurred = 0;
    uint8_t kinds[2 * MOST_TOKEN], *gone = self->gone + (size_t)list * 2 * MOST_TOKEN;
    fvi_kv_seq_kept(self->seq, list, kinds);
    for (uint32_t p = 0; p < n_position; p++) {
        bool is_sharp = kinds[p] == base, is_gone = kinds[p] == FVI_KV_DROP;
        n_sharp += is_sharp;
        n_blurred += !is_sharp && !is_gone;
        assert_true(is_sharp || is_gone || kinds[p] == recipe->evicted->kind);
        assert_true(gone[p] == 0 || is_gone);
        gone[p] = is_gone;
        bool stays = p < recipe->n_sink || p + n_recent >= n_position;
        assert_true(is_sharp || !stays || (self->planned && p < n_prompt));
    }
    const fvi_list_view *view = &fvi_kv_seq_lists(self->seq, layer)[head];
    assert_true(n_sharp <= recipe->cap && n_blurred <= recipe->n_blurred);
    assert_int_equal(view->n_token, n_sharp + n_blurred);
    check_rows(view, self->s.g.layers[layer].dk, base, kinds);
}

static void check_decoding(decoding *self)
{
    for (uint32_t layer = 0; layer < self->s.g.geom.n_layer; layer++) {
        for (uint32_t head = 0; head < self->s.g.layers[layer].n_kv_head; head++) {
            check_list(self, layer, head);
        }
    }
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_kv_seq_ledger(self->seq, &ledger);
    assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, fvi_kv_pool_used(self->pool));
}

/* One reviser, one kind for what is evicted or none: until every slot has been taken anew. */
static void run_while(const fvi_reviser *reviser, const fvi_codec *evicted, uint64_t seed)
{
    decoding self = {.planned = false};
    random_scene(&self.s, seed);
    self.s.g.geom.base = rng_below(&self.s.r, 4) == 0 ? FOVEA_KIND_F32 : FOVEA_KIND_F16;
    random_while(&self, reviser, evicted);
    uint32_t n_step = self.recipe.cap + 20;
    open_decoding(&self, rng_below(&self.s.r, n_step + 1)); /* more may come than was announced */
    for (uint32_t i = 0; i < n_step; i++) {
        decode_token(&self);
        if (i % 40 == 0 || i + 1 == n_step) {
            check_decoding(&self);
        }
    }
    fvi_kv_seq_free(&self.seq);
    assert_int_equal(fvi_kv_pool_used(self.pool), 0);
    fvi_kv_pool_free(&self.pool);
    free(self.gone);
}

static void test_revisers(void **state)
{
    (void)state;
    uint64_t seed = 60000;
    for (uint32_t i = 0; fvi_reviser_at(i) != NULL; i++) {
        const fvi_reviser *reviser = fvi_reviser_at(i);
        assert_string_equal(fovea_recipe_name("revisers", i), reviser->name);
        assert_true(reviser->prompt == NULL || (reviser->prompt->needs & FVI_NEED_DENSITY) == 0);
        rng r = {.state = 60 + i};
        for (uint32_t round = 0; round < 1000; round++) {
            uint32_t position = rng_below(&r, 1 << 24);
            float mass = round % 4 == 0 ? 0 : expf(20 * rng_float(&r));
            float worth = reviser->worth(position, mass);
            assert_true(isfinite(worth) && worth == reviser->worth(position, mass));
        }
        for (uint32_t round = 0; round < 16; round++) {
            run_while(reviser, NULL, seed++);
        }
        for (uint32_t j = 0; fvi_codec_at(j) != NULL; j++) {
            const fvi_code_layout *codes = &fvi_codec_at(j)->codes;
            bool per_token = codes->bits != 0 && !codes->k_channel && !codes->v_channel;
            for (uint32_t round = 0; per_token && round < 16; round++) {
                run_while(reviser, fvi_codec_at(j), seed++);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_revisers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
