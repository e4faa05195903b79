/* draw.h - a number from 0 to 1 for each (seed, layer, head, token).
 *
 * A hash of the four and not a stream, so a token's draw depends on nothing else: it is the same alone, in
 * company, and on any backend. Called by score_random.c and merge_cam.c. Threads: any. */
#ifndef FOVEA_KVCOMPRESS_DRAW_H
#define FOVEA_KVCOMPRESS_DRAW_H

#include <stdint.h>

/* The finaliser of MurmurHash3. */
static inline uint64_t fvi_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

static inline uint64_t fvi_draw_list(uint64_t seed, uint32_t layer, uint32_t head)
{
    uint64_t of_seed = fvi_mix(seed + UINT64_C(0x9e3779b97f4a7c15));
    return fvi_mix(of_seed ^ ((uint64_t)layer << 32 | head));
}

/* 0 <= draw < 1 */
static inline float fvi_draw(uint64_t of_list, uint32_t token)
{
    return (float)(fvi_mix(of_list + token * UINT64_C(0x9e3779b97f4a7c15)) >> 40) * 0x1p-24f;
}

#endif
