/* report.h - an evaluation as CSV and as tables for people.
 *
 * Called by main.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_REPORT_H
#define FOVEA_SAMPLES_EVAL_REPORT_H

#include "samples/eval/totals.h"

#include <stdio.h>

void eval_report_csv_head(FILE *out);
/* A line per recipe and kind of question, kind "all" first. Bytes and tokens are means; ms_per_token is
 * empty where recipes ran together. against: the recipe that the others are compared with (eval_recipes_against), or NULL. */
fovea_status eval_report_csv(FILE *out, const eval_part *part, const char *against,
                             fovea_error *err);
/* Recipes with their shares and bytes, with `against` what each has more than that one, then right and ANLS
 * by kind, then whether the set can tell recipes apart. */
fovea_status eval_report_table(FILE *out, const eval_part *part, const char *against,
                               fovea_error *err);
/* One JSON object per question: what every recipe answered. */
fovea_status eval_report_answers(FILE *out, const eval_part *part);

#endif
