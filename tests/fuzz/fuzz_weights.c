/* fuzz_weights.c - safetensors files and index files, hostile from the first byte to the last.
 *
 * Every tensor that the reader accepts is read at both ends: a range that leaves the map is a finding. */
#include "tests/fuzz/fuzz.h"

#include "sdk/model/weights.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"\"F32\"",      "\"BF16\"", "\"dtype\":", "\"shape\":[",
                                    "[]",           "{}",       "null",       "\"data_offsets\":[0,4]",
                                    "\"\\u0000\"",  "\"F16\"",  "},\"a\":{",  "\"__metadata__\":{",
                                    "\"../x\"",     "[0,0]",    "\"I64\"",    "\"/\"",
                                    NULL};

/* Puts the length of the JSON text into the first eight bytes. */
static void repair(fuzz_bytes *input, fuzz_random *random)
{
    (void)random;
    size_t at = 8, depth = 0;
    for (int in_text = 0; at < input->n; at++) {
        uint8_t c = input->data[at];
        if (in_text) {
            in_text = c != '"';
            at += c == '\\';
        } else if (c == '"') {
            in_text = 1;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && --depth == 0) {
            at++;
            break;
        }
    }
    for (size_t i = 0; input->n >= 8 && i < 8; i++) {
        input->data[i] = (uint8_t)((uint64_t)(at - 8) >> (8 * i));
    }
}

static volatile uint32_t touched; /* keeps the reads below */

static void read_all(const char *dir)
{
    fovea_error err;
    fvi_weights *weights = NULL;
    if (fvi_weights_open(&fvi_alloc_default, dir, &weights, &err) < 0) {
        return;
    }
    for (uint32_t i = 0; i < fvi_weights_count(weights); i++) {
        fvi_tensor tensor;
        if (fvi_weights_at(weights, i, &tensor) < 0) {
            continue;
        }
        const uint8_t *data = tensor.data;
        if (tensor.n_bytes > 0) {
            touched = (uint32_t)data[0] + data[tensor.n_bytes - 1];
        }
        fvi_tensor again;
        uint64_t wrong[1] = {3};
        if (fvi_weights_find(weights, tensor.name, 0, NULL, &again, &err) < 0) {
            abort(); /* what the list has must be found by its name */
        }
        (void)fvi_weights_find(weights, tensor.name, 1, wrong, &again, &err);
    }
    fvi_weights_close(&weights);
}

static void run(const fuzz_bytes *input, const char *dir)
{
    fuzz_write_file(dir, "model.safetensors", input->data, input->n);
    read_all(dir);
}

const fuzz_target fuzz_weights = {"weights", words, repair, run};

/* The index names shards; one that is whole lies beside it. */
static void run_shards(const fuzz_bytes *input, const char *dir)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    uint8_t shard[8 + sizeof header - 1 + 4] = {sizeof header - 1};
    memcpy(shard + 8, header, sizeof header - 1);
    fuzz_write_file(dir, "model-00001-of-00002.safetensors", shard, sizeof shard);
    shard[8 + 2] = 'b';
    fuzz_write_file(dir, "model-00002-of-00002.safetensors", shard, sizeof shard);
    fuzz_write_file(dir, "model.safetensors.index.json", input->data, input->n);
    read_all(dir);
}

static const char *const shard_words[] = {"\"model-00001-of-00002.safetensors\"",
                                          "\"/etc/passwd\"",
                                          "\"../model.safetensors\"",
                                          "\"weight_map\":{",
                                          "\"a\":",
                                          "\"b\":",
                                          "\"\"",
                                          "null",
                                          "{}",
                                          "[]",
                                          "\"\\u0000\"",
                                          ",",
                                          NULL};

const fuzz_target fuzz_shards = {"shards", shard_words, NULL, run_shards};
