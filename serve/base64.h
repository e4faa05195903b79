/* base64.h - RFC 4648 base64 for data URIs. Threads: any. */
#ifndef FOVEA_SERVE_BASE64_H
#define FOVEA_SERVE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes n characters into out, which may be the same memory (room for n / 4 * 3). The alphabet is
 * the standard one, padding is required, nothing else may stand in it. */
bool fvi_wire_base64(const char *text, size_t n, uint8_t *out, size_t *n_out);

#endif
