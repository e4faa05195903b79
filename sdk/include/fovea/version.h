/* version.h - version of the Fovea library.
 *
 * 0.x: the ABI may change between minor versions (the soname carries the minor number).
 * Threads: any. */
#ifndef FOVEA_VERSION_H
#define FOVEA_VERSION_H

#define FOVEA_VERSION_MAJOR 0
#define FOVEA_VERSION_MINOR 1
#define FOVEA_VERSION_PATCH 0
#define FOVEA_VERSION_NUMBER \
    (FOVEA_VERSION_MAJOR * 10000 + FOVEA_VERSION_MINOR * 100 + FOVEA_VERSION_PATCH)

#endif
