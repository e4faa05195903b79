/* model.c - a whole model through the public API: a picture's encoding, the prefill of a prompt, decoding
 * at several depths. */
#include "samples/bench/folder.h"

#include <fovea/fovea.h>

#include <stdio.h>
#include <stdlib.h>

#define KV_BYTES ((uint64_t)1 << 30)

typedef struct whole {
    bench *bench;
    fovea_engine *engine;
    fovea_image *image;
    double weight_bytes; /* that a decoded token reads; 0: not known */
    double kv_bytes;     /* per token in the cache */
    uint32_t n_prompt, n_decode;
    const char *recipe;
    bool with_image;
    fovea_usage usage; /* of the last turn */
    fovea_error err;
} whole;

/* One turn of n_prompt tokens and n_decode more. */
static fovea_status run_turn(whole *w)
{
    fovea_session_options session_options = {.size = sizeof session_options, .recipe = w->recipe};
    fovea_generate_options options = {
        .size = sizeof options, .max_tokens = w->n_decode + 1, .ignore_end = 1};
    fovea_session *session = NULL;
    fovea_generation *generation = NULL;
    fovea_token token;
    char *prompt = bench_memory(w->n_prompt + 8);
    if (prompt == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    size_t n = w->n_prompt > 1 ? w->n_prompt - 1 : 1; /* the beginning of the text is a token too */
    memset(prompt, 'a', n);
    prompt[n] = 0;
    if (w->with_image) {
        n = (size_t)snprintf(prompt, w->n_prompt + 8, "<image>");
    }
    fovea_status status = fovea_session_new(w->engine, &session_options, &session, &w->err);
    if (status == FOVEA_OK) {
        status =
            fovea_session_add_raw(session, prompt, n, &w->image, w->with_image ? 1 : 0, &w->err);
    }
    if (status == FOVEA_OK) {
        status = fovea_session_generate(session, &options, &generation, &w->err);
    }
    while (status == FOVEA_OK) {
        status = fovea_generation_next(generation, -1, &token, &w->err);
    }
    if (status == FOVEA_DONE) {
        w->usage = (fovea_usage){.size = sizeof w->usage};
        status = fovea_generation_usage(generation, &w->usage);
    }
    fovea_generation_free(&generation);
    fovea_session_free(&session);
    bench_release(prompt);
    return status;
}

static fovea_status run_prefill(void *arg, double *seconds)
{
    whole *w = arg;
    FVI_TRY(run_turn(w));
    *seconds = w->usage.prefill_ms * 1e-3;
    return FOVEA_OK;
}

static fovea_status run_decode(void *arg, double *seconds)
{
    whole *w = arg;
    FVI_TRY(run_turn(w));
    *seconds = w->usage.decode_ms * 1e-3 / (w->usage.output_tokens - 1);
    return FOVEA_OK;
}

static fovea_status run_encode(void *arg, double *seconds)
{
    whole *w = arg;
    FVI_TRY(run_turn(w));
    *seconds = w->usage.encode_ms * 1e-3;
    return FOVEA_OK;
}

static fovea_status measure_prefill(whole *w, const char *name)
{
    char what[96];
    w->n_prompt = w->bench->options->n_prompt;
    w->n_decode = 0;
    snprintf(what, sizeof what, "%s, prompt of %u", name, w->n_prompt);
    bench_case c = {
        .measure = "prefill", .what = what, .units = w->n_prompt, .run = run_prefill, .arg = w};
    return bench_measure(w->bench, &c, NULL);
}

static fovea_status measure_decode(whole *w, const char *name, uint32_t depth, const char *recipe)
{
    char what[96];
    w->n_prompt = depth;
    w->n_decode = w->bench->options->n_decode;
    w->recipe = recipe;
    double tokens = depth + w->n_decode / 2.0; /* in the cache, on the average */
    bool full = recipe == NULL;
    snprintf(what, sizeof what, "%s, depth %u%s%s", name, depth, full ? "" : " ",
             full ? "" : recipe);
    bench_case c = {.measure = "decode", .what = what, .units = 1, .run = run_decode, .arg = w};
    if (full && w->weight_bytes > 0) {
        c.bytes = w->weight_bytes + tokens * w->kv_bytes;
    }
    fovea_status status = bench_measure(w->bench, &c, NULL);
    w->recipe = NULL;
    return status;
}

static fovea_status measure_encode(whole *w, const char *name)
{
    char what[96];
    w->with_image = true;
    w->n_prompt = 8;
    w->n_decode = 0;
    snprintf(what, sizeof what, "%s, a picture", name);
    bench_case c = {.measure = "encode", .what = what, .units = 1, .run = run_encode, .arg = w};
    fovea_status status = bench_measure(w->bench, &c, NULL);
    w->with_image = false;
    return status;
}

static fovea_status measure_all(whole *w, const char *name)
{
    FVI_TRY(measure_prefill(w, name));
    FVI_TRY(measure_decode(w, name, 1, NULL));
    if (w->bench->options->depth > 1) {
        FVI_TRY(measure_decode(w, name, w->bench->options->depth, NULL));
        FVI_TRY(measure_decode(w, name, w->bench->options->depth, "none:text=int4"));
    }
    return measure_encode(w, name);
}

static fovea_status open_engine(whole *w, const char *model)
{
    uint8_t *pixels = bench_memory((size_t)BENCH_IMAGE * BENCH_IMAGE * 3);
    if (pixels == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    for (size_t i = 0; i < (size_t)BENCH_IMAGE * BENCH_IMAGE * 3; i++) {
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    fovea_status status =
        fovea_image_from_pixels(pixels, BENCH_IMAGE, BENCH_IMAGE, 0, NULL, &w->image, &w->err);
    bench_release(pixels);
    fovea_engine_options options = {.size = sizeof options,
                                    .model = model,
                                    .kv_bytes = KV_BYTES,
                                    .n_thread = w->bench->options->n_thread};
    return status < 0 ? status : fovea_engine_open(&options, &w->engine, &w->err);
}

fovea_status bench_model(bench *self)
{
    const bench_shape *s = self->options->shape;
    const char *model = self->options->model;
    char dir[BENCH_PATH];
    whole w = {.bench = self};
    if (model == NULL) {
        double q = (double)s->n_head * s->head_dim, kv = (double)s->n_kv_head * s->head_dim;
        double layer = s->hidden * (2 * q + 2 * kv) + 3.0 * s->hidden * s->mlp;
        w.weight_bytes = 2 * (s->n_layer * layer + (double)s->vocab * s->hidden);
        w.kv_bytes = s->n_layer * 2 * kv * 2;
        if (!bench_folder_make(s, dir)) {
            fprintf(stderr, "fovea-bench: no room in /tmp for a model of %s\n", s->name);
            return FOVEA_ERR_IO;
        }
    }
    fovea_status status = open_engine(&w, model != NULL ? model : dir);
    if (model == NULL) {
        bench_folder_remove(dir); /* what is mapped stays until the engine is closed */
    }
    if (status == FOVEA_OK) {
        status = measure_all(&w, model != NULL ? model : s->name);
    }
    if (status < 0) {
        fprintf(stderr, "fovea-bench: %s\n", w.err.text);
    }
    fovea_engine_close(&w.engine);
    fovea_image_free(&w.image);
    return status;
}
