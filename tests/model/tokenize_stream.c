/* tokenize_stream.c - tokenizes what comes on standard input, for tests/golden/compare_tokenizer.py.
 *
 * Input: a text as u32 size and bytes, again and again. Output for each: u32 number of ids, the ids, u32
 * size of the text that streaming detokenization gives back, its bytes. All in this machine's order. */
#include "sdk/model/tokenizer.h"

#include <stdio.h>

static int answer(const fvi_tokenizer *tokenizer, const char *text, uint32_t n_bytes)
{
    fovea_error error = {0};
    fvi_ids ids = {.alloc = &fvi_alloc_default};
    fvi_buf back = {.alloc = &fvi_alloc_default};
    fvi_detok detok = {.tokenizer = tokenizer};
    fovea_status status = fvi_tokenizer_encode(tokenizer, text, n_bytes, &ids, &error);
    for (size_t i = 0; status >= 0 && i < ids.n; i++) {
        status = fvi_detok_push(&detok, ids.data[i], &back);
    }
    if (status >= 0) {
        status = fvi_detok_finish(&detok, &back);
    }
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", fovea_status_name(status), error.text);
    } else {
        uint32_t n_ids = (uint32_t)ids.n, n_back = (uint32_t)back.n;
        fwrite(&n_ids, sizeof n_ids, 1, stdout);
        fwrite(ids.data, sizeof *ids.data, ids.n, stdout);
        fwrite(&n_back, sizeof n_back, 1, stdout);
        fwrite(back.data, 1, back.n, stdout);
    }
    fvi_ids_free(&ids);
    fvi_buf_free(&back);
    return status < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    fovea_error error = {0};
    fvi_tokenizer *tokenizer = NULL;
    fvi_buf text = {.alloc = &fvi_alloc_default};
    uint32_t n_bytes;
    int failed = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER < texts > ids\n", argv[0]);
        return 2;
    }
    if (fvi_tokenizer_open(&fvi_alloc_default, argv[1], &tokenizer, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    while (!failed && fread(&n_bytes, sizeof n_bytes, 1, stdin) == 1) {
        text.n = 0;
        failed = fvi_buf_reserve(&text, (size_t)n_bytes + 1) < 0 ||
                 fread(text.data, 1, n_bytes, stdin) != n_bytes ||
                 answer(tokenizer, text.data, n_bytes);
    }
    fvi_buf_free(&text);
    fvi_tokenizer_close(&tokenizer);
    return failed;
}
