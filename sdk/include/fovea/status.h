/* status.h - status codes, error texts, and the two callbacks every part shares (memory, log).
 *
 * Every fallible function returns a fovea_status. 0 is success, positive values are outcomes that are
 * no errors (an ended stream, a wait that timed out), negative values are errors. A function that
 * fails leaves its outputs untouched (pointers: NULL) and its objects as they were.
 * Where a text helps, the last argument is a `fovea_error *` (may be NULL), filled by value, so it can
 * cross threads and outlive the object it speaks of. Success leaves no error in one that held none.
 *
 * Threads: any. */
#ifndef FOVEA_STATUS_H
#define FOVEA_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FOVEA_API __attribute__((visibility("default")))
#else
#define FOVEA_API
#endif

/* X(name, value, text, gRPC status). The gRPC column is what fovead answers with. */
#define FOVEA_STATUS_LIST(X)                                                       \
    X(FOVEA_OK, 0, "ok", OK)                                                       \
    X(FOVEA_DONE, 1, "the stream has ended", OK)                                   \
    X(FOVEA_AGAIN, 2, "nothing arrived within the time given", OK)                 \
    X(FOVEA_ERR_ARG, -1, "invalid argument", INVALID_ARGUMENT)                     \
    X(FOVEA_ERR_FORMAT, -2, "malformed input", INVALID_ARGUMENT)                   \
    X(FOVEA_ERR_LIMIT, -3, "a limit was exceeded", INVALID_ARGUMENT)               \
    X(FOVEA_ERR_BUDGET, -4, "the KV budget is below its floor", INVALID_ARGUMENT)  \
    X(FOVEA_ERR_UNSUPPORTED, -5, "not supported", FAILED_PRECONDITION)             \
    X(FOVEA_ERR_STATE, -6, "not possible in this state", FAILED_PRECONDITION)      \
    X(FOVEA_ERR_NOT_FOUND, -7, "not found", NOT_FOUND)                             \
    X(FOVEA_ERR_NOMEM, -8, "out of memory", RESOURCE_EXHAUSTED)                    \
    X(FOVEA_ERR_FULL, -9, "the queue or the KV pool is full", RESOURCE_EXHAUSTED)  \
    X(FOVEA_ERR_CANCELLED, -10, "cancelled", CANCELLED)                            \
    X(FOVEA_ERR_DEADLINE, -11, "the deadline has passed", DEADLINE_EXCEEDED)       \
    X(FOVEA_ERR_CLOSED, -12, "shutting down", UNAVAILABLE)                         \
    X(FOVEA_ERR_IO, -13, "input/output error", UNKNOWN)                            \
    X(FOVEA_ERR_INTERNAL, -14, "internal error", INTERNAL)

typedef enum fovea_status {
#define FOVEA_STATUS_ENUM(name, value, text, grpc) name = value,
    FOVEA_STATUS_LIST(FOVEA_STATUS_ENUM)
#undef FOVEA_STATUS_ENUM
} fovea_status;

typedef struct fovea_error {
    fovea_status code;
    char text[252]; /* UTF-8, always terminated */
} fovea_error;

/* A short constant text for a code; never NULL. */
FOVEA_API const char *fovea_status_text(fovea_status code);
/* The name of a code, "FOVEA_ERR_ARG"; never NULL. */
FOVEA_API const char *fovea_status_name(fovea_status code);

/* Memory for everything the library itself allocates on the heap. `alloc` returns memory aligned to 64
 * bytes or NULL; `release` accepts NULL. Both may be called from any thread at the same time. */
typedef struct fovea_alloc {
    void *(*alloc)(void *user, size_t n_bytes);
    void (*release)(void *user, void *memory);
    void *user;
} fovea_alloc;

typedef enum fovea_log_level {
    FOVEA_LOG_ERROR = 0,
    FOVEA_LOG_WARN = 1,
    FOVEA_LOG_INFO = 2,
    FOVEA_LOG_DEBUG = 3,
} fovea_log_level;

/* Called from any thread of the library, one line without a line end; must not call back into it. */
typedef void (*fovea_log_fn)(void *user, fovea_log_level level, const char *line);

#ifdef __cplusplus
}
#endif
#endif
