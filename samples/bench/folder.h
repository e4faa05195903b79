/* folder.h - a model folder with random weights, for fovea-bench. */
#ifndef FOVEA_SAMPLES_BENCH_FOLDER_H
#define FOVEA_SAMPLES_BENCH_FOLDER_H

#include "samples/bench/bench.h"

#define BENCH_PATH  256
#define BENCH_IMAGE 512 /* pixels a side of its tower's pictures */

/* Writes it to a new folder under /tmp; dir [BENCH_PATH]. False: nothing was left behind. */
bool bench_folder_make(const bench_shape *shape, char *dir);
void bench_folder_remove(const char *dir);

#endif
