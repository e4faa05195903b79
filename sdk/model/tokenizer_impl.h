/* tokenizer_impl.h - what the files of the tokenizer share.
 *
 * tokenizer.c: encode, access. tokenizer_load.c: tokenizer.json. tokenizer_vocab.c: strings, pairs, merges.
 * tokenizer_added.c: added tokens in a text. tokenizer_pre.c: pre-tokenizers. tokenizer_detok.c: decoding. */
#ifndef FOVEA_MODEL_TOKENIZER_IMPL_H
#define FOVEA_MODEL_TOKENIZER_IMPL_H

#include "sdk/model/regex.h"
#include "sdk/model/tokenizer.h"

#define FVI_TOKENIZER_MAX_ID    ((uint32_t)1 << 22)
#define FVI_TOKENIZER_MAX_TEXT  ((size_t)1 << 28) /* bytes of one text: offsets fit 32 bits */
#define FVI_TOKENIZER_MAX_STAGE 16

/* ---- vocabulary ---- */

typedef struct fvi_token {
    uint32_t form_at, form_n; /* as tokenizer.json writes it: place in vocab->text */
    uint32_t raw_at, raw_n;   /* its bytes, byte-level mapping undone */
    bool present;
    bool special;
} fvi_token;

typedef struct fvi_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: empty slot */
    uint32_t rank;
    int32_t id;
} fvi_merge;

typedef struct fvi_vocab {
    const fovea_alloc *alloc;
    fvi_buf text;
    fvi_token *tokens; /* [n_token] by id; not all present */
    uint32_t n_token;
    uint32_t *slots; /* [n_slot], a power of two: id + 1 by the hash of the form, 0 empty */
    uint32_t n_slot;
    fvi_merge *merges; /* [n_merge_slot], a power of two */
    size_t n_merge_slot;
    int32_t byte_id[256]; /* -1: the vocabulary lacks it */
    bool ignore_merges;
} fvi_vocab;

fovea_status fvi_vocab_init(fvi_vocab *self, const fovea_alloc *alloc, uint32_t n_token,
                            size_t n_merge);
void fvi_vocab_free(fvi_vocab *self);
/* FOVEA_ERR_FORMAT: the id or the form is taken. */
fovea_status fvi_vocab_add(fvi_vocab *self, int32_t id, const char *form, size_t n_bytes);
/* -1: no such token. */
int32_t fvi_vocab_find(const fvi_vocab *self, const char *form, size_t n_bytes);
void fvi_vocab_add_merge(fvi_vocab *self, int32_t left, int32_t right, uint32_t rank, int32_t id);
/* After all tokens are in. */
void fvi_vocab_link_bytes(fvi_vocab *self);

/* The character that stands for a byte in tokenizer.json. */
uint32_t fvi_byte_to_character(uint8_t byte);
/* -1: stands for none. */
int fvi_character_to_byte(uint32_t character);

/* Working memory of merging. */
typedef struct fvi_bpe {
    const fovea_alloc *alloc;
    struct fvi_bpe_symbol *symbols; /* [n_symbol] */
    size_t symbol_capacity;
    struct fvi_bpe_candidate *heap; /* [n_heap] */
    size_t n_heap, heap_capacity;
    fvi_buf form;
} fvi_bpe;

void fvi_bpe_free(fvi_bpe *self);
/* Appends the ids of one pre-token. */
fovea_status fvi_bpe_encode(fvi_bpe *self, const fvi_vocab *vocab, const char *piece,
                            size_t n_bytes, fvi_ids *ids);

/* ---- added tokens ---- */

typedef struct fvi_added {
    char *content; /* what is looked for; owned */
    uint32_t n_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip;
} fvi_added;

/* Sorted by content. */
typedef struct fvi_added_set {
    fvi_added *tokens; /* [n] */
    size_t n;
    bool first[256]; /* bytes that one begins with */
} fvi_added_set;

void fvi_added_set_sort(fvi_added_set *self);
/* The next added token in text from *at on, its place widened by lstrip and rstrip: [*begin, *end) and the
 * result is its id; -1 when there is none. `taken`: where the token before ended. *at moves behind the
 * match (without what rstrip took). */
int32_t fvi_added_set_next(const fvi_added_set *self, const char *text, size_t n_bytes,
                           size_t taken, size_t *at, size_t *begin, size_t *end);

/* ---- pre-tokenizers ---- */

typedef struct fvi_span {
    uint32_t begin, end; /* bytes of a text */
} fvi_span;

typedef struct fvi_spans {
    const fovea_alloc *alloc;
    fvi_span *data;
    size_t n, capacity;
} fvi_spans;

typedef enum fvi_stage_kind { FVI_STAGE_REGEX, FVI_STAGE_LITERAL, FVI_STAGE_DIGITS } fvi_stage_kind;

/* What becomes of the delimiters that a stage finds. */
typedef enum fvi_stage_behavior {
    FVI_STAGE_ISOLATED,
    FVI_STAGE_REMOVED,
    FVI_STAGE_CONTIGUOUS,
    FVI_STAGE_MERGED_WITH_PREVIOUS,
    FVI_STAGE_MERGED_WITH_NEXT,
} fvi_stage_behavior;

typedef struct fvi_stage {
    fvi_stage_kind kind;
    fvi_stage_behavior behavior;
    bool invert;
    fvi_regex *regex; /* REGEX */
    char *literal;    /* LITERAL */
} fvi_stage;

/* Splits one text by one stage: appends non-empty spans, offsets raised by `base`. run: for REGEX. */
fovea_status fvi_stage_split(const fvi_stage *stage, fvi_regex_run *run, const char *text,
                             size_t n_bytes, uint32_t base, fvi_spans *out);

/* ---- the whole ---- */

struct fvi_tokenizer {
    const fovea_alloc *alloc;
    fvi_vocab vocab;
    bool nfc;
    fvi_added_set raw;        /* looked for in the text as it comes */
    fvi_added_set normalized; /* looked for after the normalizer */
    fvi_stage stages[FVI_TOKENIZER_MAX_STAGE];
    uint32_t n_stage;
    bool add_prefix_space; /* of the pre-tokenizer ByteLevel, which comes last */
    fvi_regex *byte_level; /* NULL: use_regex is false */
    fvi_ids begin;
};

#endif
