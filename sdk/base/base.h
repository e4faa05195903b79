/* base.h - what every file of the library uses: errors with texts, memory, logging, sizes.
 *
 * Layout: status.c (texts), base.c (memory, log). Included by all modules; includes only the public
 * status.h. Threads: all functions - any. */
#ifndef FOVEA_BASE_BASE_H
#define FOVEA_BASE_BASE_H

#include <fovea/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FVI_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#define FVI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FVI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define FVI_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Fills *err (may be NULL) and returns code. Cuts at the buffer's end, on a character border. */
fovea_status fvi_fail(fovea_error *err, fovea_status code, const char *fmt, ...) FVI_PRINTF(3, 4);
#define FVI_FAIL(err, code, ...) fvi_fail((err), (code), __VA_ARGS__)

/* Whether something is not there that need not be: then that is no error, and *err tells of none. */
static inline bool fvi_is_absent(fovea_status status, fovea_error *err)
{
    if (status == FOVEA_ERR_NOT_FOUND && err != NULL) {
        *err = (fovea_error){.code = FOVEA_OK};
    }
    return status == FOVEA_ERR_NOT_FOUND;
}

/* Returns from the calling function when `expr` is an error. The only control-flow macro. */
#define FVI_TRY(expr)                  \
    do {                               \
        fovea_status try_ = (expr);    \
        if (try_ < 0) {                \
            return try_;               \
        }                              \
    } while (0)

/* Structs that cross the public ABI begin with `uint32_t size`. A caller that was compiled against an older
 * header gives a smaller one: what it lacks reads as zero, and is not written. False: no such size. */
static inline bool fvi_struct_in(void *own, size_t own_size, const void *given)
{
    uint32_t size;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > own_size) {
        return false;
    }
    memset(own, 0, own_size);
    memcpy(own, given, size);
    return true;
}

static inline bool fvi_struct_out(void *given, const void *own, size_t own_size)
{
    uint32_t size;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > own_size) {
        return false;
    }
    memcpy(given, own, size);
    memcpy(given, &size, sizeof size);
    return true;
}

/* ---- memory ---- */

/* malloc with 64-byte alignment; user is unused. */
extern const fovea_alloc fvi_alloc_default;
/* alloc if it is set, else the default. */
const fovea_alloc *fvi_alloc_or_default(const fovea_alloc *alloc);

/* 64-byte aligned, NULL when it fails or n_bytes is 0. */
void *fvi_alloc(const fovea_alloc *alloc, size_t n_bytes);
/* n * size with an overflow check, zeroed. */
void *fvi_calloc(const fovea_alloc *alloc, size_t n, size_t size);
/* A new block with the first min(old, new) bytes of the old one, which is released; on failure NULL
 * and the old block stays. */
void *fvi_grow(const fovea_alloc *alloc, void *memory, size_t old_bytes, size_t new_bytes);
/* A terminated copy of n_bytes characters. */
char *fvi_strndup(const fovea_alloc *alloc, const char *text, size_t n_bytes);
void fvi_free(const fovea_alloc *alloc, void *memory);

static inline bool fvi_mul_overflow(size_t a, size_t b, size_t *out)
{
    return __builtin_mul_overflow(a, b, out);
}

static inline size_t fvi_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- a growing array of bytes; zero-initialise, set alloc ---- */
typedef struct fvi_buf {
    const fovea_alloc *alloc;
    char *data;
    size_t n; /* bytes used */
    size_t capacity;
} fvi_buf;

fovea_status fvi_buf_reserve(fvi_buf *buf, size_t n_more);
fovea_status fvi_buf_append(fvi_buf *buf, const void *data, size_t n_bytes);
/* Appends without counting a terminator, but keeps one behind the data. */
fovea_status fvi_buf_append_text(fvi_buf *buf, const char *text, size_t n_bytes);
void fvi_buf_free(fvi_buf *buf);

/* ---- log ---- */
typedef struct fvi_log {
    fovea_log_fn fn; /* may be NULL */
    void *user;
} fvi_log;

void fvi_log_write(const fvi_log *log, fovea_log_level level, const char *fmt, ...) FVI_PRINTF(3, 4);

/* Monotonic clock. */
int64_t fvi_now_ns(void);

#endif
