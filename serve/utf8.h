/* utf8.h - UTF-8 as protobuf strings demand it: well-formed, and here without NUL, because protobuf-c
 * hands out terminated strings and would cut there in silence.
 *
 * Threads: any. */
#ifndef FOVEA_SERVE_UTF8_H
#define FOVEA_SERVE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* No overlong forms, surrogates, code points above U+10FFFF, or cut characters. NUL is well-formed. */
bool fvi_wire_utf8_valid(const char *text, size_t n);

/* The largest length <= n that does not end inside a character. */
size_t fvi_wire_utf8_cut(const char *text, size_t n);

/* Copies n bytes to `out` (room for 3 * n + 1), puts U+FFFD for each byte that is not part of a
 * well-formed character and for NUL, terminates, and returns the length. */
size_t fvi_wire_utf8_repair(const char *text, size_t n, char *out);

#endif
