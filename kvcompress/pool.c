/* pool.c - granules in a bitmap, extents cut from it, counters.
 *
 * Layout: one anonymous mapping, [data | descriptors, one per granule | bitmap, a set bit is taken]; pages
 * that were never used cost nothing. Search: first fit from where the last search ended, which keeps the
 * pieces of a sequence together; where no hole is long enough, the longest seen. A search stops after
 * SCAN_WORDS words once it has found anything, so that a huge and full pool does not slow the step.
 * Called by seq.c and its siblings. */
#include "kvcompress/pool.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define WORD_BITS  64
#define SCAN_WORDS 65536 /* 4 M granules */

struct fvi_kv_pool {
    const fovea_alloc *alloc;
    uint8_t *data;          /* [n_granule, granule] */
    fvi_kv_extent *extents; /* [n_granule] */
    uint64_t *taken;        /* [n_word], bits behind the last granule are set */
    size_t map_bytes, capacity, granule;
    uint64_t n_granule, n_word;
    uint64_t hint;         /* granule behind the last extent taken */
    uint64_t n_touched;    /* descriptors ever used */
    fvi_kv_extent *unused; /* descriptors given back */
    fvi_pool *workers;     /* or NULL */
    _Atomic size_t used, peak;
};

typedef struct hole {
    uint64_t first, n; /* granules */
} hole;

fovea_status fvi_kv_pool_new(const fovea_alloc *alloc, size_t capacity, size_t granule,
                             fvi_kv_pool **out)
{
    *out = NULL;
    if (granule == 0 || granule % 64 != 0 || capacity < granule || capacity > SIZE_MAX / 4) {
        return FOVEA_ERR_ARG;
    }
    fvi_kv_pool *pool = fvi_calloc(alloc, 1, sizeof *pool);
    if (pool == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    pool->alloc = alloc;
    pool->capacity = capacity;
    pool->granule = granule;
    pool->n_granule = capacity / granule;
    pool->n_word = (pool->n_granule + WORD_BITS - 1) / WORD_BITS;
    size_t data_bytes = fvi_round_up(pool->n_granule * granule, 64);
    size_t extent_bytes = pool->n_granule * sizeof(fvi_kv_extent);
    pool->map_bytes = data_bytes + extent_bytes + pool->n_word * sizeof(uint64_t);
    void *map = mmap(NULL, pool->map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        fvi_free(alloc, pool);
        return FOVEA_ERR_NOMEM;
    }
    pool->data = map;
    pool->extents = (fvi_kv_extent *)(void *)(pool->data + data_bytes);
    pool->taken = (uint64_t *)(void *)(pool->data + data_bytes + extent_bytes);
    uint64_t n_last = pool->n_granule % WORD_BITS;
    if (n_last != 0) {
        pool->taken[pool->n_word - 1] = ~(uint64_t)0 << n_last;
    }
    *out = pool;
    return FOVEA_OK;
}

void fvi_kv_pool_free(fvi_kv_pool **pool)
{
    fvi_kv_pool *self = *pool;
    if (self == NULL) {
        return;
    }
    munmap(self->data, self->map_bytes);
    fvi_free(self->alloc, self);
    *pool = NULL;
}

void fvi_kv_pool_set_workers(fvi_kv_pool *pool, fvi_pool *workers)
{
    pool->workers = workers;
}

fvi_pool *fvi_kv_pool_workers(const fvi_kv_pool *pool)
{
    return pool->workers;
}

static void count_used(fvi_kv_pool *pool, size_t n_bytes)
{
    size_t used = atomic_load_explicit(&pool->used, memory_order_relaxed) + n_bytes;
    atomic_store_explicit(&pool->used, used, memory_order_relaxed);
    if (used > atomic_load_explicit(&pool->peak, memory_order_relaxed)) {
        atomic_store_explicit(&pool->peak, used, memory_order_relaxed);
    }
}

static void count_freed(fvi_kv_pool *pool, size_t n_bytes)
{
    size_t used = atomic_load_explicit(&pool->used, memory_order_relaxed);
    atomic_store_explicit(&pool->used, used - n_bytes, memory_order_relaxed);
}

static size_t n_free_bytes(const fvi_kv_pool *pool)
{
    return pool->capacity - fvi_kv_pool_used(pool);
}

/* First granule at or behind `from` that is free (or taken), n_granule when there is none. */
static uint64_t next_with(const fvi_kv_pool *pool, uint64_t from, bool is_taken)
{
    if (from >= pool->n_granule) {
        return pool->n_granule;
    }
    uint64_t flip = is_taken ? 0 : ~(uint64_t)0;
    uint64_t word = from / WORD_BITS;
    uint64_t bits = (pool->taken[word] ^ flip) & (~(uint64_t)0 << (from % WORD_BITS));
    while (bits == 0) {
        if (++word == pool->n_word) {
            return pool->n_granule;
        }
        bits = pool->taken[word] ^ flip;
    }
    uint64_t at = word * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
    return FVI_MIN(at, pool->n_granule);
}

/* Length of the free stretch that starts at `first`, counted up to `most`. */
static uint64_t free_length(const fvi_kv_pool *pool, uint64_t first, uint64_t most)
{
    uint64_t end = FVI_MIN(first + most, pool->n_granule);
    uint64_t at = first;
    while (at < end && (pool->taken[at / WORD_BITS] >> (at % WORD_BITS)) == 0) {
        at = (at / WORD_BITS + 1) * WORD_BITS;
    }
    return at >= end ? end - first : FVI_MIN(next_with(pool, at, true), end) - first;
}

/* Looks in [from, to); better holes replace *best. True when one of n granules was found. */
static bool search(const fvi_kv_pool *pool, uint64_t from, uint64_t to, uint64_t n, hole *best)
{
    uint64_t at = next_with(pool, from, false);
    uint64_t limit = from + (uint64_t)SCAN_WORDS * WORD_BITS;
    while (at < to && (best->n == 0 || at < limit)) {
        uint64_t length = free_length(pool, at, n);
        if (length > best->n) {
            *best = (hole){.first = at, .n = length};
        }
        if (best->n >= n) {
            return true;
        }
        at = next_with(pool, at + length, false);
    }
    return false;
}

static void mark(fvi_kv_pool *pool, uint64_t first, uint64_t n, bool is_taken)
{
    for (uint64_t at = first, end = first + n; at < end;) {
        uint64_t shift = at % WORD_BITS;
        uint64_t width = FVI_MIN(WORD_BITS - shift, end - at);
        uint64_t bits = (width == WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << width) - 1) << shift;
        if (is_taken) {
            pool->taken[at / WORD_BITS] |= bits;
        } else {
            pool->taken[at / WORD_BITS] &= ~bits;
        }
        at += width;
    }
}

static uint64_t granules_of(const fvi_kv_pool *pool, size_t n_bytes)
{
    uint64_t n = n_bytes / pool->granule + (n_bytes % pool->granule != 0);
    return FVI_MIN(FVI_MAX(n, 1), (uint64_t)UINT32_MAX);
}

fovea_status fvi_kv_pool_take(fvi_kv_pool *pool, size_t want, size_t room, fvi_kv_extent **out)
{
    *out = NULL;
    size_t n_free = n_free_bytes(pool);
    if (n_free < pool->granule + sizeof(fvi_kv_extent)) {
        return FOVEA_ERR_FULL;
    }
    uint64_t affordable = (n_free - sizeof(fvi_kv_extent)) / pool->granule;
    uint64_t n = FVI_MIN(granules_of(pool, want), affordable);
    uint64_t n_room = FVI_MAX(n, FVI_MIN(granules_of(pool, room), affordable));
    uint64_t from = pool->hint < pool->n_granule ? pool->hint : 0;
    hole best = {.n = 0};
    if (!search(pool, from, pool->n_granule, n_room, &best)) {
        (void)search(pool, 0, from, n_room, &best);
    }
    if (best.n == 0) {
        return FOVEA_ERR_FULL;
    }
    n = FVI_MIN(n, best.n);
    mark(pool, best.first, n, true);
    pool->hint = best.first + n;
    fvi_kv_extent *extent = pool->unused;
    if (extent != NULL) {
        pool->unused = extent->next;
    } else {
        extent = &pool->extents[pool->n_touched++];
    }
    *extent = (fvi_kv_extent){
        .data = pool->data + best.first * pool->granule, .n_granule = (uint32_t)n, .refs = 1};
    count_used(pool, n * pool->granule + sizeof(fvi_kv_extent));
    *out = extent;
    return FOVEA_OK;
}

void fvi_kv_pool_extend(fvi_kv_pool *pool, fvi_kv_extent *extent, size_t n_bytes)
{
    uint64_t end = (uint64_t)(extent->data - pool->data) / pool->granule + extent->n_granule;
    uint64_t n = FVI_MIN(granules_of(pool, n_bytes), n_free_bytes(pool) / pool->granule);
    n = FVI_MIN(n, UINT32_MAX - extent->n_granule);
    n = end < pool->n_granule ? free_length(pool, end, n) : 0;
    mark(pool, end, n, true);
    extent->n_granule += (uint32_t)n;
    pool->hint = n > 0 ? end + n : pool->hint;
    count_used(pool, n * pool->granule);
}

bool fvi_kv_pool_has_hole(const fvi_kv_pool *pool, size_t n_bytes)
{
    hole best = {.n = 0};
    return search(pool, 0, pool->n_granule, granules_of(pool, n_bytes), &best);
}

size_t fvi_kv_extent_bytes(const fvi_kv_pool *pool, const fvi_kv_extent *extent)
{
    return extent->n_granule * pool->granule;
}

size_t fvi_kv_chain_bytes(const fvi_kv_pool *pool, const fvi_kv_extent *chain)
{
    size_t n_bytes = 0;
    for (; chain != NULL; chain = chain->next) {
        n_bytes += fvi_kv_extent_bytes(pool, chain) + sizeof *chain;
    }
    return n_bytes;
}

void fvi_kv_chain_ref(fvi_kv_extent *chain)
{
    if (chain != NULL) {
        chain->refs++;
    }
}

void fvi_kv_chain_unref(fvi_kv_pool *pool, fvi_kv_extent **chain)
{
    fvi_kv_extent *extent = *chain;
    *chain = NULL;
    if (extent == NULL || --extent->refs > 0) {
        return;
    }
    while (extent != NULL) {
        fvi_kv_extent *next = extent->next;
        uint64_t first = (uint64_t)(extent->data - pool->data) / pool->granule;
        mark(pool, first, extent->n_granule, false);
        count_freed(pool, fvi_kv_extent_bytes(pool, extent) + sizeof *extent);
        extent->next = pool->unused;
        pool->unused = extent;
        extent = next;
    }
}

fovea_status fvi_kv_pool_book(fvi_kv_pool *pool, size_t n_bytes)
{
    if (n_bytes > n_free_bytes(pool)) {
        return FOVEA_ERR_FULL;
    }
    count_used(pool, n_bytes);
    return FOVEA_OK;
}

void fvi_kv_pool_unbook(fvi_kv_pool *pool, size_t n_bytes)
{
    count_freed(pool, n_bytes);
}

size_t fvi_kv_pool_capacity(const fvi_kv_pool *pool)
{
    return pool->capacity;
}

size_t fvi_kv_pool_granule(const fvi_kv_pool *pool)
{
    return pool->granule;
}

size_t fvi_kv_pool_used(const fvi_kv_pool *pool)
{
    return atomic_load_explicit(&pool->used, memory_order_relaxed);
}

size_t fvi_kv_pool_peak(const fvi_kv_pool *pool)
{
    return atomic_load_explicit(&pool->peak, memory_order_relaxed);
}
