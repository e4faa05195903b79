/* base64.c - strict decoding, in place if wanted; called by convert_request.c. */
#include "serve/base64.h"

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool fvi_wire_base64(const char *text, size_t n, uint8_t *out, size_t *n_out)
{
    if (n == 0 || n % 4 != 0) {
        return false;
    }
    size_t n_pad = text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
    size_t length = 0;
    for (size_t i = 0; i < n; i += 4) {
        size_t n_digit = i + 4 == n ? 4 - n_pad : 4;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < n_digit ? digit(text[i + k]) : 0;
            if (value < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t k = 0; k + 1 < n_digit; k++) {
            out[length++] = (uint8_t)(bits >> (16 - 8 * k));
        }
    }
    *n_out = length;
    return true;
}
