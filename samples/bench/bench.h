/* bench.h - what the parts of fovea-bench share: the shapes, one measurement, how it is told.
 *
 * fovea-bench measures operations too, so unlike the other samples it looks behind the public headers.
 * Threads: one. */
#ifndef FOVEA_SAMPLES_BENCH_H
#define FOVEA_SAMPLES_BENCH_H

#include "sdk/ops/backend.h"

#include <stdbool.h>
#include <stdint.h>

/* A decoder whose weights are random. */
typedef struct bench_shape {
    const char *name;
    uint32_t hidden, n_layer, n_head, n_kv_head, head_dim, mlp, vocab;
    bool qkv_bias; /* Qwen2, else Llama */
} bench_shape;

typedef struct bench_options {
    const bench_shape *shape;
    const char *model; /* a folder, or NULL: the shape */
    const char *kinds; /* names with commas between them, or NULL */
    uint32_t n_thread, depth, n_prompt, n_decode, rounds;
    bool json, ops_only, step;
} bench_options;

/* The machine's read bandwidth is taken before every round of every measurement. */
typedef struct bench {
    const bench_options *options;
    fvi_backend *backend;
    uint8_t *stream; /* [stream_bytes]: more than any cache holds */
    size_t stream_bytes;
} bench;

/* One thing to time. */
typedef struct bench_case {
    const char *measure, *what;
    double bytes, flop; /* of one run; 0: not told */
    double units;       /* tokens or images of one run; 0: not told */
    /* *seconds comes as 0; who sets it has timed the essential part himself */
    fovea_status (*run)(void *arg, double *seconds);
    void *arg;
} bench_case;

/* Medians over the rounds. */
typedef struct bench_result {
    double seconds, bandwidth; /* bandwidth: bytes/s read by all threads */
    double share;              /* bytes / seconds / bandwidth, round by round */
    double faster;             /* the first case's seconds / these, round by round */
} bench_result;

fovea_status bench_open(bench *self, const bench_options *options);
void bench_close(bench *self);
/* Runs and prints one line; *result may be NULL. */
fovea_status bench_measure(bench *self, const bench_case *what, bench_result *result);
/* The same of n cases, of which every round runs all, one after another: a machine that changes its speed
 * changes it for all. results [n]; n at most FOVEA_N_KIND. */
fovea_status bench_measure_all(bench *self, const bench_case *cases, uint32_t n,
                               bench_result *results);
/* Prints how much faster one result was than another. */
void bench_ratio(const bench *self, const char *measure, const char *what, double ratio);

/* Random numbers of a fixed sequence; false when memory is out. */
void *bench_memory(size_t n_bytes);
float *bench_floats(size_t n);
uint16_t *bench_bf16(size_t n);
void bench_release(const void *memory);

/* Whether the options name this kind; all are where they name none. */
bool bench_wants(const bench *self, const fvi_codec *codec);

/* The operations alone; attention in decode alone where kinds are named. */
fovea_status bench_ops(bench *self);
/* A whole model through the public API. */
fovea_status bench_model(bench *self);
/* A decode step of 16 sequences over deep caches. */
fovea_status bench_step(bench *self);

#endif
