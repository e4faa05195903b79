/* tokenizer.h - byte-level BPE as tokenizer.json describes it, and streaming detokenization.
 *
 * Normalizers (none, NFC), pre-tokenizers (Sequence of Split with a regex, Digits, ByteLevel) through
 * PCRE2, added tokens, BPE with ignore_merges. Anything else is refused by name.
 * Called by the engine, the chat template, and tests. Threads: open/close - one; the rest - any. */
#ifndef FOVEA_MODEL_TOKENIZER_H
#define FOVEA_MODEL_TOKENIZER_H

#include "sdk/base/base.h"

typedef struct fvi_tokenizer fvi_tokenizer;

typedef struct fvi_ids {
    const fovea_alloc *alloc;
    int32_t *data;
    size_t n, capacity;
} fvi_ids;

fovea_status fvi_ids_append(fvi_ids *ids, int32_t id);
void fvi_ids_free(fvi_ids *ids);

fovea_status fvi_tokenizer_open(const fovea_alloc *alloc, const char *dir, fvi_tokenizer **out,
                                fovea_error *err);
void fvi_tokenizer_close(fvi_tokenizer **tokenizer);

/* Appends the ids of UTF-8 text to ids. Added tokens in the text are recognised. Nothing is put in
 * front. Invalid UTF-8: FOVEA_ERR_FORMAT with the offset. */
fovea_status fvi_tokenizer_encode(const fvi_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                  fvi_ids *ids, fovea_error *err);
/* What the post-processor puts before a text (a BOS token, usually): appends it. */
fovea_status fvi_tokenizer_begin(const fvi_tokenizer *tokenizer, fvi_ids *ids);

/* -1 when there is no such token. */
int32_t fvi_tokenizer_find(const fvi_tokenizer *tokenizer, const char *token);
uint32_t fvi_tokenizer_vocab(const fvi_tokenizer *tokenizer); /* highest id + 1 */
bool fvi_tokenizer_is_special(const fvi_tokenizer *tokenizer, int32_t id);
/* Raw bytes of a token, byte-level mapping undone; belongs to the tokenizer. FOVEA_ERR_ARG: no such id. */
fovea_status fvi_tokenizer_bytes(const fvi_tokenizer *tokenizer, int32_t id, const char **bytes,
                                 size_t *n_bytes);

/* Turns tokens into text that never ends inside a UTF-8 character. Special tokens give nothing. An
 * invalid byte becomes U+FFFD, as in the reference decoder. */
typedef struct fvi_detok {
    const fvi_tokenizer *tokenizer;
    unsigned char pending[8]; /* bytes of an unfinished character */
    uint32_t n_pending;
} fvi_detok;

/* Appends what is complete after this token. */
fovea_status fvi_detok_push(fvi_detok *detok, int32_t id, fvi_buf *out);
/* Appends U+FFFD for an unfinished character at the end. */
fovea_status fvi_detok_finish(fvi_detok *detok, fvi_buf *out);

#endif
