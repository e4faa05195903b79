/* report.h - sums of an evaluation, as CSV and as tables for people.
 *
 * Called by main.c. Threads: one. */
#ifndef FOVEA_SAMPLES_EVAL_REPORT_H
#define FOVEA_SAMPLES_EVAL_REPORT_H

#include "samples/eval/run.h"

#include <stdio.h>

/* A line per recipe and kind of question, kind "all" first. Bytes and tokens are means. */
void eval_report_csv(FILE *out, const char *set_name, const eval_job *job,
                     const eval_results *results);
/* Recipes with their shares and bytes, then shares of right answers by kind. */
void eval_report_table(FILE *out, const eval_job *job, const eval_results *results);
/* One JSON object per question: what every recipe answered. */
fovea_status eval_report_answers(FILE *out, const eval_job *job, const eval_results *results);

#endif
