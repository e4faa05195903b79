/* merge_drop.c - the default: an evicted token leaves nothing behind.
 *
 * On recent models this beats merging (AirCache's ablation on LLaVA-OneVision, InternVL2 and Qwen2-VL). */
#include "kvcompress/merger.h"

const fvi_merger fvi_merger_drop = {
    .name = "drop",
};
