/* codec_int2_chan.c - the kind int2-chan: 2-bit codes, asymmetric per channel and group of tokens (VidKV).
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int2_chan, "int2-chan", FOVEA_KIND_INT2_CHAN, .bits = 2, .k_channel = true,
          .v_channel = true);
