/* tokenizer_pre.c - the pre-tokenizers Split and Digits on one piece of text.
 *
 * A stage finds delimiters; the stretches between them are pieces too. What becomes of both is the
 * behavior. Every splitter runs on its piece alone: look-around does not see beyond it, as in the
 * reference. Called by tokenizer.c. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/unicode.h"

/* Collects the spans of one piece in order. */
typedef struct collector {
    const fvi_stage *stage;
    fvi_spans *out;
    size_t first; /* where this piece's spans begin in out */
    uint32_t base;
    bool was_delimiter;
    bool is_waiting; /* MERGED_WITH_NEXT: the last span is a delimiter that joins what follows */
} collector;

static fovea_status append_span(fvi_spans *out, uint32_t begin, uint32_t end)
{
    if (out->n == out->capacity) {
        size_t capacity = FVI_MAX(2 * out->capacity, (size_t)64);
        fvi_span *grown =
            fvi_grow(out->alloc, out->data, out->n * sizeof *grown, capacity * sizeof *grown);
        if (grown == NULL) {
            return FOVEA_ERR_NOMEM;
        }
        out->data = grown;
        out->capacity = capacity;
    }
    out->data[out->n++] = (fvi_span){.begin = begin, .end = end};
    return FOVEA_OK;
}

static fovea_status collect(collector *self, size_t begin, size_t end, bool is_match)
{
    bool is_delimiter = is_match != self->stage->invert;
    bool join = false;
    switch (self->stage->behavior) {
    case FVI_STAGE_ISOLATED: break;
    case FVI_STAGE_REMOVED:
        if (is_delimiter) {
            return FOVEA_OK;
        }
        break;
    case FVI_STAGE_CONTIGUOUS: join = is_delimiter == self->was_delimiter; break;
    case FVI_STAGE_MERGED_WITH_PREVIOUS: join = is_delimiter && !self->was_delimiter; break;
    case FVI_STAGE_MERGED_WITH_NEXT:
        join = !is_delimiter && self->is_waiting;
        self->is_waiting = is_delimiter;
        break;
    }
    self->was_delimiter = is_delimiter;
    if (join && self->out->n > self->first) {
        self->out->data[self->out->n - 1].end = self->base + (uint32_t)end;
        return FOVEA_OK;
    }
    return append_span(self->out, self->base + (uint32_t)begin, self->base + (uint32_t)end);
}

static fovea_status split_regex(collector *self, fvi_regex_run *run, const char *text,
                                size_t n_bytes)
{
    size_t done = 0, from = 0;
    bool matched = false;
    while (from <= n_bytes) {
        size_t begin, end;
        fovea_status status = fvi_regex_find(run, text, n_bytes, from, &begin, &end);
        FVI_TRY(status);
        if (status == FOVEA_DONE) {
            break;
        }
        /* an empty match right behind the last one is none */
        if (begin == end && matched && end == done) {
            if (from >= n_bytes) {
                break;
            }
            (void)fvi_utf8_next(text, &from);
            continue;
        }
        if (done != begin) {
            FVI_TRY(collect(self, done, begin, false));
        }
        FVI_TRY(collect(self, begin, end, true));
        done = from = end;
        matched = true;
    }
    return done != n_bytes ? collect(self, done, n_bytes, false) : FOVEA_OK;
}

static fovea_status split_literal(collector *self, const char *text, size_t n_bytes)
{
    const char *literal = self->stage->literal;
    size_t done = 0, n_literal = strlen(literal);
    while (done < n_bytes) {
        const char *found = memmem(text + done, n_bytes - done, literal, n_literal);
        if (found == NULL) {
            break;
        }
        size_t begin = (size_t)(found - text);
        if (done != begin) {
            FVI_TRY(collect(self, done, begin, false));
        }
        FVI_TRY(collect(self, begin, begin + n_literal, true));
        done = begin + n_literal;
    }
    return done != n_bytes ? collect(self, done, n_bytes, false) : FOVEA_OK;
}

static fovea_status split_digits(collector *self, const char *text, size_t n_bytes)
{
    size_t done = 0;
    for (size_t at = 0; at < n_bytes;) {
        size_t begin = at;
        if (!fvi_unicode_is_numeric(fvi_utf8_next(text, &at))) {
            continue;
        }
        if (done != begin) {
            FVI_TRY(collect(self, done, begin, false));
        }
        FVI_TRY(collect(self, begin, at, true));
        done = at;
    }
    return done != n_bytes ? collect(self, done, n_bytes, false) : FOVEA_OK;
}

fovea_status fvi_stage_split(const fvi_stage *stage, fvi_regex_run *run, const char *text,
                             size_t n_bytes, uint32_t base, fvi_spans *out)
{
    collector self = {.stage = stage, .out = out, .first = out->n, .base = base};
    fovea_status status = FOVEA_OK;
    switch (stage->kind) {
    case FVI_STAGE_REGEX: status = split_regex(&self, run, text, n_bytes); break;
    case FVI_STAGE_LITERAL: status = split_literal(&self, text, n_bytes); break;
    case FVI_STAGE_DIGITS: status = split_digits(&self, text, n_bytes); break;
    }
    FVI_TRY(status);
    size_t kept = self.first;
    for (size_t i = self.first; i < out->n; i++) {
        if (out->data[i].begin != out->data[i].end) {
            out->data[kept++] = out->data[i];
        }
    }
    out->n = kept;
    return FOVEA_OK;
}
