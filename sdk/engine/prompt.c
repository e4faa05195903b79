/* prompt.c - widens picture markers and tags positions.
 *
 * The first token of a sequence is tagged as protected: nearly all attention that has nowhere to go lands
 * there (papers: attention sinks). Called when a turn is submitted. */
#include "sdk/engine/prompt.h"

static fovea_status append_span(fvi_turn *turn, uint32_t capacity, fvi_kv_span span)
{
    if (span.n == 0) {
        return FOVEA_OK;
    }
    if (turn->n_span == capacity) {
        return FOVEA_ERR_INTERNAL;
    }
    turn->spans[turn->n_span++] = span;
    return FOVEA_OK;
}

static uint32_t count_markers(const fvi_model *model, const fvi_ids *compact)
{
    uint32_t n = 0;
    for (size_t i = 0; i < compact->n; i++) {
        n += model->image_token >= 0 && compact->data[i] == model->image_token;
    }
    return n;
}

static fovea_status add_image(fvi_turn *turn, const fvi_model *model, fovea_image *image,
                              uint32_t position, uint32_t index, uint32_t capacity)
{
    fvi_kv_span span = {.first = position,
                        .n = model->tokens_per_image,
                        .modality = FOVEA_MODALITY_VISION,
                        .image = (uint16_t)index,
                        .grid_width = (uint16_t)model->grid_width};
    turn->images[turn->n_image++] =
        (fvi_turn_image){.image = fovea_image_ref(image), .row = (uint32_t)turn->ids.n};
    for (uint32_t i = 0; i < model->tokens_per_image; i++) {
        FVI_TRY(fvi_ids_append(&turn->ids, model->image_token));
    }
    turn->n_vision += model->tokens_per_image;
    return append_span(turn, capacity, span);
}

static fovea_status widen(fvi_turn *turn, const fvi_model *model, const fvi_ids *compact,
                          fovea_image *const *images, uint32_t first_position, uint32_t first_image)
{
    uint32_t capacity = 2 * count_markers(model, compact) + 2;
    uint32_t text_row = 0; /* where the current stretch of text began */
    if (first_position == 0 && compact->n > 0 && compact->data[0] != model->image_token) {
        fvi_kv_span sink = {.first = 0, .n = 1, .flags = FVI_KV_TAG_PROTECTED};
        FVI_TRY(append_span(turn, capacity, sink));
        text_row = 1;
    }
    for (size_t i = 0; i < compact->n; i++) {
        if (model->image_token < 0 || compact->data[i] != model->image_token) {
            FVI_TRY(fvi_ids_append(&turn->ids, compact->data[i]));
            turn->n_text++;
            continue;
        }
        uint32_t row = (uint32_t)turn->ids.n;
        FVI_TRY(append_span(turn, capacity,
                            (fvi_kv_span){.first = first_position + text_row, .n = row - text_row}));
        FVI_TRY(add_image(turn, model, images[turn->n_image], first_position + row,
                          first_image + turn->n_image, capacity));
        text_row = (uint32_t)turn->ids.n;
    }
    uint32_t row = (uint32_t)turn->ids.n;
    return append_span(turn, capacity,
                       (fvi_kv_span){.first = first_position + text_row, .n = row - text_row});
}

fovea_status fvi_turn_build(const fvi_model *model, const fvi_ids *compact, fovea_image *const *images,
                            uint32_t n_image, uint32_t first_position, uint32_t first_image,
                            fvi_turn *out, fovea_error *err)
{
    uint32_t n_marker = count_markers(model, compact);
    if (n_marker != n_image) {
        return FVI_FAIL(err, FOVEA_ERR_ARG, "%u image markers in the prompt for %u images", n_marker,
                        n_image);
    }
    uint64_t n = (uint64_t)compact->n - n_marker + (uint64_t)n_marker * model->tokens_per_image;
    if (first_position + n > model->config.context) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "the prompt ends at position %llu, the model's context is %u",
                        (unsigned long long)(first_position + n), model->config.context);
    }
    fvi_turn turn = {.alloc = model->alloc, .ids = {.alloc = model->alloc}};
    turn.spans = fvi_calloc(model->alloc, 2 * (size_t)n_marker + 2, sizeof *turn.spans);
    turn.images = n_image > 0 ? fvi_calloc(model->alloc, n_image, sizeof *turn.images) : NULL;
    fovea_status status = FOVEA_ERR_NOMEM;
    if (turn.spans != NULL && (n_image == 0 || turn.images != NULL)) {
        status = widen(&turn, model, compact, images, first_position, first_image);
    }
    if (status != FOVEA_OK) {
        fvi_turn_free(&turn);
        return FVI_FAIL(err, status, "no memory for a prompt of %llu tokens", (unsigned long long)n);
    }
    *out = turn;
    return FOVEA_OK;
}

void fvi_turn_free(fvi_turn *turn)
{
    for (uint32_t i = 0; i < turn->n_image; i++) {
        fovea_image_free(&turn->images[i].image);
    }
    if (turn->alloc == NULL) {
        return; /* never built */
    }
    fvi_free(turn->alloc, turn->images);
    fvi_free(turn->alloc, turn->spans);
    fvi_ids_free(&turn->ids);
    *turn = (fvi_turn){0};
}
