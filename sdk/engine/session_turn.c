/* session_turn.c - submitting a turn: options, ids of what was collected, booking it in the session. */
#include "sdk/engine/session_impl.h"

static fovea_status copy_stops(const fovea_alloc *alloc, const fovea_generate_options *options,
                               fvi_generate *how, fovea_error *err)
{
    if (options->n_stop > FVI_MAX_STOP || (options->n_stop > 0 && options->stop == NULL)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "at most %d stop texts", FVI_MAX_STOP);
    }
    for (uint32_t i = 0; i < options->n_stop; i++) {
        size_t n = options->stop[i] != NULL ? strlen(options->stop[i]) : 0;
        if (n == 0) {
            return FVI_FAIL(err, FOVEA_ERR_ARG, "stop text %u is empty", i);
        }
        how->stop[i] = fvi_strndup(alloc, options->stop[i], n);
        how->stop_bytes[i] = n;
        how->n_stop = i + 1;
        if (how->stop[i] == NULL) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a stop text");
        }
    }
    return FOVEA_OK;
}

static fovea_status copy_forced(const fovea_session *self, const fovea_generate_options *options,
                                fvi_generate *how, fovea_error *err)
{
    if (options->force == NULL) {
        return FOVEA_OK;
    }
    fvi_ids ids = {.alloc = &self->engine->alloc};
    fovea_status status = fvi_tokenizer_encode(self->engine->model->tokenizer, options->force,
                                               strlen(options->force), &ids, err);
    if (status == FOVEA_OK && ids.n == 0) {
        status = FVI_FAIL(err, FOVEA_ERR_ARG, "the forced answer is empty");
    }
    if (status != FOVEA_OK) {
        fvi_ids_free(&ids);
        return status;
    }
    how->forced = ids.data;
    how->n_forced = (uint32_t)ids.n;
    how->max_tokens = how->n_forced;
    return FOVEA_OK;
}

/* What loyalty compares with must be there: the whole cache, and tokens. */
static fovea_status check_loyalty(const fovea_session *self, const fvi_generate *how,
                                  fovea_error *err)
{
    if (how->loyalty && how->plan_only) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "loyalty compares tokens, of which plan_only makes none");
    }
    if (how->loyalty && self->timeline.seq != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "loyalty can be asked for in a session's first turn only: later, or in a fork, "
                        "the full cache is not there any more");
    }
    return FOVEA_OK;
}

static fovea_status copy_options(const fovea_session *self, const fovea_generate_options *given,
                                 fvi_generate *how, fovea_error *err)
{
    fovea_generate_options own = {.size = sizeof own};
    const fovea_generate_options *o = &own;
    if (given != NULL && !fvi_struct_in(&own, sizeof own, given)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG,
                        "generate options: size is not sizeof(fovea_generate_options)");
    }
    if (!(o->temperature >= 0.0f && o->temperature <= 100.0f)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "temperature is not in 0..100");
    }
    if (!(o->top_p >= 0.0f && o->top_p <= 1.0f) || !(o->min_p >= 0.0f && o->min_p <= 1.0f)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "top_p or min_p is not in 0..1");
    }
    if (o->n_logprobs > FVI_MAX_LOGPROBS) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "n_logprobs is more than %d", FVI_MAX_LOGPROBS);
    }
    how->sampling =
        (fvi_sampling){.temperature = o->temperature,
                       .top_p = o->top_p,
                       .min_p = o->min_p,
                       .top_k = o->top_k,
                       .seed = o->seed,
                       .n_logprobs = FVI_MIN(o->n_logprobs, self->engine->model->config.vocab)};
    how->max_tokens = o->max_tokens != 0 ? o->max_tokens : 256;
    how->max_tokens = FVI_MIN(how->max_tokens, self->engine->model->config.context);
    how->plan_only = o->plan_only != 0;
    how->images_only = o->images_only != 0;
    if (how->images_only && !how->plan_only) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "images_only needs plan_only");
    }
    how->ignore_end = o->ignore_end != 0;
    how->loyalty = o->loyalty != 0;
    FVI_TRY(check_loyalty(self, how, err));
    if (o->deadline_ms > INT64_MAX / 4000000) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "deadline_ms is out of range");
    }
    how->deadline_ns = o->deadline_ms != 0 ? fvi_now_ns() + (int64_t)o->deadline_ms * 1000000 : 0;
    FVI_TRY(copy_stops(&self->engine->alloc, o, how, err));
    FVI_TRY(copy_forced(self, o, how, err));
    if (how->plan_only) {
        how->max_tokens = 1;
    }
    return FOVEA_OK;
}

fovea_status fvi_session_append_ids(fvi_ids *to, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        FVI_TRY(fvi_ids_append(to, ids[i]));
    }
    return FOVEA_OK;
}

/* Ids of the pending turn with one marker per picture; a first turn begins as the tokenizer wants. */
static fovea_status encode_pending(fovea_session *self, fvi_ids *ids, fovea_error *err)
{
    const fvi_model *model = self->engine->model;
    if (self->rest.n > 0) {
        return fvi_session_append_ids(ids, self->rest.data, self->rest.n);
    }
    if (self->timeline.uncached >= 0) {
        FVI_TRY(fvi_ids_append(ids, self->timeline.uncached));
    } else if (self->timeline.ids.n == 0) {
        FVI_TRY(fvi_tokenizer_begin(model->tokenizer, ids));
    }
    size_t n_message = self->pending.n;
    fovea_status status = FOVEA_OK;
    if (self->pending_chat) {
        status = fvi_template_answer(model->chat, &self->pending, err);
    }
    if (status == FOVEA_OK) {
        status =
            fvi_tokenizer_encode(model->tokenizer, self->pending.data, self->pending.n, ids, err);
    }
    self->pending.n = n_message;
    return status;
}

/* Takes from ids what stands behind the last picture. */
static fovea_status cut_behind_images(const fovea_session *self, fvi_ids *ids, fvi_ids *rest,
                                      fovea_error *err)
{
    size_t n = ids->n;
    while (n > 0 && ids->data[n - 1] != self->engine->model->image_token) {
        n--;
    }
    if (n == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "images_only: no image in this turn");
    }
    FVI_TRY(fvi_session_append_ids(rest, ids->data + n, ids->n - n));
    ids->n = n;
    return FOVEA_OK;
}

/* rest: what images_only leaves for the next turn; may hold something on an error too. */
static fovea_status build_turn(fovea_session *self, bool images_only, fvi_turn *turn, fvi_ids *rest,
                               fovea_error *err)
{
    fvi_ids ids = {.alloc = &self->engine->alloc};
    fovea_status status = encode_pending(self, &ids, err);
    if (status == FOVEA_OK && images_only) {
        status = cut_behind_images(self, &ids, rest, err);
    }
    if (status == FOVEA_OK && ids.n == 0) {
        status = FVI_FAIL(err, FOVEA_ERR_ARG, "the prompt is empty");
    }
    if (status == FOVEA_OK) {
        size_t n_done = self->timeline.ids.n - (self->timeline.uncached >= 0 ? 1 : 0);
        status = fvi_turn_build(self->engine->model, &ids, self->images, self->n_image,
                                (uint32_t)n_done, self->n_image_total, turn, err);
    }
    if (status == FOVEA_ERR_NOMEM) {
        FVI_FAIL(err, status, "no memory for the prompt");
    }
    fvi_ids_free(&ids);
    return status;
}

/* Which part of a picture the encoder saw. */
static void set_covered(const fvi_model *model, const fovea_image *image, fovea_image_span *span)
{
    float part[4];
    fvi_preprocess_part(&model->preprocess, fovea_image_width(image), fovea_image_height(image),
                        part);
    span->left = part[0];
    span->top = part[1];
    span->right = part[2];
    span->bottom = part[3];
}

/* Books the turn's tokens and pictures in the session; room for the answer's tokens is made now. */
static fovea_status record_turn(fovea_session *self, const fvi_turn *turn, uint32_t n_generate)
{
    fvi_ids *all = &self->timeline.ids;
    uint32_t n_span = self->n_image_total + turn->n_image;
    fovea_image_span *spans = self->spans;
    if (turn->n_image > 0) {
        spans = fvi_calloc(&self->engine->alloc, n_span, sizeof *spans);
        if (spans == NULL) {
            return FOVEA_ERR_NOMEM;
        }
    }
    size_t n_old = all->n - (self->timeline.uncached >= 0 ? 1 : 0);
    size_t capacity = n_old + turn->ids.n + n_generate;
    if (capacity > all->capacity) {
        int32_t *grown = fvi_grow(&self->engine->alloc, all->data, all->n * sizeof *grown,
                                  capacity * sizeof *grown);
        if (grown == NULL) {
            if (spans != self->spans) {
                fvi_free(&self->engine->alloc, spans);
            }
            return FOVEA_ERR_NOMEM;
        }
        all->data = grown;
        all->capacity = capacity;
    }
    const fvi_model *model = self->engine->model;
    if (turn->n_image > 0) {
        if (self->n_image_total > 0) {
            memcpy(spans, self->spans, self->n_image_total * sizeof *spans);
        }
        for (uint32_t i = 0; i < turn->n_image; i++) {
            spans[self->n_image_total + i] =
                (fovea_image_span){.image = self->n_image_total + i,
                                   .first_token = (uint32_t)n_old + turn->images[i].row,
                                   .n_token = model->tokens_per_image,
                                   .grid_width = model->grid_width,
                                   .grid_height = model->grid_height};
            set_covered(model, turn->images[i].image, &spans[self->n_image_total + i]);
        }
        fvi_free(&self->engine->alloc, self->spans);
        self->spans = spans;
    }
    if (turn->ids.n > 0) { /* an empty turn answers what a plan_only turn left open */
        memcpy(all->data + n_old, turn->ids.data, turn->ids.n * sizeof *all->data);
    }
    all->n = n_old + turn->ids.n;
    self->n_image_total = n_span;
    return FOVEA_OK;
}

/* A recipe's byte budget that this prompt can never meet is refused before it waits for anything. */
static fovea_status check_budget(const fovea_session *self, const fvi_turn *turn, fovea_error *err)
{
    size_t floor_bytes = 0;
    if (turn->ids.n == 0 || (self->timeline.seq != NULL && turn->n_image == 0)) {
        return FOVEA_OK; /* such a turn gets no plan */
    }
    return fvi_kv_plan_check(&self->engine->model->geom, fvi_kv_pool_granule(self->engine->pool),
                             turn->spans, turn->n_span, (uint32_t)turn->ids.n,
                             &self->timeline.recipe, &floor_bytes, err);
}

static fovea_status submit(fovea_session *self, fvi_turn *turn, fovea_generation *generation,
                           uint32_t n_generate, fovea_error *err)
{
    bool answers_open = turn->ids.n == 0;
    FVI_TRY(check_budget(self, turn, err));
    if (record_turn(self, turn, n_generate) != FOVEA_OK) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory to record the turn");
    }
    uint32_t n_turn_image = turn->n_image;
    size_t n_turn = turn->ids.n;
    fovea_status status =
        fvi_scheduler_submit(self->engine->scheduler, &self->timeline, turn, generation, err);
    if (status != FOVEA_OK) { /* the turn can be submitted again */
        self->timeline.ids.n -= n_turn;
        self->timeline.ids.n += n_turn > 0 && self->timeline.uncached >= 0 ? 1 : 0;
        self->n_image_total -= n_turn_image;
        return status;
    }
    if (!answers_open) {
        if (self->rest.n == 0) { /* the turn's second half changes nothing about what it was */
            self->answered_chat = self->pending_chat;
        }
        fvi_session_clear_pending(self);
        fvi_ids_free(&self->rest);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_generate(fovea_session *self, const fovea_generate_options *options,
                                    fovea_generation **out, fovea_error *err)
{
    FVI_TRY(fvi_session_check(self, err));
    if (out == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "generate: out is NULL");
    }
    *out = NULL;
    if (self->active != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "free the last generation of this session first");
    }
    if (self->pending.n == 0 && !self->answer_open) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "nothing was added since the last answer");
    }
    fvi_generate how = {0};
    fvi_turn turn = {0};
    fvi_ids rest = {.alloc = &self->engine->alloc};
    fovea_generation *generation = NULL;
    const fovea_alloc *alloc = &self->engine->alloc;
    fovea_status status = copy_options(self, options, &how, err);
    uint32_t n_generate = how.max_tokens;
    bool plan_only = how.plan_only, images_only = how.images_only;
    if (status == FOVEA_OK && (self->pending.n > 0 || self->rest.n > 0)) {
        status = build_turn(self, images_only, &turn, &rest, err);
    }
    if (status == FOVEA_OK && plan_only && turn.ids.n == 0) {
        status = FVI_FAIL(err, FOVEA_ERR_STATE, "the plan of this turn is made already");
    }
    /* takes what `how` owns, so it must run on the way out too */
    fovea_status made =
        fvi_generation_new(alloc, self->engine->model->tokenizer, &how, &generation);
    if (status == FOVEA_OK && made != FOVEA_OK) {
        status = FVI_FAIL(err, made, "no memory for a generation");
    }
    if (status == FOVEA_OK) {
        status = submit(self, &turn, generation, n_generate, err);
    }
    fvi_turn_free(&turn);
    if (status != FOVEA_OK) {
        if (generation != NULL) {
            fvi_generation_unref(generation);
        }
        fvi_ids_free(&rest);
        return status;
    }
    self->rest = rest;
    self->answer_open = plan_only;
    fvi_generation_bind(generation, &self->active);
    self->active = generation;
    *out = generation;
    return FOVEA_OK;
}
