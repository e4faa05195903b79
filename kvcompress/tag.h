/* tag.h - tags of cached positions: modality, role, image and grid, stored as spans.
 *
 * A span is a stretch of positions with the same tag; a vision span is one image (or tile), row-major, so
 * the grid place of a token follows from its offset. Called by seq, plan, scorers, ledger. Plain data. */
#ifndef FOVEA_KVCOMPRESS_TAG_H
#define FOVEA_KVCOMPRESS_TAG_H

#include <fovea/types.h>

typedef struct fvi_kv_span {
    uint32_t first, n;   /* positions */
    uint8_t modality;    /* fovea_modality */
    uint8_t flags;       /* fvi_kv_tag_flag */
    uint16_t image;      /* index in the sequence */
    uint16_t grid_width; /* tokens per row, 0 for text */
    uint16_t frame;
} fvi_kv_span;

typedef enum fvi_kv_tag_flag {
    FVI_KV_TAG_PROTECTED = 1, /* never dropped (first token, user protection) */
    FVI_KV_TAG_GENERATED = 2,
} fvi_kv_tag_flag;

/* Beside the values of fovea_kind: a token that a list does not keep. */
#define FVI_KV_DROP 0xff

#endif
