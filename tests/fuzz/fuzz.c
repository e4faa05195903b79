/* fuzz.c - the driver: `fuzz SEEDS TARGET COUNT [FIRST]` runs inputs FIRST.. of a target.
 *
 * The inputs run in a child process, which leaves the number of the input it is at in shared memory, so
 * that a crash, a sanitizer's finding or a hang (20 s without progress) is reported with the command that
 * repeats it. Exit status 0: every input came back. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_SEED 64
#define HANG_SECONDS 20

static const fuzz_target *const targets[] = {
    &fuzz_images,
    &fuzz_weights,
    &fuzz_shards,
    &fuzz_configs,
    &fuzz_preprocessor,
    &fuzz_tokenizer,
    &fuzz_recipe,
};

typedef struct seeds {
    fuzz_bytes *items; /* [MAX_SEED] */
    uint32_t n;
} seeds;

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "fuzz: %s %s\n", what, name);
    exit(2);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Reads all files of a folder in the order of their names. */
static void load_seeds(const char *root, const char *name, seeds *out)
{
    char dir[1024], path[2048];
    char *names[MAX_SEED];
    uint32_t n = 0;
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    DIR *handle = opendir(dir);
    if (handle == NULL) {
        fail("no seeds in", dir);
    }
    for (struct dirent *entry; (entry = readdir(handle)) != NULL;) {
        if (entry->d_name[0] != '.' && n < MAX_SEED) {
            names[n++] = strdup(entry->d_name);
        }
    }
    closedir(handle);
    qsort(names, n, sizeof names[0], by_name);
    out->items = calloc(MAX_SEED, sizeof *out->items);
    if (n == 0 || out->items == NULL) {
        fail("no seeds in", dir);
    }
    for (uint32_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        FILE *file = fopen(path, "rb");
        if (file == NULL) {
            fail("cannot read", path);
        }
        out->items[i].n = fread(out->items[i].data, 1, FUZZ_MAX_BYTES, file);
        fclose(file);
        free(names[i]);
    }
    out->n = n;
}

void fuzz_write_file(const char *dir, const char *name, const uint8_t *data, size_t n_bytes)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, n_bytes, file) != n_bytes || fclose(file) != 0) {
        fail("cannot write", path);
    }
}

/* Input number `index`; the first ones are the seeds as they are. */
static void make_input(const fuzz_target *target, const seeds *from, uint64_t index, fuzz_bytes *out)
{
    fuzz_random random = {index * UINT64_C(0x2545f4914f6cdd1d) + target->name[0]};
    uint32_t seed = (uint32_t)(index % from->n);
    *out = from->items[seed];
    if (index >= from->n) {
        fuzz_mutate(out, &from->items[fuzz_below(&random, from->n)], target->words, &random);
        if (target->repair != NULL && fuzz_below(&random, 8) != 0) {
            target->repair(out, &random);
        }
    }
}

static void run_inputs(const fuzz_target *target, const seeds *from, uint64_t first, uint64_t count,
                       const char *dir, _Atomic uint64_t *progress)
{
    static fuzz_bytes input;
    for (uint64_t i = first; i < first + count; i++) {
        atomic_store(progress, i);
        make_input(target, from, i, &input);
        target->run(&input, dir);
    }
    atomic_store(progress, first + count);
}

/* 0: the child ended well; otherwise what waitpid said, or -1 for a hang. */
static int watch(pid_t child, const _Atomic uint64_t *progress)
{
    uint64_t seen = atomic_load(progress);
    time_t since = time(NULL);
    for (int status;;) {
        if (waitpid(child, &status, WNOHANG) == child) {
            return status;
        }
        if (atomic_load(progress) != seen) {
            seen = atomic_load(progress);
            since = time(NULL);
        } else if (time(NULL) - since > HANG_SECONDS) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return -1;
        }
        usleep(20000);
    }
}

static void remove_folder(const char *dir)
{
    char path[2048];
    DIR *handle = opendir(dir);
    for (struct dirent *entry; handle != NULL && (entry = readdir(handle)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    if (handle != NULL) {
        closedir(handle);
    }
    rmdir(dir);
}

int main(int argc, char **argv)
{
    const fuzz_target *target = NULL;
    for (size_t i = 0; argc >= 4 && i < sizeof targets / sizeof targets[0]; i++) {
        if (strcmp(targets[i]->name, argv[2]) == 0) {
            target = targets[i];
        }
    }
    if (target == NULL) {
        fprintf(stderr, "fuzz SEEDS TARGET COUNT [FIRST]\n");
        return 2;
    }
    uint64_t count = strtoull(argv[3], NULL, 10);
    uint64_t first = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    /* memory where there is such a folder: some targets write a file per input */
    char dir[64];
    snprintf(dir, sizeof dir, "%s/fovea-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    _Atomic uint64_t *progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    seeds from = {.n = 0};
    load_seeds(argv[1], target->name, &from);
    if (progress == MAP_FAILED || mkdtemp(dir) == NULL) {
        fail("cannot prepare", dir);
    }
    pid_t child = fork();
    if (child == 0) {
        run_inputs(target, &from, first, count, dir, progress);
        free(from.items);
        exit(0); /* the leak check runs here */
    }
    int status = child < 0 ? -1 : watch(child, progress);
    uint64_t at = atomic_load(progress);
    remove_folder(dir);
    free(from.items);
    if (status != 0) {
        printf("%s: %s at input %llu; repeat it with: fuzz %s %s 1 %llu\n", target->name,
               status == -1 ? "no progress" : "ended", (unsigned long long)at, argv[1], target->name,
               (unsigned long long)at);
        return 1;
    }
    printf("%s: %llu inputs from %u seeds, no finding\n", target->name, (unsigned long long)count, from.n);
    return 0;
}
