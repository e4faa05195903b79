/* picture.h - an evaluation as an SVG picture: a row of plots for each part.
 *
 * Score, agreement with "none" and, where it was measured, time per token against realised bytes; a line per recipe through its
 * budgets. Called by main.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_PICTURE_H
#define FOVEA_SAMPLES_EVAL_PICTURE_H

#include "samples/eval/totals.h"

#include <stdio.h>

/* The parts have the same recipes. against: the recipe that is drawn thick; may be NULL. */
void eval_picture(FILE *out, const eval_part *parts, size_t n_part, const char *against);

#endif
