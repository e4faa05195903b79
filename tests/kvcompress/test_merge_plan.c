/* test_merge_plan.c - plans that merge: what they store against sums in double, that dropping changes nothing,
 * what they need and book. */
#include "merge_test.h"

#include "kvcompress/seq_internal.h"

/* The rows of a list, read back. */
typedef struct rows {
    float k[MAX_TOKEN * 16], v[MAX_TOKEN * 16]; /* by token; kept ones only */
} rows;

static void read_rows(const bench *b, const fvi_kv_seq *seq, const fvi_kv_plan *plan, uint32_t list,
                      rows *out)
{
    uint32_t head = list % 2, layer = list / 2;
    const fvi_list_view *view = &fvi_kv_seq_lists(seq, layer)[head];
    uint32_t run = 0, row = 0, d = b->g.layers[layer].dk;
    for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
        for (uint32_t t = 0; t < b->prompt.n_token; t++) {
            if (plan != NULL ? plan->kind[list * plan->n_token + t] != kind : kind != KEEP) {
                continue;
            }
            const fvi_run_view *at = &view->runs[run];
            fvi_codec_decode(at->codec, at->data, at->capacity, d, d, row, 1, out->k + t * d, d,
                             out->v + t * d, d);
            row++;
            if (row == at->n_token) {
                run++;
                row = 0;
            }
        }
    }
}

static void open_plan_bench(bench *b, uint64_t seed)
{
    bench_open(b, seed);
    test_geom_same(&b->g, 3, 2, 16, FOVEA_KIND_F16);
    bench_pool(b);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 7);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_VISION, 150);
    test_prompt_add(&b->prompt, FOVEA_MODALITY_TEXT, 40);
    observe(b);
    prefill(b, true);
}

static fvi_kv_seq *applied(bench *b, const char *text, const char *vision, const char *of_text,
                           fvi_kv_plan **plan)
{
    fvi_recipe recipe = recipe_of(text);
    recipe.merger[FOVEA_MODALITY_VISION] = vision == NULL ? NULL : merger_of(vision);
    recipe.merger[FOVEA_MODALITY_TEXT] = of_text == NULL ? NULL : merger_of(of_text);
    fvi_kv_seq *fork = NULL;
    assert_int_equal(fvi_kv_plan_make(b->seq, &recipe, b->obs, plan, NULL), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_fork(b->seq, &fork), FOVEA_OK);
    assert_int_equal(fvi_kv_plan_apply(fork, *plan), FOVEA_OK);
    return fork;
}

static bool same_runs(const bench *b, const fvi_kv_seq *x, const fvi_kv_seq *y, uint32_t list)
{
    const fvi_list_view *a = &fvi_kv_seq_lists(x, list / 2)[list % 2];
    const fvi_list_view *c = &fvi_kv_seq_lists(y, list / 2)[list % 2];
    uint32_t d = b->g.layers[list / 2].dk;
    assert_int_equal(a->n_run, c->n_run);
    bool same = true;
    for (uint32_t i = 0; i < a->n_run; i++) {
        const fvi_run_view *run = &a->runs[i];
        assert_int_equal(run->n_token, c->runs[i].n_token);
        assert_ptr_equal(run->codec, c->runs[i].codec);
        same = same && memcmp(run->data, c->runs[i].data,
                              fvi_codec_bytes(run->codec, run->capacity, d, d)) == 0;
    }
    return same;
}

static const char *const recipes[] = {"vl-cache:keep=0.3", "random:keep=0.2,vision=int4,sinks=3",
                                      "streaming:keep=0.4,vision=int4-chan,text=int8,exact=5",
                                      "vl-cache:bytes=30%,text=int2"};

/* merge=drop, and merging what is not there to be merged, leave every bit as it was. */
static void test_drop_changes_nothing(void **state)
{
    (void)state;
    bench b;
    open_plan_bench(&b, 11);
    for (uint32_t i = 0; i < FVI_COUNT(recipes); i++) {
        fvi_kv_plan *plans[3];
        fvi_kv_seq *plain = applied(&b, recipes[i], NULL, NULL, &plans[0]);
        fvi_kv_seq *drop = applied(&b, recipes[i], "drop", "drop", &plans[1]);
        fvi_kv_seq *vision = applied(&b, recipes[i], "average", NULL, &plans[2]);
        uint32_t n_differ = 0;
        for (uint32_t list = 0; list < 6; list++) {
            assert_true(same_runs(&b, plain, drop, list));
            bool differs = !same_runs(&b, plain, vision, list), has_target = false,
                 has_evicted = false;
            n_differ += differs;
            static rows fresh, kept, merged;
            read_rows(&b, b.seq, NULL, list, &fresh);
            read_rows(&b, plain, plans[0], list, &kept);
            read_rows(&b, vision, plans[2], list, &merged);
            for (uint32_t t = 0; t < b.prompt.n_token; t++) {
                uint8_t kind = plans[0]->kind[list * b.prompt.n_token + t];
                bool is_text = t < 7 || t >= 157;
                has_target = has_target || (!is_text && kind != DROP);
                has_evicted = has_evicted || (!is_text && kind == DROP);
                if (kind == KEEP) {
                    assert_memory_equal(kept.k + t * 16, fresh.k + t * 16, 16 * sizeof *kept.k);
                }
                if (kind != DROP && is_text) {
                    assert_memory_equal(merged.k + t * 16, kept.k + t * 16, 16 * sizeof *kept.k);
                    assert_memory_equal(merged.v + t * 16, kept.v + t * 16, 16 * sizeof *kept.v);
                }
            }
            assert_true(differs == (has_target && has_evicted));
        }
        assert_true(n_differ >= 3);
        assert_int_equal(fvi_kv_seq_bytes(plain), fvi_kv_seq_bytes(vision));
        for (uint32_t j = 0; j < 3; j++) {
            fvi_kv_plan_free(&plans[j]);
        }
        fvi_kv_seq_free(&plain);
        fvi_kv_seq_free(&drop);
        fvi_kv_seq_free(&vision);
    }
    fvi_kv_plan *plan = NULL;
    fvi_kv_seq *all = applied(&b, "vl-cache:keep=1.0", "average", "average", &plan);
    fvi_kv_seq *plain = NULL;
    fvi_kv_plan_free(&plan);
    plain = applied(&b, "vl-cache:keep=1.0", NULL, NULL, &plan);
    for (uint32_t list = 0; list < 6; list++) {
        assert_true(same_runs(&b, all, plain, list));
    }
    fvi_kv_plan_free(&plan);
    fvi_kv_seq_free(&all);
    fvi_kv_seq_free(&plain);
    bench_close(&b);
}

/* What a plan stores is the mean of the fresh rows, in the kept kind, against sums in double. */
static void check_list(const bench *b, const fvi_kv_seq *seq, const fvi_kv_plan *plan,
                       uint32_t list, double tolerance)
{
    static rows fresh, merged;
    static few f;
    uint32_t n = b->prompt.n_token;
    read_rows(b, b->seq, NULL, list, &fresh);
    read_rows(b, seq, plan, list, &merged);
    f.list = (fvi_merge_list){.n_token = n, .dk = 16};
    for (uint32_t t = 0; t < n; t++) {
        f.kind[t] = plan->kind[list * n + t];
        f.always[t] = t < 5;
        f.modality[t] = t < 7 || t >= 157 ? FOVEA_MODALITY_TEXT : FOVEA_MODALITY_VISION;
    }
    for (uint32_t t = 0; t < n; t++) {
        if (f.kind[t] == DROP) {
            continue;
        }
        double k[16], v[16], count = 1;
        for (uint32_t c = 0; c < 16; c++) {
            k[c] = fresh.k[t * 16 + c];
            v[c] = fresh.v[t * 16 + c];
        }
        for (uint32_t e = 0; e < n; e++) {
            bool folded = f.kind[e] == DROP && nearest_of(&f, fresh.k, e) == t;
            for (uint32_t c = 0; folded && c < 16; c++) {
                k[c] += fresh.k[e * 16 + c];
                v[c] += fresh.v[e * 16 + c];
            }
            count += folded;
        }
        assert_true(t >= 5 || count == 1);
        for (uint32_t c = 0; c < 16; c++) {
            assert_true(fabs(merged.k[t * 16 + c] - k[c] / count) <= (t < 5 ? 0 : tolerance));
            assert_true(fabs(merged.v[t * 16 + c] - v[c] / count) <= (t < 5 ? 0 : tolerance));
        }
    }
}

static void test_plans_store_what_was_merged(void **state)
{
    (void)state;
    bench b;
    open_plan_bench(&b, 12);
    static const struct {
        const char *recipe;
        double tolerance;
    } cases[] = {{"vl-cache:keep=0.3,sinks=5", 0.0011},
                 {"random:keep=0.2,exact=5", 0.0011},
                 {"random:keep=0.3,exact=5,vision=int8,text=int8", 0.006},
                 {"vl-cache:keep=0.4,exact=5,vision=int4-chan", 0.08}};
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        fvi_kv_plan *plan;
        fvi_kv_seq *seq = applied(&b, cases[i].recipe, "average", "average", &plan);
        for (uint32_t list = 0; list < 6; list++) {
            check_list(&b, seq, plan, list, cases[i].tolerance);
        }
        fvi_kv_plan_free(&plan);
        fvi_kv_seq_free(&seq);
    }
    bench_close(&b);
}

/* Everything is kept, so the two differ in the working space alone; and it is foreseen. */
static void test_work_is_booked(void **state)
{
    (void)state;
    size_t peak[2];
    for (uint32_t i = 0; i < 2; i++) {
        bench b;
        open_plan_bench(&b, 13);
        fvi_recipe recipe = recipe_of("vl-cache:keep=1.0");
        recipe.merger[FOVEA_MODALITY_VISION] = i == 0 ? NULL : merger_of("pivot");
        size_t work = fvi_kv_plan_work_bytes(&b.g.geom, &recipe, b.prompt.n_token);
        assert_true(i == 0 ? work == 0 : work >= b.prompt.n_token * 32 * sizeof(float));
        size_t forecast = fvi_kv_forecast_bytes(NULL, &b.g.geom, fvi_kv_pool_granule(b.pool),
                                                b.prompt.n_span, b.prompt.n_token, N_ANNOUNCED);
        fvi_kv_plan *plan = NULL;
        assert_int_equal(fvi_kv_plan_make(b.seq, &recipe, b.obs, &plan, NULL), FOVEA_OK);
        assert_int_equal(fvi_kv_plan_apply(b.seq, plan), FOVEA_OK);
        fvi_kv_plan_free(&plan);
        peak[i] = fvi_kv_seq_peak_bytes(b.seq) - work;
        assert_true(peak[i] <= forecast);
        assert_int_equal(fvi_kv_seq_bytes(b.seq), fvi_kv_pool_used(b.pool));
        bench_close(&b);
    }
    assert_int_equal(peak[0], peak[1]);
}

/* A merger's needs are observed, where it has something to do. */
static void test_needs(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        uint32_t needs;
    } cases[] = {{"random:keep=0.5,merge=pivot", 0},
                 {"random:keep=0.5,merge=cam", FVI_NEED_WINDOW_MASS},
                 {"random:keep=0.5,text.merge=cam", FVI_NEED_WINDOW_MASS},
                 {"random:keep=1.0,merge=cam", 0},
                 {"h2o:keep=0.5,vision.merge=cam",
                  FVI_NEED_WINDOW_MASS | FVI_NEED_TEXT_MASS | FVI_NEED_VISION_MASS}};
    bench b;
    open_plan_bench(&b, 14);
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        fvi_recipe recipe = recipe_of(cases[i].recipe);
        assert_int_equal(fvi_kv_plan_needs(b.seq, &recipe), cases[i].needs);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drop_changes_nothing),
        cmocka_unit_test(test_plans_store_what_was_merged),
        cmocka_unit_test(test_work_is_booked),
        cmocka_unit_test(test_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
