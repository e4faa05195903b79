/* session.c - a session's life, and collecting the messages of a turn.
 *
 * A turn is collected as text with picture markers; session_turn.c submits it. */
#include "sdk/engine/session_impl.h"

fovea_status fvi_session_check(fovea_session *session, fovea_error *err)
{
    if (session == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session is NULL");
    }
    if (atomic_load(&session->timeline.busy)) {
        return FVI_FAIL(err, FOVEA_ERR_STATE, "a generation of this session is under way");
    }
    if (atomic_load(&session->timeline.broken)) {
        return FVI_FAIL(
            err, FOVEA_ERR_STATE,
            "the session's cache was given back when a generation was cancelled or failed");
    }
    return FOVEA_OK;
}

fovea_session *fvi_session_blank(fovea_engine *engine, uint32_t flags)
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
        self->timeline.fork_needs = FVI_NEED_ALL; /* a fork may ask for any recipe */
    }
    return self;
}

/* What forks may read of the prompt. */
static fovea_status read_fork_recipes(const fovea_session_options *options, uint32_t *needs,
                                      fovea_error *err)
{
    fvi_recipe recipe;
    if ((options->flags & FOVEA_SESSION_KEEP_OBSERVATIONS) == 0) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session: fork_recipes without KEEP_OBSERVATIONS");
    }
    *needs = 0;
    for (uint32_t i = 0; i < options->n_fork_recipe; i++) {
        FVI_TRY(fvi_recipe_parse(options->fork_recipes[i], &recipe, err));
        *needs |= fvi_kv_recipe_needs(&recipe);
    }
    return FOVEA_OK;
}

fovea_status fovea_session_new(fovea_engine *engine, const fovea_session_options *options,
                               fovea_session **out, fovea_error *err)
{
    fovea_session_options own = {.size = sizeof own};
    if (engine == NULL || out == NULL ||
        (options != NULL && !fvi_struct_in(&own, sizeof own, options))) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session: engine or out is NULL, or size is wrong");
    }
    *out = NULL;
    fvi_recipe recipe;
    uint32_t fork_needs = FVI_NEED_ALL;
    char text[FOVEA_RECIPE_MAX_BYTES];
    if (own.recipe_fields != NULL && own.recipe != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "session: recipe and recipe_fields; only one may be given");
    }
    if (own.recipe_fields != NULL) {
        FVI_TRY(fovea_recipe_format(own.recipe_fields, text, sizeof text, err));
        own.recipe = text;
    }
    FVI_TRY(fvi_recipe_parse(own.recipe, &recipe, err));
    if (own.fork_recipes != NULL) {
        FVI_TRY(read_fork_recipes(&own, &fork_needs, err));
    }
    fovea_session *self = fvi_session_blank(engine, own.flags);
    if (self == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a session");
    }
    self->timeline.recipe = recipe;
    self->timeline.fork_needs = fork_needs;
    *out = self;
    return FOVEA_OK;
}

static fovea_status drop_job(fvi_scheduler *scheduler, void *arg)
{
    fvi_timeline_drop_cache(scheduler, arg);
    return FOVEA_OK;
}

void fvi_session_clear_pending(fovea_session *self)
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
    fvi_session_clear_pending(self);
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
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "more than %u images in a session",
                        self->engine->max_images);
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
static fovea_status check_no_marker(const fovea_session *self, const char *text, size_t n,
                                    fovea_error *err)
{
    const char *marker = NULL;
    size_t n_marker = 0;
    if (self->engine->model->image_token < 0 ||
        fvi_tokenizer_bytes(self->engine->model->tokenizer, self->engine->model->image_token,
                            &marker, &n_marker) != FOVEA_OK) {
        return FOVEA_OK;
    }
    if (n_marker > 0 && memmem(text, n, marker, n_marker) != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "a text contains the image marker \"%.*s\"",
                        (int)n_marker, marker);
    }
    return FOVEA_OK;
}

static fovea_status begin_collecting(fovea_session *self, bool chat, fovea_error *err)
{
    if (self->rest.n > 0) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "the turn that images_only began is not answered yet");
    }
    if (self->pending.n > 0 && self->pending_chat != chat) {
        return FVI_FAIL(err, FOVEA_ERR_STATE,
                        "messages and raw prompts cannot be mixed in one turn");
    }
    if (chat && self->pending.n == 0 && self->answered_chat) {
        const char *close = fvi_template_after_answer(self->engine->model->chat);
        if (close != NULL &&
            fvi_buf_append_text(&self->pending, close, strlen(close)) != FOVEA_OK) {
            return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no memory for a message");
        }
    }
    self->pending_chat = chat;
    return FOVEA_OK;
}

static fovea_status render(fovea_session *self, fovea_role role, const fovea_part *parts,
                           uint32_t n_part, fovea_error *err)
{
    fvi_template_part *pieces =
        fvi_calloc(&self->engine->alloc, FVI_MAX(n_part, 1u), sizeof *pieces);
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
        status = fvi_template_message(self->engine->model->chat, self->n_message, role, pieces,
                                      n_part, &self->pending, err);
    }
    fvi_free(&self->engine->alloc, pieces);
    return status;
}

fovea_status fovea_session_add_message(fovea_session *self, fovea_role role,
                                       const fovea_part *parts, uint32_t n_part, fovea_error *err)
{
    FVI_TRY(fvi_session_check(self, err));
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
    FVI_TRY(fvi_session_check(self, err));
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
