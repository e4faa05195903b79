/* attn_section.h - K or V of one run as attention kernels of any instruction set see it (layouts:
 * sdk/ops/codec.h), and what of a list is read next. Included by the attention files. */
#ifndef FOVEA_OPS_ATTN_SECTION_H
#define FOVEA_OPS_ATTN_SECTION_H

#include "sdk/ops/cpu_impl.h"

typedef struct fvi_section {
    const fvi_run_view *run;
    const uint8_t *codes;  /* [n_token, row_bytes] */
    const uint8_t *affine; /* [n_token, groups, 2] f16, of codes per token */
    size_t row_bytes;
    uint32_t d, groups;
    uint32_t dk, dv;
    bool values;
    bool fitted;  /* the run lies by components (pca.h) */
    bool channel; /* codes and affine are those of a run per channel (sdk/ops/codec.h) */
    fovea_kind
        kind; /* INT8, INT4 or INT2 for all codes that lie so, whatever the codec is called */
} fvi_section;

fvi_section fvi_section_of(const fvi_run_view *run, uint32_t dk, uint32_t dv, bool values);

/* A section per channel: its part in one group of tokens that share scales. */
typedef struct fvi_channel_part {
    uint32_t nth;      /* which group */
    uint32_t first, n; /* tokens, in the group */
    uint32_t group_first, group_n;
} fvi_channel_part;

/* The part of tokens first..end-1 of a run that lies in group `nth`, that of `first`. */
static inline fvi_channel_part fvi_channel_part_of(const fvi_section *s, uint32_t nth,
                                                   uint32_t first, uint32_t end)
{
    uint32_t capacity = s->run->capacity, at = fvi_channel_first(capacity, nth);
    uint32_t next = fvi_channel_first(capacity, nth + 1);
    return (fvi_channel_part){.nth = nth,
                              .first = first - at,
                              .n = FVI_MIN(end, next) - first,
                              .group_first = at,
                              .group_n = next - at};
}

#endif
