/* pixels.h - what the tests of vision share: noise without files, the hash of tests/golden/pixels.py, files. */
#ifndef FOVEA_TESTS_VISION_PIXELS_H
#define FOVEA_TESTS_VISION_PIXELS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline uint64_t fnv1a(const void *data, size_t n)
{
    const uint8_t *bytes = data;
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < n; i++) {
        h = (h ^ bytes[i]) * UINT64_C(0x100000001B3);
    }
    return h;
}

/* Every third block of 64 only has 0 and 255. */
static inline void fill_noise(uint64_t seed, uint8_t *out, size_t n)
{
    uint64_t state = seed;
    for (size_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint8_t byte = (uint8_t)(state >> 56);
        out[i] = i / 64 % 3 == 2 ? (byte >= 128 ? 255 : 0) : byte;
    }
}

/* The file under tests/golden, or NULL; the caller frees it. */
static inline uint8_t *read_golden(const char *name, size_t *n_bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s", FOVEA_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    uint8_t *data = NULL;
    *n_bytes = 0;
    for (size_t got = 1; got > 0; *n_bytes += got) {
        data = realloc(data, *n_bytes + 65536);
        got = data != NULL ? fread(data + *n_bytes, 1, 65536, file) : 0;
    }
    fclose(file);
    return data;
}

#endif
