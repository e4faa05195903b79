/* lane.h - a queue with threads of its own; keeps long work off the thread that serves the network.
 *
 * The server has three: build (decode pictures, make sessions), pump (pull tokens, send them) and close
 * (give sessions back, and other things that wait for the engine's next step). A node is embedded in what it stands for and is queued at most once.
 *
 * Threads: push - any; start, stop - one. */
#ifndef FOVEA_SERVE_LANE_H
#define FOVEA_SERVE_LANE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FVI_LANE_MAX_THREADS 4

typedef struct fvi_lane_node {
    struct fvi_lane_node *next; /* guarded by the lane's lock */
    bool queued;                /* guarded by the lane's lock */
    void (*run)(void *owner);
    void *owner;
} fvi_lane_node;

typedef struct fvi_lane {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    fvi_lane_node *head, *tail; /* guarded by lock */
    bool stopping;              /* guarded by lock */
    pthread_t threads[FVI_LANE_MAX_THREADS];
    uint32_t n_thread; /* started */
} fvi_lane;

bool fvi_lane_start(fvi_lane *lane, uint32_t n_thread);
/* Queues node for one run; false when it was queued already. A node may be pushed while it is being
 * run: it is then run once more. */
bool fvi_lane_push(fvi_lane *lane, fvi_lane_node *node);
/* Runs what is queued and joins the threads. */
void fvi_lane_stop(fvi_lane *lane);

#endif
