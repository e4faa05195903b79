/* base.c - memory through the caller's allocator, growing buffers, log lines, the clock.
 *
 * Every block is 64-byte aligned so that vector code may use any of them. */
#include "sdk/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ALIGNMENT 64

static void *default_alloc(void *user, size_t n_bytes)
{
    (void)user;
    return aligned_alloc(ALIGNMENT, fvi_round_up(n_bytes, ALIGNMENT));
}

static void default_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

const fovea_alloc fvi_alloc_default = {.alloc = default_alloc, .release = default_release};

const fovea_alloc *fvi_alloc_or_default(const fovea_alloc *alloc)
{
    return alloc != NULL ? alloc : &fvi_alloc_default;
}

void *fvi_alloc(const fovea_alloc *alloc, size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > SIZE_MAX - ALIGNMENT) {
        return NULL;
    }
    return alloc->alloc(alloc->user, n_bytes);
}

void *fvi_calloc(const fovea_alloc *alloc, size_t n, size_t size)
{
    size_t n_bytes;
    if (fvi_mul_overflow(n, size, &n_bytes)) {
        return NULL;
    }
    void *memory = fvi_alloc(alloc, n_bytes);
    if (memory != NULL) {
        memset(memory, 0, n_bytes);
    }
    return memory;
}

void *fvi_grow(const fovea_alloc *alloc, void *memory, size_t old_bytes, size_t new_bytes)
{
    void *grown = fvi_alloc(alloc, new_bytes);
    if (grown == NULL) {
        return NULL;
    }
    if (memory != NULL) {
        memcpy(grown, memory, FVI_MIN(old_bytes, new_bytes));
        fvi_free(alloc, memory);
    }
    return grown;
}

char *fvi_strndup(const fovea_alloc *alloc, const char *text, size_t n_bytes)
{
    if (n_bytes == SIZE_MAX) {
        return NULL;
    }
    char *copy = fvi_alloc(alloc, n_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
        copy[n_bytes] = '\0';
    }
    return copy;
}

void fvi_free(const fovea_alloc *alloc, void *memory)
{
    if (memory != NULL) {
        alloc->release(alloc->user, memory);
    }
}

fovea_status fvi_buf_reserve(fvi_buf *buf, size_t n_more)
{
    if (n_more > SIZE_MAX / 4 - buf->n) {
        return FOVEA_ERR_NOMEM;
    }
    size_t need = buf->n + n_more;
    if (need <= buf->capacity) {
        return FOVEA_OK;
    }
    size_t capacity = FVI_MAX(need, FVI_MAX(2 * buf->capacity, (size_t)64));
    char *grown = fvi_grow(buf->alloc, buf->data, buf->n, capacity);
    if (grown == NULL) {
        return FOVEA_ERR_NOMEM;
    }
    buf->data = grown;
    buf->capacity = capacity;
    return FOVEA_OK;
}

fovea_status fvi_buf_append(fvi_buf *buf, const void *data, size_t n_bytes)
{
    if (n_bytes == 0) {
        return FOVEA_OK;
    }
    FVI_TRY(fvi_buf_reserve(buf, n_bytes));
    memcpy(buf->data + buf->n, data, n_bytes);
    buf->n += n_bytes;
    return FOVEA_OK;
}

fovea_status fvi_buf_append_text(fvi_buf *buf, const char *text, size_t n_bytes)
{
    FVI_TRY(fvi_buf_reserve(buf, n_bytes + 1));
    if (n_bytes > 0) {
        memcpy(buf->data + buf->n, text, n_bytes);
    }
    buf->n += n_bytes;
    buf->data[buf->n] = '\0';
    return FOVEA_OK;
}

void fvi_buf_free(fvi_buf *buf)
{
    fvi_free(buf->alloc, buf->data);
    buf->data = NULL;
    buf->n = buf->capacity = 0;
}

void fvi_log_write(const fvi_log *log, fovea_log_level level, const char *fmt, ...)
{
    if (log == NULL || log->fn == NULL) {
        return;
    }
    char line[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n >= 0) {
        log->fn(log->user, level, line);
    }
}

int64_t fvi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
