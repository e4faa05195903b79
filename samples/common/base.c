/* base.c - error texts and the clock. */
#include "samples/common/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

fovea_status sample_fail(fovea_error *err, fovea_status code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list list;
        va_start(list, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, list);
        va_end(list);
        err->code = code;
    }
    return code;
}

double sample_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
