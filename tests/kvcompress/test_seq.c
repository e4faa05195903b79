/* test_seq.c - random lives of sequences against a shadow that stores every row plainly.
 *
 * The shadow knows what each list must hold, in order: (kind, K, V). After every operation lists are read
 * back through views and decode and compared bit by bit, the pool's count is compared with everything
 * that the sequences hold, shared pieces once, and the ledger with the shadow's own sums. */
#include "kv_test.h"

#include "kvcompress/seq_internal.h"

#define MAX_SEQ  6
#define MAX_LIST 24

typedef struct token {
    uint32_t position;
    uint8_t kind, modality, generated;
    float *k, *v; /* as stored */
} token;

typedef struct shadow {
    fvi_kv_seq *seq; /* NULL: unused */
    token *lists[MAX_LIST];
    uint32_t n[MAX_LIST];
    uint32_t position;
} shadow;

typedef struct world {
    rng r;
    test_geom g;
    fault_alloc heap;
    fvi_kv_pool *pool;
    shadow seqs[MAX_SEQ];
    uint64_t n_full, n_plan, n_merge, n_fork;
} world;

static fvi_kv_layer_geom layer_of(const world *w, uint32_t list, uint32_t *layer, uint32_t *head)
{
    *layer = 0;
    while (list >= w->g.layers[*layer].n_kv_head) {
        list -= w->g.layers[(*layer)++].n_kv_head;
    }
    *head = list;
    return w->g.layers[*layer];
}

/* What a row becomes in a kind. */
static void store(float *k, float *v, fvi_kv_layer_geom layer, uint8_t kind)
{
    uint8_t run[4096];
    const fvi_codec *codec = fvi_codec_of((fovea_kind)kind);
    fvi_codec_encode(codec, run, 1, layer.dk, layer.dv, 0, 1, k, layer.dk, v, layer.dv);
    fvi_codec_decode(codec, run, 1, layer.dk, layer.dv, 0, 1, k, layer.dk, v, layer.dv);
}

static token new_token(const float *k, const float *v, fvi_kv_layer_geom layer)
{
    token t = {.k = malloc(layer.dk * sizeof(float)), .v = malloc(layer.dv * sizeof(float))};
    memcpy(t.k, k, layer.dk * sizeof(float));
    memcpy(t.v, v, layer.dv * sizeof(float));
    return t;
}

static void push(shadow *s, uint32_t list, token t)
{
    s->lists[list] = realloc(s->lists[list], (s->n[list] + 1) * sizeof(token));
    s->lists[list][s->n[list]++] = t;
}

static void forget(world *w, shadow *s)
{
    for (uint32_t list = 0; list < MAX_LIST; list++) {
        for (uint32_t i = 0; i < s->n[list]; i++) {
            free(s->lists[list][i].k);
            free(s->lists[list][i].v);
        }
        free(s->lists[list]);
    }
    fvi_kv_seq_free(&s->seq);
    memset(s, 0, sizeof *s);
    (void)w;
}

static void compare(world *w, const shadow *s)
{
    float k[64], v[64];
    uint32_t list = 0;
    for (uint32_t layer = 0; layer < w->g.geom.n_layer; layer++) {
        const fvi_list_view *views = fvi_kv_seq_lists(s->seq, layer);
        for (uint32_t head = 0; head < w->g.layers[layer].n_kv_head; head++, list++) {
            uint32_t at = 0, dk = w->g.layers[layer].dk, dv = w->g.layers[layer].dv;
            if (views == NULL) {
                assert_int_equal(s->n[list], 0);
                continue;
            }
            assert_int_equal(views[head].n_token, s->n[list]);
            for (uint32_t i = 0; i < views[head].n_run; i++) {
                const fvi_run_view *run = &views[head].runs[i];
                assert_int_equal((uintptr_t)run->data % 64, 0);
                assert_true(run->n_token > 0 && run->n_token <= run->capacity);
                for (uint32_t row = 0; row < run->n_token; row++, at++) {
                    const token *t = &s->lists[list][at];
                    assert_int_equal(run->codec->kind, t->kind);
                    fvi_codec_decode(run->codec, run->data, run->capacity, dk, dv, row, 1, k, dk, v,
                                     dv);
                    assert_memory_equal(k, t->k, dk * sizeof(float));
                    assert_memory_equal(v, t->v, dv * sizeof(float));
                }
            }
        }
    }
    assert_int_equal(fvi_kv_seq_position(s->seq), s->position);
}

/* Everything that sequences hold, shared pieces once. */
static size_t count_once(const world *w)
{
    const void *seen[256];
    uint32_t n_seen = 0;
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < MAX_SEQ; i++) {
        const fvi_kv_seq *seq = w->seqs[i].seq;
        if (seq == NULL) {
            continue;
        }
        size_t shared = 0;
        n_bytes += fvi_kv_seq_bytes(seq);
        for (uint32_t b = 0; b < seq->n_block; b++) {
            const fvi_kv_turn *turn = seq->blocks[b].turn;
            const void *what = turn != NULL ? (const void *)turn : seq->blocks[b].chain;
            bool known = false;
            for (uint32_t j = 0; j < n_seen; j++) {
                known = known || seen[j] == what;
            }
            if (known) {
                shared += turn != NULL ? fvi_kv_meta_bytes(turn->n_bytes) +
                                             fvi_kv_turn_pool_bytes(turn, w->pool)
                                       : fvi_kv_chain_bytes(w->pool, seq->blocks[b].chain);
            } else {
                assert_true(n_seen < FVI_COUNT(seen));
                seen[n_seen++] = what;
            }
        }
        n_bytes -= shared;
    }
    return n_bytes;
}

static void check_ledger(const world *w, const shadow *s)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    fovea_ledger_row rows[MAX_LIST];
    uint64_t n_bytes[FOVEA_N_MODALITY] = {0}, n_slot[FOVEA_N_MODALITY] = {0};
    fvi_kv_seq_ledger(s->seq, &ledger);
    fvi_kv_seq_ledger_rows(s->seq, rows);
    uint64_t row_bytes = 0;
    for (uint32_t list = 0; list < fvi_kv_geom_n_list(&w->g.geom); list++) {
        uint32_t layer, head, n_row[FOVEA_N_MODALITY] = {0};
        fvi_kv_layer_geom dims = layer_of(w, list, &layer, &head);
        assert_true(rows[list].layer == layer && rows[list].kv_head == head);
        for (uint32_t i = 0; i < s->n[list]; i++) {
            const token *t = &s->lists[list][i];
            if (!t->generated) {
                n_row[t->modality]++;
                n_slot[t->modality]++;
                n_bytes[t->modality] +=
                    fvi_codec_bytes(fvi_codec_of((fovea_kind)t->kind), 1, dims.dk, dims.dv);
            }
        }
        assert_int_equal(rows[list].n_text, n_row[FOVEA_MODALITY_TEXT]);
        assert_int_equal(rows[list].n_vision, n_row[FOVEA_MODALITY_VISION]);
        row_bytes += rows[list].text_bytes + rows[list].vision_bytes;
    }
    assert_int_equal(ledger.text_bytes, n_bytes[FOVEA_MODALITY_TEXT]);
    assert_int_equal(ledger.vision_bytes, n_bytes[FOVEA_MODALITY_VISION]);
    assert_int_equal(ledger.kept_text_slots, n_slot[FOVEA_MODALITY_TEXT]);
    assert_int_equal(ledger.kept_vision_slots, n_slot[FOVEA_MODALITY_VISION]);
    assert_int_equal(row_bytes, n_bytes[0] + n_bytes[1]);
    uint64_t kinds = 0;
    for (uint32_t k = 0; k < FOVEA_N_KIND; k++) {
        kinds += ledger.kind_bytes[k];
    }
    assert_int_equal(kinds, row_bytes);
    assert_int_equal(ledger.shared_bytes, ledger.metadata_bytes + ledger.slack_bytes);
    assert_int_equal(ledger.realised_bytes, row_bytes + ledger.shared_bytes);
    assert_int_equal(ledger.realised_bytes + ledger.generated_bytes, fvi_kv_seq_bytes(s->seq));
    assert_true(ledger.peak_bytes >= fvi_kv_seq_bytes(s->seq));
    assert_true((int64_t)ledger.generated_bytes >= 0 && (int64_t)ledger.slack_bytes >= 0);
}

static void check_world(world *w)
{
    assert_int_equal(fvi_kv_pool_used(w->pool), count_once(w));
    assert_true(fvi_kv_pool_used(w->pool) <= fvi_kv_pool_capacity(w->pool));
    for (uint32_t i = 0; i < MAX_SEQ; i++) {
        if (w->seqs[i].seq != NULL) {
            check_ledger(w, &w->seqs[i]);
            compare(w, &w->seqs[i]);
        }
    }
}

/* Prefills a turn in random blocks; false when the sequence had to be given up. */
static bool do_turn(world *w, shadow *s)
{
    test_prompt prompt;
    test_prompt_random(&prompt, &w->r, 12, 20);
    fovea_status status =
        fvi_kv_seq_begin_turn(s->seq, prompt.spans, prompt.n_span, rng_below(&w->r, 100));
    if (status == FOVEA_ERR_FULL) {
        w->n_full++;
        return true;
    }
    assert_int_equal(status, FOVEA_OK);
    uint32_t list = 0;
    for (uint32_t layer = 0; layer < w->g.geom.n_layer; layer++) {
        fvi_kv_layer_geom dims = w->g.layers[layer];
        if (fvi_kv_seq_open_layer(s->seq, layer) < 0) {
            w->n_full++;
            forget(w, s);
            return false;
        }
        size_t k_row = (size_t)dims.n_kv_head * dims.dk + 3;
        size_t v_row = (size_t)dims.n_kv_head * dims.dv + 5;
        float *k = malloc(prompt.n_token * k_row * sizeof *k);
        float *v = malloc(prompt.n_token * v_row * sizeof *v);
        for (size_t i = 0; i < prompt.n_token * k_row; i++) {
            k[i] = 3 * rng_float(&w->r);
        }
        for (size_t i = 0; i < prompt.n_token * v_row; i++) {
            v[i] = rng_float(&w->r);
        }
        for (uint32_t row = 0; row < prompt.n_token;) {
            uint32_t n = 1 + rng_below(&w->r, prompt.n_token - row);
            fvi_kv_seq_write(s->seq, layer, row, n, k + row * k_row, k_row, v + row * v_row, v_row);
            row += n;
        }
        for (uint32_t head = 0; head < dims.n_kv_head; head++, list++) {
            for (uint32_t i = 0, span = 0; i < prompt.n_token; i++) {
                span += i >= prompt.spans[span].first + prompt.spans[span].n;
                token t =
                    new_token(k + i * k_row + head * dims.dk, v + i * v_row + head * dims.dv, dims);
                t.kind = (uint8_t)w->g.geom.base;
                t.modality = prompt.spans[span].modality;
                t.position = s->position + i;
                store(t.k, t.v, dims, t.kind);
                push(s, list, t);
            }
        }
        free(k);
        free(v);
    }
    fvi_kv_seq_end_turn(s->seq);
    s->position += prompt.n_token;
    return true;
}

/* A plan that no recipe would make: any kind or none for every token, no list left empty. */
static fvi_kv_plan random_plan(world *w, const shadow *s)
{
    fvi_kv_plan plan = {.n_list = fvi_kv_geom_n_list(&w->g.geom),
                        .n_token = fvi_kv_seq_n_fresh(s->seq)};
    plan.kind = malloc((size_t)plan.n_list * plan.n_token);
    uint32_t drop = rng_below(&w->r, 10), one_kind = rng_below(&w->r, 3);
    for (size_t i = 0; i < (size_t)plan.n_list * plan.n_token; i++) {
        const fvi_codec *codec =
            one_kind == 0 ? fvi_codec_of(w->g.geom.base) : fvi_codec_at(rng_below(&w->r, 4));
        bool keep = rng_below(&w->r, 10) >= drop || i % plan.n_token == 0;
        plan.kind[i] = keep ? (uint8_t)codec->kind : FVI_KV_DROP;
        plan.kinds |= keep ? 1u << codec->kind : 0;
    }
    return plan;
}

/* The shadow's last n_fresh tokens of every list, as the plan says. */
static void shadow_plan(const world *w, shadow *s, const fvi_kv_plan *plan)
{
    for (uint32_t list = 0; list < plan->n_list; list++) {
        uint32_t layer, head, n = plan->n_token, first = s->n[list] - n, to = first;
        fvi_kv_layer_geom dims = layer_of(w, list, &layer, &head);
        token *turn = malloc(n * sizeof *turn);
        memcpy(turn, s->lists[list] + first, n * sizeof *turn);
        for (uint32_t kind = 0; kind < FOVEA_N_KIND; kind++) {
            for (uint32_t i = 0; i < n; i++) {
                if (plan->kind[(size_t)list * n + i] == kind) {
                    turn[i].kind = (uint8_t)kind;
                    store(turn[i].k, turn[i].v, dims, (uint8_t)kind);
                    s->lists[list][to++] = turn[i];
                }
            }
        }
        for (uint32_t i = 0; i < n; i++) {
            if (plan->kind[(size_t)list * n + i] == FVI_KV_DROP) {
                free(turn[i].k);
                free(turn[i].v);
            }
        }
        s->n[list] = to;
        free(turn);
    }
}

static void do_plan(world *w, shadow *s)
{
    fvi_kv_plan plan = random_plan(w, s);
    fovea_status status = fvi_kv_plan_apply(s->seq, &plan);
    if (status == FOVEA_OK) {
        shadow_plan(w, s, &plan);
        w->n_plan++;
    } else {
        assert_int_equal(status, FOVEA_ERR_FULL);
        w->n_full++;
        forget(w, s);
    }
    free(plan.kind);
}

static void do_append(world *w, shadow *s)
{
    float k[3 * 64], v[3 * 64];
    uint32_t list = 0;
    for (uint32_t layer = 0; layer < w->g.geom.n_layer; layer++) {
        fvi_kv_layer_geom dims = w->g.layers[layer];
        for (uint32_t i = 0; i < FVI_COUNT(k); i++) {
            k[i] = rng_float(&w->r);
            v[i] = rng_float(&w->r);
        }
        fovea_status status = fvi_kv_seq_append(s->seq, layer, k, v);
        if (status == FOVEA_ERR_FULL) {
            assert_int_equal(layer, 0);
            w->n_full++;
            return;
        }
        assert_int_equal(status, FOVEA_OK);
        for (uint32_t head = 0; head < dims.n_kv_head; head++, list++) {
            token t = new_token(k + head * dims.dk, v + head * dims.dv, dims);
            t.kind = (uint8_t)w->g.geom.base;
            t.generated = 1;
            t.position = s->position;
            store(t.k, t.v, dims, t.kind);
            push(s, list, t);
            assert_int_equal(fvi_kv_seq_lists(s->seq, layer)[head].n_token, s->n[list]);
        }
    }
    uint32_t n_block = s->seq->n_block;
    assert_int_equal(fvi_kv_seq_commit(s->seq), FOVEA_OK);
    w->n_merge += s->seq->n_block < n_block + 1 && s->seq->n_tail == 0;
    s->position++;
}

static void do_fork(world *w, const shadow *s)
{
    for (uint32_t i = 0; i < MAX_SEQ; i++) {
        shadow *to = &w->seqs[i];
        if (to->seq != NULL) {
            continue;
        }
        fovea_status status = fvi_kv_seq_fork(s->seq, &to->seq);
        if (status == FOVEA_ERR_FULL) {
            assert_null(to->seq);
            w->n_full++;
            return;
        }
        assert_int_equal(status, FOVEA_OK);
        w->n_fork++;
        to->position = s->position;
        for (uint32_t list = 0; list < fvi_kv_geom_n_list(&w->g.geom); list++) {
            uint32_t layer, head;
            fvi_kv_layer_geom dims = layer_of(w, list, &layer, &head);
            for (uint32_t j = 0; j < s->n[list]; j++) {
                token t = new_token(s->lists[list][j].k, s->lists[list][j].v, dims);
                t.kind = s->lists[list][j].kind;
                t.modality = s->lists[list][j].modality;
                t.generated = s->lists[list][j].generated;
                push(to, list, t);
            }
        }
        return;
    }
}

static void step(world *w)
{
    shadow *s = &w->seqs[rng_below(&w->r, MAX_SEQ)];
    if (s->seq == NULL) {
        if (fvi_kv_seq_new(&w->heap.alloc, w->pool, &w->g.geom, &s->seq) == FOVEA_ERR_FULL) {
            w->n_full++;
            return;
        }
        assert_non_null(s->seq);
    }
    uint32_t what = rng_below(&w->r, 100);
    if (what < 30) {
        if (do_turn(w, s) && s->seq->n_block > 0 && rng_below(&w->r, 3) > 0) {
            if (rng_below(&w->r, 3) == 0) {
                do_fork(w, s);
            }
            const fvi_kv_block *last = &s->seq->blocks[s->seq->n_block - 1];
            if (last->turn != NULL && last->turn->fresh && s->seq->n_tail == 0) {
                do_plan(w, s);
            }
        }
    } else if (what < 75) {
        for (uint32_t n = 1 + rng_below(&w->r, 40); n > 0; n--) {
            do_append(w, s);
        }
    } else if (what < 85) {
        do_fork(w, s);
    } else {
        forget(w, s);
    }
}

static void test_random_lives(void **state)
{
    (void)state;
    uint64_t n_full = 0, n_plan = 0, n_merge = 0, n_fork = 0;
    for (uint32_t round = 0; round < 30; round++) {
        world w = {.r = {.state = 1000 + round}};
        test_geom_random(&w.g, &w.r);
        fault_alloc_init(&w.heap);
        size_t granule = fvi_kv_geom_granule(&w.g.geom);
        size_t capacity = (64 + rng_below(&w.r, 4000)) * granule + rng_below(&w.r, 1000);
        assert_int_equal(fvi_kv_pool_new(&w.heap.alloc, capacity, granule, &w.pool), FOVEA_OK);
        for (uint32_t i = 0; i < 60; i++) {
            step(&w);
            check_world(&w);
        }
        for (uint32_t i = 0; i < MAX_SEQ; i++) {
            forget(&w, &w.seqs[i]);
        }
        assert_int_equal(fvi_kv_pool_used(w.pool), 0);
        fvi_kv_pool_free(&w.pool);
        assert_true(w.heap.n_live == 0 && w.heap.n_bad == 0);
        n_full += w.n_full;
        n_plan += w.n_plan;
        n_merge += w.n_merge;
        n_fork += w.n_fork;
    }
    /* the lives were not all of one sort */
    assert_true(n_full > 50 && n_plan > 50 && n_merge > 50 && n_fork > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
