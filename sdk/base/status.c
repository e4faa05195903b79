/* status.c - texts and names of status codes, and filling an error by value.
 *
 * Called from everywhere; has no state. */
#include "sdk/base/base.h"

#include <fovea/fovea.h>

#include <stdarg.h>
#include <stdio.h>

const char *fovea_status_text(fovea_status code)
{
    switch (code) {
#define FVI_TEXT(name, value, text, grpc) \
    case name: return text;
        FOVEA_STATUS_LIST(FVI_TEXT)
#undef FVI_TEXT
    }
    return "unknown status";
}

const char *fovea_status_name(fovea_status code)
{
    switch (code) {
#define FVI_NAME(name, value, text, grpc) \
    case name: return #name;
        FOVEA_STATUS_LIST(FVI_NAME)
#undef FVI_NAME
    }
    return "FOVEA_UNKNOWN";
}

#define FVI_STRING_(x) #x
#define FVI_STRING(x) FVI_STRING_(x)

const char *fovea_version(void)
{
    return FVI_STRING(FOVEA_VERSION_MAJOR) "." FVI_STRING(FOVEA_VERSION_MINOR) "." FVI_STRING(
        FOVEA_VERSION_PATCH);
}

/* A text that was cut must not end inside a UTF-8 character: it goes into a protobuf string. */
static void trim_partial_character(char *text, size_t n)
{
    size_t i = n;
    while (i > 0 && ((unsigned char)text[i - 1] & 0xc0) == 0x80) {
        i--;
    }
    if (i == 0) {
        return;
    }
    unsigned char lead = (unsigned char)text[i - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (n - (i - 1) < need) {
        text[i - 1] = '\0';
    }
}

fovea_status fvi_fail(fovea_error *err, fovea_status code, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->code = code;
    if (n < 0) {
        err->text[0] = '\0';
    } else if ((size_t)n >= sizeof err->text) {
        trim_partial_character(err->text, sizeof err->text - 1);
    }
    return code;
}
