/* apportion.c - shares by water level: x_i = clip(level * weight_i, low, high_i) with the level at which
 * the sum is the total, then whole numbers by largest remainders.
 *
 * So a list with the larger weight never gets less than one with the smaller (same bounds). Entries of
 * weight 0 stay at `low` until all others are full. Called by plan.c. */
#include "kvcompress/apportion.h"

static double clip(double x, uint32_t low, uint32_t high)
{
    return x < low ? low : x > high ? high : x;
}

static double sum_at(double level, const double *weights, uint32_t n, uint32_t low,
                     const uint32_t *high)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += clip(level * weights[i], low, high[i]);
    }
    return sum;
}

/* The highest level found whose sum does not exceed the total. Weights too small beside the largest do not
 * raise it: their entries wait as those of weight 0 do. */
static double find_level(const double *weights, uint32_t n, uint64_t total, uint32_t low,
                         const uint32_t *high)
{
    double below = 0, above = 0, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = FVI_MAX(largest, weights[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (weights[i] > 1e-12 * largest) {
            above = FVI_MAX(above, high[i] / weights[i]);
        }
    }
    if (sum_at(above, weights, n, low, high) <= (double)total) {
        return above;
    }
    for (uint32_t step = 0; step < 200; step++) {
        double middle = below + (above - below) / 2;
        if (sum_at(middle, weights, n, low, high) <= (double)total) {
            below = middle;
        } else {
            above = middle;
        }
    }
    return below;
}

/* Gives out what is left: evenly while it is a lot (entries of no weight), then to the largest
 * remainders, of equal ones to the lower index. */
static void share_rest(uint64_t rest, double *remainder, uint32_t n, const uint32_t *high,
                       uint32_t *out)
{
    while (rest >= n) {
        uint64_t each = rest / n;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t more = (uint32_t)FVI_MIN(each, (uint64_t)(high[i] - out[i]));
            out[i] += more;
            rest -= more;
        }
    }
    while (rest > 0) {
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
            if (out[i] < high[i] && (best == n || remainder[i] > remainder[best])) {
                best = i;
            }
        }
        out[best]++;
        remainder[best] -= 1;
        rest--;
    }
}

fovea_status fvi_apportion(const double *weights, uint32_t n, uint64_t total, uint32_t low,
                           const uint32_t *high, double *scratch, uint32_t *out)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (high[i] < low || !(weights[i] >= 0) || weights[i] > 1e300) {
            return FOVEA_ERR_ARG;
        }
        most += high[i];
    }
    if (total < (uint64_t)n * low || total > most) {
        return FOVEA_ERR_ARG;
    }
    double level = find_level(weights, n, total, low, high);
    uint64_t given = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = clip(level * weights[i], low, high[i]);
        out[i] = (uint32_t)x;
        scratch[i] = x - out[i];
        given += out[i];
    }
    if (given > total) {
        return FOVEA_ERR_INTERNAL;
    }
    share_rest(total - given, scratch, n, high, out);
    return FOVEA_OK;
}
