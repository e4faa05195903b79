/* tokenizer.c - text to ids, and what a token is.
 *
 * encode: added tokens as they stand in the text -> normalizer -> added tokens of the normalized text ->
 * pre-tokenizers -> merges. Nothing in the tokenizer changes after open; each call has its own working
 * memory. Called by the engine and the chat template. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/unicode.h"

/* Working memory of one call. */
typedef struct encoder {
    const fvi_tokenizer *tokenizer;
    fvi_regex_run *runs[FVI_TOKENIZER_MAX_STAGE]; /* of the stages with a regex */
    fvi_regex_run *byte_level;
    fvi_spans spans, next_spans;
    fvi_buf normalized; /* the piece between two added tokens after the normalizer */
    fvi_buf prefixed;   /* a pre-token with a space in front */
    fvi_bpe bpe;
    fvi_ids *ids;
} encoder;

fovea_status fvi_ids_append(fvi_ids *ids, int32_t id)
{
    if (ids->n == ids->capacity) {
        size_t capacity = FVI_MAX(2 * ids->capacity, (size_t)32);
        int32_t *grown =
            fvi_grow(ids->alloc, ids->data, ids->n * sizeof *grown, capacity * sizeof *grown);
        if (grown == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        ids->data = grown;
        ids->capacity = capacity;
    }
    ids->data[ids->n++] = id;
    return FOVEA_OK;
}

void fvi_ids_free(fvi_ids *ids)
{
    fvi_free(ids->alloc, ids->data);
    ids->data = NULL;
    ids->n = ids->capacity = 0;
}

static fovea_status open_encoder(encoder *self, const fovea_alloc *alloc,
                                 const fvi_tokenizer *tokenizer, fvi_ids *ids)
{
    *self = (encoder){.tokenizer = tokenizer,
                      .spans = {.alloc = alloc},
                      .next_spans = {.alloc = alloc},
                      .normalized = {.alloc = alloc},
                      .prefixed = {.alloc = alloc},
                      .bpe = {.alloc = alloc, .form = {.alloc = alloc}},
                      .ids = ids};
    for (uint32_t i = 0; i < tokenizer->n_stage; i++) {
        if (tokenizer->stages[i].kind == FVI_STAGE_REGEX) {
            FVI_TRY(fvi_regex_run_new(alloc, tokenizer->stages[i].regex, &self->runs[i]));
        }
    }
    return tokenizer->byte_level == NULL
               ? FOVEA_OK
               : fvi_regex_run_new(alloc, tokenizer->byte_level, &self->byte_level);
}

static void close_encoder(encoder *self)
{
    for (uint32_t i = 0; i < FVI_TOKENIZER_MAX_STAGE; i++) {
        fvi_regex_run_free(&self->runs[i]);
    }
    fvi_regex_run_free(&self->byte_level);
    fvi_free(self->spans.alloc, self->spans.data);
    fvi_free(self->next_spans.alloc, self->next_spans.data);
    fvi_buf_free(&self->normalized);
    fvi_buf_free(&self->prefixed);
    fvi_bpe_free(&self->bpe);
}

/* The pre-tokenizer ByteLevel on one span, and the merges of what it cuts out. */
static fovea_status encode_span(encoder *self, const char *text, size_t n_bytes)
{
    const fvi_tokenizer *t = self->tokenizer;
    if (t->add_prefix_space && text[0] != ' ') {
        self->prefixed.n = 0;
        FVI_TRY(fvi_buf_append(&self->prefixed, " ", 1));
        FVI_TRY(fvi_buf_append(&self->prefixed, text, n_bytes));
        text = self->prefixed.data;
        n_bytes = self->prefixed.n;
    }
    /* its regex matches every character, so the matches are the pre-tokens; what it should miss stands
     * between two of them */
    size_t done = 0;
    while (self->byte_level != NULL && done < n_bytes) {
        size_t begin, end;
        fovea_status status = fvi_regex_find(self->byte_level, text, n_bytes, done, &begin, &end);
        FVI_TRY(status);
        if (status == FOVEA_DONE || end == begin) {
            break;
        }
        FVI_TRY(fvi_bpe_encode(&self->bpe, &t->vocab, text + done, begin - done, self->ids));
        FVI_TRY(fvi_bpe_encode(&self->bpe, &t->vocab, text + begin, end - begin, self->ids));
        done = end;
    }
    return fvi_bpe_encode(&self->bpe, &t->vocab, text + done, n_bytes - done, self->ids);
}

/* Text without added tokens, normalized. */
static fovea_status encode_plain(encoder *self, const char *text, size_t n_bytes)
{
    const fvi_tokenizer *t = self->tokenizer;
    fvi_spans *spans = &self->spans, *next = &self->next_spans;
    if (n_bytes == 0) {
        return FOVEA_OK;
    }
    if (t->n_stage == 0) {
        return encode_span(self, text, n_bytes);
    }
    spans->n = 0;
    FVI_TRY(fvi_stage_split(&t->stages[0], self->runs[0], text, n_bytes, 0, spans));
    for (uint32_t s = 1; s < t->n_stage; s++) {
        next->n = 0;
        for (size_t i = 0; i < spans->n; i++) {
            fvi_span span = spans->data[i];
            FVI_TRY(fvi_stage_split(&t->stages[s], self->runs[s], text + span.begin,
                                    span.end - span.begin, span.begin, next));
        }
        fvi_spans *swap = spans;
        spans = next;
        next = swap;
    }
    for (size_t i = 0; i < spans->n; i++) {
        fvi_span span = spans->data[i];
        FVI_TRY(encode_span(self, text + span.begin, span.end - span.begin));
    }
    return FOVEA_OK;
}

typedef fovea_status (*piece_fn)(encoder *self, const char *text, size_t n_bytes);

/* Hands what lies between the added tokens of a set to fn, and appends their ids. */
static fovea_status encode_around(encoder *self, const fvi_added_set *set, const char *text,
                                  size_t n_bytes, piece_fn fn)
{
    size_t at = 0, done = 0, begin, end;
    for (;;) {
        int32_t id = fvi_added_set_next(set, text, n_bytes, done, &at, &begin, &end);
        if (id < 0) {
            break;
        }
        if (done < begin) {
            FVI_TRY(fn(self, text + done, begin - done));
        }
        FVI_TRY(fvi_ids_append(self->ids, id));
        done = end;
    }
    return done < n_bytes ? fn(self, text + done, n_bytes - done) : FOVEA_OK;
}

static fovea_status encode_unnormalized(encoder *self, const char *text, size_t n_bytes)
{
    if (self->tokenizer->nfc && fvi_unicode_may_change(text, n_bytes)) {
        self->normalized.n = 0;
        FVI_TRY(fvi_unicode_nfc(text, n_bytes, &self->normalized));
        text = self->normalized.data;
        n_bytes = self->normalized.n;
    }
    return encode_around(self, &self->tokenizer->normalized, text, n_bytes, encode_plain);
}

fovea_status fvi_tokenizer_encode(const fvi_tokenizer *tokenizer, const char *text, size_t n_bytes,
                                  fvi_ids *ids, fovea_error *err)
{
    size_t bad_at, n_before = ids->n;
    if (n_bytes > FVI_TOKENIZER_MAX_TEXT) {
        return FVI_FAIL(err, FOVEA_ERR_LIMIT, "a text of %zu bytes, more than the %zu allowed",
                        n_bytes, FVI_TOKENIZER_MAX_TEXT);
    }
    if (!fvi_utf8_check(text, n_bytes, &bad_at)) {
        return FVI_FAIL(err, FOVEA_ERR_FORMAT, "the text is no UTF-8 at byte %zu", bad_at);
    }
    encoder self;
    fovea_status status = open_encoder(&self, tokenizer->alloc, tokenizer, ids);
    if (status >= 0) {
        status = encode_around(&self, &tokenizer->raw, text, n_bytes, encode_unnormalized);
    }
    close_encoder(&self);
    if (status < 0) {
        ids->n = n_before;
        return FVI_FAIL(err, status, "tokenizer: %s", fovea_status_text(status));
    }
    return FOVEA_OK;
}

fovea_status fvi_tokenizer_begin(const fvi_tokenizer *tokenizer, fvi_ids *ids)
{
    for (size_t i = 0; i < tokenizer->begin.n; i++) {
        FVI_TRY(fvi_ids_append(ids, tokenizer->begin.data[i]));
    }
    return FOVEA_OK;
}

int32_t fvi_tokenizer_find(const fvi_tokenizer *tokenizer, const char *token)
{
    return fvi_vocab_find(&tokenizer->vocab, token, strlen(token));
}

uint32_t fvi_tokenizer_vocab(const fvi_tokenizer *tokenizer)
{
    return tokenizer->vocab.n_token;
}

static const fvi_token *find_token(const fvi_tokenizer *tokenizer, int32_t id)
{
    if (id < 0 || (uint32_t)id >= tokenizer->vocab.n_token ||
        !tokenizer->vocab.tokens[id].present) {
        return NULL;
    }
    return &tokenizer->vocab.tokens[id];
}

bool fvi_tokenizer_is_special(const fvi_tokenizer *tokenizer, int32_t id)
{
    const fvi_token *token = find_token(tokenizer, id);
    return token != NULL && token->special;
}

fovea_status fvi_tokenizer_bytes(const fvi_tokenizer *tokenizer, int32_t id, const char **bytes,
                                 size_t *n_bytes)
{
    const fvi_token *token = find_token(tokenizer, id);
    if (token == NULL) {
        return FOVEA_ERR_ARG;
    }
    *bytes = tokenizer->vocab.text.data + token->raw_at;
    *n_bytes = token->raw_n;
    return FOVEA_OK;
}
