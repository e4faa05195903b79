/* session.c - the caller's side of a conversation: collecting a turn, submitting it, forking, ledgers.
 *
 * What belongs to the scheduler's thread is the timeline inside; while it is busy this side leaves it alone,
 * and what needs the pool (free, fork, ledger) runs there as a job. */
#include "sdk/engine/engine_impl.h"

struct fovea_session {
    fovea_engine *engine;
    fvi_timeline timeline;
    uint32_t flags;
    /* the turn being collected */
    fvi_buf pending; /* rendered text with picture markers */
    fovea_image **images; /* [n_image] references */
    uint32_t n_image, image_capacity;
    bool pending_chat; /* pending came from messages, so an answer prompt follows */
    fvi_ids rest;      /* what stood behind the last image of an images_only turn, still to be submitted */
    /* what has been */
    uint32_t n_message;
    uint32_t n_image_total;
    bool answered_chat; /* the last turn was a chat turn: its answer must be closed before a message */
    bool answer_open;   /* plan_only ended the last turn: the answer has not begun */
    fovea_image_span *spans; /* [n_image_total] */
    fovea_generation *active;
};

static fovea_status check_session(fovea_session *session, fovea_error *err)
{
    if (session == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session is NULL");
    }
    if (atomic_load(&session->timeline.busy)) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "a generation of this session is under way");
    }
    if (atomic_load(&session->timeline.broken)) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "the session's cache was given back when a generation was cancelled or failed");
    }
    return FOVEA_OK;
}

static fovea_session *new_session(fovea_engine *engine, uint32_t flags)
{
    const fovea_alloc *alloc = &engine->alloc;
    fovea_session *self = fvi_calloc(alloc, 1, sizeof *self);
    if (self != NULL) {
        self->engine = engine;
        self->flags = flags;
        self->pending.alloc = alloc;
        self->rest.alloc = alloc;
        self->timeline.ids.alloc = alloc;
        self->timeline.uncached = -1;
        self->timeline.keep_obs = (flags & FOVEA_SESSION_KEEP_OBSERVATIONS) != 0;
    }
    return self;
}

fovea_status fovea_session_new(fovea_engine *engine, const fovea_session_options *options,
                               fovea_session **out, fovea_error *err)
{
    fovea_session_options own = {.size = sizeof own};
    if (engine == NULL || out == NULL || (options != NULL && !fvi_struct_in(&own, sizeof own, options))) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session: engine or out is NULL, or size is wrong");
    }
    *out = NULL;
    fvi_recipe recipe;
    FVI_TRY(fvi_recipe_parse(own.recipe, &recipe, err));
    fovea_session *self = new_session(engine, own.flags);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a session");
    }
    self->timeline.recipe = recipe;
    *out = self;
    return FOVEA_OK;
}

static fovea_status drop_job(fvi_scheduler *scheduler, void *arg)
{
    fvi_timeline_drop_cache(scheduler, arg);
    return FOVEA_OK;
}

static void clear_pending(fovea_session *self)
{
    for (uint32_t i = 0; i < self->n_image; i++) {
        fovea_image_free(&self->images[i]);
    }
    self->n_image = 0;
    self->pending.n = 0;
}

void fovea_session_free(fovea_session **out)
{
    if (out == NULL || *out == NULL) {
        return;
    }
    fovea_session *self = *out;
    const fovea_alloc *alloc = &self->engine->alloc;
    fovea_generation_free(&self->active);
    fvi_scheduler_run(self->engine->scheduler, drop_job, &self->timeline);
    clear_pending(self);
    fvi_free(alloc, self->images);
    fvi_free(alloc, self->spans);
    fvi_buf_free(&self->pending);
    fvi_ids_free(&self->rest);
    fvi_ids_free(&self->timeline.ids);
    fvi_free(alloc, self);
    *out = NULL;
}

/* ---- collecting ---- */

static fovea_status add_image(fovea_session *self, fovea_image *image, fovea_error *err)
{
    if (self->engine->model->encoder == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_UNSUPPORTED, "this model has no image encoder");
    }
    if (self->n_image_total + self->n_image >= self->engine->max_images) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "more than %u images in a session", self->engine->max_images);
    }
    if (self->n_image == self->image_capacity) {
        uint32_t capacity = 2 * self->image_capacity + 4;
        fovea_image **grown = fvi_grow(&self->engine->alloc, self->images,
                                       self->n_image * sizeof *grown, capacity * sizeof *grown);
        if (grown == NULL) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for an image reference");
        }
        self->images = grown;
        self->image_capacity = capacity;
    }
    self->images[self->n_image++] = fovea_image_ref(image);
    return FOVEA_OK;
}

/* A marker in a user's text would stand for a picture that was never sent. */
static fovea_status check_no_marker(const fovea_session *self, const char *text, size_t n, fovea_error *err)
{
    const char *marker = NULL;
    size_t n_marker = 0;
    if (self->engine->model->image_token < 0 ||
        fvi_tokenizer_bytes(self->engine->model->tokenizer, self->engine->model->image_token, &marker,
                            &n_marker) != FOVEA_OK) {
        return FOVEA_OK;
    }
    if (n_marker > 0 && memmem(text, n, marker, n_marker) != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "a text contains the image marker \"%.*s\"", (int)n_marker,
                        marker);
    }
    return FOVEA_OK;
}

static fovea_status begin_collecting(fovea_session *self, bool chat, fovea_error *err)
{
    if (self->rest.n > 0) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "the turn that images_only began is not answered yet");
    }
    if (self->pending.n > 0 && self->pending_chat != chat) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "messages and raw prompts cannot be mixed in one turn");
    }
    if (chat && self->pending.n == 0 && self->answered_chat) {
        const char *close = fvi_template_after_answer(self->engine->model->chat);
        if (close != NULL && fvi_buf_append_text(&self->pending, close, strlen(close)) != FOVEA_OK) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a message");
        }
    }
    self->pending_chat = chat;
    return FOVEA_OK;
}

static fovea_status render(fovea_session *self, fovea_role role, const fovea_part *parts, uint32_t n_part,
                           fovea_error *err)
{
    fvi_template_part *pieces = fvi_calloc(&self->engine->alloc, FVI_MAX(n_part, 1u), sizeof *pieces);
    if (pieces == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a message of %u parts", n_part);
    }
    fovea_status status = FOVEA_OK;
    for (uint32_t i = 0; i < n_part && status == FOVEA_OK; i++) {
        const fovea_part *part = &parts[i];
        if ((part->text == NULL) == (part->image == NULL)) {
            status = FVI_FAIL(err, FOVEA_ERR_ARG, "part %u is neither a text nor an image", i);
        } else if (part->text != NULL) {
            pieces[i].text = part->text;
            pieces[i].n_bytes = part->n_bytes != 0 ? part->n_bytes : strlen(part->text);
            status = check_no_marker(self, pieces[i].text, pieces[i].n_bytes, err);
        } else {
            status = add_image(self, part->image, err);
        }
    }
    if (status == FOVEA_OK) {
        status = fvi_template_message(self->engine->model->chat, self->n_message, role, pieces, n_part,
                                      &self->pending, err);
    }
    fvi_free(&self->engine->alloc, pieces);
    return status;
}

fovea_status fovea_session_add_message(fovea_session *self, fovea_role role, const fovea_part *parts,
                                       uint32_t n_part, fovea_error *err)
{
    FVI_TRY(check_session(self, err));
    if (parts == NULL || n_part == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "a message needs at least one part");
    }
    size_t n_before = self->pending.n;
    uint32_t n_image_before = self->n_image;
    fovea_status status = begin_collecting(self, true, err);
    if (status == FOVEA_OK) {
        status = render(self, role, parts, n_part, err);
    }
    if (status != FOVEA_OK) { /* as if it had not been called */
        self->pending.n = n_before;
        while (self->n_image > n_image_before) {
            fovea_image_free(&self->images[--self->n_image]);
        }
        return status;
    }
    self->n_message++;
    return FOVEA_OK;
}

fovea_status fovea_session_add_raw(fovea_session *self, const char *prompt, size_t n_bytes,
                                   fovea_image *const *images, uint32_t n_image, fovea_error *err)
{
    FVI_TRY(check_session(self, err));
    if (prompt == NULL || (n_image > 0 && images == NULL)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "prompt or images is NULL");
    }
    FVI_TRY(begin_collecting(self, false, err));
    size_t n = n_bytes != 0 ? n_bytes : strlen(prompt);
    uint32_t n_image_before = self->n_image;
    fovea_status status = FOVEA_OK;
    for (uint32_t i = 0; i < n_image && status == FOVEA_OK; i++) {
        status = add_image(self, images[i], err);
    }
    if (status == FOVEA_OK && fvi_buf_append_text(&self->pending, prompt, n) != FOVEA_OK) {
        status = FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a prompt of %zu bytes", n);
    }
    while (status != FOVEA_OK && self->n_image > n_image_before) {
        fovea_image_free(&self->images[--self->n_image]);
    }
    return status;
}

/* ---- submitting ---- */

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

static fovea_status copy_options(const fovea_session *self, const fovea_generate_options *given,
                                 fvi_generate *how, fovea_error *err)
{
    fovea_generate_options own = {.size = sizeof own};
    const fovea_generate_options *o = &own;
    if (given != NULL && !fvi_struct_in(&own, sizeof own, given)) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "generate options: size is not sizeof(fovea_generate_options)");
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
    how->sampling = (fvi_sampling){.temperature = o->temperature,
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

static fovea_status append_ids(fvi_ids *to, const int32_t *ids, size_t n)
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
        return append_ids(ids, self->rest.data, self->rest.n);
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
        status = fvi_tokenizer_encode(model->tokenizer, self->pending.data, self->pending.n, ids, err);
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
    FVI_TRY(append_ids(rest, ids->data + n, ids->n - n));
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
        status = fvi_turn_build(self->engine->model, &ids, self->images, self->n_image, (uint32_t)n_done,
                                self->n_image_total, turn, err);
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
    fvi_preprocess_part(&model->preprocess, fovea_image_width(image), fovea_image_height(image), part);
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
                             turn->spans, turn->n_span, (uint32_t)turn->ids.n, &self->timeline.recipe,
                             &floor_bytes, err);
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
        clear_pending(self);
        fvi_ids_free(&self->rest);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_generate(fovea_session *self, const fovea_generate_options *options,
                                    fovea_generation **out, fovea_error *err)
{
    FVI_TRY(check_session(self, err));
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
    fovea_status made = fvi_generation_new(alloc, self->engine->model->tokenizer, &how, &generation);
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

/* ---- fork ---- */

typedef struct fork_arg {
    fvi_timeline *from, *to;
    bool plan;
    uint32_t hidden;
    fovea_error *err;
} fork_arg;

static fovea_status fork_job(fvi_scheduler *scheduler, void *arg)
{
    fork_arg *fork = arg;
    fvi_timeline *to = fork->to;
    if (fork->from->seq == NULL) {
        return FOVEA_OK;
    }
    fovea_status status = fvi_kv_seq_fork(fork->from->seq, &to->seq);
    if (status != FOVEA_OK) {
        return FVI_FAIL(fork->err, status, "no room for a fork");
    }
    fvi_timeline_link(scheduler, to);
    to->activation_peak = fork->from->activation_peak;
    to->floor_bytes = fork->from->floor_bytes;
    if (fork->from->hidden != NULL) {
        to->hidden = fvi_alloc(to->ids.alloc, fork->hidden * sizeof(float));
        if (to->hidden == NULL) {
            return FVI_FAIL(fork->err, FOVEA_ERR_NOMEM, "no memory for a fork");
        }
        memcpy(to->hidden, fork->from->hidden, fork->hidden * sizeof(float));
    }
    return fork->plan ? fvi_timeline_plan(scheduler, to, fork->from->obs, fork->err) : FOVEA_OK;
}

/* Everything of the caller's side that a fork starts with. */
static fovea_status copy_session(const fovea_session *from, fovea_session *to)
{
    const fovea_alloc *alloc = &from->engine->alloc;
    to->n_message = from->n_message;
    to->answered_chat = from->answered_chat;
    to->answer_open = from->answer_open;
    to->timeline.uncached = from->timeline.uncached;
    size_t n = from->timeline.ids.n;
    if (n > 0) {
        to->timeline.ids.data = fvi_alloc(alloc, n * sizeof *to->timeline.ids.data);
        if (to->timeline.ids.data == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        memcpy(to->timeline.ids.data, from->timeline.ids.data, n * sizeof *to->timeline.ids.data);
        to->timeline.ids.n = to->timeline.ids.capacity = n;
    }
    FVI_TRY(append_ids(&to->rest, from->rest.data, from->rest.n));
    if (from->n_image_total > 0) {
        to->spans = fvi_calloc(alloc, from->n_image_total, sizeof *to->spans);
        if (to->spans == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        memcpy(to->spans, from->spans, from->n_image_total * sizeof *to->spans);
        to->n_image_total = from->n_image_total;
    }
    return FOVEA_OK;
}

static fovea_status check_plannable(const fovea_session *self, fovea_error *err)
{
    if (!fvi_recipe_is_none(&self->timeline.recipe) || !self->timeline.keep_obs || !self->answer_open ||
        self->timeline.seq == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "a fork with a recipe needs a source of recipe none that keeps observations and "
                        "was prefilled with plan_only");
    }
    return FOVEA_OK;
}

fovea_status fovea_session_fork(fovea_session *self, const char *recipe, fovea_session **out,
                                fovea_error *err)
{
    FVI_TRY(check_session(self, err));
    if (out == NULL || self->pending.n > 0) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "fork: out is NULL, or a turn is being collected");
    }
    *out = NULL;
    fvi_recipe parsed = self->timeline.recipe;
    if (recipe != NULL) {
        FVI_TRY(fvi_recipe_parse(recipe, &parsed, err));
        FVI_TRY(check_plannable(self, err));
    }
    fovea_session *copy = new_session(self->engine, 0);
    if (copy == NULL || copy_session(self, copy) != FOVEA_OK) {
        fovea_session_free(&copy);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a fork");
    }
    copy->timeline.recipe = parsed;
    fork_arg arg = {.from = &self->timeline,
                    .to = &copy->timeline,
                    .plan = recipe != NULL,
                    .hidden = self->engine->model->config.hidden,
                    .err = err};
    fovea_status status = fvi_scheduler_run(self->engine->scheduler, fork_job, &arg);
    if (status != FOVEA_OK) {
        fovea_session_free(&copy);
        return status;
    }
    *out = copy;
    return FOVEA_OK;
}

/* ---- looking ---- */

static fovea_status check_cached(fovea_session *self)
{
    FVI_TRY(check_session(self, NULL));
    return self->timeline.seq != NULL ? FOVEA_OK : FOVEA_ERR_STATE;
}

typedef struct ledger_arg {
    const fvi_timeline *timeline;
    fovea_ledger *ledger;
    fovea_ledger_row *rows;
} ledger_arg;

static fovea_status ledger_job(fvi_scheduler *scheduler, void *arg)
{
    ledger_arg *in = arg;
    if (in->ledger != NULL) {
        fvi_timeline_ledger(scheduler, in->timeline, in->ledger);
    } else {
        fvi_kv_seq_ledger_rows(in->timeline->seq, in->rows);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_ledger(fovea_session *self, fovea_ledger *out)
{
    if (out == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    fovea_ledger ledger = {.size = sizeof ledger};
    ledger_arg arg = {.timeline = &self->timeline, .ledger = &ledger};
    FVI_TRY(fvi_scheduler_run(self->engine->scheduler, ledger_job, &arg));
    return fvi_struct_out(out, &ledger, sizeof ledger) ? FOVEA_OK : FOVEA_ERR_ARG;
}

fovea_status fovea_session_ledger_rows(fovea_session *self, fovea_ledger_row *rows, uint32_t *n_row)
{
    if (rows == NULL || n_row == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    uint32_t n_list = fvi_kv_geom_n_list(&self->engine->model->geom);
    if (*n_row < n_list) {
        return FOVEA_ERR_LIMIT;
    }
    ledger_arg arg = {.timeline = &self->timeline, .rows = rows};
    FVI_TRY(fvi_scheduler_run(self->engine->scheduler, ledger_job, &arg));
    *n_row = n_list;
    return FOVEA_OK;
}

typedef struct kept_arg {
    const fvi_kv_seq *seq;
    uint32_t list;
    uint8_t *kinds;
} kept_arg;

static fovea_status kept_job(fvi_scheduler *scheduler, void *arg)
{
    const kept_arg *in = arg;
    (void)scheduler;
    fvi_kv_seq_kept(in->seq, in->list, in->kinds);
    return FOVEA_OK;
}

fovea_status fovea_session_kept(fovea_session *self, uint32_t layer, uint32_t kv_head, uint8_t *kinds,
                                uint32_t *n_token)
{
    if (kinds == NULL || n_token == NULL) {
        return FOVEA_ERR_ARG;
    }
    FVI_TRY(check_cached(self));
    const fvi_kv_geom *geom = &self->engine->model->geom;
    if (layer >= geom->n_layer || kv_head >= geom->layers[layer].n_kv_head) {
        return FOVEA_ERR_ARG;
    }
    uint32_t capacity = *n_token;
    *n_token = fvi_kv_seq_position(self->timeline.seq);
    if (capacity < *n_token) {
        return FOVEA_ERR_LIMIT;
    }
    kept_arg arg = {.seq = self->timeline.seq,
                    .list = fvi_kv_geom_first_list(geom, layer) + kv_head,
                    .kinds = kinds};
    return fvi_scheduler_run(self->engine->scheduler, kept_job, &arg);
}

fovea_status fovea_session_tokens(fovea_session *self, const int32_t **ids, size_t *n_id)
{
    if (self == NULL || ids == NULL || n_id == NULL || atomic_load(&self->timeline.busy)) {
        return FOVEA_ERR_ARG;
    }
    *ids = self->timeline.ids.data;
    *n_id = self->timeline.ids.n;
    return FOVEA_OK;
}

fovea_status fovea_session_images(fovea_session *self, const fovea_image_span **spans, uint32_t *n_span)
{
    if (self == NULL || spans == NULL || n_span == NULL) {
        return FOVEA_ERR_ARG;
    }
    *spans = self->spans;
    *n_span = self->n_image_total;
    return FOVEA_OK;
}
