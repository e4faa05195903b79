/* ask.h - what fovea-caption and fovea-vqa share: their options, opening a runner, asking and showing.
 *
 * Threads: one. */
#ifndef FOVEA_SAMPLES_COMMON_ASK_H
#define FOVEA_SAMPLES_COMMON_ASK_H

#include "samples/common/args.h"
#include "samples/common/heatmap.h"
#include "samples/common/turn.h"

#define SAMPLE_N_ASK_ARG 22

typedef struct sample_ask {
    const sample_program *program;
    const char *model, *recipe, *server;
    uint32_t max_tokens, top_k, n_logprobs, precision, threads;
    uint64_t seed, kv_bytes;
    float temperature, top_p, min_p;
    sample_heatmap heatmap; /* path NULL: none is drawn */
    sample_texts stop;
    bool json, plan, ledger, loyalty, raw, no_labels;
    sample_runner *runner; /* after sample_ask_open */
} sample_ask;

/* Fills args[SAMPLE_N_ASK_ARG] with the shared options, their values going to *ask; returns how many. */
size_t sample_ask_args(sample_ask *ask, sample_arg *args);
/* Checks the options and opens an engine or a connection; tells what is wrong. An exit code. */
int sample_ask_open(sample_ask *ask);
/* One question about some pictures; the answer goes to stdout, behind `title` (may be NULL) when it is
 * not JSON. An exit code. */
int sample_ask_run(const sample_ask *ask, const char *title, const char *text,
                   const char *const *images, size_t n_image);
void sample_ask_close(sample_ask *ask);

/* Folder of the model that comes with the samples: beside the installed programs, or in the source
 * tree. Static memory; NULL when there is none. */
const char *sample_default_model(void);

#endif
