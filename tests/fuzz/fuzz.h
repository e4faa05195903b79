/* fuzz.h - mutated inputs against everything that reads files or strings.
 *
 * A target gets bytes and must come back, with success or an error; the sanitizers say whether it was
 * clean. Input number i of a target is a function of (target, i) alone, so a finding is repeated by its
 * number. Layout: fuzz.c (main, seeds, the child that may die), fuzz_mutate.c, one fuzz_<target>.c each. */
#ifndef FOVEA_TESTS_FUZZ_H
#define FOVEA_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_MAX_BYTES 65536

typedef struct fuzz_random {
    uint64_t state;
} fuzz_random;

uint32_t fuzz_next(fuzz_random *random);
/* 0..n-1; n > 0 */
uint32_t fuzz_below(fuzz_random *random, uint32_t n);

typedef struct fuzz_bytes {
    uint8_t data[FUZZ_MAX_BYTES];
    size_t n;
} fuzz_bytes;

typedef struct fuzz_target {
    const char *name;  /* seeds: files of tests/fuzz/seeds/<name>/ */
    const char *const *words; /* NULL-terminated dictionary, or NULL for binary inputs */
    /* Makes a mutated input plausible again (lengths, checksums); may be NULL. */
    void (*repair)(fuzz_bytes *input, fuzz_random *random);
    /* `dir` is an empty folder of this process for targets that read files. */
    void (*run)(const fuzz_bytes *input, const char *dir);
} fuzz_target;

/* Changes `input`, which holds a seed, in one to eight places; `other` is another seed to splice from. */
void fuzz_mutate(fuzz_bytes *input, const fuzz_bytes *other, const char *const *words,
                 fuzz_random *random);

/* Writes dir/name; ends the process when that fails, since nothing could be tested then. */
void fuzz_write_file(const char *dir, const char *name, const uint8_t *data, size_t n_bytes);

extern const fuzz_target fuzz_images;
extern const fuzz_target fuzz_weights;
extern const fuzz_target fuzz_shards;
extern const fuzz_target fuzz_configs;
extern const fuzz_target fuzz_preprocessor;
extern const fuzz_target fuzz_tokenizer;
extern const fuzz_target fuzz_recipe;

#endif
