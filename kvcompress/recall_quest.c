/* recall_quest.c - Quest: a page's least and largest key per channel bound what a query can find in it.
 *
 *     bound = max over the group's queries of sum over channels of max(q min, q max)
 *
 * Least and largest are stored in f16, rounded outwards, and the sum is raised by more than it may have been
 * rounded off by: the bound holds exactly. The paper leaves the first two layers dense and bounds each query
 * head; here all layers are alike, and a KV head takes the best of its query heads, who read the same pages. */
#include "kvcompress/codec_affine.h"
#include "kvcompress/recall.h"
#include "sdk/ops/backend.h"

#include <math.h>

#define LANES    16
#define ROUNDING 0x1p-16f /* of the sum of magnitudes: more than 128 additions of f32 lose */

static size_t summary_bytes(uint32_t dk)
{
    return (size_t)4 * dk; /* least [dk], largest [dk] in f16 */
}

static uint16_t f16_outwards(float x, bool up)
{
    if (x > FVI_F16_LARGEST || x < -FVI_F16_LARGEST) { /* of f32 caches */
        return x > 0 ? (up ? 0x7c00u : 0x7bffu) : (up ? 0xfbffu : 0xfc00u);
    }
    return up ? (uint16_t)(fvi_f16_floor(-x) ^ 0x8000u) : fvi_f16_floor(x);
}

static void summarise(const fvi_run_view *page, uint32_t dk, uint32_t dv, float *scratch,
                      uint8_t *summary)
{
    float *row = scratch, *least = row + dk, *largest = least + dk;
    for (uint32_t i = 0; i < page->n_token; i++) {
        fvi_codec_decode(page->codec, page->data, page->capacity, dk, dv, i, 1, row, dk, NULL, 0);
        for (uint32_t c = 0; c < dk; c++) {
            least[c] = i == 0 || row[c] < least[c] ? row[c] : least[c];
            largest[c] = i == 0 || row[c] > largest[c] ? row[c] : largest[c];
        }
    }
    for (uint32_t c = 0; c < dk; c++) {
        uint16_t half[2] = {f16_outwards(least[c], false), f16_outwards(largest[c], true)};
        memcpy(summary + (size_t)2 * c, &half[0], sizeof half[0]);
        memcpy(summary + (size_t)2 * (dk + c), &half[1], sizeof half[1]);
    }
}

static float bound_of(const uint8_t *summary, const float *q, uint32_t dk)
{
    float sum[LANES] = {0}, size[LANES] = {0};
    for (uint32_t first = 0; first < dk; first += LANES) {
        float least[LANES], largest[LANES];
        uint32_t n = FVI_MIN(dk - first, LANES);
        fvi_convert(least, FVI_DTYPE_F32, summary + (size_t)2 * first, FVI_DTYPE_F16, n);
        fvi_convert(largest, FVI_DTYPE_F32, summary + (size_t)2 * (dk + first), FVI_DTYPE_F16, n);
        for (uint32_t c = 0; c < n; c++) {
            float a = q[first + c] * least[c], b = q[first + c] * largest[c];
            float most = a > b ? a : b;
            sum[c] += most;
            size[c] += fabsf(most);
        }
    }
    float total = 0, magnitude = 0;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        total += sum[lane];
        magnitude += size[lane];
    }
    return total + magnitude * ROUNDING;
}

static float bound(const uint8_t *summary, const float *q, uint32_t group, uint32_t dk)
{
    float most = -INFINITY;
    for (uint32_t i = 0; i < group; i++) {
        float one = bound_of(summary, q + (size_t)i * dk, dk);
        if (!(one <= most)) { /* what is no number promises everything */
            most = one == one ? one : INFINITY;
        }
    }
    return most;
}

const fvi_recall fvi_recall_quest = {
    .name = "quest",
    .summary_bytes = summary_bytes,
    .summarise = summarise,
    .bound = bound,
};
