/* error.c - filling an RPC error; texts are cut on a character border, since clients decode UTF-8. */
#include "serve/error.h"
#include "serve/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool fvi_rpc_fail(fvi_rpc_error *err, grpc_status_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    err->code = code;
    if (n < 0) {
        err->text[0] = '\0';
    } else if ((size_t)n >= sizeof err->text) {
        err->text[fvi_wire_utf8_cut(err->text, sizeof err->text - 1)] = '\0';
    }
    return false;
}

grpc_status_code fvi_rpc_code(fovea_status status)
{
    switch (status) {
#define FVI_RPC_CODE(name, value, text, grpc)                                                      \
    case name: return GRPC_STATUS_##grpc;
        FOVEA_STATUS_LIST(FVI_RPC_CODE)
#undef FVI_RPC_CODE
    }
    return GRPC_STATUS_UNKNOWN;
}

bool fvi_rpc_fail_from(fvi_rpc_error *err, const char *field, fovea_status status,
                       const fovea_error *cause)
{
    const char *text =
        cause != NULL && cause->text[0] != '\0' ? cause->text : fovea_status_text(status);
    return fvi_rpc_fail(err, fvi_rpc_code(status), "%s%s%s", field != NULL ? field : "",
                        field != NULL ? ": " : "", text);
}
