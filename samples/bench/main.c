/* main.c - fovea-bench: how fast the parts are on this machine, beside what its memory can read.
 *
 * ops.c times the operations alone, measure.c does the timing. */
#include "samples/bench/bench.h"
#include "samples/common/args.h"

#include <stdio.h>

static const sample_program program = {
    .name = "fovea-bench",
    .summary = "Times operations on a decoder's shape with random weights, each beside the read\n"
               "bandwidth of the memory taken in the same moment.",
};

static const bench_shape shapes[] = {
    {"qwen2-0.5b", 896, 24, 14, 2, 64, 4864, 151936, true},
    {"smollm2-135m", 576, 30, 9, 3, 64, 1536, 49152, false},
};

int main(int argc, char **argv)
{
    bench_options options = {.depth = 8192, .rounds = 9};
    uint32_t shape = 0;
    int code = SAMPLE_EXIT_OK;
    const sample_arg args[] = {
        {"shape", SAMPLE_ARG_CHOICE, "qwen2-0.5b|smollm2-135m", "the decoder; default qwen2-0.5b",
         &shape},
        {"threads", SAMPLE_ARG_UINT, "N", "default: all cores", &options.n_thread},
        {"depth", SAMPLE_ARG_UINT, "N", "tokens in the cache for attention; default 8192",
         &options.depth},
        {"rounds", SAMPLE_ARG_UINT, "N", "timings of each, of which the median counts; default 9",
         &options.rounds},
        {"json", SAMPLE_ARG_FLAG, NULL, "one JSON object a line", &options.json},
    };
    if (!sample_args_parse(&program, args, SAMPLE_COUNT(args), argc, argv, NULL, &code)) {
        return code;
    }
    if (options.depth == 0) {
        return sample_args_refuse(&program, "--depth must be at least 1");
    }
    options.shape = &shapes[shape];
    bench self;
    fovea_status status = bench_open(&self, &options);
    if (status == FOVEA_OK) {
        status = bench_ops(&self);
        bench_close(&self);
    }
    if (status < 0) {
        fprintf(stderr, "fovea-bench: %s\n", fovea_status_text(status));
        return SAMPLE_EXIT_FAILED;
    }
    return SAMPLE_EXIT_OK;
}
