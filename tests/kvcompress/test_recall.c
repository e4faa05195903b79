/* test_recall.c - recall: bounds that hold, pages chosen by them, nothing lost; and a second question about a
 * detail that permanent eviction has lost.
 *
 * Oracles: products in double, pages ranked by brute force, attention in double over rows that the test keeps. */
#include "kv_bench.h"

#include "kvcompress/recall.h"
#include "kvcompress/seq_internal.h"
#include "sdk/ops/backend.h"

extern const fvi_recall fvi_recall_quest;

static double dot(const float *a, const float *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t c = 0; c < n; c++) {
        sum += (double)a[c] * b[c];
    }
    return sum;
}

/* No key of a page is worth more to a query than the bound says, whatever kind it lies in, and with one key
 * the bound is no more than that key. */
static void test_bound_holds(void **state)
{
    (void)state;
    static const fovea_kind kinds[] = {FOVEA_KIND_F32,  FOVEA_KIND_F16,  FOVEA_KIND_INT8,
                                       FOVEA_KIND_INT4, FOVEA_KIND_INT2, FOVEA_KIND_INT4_ROT};
    rng r = {.state = 3};
    for (uint32_t round = 0; round < 3000; round++) {
        const fvi_codec *codec = fvi_codec_of(kinds[round % FVI_COUNT(kinds)]);
        uint32_t dk = 1 + rng_below(&r, 130), group = 1 + rng_below(&r, 4),
                 n = 1 + rng_below(&r, 16);
        _Alignas(64) static uint8_t run[16 * 131 * 8], summary[4 * 131];
        static float k[16 * 131], v[16 * 131], q[4 * 131], scratch[3 * 131];
        float size = expf(10 * rng_float(&r)), shift = 3 * rng_float(&r);
        for (uint32_t i = 0; i < 16 * dk; i++) {
            k[i] = size * (shift + rng_float(&r));
            v[i] = 0;
        }
        for (uint32_t i = 0; i < group * dk; i++) {
            q[i] = rng_below(&r, 5) == 0 ? 0 : 20 * rng_float(&r);
        }
        memset(run, 0, sizeof run);
        fvi_codec_encode(codec, run, n, dk, dk, 0, n, k, dk, v, dk);
        fvi_codec_decode(codec, run, n, dk, dk, 0, n, k, dk, NULL, 0);
        fvi_run_view page = {.data = run, .codec = codec, .n_token = n, .capacity = n};
        assert_int_equal(fvi_recall_quest.summary_bytes(dk), 4 * dk);
        fvi_recall_quest.summarise(&page, dk, dk, scratch, summary);
        double bound = fvi_recall_quest.bound(summary, q, group, dk), most = -INFINITY,
               magnitude = 0;
        for (uint32_t g = 0; g < group; g++) {
            for (uint32_t i = 0; i < n; i++) {
                double product = dot(q + g * dk, k + i * dk, dk);
                assert_true(bound >= product);
                most = FVI_MAX(most, product);
            }
            for (uint32_t c = 0; c < dk; c++) {
                magnitude = FVI_MAX(magnitude, 0) + fabs((double)q[g * dk + c] * k[c]);
            }
        }
        if (n == 1) {
            assert_true(bound - most <= magnitude * 2e-3);
        }
    }
    float huge[2] = {1e30f, -1e30f}, q[2] = {1, 0}, scratch[6];
    uint8_t run[16], summary[8];
    const fvi_codec *f32 = fvi_codec_of(FOVEA_KIND_F32);
    fvi_codec_encode(f32, run, 1, 2, 0, 0, 1, huge, 2, huge, 0);
    fvi_recall_quest.summarise(&(fvi_run_view){run, f32, 1, 1}, 2, 0, scratch, summary);
    assert_true(fvi_recall_quest.bound(summary, q, 1, 2) >= 1e30f);
}

/* ---- a sequence with a needle ---- */

#define D        32
#define N_TOKEN  400
#define NEEDLE   150
#define N_PROMPT 300

typedef struct hay {
    bench b;
    fvi_backend *backend;
    float k[N_TOKEN][D], v[N_TOKEN][D]; /* as f16 holds them */
    float u[D], w[D];                   /* what the two questions look for */
} hay;

static void fill_hay(hay *self)
{
    rng r = {.state = 9};
    for (uint32_t c = 0; c < D; c++) {
        self->u[c] = c % 2 == 0 ? 2.0f : 0;
        self->w[c] = c % 2 == 1 ? 2.0f : 0;
    }
    for (uint32_t t = 0; t < N_TOKEN; t++) {
        for (uint32_t c = 0; c < D; c++) {
            float k = 0.3f * rng_float(&r), v = rng_float(&r);
            k += t == NEEDLE ? 2 * self->u[c] : 0;
            k += t % 37 == 30 ? self->w[c] : 0; /* what the first question finds */
            v = t == NEEDLE ? 3 : v;
            self->k[t][c] = fvi_f16_to_f32(fvi_f32_to_f16(k));
            self->v[t][c] = fvi_f16_to_f32(fvi_f32_to_f16(v));
        }
    }
}

static void open_hay(hay *self, const char *text)
{
    fovea_error err;
    fill_hay(self);
    self->b = (bench){.r = {.state = 1}};
    test_geom_same(&self->b.g, 1, 1, D, FOVEA_KIND_F16);
    bench_pool(&self->b);
    test_prompt_add(&self->b.prompt, FOVEA_MODALITY_TEXT, 20);
    test_prompt_add(&self->b.prompt, FOVEA_MODALITY_VISION, N_PROMPT - 20);
    assert_int_equal(fvi_backend_cpu_open(&fvi_alloc_default, 1, 0, &self->backend, &err),
                     FOVEA_OK);
    fvi_recipe recipe = recipe_of(text);
    fvi_kv_seq **seq = &self->b.seq;
    assert_int_equal(fvi_kv_seq_new(&fvi_alloc_default, self->b.pool, &self->b.g.geom, seq),
                     FOVEA_OK);
    assert_int_equal(fvi_kv_seq_set_recall(*seq, recipe.recall, recipe.n_attend), FOVEA_OK);
    assert_int_equal(fvi_kv_seq_begin_turn(*seq, self->b.prompt.spans, 2, N_TOKEN - N_PROMPT),
                     FOVEA_OK);
    assert_int_equal(fvi_kv_seq_open_layer(*seq, 0), FOVEA_OK);
    fvi_kv_seq_write(*seq, 0, 0, N_PROMPT, self->k[0], D, self->v[0], D);
    fvi_kv_seq_end_turn(*seq);
    fvi_kv_obs *obs = NULL;
    fvi_kv_plan *plan = NULL;
    assert_int_equal(fvi_kv_obs_new(&fvi_alloc_default, &self->b.g.geom, N_PROMPT,
                                    fvi_kv_plan_needs(*seq, &recipe), &obs),
                     FOVEA_OK);
    for (uint32_t t = 0; t < N_PROMPT && obs->plane[FVI_PLANE_TEXT_MASS] != NULL; t++) {
        obs->plane[FVI_PLANE_TEXT_MASS][t] = t % 37 == 30 ? 1 : t == NEEDLE ? 0 : 0.01f;
    }
    if (fvi_kv_plan_wanted(*seq, &recipe)) {
        assert_int_equal(fvi_kv_plan_make(*seq, &recipe, obs, &plan, NULL), FOVEA_OK);
    }
    if (recipe.reviser != NULL) {
        assert_int_equal(fvi_kv_slots_open(*seq, &recipe, obs, plan, N_TOKEN - N_PROMPT), FOVEA_OK);
    } else if (plan != NULL) {
        assert_int_equal(fvi_kv_plan_apply(*seq, plan), FOVEA_OK);
    }
    fvi_kv_plan_free(&plan);
    fvi_kv_obs_unref(&obs);
}

static void close_hay(hay *self)
{
    fvi_backend_close(&self->backend);
    bench_close(&self->b);
}

/* Attention of two heads that both ask for `what`. */
static void look(hay *self, const float *what, const fvi_list_view *lists, float out[D])
{
    float q[2 * D], both[2 * D];
    float *mass = fvi_kv_seq_mass(self->b.seq, 0);
    memcpy(q, what, D * sizeof *q);
    memcpy(q + D, what, D * sizeof *q);
    fvi_attn_decode_args args = {.q = q,
                                 .lists = lists,
                                 .out = both,
                                 .mass = &mass,
                                 .n_row = 1,
                                 .n_head = 2,
                                 .n_kv_head = 1,
                                 .dk = D,
                                 .dv = D,
                                 .scale = 0.17677669f};
    assert_int_equal(self->backend->ops.attn_decode(self->backend, &args), FOVEA_OK);
    memcpy(out, both, D * sizeof *out);
}

static const fvi_list_view *attended(const hay *self, const float *what)
{
    float q[2 * D];
    memcpy(q, what, D * sizeof *q);
    memcpy(q + D, what, D * sizeof *q);
    return fvi_kv_seq_attended(self->b.seq, 0, q);
}

/* Whether a list of what is attended has the needle, whose values no other token has. */
static bool has_needle(const fvi_list_view *list)
{
    bool found = false;
    for (uint32_t run = 0; run < list->n_run; run++) {
        const fvi_run_view *r = &list->runs[run];
        for (uint32_t i = 0; i < r->n_token; i++) {
            float v[D];
            fvi_codec_decode(r->codec, r->data, r->capacity, D, D, i, 1, NULL, 0, v, D);
            found = found || (v[0] > 2.9f && v[1] > 2.9f);
        }
    }
    return found;
}

/* The first question while the answer is decoded: it never looks at the needle. */
static uint32_t answer_first(hay *self, uint32_t n_attend)
{
    uint32_t n_with = 0;
    for (uint32_t t = N_PROMPT; t < N_TOKEN; t++) {
        float out[D];
        assert_int_equal(fvi_kv_seq_append(self->b.seq, 0, self->k[t], self->v[t]), FOVEA_OK);
        const fvi_list_view *lists = attended(self, self->w);
        assert_true(lists->n_token <= n_attend);
        n_with += has_needle(lists);
        look(self, self->w, lists, out);
        assert_int_equal(fvi_kv_seq_commit(self->b.seq), FOVEA_OK);
    }
    return n_with;
}

/* How far the second question's answer is from that of the whole cache. */
static double ask_second(hay *self)
{
    float out[D];
    double want[D] = {0}, sum = 0, worst = 0;
    look(self, self->u, attended(self, self->u), out);
    for (uint32_t t = 0; t < N_TOKEN; t++) {
        double p = exp(0.17677669 * dot(self->u, self->k[t], D));
        sum += p;
        for (uint32_t c = 0; c < D; c++) {
            want[c] += p * self->v[t][c];
        }
    }
    for (uint32_t c = 0; c < D; c++) {
        worst = FVI_MAX(worst, fabs(out[c] - want[c] / sum));
    }
    return worst;
}

/* A detail that the first question did not need: lost for good where eviction is permanent; there, if coarse,
 * where what is evicted is kept in 2 bits; there as it was where pages are recalled, though they were not
 * attended for a hundred steps. */
static void test_second_question(void **state)
{
    (void)state;
    static const struct {
        const char *recipe;
        uint32_t n_attend;
        double least, most; /* the error */
        bool seen;          /* while the first was answered */
    } cases[] = {
        {"none", N_TOKEN, 0, 0.01, true},
        {"while=h2o,cap=48", 48, 1.0, 9, false},
        {"while=streaming,cap=48", 48, 1.0, 9, false},
        {"while=h2o,cap=48,evicted=int2,blurred=352", N_TOKEN, 0, 0.4, true},
        {"recall=quest,attend=96", 96, 0, 0.05, false},
        {"kind=int8,recall=quest,attend=96", 96, 0, 0.05, false},
    };
    for (uint32_t i = 0; i < FVI_COUNT(cases); i++) {
        static hay h;
        open_hay(&h, cases[i].recipe);
        uint32_t n_with = answer_first(&h, cases[i].n_attend);
        double error = ask_second(&h);
        print_message("%-44s %6zu bytes, error %.4f\n", cases[i].recipe, fvi_kv_seq_bytes(h.b.seq),
                      error);
        assert_true(cases[i].seen ? n_with > 0 : n_with == 0);
        assert_true(error >= cases[i].least && error <= cases[i].most);
        close_hay(&h);
    }
}

/* All is held, what is attended are the pages of largest bound that fit, in the order of the list. */
static void test_best_pages(void **state)
{
    (void)state;
    static hay h;
    open_hay(&h, "recall=quest,attend=96");
    answer_first(&h, 96);
    fvi_run_view all[64];
    const fvi_list_view *list = fvi_kv_seq_lists(h.b.seq, 0);
    uint32_t n_all = list->n_run, n_token = 0;
    assert_int_equal(list->n_token, N_TOKEN);
    assert_true(n_all <= 64 && n_all >= N_TOKEN / FVI_KV_PAGE);
    memcpy(all, list->runs, n_all * sizeof *all);
    for (uint32_t i = 0; i < n_all; i++) {
        assert_true(all[i].n_token <= FVI_KV_PAGE);
    }
    double bound[64] = {0};
    bool want[64] = {false};
    for (uint32_t i = 0; i < n_all; i++) {
        for (uint32_t c = 0; c < D; c++) {
            double most = -INFINITY;
            for (uint32_t t = 0; t < all[i].n_token; t++) {
                float k[D];
                fvi_codec_decode(all[i].codec, all[i].data, all[i].capacity, D, D, t, 1, k, D, NULL,
                                 0);
                most = FVI_MAX(most, (double)h.w[c] * k[c]);
            }
            bound[i] += most;
        }
        want[i] = i == 0 || i + 2 >= n_all; /* the first page, the latest and the tail */
        n_token += want[i] ? all[i].n_token : 0;
    }
    for (uint32_t best = 0; best < n_all; want[best < n_all ? best : 0] = true) {
        best = n_all;
        for (uint32_t i = 0; i < n_all; i++) {
            bool fits = !want[i] && n_token + all[i].n_token <= 96;
            best = fits && (best == n_all || bound[i] > bound[best]) ? i : best;
        }
        n_token += best < n_all ? all[best].n_token : 0;
    }
    list = attended(&h, h.w);
    assert_int_equal(list->n_token, n_token);
    assert_true(n_token <= 96 && n_token > 96 - FVI_KV_PAGE);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n_all; i++) {
        bool in = at < list->n_run && list->runs[at].data == all[i].data;
        assert_int_equal(in, want[i]);
        at += in;
    }
    assert_int_equal(at, list->n_run);
    close_hay(&h);
}

/* Pages cost their summaries and nothing else; forks share them; with room for all, all is read. */
static void test_pages_are_shared(void **state)
{
    (void)state;
    static hay h, plain;
    open_hay(&h, "recall=quest,attend=1000");
    open_hay(&plain, "none");
    size_t used = fvi_kv_pool_used(h.b.pool);
    fvi_kv_seq *fork = NULL;
    answer_first(&h, N_TOKEN);
    answer_first(&plain, N_TOKEN);
    double paged = (double)fvi_kv_seq_bytes(h.b.seq), whole = (double)fvi_kv_seq_bytes(plain.b.seq);
    assert_true(paged > whole * 1.03 && paged < whole * 1.15);
    assert_true(fabs(ask_second(&h) - ask_second(&plain)) < 1e-6);
    used = fvi_kv_pool_used(h.b.pool);
    assert_int_equal(used, fvi_kv_seq_bytes(h.b.seq));
    assert_int_equal(fvi_kv_seq_fork(h.b.seq, &fork), FOVEA_OK);
    assert_true(fvi_kv_pool_used(h.b.pool) - used < used / 4);
    fvi_kv_seq_free(&h.b.seq);
    h.b.seq = fork;
    assert_true(ask_second(&h) < 0.05);
    close_hay(&h);
    close_hay(&plain);
}

static void test_recipes(void **state)
{
    (void)state;
    fvi_recipe r = recipe_of("quest");
    assert_true(r.recall == &fvi_recall_quest && r.n_attend == 256 && !fvi_recipe_is_none(&r));
    r = recipe_of("vl-cache:keep=0.5,vision=int4,recall=quest,attend=64");
    assert_true(r.n_attend == 64 && fvi_recipe_plans(&r));
    static const char *const wrong[] = {
        "attend=64",
        "recall=nothing",
        "quest:attend=63",
        "quest:while=h2o,cap=64",
        "quest:vision=int2-chan",
        "quest:text=int4-kivi",
        "vl-cache:bytes=10%,recall=quest",
        "fovea:bytes=10%,recall=quest",
    };
    for (uint32_t i = 0; i < FVI_COUNT(wrong); i++) {
        fovea_error err = {.text = ""};
        assert_int_equal(fvi_recipe_parse(wrong[i], &r, &err), FOVEA_ERR_ARG);
        assert_true(strncmp(err.text, "recipe: ", 8) == 0);
    }
    assert_string_equal(fovea_recipe_name("recalls", 0), "quest");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_holds), cmocka_unit_test(test_second_question),
        cmocka_unit_test(test_best_pages),  cmocka_unit_test(test_pages_are_shared),
        cmocka_unit_test(test_recipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
