/* model.c - where the model that comes with the samples lies: ../share/fovea/model beside installed
 * programs, else the source tree that the programs were built from. */
#include "samples/common/ask.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool has_config(const char *folder)
{
    char path[PATH_MAX + 16];

    return snprintf(path, sizeof(path), "%s/config.json", folder) < (int)sizeof(path) &&
           access(path, R_OK) == 0;
}

const char *sample_default_model(void)
{
    static char installed[PATH_MAX + sizeof(SAMPLE_INSTALLED_MODEL) + 1];
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char *slash;

    if (length > 0) {
        program[length] = '\0';
        slash = strrchr(program, '/');
        snprintf(installed, sizeof(installed), "%.*s/%s", (int)(slash - program), program,
                 SAMPLE_INSTALLED_MODEL);
        if (has_config(installed)) {
            return installed;
        }
    }
    return has_config(SAMPLE_SOURCE_MODEL) ? SAMPLE_SOURCE_MODEL : NULL;
}
