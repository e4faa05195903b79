/* heatmap.h - draws over a picture which of its tokens the cache kept, and how.
 *
 * Sharp: kept as it was (f32, f16). Blurred: kept in fewer bits; its cell becomes its mean colour, bluish.
 * Dropped: dark. A cell mixes the three by their shares of the (layer, KV head) lists that are looked at.
 * Called by ask.c. Threads: any. */
#ifndef FOVEA_SAMPLES_COMMON_HEATMAP_H
#define FOVEA_SAMPLES_COMMON_HEATMAP_H

#include "samples/common/turn.h"

#define SAMPLE_ALL UINT32_MAX

typedef struct sample_heatmap {
    const char *path; /* of one picture; with several "-1" and so on goes in front of its ending */
    uint32_t layer, head; /* SAMPLE_ALL: summed */
} sample_heatmap;

/* Writes a PNG of each picture's own size. The reply must have been asked for with `kept`. */
fovea_status sample_heatmap_write(const sample_heatmap *self, const sample_reply *reply,
                                  const char *const *images, size_t n_image, fovea_error *err);

#endif
