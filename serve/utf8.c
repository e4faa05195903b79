/* utf8.c - one character at a time; used on request strings and on the texts of tokens. */
#include "serve/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed character at text, 0 if there is none. n >= 1. */
static size_t character(const uint8_t *text, size_t n)
{
    uint8_t lead = text[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t need = lead >= 0xf5 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
    if (need == 0 || need > n) {
        return 0;
    }
    /* The second byte alone tells overlong forms, surrogates and the end of Unicode. */
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

bool fvi_wire_utf8_valid(const char *text, size_t n)
{
    const uint8_t *at = (const uint8_t *)text;
    for (size_t i = 0; i < n;) {
        size_t step = character(at + i, n - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

size_t fvi_wire_utf8_cut(const char *text, size_t n)
{
    size_t start = n;
    for (size_t back = 0; back < 4 && start > 0; back++) {
        start--;
        if (((uint8_t)text[start] & 0xc0) != 0x80) {
            return character((const uint8_t *)text + start, n - start) == n - start ? n : start;
        }
    }
    return n;
}

size_t fvi_wire_utf8_repair(const char *text, size_t n, char *out)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        size_t step = at[i] == 0 ? 0 : character(at + i, n - i);
        if (step == 0) {
            memcpy(out + length, "\xef\xbf\xbd", 3);
            length += 3;
            i++;
        } else {
            memcpy(out + length, text + i, step);
            length += step;
            i += step;
        }
    }
    out[length] = '\0';
    return length;
}
