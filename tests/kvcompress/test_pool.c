/* test_pool.c - extents: 100,000 random operations against a plain map of granules, fragmentation, counts. */
#include "kv_test.h"

#define N_GRANULE 512
#define GRANULE   192
#define MAX_CHAIN 64

typedef struct shadow {
    uint16_t owner[N_GRANULE]; /* 0: free */
    fvi_kv_extent *chains[MAX_CHAIN];
    uint32_t refs[MAX_CHAIN];
    size_t booked;
} shadow;

static fvi_kv_pool *new_pool(size_t capacity, size_t granule)
{
    fvi_kv_pool *pool = NULL;
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, capacity, granule, &pool), FOVEA_OK);
    return pool;
}

/* Marks what an extent has from its granule `from` on; fails where something is there already. */
static void occupy(shadow *s, const uint8_t *base, const fvi_kv_extent *extent, uint32_t from,
                   uint16_t owner)
{
    size_t first = (size_t)(extent->data - base) / GRANULE;
    assert_int_equal((size_t)(extent->data - base) % GRANULE, 0);
    for (size_t i = first + from; i < first + extent->n_granule; i++) {
        assert_true(i < N_GRANULE);
        assert_int_equal(s->owner[i], 0);
        s->owner[i] = owner;
    }
    memset(extent->data, (int)owner, extent->n_granule * (size_t)GRANULE); /* it is really there */
}

static uint32_t longest_hole(const shadow *s)
{
    uint32_t longest = 0, length = 0;
    for (uint32_t i = 0; i < N_GRANULE; i++) {
        length = s->owner[i] == 0 ? length + 1 : 0;
        longest = FVI_MAX(longest, length);
    }
    return longest;
}

static size_t shadow_used(const shadow *s)
{
    size_t used = s->booked;
    for (uint32_t i = 0; i < N_GRANULE; i++) {
        used += s->owner[i] != 0 ? GRANULE : 0;
    }
    for (uint32_t i = 0; i < MAX_CHAIN; i++) {
        for (const fvi_kv_extent *e = s->chains[i]; e != NULL; e = e->next) {
            used += sizeof *e;
        }
    }
    return used;
}

typedef struct game {
    rng r;
    fvi_kv_pool *pool;
    const uint8_t *base; /* where the first granule lies */
    shadow s;
    uint32_t n_full, n_extended;
} game;

static size_t free_bytes(const game *g)
{
    return fvi_kv_pool_capacity(g->pool) - fvi_kv_pool_used(g->pool);
}

/* Takes an extent: as long as wanted, or as the longest hole and the capacity allow. */
static void play_take(game *g, uint32_t i)
{
    uint32_t want = 1 + rng_below(&g->r, 24), room = want + rng_below(&g->r, 3) * 8;
    size_t n_free = free_bytes(g);
    fvi_kv_extent *e = NULL;
    fovea_status status =
        fvi_kv_pool_take(g->pool, want * GRANULE - rng_below(&g->r, GRANULE), room * GRANULE, &e);
    if (status < 0) {
        assert_int_equal(status, FOVEA_ERR_FULL);
        assert_null(e);
        assert_true(longest_hole(&g->s) == 0 || n_free < GRANULE + sizeof *e);
        g->n_full++;
        return;
    }
    uint32_t affordable = (uint32_t)((n_free - sizeof *e) / GRANULE);
    assert_int_equal(e->n_granule, FVI_MIN(want, FVI_MIN(longest_hole(&g->s), affordable)));
    occupy(&g->s, g->base, e, 0, (uint16_t)(i + 1));
    g->s.chains[i] = e;
    g->s.refs[i] = 1;
}

static void play_extend(game *g, uint32_t i)
{
    fvi_kv_extent *e = g->s.chains[i];
    uint32_t had = e->n_granule, more = 1 + rng_below(&g->r, 8), n_behind = 0;
    size_t end = (size_t)(e->data - g->base) / GRANULE + had;
    while (n_behind < more && end + n_behind < N_GRANULE && g->s.owner[end + n_behind] == 0) {
        n_behind++;
    }
    size_t n_free = free_bytes(g);
    fvi_kv_pool_extend(g->pool, e, more * GRANULE);
    assert_int_equal(e->n_granule - had, FVI_MIN(n_behind, n_free / GRANULE));
    occupy(&g->s, g->base, e, had, (uint16_t)(i + 1));
    g->n_extended += e->n_granule > had;
}

static void play_book(game *g)
{
    size_t n = rng_below(&g->r, 500);
    fovea_status status = fvi_kv_pool_book(g->pool, n);
    assert_true(status == FOVEA_OK || status == FOVEA_ERR_FULL);
    g->s.booked += status == FOVEA_OK ? n : 0;
    if (rng_below(&g->r, 2) == 0) {
        fvi_kv_pool_unbook(g->pool, g->s.booked);
        g->s.booked = 0;
    }
}

static void play_unref(game *g, uint32_t i)
{
    fvi_kv_extent *gone = g->s.chains[i];
    fvi_kv_chain_unref(g->pool, &gone);
    assert_null(gone);
    if (--g->s.refs[i] == 0) {
        g->s.chains[i] = NULL;
        for (uint32_t at = 0; at < N_GRANULE; at++) {
            g->s.owner[at] = g->s.owner[at] == i + 1 ? 0 : g->s.owner[at];
        }
    }
}

static void test_random(void **state)
{
    (void)state;
    static game g = {.r = {.state = 7}};
    g.pool = new_pool(N_GRANULE * GRANULE, GRANULE);
    fvi_kv_extent *first = NULL;
    assert_int_equal(fvi_kv_pool_take(g.pool, 1, 1, &first), FOVEA_OK);
    g.base = first->data;
    fvi_kv_chain_unref(g.pool, &first);
    for (uint32_t step = 0; step < 100000; step++) {
        uint32_t i = rng_below(&g.r, MAX_CHAIN), what = rng_below(&g.r, 10);
        if (g.s.chains[i] == NULL) {
            play_take(&g, i);
        } else if (what < 3) {
            play_extend(&g, i);
        } else if (what < 4) {
            fvi_kv_chain_ref(g.s.chains[i]);
            g.s.refs[i]++;
        } else if (what < 5) {
            play_book(&g);
        } else {
            play_unref(&g, i);
        }
        if (step % 16 == 0) {
            assert_int_equal(fvi_kv_pool_used(g.pool), shadow_used(&g.s));
        }
        assert_true(fvi_kv_pool_used(g.pool) <= fvi_kv_pool_capacity(g.pool));
        assert_true(fvi_kv_pool_used(g.pool) <= fvi_kv_pool_peak(g.pool));
    }
    assert_true(g.n_full > 100 && g.n_extended > 100);
    for (uint32_t i = 0; i < MAX_CHAIN; i++) {
        while (g.s.chains[i] != NULL) {
            play_unref(&g, i);
        }
    }
    fvi_kv_pool_unbook(g.pool, g.s.booked);
    assert_int_equal(fvi_kv_pool_used(g.pool), 0);
    fvi_kv_pool_free(&g.pool);
    assert_null(g.pool);
}

/* Every second granule taken: one granule at a time is still to be had, until nothing is. */
static void test_fragmented(void **state)
{
    (void)state;
    enum { N = 100 };
    fvi_kv_pool *pool = new_pool(N * (64 + sizeof(fvi_kv_extent)), 64);
    fvi_kv_extent *extents[N], *more[N];
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(fvi_kv_pool_take(pool, 64, 64, &extents[i]), FOVEA_OK);
    }
    for (uint32_t i = 0; i < N; i += 2) {
        fvi_kv_chain_unref(pool, &extents[i]);
    }
    /* what lies behind the taken stretch is more than the capacity allows in one piece */
    for (uint32_t i = 0; i < N / 2; i++) {
        assert_int_equal(fvi_kv_pool_take(pool, 64, 64, &more[i]), FOVEA_OK);
    }
    fvi_kv_extent *none;
    assert_int_equal(fvi_kv_pool_take(pool, 1, 1, &none), FOVEA_ERR_FULL);
    assert_int_equal(fvi_kv_pool_book(pool, 1), FOVEA_ERR_FULL);
    assert_int_equal(fvi_kv_pool_used(pool), fvi_kv_pool_capacity(pool));
    for (uint32_t i = 0; i < N / 2; i++) {
        fvi_kv_chain_unref(pool, &more[i]);
        fvi_kv_chain_unref(pool, &extents[2 * i + 1]);
    }
    assert_int_equal(fvi_kv_pool_used(pool), 0);
    assert_int_equal(fvi_kv_pool_peak(pool), fvi_kv_pool_capacity(pool));
    fvi_kv_pool_free(&pool);
}

/* Space for a chain is looked for where the whole of it fits, so that it can grow in one piece. */
static void test_room(void **state)
{
    (void)state;
    fvi_kv_pool *pool = new_pool(1 << 16, 64);
    fvi_kv_extent *a, *hole, *c, *e;
    assert_int_equal(fvi_kv_pool_take(pool, 64, 64, &a), FOVEA_OK);
    assert_int_equal(fvi_kv_pool_take(pool, 640, 640, &hole), FOVEA_OK);
    assert_int_equal(fvi_kv_pool_take(pool, 64, 64, &c), FOVEA_OK);
    const uint8_t *in_hole = hole->data;
    fvi_kv_chain_unref(pool, &hole);
    fvi_kv_extent *rest; /* moves the hint round the end */
    assert_int_equal(fvi_kv_pool_take(pool, 1 << 15, 1 << 15, &rest), FOVEA_OK);
    assert_int_equal(fvi_kv_pool_take(pool, 64, 20 * 64, &e), FOVEA_OK);
    assert_true(e->data != in_hole);
    assert_int_equal(e->n_granule, 1);
    fvi_kv_pool_extend(pool, e, 19 * 64);
    assert_int_equal(e->n_granule, 20);
    fvi_kv_chain_unref(pool, &a);
    fvi_kv_chain_unref(pool, &c);
    fvi_kv_chain_unref(pool, &rest);
    fvi_kv_chain_unref(pool, &e);
    fvi_kv_pool_free(&pool);
}

static void test_refused(void **state)
{
    (void)state;
    fvi_kv_pool *pool;
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, 1000, 100, &pool), FOVEA_ERR_ARG);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, 1000, 0, &pool), FOVEA_ERR_ARG);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, 63, 64, &pool), FOVEA_ERR_ARG);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, SIZE_MAX, 64, &pool), FOVEA_ERR_ARG);
    assert_int_equal(fvi_kv_pool_new(&fvi_alloc_default, SIZE_MAX / 8, 64, &pool), FOVEA_ERR_NOMEM);
    assert_null(pool);
    pool = new_pool((size_t)1 << 40, 512); /* nothing is touched, so nothing is used */
    fvi_kv_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_fragmented),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
