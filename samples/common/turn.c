/* turn.c - what runners share: replies that grow, pictures, a question as message parts. */
#include "samples/common/turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sample_reply_free(sample_reply *reply)
{
    free(reply->text);
    free(reply->prompt);
    free(reply->steps);
    free(reply->rows);
    free(reply->kinds);
    free(reply->spans);
    memset(reply, 0, sizeof(*reply));
}

fovea_status sample_reply_add_text(sample_reply *reply, const char *text, size_t n_bytes)
{
    char *grown = realloc(reply->text, reply->n_text + n_bytes + 1);

    if (grown == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    if (n_bytes > 0) {
        memcpy(grown + reply->n_text, text, n_bytes);
    }
    reply->text = grown;
    reply->n_text += n_bytes;
    reply->text[reply->n_text] = '\0';
    return FOVEA_OK;
}

fovea_status sample_reply_add_step(sample_reply *reply, const fovea_token *token)
{
    sample_step *steps = realloc(reply->steps, (reply->n_step + 1) * sizeof(*steps));
    sample_step *step;

    if (steps == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    reply->steps = steps;
    step = &steps[reply->n_step++];
    memset(step, 0, sizeof(*step));
    step->id = token->id;
    step->logprob = token->logprob;
    step->n_top = token->n_top < SAMPLE_MAX_TOP ? token->n_top : SAMPLE_MAX_TOP;
    if (step->n_top > 0) {
        memcpy(step->top, token->top, step->n_top * sizeof(*step->top));
    }
    return FOVEA_OK;
}

void sample_images_free(fovea_image **images, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fovea_image_free(&images[i]);
    }
}

fovea_status sample_images_open(const char *const *paths, size_t n, fovea_image **images,
                                fovea_error *err)
{
    memset(images, 0, n * sizeof(*images));
    for (size_t i = 0; i < n; i++) {
        fovea_error why = {0};
        fovea_status status = fovea_image_from_file(paths[i], NULL, &images[i], &why);
        if (status < 0) {
            sample_images_free(images, n);
            return sample_fail(err, status, "%s: %s", paths[i], why.text);
        }
    }
    return FOVEA_OK;
}

const char *sample_label(const sample_request *request, size_t index, char out[SAMPLE_LABEL_BYTES])
{
    if (!request->label || request->n_image < 2) {
        return NULL;
    }
    snprintf(out, SAMPLE_LABEL_BYTES, "Image %zu: ", index + 1);
    return out;
}

fovea_status sample_add_question(fovea_session *session, const sample_request *request,
                                 fovea_image *const *images, fovea_error *err)
{
    fovea_part *parts = calloc(2 * request->n_image + 1, sizeof(*parts));
    char *labels = calloc(request->n_image + 1, SAMPLE_LABEL_BYTES);
    fovea_status status = FOVEA_ERR_NOMEM;
    uint32_t n_part = 0;

    if (parts == NULL || labels == NULL) {
        sample_fail(err, status, "memory is out");
        goto done;
    }
    for (size_t i = 0; i < request->n_image; i++) {
        const char *label = sample_label(request, i, labels + i * SAMPLE_LABEL_BYTES);
        if (label != NULL) {
            parts[n_part++].text = label;
        }
        parts[n_part++].image = images[i];
    }
    parts[n_part++].text = request->text;
    status = fovea_session_add_message(session, FOVEA_ROLE_USER, parts, n_part, err);
done:
    free(labels);
    free(parts);
    return status;
}
