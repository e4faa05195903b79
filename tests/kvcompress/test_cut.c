/* test_cut.c - layers that are cut while the prompt is prefilled: the peak, the caps, exact totals, the tokens
 * and kinds that are left, forecasts, failures, the same bits whoever shares the work. */
#include "kv_bench.h"

#include "kvcompress/cut.h"
#include "kvcompress/seq_internal.h"

#include <stdio.h>

static fovea_status write_layer(fvi_kv_seq *seq, const test_geom *g, uint32_t layer,
                                uint32_t n_token, rng *r)
{
    static float row[2 * 512];
    fvi_kv_layer_geom dims = g->layers[layer];
    uint32_t k_row = dims.n_kv_head * dims.dk, v_row = dims.n_kv_head * dims.dv;
    FVI_TRY(fvi_kv_seq_open_layer(seq, layer));
    for (uint32_t i = 0; i < n_token; i++) {
        for (uint32_t c = 0; c < k_row + v_row; c++) {
            row[c] = (float)(rng_next(r) >> 40) * 0x1p-23f - 1.0f;
        }
        fvi_kv_seq_write(seq, layer, i, 1, row, k_row, row + k_row, v_row);
    }
    return FOVEA_OK;
}

/* A turn whose layers are cut as the engine cuts them: each but the last, when it is through. */
static fovea_status prefill_cut(fvi_kv_seq *seq, const test_geom *g, const test_prompt *prompt,
                                const fvi_recipe *recipe, const fvi_kv_obs *obs, rng *r)
{
    FVI_TRY(fvi_kv_seq_begin_turn(seq, prompt->spans, prompt->n_span, N_ANNOUNCED));
    bool cuts = fvi_kv_cut_wanted(seq, recipe);
    for (uint32_t layer = 0; layer < g->geom.n_layer; layer++) {
        FVI_TRY(write_layer(seq, g, layer, prompt->n_token, r));
        if (cuts && layer + 1 < g->geom.n_layer) {
            FVI_TRY(fvi_kv_cut_layer(seq, recipe, obs, layer, NULL));
        }
    }
    fvi_kv_seq_end_turn(seq);
    return FOVEA_OK;
}

static void start(bench *b, const fvi_recipe *recipe)
{
    rng rows = {.state = 77}; /* the same rows in every sequence */
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b->pool, &b->g.geom, &b->seq), FOVEA_OK);
    assert_int_equal(prefill_cut(b->seq, &b->g, &b->prompt, recipe, b->obs, &rows), FOVEA_OK);
}

static fvi_kv_plan *finish(bench *b, const fvi_recipe *recipe)
{
    fvi_kv_plan *plan = NULL;
    fovea_error err = {.text = ""};
    if (fvi_kv_plan_make(b->seq, recipe, b->obs, &plan, &err) < 0) {
        fail_msg("%s: %s", recipe->text, err.text);
    }
    assert_int_equal(fvi_kv_plan_apply(b->seq, plan), FOVEA_OK);
    return plan;
}

static void prompt_of(bench *b, uint32_t n_image, uint32_t n_vision)
{
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 12);
    for (uint32_t i = 0; i < n_image; i++) {
        test_prompt_add(&b->prompt, FOVEA_MODALITY_VISION, n_vision);
        test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 8);
    }
    observe(b);
    fvi_kv_obs_set_spans(b->obs, b->prompt.spans, b->prompt.n_span);
}

static const fvi_kv_cut *cut_of(const bench *b)
{
    return b->seq->blocks[b->seq->n_block - 1].turn->cut;
}

/* Every finished layer holds its cap, or nearly; the last one is fresh. */
static void check_caps(const bench *b, double cap)
{
    size_t n_layer = b->g.geom.n_layer;
    double full = (double)(b->prompt.n_token * fvi_kv_geom_token_bytes(&b->g.geom, FOVEA_KIND_F16));
    const fvi_kv_cut *cut = cut_of(b);
    assert_non_null(cut);
    for (uint32_t layer = 0; layer + 1 < n_layer; layer++) {
        assert_non_null(cut->layers[layer]);
        assert_null(b->seq->blocks[0].turn->chains[layer]);
        double held = (double)(cut->layers[layer]->n_bytes +
                               fvi_kv_turn_pool_bytes(cut->layers[layer], b->pool));
        if (held > cap * full / (double)n_layer || held < 0.75 * cap * full / (double)n_layer) {
            fail_msg("layer %u holds %.0f of %.0f", layer, held, full / (double)n_layer);
        }
    }
    assert_null(cut->layers[n_layer - 1]);
}

/* 4,000 tokens, most of them of pictures, in the default model's shape. */
static void test_peak(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double share, cap;
    } cases[] = {{"fovea:bytes=10%", 0.1, 0.2},
                 {"fovea:bytes=5%", 0.05, 0.2}, /* a fifth is the least, unless the cap is given */
                 {"fovea:bytes=5%,prefill.cap=2", 0.05, 0.1},
                 {"fovea:bytes=10%,prefill.cap=1.5", 0.1, 0.15},
                 {"vl-cache:bytes=10%", 0.1, 0.2},
                 {"vl-cache:bytes=10%,vision=int4", 0.1, 0.2},
                 {"vl-cache:bytes=1620000", 0.1, 0.2},
                 {"vl-cache:keep=0.04", 0.04, 0.25}, /* metadata comes on top of tokens */
                 {"score=post-vision,budget=adakv,bytes=10%", 0.1, 0.2},
                 {"score=post-vision,budget=pyramid,bytes=10%", 0.1, 0.2}};
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        bench b;
        bench_open(&b, 50 + i);
        bench_pool(&b);
        prompt_of(&b, 7, 560);
        fvi_recipe recipe = recipe_of(cases[i].text);
        start(&b, &recipe);
        double full =
            (double)(b.prompt.n_token * fvi_kv_geom_token_bytes(&b.g.geom, FOVEA_KIND_F16));
        check_caps(&b, cases[i].cap);
        fvi_kv_plan *plan = finish(&b, &recipe);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        double peak = (double)fvi_kv_pool_peak(b.pool) / full;
        double kept = (double)ledger.realised_bytes / full;
        print_message("%-44s peak %4.1f%%, kept %.2f%%\n", cases[i].text, 100 * peak, 100 * kept);
        assert_int_equal(ledger.peak_bytes, fvi_kv_pool_peak(b.pool));
        assert_true(peak <= 0.35 && kept >= 0.95 * cases[i].share);
        if (recipe.unit != FVI_BUDGET_KEEP) {
            assert_true(kept <= cases[i].share);
        }
        assert_int_equal(ledger.realised_bytes, plan->n_bytes);
        assert_int_equal(fvi_kv_pool_used(b.pool), ledger.realised_bytes + ledger.generated_bytes);
        fvi_kv_plan_free(&plan);
        bench_close(&b);
    }
}

/* What every list keeps after the plan, and the bytes of its rows. */
typedef struct kept_rows {
    uint8_t *kind; /* [n_list, n_token] */
    float *
        rows; /* [n_list, n_token, 2 d] of kept tokens as attention sees them, in the lists' order */
} kept_rows;

#define D 64

static kept_rows take_rows(bench *b, const fvi_kv_plan *plan)
{
    size_t n_slot = (size_t)plan->n_list * plan->n_token;
    kept_rows out = {.kind = malloc(n_slot), .rows = calloc(n_slot * 2 * D, sizeof(float))};
    memcpy(out.kind, plan->kind, n_slot);
    float *to = out.rows;
    for (uint32_t layer = 0; layer < b->g.geom.n_layer; layer++) {
        const fvi_list_view *lists = fvi_kv_seq_lists(b->seq, layer);
        for (uint32_t head = 0; head < b->g.layers[layer].n_kv_head; head++) {
            for (uint32_t i = 0; i < lists[head].n_run; i++) {
                const fvi_run_view *run = &lists[head].runs[i];
                fvi_codec_decode(run->codec, run->data, run->capacity, D, D, 0, run->n_token, to,
                                 2 * D, to + D, 2 * D);
                to += (size_t)run->n_token * 2 * D;
            }
        }
    }
    return out;
}

/* The same recipe with its plan made only at the end, in `b`'s pool beside it. */
static void both_ways(bench *b, const char *text, kept_rows *cut, kept_rows *late)
{
    char at_end[160];
    snprintf(at_end, sizeof at_end, "%s,prefill.cap=none", text);
    for (uint32_t i = 0; i < 2; i++) {
        fvi_recipe recipe = recipe_of(i == 0 ? text : at_end);
        start(b, &recipe);
        assert_int_equal(cut_of(b) != NULL, i == 0);
        fvi_kv_plan *plan = finish(b, &recipe);
        *(i == 0 ? cut : late) = take_rows(b, plan);
        fvi_kv_plan_free(&plan);
        fvi_kv_seq_free(&b->seq);
    }
}

/* Where no cap binds, the cut is not seen: the same tokens, and bit by bit the same rows in plain kinds and
 * in kinds that code each token by itself. */
static void test_cut_is_not_seen(void **state)
{
    (void)state;
    static const char *const recipes[] = {"score=post-vision,keep=0.1", "random:bytes=15%",
                                          "streaming:keep=0.2",
                                          "score=post-vision,budget=adakv,bytes=12%",
                                          "random:keep=0.2,vision=int4,text=int8,exact=3"};
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        bench b;
        bench_open(&b, 90 + i);
        bench_pool(&b);
        prompt_of(&b, 2, 150);
        kept_rows cut, late;
        size_t n_slot = (size_t)fvi_kv_geom_n_list(&b.g.geom) * b.prompt.n_token;
        both_ways(&b, recipes[i], &cut, &late);
        assert_memory_equal(cut.kind, late.kind, n_slot);
        double worst = 0;
        for (size_t k = 0; k < n_slot * 2 * D; k++) {
            worst = fmax(worst, fabs((double)cut.rows[k] - (double)late.rows[k]));
        }
        assert_true(i < 4 ? worst == 0 : worst < 2e-3);
        free(cut.kind);
        free(cut.rows);
        free(late.kind);
        free(late.rows);
        bench_close(&b);
    }
}

/* Budgets that want more than a cap for some layers: the caps bind, the others take what that leaves. */
static void test_caps_bind(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 7);
    bench_pool(&b);
    prompt_of(&b, 3, 200);
    for (uint32_t layer = 0; layer < 8; layer++) {
        b.obs->density[layer] =
            layer == 2 ? 0.9 : 0.1; /* 9/16 of all for layer 2: 4.5 mean shares */
    }
    fvi_recipe recipe = recipe_of("vl-cache:keep=0.1");
    start(&b, &recipe);
    fvi_kv_plan *plan = finish(&b, &recipe);
    uint32_t n = b.prompt.n_token, n_total = 0;
    for (uint32_t list = 0; list < 16; list++) {
        uint32_t n_kept = 0;
        for (uint32_t t = 0; t < n; t++) {
            n_kept += plan->kind[(size_t)list * n + t] != FVI_KV_DROP;
        }
        n_total += n_kept;
        /* 2 of 8 mean shares for layer 2, 6 shared by seven layers alike */
        double share = list / 2 == 2 ? 0.2 : 0.1 * 6 / 7;
        assert_true(fabs(n_kept - share * n) <= 1);
    }
    assert_int_equal(n_total, (uint32_t)floor(0.1 * 16 * n + 0.5));
    fvi_kv_plan_free(&plan);
    bench_close(&b);
}

/* A recipe's cuts and plan, made by so many threads. */
static kept_rows made_by(bench *b, const char *text, uint32_t n_thread)
{
    fvi_recipe recipe = recipe_of(text);
    fvi_pool *workers = NULL;
    assert_int_equal(fvi_pool_new(&fvi_alloc_default, n_thread, &workers), FOVEA_OK);
    fvi_kv_pool_set_workers(b->pool, workers);
    start(b, &recipe);
    fvi_kv_plan *plan = finish(b, &recipe);
    kept_rows out = take_rows(b, plan);
    fvi_kv_plan_free(&plan);
    fvi_kv_seq_free(&b->seq);
    fvi_kv_pool_set_workers(b->pool, NULL);
    fvi_pool_free(&workers);
    return out;
}

/* However many share the work, every list keeps the same tokens in the same kinds and bits. */
static void test_workers(void **state)
{
    (void)state;
    static const char *const recipes[] = {
        "fovea:bytes=10%", "fovea:bytes=6%,prefill.cap=none", "vl-cache:bytes=10%,vision=pca-8",
        "vl-cache:bytes=20%,vision=int4-chan,text=int8", "vl-cache:bytes=20%,vision.merge=pivot"};
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        bench b;
        bench_open(&b, 140 + i);
        bench_pool(&b);
        prompt_of(&b, 3, 200);
        size_t n_slot = (size_t)fvi_kv_geom_n_list(&b.g.geom) * b.prompt.n_token;
        kept_rows one = made_by(&b, recipes[i], 1), three = made_by(&b, recipes[i], 3);
        assert_memory_equal(one.kind, three.kind, n_slot);
        assert_memory_equal(one.rows, three.rows, n_slot * 2 * D * sizeof(float));
        free(one.kind);
        free(one.rows);
        free(three.kind);
        free(three.rows);
        bench_close(&b);
    }
}

static double row_bytes(uint8_t kind)
{
    return kind == FVI_KV_DROP ? 0 : (double)fvi_codec_bytes(fvi_codec_of(kind), 256, D, D) / 256;
}

/* Token and kind chosen together: the final plan steps down from what the cut left or drops, and what it codes
 * anew the cut left in codes that are much finer. */
static void test_steps_down(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, 21);
    bench_pool(&b);
    prompt_of(&b, 4, 256);
    fvi_recipe recipe = recipe_of("fovea:bytes=10%");
    size_t n_slot = (size_t)16 * b.prompt.n_token, n_down = 0, n_coarse = 0;
    size_t n_cut = n_slot - 2 * (size_t)b.prompt.n_token; /* the last layer is not cut */
    uint8_t *held = malloc(n_slot);
    start(&b, &recipe);
    memset(held, FOVEA_KIND_F16, n_slot);
    fvi_kv_cut_kinds(cut_of(&b), &b.g.geom, held);
    fvi_kv_plan *plan = finish(&b, &recipe);
    double before_all = 0, now_all = 0;
    for (size_t i = 0; i < n_slot; i++) {
        double now = row_bytes(plan->kind[i]), before = row_bytes(held[i]);
        assert_true(now <= before);
        n_down += now > 0 && now < before;
        n_coarse += i < n_cut && held[i] != FVI_KV_DROP && held[i] != FOVEA_KIND_F16;
        if (i < n_cut && now > 0 && held[i] != FOVEA_KIND_F16) {
            before_all += before;
            now_all += now;
        }
    }
    assert_true(n_coarse > n_slot / 4 && n_down > n_coarse / 2);
    assert_true(before_all > 1.5 * now_all);
    free(held);
    fvi_kv_plan_free(&plan);
    bench_close(&b);
}

/* Nothing is cut where nothing is dropped, or where it is asked for. */
static void test_which_recipes(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        bool cuts;
    } cases[] = {{"none", false},
                 {"vl-cache:keep=1.0", false},
                 {"fovea:bytes=100%", false},
                 {"vision=int4", false},
                 {"fovea:bytes=10%,prefill.cap=none", false},
                 {"fovea:bytes=10%", true},
                 {"vl-cache:keep=0.5,prefill.cap=1.5", true}};
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        bench b;
        bench_open(&b, 3);
        bench_pool(&b);
        prompt_of(&b, 1, 100);
        fvi_recipe recipe = recipe_of(cases[i].recipe);
        start(&b, &recipe);
        assert_int_equal(cut_of(&b) != NULL, cases[i].cuts);
        fvi_kv_seq_free(&b.seq); /* before any plan: everything comes back */
        assert_int_equal(fvi_kv_pool_used(b.pool), 0);
        bench_close(&b);
    }
}

#define N_HOLE 8192

/* The forecast holds the real peak, in a pool full of holes too, and lies well below that of a whole prompt. */
static void test_forecast(void **state)
{
    (void)state;
    static fvi_kv_extent *holes[N_HOLE];
    static const char *const recipes[] = {"fovea:bytes=10%",
                                          "vl-cache:keep=0.1",
                                          "vl-cache:bytes=20%,vision=int4-chan,text=int8",
                                          "random:bytes=60%",
                                          "fovea:bytes=35%",
                                          "vl-cache:keep=0.05",
                                          "fovea:bytes=8%,prefill.cap=1.5"};
    for (uint32_t round = 0; round < 28; round++) {
        bench b;
        bench_open(&b, 300 + round);
        bench_pool(&b);
        size_t granule = fvi_kv_pool_granule(b.pool);
        for (uint32_t i = 0; i < N_HOLE; i++) {
            assert_int_equal(fvi_kv_pool_take(b.pool, granule, granule, &holes[i]), FOVEA_OK);
        }
        for (uint32_t i = 0; i < N_HOLE && round % 2 == 0; i++) {
            if (i % 3 != 0) {
                fvi_kv_chain_unref(b.pool, &holes[i]);
            }
        }
        prompt_of(&b, 1 + round % 3, 60 + 50 * (round % 4));
        fvi_recipe recipe = recipe_of(recipes[round % FVI_COUNT(recipes)]);
        size_t cut =
            fvi_kv_cut_forecast_bytes(NULL, &b.g.geom, granule, b.prompt.spans, b.prompt.n_span,
                                      b.prompt.n_token, N_ANNOUNCED, &recipe);
        size_t whole = fvi_kv_forecast_bytes(NULL, &b.g.geom, granule, b.prompt.n_span,
                                             b.prompt.n_token, N_ANNOUNCED);
        start(&b, &recipe);
        fvi_kv_plan *plan = finish(&b, &recipe);
        size_t peak = fvi_kv_seq_peak_bytes(b.seq);
        if (peak > cut || cut > whole) {
            fail_msg("%s: peak %zu, forecast %zu, whole %zu", recipe.text, peak, cut, whole);
        }
        assert_true(round % FVI_COUNT(recipes) > 1 || (double)cut < 0.6 * (double)whole);
        fvi_kv_plan_free(&plan);
        fvi_kv_seq_free(&b.seq);
        for (uint32_t i = 0; i < N_HOLE; i++) {
            fvi_kv_chain_unref(b.pool, &holes[i]);
        }
        bench_close(&b);
    }
}

typedef struct life {
    bench *b;
    const char *recipe;
    size_t capacity;
} life;

static fovea_status live(const fovea_alloc *alloc, void *arg)
{
    const life *how = arg;
    bench *b = how->b;
    rng rows = {.state = 5};
    fvi_recipe recipe = recipe_of(how->recipe);
    fvi_kv_pool *pool = NULL;
    fvi_kv_seq *seq = NULL;
    fvi_kv_plan *plan = NULL;
    FVI_TRY(fvi_kv_pool_new(alloc, how->capacity, fvi_kv_geom_granule(&b->g.geom), &pool));
    fovea_status status = fvi_kv_seq_new(alloc, pool, &b->g.geom, &seq);
    if (status >= 0) {
        status = prefill_cut(seq, &b->g, &b->prompt, &recipe, b->obs, &rows);
    }
    if (status >= 0) {
        status = fvi_kv_plan_make(seq, &recipe, b->obs, &plan, NULL);
    }
    if (status >= 0) {
        status = fvi_kv_plan_apply(seq, plan);
    }
    fvi_kv_plan_free(&plan);
    fvi_kv_seq_free(&seq);
    if (fvi_kv_pool_used(pool) != 0) { /* lost: the opposite of what is expected */
        status = status < 0 ? FOVEA_OK : FOVEA_ERR_INTERNAL;
    }
    fvi_kv_pool_free(&pool);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    static const char *const recipes[] = {"fovea:bytes=20%", "vl-cache:bytes=20%,vision=int4"};
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        bench b;
        bench_open(&b, 3);
        test_geom_same(&b.g, 3, 2, 16, FOVEA_KIND_F16);
        prompt_of(&b, 1, 300);
        life how = {.b = &b, .recipe = recipes[i], .capacity = 1 << 20};
        uint64_t n_point = 0;
        const char *trouble = fault_sweep(live, &how, &n_point);
        if (trouble != NULL) {
            fail_msg("%s: %s", recipes[i], trouble);
        }
        assert_true(n_point > 50);
        uint32_t n_full = 0, n_ok = 0;
        for (how.capacity = 256; n_ok < 5; how.capacity += 1511) {
            fault_alloc heap;
            fault_alloc_init(&heap);
            fovea_status status = live(&heap.alloc, &how);
            assert_true(status == FOVEA_OK || status == FOVEA_ERR_FULL);
            assert_int_equal(heap.n_live, 0);
            n_full += status == FOVEA_ERR_FULL;
            n_ok += status == FOVEA_OK;
        }
        assert_true(n_full > 20);
        bench_close(&b);
    }
}

/* What a list of a cut layer holds: rows, and their bytes where the chain has one extent. */
static void check_row(const fvi_kv_turn *turn, const fvi_kv_layer_geom *dims, uint32_t head,
                      const fovea_ledger_row *row)
{
    uint32_t n = 0;
    size_t n_bytes = 0;
    for (uint32_t nth = 0; nth < turn->n_kind; nth++) {
        uint32_t n_row = fvi_kv_turn_rows(turn, head, nth);
        n += n_row;
        n_bytes += fvi_codec_bytes(turn->codec[nth], n_row, dims->dk, dims->dv);
    }
    assert_int_equal(row->n_text + row->n_vision, n);
    assert_int_equal(row->text_bytes + row->vision_bytes, n_bytes);
    assert_true(n > 0);
}

/* Between two layers, the account is whole too: cut layers are the prompt's, of either modality, fresh ones
 * hold everything, and what is generated has what was prepared for it and no byte more. */
static void test_account_in_between(void **state)
{
    (void)state;
    static const char *const recipes[] = {"fovea:bytes=10%", "vl-cache:bytes=20%,vision=int4"};
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        bench b;
        bench_open(&b, 90 + i);
        bench_pool(&b);
        prompt_of(&b, 2, 300);
        fvi_recipe recipe = recipe_of(recipes[i]);
        assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, b.pool, &b.g.geom, &b.seq), FOVEA_OK);
        assert_int_equal(fvi_kv_seq_begin_turn(b.seq, b.prompt.spans, b.prompt.n_span, 20), 0);
        fovea_ledger ledger = {.size = sizeof ledger};
        fvi_kv_seq_ledger(b.seq, &ledger);
        uint64_t generated = ledger.generated_bytes;
        for (uint32_t layer = 0; layer + 1 < b.g.geom.n_layer; layer++) {
            fovea_ledger_row rows[16];
            uint64_t n_slot = 0, n_text = 0;
            assert_int_equal(write_layer(b.seq, &b.g, layer, b.prompt.n_token, &b.r), FOVEA_OK);
            fvi_kv_seq_ledger_rows(b.seq, rows);
            assert_int_equal(rows[2 * layer].n_text, 28);
            assert_int_equal(rows[2 * layer + 1].n_vision, 600);
            assert_int_equal(fvi_kv_cut_layer(b.seq, &recipe, b.obs, layer, NULL), FOVEA_OK);
            fvi_kv_seq_ledger(b.seq, &ledger);
            fvi_kv_seq_ledger_rows(b.seq, rows);
            for (uint32_t list = 0; list < 16; list++) {
                if (list / 2 <= layer) {
                    check_row(cut_of(&b)->layers[list / 2], &b.g.layers[list / 2], list % 2,
                              &rows[list]);
                }
                n_text += rows[list].n_text;
                n_slot += rows[list].n_text + rows[list].n_vision;
                assert_true((rows[list].n_vision > 0) == (list / 2 <= layer));
            }
            assert_int_equal(ledger.kept_text_slots, n_text);
            assert_int_equal(ledger.kept_vision_slots, n_slot - n_text);
            assert_int_equal(ledger.generated_bytes, generated);
            assert_int_equal(ledger.realised_bytes + generated, fvi_kv_pool_used(b.pool));
            assert_true(ledger.slack_bytes < (layer + 1) * (size_t)2048);
        }
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peak),          cmocka_unit_test(test_cut_is_not_seen),
        cmocka_unit_test(test_caps_bind),     cmocka_unit_test(test_steps_down),
        cmocka_unit_test(test_which_recipes), cmocka_unit_test(test_forecast),
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_account_in_between),
        cmocka_unit_test(test_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
