/* scheduler.c - the scheduler's thread, its inbox and its jobs; what a step does is in scheduler_step.c.
 *
 * Clients only touch the inbox and the job list, under one lock that is never held during a step. */
#include "sdk/engine/request.h"

#include <errno.h>
#include <time.h>

void fvi_request_list_push(fvi_request_list *list, fvi_request *request)
{
    request->next = NULL;
    if (list->last != NULL) {
        list->last->next = request;
    } else {
        list->first = request;
    }
    list->last = request;
    list->n++;
}

void fvi_request_list_remove(fvi_request_list *list, fvi_request *request)
{
    fvi_request *before = NULL;
    fvi_request *at = list->first;
    while (at != request) {
        before = at;
        at = at->next;
    }
    if (before != NULL) {
        before->next = request->next;
    } else {
        list->first = request->next;
    }
    if (list->last == request) {
        list->last = before;
    }
    list->n--;
}

static void run_jobs(fvi_scheduler *self)
{
    pthread_mutex_lock(&self->lock);
    while (self->jobs != NULL) {
        fvi_job *job = self->jobs;
        self->jobs = job->next;
        pthread_mutex_unlock(&self->lock);
        fovea_status status = job->fn(self, job->arg);
        pthread_mutex_lock(&self->lock);
        job->status = status;
        job->done = true;
        pthread_cond_broadcast(&self->done);
    }
    pthread_mutex_unlock(&self->lock);
}

/* Moves what was submitted to the waiting list; sleeps when nothing can be done. False: closing. */
static bool take_in(fvi_scheduler *self, bool idle)
{
    pthread_mutex_lock(&self->lock);
    while (idle && !self->closing && self->inbox.first == NULL && self->jobs == NULL && !self->woken) {
        int64_t until = fvi_scheduler_next_deadline(self);
        if (until == 0) {
            pthread_cond_wait(&self->work, &self->lock);
            continue;
        }
        struct timespec limit = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
        if (pthread_cond_timedwait(&self->work, &self->lock, &limit) == ETIMEDOUT) {
            break;
        }
    }
    self->woken = false;
    while (self->inbox.first != NULL) {
        fvi_request *request = self->inbox.first;
        fvi_request_list_remove(&self->inbox, request);
        fvi_request_list_push(&self->waiting, request);
    }
    bool open = !self->closing;
    pthread_mutex_unlock(&self->lock);
    return open;
}

static void end_all(fvi_scheduler *self, fvi_request_list *list)
{
    while (list->first != NULL) {
        fvi_request_finish(self, list, list->first, FOVEA_FINISH_ERROR, FOVEA_ERR_CLOSED,
                           "the engine is shutting down");
    }
}

static void *scheduler_main(void *arg)
{
    fvi_scheduler *self = arg;
    bool idle = true;
    while (take_in(self, idle)) {
        run_jobs(self);
        idle = !fvi_scheduler_step(self);
    }
    end_all(self, &self->running);
    end_all(self, &self->waiting);
    run_jobs(self);
    return NULL;
}

static bool take_buffers(fvi_scheduler *self)
{
    const fvi_decoder_config *c = &self->model->config;
    self->rows = fvi_calloc(self->alloc, self->max_row, sizeof(*self->rows));
    self->row_request = fvi_calloc(self->alloc, self->max_row, sizeof(*self->row_request));
    self->hidden = fvi_calloc(self->alloc, (size_t)self->max_row * c->hidden, sizeof(float));
    self->logits = fvi_calloc(self->alloc, (size_t)FVI_HEAD_ROWS * c->vocab, sizeof(float));
    self->candidates = fvi_calloc(self->alloc, c->vocab, sizeof(*self->candidates));
    self->is_end = fvi_calloc(self->alloc, c->vocab, 1);
    if (self->rows == NULL || self->row_request == NULL || self->hidden == NULL ||
        self->logits == NULL || self->candidates == NULL || self->is_end == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < self->model->generation.n_eos; i++) {
        int32_t id = self->model->generation.eos[i];
        if (id >= 0 && (uint32_t)id < c->vocab) {
            self->is_end[id] = 1;
        }
    }
    return true;
}

fovea_status fvi_scheduler_new(const fvi_scheduler_options *options, fvi_scheduler **out, fovea_error *err)
{
    const fvi_model *model = options->model;
    fvi_scheduler *self = fvi_calloc(model->alloc, 1, sizeof *self);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the scheduler");
    }
    self->alloc = model->alloc;
    self->model = model;
    self->pool = options->pool;
    self->log = options->log;
    self->max_queue = options->max_queue;
    self->max_running = options->max_running;
    self->max_row = 2 * self->max_running;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->work, &monotonic);
    pthread_cond_init(&self->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    fovea_status status =
        fvi_decoder_new(model, self->max_row, options->prefill_block, &self->decoder, err);
    if (status == FOVEA_OK && !take_buffers(self)) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for the scheduler's buffers");
    }
    if (status == FOVEA_OK && pthread_create(&self->thread, NULL, scheduler_main, self) != 0) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "the scheduler's thread cannot be started");
    }
    if (status != FOVEA_OK) {
        fvi_scheduler_free(&self);
        return status;
    }
    self->started = true;
    *out = self;
    return FOVEA_OK;
}

void fvi_scheduler_free(fvi_scheduler **out)
{
    fvi_scheduler *self = *out;
    if (self == NULL) {
        return;
    }
    if (self->started) {
        pthread_mutex_lock(&self->lock);
        self->closing = true;
        pthread_cond_signal(&self->work);
        pthread_mutex_unlock(&self->lock);
        pthread_join(self->thread, NULL);
    }
    fvi_decoder_free(&self->decoder);
    fvi_free(self->alloc, self->rows);
    fvi_free(self->alloc, self->row_request);
    fvi_free(self->alloc, self->hidden);
    fvi_free(self->alloc, self->logits);
    fvi_free(self->alloc, self->candidates);
    fvi_free(self->alloc, self->is_end);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->work);
    pthread_cond_destroy(&self->done);
    fvi_free(self->alloc, self);
    *out = NULL;
}

static void wake_on_cancel(void *user)
{
    fvi_scheduler_wake(user);
}

/* Whether it fits an otherwise empty pool. */
static fovea_status check_fits(const fvi_scheduler *self, const fvi_request *request, fovea_error *err)
{
    size_t need = fvi_request_need(self, request);
    size_t capacity = fvi_kv_pool_capacity(self->pool);
    if (request->timeline->seq != NULL) {
        need += fvi_kv_seq_bytes(request->timeline->seq);
    }
    if (need > capacity) {
        return FVI_FAIL(err, FOVEA_ERR_FULL, "the request needs %zu KV bytes, the whole pool has %zu", need,
                        capacity);
    }
    return FOVEA_OK;
}

static fovea_status enqueue(fvi_scheduler *self, fvi_request *request, fovea_error *err)
{
    fovea_status status = FOVEA_OK;
    pthread_mutex_lock(&self->lock);
    if (self->closing) {
        status = FVI_FAIL(err, FOVEA_ERR_CLOSED, "the engine is shutting down");
    } else if (atomic_load(&self->count.waiting) >= self->max_queue) {
        status = FVI_FAIL(err, FOVEA_ERR_FULL, "%u requests are waiting already, the queue's limit",
                          self->max_queue);
    } else {
        atomic_store(&request->timeline->busy, true);
        atomic_fetch_add(&self->count.waiting, 1);
        atomic_fetch_add(&self->count.submitted, 1);
        fvi_request_list_push(&self->inbox, request);
        pthread_cond_signal(&self->work);
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

fovea_status fvi_scheduler_submit(fvi_scheduler *self, fvi_timeline *timeline, fvi_turn *turn,
                                  fovea_generation *generation, fovea_error *err)
{
    fvi_request *request = fvi_calloc(self->alloc, 1, sizeof *request);
    if (request == NULL) {
        fvi_turn_free(turn);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a request");
    }
    request->timeline = timeline;
    request->turn = *turn;
    *turn = (fvi_turn){0};
    request->generation = generation;
    request->t_submit = fvi_now_ns();
    fovea_status status = check_fits(self, request, err);
    if (status == FOVEA_OK) {
        fvi_generation_ref(generation);
        fvi_generation_on_cancel(generation, wake_on_cancel, self);
        status = enqueue(self, request, err);
        if (status != FOVEA_OK) {
            fvi_generation_unref(generation);
        }
    }
    if (status != FOVEA_OK) {
        atomic_fetch_add(&self->count.refused, 1);
        fvi_turn_free(&request->turn);
        fvi_free(self->alloc, request);
    }
    return status;
}

fovea_status fvi_scheduler_run(fvi_scheduler *self, fvi_job_fn fn, void *arg)
{
    fvi_job job = {.fn = fn, .arg = arg};
    pthread_mutex_lock(&self->lock);
    if (self->closing) {
        pthread_mutex_unlock(&self->lock);
        return FOVEA_ERR_CLOSED;
    }
    fvi_job **end = &self->jobs;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = &job;
    pthread_cond_signal(&self->work);
    while (!job.done) {
        pthread_cond_wait(&self->done, &self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return job.status;
}

void fvi_scheduler_wake(fvi_scheduler *self)
{
    pthread_mutex_lock(&self->lock);
    self->woken = true;
    pthread_cond_signal(&self->work);
    pthread_mutex_unlock(&self->lock);
}

fvi_kv_pool *fvi_scheduler_pool(const fvi_scheduler *self)
{
    return self->pool;
}

static fovea_status gauge_job(fvi_scheduler *self, void *arg)
{
    fovea_engine_stats *out = arg;
    for (const fvi_timeline *t = self->timelines; t != NULL; t = t->next) {
        if (t->seq != NULL) {
            fovea_ledger ledger = {.size = sizeof ledger};
            fvi_kv_seq_ledger(t->seq, &ledger);
            out->kv_text_bytes += ledger.text_bytes;
            out->kv_vision_bytes += ledger.vision_bytes;
            out->kv_shared_bytes += ledger.shared_bytes;
            out->kv_generated_bytes += ledger.generated_bytes;
        }
    }
    return FOVEA_OK;
}

void fvi_scheduler_stats(fvi_scheduler *self, fovea_engine_stats *out)
{
    const fvi_counters *c = &self->count;
    fvi_scheduler_run(self, gauge_job, out);
    out->n_waiting = atomic_load(&c->waiting);
    out->n_running = atomic_load(&c->running);
    out->kv_capacity_bytes = fvi_kv_pool_capacity(self->pool);
    out->kv_used_bytes = fvi_kv_pool_used(self->pool);
    out->kv_peak_bytes = fvi_kv_pool_peak(self->pool);
    out->n_submitted = atomic_load(&c->submitted);
    out->n_finished = atomic_load(&c->finished);
    out->n_cancelled = atomic_load(&c->cancelled);
    out->n_expired = atomic_load(&c->expired);
    out->n_failed = atomic_load(&c->failed);
    out->n_refused = atomic_load(&c->refused);
    out->prompt_tokens = atomic_load(&c->prompt_tokens);
    out->vision_tokens = atomic_load(&c->vision_tokens);
    out->output_tokens = atomic_load(&c->output_tokens);
    out->n_step = atomic_load(&c->steps);
    out->n_image_encoded = atomic_load(&c->images);
}
