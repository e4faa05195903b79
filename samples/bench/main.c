/* main.c - fovea-bench: how fast the parts are on this machine, beside what its memory can read.
 *
 * ops.c times the operations alone, model.c a whole model, step.c a decode step of many sequences, measure.c does
 * the timing, folder.c writes a model with random weights. */
#include "samples/bench/bench.h"
#include "samples/common/args.h"

#include "kvcompress/codecs.h"

#include <stdio.h>

static const sample_program program = {
    .name = "fovea-bench",
    .summary = "Times the operations on a decoder's shape, then a whole model (a folder, or random "
               "weights\n"
               "in that shape), each beside the read bandwidth of the memory in the same moment.",
};

static const bench_shape shapes[] = {
    {"qwen2-0.5b", 896, 24, 14, 2, 64, 4864, 151936, true},
    {"smollm2-135m", 576, 30, 9, 3, 64, 1536, 49152, false},
};

/* Every name of a list of kinds is one of a codec. */
static bool are_kinds(const char *kinds)
{
    for (const char *at = kinds; at != NULL;
         at = strchr(at, ','), at = at != NULL ? at + 1 : NULL) {
        size_t n = strcspn(at, ",");
        uint32_t i = 0;
        while (fvi_codec_at(i) != NULL &&
               (strlen(fvi_codec_at(i)->name) != n || strncmp(fvi_codec_at(i)->name, at, n) != 0)) {
            i++;
        }
        if (fvi_codec_at(i) == NULL) {
            return false;
        }
    }
    return true;
}

/* What the options ask for. */
static fovea_status run(bench *self)
{
    const bench_options *options = self->options;
    if (options->step) {
        return bench_step(self);
    }
    FVI_TRY(bench_ops(self));
    return options->ops_only || options->kinds != NULL ? FOVEA_OK : bench_model(self);
}

int main(int argc, char **argv)
{
    bench_options options = {.depth = 8192, .n_prompt = 512, .n_decode = 24, .rounds = 9};
    uint32_t shape = 0;
    int code = SAMPLE_EXIT_OK;
    const sample_arg args[] = {
        {"shape", SAMPLE_ARG_CHOICE, "qwen2-0.5b|smollm2-135m", "the decoder; default qwen2-0.5b",
         &shape},
        {"model", SAMPLE_ARG_TEXT, "DIR", "time this model instead of random weights",
         &options.model},
        {"prompt", SAMPLE_ARG_UINT, "N", "tokens of the prefill; default 512", &options.n_prompt},
        {"tokens", SAMPLE_ARG_UINT, "N", "tokens to decode; default 24", &options.n_decode},
        {"kinds", SAMPLE_ARG_TEXT, "LIST",
         "attention of decode rows alone, in these kinds,\ne.g. f16,int4; with --step: these kinds",
         &options.kinds},
        {"step", SAMPLE_ARG_FLAG, NULL,
         "only the decode step of 16 sequences at --depth, in\nf16, int4 and int2-chan: the "
         "engine's "
         "step with random\nweights over caches filled with random numbers, without\nscheduler, "
         "sampler and prefill",
         &options.step},
        {"ops-only", SAMPLE_ARG_FLAG, NULL, "no whole model", &options.ops_only},
        {"threads", SAMPLE_ARG_UINT, "N", "default: all cores", &options.n_thread},
        {"depth", SAMPLE_ARG_UINT, "N",
         "tokens in the cache for attention and decoding;\ndefault 8192", &options.depth},
        {"rounds", SAMPLE_ARG_UINT, "N", "timings of each, of which the median counts; default 9",
         &options.rounds},
        {"json", SAMPLE_ARG_FLAG, NULL, "one JSON object a line", &options.json},
    };
    if (!sample_args_parse(&program, args, SAMPLE_COUNT(args), argc, argv, NULL, &code)) {
        return code;
    }
    if (options.depth == 0 || options.n_prompt == 0 || options.n_decode == 0) {
        return sample_args_refuse(&program, "--depth, --prompt and --tokens must be at least 1");
    }
    if (!are_kinds(options.kinds)) {
        return sample_args_refuse(&program, "--kinds %s names a kind that there is not",
                                  options.kinds);
    }
    options.shape = &shapes[shape];
    bench self;
    fovea_status status = bench_open(&self, &options);
    if (status == FOVEA_OK) {
        status = run(&self);
        bench_close(&self);
    }
    if (status < 0) {
        fprintf(stderr, "fovea-bench: %s\n", fovea_status_text(status));
        return SAMPLE_EXIT_FAILED;
    }
    return SAMPLE_EXIT_OK;
}
