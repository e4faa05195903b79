/* fake_engine.c - a test double of the public API, for the transport alone.
 *
 * One thread makes a token for each running sequence per tick. What it does is steered by words in the
 * prompt: "slow" a token every 20 ms (else every tick), "burst" all at once, "fail" the generation ends with an error after
 * three tokens, "floor" below the budget's floor, "nul" a token text with a NUL and a broken character.
 * Every prompt token (a byte of text; 16 for an image) and every generated one books 100 bytes of KV
 * until the session is freed. The model's name "load=N" makes loading last N ms, "missing" fails. */
#include "sdk/base/base.h"

#include <fovea/fovea.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TICK_MS          1
#define SLOW_TICKS       20
#define BYTES_PER_TOKEN  100
#define TOKENS_PER_IMAGE 16
#define N_LIST           4 /* 2 layers, 2 KV heads */
#define MAX_RUNNING      8
#define MAX_TEXT         65536

struct fovea_image {
    _Atomic uint32_t n_ref;
    uint32_t width, height;
};

struct fovea_engine {
    fovea_engine_options options;
    fovea_engine_stats stats; /* guarded by lock */
    pthread_mutex_t lock;
    pthread_t thread;
    bool closing;
    fovea_generation *generations; /* all not yet freed, newest first */
};

struct fovea_session {
    fovea_engine *engine;
    char text[MAX_TEXT];
    size_t n_text;
    uint32_t n_image;
    uint64_t booked;
    fovea_image_span spans[64];
    int32_t ids[MAX_TEXT];
};

struct fovea_generation {
    fovea_generation *next;
    fovea_session *session;
    fovea_generate_options options;
    bool running, ended, cancelled;
    uint32_t n_made, n_pulled, tick;
    int64_t deadline_ns;
    fovea_status end;
    fovea_finish finish;
    void (*notify)(void *user);
    void *notify_user;
    fovea_logprob top[20];
};

/* ---- recipes, tokens ---- */

fovea_status fovea_recipe_check(const char *recipe, fovea_error *err)
{
    static const char *const presets[] = {"none", "streaming", "random", "vl-cache"};
    size_t n = strcspn(recipe, ":");
    if (recipe[n] == ':' && recipe[n + 1] == '\0') {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "nothing stands behind the colon");
    }
    for (size_t i = 0; i < FVI_COUNT(presets); i++) {
        if (strlen(presets[i]) == n && strncmp(presets[i], recipe, n) == 0) {
            return FOVEA_OK;
        }
    }
    return FVI_FAIL(err, FOVEA_ERR_ARG, "unknown preset \"%.*s\"", (int)n, recipe);
}

fovea_status fovea_recipe_format(const fovea_recipe *recipe, char *text, size_t n, fovea_error *err)
{
    const char *preset = recipe->preset != NULL ? recipe->preset : "none";
    FVI_TRY(fovea_recipe_check(preset, err));
    snprintf(text, n, "%s", preset);
    return FOVEA_OK;
}

const char *fovea_recipe_name(const char *table, uint32_t index)
{
    return strcmp(table, "presets") == 0 && index == 0 ? "none" : NULL;
}

/* ---- images ---- */

fovea_status fovea_image_from_memory(const void *data, size_t n_bytes,
                                     const fovea_image_options *options, fovea_image **out,
                                     fovea_error *err)
{
    const uint8_t *file = data;
    if (n_bytes < 24 || memcmp(file, "\x89PNG\r\n\x1a\n", 8) != 0) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "neither PNG nor JPEG");
    }
    fovea_image *image = calloc(1, sizeof *image);
    if (image == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "out of memory");
    }
    image->n_ref = 1;
    image->width = (uint32_t)file[18] << 8 | file[19];
    image->height = (uint32_t)file[22] << 8 | file[23];
    if ((uint64_t)image->width * image->height > options->max_pixels) {
        free(image);
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "too many pixels");
    }
    *out = image;
    return FOVEA_OK;
}

void fovea_image_free(fovea_image **image)
{
    if (*image != NULL && --(*image)->n_ref == 0) {
        free(*image);
    }
    *image = NULL;
}

uint32_t fovea_image_width(const fovea_image *image)
{
    return image->width;
}

uint32_t fovea_image_height(const fovea_image *image)
{
    return image->height;
}

/* ---- engine ---- */

static void end(fovea_generation *g, fovea_status status, fovea_finish finish)
{
    fovea_engine_stats *stats = &g->session->engine->stats;
    uint64_t *counter = finish == FOVEA_FINISH_CANCELLED  ? &stats->n_cancelled
                        : finish == FOVEA_FINISH_DEADLINE ? &stats->n_expired
                        : finish == FOVEA_FINISH_ERROR    ? &stats->n_failed
                                                          : &stats->n_finished;
    (*counter)++;
    g->ended = true;
    g->running = false;
    g->end = status;
    g->finish = finish;
}

static bool says(const fovea_generation *g, const char *word)
{
    return strstr(g->session->text, word) != NULL;
}

/* One step of one sequence; true when there is something new to pull. Under the lock. */
static bool step(fovea_generation *g, int64_t now_ns)
{
    uint32_t limit = g->options.max_tokens != 0 ? g->options.max_tokens : 256;
    if (g->cancelled) {
        end(g, FOVEA_ERR_CANCELLED, FOVEA_FINISH_CANCELLED);
    } else if (g->deadline_ns != 0 && now_ns >= g->deadline_ns) {
        end(g, FOVEA_ERR_DEADLINE, FOVEA_FINISH_DEADLINE);
    } else if (!g->running) {
        return false;
    } else if (g->options.plan_only) {
        end(g, FOVEA_DONE, FOVEA_FINISH_PLAN);
    } else if (says(g, "fail") && g->n_made == 3) {
        end(g, FOVEA_ERR_INTERNAL, FOVEA_FINISH_ERROR);
    } else if (g->n_made == limit) {
        end(g, FOVEA_DONE, FOVEA_FINISH_LENGTH);
    } else if (says(g, "slow") && g->tick++ % SLOW_TICKS != 0) {
        return false;
    } else {
        uint32_t n = says(g, "burst") ? limit - g->n_made : 1;
        g->n_made += n;
        g->session->booked += (uint64_t)n * BYTES_PER_TOKEN;
        g->session->engine->stats.kv_used_bytes += (uint64_t)n * BYTES_PER_TOKEN;
        g->session->engine->stats.output_tokens += n;
    }
    return true;
}

static void *engine_thread(void *arg)
{
    fovea_engine *engine = arg;
    for (;;) {
        struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
        nanosleep(&tick, NULL);
        pthread_mutex_lock(&engine->lock);
        if (engine->closing) {
            pthread_mutex_unlock(&engine->lock);
            return NULL;
        }
        engine->stats.n_running = engine->stats.n_waiting = 0;
        engine->stats.n_step++;
        for (fovea_generation *g = engine->generations; g != NULL; g = g->next) {
            engine->stats.n_running += g->running;
        }
        for (fovea_generation *g = engine->generations; g != NULL; g = g->next) {
            if (!g->ended && !g->running && engine->stats.n_running < MAX_RUNNING) {
                g->running = true;
                engine->stats.n_running++;
            }
            bool news = !g->ended && step(g, fvi_now_ns());
            engine->stats.n_waiting += !g->ended && !g->running;
            if (news && g->notify != NULL) {
                g->notify(g->notify_user);
            }
        }
        pthread_mutex_unlock(&engine->lock);
    }
}

fovea_status fovea_engine_open(const fovea_engine_options *options, fovea_engine **out,
                               fovea_error *err)
{
    unsigned load_ms = 0;
    if (strcmp(options->model, "missing") == 0) {
        return FVI_FAIL(err, FOVEA_ERR_IO, "missing/config.json: no such file");
    }
    sscanf(options->model, "load=%u", &load_ms);
    for (unsigned i = 0; i < load_ms / 10; i++) {
        struct timespec pause = {.tv_nsec = 10000000};
        nanosleep(&pause, NULL);
        if (options->progress(options->progress_user, i * 10, load_ms) != 0) {
            return FVI_FAIL(err, FOVEA_ERR_CANCELLED, "stopped");
        }
    }
    fovea_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "out of memory");
    }
    engine->options = *options;
    engine->stats =
        (fovea_engine_stats){.size = sizeof engine->stats, .kv_capacity_bytes = options->kv_bytes};
    pthread_mutex_init(&engine->lock, NULL);
    if (pthread_create(&engine->thread, NULL, engine_thread, engine) != 0) {
        free(engine);
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "no thread");
    }
    *out = engine;
    return FOVEA_OK;
}

void fovea_engine_close(fovea_engine **self)
{
    fovea_engine *engine = *self;
    if (engine == NULL) {
        return;
    }
    pthread_mutex_lock(&engine->lock);
    engine->closing = true;
    bool leak = engine->generations != NULL || engine->stats.kv_used_bytes != 0;
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
    *self = NULL;
    if (leak) {
        fprintf(stderr, "fake_engine: closed while sessions were left\n");
        exit(70); /* the tests look at the exit code */
    }
}

fovea_status fovea_engine_info(const fovea_engine *engine, fovea_model_info *out)
{
    (void)engine;
    *out = (fovea_model_info){.size = sizeof *out,
                              .name = "fake",
                              .family = "fake",
                              .n_layer = 2,
                              .n_kv_head = 2,
                              .tokens_per_image = TOKENS_PER_IMAGE};
    return FOVEA_OK;
}

fovea_status fovea_engine_get_stats(const fovea_engine *self, fovea_engine_stats *out)
{
    union {
        const fovea_engine *in;
        fovea_engine *out;
    } engine = {.in = self};
    pthread_mutex_lock(&engine.out->lock);
    *out = self->stats;
    pthread_mutex_unlock(&engine.out->lock);
    return FOVEA_OK;
}

/* ---- sessions ---- */

fovea_status fovea_session_new(fovea_engine *engine, const fovea_session_options *options,
                               fovea_session **out, fovea_error *err)
{
    FVI_TRY(fovea_recipe_check(options->recipe, err));
    fovea_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "out of memory");
    }
    session->engine = engine;
    *out = session;
    return FOVEA_OK;
}

void fovea_session_free(fovea_session **self)
{
    fovea_session *session = *self;
    if (session != NULL) {
        pthread_mutex_lock(&session->engine->lock);
        session->engine->stats.kv_used_bytes -= session->booked;
        pthread_mutex_unlock(&session->engine->lock);
        free(session);
        *self = NULL;
    }
}

static fovea_status add_text(fovea_session *session, const char *text, size_t n, fovea_error *err)
{
    if (n >= MAX_TEXT - session->n_text) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "the prompt is longer than the context");
    }
    memcpy(session->text + session->n_text, text, n);
    session->n_text += n;
    return FOVEA_OK;
}

static void add_image(fovea_session *session)
{
    session->spans[session->n_image] =
        (fovea_image_span){session->n_image, (uint32_t)session->n_text, TOKENS_PER_IMAGE, 4, 4, 0, 0, 1, 1};
    session->n_image++;
}

fovea_status fovea_session_add_message(fovea_session *session, fovea_role role,
                                       const fovea_part *parts, uint32_t n_part, fovea_error *err)
{
    static const char marks[] = {'S', 'U', 'A'};
    FVI_TRY(add_text(session, &marks[role], 1, err));
    for (uint32_t i = 0; i < n_part; i++) {
        if (parts[i].text == NULL) {
            add_image(session);
        } else {
            FVI_TRY(add_text(session, parts[i].text, strlen(parts[i].text), err));
        }
    }
    return FOVEA_OK;
}

fovea_status fovea_session_add_raw(fovea_session *session, const char *prompt, size_t n_bytes,
                                   fovea_image *const *images, uint32_t n_image, fovea_error *err)
{
    (void)images;
    uint32_t n_marker = 0;
    for (const char *at = prompt; (at = strstr(at, "<image>")) != NULL; at++) {
        n_marker++;
    }
    if (n_marker != n_image) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "%u markers, %u images", n_marker, n_image);
    }
    for (uint32_t i = 0; i < n_image; i++) {
        add_image(session);
    }
    return add_text(session, prompt, n_bytes, err);
}

fovea_status fovea_session_images(fovea_session *session, const fovea_image_span **spans,
                                  uint32_t *n_span)
{
    *spans = session->spans;
    *n_span = session->n_image;
    return FOVEA_OK;
}

fovea_status fovea_session_tokens(fovea_session *session, const int32_t **ids, size_t *n_id)
{
    for (size_t i = 0; i < session->n_text; i++) {
        session->ids[i] = (uint8_t)session->text[i];
    }
    *ids = session->ids;
    *n_id = session->n_text;
    return FOVEA_OK;
}

/* ---- generations ---- */

fovea_status fovea_session_generate(fovea_session *session, const fovea_generate_options *options,
                                    fovea_generation **out, fovea_error *err)
{
    fovea_engine *engine = session->engine;
    if (strstr(session->text, "floor") != NULL) {
        return FVI_FAIL(err, FOVEA_ERR_BUDGET, "bytes=1 is below the floor of 4096 bytes");
    }
    fovea_generation *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return FVI_FAIL(err, FOVEA_ERR_NOMEM, "out of memory");
    }
    g->session = session;
    g->options = *options;
    g->deadline_ns =
        options->deadline_ms != 0 ? fvi_now_ns() + (int64_t)options->deadline_ms * 1000000 : 0;
    pthread_mutex_lock(&engine->lock);
    uint32_t n_waiting = 0;
    for (fovea_generation *other = engine->generations; other != NULL; other = other->next) {
        n_waiting += !other->ended && !other->running;
    }
    bool full = n_waiting >= engine->options.max_queue;
    if (full) {
        engine->stats.n_refused++;
    } else {
        uint64_t prompt = session->n_text + (uint64_t)session->n_image * TOKENS_PER_IMAGE;
        engine->stats.n_submitted++;
        engine->stats.prompt_tokens += prompt;
        session->booked += prompt * BYTES_PER_TOKEN;
        engine->stats.kv_used_bytes += prompt * BYTES_PER_TOKEN;
        engine->stats.kv_peak_bytes =
            FVI_MAX(engine->stats.kv_peak_bytes, engine->stats.kv_used_bytes);
        g->next = engine->generations;
        engine->generations = g;
    }
    pthread_mutex_unlock(&engine->lock);
    if (full) {
        free(g);
        return FVI_FAIL(err, FOVEA_ERR_FULL, "the queue is full: %u requests wait", n_waiting);
    }
    *out = g;
    return FOVEA_OK;
}

static void fill_token(fovea_generation *g, fovea_token *out)
{
    static const char broken[] = "a\0b\xff";
    uint32_t i = g->n_pulled++;
    *out = (fovea_token){.id = (int32_t)i, .logprob = -0.5f, .text = i % 5 == 4 ? "\xc3\xa9" : "w"};
    out->n_bytes = strlen(out->text);
    if (says(g, "nul") && i == 0) {
        out->text = broken;
        out->n_bytes = 4;
    }
    for (uint32_t k = 0; k < g->options.n_logprobs; k++) {
        g->top[k] = (fovea_logprob){(int32_t)(i + k), -0.5f - (float)k};
    }
    out->top = g->top;
    out->n_top = g->options.n_logprobs;
}

fovea_status fovea_generation_next(fovea_generation *g, int64_t timeout_ms, fovea_token *out,
                                   fovea_error *err)
{
    fovea_engine *engine = g->session->engine;
    fovea_status status = timeout_ms == 0 ? FOVEA_AGAIN : FOVEA_ERR_ARG; /* fovead never waits */
    pthread_mutex_lock(&engine->lock);
    if (g->n_pulled < g->n_made && g->end >= 0) {
        fill_token(g, out);
        status = FOVEA_OK;
    } else if (g->ended) {
        status = g->end;
    }
    pthread_mutex_unlock(&engine->lock);
    return status < 0 ? FVI_FAIL(err, status, "%s", fovea_status_text(status)) : status;
}

void fovea_generation_cancel(fovea_generation *g)
{
    pthread_mutex_lock(&g->session->engine->lock);
    g->cancelled = true;
    pthread_mutex_unlock(&g->session->engine->lock);
}

fovea_status fovea_generation_usage(const fovea_generation *g, fovea_usage *out)
{
    *out = (fovea_usage){.size = sizeof *out,
                         .finish = g->finish,
                         .text_tokens = (uint32_t)g->session->n_text,
                         .vision_tokens = g->session->n_image * TOKENS_PER_IMAGE,
                         .output_tokens = g->n_made,
                         .n_image = g->session->n_image,
                         .prefill_ms = 1.5};
    if (g->options.loyalty && g->n_made > 0) {
        out->loyalty_tokens = g->n_made - 1;
        out->loyalty_share = 0.75;
        out->loyalty_kl = 0.125;
    }
    return FOVEA_OK;
}

fovea_status fovea_generation_ledger(const fovea_generation *g, fovea_ledger *out)
{
    uint64_t n_text = g->session->n_text,
             n_vision = g->session->n_image * (uint64_t)TOKENS_PER_IMAGE;
    *out = (fovea_ledger){.size = sizeof *out,
                          .n_layer = 2,
                          .n_kv_head = 2,
                          .full_bytes = (n_text + n_vision) * BYTES_PER_TOKEN,
                          .realised_bytes = (n_text + n_vision) * BYTES_PER_TOKEN,
                          .text_bytes = n_text * BYTES_PER_TOKEN,
                          .vision_bytes = n_vision * BYTES_PER_TOKEN,
                          .text_tokens = n_text,
                          .vision_tokens = n_vision,
                          .kept_text_slots = n_text * N_LIST,
                          .kept_vision_slots = n_vision * N_LIST};
    out->kind_bytes[FOVEA_KIND_F16] = out->realised_bytes;
    out->kind_slots[FOVEA_KIND_F16] = (n_text + n_vision) * N_LIST;
    return FOVEA_OK;
}

void fovea_generation_notify(fovea_generation *g, void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&g->session->engine->lock);
    g->notify = fn;
    g->notify_user = user;
    pthread_mutex_unlock(&g->session->engine->lock);
}

void fovea_generation_free(fovea_generation **self)
{
    fovea_generation *g = *self;
    if (g == NULL) {
        return;
    }
    fovea_engine *engine = g->session->engine;
    pthread_mutex_lock(&engine->lock);
    for (fovea_generation **at = &engine->generations; *at != NULL; at = &(*at)->next) {
        if (*at == g) {
            *at = g->next;
            break;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    free(g);
    *self = NULL;
}
