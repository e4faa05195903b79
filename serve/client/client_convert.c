/* client_convert.c - public structs to messages and back; the mirror of serve/convert_*.c. */
#include "serve/client/client_convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* protobuf-c has no const: messages that are only packed are never written through. */
static char *text_of(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}

static uint8_t *bytes_of(const void *bytes)
{
    union {
        const void *in;
        uint8_t *out;
    } both = {.in = bytes};
    return both.out;
}

static fovea_status no_memory(fovea_error *err)
{
    if (err != NULL) {
        err->code = FOVEA_ERR_NOMEM;
        snprintf(err->text, sizeof err->text, "out of memory");
    }
    return FOVEA_ERR_NOMEM;
}

static void fill_media(Fovea__V1__MediaItem *media, const fovea_client_part *part)
{
    fovea__v1__media_item__init(media);
    media->modality = FOVEA__V1__MODALITY__MODALITY_IMAGE;
    media->source_case = FOVEA__V1__MEDIA_ITEM__SOURCE_RAW_BYTES;
    media->raw_bytes.data = bytes_of(part->image);
    media->raw_bytes.len = part->n_image_bytes;
}

static void fill_sampling(const fovea_generate_options *options, fvi_client_message *out)
{
    Fovea__V1__Sampling *sampling = &out->sampling;
    fovea__v1__sampling__init(sampling);
#define SET(CASE, case_field, field, value)                                                        \
    do {                                                                                           \
        sampling->case_field = FOVEA__V1__SAMPLING__HAS_##CASE##_##CASE;                           \
        sampling->field = (value);                                                                 \
    } while (0)
    SET(TEMPERATURE, has_temperature_case, temperature, options->temperature);
    SET(SEED, has_seed_case, seed, options->seed);
    SET(LOGPROBS, has_logprobs_case, logprobs, options->n_logprobs);
    SET(TOP_K, has_top_k_case, top_k, options->top_k);
    SET(MIN_P, has_min_p_case, min_p, options->min_p);
    if (options->top_p > 0) {
        SET(TOP_P, has_top_p_case, top_p, options->top_p);
    }
    if (options->max_tokens > 0) {
        SET(MAX_TOKENS, has_max_tokens_case, max_tokens, options->max_tokens);
    }
#undef SET
    for (uint32_t i = 0; i < options->n_stop; i++) {
        out->stop[i] = text_of(options->stop[i]);
    }
    sampling->ignore_end = options->ignore_end != 0;
    sampling->stop = out->stop;
    sampling->n_stop = options->n_stop;
    out->request.sampling = sampling;
}

static void fill_message(const fovea_client_message *message, Fovea__V1__Message *out,
                         Fovea__V1__Part *parts, Fovea__V1__Part **list,
                         Fovea__V1__MediaItem *media)
{
    fovea__v1__message__init(out);
    out->role = (Fovea__V1__Role)(FOVEA__V1__ROLE__ROLE_SYSTEM + (int)message->role);
    out->parts = list;
    out->n_parts = message->n_part;
    for (uint32_t p = 0; p < message->n_part; p++) {
        fovea__v1__part__init(&parts[p]);
        list[p] = &parts[p];
        if (message->parts[p].text != NULL) {
            parts[p].content_case = FOVEA__V1__PART__CONTENT_TEXT;
            parts[p].text = text_of(message->parts[p].text);
        } else {
            parts[p].content_case = FOVEA__V1__PART__CONTENT_MEDIA;
            parts[p].media = &media[p];
            fill_media(&media[p], &message->parts[p]);
        }
    }
}

fovea_status fvi_client_message_make(const fovea_client_request *request, fvi_client_message *out,
                                     fovea_error *err)
{
    static const fovea_generate_options defaults = {.size = sizeof defaults};
    const fovea_generate_options *options =
        request->generate != NULL ? request->generate : &defaults;
    size_t n_part = 0, used = 0;
    for (uint32_t m = 0; m < request->n_message; m++) {
        n_part += request->messages[m].n_part;
    }
    *out = (fvi_client_message){0};
    out->messages = calloc(request->n_message + (size_t)1, sizeof *out->messages);
    out->message_list = calloc(request->n_message + (size_t)1, sizeof(*out->message_list));
    out->parts = calloc(n_part + 1, sizeof *out->parts);
    out->part_list = calloc(n_part + 1, sizeof(*out->part_list));
    out->media = calloc(n_part + request->n_image + 1, sizeof *out->media);
    out->media_list = calloc(request->n_image + (size_t)1, sizeof(*out->media_list));
    out->stop = calloc(options->n_stop + (size_t)1, sizeof *out->stop);
    if (out->messages == NULL || out->message_list == NULL || out->parts == NULL ||
        out->part_list == NULL || out->media == NULL || out->media_list == NULL ||
        out->stop == NULL) {
        fvi_client_message_free(out);
        return no_memory(err);
    }
    fovea__v1__generate_request__init(&out->request);
    for (uint32_t m = 0; m < request->n_message; m++) {
        fill_message(&request->messages[m], &out->messages[m], out->parts + used,
                     out->part_list + used, out->media + used);
        out->message_list[m] = &out->messages[m];
        used += request->messages[m].n_part;
    }
    for (uint32_t i = 0; i < request->n_image; i++) {
        fill_media(&out->media[n_part + i], &request->images[i]);
        out->media_list[i] = &out->media[n_part + i];
    }
    out->request.messages = out->message_list;
    out->request.n_messages = request->n_message;
    out->request.media = out->media_list;
    out->request.n_media = request->n_image;
    out->request.return_prompt_token_ids = 1;
    out->request.loyalty = options->loyalty != 0;
    if (request->raw_prompt != NULL) {
        out->request.has_raw_prompt_case = FOVEA__V1__GENERATE_REQUEST__HAS_RAW_PROMPT_RAW_PROMPT;
        out->request.raw_prompt = text_of(request->raw_prompt);
    }
    if (request->recipe != NULL) {
        out->request.has_recipe_case = FOVEA__V1__GENERATE_REQUEST__HAS_RECIPE_RECIPE;
        out->request.recipe = text_of(request->recipe);
    }
    fill_sampling(options, out);
    return FOVEA_OK;
}

void fvi_client_message_free(fvi_client_message *message)
{
    free(message->messages);
    free(message->message_list);
    free(message->parts);
    free(message->part_list);
    free(message->media);
    free(message->media_list);
    free(message->stop);
    *message = (fvi_client_message){0};
}

void fvi_client_read_prompt(const Fovea__V1__PromptAccount *prompt, fovea_client_result *out)
{
    snprintf(out->request_id, sizeof out->request_id, "%s", prompt->request_id);
}

static void read_ledger(const Fovea__V1__Ledger *in, fovea_ledger *out)
{
    *out = (fovea_ledger){.size = sizeof *out, .n_layer = in->layers, .n_kv_head = in->kv_heads};
    out->full_bytes = in->full_bytes;
    out->realised_bytes = in->realised_bytes;
    out->text_bytes = in->text_bytes;
    out->vision_bytes = in->vision_bytes;
    out->shared_bytes = in->shared_bytes;
    out->metadata_bytes = in->metadata_bytes;
    out->slack_bytes = in->slack_bytes;
    out->generated_bytes = in->generated_bytes;
    out->peak_bytes = in->peak_bytes;
    out->activation_peak_bytes = in->activation_peak_bytes;
    out->floor_bytes = in->floor_bytes;
    out->estimated_loss = in->estimated_loss;
    out->text_tokens = in->text_tokens;
    out->vision_tokens = in->vision_tokens;
    out->kept_text_slots = in->kept_text_slots;
    out->kept_vision_slots = in->kept_vision_slots;
    for (size_t i = 0; i < in->n_kinds; i++) {
        int kind = (int)in->kinds[i]->kind - FOVEA__V1__STORAGE_KIND__STORAGE_KIND_F32;
        if (kind >= 0 && kind < FOVEA_N_KIND) {
            out->kind_bytes[kind] = in->kinds[i]->payload_bytes;
            out->kind_slots[kind] = in->kinds[i]->slots;
        }
    }
}

fovea_status fvi_client_read_completion(const Fovea__V1__Completion *completion,
                                        fovea_client_result *out, fovea_error *err)
{
    fovea_usage *usage = &out->usage;
    const Fovea__V1__Usage *tokens = completion->usage;
    const Fovea__V1__Timings *times = completion->timings;
    *usage = (fovea_usage){.size = sizeof *usage};
    switch (completion->finish_reason) {
    case FOVEA__V1__FINISH_REASON__FINISH_REASON_STOP: usage->finish = FOVEA_FINISH_STOP; break;
    case FOVEA__V1__FINISH_REASON__FINISH_REASON_LENGTH: usage->finish = FOVEA_FINISH_LENGTH; break;
    case FOVEA__V1__FINISH_REASON__FINISH_REASON_PLAN: usage->finish = FOVEA_FINISH_PLAN; break;
    default: break;
    }
    if (tokens != NULL) {
        usage->text_tokens = tokens->text_tokens;
        usage->vision_tokens = tokens->vision_tokens;
        usage->output_tokens = tokens->output_tokens;
        usage->n_image = tokens->images;
    }
    if (tokens != NULL && tokens->loyalty != NULL) {
        usage->loyalty_tokens = tokens->loyalty->tokens;
        usage->loyalty_share = tokens->loyalty->share;
        usage->loyalty_kl = tokens->loyalty->kl_nats;
    }
    if (times != NULL) {
        usage->queue_ms = times->queue_ms;
        usage->encode_ms = times->encode_ms;
        usage->prefill_ms = times->prefill_ms;
        usage->plan_ms = times->plan_ms;
        usage->decode_ms = times->decode_ms;
        out->decode_image_ms = times->decode_image_ms;
    }
    if (completion->ledger != NULL) {
        read_ledger(completion->ledger, &out->ledger);
    }
    size_t n_id = completion->n_prompt_token_ids;
    int32_t *ids = calloc(n_id + 1, sizeof *ids);
    if (ids == NULL) {
        return no_memory(err);
    }
    if (n_id > 0) {
        memcpy(ids, completion->prompt_token_ids, n_id * sizeof *ids);
    }
    free(out->prompt_tokens);
    out->prompt_tokens = ids;
    out->n_prompt_token = n_id;
    return FOVEA_OK;
}

void fvi_client_read_model(const Fovea__V1__GetModelResponse *model, fovea_model_info *out)
{
    *out = (fovea_model_info){.size = sizeof *out};
    snprintf(out->name, sizeof out->name, "%s", model->name);
    snprintf(out->family, sizeof out->family, "%s", model->family);
    snprintf(out->encoder, sizeof out->encoder, "%s", model->encoder);
    snprintf(out->backend, sizeof out->backend, "%s", model->backend);
    out->n_parameter = model->parameters;
    out->n_layer = model->layers;
    out->n_head = model->heads;
    out->n_kv_head = model->kv_heads;
    out->head_dim = model->head_dim;
    out->hidden = model->hidden;
    out->vocab = model->vocab;
    out->context = model->context_tokens;
    out->image_width = model->image_width_pixels;
    out->image_height = model->image_height_pixels;
    out->tokens_per_image = model->tokens_per_image;
}
