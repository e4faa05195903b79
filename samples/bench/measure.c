/* measure.c - times a case beside the machine's read bandwidth, and tells the result. */
#include "samples/bench/bench.h"

#include "sdk/base/cpu.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAM_BYTES ((size_t)512 << 20)
#define STREAM_PART  ((size_t)1 << 20)
#define AHEAD        ((size_t)4096)
#define MAX_ROUNDS   64

/* A cache line; wide adds, so that adding never is what takes the time. */
typedef uint64_t line __attribute__((vector_size(64)));

typedef struct stream_job {
    const uint8_t *data;
    line sums[64]; /* by worker, so that the reads are not for nothing */
} stream_job;

static void stream_part(void *arg, uint32_t part, uint32_t worker)
{
    stream_job *job = arg;
    const line *at = (const line *)(const void *)(job->data + part * STREAM_PART);
    line a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < STREAM_PART / sizeof *at; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            __builtin_prefetch(at + i + j + AHEAD / sizeof *at);
        }
        a += at[i];
        b += at[i + 1];
        c += at[i + 2];
        d += at[i + 3];
    }
    job->sums[worker % 64] += a + b + c + d;
}

/* Bytes per second. */
static double read_stream(const bench *self)
{
    stream_job job = {.data = self->stream};
    int64_t start = fvi_now_ns();
    fvi_pool_run(self->backend->pool, (uint32_t)(self->stream_bytes / STREAM_PART), stream_part,
                 &job);
    return (double)self->stream_bytes / ((double)(fvi_now_ns() - start) * 1e-9);
}

fovea_status bench_open(bench *self, const bench_options *options)
{
    fovea_error err = {0};
    *self = (bench){.options = options, .stream_bytes = STREAM_BYTES};
    fovea_status status = fvi_backend_cpu_open(NULL, options->n_thread, 0, &self->backend, &err);
    if (status < 0) {
        fprintf(stderr, "fovea-bench: %s\n", err.text);
        return status;
    }
    self->stream = bench_memory(STREAM_BYTES);
    if (self->stream == NULL) {
        bench_close(self);
        return FOVEA_ERR_NOMEM;
    }
    memset(self->stream, 1, STREAM_BYTES);
    return FOVEA_OK;
}

void bench_close(bench *self)
{
    bench_release(self->stream);
    self->stream = NULL;
    fvi_backend_close(&self->backend);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof *values, compare);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void print_json(const bench *self, const bench_case *c, const bench_result *r)
{
    printf("{\"measure\":\"%s\",\"what\":\"%s\",\"threads\":%u,\"seconds\":%.6g", c->measure,
           c->what, fvi_pool_n_thread(self->backend->pool), r->seconds);
    if (c->bytes > 0) {
        printf(",\"gb_per_s\":%.4g,\"bandwidth_gb_per_s\":%.4g,\"share\":%.4g",
               c->bytes / r->seconds * 1e-9, r->bandwidth * 1e-9, r->share);
    }
    if (c->flop > 0) {
        printf(",\"gflop_per_s\":%.4g", c->flop / r->seconds * 1e-9);
    }
    if (c->units > 0) {
        printf(",\"per_s\":%.5g", c->units / r->seconds);
    }
    printf("}\n");
}

static void print_text(const bench_case *c, const bench_result *r)
{
    printf("%-14s %-34s %10.3f ms", c->measure, c->what, r->seconds * 1e3);
    if (c->bytes > 0) {
        printf("  %6.1f GB/s of %.1f (%.0f %%)", c->bytes / r->seconds * 1e-9, r->bandwidth * 1e-9,
               r->share * 100);
    }
    if (c->flop > 0) {
        printf("  %6.0f GF/s", c->flop / r->seconds * 1e-9);
    }
    if (c->units > 0) {
        printf("  %8.1f /s", c->units / r->seconds);
    }
    printf("\n");
}

static void tell(const bench *self, const bench_case *c, const bench_result *r)
{
    if (self->options->json) {
        print_json(self, c, r);
    } else {
        print_text(c, r);
    }
}

/* One case in one round. */
static fovea_status run_once(bench *self, const bench_case *c, double *seconds, double *bandwidth)
{
    *bandwidth = read_stream(self); /* also leaves the caches without what is timed */
    int64_t start = fvi_now_ns();
    *seconds = 0;
    FVI_TRY(c->run(c->arg, seconds));
    if (*seconds <= 0) {
        *seconds = (double)(fvi_now_ns() - start) * 1e-9;
    }
    return FOVEA_OK;
}

fovea_status bench_measure_all(bench *self, const bench_case *cases, uint32_t n,
                               bench_result *results)
{
    double seconds[FOVEA_N_KIND][MAX_ROUNDS], bandwidth[FOVEA_N_KIND][MAX_ROUNDS];
    double share[MAX_ROUNDS], faster[FOVEA_N_KIND][MAX_ROUNDS];
    uint32_t rounds = FVI_MIN(FVI_MAX(self->options->rounds, 1u), (uint32_t)MAX_ROUNDS);
    for (uint32_t c = 0; c < n; c++) { /* memory is taken, primitives are made */
        FVI_TRY(cases[c].run(cases[c].arg, &seconds[c][0]));
    }
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t c = 0; c < n; c++) {
            FVI_TRY(run_once(self, &cases[c], &seconds[c][i], &bandwidth[c][i]));
            faster[c][i] = seconds[0][i] / seconds[c][i];
        }
    }
    for (uint32_t c = 0; c < n; c++) {
        for (uint32_t i = 0; i < rounds; i++) {
            share[i] = cases[c].bytes / seconds[c][i] / bandwidth[c][i];
        }
        results[c] = (bench_result){.seconds = median(seconds[c], rounds),
                                    .bandwidth = median(bandwidth[c], rounds),
                                    .share = median(share, rounds),
                                    .faster = median(faster[c], rounds)};
        tell(self, &cases[c], &results[c]);
    }
    fflush(stdout);
    return FOVEA_OK;
}

fovea_status bench_measure(bench *self, const bench_case *what, bench_result *result)
{
    bench_result unused;
    return bench_measure_all(self, what, 1, result != NULL ? result : &unused);
}

bool bench_wants(const bench *self, const fvi_codec *codec)
{
    size_t n = strlen(codec->name);
    const char *at = self->options->kinds;
    while (at != NULL && (strncmp(at, codec->name, n) != 0 || (at[n] != 0 && at[n] != ','))) {
        at = strchr(at, ',');
        if (at == NULL) {
            return false;
        }
        at++;
    }
    return true;
}

void bench_ratio(const bench *self, const char *measure, const char *what, double ratio)
{
    if (self->options->json) {
        printf("{\"measure\":\"%s\",\"what\":\"%s\",\"ratio\":%.4g}\n", measure, what, ratio);
    } else {
        printf("%-14s %-34s %10.2f x\n", measure, what, ratio);
    }
}

void *bench_memory(size_t n_bytes)
{
    return fvi_alloc(&fvi_alloc_default, n_bytes);
}

void bench_release(const void *memory)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = memory};
    fvi_free(&fvi_alloc_default, cast.out);
}

float *bench_floats(size_t n)
{
    float *values = bench_memory(n * sizeof *values);
    uint32_t state = 12345;
    for (size_t i = 0; values != NULL && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
    return values;
}

uint16_t *bench_bf16(size_t n)
{
    uint16_t *values = bench_memory(n * sizeof *values);
    uint32_t state = 12345;
    for (size_t i = 0; values != NULL && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] =
            (uint16_t)(0x3c00u | (state >> 16 & 0x80ffu)); /* about 0.01 to 0.03, both signs */
    }
    return values;
}
