/* items.h - a question set: a JSONL file, one question a line.
 *
 *     {"images": ["a.png", ..], "question": "..", "answers": ["..", ..], "kind": "..",
 *      "before": {"question": "..", "answer": ".."}}
 *
 * Image paths are relative to the file's folder; every answer of the list is right; "before" is the turn
 * that stood in the prompt when the plan was made (mode `next`), otherwise it may be absent.
 * Called by main.c; read by run.c and report.c. Threads: read once, then any. */
#ifndef FOVEA_SAMPLES_EVAL_ITEMS_H
#define FOVEA_SAMPLES_EVAL_ITEMS_H

#include <fovea/status.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct eval_item {
    json_t *root;  /* owns the texts below */
    char **images; /* [n_image] paths */
    size_t n_image;
    const char *question;
    const json_t *answers;                       /* array of strings, at least one */
    const char *before_question, *before_answer; /* NULL without "before" */
    uint32_t kind;                               /* index in eval_set.kinds */
    uint32_t group; /* the same for all lines about the same pictures */
} eval_item;

typedef struct eval_set {
    eval_item *items; /* [n] */
    size_t n;
    const char **kinds; /* [n_kind], in the order of their appearance; belong to the items */
    uint32_t n_kind, n_group;
} eval_set;

/* Reads at most `limit` lines (0: all). with_before: every line must have "before". The error names file
 * and line. */
fovea_status eval_set_read(const char *path, size_t limit, bool with_before, eval_set *out,
                           fovea_error *err);
void eval_set_free(eval_set *set);

#endif
