/* client_convert.h - the client's side of the messages: requests out, accounts in. Internal. */
#ifndef FOVEA_SERVE_CLIENT_CLIENT_CONVERT_H
#define FOVEA_SERVE_CLIENT_CLIENT_CONVERT_H

#include "serve/client/client.h"

#include <fovea/v1/control.pb-c.h>
#include <fovea/v1/inference.pb-c.h>

/* A request and all its parts; the strings and pictures stay the caller's. */
typedef struct fvi_client_message {
    Fovea__V1__GenerateRequest request;
    Fovea__V1__Sampling sampling;
    Fovea__V1__Message *messages;
    Fovea__V1__Message **message_list;
    Fovea__V1__Part *parts;
    Fovea__V1__Part **part_list;
    Fovea__V1__MediaItem *media;
    Fovea__V1__MediaItem **media_list;
    char **stop;
} fvi_client_message;

fovea_status fvi_client_message_make(const fovea_client_request *request, fvi_client_message *out,
                                     fovea_error *err);
void fvi_client_message_free(fvi_client_message *message);

void fvi_client_read_prompt(const Fovea__V1__PromptAccount *prompt, fovea_client_result *out);
fovea_status fvi_client_read_completion(const Fovea__V1__Completion *completion,
                                        fovea_client_result *out, fovea_error *err);
void fvi_client_read_model(const Fovea__V1__GetModelResponse *model, fovea_model_info *out);

#endif
