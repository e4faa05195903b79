/* score_random.c - a number drawn for each (seed, layer, head, token): what every scorer has to beat.
 *
 * A hash of the four and not a stream, so a token's draw depends on nothing else: the same seed keeps the
 * same set alone, in company, and on any backend. */
#include "kvcompress/policy.h"

/* The finaliser of MurmurHash3. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

static fovea_status score(const fvi_score_ctx *ctx, uint32_t layer, float *out)
{
    uint64_t of_seed = mix(ctx->seed + UINT64_C(0x9e3779b97f4a7c15));
    for (uint32_t head = 0; head < ctx->geom->layers[layer].n_kv_head; head++) {
        uint64_t of_list = mix(of_seed ^ ((uint64_t)layer << 32 | head));
        for (uint32_t i = 0; i < ctx->n_token; i++) {
            *out++ = (float)(mix(of_list + i * UINT64_C(0x9e3779b97f4a7c15)) >> 40) * 0x1p-24f;
        }
    }
    return FOVEA_OK;
}

const fvi_scorer fvi_scorer_random = {
    .name = "random",
    .score = score,
};
