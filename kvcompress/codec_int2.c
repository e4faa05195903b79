/* codec_int2.c - the kind int2: 2-bit codes, asymmetric per token and group of channels.
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int2, "int2", FOVEA_KIND_INT2, .bits = 2);
