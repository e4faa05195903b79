/* client_probe.c - runs the C client once and prints what came back, one "key value" a line, for the
 * Python tests. Usage: client_probe HOST:PORT generate|plan|cancel TEXT [PNG] */
#include "serve/client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_IMAGE_BYTES 1048576

typedef struct seen {
    uint32_t n_token;
    size_t n_text;
    char text[4096];
    uint32_t stop_after; /* 0: never */
} seen;

static int on_token(void *user, const fovea_token *token)
{
    seen *self = user;
    if (self->n_text + token->n_bytes < sizeof self->text) {
        memcpy(self->text + self->n_text, token->text, token->n_bytes);
        self->n_text += token->n_bytes;
    }
    self->n_token++;
    return self->stop_after != 0 && self->n_token >= self->stop_after;
}

static int fail(const fovea_error *err)
{
    printf("error %s %s\n", fovea_status_name(err->code), err->text);
    return 1;
}

int main(int argc, char **argv)
{
    static uint8_t image[MAX_IMAGE_BYTES];
    fovea_client *client = NULL;
    fovea_error err = {0};
    fovea_model_info model;
    fovea_client_result result;
    seen self = {0};
    if (argc < 4) {
        fprintf(stderr, "usage: client_probe HOST:PORT generate|plan|cancel TEXT [PNG]\n");
        return 2;
    }
    fovea_client_part parts[2] = {{.text = argv[3]}};
    uint32_t n_part = 1;
    if (argc > 4) {
        FILE *file = fopen(argv[4], "rb");
        size_t n = file != NULL ? fread(image, 1, sizeof image, file) : 0;
        if (file != NULL) {
            fclose(file);
        }
        parts[n_part++] = (fovea_client_part){.image = image, .n_image_bytes = n};
    }
    fovea_client_message message = {.role = FOVEA_ROLE_USER, .parts = parts, .n_part = n_part};
    fovea_generate_options options = {.size = sizeof options, .max_tokens = 8, .n_logprobs = 2};
    fovea_client_request request = {.messages = &message, .n_message = 1, .generate = &options};
    options.plan_only = strcmp(argv[2], "plan") == 0;
    self.stop_after = strcmp(argv[2], "cancel") == 0 ? 2 : 0;
    if (fovea_client_open(argv[1], 3000, &client, &err) < 0) {
        return fail(&err);
    }
    fovea_status status = fovea_client_model(client, &model, &err);
    if (status == FOVEA_OK) {
        status = fovea_client_generate(client, &request, on_token, &self, &result, &err);
    }
    if (status == FOVEA_OK) {
        printf("model %s\ntokens %u\ntext %.*s\n", model.name, self.n_token, (int)self.n_text,
               self.text);
        printf("finish %d\noutput %u\nvision %u\nids %zu\nfull_bytes %llu\n",
               (int)result.usage.finish, result.usage.output_tokens, result.usage.vision_tokens,
               result.n_prompt_token, (unsigned long long)result.ledger.full_bytes);
        fovea_client_result_free(&result);
    }
    fovea_client_close(&client);
    return status == FOVEA_OK ? 0 : fail(&err);
}
