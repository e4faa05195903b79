/* convert_reply.c - tokens, accounts and ledgers as messages.
 *
 * What a reply points to lies in one of two arenas: tokens in one that is emptied after each delta,
 * accounts in one that lives as long as the request. */
#include "serve/convert.h"
#include "serve/utf8.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN_BUDGET   ((size_t)64 << 20) /* a unary answer is kept whole */
#define ACCOUNT_BUDGET ((size_t)16 << 20)

void fvi_answer_init(fvi_answer *answer)
{
    *answer = (fvi_answer){0};
    fvi_wire_arena_init(&answer->arena, TOKEN_BUDGET);
    fvi_wire_arena_init(&answer->accounts, ACCOUNT_BUDGET);
}

void fvi_answer_clear(fvi_answer *answer)
{
    fvi_wire_arena_reset(&answer->arena);
    answer->n_text = answer->n_token = answer->n_pulled = 0;
    if (answer->text != NULL) {
        answer->text[0] = '\0';
    }
}

void fvi_answer_free(fvi_answer *answer)
{
    fvi_wire_arena_free(&answer->arena);
    fvi_wire_arena_free(&answer->accounts);
    free(answer->text);
    free(answer->tokens);
    *answer = (fvi_answer){0};
}

/* Appends the token's text and points *from at where it begins. */
static bool add_text(fvi_answer *answer, const fovea_token *token, size_t *from)
{
    size_t need = answer->n_text + 3 * token->n_bytes + 1;
    if (need > answer->text_capacity) {
        size_t capacity = 2 * need + 64;
        char *grown = realloc(answer->text, capacity);
        if (grown == NULL) {
            return false;
        }
        answer->text = grown;
        answer->text_capacity = capacity;
    }
    *from = answer->n_text;
    answer->n_text += fvi_wire_utf8_repair(token->text, token->n_bytes, answer->text + *from);
    return true;
}

static bool add_top(fvi_wire_arena *arena, const fovea_token *token, Fovea__V1__Token *out)
{
    if (token->n_top == 0) {
        return true;
    }
    Fovea__V1__TokenLogprob *rows = fvi_wire_arena_calloc(arena, token->n_top, sizeof *rows);
    out->top = fvi_wire_arena_calloc(arena, token->n_top, sizeof(*out->top));
    if (rows == NULL || out->top == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < token->n_top; i++) {
        fovea__v1__token_logprob__init(&rows[i]);
        rows[i].token_id = token->top[i].token;
        rows[i].logprob = token->top[i].logprob;
        out->top[i] = &rows[i];
    }
    out->n_top = token->n_top;
    return true;
}

bool fvi_answer_add(fvi_answer *answer, const fovea_token *token)
{
    size_t from;
    if (!add_text(answer, token, &from)) {
        return false;
    }
    answer->n_pulled++;
    if (!answer->keep_tokens) {
        return true;
    }
    if (answer->n_token == answer->token_capacity) {
        uint32_t capacity = 2 * answer->token_capacity + 16;
        Fovea__V1__Token **grown = realloc(answer->tokens, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        answer->tokens = grown;
        answer->token_capacity = capacity;
    }
    size_t n_text = answer->n_text - from;
    Fovea__V1__Token *row = fvi_wire_arena_alloc(&answer->arena, sizeof *row);
    char *text = fvi_wire_arena_alloc(&answer->arena, n_text + 1);
    if (row == NULL || text == NULL) {
        return false;
    }
    fovea__v1__token__init(row);
    memcpy(text, answer->text + from, n_text + 1);
    row->id = token->id;
    row->text = text;
    row->logprob = token->logprob;
    answer->tokens[answer->n_token++] = row;
    return add_top(&answer->arena, token, row);
}

/* ---- accounts ---- */

static bool add_media(fvi_answer *answer, const fvi_prompt_note *note, fovea_session *session)
{
    const fovea_image_span *spans = NULL;
    uint32_t n_span = 0;
    Fovea__V1__PromptAccount *out = answer->prompt;
    if (note->n_image == 0 || fovea_session_images(session, &spans, &n_span) < 0 || n_span == 0) {
        return true;
    }
    Fovea__V1__MediaAccount *rows = fvi_wire_arena_calloc(&answer->accounts, n_span, sizeof *rows);
    out->media = fvi_wire_arena_calloc(&answer->accounts, n_span, sizeof *out->media);
    if (rows == NULL || out->media == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < n_span; i++) {
        fovea__v1__media_account__init(&rows[i]);
        if (spans[i].image < note->n_image) {
            rows[i].uuid = note->uuids[spans[i].image];
        }
        rows[i].first_token = spans[i].first_token;
        rows[i].vision_tokens = spans[i].n_token;
        rows[i].grid_width_tokens = spans[i].grid_width;
        rows[i].grid_height_tokens = spans[i].grid_height;
        out->media[i] = &rows[i];
    }
    out->n_media = n_span;
    return true;
}

static bool add_ids(fvi_answer *answer, fovea_session *session, Fovea__V1__Completion *out)
{
    size_t n_prompt = (size_t)out->usage->text_tokens + out->usage->vision_tokens;
    const int32_t *ids = NULL;
    size_t n = 0;
    if (fovea_session_tokens(session, &ids, &n) < 0) {
        return true;
    }
    n = n < n_prompt ? n : n_prompt; /* behind the prompt stands the answer */
    int32_t *copy = fvi_wire_arena_calloc(&answer->accounts, n + 1, sizeof *copy);
    if (copy == NULL) {
        return false;
    }
    if (n > 0) {
        memcpy(copy, ids, n * sizeof *copy);
    }
    out->prompt_token_ids = copy;
    out->n_prompt_token_ids = n;
    return true;
}

bool fvi_answer_prompt(fvi_answer *answer, const fvi_prompt_note *note, fovea_session *session,
                       const fovea_ledger *ledger)
{
    Fovea__V1__PromptAccount *out = fvi_wire_arena_alloc(&answer->accounts, sizeof *out);
    char *id = fvi_wire_arena_alloc(&answer->accounts, sizeof note->id);
    if (out == NULL || id == NULL) {
        return false;
    }
    double n_list = (double)ledger->n_layer * ledger->n_kv_head;
    fovea__v1__prompt_account__init(out);
    memcpy(id, note->id, sizeof note->id);
    out->request_id = id;
    out->recipe = note->recipe;
    out->text_tokens = (uint32_t)ledger->text_tokens;
    out->vision_tokens = (uint32_t)ledger->vision_tokens;
    if (n_list > 0) {
        out->kept_text_tokens = (double)ledger->kept_text_slots / n_list;
        out->kept_vision_tokens = (double)ledger->kept_vision_slots / n_list;
    }
    answer->prompt = out;
    return add_media(answer, note, session);
}

static bool add_kinds(fvi_wire_arena *arena, const fovea_ledger *ledger, Fovea__V1__Ledger *out)
{
    Fovea__V1__KindAccount *rows = fvi_wire_arena_calloc(arena, FOVEA_N_KIND, sizeof *rows);
    out->kinds = fvi_wire_arena_calloc(arena, FOVEA_N_KIND, sizeof *out->kinds);
    if (rows == NULL || out->kinds == NULL) {
        return false;
    }
    for (int kind = 0; kind < FOVEA_N_KIND; kind++) {
        if (ledger->kind_slots[kind] == 0 && ledger->kind_bytes[kind] == 0) {
            continue;
        }
        Fovea__V1__KindAccount *row = &rows[out->n_kinds];
        fovea__v1__kind_account__init(row);
        row->kind = (Fovea__V1__StorageKind)(FOVEA__V1__STORAGE_KIND__STORAGE_KIND_F32 + kind);
        row->payload_bytes = ledger->kind_bytes[kind];
        row->slots = ledger->kind_slots[kind];
        out->kinds[out->n_kinds++] = row;
    }
    return true;
}

static bool fill_ledger(fvi_wire_arena *arena, const fovea_ledger *ledger, Fovea__V1__Ledger *out)
{
    fovea__v1__ledger__init(out);
    out->full_bytes = ledger->full_bytes;
    out->realised_bytes = ledger->realised_bytes;
    out->text_bytes = ledger->text_bytes;
    out->vision_bytes = ledger->vision_bytes;
    out->shared_bytes = ledger->shared_bytes;
    out->metadata_bytes = ledger->metadata_bytes;
    out->slack_bytes = ledger->slack_bytes;
    out->generated_bytes = ledger->generated_bytes;
    out->peak_bytes = ledger->peak_bytes;
    out->activation_peak_bytes = ledger->activation_peak_bytes;
    out->floor_bytes = ledger->floor_bytes;
    out->text_tokens = ledger->text_tokens;
    out->vision_tokens = ledger->vision_tokens;
    out->kept_text_slots = ledger->kept_text_slots;
    out->kept_vision_slots = ledger->kept_vision_slots;
    out->estimated_loss = ledger->estimated_loss;
    out->layers = ledger->n_layer;
    out->kv_heads = ledger->n_kv_head;
    return add_kinds(arena, ledger, out);
}

static Fovea__V1__FinishReason finish_reason(fovea_finish finish)
{
    switch (finish) {
    case FOVEA_FINISH_STOP: return FOVEA__V1__FINISH_REASON__FINISH_REASON_STOP;
    case FOVEA_FINISH_LENGTH: return FOVEA__V1__FINISH_REASON__FINISH_REASON_LENGTH;
    case FOVEA_FINISH_PLAN: return FOVEA__V1__FINISH_REASON__FINISH_REASON_PLAN;
    default: return FOVEA__V1__FINISH_REASON__FINISH_REASON_UNSPECIFIED;
    }
}

static bool add_loyalty(fvi_wire_arena *arena, const fovea_usage *usage, Fovea__V1__Usage *out)
{
    out->loyalty = fvi_wire_arena_alloc(arena, sizeof *out->loyalty);
    if (out->loyalty == NULL) {
        return false;
    }
    fovea__v1__loyalty__init(out->loyalty);
    out->loyalty->tokens = usage->loyalty_tokens;
    out->loyalty->share = usage->loyalty_share;
    out->loyalty->kl_nats = usage->loyalty_kl;
    return true;
}

Fovea__V1__Completion *fvi_answer_completion(fvi_answer *answer, const fovea_usage *usage,
                                             const fovea_ledger *ledger,
                                             const fvi_prompt_note *note, fovea_session *session)
{
    fvi_wire_arena *arena = &answer->accounts;
    Fovea__V1__Completion *out = fvi_wire_arena_alloc(arena, sizeof *out);
    Fovea__V1__Usage *tokens = fvi_wire_arena_alloc(arena, sizeof *tokens);
    Fovea__V1__Timings *times = fvi_wire_arena_alloc(arena, sizeof *times);
    Fovea__V1__Ledger *account = fvi_wire_arena_alloc(arena, sizeof *account);
    if (out == NULL || tokens == NULL || times == NULL || account == NULL ||
        !fill_ledger(arena, ledger, account)) {
        return NULL;
    }
    fovea__v1__completion__init(out);
    fovea__v1__usage__init(tokens);
    fovea__v1__timings__init(times);
    tokens->text_tokens = usage->text_tokens;
    tokens->vision_tokens = usage->vision_tokens;
    tokens->output_tokens = usage->output_tokens;
    tokens->images = usage->n_image;
    times->queue_ms = usage->queue_ms;
    times->decode_image_ms = note->decode_image_ms;
    times->encode_ms = usage->encode_ms;
    times->prefill_ms = usage->prefill_ms;
    times->plan_ms = usage->plan_ms;
    times->decode_ms = usage->decode_ms;
    out->finish_reason = finish_reason(usage->finish);
    out->usage = tokens;
    out->ledger = account;
    out->timings = times;
    bool whole = (!note->loyalty || add_loyalty(arena, usage, tokens)) &&
                 (!note->return_ids || add_ids(answer, session, out));
    return whole ? out : NULL;
}
