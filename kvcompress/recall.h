/* recall.h - what a recall is: the interface behind recalls.def, for methods that drop nothing and attend to a
 * part.
 *
 * `recall=NAME,attend=N`: what is sealed lies in pages of FVI_KV_PAGE rows, each a run of its own with a summary
 * of its keys behind it (place.h). In every step of decoding a list attends the pages whose summaries promise
 * most for its queries, first and latest page and the tail always, at most N tokens in all; what was left out
 * in one step may be read in the next. A recall says what a summary is and what it promises. One file each
 * (recall_<name>.c) ending in `const fvi_recall fvi_recall_<name> = {...}`, and one line in the table.
 * Called by recall.c. Threads: any; entries are constant. */
#ifndef FOVEA_KVCOMPRESS_RECALL_H
#define FOVEA_KVCOMPRESS_RECALL_H

#include "sdk/ops/codec.h"

#define FVI_KV_PAGE         16 /* rows */
#define FVI_KV_ATTEND_LEAST 64 /* two pages, the tail, and something to choose */

typedef struct fvi_recall {
    const char *name;
    size_t (*summary_bytes)(uint32_t dk);
    /* Of the keys of a page as attention reads them. scratch: [3, dk]. */
    void (*summarise)(const fvi_run_view *page, uint32_t dk, uint32_t dv, float *scratch,
                      uint8_t *summary);
    /* What the page may be worth to a list: never less than the largest product of one of the queries with
     * one of its keys. */
    float (*bound)(const uint8_t *summary, const float *q /* [group, dk] */, uint32_t group,
                   uint32_t dk);
} fvi_recall;

/* Entries of recalls.def; NULL past the end. */
const fvi_recall *fvi_recall_at(uint32_t index);

#endif
