/* engine.h - a loaded model with its KV pool and its scheduler.
 *
 * One engine owns one model, one pool of KV bytes and one scheduler thread that batches whatever its
 * sessions submit. An engine outlives its sessions.
 *
 * Threads: open, close - one at a time; everything else - any. */
#ifndef FOVEA_ENGINE_H
#define FOVEA_ENGINE_H

#include <fovea/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fovea_engine fovea_engine;

/* Called while a model is loaded; done and total in bytes. Return non-zero to stop loading, which then
 * ends with FOVEA_ERR_CANCELLED. */
typedef int (*fovea_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Zero in any field means the default. */
typedef struct fovea_engine_options {
    uint32_t size;          /* sizeof(fovea_engine_options) */
    fovea_precision precision;
    const char *model;      /* folder: config.json, *.safetensors, tokenizer.json, ... */
    const char *backend;    /* "cpu"; default: the best there is */
    uint32_t n_thread;      /* default: cores the process may use */
    uint32_t max_queue;     /* requests that may wait; default 64 */
    uint32_t max_running;   /* sequences that may run at once; default 64 */
    uint32_t prefill_block; /* rows of a prompt per step; default 256 */
    uint64_t kv_bytes;      /* size of the KV pool; default 256 MiB */
    uint64_t max_weight_bytes; /* refuse a model that needs more; default: no limit */
    uint32_t max_images;    /* per session; default 64 */
    uint32_t cpu_features;  /* mask for tests, see fovea_cpu_feature; 0: all that the CPU has */
    const fovea_alloc *alloc; /* default malloc; must outlive the engine */
    fovea_log_fn log;
    void *log_user;
    fovea_progress_fn progress;
    void *progress_user;
} fovea_engine_options;

/* Bits for fovea_engine_options.cpu_features: which kernels may be chosen. */
typedef enum fovea_cpu_feature {
    FOVEA_CPU_REFERENCE = 1, /* the C reference (always there) */
    FOVEA_CPU_AVX2 = 2,   /* and FMA, F16C */
    FOVEA_CPU_AVX512 = 4, /* F, BW, VL, DQ */
    FOVEA_CPU_AVX512_BF16 = 8, /* and VNNI */
    FOVEA_CPU_ONEDNN = 16, /* the library for products with many rows */
} fovea_cpu_feature;

typedef struct fovea_memory_estimate {
    uint32_t size;
    uint64_t weight_bytes;     /* resident weights after conversion */
    uint64_t mapped_bytes;     /* part of it that is a read-only map of the files */
    uint64_t kv_pool_bytes;
    uint64_t kv_bytes_per_token; /* f16, all layers, no compression */
    uint64_t activation_bytes; /* largest prefill step and the encoder */
} fovea_memory_estimate;

typedef struct fovea_model_info {
    uint32_t size;
    char name[64];     /* last part of the folder's name */
    char family[32];   /* entry of sdk/engine/families.def */
    char encoder[32];  /* entry of vision/encoders.def */
    char backend[32];
    uint64_t n_parameter;
    uint32_t n_layer, n_head, n_kv_head, head_dim, hidden, vocab;
    uint32_t context;  /* positions the model was made for */
    uint32_t image_width, image_height, tokens_per_image;
} fovea_model_info;

/* Counters of an engine since it was opened; gauges are of this moment. */
typedef struct fovea_engine_stats {
    uint32_t size;
    uint32_t n_waiting, n_running;                 /* gauges */
    uint64_t kv_capacity_bytes, kv_used_bytes;     /* gauges */
    uint64_t kv_peak_bytes;
    uint64_t kv_text_bytes, kv_vision_bytes, kv_shared_bytes, kv_generated_bytes; /* gauges */
    uint64_t n_submitted, n_finished, n_cancelled, n_expired, n_failed, n_refused;
    uint64_t prompt_tokens, vision_tokens, output_tokens;
    uint64_t n_step;
    uint64_t n_image_encoded;
} fovea_engine_stats;

/* What opening would need, from the files' headers alone. */
FOVEA_API fovea_status fovea_engine_estimate(const fovea_engine_options *options,
                                             fovea_memory_estimate *out, fovea_error *err);

FOVEA_API fovea_status fovea_engine_open(const fovea_engine_options *options, fovea_engine **out,
                                         fovea_error *err);
/* Ends running requests with FOVEA_ERR_CLOSED, frees everything, sets *engine to NULL; accepts NULL.
 * Sessions must have been freed before. */
FOVEA_API void fovea_engine_close(fovea_engine **engine);

FOVEA_API fovea_status fovea_engine_info(const fovea_engine *engine, fovea_model_info *out);
FOVEA_API fovea_status fovea_engine_get_stats(const fovea_engine *engine, fovea_engine_stats *out);

/* Token ids of a text, special tokens recognised, no template, nothing added in front. The caller frees
 * *ids with fovea_ids_free. */
FOVEA_API fovea_status fovea_engine_tokenize(const fovea_engine *engine, const char *text,
                                             size_t n_bytes, int32_t **ids, size_t *n_id,
                                             fovea_error *err);
FOVEA_API void fovea_ids_free(const fovea_engine *engine, int32_t **ids);
/* Bytes of a token as decoding shows it (may be part of a character). Belongs to the engine. */
FOVEA_API fovea_status fovea_engine_token_bytes(const fovea_engine *engine, int32_t id,
                                                const char **bytes, size_t *n_bytes);

#ifdef __cplusplus
}
#endif
#endif
