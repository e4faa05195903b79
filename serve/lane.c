/* lane.c - an intrusive first-in first-out list under one lock. */
#include "serve/lane.h"

#include <stddef.h>

static void *lane_thread(void *arg)
{
    fvi_lane *lane = arg;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (lane->head == NULL && !lane->stopping) {
            pthread_cond_wait(&lane->changed, &lane->lock);
        }
        fvi_lane_node *node = lane->head;
        if (node == NULL) {
            break;
        }
        lane->head = node->next;
        if (lane->head == NULL) {
            lane->tail = NULL;
        }
        node->queued = false;
        void (*run)(void *owner) = node->run;
        void *owner = node->owner; /* the run may free the node */
        pthread_mutex_unlock(&lane->lock);
        run(owner);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

bool fvi_lane_start(fvi_lane *lane, uint32_t n_thread)
{
    *lane = (fvi_lane){0};
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
    while (lane->n_thread < n_thread && lane->n_thread < FVI_LANE_MAX_THREADS) {
        if (pthread_create(&lane->threads[lane->n_thread], NULL, lane_thread, lane) != 0) {
            fvi_lane_stop(lane);
            return false;
        }
        lane->n_thread++;
    }
    return true;
}

bool fvi_lane_push(fvi_lane *lane, fvi_lane_node *node)
{
    pthread_mutex_lock(&lane->lock);
    bool push = !node->queued;
    if (push) {
        node->queued = true;
        node->next = NULL;
        if (lane->tail != NULL) {
            lane->tail->next = node;
        } else {
            lane->head = node;
        }
        lane->tail = node;
        pthread_cond_signal(&lane->changed);
    }
    pthread_mutex_unlock(&lane->lock);
    return push;
}

void fvi_lane_stop(fvi_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stopping = true;
    pthread_cond_broadcast(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    for (uint32_t i = 0; i < lane->n_thread; i++) {
        pthread_join(lane->threads[i], NULL);
    }
    lane->n_thread = 0;
    pthread_mutex_destroy(&lane->lock);
    pthread_cond_destroy(&lane->changed);
}
