/* generation.c - tokens with decided texts in an array, a growing text, one lock, one condition.
 *
 * Layout: events[n_event] are all tokens so far, the first n_public of them visible to next. `text` is
 * everything decoded; text_public bytes of it are handed out. An event is made public when the text that
 * comes with it is decided: a token that ends inside a character or may begin a stop text waits for those
 * after it. */
#include "sdk/engine/generation.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define GENERATION_TEXT_BYTES 16 /* reserved per token */

typedef struct event {
    int32_t id;
    float logprob;
    size_t text_end; /* text handed out with this event ends here */
} event;

struct fovea_generation {
    const fovea_alloc *alloc;
    _Atomic uint32_t refs;
    _Atomic bool cancelled;
    fovea_generation **owner;
    fvi_generate how;
    fvi_detok detok;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t change;
    event *events;      /* [capacity] */
    fovea_logprob *top; /* [capacity, n_logprobs] */
    uint32_t capacity, n_event, n_public, n_taken;
    fvi_buf text;
    size_t text_taken;
    fvi_buf taken; /* the caller's copy of one event's text */
    fovea_logprob taken_top[FVI_MAX_LOGPROBS];
    bool ended;
    fovea_status code;
    char error_text[160];
    fovea_usage usage;
    fovea_ledger ledger;
    bool has_ledger;
    void (*notify)(void *user);
    void *notify_user;
    void (*on_cancel)(void *user);
    void *on_cancel_user;
};

static void free_how(const fovea_alloc *alloc, fvi_generate *how)
{
    for (uint32_t i = 0; i < how->n_stop; i++) {
        fvi_free(alloc, how->stop[i]);
    }
    fvi_free(alloc, how->forced);
    *how = (fvi_generate){0};
}

fovea_status fvi_generation_new(const fovea_alloc *alloc, const fvi_tokenizer *tokenizer,
                                fvi_generate *how, fovea_generation **out)
{
    fovea_generation *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self == NULL) {
        free_how(alloc, how);
        return FOVEA_ERR_NOMEM;
    }
    self->alloc = alloc;
    self->how = *how;
    *how = (fvi_generate){0};
    self->refs = 1;
    self->detok.tokenizer = tokenizer;
    self->text.alloc = self->taken.alloc = alloc;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->change, &monotonic);
    pthread_condattr_destroy(&monotonic);

    self->capacity = FVI_MAX(self->how.max_tokens, 1u);
    uint32_t n_top = self->how.sampling.n_logprobs;
    self->events = fvi_calloc(alloc, self->capacity, sizeof *self->events);
    self->top = n_top > 0 ? fvi_calloc(alloc, (size_t)self->capacity * n_top, sizeof *self->top) : NULL;
    size_t n_text = (size_t)self->capacity * GENERATION_TEXT_BYTES + 64;
    if (self->events == NULL || (n_top > 0 && self->top == NULL) ||
        fvi_buf_reserve(&self->text, n_text) != FOVEA_OK ||
        fvi_buf_reserve(&self->taken, 256) != FOVEA_OK) {
        fvi_generation_unref(self);
        return FOVEA_ERR_NOMEM;
    }
    *out = self;
    return FOVEA_OK;
}

void fvi_generation_ref(fovea_generation *self)
{
    atomic_fetch_add(&self->refs, 1);
}

void fvi_generation_unref(fovea_generation *self)
{
    if (atomic_fetch_sub(&self->refs, 1) != 1) {
        return;
    }
    free_how(self->alloc, &self->how);
    fvi_free(self->alloc, self->events);
    fvi_free(self->alloc, self->top);
    fvi_buf_free(&self->text);
    fvi_buf_free(&self->taken);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->change);
    fvi_free(self->alloc, self);
}

void fvi_generation_bind(fovea_generation *self, fovea_generation **owner)
{
    self->owner = owner;
}

const fvi_generate *fvi_generation_how(const fovea_generation *self)
{
    return &self->how;
}

bool fvi_generation_is_cancelled(const fovea_generation *self)
{
    return atomic_load(&self->cancelled);
}

void fvi_generation_on_cancel(fovea_generation *self, void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&self->lock);
    self->on_cancel = fn;
    self->on_cancel_user = user;
    pthread_mutex_unlock(&self->lock);
}

/* Wakes whoever waits; called with the lock held. */
static void announce(fovea_generation *self)
{
    pthread_cond_broadcast(&self->change);
    if (self->notify != NULL) {
        self->notify(self->notify_user);
    }
}

/* ---- the scheduler's side ---- */

/* Where the text ends for good: at a stop text, else before the longest end that may still become one. */
static size_t decided_end(const fovea_generation *self, size_t from, bool *stopped)
{
    const char *text = self->text.data;
    size_t n = self->text.n;
    size_t end = n;
    *stopped = false;
    for (uint32_t s = 0; s < self->how.n_stop; s++) {
        const char *stop = self->how.stop[s];
        size_t n_stop = self->how.stop_bytes[s];
        for (size_t at = from; at < end; at++) {
            size_t n_left = FVI_MIN(n - at, n_stop);
            if (memcmp(text + at, stop, n_left) == 0) {
                *stopped = *stopped || n_left == n_stop;
                end = at;
            }
        }
    }
    if (*stopped) { /* the earliest full match counts, not an earlier partial one */
        size_t full = n;
        for (uint32_t s = 0; s < self->how.n_stop; s++) {
            size_t n_stop = self->how.stop_bytes[s];
            for (size_t at = from; at + n_stop <= n && at < full; at++) {
                if (memcmp(text + at, self->how.stop[s], n_stop) == 0) {
                    full = at;
                }
            }
        }
        end = full;
    }
    return end;
}

static void publish(fovea_generation *self, size_t text_end)
{
    for (uint32_t i = self->n_public; i < self->n_event; i++) {
        self->events[i].text_end = text_end;
    }
    /* held-back events before the last one carry no text: it all comes with the last */
    size_t begin = self->n_public > 0 ? self->events[self->n_public - 1].text_end : 0;
    for (uint32_t i = self->n_public; i + 1 < self->n_event; i++) {
        self->events[i].text_end = begin;
    }
    self->n_public = self->n_event;
}

fovea_status fvi_generation_push(fovea_generation *self, int32_t id, float logprob,
                                 const fovea_logprob *top, uint32_t n_top, bool *stopped)
{
    *stopped = false;
    pthread_mutex_lock(&self->lock);
    if (self->n_event == self->capacity) {
        pthread_mutex_unlock(&self->lock);
        return FOVEA_ERR_INTERNAL;
    }
    fovea_status status = fvi_detok_push(&self->detok, id, &self->text);
    if (status == FOVEA_OK) {
        self->events[self->n_event] = (event){.id = id, .logprob = logprob};
        if (n_top > 0) {
            memcpy(self->top + (size_t)self->n_event * self->how.sampling.n_logprobs, top,
                   n_top * sizeof *top);
        }
        self->n_event++;
        size_t from = self->n_public > 0 ? self->events[self->n_public - 1].text_end : 0;
        size_t end = decided_end(self, from, stopped);
        if (*stopped) {
            self->text.n = end;
        }
        if (*stopped || (end == self->text.n && self->detok.n_pending == 0)) {
            publish(self, end);
            announce(self);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

void fvi_generation_end(fovea_generation *self, fovea_finish finish, fovea_status code, const char *text)
{
    pthread_mutex_lock(&self->lock);
    if (!self->ended) {
        if (finish == FOVEA_FINISH_LENGTH || finish == FOVEA_FINISH_STOP) {
            size_t n_before = self->text.n;
            if (fvi_detok_finish(&self->detok, &self->text) != FOVEA_OK) {
                self->text.n = n_before;
            }
        }
        publish(self, self->text.n);
        self->ended = true;
        self->usage.finish = finish;
        self->code = code;
        snprintf(self->error_text, sizeof self->error_text, "%s",
                 text != NULL ? text : fovea_status_text(code));
        announce(self);
    }
    pthread_mutex_unlock(&self->lock);
}

void fvi_generation_set_usage(fovea_generation *self, const fovea_usage *usage)
{
    pthread_mutex_lock(&self->lock);
    fovea_finish finish = self->usage.finish;
    self->usage = *usage;
    self->usage.finish = finish;
    pthread_mutex_unlock(&self->lock);
}

void fvi_generation_set_ledger(fovea_generation *self, const fovea_ledger *ledger)
{
    pthread_mutex_lock(&self->lock);
    self->ledger = *ledger;
    self->has_ledger = true;
    pthread_mutex_unlock(&self->lock);
}

/* ---- the caller's side ---- */

static fovea_status wait_for_event(fovea_generation *self, int64_t timeout_ms)
{
    int64_t until = fvi_now_ns() + (timeout_ms > INT64_MAX / 2000000 ? INT64_MAX / 2 : timeout_ms * 1000000);
    struct timespec limit = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    while (self->n_taken == self->n_public && !self->ended) {
        if (timeout_ms < 0) {
            pthread_cond_wait(&self->change, &self->lock);
        } else if (pthread_cond_timedwait(&self->change, &self->lock, &limit) == ETIMEDOUT) {
            return self->n_taken == self->n_public && !self->ended ? FOVEA_AGAIN : FOVEA_OK;
        }
    }
    return FOVEA_OK;
}

static fovea_status take_event(fovea_generation *self, fovea_token *out)
{
    const event *e = &self->events[self->n_taken];
    size_t n = e->text_end - self->text_taken;
    self->taken.n = 0;
    FVI_TRY(fvi_buf_append_text(&self->taken, self->text.data + self->text_taken, n));
    uint32_t n_top = self->how.sampling.n_logprobs;
    if (n_top > 0) {
        memcpy(self->taken_top, self->top + (size_t)self->n_taken * n_top, n_top * sizeof *self->top);
    }
    *out = (fovea_token){.id = e->id,
                         .logprob = e->logprob,
                         .text = self->taken.data,
                         .n_bytes = n,
                         .top = self->taken_top,
                         .n_top = n_top};
    self->text_taken = e->text_end;
    self->n_taken++;
    return FOVEA_OK;
}

fovea_status fovea_generation_next(fovea_generation *self, int64_t timeout_ms, fovea_token *out,
                                   fovea_error *err)
{
    if (self == NULL || out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "generation or token is NULL");
    }
    pthread_mutex_lock(&self->lock);
    fovea_status status = wait_for_event(self, timeout_ms);
    if (status == FOVEA_OK && self->n_taken < self->n_public) {
        status = take_event(self, out);
        if (status != FOVEA_OK) {
            FVI_FAIL(err, status, "no memory for a token's text");
        }
    } else if (status == FOVEA_OK) {
        status = self->code < 0 ? self->code : FOVEA_DONE;
        if (status < 0) {
            FVI_FAIL(err, status, "%s", self->error_text);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

void fovea_generation_cancel(fovea_generation *self)
{
    if (self == NULL) {
        return;
    }
    atomic_store(&self->cancelled, true);
    pthread_mutex_lock(&self->lock);
    void (*fn)(void *user) = self->ended ? NULL : self->on_cancel;
    void *user = self->on_cancel_user;
    pthread_mutex_unlock(&self->lock);
    if (fn != NULL) {
        fn(user);
    }
}

fovea_status fovea_generation_usage(const fovea_generation *self, fovea_usage *out)
{
    if (self == NULL || out == NULL) {
        return FOVEA_ERR_ARG;
    }
    fovea_generation *locked = (fovea_generation *)(uintptr_t)self;
    pthread_mutex_lock(&locked->lock);
    bool ok = fvi_struct_out(out, &self->usage, sizeof self->usage);
    pthread_mutex_unlock(&locked->lock);
    return ok ? FOVEA_OK : FOVEA_ERR_ARG;
}

fovea_status fovea_generation_ledger(const fovea_generation *self, fovea_ledger *out)
{
    if (self == NULL || out == NULL) {
        return FOVEA_ERR_ARG;
    }
    fovea_generation *locked = (fovea_generation *)(uintptr_t)self;
    pthread_mutex_lock(&locked->lock);
    fovea_status status = self->has_ledger ? FOVEA_OK : FOVEA_ERR_STATE;
    if (status == FOVEA_OK && !fvi_struct_out(out, &self->ledger, sizeof self->ledger)) {
        status = FOVEA_ERR_ARG;
    }
    pthread_mutex_unlock(&locked->lock);
    return status;
}

void fovea_generation_notify(fovea_generation *self, void (*fn)(void *user), void *user)
{
    if (self == NULL) {
        return;
    }
    pthread_mutex_lock(&self->lock);
    self->notify = fn;
    self->notify_user = user;
    if (fn != NULL && (self->ended || self->n_taken < self->n_public)) {
        fn(user); /* what came before it was set must not go unnoticed */
    }
    pthread_mutex_unlock(&self->lock);
}

void fovea_generation_free(fovea_generation **out)
{
    if (out == NULL || *out == NULL) {
        return;
    }
    fovea_generation *self = *out;
    fovea_generation_cancel(self);
    pthread_mutex_lock(&self->lock);
    self->notify = NULL;
    while (!self->ended) { /* the scheduler ends it at its next step's border */
        pthread_cond_wait(&self->change, &self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    if (self->owner != NULL) {
        *self->owner = NULL;
    }
    *out = NULL;
    fvi_generation_unref(self);
}
