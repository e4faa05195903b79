/* test_sweep.c - bytes= and keep= of every preset and of combinations of scores, budgets, kinds and mergers, over 200
 * random prompts: realised bytes within 0.95 to 1.00 of what was asked, a refusal with the floor below it. Where
 * bytes= does not go, recall= and while=, keep= to the token, and every byte that is then held. */
#include "kv_bench.h"

#include "kvcompress/seq_internal.h"

#include <stdio.h>

#define N_PROMPT 200
#define N_MIXED  3 /* combinations for each prompt */

typedef struct tally {
    const char *recipe;
    uint32_t n, n_partial;
    double worst;
} tally;

/* Rows as they come: neighbours are alike, channels differ in mean and spread: kinds per channel are worth it. */
static void prefill_alike(bench *b)
{
    prefill(b, false);
    fvi_kv_seq_free(&b->seq);
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b->pool, &b->g.geom, &b->seq), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(b->seq, b->prompt.spans, b->prompt.n_span, N_ANNOUNCED),
                     FOVEA_OK);
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        fvi_kv_layer_geom dims = b->g.layers[layer];
        uint32_t k_row = dims.n_kv_head * dims.dk, v_row = dims.n_kv_head * dims.dv;
        float row[512], walk[512] = {0};
        assert_int_equal(fvi_kv_seq_open_layer(b->seq, layer), FOVEA_OK);
        for (uint32_t i = 0; i < b->prompt.n_token; i++) {
            for (uint32_t c = 0; c < k_row + v_row; c++) {
                walk[c] = 0.7f * walk[c] + (float)(1 + c % 5) * rng_float(&b->r);
                row[c] = walk[c] + (float)(c * 7 % 19) - 9;
            }
            fvi_kv_seq_write(b->seq, layer, i, 1, row, k_row, row + k_row, v_row);
        }
    }
    fvi_kv_seq_end_turn(b->seq);
}

/* Everything that any scorer or budget asks for. */
static void observe_all(bench *b)
{
    assert_int_equal(
        fvi_kv_obs_new(&fvi_alloc_default, &b->g.geom, b->prompt.n_token, FVI_NEED_ALL, &b->obs),
        FOVEA_OK);
    fvi_kv_obs_set_spans(b->obs, b->prompt.spans, b->prompt.n_span);
    for (uint32_t plane = 0; plane < FVI_N_PLANE; plane++) {
        for (size_t i = 0; i < (size_t)b->obs->n_list * b->obs->n_token; i++) {
            b->obs->plane[plane][i] = rng_below(&b->r, 10) == 0 ? 0 : expf(6 * rng_float(&b->r));
        }
    }
    for (uint32_t layer = 0; layer < b->obs->n_layer; layer++) {
        b->obs->density[layer] = pow(rng_float(&b->r), 4);
    }
}

static void open_prompt(bench *b, uint32_t round)
{
    bench_open(b, 7000 + round);
    if (round % 4 == 3) {
        test_geom_random(&b->g, &b->r);
    }
    bench_pool(b);
    shaped_prompt(b, round % 5);
    observe_all(b);
    prefill_alike(b);
}

static fovea_status check_of(const bench *b, const char *text, size_t *floor_bytes,
                             fovea_error *err)
{
    fvi_recipe recipe = recipe_of(text);
    return fvi_kv_plan_check(&b->g.geom, fvi_kv_pool_granule(b->pool), b->prompt.spans,
                             b->prompt.n_span, b->prompt.n_token, &recipe, floor_bytes, err);
}

/* Everything stays in the best form that the recipe knows. */
static bool keeps_all(const bench *b, const char *text, const fvi_kv_plan *plan)
{
    bool chooses = recipe_of(text).budget->choose != NULL;
    for (size_t i = 0; i < (size_t)plan->n_list * plan->n_token; i++) {
        if (plan->kind[i] == FVI_KV_DROP || (chooses && plan->kind[i] != b->g.geom.base)) {
            return false;
        }
    }
    return true;
}

/* Plans for a target between the floor and everything; the recipe lacks only its bytes=. */
static void sweep_one(bench *b, const char *recipe, tally *sum)
{
    char text[192], number[32];
    size_t floor_bytes = 0, floor_again = 0;
    fovea_error err = {.text = ""};
    snprintf(text, sizeof text, "%sbytes=1", recipe);
    assert_int_equal(check_of(b, text, &floor_bytes, &err), FOVEA_ERR_BUDGET);
    snprintf(number, sizeof number, "is %zu", floor_bytes);
    assert_non_null(strstr(err.text, number));
    size_t full = b->prompt.n_token * fvi_kv_geom_token_bytes(&b->g.geom, FOVEA_KIND_F16);
    double span = log((double)FVI_MAX(full, floor_bytes) / (double)floor_bytes);
    double at = rng_below(&b->r, 4) == 0 ? 0 : rng_below(&b->r, 1000) / 1000.0;
    size_t target = (size_t)((double)floor_bytes * exp(span * at));
    snprintf(text, sizeof text, "%sbytes=%zu", recipe, target);
    assert_int_equal(check_of(b, text, &floor_again, NULL), FOVEA_OK);
    assert_int_equal(floor_again, floor_bytes);
    fvi_kv_plan *plan = plan_of(b, text);
    fvi_kv_seq *fork = NULL;
    assert_int_equal(fvi_kv_seq_fork(b->seq, &fork), FOVEA_OK);
    assert_int_equal(fvi_kv_plan_apply(fork, plan), FOVEA_OK);
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_kv_seq_ledger(fork, &ledger);
    if (ledger.realised_bytes != plan->n_bytes) {
        fail_msg("%s, %u tokens in %u lists: %zu bytes, the plan says %zu", text, b->prompt.n_token,
                 plan->n_list, (size_t)ledger.realised_bytes, plan->n_bytes);
    }
    double met = (double)ledger.realised_bytes / (double)target;
    bool all = keeps_all(b, text, plan);
    if (met > 1 || (!all && met < 0.95)) {
        fail_msg("%s, %u tokens, floor %zu: %zu bytes are %.4f", text, b->prompt.n_token,
                 floor_bytes, (size_t)ledger.realised_bytes, met);
    }
    sum->n++;
    sum->n_partial += !all;
    sum->worst = all ? sum->worst : FVI_MIN(sum->worst, met);
    fvi_kv_seq_free(&fork);
    fvi_kv_plan_free(&plan);
}

/* Presets that keep everything (none, quest) stand without a budget, the others are refused. */
static bool takes_no_budget(const char *name)
{
    return fovea_recipe_check(name, NULL) == FOVEA_OK;
}

static void test_presets(void **state)
{
    (void)state;
    tally sums[64];
    uint32_t n = 0;
    for (const char *name; (name = fovea_recipe_name("presets", n)) != NULL; n++) {
        sums[n] = (tally){.recipe = name, .worst = 1};
    }
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, round);
        for (uint32_t i = 0; i < n; i++) {
            char recipe[64];
            if (takes_no_budget(sums[i].recipe)) {
                continue;
            }
            snprintf(recipe, sizeof recipe, "%s:", sums[i].recipe);
            sweep_one(&b, recipe, &sums[i]);
        }
        bench_close(&b);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (takes_no_budget(sums[i].recipe)) {
            continue;
        }
        print_message("%-12s %u plans, %u partial, worst %.4f\n", sums[i].recipe, sums[i].n,
                      sums[i].n_partial, sums[i].worst);
        assert_true(sums[i].n == N_PROMPT && sums[i].n_partial > N_PROMPT / 2);
    }
}

static const char *pick(rng *r, const char *table)
{
    uint32_t n = 0;
    while (fovea_recipe_name(table, n) != NULL) {
        n++;
    }
    return fovea_recipe_name(table, rng_below(r, n));
}

/* Any score with any budget and any kinds, windows and protection; only a size is missing. */
static void any_recipe(rng *r, char *out, size_t size)
{
    static const char *const more[] = {"", "text.recent=0.3,vision.recent=0,", "sinks=4,exact=2,",
                                       "protect=3,", "text.protect=10,recent=0,"};
    const char *budget = pick(r, "budgets");
    size_t n = (size_t)snprintf(out, size, "score=%s,budget=%s,", pick(r, "scores"), budget);
    if (strcmp(budget, "distortion") != 0) {
        const char *vision = pick(r, "kinds"), *text = pick(r, "kinds");
        text = strncmp(text, "pca-", 4) == 0 ? "f32" : text; /* refused */
        snprintf(out + n, size - n, "vision=%s,text=%s,%s",
                 strcmp(vision, "f32") == 0 ? "int4" : vision,
                 strcmp(text, "f32") == 0 ? "int8" : text, more[rng_below(r, FVI_COUNT(more))]);
    }
}

static void test_combinations(void **state)
{
    (void)state;
    tally sum = {.worst = 1};
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, N_PROMPT + round);
        for (uint32_t i = 0; i < N_MIXED; i++) {
            char recipe[160];
            any_recipe(&b.r, recipe, sizeof recipe);
            sweep_one(&b, recipe, &sum);
        }
        bench_close(&b);
    }
    print_message("combinations: %u plans, %u partial, worst %.4f\n", sum.n, sum.n_partial,
                  sum.worst);
    assert_true(sum.n_partial > sum.n / 2);
}

/* Few lists near their floor hold long runs per channel: one token more may take scales for all of a run. */
static void test_long_steps(void **state)
{
    (void)state;
    static const uint32_t dims[][3] = {{1, 1, 64}, {2, 1, 64}, {1, 2, 128}, {2, 2, 128}};
    tally sum = {.worst = 1};
    for (uint32_t round = 0; round < 240; round++) {
        const uint32_t *d = dims[round % FVI_COUNT(dims)];
        bench b;
        bench_open(&b, 9000 + round);
        test_geom_same(&b.g, d[0], d[1], d[2], FOVEA_KIND_F16);
        bench_pool(&b);
        test_prompt_add(&b.prompt, FOVEA_MODALITY_TEXT, 1 + rng_below(&b.r, 4));
        test_prompt_add(&b.prompt, FOVEA_MODALITY_VISION, 256 + rng_below(&b.r, 320));
        observe_all(&b);
        prefill_alike(&b);
        for (uint32_t i = 0; i < 4; i++) {
            sweep_one(&b, "fovea:", &sum);
        }
        bench_close(&b);
    }
    print_message("long steps: %u plans, worst %.4f\n", sum.n, sum.worst);
    assert_true(sum.n_partial > sum.n / 2);
}

/* A modality with a share of its own, exactly; the other one has what the bytes leave, or all. */
static void test_shares(void **state)
{
    (void)state;
    static const double shares[] = {1, 0.6, 0.25, 0.04};
    static const char *const names[] = {"text", "vision"};
    static const char *const kinds[] = {"", "vision=int4,", "vision=int2-chan,text=int8,",
                                        "vision=int4-chan,text=int4-chan,"};
    uint32_t n_partial = 0;
    double worst = 1;
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, 3 * N_PROMPT + round);
        uint32_t m = rng_below(&b.r, 2), n_list = fvi_kv_geom_n_list(&b.g.geom);
        double share = shares[rng_below(&b.r, FVI_COUNT(shares))];
        char recipe[160], text[192];
        snprintf(recipe, sizeof recipe, "score=%s,budget=%s,%s%s.keep=%g", pick(&b.r, "scores"),
                 strcmp(pick(&b.r, "budgets"), "adakv") == 0 ? "adakv" : "density",
                 kinds[rng_below(&b.r, FVI_COUNT(kinds))], names[m], share);
        uint32_t n_of[FOVEA_N_MODALITY] = {0};
        for (uint32_t i = 0; i < b.prompt.n_span; i++) {
            n_of[b.prompt.spans[i].modality] += b.prompt.spans[i].n;
        }
        uint64_t want = (uint64_t)floor(share * n_list * n_of[m] + 0.5);
        want = m == FOVEA_MODALITY_TEXT ? FVI_MAX(want, n_list) : want; /* no list is empty */
        size_t floor_bytes = 0;
        fovea_error err = {.text = ""};
        snprintf(text, sizeof text, "%s,bytes=1", recipe);
        assert_int_equal(check_of(&b, text, &floor_bytes, &err), FOVEA_ERR_BUDGET);
        size_t full = b.prompt.n_token * fvi_kv_geom_token_bytes(&b.g.geom, FOVEA_KIND_F16);
        size_t target =
            floor_bytes + (full > floor_bytes ? rng_next(&b.r) % (full - floor_bytes) : 0);
        target = round % 5 == 0 ? floor_bytes : target;
        snprintf(text, sizeof text, "%s,bytes=%zu", recipe, target);
        fvi_kv_plan *plan = plan_of(&b, text);
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        uint64_t kept[FOVEA_N_MODALITY] = {ledger.kept_text_slots, ledger.kept_vision_slots};
        assert_int_equal(ledger.realised_bytes, plan->n_bytes);
        assert_int_equal(kept[m], want);
        bool all = kept[1 - m] == (uint64_t)n_list * n_of[1 - m];
        double met = (double)ledger.realised_bytes / (double)target;
        if (met > 1 || (!all && met < 0.95)) {
            fail_msg("%s, %u + %u tokens, floor %zu: %zu bytes are %.4f", text, n_of[0], n_of[1],
                     floor_bytes, (size_t)ledger.realised_bytes, met);
        }
        n_partial += !all;
        worst = all ? worst : FVI_MIN(worst, met);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    print_message("shares: %u plans, %u partial, worst %.4f\n", N_PROMPT, n_partial, worst);
    assert_true(n_partial > N_PROMPT / 4);
}

/* What evicted tokens leave in kept ones takes no byte of its own: any merger with any score, budget and kinds, a
 * third of the mergers on each prompt. */
static void test_mergers(void **state)
{
    (void)state;
    static const char *const of[] = {"", "vision.", "text."};
    tally sums[16];
    uint32_t n = 0;
    for (const char *name; (name = fovea_recipe_name("mergers", n)) != NULL; n++) {
        sums[n] = (tally){.recipe = name, .worst = 1};
    }
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, 4 * N_PROMPT + round);
        for (uint32_t i = round % 3; i < n; i += 3) {
            char recipe[192];
            size_t used = fvi_kv_pool_used(b.pool);
            any_recipe(&b.r, recipe, sizeof recipe);
            size_t end = strlen(recipe);
            snprintf(recipe + end, sizeof recipe - end, "%smerge=%s,", of[rng_below(&b.r, 3)],
                     sums[i].recipe);
            sweep_one(&b, recipe, &sums[i]);
            assert_int_equal(fvi_kv_pool_used(b.pool), used); /* the working space is back */
        }
        bench_close(&b);
    }
    for (uint32_t i = 0; i < n; i++) {
        print_message("merge=%-8s %u plans, %u partial, worst %.4f\n", sums[i].recipe, sums[i].n,
                      sums[i].n_partial, sums[i].worst);
        assert_true(sums[i].n >= N_PROMPT / 3 && sums[i].n_partial > sums[i].n / 2);
    }
}

/* Slots that keep=share asks for where no window is apart. */
static uint64_t slots_of(const bench *b, double share)
{
    uint64_t most = (uint64_t)fvi_kv_geom_n_list(&b->g.geom) * b->prompt.n_token;
    uint64_t least = fvi_kv_geom_n_list(&b->g.geom);
    return FVI_MAX((uint64_t)floor(share * (double)most + 0.5), least);
}

static const char *budget_by_tokens(rng *r)
{
    const char *budget = pick(r, "budgets");
    return strcmp(budget, "distortion") == 0 ? "density" : budget;
}

/* What everything that is held adds up to, and that the pool holds nothing else. */
static fovea_ledger whole_ledger(const bench *b)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_kv_seq_ledger(b->seq, &ledger);
    assert_int_equal(ledger.realised_bytes, ledger.text_bytes + ledger.vision_bytes +
                                                ledger.metadata_bytes + ledger.slack_bytes);
    assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, fvi_kv_pool_used(b->pool));
    return ledger;
}

/* Rows of a list in a kind, in pages of 16 with the least and the largest of each key channel in f16. */
static size_t page_bytes(const fvi_codec *codec, fvi_kv_layer_geom dims, uint32_t n)
{
    size_t n_bytes = 0;
    for (; n > 0; n -= FVI_MIN(n, 16)) {
        size_t rows = fvi_codec_bytes(codec, FVI_MIN(n, 16), dims.dk, dims.dv);
        n_bytes += rows + rows % 2 + 4 * (size_t)dims.dk;
    }
    return n_bytes;
}

static void check_pages(const bench *b, const fvi_kv_plan *plan)
{
    fovea_ledger ledger = whole_ledger(b);
    size_t want = 0;
    for (uint32_t layer = 0, list = 0; layer < b->g.geom.n_layer; layer++) {
        for (uint32_t head = 0; head < b->g.layers[layer].n_kv_head; head++, list++) {
            uint32_t n[FOVEA_N_KIND] = {0};
            for (uint32_t t = 0; t < plan->n_token; t++) {
                uint8_t kind = plan->kind[(size_t)list * plan->n_token + t];
                if (kind != FVI_KV_DROP) {
                    n[kind]++;
                }
            }
            for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
                want += page_bytes(fvi_codec_of((fovea_kind)kind), b->g.layers[layer], n[kind]);
            }
        }
    }
    assert_int_equal(ledger.text_bytes + ledger.vision_bytes, want);
    assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, plan->n_slot);
}

/* Pages, merged or not: as many tokens as were asked for, their bytes and 4 for each channel and page. */
static void test_pages(void **state)
{
    (void)state;
    static const char *const kinds[] = {"", "kind=int8,", "vision=int4-rot,",
                                        "vision=int2,text=int8,"};
    uint32_t n_partial = 0;
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, 5 * N_PROMPT + round);
        double share = 0.02 + 0.9 * rng_below(&b.r, 1000) / 1000.0;
        char text[192];
        snprintf(text, sizeof text, "score=%s,budget=%s,%smerge=%s,keep=%.4f,recall=quest",
                 pick(&b.r, "scores"), budget_by_tokens(&b.r), kinds[rng_below(&b.r, 4)],
                 pick(&b.r, "mergers"), share);
        fvi_kv_plan *plan = plan_of(&b, text);
        fvi_recipe recipe = recipe_of(text);
        assert_int_equal(plan->n_slot, slots_of(&b, recipe.amount));
        fovea_status status = fvi_kv_seq_set_recall(b.seq, recipe.recall, recipe.n_attend);
        if (status == FOVEA_OK) {
            assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
            check_pages(&b, plan);
            n_partial += plan->n_slot < (uint64_t)plan->n_list * plan->n_token;
        } else { /* a layer of keys so wide and values so narrow that a row has no room beside its summary */
            assert_int_equal(status, FOVEA_ERR_UNSUPPORTED);
            assert_int_equal(round % 4, 3);
        }
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    assert_true(n_partial > N_PROMPT * 3 / 4);
}

/* A plan of keep=, then slots: what the plan keeps and cap= allows is sharp, and of the rest the best `blurred`;
 * held are their rows, the tables, and what is taken for tokens to come, which begin to come. */
static void check_slots(bench *b, const fvi_recipe *recipe, const fvi_kv_plan *plan, uint32_t n_new)
{
    const fvi_codec *base = fvi_codec_of(b->g.geom.base);
    uint64_t n_slot = 0, payload = 0;
    fovea_ledger ledger = whole_ledger(b);
    for (uint32_t layer = 0, list = 0; layer < b->g.geom.n_layer; layer++) {
        fvi_kv_layer_geom dims = b->g.layers[layer];
        for (uint32_t head = 0; head < dims.n_kv_head; head++, list++) {
            uint32_t n_sharp = FVI_MIN(kept_of(plan, list), recipe->cap), n_kind[2] = {0};
            uint32_t n_blurred = FVI_MIN(plan->n_token - n_sharp, recipe->n_blurred);
            uint8_t kinds[4096];
            fvi_kv_seq_kept(b->seq, list, kinds);
            for (uint32_t t = 0; t < plan->n_token; t++) {
                n_kind[0] += kinds[t] == base->kind;
                n_kind[1] += recipe->evicted != NULL && kinds[t] == recipe->evicted->kind;
                assert_true(kinds[t] != base->kind || is_kept(plan, list, t));
            }
            assert_int_equal(n_kind[0], n_sharp);
            assert_int_equal(n_kind[1], n_blurred);
            n_slot += n_sharp + n_blurred;
            payload += n_sharp * fvi_codec_bytes(base, 1, dims.dk, dims.dv);
            payload += n_blurred == 0
                           ? 0
                           : n_blurred * fvi_codec_bytes(recipe->evicted, 1, dims.dk, dims.dv);
        }
    }
    assert_int_equal(ledger.kept_text_slots + ledger.kept_vision_slots, n_slot);
    assert_int_equal(ledger.text_bytes + ledger.vision_bytes, payload);
    assert_int_equal(ledger.slack_bytes, 0);
    size_t used = fvi_kv_pool_used(b->pool);
    float row[512] = {0};
    for (uint32_t i = 0; i < n_new; i++) {
        for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
            assert_int_equal(fvi_kv_seq_append(b->seq, layer, row, row), FOVEA_OK);
        }
        assert_int_equal(fvi_kv_seq_commit(b->seq), FOVEA_OK);
        assert_int_equal(fvi_kv_pool_used(b->pool), used);
    }
    for (uint32_t list = 0; list < plan->n_list; list++) {
        uint32_t n_held = fvi_kv_slots_used(b->seq->blocks[0].slots, list);
        assert_true(n_held <= recipe->cap + recipe->n_blurred);
        assert_true(n_held >= FVI_MIN(n_new, recipe->cap));
    }
    whole_ledger(b);
}

static void test_while(void **state)
{
    (void)state;
    static const char *const evicted[] = {"", ",evicted=int2", ",evicted=int4-rot,blurred=50",
                                          ",evicted=int8,blurred=7"};
    uint32_t n_partial = 0, n_capped = 0;
    for (uint32_t round = 0; round < N_PROMPT; round++) {
        bench b;
        open_prompt(&b, 6 * N_PROMPT + round);
        double share = 0.02 + 0.9 * rng_below(&b.r, 1000) / 1000.0;
        uint32_t n_new = rng_below(&b.r, 60);
        char text[192];
        snprintf(text, sizeof text, "score=%s,budget=%s,keep=%.4f,while=%s,cap=%u%s",
                 pick(&b.r, "scores"), budget_by_tokens(&b.r), share, pick(&b.r, "revisers"),
                 16 + rng_below(&b.r, 200), evicted[rng_below(&b.r, FVI_COUNT(evicted))]);
        fvi_recipe recipe = recipe_of(text);
        fvi_kv_plan *plan = plan_of(&b, text);
        assert_int_equal(plan->n_slot, slots_of(&b, recipe.amount));
        assert_int_equal(fvi_kv_slots_open(b.seq, &recipe, b.obs, plan, n_new), FOVEA_OK);
        for (uint32_t list = 0; list < plan->n_list; list++) {
            n_capped += kept_of(plan, list) > recipe.cap;
        }
        n_partial += plan->n_slot < (uint64_t)plan->n_list * plan->n_token;
        check_slots(&b, &recipe, plan, n_new);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
    print_message("while=: %u partial plans, %u lists beyond their cap\n", n_partial, n_capped);
    assert_true(n_partial > N_PROMPT * 3 / 4 && n_capped > N_PROMPT / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets), cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_shares),  cmocka_unit_test(test_long_steps),
        cmocka_unit_test(test_mergers), cmocka_unit_test(test_pages),
        cmocka_unit_test(test_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
