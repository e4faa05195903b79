/* turn.h - one question about some pictures, asked of an engine in this process or of a server, and all
 * that came back.
 *
 * local.c runs it through libfovea, remote.c through fovead; who asks sees no difference. Called by
 * ask.c. Threads: a runner - one at a time. */
#ifndef FOVEA_SAMPLES_COMMON_TURN_H
#define FOVEA_SAMPLES_COMMON_TURN_H

#include "samples/common/base.h"

#include <fovea/fovea.h>

#include <stdbool.h>

#define SAMPLE_MAX_TOP 20 /* alternatives per token that fovea_generate_options.n_logprobs allows */

typedef struct sample_request {
    const char *text;          /* the question, or the whole prompt with its markers when raw */
    const char *const *images; /* [n_image] paths */
    size_t n_image;
    const char *recipe;
    bool raw;
    bool kept;  /* fill the reply's kinds and spans; not from a server */
    bool label; /* several pictures: "Image 1: " in front of the first, and so on */
    fovea_generate_options generate;
} sample_request;

typedef struct sample_step {
    int32_t id;
    float logprob;
    uint32_t n_top;
    fovea_logprob top[SAMPLE_MAX_TOP];
} sample_step;

typedef struct sample_reply {
    char *text; /* terminated */
    size_t n_text;
    int32_t *prompt; /* [n_prompt] ids; an image's marker once per vision token */
    size_t n_prompt;
    sample_step *steps; /* [n_step] the answer's tokens */
    size_t n_step;
    fovea_usage usage;
    bool compared; /* the usage's loyalty was asked for */
    fovea_ledger ledger;
    fovea_ledger_row *rows; /* [n_row] one per (layer, KV head); none from a server */
    uint32_t n_row;
    uint8_t *kinds; /* [n_row, n_prompt] fovea_session_kept of each row; NULL: not asked for */
    fovea_image_span *spans; /* [n_span] with kinds */
    uint32_t n_span;
    double decode_image_ms;
} sample_reply;

/* Called with every piece of the answer as it comes. */
typedef void (*sample_text_fn)(void *user, const char *text, size_t n_bytes);

typedef struct sample_runner sample_runner;
struct sample_runner {
    fovea_status (*run)(sample_runner *self, const sample_request *request, sample_text_fn on_text,
                        void *user, sample_reply *reply, fovea_error *err);
    void (*close)(sample_runner *self);
    double load_ms; /* what opening took */
};

fovea_status sample_local_open(const fovea_engine_options *options, sample_runner **out,
                               fovea_error *err);
/* Connects to the fovead at "HOST:PORT". */
fovea_status sample_remote_open(const char *address, sample_runner **out, fovea_error *err);

/* Frees what the reply holds. */
void sample_reply_free(sample_reply *reply);
/* For runners: appends a piece of text, or a token. FOVEA_ERR_NOMEM. */
fovea_status sample_reply_add_text(sample_reply *reply, const char *text, size_t n_bytes);
fovea_status sample_reply_add_step(sample_reply *reply, const fovea_token *token);

/* Opens pictures; images [n] is filled, on an error all are NULL. The error's text names the file. */
fovea_status sample_images_open(const char *const *paths, size_t n, fovea_image **images,
                                fovea_error *err);
void sample_images_free(fovea_image **images, size_t n);
/* Adds a user's message: the pictures, each behind its label where there are several, then the text. */
fovea_status sample_add_question(fovea_session *session, const sample_request *request,
                                 fovea_image *const *images, fovea_error *err);
/* The text before picture `index`, in out; NULL when it has none. */
#define SAMPLE_LABEL_BYTES 32
const char *sample_label(const sample_request *request, size_t index, char out[SAMPLE_LABEL_BYTES]);

#endif
