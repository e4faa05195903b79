/* codec_int4.c - the kind int4: 4-bit codes, asymmetric per token and group of channels.
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int4, "int4", FOVEA_KIND_INT4, .bits = 4);
