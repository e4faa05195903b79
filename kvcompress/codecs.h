/* codecs.h - the table of storage kinds, codecs.def.
 *
 * Called by recipe.c, seq.c, plan.c and by the engine. Threads: any; constant. */
#ifndef FOVEA_KVCOMPRESS_CODECS_H
#define FOVEA_KVCOMPRESS_CODECS_H

#include "sdk/ops/codec.h"

/* NULL when there is no codec of that kind. */
const fvi_codec *fvi_codec_of(fovea_kind kind);
/* In the order of the table; NULL past its end. */
const fvi_codec *fvi_codec_at(uint32_t index);

#endif
