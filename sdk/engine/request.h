/* request.h - one submitted turn on its way through the scheduler. Internal to scheduler*.c. */
#ifndef FOVEA_ENGINE_REQUEST_H
#define FOVEA_ENGINE_REQUEST_H

#include "sdk/engine/loyalty.h"
#include "sdk/engine/scheduler.h"

#include <pthread.h>

typedef enum fvi_phase {
    FVI_PHASE_WAITING = 0,
    FVI_PHASE_ENCODE,  /* pictures, one a step */
    FVI_PHASE_PREFILL, /* blocks, one a step */
    FVI_PHASE_DECODE,
} fvi_phase;

struct fvi_request {
    fvi_request *next;
    fvi_timeline *timeline;
    fovea_generation *generation;
    fvi_turn turn;
    fvi_phase phase;
    fvi_prefill prefill;
    fvi_kv_obs *obs;
    bool cuts; /* finished layers are cut (kvcompress/cut.h) */
    fvi_loyalty loyalty;
    uint32_t next_image;
    int32_t token;         /* sampled last, goes into the cache next */
    uint32_t n_output;
    size_t allowed_bytes;  /* the sequence and its shadow may grow to this many by what was admitted */
    int64_t t_submit, t_admit, t_encoded, t_prefilled, t_planned, t_last;
    int64_t t_first;       /* first token was there */
};

/* A queue of requests in order of arrival. */
typedef struct fvi_request_list {
    fvi_request *first, *last;
    uint32_t n;
} fvi_request_list;

typedef struct fvi_job {
    struct fvi_job *next;
    fvi_job_fn fn;
    void *arg;
    fovea_status status;
    bool done;
} fvi_job;

typedef struct fvi_counters {
    _Atomic uint64_t submitted, finished, cancelled, expired, failed, refused;
    _Atomic uint64_t prompt_tokens, vision_tokens, output_tokens, steps, images;
    _Atomic uint32_t waiting, running;
} fvi_counters;

struct fvi_scheduler {
    const fovea_alloc *alloc;
    const fvi_model *model;
    fvi_kv_pool *pool;
    fvi_decoder *decoder;
    fvi_log log;
    uint32_t max_queue, max_running;
    fvi_counters count;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards inbox, jobs, closing, wake */
    pthread_cond_t work;  /* for the scheduler: something came */
    pthread_cond_t done;  /* for callers of run: a job is done */
    fvi_request_list inbox;
    fvi_job *jobs;
    bool closing, woken;

    /* of the scheduler's thread alone */
    fvi_request_list waiting, running;
    fvi_timeline *timelines;
    uint32_t max_row;          /* of a decode step: each request's own and its shadow's */
    fvi_decode_row *rows;      /* [max_row] */
    fvi_request **row_request; /* [max_row] a shadow's row follows its request's */
    float *hidden;             /* [max_row, hidden] */
    float *logits;             /* [FVI_HEAD_ROWS, vocab] */
    fvi_candidate *candidates; /* [vocab] */
    uint8_t *is_end;           /* [vocab] 1: ends an answer */
};

void fvi_request_list_push(fvi_request_list *list, fvi_request *request);
void fvi_request_list_remove(fvi_request_list *list, fvi_request *request);

/* scheduler_step.c */
/* One step; true when something was done. */
bool fvi_scheduler_step(fvi_scheduler *self);
/* Earliest deadline of any request, 0: none. */
int64_t fvi_scheduler_next_deadline(const fvi_scheduler *self);
/* Takes the request out of its list, ends its generation, frees it. */
void fvi_request_finish(fvi_scheduler *self, fvi_request_list *list, fvi_request *request,
                        fovea_finish finish, fovea_status code, const char *text);
/* Bytes the request needs beyond what its timeline holds. */
size_t fvi_request_need(const fvi_scheduler *self, const fvi_request *request);

#endif
