/* codec_channel.c - sections per channel: groups of tokens, words of codes (sdk/ops/codec.h).
 *
 * In K a word holds channels of one token, in V tokens of one channel; what is left of the last word is
 * zero. Scales cover the range of their group. Tried for 2 bits and lost: scales of the least squares
 * (regression from 0.7 of the range), which halve the squared error of normal values, but take the
 * precision from what is rare in a group, and that is what the picture is about: of the words of `fovea`'s
 * answers 84 and 70% stayed as with the full cache (one picture, 20 and 10% of bytes) in place of 94 and 82%.
 * Called by codec_codes.c. */
#include "kvcompress/codec_codes.h"

#include "kvcompress/codec_affine.h"

#define WIDTH 64 /* channels worked on at a time: a multiple of the elements of a word */

/* Where element e of a word lies in it. */
static uint32_t shift_of(uint32_t bits, uint32_t e)
{
    return e % 2 * 16 + e / 2 * bits;
}

/* One group, or what is asked of it: rows of x stand for its tokens `row`.. */
typedef struct group {
    uint32_t bits, per, d;
    uint32_t n;           /* tokens of the whole group */
    size_t codes, affine; /* where its parts lie in the run */
    bool values;
} group;

static group group_at(const fvi_code_section *s, uint32_t nth, uint32_t *first)
{
    uint32_t bits = s->layout->bits, per = 32 / bits;
    *first = fvi_channel_first(s->capacity, nth);
    size_t words =
        s->values ? (size_t)(*first / per) * s->d : (size_t)((s->d + per - 1) / per) * *first;
    return (group){.bits = bits,
                   .per = per,
                   .d = s->d,
                   .n = fvi_channel_first(s->capacity, nth + 1) - *first,
                   .codes = s->codes + words * 4,
                   .affine = s->affine + (size_t)nth * s->d * 4,
                   .values = s->values};
}

/* Chooses the scales of channels c..c+width-1. */
static void fit_channels(const group *g, uint8_t *run, const float *x, size_t stride, uint32_t c,
                         uint32_t width, fvi_affine *fit)
{
    float low[WIDTH], high[WIDTH];
    for (uint32_t i = 0; i < width; i++) {
        low[i] = FVI_F16_LARGEST;
        high[i] = -FVI_F16_LARGEST;
    }
    for (uint32_t t = 0; t < g->n; t++) {
        const float *row = x + t * stride + c;
        for (uint32_t i = 0; i < width; i++) {
            low[i] = row[i] < low[i] ? row[i] : low[i];
            high[i] = row[i] > high[i] ? row[i] : high[i];
        }
    }
    for (uint32_t i = 0; i < width; i++) {
        fit[i] = fvi_affine_store(low[i], high[i], (float)((1u << g->bits) - 1),
                                  run + g->affine + (size_t)(c + i) * 4);
    }
}

static void code_channels(const group *g, uint8_t *run, const float *x, size_t stride, uint32_t c,
                          uint32_t width, const fvi_affine *fit)
{
    float levels = (float)((1u << g->bits) - 1), inverse[WIDTH];
    for (uint32_t i = 0; i < width; i++) {
        inverse[i] = fit[i].scale > 0.0f ? 1.0f / fit[i].scale : 0.0f;
    }
    uint8_t *words = run + g->codes;
    for (uint32_t t = 0; t < g->n; t++) {
        const float *row = x + t * stride + c;
        uint32_t word[WIDTH] = {0};
        for (uint32_t i = 0; i < width; i++) {
            uint32_t code = fvi_affine_code(row[i], fit[i].min, inverse[i], levels);
            if (g->values) {
                word[i] = code << shift_of(g->bits, t % g->per);
            } else {
                word[i / g->per] |= code << shift_of(g->bits, i % g->per);
            }
        }
        if (!g->values) {
            for (uint32_t i = 0; i < (width + g->per - 1) / g->per; i++) {
                memcpy(words + ((size_t)(c / g->per + i) * g->n + t) * 4, &word[i], 4);
            }
            continue;
        }
        uint8_t *at = words + ((size_t)(t / g->per) * g->d + c) * 4;
        for (uint32_t i = 0; i < width; i++) {
            uint32_t all = 0;
            if (t % g->per != 0) {
                memcpy(&all, at + (size_t)i * 4, 4);
            }
            all |= word[i];
            memcpy(at + (size_t)i * 4, &all, 4);
        }
    }
}

void fvi_channel_encode(const fvi_code_section *s, uint8_t *run, uint32_t first, uint32_t n,
                        const float *x, size_t stride)
{
    uint32_t nth = fvi_channel_group_of(s->capacity, first), at;
    for (uint32_t end = first + n; first < end;) {
        group g = group_at(s, nth++, &at);
        for (uint32_t c = 0; c < g.d; c += WIDTH) {
            uint32_t width = FVI_MIN(g.d - c, (uint32_t)WIDTH);
            fvi_affine fit[WIDTH];
            fit_channels(&g, run, x, stride, c, width, fit);
            code_channels(&g, run, x, stride, c, width, fit);
        }
        x += g.n * stride;
        first += g.n;
    }
}

/* Codes of channels c..c+width-1 of token t of a group. */
static void codes_of(const group *g, const uint8_t *run, uint32_t t, uint32_t c, uint32_t width,
                     uint32_t *codes)
{
    const uint8_t *words = run + g->codes;
    uint32_t mask = (1u << g->bits) - 1, word;
    if (g->values) {
        const uint8_t *at = words + ((size_t)(t / g->per) * g->d + c) * 4;
        uint32_t shift = shift_of(g->bits, t % g->per);
        for (uint32_t i = 0; i < width; i++) {
            memcpy(&word, at + (size_t)i * 4, 4);
            codes[i] = word >> shift & mask;
        }
        return;
    }
    for (uint32_t i = 0; i < width; i += g->per) {
        memcpy(&word, words + ((size_t)((c + i) / g->per) * g->n + t) * 4, 4);
        for (uint32_t e = 0; e < FVI_MIN(g->per, width - i); e++) {
            codes[i + e] = word >> shift_of(g->bits, e) & mask;
        }
    }
}

void fvi_channel_decode(const fvi_code_section *s, const uint8_t *run, uint32_t first, uint32_t n,
                        float *x, size_t stride)
{
    uint32_t nth = fvi_channel_group_of(s->capacity, first), at;
    for (uint32_t end = first + n; first < end;) {
        group g = group_at(s, nth++, &at);
        uint32_t n_now = FVI_MIN(end, at + g.n) - first;
        for (uint32_t c = 0; c < g.d; c += WIDTH) {
            uint32_t width = FVI_MIN(g.d - c, (uint32_t)WIDTH);
            uint32_t codes[WIDTH];
            fvi_affine fit[WIDTH];
            for (uint32_t i = 0; i < width; i++) {
                fit[i] = fvi_affine_load(run + g.affine + (size_t)(c + i) * 4);
            }
            for (uint32_t t = 0; t < n_now; t++) {
                float *row = x + t * stride + c;
                codes_of(&g, run, first - at + t, c, width, codes);
                for (uint32_t i = 0; i < width; i++) {
                    row[i] = (float)codes[i] * fit[i].scale + fit[i].min;
                }
            }
        }
        x += n_now * stride;
        first += n_now;
    }
}
