/* request.h - a Generate, GenerateStream or Plan call from admission to its last message.
 *
 *     admit, message   poller       the request exists; the body goes to the build lane
 *     build            build lane   unpack, check, decode pictures, session, submit
 *     pump             pump lane    pull tokens, send deltas; woken by the engine or by room in the ring
 *     close            close lane   give the session back, then the last message and the status
 *
 * Each stage hands the request on; only cancelling comes from the side (client, Abort, drain), and it
 * only sets a flag and tells the engine. Every lane entry holds a reference to the call.
 *
 * Layout: request.c (stages), request_build.c (the build stage), convert_request.c, convert_reply.c. */
#ifndef FOVEA_SERVE_REQUEST_H
#define FOVEA_SERVE_REQUEST_H

#include "serve/convert.h"
#include "serve/server.h"
#include "serve/unpack.h"

typedef enum fvi_request_mode { FVI_GENERATE, FVI_STREAM, FVI_PLAN } fvi_request_mode;

struct fvi_request {
    fvi_call *call; /* the request lives as long as it */
    fvi_request_mode mode;
    fvi_lane_node build, pump, close;
    fvi_request *next, *prev; /* in the server's list, guarded by requests_lock */
    bool listed;              /* guarded by requests_lock */

    bool counted; /* in the server's n_request */

    /* From the build stage. */
    grpc_byte_buffer *message;
    fvi_prompt_note note;
    bool return_tokens;
    uint64_t n_pixel; /* booked in the server's pixels_held */
    fovea_session *session;

    pthread_mutex_t lock; /* guards the next four */
    fovea_generation *generation;
    bool submitted; /* from here on the generation belongs to pump and close */
    bool cancelled;
    const char *cancel_text; /* static */

    /* The pump's. */
    fvi_answer answer;
    bool prompt_known;
    bool ended;
    fovea_status end; /* FOVEA_DONE or why it ended */
    fovea_error end_error;
    fvi_rpc_error failure; /* of the pump itself; code OK: none */
};

extern const fvi_method fvi_inference_generate, fvi_inference_stream, fvi_inference_plan;
extern const fvi_method fvi_control_server_info, fvi_control_model, fvi_control_stats,
    fvi_control_abort;

/* Runs of the lanes; the argument is the request, with one reference to its call for the entry. One more
 * is held from the message to the end of the close stage. */
void fvi_request_build(void *request);
void fvi_request_pump(void *request);
void fvi_request_close(void *request);

/* Puts a request on a lane. Any thread. */
void fvi_request_push(fvi_lane *lane, fvi_lane_node *node, fvi_call *call);
/* Lists the request under its id; false when the id is under way. Any thread. */
bool fvi_request_list(fvi_request *request);
/* Wakes the pump. Any thread. */
void fvi_request_wake(void *request);
/* Stops a request; `why` is static and becomes the text of CANCELLED. Any thread. */
void fvi_request_cancel(fvi_request *request, const char *why);
/* False when no request under way has this id. Any thread. */
bool fvi_request_abort(fvi_server *server, const char *id);
void fvi_request_cancel_all(fvi_server *server);

#endif
