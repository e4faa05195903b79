/* fault_alloc.h - an allocator for tests: counts, finds leaks, and fails the nth allocation on request.
 *
 *     fault_alloc f;
 *     fault_alloc_init(&f);
 *     ... use &f.alloc, set f.fail_at = n to fail the nth allocation from the last init/arm ...
 *     assert_int_equal(f.n_live, 0); assert_int_equal(f.n_bad, 0);
 *
 * or the whole sweep at once: fault_sweep runs a body with allocation 1, 2, 3, ... failing until it gets
 * through without one, and returns NULL or a text that says what was wrong.
 * A block carries 64 bytes in front (its size and a seal), so a foreign or a second release is counted as
 * bad instead of corrupting memory. Threads: alloc/release - any; init, arm, sweep - one at a time. */
#ifndef FOVEA_TESTS_FAULT_ALLOC_H
#define FOVEA_TESTS_FAULT_ALLOC_H

#include <fovea/status.h>

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULT_ALLOC_FRONT 64
#define FAULT_ALLOC_SEAL UINT64_C(0x6c6976655f626c6b)
#define FAULT_ALLOC_FREED UINT64_C(0x64656164626c6f63)

typedef struct fault_alloc {
    fovea_alloc alloc;              /* what the code under test is given */
    _Atomic uint64_t n_alloc;       /* calls since init or arm, failed ones included */
    _Atomic uint64_t fail_at;       /* 1: the next one; 0: none */
    _Atomic uint64_t n_failed;      /* failures made since init or arm */
    _Atomic uint64_t n_live;        /* blocks held now */
    _Atomic uint64_t live_bytes;    /* bytes held now */
    _Atomic uint64_t peak_bytes;
    _Atomic uint64_t n_bad;         /* releases of what was not held */
} fault_alloc;

typedef struct fault_front {
    uint64_t seal;
    uint64_t n_bytes;
} fault_front;

static inline void *fault_alloc_take(void *user, size_t n_bytes)
{
    fault_alloc *self = user;
    uint64_t nth = atomic_fetch_add(&self->n_alloc, 1) + 1;
    if (nth == atomic_load(&self->fail_at)) {
        atomic_fetch_add(&self->n_failed, 1);
        return NULL;
    }
    if (n_bytes > SIZE_MAX - 2 * FAULT_ALLOC_FRONT) {
        return NULL;
    }
    size_t total = FAULT_ALLOC_FRONT + (n_bytes + 63) / 64 * 64;
    uint8_t *block = aligned_alloc(64, total);
    if (block == NULL) {
        return NULL;
    }
    fault_front front = {FAULT_ALLOC_SEAL, n_bytes};
    memcpy(block, &front, sizeof front);
    /* a pattern, so that code which expects zeroed memory is found out */
    memset(block + FAULT_ALLOC_FRONT, 0xa5, total - FAULT_ALLOC_FRONT);
    atomic_fetch_add(&self->n_live, 1);
    uint64_t live = atomic_fetch_add(&self->live_bytes, n_bytes) + n_bytes;
    uint64_t peak = atomic_load(&self->peak_bytes);
    while (live > peak && !atomic_compare_exchange_weak(&self->peak_bytes, &peak, live)) {
    }
    return block + FAULT_ALLOC_FRONT;
}

static inline void fault_alloc_give(void *user, void *memory)
{
    fault_alloc *self = user;
    if (memory == NULL) {
        return;
    }
    uint8_t *block = (uint8_t *)memory - FAULT_ALLOC_FRONT;
    fault_front front;
    memcpy(&front, block, sizeof front);
    if (front.seal != FAULT_ALLOC_SEAL) {
        atomic_fetch_add(&self->n_bad, 1);
        return;
    }
    atomic_fetch_sub(&self->n_live, 1);
    atomic_fetch_sub(&self->live_bytes, front.n_bytes);
    front.seal = FAULT_ALLOC_FREED;
    memcpy(block, &front, sizeof front);
    free(block);
}

static inline void fault_alloc_init(fault_alloc *self)
{
    memset(self, 0, sizeof *self);
    self->alloc = (fovea_alloc){fault_alloc_take, fault_alloc_give, self};
}

/* Starts counting anew and fails the nth allocation from here (0: none); blocks held stay held. */
static inline void fault_alloc_arm(fault_alloc *self, uint64_t fail_at)
{
    atomic_store(&self->n_alloc, 0);
    atomic_store(&self->n_failed, 0);
    atomic_store(&self->fail_at, fail_at);
}

/* Does all of its work through `alloc`, frees everything it made, and returns the first error. */
typedef fovea_status (*fault_body)(const fovea_alloc *alloc, void *arg);

#define FAULT_SWEEP_MAX 1000000

/* NULL when every failure gave an error, nothing leaked, and the body went through in the end. n_point:
 * out, number of allocations the body makes; may be NULL. The text is valid until the next sweep. */
static inline const char *fault_sweep(fault_body body, void *arg, uint64_t *n_point)
{
    static char text[160];
    for (uint64_t nth = 1; nth <= FAULT_SWEEP_MAX; nth++) {
        fault_alloc self;
        fault_alloc_init(&self);
        fault_alloc_arm(&self, nth);
        fovea_status status = body(&self.alloc, arg);
        unsigned long long n = nth;
        if (self.n_live != 0 || self.n_bad != 0) {
            snprintf(text, sizeof text, "allocation %llu failed: %llu blocks leaked, %llu bad releases",
                     n, (unsigned long long)self.n_live, (unsigned long long)self.n_bad);
            return text;
        }
        if (self.n_failed != 0 && status >= 0) {
            snprintf(text, sizeof text, "allocation %llu failed and no error came", n);
            return text;
        }
        if (self.n_failed == 0) {
            if (status < 0) {
                snprintf(text, sizeof text, "without a failure: %s", fovea_status_text(status));
                return text;
            }
            if (n_point != NULL) {
                *n_point = self.n_alloc;
            }
            return NULL;
        }
    }
    return "the body never came through";
}

#endif
