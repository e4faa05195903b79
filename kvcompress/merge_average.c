/* merge_average.c - LOOK-M, averaged merging: the mean of a kept token and of all that were folded into it.
 *
 *     k' = (k + sum k_e) / (1 + n)          the same for values
 *
 * So the rows of a list keep their sum when each counts as often as what it stands for. The paper merges
 * vision tokens into whatever key is nearest, text too; here modalities do not mix (merger.h). */
#include "kvcompress/merger.h"

static void weigh(const fvi_merge_ctx *ctx, float *own, float *weight)
{
    (void)ctx;
    (void)own;
    (void)weight; /* all count 1 */
}

const fvi_merger fvi_merger_average = {
    .name = "average",
    .weigh = weigh,
};
