/* revise_streaming.c - StreamingLLM: four first tokens and a window of the latest.
 *
 * The paper counts positions within the cache; here keys stay rotated by the positions they had, as everywhere
 * in this cache. */
#include "kvcompress/revise.h"

static float worth(uint32_t position, float mass)
{
    (void)mass;
    return (float)position; /* exact for the first 2^24 */
}

const fvi_reviser fvi_reviser_streaming = {
    .name = "streaming",
    .n_sink = 4,
    .worth = worth,
};
