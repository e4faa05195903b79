/* request.c - admission, the pump and the close stage of Inference calls, and cancelling from the side.
 *
 * Only the pump lane (one thread) pulls tokens. A reader that is too slow fills its call's ring; then
 * nothing is pulled for it until on_writable, while the engine goes on for the others. The last message
 * goes out when the session is given back, so that a client that has it sees the bytes free. */
#include "serve/request.h"

#include <grpc/byte_buffer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNNING_BESIDE_QUEUE 64 /* the engine's default for sequences that run at once */
#define TOKENS_PER_DELTA     32

/* ---- the list of requests by id ---- */

static fvi_request *find_request(fvi_server *server, const char *id)
{
    for (fvi_request *r = server->requests; r != NULL; r = r->next) {
        if (strcmp(r->note.id, id) == 0) {
            return r;
        }
    }
    return NULL;
}

bool fvi_request_list(fvi_request *r)
{
    fvi_server *server = r->call->server;
    pthread_mutex_lock(&server->requests_lock);
    bool fresh = find_request(server, r->note.id) == NULL;
    if (fresh) {
        r->next = server->requests;
        if (r->next != NULL) {
            r->next->prev = r;
        }
        server->requests = r;
        r->listed = true;
    }
    pthread_mutex_unlock(&server->requests_lock);
    return fresh;
}

static void unlist(fvi_request *r)
{
    fvi_server *server = r->call->server;
    pthread_mutex_lock(&server->requests_lock);
    if (r->listed) {
        if (r->prev != NULL) {
            r->prev->next = r->next;
        } else {
            server->requests = r->next;
        }
        if (r->next != NULL) {
            r->next->prev = r->prev;
        }
        r->listed = false;
    }
    pthread_mutex_unlock(&server->requests_lock);
}

/* ---- cancelling ---- */

void fvi_request_cancel(fvi_request *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    if (!r->cancelled) {
        r->cancelled = true;
        r->cancel_text = why;
    }
    if (r->generation != NULL) {
        fovea_generation_cancel(r->generation);
    }
    pthread_mutex_unlock(&r->lock);
}

bool fvi_request_abort(fvi_server *server, const char *id)
{
    pthread_mutex_lock(&server->requests_lock);
    fvi_request *found = find_request(server, id);
    if (found != NULL) {
        fvi_request_cancel(found, "stopped by Control.Abort");
    }
    pthread_mutex_unlock(&server->requests_lock);
    return found != NULL;
}

void fvi_request_cancel_all(fvi_server *server)
{
    pthread_mutex_lock(&server->requests_lock);
    for (fvi_request *r = server->requests; r != NULL; r = r->next) {
        fvi_request_cancel(r, "the server is shutting down");
    }
    pthread_mutex_unlock(&server->requests_lock);
}

/* ---- poller side ---- */

/* Only one stage has the request at a time: no lock. */
static void uncount(fvi_request *r)
{
    if (r->counted) {
        r->counted = false;
        atomic_fetch_sub(&r->call->server->n_request, 1);
    }
}

static bool admit(fvi_call *call, fvi_request_mode mode, fvi_rpc_error *err)
{
    fvi_server *server = call->server;
    if (atomic_load(&server->engine) == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_UNAVAILABLE, "the model is being loaded");
    }
    uint32_t limit = server->options.max_queue + RUNNING_BESIDE_QUEUE;
    fvi_request *r = NULL;
    if (atomic_load(&server->n_request) >= limit) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED,
                            "the queue is full: %u requests are under way", limit);
    }
    r = calloc(1, sizeof *r);
    if (r == NULL) {
        return fvi_rpc_fail(err, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    r->call = call;
    r->mode = mode;
    r->build = (fvi_lane_node){.run = fvi_request_build, .owner = r};
    r->pump = (fvi_lane_node){.run = fvi_request_pump, .owner = r};
    r->close = (fvi_lane_node){.run = fvi_request_close, .owner = r};
    pthread_mutex_init(&r->lock, NULL);
    fvi_answer_init(&r->answer);
    call->user = r;
    r->counted = true;
    atomic_fetch_add(&server->n_request, 1);
    return true;
}

static bool admit_generate(fvi_call *call, fvi_rpc_error *err)
{
    return admit(call, FVI_GENERATE, err);
}

static bool admit_stream(fvi_call *call, fvi_rpc_error *err)
{
    return admit(call, FVI_STREAM, err);
}

static bool admit_plan(fvi_call *call, fvi_rpc_error *err)
{
    return admit(call, FVI_PLAN, err);
}

void fvi_request_push(fvi_lane *lane, fvi_lane_node *node, fvi_call *call)
{
    fvi_call_ref(call);
    if (!fvi_lane_push(lane, node)) {
        fvi_call_unref(call); /* the entry that waits has its own */
    }
}

static void on_message(fvi_call *call, grpc_byte_buffer *message)
{
    fvi_request *r = call->user;
    r->message = message;
    fvi_call_ref(call); /* until the close stage is through */
    fvi_request_push(&call->server->build, &r->build, call);
}

static void on_close(fvi_call *call, bool cancelled)
{
    if (cancelled && call->user != NULL) {
        fvi_request_cancel(call->user, "cancelled by the client");
        fvi_request_wake(call->user);
    }
}

static void on_writable(fvi_call *call)
{
    fvi_request_wake(call->user);
}

static void on_free(fvi_call *call)
{
    fvi_request *r = call->user;
    if (r == NULL) {
        return; /* posted and never used, or refused */
    }
    if (r->message != NULL) {
        grpc_byte_buffer_destroy(r->message);
    }
    fvi_prompt_note_free(&r->note);
    fvi_answer_free(&r->answer);
    pthread_mutex_destroy(&r->lock);
    uncount(r);
    free(r);
}

#define INFERENCE_METHOD(name, admit_fn)                                                           \
    {                                                                                              \
        .path = "/fovea.v1.Inference/" name, .n_posted = 32, .admit = (admit_fn),                  \
        .on_message = on_message, .on_close = on_close, .on_writable = on_writable,                \
        .on_free = on_free                                                                         \
    }

const fvi_method fvi_inference_generate = INFERENCE_METHOD("Generate", admit_generate);
const fvi_method fvi_inference_stream = INFERENCE_METHOD("GenerateStream", admit_stream);
const fvi_method fvi_inference_plan = INFERENCE_METHOD("Plan", admit_plan);

/* ---- pump ---- */

void fvi_request_wake(void *request)
{
    fvi_request *r = request;
    fvi_request_push(&r->call->server->pump, &r->pump, r->call);
}

static void send_event(fvi_request *r, Fovea__V1__GenerateStreamResponse *event)
{
    fvi_call_send(r->call, fvi_wire_pack(&event->base)); /* false: the call is over, see on_close */
}

/* Makes the prompt's account once the plan is there, and sends it to a stream. */
static bool note_prompt(fvi_request *r)
{
    fovea_ledger ledger = {.size = sizeof ledger};
    if (r->prompt_known || fovea_generation_ledger(r->generation, &ledger) < 0) {
        return true;
    }
    if (!fvi_answer_prompt(&r->answer, &r->note, r->session, &ledger)) {
        return fvi_rpc_fail(&r->failure, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    r->prompt_known = true;
    if (r->mode == FVI_STREAM) {
        Fovea__V1__GenerateStreamResponse event = FOVEA__V1__GENERATE_STREAM_RESPONSE__INIT;
        event.event_case = FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_PROMPT;
        event.prompt = r->answer.prompt;
        send_event(r, &event);
    }
    return true;
}

static void send_delta(fvi_request *r)
{
    if (r->mode != FVI_STREAM || r->answer.n_pulled == 0) {
        return;
    }
    Fovea__V1__GenerateStreamResponse event = FOVEA__V1__GENERATE_STREAM_RESPONSE__INIT;
    Fovea__V1__Delta delta = FOVEA__V1__DELTA__INIT;
    delta.text = r->answer.text;
    delta.tokens = r->answer.tokens;
    delta.n_tokens = r->answer.n_token;
    event.event_case = FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_DELTA;
    event.delta = &delta;
    send_event(r, &event);
    fvi_answer_clear(&r->answer);
}

/* Pulls up to one delta. True: there may be more at once. */
static bool pull(fvi_request *r)
{
    fovea_token token;
    for (uint32_t i = 0; i < TOKENS_PER_DELTA; i++) {
        fovea_status status = fovea_generation_next(r->generation, 0, &token, &r->end_error);
        if (status == FOVEA_AGAIN) {
            return false;
        }
        if (!note_prompt(r)) {
            r->ended = true;
            return false;
        }
        if (status != FOVEA_OK) {
            r->end = status;
            r->ended = true;
            return false;
        }
        if (!fvi_answer_add(&r->answer, &token)) {
            fvi_rpc_fail(&r->failure, GRPC_STATUS_RESOURCE_EXHAUSTED,
                         "the answer is over the server's limit");
            r->ended = true;
            return false;
        }
    }
    return true;
}

void fvi_request_pump(void *request)
{
    fvi_request *r = request;
    fvi_call *call = r->call;
    pthread_mutex_lock(&r->lock);
    bool submitted = r->submitted;
    pthread_mutex_unlock(&r->lock);
    if (submitted && !r->ended && fvi_call_has_room(call)) {
        bool more = pull(r);
        send_delta(r);
        if (r->ended) {
            fvi_request_push(&call->server->close, &r->close, call);
        } else if (more) {
            fvi_request_wake(r); /* at the end of the lane: the others come first */
        }
    }
    fvi_call_unref(call);
}

/* ---- close ---- */

/* Why a generation ended without an answer; false when it did end with one. */
static bool end_failure(fvi_request *r, const fovea_usage *usage)
{
    if (r->failure.code != GRPC_STATUS_OK) {
        return true;
    }
    fovea_status end = r->end;
    if (end == FOVEA_DONE) {
        end = usage->finish == FOVEA_FINISH_CANCELLED  ? FOVEA_ERR_CANCELLED
              : usage->finish == FOVEA_FINISH_DEADLINE ? FOVEA_ERR_DEADLINE
              : usage->finish == FOVEA_FINISH_ERROR    ? FOVEA_ERR_INTERNAL
                                                       : FOVEA_DONE;
    }
    if (end == FOVEA_DONE) {
        return false;
    }
    pthread_mutex_lock(&r->lock);
    const char *why = r->cancelled ? r->cancel_text : NULL;
    pthread_mutex_unlock(&r->lock);
    if (end == FOVEA_ERR_CANCELLED && why != NULL) {
        fvi_rpc_fail(&r->failure, GRPC_STATUS_CANCELLED, "%s", why);
    } else {
        fvi_rpc_fail_from(&r->failure, end == FOVEA_ERR_BUDGET ? "recipe" : NULL, end,
                          &r->end_error);
    }
    return true;
}

static void finish_answer(fvi_request *r, Fovea__V1__Completion *completion)
{
    fvi_answer *answer = &r->answer;
    char none[1] = "";
    if (r->mode == FVI_STREAM) {
        Fovea__V1__GenerateStreamResponse event = FOVEA__V1__GENERATE_STREAM_RESPONSE__INIT;
        event.event_case = FOVEA__V1__GENERATE_STREAM_RESPONSE__EVENT_COMPLETION;
        event.completion = completion;
        fvi_call_reply(r->call, &event.base);
    } else if (r->mode == FVI_PLAN) {
        Fovea__V1__PlanResponse reply = FOVEA__V1__PLAN_RESPONSE__INIT;
        reply.prompt = answer->prompt;
        reply.completion = completion;
        fvi_call_reply(r->call, &reply.base);
    } else {
        Fovea__V1__GenerateResponse reply = FOVEA__V1__GENERATE_RESPONSE__INIT;
        reply.prompt = answer->prompt;
        reply.text = answer->text != NULL ? answer->text : none;
        reply.tokens = answer->tokens;
        reply.n_tokens = answer->n_token;
        reply.completion = completion;
        fvi_call_reply(r->call, &reply.base);
    }
}

/* Takes the accounts before the session goes. */
static Fovea__V1__Completion *take_accounts(fvi_request *r)
{
    fovea_usage usage = {.size = sizeof usage};
    fovea_ledger ledger = {.size = sizeof ledger};
    if (r->generation == NULL) {
        return NULL;
    }
    fovea_status status = fovea_generation_usage(r->generation, &usage);
    if (end_failure(r, &usage)) {
        return NULL;
    }
    if (status >= 0) {
        status = fovea_generation_ledger(r->generation, &ledger);
    }
    if (status < 0) {
        fvi_rpc_fail_from(&r->failure, NULL, status, NULL);
        return NULL;
    }
    Fovea__V1__Completion *completion =
        fvi_answer_completion(&r->answer, &usage, &ledger, &r->note, r->session);
    if (completion == NULL) {
        fvi_rpc_fail(&r->failure, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    return completion;
}

void fvi_request_close(void *request)
{
    fvi_request *r = request;
    fvi_call *call = r->call;
    Fovea__V1__Completion *completion = take_accounts(r);
    pthread_mutex_lock(&r->lock);
    fovea_generation *generation = r->generation;
    r->generation = NULL;
    pthread_mutex_unlock(&r->lock);
    fovea_generation_free(&generation);
    fovea_session_free(&r->session);
    atomic_fetch_sub(&call->server->pixels_held, r->n_pixel);
    unlist(r);
    uncount(r);
    if (completion != NULL) {
        finish_answer(r, completion);
    } else {
        fvi_call_fail(call, &r->failure);
    }
    fvi_call_unref(call);
    fvi_call_unref(call);
}
