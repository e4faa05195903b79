/* client.h - a small synchronous client of fovead for C programs (the samples' --server).
 *
 * Layout: client.c (connection, one call at a time), client_convert.c (messages to and from the public
 * structs, so that a program shows local and remote answers with one piece of code). Not part of
 * libfovea and not installed: a foreign program makes its own stubs from the installed .proto files.
 *
 * Threads: a client - one at a time. */
#ifndef FOVEA_SERVE_CLIENT_CLIENT_H
#define FOVEA_SERVE_CLIENT_CLIENT_H

#include <fovea/fovea.h>

typedef struct fovea_client fovea_client;

/* A piece of a message: text, or a PNG or JPEG file as it is (decoded by the server). */
typedef struct fovea_client_part {
    const char *text; /* UTF-8, terminated; NULL for an image */
    const void *image;
    size_t n_image_bytes;
} fovea_client_part;

typedef struct fovea_client_message {
    fovea_role role;
    const fovea_client_part *parts; /* [n_part] */
    uint32_t n_part;
} fovea_client_message;

/* Either messages, or a raw prompt whose image markers stand for `images` in order. */
typedef struct fovea_client_request {
    const fovea_client_message *messages; /* [n_message] */
    uint32_t n_message;
    const char *raw_prompt;
    const fovea_client_part *images; /* [n_image], with raw_prompt only */
    uint32_t n_image;
    const char *recipe;                     /* NULL: the server's default, "none" */
    const fovea_generate_options *generate; /* NULL: defaults; plan_only asks for a plan; `force` is
                                               not on the wire */
} fovea_client_request;

/* Called for each token; its pointers are valid during the call. Non-zero cancels the request. */
typedef int (*fovea_client_token_fn)(void *user, const fovea_token *token);

typedef struct fovea_client_result {
    fovea_usage usage;
    fovea_ledger ledger;
    double decode_image_ms;
    char request_id[132];
    int32_t *prompt_tokens; /* [n_prompt_token], an image's marker once per vision token */
    size_t n_prompt_token;
} fovea_client_result;

/* Connects to "HOST:PORT" and waits for a server that serves, at most timeout_ms.
 * FOVEA_ERR_CLOSED: nobody answers there. */
fovea_status fovea_client_open(const char *target, uint32_t timeout_ms, fovea_client **out,
                               fovea_error *err);
void fovea_client_close(fovea_client **client);

fovea_status fovea_client_model(fovea_client *client, fovea_model_info *out, fovea_error *err);

/* Streams an answer (or makes a plan, see request). on_token may be NULL. On FOVEA_OK the caller frees
 * *out with fovea_client_result_free. Errors are the server's status mapped back, with its text. */
fovea_status fovea_client_generate(fovea_client *client, const fovea_client_request *request,
                                   fovea_client_token_fn on_token, void *user,
                                   fovea_client_result *out, fovea_error *err);
void fovea_client_result_free(fovea_client_result *result);

#endif
