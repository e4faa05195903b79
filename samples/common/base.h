/* base.h - error texts and the clock, for every file of the samples.
 *
 * Threads: any. */
#ifndef FOVEA_SAMPLES_COMMON_BASE_H
#define FOVEA_SAMPLES_COMMON_BASE_H

#include <fovea/status.h>

/* Fills *err (may be NULL) and returns the code. */
fovea_status sample_fail(fovea_error *err, fovea_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Monotonic. */
double sample_now_ms(void);

#endif
