/* convert_request.c - checks of a GenerateRequest and its way into a session.
 *
 * Every text names the field in the caller's own words. Pictures are read where they lie in the
 * received slices; one that is spread over several is gathered once. */
#include "serve/convert.h"
#include "serve/base64.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BAD GRPC_STATUS_INVALID_ARGUMENT

/* Called for each item with its path; false stops the walk. */
typedef bool (*media_fn)(void *user, const Fovea__V1__MediaItem *media, const char *path,
                         fvi_rpc_error *err);

/* All items in the order of the prompt. */
static bool each_media(const Fovea__V1__GenerateRequest *request, media_fn fn, void *user,
                       fvi_rpc_error *err)
{
    char path[72];
    for (size_t m = 0; m < request->n_messages; m++) {
        const Fovea__V1__Message *message = request->messages[m];
        for (size_t p = 0; p < message->n_parts; p++) {
            if (message->parts[p]->content_case != FOVEA__V1__PART__CONTENT_MEDIA) {
                continue;
            }
            snprintf(path, sizeof path, "messages[%zu].parts[%zu].media", m, p);
            if (!fn(user, message->parts[p]->media, path, err)) {
                return false;
            }
        }
    }
    for (size_t i = 0; i < request->n_media; i++) {
        snprintf(path, sizeof path, "media[%zu]", i);
        if (!fn(user, request->media[i], path, err)) {
            return false;
        }
    }
    return true;
}

/* ---- checks ---- */

static bool check_messages(const Fovea__V1__GenerateRequest *request, fvi_rpc_error *err)
{
    for (size_t m = 0; m < request->n_messages; m++) {
        const Fovea__V1__Message *message = request->messages[m];
        if (message->role < FOVEA__V1__ROLE__ROLE_SYSTEM ||
            message->role > FOVEA__V1__ROLE__ROLE_ASSISTANT) {
            return fvi_rpc_fail(err, BAD, "messages[%zu].role: system, user or assistant is needed",
                                m);
        }
        if (message->n_parts == 0) {
            return fvi_rpc_fail(err, BAD, "messages[%zu].parts: at least one is needed", m);
        }
        for (size_t p = 0; p < message->n_parts; p++) {
            if (message->parts[p]->content_case == FOVEA__V1__PART__CONTENT__NOT_SET) {
                return fvi_rpc_fail(err, BAD, "messages[%zu].parts[%zu]: text or media is needed",
                                    m, p);
            }
        }
    }
    return true;
}

static bool check_shape(const Fovea__V1__GenerateRequest *request, fvi_rpc_error *err)
{
    if (request->has_request_id_case != 0) {
        size_t n = strlen(request->request_id);
        if (n == 0 || n > FVI_ID_MAX_BYTES) {
            return fvi_rpc_fail(err, BAD, "request_id: 1 to %d bytes, not %zu", FVI_ID_MAX_BYTES,
                                n);
        }
    }
    bool raw = request->has_raw_prompt_case != 0;
    if (raw && request->n_messages > 0) {
        return fvi_rpc_fail(err, BAD, "raw_prompt: stands beside messages; only one may be given");
    }
    if (!raw && request->n_messages == 0) {
        return fvi_rpc_fail(err, BAD, "messages: at least one message, or raw_prompt, is needed");
    }
    if (!raw && request->n_media > 0) {
        return fvi_rpc_fail(err, BAD, "media: belongs to raw_prompt; in messages, media is a part");
    }
    if (raw && request->raw_prompt[0] == '\0') {
        return fvi_rpc_fail(err, BAD, "raw_prompt: is empty");
    }
    return check_messages(request, err);
}

typedef struct check_walk {
    const fvi_image_limits *limits;
    uint32_t n_image;
} check_walk;

static bool check_media(void *user, const Fovea__V1__MediaItem *media, const char *path,
                        fvi_rpc_error *err)
{
    check_walk *walk = user;
    if (++walk->n_image > walk->limits->max_images) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED,
                            "%s: more than %" PRIu32 " images in one request", path,
                            walk->limits->max_images);
    }
    if (media->modality != FOVEA__V1__MODALITY__MODALITY_UNSPECIFIED &&
        media->modality != FOVEA__V1__MODALITY__MODALITY_IMAGE) {
        return fvi_rpc_fail(err, BAD, "%s.modality: only images are served", path);
    }
    if (media->mime_type[0] != '\0' && strncasecmp(media->mime_type, "image/", 6) != 0) {
        return fvi_rpc_fail(err, BAD, "%s.mime_type: only image/* is served", path);
    }
    if (strlen(media->uuid) > FVI_UUID_MAX_BYTES) {
        return fvi_rpc_fail(err, BAD, "%s.uuid: more than %d bytes", path, FVI_UUID_MAX_BYTES);
    }
    if (media->source_case == FOVEA__V1__MEDIA_ITEM__SOURCE_URL) {
        return fvi_rpc_fail(err, BAD, "%s.url: this server fetches nothing; send raw_bytes", path);
    }
    if (media->source_case == FOVEA__V1__MEDIA_ITEM__SOURCE__NOT_SET) {
        return fvi_rpc_fail(err, BAD, "%s: raw_bytes or data_uri is needed", path);
    }
    return true;
}

bool fvi_convert_check(const Fovea__V1__GenerateRequest *request, const fvi_image_limits *limits,
                       uint32_t *n_image, fvi_rpc_error *err)
{
    check_walk walk = {.limits = limits};
    char recipe[FOVEA_RECIPE_MAX_BYTES];
    if (!check_shape(request, err) || !each_media(request, check_media, &walk, err) ||
        !fvi_convert_recipe(request, recipe, err)) {
        return false;
    }
    *n_image = walk.n_image;
    return true;
}

/* ---- sampling ---- */

static bool check_range(float value, float min, float max, const char *name, fvi_rpc_error *err)
{
    if (isfinite(value) && value >= min && value <= max) {
        return true;
    }
    return fvi_rpc_fail(err, BAD, "sampling.%s: %g is not in %g to %g", name, (double)value,
                        (double)min, (double)max);
}

bool fvi_convert_sampling(const Fovea__V1__Sampling *sampling, const char **stop,
                          fovea_generate_options *out, fvi_rpc_error *err)
{
    *out = (fovea_generate_options){.size = sizeof *out};
    if (sampling == NULL) {
        return true;
    }
    bool has_top_p = sampling->has_top_p_case != 0;
    bool has_max = sampling->has_max_tokens_case != 0;
    out->temperature = sampling->has_temperature_case != 0 ? sampling->temperature : 0;
    out->top_p = has_top_p ? sampling->top_p : 0;
    out->min_p = sampling->has_min_p_case != 0 ? sampling->min_p : 0;
    out->top_k = sampling->has_top_k_case != 0 ? sampling->top_k : 0;
    out->ignore_end = sampling->ignore_end != 0;
    out->seed = sampling->has_seed_case != 0 ? sampling->seed : 0;
    out->max_tokens = has_max ? sampling->max_tokens : 0;
    out->n_logprobs = sampling->has_logprobs_case != 0 ? sampling->logprobs : 0;
    if (!check_range(out->temperature, 0, 100, "temperature", err) ||
        !check_range(out->min_p, 0, 1, "min_p", err) ||
        !check_range(out->top_p, 0, 1, "top_p", err)) {
        return false;
    }
    if (has_top_p && out->top_p == 0) {
        return fvi_rpc_fail(err, BAD, "sampling.top_p: must be above 0");
    }
    if (has_max && out->max_tokens == 0) {
        return fvi_rpc_fail(err, BAD,
                            "sampling.max_tokens: must be at least 1; Plan makes no token");
    }
    if (out->n_logprobs > 20) {
        return fvi_rpc_fail(err, BAD, "sampling.logprobs: at most 20");
    }
    if (sampling->n_stop > FVI_MAX_STOP) {
        return fvi_rpc_fail(err, BAD, "sampling.stop: at most %d texts", FVI_MAX_STOP);
    }
    for (size_t i = 0; i < sampling->n_stop; i++) {
        if (sampling->stop[i][0] == '\0') {
            return fvi_rpc_fail(err, BAD, "sampling.stop[%zu]: is empty", i);
        }
        stop[i] = sampling->stop[i];
    }
    out->stop = stop;
    out->n_stop = (uint32_t)sampling->n_stop;
    return true;
}

/* ---- note ---- */

typedef struct note_walk {
    fvi_prompt_note *note;
    uint32_t n;
} note_walk;

static bool note_media(void *user, const Fovea__V1__MediaItem *media, const char *path,
                       fvi_rpc_error *err)
{
    note_walk *walk = user;
    char *copy = strdup(media->uuid);
    if (copy == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", path);
    }
    walk->note->uuids[walk->n++] = copy;
    return true;
}

bool fvi_convert_note(const Fovea__V1__GenerateRequest *request, uint32_t n_image,
                      fvi_prompt_note *out, fvi_rpc_error *err)
{
    note_walk walk = {.note = out};
    char recipe[FOVEA_RECIPE_MAX_BYTES];
    if (!fvi_convert_recipe(request, recipe, err)) {
        return false;
    }
    if (request->has_request_id_case != 0) {
        snprintf(out->id, sizeof out->id, "%s", request->request_id);
    }
    out->return_ids = request->return_prompt_token_ids;
    out->loyalty = request->loyalty;
    out->n_image = n_image;
    out->recipe = strdup(recipe);
    out->uuids = calloc(n_image + 1, sizeof *out->uuids);
    if (out->recipe == NULL || out->uuids == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    return each_media(request, note_media, &walk, err);
}

void fvi_prompt_note_free(fvi_prompt_note *note)
{
    for (uint32_t i = 0; note->uuids != NULL && i < note->n_image; i++) {
        free(note->uuids[i]);
    }
    free(note->uuids);
    free(note->recipe);
    *note = (fvi_prompt_note){0};
}

/* ---- pictures ---- */

typedef struct image_walk {
    const fvi_wire_message *wire;
    const fvi_image_limits *limits;
    fovea_image **images; /* [n], room for as many as were counted */
    uint32_t n;
    uint64_t n_pixel;
} image_walk;

/* Decodes "data:image/..;base64,<text>" into *copy, which may hold the text already. */
static bool decode_data_uri(const uint8_t *text, size_t n, uint8_t **copy, size_t *n_out,
                            const char *path, fvi_rpc_error *err)
{
    static const char *const heads[] = {"data:image/png;base64,", "data:image/jpeg;base64,"};
    size_t n_head = 0;
    for (int i = 0; i < 2 && n_head == 0; i++) {
        size_t length = strlen(heads[i]);
        n_head = n > length && strncasecmp((const char *)text, heads[i], length) == 0 ? length : 0;
    }
    if (n_head == 0) {
        return fvi_rpc_fail(err, BAD,
                            "%s.data_uri: expected data:image/png;base64, or "
                            "data:image/jpeg;base64, and the file",
                            path);
    }
    const char *digits = (const char *)text + n_head;
    uint8_t *file = malloc(n);
    if (file == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", path);
    }
    bool good = fvi_wire_base64(digits, n - n_head, file, n_out);
    free(*copy);
    *copy = file;
    return good || fvi_rpc_fail(err, BAD, "%s.data_uri: the base64 text is damaged", path);
}

static bool decode_media(void *user, const Fovea__V1__MediaItem *media, const char *path,
                         fvi_rpc_error *err)
{
    image_walk *walk = user;
    const fvi_scan *scan = &walk->wire->scan;
    bool uri = media->source_case == FOVEA__V1__MEDIA_ITEM__SOURCE_DATA_URI;
    const fvi_span *span = uri ? fvi_scan_span(scan, media->data_uri, strlen(media->data_uri))
                               : fvi_scan_span(scan, media->raw_bytes.data, media->raw_bytes.len);
    char field[112];
    snprintf(field, sizeof field, "%s.%s", path, uri ? "data_uri" : "raw_bytes");
    if (span == NULL || span->n == 0) {
        return fvi_rpc_fail(err, BAD, "%s: is empty", field);
    }
    uint8_t *copy;
    const uint8_t *bytes = fvi_span_bytes(walk->wire->chunks, span, &copy);
    size_t n = span->n;
    if (bytes == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", field);
    }
    bool good = !uri || decode_data_uri(bytes, n, &copy, &n, path, err);
    uint64_t left = walk->limits->max_pixels - walk->n_pixel;
    if (good && left == 0) {
        good = fvi_rpc_fail(err, BAD, "%s: the pictures of the request are over %" PRIu64 " pixels",
                            field, walk->limits->max_pixels);
    }
    if (good) {
        fovea_image_options options = {
            .size = sizeof options, .max_bytes = walk->limits->max_bytes, .max_pixels = left};
        fovea_error cause = {0};
        fovea_image *image = NULL;
        fovea_status status =
            fovea_image_from_memory(uri ? copy : bytes, n, &options, &image, &cause);
        good = status >= 0 || fvi_rpc_fail_from(err, field, status, &cause);
        if (good) {
            walk->images[walk->n++] = image;
            walk->n_pixel += (uint64_t)fovea_image_width(image) * fovea_image_height(image);
        }
    }
    free(copy);
    return good;
}

bool fvi_convert_images(const fvi_wire_message *wire, const fvi_image_limits *limits,
                        fovea_image **images, fvi_rpc_error *err)
{
    image_walk walk = {.wire = wire, .limits = limits, .images = images};
    const void *request = wire->message;
    return each_media(request, decode_media, &walk, err);
}

/* ---- session ---- */

static bool add_message(const Fovea__V1__Message *message, size_t index, fovea_image *const *images,
                        uint32_t *n_used, fovea_session *session, fvi_rpc_error *err)
{
    fovea_error cause = {0};
    fovea_part *parts = calloc(message->n_parts, sizeof *parts);
    if (parts == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    for (size_t p = 0; p < message->n_parts; p++) {
        const Fovea__V1__Part *part = message->parts[p];
        if (part->content_case == FOVEA__V1__PART__CONTENT_MEDIA) {
            parts[p].image = images[(*n_used)++];
        } else {
            parts[p].text = part->text;
        }
    }
    /* The wire's roles are the library's, one up for UNSPECIFIED. */
    fovea_role role = (fovea_role)(message->role - FOVEA__V1__ROLE__ROLE_SYSTEM);
    fovea_status status =
        fovea_session_add_message(session, role, parts, (uint32_t)message->n_parts, &cause);
    free(parts);
    char field[40];
    snprintf(field, sizeof field, "messages[%zu]", index);
    return status >= 0 || fvi_rpc_fail_from(err, field, status, &cause);
}

bool fvi_convert_prompt(const Fovea__V1__GenerateRequest *request, fovea_image *const *images,
                        uint32_t n_image, fovea_session *session, fvi_rpc_error *err)
{
    fovea_error cause = {0};
    if (request->has_raw_prompt_case != 0) {
        fovea_status status = fovea_session_add_raw(
            session, request->raw_prompt, strlen(request->raw_prompt), images, n_image, &cause);
        return status >= 0 || fvi_rpc_fail_from(err, "raw_prompt", status, &cause);
    }
    uint32_t n_used = 0;
    for (size_t m = 0; m < request->n_messages; m++) {
        if (!add_message(request->messages[m], m, images, &n_used, session, err)) {
            return false;
        }
    }
    return true;
}
