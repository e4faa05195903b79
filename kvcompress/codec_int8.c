/* codec_int8.c - the kind int8: 8-bit codes, asymmetric per token and group of channels.
 *
 * Layout: sdk/ops/codec.h; rounding: codec_affine.h. Called through the table codecs.def. */
#include "kvcompress/codec_codes.h"

FVI_CODES(int8, "int8", FOVEA_KIND_INT8, .bits = 8);
