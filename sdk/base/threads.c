/* threads.c - a fork-join pool: parts of one job are handed out through an atomic counter.
 *
 * Layout: `job` is one word, generation (24 bits) | parts (20) | next part (20), so taking a part is one
 * compare-and-swap that also proves which job it belongs to: a late worker of an old job can never take a
 * part of the new one. fn and arg are written before the word is raised and stay until all parts are
 * done, so whoever took a part has read the right ones. Workers wait for a new generation, first spinning (a decode step starts a job
 * every few dozen microseconds), then on a futex-backed condition variable. */
#include "sdk/base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define SPIN_ROUNDS 4000
#define PART_BITS 20
#define PART_MASK ((UINT64_C(1) << PART_BITS) - 1)

static uint32_t job_generation(uint64_t job)
{
    return (uint32_t)(job >> (2 * PART_BITS));
}

static uint32_t job_n_part(uint64_t job)
{
    return (uint32_t)(job >> PART_BITS & PART_MASK);
}

static uint32_t job_next(uint64_t job)
{
    return (uint32_t)(job & PART_MASK);
}

typedef struct worker {
    fvi_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

struct fvi_pool {
    const fovea_alloc *alloc;
    uint32_t n_thread;
    uint32_t n_started;
    _Atomic uint64_t job;
    _Atomic uint32_t n_done; /* parts finished of this job */
    _Atomic uint32_t sleepers;
    _Atomic bool stop;
    _Atomic(fvi_pool_fn) fn;
    _Atomic(void *) arg;
    pthread_mutex_t lock; /* guards sleeping */
    pthread_cond_t wake;
    worker *workers; /* [n_thread - 1] */
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes parts of generation `gen` until none is left. */
static void work(fvi_pool *pool, uint32_t gen, uint32_t self)
{
    uint64_t job = atomic_load(&pool->job);
    while (job_generation(job) == gen && job_next(job) < job_n_part(job)) {
        fvi_pool_fn fn = atomic_load(&pool->fn);
        void *arg = atomic_load(&pool->arg);
        if (!atomic_compare_exchange_weak(&pool->job, &job, job + 1)) {
            continue;
        }
        fn(arg, job_next(job), self);
        atomic_fetch_add(&pool->n_done, 1);
        job = atomic_load(&pool->job);
    }
}

static uint32_t wait_for_job(fvi_pool *pool, uint32_t seen)
{
    for (uint32_t i = 0; i < SPIN_ROUNDS; i++) {
        uint32_t gen = job_generation(atomic_load(&pool->job));
        if (gen != seen || atomic_load(&pool->stop)) {
            return gen;
        }
        cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (job_generation(atomic_load(&pool->job)) == seen && !atomic_load(&pool->stop)) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return job_generation(atomic_load(&pool->job));
}

static void *worker_main(void *arg)
{
    worker *self = arg;
    uint32_t seen = 0;
    while (!atomic_load(&self->pool->stop)) {
        uint32_t gen = wait_for_job(self->pool, seen);
        if (gen != seen) {
            seen = gen;
            work(self->pool, gen, self->index);
        }
    }
    return NULL;
}

fovea_status fvi_pool_new(const fovea_alloc *alloc, uint32_t n_thread, fvi_pool **out)
{
    fvi_pool *pool = fvi_calloc(alloc, 1, sizeof *pool);
    if (pool == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    pool->alloc = alloc;
    pool->n_thread = FVI_MAX(n_thread, 1u);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    uint32_t n_worker = pool->n_thread - 1;
    if (n_worker > 0) {
        pool->workers = fvi_calloc(alloc, n_worker, sizeof *pool->workers);
        if (pool->workers == NULL) {
            fvi_pool_free(&pool);
            return FOVEA_ERR_NOMEM;
        }
    }
    for (uint32_t i = 0; i < n_worker; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i + 1};
        if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) {
            fvi_pool_free(&pool);
            return FOVEA_ERR_NOMEM;
        }
        pool->n_started++;
    }
    *out = pool;
    return FOVEA_OK;
}

void fvi_pool_free(fvi_pool **out)
{
    fvi_pool *pool = *out;
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    fvi_free(pool->alloc, pool->workers);
    fvi_free(pool->alloc, pool);
    *out = NULL;
}

uint32_t fvi_pool_n_thread(const fvi_pool *pool)
{
    return pool != NULL ? pool->n_thread : 1;
}

void fvi_pool_run(fvi_pool *pool, uint32_t n_part, fvi_pool_fn fn, void *arg)
{
    if (fvi_pool_n_thread(pool) == 1 || n_part <= 1) {
        for (uint32_t part = 0; part < n_part; part++) {
            fn(arg, part, 0);
        }
        return;
    }
    uint64_t gen = (job_generation(atomic_load(&pool->job)) + 1) & 0xffffff;
    atomic_store(&pool->n_done, 0);
    atomic_store(&pool->fn, fn);
    atomic_store(&pool->arg, arg);
    atomic_store(&pool->job, gen << (2 * PART_BITS) | (uint64_t)n_part << PART_BITS);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    work(pool, (uint32_t)gen, 0);
    for (uint32_t i = 0; atomic_load(&pool->n_done) < n_part; i++) {
        cpu_relax();
        if (i % SPIN_ROUNDS == SPIN_ROUNDS - 1) {
            sched_yield();
        }
    }
}
