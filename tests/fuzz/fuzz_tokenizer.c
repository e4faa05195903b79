/* fuzz_tokenizer.c - tokenizer.json. What opens must encode, and what it encodes must decode again. */
#include "tests/fuzz/fuzz.h"

#include "sdk/model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char *const words[] = {"null",
                                    "true",
                                    "{}",
                                    "[]",
                                    "\"a\":0,",
                                    "[\"a\",\"b\"],",
                                    "\"a b\",",
                                    "\"\\u0120\"",
                                    "\"Regex\":\"(a+)+$\"",
                                    "\"Regex\":\"(\"",
                                    "\"String\":\" \"",
                                    "\"type\":\"Lowercase\"",
                                    "\"behavior\":\"Removed\"",
                                    "\"ignore_merges\":true,",
                                    "\"invert\":true,",
                                    "\"id\":",
                                    "\"content\":\"\"",
                                    NULL};

static void encode(const fvi_tokenizer *tokenizer, const char *text, size_t n_bytes)
{
    fvi_ids ids = {.alloc = &fvi_alloc_default};
    fvi_buf out = {.alloc = &fvi_alloc_default};
    fvi_detok detok = {.tokenizer = tokenizer};
    fovea_error err;
    (void)fvi_tokenizer_begin(tokenizer, &ids);
    (void)fvi_tokenizer_encode(tokenizer, text, n_bytes, &ids, &err);
    for (size_t i = 0; i < ids.n; i++) {
        const char *bytes;
        size_t n;
        if (ids.data[i] < 0 || (uint32_t)ids.data[i] >= fvi_tokenizer_vocab(tokenizer) ||
            fvi_tokenizer_bytes(tokenizer, ids.data[i], &bytes, &n) < 0 ||
            fvi_detok_push(&detok, ids.data[i], &out) < 0) {
            abort();
        }
    }
    if (fvi_detok_finish(&detok, &out) < 0) {
        abort();
    }
    fvi_ids_free(&ids);
    fvi_buf_free(&out);
}

static void run(const fuzz_bytes *input, const char *dir)
{
    static const char text[] = "abc ab <s>a 12\xc3\xa9\xe2\x82\xac  \n\xf0\x9f\x91\x81 don't <image>";
    fovea_error err;
    fvi_tokenizer *tokenizer = NULL;
    fuzz_write_file(dir, "tokenizer.json", input->data, input->n);
    if (fvi_tokenizer_open(&fvi_alloc_default, dir, &tokenizer, &err) < 0) {
        return;
    }
    encode(tokenizer, text, sizeof text - 1);
    size_t n = input->n < 200 ? input->n : 200;
    encode(tokenizer, (const char *)input->data + (input->n - n), n);
    (void)fvi_tokenizer_find(tokenizer, "<image>");
    fvi_tokenizer_close(&tokenizer);
}

const fuzz_target fuzz_tokenizer = {"tokenizer", words, NULL, run};
