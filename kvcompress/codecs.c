/* codecs.c - the table of storage kinds: an entry by its kind, by its name, by its index.
 *
 * Called by recipe.c, seq.c and plan.c. Threads: any; constant. */
#include "kvcompress/codecs.h"

#define FVI_CODEC(name) extern const fvi_codec fvi_codec_##name;
#include "kvcompress/codecs.def"
#undef FVI_CODEC

static const fvi_codec *const table[] = {
#define FVI_CODEC(name) &fvi_codec_##name,
#include "kvcompress/codecs.def"
#undef FVI_CODEC
};

const fvi_codec *fvi_codec_at(uint32_t index)
{
    return index < FVI_COUNT(table) ? table[index] : NULL;
}

const fvi_codec *fvi_codec_of(fovea_kind kind)
{
    for (uint32_t i = 0; i < FVI_COUNT(table); i++) {
        if (table[i]->kind == kind) {
            return table[i];
        }
    }
    return NULL;
}
