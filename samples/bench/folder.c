/* folder.c - writes a Hugging Face folder of the family llava whose weights are random: a decoder of the
 * asked shape behind a SigLIP tower of the base size.
 *
 * The list of tensors is walked twice, for the header and for the data. */
#include "samples/bench/folder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TOWER_DIM    768
#define TOWER_MLP    3072
#define TOWER_LAYERS 12
#define TOWER_PATCH  16
#define RANDOM_N     ((size_t)1 << 20) /* numbers that repeat in all tensors */

typedef struct writer {
    const bench_shape *shape;
    FILE *file;
    fvi_buf header;
    uint16_t *random, *ones; /* [RANDOM_N] bf16 */
    size_t at;               /* bytes of tensors so far */
    bool data, failed;
} writer;

static void put_header(writer *w, const char *fmt, ...) FVI_PRINTF(2, 3);
static void put_header(writer *w, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    w->failed = w->failed || n < 0 || (size_t)n >= sizeof text ||
                fvi_buf_append(&w->header, text, (size_t)n) < 0;
}

/* A tensor of `rows` by `columns` (0: one dimension). */
static void tensor(writer *w, const uint16_t *from, const char *shape_text, size_t rows,
                   size_t columns, const char *fmt, ...) FVI_PRINTF(6, 7);
static void tensor(writer *w, const uint16_t *from, const char *shape_text, size_t rows,
                   size_t columns, const char *fmt, ...)
{
    size_t n = rows * (columns != 0 ? columns : 1);
    if (!w->data) {
        char name[160], shape[64];
        va_list args;
        va_start(args, fmt);
        vsnprintf(name, sizeof name, fmt, args);
        va_end(args);
        snprintf(shape, sizeof shape, columns != 0 ? "%zu,%zu" : "%zu", rows, columns);
        put_header(w, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                   w->at != 0 ? "," : "{", name, shape_text != NULL ? shape_text : shape, w->at,
                   w->at + 2 * n);
        w->at += 2 * n;
        return;
    }
    for (size_t done = 0; done < n && !w->failed; done += RANDOM_N) {
        size_t part = FVI_MIN(n - done, RANDOM_N);
        w->failed = fwrite(from, sizeof *from, part, w->file) != part;
    }
}

#define WEIGHT(w, rows, columns, ...) tensor((w), (w)->random, NULL, (rows), (columns), __VA_ARGS__)
#define ONES(w, rows, ...)            tensor((w), (w)->ones, NULL, (rows), 0, __VA_ARGS__)

static void decoder_tensors(writer *w)
{
    const bench_shape *s = w->shape;
    size_t q = (size_t)s->n_head * s->head_dim, kv = (size_t)s->n_kv_head * s->head_dim;
    const char *model = "language_model.model";
    WEIGHT(w, s->vocab, s->hidden, "%s.embed_tokens.weight", model);
    for (uint32_t i = 0; i < s->n_layer; i++) {
        ONES(w, s->hidden, "%s.layers.%u.input_layernorm.weight", model, i);
        ONES(w, s->hidden, "%s.layers.%u.post_attention_layernorm.weight", model, i);
        WEIGHT(w, q, s->hidden, "%s.layers.%u.self_attn.q_proj.weight", model, i);
        WEIGHT(w, kv, s->hidden, "%s.layers.%u.self_attn.k_proj.weight", model, i);
        WEIGHT(w, kv, s->hidden, "%s.layers.%u.self_attn.v_proj.weight", model, i);
        WEIGHT(w, s->hidden, q, "%s.layers.%u.self_attn.o_proj.weight", model, i);
        if (s->qkv_bias) {
            WEIGHT(w, q, 0, "%s.layers.%u.self_attn.q_proj.bias", model, i);
            WEIGHT(w, kv, 0, "%s.layers.%u.self_attn.k_proj.bias", model, i);
            WEIGHT(w, kv, 0, "%s.layers.%u.self_attn.v_proj.bias", model, i);
        }
        WEIGHT(w, s->mlp, s->hidden, "%s.layers.%u.mlp.gate_proj.weight", model, i);
        WEIGHT(w, s->mlp, s->hidden, "%s.layers.%u.mlp.up_proj.weight", model, i);
        WEIGHT(w, s->hidden, s->mlp, "%s.layers.%u.mlp.down_proj.weight", model, i);
    }
    ONES(w, s->hidden, "%s.norm.weight", model);
    WEIGHT(w, s->hidden, TOWER_DIM, "multi_modal_projector.linear_1.weight");
    WEIGHT(w, s->hidden, 0, "multi_modal_projector.linear_1.bias");
    WEIGHT(w, s->hidden, s->hidden, "multi_modal_projector.linear_2.weight");
    WEIGHT(w, s->hidden, 0, "multi_modal_projector.linear_2.bias");
}

static void tower_tensors(writer *w)
{
    static const char *const projections[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    const char *tower = "vision_tower";
    size_t grid = BENCH_IMAGE / TOWER_PATCH;
    tensor(w, w->random, "768,3,16,16", TOWER_DIM, 3 * TOWER_PATCH * TOWER_PATCH,
           "%s.embeddings.patch_embedding.weight", tower);
    WEIGHT(w, TOWER_DIM, 0, "%s.embeddings.patch_embedding.bias", tower);
    WEIGHT(w, grid * grid, TOWER_DIM, "%s.embeddings.position_embedding.weight", tower);
    for (uint32_t i = 0; i < TOWER_LAYERS; i++) {
        for (uint32_t j = 0; j < FVI_COUNT(projections); j++) {
            WEIGHT(w, TOWER_DIM, TOWER_DIM, "%s.encoder.layers.%u.self_attn.%s.weight", tower, i,
                   projections[j]);
            WEIGHT(w, TOWER_DIM, 0, "%s.encoder.layers.%u.self_attn.%s.bias", tower, i,
                   projections[j]);
        }
        for (uint32_t j = 1; j <= 2; j++) {
            ONES(w, TOWER_DIM, "%s.encoder.layers.%u.layer_norm%u.weight", tower, i, j);
            WEIGHT(w, TOWER_DIM, 0, "%s.encoder.layers.%u.layer_norm%u.bias", tower, i, j);
        }
        WEIGHT(w, TOWER_MLP, TOWER_DIM, "%s.encoder.layers.%u.mlp.fc1.weight", tower, i);
        WEIGHT(w, TOWER_MLP, 0, "%s.encoder.layers.%u.mlp.fc1.bias", tower, i);
        WEIGHT(w, TOWER_DIM, TOWER_MLP, "%s.encoder.layers.%u.mlp.fc2.weight", tower, i);
        WEIGHT(w, TOWER_DIM, 0, "%s.encoder.layers.%u.mlp.fc2.bias", tower, i);
    }
    ONES(w, TOWER_DIM, "%s.post_layernorm.weight", tower);
    WEIGHT(w, TOWER_DIM, 0, "%s.post_layernorm.bias", tower);
}

static FILE *create(const char *dir, const char *name)
{
    char path[BENCH_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fopen(path, "wb");
}

/* Closes; true when everything was written. */
static bool finish(FILE *file, bool good)
{
    good = !ferror(file) && good;
    return fclose(file) == 0 && good;
}

static bool write_weights(const bench_shape *shape, const char *dir)
{
    writer w = {.shape = shape, .header = {.alloc = &fvi_alloc_default}};
    w.random = bench_bf16(RANDOM_N);
    w.ones = bench_memory(RANDOM_N * sizeof *w.ones);
    w.file = create(dir, "model.safetensors");
    bool good = w.random != NULL && w.ones != NULL && w.file != NULL;
    for (size_t i = 0; good && i < RANDOM_N; i++) {
        w.ones[i] = 0x3f80;
    }
    if (good) {
        decoder_tensors(&w);
        tower_tensors(&w);
        put_header(&w, "}");
        uint64_t n = w.header.n; /* little-endian, as the machines this runs on */
        w.failed = w.failed || fwrite(&n, sizeof n, 1, w.file) != 1 ||
                   fwrite(w.header.data, 1, w.header.n, w.file) != w.header.n;
        w.data = true;
        decoder_tensors(&w);
        tower_tensors(&w);
    }
    if (w.file != NULL) {
        good = finish(w.file, !w.failed) && good;
    }
    fvi_buf_free(&w.header);
    bench_release(w.random);
    bench_release(w.ones);
    return good;
}

static bool write_config(const bench_shape *s, const char *dir)
{
    FILE *file = create(dir, "config.json");
    if (file == NULL) {
        return false;
    }
    fprintf(file,
            "{\"architectures\":[\"LlavaForConditionalGeneration\"],\"model_type\":\"llava\","
            "\"image_token_index\":3,\"projector_hidden_act\":\"gelu\","
            "\"vision_feature_layer\":-1,\"vision_feature_select_strategy\":\"full\","
            "\"tie_word_embeddings\":true,\"text_config\":{\"model_type\":\"%s\","
            "\"hidden_size\":%u,\"num_hidden_layers\":%u,\"num_attention_heads\":%u,"
            "\"num_key_value_heads\":%u,\"head_dim\":%u,\"intermediate_size\":%u,\"vocab_size\":%u,"
            "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"rope_theta\":10000.0,"
            "\"max_position_embeddings\":32768,\"tie_word_embeddings\":true,"
            "\"bos_token_id\":1,\"eos_token_id\":2},"
            "\"vision_config\":{\"model_type\":\"siglip_vision_model\",\"hidden_size\":%d,"
            "\"num_hidden_layers\":%d,\"num_attention_heads\":12,\"intermediate_size\":%d,"
            "\"image_size\":%d,\"patch_size\":%d,\"num_channels\":3,\"layer_norm_eps\":1e-6,"
            "\"hidden_act\":\"gelu_pytorch_tanh\",\"vision_use_head\":false}}\n",
            s->qkv_bias ? "qwen2" : "llama", s->hidden, s->n_layer, s->n_head, s->n_kv_head,
            s->head_dim, s->mlp, s->vocab, TOWER_DIM, TOWER_LAYERS, TOWER_MLP, BENCH_IMAGE,
            TOWER_PATCH);
    return finish(file, true);
}

static bool write_processor(const char *dir)
{
    FILE *file = create(dir, "preprocessor_config.json");
    if (file == NULL) {
        return false;
    }
    fprintf(file,
            "{\"image_processor_type\":\"SiglipImageProcessor\",\"do_convert_rgb\":true,"
            "\"do_normalize\":true,\"do_rescale\":true,\"do_resize\":true,"
            "\"image_mean\":[0.5,0.5,0.5],\"image_std\":[0.5,0.5,0.5],\"resample\":3,"
            "\"rescale_factor\":0.00392156862745098,\"size\":{\"height\":%d,\"width\":%d}}\n",
            BENCH_IMAGE, BENCH_IMAGE);
    return finish(file, true);
}

/* One token for every byte (GPT-2's letters for bytes) and names without a use for the rest. */
static bool write_tokenizer(const bench_shape *s, const char *dir)
{
    static const char *const special[] = {"<pad>", "<s>", "</s>", "<image>"};
    FILE *file = create(dir, "tokenizer.json");
    if (file == NULL) {
        return false;
    }
    fprintf(file, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (uint32_t i = 0; i < FVI_COUNT(special); i++) {
        fprintf(file,
                "%s{\"id\":%u,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                i != 0 ? "," : "", i, special[i]);
    }
    fprintf(file, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                  "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                  "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                  "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
                  "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
                  "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}},"
                  "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                  "\"trim_offsets\":true,\"use_regex\":true},"
                  "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<pad>\":0,\"<s>\":1,\"</s>\":2,"
                  "\"<image>\":3");
    uint32_t id = FVI_COUNT(special), n_other = 0;
    for (uint32_t byte = 0; byte < 256; byte++, id++) {
        bool own = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        fprintf(file, ",\"\\u%04x\":%u", own ? byte : 256 + n_other, id);
        n_other += !own;
    }
    for (; id < s->vocab; id++) {
        fprintf(file, ",\"t%u\":%u", id, id);
    }
    fprintf(file, "},\"merges\":[]}}\n");
    return finish(file, true);
}

bool bench_folder_make(const bench_shape *shape, char *dir)
{
    snprintf(dir, BENCH_PATH, "/tmp/fovea-bench-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        return false;
    }
    if (write_config(shape, dir) && write_processor(dir) && write_tokenizer(shape, dir) &&
        write_weights(shape, dir)) {
        return true;
    }
    bench_folder_remove(dir);
    return false;
}

void bench_folder_remove(const char *dir)
{
    static const char *const names[] = {"config.json", "preprocessor_config.json", "tokenizer.json",
                                        "model.safetensors"};
    for (uint32_t i = 0; i < FVI_COUNT(names); i++) {
        char path[BENCH_PATH];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}
