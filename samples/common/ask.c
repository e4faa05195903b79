/* ask.c - options of fovea-caption and fovea-vqa, and one question from command line to screen. */
#include "samples/common/ask.h"

#include "samples/common/show.h"

#include <stdio.h>
#include <string.h>

size_t sample_ask_args(sample_ask *ask, sample_arg *args)
{
    const sample_arg shared[] = {
        {"model", SAMPLE_ARG_TEXT, "DIR", "Hugging Face folder; default: the samples' own model",
         &ask->model},
        {"recipe", SAMPLE_ARG_TEXT, "R", "what becomes of the KV cache, e.g. vl-cache:keep=0.1",
         &ask->recipe},
        {"max-tokens", SAMPLE_ARG_UINT, "N", "longest answer; default 256", &ask->max_tokens},
        {"temperature", SAMPLE_ARG_REAL, "T", "0 (the default) takes the likeliest token",
         &ask->temperature},
        {"top-k", SAMPLE_ARG_UINT, "N", "sample from the N likeliest tokens", &ask->top_k},
        {"top-p", SAMPLE_ARG_REAL, "P", "sample from the likeliest that make up P", &ask->top_p},
        {"min-p", SAMPLE_ARG_REAL, "P", "leave out what is below P times the likeliest",
         &ask->min_p},
        {"seed", SAMPLE_ARG_SEED, "N", "of the sampler", &ask->seed},
        {"stop", SAMPLE_ARG_TEXTS, "TEXT", "ends the answer; may be given more than once",
         &ask->stop},
        {"precision", SAMPLE_ARG_CHOICE, "bf16|f32", "of weights and products; default bf16",
         &ask->precision},
        {"logprobs", SAMPLE_ARG_UINT, "K",
         "with --json: the K likeliest tokens of each step, and\n"
         "the chosen one",
         &ask->n_logprobs},
        {"json", SAMPLE_ARG_FLAG, NULL, "one JSON object per answer, on a line", &ask->json},
        {"plan", SAMPLE_ARG_FLAG, NULL, "make the plan and show its ledger; no answer", &ask->plan},
        {"ledger", SAMPLE_ARG_FLAG, NULL, "show the whole ledger after an answer", &ask->ledger},
        {"loyalty", SAMPLE_ARG_FLAG, NULL,
         "compare the answer with the full cache's, which costs its\n"
         "bytes and each token twice",
         &ask->loyalty},
        {"raw", SAMPLE_ARG_FLAG, NULL,
         "the text is the whole prompt, with its image markers; no\n"
         "chat template",
         &ask->raw},
        {"no-labels", SAMPLE_ARG_FLAG, NULL, "several images: no \"Image 1: \" in front of them",
         &ask->no_labels},
        {"server", SAMPLE_ARG_TEXT, "HOST:PORT", "ask a fovead instead of loading a model",
         &ask->server},
        {"kv-bytes", SAMPLE_ARG_BYTES, "N", "size of the KV pool, e.g. 64MiB; default 256MiB",
         &ask->kv_bytes},
        {"threads", SAMPLE_ARG_UINT, "N", "default: all cores", &ask->threads},
    };

    _Static_assert(SAMPLE_COUNT(shared) <= SAMPLE_N_ASK_ARG, "room for the shared options");
    ask->recipe = "none";
    memcpy(args, shared, sizeof(shared));
    return SAMPLE_COUNT(shared);
}

static int show_loading(void *user, uint64_t done, uint64_t total)
{
    sample_bar_update(user, done, total);
    return 0;
}

static fovea_status open_local(sample_ask *ask, fovea_error *err)
{
    sample_bar bar;
    fovea_engine_options options = {
        .size = sizeof(options),
        .precision = (fovea_precision)ask->precision,
        .model = ask->model != NULL ? ask->model : sample_default_model(),
        .n_thread = ask->threads,
        .kv_bytes = ask->kv_bytes,
        .progress = show_loading,
        .progress_user = &bar,
    };
    fovea_status status;

    if (options.model == NULL) {
        return sample_fail(err, FOVEA_ERR_NOT_FOUND, "the samples' model is not here: use --model");
    }
    sample_bar_begin(&bar, "loading");
    status = sample_local_open(&options, &ask->runner, err);
    sample_bar_end(&bar);
    return status;
}

int sample_ask_open(sample_ask *ask)
{
    const sample_program *program = ask->program;
    fovea_error err = {0};
    fovea_status status = fovea_recipe_check(ask->recipe, &err);

    if (status < 0) {
        return sample_args_refuse(program, "--recipe: %s", err.text);
    }
    if (ask->n_logprobs > SAMPLE_MAX_TOP) {
        return sample_args_refuse(program, "--logprobs: at most %d", SAMPLE_MAX_TOP);
    }
    if (ask->top_p > 1 || ask->min_p > 1) {
        return sample_args_refuse(program, "--top-p and --min-p: at most 1");
    }
    if (ask->heatmap.path != NULL && ask->server != NULL) {
        return sample_args_refuse(program,
                                  "--heatmap: a server does not tell which tokens it keeps");
    }
    if (ask->loyalty && ask->plan) {
        return sample_args_refuse(program, "--loyalty compares tokens, of which --plan makes none");
    }
    status = ask->server != NULL ? sample_remote_open(ask->server, &ask->runner, &err)
                                 : open_local(ask, &err);
    if (status < 0) {
        sample_show_error(program->name, NULL, status, &err);
        return SAMPLE_EXIT_FAILED;
    }
    return SAMPLE_EXIT_OK;
}

/* What people see of an answer while it comes: its title, and no blank at its beginning. */
typedef struct stream_state {
    const char *title; /* may be NULL */
    bool begun;
} stream_state;

static void begin_answer(stream_state *state)
{
    if (!state->begun && state->title != NULL) {
        printf("%s: ", state->title);
    }
    state->begun = true;
}

static void show_text(void *user, const char *text, size_t n_bytes)
{
    stream_state *state = user;

    while (!state->begun && n_bytes > 0 && *text == ' ') {
        text++;
        n_bytes--;
    }
    if (n_bytes > 0) {
        begin_answer(state);
        fwrite(text, 1, n_bytes, stdout);
        fflush(stdout);
    }
}

static sample_request make_request(const sample_ask *ask, const char *text,
                                   const char *const *images, size_t n_image)
{
    return (sample_request){
        .text = text,
        .images = images,
        .n_image = n_image,
        .recipe = ask->recipe,
        .raw = ask->raw,
        .kept = ask->heatmap.path != NULL,
        .label = !ask->no_labels,
        .generate =
            {
                .size = sizeof(fovea_generate_options),
                .max_tokens = ask->max_tokens,
                .temperature = ask->temperature,
                .top_p = ask->top_p,
                .min_p = ask->min_p,
                .top_k = ask->top_k,
                .n_logprobs = ask->n_logprobs,
                .seed = ask->seed,
                .stop = ask->stop.items,
                .n_stop = (uint32_t)ask->stop.n,
                .plan_only = ask->plan,
                .loyalty = ask->loyalty,
            },
    };
}

static fovea_status show_reply(const sample_ask *ask, const char *title, const sample_reply *reply)
{
    if (ask->json) {
        return sample_show_json(reply, ask->recipe, ask->runner->load_ms);
    }
    if (ask->plan && title != NULL) {
        fprintf(stderr, "%s\n", title);
    }
    if (ask->plan || ask->ledger) {
        sample_show_ledger(reply, ask->recipe);
    } else {
        sample_show_line(reply, ask->recipe);
    }
    if (reply->compared) {
        sample_show_loyalty(&reply->usage);
    }
    return FOVEA_OK;
}

int sample_ask_run(const sample_ask *ask, const char *title, const char *text,
                   const char *const *images, size_t n_image)
{
    sample_request request = make_request(ask, text, images, n_image);
    stream_state state = {.title = title};
    bool people = !ask->json && !ask->plan;
    sample_reply reply = {0};
    fovea_error err = {0};
    fovea_status status =
        ask->runner->run(ask->runner, &request, people ? show_text : NULL, &state, &reply, &err);

    if (people && status == FOVEA_OK) {
        begin_answer(&state); /* which may have been empty */
    }
    if (state.begun) {
        putchar('\n');
        fflush(stdout);
    }
    if (status == FOVEA_OK) {
        reply.compared = ask->loyalty;
        status = show_reply(ask, title, &reply);
    }
    if (status == FOVEA_OK && ask->heatmap.path != NULL) {
        status = sample_heatmap_write(&ask->heatmap, &reply, images, n_image, &err);
    }
    if (status < 0) {
        sample_show_error(ask->program->name, NULL, status, &err);
    }
    sample_reply_free(&reply);
    return status < 0 ? SAMPLE_EXIT_FAILED : SAMPLE_EXIT_OK;
}

void sample_ask_close(sample_ask *ask)
{
    if (ask->runner != NULL) {
        ask->runner->close(ask->runner);
        ask->runner = NULL;
    }
    sample_texts_free(&ask->stop);
}
