/* scheduler_step.c - what happens in one step: sweep, admit, one piece of prefill, one token for each.
 *
 * Admission: a request may start when the pool has room for all that it and everyone admitted before may
 * still take: used + sum(allowed_i - held_i) + need <= capacity. A plan that gives bytes up lowers allowed_i
 * in the same step, so the next waiting request may start right then. */
#include "kvcompress/cut.h"
#include "sdk/engine/request.h"

/* ---- ending ---- */

static double milliseconds(int64_t from, int64_t to)
{
    return from != 0 && to > from ? (double)(to - from) * 1e-6 : 0.0;
}

static void report_usage(const fvi_request *request)
{
    fovea_usage usage = {.size = sizeof usage,
                         .text_tokens = request->turn.n_text,
                         .vision_tokens = request->turn.n_vision,
                         .output_tokens = request->n_output,
                         .n_image = request->turn.n_image,
                         .queue_ms = milliseconds(request->t_submit, request->t_admit),
                         .encode_ms = milliseconds(request->t_admit, request->t_encoded),
                         .prefill_ms = milliseconds(request->t_encoded, request->t_prefilled),
                         .plan_ms = milliseconds(request->t_prefilled, request->t_planned),
                         .decode_ms = milliseconds(request->t_first, request->t_last)};
    fvi_loyalty_report(&request->loyalty, &usage);
    fvi_generation_set_usage(request->generation, &usage);
}

static void count_end(fvi_counters *count, fovea_finish finish)
{
    switch (finish) {
    case FOVEA_FINISH_CANCELLED: atomic_fetch_add(&count->cancelled, 1); break;
    case FOVEA_FINISH_DEADLINE: atomic_fetch_add(&count->expired, 1); break;
    case FOVEA_FINISH_ERROR: atomic_fetch_add(&count->failed, 1); break;
    case FOVEA_FINISH_NONE:
    case FOVEA_FINISH_STOP:
    case FOVEA_FINISH_LENGTH:
    case FOVEA_FINISH_PLAN: atomic_fetch_add(&count->finished, 1); break;
    }
}

static void report_ledger(fvi_scheduler *self, const fvi_request *request)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    fvi_timeline_ledger(self, request->timeline, &ledger);
    fvi_generation_set_ledger(request->generation, &ledger);
}

void fvi_request_finish(fvi_scheduler *self, fvi_request_list *list, fvi_request *request,
                        fovea_finish finish, fovea_status code, const char *text)
{
    fvi_timeline *timeline = request->timeline;
    bool ran = list == &self->running;
    fvi_request_list_remove(list, request);
    atomic_fetch_sub(ran ? &self->count.running : &self->count.waiting, 1);
    fvi_prefill_end(self->decoder, &request->prefill);
    fvi_kv_obs_unref(&request->obs);
    fvi_kv_seq_free(&request->loyalty.full);
    if (code < 0) {
        if (ran) { /* what was half written is of no use to a next turn */
            fvi_timeline_drop_cache(self, timeline);
        }
        atomic_store(&timeline->broken, true);
    } else {
        report_ledger(self, request);
    }
    count_end(&self->count, finish);
    report_usage(request);
    fvi_turn_free(&request->turn);
    atomic_store(&timeline->busy, false);
    fvi_generation_end(request->generation, finish, code, text);
    fvi_generation_unref(request->generation);
    fvi_free(self->alloc, request);
}

static void fail(fvi_scheduler *self, fvi_request *request, fovea_status code, const char *text)
{
    fvi_log_write(&self->log, FOVEA_LOG_WARN, "a request ended with %s: %s", fovea_status_name(code),
                  text != NULL ? text : fovea_status_text(code));
    fvi_request_finish(self, &self->running, request, FOVEA_FINISH_ERROR, code, text);
}

static bool sweep_list(fvi_scheduler *self, fvi_request_list *list, int64_t now)
{
    bool any = false;
    for (fvi_request *request = list->first; request != NULL;) {
        fvi_request *next = request->next;
        int64_t deadline = fvi_generation_how(request->generation)->deadline_ns;
        if (fvi_generation_is_cancelled(request->generation)) {
            fvi_request_finish(self, list, request, FOVEA_FINISH_CANCELLED, FOVEA_ERR_CANCELLED, NULL);
            any = true;
        } else if (deadline != 0 && now >= deadline) {
            fvi_request_finish(self, list, request, FOVEA_FINISH_DEADLINE, FOVEA_ERR_DEADLINE, NULL);
            any = true;
        }
        request = next;
    }
    return any;
}

int64_t fvi_scheduler_next_deadline(const fvi_scheduler *self)
{
    int64_t earliest = 0;
    for (const fvi_request *r = self->waiting.first; r != NULL; r = r->next) {
        int64_t deadline = fvi_generation_how(r->generation)->deadline_ns;
        if (deadline != 0 && (earliest == 0 || deadline < earliest)) {
            earliest = deadline;
        }
    }
    return earliest;
}

/* ---- admission ---- */

/* Bytes of n generated tokens: their runs, a tail, and what a merge holds twice for a moment. */
static size_t generated_bytes(const fvi_scheduler *self, uint32_t n)
{
    const fvi_kv_geom *geom = &self->model->geom;
    size_t per_token = fvi_kv_geom_token_bytes(geom, geom->base);
    size_t slack = fvi_kv_geom_n_list(geom) * fvi_kv_pool_granule(self->pool);
    return ((size_t)n + FVI_KV_TAIL + FVI_MIN(n, (uint32_t)FVI_KV_MERGE)) * per_token + slack;
}

/* The share of the turn's payload that its plan leaves, at most. */
static double kept_share(const fvi_timeline *timeline, const fvi_turn *turn, size_t payload)
{
    const fvi_recipe *recipe = &timeline->recipe;
    if (timeline->keep_obs || (timeline->seq != NULL && turn->n_image == 0)) {
        return 1.0; /* no plan */
    }
    double text = recipe->keep[FOVEA_MODALITY_TEXT], vision = recipe->keep[FOVEA_MODALITY_VISION];
    switch (recipe->unit) {
    case FVI_BUDGET_NONE:
        return ((text > 0 ? text : 1.0) * turn->n_text + (vision > 0 ? vision : 1.0) * turn->n_vision) /
               FVI_MAX(1, turn->n_text + turn->n_vision);
    case FVI_BUDGET_KEEP: return recipe->amount;
    case FVI_BUDGET_PERCENT: return FVI_MIN(recipe->amount / 100.0, 1.0);
    case FVI_BUDGET_BYTES: return FVI_MIN(recipe->amount / (double)payload, 1.0);
    }
    return 1.0;
}

/* The larger of two moments: the prompt just before its plan is applied, whole or with its finished layers
 * cut, and what the plan leaves with all that may be generated after it. With a shadow both come together: it
 * holds the whole prompt on and grows as the sequence does. */
size_t fvi_request_need(const fvi_scheduler *self, const fvi_request *request)
{
    const fvi_kv_geom *geom = &self->model->geom;
    uint32_t n_generate = fvi_generation_how(request->generation)->max_tokens;
    uint32_t n_token = (uint32_t)request->turn.ids.n;
    const fvi_kv_seq *seq = request->timeline->seq;
    if (n_token == 0) {
        return fvi_kv_seq_growth_bytes(seq, n_generate);
    }
    size_t granule = fvi_kv_pool_granule(self->pool);
    size_t whole =
        fvi_kv_forecast_bytes(seq, geom, granule, request->turn.n_span, n_token, n_generate) +
        fvi_kv_plan_work_bytes(geom, &request->timeline->recipe, n_token);
    size_t payload = fvi_kv_geom_token_bytes(geom, geom->base) * n_token;
    const fvi_recipe *recipe = &request->timeline->recipe;
    double share = kept_share(request->timeline, &request->turn, payload);
    bool loyalty = fvi_generation_how(request->generation)->loyalty;
    size_t before = share >= 1.0 || loyalty
                        ? whole
                        : fvi_kv_cut_forecast_bytes(seq, geom, granule, request->turn.spans,
                                                    request->turn.n_span, n_token, n_generate, recipe);
    size_t after =
        whole - (size_t)((1.0 - share) * (double)payload) + generated_bytes(self, n_generate);
    if (recipe->reviser != NULL) { /* all of it goes to slots, which do not grow any more */
        uint64_t n_held = seq != NULL ? fvi_kv_seq_position(seq) : 0;
        after = whole - payload +
                fvi_kv_slots_forecast_bytes(geom, granule, recipe,
                                            n_held + n_token + n_generate);
    }
    if (recipe->recall != NULL) {
        before += fvi_kv_recall_forecast_bytes(geom, fvi_kv_pool_granule(self->pool), recipe->recall,
                                               n_token + n_generate);
    }
    return loyalty ? before + after + generated_bytes(self, n_generate) : FVI_MAX(before, after);
}

static size_t held_bytes(const fvi_request *request)
{
    const fvi_kv_seq *seq = request->timeline->seq, *full = request->loyalty.full;
    return (seq != NULL ? fvi_kv_seq_bytes(seq) : 0) + (full != NULL ? fvi_kv_seq_bytes(full) : 0);
}

static size_t outstanding(const fvi_scheduler *self)
{
    size_t sum = 0;
    for (const fvi_request *r = self->running.first; r != NULL; r = r->next) {
        size_t held = held_bytes(r);
        sum += r->allowed_bytes > held ? r->allowed_bytes - held : 0;
    }
    return sum;
}

/* Gives the request its sequence, observations and buffers. */
static fovea_status start(fvi_scheduler *self, fvi_request *request)
{
    fvi_timeline *timeline = request->timeline;
    const fvi_model *model = self->model;
    uint32_t n = (uint32_t)request->turn.ids.n;
    if (n == 0) {
        request->phase = FVI_PHASE_DECODE;
        return fvi_kv_slots_prepare(timeline->seq, fvi_generation_how(request->generation)->max_tokens);
    }
    if (timeline->seq == NULL) {
        FVI_TRY(fvi_kv_seq_new(self->alloc, self->pool, &model->geom, &timeline->seq));
        fvi_timeline_link(self, timeline);
    }
    FVI_TRY(fvi_kv_seq_set_recall(timeline->seq, timeline->recipe.recall, timeline->recipe.n_attend));
    fvi_free(self->alloc, timeline->hidden);
    timeline->hidden = NULL;
    FVI_TRY(fvi_kv_seq_begin_turn(timeline->seq, request->turn.spans, request->turn.n_span,
                                  fvi_generation_how(request->generation)->max_tokens));
    request->cuts = !timeline->keep_obs && !fvi_generation_how(request->generation)->loyalty &&
                    fvi_kv_cut_wanted(timeline->seq, &timeline->recipe);
    uint32_t needs = fvi_kv_plan_needs(timeline->seq, &timeline->recipe) |
                     (timeline->keep_obs ? timeline->fork_needs : 0);
    if (needs != 0) {
        FVI_TRY(fvi_kv_obs_new(self->alloc, &model->geom, n, needs, &request->obs));
        fvi_kv_obs_set_spans(request->obs, request->turn.spans, request->turn.n_span);
    }
    FVI_TRY(fvi_prefill_begin(self->decoder, timeline->seq, request->obs, &request->prefill));
    for (uint32_t t = 0; t < n; t++) {
        if (request->turn.ids.data[t] != model->image_token) {
            fvi_decoder_embed(self->decoder, request->turn.ids.data[t],
                              request->prefill.x + (size_t)t * model->config.hidden);
        }
    }
    request->phase = request->turn.n_image > 0 ? FVI_PHASE_ENCODE : FVI_PHASE_PREFILL;
    return FOVEA_OK;
}

static bool admit(fvi_scheduler *self)
{
    bool any = false;
    while (self->waiting.first != NULL && self->running.n < self->max_running) {
        fvi_request *request = self->waiting.first;
        size_t need = fvi_request_need(self, request);
        size_t used = fvi_kv_pool_used(self->pool);
        if (used + outstanding(self) + need > fvi_kv_pool_capacity(self->pool)) {
            break; /* first come, first served: nobody overtakes */
        }
        request->allowed_bytes = held_bytes(request) + need;
        fvi_request_list_remove(&self->waiting, request);
        fvi_request_list_push(&self->running, request);
        atomic_fetch_sub(&self->count.waiting, 1);
        atomic_fetch_add(&self->count.running, 1);
        request->t_admit = request->t_encoded = fvi_now_ns();
        fovea_status status = start(self, request);
        if (status != FOVEA_OK) {
            fail(self, request, status, "the request could not be started");
        }
        any = true;
    }
    return any;
}

/* ---- tokens ---- */

static bool can_go_on(const fvi_scheduler *self, const fvi_request *request)
{
    const fvi_generate *how = fvi_generation_how(request->generation);
    uint32_t limit = how->forced != NULL ? FVI_MIN(how->max_tokens, how->n_forced) : how->max_tokens;
    return request->n_output < limit &&
           fvi_kv_seq_position(request->timeline->seq) < self->model->config.context;
}

/* Chooses and publishes the next token of a request from its logits; full: those of its shadow, or NULL. */
static void emit(fvi_scheduler *self, fvi_request *request, const float *logits, const float *full)
{
    const fvi_generate *how = fvi_generation_how(request->generation);
    fvi_timeline *timeline = request->timeline;
    uint32_t vocab = self->model->config.vocab;
    int32_t id = how->forced != NULL
                     ? how->forced[request->n_output]
                     : fvi_sample(&how->sampling, request->n_output, logits, vocab, self->candidates);
    request->t_last = fvi_now_ns();
    if (request->n_output == 0) {
        request->t_first = request->t_last;
    }
    timeline->uncached = -1;
    if (how->forced == NULL && !how->ignore_end && self->is_end[id] != 0) {
        fvi_request_finish(self, &self->running, request, FOVEA_FINISH_STOP, FOVEA_OK, NULL);
        return;
    }
    fovea_logprob top[FVI_MAX_LOGPROBS];
    float logprob = fvi_logprobs(logits, vocab, id, how->sampling.n_logprobs, top);
    bool stopped = false;
    if (full != NULL) {
        fvi_loyalty_add(&request->loyalty, id, full, logits, vocab);
    }
    request->n_output++;
    atomic_fetch_add(&self->count.output_tokens, 1);
    fovea_status status = fvi_ids_append(&timeline->ids, id);
    if (status == FOVEA_OK) {
        status = fvi_generation_push(request->generation, id, logprob, top, how->sampling.n_logprobs,
                                     &stopped);
    }
    if (status != FOVEA_OK) {
        fail(self, request, status, NULL);
        return;
    }
    request->token = timeline->uncached = id;
    if (stopped || !can_go_on(self, request)) {
        bool complete = stopped || (how->forced != NULL && request->n_output == how->n_forced);
        fvi_request_finish(self, &self->running, request,
                           complete ? FOVEA_FINISH_STOP : FOVEA_FINISH_LENGTH, FOVEA_OK, NULL);
    }
}

/* The request of a row and, which is taken off with it, its shadow's row. */
static fvi_request *take_row(fvi_scheduler *self, uint32_t row, uint32_t n, bool *shadow)
{
    fvi_request *request = self->row_request[row];
    *shadow = request != NULL && row + 1 < n && self->row_request[row + 1] == request;
    self->row_request[row] = NULL;
    if (*shadow) {
        self->row_request[row + 1] = NULL;
    }
    return request;
}

/* Tokens from hidden rows [n] of the requests in row_request, once the step that made them went well. */
static void emit_rows(fvi_scheduler *self, uint32_t n, fovea_status status)
{
    const fvi_decoder_config *c = &self->model->config;
    bool shadow;
    for (uint32_t first = 0, m; first < n && status == FOVEA_OK; first += m) {
        m = FVI_MIN(n - first, (uint32_t)FVI_HEAD_ROWS);
        if (first + m < n && self->row_request[first + m] == self->row_request[first + m - 1]) {
            m--; /* a shadow's logits stand beside its request's */
        }
        status = fvi_decoder_logits(self->decoder, self->hidden + (size_t)first * c->hidden, m,
                                    self->logits);
        for (uint32_t i = 0; i < m && status == FOVEA_OK; i++) {
            fvi_request *request = take_row(self, first + i, n, &shadow);
            const float *logits = self->logits + (size_t)i * c->vocab;
            emit(self, request, logits, shadow ? logits + c->vocab : NULL);
            i += shadow;
        }
    }
    for (uint32_t i = 0; i < n && status != FOVEA_OK; i++) {
        fvi_request *request = take_row(self, i, n, &shadow);
        if (request != NULL) { /* the step as a whole failed: no row can be trusted */
            fail(self, request, status, NULL);
        }
    }
}

/* The answer's first token comes from the prompt's last row, which is in self->hidden. */
static void begin_answer(fvi_scheduler *self, fvi_request *request)
{
    request->phase = FVI_PHASE_DECODE;
    if (!can_go_on(self, request)) {
        fvi_request_finish(self, &self->running, request, FOVEA_FINISH_LENGTH, FOVEA_OK, NULL);
        return;
    }
    self->row_request[0] = request;
    emit_rows(self, 1, FOVEA_OK);
}

/* First tokens of all answers that plan_only turns left open. */
static bool begin_open_answers(fvi_scheduler *self)
{
    size_t n_bytes = self->model->config.hidden * sizeof(float);
    uint32_t n = 0;
    bool any = false;
    for (fvi_request *r = self->running.first, *next; r != NULL; r = next) {
        next = r->next;
        if (r->phase != FVI_PHASE_DECODE || r->n_output > 0) {
            continue;
        }
        any = true;
        if (!can_go_on(self, r)) {
            fvi_request_finish(self, &self->running, r, FOVEA_FINISH_LENGTH, FOVEA_OK, NULL);
            continue;
        }
        memcpy(self->hidden + (size_t)n * self->model->config.hidden, r->timeline->hidden, n_bytes);
        fvi_free(self->alloc, r->timeline->hidden);
        r->timeline->hidden = NULL;
        self->row_request[n++] = r;
    }
    emit_rows(self, n, FOVEA_OK);
    return any;
}

static bool decode(fvi_scheduler *self)
{
    uint32_t n = 0;
    for (fvi_request *r = self->running.first; r != NULL; r = r->next) {
        fvi_kv_seq *const seqs[] = {r->timeline->seq, r->loyalty.full};
        bool ready = r->phase == FVI_PHASE_DECODE && r->n_output > 0;
        for (uint32_t i = 0; i < FVI_COUNT(seqs) && ready && seqs[i] != NULL; i++) {
            self->row_request[n] = r;
            self->rows[n++] = (fvi_decode_row){.seq = seqs[i], .token = r->token};
        }
    }
    if (n == 0) {
        return false;
    }
    fovea_status status = fvi_decode_step(self->decoder, self->rows, n, self->hidden);
    for (uint32_t i = 0; i < n && status == FOVEA_OK; i++) {
        status = fvi_kv_seq_commit(self->rows[i].seq);
    }
    emit_rows(self, n, status);
    return true;
}

/* ---- prefill ---- */

static void note_activations(const fvi_scheduler *self, fvi_request *request, size_t extra)
{
    size_t bytes = request->prefill.n_bytes + request->prefill.observer.n_bytes +
                   fvi_decoder_bytes(self->decoder) +
                   fvi_backend_scratch_bytes(self->model->backend) + extra +
                   (request->obs != NULL ? request->obs->n_bytes : 0);
    request->timeline->activation_peak = FVI_MAX(request->timeline->activation_peak, bytes);
}

static fovea_status encode_image(fvi_scheduler *self, fvi_request *request, fovea_error *err)
{
    const fvi_model *model = self->model;
    const fvi_preprocess *pre = &model->preprocess;
    const fvi_turn_image *image = &request->turn.images[request->next_image];
    const fvi_encoder_info *info = fvi_encoder_info_get(model->encoder);
    size_t n_pixel = (size_t)3 * pre->width * pre->height;
    size_t n_feature = (size_t)info->n_token * info->hidden;
    float *pixels = fvi_alloc(self->alloc, n_pixel * sizeof(float));
    float *features = fvi_alloc(self->alloc, n_feature * sizeof(float));
    fovea_status status = FOVEA_ERR_NOMEM;
    if (pixels != NULL && features != NULL) {
        status = fvi_preprocess_run(pre, self->alloc, image->image, pixels, err);
    }
    if (status == FOVEA_OK) {
        status = fvi_encoder_run(model->encoder, pixels, features, err);
    }
    if (status == FOVEA_OK) {
        status = fvi_projector_run(model->projector, features, info->n_token,
                                   request->prefill.x + (size_t)image->row * model->config.hidden, err);
    }
    note_activations(self, request, (n_pixel + n_feature) * sizeof(float) + info->workspace_bytes +
                         fvi_projector_workspace_bytes(info->n_token, model->config.hidden));
    fvi_free(self->alloc, pixels);
    fvi_free(self->alloc, features);
    atomic_fetch_add(&self->count.images, 1);
    return status;
}

/* Keeps the prompt's last hidden row, so that a later answer (of this session or a fork) can begin. */
static fovea_status keep_hidden(fvi_scheduler *self, fvi_timeline *timeline, const float *hidden)
{
    size_t n_bytes = self->model->config.hidden * sizeof(float);
    timeline->hidden = fvi_alloc(self->alloc, n_bytes);
    if (timeline->hidden == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    memcpy(timeline->hidden, hidden, n_bytes);
    return FOVEA_OK;
}

static void finish_prefill(fvi_scheduler *self, fvi_request *request, const float *hidden)
{
    fvi_timeline *timeline = request->timeline;
    const fvi_generate *how = fvi_generation_how(request->generation);
    fovea_error err = {.code = FOVEA_OK};
    request->t_prefilled = fvi_now_ns();
    fvi_prefill_end(self->decoder, &request->prefill);
    atomic_fetch_add(&self->count.prompt_tokens, request->turn.ids.n);
    atomic_fetch_add(&self->count.vision_tokens, request->turn.n_vision);
    fovea_status status =
        how->loyalty ? fvi_loyalty_begin(&request->loyalty, timeline->seq) : FOVEA_OK;
    if (status == FOVEA_OK) {
        status = fvi_timeline_plan(self, timeline, request->obs, how->max_tokens, &err);
    }
    request->t_planned = fvi_now_ns();
    if (status == FOVEA_OK && timeline->keep_obs) {
        fvi_kv_obs_unref(&timeline->obs);
        timeline->obs = request->obs;
        request->obs = NULL;
    }
    if (status == FOVEA_OK && how->plan_only) {
        status = keep_hidden(self, timeline, hidden);
    }
    if (status != FOVEA_OK) {
        fail(self, request, status, err.code != FOVEA_OK ? err.text : NULL);
        return;
    }
    request->allowed_bytes =
        held_bytes(request) + fvi_kv_seq_growth_bytes(timeline->seq, how->max_tokens);
    if (request->loyalty.full != NULL) {
        request->allowed_bytes += fvi_kv_seq_growth_bytes(request->loyalty.full, how->max_tokens);
    }
    report_ledger(self, request);
    if (how->plan_only) {
        fvi_request_finish(self, &self->running, request, FOVEA_FINISH_PLAN, FOVEA_OK, NULL);
        return;
    }
    begin_answer(self, request);
}

static void prefill_block(fvi_scheduler *self, fvi_request *request)
{
    bool done = false;
    fovea_error err = {.code = FOVEA_OK};
    fvi_prefill *at = &request->prefill;
    note_activations(self, request, 0);
    fovea_status status = fvi_prefill_step(self->decoder, at, &done, self->hidden);
    if (status == FOVEA_OK && !done && at->row == 0 && request->cuts) {
        status = fvi_kv_cut_layer(at->seq, &request->timeline->recipe, request->obs, at->layer - 1,
                                  &err);
    }
    if (status != FOVEA_OK) {
        fail(self, request, status, err.code != FOVEA_OK ? err.text : NULL);
    } else if (done) {
        finish_prefill(self, request, self->hidden);
    }
}

static void encode_next(fvi_scheduler *self, fvi_request *request)
{
    fovea_error err = {.code = FOVEA_OK};
    fovea_status status = encode_image(self, request, &err);
    if (status != FOVEA_OK) {
        fail(self, request, status, err.code != FOVEA_OK ? err.text : NULL);
        return;
    }
    request->t_encoded = fvi_now_ns();
    if (++request->next_image == request->turn.n_image) {
        request->phase = FVI_PHASE_PREFILL;
    }
}

/* The oldest request that is not decoding yet moves one piece on. */
static bool prefill(fvi_scheduler *self)
{
    for (fvi_request *r = self->running.first; r != NULL; r = r->next) {
        if (r->phase == FVI_PHASE_ENCODE) {
            encode_next(self, r);
            return true;
        }
        if (r->phase == FVI_PHASE_PREFILL) {
            prefill_block(self, r);
            return true;
        }
    }
    return false;
}

bool fvi_scheduler_step(fvi_scheduler *self)
{
    int64_t now = fvi_now_ns();
    bool any = sweep_list(self, &self->running, now);
    any = sweep_list(self, &self->waiting, now) || any;
    any = admit(self) || any;
    any = begin_open_answers(self) || any;
    any = prefill(self) || any;
    any = decode(self) || any;
    if (any) {
        atomic_fetch_add(&self->count.steps, 1);
    }
    return any;
}
