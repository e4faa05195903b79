/* unicode.h - UTF-8 and the few character properties that the tokenizer needs.
 *
 * Properties and normalization come from utf8proc, corrected by unicode_new.def to what the reference
 * tokenizer knows. Called by the tokenizer. Threads: any. */
#ifndef FOVEA_MODEL_UNICODE_H
#define FOVEA_MODEL_UNICODE_H

#include "sdk/base/base.h"

/* True when the text is well-formed UTF-8; otherwise *bad_at is the offset of the first wrong byte. */
bool fvi_utf8_check(const char *text, size_t n_bytes, size_t *bad_at);
/* How many bytes a character needs that begins with these n bytes (1..4): n_need > n when they may begin
 * one, n_need == n when they are one, 0 when no character begins so. */
uint32_t fvi_utf8_need(const unsigned char *bytes, uint32_t n);
/* The character at *at of well-formed text; *at moves behind it. */
uint32_t fvi_utf8_next(const char *text, size_t *at);
/* The character that ends at *at (> 0); *at moves to its start. */
uint32_t fvi_utf8_previous(const char *text, size_t *at);

bool fvi_unicode_is_space(uint32_t character);   /* White_Space */
bool fvi_unicode_is_word(uint32_t character);    /* \w of the reference's added tokens */
bool fvi_unicode_is_numeric(uint32_t character); /* general category N */

/* Appends the canonical composition (NFC) of well-formed text. Linear in n_bytes. */
fovea_status fvi_unicode_nfc(const char *text, size_t n_bytes, fvi_buf *out);
/* False when the text surely is in NFC already. */
bool fvi_unicode_may_change(const char *text, size_t n_bytes);

#endif
