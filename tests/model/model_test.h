/* model_test.h - what the tests of sdk/model share: a scratch folder and files in it. */
#ifndef FOVEA_TESTS_MODEL_TEST_H
#define FOVEA_TESTS_MODEL_TEST_H

#include "sdk/base/base.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SAMPLE_MODEL FOVEA_SOURCE_DIR "/samples/model"
#define GOLDEN(file) FOVEA_SOURCE_DIR "/tests/golden/" file

/* The folder of one test; scratch_new empties what was there. */
typedef struct scratch {
    char dir[64];
} scratch;

static inline void scratch_path(const scratch *self, const char *file, char path[512])
{
    snprintf(path, 512, "%s/%s", self->dir, file);
}

static inline void scratch_write(const scratch *self, const char *file, const void *data,
                                 size_t n_bytes)
{
    char path[512];
    scratch_path(self, file, path);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, n_bytes, out), n_bytes);
    assert_int_equal(fclose(out), 0);
}

static inline void scratch_text(const scratch *self, const char *file, const char *text)
{
    scratch_write(self, file, text, strlen(text));
}

static inline void scratch_remove(const scratch *self, const char *file)
{
    char path[512];
    scratch_path(self, file, path);
    (void)unlink(path);
}

static inline void scratch_new(scratch *self)
{
    snprintf(self->dir, sizeof self->dir, "/tmp/fovea-model-XXXXXX");
    assert_non_null(mkdtemp(self->dir));
}

static inline void scratch_free(scratch *self)
{
    DIR *dir = opendir(self->dir);
    assert_non_null(dir);
    for (struct dirent *one = readdir(dir); one != NULL; one = readdir(dir)) {
        if (one->d_name[0] != '.') {
            scratch_remove(self, one->d_name);
        }
    }
    closedir(dir);
    assert_int_equal(rmdir(self->dir), 0);
}

/* The error must have this code and speak of this word. */
static inline void assert_error(fovea_status status, const fovea_error *error, fovea_status code,
                                const char *word)
{
    if (status != code || error->code != code || strstr(error->text, word) == NULL) {
        fail_msg("status %s, text \"%s\"; expected %s with \"%s\"", fovea_status_name(status),
                 error->text, fovea_status_name(code), word);
    }
}

static inline void assert_ok(fovea_status status, const fovea_error *error)
{
    if (status < 0) {
        fail_msg("%s: %s", fovea_status_name(status), error->text);
    }
}

#endif
