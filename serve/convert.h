/* convert.h - between the messages of fovea.v1 and the structs of the public API.
 *
 * Layout: convert_request.c (in: checks with field paths, pictures, session), convert_recipe.c (in: the recipe),
 * convert_reply.c (out: accounts, tokens, ledger). Threads: one request at a time. */
#ifndef FOVEA_SERVE_CONVERT_H
#define FOVEA_SERVE_CONVERT_H

#include "serve/arena.h"
#include "serve/unpack.h"

#include <fovea/fovea.h>

#include <fovea/v1/inference.pb-c.h>

#define FVI_ID_MAX_BYTES   128
#define FVI_UUID_MAX_BYTES 128
#define FVI_MAX_STOP       16

/* ---- in ---- */

/* What is remembered of a request for its accounts. */
typedef struct fvi_prompt_note {
    char id[FVI_ID_MAX_BYTES + 1];
    char *recipe;
    char **uuids; /* [n_image], in the order of the prompt */
    uint32_t n_image;
    bool return_ids, loyalty;
    double decode_image_ms;
} fvi_prompt_note;

typedef struct fvi_image_limits {
    uint32_t max_images;
    uint64_t max_pixels; /* of all of a request */
    uint64_t max_bytes;  /* of one file */
} fvi_image_limits;

/* Everything that can be judged without decoding a picture. Counts the images. */
bool fvi_convert_check(const Fovea__V1__GenerateRequest *request, const fvi_image_limits *limits,
                       uint32_t *n_image, fvi_rpc_error *err);
/* stop: [FVI_MAX_STOP], filled with pointers into the request. */
bool fvi_convert_sampling(const Fovea__V1__Sampling *sampling, const char **stop,
                          fovea_generate_options *out, fvi_rpc_error *err);
/* The recipe as the library takes it, into text[FOVEA_RECIPE_MAX_BYTES]. */
bool fvi_convert_recipe(const Fovea__V1__GenerateRequest *request, char *text, fvi_rpc_error *err);
/* Copies id, recipe and uuids. */
bool fvi_convert_note(const Fovea__V1__GenerateRequest *request, uint32_t n_image,
                      fvi_prompt_note *out, fvi_rpc_error *err);
void fvi_prompt_note_free(fvi_prompt_note *note);
/* Decodes into images, zeroed before, as many as fvi_convert_check counted; what was decoded stays there also on failure. */
bool fvi_convert_images(const fvi_wire_message *wire, const fvi_image_limits *limits,
                        fovea_image **images, fvi_rpc_error *err);
/* Adds the messages or the raw prompt. */
bool fvi_convert_prompt(const Fovea__V1__GenerateRequest *request, fovea_image *const *images,
                        uint32_t n_image, fovea_session *session, fvi_rpc_error *err);

/* ---- out ---- */

/* An answer as far as it has been pulled: all of it, or what the next delta will carry. */
typedef struct fvi_answer {
    fvi_wire_arena arena; /* tokens */
    bool keep_tokens;
    char *text; /* [n_text], terminated, valid UTF-8 without NUL */
    size_t n_text, text_capacity;
    Fovea__V1__Token **tokens; /* [n_token] */
    uint32_t n_token, token_capacity;
    uint32_t n_pulled;       /* tokens since the last clear, kept or not */
    fvi_wire_arena accounts; /* lives as long as the request */
    Fovea__V1__PromptAccount *prompt;
} fvi_answer;

void fvi_answer_init(fvi_answer *answer);
bool fvi_answer_add(fvi_answer *answer, const fovea_token *token);
void fvi_answer_clear(fvi_answer *answer); /* of text and tokens */
void fvi_answer_free(fvi_answer *answer);

/* Fills answer->prompt. */
bool fvi_answer_prompt(fvi_answer *answer, const fvi_prompt_note *note, fovea_session *session,
                       const fovea_ledger *ledger);
/* In the accounts arena; NULL without memory. */
Fovea__V1__Completion *fvi_answer_completion(fvi_answer *answer, const fovea_usage *usage,
                                             const fovea_ledger *ledger,
                                             const fvi_prompt_note *note, fovea_session *session);

#endif
