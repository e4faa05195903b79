/* tokenizer_detok.c - token bytes to well-formed UTF-8, a token at a time.
 *
 * Bytes of an unfinished character wait for the next token. What no character can begin with becomes
 * U+FFFD, one for each maximal part of a character, as in the reference decoder. Called by the engine. */
#include "sdk/model/tokenizer_impl.h"

#include "sdk/model/unicode.h"

static fovea_status append_replacement(fvi_buf *out)
{
    return fvi_buf_append_text(out, "\xEF\xBF\xBD", 3);
}

static fovea_status push_byte(fvi_detok *self, unsigned char byte, fvi_buf *out)
{
    self->pending[self->n_pending++] = byte;
    uint32_t need = fvi_utf8_need(self->pending, self->n_pending);
    if (need == 0 && self->n_pending > 1) {
        /* what waited is broken off here; this byte may begin something new */
        FVI_TRY(append_replacement(out));
        self->pending[0] = byte;
        self->n_pending = 1;
        need = fvi_utf8_need(self->pending, 1);
    }
    if (need == 0) {
        self->n_pending = 0;
        return append_replacement(out);
    }
    if (need == self->n_pending) {
        self->n_pending = 0;
        return fvi_buf_append_text(out, (const char *)self->pending, need);
    }
    return FOVEA_OK;
}

fovea_status fvi_detok_push(fvi_detok *detok, int32_t id, fvi_buf *out)
{
    const char *bytes;
    size_t n_bytes, n_before = out->n;
    fvi_detok before = *detok;
    if (fvi_tokenizer_is_special(detok->tokenizer, id) ||
        fvi_tokenizer_bytes(detok->tokenizer, id, &bytes, &n_bytes) < 0) {
        return FOVEA_OK; /* an id without a token gives nothing, as in the reference */
    }
    for (size_t i = 0; i < n_bytes; i++) {
        fovea_status status = push_byte(detok, (unsigned char)bytes[i], out);
        if (status < 0) {
            *detok = before;
            out->n = n_before;
            return status;
        }
    }
    return FOVEA_OK;
}

fovea_status fvi_detok_finish(fvi_detok *detok, fvi_buf *out)
{
    if (detok->n_pending > 0) {
        FVI_TRY(append_replacement(out));
        detok->n_pending = 0;
    }
    return FOVEA_OK;
}
