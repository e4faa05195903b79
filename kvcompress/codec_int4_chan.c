/* codec_int4_chan.c - the kind int4-chan: 4-bit codes, asymmetric per channel and group of tokens (VidKV: the
 * values of vision tokens vary less along a channel than across them).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int4_chan, "int4-chan", FOVEA_KIND_INT4_CHAN, .bits = 4, .k_channel = true,
          .v_channel = true);
