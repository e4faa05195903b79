/* error.h - what an RPC fails with: a gRPC status and a text that begins with the field at fault.
 *
 * Layout: error.c. Used by everything that judges a request. Threads: plain data. */
#ifndef FOVEA_SERVE_ERROR_H
#define FOVEA_SERVE_ERROR_H

#include <fovea/status.h>
#include <grpc/status.h>

#include <stdbool.h>

typedef struct fvi_rpc_error {
    grpc_status_code code;
    char text[480]; /* UTF-8; well under the 8 KiB of metadata that clients accept */
} fvi_rpc_error;

/* Fills *err and returns false, so that a check is `return fvi_rpc_fail(..)`. */
bool fvi_rpc_fail(fvi_rpc_error *err, grpc_status_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The gRPC column of FOVEA_STATUS_LIST. */
grpc_status_code fvi_rpc_code(fovea_status status);

/* Fails with the library's own code and text; `field` (may be NULL) is put in front. */
bool fvi_rpc_fail_from(fvi_rpc_error *err, const char *field, fovea_status status,
                       const fovea_error *cause);

#endif
